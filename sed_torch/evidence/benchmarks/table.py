"""A benchmark's trained networks, and what a file's columns make of them."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sed_torch import tables
from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError
from sed_torch.evidence.benchmarks.row import Benchmark
from sed_torch.evidence.reading import Table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PROXIES", "BenchmarkTable", "archs_of", "build_table", "mean_of_repeats", "without_failures"]

FloatArray = npt.NDArray[np.float64]

PROXIES = (
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


@dataclass(frozen=True, eq=False)
class BenchmarkTable:
    """A benchmark's trained networks; arrays are read-only and aligned with ``archs``.

    Attributes:
        benchmark: its name, see :data:`sed_torch.evidence.benchmarks.BENCHMARKS`.
        dataset: the dataset or task.
        archs: architectures in the encoding the benchmark's community uses.
        accuracy: shape (n,), never NaN, higher is better.
        unit: of the accuracy, such as ``"%"``.
        rivals: scores of public proxies by name, shape (n,), NaN where missing. NASLib's mark of a failed proxy
            (−1e8) and -inf are missing; the notes say how many.
        params: parameters, NaN where missing, or None where the file has none.
        macs: multiply-accumulates a sample as the benchmark counts them (most call them FLOPs), likewise.
        seeds: accuracies of single training runs by name, for the noise ceiling.
        notes: what to say wherever the figures are shown.
        source: the file.
    """

    benchmark: str
    dataset: str
    archs: tuple[str, ...]
    accuracy: FloatArray
    unit: str
    source: str
    rivals: Mapping[str, FloatArray] = field(default_factory=FrozenMapping)
    params: FloatArray | None = None
    macs: FloatArray | None = None
    seeds: Mapping[str, FloatArray] = field(default_factory=FrozenMapping)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for array in (self.accuracy, self.params, self.macs, *self.rivals.values(), *self.seeds.values()):
            if array is not None:
                if array.shape != (len(self.archs),):
                    raise DataError(
                        f"{self.source}: {array.shape} values for {len(self.archs)} architectures"
                    )
                array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.archs)

    def take(self, rows: npt.ArrayLike) -> BenchmarkTable:
        """The same with some rows: a boolean mask of shape (n,), or row numbers."""
        chosen = np.arange(len(self))[np.asarray(rows)]

        def cut(values: FloatArray | None) -> Any:
            return None if values is None else values[chosen]

        return BenchmarkTable(
            self.benchmark,
            self.dataset,
            tuple(self.archs[i] for i in chosen),
            self.accuracy[chosen],
            self.unit,
            self.source,
            FrozenMapping({k: v[chosen] for k, v in self.rivals.items()}),
            cut(self.params),
            cut(self.macs),
            FrozenMapping({k: v[chosen] for k, v in self.seeds.items()}),
            self.notes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON: missing is None, infinities are strings."""
        return {
            "benchmark": self.benchmark,
            "dataset": self.dataset,
            "unit": self.unit,
            "source": self.source,
            "notes": list(self.notes),
            "archs": list(self.archs),
            "accuracy": _plain(self.accuracy),
            "params": None if self.params is None else _plain(self.params),
            "macs": None if self.macs is None else _plain(self.macs),
            "rivals": {k: _plain(v) for k, v in self.rivals.items()},
            "seeds": {k: _plain(v) for k, v in self.seeds.items()},
        }

    def to_dataframe(self) -> pd.DataFrame:
        """One row an architecture; rivals as ``rival_<name>``, seeds as ``seed_<name>``.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        data: dict[str, Any] = {"arch": list(self.archs), "accuracy": self.accuracy}
        data |= {k: v for k, v in (("params", self.params), ("macs", self.macs)) if v is not None}
        data |= {f"rival_{k}": v for k, v in self.rivals.items()}
        data |= {f"seed_{k}": v for k, v in self.seeds.items()}
        return tables.to_dataframe(data)

    def __str__(self) -> str:
        lines = [
            f"{self.benchmark} {self.dataset}: {len(self):,} architectures, accuracy "
            f"{self.accuracy.min():g} to {self.accuracy.max():g} {self.unit}",
            *(f"  {name}: {int((~np.isnan(v)).sum()):,} rows" for name, v in self.rivals.items()),
            *(f"  note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"BenchmarkTable({self.benchmark!r}, {self.dataset!r}, n={len(self)})"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _plain(values: FloatArray) -> list[float | str | None]:
    return [None if math.isnan(v) else v if math.isfinite(v) else str(v) for v in values.tolist()]


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
