"""The benchmark report: picks by hand, searches looked up, times, and Markdown that holds what was computed."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sed_torch.benchmarking import REPORTED, picks, run_benchmarks
from sed_torch.benchmarking.picks import BEST, LARGEST, MOST_MACS, RANDOM_NETWORK, half_limit, search_rows
from sed_torch.benchmarking.timing import time_networks, time_search
from sed_torch.cli import main
from sed_torch.errors import DataError
from sed_torch.evidence.benchmarks import BenchmarkTable, scorer
from sed_torch.scoring import DEFAULT_DEFINITION
from sed_torch.spaces import count_many, get_space

SPACE = get_space("nasbench201")


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


TABLE = BenchmarkTable(
    "bench",
    "data",
    ("a", "b", "c", "d", "e"),
    column(90, 80, 70, 60, 50),
    "%",
    "here",
    rivals={
        "zen": column(1, 5, 5, math.nan, math.nan),
        "plain": column(*[math.nan] * 5),
        "flops": column(1, 2, 3, 4, 5),
    },
    params=column(10, 20, 30, 40, 50),
    macs=column(1, 9, 3, 4, 5),
)  # fmt: skip


def test_picks_by_hand() -> None:
    scores = column(2, 3, -math.inf, math.nan, 1)
    found = {p.by: p for p in picks(TABLE, scores)}
    assert list(found) == ["SED", LARGEST, MOST_MACS, "zen", RANDOM_NETWORK, BEST]
    # b has the best score: three of the other four are less accurate. -inf and NaN are no candidates.
    assert found["SED"].to_dict() == {
        "by": "SED", "candidates": 3, "ties": 1, "accuracy": 80, "params": 20, "percentile": 0.75,
    }  # fmt: skip
    assert (found[LARGEST].accuracy, found[LARGEST].percentile) == (50, 0)
    assert found[MOST_MACS].accuracy == 80
    # b and c are liked equally well
    assert (found["zen"].ties, found["zen"].accuracy, found["zen"].params, found["zen"].candidates) == (
        2,
        75,
        25,
        3,
    )
    assert (
        found[RANDOM_NETWORK].accuracy,
        found[RANDOM_NETWORK].candidates,
        found[RANDOM_NETWORK].percentile,
    ) == (70, 5, 0.5)
    assert (found[BEST].accuracy, found[BEST].percentile) == (90, 1)


def test_picks_within_a_limit() -> None:
    assert half_limit(TABLE) == 25
    found = {p.by: p for p in picks(TABLE, column(1, 0, 9, 9, 9), 25)}
    assert (found["SED"].accuracy, found["SED"].candidates) == (90, 2)
    assert found[LARGEST].accuracy == 80
    assert found[RANDOM_NETWORK].accuracy == 85
    with pytest.raises(ValueError, match="bench: no network has at most 5 parameters"):
        picks(TABLE, TABLE.accuracy, 5)
    bare = replace(TABLE, params=None)
    assert half_limit(bare) is None
    assert all(p.params is None for p in picks(bare, TABLE.accuracy))
    with pytest.raises(ValueError, match="bench: no params to limit"):
        picks(bare, TABLE.accuracy, 5)


def test_searches_are_looked_up() -> None:
    archs = tuple(str(a) for a in SPACE)
    params = count_many(SPACE, archs, ["params"])["params"]
    table = BenchmarkTable("nasbench201", "cifar10", archs, params / 1e4, "%", "here", params=params)
    other = replace(table, dataset="cifar100", accuracy=-params)
    limit = params.max() / 2
    rows = search_rows("nasbench201", (table, other), (None, limit), looks=60, runs=3)
    assert [(r.limit, r.runs) for r in rows] == [(lim, n) for lim in (None, limit) for n in (1, 3, 3)]
    assert [r.looks for r in rows[1:3]] == [60, 60]
    # of all networks the largest has the highest score
    assert rows[0].params == params.max()
    assert rows[0].accuracy["cifar10"] == (params.max() / 1e4,) * 3
    for row in rows:
        mean, low, high = row.accuracy["cifar10"]
        assert low <= mean <= high
        assert mean == pytest.approx(row.params / 1e4)
        assert row.accuracy["cifar100"][0] == pytest.approx(-row.params)
        assert row.sed[1] <= row.sed[0] <= row.sed[2]
    assert all(r.params <= limit for r in rows[3:])


def test_searches_of_a_space_that_no_table_holds() -> None:
    rows = search_rows("darts", (), (None, 1e6), looks=40, runs=2)
    assert [(r.strategy, r.limit, r.looks) for r in rows] == [
        (s, lim, 40) for lim in (None, 1e6) for s in ("evolution", "random")
    ]
    assert all(not r.accuracy and r.sed[1] <= r.sed[0] <= r.sed[2] for r in rows)
    assert all(r.params <= 1e6 for r in rows[2:])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty cells; accuracy falls with the score's rank, so that SED is wrong throughout."""
    rng = np.random.default_rng(0)
    archs = sorted({str(SPACE.sample(rng)) for _ in range(45)})
    archs = [a for a, s in zip(archs, scorer("nb201")(archs), strict=True) if np.isfinite(s)][:40]
    scores = scorer("nb201")(archs)
    rows = [
        f"{a},{90 - s},{80 - s},{70 - s},{-s if i else ''},{90 - s},{90 - s}"
        for i, (a, s) in enumerate(zip(archs, scores, strict=True))
    ]
    head = "arch,cifar10_test,cifar100_test,imagenet16_test,cifar10_zen,cifar10_test_seed0,cifar10_test_seed1"
    (tmp_path / "nb201.csv").write_text("\n".join([head, *rows]) + "\n")
    return tmp_path


def test_a_report(data: Path) -> None:
    stages: list[str] = []
    found = run_benchmarks(data, n_bootstrap=50, networks=0, report=stages.append)
    assert [(r.benchmark, r.dataset) for r in found.results] == [
        ("nasbench201", d) for d in ("cifar10", "cifar100", "imagenet16")
    ]
    assert dict(found.absent) == dict.fromkeys(REPORTED[1:], "no file in the data folder")
    first = found.results[0]
    assert first.validation.overall.spearman == pytest.approx(-1)
    zen = next(c for c in first.validation.rivals if c.rival == "zen")
    assert (zen.n, zen.rival_correlation.spearman) == (39, pytest.approx(1))
    # counted from the architectures: the file has neither
    assert {c.rival for c in first.validation.rivals} == {"zen", "params", "macs"}
    assert [p.covariates for p in first.validation.partial][-1] == ("log-params", "log-MACs")
    assert found.searches == ()  # not all architectures are in the table
    text = found.to_markdown()
    assert str(found).startswith("SED on public benchmarks\n")
    assert "| nasbench201 | cifar10 | 40 | -1.000 [-1.000, -1.000] |" in text
    assert "1.000 / -1.000 / 39 **−**" in text
    # 39 rows are too few for a best rival
    assert "| – | 1.000 | 1.000 |" in next(line for line in text.splitlines() if "| cifar10 | 40 |" in line)
    assert "log-params and log-MACs held fixed" in text
    assert "| nasbench201 | cifar10 | 1.000 [" not in text
    assert "weighted τ, top 10 %" in text
    assert text.count("<details>") == text.count("</details>") == 1
    assert "Not run: nasbench101 (no file in the data folder)." in text
    assert "SED is better in 0, the rival in" in text
    assert "| nasbench201 | nb201.csv |" in text
    assert str(data) not in text + found.to_json()
    assert json.loads(found.to_json())["schema"] == "sed_torch.benchmarks/1"
    assert found.to_csv().count("\n") == 4
    assert set(found.to_dataframe()["dataset"]) == {"cifar10", "cifar100", "imagenet16"}
    assert "3 datasets" in repr(found)
    assert "<h3>Quality</h3>" in found._repr_html_()
    assert "nasbench201 cifar100" in stages


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="no benchmark 'timm' of a search space: expected some of nasbench201"
    ):
        run_benchmarks(tmp_path, only=["timm"])
    with pytest.raises(DataError, match="no file of nasbench301"):
        run_benchmarks(tmp_path, only=["nasbench301"])


# --- the recorded report -------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "examples" / "results" / "benchmarks.md"
KEYS = ("benchmark", "dataset")


def tables_of(text: str, first: str) -> list[list[dict[str, str]]]:
    """Markdown tables whose first column has that name; intervals are cut off."""
    found = []
    for lines in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        head, _, *rows = (
            [re.sub(r" \[.*?\]", "", cell) for cell in line.strip("| ").split(" | ")]
            for line in lines.strip().splitlines()
        )
        if head[0] == first:
            found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def quality() -> dict[tuple[str, ...], dict[str, str]]:
    """The recorded report's first table by benchmark and dataset."""
    rows = tables_of(RECORDED.read_text(encoding="utf-8"), "benchmark")[0]
    return {tuple(row[k] for k in KEYS): row for row in rows}


def test_the_recorded_report_is_whole_and_of_this_form() -> None:
    text = RECORDED.read_text(encoding="utf-8")
    assert re.search(
        r"Made by `sed-torch benchmark` on 20\d\d-\d\d-\d\dT\d\d:\d\d\+00:00 with sed-torch ", text
    )
    assert f"Score: definition `{DEFAULT_DEFINITION}`," in text
    assert {key[0] for key in quality()} == set(REPORTED)
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|work|usr)\b", text)
    for part in ("## Search", "## Time", "## Data", "held fixed", "weighted τ", "95 % percentile bootstrap"):
        assert part in text


def test_the_recorded_report_holds_what_is_promised() -> None:
    rows = quality()
    for dataset, least in (("cifar10", 0.90), ("cifar100", 0.88), ("imagenet16", 0.88)):
        row = rows["nasbench201", dataset]
        assert row["n"] == "15,625"
        assert float(row["SED ρ"]) >= least
        assert float(row["SED ρ"]) > float(row["params ρ"])
    text = RECORDED.read_text(encoding="utf-8")
    seconds = re.search(r"All 15,625 cells of nasbench201 from their strings, one core: ([\d.]+) s", text)
    assert seconds is not None
    assert float(seconds[1]) < 1
    (times,) = tables_of(text, "SED")
    together = next(row for row in times if row["SED"].startswith("from strings, all 15,625"))
    ratios = [float(v.replace(",", "")) for k, v in together.items() if k.endswith("takes × as long")]
    assert len(ratios) == 3
    assert min(ratios) >= 1000


def test_the_readme_repeats_the_recorded_report() -> None:
    readme, recorded = (ROOT / "README.md").read_text(encoding="utf-8"), quality()
    rows = [row for table in tables_of(readme, "benchmark") for row in table]
    assert bool(rows) == ("examples/results/benchmarks.md" in readme)
    for row in rows:
        of = recorded[tuple(row[k] for k in KEYS)]
        assert row == {column: of[column] for column in row}


def test_times() -> None:
    found = time_networks(networks=1, batch=2, rivals=("synflow", "zen"))
    assert found.largest_difference < 1e-9
    assert list(found.rivals) == ["synflow", "zen"]
    assert all(s > 0 for s in (found.string, found.build, found.traced, *found.rivals.values()))
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_search_in_a_process_of_its_own() -> None:
    found = time_search("nats_size", budget_s=0.5)
    assert (found.space, found.size) == ("nats_size", 32_768)
    assert found.sed == pytest.approx(get_space("nats_size").score_many([found.arch])[0])
    assert found.looks > 0
    assert found.params > 0


def test_the_command(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = data / "report.md"
    options = ("--data", data, "--bootstrap", 0, "--networks", 0, "--only", "nasbench201")
    with pytest.raises(SystemExit, match=r"^0$"):
        main([str(a) for a in ("benchmark", *options, "-o", target)])
    out, err = capsys.readouterr()
    assert out == ""
    assert "… nasbench201 imagenet16" in err
    assert target.read_text().startswith("# SED on public benchmarks")
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["benchmark", "--data", str(data), "--only", "what"])
    assert "error: no benchmark 'what'" in capsys.readouterr().err
