"""The numbers behind the plots: results rearranged along depth, blocks or predictors. Nothing is scored here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from sed_torch import entropy
from sed_torch.errors import InputError
from sed_torch.evidence import Accuracies, Joined, ValidationReport
from sed_torch.ranking import Ranking, RankRow
from sed_torch.ranking.rows import average_ranks
from sed_torch.scoring.result import Score
from sed_torch.searching.result import Candidate, SearchResult
from sed_torch.topology import cut_path

__all__ = [
    "Against",
    "Band",
    "Bar",
    "Cloud",
    "Drop",
    "Mark",
    "Point",
    "Profile",
    "ProfilePoint",
    "Trace",
    "Waterfall",
    "bars_of",
    "cloud_of",
    "profile_of",
    "trace_of",
    "waterfall_of",
]

Against = Literal["macs", "params", "accuracy"]


# -- along depth -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProfilePoint:
    """A live mixing operator.

    Attributes:
        place: 1 is the first to run.
        path: its module path.
        block: the path cut to the profile's depth.
        taps: n of the patch it reads.
        effective_taps: n_eff, at most n; higher is better.
        suppression: n_eff / n, in (0, 1], higher is better.
        entropy: local entropy per tap of the map it reads, nats at unit variance (1.419 on a white map).
        share: of the total amplitude.
    """

    place: int
    path: str
    block: str
    taps: float
    effective_taps: float
    suppression: float
    entropy: float | None
    share: float


@dataclass(frozen=True, slots=True)
class Mark:
    """Something between two mixing operators: ``place`` lies between theirs."""

    place: float
    kind: Literal["pool", "average", "skip"]
    path: str


@dataclass(frozen=True, slots=True)
class Band:
    """Neighbouring mixing operators of one block, from ``first`` to ``last`` place."""

    block: str
    first: int
    last: int


@dataclass(frozen=True)
class Profile:
    """A network along its depth.

    Attributes:
        name: the model's.
        points: its live mixing operators in order of execution.
        marks: pools, averages over all positions (attention included), and merges that an identity skip feeds.
        bands: the blocks.
    """

    name: str
    points: tuple[ProfilePoint, ...]
    marks: tuple[Mark, ...]
    bands: tuple[Band, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


_MARKS: Mapping[str, Literal["pool", "average"]] = {"pool": "pool", "average": "average", "attend": "average"}


def profile_of(score: Score, depth: int | None = None) -> Profile:
    """The live mixing operators of a score, in order, with what lies between them.

    Args:
        score: of one model.
        depth: names of the module path that make a block; the score's own when None.
    """
    depth = score.depth if depth is None else depth
    evaluation = score.evaluation
    topology = evaluation.topology
    terms = {t.step: t for t in evaluation.terms}
    total = math.fsum(t.amplitude for t in evaluation.terms)
    points: list[ProfilePoint] = []
    marks: list[Mark] = []
    for i, step in enumerate(topology.steps):
        if i not in topology.live:
            continue
        if (term := terms.get(i)) is not None:
            field = evaluation.fields[step.inputs[0]]
            points.append(
                ProfilePoint(
                    place=len(points) + 1,
                    path=step.path or step.name,
                    block=cut_path(step.path, depth) or "(root)",
                    taps=term.taps,
                    effective_taps=term.effective_taps,
                    suppression=term.effective_taps / term.taps,
                    entropy=None if field is None else entropy.local_entropy(field),
                    share=term.amplitude / total if total else 0.0,
                )
            )
        elif (kind := _MARKS.get(step.kind)) is not None:
            marks.append(Mark(float(len(points)), kind, step.path or step.name))
        elif topology.skips.get(i):
            marks.append(Mark(float(len(points)), "skip", step.path or step.name))
    return Profile(score.name, tuple(points), tuple(_spread(marks)), tuple(_bands(points)))


def _spread(marks: Sequence[Mark]) -> Iterable[Mark]:
    """Marks after the same operator side by side, before the next one."""
    for place, group in itertools.groupby(marks, key=lambda m: m.place):
        between = list(group)
        for k, mark in enumerate(between, start=1):
            yield replace(mark, place=place + k / (len(between) + 1))


def _bands(points: Sequence[ProfilePoint]) -> Iterable[Band]:
    start = 0
    for i, point in enumerate(points):
        if i + 1 == len(points) or points[i + 1].block != point.block:
            yield Band(point.block, points[start].place, point.place)
            start = i + 1


# -- by block --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drop:
    """What a block adds to the score, and what it loses.

    Attributes:
        block: its path.
        start: share of the total amplitude of the blocks before it.
        share: its own.
        before, after: SED in nats with the blocks before it (``before``) and with it too (``after``) as they
            are, and all later ones as if nothing were decreased. The first ``before`` is the conv part, the
            last ``after`` the score.
    """

    block: str
    start: float
    share: float
    before: float
    after: float

    @property
    def nats(self) -> float:
        """What the decrease of local entropy in it costs, ≤ 0."""
        return self.after - self.before


@dataclass(frozen=True)
class Waterfall:
    """The score from the conv part down to the total, block by block.

    Attributes:
        name: the model's.
        rows: blocks with a live mixing operator, in order of execution.
        conv: the score if no map had lost any local entropy, nats; None where SED is undefined.
        total: the score; None likewise.
    """

    name: str
    rows: tuple[Drop, ...]
    conv: float | None
    total: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def waterfall_of(score: Score, depth: int | None = None) -> Waterfall:
    """How a score, and its loss against the conv part, split over blocks at ``depth``."""
    rows: list[Drop] = []
    start, before = 0.0, score.conv or 0.0
    for block in score.by_block(depth):
        if block.lost is not None:
            after = before + block.lost
            rows.append(Drop(block.path or "(root)", start, block.share, before, after))
            start, before = start + block.share, after
    return Waterfall(score.name, tuple(rows), score.conv, score.total)


def _log(value: float) -> float:
    return math.log(value) if value > 0.0 else -math.inf


# -- many models -----------------------------------------------------------------------------------------


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


# -- predictors ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bar:
    """A predictor of a validation.

    Attributes:
        name: its name.
        ours: True for the score itself.
        n: rows it was measured on.
        rho: Spearman's ρ with accuracy, in [-1, 1], higher is better; None where undefined.
        low, high: 95 % interval, or None.
        same_rows: the score's ρ on the same rows; None for the score itself.
        top: ρ among the rows with the best accuracy, or None.
    """

    name: str
    ours: bool
    n: int
    rho: float | None
    low: float | None
    high: float | None
    same_rows: float | None
    top: float | None


def bars_of(report: ValidationReport) -> tuple[Bar, ...]:
    """The score and its rivals, best first; those without a ρ last."""
    c, interval = report.overall, report.overall.intervals.get("spearman")
    low, high = (interval.low, interval.high) if interval else (None, None)
    bars = [Bar(report.score_name, True, c.n, c.spearman, low, high, None, c.top.spearman if c.top else None)]
    for rival in report.rivals:
        r, second = rival.rival_correlation, rival.difference.second_interval
        bars.append(
            Bar(
                name=rival.rival,
                ours=False,
                n=rival.n,
                rho=r.spearman,
                low=second.low if second else None,
                high=second.high if second else None,
                same_rows=rival.score_correlation.spearman,
                top=r.top.spearman if r.top else None,
            )
        )
    return tuple(sorted(bars, key=lambda b: (b.rho is None, -(b.rho or 0.0), not b.ours, b.name)))


# -- search ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trace:
    """How a search went.

    Attributes:
        objective: what the best is best by; ``"sed"`` is the higher the better, counts the lower the better.
        looks, seconds, values: of each improvement, then of the end of the search.
        other: the count that the front is drawn over.
        front: (count, value) along the Pareto front.
        best: the same of the best.
        space: name of the space.
    """

    space: str
    objective: str
    looks: tuple[int, ...]
    seconds: tuple[float, ...]
    values: tuple[float, ...]
    other: str
    front: tuple[tuple[float, float], ...]
    best: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def trace_of(result: SearchResult) -> Trace:
    """The improvements of a search and its Pareto front."""
    objective = result.objectives[0]
    other = next((o for o in result.objectives if o not in (objective, "sed")), "params")

    def value(candidate: Candidate, what: str) -> float:
        return float(getattr(candidate, what))

    steps = [(h.looks, h.seconds, value(h.best, objective)) for h in result.history]
    steps.append((result.looks, result.seconds, value(result.best, objective)))
    looks, seconds, values = zip(*steps, strict=True)
    return Trace(
        space=result.space,
        objective=objective,
        looks=tuple(looks),
        seconds=tuple(seconds),
        values=tuple(values),
        other=other,
        front=tuple(sorted((value(c, other), value(c, objective)) for c in result.front)),
        best=(value(result.best, other), value(result.best, objective)),
    )
