"""Which entries of a memory a strided tensor looks at, and whether two tensors may look at the same ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["Region", "index_of", "overlap", "region_of"]

Region = tuple[tuple[int, ...], tuple[int, ...], int]
"""Sizes, strides and offset."""


def region_of(tensor: Tensor) -> Region:
    """Where a tensor lies in its memory."""
    return tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset())


def overlap(a: Region, b: Region) -> bool:
    """False where two regions have no entry in common for sure."""
    (size_a, stride_a, start_a), (size_b, stride_b, start_b) = a, b
    if 0 in size_a or 0 in size_b:
        return False
    if stride_a != stride_b:
        return start_a <= _last(b) and start_b <= _last(a)
    for i in sorted(range(len(stride_a)), key=lambda i: -stride_a[i]):
        if stride_a[i] == 0:
            continue
        from_a, start_a = divmod(start_a, stride_a[i])
        from_b, start_b = divmod(start_b, stride_a[i])
        if from_a + size_a[i] <= from_b or from_b + size_b[i] <= from_a:
            return False
    return True


def _last(region: Region) -> int:
    size, stride, start = region
    return start + sum((n - 1) * s for n, s in zip(size, stride, strict=True))


def index_of(view: Tensor, base: Tensor) -> tuple[Any, ...] | None:
    """The index with which ``base[index]`` is ``view``: whole numbers and slices. None where there is none."""
    size, stride, offset = region_of(view)
    rest = offset - int(base.storage_offset())
    index: list[Any] = []
    left = [(n, s) for n, s in zip(size, stride, strict=True) if n > 1]
    strides = region_of(base)[1]
    order = sorted(range(base.dim()), key=lambda i: -strides[i])
    starts: dict[int, int] = {}
    for i in order:
        step = strides[i]
        starts[i], rest = divmod(rest, step) if step and base.shape[i] > 1 else (0, rest)
    for i in range(base.dim()):
        step, start = strides[i], starts[i]
        found = left[0] if left else None
        if found is not None and step and found[1] % step == 0 and base.shape[i] > 1:
            times = found[1] // step
            if start + (found[0] - 1) * times < base.shape[i]:
                index.append(slice(start, start + (found[0] - 1) * times + 1, times))
                left.pop(0)
                continue
        index.append(start)
    if left or rest:
        return None
    return tuple(index)
