"""Patches of a field: how many of their taps are free of each other, and the local entropy they hold."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sed_torch.entropy.fields import CACHE, Field

__all__ = ["effective_taps", "local_entropy"]

Array = NDArray[np.float64]

_JITTER = 1e-9
_MAX_DENSE_TAPS = 4096


@lru_cache(maxsize=CACHE)
def effective_taps(field: Field, window: tuple[int, ...], dilation: tuple[int, ...]) -> float:
    """n · det(R)^(1/n) for a patch of ``window`` taps, ``dilation`` positions apart, on ``field``.

    Returns:
        A number in (0, n]; n when the map is white over the patch, near 0 when it is constant.
        A field without variance gives 0.
    """
    n = math.prod(window)
    if field.variance <= 0.0:
        return 0.0
    if n == 1 or _white_over(field, window, dilation):
        return float(n)
    return n * math.exp(_log_det(field, window, dilation) / n)


def _white_over(field: Field, window: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    if field.const:
        return False
    patch = tuple(slice(0, (k - 1) * d + 1, d) for k, d in zip(window, dilation, strict=True))
    return int(np.count_nonzero(field.lags[patch])) <= 1


def _log_det(field: Field, window: tuple[int, ...], dilation: tuple[int, ...]) -> float:
    """ln det of the correlation matrix of the patch."""
    n = math.prod(window)
    if n > _MAX_DENSE_TAPS:
        return n * _log_spectrum(field, window, dilation)
    R = _correlation_matrix(field, window, dilation)
    R[np.diag_indices(n)] += _JITTER
    sign, log_det = np.linalg.slogdet(R)
    # A correlation matrix that is singular to rounding has no volume: the floor is the jitter's own.
    return float(log_det) if sign > 0 else (n - 1) * math.log(_JITTER)


def _correlation_matrix(field: Field, window: tuple[int, ...], dilation: tuple[int, ...]) -> Array:
    taps = np.indices(window).reshape(len(window), -1)
    inside = np.ones((taps.shape[1], taps.shape[1]), dtype=bool)
    index = []
    for axis, gap in enumerate(dilation):
        lag = np.abs(taps[axis][:, None] - taps[axis][None, :]) * gap
        inside &= lag < field.lags.shape[axis]
        index.append(np.minimum(lag, field.lags.shape[axis] - 1))
    gamma = np.where(inside, field.lags[tuple(index)], 0.0) + field.const
    return np.asarray(gamma / field.variance)


def _log_spectrum(field: Field, window: tuple[int, ...], dilation: tuple[int, ...]) -> float:
    """Mean log spectrum on a torus of twice the window: Szegő's limit of ln det(R)/n for huge patches."""
    size = tuple(2 * k for k in window)
    gamma = np.full(size, field.const)
    index = np.indices(size)
    lag = [np.minimum(i, s - i) * d for i, s, d in zip(index, size, dilation, strict=True)]
    inside = np.ones(size, dtype=bool)
    for x, n in zip(lag, field.lags.shape, strict=True):
        inside &= x < n
    clipped = tuple(np.minimum(x, n - 1) for x, n in zip(lag, field.lags.shape, strict=True))
    gamma = (gamma + np.where(inside, field.lags[clipped], 0.0)) / field.variance
    spectrum = np.real(np.fft.fftn(gamma))
    return float(np.mean(np.log(np.maximum(spectrum, _JITTER))))


def local_entropy(field: Field, window: int = 3) -> float:
    """Local entropy per tap of a ``window``-wide patch at unit variance, in nats.

    ½ ln(2πe) + ln det(R)/2n: 1.419 on a white map, falling without bound as the map tends to a constant.
    """
    if field.ndim == 0 or field.variance <= 0.0:
        return 0.5 * math.log(2 * math.pi * math.e)
    patch, gaps = (window,) * field.ndim, (1,) * field.ndim
    power = effective_taps(field, patch, gaps) / math.prod(patch)
    return 0.5 * math.log(2 * math.pi * math.e) + 0.5 * math.log(power)
