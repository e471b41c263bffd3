"""A benchmark's trained networks."""

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

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BenchmarkTable"]

FloatArray = npt.NDArray[np.float64]


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
