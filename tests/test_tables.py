"""Every result has every view, fits every terminal, and what it writes is read back as it was."""

from __future__ import annotations

import csv
import importlib
import io
import json
import pkgutil
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import sed_torch
from sed_torch import tables
from sed_torch._plain import revived
from sed_torch.benchmarking import (
    BenchmarkReport,
    DatasetResult,
    NetworkTimes,
    Pick,
    SearchRow,
    SearchTime,
    SpaceTimes,
)
from sed_torch.errors import DataError, InputError
from sed_torch.evidence import Accuracies, AccuracyRow, Joined, ValidationReport
from sed_torch.evidence.benchmarks import BenchmarkTable
from sed_torch.ranking import Ranking, RankRow
from sed_torch.report import to_html
from sed_torch.report.reading import RESULTS, read_result
from sed_torch.scoring.result import LEGEND, Score
from sed_torch.tables import Grid, Tabular, View

SIZE = (1, 3, 16, 16)


def _net(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.AvgPool2d(2), nn.Conv2d(width, 12, 3))


@cache
def _score(width: int = 8) -> Score:
    return sed_torch.score(_net(width), input_size=SIZE, name=f"a_network_with_a_rather_long_name_{width}")


def _ranking() -> Ranking:
    rows = [
        RankRow(
            f"timm:some_long_model_name_{i}",
            "a_family",
            sed=12.5 + i,
            params=12_340_000 + 1000 * i,
            macs=2.5e9,
            input="1x3x224x224",
            output="1x1000",
        )
        for i in range(6)
    ]
    return Ranking.of([*rows, RankRow("timm:broken", status="failed", reason="ValueError: no such width")])


def _proxies() -> Tabular:
    from sed_torch.proxies import compute

    return compute(_net(), ["params", "synflow"], input_size=SIZE)


def _runs() -> Tabular:
    from sed_torch.training import Counterparts, RunRow

    rows = [
        RunRow(f"n{i}", 0, 1, "ok", test_accuracy=50.0 + i, sed=9.0 + i, params=1000, macs=1e6)
        for i in range(4)
    ]
    return Counterparts(tuple(rows), ())


def _check() -> Tabular:
    dead = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=True), nn.BatchNorm2d(8), nn.ReLU(), nn.ReLU(), nn.Conv2d(8, 4, 3)
    )
    return sed_torch.check(dead, input_size=SIZE)


def _validation() -> Tabular:
    from sed_torch.evidence import validate

    x = [float(i) for i in range(12)]
    accuracy = [v + (-1) ** i for i, v in enumerate(x)]
    return validate(x, accuracy, macs=x[::-1], params=x, groups=["a"] * 12, n_bootstrap=20)


def _accuracies() -> Accuracies:
    rows = [AccuracyRow(f"net_{i}", 70.125 + i, "a1_in1k", 2, 224, 1e6, 1e9) for i in range(30)]
    return Accuracies(
        tuple(rows), "top-1", "%", "results.csv", "the best recipe", (("x", "not own"),), "timm"
    )


def _joined() -> Joined:
    names = tuple(f"net_{i}" for i in range(25))
    x = np.arange(25.0) + 0.5
    params = np.where(x == 3.5, np.nan, 1e6 * x)
    groups = tuple("ab"[i % 2] if i else None for i in range(25))
    said = ("%", "results.csv", "top-1", "the best recipe")
    return Joined(names, x, x + 60, params, None, groups, (("x", "no score"),), *said, ("two input sizes",))


def _benchmark_table() -> BenchmarkTable:
    x = np.arange(12.0) + 0.25
    rival = np.where(x < 2, np.nan, -x)
    archs = tuple(f"|skip~{i}|" for i in range(12))
    chapters: dict[str, Any] = {"rivals": {"zen": rival}, "seeds": {"777": x}, "notes": ("one seed",)}
    return BenchmarkTable("nasbench201", "cifar10", archs, x + 80, "%", "a.json", params=x * 1e6, **chapters)


def _benchmarks() -> BenchmarkReport:
    report = _validation()
    assert isinstance(report, ValidationReport)
    report = replace(report, left_out=(("x", "no accuracy"),))
    of = [Pick(by, 12, 1, 90.125, 1.5e6, 0.5) for by in ("SED", "zen", "random network")]
    result = DatasetResult("nasbench201", "cifar10", "%", report, tuple(of), 2e6, tuple(of[:1]))
    looked = SearchRow(
        "darts", "evolve", None, 100, 3, 0.5, (9.5, 9.25, 9.75), {"cifar10": (9.0, 8, 10)}, 1e6
    )
    found = SearchTime("darts", 10**18, "evolve", 400, 0.995, "x", 9.5, 10**6, 4, {"cifar10": 94.25})
    return BenchmarkReport(
        date="2026-11-30",
        versions={"sed-torch": "0"},
        machine="here",
        files=(("nasbench201", "a.json", "0" * 64),),
        absent=(("darts", "no file"),),
        results=(result,),
        searches=(looked,),
        found=(found,),
        space_times=SpaceTimes("nasbench201", 15625, 0.25, 0.125),
        network_times=NetworkTimes("nasbench201", ("a",), 0.001, 0.01, 0.1, {"zen": 1.25}, 32, 0.0, None),
        definition="sed/2",
        seed=0,
        n_bootstrap=20,
    )


MADE: dict[str, Callable[[], Tabular]] = {
    "Score": _score,
    "LayerTable": lambda: _score().table(),
    "Comparison": lambda: sed_torch.compare(_score(8), _score(16)),
    "Sensitivity": lambda: sed_torch.sensitivity(_score()),
    "Ranking": _ranking,
    "SearchResult": lambda: sed_torch.search("nasbench201", max_looks=50, budget_s=20.0, seed=0),
    "ProxyResult": _proxies,
    "Counterparts": _runs,
    "ValidationReport": _validation,
    "CheckReport": _check,
    "Accuracies": _accuracies,
    "Joined": _joined,
    "BenchmarkTable": _benchmark_table,
    "BenchmarkReport": _benchmarks,
    "Cost": lambda: sed_torch.cost(_net(), input_size=SIZE),
}
"""One of every kind; a new kind of result has to be added."""

every = pytest.mark.parametrize("kind", MADE)


@cache
def _made(kind: str) -> Tabular:
    return MADE[kind]()


def test_no_kind_of_result_is_missing() -> None:
    for module in pkgutil.walk_packages(sed_torch.__path__, "sed_torch."):
        if "__main__" not in module.name and ".integrations." not in module.name:
            importlib.import_module(module.name)
    kinds = {c.__name__ for c in Tabular.__subclasses__() if c.__module__.startswith("sed_torch")}
    # calibrations take many trained networks: tests/test_calibration*; what a command lists is no result to keep
    assert kinds - {"Calibration", "Listing"} == set(MADE)


@every
def test_every_view_shows_it(kind: str) -> None:
    result = _made(kind)
    view = result.view()
    assert view.headline in result.to_text() == str(result)
    head = view.headline.replace("|", "\\|").replace(">", "&gt;")
    assert result.to_markdown().startswith(f"# {head}" if view.chapters else f"**{head}**")
    lines = list(csv.reader(io.StringIO(result.to_csv())))
    assert len(lines) > 1
    assert {len(line) for line in lines} == {len(lines[0])}
    if kind != "BenchmarkReport":  # whose CSV is its summary alone
        assert list(result.to_dataframe().columns) == lines[0]
    json.loads(result.to_json(), parse_constant=lambda c: pytest.fail(f"{c} is no strict JSON"))
    html = result._repr_html_()  # type: ignore[operator]
    assert html.count("<table>") == len(view.every_grid)
    assert len(repr(result)) < 400


@every
def test_a_file_of_it_is_reported(kind: str, tmp_path: Path) -> None:
    result: Any = _made(kind)
    file = tmp_path / "result.json"
    file.write_text(result.to_json(), encoding="utf-8")
    again = read_result(file)
    assert type(again) is type(result)
    assert again.to_dict() == result.to_dict()
    assert to_html(again).startswith("<!")


def test_every_kind_of_result_can_be_read_from_a_file(tmp_path: Path) -> None:
    own = {c for c in Tabular.__subclasses__() if c.__module__.startswith("sed_torch")}
    assert {c.schema: f"sed_torch.{RESULTS.get(c.schema)}" for c in own if c.__name__ != "Listing"} == {
        c.schema: f"{c.__module__}:{c.__name__}" for c in own if c.__name__ != "Listing"
    }
    file = tmp_path / "alien.json"
    file.write_text('{"schema": "sed_torch.score/9"}', encoding="utf-8")
    with pytest.raises(
        DataError, match=r"alien\.json holds no result .* 'sed_torch.score/9', expected one of .*score"
    ):
        read_result(file)
    file.write_text('{"schema": "sed_torch.cost/1"}', encoding="utf-8")
    with pytest.raises(DataError, match=r"alien\.json: a cost"):
        read_result(file)


@every
def test_what_it_writes_is_read_back(kind: str) -> None:
    result: Any = _made(kind)
    again = type(result).from_json(result.to_json())
    assert again.to_dict() == result.to_dict()
    assert again.to_text() == result.to_text()
    with pytest.raises(DataError, match=r"expected the schema .* found 'sed_torch.other/1'"):
        type(result).from_json('{"schema": "sed_torch.other/1"}')
    with pytest.raises(DataError, match="expected"):
        type(result).from_json("[1, 2")


@pytest.mark.parametrize("kind", [k for k in MADE if k != "CheckReport"])  # whose text is sentences
@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_terminal_cuts_a_number(kind: str, width: int) -> None:
    result = _made(kind)
    shown = result.to_text(width=width)
    assert max(map(len, shown.splitlines())) <= width
    whole = {
        cell
        for grid in result.view().every_grid
        for row in grid.rows
        for cell in map(tables.cell, row.values())
    }
    first = shown.index("─")
    table = shown[first : shown.find("\n\n", first)].splitlines()[1:]
    numbers = [n for line in table for n in re.findall(r"(?<![\w.…])[-+]?\d+\.\d+(?![\w.…])", line)]
    assert numbers
    assert [n for n in numbers if not any(n in cell for cell in whole)] == []
    assert result.view().every_grid[0].columns[0] in shown
    console = pytest.importorskip("rich.console").Console(width=width, file=io.StringIO())
    console.print(result)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == shown.splitlines()


def test_columns_go_one_by_one_and_words_before_numbers() -> None:
    rows = [{"name": "layer1.0.conv2.weight", "a": 1.25, "b": 100.5, "c": 7}]
    columns = ("name", "a", "b", "c")
    assert tables.to_text(rows, columns, width=60, spared=("b", "a")).splitlines()[0].split() == [*columns]
    narrow = tables.to_text(rows, columns, width=36, spared=("b", "a")).splitlines()
    assert narrow[0].split() == ["name", "a", "c"]
    tight = tables.to_text(rows, columns, width=20, spared=("b", "a")).splitlines()
    assert tight[0].split() == ["name", "c"]
    assert tight[2].split() == ["layer…onv2.weight", "7"]


def test_a_view_escapes_what_a_user_named() -> None:
    name = "<script>|x"
    view = View(name, (name,), (Grid((name,), ({name: name},)),), (name,))
    assert "<script>" not in view.html()
    assert "<script>" not in view.markdown()
    assert r"&lt;script&gt;\|x" in view.markdown()


# -- reading back ----------------------------------------------------------------------------------------------


def test_a_score_that_was_read_back_works_like_a_new_one() -> None:
    again = Score.from_json(_score(8).to_json())
    assert again == _score(8)
    assert (
        sed_torch.compare(again, _score(16)).to_dict() == sed_torch.compare(_score(8), _score(16)).to_dict()
    )
    assert sed_torch.sensitivity(again).rows == sed_torch.sensitivity(_score(8)).rows
    assert again.by_block(0) == _score(8).by_block(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topology": None}, "a score, its topology"),
        ({"total": 99.0}, "the file was changed, or written by a version"),
        ({"definition": "sed/99"}, "a score of definition 'sed/99': this version knows"),
        ({"params": "many"}, "params: expected int, found 'many'"),
        ({"scope": "cosmic"}, "scope: expected one of convolutional, extrapolated, found 'cosmic'"),
    ],
)
def test_a_score_that_was_changed_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Score.from_dict({**_score().to_dict(), **change})


def test_a_score_of_0_1_0_is_refused_in_words() -> None:
    data = _score().to_dict()
    del data["topology"]
    with pytest.raises(DataError, match=r"as 0\.1\.0 wrote it: score the model again"):
        Score.from_dict(data)


def test_a_ranking_of_0_1_0_is_read() -> None:
    data = _ranking().to_dict()
    for key in ("limits", "beyond", "whole", "warnings"):
        del data[key]
    for row in data["rows"]:
        for key in ("input", "output", "pareto"):
            del row[key]
    again = Ranking.from_dict(data)
    assert [r.sed for r in again] == [r.sed for r in _ranking()]
    assert again.warnings == ()


def test_revived_tells_what_is_wrong() -> None:
    with pytest.raises(DataError, match="a row: no 'name'"):
        revived(RankRow, {}, "a row")
    with pytest.raises(DataError, match=r"a row: expected an object with fields, found \[\]"):
        revived(RankRow, [], "a row")
    assert revived(RankRow, {"name": "a", "sed": "-inf"}, "a row").sed == float("-inf")


# -- results behave --------------------------------------------------------------------------------------------


def test_scores_compare_sort_format_and_subtract() -> None:
    small, large = _score(8), _score(16)
    assert small < large
    assert large > small
    assert small <= small
    assert large >= small
    assert sorted([large, small]) == [small, large]
    assert large - small == pytest.approx((large.total or 0) - (small.total or 0))
    assert f"{small:.2f}" == format(small.total, ".2f")
    assert f"{small}" == str(small)


@pytest.mark.parametrize("use", [lambda a, b: a < b, lambda a, b: a - b, lambda a, b: max(a, b)])
def test_scores_that_do_not_compare_are_errors(use: Callable[[Score, Score], Any]) -> None:
    other = sed_torch.score(_net(), input_size=(1, 3, 32, 32))
    with pytest.raises(InputError, match=r"scores at inputs .*: score at one size"):
        use(_score(), other)
    undefined = sed_torch.score(nn.Sequential(nn.ReLU()), input_size=SIZE, name="relu alone")
    with pytest.raises(InputError, match="relu alone: its score is undefined"):
        use(_score(), undefined)
    with pytest.raises(TypeError, match=r"not supported between|unsupported operand"):
        use(_score(), 3.0)  # type: ignore[arg-type]


def test_every_column_and_word_of_a_score_is_explained() -> None:
    view = _score().view()
    assert set(view.grids[0].columns) <= set(LEGEND)


def test_a_network_is_never_its_own_neighbour() -> None:
    torchvision = pytest.importorskip("torchvision")
    score = sed_torch.score(torchvision.models.resnet18(weights=None), input_size=(1, 3, 224, 224))
    assert "resnet18" not in score.standing()
    assert re.match(
        r"above \d+ of \d+ torchvision networks of like size \(.* params\); next", score.standing()
    )
    assert "one size only" in _score().standing()


# -- rankings say what does not compare -------------------------------------------------------------------------


def _rows(*inputs_and_outputs: tuple[str, str]) -> Ranking:
    return Ranking.of(
        RankRow(f"m{k}", sed=10.0 + k, params=100 + k, macs=1e3, input=i, output=o)
        for k, (i, o) in enumerate(inputs_and_outputs)
    )


def test_mixed_sizes_modalities_and_tasks_are_said_first() -> None:
    image = ("1x3x224x224", "1x1000")
    assert _rows(image, image, ("2x3x224x224", "2x10")).warnings == ()
    (sizes,) = _rows(image, image, ("1x3x300x300", "1x1000")).warnings
    assert "these have 2: 2 × 3x224x224, 1 × 3x300x300 (m2). Score all at one with --input-size" in sizes
    mixed = _rows(image, ("1x3x16x112x112", "1x400"), ("1x3x224x224", "1x8732x4 + 1x8732x91"))
    text = mixed.to_text()
    assert "read different kinds of input: 2 × images, 1 × video or volumes (m1)" in text
    assert "several outputs (detectors, say) (m2)" in text
    assert text.index("Careful") < text.index("model ")


def test_the_headline_is_an_answer() -> None:
    ranking = Ranking.of(
        [
            RankRow("tiny", sed=9.0, params=1_000_000, macs=1e8),
            RankRow("good", sed=12.0, params=5_000_000, macs=5e8),
            RankRow("wasteful", sed=11.0, params=6_000_000, macs=9e8),
            RankRow("huge", sed=14.0, params=900_000_000, macs=8e11),
        ]
    )
    assert [r.name for r in ranking.front] == ["tiny", "good", "huge"]
    assert ranking.headline().startswith(
        "3 of 4 scored models are on the Pareto front of score, params and MACs"
    )
    within = Ranking.of(ranking, limits={"params": 10_000_000})
    assert within.headline().startswith("Best within params ≤ 10.00 M: good (SED 12.000")
    assert (within.beyond, len(within)) == (1, 3)
    assert "1 larger model is left out" in within.to_text()
    with pytest.raises(InputError, match="cannot limit 'depth'"):
        Ranking.of(ranking, limits={"depth": 3})


def test_rankings_are_sequences() -> None:
    ranking = _ranking()
    assert ranking[0].rank == 1
    assert ranking[-1].status == "failed"
    assert [r.name for r in ranking[:2]] == [r.name for r in ranking.top(2)]
    assert ranking[:2].whole == len(ranking) == 7
    assert ranking["timm:broken"] in ranking
    assert "timm:nothing" not in ranking
    with pytest.raises(IndexError, match="out of range"):
        _ = ranking[99]
    with pytest.raises(KeyError, match="nothing"):
        _ = ranking["nothing"]


def test_a_dash_is_explained() -> None:
    assert "–: not known" in _ranking().to_text()
