"""What a score says of itself: numbers, blocks, and every view of them."""

from __future__ import annotations

import csv
import io
import json
import math
import pickle
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sed_torch
from sed_torch import Score
from sed_torch.errors import InputError
from sed_torch.scoring.result import SCHEMA, Block

SCRIPT = "<script>alert('x')</script>"


class Block2(nn.Sequential):
    def __init__(self, c: int) -> None:
        super().__init__(nn.Conv2d(c, c, 3, padding=1), nn.ReLU())


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(2, 1))
        self.layers = nn.Sequential(*(Block2(4) for _ in range(3)))
        self.unused = nn.Linear(7, 11)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Dead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * 0


class Hostile(nn.Module):
    """Names that are markup."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module(SCRIPT, nn.Conv2d(3, 4, 3))
        self.add_module("a|b", nn.Conv2d(4, 4, 1))
        self.add_module("[red]m[/red]", nn.Conv2d(4, 5, 1))

    def forward(self, x: Tensor) -> Tensor:
        for child in self.children():
            x = child(x)
        return x


@pytest.fixture(scope="module")
def scores() -> dict[str, Score]:
    size = (1, 3, 9, 9)
    return {
        "net": sed_torch.score(Net(), input_size=size),
        "dead": sed_torch.score(Dead(), input_size=size),
        "undefined": sed_torch.score(nn.ReLU(), input_size=size),
        "hostile": sed_torch.score(Hostile(), input_size=size, name=f"net {SCRIPT}"),
    }


KINDS = ("net", "dead", "undefined", "hostile")


# -- numbers and blocks --------------------------------------------------------------------------------------


def test_headline_and_number(scores: dict[str, Score]) -> None:
    net = scores["net"]
    assert float(net) == net.total
    assert net.headline() == f"Net: SED = {net.total:.4f} nats (higher is better)"
    assert repr(net) == f"Score(Net: sed={net.total:.4f}, coverage=100%, definition='sed/2')"
    again = Score.from_json(net.to_json())
    assert (again, hash(again)) == (net, hash(net))
    assert {net: "kept"}[again] == "kept"
    assert scores["dead"].headline().startswith("Dead: SED = -inf (no live path")
    assert float(scores["dead"]) == -math.inf
    assert scores["undefined"].headline().startswith("ReLU: SED undefined (the network has no operator")
    assert math.isnan(float(scores["undefined"]))
    assert repr(scores["undefined"]).startswith("Score(ReLU: sed=undefined")


def test_parameters_used_and_unused(scores: dict[str, Score]) -> None:
    net = scores["net"]
    assert net.unused_params == 7 * 11 + 11
    assert net.params == (3 * 4 * 9 + 4) + 3 * (4 * 4 * 9 + 4) + (4 * 5 + 5) + 88
    assert "88 parameters are never read by the forward" in str(net)


def test_blocks_by_depth(scores: dict[str, Score]) -> None:
    net = scores["net"]
    assert [b.path for b in net.by_block(1)] == ["", "stem", "layers", "head"]
    assert [b.path for b in net.by_block(2)][1:5] == ["stem.0", "stem.1", "layers.0", "layers.1"]
    (everything,) = net.by_block(0)
    assert everything.share == pytest.approx(1.0)
    assert math.log(everything.amplitude) == pytest.approx(net.total)
    parts = (everything.conv, everything.pool, everything.skip, everything.suppression)
    assert parts == pytest.approx((net.conv, net.pool, net.skip, net.suppression))
    assert net.blocks == net.by_block(net.depth)
    with pytest.raises(ValueError, match="depth must be 0 or more, found -1"):
        net.by_block(-1)


def test_a_block_by_hand(scores: dict[str, Score]) -> None:
    """The first layer reads the mean of 2×2 white values: correlation ½ along each axis."""
    one = sed_torch.score(Net(), input_size=(1, 3, 9, 9), definition="sed/1")
    block = next(b for b in one.by_block(2) if b.path == "layers.0")
    # three taps of (1, ½, 0): det = 1 - 2/4 = 1/2; both axes: entropy power (1/2)^(2/3)
    power = 0.5 ** (2 / 3)
    assert block.taps == 9.0
    assert block.effective_taps == pytest.approx(9 * power, abs=1e-6)
    assert block.suppression == pytest.approx(power, abs=1e-7)
    assert block.amplitude == pytest.approx(block.norm)
    assert block.norm == pytest.approx(64 * 4 * math.sqrt(4 * 9 * power), rel=1e-7)
    two = next(b for b in scores["net"].by_block(2) if b.path == "layers.0")
    assert two.norm == pytest.approx(math.sqrt(4 * 4 * 9 * power), rel=1e-7)
    white = 0.5 * math.log(2 * math.pi * math.e)
    assert block.entropy_in == pytest.approx(white + 0.5 * math.log(power), abs=1e-7)
    without = 64 * 4 * math.sqrt(4 * 9)
    assert one.pool is not None
    grown = math.exp(one.total or 0.0), math.exp((one.total or 0.0) - one.pool)
    mean = (grown[1] - grown[0]) / -one.pool
    assert block.pool == pytest.approx((block.norm - without) / mean, abs=1e-7)
    assert (block.skip, block.operators, block.live) == (0.0, 1, True)
    assert block.macs == 64 * 4 * 4 * 9
    assert block.params == 4 * 4 * 9 + 4


def test_contributions_by_operator(scores: dict[str, Score]) -> None:
    rows = scores["net"].by_op()
    assert [(r.op, r.count) for r in rows] == [("conv", 4), ("linear", 1)]
    assert sum(r.share for r in rows) == pytest.approx(1.0)
    assert rows[0].share > rows[1].share
    assert rows[1].taps == 1.0
    assert rows[1].macs == 4 * 5


# -- data ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_json_is_strict(scores: dict[str, Score], kind: str) -> None:
    def refuse(text: str) -> Any:
        raise AssertionError(f"{text} is no JSON")

    score = scores[kind]
    data = json.loads(score.to_json(), parse_constant=refuse)
    assert data == json.loads(json.dumps(score.to_dict(), allow_nan=False))
    assert data["schema"] == SCHEMA == "sed_torch.score/1"
    assert data["unit"] == "nats"
    assert data["higher_is_better"] is True
    assert "not the authors' formula" in data["source"]
    assert data["total"] == {"dead": "-inf", "undefined": None}.get(kind, score.total)
    assert (data["reason"] is None) == (kind in ("net", "hostile"))
    assert set(data["versions"]) == {"sed_torch", "torch", "numpy", "python"}
    assert len(data["blocks"]) == len(score.blocks)


def test_json_depth_and_indent(scores: dict[str, Score]) -> None:
    assert len(json.loads(scores["net"].to_json(depth=0))["blocks"]) == 1
    assert "\n" not in scores["net"].to_json(indent=None)


@pytest.mark.parametrize("kind", KINDS)
def test_dataframe_has_one_row_a_block(scores: dict[str, Score], kind: str) -> None:
    pytest.importorskip("pandas")
    frame = scores[kind].to_dataframe(2)
    assert list(frame.columns) == list(Block.__dataclass_fields__)
    assert list(frame["path"]) == [b.path for b in scores[kind].by_block(2)]


def test_dataframe_without_pandas_says_how_to_get_it(
    scores: dict[str, Score], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(
        sed_torch.SedTorchError, match=r"needs the package 'pandas'.*pip install 'sed-torch\[stats\]'"
    ):
        scores["net"].to_dataframe()


@pytest.mark.parametrize("kind", KINDS)
def test_csv_reads_back_in_full_precision(scores: dict[str, Score], kind: str) -> None:
    rows = list(csv.DictReader(io.StringIO(scores[kind].to_csv(2))))
    blocks = scores[kind].by_block(2)
    assert [r["path"] for r in rows] == [b.path for b in blocks]
    assert [float(r["amplitude"]) for r in rows] == [b.amplitude for b in blocks]
    assert [r["suppression"] == "" for r in rows] == [b.suppression is None for b in blocks]


# -- views ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_markdown_is_one_well_formed_table(scores: dict[str, Score], kind: str) -> None:
    lines = [line for line in scores[kind].to_markdown(2).splitlines() if line.startswith("|")]
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert columns == {12}
    headline = scores[kind].headline().replace("<", "&lt;").replace(">", "&gt;")
    assert scores[kind].to_markdown().startswith(f"**{headline}**")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.depth += tag != "br"

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("kind", KINDS)
def test_html_holds_nothing_but_a_table(scores: dict[str, Score], kind: str) -> None:
    parser = _Tags()
    parser.feed(scores[kind]._repr_html_())
    parser.close()
    allowed = {"div", "p", "b", "br", "table", "thead", "tbody", "tr", "th", "td", "small"}
    assert parser.tags <= allowed
    assert parser.depth == 0
    assert scores[kind].headline() in parser.text
    if kind == "hostile":
        assert parser.text.count(SCRIPT) == 2  # the model's name and the block's, as text


@pytest.mark.parametrize("kind", KINDS)
def test_rich_renders(scores: dict[str, Score], kind: str) -> None:
    console = pytest.importorskip("rich.console").Console(width=200, file=io.StringIO())
    console.print(scores[kind])
    text = console.file.getvalue()
    assert scores[kind].headline() in text
    assert "suppression" in text
    if kind == "hostile":
        assert text.count(SCRIPT) == 2
        assert "[red]m[/red]" in text


def test_rich_takes_no_name_for_markup() -> None:
    console = pytest.importorskip("rich.console").Console(width=200, file=io.StringIO())
    console.print(sed_torch.score(nn.Conv2d(3, 4, 3), input_size=(1, 3, 8, 8), name="[red]x[/red]"))
    assert "[red]x[/red]" in console.file.getvalue()


def test_text_folds_equal_blocks(scores: dict[str, Score]) -> None:
    model = nn.Sequential(*(Block2(4) for _ in range(5)))
    score = sed_torch.score(model, input_size=(1, 4, 8, 8))
    text = score.to_text(1)
    assert "0 … 4 ×5" in text
    row = next(line for line in text.splitlines() if "×5" in line)
    assert "100.0%" in row
    assert len(score.by_block(1)) == 5 + 1  # data are never folded; the root owns the input
    assert str(scores["net"]) == scores["net"].to_text()


def test_a_network_without_operators_is_told_in_few_words() -> None:
    net = nn.Sequential(nn.ReLU(), nn.AvgPool2d(2))
    lines = sed_torch.score(net, input_size=(1, 3, 8, 8)).to_text().splitlines()
    assert lines[0].startswith("Sequential: SED undefined (the network has no operator that SED defines")
    assert [line.partition(":")[0] for line in lines[1:3]] == ["size", "standing"]
    assert lines[3] == ""
    assert lines[4].startswith("block")
    # what the root does itself is not folded with what a submodule does
    assert [line.split()[0] for line in lines[6:8]] == ["(root)", "1"]


def test_text_tells_what_was_assumed_and_what_is_unknown() -> None:

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(self.conv(x))

    score = sed_torch.score(Odd(), input_size=(1, 3, 8, 8))
    assert [(u.target, u.count) for u in score.unknown] == [("special_bessel_j0", 1)]
    assert score.node_coverage == 0.5
    assert score.coverage == 1.0
    assert "unknown operator: special_bessel_j0 ×1 in the root" in str(score)


# -- round trips ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_pickle_round_trip(scores: dict[str, Score], kind: str) -> None:
    back = pickle.loads(pickle.dumps(scores[kind]))
    assert back == scores[kind]
    assert back.to_dict() == scores[kind].to_dict()
    assert back.evaluation == scores[kind].evaluation


def test_results_are_lists_of_what_they_hold() -> None:
    found = sed_torch.check(nn.Sequential(nn.Conv2d(3, 4, 1, stride=2), nn.ReLU()), input_size=(1, 3, 8, 8))
    assert len(found) == len(list(found)) == len(found.findings) > 0
    assert found[0] == found[:1][0] == found.findings[0]
    effects = sed_torch.sensitivity(Net(), input_size=(1, 3, 8, 8))
    assert (len(effects), effects[0], effects[-2:]) == (len(effects.rows), effects.rows[0], effects.rows[-2:])
    change = sed_torch.compare(Net(), Net(), input_size=(1, 3, 8, 8))
    assert [b.path for b in change] == [b.path for b in change.blocks]
    best = sed_torch.search("nasbench201", max_params="1M", max_looks=20, budget_s=None)
    assert best[0] == best.front[0]
    assert sum(c.params <= 1e6 for c in best) == len(best)
    table = sed_torch.score(Net(), input_size=(1, 3, 8, 8)).table()
    assert table[0].module == ""
    assert [r.module for r in table[1:3]] == ["stem", "stem.0"]
    clean = sed_torch.compare(Net(), Net(), input_size=(1, 3, 8, 8))
    assert replace(clean, blocks=()), "a result is true where its list is empty too"
    for result in (found, effects, change, best, table, sed_torch.cost(Net(), input_size=(1, 3, 8, 8))):
        assert len(repr(result)) <= 130, repr(result)


def test_a_row_of_a_ranking_is_told_in_a_line() -> None:
    models = {"small": Net(), "large": nn.Conv2d(3, 640, 3)}
    ranking = sed_torch.rank(models, input_size=(1, 3, 8, 8), max_params="2k", progress=False)
    assert re.fullmatch(r"RankRow\(small: SED \d+\.\d{4}, [\d.]+ k? ?params, .* MACs\)", repr(ranking[0]))
    with pytest.raises(KeyError, match="no model 'smal' in the ranking; did you mean small"):
        ranking["smal"]
    with pytest.raises(InputError, match="cannot limit params to 'few': 'few' is no quantity"):
        sed_torch.rank(models, max_params="few")
    with pytest.raises(InputError, match="cannot limit memory to 0"):
        sed_torch.rank(models, max_memory=0)


def test_functions_that_use_the_package_are_sent_to_other_processes() -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    sent = cloudpickle.dumps(_scored_there)
    assert pickle.loads(sent)() == pytest.approx(_scored_there())


def _scored_there() -> float:
    return float(sed_torch.score(nn.Conv2d(3, 4, 3), input_size=(1, 3, 8, 8)))


def test_results_cannot_be_changed(scores: dict[str, Score]) -> None:
    with pytest.raises(AttributeError, match="cannot assign to field 'total'"):
        scores["net"].total = 1.0  # type: ignore[misc]
