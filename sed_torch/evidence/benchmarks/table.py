"""A benchmark's trained networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sed_torch import tables
from sed_torch._frozen import FrozenMapping
from sed_torch._plain import checked_schema, finite, revived
from sed_torch.errors import DataError
from sed_torch.evidence.statistics import defined

__all__ = ["BenchmarkTable"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class BenchmarkTable(tables.Tabular):
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

    schema: ClassVar = "sed_torch.benchmark_table/1"
    kind: ClassVar = "a benchmark's table"

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
        """Plain data for strict JSON, with a schema version: missing is None, infinities are strings."""
        return {
            "schema": self.schema,
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

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BenchmarkTable:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: for data of another kind, or damaged.
        """
        checked_schema(data, cls.schema, cls.kind)
        read = revived(_Saved, data, cls.kind)
        return cls(
            read.benchmark,
            read.dataset,
            read.archs,
            _array(read.accuracy),
            read.unit,
            read.source,
            FrozenMapping({k: _array(v) for k, v in read.rivals.items()}),
            None if read.params is None else _array(read.params),
            None if read.macs is None else _array(read.macs),
            FrozenMapping({k: _array(v) for k, v in read.seeds.items()}),
            read.notes,
        )

    def _columns(self) -> dict[str, FloatArray]:
        """Numbers by name: rivals as ``rival_<name>``, seeds as ``seed_<name>``."""
        counts = {"accuracy": self.accuracy, "params": self.params, "macs": self.macs}
        return {
            **{k: v for k, v in counts.items() if v is not None},
            **{f"rival_{k}": v for k, v in self.rivals.items()},
            **{f"seed_{k}": v for k, v in self.seeds.items()},
        }

    def records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """One row an architecture; rivals as ``rival_<name>``, seeds as ``seed_<name>``."""
        columns = {k: [defined(v) for v in c.tolist()] for k, c in self._columns().items()}
        names = ("arch", *columns)
        return [
            dict(zip(names, row, strict=True)) for row in zip(self.archs, *columns.values(), strict=True)
        ], names

    def view(self) -> tables.View:
        """How many architectures, and what is known of them."""
        head = (
            f"{self.benchmark} {self.dataset}: {len(self):,} architectures, accuracy "
            f"{self.accuracy.min():g} to {self.accuracy.max():g} {self.unit}"
        )
        rows = tuple(_range(name, values) for name, values in self._columns().items())
        grid = tables.Grid(("column", "rows", "least", "most"), rows, spared=("most", "least"))
        return tables.View(head, (), (grid,), tuple(f"note: {note}" for note in self.notes))


@dataclass(frozen=True)
class _Saved:
    """What the JSON of a :class:`BenchmarkTable` holds: numbers as they stand in it."""

    benchmark: str
    dataset: str
    unit: str
    source: str
    notes: tuple[str, ...]
    archs: tuple[str, ...]
    accuracy: tuple[float | None, ...]
    params: tuple[float | None, ...] | None
    macs: tuple[float | None, ...] | None
    rivals: Mapping[str, tuple[float | None, ...]]
    seeds: Mapping[str, tuple[float | None, ...]]


def _range(name: str, values: FloatArray) -> dict[str, Any]:
    known = values[~np.isnan(values)]
    least, most = (float(known.min()), float(known.max())) if known.size else (None, None)
    return {"column": name, "rows": f"{known.size:,}", "least": least, "most": most}


def _array(values: Sequence[float | None]) -> FloatArray:
    return np.asarray([np.nan if v is None else v for v in values], dtype=np.float64)


def _plain(values: FloatArray) -> list[float | str | None]:
    return [finite(v) for v in values.tolist()]
