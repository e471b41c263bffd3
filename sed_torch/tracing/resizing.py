"""The same inputs at another batch size."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from sed_torch.errors import InputError
from sed_torch.tracing.inputs import Inputs
from sed_torch.tracing.tensors import tensors_of

__all__ = ["resized"]


def resized(inputs: Inputs, batch: int) -> Inputs:
    """``inputs`` with ``batch`` in place of what all their tensors have as first dimension.

    Raises:
        InputError: they do not all begin with one size, so that which of them is the batch cannot be told.
    """
    tensors = [t for t in tensors_of(inputs.args, inputs.kwargs) if t.dim()]
    sizes = {int(t.shape[0]) for t in tensors}
    if len(sizes) != 1:
        raise InputError(
            f"the inputs begin with {sorted(sizes) or 'no dimension'}: expected one batch size to change"
        )
    return dataclasses.replace(
        inputs,
        resized=True,
        args=tuple(_at(a, batch) for a in inputs.args),
        kwargs={k: _at(v, batch) for k, v in inputs.kwargs.items()},
    )


def _at(value: Any, batch: int) -> Any:
    if isinstance(value, Tensor):
        if not value.dim():
            return value
        return torch.empty((batch, *value.shape[1:]), dtype=value.dtype, device="meta")
    if isinstance(value, (tuple, list)):
        parts = [_at(v, batch) for v in value]
        named = getattr(type(value), "_make", None)
        return named(parts) if named is not None else type(value)(parts)
    if isinstance(value, dict):
        return {k: _at(v, batch) for k, v in value.items()}
    return value
