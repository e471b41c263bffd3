"""How well a score orders networks by trained accuracy: rank statistics on arrays, and nothing else.

Conventions, the same for every function here:

- ``scores`` and ``accuracy`` are one-dimensional and row-aligned; for both, higher is better.
- Rows are pairwise complete: a row is dropped where the score is NaN or the accuracy is not finite. A score of
  ±inf is a score (the worst or the best), as every statistic reads its rank alone.
- Ties share their average rank (Spearman), are corrected for (Kendall's τ-b), share the mean relevance of their
  group (nDCG), and count at their worst (regret).
- Fewer than 3 rows, or a constant column, leave a statistic undefined: None, with a reason.
- Intervals are percentile bootstrap intervals over rows, seeded. Each resample is held as row counts, so that
  Spearman's ρ is exact (ranks are taken anew in each resample) and vectorised, and so is τ-b up to 2,000 rows.
  The other statistics cost more: they use ``max(100, 1,000,000 // n)`` resamples at most, weighted τ
  ``max(100, 200,000 // n)``. Each interval says how many it had.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError, InputError, MissingDependencyError

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
IntArray = npt.NDArray[np.int64]
Statistic = Literal["spearman", "kendall", "weighted_tau", "ndcg", "regret"]

LEVEL = 0.95
MIN_ROWS = 3
# τ by a sign matrix is n² floats: 16 MB at this size.
_MATRIX_ROWS = 2000
# Counts are drawn in pieces of about this many cells (32 MB of int64).
_CHUNK_CELLS = 4_000_000
_SLOW_CELLS = 1_000_000
_SLOW_LEAST = 100
_WEIGHTED_TAU_CELLS = 200_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % percentile bootstrap interval.

    Attributes:
        low, high: the 2.5 % and 97.5 % points.
        resamples: resamples in which the statistic was defined, out of those drawn.
    """

    low: float
    high: float
    resamples: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"low": self.low, "high": self.high, "resamples": self.resamples}

    def __str__(self) -> str:
        return f"[{self.low:.3f}, {self.high:.3f}]"


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
        intervals: 95 % bootstrap intervals by statistic name; empty where none were asked for.
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
    return _single("spearman", scores, accuracy, 1)


def kendall(scores: npt.ArrayLike, accuracy: npt.ArrayLike) -> float | None:
    """Kendall's τ-b in [-1, 1], corrected for ties; None where undefined."""
    return _single("kendall", scores, accuracy, 1)


def weighted_tau(scores: npt.ArrayLike, accuracy: npt.ArrayLike) -> float | None:
    """Weighted τ in [-1, 1]: errors among the best count more (additive hyperbolic weights, Vigna 2015)."""
    return _single("weighted_tau", scores, accuracy, 1)


def ndcg(scores: npt.ArrayLike, accuracy: npt.ArrayLike, k: int = 10) -> float | None:
    """nDCG of the first ``k`` by score, in [0, 1]; relevance is the accuracy rescaled to [0, 1] over the rows."""
    return _single("ndcg", scores, accuracy, k)


def regret(scores: npt.ArrayLike, accuracy: npt.ArrayLike, k: int = 10) -> float | None:
    """Best accuracy minus the best among the ``k`` best scores; 0 is best. Ties at the edge count at their worst."""
    return _single("regret", scores, accuracy, k)


def undefined_reason(scores: npt.ArrayLike, accuracy: npt.ArrayLike) -> str | None:
    """Why every statistic of these rows is undefined, or None."""
    (x,), y, _ = _complete([scores], accuracy)
    return _reason([x], y)


def top_rows(accuracy: npt.ArrayLike, fraction: float = 0.1) -> npt.NDArray[np.bool_]:
    """Rows among the best ``fraction`` by accuracy: ceil(fraction·n) rows, more where the last one is tied.

    NaN rows are never among them, and do not count in n.

    Raises:
        InputError: ``fraction`` is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction must be in (0, 1], found {fraction}")
    y = _column(accuracy, "accuracy")
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
    _check(k, n_bootstrap)
    (x,), y, dropped = _complete([scores], accuracy)
    top = None
    if top_fraction is not None:
        rows = top_rows(y, top_fraction)
        top = correlate(x[rows], y[rows], k=k, top_fraction=None, n_bootstrap=n_bootstrap, seed=seed)
    reason = _reason([x], y)
    if reason is not None:
        return Correlation(y.size, dropped, None, None, None, None, None, k, reason, top=top)
    k = min(k, y.size)
    return Correlation(
        n=y.size,
        dropped=dropped,
        spearman=_defined(_spearman(x, y, k)),
        kendall=_defined(_kendall(x, y, k)),
        weighted_tau=_defined(_weighted_tau(x, y, k)),
        ndcg=_defined(_ndcg(x, y, k)),
        regret=_defined(_regret(x, y, k)),
        k=k,
        intervals=FrozenMapping(_intervals(x, y, k, n_bootstrap, seed)),
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
    _check(k, n_bootstrap)
    if statistic not in get_args(Statistic):
        raise InputError(f"unknown statistic {statistic!r}: expected one of {', '.join(get_args(Statistic))}")
    xs, y, dropped = _complete([first, second], accuracy)
    reason = _reason(xs, y)
    if reason is not None:
        return Difference(statistic, y.size, dropped, None, None, None, reason=reason)
    k = min(k, y.size)
    a, b = (float(_STATISTICS[statistic](x, y, k)) for x in xs)
    if not n_bootstrap:
        return Difference(statistic, y.size, dropped, a, b, a - b)
    drawn = _resampled(statistic, xs, y, k, n_bootstrap, seed)
    return Difference(
        statistic,
        y.size,
        dropped,
        a,
        b,
        a - b,
        interval=_percentiles(drawn[0] - drawn[1]),
        first_interval=_percentiles(drawn[0]),
        second_interval=_percentiles(drawn[1]),
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
    _check(1, n_bootstrap)
    if not covariates:
        raise DataError("partial_spearman needs at least one covariate, such as {'params': params}")
    names = tuple(covariates)
    columns, y, dropped = _complete([scores, *covariates.values()], accuracy)
    reason = _reason(columns[:1], y)
    if reason is None and y.size < len(names) + MIN_ROWS:
        reason = f"{y.size} rows for {len(names)} covariates: at least {len(names) + MIN_ROWS} are needed"
    if reason is not None:
        return Partial(names, y.size, dropped, None, reason=reason)
    value = _partial(columns, y)
    if math.isnan(value):
        why = f"{' and '.join(names)} determine the ranks of the score or of the accuracy"
        return Partial(names, y.size, dropped, None, reason=why)
    interval = None
    if n_bootstrap:
        draws = [
            _partial([c[rows] for c in columns], y[rows])
            for rows in _row_draws(y.size, _slow_resamples(y.size, n_bootstrap), seed)
        ]
        interval = _percentiles(np.asarray(draws))
    return Partial(names, y.size, dropped, value, interval)


# --- rows --------------------------------------------------------------------------------------------------


def _check(k: int, n_bootstrap: int) -> None:
    if k < 1:
        raise InputError(f"k must be 1 or more, found {k}")
    if n_bootstrap < 0:
        raise InputError(f"n_bootstrap must be 0 or more, found {n_bootstrap}")


def _column(values: npt.ArrayLike, name: str) -> FloatArray:
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: expected an array of numbers (NaN where missing): {error}") from error
    if column.ndim != 1:
        raise DataError(f"{name}: expected a one-dimensional array, found shape {column.shape}")
    return column


def _complete(
    predictors: Sequence[npt.ArrayLike], accuracy: npt.ArrayLike
) -> tuple[list[FloatArray], FloatArray, int]:
    y = _column(accuracy, "accuracy")
    xs = [_column(p, "scores" if i == 0 else f"predictor {i + 1}") for i, p in enumerate(predictors)]
    for x in xs:
        if x.size != y.size:
            raise DataError(
                f"{x.size} scores for {y.size} accuracies: expected one per row, in the same order"
            )
    keep = np.isfinite(y)
    for x in xs:
        keep &= ~np.isnan(x)
    return [x[keep] for x in xs], y[keep], int((~keep).sum())


def _reason(xs: Sequence[FloatArray], y: FloatArray) -> str | None:
    if y.size < MIN_ROWS:
        return f"{y.size} complete rows, at least {MIN_ROWS} are needed"
    if np.all(y == y[0]):
        return "the accuracy is the same on every row"
    constant = [i for i, x in enumerate(xs) if np.all(x == x[0])]
    if constant:
        which = "score" if len(xs) == 1 else ("first predictor", "second predictor")[constant[0]]
        return f"the {which} is the same on every row"
    return None


def _dense(x: FloatArray) -> IntArray:
    """0 for the smallest value, equal values alike; infinities are values."""
    return np.unique(x, return_inverse=True)[1].astype(np.int64)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


# --- point values on complete, non-constant rows -------------------------------------------------------------


def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingDependencyError("scipy", "stats", "rank correlation") from error
    return stats


def _spearman(x: FloatArray, y: FloatArray, k: int) -> float:
    return float(_stats().spearmanr(_dense(x), _dense(y)).statistic)


def _kendall(x: FloatArray, y: FloatArray, k: int) -> float:
    return float(_stats().kendalltau(_dense(x), _dense(y)).statistic)


def _weighted_tau(x: FloatArray, y: FloatArray, k: int) -> float:
    return float(_stats().weightedtau(_dense(x), _dense(y)).statistic)


def _ndcg(x: FloatArray, y: FloatArray, k: int) -> float:
    relevance = (y - y.min()) / (y.max() - y.min())
    discount = 1 / np.log2(np.arange(2, k + 2))
    groups = _dense(x)
    mean = np.bincount(groups, relevance) / np.bincount(groups)
    gained = mean[
        np.sort(groups)[::-1][:k]
    ]  # a tied group is read in an arbitrary order: its mean is expected
    return float(gained @ discount / (np.sort(relevance)[::-1][:k] @ discount))


def _regret(x: FloatArray, y: FloatArray, k: int) -> float:
    chosen = np.lexsort((y, -x))[:k]
    return float(y.max() - y[chosen].max())


def _partial(columns: Sequence[FloatArray], y: FloatArray) -> float:
    """Pearson's r of rank residuals; NaN where a residual is constant."""
    rank = _stats().rankdata
    given = np.column_stack([np.ones(y.size), *(rank(c) for c in columns[1:])])
    targets = np.column_stack([rank(columns[0]), rank(y)])
    centred = targets - targets.mean(axis=0)
    residual = centred - given @ np.linalg.lstsq(given, centred, rcond=None)[0]
    norms = np.linalg.norm(residual, axis=0)
    # what is left of a determined column is rounding
    if np.any(norms <= 1e-9 * np.maximum(np.linalg.norm(centred, axis=0), 1)):
        return math.nan
    return float(np.clip(residual[:, 0] @ residual[:, 1] / (norms[0] * norms[1]), -1, 1))


_STATISTICS: dict[str, Callable[[FloatArray, FloatArray, int], float]] = {
    "spearman": _spearman,
    "kendall": _kendall,
    "weighted_tau": _weighted_tau,
    "ndcg": _ndcg,
    "regret": _regret,
}


def _single(name: Statistic, scores: npt.ArrayLike, accuracy: npt.ArrayLike, k: int) -> float | None:
    _check(k, 0)
    (x,), y, _ = _complete([scores], accuracy)
    if _reason([x], y) is not None:
        return None
    return _defined(_STATISTICS[name](x, y, min(k, y.size)))


# --- bootstrap -----------------------------------------------------------------------------------------------


def _intervals(x: FloatArray, y: FloatArray, k: int, n_bootstrap: int, seed: int) -> dict[str, Interval]:
    if not n_bootstrap:
        return {}
    found: dict[str, Interval] = {}
    for name in get_args(Statistic):
        interval = _percentiles(_resampled(name, [x], y, k, n_bootstrap, seed)[0])
        if interval is not None:
            found[name] = interval
    return found


def _percentiles(draws: FloatArray) -> Interval | None:
    """None where the statistic is undefined in most resamples."""
    defined = draws[np.isfinite(draws)]
    if defined.size < max(2, draws.size / 2):
        return None
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return Interval(float(low), float(high), int(defined.size))


def _slow_resamples(n: int, n_bootstrap: int, cells: int = _SLOW_CELLS) -> int:
    return min(n_bootstrap, max(_SLOW_LEAST, cells // n))


def _resampled(
    name: Statistic, xs: Sequence[FloatArray], y: FloatArray, k: int, n_bootstrap: int, seed: int
) -> FloatArray:
    """Shape (predictors, resamples); NaN where a resample leaves the statistic undefined."""
    n = y.size
    if name == "spearman":
        # one at a time: the seed gives both predictors of a pair the same rows, and a score that is held against
        # many rivals on the same rows is resampled once
        return np.stack([_spearman_draws(x.tobytes(), y.tobytes(), n_bootstrap, seed) for x in xs])
    if name == "kendall" and n <= _MATRIX_ROWS:
        return _by_counts([_KendallDraws(x, y) for x in xs], n, n_bootstrap, seed)
    cells = _WEIGHTED_TAU_CELLS if name == "weighted_tau" else _SLOW_CELLS
    draws = list(_row_draws(n, _slow_resamples(n, n_bootstrap, cells), seed))
    return np.array([[_one_draw(name, x[rows], y[rows], k) for rows in draws] for x in xs])


@lru_cache(maxsize=8)
def _spearman_draws(scores: bytes, accuracy: bytes, resamples: int, seed: int) -> FloatArray:
    x, y = np.frombuffer(scores), np.frombuffer(accuracy)
    return np.asarray(_by_counts([_SpearmanDraws(x, y)], y.size, resamples, seed)[0])


def _one_draw(name: Statistic, x: FloatArray, y: FloatArray, k: int) -> float:
    return math.nan if _reason([x], y) is not None else float(_STATISTICS[name](x, y, k))


def _row_draws(n: int, resamples: int, seed: int) -> Iterator[IntArray]:
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield rng.integers(0, n, n)


def _by_counts(
    draws: Sequence[Callable[[IntArray], FloatArray]], n: int, resamples: int, seed: int
) -> FloatArray:
    pieces = [[draw(counts) for draw in draws] for counts in _count_draws(n, resamples, seed)]
    return np.concatenate([np.stack(piece) for piece in pieces], axis=1)


def _count_draws(n: int, resamples: int, seed: int) -> Iterator[IntArray]:
    """Pieces of shape (some resamples, n): how often each row was drawn."""
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_CELLS // n)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        rows = rng.integers(0, n, (size, n)) + np.arange(size)[:, None] * n
        yield np.bincount(rows.ravel(), minlength=size * n).reshape(size, n)


class _Groups:
    """Tied groups of a column, in ascending order."""

    def __init__(self, x: FloatArray) -> None:
        self.of_row = _dense(x)
        self.order = np.argsort(self.of_row, kind="stable")
        self.starts = np.searchsorted(self.of_row[self.order], np.arange(self.of_row.max() + 1))

    def sizes(self, counts: IntArray) -> IntArray:
        """Shape (resamples, groups): rows of each group in each resample."""
        return np.asarray(np.add.reduceat(counts[:, self.order], self.starts, axis=1))


def _centred_ranks(groups: _Groups, sizes: IntArray) -> FloatArray:
    """Average ranks of the groups in each resample, less their mean, which is n/2 whatever the ties."""
    return np.asarray(np.cumsum(sizes, axis=1) - sizes / 2 - sizes.sum(axis=1, keepdims=True) / 2)


class _SpearmanDraws:
    """ρ in every resample: Pearson's r of ranks taken anew, weighted by the row counts."""

    def __init__(self, x: FloatArray, y: FloatArray) -> None:
        self.x, self.y = _Groups(x), _Groups(y)

    def __call__(self, counts: IntArray) -> FloatArray:
        size_x, size_y = self.x.sizes(counts), self.y.sizes(counts)
        rank_x, rank_y = _centred_ranks(self.x, size_x), _centred_ranks(self.y, size_y)
        product = rank_x[:, self.x.of_row] * rank_y[:, self.y.of_row]
        cov = np.einsum("ij,ij->i", product, counts)
        scale = np.einsum("ij,ij,ij->i", rank_x, rank_x, size_x) * np.einsum(
            "ij,ij,ij->i", rank_y, rank_y, size_y
        )
        return _ratio(cov, scale)


class _KendallDraws:
    """τ-b in every resample: the count form of the sign matrix S, (P − Q) = ½ wᵀSw."""

    def __init__(self, x: FloatArray, y: FloatArray) -> None:
        self.x, self.y = _Groups(x), _Groups(y)
        a, b = self.x.of_row, self.y.of_row
        self.signs = (np.sign(a[:, None] - a) * np.sign(b[:, None] - b)).astype(np.float32)

    def __call__(self, counts: IntArray) -> FloatArray:
        # Sums of up to n² ones pass what float32 counts exactly (2^24) only in the last sum, which is float64.
        half = counts.astype(np.float32) @ self.signs
        excess = np.einsum("ij,ij->i", half.astype(np.float64), counts) / 2
        n = counts.sum(axis=1)
        pairs = n * (n - 1) / 2
        free = [pairs - (s * (s - 1) / 2).sum(axis=1) for s in (self.x.sizes(counts), self.y.sizes(counts))]
        return _ratio(excess, free[0] * free[1])


def _ratio(numerator: FloatArray, squared: FloatArray) -> FloatArray:
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, np.sqrt(squared), out=out, where=squared > 0)
    return np.asarray(np.clip(out, -1, 1))
