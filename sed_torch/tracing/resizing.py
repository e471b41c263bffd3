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
        InputError: they do not all begin with one size, so that which of them is the batch cannot be told; or one is a
            list of as many numbers or words as there are samples, of which nobody knows what more would be.
    """
    tensors = [t for t in tensors_of(inputs.args, inputs.kwargs) if t.dim()]
    sizes = {int(t.shape[0]) for t in tensors}
    if len(sizes) != 1:
        raise InputError(
            f"the inputs begin with {sorted(sizes) or 'no dimension'}: expected one batch size to change"
        )
    if any(_one_each(v, sizes.copy().pop()) for v in (*inputs.args, *inputs.kwargs.values())):
        raise InputError(
            "a list among the inputs has an entry a sample: give it with as many as the batch asked for"
        )
    return dataclasses.replace(
        inputs,
        resized=True,
        args=tuple(_at(a, batch) for a in inputs.args),
        kwargs={k: _at(v, batch) for k, v in inputs.kwargs.items()},
    )


def _one_each(value: Any, samples: int) -> bool:
    """Whether a container holds a list of plain values, such as lengths, as long as the batch."""
    if isinstance(value, dict):
        return any(_one_each(v, samples) for v in value.values())
    if not isinstance(value, (list, tuple)):
        return False
    if value and all(isinstance(v, (bool, int, float, str)) for v in value):
        return len(value) == samples
    return any(_one_each(v, samples) for v in value)


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
