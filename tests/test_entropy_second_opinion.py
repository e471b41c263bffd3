"""The closed-form rules against the real operators: covariances measured on white noise, with error bars.

Every estimate is repeated with fresh noise (and fresh filters); the mean must lie within five standard errors
of the closed form, and the standard errors must be small enough for that to mean something.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sed_torch import entropy
from sed_torch.entropy import Field
from sed_torch.lowering import lower
from sed_torch.scoring import evaluate
from sed_torch.tracing import trace

Lag = tuple[int, ...]
REPEATS = 16
SIGMAS = 5.0
LARGEST_ERROR_BAR = 0.012


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(20)
        yield


def lags_up_to(reach: int, ndim: int) -> list[Lag]:
    """All lags with components up to ``reach``, and one of mixed sign: the rules say Γ is even in each axis."""
    found: list[Lag] = list(itertools.product(range(reach + 1), repeat=ndim))
    return [*found, (1, *(-1,) * (ndim - 1))] if ndim > 1 else found


def covariance(y: Tensor, lag: Lag) -> float:
    """Mean of y(x)·y(x + lag) over a batch, its channels and its positions."""
    here: list[slice] = [slice(None), slice(None)]
    there: list[slice] = [slice(None), slice(None)]
    for d, n in zip(lag, y.shape[2:], strict=True):
        here.append(slice(max(0, -d), n - max(0, d)))
        there.append(slice(max(0, d), n + min(0, d)))
    return float((y[tuple(here)] * y[tuple(there)]).mean())


def measure(
    make: Callable[[], Tensor], lags: Sequence[Lag], *, correlation: bool = False
) -> NDArray[np.float64]:
    """One row a repetition."""
    rows = []
    for _ in range(REPEATS):
        y = make()
        row = np.array([covariance(y, lag) for lag in lags])
        rows.append(row / row[0] if correlation else row)
    return np.array(rows)


def assert_agrees(rows: NDArray[np.float64], field: Field, lags: Sequence[Lag], allowed: float = 0.0) -> None:
    error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    assert error.max() < LARGEST_ERROR_BAR * max(1.0, field.variance)
    expected = np.array([field.at(lag) for lag in lags])
    off = np.abs(rows.mean(axis=0) - expected)
    bad = [
        f"{lag}: measured {m:.4f} ± {e:.4f}, closed form {x:.4f}"
        for lag, m, e, x, o in zip(lags, rows.mean(axis=0), error, expected, off, strict=True)
        if o > SIGMAS * e + allowed + 1e-6
    ]
    assert not bad, "; ".join(bad)


def coloured(ndim: int, channels: int, size: int, batch: int, width: int = 3) -> tuple[Tensor, Field]:
    """A map that is not white, and its field: a mean over ``width`` positions, with unit variance."""
    x = torch.randn(batch, channels, *(size + width - 1,) * ndim)
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[ndim - 1]
    field = entropy.pool(entropy.white(ndim), (width,) * ndim, (1,) * ndim, (1,) * ndim)
    return pool(x, width, 1) / field.variance**0.5, entropy.normalise(field)


# -- operators that mix --------------------------------------------------------------------------------------

CONVOLUTIONS = [
    # ndim, kernel, stride, dilation, groups
    (1, 3, 1, 1, 1),
    (1, 5, 2, 1, 4),
    (1, 3, 3, 2, 1),
    (2, 3, 1, 1, 1),
    (2, 3, 2, 1, 1),
    (2, 3, 1, 2, 8),
    (2, 1, 2, 1, 1),
    (3, 3, 1, 1, 1),
    (3, 2, 2, 1, 2),
]


@pytest.mark.parametrize(("ndim", "kernel", "stride", "dilation", "groups"), CONVOLUTIONS)
def test_random_filters_leave_the_correlation(
    ndim: int, kernel: int, stride: int, dilation: int, groups: int
) -> None:
    """E over zero-mean filters of Cov(y(x), y(x + d)) = Γ(s·d)."""
    conv = (F.conv1d, F.conv2d, F.conv3d)[ndim - 1]
    size, batch = {1: (512, 4), 2: (40, 2), 3: (16, 2)}[ndim]
    _, field = coloured(ndim, 1, size, 1)

    def make() -> Tensor:
        x, _ = coloured(ndim, 8, size, batch)
        w = torch.randn(128 * groups, 8 // groups, *(kernel,) * ndim)
        return conv(x, w / w[0].numel() ** 0.5, stride=stride, dilation=dilation, groups=groups)

    lags = lags_up_to(3 if ndim < 3 else 2, ndim)
    rows = measure(make, lags)
    # filters differ in their norm: the variance of y is one on average only
    assert_agrees(rows, entropy.subsample(field, (stride,) * ndim), lags)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (4, 2), (3, 1), (6, 3)])
def test_transposed_convolution_leaves_phases_uncorrelated(kernel: int, stride: int) -> None:
    _, field = coloured(1, 1, 256, 1)

    def make() -> Tensor:
        x, _ = coloured(1, 8, 256, 4)
        w = torch.randn(8, 128, kernel) / (8 * kernel / stride) ** 0.5
        y = F.conv_transpose1d(x, w, stride=stride)
        return y[..., kernel : y.shape[-1] - kernel]

    lags = lags_up_to(6, 1)
    assert_agrees(measure(make, lags), entropy.dilate(field, (stride,)), lags)


# -- pooling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("ndim", [1, 2])
def test_average_pooling(ndim: int, window: int, stride: int) -> None:
    pool = (F.avg_pool1d, F.avg_pool2d)[ndim - 1]
    _, field = coloured(ndim, 1, 8, 1)

    def make() -> Tensor:
        x, _ = coloured(ndim, 8, {1: 4096, 2: 96}[ndim], 4)
        return pool(x, window, stride)

    lags = lags_up_to(4, ndim)
    expected = entropy.pool(field, (window,) * ndim, (stride,) * ndim, (1,) * ndim)
    assert_agrees(measure(make, lags), expected, lags)


MAX_POOL_GAP = 0.07


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("ndim", [1, 2])
def test_max_pooling_correlates_almost_as_a_mean(ndim: int, window: int, stride: int) -> None:
    """The claim of ``entropy.pool``: below the triangle, by less than 0.07 at any lag."""
    pool = (F.max_pool1d, F.max_pool2d)[ndim - 1]

    def make() -> Tensor:
        y = pool(torch.randn(8, 4, *({1: 8192, 2: 96}[ndim],) * ndim), window, stride)
        return y - y.mean()

    lags = lags_up_to(6, ndim)
    rows = measure(make, lags, correlation=True)
    triangle = entropy.normalise(
        entropy.pool(entropy.white(ndim), (window,) * ndim, (stride,) * ndim, (1,) * ndim)
    )
    error = SIGMAS * rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    gap = rows.mean(axis=0) - np.array([triangle.at(lag) for lag in lags])
    assert gap.min() > -MAX_POOL_GAP
    assert (gap < error + 1e-6).all()
    if stride < window:
        assert gap.min() < -0.05, "the triangle is closer than documented"


@pytest.mark.parametrize(("norm", "gap"), [(2.0, 0.08), (4.0, 0.08)])
def test_power_pooling_correlates_almost_as_a_mean(norm: float, gap: float) -> None:
    """lp pooling takes positive maps; on |x|^p it is a mean, the root in the end is what differs."""

    def make() -> Tensor:
        y = F.lp_pool1d(torch.randn(8, 4, 8192).abs(), norm, 3, 1)
        return y - y.mean()

    lags = lags_up_to(4, 1)
    rows = measure(make, lags, correlation=True)
    triangle = entropy.normalise(entropy.pool(entropy.white(1), (3,), (1,), (1,)))
    assert_agrees(rows, triangle, lags, allowed=gap)


def test_adaptive_pooling_to_a_divisor_is_a_plain_pool() -> None:
    _, field = coloured(1, 1, 8, 1)
    lags = lags_up_to(3, 1)

    def make() -> Tensor:
        return F.adaptive_avg_pool1d(coloured(1, 32, 4096, 4)[0], 1024)

    assert_agrees(measure(make, lags), entropy.pool(field, (4,), (4,), (1,)), lags)


def test_adaptive_pooling_to_no_divisor_is_near_a_plain_pool() -> None:
    """5 → 3: windows of 2 and 3 by turns; the rule takes window 2 = ⌈5/3⌉, stride 1 = ⌊5/3⌋ at each."""
    module = nn.Sequential(nn.AdaptiveAvgPool1d(768), nn.Conv1d(8, 4, 3))
    lags = lags_up_to(3, 1)
    rows = measure(lambda: F.adaptive_avg_pool1d(torch.randn(4, 8, 1280), 768), lags, correlation=True)
    field = entropy.normalise(read_field(module, (1, 8, 1280)))
    # read at a stride of one although 1280/768 = 1.67: correlation at lag 1 is overstated
    assert_agrees(rows, field, lags, allowed=0.30)


def test_blur_pooling_by_a_fixed_filter_is_wider_than_the_rule_of_random_filters() -> None:
    """A depthwise [1 2 1]/4 is a convolution like any other to the graph: Γ is left as it is.

    Its true correlation at lag 1 is 4/6; that much the rule leaves out.
    """
    kernel = torch.tensor([1.0, 2.0, 1.0]).view(1, 1, 3) / 4
    lags = lags_up_to(3, 1)
    rows = measure(lambda: F.conv1d(torch.randn(8, 1, 8192), kernel), lags, correlation=True)
    assert_agrees(rows, Field(np.array([6.0, 4.0, 1.0]) / 6), lags)


def test_global_mean_has_the_variance_of_the_formula() -> None:
    _, field = coloured(2, 1, 8, 1)
    rows = np.array([float(coloured(2, 512, 8, 4)[0].mean((2, 3)).square().mean()) for _ in range(REPEATS)])
    expected = entropy.average(field, (8, 8)).const
    error = rows.std(ddof=1) / REPEATS**0.5
    assert error < 0.03 * expected
    assert abs(rows.mean() - expected) < SIGMAS * error


# -- other resolutions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2, 3])
def test_nearest_upsampling(factor: int) -> None:
    _, field = coloured(2, 1, 8, 1)
    lags = lags_up_to(5, 2)

    def make() -> Tensor:
        return F.interpolate(coloured(2, 16, 40, 4)[0], scale_factor=factor, mode="nearest")

    assert_agrees(measure(make, lags), entropy.upsample(field, (factor, factor)), lags, allowed=0.01)


def test_bilinear_upsampling_is_more_correlated_than_the_rule() -> None:
    """Measured on white noise: 0.75, 0.30, 0.05 at lags 1–3 where Γ(d/2) gives 0.5, 0, 0."""
    lags = lags_up_to(4, 1)

    def make() -> Tensor:
        x = torch.randn(8, 4, 8192)
        return F.interpolate(x, scale_factor=2, mode="linear", align_corners=False)

    rows = measure(make, lags, correlation=True)
    rule = entropy.upsample(entropy.white(1), (2.0,))
    # taps (¾, ¼): Γ(0) = 10/16, Γ(1) = (6/16 + 9/16)/2, Γ(2) = 3/16, Γ(3) = (0 + 1/16)/2
    exact = entropy.normalise(Field(np.array([10.0, 7.5, 3.0, 0.5]) / 16))
    assert_agrees(rows, exact, lags)
    assert_agrees(rows, rule, lags, allowed=0.31)


def test_pixel_shuffle() -> None:
    _, field = coloured(2, 1, 8, 1)
    lags = lags_up_to(4, 2)
    rows = measure(lambda: F.pixel_shuffle(coloured(2, 16, 40, 4)[0], 2), lags)
    assert_agrees(rows, entropy.dilate(field, (2, 2)), lags)


def test_pixel_unshuffle() -> None:
    _, field = coloured(2, 1, 8, 1, width=5)
    lags = lags_up_to(3, 2)
    rows = measure(lambda: F.pixel_unshuffle(coloured(2, 8, 80, 4, width=5)[0], 2), lags)
    assert_agrees(rows, entropy.subsample(field, (2, 2)), lags)


# -- merges --------------------------------------------------------------------------------------------------


def test_merges() -> None:
    _, narrow = coloured(2, 1, 8, 1, width=2)
    _, wide = coloured(2, 1, 8, 1, width=4)
    lags = lags_up_to(4, 2)

    def pair(a: int, b: int) -> tuple[Tensor, Tensor]:
        return coloured(2, a, 64, 4, width=2)[0], coloured(2, b, 64, 4, width=4)[0]

    assert_agrees(measure(lambda: sum(pair(8, 8)), lags), entropy.add([narrow, wide]), lags)  # type: ignore[arg-type, return-value]
    cat = measure(lambda: torch.cat(pair(12, 4), 1), lags)
    assert_agrees(cat, entropy.mean([narrow, wide], [12, 4]), lags)
    product = measure(lambda: torch.mul(*pair(8, 8)), lags)
    assert_agrees(product, entropy.multiply(narrow, wide), lags)


# -- through the tracer --------------------------------------------------------------------------------------


def read_field(model: nn.Module, shape: tuple[int, ...]) -> Field:
    """The field that the last convolution of ``model`` reads, as traced and lowered."""
    evaluation = evaluate(lower(trace(model, input_size=shape)))
    steps = evaluation.topology.steps
    reader = [i for i, s in enumerate(steps) if s.kind == "mix"][-1]
    field = evaluation.fields[steps[reader].inputs[0]]
    assert field is not None
    return field


class Net(nn.Module):
    """Colour the input along one axis more than along the other, rearrange it, read it by a convolution."""

    def __init__(self, rearrange: Callable[[Tensor], Tensor], reader: nn.Module) -> None:
        super().__init__()
        self.colour = nn.AvgPool2d((2, 4), stride=1)
        self.rearrange, self.reader = rearrange, reader

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(self.rearrange(self.colour(x)))  # type: ignore[no-any-return]


def tokens_and_back(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    return x.flatten(2).transpose(1, 2).reshape(b, h, w, c).permute(0, 3, 1, 2)


def windows(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).view(b, h // 8, 8, w // 8, 8, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, 8, 8, c).permute(0, 3, 1, 2)


def grid(x: Tensor) -> Tensor:
    """MaxViT's grid: windows of positions that stand h/g = 2 apart."""
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(b, h // 2, 2, w // 2, 2, c)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(-1, h // 2, w // 2, c).permute(0, 3, 1, 2)


def space_to_depth(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(b, 4 * c, h // 2, w // 2)


def focus(x: Tensor) -> Tensor:
    parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
    return torch.cat(parts, 1)


def channels_innermost(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(1).unsqueeze(1)


C = 4
REARRANGEMENTS: list[tuple[Callable[[Tensor], Tensor], nn.Module, float]] = [
    # what is done, who reads it, and how much the ends of rows (which the rules ignore) may take away
    (lambda x: x, nn.Conv2d(C, 2, 3), 0.0),
    (lambda x: x.transpose(2, 3), nn.Conv2d(C, 2, 3), 0.0),
    (lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2), nn.Conv2d(C, 2, 3), 0.0),
    (lambda x: x.flip(3), nn.Conv2d(C, 2, 3), 0.0),
    (lambda x: x.roll((3, 5), (2, 3)), nn.Conv2d(C, 2, 3), 0.05),
    (tokens_and_back, nn.Conv2d(C, 2, 3), 0.0),
    (windows, nn.Conv2d(C, 2, 3), 0.0),
    (grid, nn.Conv2d(C, 2, 3), 0.0),
    (space_to_depth, nn.Conv2d(4 * C, 2, 3), 0.0),
    (focus, nn.Conv2d(4 * C, 2, 3), 0.0),
    (lambda x: x.flatten(2), nn.Conv1d(C, 2, 3), 0.05),
    (lambda x: x.transpose(2, 3).flatten(2), nn.Conv1d(C, 2, 3), 0.05),
    (channels_innermost, nn.Conv1d(1, 2, 3), 0.05),
    (lambda x: x.reshape(x.shape[0], C * x.shape[2], x.shape[3]), nn.Conv1d(C * 64, 2, 3), 0.0),
    (lambda x: torch.cat([x, F.avg_pool2d(x, 3, 1, 1)], 1), nn.Conv2d(2 * C, 2, 3), 0.05),
    (lambda x: x.chunk(2, 1)[0], nn.Conv2d(C // 2, 2, 3), 0.0),
    (lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)), nn.Conv2d(C, 2, 3), 0.0),
    (lambda x: F.pixel_shuffle(x, 2), nn.Conv2d(1, 2, 3), 0.0),
    (lambda x: F.pixel_unshuffle(x, 2), nn.Conv2d(4 * C, 2, 3), 0.0),
    (lambda x: F.unfold(x, 2, stride=2).reshape(-1, 4 * C, 32, 32), nn.Conv2d(4 * C, 2, 3), 0.0),
    (lambda x: torch.cat(x.chunk(4, 2), 1), nn.Conv2d(4 * C, 2, 3), 0.0),
    (lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), nn.Conv2d(C, 2, 3), 0.01),
    (lambda x: F.avg_pool2d(x, (1, 5), (2, 1)), nn.Conv2d(C, 2, 3), 0.0),
    (lambda x: F.adaptive_avg_pool2d(x, 16), nn.Conv2d(C, 2, 3), 0.0),
    (lambda x: x.permute(0, 2, 1, 3), nn.Conv2d(64, 2, 3), 0.0),  # rows as channels: channels are independent
    (lambda x: x.permute(0, 2, 1, 3).flatten(0, 1), nn.Conv1d(C, 2, 3), 0.0),
    (lambda x: x.permute(0, 3, 1, 2).flatten(0, 1), nn.Conv1d(C, 2, 3), 0.0),
    (lambda x: x + x.transpose(2, 3).flip(1), nn.Conv2d(C, 2, 3), 0.0),
    (lambda x: x.mean(2), nn.Conv1d(C, 2, 3), 0.03),
    (lambda x: x.mean(2, keepdim=True).expand(x.shape), nn.Conv2d(C, 2, 3), 0.03),
    (lambda x: x.mean((2, 3), keepdim=True).expand_as(x), nn.Conv2d(C, 2, 3), 0.0),
]


@pytest.mark.parametrize("case", range(len(REARRANGEMENTS)))
def test_fields_through_the_tracer_are_those_of_the_real_tensors(case: int) -> None:
    rearrange, reader, allowed = REARRANGEMENTS[case]
    model = Net(rearrange, reader)
    shape = (1, C, 65, 67)
    field = entropy.normalise(read_field(model, shape))
    size = rearrange(model.colour(torch.zeros(shape))).shape[2:]
    lags = [lag for lag in lags_up_to(4, field.ndim) if max(map(abs, lag)) < min(size)]

    def make() -> Tensor:
        return rearrange(model.colour(torch.randn(12, *shape[1:])))

    assert_agrees(measure(make, lags, correlation=True), field, lags, allowed)


class Mixed(nn.Module):
    """Colour the input, mix it with fresh weights at every call, read it."""

    def __init__(
        self, mixer: nn.Module, around: Callable[[nn.Module, Tensor], Tensor], reader: nn.Module
    ) -> None:
        super().__init__()
        self.colour = nn.AvgPool2d((2, 4), stride=1)
        self.mixer, self.around, self.reader = mixer, around, reader

    def mixed(self, x: Tensor) -> Tensor:
        return self.around(self.mixer, self.colour(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(self.mixed(x))  # type: ignore[no-any-return]


def _over_rows(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.transpose(2, 3)).transpose(2, 3)  # type: ignore[no-any-return]


def _over_tokens(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.flatten(2)).view(x.shape)  # type: ignore[no-any-return]


def _over_channels(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def _plainly(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x)  # type: ignore[no-any-return]


MIXERS: list[tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor], int]] = [
    (nn.Conv2d(C, 64, 3, 2, 1, bias=False), _plainly, 64),
    (nn.Conv2d(C, 64, 3, (1, 2), bias=False, groups=2), _plainly, 64),
    (nn.ConvTranspose2d(C, 32, 2, 2, bias=False), _plainly, 32),
    (nn.Linear(C, 64, bias=False), _over_channels, 64),
    (nn.Linear(32, 32, bias=False), _plainly, C),  # columns are mixed away, rows are not
    (nn.Linear(32, 32, bias=False), _over_rows, C),
    (nn.Linear(1024, 1024, bias=False), _over_tokens, C),
]


@pytest.mark.parametrize("case", range(len(MIXERS)))
def test_fields_after_random_weights(case: int) -> None:
    mixer, around, channels = MIXERS[case]
    model = Mixed(mixer, around, nn.Conv2d(channels, 2, 3))
    shape = (1, C, 33, 35)
    field = read_field(model, shape)
    lags = lags_up_to(4, field.ndim)

    def make() -> Tensor:
        for weight in mixer.parameters():
            weight.normal_()
        return model.mixed(torch.randn(8, *shape[1:]))

    rows = np.concatenate([measure(make, lags, correlation=True) for _ in range(3)])
    # a correlation is a ratio: its mean is off by what the ratio's spread makes of it
    assert_agrees(rows, field, lags, allowed=0.01)


def test_a_spatial_sigmoid_gate_is_taken_to_keep_the_map() -> None:
    """x·σ(g) with g independent: E[σ]² Γ dominates; what σ's own fluctuation adds is ignored."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.colour = nn.AvgPool2d(3, 1)
            self.gate = nn.Conv2d(C, C, 3, padding=1, bias=False)
            self.reader = nn.Conv2d(C, 2, 3)

        def product(self, x: Tensor) -> Tensor:
            x = self.colour(x) * 3
            return x * torch.sigmoid(self.gate(x))

        def forward(self, x: Tensor) -> Tensor:
            return self.reader(self.product(x))  # type: ignore[no-any-return]

    model = Gated()
    field = entropy.normalise(read_field(model, (1, C, 34, 34)))
    assert field == entropy.normalise(entropy.pool(entropy.white(2), (3, 3), (1, 1), (1, 1)))
    lags = lags_up_to(4, 2)

    def make() -> Tensor:
        model.gate.weight.normal_(std=(9 * C) ** -0.5)
        y = model.product(torch.randn(64, C, 34, 34))
        return y - y.mean((0, 2, 3), keepdim=True)

    assert_agrees(measure(make, lags, correlation=True), field, lags, allowed=0.06)


def test_a_residual_sum_through_the_tracer() -> None:
    """x + norm(conv(x)) with random filters: the branches are uncorrelated, so their covariances add.

    Each channel is divided by its own variance, and a mean of ratios is not the ratio of means: 0.02 off.
    """

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.colour = nn.AvgPool1d(4, 1)
            self.branch = nn.Conv1d(8, 8, 3, padding=1, stride=1, bias=False)
            self.norm = nn.InstanceNorm1d(8)
            self.reader = nn.Conv1d(8, 2, 3)

        def stream(self, x: Tensor) -> Tensor:
            x = self.colour(x)
            return x + self.norm(self.branch(x))

        def forward(self, x: Tensor) -> Tensor:
            return self.reader(self.stream(x))  # type: ignore[no-any-return]

    model = Residual()
    field = read_field(model, (1, 8, 1027))
    lags = lags_up_to(5, 1)
    assert field.variance == pytest.approx(1 / 4 + 1)

    def make() -> Tensor:
        model.branch.weight.normal_()
        return model.stream(torch.randn(8, 8, 1027))

    rows = np.concatenate([measure(make, lags) for _ in range(12)])
    assert_agrees(rows, field, lags, allowed=0.03)
