"""What the columns of a file make of a benchmark's networks."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError
from sed_torch.evidence.benchmarks.row import Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.reading import Table

__all__ = ["NASLIB_PROXIES", "archs_of", "build_table", "mean_of_repeats", "without_failures"]

FloatArray = npt.NDArray[np.float64]

NASLIB_PROXIES = (
    "epe_nas",
    "fisher",
    "grad_norm",
    "grasp",
    "jacov",
    "l2_norm",
    "nwot",
    "plain",
    "snip",
    "synflow",
    "zen",
    "flops",
    "params",
)
"""Proxies whose scores NAS-Bench-Suite-Zero publishes."""


def archs_of(table: Table) -> tuple[str, ...]:
    """The column ``arch``, in which no cell may be empty."""
    archs = table.text("arch")
    for line, arch in zip(table.lines, archs, strict=True):
        if not arch:
            raise DataError(
                f"{table.path}, line {line}, column 'arch': expected an architecture, found nothing"
            )
    return archs


def build_table(
    table: Table,
    benchmark: Benchmark,
    dataset: str,
    target: str,
    *,
    archs: tuple[str, ...],
    rivals: Mapping[str, str] = FrozenMapping(),
    params: tuple[str, float] | None = None,
    macs: tuple[str, float] | None = None,
    seeds: Mapping[str, str] = FrozenMapping(),
    only: npt.NDArray[np.bool_] | None = None,
    scale: float = 1.0,
    notes: list[str],
    size: int | None = None,
) -> BenchmarkTable:
    """Rows with an accuracy (and in ``only``); column names map to what the file has of them."""
    accuracy = table.numbers(target, finite=True) * scale
    keep = np.isfinite(accuracy) if only is None else np.isfinite(accuracy) & only
    if not keep.any():
        raise DataError(f"{table.path}: no row of {benchmark.name} has a {target}")
    kept = tuple(arch for arch, k in zip(archs, keep, strict=True) if k)
    _check_archs_once(table, archs, keep)
    if size is not None and len(kept) != size:
        notes = [*notes, f"{len(kept):,} of the benchmark's {size:,} architectures"]

    def column(spec: tuple[str, float] | None) -> FloatArray | None:
        values = None
        if spec is not None and spec[0] in table.columns:
            values = table.numbers(spec[0])[keep] * spec[1]
        return None if values is None or np.isnan(values).all() else values

    scores, failed = without_failures(_present({k: column((c, 1.0)) for k, c in rivals.items()}))
    return BenchmarkTable(
        benchmark.name,
        dataset,
        kept,
        accuracy[keep],
        benchmark.unit(dataset),
        str(table.path),
        scores,
        column(params),
        column(macs),
        _present({k: column((c, scale)) for k, c in seeds.items()}),
        (*notes, *failed),
    )


def mean_of_repeats(table: Table, archs: tuple[str, ...], target: str) -> tuple[Table, tuple[str, ...], int]:
    """The table with one row an architecture, its ``target`` the mean of its rows; and how many had several."""
    values = table.numbers(target, finite=True)
    places: dict[str, list[int]] = {}
    for i, arch in enumerate(archs):
        places.setdefault(arch, []).append(i)
    column = table.columns.index(target)
    rows = []
    for at in places.values():
        cells = list(table.rows[at[0]])
        if len(at) > 1:
            cells[column] = repr(float(values[at].mean()))
        rows.append(tuple(cells))
    lines = tuple(table.lines[at[0]] for at in places.values())
    repeats = sum(len(at) > 1 for at in places.values())
    return Table(table.path, table.columns, tuple(rows), lines), tuple(places), repeats


_FAILED = -1e8
"""What NASLib writes where a proxy failed; as a score, it would order networks that were never scored."""


def without_failures(
    rivals: Mapping[str, FloatArray],
) -> tuple[Mapping[str, FloatArray], tuple[str, ...]]:
    """Proxies' scores with failures as NaN, and a note that counts them."""
    cleaned, counts = {}, []
    for name, values in rivals.items():
        failed = (values == _FAILED) | np.isneginf(values)
        cleaned[name] = np.where(failed, math.nan, values)
        if failed.any():
            counts.append(f"{name} {int(failed.sum()):,}")
    note = f"marks of failure (−1e8 or -inf) in public scores, taken as missing: {', '.join(counts)}"
    return FrozenMapping(cleaned), (note,) if counts else ()


def _present(columns: Mapping[str, FloatArray | None]) -> Mapping[str, FloatArray]:
    return FrozenMapping({k: v for k, v in columns.items() if v is not None})


def _check_archs_once(table: Table, archs: tuple[str, ...], keep: npt.NDArray[np.bool_]) -> None:
    seen: dict[str, int] = {}
    for line, arch, kept in zip(table.lines, archs, keep, strict=True):
        if kept and arch in seen:
            raise DataError(f"{table.path}, line {line}: {arch!r} is on line {seen[arch]} already")
        if kept:
            seen[arch] = line
