"""Questions about tensors that the recorder's parts share."""

from __future__ import annotations

import collections
import inspect
from collections.abc import Iterable
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

__all__ = ["PLAIN", "has_tensor", "meta_like", "nodes_in", "storage_of", "tensors_in", "tensors_of"]

PLAIN = frozenset([bool, int, float, complex, str, type(None), torch.dtype, torch.device])
"""Kinds of arguments that hold no tensor: most of them are of one."""


def tensors_of(args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors among the arguments of a torch call, in order, inside containers and slices too.

    Torch takes no others; what a module's forward may take and return is for :func:`tensors_in`.
    """
    found: list[Tensor] = []
    stack: list[Any] = [*reversed(list(kwargs.values())), *reversed(args)] if kwargs else [*reversed(args)]
    while stack:
        value = stack.pop()
        if type(value) in PLAIN:
            continue
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            stack.extend(reversed(value))
        elif isinstance(value, dict):
            stack.extend(reversed(value.values()))
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


def nodes_in(value: Any) -> list[torch.fx.Node]:
    """The fx nodes among a call's arguments, inside containers and slices too, in order."""
    found: list[torch.fx.Node] = []
    _collect_nodes(value, found)
    return found


def _collect_nodes(value: Any, found: list[torch.fx.Node]) -> None:
    if isinstance(value, torch.fx.Node):
        found.append(value)
    elif isinstance(value, (tuple, list)):
        for v in value:
            if type(v) not in PLAIN:
                _collect_nodes(v, found)
    elif isinstance(value, dict):
        for v in value.values():
            _collect_nodes(v, found)
    elif isinstance(value, slice):
        _collect_nodes((value.start, value.stop, value.step), found)


def tensors_in(value: Any) -> list[Tensor]:
    """Tensors in what a forward takes or returns, in order: in tuples, dicts, generators, and in the attributes of
    objects (dataclasses, named tuples, transformers' outputs, packed sequences, distributions).
    """
    found: dict[int, Tensor] = {}
    _collect(value, found, set(), _DEEPEST)
    return list(found.values())


_DEEPEST = 8
"""How deep objects in objects are looked into."""


def _collect(value: Any, found: dict[int, Tensor], seen: set[int], depth: int) -> None:
    if isinstance(value, Tensor):
        found.setdefault(id(value), value)
        return
    if (
        isinstance(value, (str, bytes, int, float, type(None), type, nn.Module))
        or depth < 0
        or id(value) in seen
    ):
        return
    seen.add(id(value))
    for part in _parts(value):
        _collect(part, found, seen, depth - 1)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (tuple, list, set, frozenset, collections.deque)) or inspect.isgenerator(value):
        return value
    if hasattr(value, "__dataclass_fields__"):
        return [getattr(value, name, None) for name in value.__dataclass_fields__]
    slots = [n for kind in type(value).__mro__ for n in _names(getattr(kind, "__slots__", ()))]
    held = [getattr(value, name, None) for name in slots if not name.startswith("__")]
    return [*getattr(value, "__dict__", {}).values(), *held] if not callable(value) else ()


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)
