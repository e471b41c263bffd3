"""The closed forms of SED309 against real forward and backward passes, on twenty networks and more."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sed_torch import trace
from sed_torch.diagnostics import check
from sed_torch.diagnostics.backwards import gradients
from sed_torch.diagnostics.signal import signals
from sed_torch.diagnostics.subject import Subject
from sed_torch.scoring.model import score_graph

Init = Callable[[nn.Module], None]


def default(module: nn.Module) -> None:
    """As PyTorch leaves it."""


def _renewed(how: Callable[[Tensor], Any]) -> Init:
    def renew(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            how(module.weight.data)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    return renew


kaiming = _renewed(nn.init.kaiming_normal_)
xavier = _renewed(nn.init.xavier_uniform_)
large = _renewed(lambda w: nn.init.normal_(w, 0.0, 3.0 / math.sqrt(w[0].numel())))


def dense(
    act: Callable[[], nn.Module], depth: int, init: Init, norm: Any = None
) -> tuple[nn.Module, tuple[int, ...]]:
    layers: list[nn.Module] = [nn.Linear(64, 256)]
    for _ in range(depth):
        layers += [*([norm(256)] if norm else []), act(), nn.Linear(256, 256)]
    return nn.Sequential(*layers).apply(init), (256, 64)


def conv(act: Callable[[], nn.Module], depth: int, init: Init) -> tuple[nn.Module, tuple[int, ...]]:
    layers: list[nn.Module] = [nn.Conv2d(3, 48, 3, padding=1)]
    for _ in range(depth):
        layers += [act(), nn.Conv2d(48, 48, 3, padding=1)]
    return nn.Sequential(*layers).apply(init), (8, 3, 24, 24)


class Residual(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, 128), nn.Linear(128, 128)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(128), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 128))
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        out: Tensor = self.head(x)
        return out


def pooled(depth: int, init: Init, pool: Callable[[], nn.Module]) -> tuple[nn.Module, tuple[int, ...]]:
    """Pools between convolutions, as in AlexNet and VGG."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1)]
    for _ in range(depth):
        layers += [nn.ReLU(), pool(), nn.Conv2d(64, 64, 3, padding=1)]
    return nn.Sequential(*layers).apply(init), (8, 3, 48, 48)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "ReLU": lambda: dense(nn.ReLU, 4, default),
    "deep ReLU": lambda: dense(nn.ReLU, 10, default),
    "deep ReLU, kaiming": lambda: dense(nn.ReLU, 14, kaiming),
    "ReLU, large": lambda: dense(nn.ReLU, 8, large),
    "tanh": lambda: dense(nn.Tanh, 8, default),
    "deep tanh, xavier": lambda: dense(nn.Tanh, 20, xavier),
    "tanh, large": lambda: dense(nn.Tanh, 8, large),
    "sigmoid": lambda: dense(nn.Sigmoid, 4, default),
    "sigmoid, xavier": lambda: dense(nn.Sigmoid, 6, xavier),
    "GELU": lambda: dense(nn.GELU, 6, default),
    "GELU, kaiming": lambda: dense(nn.GELU, 10, kaiming),
    "SiLU": lambda: dense(nn.SiLU, 6, default),
    "ELU": lambda: dense(nn.ELU, 8, default),
    "SELU, kaiming": lambda: dense(nn.SELU, 12, kaiming),
    "leaky ReLU": lambda: dense(lambda: nn.LeakyReLU(0.2), 8, default),
    "softplus": lambda: dense(nn.Softplus, 5, default),
    "convolutions": lambda: conv(nn.ReLU, 6, default),
    "convolutions, kaiming": lambda: conv(nn.ReLU, 10, kaiming),
    "convolutions, tanh": lambda: conv(nn.Tanh, 6, xavier),
    "max pools": lambda: pooled(2, default, lambda: nn.MaxPool2d(2)),
    "max pools, kaiming": lambda: pooled(3, kaiming, lambda: nn.MaxPool2d(2)),
    "overlapping max pools": lambda: pooled(2, default, lambda: nn.MaxPool2d(3, 2)),
    "batch norm": lambda: dense(nn.ReLU, 8, default, nn.BatchNorm1d),
    "layer norm": lambda: dense(nn.ReLU, 8, default, nn.LayerNorm),
    "batch norm, a large eps": lambda: dense(nn.ReLU, 6, default, lambda n: nn.BatchNorm1d(n, 0.8)),
    "layer norm, a large eps": lambda: dense(nn.ReLU, 6, default, lambda n: nn.LayerNorm(n, 0.5)),
    "residual": lambda: (Residual(6), (256, 64)),
}


def measured(model: nn.Module, size: tuple[int, ...]) -> tuple[float, float, float]:
    """E[x²] and the variance between inputs before the last layer; the first layer's gradient over the last one's."""
    results: list[Tensor] = []

    def keep(module: nn.Module, args: Any, result: Tensor) -> None:
        result.retain_grad()
        results.append(result)

    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.register_forward_hook(keep)
    end = model.train()(torch.randn(size))
    (end * torch.randn_like(end)).sum().backward()
    before = results[-2].detach().flatten(1)
    first, last = (r.grad for r in (results[0], results[-1]))
    assert first is not None
    assert last is not None
    share = first.square().mean() / last.square().mean()
    return before.square().mean().item(), before.var(0).mean().item(), share.item()


@pytest.mark.parametrize("name", NETWORKS)
def test_signal_and_gradient_are_what_passes_measure(name: str) -> None:
    """Within a factor of 2.5 at the far end, over ranges from 10⁻⁸ to 10⁵."""
    torch.manual_seed(0)
    model, size = NETWORKS[name]()
    graph = trace(model, input_size=size)
    subject = Subject(model, graph, score_graph(graph))
    found = signals(subject)
    layers = [n.name for n in subject.live if n.op in ("conv", "linear")]
    told = found[layers[-2]].moment, found[layers[-2]].between, gradients(subject, found)[layers[0]]
    for closed, real in zip(told, measured(model, size), strict=True):
        assert real / 2.5 < closed < real * 2.5, (told, name)


def test_a_gradient_that_grows_behind_saturated_tanh_is_told() -> None:
    torch.manual_seed(0)
    model, size = dense(nn.Tanh, 40, large)
    (finding,) = check(model, input_size=size, select=["SED309"]).findings
    assert finding.evidence["gradient"] > 1e8
    assert finding.path == "0"
    _, between, share = measured(model, size)
    assert between > 1.0
    assert share > 1e8
