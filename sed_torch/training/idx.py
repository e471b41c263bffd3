"""IDX files, the format of MNIST and its successors: read as bytes with limits, gzipped or plain."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sed_torch.errors import DataError
from sed_torch.evidence.reading import read_bytes

__all__ = ["read_idx"]

_LARGEST = 1 << 30


def read_idx(path: str | os.PathLike[str], ndim: int) -> npt.NDArray[np.uint8]:
    """An array of unsigned bytes with ``ndim`` axes.

    The header is two zero bytes, 8 for unsigned bytes, the number of axes, then each axis' length as four bytes,
    highest first; the values follow, last axis fastest.

    Raises:
        DataError: missing, not a sound gzip file, another format, too large, or shorter or longer than its header
            says.
    """
    file = Path(path)
    data = read_bytes(file, max_bytes=_LARGEST)
    magic = bytes((0, 0, 8, ndim))
    if data[:4] != magic or len(data) < 4 + 4 * ndim:
        raise DataError(
            f"{file}: expected an IDX file of unsigned bytes with {ndim} axes (first bytes {magic.hex(' ')}), "
            f"found {data[:4].hex(' ') or 'an empty file'}; get it again"
        )
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", count=ndim, offset=4))
    values = len(data) - 4 - 4 * ndim
    if math.prod(shape) != values:
        raise DataError(
            f"{file}: its header promises {' × '.join(map(str, shape))} values, but {values:,} follow; "
            "the file is damaged, get it again"
        )
    return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(shape)
