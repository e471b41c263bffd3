"""The size of an input that nobody gave, where a linear layer behind a flatten states it.

How many features such a layer is handed grows with the sides of the input, so that the side which hands it as many as
it reads is found by halving.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import torch
from torch import Tensor

from sed_torch.errors import DataDependentError, TraceError
from sed_torch.graph import Graph
from sed_torch.tables import shape_text
from sed_torch.tracing.inputs import Inputs

__all__ = ["read_as_stated"]

_MISMATCH = re.compile(r"linear\((?:\d+×)*(\d+), \d+×(\d+)")
_LONGEST = {1: 2**18, 2: 2**11, 3: 2**8}
"""The longest side that is tried, by the number of sides."""


def read_as_stated(inputs: Inputs, error: TraceError, read: Callable[[Inputs], Graph]) -> Graph | None:
    """The graph at the side that fits; None where the error does not tell one, or no side does.

    Args:
        inputs: one guessed tensor, with batch and, but for whole numbers, channels before its sides.
        error: what was met with it.
        read: follows the forward with other inputs.
    """
    given = inputs.args[0] if len(inputs.args) == 1 and not inputs.kwargs else None
    if not isinstance(given, Tensor) or _lacking(error) is None:
        return None
    before = 2 if given.dtype.is_floating_point else 1
    sides = given.dim() - before
    if sides not in _LONGEST:
        return None
    low, high, side = 0, _LONGEST[sides] + 1, given.shape[-1]
    lacking = _lacking(error)
    while True:
        low, high = (side, high) if lacking is None or lacking > 0 else (low, side)
        side = min(2 * low, high - 1) if high > _LONGEST[sides] else (low + high) // 2
        if not low < side < high:
            return None
        shape = (*given.shape[:before], *(side,) * sides)
        told = f"input {shape_text(shape)}, which the linear layer behind it states"
        tried = dataclasses.replace(
            inputs, args=(torch.empty(shape, dtype=given.dtype, device="meta"),), assumed=(told,), others=()
        )
        try:
            return read(tried)
        except DataDependentError:
            return None
        except TraceError as again:  # too small for a window, where it tells nothing
            lacking = _lacking(again)


def _lacking(error: TraceError) -> int | None:
    """How many features a linear layer lacks of those that it reads; None where that is not what is wrong."""
    found = _MISMATCH.search(str(error).split("\n", 1)[0])
    return int(found[2]) - int(found[1]) if found else None
