"""Autocast on ``meta`` tensors, for which torch has none: before a call, operands are cast as its lists say.

So the dtypes that a forward sees are those of a run: ``x.to(other.dtype)``, ``torch.empty(n, dtype=x.dtype)``, and what
is computed where the forward switches autocast off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Autocast"]


class Autocast(NamedTuple):
    """Which operators take which dtype.

    Attributes:
        dtype: the lower dtype, as in ``torch.bfloat16`` without ``torch.``.
        wanted: spelling of an operator → dtype that its floating operands are cast to, None where they stay.
    """

    dtype: str
    wanted: Callable[[str], str | None]

    def on(self) -> contextlib.AbstractContextManager[Any]:
        """Autocast switched on, so that a forward may ask for it and switch it off."""
        return torch.autocast("cpu", dtype=getattr(torch, self.dtype))

    def of(self, name: str) -> str | None:
        """The dtype that operands of a call are cast to here and now."""
        return self.wanted(name) if torch.is_autocast_enabled("cpu") else None

    def cast(self, name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Arguments as the operator takes them."""
        wanted = self.of(name)
        if wanted is None:
            return args, kwargs
        dtype = getattr(torch, wanted)
        return _as(args, dtype), {k: _as(v, dtype) for k, v in kwargs.items()}


def _as(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        if not value.dtype.is_floating_point or value.dtype in (dtype, torch.float64):
            return value
        if value.is_contiguous():  # torch.empty_like is slow on `meta`
            return torch.empty(value.shape, dtype=dtype, device="meta")
        return torch.empty_like(value, dtype=dtype)
    if isinstance(value, (tuple, list)) and any(isinstance(v, Tensor) for v in value):
        return type(value)(_as(v, dtype) for v in value)
    return value
