"""Questions about tensors that the recorder's parts share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.fx
from torch import Tensor

__all__ = ["has_tensor", "meta_like", "nodes_in", "storage_of", "tensors_of"]


def tensors_of(args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors among the arguments of a call, in order, inside containers and slices too."""
    found: list[Tensor] = []
    stack: list[Any] = [*reversed(list(kwargs.values())), *reversed(args)] if kwargs else [*reversed(args)]
    while stack:
        value = stack.pop()
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            stack.extend(reversed(value))
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif type(value) is slice:
            stack.extend((value.start, value.stop, value.step))
    return found


def has_tensor(value: Any) -> bool:
    """Whether a result holds one."""
    if isinstance(value, Tensor):
        return True
    return isinstance(value, (tuple, list)) and any(has_tensor(v) for v in value)


def meta_like(tensor: Tensor) -> Tensor:
    """A ``meta`` tensor of the same sizes, strides and dtype (float for a quantised one)."""
    dtype = tensor.dtype
    if tensor.is_quantized:
        dtype = torch.float32
    if tensor.layout is not torch.strided:
        return torch.empty(tensor.size(), dtype=dtype, device="meta")
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=dtype, device="meta")


def storage_of(tensor: Tensor) -> int:
    """Which memory a tensor looks at; 0 where it has none of the ordinary kind."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout is torch.strided else 0


def nodes_in(value: Any) -> Iterator[torch.fx.Node]:
    """The fx nodes among a call's arguments, inside containers and slices too, in order."""
    if isinstance(value, torch.fx.Node):
        yield value
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from nodes_in(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from nodes_in(v)
    elif isinstance(value, slice):
        yield from nodes_in((value.start, value.stop, value.step))
