"""Effective taps of square patches, many at once, on fields that are the same in both axes."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["JITTER", "PATCH_LAGS", "effective_taps_3x3", "effective_taps_square", "patch_lags"]

Array = NDArray[np.float64]


def patch_lags(k: int) -> tuple[tuple[int, int], ...]:
    """The distinct lags between taps of a k×k kernel, in taps."""
    return tuple((i, j) for i in range(k) for j in range(i, k))


PATCH_LAGS = patch_lags(3)

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


def effective_taps_square(lags: Array, k: int) -> Array:
    """n_eff of a k×k kernel on fields given by their values at :func:`patch_lags`, as :func:`effective_taps_3x3`.

    Args:
        lags: (N, k·(k+1)/2) covariances.
        k: taps a side.

    Returns:
        (N,) effective taps, in [0, k²].
    """
    if k == 1:
        return np.where(lags[:, 0] > 0.0, 1.0, 0.0)
    if k == 3:
        return effective_taps_3x3(lags)
    n = k * k
    variance = lags[:, :1]
    correlation = lags / np.where(variance > 0.0, variance, 1.0)
    white = ~np.any(correlation[:, 1:] != 0.0, axis=1)
    log_det, positive = np.zeros(len(lags)), np.ones(len(lags), dtype=bool)
    for size, times, weights in _blocks(k):
        block = (correlation @ weights).reshape(-1, size, size) + JITTER * np.eye(size)
        sign, value = np.linalg.slogdet(block)
        positive &= sign > 0
        log_det += times * np.where(sign > 0, value, 0.0)
    log_det = np.where(positive, log_det, (n - 1) * math.log(JITTER))
    taps = np.where(white, float(n), n * np.exp(log_det / n))
    return np.where(variance[:, 0] > 0.0, taps, 0.0)


@lru_cache(maxsize=16)
def _blocks(k: int) -> tuple[tuple[int, int, Array], ...]:
    """Diagonal blocks of the correlation matrix: (size, times it occurs, what each lag adds to its entries)."""
    half = math.sqrt(0.5)
    even, odd = np.zeros((k, (k + 1) // 2)), np.zeros((k, k // 2))
    for i in range(k // 2):
        even[[i, k - 1 - i], i] = half
        odd[[i, k - 1 - i], i] = half, -half
    if k % 2:
        even[k // 2, -1] = 1.0
    distance = np.abs(np.arange(k)[:, None] - np.arange(k)[None, :])
    lines = [(distance == a).astype(float) for a in range(k)]
    found = []
    for left, right, times in ((even, even, 1), (odd, odd, 1), (even, odd, 2)):
        halves = _by_swap(left.shape[1]) if left is right else (np.eye(left.shape[1] * right.shape[1]),)
        for basis in halves:
            full = np.kron(left, right) @ basis
            weights = [
                full.T
                @ (np.kron(lines[a], lines[b]) + (np.kron(lines[b], lines[a]) if a != b else 0.0))
                @ full
                for a, b in patch_lags(k)
            ]
            if basis.shape[1]:
                found.append((basis.shape[1], times, np.stack([w.reshape(-1) for w in weights])))
    return tuple(found)


def _by_swap(m: int) -> tuple[Array, Array]:
    """Bases of the m×m patches that swapping the axes leaves, and of those whose sign it turns."""
    half = math.sqrt(0.5)
    same, turned = [], []
    for i in range(m):
        for j in range(i, m):
            a, b = np.zeros((2, m, m))
            a[i, j] = b[j, i] = 1.0
            same.append(a.reshape(-1) if i == j else half * (a + b).reshape(-1))
            if i != j:
                turned.append(half * (a - b).reshape(-1))
    return np.array(same).T, np.array(turned).reshape(-1, m * m).T
