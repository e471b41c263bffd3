"""How well a score orders networks by trained accuracy: rank statistics on arrays, and nothing else.

Conventions, the same for every function here:

- ``scores`` and ``accuracy`` are one-dimensional and row-aligned; for both, higher is better.
- Rows are pairwise complete: a row is dropped where the score is NaN or the accuracy is not finite. A score of
  ±inf is a score (the worst or the best), as every statistic reads its rank alone.
- Ties share their average rank (Spearman), are corrected for (Kendall's τ-b), share the mean relevance of their
  group (nDCG), and count at their worst (regret).
- Fewer than 3 rows, or a constant column, leave a statistic undefined: None, with a reason.
- Intervals are percentile bootstrap intervals over rows, seeded; of fewer than 10 rows there is none.
  Each resample is held as row counts, so that
  Spearman's ρ is exact (ranks are taken anew in each resample) and vectorised, and so is τ-b up to 2,000 rows.
  The other statistics cost more: they use ``max(100, 1,000,000 // n)`` resamples at most, weighted τ
  ``max(100, 200,000 // n)``. Each interval says how many it had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError, InputError
from sed_torch.evidence.resampling import (
    MIN_INTERVAL_ROWS,
    Interval,
    intervals_of,
    percentiles,
    resampled,
    row_draws,
    slow_resamples,
)
from sed_torch.evidence.statistics import (
    MIN_ROWS,
    STATISTICS,
    Statistic,
    check_numbers,
    column_of,
    complete_rows,
    defined,
    partial_of,
    reason_against,
    single,
)

__all__ = [
    "Correlation",
    "Difference",
    "Interval",
    "Partial",
    "Statistic",
    "correlate",
    "kendall",
    "ndcg",
    "paired_difference",
    "partial_spearman",
    "regret",
    "spearman",
    "top_rows",
    "undefined_reason",
    "weighted_tau",
]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Correlation:
    """How well a score orders networks by accuracy.

    Attributes:
        n: rows used.
        dropped: rows dropped because the score or the accuracy is missing.
        spearman: Spearman's ρ, in [-1, 1], higher is better.
        kendall: Kendall's τ-b, in [-1, 1], higher is better.
        weighted_tau: weighted τ with additive hyperbolic weights (Vigna 2015), in [-1, 1], higher is better.
        ndcg: nDCG at ``k``, in [0, 1], higher is better. Relevance is the accuracy rescaled to [0, 1] over the
            rows used; gain is the relevance itself, the discount 1/log2(position + 1).
        regret: best accuracy minus the best accuracy among the ``k`` best scores, in the unit of the
            accuracy; 0 is best.
        k: the k of the two above, at most ``n``.
        reason: why the statistics are None, or None.
        intervals: 95 % bootstrap intervals by statistic name; empty where none were asked for, or for
            fewer than 10 rows.
        top: the same among the rows with the best accuracy (the top 10 % unless told otherwise), or None.
    """

    n: int
    dropped: int
    spearman: float | None
    kendall: float | None
    weighted_tau: float | None
    ndcg: float | None
    regret: float | None
    k: int
    reason: str | None = None
    intervals: Mapping[str, Interval] = field(default_factory=FrozenMapping)
    top: Correlation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON."""
        names: tuple[str, ...] = ("n", "dropped", *get_args(Statistic), "k", "reason")
        data: dict[str, Any] = {name: getattr(self, name) for name in names}
        data["intervals"] = {name: i.to_dict() for name, i in self.intervals.items()}
        data["top"] = None if self.top is None else self.top.to_dict()
        return data

    def __str__(self) -> str:
        if self.reason is not None:
            return f"undefined on {self.n} rows: {self.reason}"
        parts = [f"ρ {self._show('spearman')}", f"τ {self._show('kendall')}", f"n {self.n}"]
        return ", ".join(parts) + (f" ({self.dropped} dropped)" if self.dropped else "")

    def _show(self, name: Statistic) -> str:
        interval = self.intervals.get(name)
        return f"{getattr(self, name):.3f}" + (f" {interval}" if interval else "")


@dataclass(frozen=True, slots=True)
class Difference:
    """A statistic of two predictors on the same rows, and its difference.

    Attributes:
        statistic: which.
        n: rows on which both predictors and the accuracy are present.
        dropped: the others.
        first, second: the statistic of each predictor.
        value: first minus second; > 0 means the first is better (for regret: worse).
        interval: of the difference, each resample taken for both predictors at once (paired).
        first_interval, second_interval: of each, from the same resamples.
        reason: why ``value`` is None, or None.
    """

    statistic: Statistic
    n: int
    dropped: int
    first: float | None
    second: float | None
    value: float | None
    interval: Interval | None = None
    first_interval: Interval | None = None
    second_interval: Interval | None = None
    reason: str | None = None

    @property
    def significant(self) -> bool | None:
        """Whether the interval excludes 0; None where there is no interval."""
        return None if self.interval is None else not self.interval.low <= 0 <= self.interval.high

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON."""
        names = ("statistic", "n", "dropped", "first", "second", "value", "reason")
        data: dict[str, Any] = {name: getattr(self, name) for name in names}
        for name in ("interval", "first_interval", "second_interval"):
            interval: Interval | None = getattr(self, name)
            data[name] = None if interval is None else interval.to_dict()
        return data


@dataclass(frozen=True, slots=True)
class Partial:
    """Spearman's ρ between score and accuracy with covariates held fixed.

    Attributes:
        covariates: their names.
        n, dropped: rows used, and rows with something missing.
        value: in [-1, 1], higher is better, or None with a ``reason``.
        interval: its 95 % bootstrap interval.
        reason: why ``value`` is None, or None.
    """

    covariates: tuple[str, ...]
    n: int
    dropped: int
    value: float | None
    interval: Interval | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON."""
        return {
            "covariates": list(self.covariates),
            "n": self.n,
            "dropped": self.dropped,
            "value": self.value,
            "interval": None if self.interval is None else self.interval.to_dict(),
            "reason": self.reason,
        }


# --- single statistics -------------------------------------------------------------------------------------


def spearman(scores: npt.ArrayLike, accuracy: npt.ArrayLike) -> float | None:
    """Spearman's ρ in [-1, 1], ties at their average rank; None where undefined."""
    return single("spearman", scores, accuracy, 1)


def kendall(scores: npt.ArrayLike, accuracy: npt.ArrayLike) -> float | None:
    """Kendall's τ-b in [-1, 1], corrected for ties; None where undefined."""
    return single("kendall", scores, accuracy, 1)


def weighted_tau(scores: npt.ArrayLike, accuracy: npt.ArrayLike) -> float | None:
    """Weighted τ in [-1, 1]: errors among the best count more (additive hyperbolic weights, Vigna 2015)."""
    return single("weighted_tau", scores, accuracy, 1)


def ndcg(scores: npt.ArrayLike, accuracy: npt.ArrayLike, k: int = 10) -> float | None:
    """nDCG of the first ``k`` by score, in [0, 1]; relevance is the accuracy rescaled to [0, 1] over the rows."""
    return single("ndcg", scores, accuracy, k)


def regret(scores: npt.ArrayLike, accuracy: npt.ArrayLike, k: int = 10) -> float | None:
    """Best accuracy minus the best among the ``k`` best scores; 0 is best. Ties at the edge count at their worst."""
    return single("regret", scores, accuracy, k)


def undefined_reason(scores: npt.ArrayLike, accuracy: npt.ArrayLike) -> str | None:
    """Why every statistic of these rows is undefined, or None."""
    (x,), y, _ = complete_rows([scores], accuracy)
    return reason_against([x], y)


def top_rows(accuracy: npt.ArrayLike, fraction: float = 0.1) -> npt.NDArray[np.bool_]:
    """Rows among the best ``fraction`` by accuracy: ceil(fraction·n) rows, more where the last one is tied.

    NaN rows are never among them, and do not count in n.

    Raises:
        InputError: ``fraction`` is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction must be in (0, 1], found {fraction}")
    y = column_of(accuracy, "accuracy")
    present = np.sort(y[np.isfinite(y)])
    if not present.size:
        return np.zeros(y.shape, dtype=np.bool_)
    # 0.1·30 is 3.0000000000000004 in floats
    count = math.ceil(round(fraction * present.size, 9))
    return np.asarray(np.isfinite(y) & (y >= present[-count]), dtype=np.bool_)


# --- all of them -------------------------------------------------------------------------------------------


def correlate(
    scores: npt.ArrayLike,
    accuracy: npt.ArrayLike,
    *,
    k: int = 10,
    top_fraction: float | None = 0.1,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Correlation:
    """All statistics of a score against trained accuracy; conventions in the module's docstring.

    Args:
        scores: shape (n,), higher is better, NaN where missing.
        accuracy: shape (n,), higher is better, NaN where missing.
        k: for nDCG and regret.
        top_fraction: also report the best rows by accuracy, chosen once and then resampled; None leaves it out.
        n_bootstrap: resamples for the intervals; 0 leaves them out.
        seed: of the resampling.

    Raises:
        DataError: the arrays are not one-dimensional, numeric and of one length.
        InputError: ``k`` < 1, ``n_bootstrap`` < 0 or a fraction outside (0, 1].
        MissingDependencyError: scipy is not installed.
    """
    check_numbers(k, n_bootstrap)
    (x,), y, dropped = complete_rows([scores], accuracy)
    top = None
    if top_fraction is not None:
        rows = top_rows(y, top_fraction)
        top = correlate(x[rows], y[rows], k=k, top_fraction=None, n_bootstrap=n_bootstrap, seed=seed)
    reason = reason_against([x], y)
    if reason is not None:
        return Correlation(y.size, dropped, None, None, None, None, None, k, reason, top=top)
    k = min(k, y.size)
    return Correlation(
        n=y.size,
        dropped=dropped,
        spearman=defined(STATISTICS["spearman"](x, y, k)),
        kendall=defined(STATISTICS["kendall"](x, y, k)),
        weighted_tau=defined(STATISTICS["weighted_tau"](x, y, k)),
        ndcg=defined(STATISTICS["ndcg"](x, y, k)),
        regret=defined(STATISTICS["regret"](x, y, k)),
        k=k,
        intervals=FrozenMapping(intervals_of(x, y, k, n_bootstrap, seed)),
        top=top,
    )


def paired_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    accuracy: npt.ArrayLike,
    *,
    statistic: Statistic = "spearman",
    k: int = 10,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Difference:
    """A statistic of ``first`` minus that of ``second`` on the rows that have both, with a paired interval.

    Raises:
        DataError: the arrays are not one-dimensional, numeric and of one length.
        InputError: ``k`` < 1, ``n_bootstrap`` < 0 or an unknown statistic.
        MissingDependencyError: scipy is not installed.
    """
    check_numbers(k, n_bootstrap)
    if statistic not in get_args(Statistic):
        raise InputError(f"unknown statistic {statistic!r}: expected one of {', '.join(get_args(Statistic))}")
    xs, y, dropped = complete_rows([first, second], accuracy)
    reason = reason_against(xs, y)
    if reason is not None:
        return Difference(statistic, y.size, dropped, None, None, None, reason=reason)
    k = min(k, y.size)
    a, b = (float(STATISTICS[statistic](x, y, k)) for x in xs)
    if not n_bootstrap or y.size < MIN_INTERVAL_ROWS:
        return Difference(statistic, y.size, dropped, a, b, a - b)
    drawn = resampled(statistic, xs, y, k, n_bootstrap, seed)
    return Difference(
        statistic,
        y.size,
        dropped,
        a,
        b,
        a - b,
        interval=percentiles(drawn[0] - drawn[1]),
        first_interval=percentiles(drawn[0]),
        second_interval=percentiles(drawn[1]),
    )


def partial_spearman(
    scores: npt.ArrayLike,
    accuracy: npt.ArrayLike,
    covariates: Mapping[str, npt.ArrayLike],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Partial:
    """Spearman's ρ of score and accuracy once the covariates are accounted for, by rank residuals.

    Every column is replaced by its ranks; the ranks of score and of accuracy are each regressed on those of the
    covariates (least squares, with an intercept); the result is Pearson's r of the residuals. Being of
    ranks, it is the same for a covariate and its logarithm. At most 1,000,000 // n resamples, at least 100.

    Raises:
        DataError: the arrays are not one-dimensional, numeric and of one length, or there is no covariate.
    """
    check_numbers(1, n_bootstrap)
    if not covariates:
        raise DataError("partial_spearman needs at least one covariate, such as {'params': params}")
    names = tuple(covariates)
    columns, y, dropped = complete_rows([scores, *covariates.values()], accuracy)
    reason = reason_against(columns[:1], y)
    if reason is None and y.size < len(names) + MIN_ROWS:
        reason = f"{y.size} rows for {len(names)} covariates: at least {len(names) + MIN_ROWS} are needed"
    if reason is not None:
        return Partial(names, y.size, dropped, None, reason=reason)
    value = partial_of(columns, y)
    if math.isnan(value):
        why = f"{' and '.join(names)} determine the ranks of the score or of the accuracy"
        return Partial(names, y.size, dropped, None, reason=why)
    interval = None
    if n_bootstrap and y.size >= MIN_INTERVAL_ROWS:
        draws = [
            partial_of([c[rows] for c in columns], y[rows])
            for rows in row_draws(y.size, slow_resamples(y.size, n_bootstrap), seed)
        ]
        interval = percentiles(np.asarray(draws))
    return Partial(names, y.size, dropped, value, interval)
