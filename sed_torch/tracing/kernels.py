"""Operators that torch can run but not shape: without a kernel for ``meta`` tensors, or a registered fake.

Their result's shape is taken from a run on small made-up numbers, twice, with different ones: where the shape is the
same, it does not depend on them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree

from sed_torch.tracing.signals import Signal

__all__ = ["as_elsewhere", "lacks_meta_kernel", "shaped_by_a_run"]

_MOST_ENTRIES = 1 << 20
_SIGNS = (
    "'Meta' backend",
    "no fake impl",
    "meta kernel",
    "Meta tensors",
    "cannot be called on meta tensors",
    "expected predicate to be bool",  # where: with bytes it runs, and warns of them
)


def lacks_meta_kernel(error: BaseException) -> bool:
    """Whether a call failed for want of a kernel for shapes alone."""
    return isinstance(error, (NotImplementedError, RuntimeError)) and any(s in str(error) for s in _SIGNS)


def as_elsewhere(func: Callable[..., Any], name: str, args: tuple[Any, ...]) -> Any:
    """The result of a call that ``meta`` tensors alone refuse: a choice by a mask of bytes."""
    if name == "where" and len(args) == 3 and isinstance(args[0], Tensor) and args[0].dtype is torch.uint8:
        return func(args[0].bool(), *args[1:])
    return None


def shaped_by_a_run(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The result of a call as ``meta`` tensors; None where it depends on values, fails, or is too large to try."""
    leaves, spec = tree.tree_flatten((args, kwargs))
    tensors = [t for t in leaves if isinstance(t, Tensor)]
    if not tensors or sum(t.numel() for t in tensors) > _MOST_ENTRIES:
        return None
    runs = []
    for made in (_ramp, _wave):
        real = [made(t) if isinstance(t, Tensor) else t for t in leaves]
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                given, named = tree.tree_unflatten(real, spec)
                found, shape = tree.tree_flatten(func(*given, **named))
        except (Exception, Signal) as error:  # whatever it is, the shape stays unknown
            if isinstance(error, Signal):
                error.settled()
            return None
        if not all(isinstance(t, Tensor) for t in found):
            return None
        runs.append(([torch.empty(t.shape, dtype=t.dtype, device="meta") for t in found], shape))
    (first, shape), (second, _) = runs
    if [t.shape for t in first] != [t.shape for t in second]:
        return None
    return tree.tree_unflatten(first, shape)


def _ramp(tensor: Tensor) -> Tensor:
    places = torch.arange(tensor.numel(), dtype=torch.float64, device="cpu")
    return _as(tensor, places % 2 if tensor.dtype == torch.bool else (places + 1) / max(tensor.numel(), 1))


def _wave(tensor: Tensor) -> Tensor:
    places = torch.arange(tensor.numel(), dtype=torch.float64, device="cpu")
    if (
        tensor.numel() == 1 and tensor.dtype is not torch.bool and not tensor.dtype.is_floating_point
    ):  # it may be a size: 1 in the first run
        return _as(tensor, places + 2)
    return _as(tensor, places % 3 if tensor.dtype == torch.bool else torch.sin(places * math.sqrt(7)) + 1.25)


def _as(tensor: Tensor, numbers: Tensor) -> Tensor:
    return numbers.reshape(tensor.shape).to(tensor.dtype)
