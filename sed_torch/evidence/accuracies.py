"""Trained accuracies, one row a network."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sed_torch import tables
from sed_torch.errors import DataError
from sed_torch.evidence.reading import MAX_BYTES, Table, left_out_from, left_out_to, read_table, some

__all__ = ["Accuracies", "AccuracyRow", "read_accuracies"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """A trained network.

    Attributes:
        name: the architecture.
        accuracy: in the unit of its :class:`Accuracies`, higher is better.
        recipe: the training recipe (timm's tag, torchvision's weights), or None where several were reduced or
            none is known.
        recipes: how many recipes it was chosen or reduced from.
        img_size: side of the test image in pixels, or None.
        params: parameters, or None.
        macs: multiply-accumulates a sample, or None.
    """

    name: str
    accuracy: float
    recipe: str | None = None
    recipes: int = 1
    img_size: int | None = None
    params: float | None = None
    macs: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON."""
        return {name: getattr(self, name) for name in _ROW_FIELDS}


_ROW_FIELDS = ("name", "accuracy", "recipe", "recipes", "img_size", "params", "macs")


@dataclass(frozen=True, repr=False)
class Accuracies(tables.Tabular):
    """Accuracies of trained networks, one row a network, higher is better.

    Attributes:
        rows: the networks.
        metric: what is measured, such as ``"ImageNet-1K top-1"``.
        unit: such as ``"%"``, or None where unknown.
        source: where from.
        reduction: how several recipes became one row.
        left_out: (name, reason) of everything that was not taken.
        zoo: ``"timm"`` or ``"torchvision"``, whose references the names are, or None where that is not known.
    """

    schema: ClassVar = "sed_torch.accuracies/1"
    kind: ClassVar = "a table of accuracies"

    rows: tuple[AccuracyRow, ...]
    metric: str
    unit: str | None
    source: str
    reduction: str
    left_out: tuple[tuple[str, str], ...] = field(default=())
    zoo: str | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Names, in order of the rows."""
        return tuple(r.name for r in self.rows)

    @property
    def values(self) -> FloatArray:
        """Accuracies, in order of the rows; shape (n,)."""
        return np.asarray([r.accuracy for r in self.rows], dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version."""
        return {
            "schema": self.schema,
            "metric": self.metric,
            "unit": self.unit,
            "source": self.source,
            "reduction": self.reduction,
            "rows": [r.to_dict() for r in self.rows],
            "left_out": left_out_to(self.left_out),
            "zoo": self.zoo,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Accuracies:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: for data of another kind, or damaged.
        """
        return super().from_dict({**data, "left_out": left_out_from(data.get("left_out", ()))})

    def records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """One row a network."""
        return [r.to_dict() for r in self.rows], _ROW_FIELDS

    def view(self) -> tables.View:
        """How many networks, and the most accurate of them."""
        ranked = sorted(self.rows, key=lambda r: -r.accuracy)
        head = f"{len(self.rows)} networks, {self.metric}"
        if ranked:
            best = ranked[0]
            head += f"; best {best.name} {best.accuracy:g}{' ' + self.unit if self.unit else ''}"
        lines = (f"{self.reduction}; {len(self.left_out)} left out; from {self.source}",)
        shown, rest = tables.first_of([_shown(r) for r in ranked], SHOWN)
        grid = tables.Grid(_ROW_FIELDS, shown, "The most accurate", spared=_ROW_FIELDS[:1:-1])
        return tables.View(head, lines, (grid,), rest)


SHOWN = 20
"""Networks that a person sees of a table of them; programs get all."""


def _shown(row: AccuracyRow) -> dict[str, Any]:
    sizes = {name: tables.quantity(getattr(row, name)) for name in ("params", "macs")}
    return row.to_dict() | sizes


def read_accuracies(
    path: str | os.PathLike[str],
    name_column: str | None = None,
    metric_column: str | None = None,
    *,
    max_bytes: int = MAX_BYTES,
) -> Accuracies:
    """Accuracies from any CSV: one row a network, an empty metric leaves the row out.

    Args:
        path: CSV, may be gzipped.
        name_column: by default the first of model, name, arch, architecture, timm_arch.
        metric_column: by default the first of top1, acc@1, accuracy, test_accuracy, val_accuracy, acc.
        max_bytes: limit of the decompressed size.

    Raises:
        DataError: as :func:`read_table`; a column that cannot be found, a metric that is not a finite number,
            a name twice, or no row left.
    """
    table = read_table(path, max_bytes=max_bytes)
    name_column = _find_column(table, name_column, _NAME_COLUMNS, "name_column")
    metric_column = _find_column(table, metric_column, _METRIC_COLUMNS, "metric_column")
    names, values = table.text(name_column), table.numbers(metric_column, finite=True)
    _check_once(table, names)
    rows, left_out = [], []
    for line, name, value in zip(table.lines, names, values, strict=True):
        if not name:
            left_out.append((f"line {line}", f"no {name_column}"))
        elif math.isnan(value):
            left_out.append((name, f"no {metric_column}"))
        else:
            rows.append(AccuracyRow(name, float(value)))
    if not rows:
        raise DataError(f"{table.path}: no row with both {name_column!r} and {metric_column!r}")
    return Accuracies(
        tuple(rows), metric_column, None, str(table.path), "one row a network as in the file", tuple(left_out)
    )


_NAME_COLUMNS = ("model", "name", "arch", "architecture", "timm_arch")
_METRIC_COLUMNS = ("top1", "acc@1", "accuracy", "test_accuracy", "val_accuracy", "acc")


def _find_column(table: Table, given: str | None, usual: Sequence[str], argument: str) -> str:
    if given is not None:
        table.require(given)
        return given
    for name in usual:
        if name in table.columns:
            return name
    raise DataError(
        f"{table.path}, line 1: none of the usual columns {', '.join(usual)}; "
        f"pass {argument}= one of {some(table.columns)}"
    )


def _check_once(table: Table, names: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for line, name in zip(table.lines, names, strict=True):
        if name and name in seen:
            raise DataError(
                f"{table.path}, line {line}: {name!r} is on line {seen[name]} already; expected one row a network"
            )
        seen[name] = line
