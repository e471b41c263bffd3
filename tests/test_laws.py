"""Laws that hold for any network, tried on random small ones.

A network is drawn as nested plain tuples and then built in several ways: as ``nn.Module`` s that compute the same
function in another guise, and by :class:`sed_torch.TopologyBuilder`.
"""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from support.networks import (
    CHANNELS,
    GUISES,
    SIZE,
    Guise,
    Spec,
    _pooled_before,
    assert_same,
    build,
    few,
    laws,
    networks,
    score,
    without_gates,
    write_down,
)

import sed_torch
from sed_torch import Topology
from sed_torch.scoring import evaluate, sed

# -- drawing networks ----------------------------------------------------------------------------------------


# every network ends in an operator that reads a patch and one that reads a vector


# -- building them -------------------------------------------------------------------------------------------


# -- the laws ------------------------------------------------------------------------------------------------


@laws
@given(networks)
def test_every_network_has_a_finite_score_and_no_unknown_operator(spec: tuple[Spec, ...]) -> None:
    s = score(build(spec), strict=True)
    assert s.total is not None
    assert math.isfinite(s.total)
    assert s.coverage == s.node_coverage == 1.0
    assert s.conv is not None
    assert s.total <= s.conv + 1e-12
    assert 0 < (s.suppression or 0) <= 1 + 1e-12


@pytest.mark.parametrize("guise", GUISES)
@laws
@given(networks)
def test_the_score_is_of_the_function_not_of_its_spelling(guise: str, spec: tuple[Spec, ...]) -> None:
    # (x + x) + f(x) hides from its second sum that x is a skip; x + f(x) + x does not. The total is the same.
    in_order = not GUISES[guise].reverse or all(len(op[1]) == 2 for op in spec if op[0] == "add")
    assert_same(score(build(spec)), score(build(spec, GUISES[guise])), skips=in_order)


@laws
@given(networks)
def test_mode_dtype_device_and_batch_do_not_matter(spec: tuple[Spec, ...]) -> None:
    expected = score(build(spec))
    assert_same(score(build(spec).train()), expected)
    assert_same(score(build(spec).eval()), expected)
    assert_same(score(build(spec).half()), expected)
    assert_same(score(build(spec).to_empty(device="cpu")), expected)
    assert_same(score(build(spec), batch=3), expected)


@laws
@given(without_gates)
def test_the_builder_writes_what_the_tracer_finds(spec: tuple[Spec, ...]) -> None:
    s, t = score(build(spec)), write_down(spec)
    result = evaluate(t)
    mine = [result.total, result.conv, result.pool, result.skip, result.suppression, float(t.macs)]
    theirs = [s.total, s.conv, s.pool, s.skip, s.suppression, s.macs]
    assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-9)
    # the head's mean is a step of its own, its parameters are the linear layer's
    assert t.params == s.params


@laws
@given(without_gates)
def test_a_pool_before_a_convolution_never_raises_suppression(spec: tuple[Spec, ...]) -> None:
    before = evaluate(write_down(spec))
    for changed in _pooled_before(spec):
        after = evaluate(write_down(changed))
        assert after.suppression is not None
        assert before.suppression is not None
        assert after.suppression <= before.suppression + 1e-12
        assert (after.total or 0) <= (before.total or 0) + 1e-12


@laws
@given(networks)
def test_amplitudes_add_up_at_every_depth(spec: tuple[Spec, ...]) -> None:
    s = score(build(spec, Guise(nested=True)))
    assert s.total is not None
    for depth in range(7):
        blocks = s.by_block(depth)
        assert math.fsum(b.amplitude for b in blocks) == pytest.approx(math.exp(s.total), rel=1e-12)
        assert math.fsum(b.share for b in blocks) == pytest.approx(1.0, abs=1e-12)
        assert sum(b.params for b in blocks) == s.params
        assert math.fsum(b.macs for b in blocks) == pytest.approx(s.macs)
    assert math.fsum(o.amplitude for o in s.by_op()) == pytest.approx(math.exp(s.total), rel=1e-12)


@laws
@given(networks)
def test_a_topology_survives_json(spec: tuple[Spec, ...]) -> None:
    t = sed_torch.topology(build(spec), input_size=(1, CHANNELS, SIZE, SIZE))
    back = Topology.from_dict(json.loads(t.to_json()))
    assert back == t
    assert sed(back) == sed(t) == evaluate(t).total


@few
@given(networks)
def test_both_front_ends_agree(spec: tuple[Spec, ...]) -> None:
    a, b = score(build(spec), frontend="fx"), score(build(spec), frontend="export")
    assert (a.frontend, b.frontend) == ("fx", "export")
    assert_same(a, b)
