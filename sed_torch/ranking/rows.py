"""Rows of a ranking, their order, and views of them. Runs no model."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import os
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from sed_torch import tables
from sed_torch.errors import DataError, InputError, MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["SCHEMA", "SORTS", "FamilyRow", "RankRow", "Ranking", "Status", "read_ranking"]

SCHEMA = "sed_torch.ranking/1"

Status = Literal["ok", "undefined", "failed", "timeout", "memory", "crashed"]

BASELINES = ("params", "macs")
_DESCENDING = ("sed", "given_size", "params", "macs", "suppression", "coverage", "seconds")
SORTS = (*_DESCENDING, "name", "family")


@dataclass(frozen=True, slots=True)
class RankRow:
    """One model of a ranking. What is missing is None, and ``reason`` says why.

    Attributes:
        name: the reference, or the name the caller gave.
        family: timm's model file, torchvision's module, else the model's class.
        status: ``"ok"``; ``"undefined"`` (no operator that SED is defined for); ``"failed"`` (could not be
            built or traced); ``"timeout"``, ``"memory"`` (stopped at a limit); ``"crashed"`` (process died).
        reason: why it is not ok, or why the score is -inf, or None.
        sed: the score in nats, higher is better.
        conv, pool, skip: its parts in nats, see :class:`~sed_torch.Score`.
        suppression: Σ n_eff / Σ n in (0, 1], higher is better.
        params: parameters.
        macs: multiply-accumulates a sample.
        coverage: share of parameters under a known rule, in [0, 1].
        frontend: how it was traced.
        scope: ``"convolutional"`` or ``"extrapolated"``.
        definition: name of the score's form.
        seconds: wall time to build, trace and score it, when that was done.
        cpu_seconds: CPU time of the process that did it, meanwhile; None where that process was stopped.
        built_on: ``"meta"`` or ``"cpu"``.
        fingerprint: digest of the traced graph; equal graphs have equal scores.
        rank: 1 is the best score of the ranking; equal scores share a rank.
        family_rank: the same within the family.
        residual: how many ranks better (> 0) or worse than models of its size usually are: the residual of
            ordinary least squares of SED's ranks on the baselines' ranks. Being of ranks, it is the same for
            params and log-params.
        residual_rank: 1 is the largest residual.
    """

    name: str
    family: str | None = None
    status: Status = "ok"
    reason: str | None = None
    sed: float | None = None
    conv: float | None = None
    pool: float | None = None
    skip: float | None = None
    suppression: float | None = None
    params: int | None = None
    macs: float | None = None
    coverage: float | None = None
    frontend: str | None = None
    scope: str | None = None
    definition: str | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    built_on: str | None = None
    fingerprint: str | None = None
    rank: int | None = None
    family_rank: int | None = None
    residual: float | None = None
    residual_rank: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON; a score of -inf is the string ``"-inf"``."""
        data = asdict(self)
        if self.sed == -math.inf:
            data["sed"] = "-inf"
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RankRow:
        """The row that :meth:`to_dict` wrote, or a line of :meth:`Ranking.to_csv`; empty cells are None.

        Raises:
            DataError: a column is missing its name, or holds what it cannot.
        """
        values = {k: _parse(k, data[k]) for k in _COLUMN_NAMES if data.get(k) not in (None, "")}
        if "name" not in values:
            raise DataError("a ranking row without a name: expected the columns of Ranking.to_csv()")
        if values.get("status", "ok") not in get_args(Status):
            raise DataError(f"ranking row {values['name']!r}: unknown status {values['status']!r}")
        return cls(**values)


_COLUMN_NAMES = tuple(f.name for f in fields(RankRow))
_LARGEST = 1e30
_INTEGERS = {"params", "rank", "family_rank", "residual_rank"}
_TEXTS = {"name", "family", "status", "reason", "frontend", "scope", "definition", "built_on", "fingerprint"}


def _parse(column: str, value: Any) -> Any:
    try:
        if column in _TEXTS:
            return str(value)
        number: int | float = int(value) if column in _INTEGERS else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"ranking column {column!r}: expected a number, found {value!r}") from error
    lowest = 0 if column in _INTEGERS else -_LARGEST
    # a network without a live path scores -inf; nothing else is infinite, and NaN is no number
    if not lowest <= number <= _LARGEST and not (column == "sed" and number == -math.inf):
        raise DataError(f"ranking column {column!r}: expected {lowest:g} to {_LARGEST:g}, found {value!r}")
    return number


@dataclass(frozen=True, slots=True)
class FamilyRow:
    """A family of a ranking.

    Attributes:
        family: its name.
        models: rows with a score.
        failed: rows without one.
        best: name of the model with the best score.
        best_sed, median_sed: in nats, higher is better.
        median_residual: of the size-controlled residual, in ranks; > 0 is better than size predicts.
    """

    family: str
    models: int
    failed: int
    best: str | None
    best_sed: float | None
    median_sed: float | None
    median_residual: float | None


@dataclass(frozen=True)
class Ranking:
    """Models in order, as data.

    Attributes:
        rows: in the order of ``sort``; rows without the value come last.
        sort: the column sorted by.
        baselines: the counts whose influence the residual is free of.
        versions: of the packages involved.
        elapsed: wall seconds of the run.
        cached: rows that came from the cache.
        whole: rows of the ranking that these are the top of; None where they are all.
    """

    rows: tuple[RankRow, ...]
    sort: str = "sed"
    baselines: tuple[str, ...] = BASELINES
    versions: dict[str, str] = field(default_factory=dict)
    elapsed: float = 0.0
    cached: int = 0
    whole: int | None = None

    @classmethod
    def of(
        cls,
        rows: Iterable[RankRow],
        *,
        sort: str = "sed",
        baselines: Sequence[str] = BASELINES,
        versions: Mapping[str, str] | None = None,
        elapsed: float = 0.0,
        cached: int = 0,
    ) -> Ranking:
        """Give rows their ranks and residuals, and sort them.

        Raises:
            InputError: ``sort`` or a baseline is unknown.
        """
        check_sort(sort)
        check_baselines(baselines)
        ranked = _with_ranks(list(rows), tuple(baselines))
        return cls(_sorted(ranked, sort), sort, tuple(baselines), dict(versions or {}), elapsed, cached)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[RankRow]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> RankRow:
        """The row of a model.

        Raises:
            KeyError: no row has that name.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    @property
    def scored(self) -> tuple[RankRow, ...]:
        """Rows with a score."""
        return tuple(r for r in self.rows if r.sed is not None)

    @property
    def failures(self) -> tuple[RankRow, ...]:
        """Rows whose status is not ok, each with its reason."""
        return tuple(r for r in self.rows if r.status != "ok")

    def top(self, n: int) -> Ranking:
        """The first ``n`` rows, with the ranks they have here."""
        return replace(self, rows=self.rows[: max(n, 0)], whole=self.whole or len(self.rows))

    def within(self, family: str) -> Ranking:
        """One family, ranked for itself.

        Raises:
            KeyError: there is no such family.
        """
        rows = [r for r in self.rows if r.family == family]
        if not rows:
            raise KeyError(family)
        return Ranking.of(rows, sort=self.sort, baselines=self.baselines, versions=self.versions)

    @property
    def families(self) -> tuple[FamilyRow, ...]:
        """Across families: one row each, best median score first."""
        groups: dict[str, list[RankRow]] = {}
        for row in self.rows:
            if row.family is not None:
                groups.setdefault(row.family, []).append(row)
        found = [_family(name, rows) for name, rows in groups.items()]
        return tuple(sorted(found, key=lambda f: (f.median_sed is None, -(f.median_sed or 0.0), f.family)))

    # -- views -------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version."""
        return {
            "schema": SCHEMA,
            "sort": self.sort,
            "baselines": list(self.baselines),
            "residual": RESIDUAL_NOTE.format(self._baseline_text()),
            "models": len(self.rows),
            "failed": len(self.failures),
            "cached": self.cached,
            "elapsed": self.elapsed,
            "versions": dict(self.versions),
            "rows": [r.to_dict() for r in self.rows],
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as strict JSON."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_csv(self) -> str:
        """All columns, full precision, empty cells for what is missing."""
        return tables.to_csv([asdict(r) for r in self.rows], _COLUMN_NAMES)

    def to_markdown(self) -> str:
        """A GitHub table of the main columns."""
        return f"{tables.to_markdown(self._shown(), _SHOWN)}\n\n{self._notes()}"

    def to_text(self) -> str:
        """The main columns as plain text."""
        return f"{tables.to_text(self._shown(), _SHOWN)}\n\n{self._notes()}"

    def to_dataframe(self) -> pd.DataFrame:
        """One row a model.

        Raises:
            MissingDependencyError: without pandas.
        """
        return tables.to_dataframe([asdict(r) for r in self.rows], _COLUMN_NAMES)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write all columns as a Parquet file, atomically.

        Raises:
            MissingDependencyError: without pandas and pyarrow.
        """
        from sed_torch._files import atomic_write

        frame = self.to_dataframe()
        buffer = io.BytesIO()
        try:
            frame.to_parquet(buffer, index=False)
        except ImportError:
            raise MissingDependencyError("pyarrow", "parquet", "to_parquet()") from None
        with atomic_write(path, "wb") as f:
            f.write(buffer.getvalue())  # type: ignore[arg-type]

    def _baseline_text(self) -> str:
        return " and ".join({"params": "params", "macs": "MACs"}[b] for b in self.baselines)

    def _shown(self) -> list[dict[str, Any]]:
        return [_display(r) for r in self.rows]

    def _notes(self) -> str:
        if self.whole is None:
            of = f"{len(self.rows)} models, {self.cached} from the cache"
        else:
            of = f"the first {len(self.rows)} of {self.whole} models"
        lines = [
            f"{of}, {len(self.scored)} scored, {len(self.failures)} not ok; SED in nats, higher is better"
        ]
        if self.baselines:
            lines.append(f"given size: {RESIDUAL_NOTE.format(self._baseline_text())}")
        extrapolated = sum(r.scope == "extrapolated" for r in self.rows)
        if extrapolated:
            lines.append(f"{extrapolated} networks (~) are beyond what the theory was made for")
        lines += [f"{r.name}: {r.status}: {r.reason}" for r in self.failures[:20]]
        if len(self.failures) > 20:
            lines.append(f"… and {len(self.failures) - 20} more")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"Ranking({len(self.rows)} models, {len(self.failures)} not ok, sort={self.sort!r})"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.table import Table
        from rich.text import Text

        # Better a column less than digits cut off.
        columns = [c for c in _SHOWN if options.max_width >= _WIDE or c not in _SPARED]
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        shown = self._shown()
        for column in columns:
            left = column in ("model", "family", "status")
            width = None if left else max((len(tables.cell(r[column])) for r in shown), default=0)
            table.add_column(
                column,
                justify="left" if left else "right",
                min_width=width,
                overflow="fold",
                no_wrap=not left,
            )
        for row, cells in zip(self.rows, shown, strict=True):
            style = None if row.status == "ok" else "dim"
            table.add_row(*(Text(tables.cell(cells[c])) for c in columns), style=style)
        yield table
        yield Text("")
        yield Text(self._notes())

    def _repr_html_(self) -> str:
        notes = html.escape(self._notes()).replace("\n", "<br>")
        return f"<div>{tables.to_html(self._shown(), _SHOWN)}<p><small>{notes}</small></p></div>"


RESIDUAL_NOTE = "rank of the residual of ordinary least squares of SED's ranks on the ranks of {}"

_SHOWN = (
    "#",
    "model",
    "family",
    "SED",
    "in family",
    "given size",
    "params",
    "MACs",
    "suppression",
    "coverage",
    "status",
)

_WIDE = 110
_SPARED = ("in family", "suppression", "coverage")


def _display(r: RankRow) -> dict[str, Any]:
    return {
        "#": r.rank,
        "model": r.name,
        "family": r.family,
        "SED": None if r.sed is None else f"{r.sed:.3f}{'~' if r.scope == 'extrapolated' else ''}",
        "in family": r.family_rank,
        "given size": r.residual_rank,
        "params": tables.quantity(r.params),
        "MACs": tables.quantity(r.macs),
        "suppression": r.suppression,
        "coverage": None if r.coverage is None else f"{r.coverage:.1%}",
        "status": r.status,
    }


def check_sort(sort: str) -> None:
    """Raise ValueError for a column that rows cannot be sorted by."""
    if sort not in SORTS:
        raise InputError(f"cannot sort by {sort!r}: expected one of {', '.join(SORTS)}")


def check_baselines(baselines: Sequence[str]) -> None:
    """Raise ValueError for a baseline that cannot be had without weights."""
    for b in baselines:
        if b not in BASELINES:
            raise InputError(f"unknown baseline {b!r}: expected some of {', '.join(BASELINES)}")


def _sorted(rows: list[RankRow], sort: str) -> tuple[RankRow, ...]:
    column = "residual" if sort == "given_size" else sort
    sign = -1 if sort in _DESCENDING else 1

    def key(row: RankRow) -> tuple[Any, ...]:
        value = getattr(row, column)
        if value is None:
            return (True, 0, row.name)
        return (False, value if isinstance(value, str) else sign * value, row.name)

    return tuple(sorted(rows, key=key))


def _family(name: str, rows: list[RankRow]) -> FamilyRow:
    scored = [r for r in rows if r.sed is not None]
    values = [r.sed for r in scored if r.sed is not None]
    residuals = [r.residual for r in scored if r.residual is not None]
    best = max(scored, key=lambda r: (-math.inf if r.sed is None else r.sed, r.name), default=None)
    return FamilyRow(
        family=name,
        models=len(scored),
        failed=len(rows) - len(scored),
        best=best.name if best else None,
        best_sed=best.sed if best else None,
        median_sed=statistics.median(values) if values else None,
        median_residual=statistics.median(residuals) if residuals else None,
    )


def _with_ranks(rows: list[RankRow], baselines: tuple[str, ...]) -> list[RankRow]:
    overall = _places([r.sed for r in rows])
    residuals = _residuals(rows, baselines)
    by_residual = _places(residuals)
    in_family: list[int | None] = [None] * len(rows)
    groups: dict[str | None, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.family, []).append(i)
    for members in groups.values():
        for i, place in zip(members, _places([rows[i].sed for i in members]), strict=True):
            in_family[i] = place
    return [
        replace(
            r, rank=overall[i], family_rank=in_family[i], residual=residuals[i], residual_rank=by_residual[i]
        )
        for i, r in enumerate(rows)
    ]


def _places(values: Sequence[float | None]) -> list[int | None]:
    """1 for the largest; equal values share the better place; None stays None."""
    place: dict[float, int] = {}
    ordered = sorted((v for v in values if v is not None), reverse=True)
    for i, v in enumerate(ordered, start=1):
        place.setdefault(v, i)
    return [None if v is None else place[v] for v in values]


def average_ranks(values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Ascending ranks from 1; equal values share their mean."""
    array = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], dtype=np.float64)


def _residuals(rows: list[RankRow], baselines: tuple[str, ...]) -> list[float | None]:
    """Residuals of the ranks; None with no more models than coefficients, which tell nothing."""
    out: list[float | None] = [None] * len(rows)
    columns = [[getattr(r, b) for b in baselines] for r in rows]
    usable = [i for i, r in enumerate(rows) if r.sed is not None and None not in columns[i]]
    if not baselines or len(usable) <= len(baselines) + 1:
        return out
    sizes = [average_ranks([columns[i][k] for i in usable]) for k in range(len(baselines))]
    design = np.column_stack([np.ones(len(usable)), *sizes])
    target = average_ranks([rows[i].sed or 0.0 for i in usable])
    residual = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    for i, value in zip(usable, residual, strict=True):
        # What the last bits say depends on the machine's linear algebra, and would break ties at random.
        out[i] = round(float(value), 9) + 0.0
    return out


def read_ranking(path: str | os.PathLike[str]) -> Ranking:
    """A ranking written by :meth:`Ranking.to_csv` or :meth:`Ranking.to_json`.

    Raises:
        DataError: the file is missing or something else.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the ranking {file}: {error}") from error
    try:
        if file.suffix.lower() == ".json":
            data = json.loads(text)
            if not isinstance(data, dict) or data.get("schema") != SCHEMA:
                raise DataError(f"{file} is not a ranking: expected the schema {SCHEMA!r}")
            rows = [RankRow.from_dict(r) for r in data["rows"]]
            return Ranking(
                tuple(rows), data["sort"], tuple(data["baselines"]), data["versions"], data["elapsed"]
            )
        lines = csv.DictReader(io.StringIO(text))
        if not {"name", "sed"} <= set(lines.fieldnames or ()):
            raise DataError(f"{file} is not a ranking: expected columns 'name' and 'sed'")
        if len(set(lines.fieldnames or ())) < len(lines.fieldnames or ()):
            raise DataError(f"{file} is not a ranking: a column stands twice in its first line")
        return Ranking(tuple(RankRow.from_dict(_whole(r, lines.line_num, file)) for r in lines))
    except RecursionError as error:
        raise DataError(f"{file} is not a ranking: nested too deeply") from error
    except (json.JSONDecodeError, csv.Error, KeyError) as error:
        raise DataError(f"{file} is not a ranking: {error!r}") from error


def _whole(row: dict[str, Any], line: int, file: Path) -> dict[str, Any]:
    """The row, if it has a cell for each column: a file that was cut off ends in one that has not."""
    if None in row or None in row.values():
        raise DataError(f"{file}, line {line}: not as many cells as columns; the file is cut off or damaged")
    return row
