"""The HTML file: complete in itself, text where users named things, and the numbers of the results."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torchvision
from torch import Tensor, nn

import sed_torch
from sed_torch import check, score
from sed_torch.costing import step_memory
from sed_torch.errors import DataError, InputError, MissingDependencyError
from sed_torch.evidence import ValidationReport, validate
from sed_torch.ranking import Ranking, RankRow
from sed_torch.report import html as html_module, save_html, to_html
from sed_torch.report.parts import Column, table_of
from sed_torch.report.reference import (
    make_reference,
    write_reference,
)
from sed_torch.scoring.result import Score
from sed_torch.scoring.standing import INPUT, ReferenceRow, ReferenceSet, read_reference
from sed_torch.searching import Candidate, Improvement, SearchResult
from sed_torch.tables import mebibytes

SCRIPT = '<script>alert("1")</script>'
SIZE = (1, 3, 16, 16)
VOID = {"meta", "link", "input", "br"}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AvgPool2d(2, 1))
        self.body = nn.Conv2d(8, 8, 3)
        self.dead = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        self.dead(x)
        return cast("Tensor", self.body(x))


class Page(HTMLParser):
    """Elements with their attributes, texts of table cells, and whether every element was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._table: list[list[str]] | None = None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in VOID:
            return
        self.open.append(tag)
        if tag == "table":
            self._table = self.tables.setdefault(str(dict(attrs)["id"]), [])
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("td", "th") and self._table is not None:
            self._table[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self._table = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data
        if self._table and self._table[-1] and {"td", "th"} & set(self.open[-3:]):
            self._table[-1][-1] += data.strip()

    def rows(self, id: str) -> list[dict[str, str]]:
        head, *body = self.tables[id]
        return [dict(zip(head, row, strict=True)) for row in body]


def ranking(n: int = 12) -> Ranking:
    rng = np.random.default_rng(0)
    rows = [
        RankRow(f"m{i}", family=f"f{i % 3}", sed=float(s), params=1000 * (i + 1), macs=1e6 * (i + 1), suppression=0.9,
                coverage=1.0, scope="convolutional", definition="sed/1")
        for i, s in enumerate(rng.normal(15, 1, n))
    ]  # fmt: skip
    rows.append(RankRow(SCRIPT, family=SCRIPT, status="failed", reason=f"no {SCRIPT}"))
    return Ranking.of(rows, versions={"sed_torch": "0.0.0"})


def validation() -> ValidationReport:
    rng = np.random.default_rng(0)
    y = rng.normal(size=80)
    return validate(
        y + 0.3 * rng.normal(size=80), y, names=[f"{SCRIPT}{i}" for i in range(80)], n_bootstrap=20, title=SCRIPT,
        rivals={SCRIPT: y + rng.normal(size=80)}, groups=[SCRIPT] * 40 + ["g"] * 40, params=np.exp(y), source=SCRIPT,
        notes=[SCRIPT], seeds={"a": y, "b": y},
    )  # fmt: skip


def search() -> SearchResult:
    a, b = Candidate(SCRIPT, 1.0, 5, 10.0, 2), Candidate("b", 2.0, 9, 20.0, 3)
    return SearchResult(
        space=SCRIPT, best=b, front=(b, a), history=(Improvement(1, 0.1, a), Improvement(4, 0.2, b)), looks=9,
        feasible=8, size=None, seconds=1.0, stop="budget", constraints={"params": 25.0}, objectives=("sed", "params"),
        strategy="evolution", seed=0, definition="sed/1",
    )  # fmt: skip


def hostile() -> nn.Module:
    net = nn.Sequential()
    net.add_module(SCRIPT, nn.Conv2d(3, 4, 3))
    net.add_module('"><img src=x onerror=alert(1)>', nn.Conv2d(4, 4, 3))
    net.add_module("{{ 7*7 }}", nn.Conv2d(4, 4, 3))
    return net


@pytest.fixture(scope="module")
def checked() -> str:
    return to_html(check(Net(), input_size=SIZE, name="small"))


def test_a_model_page_has_the_numbers_of_its_score(checked: str) -> None:
    page = Page(checked)
    found = score(Net(), input_size=SIZE, name="small")
    rows = page.rows("m0-blocks")
    blocks = found.by_block()
    assert [r["block"] for r in rows] == [b.path or "(root)" for b in blocks]
    assert [r["share"] for r in rows] == [f"{b.share:.1%}" for b in blocks]
    assert [r["live"] for r in rows].count("dead") == 1
    for text in (
        f"{found.total:.4f}",
        "nats, higher is better",
        "small",
        "No percentile",
        "What SED is",
        "sed/2",
    ):
        assert text in page.text
    assert "not the authors' formula" in page.text
    assert "Findings" in page.text
    codes = check(Net(), input_size=SIZE).codes()
    assert codes, "the dead layer is a finding"
    assert all(code in page.text for code in codes)
    assert checked.startswith("<!doctype html>")


def test_numbers_sort_by_full_precision_and_missing_ones_are_marked(checked: str) -> None:
    cells = re.findall(r'<td class="n" data-v="([^"]*)">([^<]*)<', checked)
    assert ("", "–") in cells
    assert any(shown.endswith("%") and 0 < float(v) < 1 for v, shown in cells)
    assert any(shown.endswith(" k") and float(v) > 1000 for v, shown in cells)


def test_every_kind_of_result_has_its_page() -> None:
    plain = score(Net(), input_size=SIZE, name="plain")
    page = Page(to_html(plain, check(Net(), input_size=SIZE, name="b"), ranking(), validation(), search()))
    assert {"compared", "m0-blocks", "m1-blocks", "r0-rows", "r0-failures", "r0-families"} <= set(page.tables)
    assert {"r1-overall", "r1-rivals", "r1-partial", "r1-within", "r1-ceiling", "r2-front"} <= set(
        page.tables
    )
    assert [r["model"] for r in page.rows("compared")] == ["b", "plain"]
    assert len(page.rows("r0-rows")) == 13
    assert page.rows("r0-rows")[-1]["SED"] == "–"
    assert page.rows("r0-failures")[0]["reason"] == f"no {SCRIPT}"
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_nothing_is_fetched_and_one_script_may_run() -> None:
    text = to_html(ranking(), search())
    page = Page(text)
    for tag, attrs in page.elements:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            value = attrs.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
        assert not any(a.startswith("on") for a in attrs), (tag, attrs)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert f"script-src 'sha256-{digest}'" in str(policy)
    assert str(policy).startswith("default-src 'none'")


def test_names_are_text_everywhere() -> None:
    text = to_html(
        check(hostile(), input_size=SIZE, name=SCRIPT), ranking(), validation(), search(), title=SCRIPT
    )
    page = Page(text)
    assert [t for t, _ in page.elements].count("script") == 1
    assert "img" not in [t for t, _ in page.elements]
    assert text.count("<script") == 1
    assert page.text.count(SCRIPT) > 10
    assert "49" not in [r["block"] for r in page.rows("m0-blocks")], "no template in a name"
    many = to_html(*[score(hostile(), input_size=SIZE, name=f"{SCRIPT}{i}") for i in range(2)])
    assert many.count("<script") == 1


def test_a_model_without_a_score_has_a_page() -> None:
    page = Page(to_html(score(nn.ReLU(), input_size=(1, 3), name="empty")))
    assert "no convolution, no linear layer" in page.text
    assert "No percentile: the model has no finite score" in page.text

    lazy = check(nn.Sequential(nn.LazyConv2d(4, 3)), name="lazy")
    assert lazy.score is None
    assert "SED308" in Page(to_html(lazy)).text


def test_many_models_are_compared_without_figures() -> None:
    found = score(Net(), input_size=SIZE, name="x")
    text = to_html(*[found] * 7)
    assert "m0-blocks" not in text
    assert len(Page(text).rows("compared")) == 7


def test_input_sizes_that_differ_are_told() -> None:
    a, b = score(Net(), input_size=SIZE), score(Net(), input_size=(1, 3, 24, 24))
    assert "input sizes differ" in to_html(a, b)
    assert "input sizes differ" not in to_html(a, a)


def test_two_models_are_compared_block_by_block() -> None:
    a, b = score(Net(), input_size=SIZE, name="a"), score(Net(), input_size=SIZE, name="b")
    assert "diff-tables" in to_html(a, b)
    assert "diff-tables" not in to_html(a, b, a)


def test_the_first_screen_answers_what_a_person_asks() -> None:
    found = check(Net(), input_size=SIZE)
    assert found.score is not None
    told = replace(found.score, advice=("change first: x",), expected={"sentence": "reach 50 %"})
    text = to_html(replace(found, score=told))
    glance = text[text.index("At a glance") : text.index("<h3>Findings")]
    for word in ("size: ", "standing: ", "shape: ", "findings: ", "change first: x", "reach 50 %"):
        assert word in glance


def test_a_ranking_of_a_whole_zoo_is_small_and_quick() -> None:
    start = time.perf_counter()
    text = to_html(ranking(1370))
    assert len(text.encode()) < 3_000_000
    assert time.perf_counter() - start < 15
    assert len(Page(text).rows("r0-rows")) == 1371


def test_what_cannot_be_reported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="nothing to report on: expected at least one result"):
        to_html()
    with pytest.raises(InputError, match="cannot report on int: expected a Score, CheckReport, Ranking"):
        to_html(cast("Any", 3))
    save_html(tmp_path / "a.html", search(), title="mine")
    assert "<title>mine</title>" in (tmp_path / "a.html").read_text(encoding="utf-8")
    html_module._template.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'sed-torch\[plot\]'"):
        to_html(search())


def test_cells_show_and_sort() -> None:
    columns = (Column("a", "A", number=False), Column("b", "B", bar=True))
    rows = [{"a": "x", "b": ("1.00 k", 1000.0)}, {"a": None, "b": 250}, {"a": "z", "b": None, "off": True}]
    table = table_of("t", "T", columns, rows, pale="off")
    assert [[c.text for c in cells] for cells, _ in table.rows] == [["x", "1.00 k"], ["–", "250"], ["z", "–"]]
    assert [cells[1].sort for cells, _ in table.rows] == [1000.0, "", None]
    assert [cells[1].bar for cells, _ in table.rows] == [100.0, 25.0, 0.0]
    assert [pale for _, pale in table.rows] == [False, False, True]


# -- the reference table ---------------------------------------------------------------------------------


def test_the_reference_table_holds_this_versions_scores() -> None:
    """Made by ``python -m sed_torch.report``; to be made anew when the score changes."""
    table = read_reference()
    assert len(table.rows) >= 80
    assert [r.sed for r in table.rows] == sorted((r.sed for r in table.rows), reverse=True)
    by_name = {r.name: r for r in table.rows}
    again = make_reference(["torchvision:resnet18", "torchvision:squeezenet1_1", "torchvision:fcn_resnet50"])
    assert again.definition == table.definition
    assert [r.name for r in again.rows] == ["resnet18", "squeezenet1_1"], "segmentation is left out"
    for row in again.rows:
        assert row == ReferenceRow(
            row.name, pytest.approx(by_name[row.name].sed, abs=2e-6), row.params, row.macs
        )
    assert ReferenceSet.from_dict(json.loads(json.dumps(table.to_dict()))) == table


@pytest.mark.slow
def test_no_row_of_the_reference_table_has_drifted(tmp_path: Path) -> None:
    table, again = read_reference(), make_reference()
    found = {r.name: r for r in again.rows}
    # a newer torchvision may know more networks; those of the table must be as they are
    assert {r.name for r in table.rows} <= set(found)
    for row in table.rows:
        now = found[row.name]
        assert (now.params, now.macs) == (row.params, row.macs)
        assert now.sed == pytest.approx(row.sed, abs=2e-6), row.name
    write_reference(table, tmp_path / "reference.json")
    assert (
        ReferenceSet.from_dict(json.loads((tmp_path / "reference.json").read_text(encoding="utf-8"))) == table
    )
    shipped = Path(html_module.__file__).parent.parent / "scoring" / "reference.json"
    assert (tmp_path / "reference.json").read_bytes() == shipped.read_bytes()


def resnet18(size: tuple[int, ...] = INPUT) -> Score:
    return score(torchvision.models.resnet18(), input_size=size)


def test_a_standing_counts_those_below() -> None:
    found = resnet18()
    assert found.total is not None
    rows = [
        ReferenceRow(str(k), found.total + d, p, 1e9)
        for k, (d, p) in enumerate([(2, 10**9), (1, 1), (-1, 1)])
    ]
    standing, why = ReferenceSet("sed/2", tuple(rows), {}).standing(found)
    assert why is None
    assert standing is not None
    assert (standing.of, standing.sed, standing.params, standing.macs) == (3, 1, 2, 3)
    assert (standing.percentile, standing.below, standing.above) == (pytest.approx(100 / 3), rows[2], rows[1])


def test_the_table_does_not_compare_what_does_not_compare() -> None:
    table = read_reference()
    assert table.standing(resnet18((4, *INPUT[1:])))[0] is not None, "the batch does not matter"
    assert "scored at an input of 3×224×224" in str(table.standing(resnet18((1, 3, 64, 64)))[1])
    other = ReferenceSet("sed/0", table.rows, {})
    assert "scored as sed/0, this one as sed/2" in str(other.standing(resnet18())[1])
    assert table.standing(score(nn.ReLU(), input_size=INPUT))[1] == "the model has no finite score"
    page = Page(to_html(resnet18()))
    standing, _ = table.standing(resnet18())
    assert standing is not None
    assert f"percentile {standing.percentile:.0f} of {standing.of}" in page.text


def test_a_malformed_reference_is_told() -> None:
    with pytest.raises(
        DataError, match=r"expected a reference table of schema 'sed_torch\.reference/1', found None"
    ):
        ReferenceSet.from_dict({})
    with pytest.raises(DataError, match="malformed reference table"):
        ReferenceSet.from_dict(
            {"schema": "sed_torch.reference/1", "rows": [[1]], "definition": "", "versions": {}}
        )
    assert math.isfinite(read_reference().rows[0].sed)


@pytest.mark.parametrize(
    ("net", "extrapolated"),
    [(nn.Conv2d(3, 4, 3), False), (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2), nn.LSTM(36, 4)), True)],
)
def test_what_is_beyond_the_theory_is_said(net: nn.Module, extrapolated: bool) -> None:
    result = score(net, input_size=(1, 3, 8, 8))
    assert (result.scope == "extrapolated") is extrapolated
    told = "beyond what the theory was made for"
    assert (told in Page(to_html(result)).text) is extrapolated
    assert (told in str(result)) is extrapolated


def test_whatever_has_tables_has_a_page() -> None:
    a, b = (
        score(nn.Sequential(nn.Conv2d(3, c, 3), nn.Conv2d(c, 4, 3)), input_size=(1, 3, 9, 9)) for c in (4, 6)
    )
    compared, varied = sed_torch.compare(a, b), sed_torch.sensitivity(a)
    page = Page(to_html(compared, varied))
    assert compared.headline() in page.text
    assert "conv 3×3 3→4 → conv 3×3 3→6" in page.text
    assert {len(row) for row in page.tables["r1-0"]} == {7}
    with pytest.raises(InputError, match="cannot report on int"):
        to_html(3)  # type: ignore[arg-type]


def test_a_ranking_leads_with_its_front_and_what_makes_it_hard_to_compare() -> None:
    rows = [
        RankRow(n, sed=s, params=p, macs=100.0 * p, input=i, output=o, definition="sed/2")
        for n, s, p, i, o in (
            ("small", 9.0, 1000, "1x3x224x224", "1x10"),
            ("large", 12.0, 9000, "1x3x224x224", "1x10"),
            ("wasteful", 8.0, 9500, "3x300x300", "?"),
        )
    ]
    text = to_html(Ranking.of(rows))
    first = text[: text.index("SED over MACs")]
    assert "2 of 3 models" in first
    assert first.index("small (SED 9.000") < first.index("large (SED 12.000") < first.index("Careful")
    assert "scores compare at one input size only" in first
    assert "1 × what the data decide (detectors, say) (wasteful)" in first
    assert "wasteful (SED" not in first
    limited = to_html(Ranking.of(rows, limits={"params": "5k"}))
    assert "best within params ≤ 5.00 k" in limited[: limited.index("Models</h3>")]


def test_a_validation_leads_with_its_verdict() -> None:
    values = [float(i) for i in range(12)]
    report = validate(values, values[::-1], params=values, n_bootstrap=20)
    page = to_html(report)
    assert report.verdict()[:40] in page[: page.index("<figure>")]


def test_a_page_shows_when_a_step_holds_most() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    found = sed_torch.cost(net, input_size=(4, 3, 8, 8), gpu="T4", name="<net>")
    page = to_html(found)
    assert "Memory of a training step" in page
    assert mebibytes(found.peak) in page
    assert "&lt;net&gt;" in page
    assert "<net>" not in page
    assert 'id="r0-ops"' in page
    assert "largest batch" in page
    one = sed_torch.score(net, input_size=(4, 3, 8, 8))
    held = step_memory(one.structure.graph)  # type: ignore[union-attr]
    assert f"{mebibytes(held)} at its peak" in to_html(one)
    assert "Memory of a training step" not in to_html(Score.from_json(one.to_json()))
