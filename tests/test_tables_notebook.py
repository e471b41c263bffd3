"""``_repr_html_`` of every result: small, whole, and text where users named things."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from torch import nn

import sed_torch
from sed_torch import tables
from sed_torch.benchmarking import BenchmarkReport
from sed_torch.comparing import compare
from sed_torch.diagnostics import check
from sed_torch.evidence import Accuracies, AccuracyRow, Joined, validate
from sed_torch.evidence.benchmarks import BenchmarkTable
from sed_torch.proxies import ProxyResult
from sed_torch.ranking import Ranking, RankRow
from sed_torch.report import draw
from sed_torch.scoring.result import Score
from sed_torch.searching import Candidate, Improvement, SearchResult
from sed_torch.sensitivity import sensitivity
from sed_torch.training.results import Counterparts
from sed_torch.training.rows import RunRow

NAME = "<script>alert('1')</script><img src=x onerror=\"alert(1)\">&amp;"
SIZE = (1, 3, 16, 16)
VOID = {"br", "path", "rect"}


def net(width: int = 4) -> nn.Module:
    model = nn.Sequential()
    model.add_module(NAME.replace(".", ""), nn.Conv2d(3, width, 3))
    model.add_module("pool", nn.AvgPool2d(3, 1))
    model.add_module("body", nn.Conv2d(width, 4, 3))
    return model


@cache
def score(width: int = 4) -> Score:
    return sed_torch.score(net(width), input_size=SIZE, name=NAME)


def accuracies() -> Accuracies:
    row = AccuracyRow(NAME, 1.0, NAME)
    return Accuracies((row,), NAME, NAME, NAME, NAME, ((NAME, NAME),))


def benchmark() -> BenchmarkReport:
    return BenchmarkReport(
        "2026-01-01", {"x": NAME}, NAME, ((NAME, NAME, NAME),), ((NAME, NAME),), (), (), (), None, None, "sed/1", 0, 0
    )  # fmt: skip


def search() -> SearchResult:
    best = Candidate(NAME, 1.0, 5, 10.0, 2)
    return SearchResult(
        space=NAME, best=best, front=(best,) * 500, history=(Improvement(1, 0.1, best),), looks=9, feasible=8,
        size=None, seconds=1.0, stop="budget", constraints={"params": 25.0}, objectives=("sed", "params"),
        strategy="evolution", seed=0, definition="sed/1",
    )  # fmt: skip


def validation() -> Any:
    y = np.random.default_rng(0).normal(size=80)
    return validate(
        y, y, names=[f"{NAME}{i}" for i in range(80)], n_bootstrap=5, title=NAME, rivals={NAME: -y}, notes=[NAME],
        groups=[NAME] * 40 + ["g"] * 40, source=NAME, seeds={NAME: y, "b": y}, unit=NAME, score_name=NAME,
    )  # fmt: skip


def joined() -> Joined:
    one = np.ones(1)
    return Joined((NAME,), one, one, one, None, (NAME,), ((NAME, NAME),), NAME, NAME, NAME, NAME)


def ranking() -> Ranking:
    rows = [RankRow(f"{NAME}{i}", family=NAME, sed=float(i), params=i + 1, macs=i + 1.0) for i in range(1371)]
    return Ranking.of([*rows, RankRow("failed", status="failed", reason=NAME)])


def runs() -> Counterparts:
    return Counterparts(
        tuple(RunRow(f"{NAME}{i}", 0, epoch=1, status="ok", test_accuracy=1.0, sed=2.0) for i in range(300))
    )


MADE: dict[str, Callable[[], Any]] = {
    "Accuracies": accuracies,
    "BenchmarkReport": benchmark,
    "BenchmarkTable": lambda: BenchmarkTable(NAME, NAME, (NAME,), np.ones(1), NAME, NAME, notes=(NAME,)),
    "CheckReport": lambda: check(net(), input_size=SIZE, name=NAME),
    "Comparison": lambda: compare(score(4), score(8)),
    "Counterparts": runs,
    "Drawing": lambda: draw(score(), depth=1),
    "ProxyResult": lambda: ProxyResult(NAME, {NAME: None}, {NAME: NAME}, {NAME: 0.1}, (SIZE,), 0),
    "Ranking": ranking,
    "Score": lambda: replace(score(), reason=NAME, assumed=(NAME,)),
    "SearchResult": search,
    "LayerTable": lambda: score().table(),
    "Sensitivity": lambda: sensitivity(score(), depth=1),
    "Cost": lambda: replace(sed_torch.cost(net(), input_size=SIZE), name=NAME),
    "Joined": joined,
    "ValidationReport": validation,
}


class Markup(HTMLParser):
    """Tags, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs), attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_result_that_shows_itself_is_here() -> None:
    found = set()
    for module in pkgutil.walk_packages(sed_torch.__path__, "sed_torch."):
        if "integrations" in module.name or module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and hasattr(value, "_repr_html_") and value is not tables.Tabular:
                found.add(value.__name__)
    found -= {"Calibration", "Listing"}  # they have no name that a user gave
    assert found == set(MADE)


@pytest.mark.parametrize("kind", MADE)
def test_small_whole_and_safe(kind: str) -> None:
    page = MADE[kind]()._repr_html_()
    markup = Markup(page)
    assert markup.open == [], "every element is closed"
    assert not {"script", "img", "style", "link", "iframe"} & set(markup.tags)
    assert len(page) < 60_000
    shown = (
        'onerror="alert(1)">&amp;' if kind == "Drawing" else "<script>"
    )  # a box shows the end of a long name
    assert shown in markup.text, "the name is text"


def test_long_tables_say_how_much_is_left_out() -> None:
    page = tables.to_html([{"a": i, "b": f"x{i}"} for i in range(100)], ("a", "b"))
    assert page.count("<tr>") == 61
    assert "… and 40 more rows" in page
    assert '<td>5</td><td style="text-align:left">x5</td>' in page, "numbers to the right"
    assert "more" not in tables.to_html([{"a": 1}], ("a",))
