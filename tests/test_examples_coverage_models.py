"""The table of configurations behind ``examples/coverage.py``: what is in it, how a run goes on, what its page says."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "coverage_models"
MACHINERY = {"__init__", "cases", "explained", "fields", "measuring", "page", "running"}


def _known() -> SimpleNamespace:
    """``coverage_models`` as the example makes it a package, with every field entered."""
    if FOLDER.name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            FOLDER.name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[FOLDER.name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    parts: dict[str, ModuleType] = {
        name: importlib.import_module(f"{FOLDER.name}.{name}") for name in sorted(MACHINERY - {"__init__"})
    }
    parts["fields"].load()
    return SimpleNamespace(**parts)


M = _known()
PACKAGES: dict[str, Any] = M.cases.PACKAGES


# -- the table --------------------------------------------------------------------------------------------------


def test_every_file_is_a_field_or_machinery() -> None:
    files = {p.stem for p in FOLDER.glob("*.py")}
    assert files == MACHINERY | set(M.fields.FIELDS)


def test_there_are_many_packages_each_with_a_version() -> None:
    assert len(PACKAGES) >= 100
    for name, package in PACKAGES.items():
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", name), name
        assert re.fullmatch(r"\d+(\.\d+)*", package.version), f"{name} {package.version}"


def _here(package: Any) -> bool:
    return importlib.util.find_spec(package.module.partition(".")[0]) is not None


@pytest.mark.parametrize("name", PACKAGES)
def test_the_configurations_of_a_package_can_be_listed(name: str) -> None:
    package = PACKAGES[name]
    if not _here(package):
        pytest.skip(f"{name} is not installed: python examples/coverage.py --install --only '{name}:*'")
    names = [case.name for case in package.cases()]
    assert names, f"{name} has no configuration"
    assert not [n for n, count in Counter(names).items() if count > 1]
    assert all(n.startswith(f"{name}:") and all(c not in n for c in "\n|") for n in names)


_OF_TRANSFORMERS = ("bert", "vit ImageClassification", "whisper SpeechSeq2Seq", "llama CausalLM", "t5, mask")


def _drawn() -> list[Any]:
    """All of torch's own, and some of transformers: a configuration, heads, a sentence with its mask."""
    others = PACKAGES["transformers"].cases() if _here(PACKAGES["transformers"]) else ()
    names = [f"transformers:{name}" for name in _OF_TRANSFORMERS]
    return [*PACKAGES["torch"].cases(), *(case for case in others if case.name in names)]


@pytest.mark.parametrize("case", _drawn(), ids=lambda case: case.name)
def test_builders_build(case: Any) -> None:
    try:
        with torch.device("meta"):
            assert isinstance(case.make(), nn.Module)
    except ImportError as error:
        pytest.skip(f"{case.name} needs a package that is not here: {error}")


def test_rows_of_the_same_name_are_numbered_and_arguments_are_made_late() -> None:
    package = M.cases.Package("packed", "1.0", "torch")
    del PACKAGES["packed"]
    for out in (2, 3):
        package.row("nn.Sequential", M.cases.floats(1, 4), M.cases.made("nn.Linear", 4, out))
    first, second = package.cases()
    assert (first.name, second.name) == ("packed:nn.Sequential", "packed:nn.Sequential #2")
    assert second.make()[0].out_features == 3


# -- a run that goes on -----------------------------------------------------------------------------------------


@pytest.fixture
def package() -> Iterator[Any]:
    """Three configurations of a package of our own; the second fails."""
    made = M.cases.Package("own", "1.0", "torch")

    def fails() -> nn.Module:
        raise OSError("no weights")

    makers: dict[str, Callable[[], nn.Module]] = {"a": lambda: nn.Linear(4, 2), "b": fails, "c": nn.ReLU}
    made.rows(lambda: (M.cases.Case(f"own:{n}", m, M.cases.floats(1, 4)) for n, m in makers.items()))
    yield made
    del PACKAGES["own"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the configurations that were run, in this process instead of one of their own each."""
    ran: list[str] = []

    def in_this_process(package: Any, case: Any, limits: Any, shared: Any) -> dict[str, Any]:
        ran.append(case.name)
        limits.end -= 1e9 if limits.minutes else 0
        row = M.measuring.measured(case, package.dist, package.version)
        return {**vars(row), "date": "2026-01-01", "sources": M.running.sources()}

    monkeypatch.setattr(M.running, "_in_a_child", in_this_process)
    monkeypatch.setattr(M.running, "_warm", lambda: None)
    return ran


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, package: Any, measured: list[str]) -> None:
    rows, shown = tmp_path / "rows.jsonl", list[str]()

    def serve(minutes: float, only: str = "own:*") -> int:
        limits = M.running.Limits(60, 8, minutes)
        return int(M.running.serve("own", only, rows, limits, lambda r: shown.append(r["name"]) or ""))

    assert serve(5) == M.running.ENDED  # time was up after the first
    assert measured == ["own:a"]
    with rows.open("a", encoding="utf-8") as file:
        file.write('{"name": "own:b", "pack')  # a kill leaves half a line
        file.write("\n")
    assert "done" not in M.running.kept(rows).get("own", {})
    assert serve(0, "own:b") == 0
    assert serve(0) == 0
    assert measured == ["own:a", "own:b", "own:c"] == shown, "nothing twice"
    kept = M.running.kept(rows)
    assert kept["own"]["done"] == 3
    assert (kept["own:a"]["macs"], kept["own:a"]["truth"], kept["own:a"]["state"]) == (8, 8, "kept")
    assert kept["own:b"]["runs"].startswith(
        "not built: ModelReferenceError: own:b could not be built: OSError"
    )
    # once more: what failed, after which the package is done again; what is done is not started
    M.running.forget(rows, M.page.failed)
    assert set(M.running.kept(rows)) == {"own:a", "own:c"}
    assert serve(0) == 0
    assert measured[3:] == ["own:b"]
    assert M.running.run(Path("unused"), ["own"], "*", rows, M.running.Limits(60, 8, 0), str)
    assert measured[4:] == []


def test_a_run_has_ended_when_every_package_is_done_or_not_here(tmp_path: Path, package: Any) -> None:
    rows = tmp_path / "rows.jsonl"
    done = {name: {"name": name, "package": name, "done": 1} for name in PACKAGES}
    assert M.running.ended(done)
    assert not M.running.ended({k: v for k, v in done.items() if k != "own"})
    assert M.running.ended({**done, "own": {"name": "own", "package": "own", "skipped": "not here"}})
    package.module = "no_such_module"
    assert M.running.serve("own", "*", rows, M.running.Limits(60, 8, 0), str) == 0
    assert "no_such_module" in M.running.kept(rows)["own"]["skipped"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads
def test_a_configuration_that_dies_or_takes_too_long_is_a_row(package: Any) -> None:
    if not M.running._forks():
        pytest.skip("processes are not forked here")
    import os
    import time

    shared = M.running.Shared()

    def row(make: Callable[[], Any]) -> dict[str, Any]:
        case = M.cases.Case("own:x", make, M.cases.floats(1, 4))
        return dict(M.running._in_a_child(package, case, M.running.Limits(2, 8, 0), shared))

    assert row(lambda: os._exit(3))["error"] == "the process died (code 3)"
    assert row(lambda: time.sleep(60))["error"] == "stopped after 2 s"


# -- the page ---------------------------------------------------------------------------------------------------


def _row(name: str, **values: Any) -> dict[str, Any]:
    row = M.measuring.Row(
        f"torch:{name}", "torch", "1.0", frontend="fx", covered=1.0, nodes=1.0, state="kept"
    )
    return {
        **vars(row),
        "macs": 100.0,
        "truth": 100.0,
        "runs": "cpu",
        "date": "2026-01-01",
        "sources": "a",
        **values,
    }


def test_the_page_counts_what_was_read() -> None:
    rows = [
        *(_row(f"good {i}") for i in range(5)),
        _row("of a graph", macs=10.0, samples=10),
        _row("exported", frontend="export"),
        _row("other", macs=102.0),
        _row(
            "refused", error="DataDependentError: no /home/me/site-packages/x.py:3", state="kept", sources="b"
        ),
        _row("changed", state="changed: weight"),
        _row("lost", params=3, numel=4),
        _row("no model", error="does not matter", truth=None, runs="does not run: ValueError: 3"),
    ]
    text = M.page.page({r["name"]: r for r in rows}, whole=True)
    assert (
        "**11 configurations of 1 packages: 10 of 11 (90.9%) read, 9 of 11 (81.8%) by fx in full.**" in text
    )
    assert "`FlopCounterMode`: 9 of 10 (90.0%)" in text
    assert "0 of the other 1 are explained" in text
    assert "Parameters exact: 9 of 10" in text
    assert "random state): 10 of 11" in text
    assert "Rows are of 2 states of the sources (10 of a, 1 of b)." in text
    assert "| torch:refused | DataDependentError: no x.py:3 |" in text
    assert "| torch:no model | does not run: ValueError: 3 |" in text
    assert "not over" not in text
    assert "The run was not over" in M.page.page({"torch:x": _row("x")}, whole=False)
    assert [r["name"].partition(":")[2] for r in rows if M.page.failed(r)] == [
        "exported", "other", "refused", "changed", "lost", "no model",
    ]  # fmt: skip


def test_the_committed_page_keeps_its_promises() -> None:
    """Of the sources that it was made with; the figures are those that the issue of it asked for."""
    text = (FOLDER.parent / "results" / "coverage.md").read_text(encoding="utf-8")
    found = re.search(
        r"\*\*(\d+) configurations of (\d+) packages: .*?\((.*?)%\) read, .*?\((.*?)%\) by fx", text
    )
    assert found is not None
    models, packages, read, by_fx = map(float, found.groups())
    assert models >= 900
    assert packages >= 60
    assert read >= 98
    assert by_fx >= 95
    assert "The run was not over" not in text
    for title in ("Not read", "Multiply-accumulates that differ"):
        table = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
        rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
        assert all(line.rstrip("| ").count("|") >= 3 and not line.endswith("|  |") for line in rows), rows
