"""Topologies: invariants, the live part, which inputs of a merge are identity skips, and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sed_torch
from sed_torch import Topology, TopologyBuilder
from sed_torch.building import Value
from sed_torch.errors import DataError, GraphError
from sed_torch.scoring import evaluate
from sed_torch.topology import SCHEMA, Step, clip_window, cut_path

INPUT = Step("x", "input")


def mix(name: str, source: int, **numbers: Any) -> Step:
    numbers = {"positions": 4.0, "c_in": 2, "c_out": 2, **numbers}
    return Step(name, "mix", (source,), window=(3, 3), stride=(1, 1), dilation=(1, 1), **numbers)


# -- invariants ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "outputs", "message"),
    [
        ((INPUT, INPUT), (0,), "topology 'net': two steps are named 'x'"),
        ((INPUT, mix("a", 1)), (1,), r"step 1 \('a'\) reads \(1,\): a step may read earlier ones only"),
        ((INPUT, mix("a", -1)), (1,), "a step may read earlier ones only"),
        ((INPUT,), (1,), r"topology 'net': outputs \(1,\) name no step"),
        ((INPUT, mix("a", 0, c_in=0)), (1,), "step 'a': a mix needs positions, c_in and c_out of at least 1"),
        ((INPUT, mix("a", 0, positions=0.0)), (1,), "a mix needs positions"),
        ((INPUT, replace(mix("a", 0), stride=(1,))), (1,), "window, stride and dilation need one number"),
        ((INPUT, replace(mix("a", 0), stride=(0, 1))), (1,), "step 'a': window and stride must be positive"),
        (
            (INPUT, Step("p", "pool", (0,), window=(2, 2))),
            (1,),
            "window, stride and dilation need one number",
        ),
        (
            (INPUT, Step("c", "cat", (0, 0), weights=(1.0,))),
            (1,),
            "step 'c': a cat needs one weight an input",
        ),
        (
            (INPUT, Step("m", "magic", (0,))),  # type: ignore[arg-type]
            (1,),
            "step 'm': no kind named 'magic'; expected one of input, mix, norm, pool",
        ),
    ],
)
def test_broken_topologies_are_refused(
    steps: tuple[Step, ...], outputs: tuple[int, ...], message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        Topology(steps, outputs, "net")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda b, x: b.add(x, b.conv(x, 4, 3)), "add at '': shapes differ"),
        (lambda b, x: b.add(x, b.conv(x, 4, 1)), "add at '': shapes differ"),
        (lambda b, x: b.cat(x, b.pool(x, 2), path="mix5"), "cat at 'mix5': sizes differ"),
        (lambda b, x: b.conv(x, 4, 9), r"a window of \(9, 9\).* does not fit a map of \(8, 8\)"),
        (lambda b, x: b.pool(x, 9), r"a window of \(9, 9\).* does not fit"),
        (lambda b, x: b.conv(x, 4, (3, 3, 3)), r"expected one number or 2, one an axis, found \(3, 3, 3\)"),
    ],
)
def test_the_builder_refuses_what_pytorch_would(build: Any, message: str) -> None:
    b = TopologyBuilder()
    with pytest.raises(GraphError, match=message):
        build(b, b.input(3, (8, 8)))


# -- the builder ---------------------------------------------------------------------------------------------


def test_shapes_parameters_and_macs_are_pytorchs() -> None:
    b = TopologyBuilder("net")
    x = b.input(3, (32, 30))
    x = b.conv(x, 16, 3, stride=2, padding=1, bias=True, path="stem")
    assert (x.channels, x.size) == (16, (16, 15))
    x = b.conv(x, 32, (1, 5), padding=(0, 2), groups=4)
    assert (x.channels, x.size) == (32, (16, 15))
    x = b.norm(x)
    x = b.pool(x, 3, stride=2, padding=1)
    assert x.size == (8, 8)
    t = b.finish(b.linear(b.global_pool(x), 10))
    assert t.params == (16 * 3 * 9 + 16) + 32 * 4 * 5 + 2 * 32 + (32 * 10 + 10)
    assert t.macs == 240 * 16 * 27 + 240 * 32 * 20 + 32 * 10
    assert t.depth == 3
    assert len(t) == 7
    assert [s.name for s in t.steps][1] == "stem"


def test_one_branch_is_no_merge() -> None:
    b = TopologyBuilder()
    x = b.input(3, (8, 8))
    assert b.add(x) is x
    assert b.cat(x) is x
    y = b.cat(x, b.conv(x, 5, 1))
    assert (y.channels, y.size) == (8, (8, 8))
    assert b.finish(y).steps[-1].weights == (3.0, 5.0)


def test_windows_are_clipped_to_the_taps_that_fall_on_the_map() -> None:
    assert clip_window((7, 3), (3, 8), (1, 1)) == (3, 3)
    # taps two apart on five positions: 0, 2, 4
    assert clip_window((7,), (5,), (2,)) == (3,)


def test_printed_topology_marks_dead_steps() -> None:
    b = TopologyBuilder("net")
    x = b.input(3, (8, 8))
    b.conv(x, 4, 3, path="unused")
    text = str(b.finish(b.pool(b.conv(x, 6, 3, groups=3, path="used"), 2)))
    assert "Topology net: 4 steps, 3 live" in text
    assert "·   1  mix      unused" in text
    assert "used 3→6 taps=3×3 A=36 groups=3" in text
    assert "window=2×2 stride=2×2" in text


def test_paths_are_cut_into_blocks() -> None:
    assert cut_path("layer1.0.conv1", 2) == "layer1.0"
    assert cut_path("layer1", 5) == "layer1"
    assert cut_path("layer1.0", 0) == cut_path("", 3) == ""
    b = TopologyBuilder()
    x = b.input(3, (8, 8))
    for path in ("a.0", "a.1", "b.0"):
        x = b.conv(x, 3, 1, path=path)
    t = b.finish(x)
    assert t.blocks(1) == {"": [0], "a": [1, 2], "b": [3]}
    assert t.blocks(0) == {"": [0, 1, 2, 3]}


# -- the live part -------------------------------------------------------------------------------------------


def test_live_steps_lie_on_a_path_from_an_input_to_an_output() -> None:
    b = TopologyBuilder()
    x = b.input(3, (8, 8))
    dead_end = b.conv(x, 3, 1)
    y = b.conv(x, 3, 1)
    t = b.finish(y)
    assert t.live == {x.index, y.index}
    assert dead_end.index not in t.live
    # a constant feeds an output, but nothing of the input reaches it
    source = Topology((INPUT, Step("c", "same"), mix("a", 1)), (2,))
    assert source.live == frozenset()
    assert b.finish().live == frozenset()


# -- identity skips ------------------------------------------------------------------------------------------


def skips(b: TopologyBuilder, *outputs: Value) -> dict[int, frozenset[int]]:
    return dict(b.finish(*outputs).skips)


def test_the_skip_of_a_residual_block() -> None:
    b = TopologyBuilder()
    x = b.norm(b.conv(b.input(3, (8, 8)), 4, 3, padding=1))
    f = b.norm(b.conv(b.norm(b.conv(x, 4, 3, padding=1)), 4, 3, padding=1))
    total = b.add(f, x)
    assert skips(b, total) == {total.index: frozenset({1})}


def test_the_skip_of_a_pre_activation_block() -> None:
    """x + conv(norm(x)): the stream itself is the skip, although the branch begins with a norm."""
    b = TopologyBuilder()
    x = b.conv(b.input(3, (8, 8)), 4, 3, padding=1)
    total = b.add(x, b.conv(b.norm(x), 4, 3, padding=1))
    assert skips(b, total) == {total.index: frozenset({0})}


def test_a_projection_is_no_identity_skip() -> None:
    b = TopologyBuilder()
    x = b.input(3, (8, 8))
    total = b.add(b.conv(x, 4, 1), b.conv(x, 4, 3, padding=1))
    assert skips(b, total) == {}


def test_a_pooled_skip_is_no_identity_skip() -> None:
    b = TopologyBuilder()
    x = b.input(4, (8, 8))
    total = b.add(b.pool(x, 3, stride=1, padding=1), b.conv(b.conv(x, 4, 3, padding=1), 4, 1))
    assert skips(b, total) == {}


def test_every_earlier_map_of_a_dense_block_is_a_skip() -> None:
    b = TopologyBuilder()
    x = b.input(4, (8, 8))
    f1 = b.conv(x, 2, 3, padding=1)
    first = b.cat(x, f1)
    f2 = b.conv(b.norm(first), 2, 3, padding=1)
    second = b.cat(x, f1, f2)
    assert skips(b, second) == {first.index: frozenset({0}), second.index: frozenset({0, 1})}


def test_the_skips_of_a_nas_bench_201_cell() -> None:
    """Node 3 = skip(node 0) + pool(node 1) + conv(node 2), node 2 = conv(node 0) + skip(node 1)."""
    b = TopologyBuilder()
    n0 = b.input(4, (8, 8))
    n1 = b.conv(n0, 4, 3, padding=1)
    n2 = b.add(b.conv(n0, 4, 1), n1)
    n3 = b.add(n0, b.pool(n1, 3, stride=1, padding=1), b.conv(n2, 4, 3, padding=1))
    # n1 is not computed from conv(node 0)'s result nor the other way round: no skip at node 2
    assert skips(b, n3) == {n3.index: frozenset({0})}


def test_two_equal_inputs_are_not_skips_of_each_other() -> None:
    b = TopologyBuilder()
    x = b.input(4, (8, 8))
    total = b.add(x, b.norm(x))
    assert skips(b, b.conv(total, 4, 1)) == {}


def test_skips_of_dead_merges_are_not_listed() -> None:
    b = TopologyBuilder()
    x = b.input(4, (8, 8))
    y = b.conv(x, 4, 3, padding=1)
    b.add(x, y)
    assert skips(b, y) == {}


def test_brackets_of_a_sum_do_not_matter() -> None:
    """(x + x) + pool(x), x + (x + pool(x)) and (x + pool(x)) + x are one sum of three, with two skips."""
    found = []
    for bracket in ("left", "right", "middle", "none"):
        b = TopologyBuilder()
        x = b.conv(b.input(3, (8, 8)), 4, 3, padding=1)
        p = b.pool(x, 3, stride=1, padding=1)
        total = {
            "left": lambda b=b, x=x, p=p: b.add(b.add(x, x), p),
            "right": lambda b=b, x=x, p=p: b.add(x, b.add(x, p)),
            "middle": lambda b=b, x=x, p=p: b.add(b.add(x, p), x),
            "none": lambda b=b, x=x, p=p: b.add(x, p, x),
        }[bracket]()
        e = evaluate(b.finish(b.conv(total, 4, 3, padding=1)))
        found.append((e.total, e.skip))
    assert found == [pytest.approx(found[0], abs=1e-12)] * 4
    assert found[0][1] > 0  # without the skips only the pooled map is read


def test_a_sum_that_is_read_twice_is_no_part_of_another() -> None:
    b = TopologyBuilder()
    x = b.input(4, (8, 8))
    s = b.add(x, x)
    total = b.add(s, b.conv(s, 4, 3, padding=1))
    assert skips(b, total) == {total.index: frozenset({0})}
    # nor one that the network returns
    b = TopologyBuilder()
    x = b.input(4, (8, 8))
    s = b.add(x, x)
    total = b.add(s, b.pool(x, 3, stride=1, padding=1))
    assert skips(b, total, s) == {}


# -- JSON ----------------------------------------------------------------------------------------------------


def small() -> Topology:
    b = TopologyBuilder("small")
    x = b.input(3, (8, 8))
    y = b.cat(x, b.pool(x, 3, stride=1, padding=1, path="cell.pool"))
    return b.finish(b.linear(b.global_pool(b.conv(y, 4, 3, dilation=2, path="cell.conv")), 10))


def test_json_round_trip() -> None:
    t = small()
    text = t.to_json(indent=1)
    assert json.loads(text)["schema"] == SCHEMA == "sed_torch.topology/1"
    assert Topology.from_json(text) == t
    # fields at their default are left out, so that files stay small
    first = {"name": "input", "kind": "input", "channels": 3, "size": [8, 8]}
    assert json.loads(text)["steps"][0] == first


def test_a_file_of_0_2_0_is_read_with_the_maps_that_it_did_not_name() -> None:
    b = TopologyBuilder()
    x = b.pool(b.conv(b.input(3, (9, 9)), 4, 3), 3, stride=2, padding=1)  # 7×7, then 4×4
    y = b.norm(b.cat(x, b.conv(x, 6, 1)))
    t = b.finish(b.linear(b.global_pool(y), 10))
    data = t.to_dict()
    for step in data["steps"]:
        del step["channels"], step["size"]
    maps = [(s.channels, s.size) for s in Topology.from_dict(data).steps]
    assert maps[0] == (0, None)  # of an input only what reads it tells
    assert maps[1:] == [(s.channels, s.size) for s in t.steps[1:]]
    assert maps[1:3] == [(4, (7, 7)), (4, (4, 4))]
    data["steps"][1]["name"] = "stem:work"
    assert Topology.from_dict(data).steps[1].operator == "stem"


class Maps(nn.Module):
    """Whatever changes the size of a map, or its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.shuffle = nn.PixelShuffle(2)
        self.narrow = nn.Conv2d(1, 6, (3, 1))
        self.norm = nn.BatchNorm2d(12)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.twice = nn.Upsample(scale_factor=2)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(self.shuffle(self.up(self.stem(x))))
        y = self.twice(self.pool(self.norm(torch.cat([y, y], 1))))
        out: Tensor = self.head(self.mean(y).flatten(1))
        return out


@pytest.mark.parametrize("samples", [1, 2])
def test_steps_keep_the_maps_that_torch_makes(samples: int) -> None:
    net, made = Maps().eval(), {}
    for name, module in net.named_children():
        module.register_forward_hook(lambda _m, _i, out, name=name: made.update({name: out.shape[1:]}))
    net(torch.zeros(samples, 3, 16, 24))
    found = {
        s.path: (s.channels, *(s.size or ()))
        for s in sed_torch.topology(net, input_size=(samples, 3, 16, 24)).steps
        if s.path
    }
    assert made.keys() == found.keys()
    assert {**found, "head": found["head"][:1]} == {k: tuple(v) for k, v in made.items()}


def test_phases_of_a_transposed_convolution_survive_json() -> None:
    step = replace(mix("up", 0), patches=((0.5, (1, 2)), (0.5, (2, 2))), axes=((0, 2, 1),))
    t = Topology((INPUT, step), (1,))
    assert Topology.from_json(t.to_json()) == t
    assert step.taps == 3.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"schema": "sed_torch.topology/0"},
            "expected schema 'sed_torch.topology/1', found 'sed_torch.topology/0'",
        ),
        ({"schema": None}, "expected schema"),
        ({"steps": [{"name": "x"}]}, "malformed topology: TypeError"),
        ({"steps": [{"name": "x", "kind": "input", "colour": 1}]}, "malformed topology: TypeError.*colour"),
        ({"outputs": ["last"]}, "malformed topology: ValueError"),
        ({"outputs": [99]}, "name no step"),
    ],
)
def test_alien_data_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Topology.from_dict({**small().to_dict(), **change})
    with pytest.raises(GraphError, match="malformed topology: KeyError: 'steps'"):
        Topology.from_dict({"schema": SCHEMA})
    with pytest.raises(DataError, match="topology: expected JSON"):
        Topology.from_json("{")
