"""The numbers behind the figures of many models: points of a scatter plot, with what stands out among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from sed_torch.errors import InputError
from sed_torch.evidence import Accuracies, Joined
from sed_torch.ranking import Ranking, RankRow
from sed_torch.ranking.rows import average_ranks

__all__ = ["Against", "Cloud", "Point", "cloud_of"]

Against = Literal["macs", "params", "accuracy"]


@dataclass(frozen=True, slots=True)
class Point:
    """A model of a scatter plot.

    Attributes:
        name: its name.
        group: its family, or None.
        x, y: its place.
        front: on the Pareto front: no model at least as small scores as high.
        surprise: how far it lies from where most lie: the ranking's residual, or the rank by SED minus the
            rank by accuracy. Its sign says which side; None where unknown.
        rank: its place in the ranking by score, or None.
    """

    name: str
    group: str | None
    x: float
    y: float
    front: bool = False
    surprise: float | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Cloud:
    """Models as points.

    Attributes:
        points: those with both values.
        x_label, y_label: of the axes, with units.
        x_log: whether x spans decades.
        left_out: models without one of the values.
        has_front: whether a Pareto front makes sense.
    """

    points: tuple[Point, ...]
    x_label: str
    y_label: str
    x_log: bool
    left_out: int
    has_front: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def groups(self, most: int) -> tuple[str, ...]:
        """The ``most`` largest families, largest first."""
        sizes: dict[str, int] = {}
        for p in self.points:
            if p.group is not None:
                sizes[p.group] = sizes.get(p.group, 0) + 1
        return tuple(sorted(sizes, key=lambda g: (-sizes[g], g))[:most])

    def outliers(self, most: int) -> tuple[Point, ...]:
        """The ``most`` points with the largest surprise, either way."""
        known = [p for p in self.points if p.surprise]
        return tuple(sorted(known, key=lambda p: (-abs(p.surprise or 0.0), p.name))[:most])


_SIZES = {"macs": "MACs a sample", "params": "parameters"}
_SED = "SED, nats"


def cloud_of(
    source: Ranking | Joined,
    against: Against = "macs",
    accuracy: Mapping[str, float] | Accuracies | None = None,
) -> Cloud:
    """Models of a ranking (or of one joined with accuracies) as points: size → SED, or SED → accuracy.

    Args:
        source: the models.
        against: ``"macs"``, ``"params"``, or ``"accuracy"``.
        accuracy: by model name, for a ranking; higher is better.

    Raises:
        InputError: ``against`` is unknown, accuracies are missing, or a size is not in ``source``.
    """
    if against not in ("macs", "params", "accuracy"):
        raise InputError(f"against={against!r}: expected 'macs', 'params' or 'accuracy'")
    if against == "accuracy":
        return _against_accuracy(source, accuracy)
    rows = source.rows if isinstance(source, Ranking) else _joined_rows(source, against)
    points = [
        Point(r.name, r.family, float(getattr(r, against)), r.sed, surprise=r.residual, rank=r.rank)
        for r in rows
        if _drawable(r.sed) and getattr(r, against) and r.sed is not None
    ]
    front = _front(points)
    return Cloud(
        tuple(replace(p, front=i in front) for i, p in enumerate(points)),
        _SIZES[against],
        _SED,
        True,
        len(rows) - len(points),
        True,
    )


def _drawable(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _joined_rows(joined: Joined, against: str) -> tuple[RankRow, ...]:
    column = getattr(joined, against)
    if column is None:
        raise InputError(f"against={against!r}: the joined ranking has no such column")
    groups = joined.groups or [None] * len(joined)
    plain = (
        RankRow(name, family=group, sed=float(sed))
        for name, group, sed in zip(joined.names, groups, joined.scores.tolist(), strict=True)
    )
    sizes = [None if math.isnan(size) else {against: size} for size in column.tolist()]
    return tuple(r if s is None else replace(r, **s) for r, s in zip(plain, sizes, strict=True))


def _front(points: Sequence[Point]) -> set[int]:
    best, front = -math.inf, set()
    for i in sorted(range(len(points)), key=lambda i: (points[i].x, -points[i].y, points[i].name)):
        if points[i].y > best:
            best = points[i].y
            front.add(i)
    return front


def _against_accuracy(source: Ranking | Joined, accuracy: Mapping[str, float] | Accuracies | None) -> Cloud:
    if isinstance(source, Joined):
        label = source.metric + (f", {source.unit}" if source.unit else "")
        groups = source.groups or [None] * len(source)
        rows = zip(source.names, groups, source.scores.tolist(), source.accuracy.tolist(), strict=True)
        points = [Point(*row) for row in rows if _drawable(row[2])]
        left_out = len(source) - len(points)
    else:
        if accuracy is None:
            raise InputError("against='accuracy' needs accuracy={name: value} for a ranking")
        known, label = _known(accuracy)
        points = [
            Point(r.name, r.family, r.sed, value, rank=r.rank)
            for r in source.rows
            if r.sed is not None and math.isfinite(r.sed) and (value := _find(known, r.name)) is not None
        ]
        left_out = len(source.rows) - len(points)
    return Cloud(_with_surprise(points), _SED, label, False, left_out, False)


def _known(accuracy: Mapping[str, float] | Accuracies) -> tuple[Mapping[str, float], str]:
    if isinstance(accuracy, Accuracies):
        label = accuracy.metric + (f", {accuracy.unit}" if accuracy.unit else "")
        return dict(zip(accuracy.names, accuracy.values.tolist(), strict=True)), label
    return accuracy, "accuracy"


def _find(known: Mapping[str, float], name: str) -> float | None:
    value = known.get(name, known.get(name.partition(":")[2]))
    return value if _drawable(value) else None


def _with_surprise(points: Sequence[Point]) -> tuple[Point, ...]:
    by_score = average_ranks([p.x for p in points])
    by_accuracy = average_ranks([p.y for p in points])
    return tuple(
        replace(p, surprise=float(s - a)) for p, s, a in zip(points, by_score, by_accuracy, strict=True)
    )
