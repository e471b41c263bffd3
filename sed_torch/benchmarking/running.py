"""Run everything that the benchmark report shows."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from sed_torch.benchmarking.picks import PUBLIC_FLOPS, SearchRow, half_limit, picks, search_rows
from sed_torch.benchmarking.report import BenchmarkReport
from sed_torch.benchmarking.result import DatasetResult
from sed_torch.benchmarking.timing import SearchTime, time_networks, time_search, time_space
from sed_torch.errors import DataError
from sed_torch.evidence import validate
from sed_torch.evidence.benchmarks import (
    BENCHMARKS,
    BenchmarkTable,
    find_data,
    find_file,
    load,
    scorer,
    space_of,
)
from sed_torch.scoring import DEFAULT_DEFINITION
from sed_torch.spaces import SPACES

__all__ = ["REPORTED", "run_benchmarks"]

REPORTED = (
    *("nasbench201", "nasbench101", "nasbench301", "transnas_micro", "transnas_macro"),
    *("accel_nasbench", "nasbench_macro"),
)
"""Benchmarks of the report. Published models (timm, pycls) are ranked by name and have a report of their own."""


def run_benchmarks(
    data: str | os.PathLike[str] | None = None,
    *,
    only: Iterable[str] = REPORTED,
    n_bootstrap: int = 1000,
    seed: int = 0,
    networks: int = 8,
    looks: int = 500,
    runs: int = 10,
    report: Callable[[str], None] = lambda stage: None,
) -> BenchmarkReport:
    """Validate SED on every benchmark whose file is there, time it, and see what searches by it pick.

    Args:
        data: folder of benchmark files, see :func:`sed_torch.evidence.benchmarks.find_data`.
        only: benchmarks, some of :data:`REPORTED`.
        n_bootstrap: resamples for the 95 % intervals; 0 leaves them out.
        seed: of resampling and of the timed networks.
        networks: built networks that are timed; 0 leaves out whatever is timed, searches of a second too.
        looks: of the searches by evolution and at random.
        runs: how many of these, with seeds 0, 1, …
        report: told what is being done.

    Raises:
        DataError: no data, none of the files, an unknown benchmark, or a file that is not what it should be.
    """
    chosen = tuple(only)
    unknown = [n for n in chosen if n not in REPORTED]
    if unknown:
        raise DataError(
            f"no benchmark {unknown[0]!r} of a search space: expected some of {', '.join(REPORTED)}"
        )
    folder = find_data(data)
    present, absent = _present(chosen, folder)
    results, tables = [], []
    for name in present:
        for dataset in BENCHMARKS[name]:
            report(f"{name} {dataset}")
            table = _counted(load(name, dataset, folder))
            tables.append(table)
            results.append(_dataset(table, n_bootstrap, seed))
    report("searches")
    searches = _searches(tables, looks, runs)
    report("times")
    return BenchmarkReport(
        date=datetime.now(timezone.utc).isoformat(timespec="minutes"),
        versions=_versions(),
        machine=_machine(),
        files=tuple(_file(n, find_file(n, folder)) for n in present),
        absent=absent,
        results=tuple(results),
        searches=searches,
        found=tuple(_looked_up(time_search(n), tables) for n in SPACES) if networks else (),
        space_times=time_space() if networks else None,
        network_times=time_networks(networks=networks, seed=seed) if networks else None,
        definition=DEFAULT_DEFINITION,
        seed=seed,
        n_bootstrap=n_bootstrap,
    )


def _present(names: Sequence[str], folder: Path) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    present, absent = [], []
    for name in names:
        try:
            find_file(name, folder)
            present.append(name)
        except DataError:
            absent.append((name, "no file in the data folder"))
    if not present:
        raise DataError(f"{folder}: no file of {', '.join(names)}")
    return present, tuple(absent)


def _counted(table: BenchmarkTable) -> BenchmarkTable:
    """With params and MACs of all networks, where the file has those of some; its own count is a rival then."""
    counts = space_of(table.benchmark).count_many(table.archs, ("params", "macs"))
    notes = tuple(n for n in table.notes if not n.startswith("params and MACs"))
    if table.benchmark.startswith("transnas"):
        notes = (*notes, "every task's network is scored and counted with the linear head of the classifiers")
    rivals = {n: v for n, v in table.rivals.items() if n not in ("params", "flops")}
    if table.macs is not None:
        rivals[PUBLIC_FLOPS] = table.macs
    return dataclasses.replace(
        table, params=counts["params"], macs=counts["macs"], rivals=rivals, notes=notes
    )


def _dataset(table: BenchmarkTable, n_bootstrap: int, seed: int) -> DatasetResult:
    scores = scorer(table.benchmark, table.dataset)(table.archs)
    validation = validate(
        scores,
        table.accuracy,
        names=table.archs,
        rivals=table.rivals,
        params=table.params,
        macs=table.macs,
        seeds=table.seeds,
        n_bootstrap=n_bootstrap,
        seed=seed,
        title=f"SED on {table.benchmark} {table.dataset}",
        unit=table.unit,
        source=Path(table.source).name,
        notes=table.notes,
    )
    limit = half_limit(table)
    return DatasetResult(
        table.benchmark,
        table.dataset,
        table.unit,
        validation,
        picks(table, scores),
        limit,
        () if limit is None else picks(table, scores, limit),
    )


def _searches(tables: Sequence[BenchmarkTable], looks: int, runs: int) -> tuple[SearchRow, ...]:
    """Of NAS-Bench-201 with accuracies where all of it is known, and of DARTS, of which no table is whole."""
    small = [t for t in tables if t.benchmark == "nasbench201"]
    large = [t for t in tables if t.benchmark == "nasbench301"]
    found: tuple[SearchRow, ...] = ()
    if small and all(len(t) == SPACES["nasbench201"].size for t in small):
        found += search_rows("nasbench201", small, (None, half_limit(small[0])), looks=looks, runs=runs)
    if large:
        found += search_rows("darts", (), (None, half_limit(large[0])), looks=looks, runs=runs)
    return found


def _looked_up(found: SearchTime, tables: Sequence[BenchmarkTable]) -> SearchTime:
    """With the accuracy of what was found, where a table has it."""
    accuracy = {}
    for table in tables:
        if space_of(table.benchmark).name == found.space and found.arch in table.archs:
            accuracy[f"{table.dataset}, {table.unit}"] = float(table.accuracy[table.archs.index(found.arch)])
    return dataclasses.replace(found, accuracy=accuracy)


def _file(benchmark: str, path: Path) -> tuple[str, str, str]:
    return benchmark, path.name, hashlib.sha256(path.read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    from sed_torch._version import __version__

    found = {"sed-torch": __version__, "python": platform.python_version()}
    for name in ("torch", "numpy", "scipy"):
        found[name] = metadata.version(name)
    return found


def _machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    return f"{platform.system()}, {model}, {os.cpu_count()} cores"
