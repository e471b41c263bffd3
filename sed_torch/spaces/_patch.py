"""Effective taps of 3×3 patches, many at once and in closed form."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["JITTER", "PATCH_LAGS", "effective_taps_3x3"]

Array = NDArray[np.float64]

PATCH_LAGS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""The distinct lags between taps of a 3×3 kernel on a field that is the same in both axes."""

JITTER = 1e-9
"""Added to the diagonal, as :mod:`sed_torch.entropy` does."""

_TAPS = 9
_FLOOR = JITTER ** (_TAPS - 1)


def effective_taps_3x3(lags: Array) -> Array:
    """n_eff of a 3×3 kernel on fields given by their values at :data:`PATCH_LAGS`.

    The correlation matrix commutes with mirroring either axis and with swapping them, so in the basis of even
    and odd patches it falls apart into blocks of 3, 1, 2, 2 and 1: a 9×9 determinant without a 9×9 matrix.

    Args:
        lags: (..., 6) covariances; fields without variance give 0, white ones exactly 9.

    Returns:
        (...) effective taps, in [0, 9].
    """
    variance = lags[..., :1]
    alive = variance[..., 0] > 0.0
    g = np.moveaxis(lags / np.where(variance > 0.0, variance, 1.0), -1, 0)
    white = ~np.any(g[1:] != 0.0, axis=0)
    det = np.maximum(_determinant(1.0 + JITTER, *g[1:]), _FLOOR)
    return np.where(alive, np.where(white, float(_TAPS), _TAPS * det ** (1.0 / _TAPS)), 0.0)


def _determinant(g00: float, g01: Array, g02: Array, g11: Array, g12: Array, g22: Array) -> Array:
    odd_odd = g00 - 2.0 * g02 + g22
    h0, h1, h2 = g00 - g02, g01 - g12, g02 - g22
    even_odd = h0 * (h0 + h2) - 2.0 * h1 * h1
    even_swap = g00 + g02 - 2.0 * g11
    # the symmetric part of the even-even block, by elimination: closed-form minors would cancel
    a12, a13, a23 = 2.0 * g01, 2.0 * g11, 2.0 * (g01 + g12)
    a22 = g00 + g02 + 2.0 * g11
    a33 = g00 + 2.0 * g02 + g22
    d2 = a22 - a12 * a12 / g00
    rest = a23 - a12 * a13 / g00
    d3 = a33 - a13 * a13 / g00 - rest * rest / np.where(d2 != 0.0, d2, math.inf)
    positive = (odd_odd > 0) & (h0 > 0) & (even_odd > 0) & (even_swap > 0) & (d2 > 0) & (d3 > 0)
    det = odd_odd * even_odd**2 * even_swap * g00 * d2 * d3
    return np.asarray(np.where(positive, det, 0.0))
