"""Rows of a ranking: what is known of a model, their places and their order. Runs no model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np

from sed_torch.errors import DataError, InputError
from sed_torch.tables import quantity

__all__ = [
    "BASELINES",
    "COLUMNS",
    "SORTS",
    "FamilyRow",
    "RankRow",
    "Status",
    "average_ranks",
    "check_baselines",
    "check_sort",
    "families_of",
    "ranked",
    "sorted_rows",
]

Status = Literal["ok", "undefined", "failed", "timeout", "memory", "crashed"]

BASELINES = ("params", "macs")
_DESCENDING = (
    "sed",
    "shape",
    "expected",
    "given_size",
    "params",
    "macs",
    "memory",
    "suppression",
    "coverage",
    "seconds",
)
SORTS = (*_DESCENDING, "name", "family")


@dataclass(frozen=True, slots=True, repr=False)
class RankRow:
    """One model of a ranking. What is missing is None, and ``reason`` says why.

    Attributes:
        name: the reference, or the name the caller gave.
        family: timm's model file, torchvision's module, else the model's class.
        status: ``"ok"``; ``"undefined"`` (no operator that SED is defined for); ``"failed"`` (could not be
            built or traced); ``"timeout"``, ``"memory"`` (stopped at a limit); ``"crashed"`` (process died).
        reason: why it is not ok, or why the score is -inf, or None.
        sed: the score in nats, higher is better.
        shape: nats of it beyond what params, MACs and input size predict (:attr:`sed_torch.Score.shape`), or None.
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
        input: shape of the input it was scored at, batch first, such as ``"1x3x224x224"``; several are joined by
            ``" + "``. Scores compare at one input only.
        output: shape of what it returns, likewise; a classifier returns one row of classes; ``?`` where the data
            decide it, as of detections.
        pareto: whether no other row of its kind has a score as good with as few params and MACs, and one of the three
            better.
        expected: accuracy that a calibration foretells, in its unit; None where there is none, or where it does not
            know such networks.
        expected_low, expected_high: ends of its 90 % interval.
        unexpected: why the calibration does not know it, or None.
        features: numbers about the topology in the order of :data:`sed_torch.scoring.features.FEATURES`, as text
            with spaces between; calibrations read them.
        memory: bytes at the fullest moment of a training step with one sample and AdamW, as :func:`sed_torch.cost`
            counts them, from the graph in evaluation mode (masks of dropout are left out); None where it could not be
            counted.
    """

    name: str
    family: str | None = None
    status: Status = "ok"
    reason: str | None = None
    sed: float | None = None
    shape: float | None = None
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
    input: str | None = None
    output: str | None = None
    pareto: bool | None = None
    expected: float | None = None
    expected_low: float | None = None
    expected_high: float | None = None
    unexpected: str | None = None
    features: str | None = None
    memory: int | None = None

    def __repr__(self) -> str:
        if self.sed is None:
            return f"RankRow({self.name}: {self.status}: {self.reason})"
        sizes = f"{quantity(self.params)} params, {quantity(self.macs)} MACs"
        return f"RankRow({self.name}: SED {self.sed:.4f}, {sizes})"

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
        values = {k: _parse(k, data[k]) for k in COLUMNS if data.get(k) not in (None, "")}
        if "name" not in values:
            raise DataError("a ranking row without a name: expected the columns of Ranking.to_csv()")
        if values.get("status", "ok") not in get_args(Status):
            raise DataError(f"ranking row {values['name']!r}: unknown status {values['status']!r}")
        return cls(**values)


COLUMNS = tuple(f.name for f in fields(RankRow))
_LARGEST = 1e30
_INTEGERS = {"params", "rank", "family_rank", "residual_rank", "memory"}
_TEXTS = {
    "name",
    "family",
    "status",
    "reason",
    "frontend",
    "scope",
    "definition",
    "built_on",
    "fingerprint",
} | {
    "input",
    "output",
    "unexpected",
    "features",
}


def _parse(column: str, value: Any) -> Any:
    try:
        if column in _TEXTS:
            return str(value)
        if column == "pareto":
            return {"True": True, "False": False}[str(value)]
        number: int | float = int(value) if column in _INTEGERS else float(value)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
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


def check_sort(sort: str) -> None:
    """Raise InputError for a column that rows cannot be sorted by."""
    if sort not in SORTS:
        raise InputError(f"cannot sort by {sort!r}: expected one of {', '.join(SORTS)}")


def check_baselines(baselines: Sequence[str]) -> None:
    """Raise InputError for a baseline that cannot be had without weights."""
    for b in baselines:
        if b not in BASELINES:
            raise InputError(f"unknown baseline {b!r}: expected some of {', '.join(BASELINES)}")


def sorted_rows(rows: Iterable[RankRow], sort: str) -> tuple[RankRow, ...]:
    """In the order of a column: counts and scores largest first, names by the alphabet, what is missing last."""
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


def ranked(rows: Sequence[RankRow], baselines: Sequence[str]) -> list[RankRow]:
    """The rows with their places: overall, in the family, given size, and on the Pareto front."""
    overall = _places([r.sed for r in rows])
    residuals = _residuals(rows, baselines)
    by_residual = _places(residuals)
    front = _front(rows)
    in_family: list[int | None] = [None] * len(rows)
    groups: dict[str | None, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.family, []).append(i)
    for members in groups.values():
        for i, place in zip(members, _places([rows[i].sed for i in members]), strict=True):
            in_family[i] = place
    return [
        replace(
            r,
            rank=overall[i],
            family_rank=in_family[i],
            residual=residuals[i],
            residual_rank=by_residual[i],
            pareto=front[i],
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


def _residuals(rows: Sequence[RankRow], baselines: Sequence[str]) -> list[float | None]:
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


def _front(rows: Sequence[RankRow]) -> list[bool | None]:
    """Which rows no other one beats; None where there is no score or no size."""
    out: list[bool | None] = [None] * len(rows)
    points = {
        i: (-r.sed, float(r.params), float(r.macs))
        for i, r in enumerate(rows)
        if r.sed is not None and r.params is not None and r.macs is not None
    }
    best: list[tuple[float, float, float]] = []
    for i, point in sorted(points.items(), key=lambda p: p[1]):
        # In order of the score: whoever beats this one came before it, and so did one of the front that does.
        out[i] = math.isfinite(point[0]) and not any(
            b != point and all(x <= y for x, y in zip(b, point, strict=True)) for b in best
        )
        if out[i]:
            best.append(point)
    return out


def families_of(rows: Iterable[RankRow]) -> tuple[FamilyRow, ...]:
    """One row a family, best median score first."""
    groups: dict[str, list[RankRow]] = {}
    for row in rows:
        if row.family is not None:
            groups.setdefault(row.family, []).append(row)
    found = [_family(name, members) for name, members in groups.items()]
    return tuple(sorted(found, key=lambda f: (f.median_sed is None, -(f.median_sed or 0.0), f.family)))
