"""Drawings: boxes and edges derived by hand, repeats folded, places that do not overlap, names that are text."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torchvision
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import DataError, MissingDependencyError, SedTorchError
from sed_torch.report.drawing import Drawing, draw
from sed_torch.report.layout import arrange

SCRIPT = '<script>alert("1")</script>'
SIZE = (1, 3, 16, 16)
SVG = "{http://www.w3.org/2000/svg}"


class Residual(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.conv(x))


class Net(nn.Module):
    """A skip over two blocks in the root's own forward, a dead layer, three equal blocks in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.AvgPool2d(3, 1, 1)
        self.mid = nn.Conv2d(4, 4, 3, padding=1)
        self.dead = nn.Conv2d(4, 4, 1)
        self.blocks = nn.Sequential(*(Residual(4) for _ in range(3)))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        self.dead(x)
        x = torch.relu(x) + self.mid(self.pool(x))
        return cast("Tensor", self.head(self.blocks(x).mean((2, 3))))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.a(self.b(self.a(x))))


def hostile() -> nn.Module:
    net = nn.Sequential()
    for name in (SCRIPT, 'a"b\\', "c|{d}]", "`e`;#f"):
        net.add_module(name, nn.Conv2d(3, 3, 3))
    return net


@pytest.fixture(scope="module")
def net() -> Drawing:
    return draw(Net(), depth=2, input_size=SIZE)


def edges(drawing: Drawing) -> set[tuple[str, str]]:
    labels = {n.id: n.label for n in drawing.nodes}
    return {(labels[e.source], labels[e.target]) for e in drawing.edges}


def test_boxes_and_edges_are_those_of_the_forward(net: Drawing) -> None:
    assert [n.label for n in net.nodes] == [
        *("input 1×3×16×16", "stem", "dead", "pool", "mid", "add"),
        *("blocks.0", "mean", "head", "output"),
    ]
    assert edges(net) == {
        *itertools.pairwise(
            ["input 1×3×16×16", "stem", "pool", "mid", "add", "blocks.0", "mean", "head", "output"]
        ),
        ("stem", "dead"),
        ("stem", "add"),
    }
    assert [(e.skip, e.back) for e in net.edges].count((True, False)) == 1
    labels = {n.id: n.label for n in net.nodes}
    assert [(labels[e.source], labels[e.target]) for e in net.edges if e.skip] == [("stem", "add")]
    assert [labels[e.target] for e in net.edges if not e.live] == ["dead"]


def test_equal_blocks_in_a_row_are_one_box(net: Drawing) -> None:
    box = next(n for n in net.nodes if n.count > 1)
    assert (box.label, box.last, box.count) == ("blocks.0", "blocks.2", 3)
    assert box.operators == 3
    assert box.params == 3 * (9 * 16 + 4)
    assert box.macs == 3 * 16 * 16 * 9 * 16
    assert "blocks.0–2 ×3" in net.to_svg()
    assert "blocks.0–2 ×3" in str(net)


def test_blocks_that_others_read_are_not_folded() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            a = self.layers[1](self.layers[0](x))
            return cast("Tensor", self.layers[3](self.layers[2](a)) + a)

    found = draw(Dense(), depth=2, input_size=SIZE)
    assert [(n.label, n.count) for n in found.nodes if n.kind == "block"] == [
        ("layers.0", 1),
        ("layers.1", 1),
        ("layers.2", 2),
    ]


def test_blocks_of_other_widths_are_not_folded() -> None:
    chain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 5, 1))
    assert [n.count for n in draw(chain, depth=1, input_size=SIZE).nodes] == [1, 1, 2, 1, 1]


def test_dead_parts_are_hatched(net: Drawing) -> None:
    (dead,) = (n for n in net.nodes if not n.live)
    assert (dead.label, dead.share, dead.suppression) == ("dead", 0.0, None)
    svg = net.to_svg()
    assert svg.count("-dead)") == 1
    assert "hatched: dead" in svg
    assert "striped" in net.to_dot()
    alive = draw(Shared(), input_size=SIZE).to_svg()
    assert "-dead)" not in alive
    assert "hatched" not in alive


def test_a_module_called_again_leads_back() -> None:
    found = draw(Shared(), depth=1, input_size=SIZE)
    labels = {n.id: n.label for n in found.nodes}
    assert [(labels[e.source], labels[e.target]) for e in found.edges if e.back] == [("b", "a")]
    assert "constraint=false" in found.to_dot()
    assert ET.fromstring(found.to_svg()) is not None


def test_numbers_are_those_of_the_score(net: Drawing) -> None:
    score = sed_torch.score(Net(), input_size=SIZE)
    assert math.fsum(n.share for n in net.nodes) == pytest.approx(1.0)
    blocks = {b.path: b for b in score.by_block(2)}
    mid = next(n for n in net.nodes if n.label == "mid")
    assert (mid.share, mid.suppression) == (blocks["mid"].share, blocks["mid"].suppression)
    assert mid.suppression is not None
    assert mid.suppression < 1
    assert draw(score, depth=2).nodes == net.nodes, "a score is drawn as it is"
    assert draw(score).depth == score.depth


def test_functional_operators_carry_their_part_of_the_score() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 3, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(nn.functional.conv2d(x, self.weight))

    found = draw(Functional(), input_size=SIZE)
    assert [(n.kind, n.label, n.share) for n in found.nodes] == [
        ("input", "input 1×3×16×16", 0.0),
        ("op", "conv", 1.0),
        ("output", "output", 0.0),
    ]


def test_the_fill_follows_the_share_or_what_is_lost(net: Drawing) -> None:
    def fills(drawing: Drawing) -> dict[str, float]:
        root = ET.fromstring(drawing.to_svg())
        found = {}
        for group in root.iter(f"{SVG}g"):
            title = group.find(f"{SVG}title")
            strength = [r.get("fill-opacity") for r in group.findall(f"{SVG}rect") if r.get("fill-opacity")]
            if title is not None and strength:
                found[str(title.text).split(";")[0]] = float(str(strength[0]))
        return found

    share = fills(net)
    assert max(share, key=lambda k: share[k]) == "blocks.0–2"
    assert share["stem"] / share["mid"] == pytest.approx(
        next(n.share for n in net.nodes if n.label == "stem")
        / next(n.share for n in net.nodes if n.label == "mid"),
        rel=0.01,
    )
    lost = fills(draw(Net(), depth=2, color="suppression", input_size=SIZE))
    assert "stem" not in lost, "it reads a white map"
    assert set(lost) == {"mid", "blocks.0–2"}


def test_vit_folds_to_one_box_of_blocks() -> None:
    found = draw(torchvision.models.vit_b_16(), depth=3, input_size=(1, 3, 224, 224))
    (folded,) = (n for n in found.nodes if n.count > 1)
    assert folded.count == 12
    assert folded.share > 0.9


# -- places ----------------------------------------------------------------------------------------------


@st.composite
def graphs(draws: st.DrawFn) -> tuple[dict[str, tuple[float, float]], list[tuple[str, str]]]:
    n = draws(st.integers(1, 12))
    size = st.tuples(st.floats(20, 200), st.floats(20, 80))
    sizes = {f"n{i}": draws(size) for i in range(n)}
    pairs = [(a, b) for a in sizes for b in sizes if a != b]
    return sizes, draws(st.lists(st.sampled_from(pairs), unique=True, max_size=25)) if pairs else []


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_boxes_do_not_overlap_and_lie_inside(graph: Any) -> None:
    sizes, edges = graph
    layout = arrange(sizes, edges)
    boxes = list(layout.boxes.values())
    assert len(boxes) == len(sizes)
    assert len(layout.routes) == len(edges)
    for b in boxes:
        assert -1e-6 <= b.x <= b.x + b.width <= layout.width + 1e-6
        assert -1e-6 <= b.y <= b.y + b.height <= layout.height + 1e-6
    for a, b in itertools.combinations(boxes, 2):
        apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
        assert apart
    order = list(sizes)
    for a, b in edges:
        if order.index(a) < order.index(b):
            assert layout.boxes[a].x + layout.boxes[a].width < layout.boxes[b].x, "from left to right"


def along(path: str) -> list[tuple[float, float]]:
    """Points of an SVG path of M, H and C."""
    points: list[tuple[float, float]] = []
    for command, text in re.findall(r"([MHC])([^MHC]*)", path):
        numbers = [float(n) for n in text.split()]
        if command == "M":
            points.append((numbers[0], numbers[1]))
            continue
        (x0, y0), t = points[-1], [k / 40 for k in range(1, 41)]
        if command == "H":
            points += [(x0 + (numbers[0] - x0) * u, y0) for u in t]
        else:
            x1, y1, x2, y2, x3, y3 = numbers
            points += [
                (
                    (1 - u) ** 3 * x0 + 3 * u * (1 - u) ** 2 * x1 + 3 * u * u * (1 - u) * x2 + u**3 * x3,
                    (1 - u) ** 3 * y0 + 3 * u * (1 - u) ** 2 * y1 + 3 * u * u * (1 - u) * y2 + u**3 * y3,
                )
                for u in t
            ]
    return points


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_no_edge_runs_through_a_box(graph: Any) -> None:
    layout = arrange(*graph)
    for route in layout.routes:
        for name, box in layout.boxes.items():
            if name in (route.source, route.target):
                continue
            inside = [
                (x, y)
                for x, y in along(route.path)
                if box.x + 0.1 < x < box.x + box.width - 0.1 and box.y + 0.1 < y < box.y + box.height - 0.1
            ]
            assert inside == [], (route, name)


def test_nothing_to_arrange() -> None:
    assert arrange({}, []).boxes == {}


# -- other forms -----------------------------------------------------------------------------------------


def test_names_are_text_in_every_form() -> None:
    found = draw(hostile(), depth=1, input_size=SIZE)
    root = ET.fromstring(found.to_svg())
    assert root.find(f".//{SVG}script") is None
    shown = [t.text for t in root.iter(f"{SVG}text")]
    assert SCRIPT in shown
    body = found.to_mermaid().replace("<br/>", "")
    quoted = [line.split('"')[1] for line in body.splitlines() if '"' in line]
    assert all(line.count('"') in (0, 2) for line in body.splitlines())
    assert not any(c in text for text in quoted for c in '<>"`|{}[]\\'), quoted
    assert "script" not in found._repr_html_().replace("&lt;script", "").replace("&lt;/script", "")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_the_dot_file() -> None:
    pytest.importorskip("graphviz")
    found = draw(hostile(), depth=1, input_size=SIZE)
    done = subprocess.run(["dot", "-Tjson"], input=found.to_dot(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    labels = [o["label"].split("\\n")[0] for o in json.loads(done.stdout)["objects"]]
    assert len(labels) == len(found.nodes)
    assert SCRIPT.replace('"', '"') in [label.replace('\\"', '"') for label in labels]
    svg = found.to_svg(engine="graphviz")
    assert svg.startswith("<svg")
    assert "<script" not in svg
    assert len(list(ET.fromstring(svg).iter(f"{SVG}g"))) == 1 + len(found.nodes) + len(found.edges)


def test_without_dot_or_the_package_the_error_says_what_to_do(
    net: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("graphviz")
    with monkeypatch.context() as m:
        m.setenv("PATH", "")
        with pytest.raises(
            SedTorchError, match="'dot' is not on the PATH: install Graphviz, or take engine='builtin'"
        ):
            net.to_svg(engine="graphviz")
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'sed-torch\[graph\]'"):
        net.to_svg(engine="graphviz")
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'sed-torch\[graph\]'"):
        net.to_networkx()


def test_networkx_has_the_same_graph(net: Drawing) -> None:
    networkx = pytest.importorskip("networkx")
    graph = net.to_networkx()
    assert networkx.is_directed_acyclic_graph(graph)
    assert {(graph.nodes[a]["label"], graph.nodes[b]["label"]) for a, b in graph.edges} == edges(net)
    assert math.fsum(share for _, share in graph.nodes(data="share")) == pytest.approx(1.0)
    assert networkx.dag_longest_path_length(graph, weight=None) == len(net.nodes) - 2, (
        "all but the dead layer"
    )


def test_files_by_suffix(net: Drawing, tmp_path: Path) -> None:
    heads = {".svg": "<svg", ".dot": "digraph", ".gv": "digraph", ".mmd": "flowchart LR", ".json": "{"}
    for suffix, head in heads.items():
        net.save(tmp_path / f"x{suffix}")
        assert (tmp_path / f"x{suffix}").read_text(encoding="utf-8").startswith(head)
    data = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert (data["schema"], len(data["nodes"])) == ("sed_torch.drawing/1", len(net.nodes))
    with pytest.raises(ValueError, match=r"expected a name that ends in \.svg, \.dot"):
        net.save(tmp_path / "x.bmp")


@pytest.mark.parametrize("color", ["share", "suppression"])
def test_a_drawing_is_read_back(color: Any) -> None:
    drawn = draw(Net(), input_size=SIZE, depth=1, color=color)
    again = Drawing.from_json(drawn.to_json())
    assert again == drawn
    assert again.to_svg() == drawn.to_svg()
    old = {k: v for k, v in drawn.to_dict().items() if k != "color"}  # as 0.3 wrote it
    assert Drawing.from_dict(old).color == "share"
    with pytest.raises(DataError, match="schema"):
        Drawing.from_dict({**old, "schema": "sed_torch.drawing/9"})
    with pytest.raises(DataError, match=r"nodes\[0\].*label"):
        Drawing.from_dict({**old, "nodes": [{"id": "a", "kind": "op"}]})


def test_themes_and_unknown_arguments(net: Drawing) -> None:
    assert 'fill="var(--ink)"' in net.to_svg(theme="css")
    assert "var(" not in net.to_svg(theme="dark")
    with pytest.raises(ValueError, match="unknown engine 'neato': expected 'builtin' or 'graphviz'"):
        net.to_svg(engine=cast("Any", "neato"))
    with pytest.raises(ValueError, match="color='blue': expected 'share' or 'suppression'"):
        draw(Net(), color=cast("Any", "blue"), input_size=SIZE)
    with pytest.raises(ValueError, match="depth must be 0 or more, found -1"):
        draw(Net(), depth=-1, input_size=SIZE)


def test_two_drawings_share_no_ids(net: Drawing) -> None:
    other = draw(Shared(), input_size=SIZE)
    ids = [{e.get("id") for e in ET.fromstring(d.to_svg()).iter() if e.get("id")} for d in (net, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert net.to_svg() == draw(Net(), depth=2, input_size=SIZE).to_svg()


def test_draw_is_public() -> None:
    assert sed_torch.draw is draw
