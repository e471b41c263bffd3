"""Features of a topology: by hand, from a module and from a space alike, and one network at a time or many."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import sed_torch
from sed_torch.building import TopologyBuilder
from sed_torch.errors import DataError
from sed_torch.scoring import evaluate
from sed_torch.scoring.features import (
    FEATURES,
    feature_matrix,
    features_of,
    pack_features,
    scores_and_features,
    unpack_features,
)
from sed_torch.scoring.wiring import wiring_of
from sed_torch.spaces import SPACES, get_space
from sed_torch.topology import Topology


def small() -> sed_torch.Topology:
    """Two convolutions, a pool before the second, and a head."""
    b = TopologyBuilder("small")
    x = b.norm(b.conv(b.input(3, (8, 8)), 4, 3, padding=1))
    x = b.conv(b.pool(x, 2), 6, 1)
    return b.finish(b.linear(b.global_pool(x), 10))


def test_by_hand() -> None:
    f = features_of(evaluate(small()))
    terms = np.array([64 * 4 * math.sqrt(27), 16 * 6 * math.sqrt(4), 10 * math.sqrt(6)])
    share = terms / terms.sum()
    params, units = np.array([108, 24, 70]), np.array([256, 96, 10])
    expected = {
        "amplitude": math.log(terms.sum()),
        "activations": math.log(units.sum()),
        "macs": math.log(64 * 108 + 16 * 24 + 60),
        "params": math.log(params.sum() + 8),  # and the normalisation's
        "resolution": math.log(64),
        "operators": math.log(3),
        "chain": math.log(3),
        "breadth": 0.0,
        "spread": math.log(math.log(10) + 2 * math.log(2)),
        "taps": math.log(9) / 3,
        "taps_by_share": share[0] * math.log(9),
        "suppression": 0.0,
        "centre": share @ [0, 0.5, 1],
        "positions_by_share": share @ np.log([64, 16, 1]),
        "channels_by_share": share @ np.log([4, 6, 10]),
        "groups_by_share": 0.0,
        "fan_in": np.log([27, 4, 6]).mean(),
        "fan_in_by_share": share @ np.log([27, 4, 6]),
        "linear": share[2],
        "attention": 0.0,
        "positions": np.log([64, 16, 1]).mean(),
        "channels": np.log([4, 6, 10]).mean(),
        "stem": math.log(64),
        "smallest": math.log(16),
        "spatial": 1 / 3,
        "depthwise": 0.0,
        "vectors": 1 / 3,
        "norms": 1 / 3,
        "positions_by_params": params @ np.log([64, 16, 1]) / params.sum(),
        "channels_by_params": params @ np.log([4, 6, 10]) / params.sum(),
        "tail": math.log(16),
        "head_channels": math.log(6),
        "joins": 0.0,
        "inputs": 1.0,
        "axes": 2.0,
        "head": 0.0,
    }
    assert list(f) == list(expected) == list(FEATURES)
    for name, value in expected.items():
        assert f[name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize("name", SPACES)
def test_a_module_and_its_topology_have_the_same(name: str) -> None:
    space = get_space(name)
    rng = np.random.default_rng(3)
    archs = [space.sample(rng) for _ in range(2)]
    from_topology = feature_matrix(space.topology(a) for a in archs)
    with torch.device("meta"):
        models = [space.build(a) for a in archs]
    scores = [sed_torch.score(m, input_size=space.input_size) for m in models]
    from_module = np.array([[*s.features.values(), *np.log1p(s.wiring)] for s in scores])
    from_module[np.isnan(from_module[:, 0])] = np.nan  # no live operator
    np.testing.assert_allclose(from_module, from_topology, atol=1e-9, equal_nan=True)


def test_many_at_once_equal_one_at_a_time() -> None:
    space = get_space("transnas_micro")
    rng = np.random.default_rng(0)
    nets = [space.topology(space.sample(rng)) for _ in range(6)]
    dead = TopologyBuilder("dead").finish()
    matrix = feature_matrix([*nets, dead, small()])
    for net, row in zip([*nets, dead, small()], matrix, strict=True):
        np.testing.assert_allclose(
            list(features_of(evaluate(net)).values()), row[: len(FEATURES)], rtol=1e-12
        )
        if net is not dead:
            np.testing.assert_allclose(np.log1p(wiring_of(net)), row[len(FEATURES) :], rtol=1e-12)
    assert np.isnan(matrix[-2]).all()
    assert np.isfinite(np.delete(matrix, -2, axis=0)).all()


def test_the_amplitude_is_sed_1() -> None:
    evaluation = evaluate(small(), definition="sed/1")
    assert evaluation.total is not None
    assert features_of(evaluation)["amplitude"] == pytest.approx(evaluation.total, abs=1e-12)


def test_what_no_output_needs_has_no_part() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 9, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.idle(x)
            return self.used(x)  # type: ignore[no-any-return]

    alone = sed_torch.score(nn.Conv2d(3, 4, 3), input_size=(1, 3, 8, 8))
    assert dict(sed_torch.score(Idle(), input_size=(1, 3, 8, 8)).features) == dict(alone.features)


def two_branches(kernels: tuple[tuple[int, int], ...]) -> Topology:
    b = TopologyBuilder()
    x = b.input(4, (8, 8))
    ends = [b.conv(b.conv(x, 4, k, padding=k // 2), 4, m, padding=m // 2) for k, m in kernels]
    return b.finish(b.add(*ends))


def test_wiring_counts_by_hand() -> None:
    """Of two networks with the same operators, those that differ in who reads whom have other counts."""
    straight, crossed, again = (
        two_branches(k) for k in (((3, 3), (5, 5)), ((3, 5), (5, 3)), ((5, 3), (3, 5)))
    )
    assert sum(wiring_of(straight)) == 3 * 6  # the input, four layers, a sum: a label each in three turns
    assert wiring_of(straight) != wiring_of(crossed)
    assert wiring_of(crossed) == wiring_of(again)
    first = [sorted(s.window for s in t.steps if s.kind == "mix") for t in (straight, crossed)]
    assert first[0] == first[1]


def test_wiring_passes_over_what_changes_nothing() -> None:
    def net(norm: bool, nested: bool) -> Topology:
        b = TopologyBuilder()
        x = b.input(4, (8, 8))
        maps = [b.conv(x, 4, 3, padding=1) for _ in range(3)]
        if norm:
            maps = [b.norm(m) for m in maps]
        total = b.add(b.add(maps[0], maps[1]), maps[2]) if nested else b.add(*maps)
        return b.finish(b.conv(total, 4, 1))

    assert len({wiring_of(net(norm, nested)) for norm in (False, True) for nested in (False, True)}) == 1


def test_wiring_is_the_same_everywhere() -> None:
    """Files keep it: another process, machine or version must count into the same buckets."""
    counts = wiring_of(small())
    assert {i: n for i, n in enumerate(counts) if n} == {
        2: 1,
        13: 1,
        16: 1,
        18: 1,
        22: 2,
        24: 1,
        29: 1,
        31: 1,
        33: 2,
        42: 2,
        44: 1,
        47: 1,
        50: 1,
        59: 1,
        61: 1,
    }


def test_packed_and_read_back() -> None:
    s = sed_torch.score(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)), input_size=(1, 3, 8, 8))
    text = pack_features(s.features, s.wiring)
    assert unpack_features(text) == pytest.approx([*s.features.values(), *np.log1p(s.wiring)], rel=1e-8)
    old = unpack_features(text.partition("|")[0])  # as versions before 0.4 wrote it
    assert old[: len(FEATURES)] == unpack_features(text)[: len(FEATURES)]
    assert all(map(math.isnan, old[len(FEATURES) :]))
    for damaged in (text + " 1", text.replace("|", ""), f"{text.partition('|')[0]}|", "a b c"):
        with pytest.raises(DataError, match="features: expected"):
            unpack_features(damaged)


def test_attention_is_seen() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    assert sed_torch.score(layer, input_size=(1, 5, 16)).features["attention"] == 1.0
    assert sed_torch.score(nn.Linear(4, 4), input_size=(1, 4)).features["attention"] == 0.0


def test_scores_and_features_in_one_go_are_those_of_evaluations() -> None:
    rng = np.random.default_rng(0)
    networks = [
        get_space(name).topology(get_space(name).sample(rng))
        for name in ("nasbench201", "darts", "mnasnet", "nasbench101")
        for _ in range(3)
    ]
    scores, features = scores_and_features(networks)
    evaluations = [evaluate(n) for n in networks]
    assert scores == pytest.approx(
        [math.nan if e.total is None else e.total for e in evaluations], nan_ok=True
    )
    np.testing.assert_array_equal(features, feature_matrix(evaluations))
