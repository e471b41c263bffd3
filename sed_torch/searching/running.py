"""The search itself: ask a strategy, measure, remember, until time is over."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sed_torch.errors import SearchError
from sed_torch.scoring import DEFAULT_DEFINITION
from sed_torch.searching.limits import Limit, check_objectives, costs, front, limits_of, violation
from sed_torch.searching.result import Candidate, Improvement, SearchResult, Stop
from sed_torch.searching.sources import Foreteller, Source, foretelling, source_of
from sed_torch.searching.strategies import Evolution, Exhaustive, Random, Strategy
from sed_torch.searching.trials import StudyStrategy, is_study
from sed_torch.spaces import COUNTS

__all__ = ["STRATEGIES", "SearchProgress", "search"]

Floats = NDArray[np.float64]

STRATEGIES = ("auto", "exhaustive", "evolution", "random")

_LARGEST_BATCH = 4096
_TRIED = (1, 8, 64, 512)
"""Architectures by which the time for a whole space is estimated: few of a slow one, many of a fast one."""


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """How far a search is.

    Attributes:
        looks: architectures looked at.
        seconds: wall-clock seconds since the start.
        best: score of the best within the limits, or None.
    """

    looks: int
    seconds: float
    best: float | None


Report = Callable[[SearchProgress], None]


def search(
    space: Any,
    *,
    max_params: Limit = None,
    max_macs: Limit = None,
    max_depth: Limit = None,
    constraints: Mapping[str, float | str] | None = None,
    budget_s: float | None = 1.0,
    strategy: Literal["auto", "exhaustive", "evolution", "random"] | Any = "auto",
    seed: int = 0,
    objectives: Sequence[str] | None = None,
    calibration: Foreteller | None = None,
    max_looks: int | None = None,
    progress: bool | Report | None = None,
) -> SearchResult:
    """The networks of a space with the highest scores within limits of size. No network is built, trained or run.

    Args:
        space: a name of :data:`sed_torch.spaces.SPACES`, a :class:`~sed_torch.spaces.Space`, or an object with
            ``sample(rng)``, ``topology(arch)`` and perhaps ``mutate(arch, rng)``, such as a
            :class:`~sed_torch.searching.CallableSpace`.
        max_params: parameters that a network may have, at most; a number, or text as ``"1.0M"``.
        max_macs: multiply-accumulates a sample, likewise.
        max_depth: convolutions and linear layers one after the other, likewise.
        constraints: the same maxima as a mapping from ``"params"``, ``"macs"`` and ``"depth"``.
        budget_s: wall-clock seconds; None leaves the end to ``max_looks``, or to the whole space.
        strategy: ``"exhaustive"``; ``"evolution"`` (regularised, Real et al. 2019); ``"random"``; ``"auto"``, the
            first where the whole space fits the budget, else the second; or an Optuna study, which then proposes
            (its directions must be those of ``objectives``).
        seed: of the random draws.
        objectives: of ``"sed"``, ``"expected"`` (maximised), ``"params"``, ``"macs"``, ``"depth"`` (minimised): the
            best one is best by the first, the Pareto front is of all. When None, the score, or with a calibration the
            expected accuracy, and the parameters.
        calibration: foretells the accuracy, see :func:`sed_torch.calibrate`. Networks unlike those it has seen have no
            place in the result. Each look takes some milliseconds then, for its features are written out one by one.
        max_looks: architectures to look at, at most.
        progress: None shows a bar where stderr is a terminal, True always, False never; or a function of
            :class:`SearchProgress`.

    Returns:
        The result. Ctrl-C ends a search early, with the best until then (once there is one).

    Raises:
        SearchError: wrong arguments, or nothing within the limits was found; the message says what the smallest
            network seen has.
        SpaceError: no space of that name.
    """
    start = time.perf_counter()
    limits = limits_of(constraints, max_params=max_params, max_macs=max_macs, max_depth=max_depth)
    source, wanted = source_of(space), check_objectives(objectives, calibration is not None)
    if calibration is not None:
        source = foretelling(source, calibration)
    _check_end(budget_s, max_looks, source, strategy)
    end = None if budget_s is None else start + budget_s
    ledger = _Ledger(source, limits, wanted, start)
    rng = np.random.default_rng(seed)
    chosen = _strategy(strategy, source, rng, wanted, end, max_looks)
    with _reporting(progress, budget_s) as report:
        stop = _run(chosen, ledger, end, max_looks, report)
    found = ledger.result(chosen.name, seed, stop)
    if calibration is None:
        return found
    return replace(found, expects=", ".join(t for t in (calibration.title, calibration.unit) if t))


def _check_end(budget_s: float | None, max_looks: int | None, source: Source, strategy: Any) -> None:
    if budget_s is not None and not budget_s > 0:
        raise SearchError(f"budget_s must be a positive number of seconds or None, found {budget_s}")
    if max_looks is not None and max_looks < 1:
        raise SearchError(f"max_looks must be 1 or more, found {max_looks}")
    finite = source.archs is not None and strategy in ("auto", "exhaustive")
    if budget_s is None and max_looks is None and not finite:
        raise SearchError("the search would never end: give budget_s or max_looks")


def _strategy(
    name: Any,
    source: Source,
    rng: np.random.Generator,
    objectives: tuple[str, ...],
    end: float | None,
    max_looks: int | None,
) -> Strategy:
    if is_study(name):
        return StudyStrategy(name, source, objectives)
    if name not in STRATEGIES:
        raise SearchError(
            f"no strategy {name!r}: expected one of {', '.join(STRATEGIES)}, or an Optuna study"
        )
    if name == "exhaustive" and source.archs is None:
        raise SearchError(f"{source.name} cannot be enumerated: use strategy 'evolution' or 'random'")
    if name == "evolution" and source.mutate is None:
        raise SearchError(f"{source.name} has no mutate(arch, rng), which evolution needs: use 'random'")
    if name == "auto":
        measured = [o for o in ("sed", "expected") if o == "sed" or o in objectives]
        whole = source.archs is not None and _fits(source, measured, end, max_looks)
        name = "exhaustive" if whole else "random" if source.mutate is None else "evolution"
    kinds: dict[str, Callable[[Source, np.random.Generator], Strategy]]
    kinds = {"exhaustive": Exhaustive, "evolution": Evolution, "random": Random}
    return kinds[name](source, rng)


def _fits(source: Source, measured: Sequence[str], end: float | None, max_looks: int | None) -> bool:
    """Whether the whole space can be looked at, judged by a few of its architectures."""
    if source.size is None or (max_looks is not None and max_looks < source.size):
        return False
    if end is None:
        return True
    rng = np.random.default_rng(0)
    left = end - time.perf_counter()
    each = 0.0
    for n in _TRIED:  # the first one makes tables, once
        tried = [source.sample(rng) for _ in range(n)]
        before = time.perf_counter()
        source.measure(tried, (*measured, *COUNTS[:2]))
        spent = time.perf_counter() - before
        each = spent / n
        if n > 1 and spent > 0.02 * left:
            break
    return time.perf_counter() + each * source.size < end


def _run(
    strategy: Strategy, ledger: _Ledger, end: float | None, max_looks: int | None, report: Report
) -> Stop:
    n = ledger.first
    try:
        while True:
            if max_looks is not None:
                n = min(n, max_looks - ledger.looks)
            if n < 1:
                return "max_looks"
            before = time.perf_counter()
            if end is not None and before >= end and ledger.looks:
                return "budget"
            archs = strategy.ask(n)
            if not archs:
                return "exhausted"
            sed, beyond = ledger.look(archs)
            strategy.tell(archs, sed.tolist(), beyond.tolist())
            report(ledger.progress())
            n = _next_batch(len(archs), time.perf_counter() - before, end)
    except KeyboardInterrupt:
        if ledger.best is None:
            raise
        return "interrupted"


def _next_batch(n: int, seconds: float, end: float | None) -> int:
    """Twice as many, as long as the time that is left has room for several such batches."""
    if end is None:
        return min(2 * n, _LARGEST_BATCH)
    room = 0.25 * max(end - time.perf_counter(), 0.0) / max(seconds / n, 1e-9)
    return max(1, min(2 * n, _LARGEST_BATCH, int(room)))


class _Ledger:
    """All that was looked at."""

    def __init__(
        self, source: Source, limits: Mapping[str, float], objectives: tuple[str, ...], start: float
    ) -> None:
        self._source, self._limits, self._objectives, self._start = source, limits, objectives, start
        self._columns = ("sed", *(c for c in ("expected", *COUNTS) if c in limits or c in objectives))
        self._fitness = "expected" if "expected" in objectives else "sed"
        self._archs: list[Any] = []
        self._pieces: list[dict[str, Floats]] = []
        self._better: list[tuple[int, float, int]] = []  # looks, seconds, row
        self._best_costs: tuple[float, ...] | None = None
        self.best: float | None = None

    @property
    def first(self) -> int:
        """Architectures to begin with."""
        return self._source.first

    @property
    def looks(self) -> int:
        return len(self._archs)

    def progress(self) -> SearchProgress:
        return SearchProgress(self.looks, self._seconds(), self.best)

    def _seconds(self) -> float:
        return time.perf_counter() - self._start

    def look(self, archs: Sequence[Any]) -> tuple[Floats, Floats]:
        """Measure; returns scores or expected accuracies, and how far each is above the limits."""
        columns = self._source.measure(archs, self._columns)
        beyond = violation(columns, self._limits)
        ok = _within(columns, beyond)
        first = self.looks
        self._archs.extend(archs)
        self._pieces.append({**columns, "beyond": beyond})
        self._improve(costs(columns, self._objectives), ok, first)
        return columns[self._fitness], beyond

    def _improve(self, points: Floats, ok: NDArray[np.bool_], first: int) -> None:
        for i in np.flatnonzero(ok).tolist() if self._best_costs is None else self._promising(points, ok):
            point = tuple(points[i].tolist())
            if self._best_costs is None or point < self._best_costs:
                self._best_costs = point
                self._better.append((first + i + 1, self._seconds(), first + i))
                if "sed" in self._objectives:
                    self.best = -point[self._objectives.index("sed")]
                else:
                    self.best = float(self._pieces[-1]["sed"][i])

    def _promising(self, points: Floats, ok: NDArray[np.bool_]) -> list[int]:
        assert self._best_costs is not None
        return [int(i) for i in np.flatnonzero(ok & (points[:, 0] <= self._best_costs[0]))]

    def result(self, strategy: str, seed: int, stop: Stop) -> SearchResult:
        """The result, or an error when nothing is within the limits."""
        columns = {k: np.concatenate([p[k] for p in self._pieces]) for k in self._pieces[0]}
        ok = np.flatnonzero(_within(columns, columns["beyond"]))
        if not ok.size:
            raise SearchError(self._nothing(columns, stop))
        points = costs(columns, self._objectives)
        on_front = ok[front(points[ok])].tolist()
        rows = [row for _, _, row in self._better]
        known = self._candidates([*on_front, *rows], columns)
        history = tuple(Improvement(n, s, known[row]) for n, s, row in self._better)
        return SearchResult(
            space=self._source.name,
            best=history[-1].best,
            front=tuple(known[row] for row in on_front),
            history=history,
            looks=self.looks,
            feasible=int(ok.size),
            size=self._source.size,
            seconds=self._seconds(),
            stop=stop,
            constraints=self._limits,
            objectives=self._objectives,
            strategy=strategy,
            seed=seed,
            definition=DEFAULT_DEFINITION,
        )

    def _candidates(self, rows: Sequence[int], columns: Mapping[str, Floats]) -> dict[int, Candidate]:
        """With all counts, also those that the search had no use for."""
        distinct = list(dict.fromkeys(rows))
        archs = [self._archs[row] for row in distinct]
        counts = self._source.measure(archs, COUNTS)
        return {
            row: Candidate(
                self._source.format(arch),
                float(columns["sed"][row]),
                int(counts["params"][i]),
                float(counts["macs"][i]),
                int(counts["depth"][i]),
                arch,
                float(columns["expected"][row]) if "expected" in columns else None,
            )
            for i, (row, arch) in enumerate(zip(distinct, archs, strict=True))
        }

    def _nothing(self, columns: Mapping[str, Floats], stop: Stop) -> str:
        alive = np.isfinite(columns["sed"])
        seen = f"{self.looks:,} architectures of {self._source.name}"
        whole = ", which are all," if stop == "exhausted" else ""
        if not alive.any():
            return f"none of {seen} that were looked at{whole} has a live path from input to output"
        known = np.isfinite(columns.get("expected", columns["sed"]))
        if not known.any():
            return f"none of {seen} that were looked at{whole} is like the networks that the calibration has seen"
        alive &= known
        limits = ", ".join(f"{n} ≤ {v:,.10g}" for n, v in self._limits.items())
        smallest = ", ".join(f"{columns[n][alive].min():,.10g} {n}" for n in self._limits)
        together = " (not all in one network)" if len(self._limits) > 1 else ""
        advice = "" if stop == "exhausted" else "; a longer search may find a smaller one"
        return (
            f"none of {seen} that were looked at{whole} satisfies {limits}: the smallest seen with a live path has "
            f"{smallest}{together}{advice}"
        )


def _within(columns: Mapping[str, Floats], beyond: Floats) -> NDArray[np.bool_]:
    known = np.isfinite(columns.get("expected", columns["sed"]))
    return np.asarray((beyond == 0.0) & known & np.isfinite(columns["sed"]))


@contextlib.contextmanager
def _reporting(progress: bool | Report | None, budget_s: float | None) -> Iterator[Report]:
    if callable(progress):
        yield progress
    elif progress or (progress is None and sys.stderr.isatty()):
        with _bar(budget_s) as report:
            yield report
    else:
        yield lambda state: None


@contextlib.contextmanager
def _bar(budget_s: float | None) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("searching"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("searching", total=budget_s, state="")

        def report(state: SearchProgress) -> None:
            best = "" if state.best is None else f", best {state.best:.3f} nats"
            bar.update(task, completed=state.seconds, state=f"{state.looks:,} looks{best}")

        yield report
