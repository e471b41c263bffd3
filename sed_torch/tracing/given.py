"""What the caller hands in, copied with other tensors in it: containers, dataclasses, objects of the caller's own.

The forward may append to a list, set an attribute or let a cache grow. It does so on copies; what the caller
gave is left as found. What is shared within it stays shared.
"""

from __future__ import annotations

import collections
import copy
import enum
import types
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["tensors_replaced"]

_AS_IT_IS = (
    type(None), bool, int, float, complex, str, bytes, type, enum.Enum, nn.Module, types.ModuleType,
    types.FunctionType, types.BuiltinFunctionType, types.MethodType,
)  # fmt: skip


def tensors_replaced(
    args: tuple[Any, ...], kwargs: dict[str, Any], replace: Callable[[Any, str], Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Copies of the arguments of a call in which each tensor (or array) is what ``replace`` makes of it.

    Args:
        args: positional arguments, which may hold tensors at any depth of containers and objects.
        kwargs: keyword arguments.
        replace: function of a tensor and the name of its place, such as ``x0`` or ``attention_mask``.
    """
    copies = _Copies(replace)
    return copies.of(args, "x"), {k: copies.of(v, k) for k, v in kwargs.items()}


class _Copies:
    def __init__(self, replace: Callable[[Any, str], Any]) -> None:
        self._replace = replace
        self._known: dict[int, tuple[Any, Any]] = {}  # the originals as well: their ids must stay theirs

    def of(self, value: Any, name: str) -> Any:
        if isinstance(value, _AS_IT_IS):
            return value
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        return self._remember(value, self._copy(value, name))

    def _remember(self, value: Any, new: Any) -> Any:
        self._known[id(value)] = (value, new)
        return new

    def _copy(self, value: Any, name: str) -> Any:
        if isinstance(value, Tensor) or hasattr(value, "__array_interface__"):
            return self._replace(value, name)
        if isinstance(value, tuple):
            parts = [self.of(v, f"{name}{i}") for i, v in enumerate(value)]
            named = getattr(type(value), "_make", None)
            return named(parts) if named is not None else type(value)(parts) if parts else value
        if isinstance(value, (list, collections.deque)):
            new = self._remember(value, copy.copy(value))
            new.clear()
            new.extend(self.of(v, f"{name}{i}") for i, v in enumerate(value))
            return new
        if isinstance(value, (set, frozenset)):
            return copy.copy(value)
        if isinstance(value, dict):
            return self._dict(value, name)
        if hasattr(value, "__dict__") or hasattr(type(value), "__slots__"):
            return self._object(value, name)
        return value

    def _dict(self, value: dict[Any, Any], name: str) -> Any:
        new = self._remember(value, copy.copy(value))
        for key, v in list(value.items()):
            dict.__setitem__(new, key, self.of(v, _named(name, key)))
        if hasattr(new, "__dict__"):  # a dict whose entries are attributes too, as transformers' outputs
            self._attributes(value, new, name)
        return new

    def _object(self, value: Any, name: str) -> Any:
        """A copy of an object of the caller's own; one that cannot be copied is passed on as it is."""
        kind = type(value)
        if kind.__module__ in ("builtins", "_thread", "_io", "random", "threading", "logging"):
            return value
        try:
            if hasattr(kind, "__del__"):  # not to be run by a copy
                kind = type(kind.__name__, (kind,), {"__del__": _nothing, "__slots__": ()})
            own = hasattr(kind, "__del__") or not _copies_as_usual(kind)
            new = object.__new__(kind) if own else copy.copy(value)
        except Exception:
            return value
        if new is value:
            return value
        self._remember(value, new)
        self._attributes(value, new, name)
        return new

    def _attributes(self, value: Any, new: Any, name: str) -> None:
        names = [*getattr(value, "__dict__", ())]
        for kind in type(value).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            names += [n for n in ((slots,) if isinstance(slots, str) else slots) if hasattr(value, n)]
        for attribute in names:
            if attribute not in ("__dict__", "__weakref__"):
                # not through a frozen dataclass' or a validating class' own way
                object.__setattr__(
                    new,
                    attribute,
                    self.of(object.__getattribute__(value, attribute), _named(name, attribute)),
                )


def _nothing(_: Any) -> None:
    """The end of a copy ends nothing else."""


def _copies_as_usual(kind: type) -> bool:
    return not any(hasattr(kind, n) for n in ("__copy__", "__deepcopy__"))


def _named(name: str, part: Any) -> str:
    """Entries of the caller's dict go by their own name, as arguments do."""
    return str(part) if isinstance(part, str) else f"{name}{part}"
