"""Rank statistics of two columns: which rows count, and the value of each statistic on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sed_torch.errors import DataError, InputError, MissingDependencyError

__all__ = [
    "MIN_ROWS",
    "STATISTICS",
    "Statistic",
    "check_numbers",
    "column_of",
    "complete_rows",
    "defined",
    "dense",
    "partial_of",
    "reason_against",
    "single",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Statistic = Literal["spearman", "kendall", "weighted_tau", "ndcg", "regret"]

MIN_ROWS = 3


# --- rows --------------------------------------------------------------------------------------------------


def check_numbers(k: int, n_bootstrap: int) -> None:
    """Raise an InputError for numbers that no statistic has."""
    if k < 1:
        raise InputError(f"k must be 1 or more, found {k}")
    if n_bootstrap < 0:
        raise InputError(f"n_bootstrap must be 0 or more, found {n_bootstrap}")


def column_of(values: npt.ArrayLike, name: str, size: int | None = None) -> FloatArray:
    """A column of numbers, of ``size`` rows where that is known.

    Raises:
        DataError: it is not.
    """
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: expected an array of numbers (NaN where missing): {error}") from error
    if column.ndim != 1:
        raise DataError(f"{name}: expected a one-dimensional array, found shape {column.shape}")
    if size is not None and column.size != size:
        raise DataError(f"{name}: {column.size} values for {size} accuracies: expected one per row")
    return column


def complete_rows(
    predictors: Sequence[npt.ArrayLike], accuracy: npt.ArrayLike
) -> tuple[list[FloatArray], FloatArray, int]:
    """Rows on which all predictors and the accuracy are there, and how many were dropped."""
    y = column_of(accuracy, "accuracy")
    xs = [column_of(p, "scores" if i == 0 else f"predictor {i + 1}") for i, p in enumerate(predictors)]
    for x in xs:
        if x.size != y.size:
            raise DataError(
                f"{x.size} scores for {y.size} accuracies: expected one per row, in the same order"
            )
    keep = np.isfinite(y)
    for x in xs:
        keep &= ~np.isnan(x)
    return [x[keep] for x in xs], y[keep], int((~keep).sum())


def reason_against(xs: Sequence[FloatArray], y: FloatArray) -> str | None:
    """Why no statistic is defined on complete rows, or None."""
    if y.size < MIN_ROWS:
        return f"{y.size} complete rows, at least {MIN_ROWS} are needed"
    if np.all(y == y[0]):
        return "the accuracy is the same on every row"
    constant = [i for i, x in enumerate(xs) if np.all(x == x[0])]
    if constant:
        which = "score" if len(xs) == 1 else ("first predictor", "second predictor")[constant[0]]
        return f"the {which} is the same on every row"
    return None


def dense(x: FloatArray) -> IntArray:
    """0 for the smallest value, equal values alike; infinities are values."""
    return np.unique(x, return_inverse=True)[1].astype(np.int64)


def defined(value: float) -> float | None:
    """None for NaN."""
    return None if math.isnan(value) else float(value)


# --- point values on complete, non-constant rows -------------------------------------------------------------


def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingDependencyError("scipy", "stats", "rank correlation") from error
    return stats


def _spearman(x: FloatArray, y: FloatArray, k: int) -> float:
    return float(_stats().spearmanr(dense(x), dense(y)).statistic)


def _kendall(x: FloatArray, y: FloatArray, k: int) -> float:
    return float(_stats().kendalltau(dense(x), dense(y)).statistic)


def _weighted_tau(x: FloatArray, y: FloatArray, k: int) -> float:
    return float(_stats().weightedtau(dense(x), dense(y)).statistic)


def _ndcg(x: FloatArray, y: FloatArray, k: int) -> float:
    relevance = (y - y.min()) / (y.max() - y.min())
    discount = 1 / np.log2(np.arange(2, k + 2))
    groups = dense(x)
    mean = np.bincount(groups, relevance) / np.bincount(groups)
    gained = mean[
        np.sort(groups)[::-1][:k]
    ]  # a tied group is read in an arbitrary order: its mean is expected
    return float(gained @ discount / (np.sort(relevance)[::-1][:k] @ discount))


def _regret(x: FloatArray, y: FloatArray, k: int) -> float:
    chosen = np.lexsort((y, -x))[:k]
    return float(y.max() - y[chosen].max())


def partial_of(columns: Sequence[FloatArray], y: FloatArray) -> float:
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


STATISTICS: dict[str, Callable[[FloatArray, FloatArray, int], float]] = {
    "spearman": _spearman,
    "kendall": _kendall,
    "weighted_tau": _weighted_tau,
    "ndcg": _ndcg,
    "regret": _regret,
}


def single(name: Statistic, scores: npt.ArrayLike, accuracy: npt.ArrayLike, k: int) -> float | None:
    """A statistic alone, None where it is undefined."""
    check_numbers(k, 0)
    (x,), y, _ = complete_rows([scores], accuracy)
    if reason_against([x], y) is not None:
        return None
    return defined(STATISTICS[name](x, y, min(k, y.size)))
