"""The forms of the score: sed/2 by hand, its laws on random networks, and what random weights on white noise say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

import sed_torch
from sed_torch import Topology, TopologyBuilder
from sed_torch.building import Value
from sed_torch.scoring import DEFINITIONS, evaluate, sed, share_out

Array = NDArray[np.float64]


# --- by hand -------------------------------------------------------------------------------------------------


def test_one_map_size_by_hand() -> None:
    """Every scale sees both operators: ln(√(8·27) + √(4·36·√2)) + ¼ ln 100."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1, groups=2))
    s = sed_torch.score(model, input_size=(1, 3, 10, 10))
    first, second = math.sqrt(8 * 27), math.sqrt(4 * 4 * 9 * math.sqrt(2))
    assert s.total == pytest.approx(math.log(first + second) + 0.25 * math.log(100), abs=1e-12)
    assert s.definition == "sed/2"
    assert [t.norm for t in s.evaluation.terms] == pytest.approx([first, second])
    shares = [b.share for b in s.by_block(1) if b.operators]
    assert shares == pytest.approx([x / (first + second) for x in (first, second)])


def test_three_map_sizes_by_hand() -> None:
    """A = 64, 16 and 1: octaves of r above 16 see the first operator, those down to 1 two, the last one all three."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 16, 2, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
    a, b, c = math.sqrt(8 * 27), math.sqrt(16 * 8 * 4), math.sqrt(10 * 16)
    widths = math.log(64 / 16), math.log(16), math.log(2)
    sums = a, a + b, a + b + c
    expected = sum(d * math.log(s) for d, s in zip(widths, sums, strict=True)) / math.log(128)
    expected += 0.25 * math.log(64)
    result = sed_torch.score(model, input_size=(1, 3, 8, 8))
    assert result.total == pytest.approx(expected, abs=1e-12)
    shares = [block.share for block in result.by_block(1) if block.operators]
    by_hand = [sum(d / s for d, s in zip(widths[k:], sums[k:], strict=True)) for k in range(3)]
    assert shares == pytest.approx([x * y / math.log(128) for x, y in zip((a, b, c), by_hand, strict=True)])


def test_vectors_alone_have_one_octave() -> None:
    mlp = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    s = sed_torch.score(mlp, input_size=(1, 6))
    assert s.total == pytest.approx(math.log(math.sqrt(30) + math.sqrt(20)), abs=1e-12)


def test_a_lossy_pool_by_hand() -> None:
    """One axis: a mean of two leaves two taps with entropy power √(1 - 1/4); the norm goes with its root."""
    model = nn.Sequential(nn.AvgPool1d(2, stride=1), nn.Conv1d(4, 6, 2))
    s = sed_torch.score(model, input_size=(1, 4, 9))
    assert s.pool == pytest.approx(0.25 * math.log(0.75), abs=1e-8)
    assert s.by_block(1)[-1].pool == pytest.approx(s.pool)
    assert s.conv == pytest.approx(math.log(math.sqrt(6 * 4 * 2)) + 0.25 * math.log(7), abs=1e-12)


def test_groups_stand_between_one_operator_and_many() -> None:
    def total(groups: int) -> float:
        b = TopologyBuilder()
        return sed(b.finish(b.conv(b.input(16, (8, 8)), 16, 3, padding=1, groups=groups)))

    one, many = (
        total(1) - 0.5 * math.log(16),
        total(1),
    )  # its weights counted as one norm; sixteen norms that add
    assert total(16) == pytest.approx((one + many) / 2, abs=1e-12)


# --- laws ----------------------------------------------------------------------------------------------------

ops = st.sampled_from(["conv", "wide", "depthwise", "pool", "stride", "skip"])


def network(kinds: list[str], head: bool) -> Topology:
    b = TopologyBuilder()
    x: Value = b.conv(b.input(3, (32, 32)), 8, 3, padding=1, path="stem")
    for i, kind in enumerate(kinds):
        path = f"block{i}"
        if kind == "pool":
            x = b.pool(x, 3, stride=1, padding=1, path=path)
        elif kind == "stride":
            x = b.conv(x, 2 * x.channels, 3, stride=2, padding=1, path=path) if x.size[0] > 4 else x
        elif kind == "skip":
            x = b.add(
                x, b.conv(b.pool(x, 3, stride=1, padding=1, path=path), x.channels, 3, padding=1, path=path)
            )
        else:
            groups = x.channels if kind == "depthwise" else 1
            x = b.conv(x, x.channels * (2 if kind == "wide" else 1), 3, padding=1, groups=groups, path=path)
    return b.finish(b.linear(b.global_pool(x), 10, path="head") if head else x)


@settings(max_examples=60, deadline=None)
@given(st.lists(ops, max_size=7), st.booleans(), st.sampled_from(sorted(DEFINITIONS)))
def test_amplitudes_and_parts_add_up(kinds: list[str], head: bool, definition: str) -> None:
    result = evaluate(network(kinds, head), definition=definition)
    assert result.total is not None
    assert result.total == sed(result.topology, definition=definition)
    assert math.log(math.fsum(t.amplitude for t in result.terms)) == pytest.approx(result.total, abs=1e-9)
    assert math.fsum(t.pool for t in result.terms) == pytest.approx(result.pool, abs=1e-9)
    assert math.fsum(t.skip for t in result.terms) == pytest.approx(result.skip, abs=1e-9)
    whole = [t for t in result.terms if t.effective_taps == t.taps]
    assert all(t.pool == pytest.approx(0.0, abs=1e-12) for t in whole if t.norm)


@settings(max_examples=30, deadline=None)
@given(st.lists(ops, max_size=6), st.booleans(), st.sampled_from(sorted(DEFINITIONS)))
def test_a_share_is_the_slope_of_the_score(kinds: list[str], head: bool, definition: str) -> None:
    form, result = DEFINITIONS[definition], evaluate(network(kinds, head), definition=definition)
    positions = np.array([result.topology.steps[t.step].positions for t in result.terms])
    norms = np.array([t.norm for t in result.terms])
    total = math.fsum(t.amplitude for t in result.terms)
    for k, term in enumerate(result.terms):
        step = 1e-6 * norms[k]
        moved = [_sums(norms + s * np.eye(len(norms))[k], positions) for s in (step, -step)]
        up, down = (float(form.total(sums, np.unique(positions))[0]) for sums in moved)
        slope = (up - down) / 2e-6
        assert term.amplitude / total == pytest.approx(slope, abs=1e-5)


def _sums(norms: Array, positions: Array) -> Array:
    sizes = np.unique(positions)
    return np.array([[norms[positions == a].sum() for a in sizes]])


@settings(max_examples=30, deadline=None)
@given(st.lists(ops, max_size=6), st.lists(ops, max_size=6), st.sampled_from(sorted(DEFINITIONS)))
def test_a_difference_is_shared_out_whole(one: list[str], two: list[str], definition: str) -> None:
    a, b = (evaluate(network(kinds, True), definition=definition) for kinds in (one, two))
    parts = share_out(a, b)
    assert parts is not None
    assert math.fsum([*parts[0], *parts[1]]) == pytest.approx((b.total or 0.0) - (a.total or 0.0), abs=1e-9)
    assert parts[0][0] + parts[1][0] == pytest.approx(0.0, abs=1e-9)  # the stem is in both
    assert (
        share_out(a, evaluate(b.topology, definition=next(d for d in DEFINITIONS if d != definition))) is None
    )


def test_networks_of_other_largest_maps_share_their_difference_too() -> None:
    def net(stride: int) -> Topology:
        b = TopologyBuilder()
        return b.finish(b.conv(b.conv(b.input(3, (16, 16)), 8, 3, stride=stride, padding=1), 8, 3, padding=1))

    a, b = evaluate(net(1)), evaluate(net(2))
    parts = share_out(a, b)
    assert parts is not None
    assert math.fsum([*parts[0], *parts[1]]) == pytest.approx((b.total or 0) - (a.total or 0), abs=1e-12)


def test_every_octave_weighs_the_same() -> None:
    """Ten times the norm on the half of the scales that a map resolves: half of ln 10 more."""
    form = DEFINITIONS["sed/2"]
    sizes = np.array([1.0, 2 * 4096.0, math.sqrt(2 * 4096.0)])  # √: half of the range from 1/√2 to √2·A
    one = form.total(np.array([[0.0, 1.0, 0.0]]), sizes)[0]
    half = form.total(np.array([[0.0, 1.0, 9.0]]), np.array([1.0, 8192.0, 8192.0**0.5 / 2**0.5]))[0]
    assert half - one == pytest.approx(0.5 * math.log(10), abs=1e-12)
    assert one == pytest.approx(0.25 * math.log(8192), abs=1e-12)


def test_no_networks_and_dead_ones() -> None:
    for form in DEFINITIONS.values():
        assert form.total(np.zeros((0, 2)), np.array([1.0, 4.0])).shape == (0,)
        assert form.total(np.zeros((2, 2)), np.array([1.0, 4.0])).tolist() == [-math.inf, -math.inf]


# --- white noise ---------------------------------------------------------------------------------------------


def _measured_norm(conv: nn.Conv2d, maps: Tensor) -> float:
    """g^¼ times the norm of C_out outputs whose inputs are the patch's, made independent at its entropy power."""
    k = conv.kernel_size[0]
    patches = nn.functional.unfold(maps.reshape(-1, 1, *maps.shape[-2:]), k)  # one channel's taps
    taps = patches.permute(1, 0, 2).reshape(k * k, -1).double()
    correlation = torch.corrcoef(taps) if k > 1 else torch.ones(1, 1).double()
    power = torch.linalg.slogdet(correlation).logabsdet.div(k * k).exp()  # per tap
    independent = torch.randn(conv.in_channels // conv.groups * k * k, 4096).double() * power.sqrt()
    weights = torch.randn(conv.out_channels, len(independent)).double()
    return float((weights @ independent).square().sum(0).mean().sqrt()) * conv.groups**0.25


def test_white_noise_gives_the_same_score() -> None:
    """Random filters on white noise: correlations, positions and norms are measured, scales are added up in steps."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [
        nn.Conv2d(3, 16, 3, padding=1),
        nn.AvgPool2d(3, 1, 1),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.Conv2d(32, 8, 1),
    ]
    x = torch.randn(8, 3, 64, 64)
    found: list[tuple[int, float]] = []
    with torch.no_grad():
        for layer in layers:
            inner = x[..., 3:-3, 3:-3]  # the calculus knows no borders
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight)
                norm = _measured_norm(layer, inner)
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                found.append((x.shape[-2] * x.shape[-1], norm))
    largest = max(a for a, _ in found)
    steps = 4000
    total = 0.0
    for i in range(steps):
        r = 2**-0.5 * (2 * largest) ** ((i + 0.5) / steps)
        total += math.log(math.sqrt(r) * sum(norm for a, norm in found if math.sqrt(2) * a >= r)) / steps
    scored = sed_torch.score(nn.Sequential(*layers), input_size=(1, 3, 64, 64))
    assert scored.total == pytest.approx(total, abs=0.03)
    assert (scored.pool or 0.0) < -0.1  # so that what is measured is no white map
