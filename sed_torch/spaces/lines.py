"""Fields of a stage of cells, one axis at a time.

Between strided operators every covariance is Σ_j w_j T^j φ, with φ what enters the stage and T the 3×3 pool's
triangle. T, the 2×2 pool and subsampling act on each axis alone and the network's input is white, so that every
function in question is the product of one *line* (values at non-negative lags of one axis) with itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sed_torch.entropy import box_average
from sed_torch.spaces.patch import PATCH_LAGS

__all__ = ["SMALLEST_IMAGE", "box", "fits", "flat", "pool_powers", "reads", "reads_of", "stack"]

Array = NDArray[np.float64]

SMALLEST_IMAGE = 12
"""Below it the maps of a third stage are narrower than a 3×3 window, which then has fewer taps."""


def fits(image_size: int) -> bool:
    """Whether maps of an image halve evenly twice, and no 3×3 window is wider than the map it reads."""
    return image_size % 4 == 0 and image_size >= SMALLEST_IMAGE


def pool_powers(lines: Array, count: int) -> Array:
    """T^j of every line for j below ``count``: (lines, j, lags)."""
    powers = np.zeros((len(lines), count, lines.shape[1] + 2 * (count - 1)))
    powers[:, 0, : lines.shape[1]] = lines
    for j in range(1, count):
        powers[:, j] = box(powers[:, j - 1], 3)[..., : powers.shape[2]]
    return powers


def box(lines: Array, width: int) -> Array:
    """Autocovariance along one axis after a mean over ``width`` positions; lags grow by width - 1."""
    return box_average(lines, -1, width, 1, limit=None)


def flat(powers: Array) -> Array:
    return powers.reshape(-1, powers.shape[-1])


def stack(a: Array, b: Array) -> Array:
    """Rows of both, over the lags of the longer."""
    out = np.zeros((len(a) + len(b), max(a.shape[1], b.shape[1])))
    out[: len(a), : a.shape[1]] = a
    out[len(a) :, : b.shape[1]] = b
    return out


def _at_patch_lags(lines: Array) -> Array:
    """The separable functions at the lags a 3×3 kernel reads."""
    return np.stack([lines[..., x] * lines[..., y] for x, y in PATCH_LAGS], axis=-1)


def reads(powers: Array) -> Array:
    """What the 3×3 kernel of a patch reads of T^j φ, for every φ of the basis and every power j.

    Args:
        powers: T^j of each line, as :func:`pool_powers` gives it.

    Returns:
        A row a φ; in it the values at the patch's lags for j = 0, then for j = 1, and so on.
    """
    return _at_patch_lags(powers).reshape(len(powers), -1)


def reads_of(powers: Array) -> Array:
    """The same with a row for each φ and each j: first all powers of the first φ, then those of the second."""
    return _at_patch_lags(flat(powers))
