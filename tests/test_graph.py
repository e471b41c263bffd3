"""Graphs: invariants, liveness, fingerprint, JSON, and how repeated blocks are printed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

import sed_torch
from sed_torch import Graph
from sed_torch.errors import DataError, GraphError
from sed_torch.graph import SCHEMA, ModuleInfo, Node, Parameter


def node(name: str, op: str, *inputs: str, path: str = "", **attrs: Any) -> Node:
    return Node(name, op, op, inputs, (1, 4, 8, 8), "float32", attrs, path)


def graph(*nodes: Node, outputs: tuple[str, ...] | None = None) -> Graph:
    return Graph(nodes, (nodes[-1].name,) if outputs is None else outputs, "Net")


X, W = node("x", "input"), node("w", "parameter")


@pytest.mark.parametrize(
    ("nodes", "outputs", "message"),
    [
        ((X, X), ("x",), "graph 'Net': two nodes are named 'x'"),
        ((node("y", "relu", "x"), X), ("y",), "node 'y' reads 'x', which is not computed before it"),
        ((X,), ("z",), "graph 'Net': output 'z' names no node"),
    ],
)
def test_broken_graphs_are_refused(nodes: tuple[Node, ...], outputs: tuple[str, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        graph(*nodes, outputs=outputs)


def test_nodes_are_found_by_name() -> None:
    g = graph(X, node("y", "relu", "x"))
    assert g["y"].op == "relu"
    assert len(g) == 2
    assert [n.name for n in g] == ["x", "y"]
    with pytest.raises(GraphError, match="graph 'Net' has no node named 'q'"):
        g["q"]


def test_live_nodes_lie_on_a_path_from_an_input_to_an_output() -> None:
    g = graph(
        X,
        W,
        node("scaled", "mul", "w"),  # weights only
        node("unused", "relu", "x"),
        node("y", "conv", "x", "scaled"),
    )
    assert g.live == {"x", "y"}
    assert g.needed == {"x", "w", "scaled", "y"}


def test_sizes() -> None:
    assert X.numel == 256
    assert replace(X, shape=None).numel == 0
    assert Parameter("w", (3, 5)).numel == 15
    assert Parameter("scalar", ()).numel == 1


def test_fingerprint_is_of_the_structure() -> None:
    a = graph(X, node("y", "conv", "x", window=(3, 3)))
    renamed = Graph(
        (replace(X, name="q"), replace(a.nodes[1], name="r", inputs=("q",), source="a.py:3")), ("r",)
    )
    assert a.fingerprint == renamed.fingerprint
    wider = graph(X, node("y", "conv", "x", window=(5, 5)))
    elsewhere = graph(X, node("y", "conv", "x", path="stem", window=(3, 3)))
    rewired = graph(X, node("y", "conv", "x", window=(3, 3)), outputs=("x",))
    assert len({g.fingerprint for g in (a, wider, elsewhere, rewired)}) == 4


def full() -> Graph:
    return Graph(
        nodes=(
            X,
            W,
            node("y", "conv", "x", "w", path="stem.conv", window=(3, 3), transposed=False, result=None),
        ),
        outputs=("y",),
        name="Net",
        parameters=(Parameter("stem.conv.weight", (4, 4, 3, 3), trainable=False),),
        modules=(ModuleInfo("", "Net", 1), ModuleInfo("stem.conv", "Conv2d", 1)),
        batch=1,
        assumed=("batch of one",),
    )


def test_json_round_trip() -> None:
    g = full()
    text = g.to_json(indent=1)
    assert json.loads(text)["schema"] == SCHEMA == "sed_torch.graph/1"
    back = Graph.from_json(text)
    assert back == g
    assert back.fingerprint == g.fingerprint


def test_a_traced_graph_survives_json() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    g = sed_torch.trace(model, input_size=(2, 3, 8, 8))
    assert Graph.from_json(g.to_json()) == g
    assert g.batch == 2
    assert [m.type for m in g.modules] == ["Sequential", "Conv2d", "BatchNorm2d", "ReLU", "Flatten", "Linear"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"schema": "sed_torch.topology/1"},
            "expected schema 'sed_torch.graph/1', found 'sed_torch.topology/1'",
        ),
        ({"nodes": [{"title": "x"}]}, "malformed graph: TypeError"),
        ({"batch": "many"}, "malformed graph: ValueError"),
        ({"outputs": ["nowhere"]}, "output 'nowhere' names no node"),
    ],
)
def test_alien_data_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Graph.from_dict({**full().to_dict(), **change})
    with pytest.raises(GraphError, match="malformed graph: KeyError: 'nodes'"):
        Graph.from_dict({"schema": SCHEMA})
    with pytest.raises(DataError, match="graph: expected JSON"):
        Graph.from_json("{")


def test_printed_node() -> None:
    text = str(node("y", "conv", "x", "w", window=(3, 5), groups=1))
    assert text.split() == ["y", "conv", "1×4×8×8", "window=3×5", "groups=1", "←", "x,", "w"]
    assert "…" in str(replace(X, shape=None))


def test_repeated_blocks_are_printed_once() -> None:
    block = [nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        *(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(5)),
        nn.Sequential(*block, nn.Conv2d(4, 8, 3)),
    )
    text = str(sed_torch.trace(model, input_size=(1, 3, 8, 8)))
    assert "  1 … 5  ×5\n" in text
    operators = [line.split()[1] for line in text.splitlines() if line.startswith("  ")]
    assert operators.count("relu") == 2  # the folded blocks' one, and that of the block that differs
    assert "Graph Sequential" in text.splitlines()[0]
    assert text.splitlines()[-1].startswith("outputs: ")
    assert "parameter" not in text
