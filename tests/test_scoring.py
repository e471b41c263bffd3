"""The score: hand-computed totals, its parts, and what it says where it is undefined."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from typing import get_args

import pytest
import torch
from torch import nn

import sed_torch
from sed_torch import Topology, TopologyBuilder, entropy
from sed_torch.scoring import DEFAULT_DEFINITION, DEFINITIONS, EFFECTS, NO_PATH, evaluate, sed
from sed_torch.topology import Kind, Step


def test_two_convolutions_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, groups=2)
    )
    s = sed_torch.score(model, input_size=(1, 3, 10, 10), definition="sed/1")
    # white maps: n_eff = n = 9.  A·C_out·√(C_in/g·n)
    first = 100 * 8 * math.sqrt(3 * 9)
    second = 64 * 4 * math.sqrt(4 * 9)
    assert s.total == pytest.approx(math.log(first + second), abs=1e-12)
    assert s.suppression == 1.0
    assert s.params == 3 * 8 * 9 + 8 + 16 + 8 // 2 * 4 * 9 + 4
    assert s.macs == 100 * 8 * 27 + 64 * 4 * 4 * 9
    assert s.coverage == 1.0
    assert s.scope == "convolutional"


def test_pooling_before_a_convolution_by_hand() -> None:
    """One axis: a mean of two leaves correlation 1/2 at lag 1, so two taps keep 2·√(1 - 1/4)."""
    model = nn.Sequential(nn.AvgPool1d(2, stride=1), nn.Conv1d(4, 6, 2))
    s = sed_torch.score(model, input_size=(1, 4, 9), definition="sed/1")
    kept = 2 * math.sqrt(1 - 0.25)
    assert s.total == pytest.approx(math.log(7 * 6 * math.sqrt(4 * kept)), abs=1e-8)
    assert s.conv == pytest.approx(math.log(7 * 6 * math.sqrt(4 * 2)), abs=1e-12)
    assert s.pool is not None
    assert s.pool == pytest.approx(0.5 * math.log(kept / 2), abs=1e-8)
    assert s.suppression == pytest.approx(kept / 2, abs=1e-8)


def test_identity_skip_around_a_pool_suppresses_the_decrease() -> None:
    b = TopologyBuilder("skip")
    x = b.input(4, (16, 16))
    y = b.conv(b.add(x, b.pool(x, 3, stride=1, padding=1)), 4, 3, padding=1)
    result = evaluate(b.finish(y))
    assert result.skip is not None
    assert result.skip > 0.05
    assert result.pool is not None
    assert result.pool < 0


def test_no_live_path_is_minus_infinity_with_a_reason() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) * 0.0

    s = sed_torch.score(Cut(), input_size=(1, 3, 8, 8))
    assert s.total == -math.inf
    assert "no live path" in str(s.reason)
    assert json.loads(s.to_json())["total"] == "-inf"


@pytest.mark.parametrize("model", [nn.Sequential(), nn.Sequential(nn.ReLU(), nn.AvgPool2d(2))])
def test_without_a_mixing_operator_the_score_is_undefined(model: nn.Module) -> None:
    s = sed_torch.score(model, input_size=(1, 3, 8, 8))
    assert s.total is None
    assert "no operator that SED defines" in str(s.reason)
    assert math.isnan(float(s))


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 5])
def test_blocks_add_up_to_the_total(depth: int) -> None:
    import torchvision

    s = sed_torch.score(torchvision.models.resnet18())
    assert s.total is not None
    blocks = s.by_block(depth)
    assert math.fsum(b.amplitude for b in blocks) == pytest.approx(math.exp(s.total), rel=1e-12)
    assert math.fsum(b.share for b in blocks) == pytest.approx(1.0, abs=1e-12)
    assert sum(b.params for b in blocks) == s.params


def test_views_of_a_score() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("<script>alert(1)</script>", nn.Conv2d(3, 4, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self._modules["<script>alert(1)</script>"](x)  # type: ignore[misc]

    s = sed_torch.score(Net(), input_size=(1, 3, 8, 8), name="<b>net</b>")
    data = json.loads(s.to_json())
    assert data["schema"] == "sed_torch.score/1"
    assert data["total"] == s.total
    assert "<script>" not in s._repr_html_()
    assert "<b>net</b>" not in s._repr_html_()
    assert "higher is better" in str(s)
    assert s.to_markdown().count("|") > 10
    assert len(s.to_dataframe()) == len(s.blocks)
    assert pickle.loads(pickle.dumps(s)).total == s.total


def test_mean_over_a_white_map_leaves_a_constant_of_variance_one_over_n() -> None:
    field = entropy.average(entropy.white(2), (5, 4))
    assert field.const == pytest.approx(1 / 20)
    assert entropy.effective_taps(field, (3, 3), (1, 1)) < 1e-5


def test_a_kernel_larger_than_its_map_reads_what_falls_on_it() -> None:
    b = TopologyBuilder()
    y = b.conv(b.input(2, (3, 3)), 5, 7, padding=3)
    assert sed(b.finish(y), definition="sed/1") == pytest.approx(math.log(9 * 5 * math.sqrt(2 * 9)))


def test_unknown_definition_is_named() -> None:
    b = TopologyBuilder()
    with pytest.raises(sed_torch.SedTorchError, match="unknown definition 'sed/0'"):
        sed(b.finish(b.input(1, (2,))), definition="sed/0")


def test_one_convolution_by_hand() -> None:
    """30·30·8·√(3·9): ln 37412.3 = 10.5298."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    s = sed_torch.score(model, input_size=(1, 3, 32, 32), definition="sed/1")
    assert s.total == pytest.approx(math.log(900 * 8 * math.sqrt(27)), abs=1e-12)
    assert round(float(s), 4) == 10.5298


def three_layers(*, pooled: bool = True, skip: bool = True) -> Topology:
    """y = conv₂(x + conv₃(pool₃(x))) on ten positions of one axis."""
    b = TopologyBuilder()
    x = b.input(2, (10,))
    p = b.pool(x, 3, stride=1, padding=1) if pooled else x
    f = b.conv(p, 2, 3, padding=1)
    return b.finish(b.conv(b.add(x, f) if skip else f, 5, 2))


def test_parts_of_three_layers_by_hand() -> None:
    # pool₃ on white: Γ = (3, 2, 1)/9, so R₃ has a = 2/3, b = 1/3: det = 1 + 2a²b - 2a² - b²
    a, b = 2 / 3, 1 / 3
    det = 1 + 2 * a * a * b - 2 * a * a - b * b
    read_by_first = 3 * det ** (1 / 3)
    # the sum: (1, 0, 0) + (1, 2/3, 1/3) = 2·(1, 1/3, 1/6)
    read_by_second = 2 * math.sqrt(1 - 1 / 9)
    without_skip = 2 * math.sqrt(1 - 4 / 9)

    def amplitude(first: float, second: float) -> float:
        return 10 * 2 * math.sqrt(2 * first) + 9 * 5 * math.sqrt(2 * second)

    result = evaluate(three_layers(), definition="sed/1")
    total = math.log(amplitude(read_by_first, read_by_second))
    assert result.total == pytest.approx(total, abs=1e-7)
    assert result.conv == pytest.approx(math.log(amplitude(3, 2)), abs=1e-12)
    assert result.pool == pytest.approx(total - math.log(amplitude(3, 2)), abs=1e-7)
    assert result.skip == pytest.approx(total - math.log(amplitude(read_by_first, without_skip)), abs=1e-7)
    assert result.suppression == pytest.approx((read_by_first + read_by_second) / 5, abs=1e-7)
    first, second = result.terms
    assert (first.taps, second.taps) == (3.0, 2.0)
    assert second.effective_taps == pytest.approx(read_by_second, abs=1e-7)


def test_parts_are_differences_between_real_networks() -> None:
    """The skip part compares with the network whose skip is cut, the pool part with the one without its pool."""
    full = evaluate(three_layers())
    assert full.total is not None
    assert full.skip == pytest.approx(full.total - sed(three_layers(skip=False)), abs=1e-12)
    assert full.pool == pytest.approx(full.total - sed(three_layers(pooled=False)), abs=1e-12)
    no_pool = evaluate(three_layers(pooled=False, skip=False))
    assert (no_pool.pool, no_pool.skip, no_pool.suppression) == (0.0, 0.0, 1.0)
    assert no_pool.total == no_pool.conv


def test_a_skip_that_carries_a_decrease_has_a_negative_part() -> None:
    """A branch that spreads its positions apart is white at lag 1; the skip around it is not."""
    b = TopologyBuilder()
    x = b.pool(b.input(2, (16,)), 5, stride=1, padding=2)
    steps = b.finish(b.conv(b.add(x, b.conv(x, 2, 1)), 2, 2)).steps
    source, pool, branch, total, reader = steps
    spread = Step("spread", "dilate", (2,), ndim=1, factor=(8.0,))
    total = dataclasses.replace(total, inputs=(1, 3))
    reader = dataclasses.replace(reader, inputs=(4,))
    net = Topology((source, pool, branch, spread, total, reader), (5,))
    result = evaluate(net, definition="sed/1")
    assert (evaluate(net).skip or 0.0) < 0.0
    # the skip has variance 1/5 and correlation 4/5, the branch variance 1 and none: r = 0.16/1.2
    first, kept = 16 * 2 * math.sqrt(2), 2 * math.sqrt(1 - (0.16 / 1.2) ** 2)
    with_skip, without = (first + 15 * 2 * math.sqrt(2 * n) for n in (kept, 2.0))
    assert result.skip == pytest.approx(math.log(with_skip / without), abs=1e-7)
    assert with_skip < without


def test_transposed_convolution_adds_its_phases_roots() -> None:
    """Width 3, stride 2: half of the outputs read two taps, half read one."""
    s = sed_torch.score(nn.ConvTranspose1d(4, 6, 3, stride=2), input_size=(1, 4, 8), definition="sed/1")
    expected = 17 * 6 * math.sqrt(4) * (math.sqrt(2) + math.sqrt(1)) / 2
    assert s.total == pytest.approx(math.log(expected), abs=1e-12)
    assert s.suppression == 1.0
    assert s.macs == 8 * 4 * 6 * 3


def test_global_mean_before_a_wide_convolution_leaves_a_bias() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x.mean((2, 3), keepdim=True).expand(x.shape))  # type: ignore[no-any-return]

    s = sed_torch.score(Net(), input_size=(1, 3, 8, 8))
    assert s.suppression is not None
    assert s.suppression < 1e-6
    assert s.pool == 0.0  # a mean over everything is no pooling window


def test_dead_operators_count_parameters_only() -> None:
    b = TopologyBuilder()
    x = b.input(2, (8,))
    b.conv(x, 50, 3)
    result = evaluate(b.finish(b.conv(x, 5, 2)), definition="sed/1")
    assert len(result.terms) == 1
    assert result.total == pytest.approx(math.log(7 * 5 * math.sqrt(2 * 2)), abs=1e-12)
    assert result.fields[1] is None
    assert result.topology.params == 2 * 50 * 3 + 2 * 5 * 2


def test_without_an_output_there_is_no_path() -> None:
    b = TopologyBuilder()
    b.conv(b.input(2, (8,)), 5, 2)
    result = evaluate(b.finish())
    assert (result.total, result.reason) == (-math.inf, NO_PATH)
    assert (result.conv, result.pool, result.skip, result.suppression) == (None, None, None, None)
    assert sed(result.topology) == -math.inf


def test_sed_and_evaluate_agree() -> None:
    for t in (three_layers(), three_layers(skip=False), three_layers(pooled=False)):
        assert sed(t) == evaluate(t).total


def test_every_kind_of_step_has_a_rule() -> None:
    assert set(EFFECTS) == set(get_args(Kind))
    assert DEFAULT_DEFINITION in DEFINITIONS
    assert all(d.name == name for name, d in DEFINITIONS.items())
    assert "not the authors' formula" in DEFINITIONS["sed/1"].source


def test_repeated_blocks_are_worked_out_once() -> None:
    """Rules and determinants are kept by what they were asked: forty equal blocks ask nothing that four do not.

    (Sums of a residual stream ask anew: its variance grows from block to block.)
    """
    rules = (entropy.effective_taps, entropy.normalise, entropy.pool, entropy.subsample)

    def asked(blocks: int) -> list[int]:
        b = TopologyBuilder()
        x = b.pool(b.conv(b.input(3, (32, 32)), 8, 3, padding=1), 2)
        for _ in range(blocks):
            x = b.conv(b.norm(b.conv(x, 8, 3, padding=1)), 8, 3, padding=1)
        for rule in rules:
            rule.cache_clear()
        evaluate(b.finish(x))
        return [rule.cache_info().misses for rule in rules]

    assert asked(40) == asked(4)
    assert 0 < sum(asked(4)) < 20
