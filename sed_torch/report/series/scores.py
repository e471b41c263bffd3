"""The numbers behind the figures of one score: along its depth, and block by block."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from sed_torch import entropy
from sed_torch.scoring.result import Score
from sed_torch.topology import cut_path

__all__ = ["Band", "Drop", "Mark", "Profile", "ProfilePoint", "Waterfall", "profile_of", "waterfall_of"]

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
