"""The calculus against white noise that is really sent through random networks.

A network is built of operators for which the calculus claims an exact Γ: those that are linear, or that only scale
the map. Activations and max pooling are left out, for their Γ is an approximation; how good it is stands in
``test_entropy_second_opinion.py``. Weights are drawn anew for each of :data:`DRAWS` repetitions, since the calculus
speaks of the mean over random filters; maps are circular, since it speaks of an endless one; what a filter or a gate
leaves is brought to unit variance, as a normalisation would (how strong a gate is, its weights say, not the graph).
Three further limits of the draw, each with its reason: branches of a sum start with a convolution of their own except
one (a sum is of independent branches); nothing strides after upsampling or a transposed convolution (their Γ is a mean
over phases, of which a stride sees one); strides multiply to 2 at most and pools are few (correlation must not go
around the map).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sed_torch
from sed_torch.entropy import Field

SIDE, CHANNELS, BATCH, DRAWS, GRAPHS, LAGS = 40, 16, 3, 12, 320, 4


class Filter(nn.Module):
    """A convolution with new random weights, its result at unit variance as a whole."""

    def __init__(self, k: tuple[int, int], stride: int = 1, groups: int = 1, dilation: int = 1) -> None:
        super().__init__()
        pad = [n for size in reversed(k) for n in (dilation * (size // 2), dilation * ((size - 1) // 2))]
        self.pad, self.conv = pad, nn.Conv2d(CHANNELS, CHANNELS, k, stride, 0, dilation, groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.pad, mode="circular"))  # type: ignore[no-any-return]


class Pool(nn.Module):
    def __init__(self, k: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.k, self.stride = k, stride
        self.pad = [n for size in reversed(k) for n in (size // 2, (size - 1) // 2)]

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, self.pad, mode="circular"), self.k, self.stride)


class Transposed(nn.Module):
    """Stride 2, window 2 or 4, without a border: what reaches over the edge is dropped on both sides alike."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k, self.conv = k, nn.ConvTranspose2d(CHANNELS, CHANNELS, k, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.pad(x, [1, 1, 1, 1], mode="circular"))
        return y[..., 2 : 2 + 2 * x.shape[2], 2 : 2 + 2 * x.shape[3]]  # type: ignore[no-any-return]


class Branches(nn.Module):
    def __init__(self, kind: str, *branches: nn.Module) -> None:
        super().__init__()
        self.kind, self.branches = kind, nn.ModuleList(branches)
        self.reader = nn.Conv2d(CHANNELS * len(branches), CHANNELS, 1, bias=False) if kind == "cat" else None

    def forward(self, x: Tensor) -> Tensor:
        values = [b(x) for b in self.branches]
        if self.reader is not None:
            return self.reader(torch.cat(values, 1))  # type: ignore[no-any-return]
        total = values[0]
        for v in values[1:]:
            total = total + v
        return total


class Do(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3))).sigmoid()[:, :, None, None]


# -- drawing -----------------------------------------------------------------------------------------------------


class Drawn:
    """One random network; ``words`` tells it in a failure."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.words: list[str] = []
        self.strides, self.pools, self.phases = 1, 0, False
        layers = [self.layer() for _ in range(self.random.randint(2, 6))]
        self.net = nn.Sequential(*layers, Filter((1, 1)))  # reads along the tensor's own dimensions

    def layer(self) -> nn.Module:
        kinds = [
            "filter",
            "pool",
            "add",
            "cat",
            "turn",
            "roll",
            "gate",
            "filter",
            "pool",
            "add",
            "every other",
        ]
        if not self.phases and self.strides == 1:
            kinds += ["up", "transposed", "shuffle"]
        kind = self.random.choice(kinds)
        self.words.append(kind)
        made: nn.Module = getattr(self, "_" + kind.replace(" ", "_"))()
        return made

    def _stride(self) -> int:
        stride = self.random.choice([1, 1, 2]) if self.strides == 1 and not self.phases else 1
        self.strides *= stride
        return stride

    def _filter(self, stride: int | None = None) -> nn.Module:
        k = (self.random.choice([1, 2, 3, 5]), self.random.choice([1, 3]))
        step = self._stride() if stride is None else stride
        self.words.append(f"{k}/{step}")
        return Filter(k, step, self.random.choice([1, 1, 2]), self.random.choice([1, 2]))

    def _pool(self, stride: int | None = None) -> nn.Module:
        if self.pools >= 3:
            return self._filter(stride)
        self.pools += 1
        k = (self.random.choice([1, 2, 3]), self.random.choice([2, 3, 4]))
        step = self._stride() if stride is None else stride
        self.words.append(f"{k}/{step}")
        return Pool(k, step)

    def _branch(self) -> nn.Module:
        rest = [self._pool(1)] if self.random.random() < 0.4 else []
        return nn.Sequential(self._filter(1), *rest)

    def _add(self) -> nn.Module:
        first = nn.Identity() if self.random.random() < 0.6 else self._branch()
        return Branches("add", first, *(self._branch() for _ in range(self.random.randint(1, 2))))

    def _cat(self) -> nn.Module:
        first = nn.Identity() if self.random.random() < 0.5 else self._branch()
        return Branches("cat", first, self._branch(), self._pool(1))

    def _turn(self) -> nn.Module:
        return Do(lambda x: x.transpose(2, 3).flip(2))

    def _roll(self) -> nn.Module:
        return Do(lambda x: x.roll((3, -2), (2, 3)))

    def _gate(self) -> nn.Module:
        return Gate()

    def _every_other(self) -> nn.Module:
        if self._stride() == 1:
            return self._filter(1)
        return Do(lambda x: x[..., ::2, ::2])

    def _up(self) -> nn.Module:
        self.phases = True
        return nn.Upsample(scale_factor=2, mode="nearest")

    def _transposed(self) -> nn.Module:
        self.phases = True
        return Transposed(self.random.choice([2, 4]))

    def _shuffle(self) -> nn.Module:
        self.phases = True
        return nn.Sequential(nn.Conv2d(CHANNELS, 4 * CHANNELS, 1, bias=False), nn.PixelShuffle(2))


# -- measuring ---------------------------------------------------------------------------------------------------


def _renew(net: nn.Module, generator: torch.Generator) -> None:
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            module.weight.normal_(generator=generator)


def _unit(module: nn.Module, args: Any, result: Tensor) -> Tensor:
    return result / result.square().mean((1, 2, 3), keepdim=True).sqrt()


@torch.no_grad()
def measured(net: nn.Module, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlation at lags (0…3)², and its standard error over the draws (of a ratio of means)."""
    generator = torch.Generator().manual_seed(seed)
    hooks = [
        m.register_forward_hook(_unit)
        for m in net.modules()
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, Gate))
    ]
    found = []
    for _ in range(DRAWS):
        _renew(net, generator)
        y = net(torch.randn(BATCH, CHANNELS, SIDE, SIDE, generator=generator))
        spectrum = torch.fft.fft2(y).abs().square().mean((0, 1))
        found.append((torch.fft.ifft2(spectrum).real / y[0, 0].numel())[:LAGS, :LAGS].double().numpy())
    for hook in hooks:
        hook.remove()
    gamma = np.stack(found)
    variance = gamma[:, 0, 0].mean()
    rho = gamma.mean(0) / variance
    spread = (gamma - rho * gamma[:, :1, :1]).std(0, ddof=1)
    return rho, spread / math.sqrt(DRAWS) / variance


def computed(net: nn.Module) -> np.ndarray:
    s = sed_torch.score(net, input_size=(1, CHANNELS, SIDE, SIDE), frontend="fx")
    assert s.coverage == s.node_coverage == 1.0
    topology = s.evaluation.topology
    field = s.evaluation.fields[topology.outputs[0]]
    assert isinstance(field, Field)
    return np.array([[field.at((i, j)) / field.variance for j in range(LAGS)] for i in range(LAGS)])


def disagreement(seed: int) -> tuple[float, str]:
    """The largest difference in units of what is tolerated, and the network in words.

    Tolerated are 6 standard errors and 0.02. Six, since of 320 × 15 correlations, each with an error estimated
    from 12 draws, one is beyond 5 by chance. 0.02, since the estimate of a ratio is biased by the order of one over
    the independent values of a map (3 × 16 channels of some tens of patches), and gates and products of few channels
    are not quite independent of what they scale.
    """
    torch.manual_seed(seed)
    drawn = Drawn(seed)
    rho, error = measured(drawn.net, seed)
    gap = np.abs(rho - computed(drawn.net)) / (6 * error + 0.02)
    return float(gap.max()), " ".join(drawn.words)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_white_noise_through_random_networks_has_the_correlation_that_is_computed(part: int) -> None:
    seeds = range(part, GRAPHS, 8)
    found = {seed: disagreement(seed) for seed in seeds}
    off = {seed: words for seed, (gap, words) in found.items() if gap > 1}
    assert off == {}


@pytest.mark.parametrize(
    "seed", [3, 253, 273]
)  # the last two went wrong once, at x[..., ::2] + f(x[..., ::2])
def test_white_noise_through_a_few_networks(seed: int) -> None:
    gap, words = disagreement(seed)
    assert gap <= 1, words


def test_a_wrong_rule_is_seen() -> None:
    """The bars are narrow enough: a pool of 3 by 3 is not one of 2 by 3."""
    torch.manual_seed(0)
    rho, error = measured(nn.Sequential(Filter((3, 3)), Pool((3, 3), 1)), 0)
    wrong = computed(nn.Sequential(Filter((3, 3)), Pool((2, 3), 1)))
    assert (np.abs(rho - wrong) / (6 * error + 0.02)).max() > 2
