"""Between what is measured and the normal scale that the process works on. Monotone, and invertible where needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLIP", "DIGITS", "Scale", "by_error", "by_ranks", "linear"]

Array = NDArray[np.float64]

CLIP = 3.0
"""Standard deviations beyond which a feature, or a score on a linear scale, counts as that far."""

_KNOTS = 129
DIGITS = 9
"""Of a knot, in files too."""


@dataclass(frozen=True)
class Scale:
    """A monotone map to the normal scale, piecewise linear between knots; beyond them it goes on as a line.

    Attributes:
        knots: values, ascending, after the logarithm where there is a ceiling.
        normal: what they are on the normal scale, ascending.
        ceiling: values are first turned into -ln(ceiling - value); None leaves them as they are.
        clip: largest distance from 0 on the normal scale, or None.
    """

    knots: tuple[float, ...]
    normal: tuple[float, ...]
    ceiling: float | None = None
    clip: float | None = None

    def to_normal(self, values: Array) -> Array:
        """From what is measured."""
        raw = np.asarray(values, dtype=np.float64)
        if self.ceiling is not None:
            raw = -np.log(np.maximum(self.ceiling - raw, 1e-6))
        found = _along(raw, np.array(self.knots), np.array(self.normal))
        return found if self.clip is None else np.clip(found, -self.clip, self.clip)

    def from_normal(self, values: Array) -> Array:
        """Back to what is measured; what lies beyond the ceiling cannot come out."""
        raw = _along(np.asarray(values, dtype=np.float64), np.array(self.normal), np.array(self.knots))
        return raw if self.ceiling is None else self.ceiling - np.exp(-raw)

    def slope(self, values: Array) -> Array:
        """Steps on the normal scale a unit of what is measured, around each value; for variances."""
        step = 0.05 * max(float(np.std(np.asarray(values))), 1e-6)
        return np.asarray((self.to_normal(values + step) - self.to_normal(values - step)) / (2 * step))


def _along(x: Array, xs: Array, ys: Array) -> Array:
    """Linear between the knots, and beyond them with the slope of all."""
    slope = (ys[-1] - ys[0]) / (xs[-1] - xs[0])
    inside = np.interp(x, xs, ys)
    return np.asarray(inside + slope * (np.minimum(x - xs[0], 0.0) + np.maximum(x - xs[-1], 0.0)))


def linear(values: Array) -> Scale:
    """z-scores, clipped."""
    mean, deviation = float(np.mean(values)), float(np.std(values)) or 1.0
    return Scale((mean - deviation, mean + deviation), (-1.0, 1.0), clip=CLIP)


def by_error(values: Array, ceiling: float) -> Scale:
    """z-scores of -ln(ceiling - value): differences near the ceiling count more, as errors that halve do.

    Raises:
        ValueError: a value is not below the ceiling.
    """
    if np.max(values) >= ceiling:
        raise ValueError(f"values must be below {ceiling:g}, found {np.max(values):g}")
    raw = -np.log(ceiling - np.asarray(values, dtype=np.float64))
    mean, deviation = float(np.mean(raw)), float(np.std(raw)) or 1.0
    return Scale((mean - deviation, mean + deviation), (-1.0, 1.0), ceiling)


def by_ranks(values: Array, ceiling: float | None = None, knots: int = _KNOTS) -> Scale:
    """Normal scores: the quantiles of a normal distribution at the values' ranks. No outlier weighs more than another.

    Args:
        values: two different ones at least.
        knots: to keep at most.
        ceiling: what no prediction may reach, such as 100 %; it shapes what lies beyond the best value only.
    """
    raw = np.asarray(values, dtype=np.float64)
    if ceiling is not None and np.max(raw) < ceiling:
        raw = -np.log(ceiling - raw)
    else:
        ceiling = None
    # as a file keeps them: networks that differ in the last bits only are one knot there
    raw = np.array([float(f"{v:.{DIGITS}g}") for v in raw.tolist()])
    distinct, counts = np.unique(raw, return_counts=True)
    # equal values share the middle of their ranks
    shares = (np.cumsum(counts) - (counts - 1) / 2 - 0.5) / len(raw)
    normal = np.array([NormalDist().inv_cdf(float(q)) for q in shares])
    spread = math.sqrt(float(np.sum(counts * normal**2) / len(raw))) or 1.0
    keep = _some(len(distinct), knots)
    return Scale(tuple(distinct[keep].tolist()), tuple((normal[keep] / spread).tolist()), ceiling)


def _some(n: int, most: int) -> Sequence[int]:
    """Knots to keep: all of few, else evenly chosen with both ends."""
    if n <= most:
        return list(range(n))
    return sorted({round(i * (n - 1) / (most - 1)) for i in range(most)})
