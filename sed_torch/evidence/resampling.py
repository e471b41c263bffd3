"""Percentile bootstrap over rows: each resample is held as row counts where the statistic allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from sed_torch.evidence.statistics import STATISTICS, Statistic, dense, reason_against

__all__ = [
    "LEVEL",
    "MIN_INTERVAL_ROWS",
    "Interval",
    "intervals_of",
    "percentiles",
    "resampled",
    "row_draws",
    "slow_resamples",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEVEL = 0.95
MIN_INTERVAL_ROWS = 10
"""Rows that an interval needs: of fewer, resamples repeat so few rows that they agree by chance ([1.000, 1.000])."""

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


# --- bootstrap -----------------------------------------------------------------------------------------------


def intervals_of(x: FloatArray, y: FloatArray, k: int, n_bootstrap: int, seed: int) -> dict[str, Interval]:
    """Of every statistic that has one; none where no resamples are asked for."""
    if not n_bootstrap or y.size < MIN_INTERVAL_ROWS:
        return {}
    found: dict[str, Interval] = {}
    for name in get_args(Statistic):
        interval = percentiles(resampled(name, [x], y, k, n_bootstrap, seed)[0])
        if interval is not None:
            found[name] = interval
    return found


def percentiles(draws: FloatArray) -> Interval | None:
    """None where the statistic is undefined in most resamples."""
    defined = draws[np.isfinite(draws)]
    if defined.size < max(2, draws.size / 2):
        return None
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return Interval(float(low), float(high), int(defined.size))


def slow_resamples(n: int, n_bootstrap: int, cells: int = _SLOW_CELLS) -> int:
    """How many resamples a statistic that is not vectorised gets."""
    return min(n_bootstrap, max(_SLOW_LEAST, cells // n))


def resampled(
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
    draws = list(row_draws(n, slow_resamples(n, n_bootstrap, cells), seed))
    return np.array([[_one_draw(name, x[rows], y[rows], k) for rows in draws] for x in xs])


@lru_cache(maxsize=8)
def _spearman_draws(scores: bytes, accuracy: bytes, resamples: int, seed: int) -> FloatArray:
    x, y = np.frombuffer(scores), np.frombuffer(accuracy)
    return np.asarray(_by_counts([_SpearmanDraws(x, y)], y.size, resamples, seed)[0])


def _one_draw(name: Statistic, x: FloatArray, y: FloatArray, k: int) -> float:
    return math.nan if reason_against([x], y) is not None else float(STATISTICS[name](x, y, k))


def row_draws(n: int, resamples: int, seed: int) -> Iterator[IntArray]:
    """Row numbers of each resample."""
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
        self.of_row = dense(x)
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
