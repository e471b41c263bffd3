"""The numbers behind the figure of a search: how it improved, and its Pareto front."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sed_torch.searching.result import Candidate, SearchResult

__all__ = ["Trace", "trace_of"]


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
