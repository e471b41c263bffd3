"""Copies of what modules hold besides tensors, so that a forward may change it without the model noticing.

Lists, dicts, hooks, bound methods, closures and small objects come to point to the shadow's modules. What two
modules hold in common stays in common. Arrays of other libraries and objects that manage themselves (locks,
files, whatever copies or pickles itself in its own way) are passed on as they are.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import enum
import functools
import types
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

__all__ = ["Mirror"]

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class statement made it
_OWN_WAYS = ("__reduce__", "__reduce_ex__", "__new__")


class Mirror:
    """Maps a value to its counterpart in the shadow; the same value always to the same counterpart.

    Args:
        modules: id of a module → its shadow.
    """

    def __init__(self, modules: Mapping[int, nn.Module]) -> None:
        self._modules = modules
        self._known: dict[int, tuple[Any, Any]] = {}  # the originals as well: their ids must stay theirs
        self._within_object = False
        self.passed_on: list[Any] = []  # objects that the shadow shares with the model

    def __call__(self, value: Any) -> Any:
        """The counterpart of ``value``: itself, where nothing in it can change or lead back to the model."""
        if isinstance(value, nn.Module):
            return self._modules.get(id(value), value)
        known = self._known.get(id(value))
        return known[1] if known is not None else self._new(value)

    def _new(self, value: Any) -> Any:
        if isinstance(value, types.MethodType):
            return self._method(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if type(value) is functools.partial:
            named = {k: self(v) for k, v in value.keywords.items()}
            return self._remember(value, functools.partial(self(value.func), *map(self, value.args), **named))
        if isinstance(value, tuple):
            return self._tuple(value)
        if isinstance(value, (dict, list, set, collections.deque)):
            return self._container(value)
        if _is_plain(value) and not self._within_object:
            return self._object(value)
        if not isinstance(value, (str, bytes, int, float, type(None), type, Tensor)):
            self.passed_on.append(value)
        return value

    def _remember(self, value: Any, new: Any) -> Any:
        self._known[id(value)] = (value, new)
        return new

    def _container(self, value: Any) -> Any:
        if type(value) is list:
            new: Any = self._remember(value, [])
            new.extend(map(self, value))
        elif isinstance(value, dict):
            new = self._remember(value, copy.copy(value))
            for key, v in list(new.items()):  # of the copy: another thread may be training the model
                new[key] = self(v)
        elif type(value) is set:
            new = self._remember(value, set())
            new.update(map(self, list(value)))
        else:
            new = self._remember(value, copy.copy(value))
        return new

    def _tuple(self, value: tuple[Any, ...]) -> Any:
        parts = [self(v) for v in value]
        if all(a is b for a, b in zip(parts, value, strict=True)):
            return value
        named = getattr(type(value), "_make", None)
        return named(parts) if named is not None else tuple(parts)

    def _method(self, value: types.MethodType) -> Any:
        owner = self(value.__self__)
        return value if owner is value.__self__ else types.MethodType(value.__func__, owner)

    def _function(self, value: types.FunctionType) -> Any:
        """A closure (or a function with defaults) over modules or containers, over their counterparts instead."""
        cells, defaults, named = value.__closure__ or (), value.__defaults__ or (), value.__kwdefaults__ or {}
        if not (cells or defaults or named):
            return self._remember(value, value)
        own = tuple(types.CellType() for _ in cells)
        new = types.FunctionType(value.__code__, value.__globals__, value.__name__, None, own or None)
        self._remember(value, new)
        same = True
        for cell, old in zip(own, cells, strict=True):
            with contextlib.suppress(ValueError):  # a cell that nothing was assigned to yet
                cell.cell_contents = self(old.cell_contents)
                same &= cell.cell_contents is old.cell_contents
        new.__defaults__ = tuple(map(self, defaults)) or None
        new.__kwdefaults__ = {k: self(v) for k, v in named.items()} or None
        held = (*defaults, *named.values())
        same &= all(self(v) is v for v in held)
        if same:
            return self._remember(value, value)
        functools.update_wrapper(new, value).__dict__.pop("__wrapped__", None)
        new.__dict__.update(value.__dict__)
        return new

    def _object(self, value: Any) -> Any:
        """A copy one level deep: counters and lists of its own, the objects it refers to in common."""
        new = object.__new__(type(value))
        self._remember(value, new)
        self._within_object = True
        try:
            new.__dict__.update({k: self(v) for k, v in dict(value.__dict__).items()})
        finally:
            self._within_object = False
        return new


def _is_plain(value: Any) -> bool:
    """An instance of an ordinary class: attributes in ``__dict__``, made, copied and thrown away as usual."""
    kind = type(value)
    if not kind.__flags__ & _HEAP_TYPE or isinstance(value, (type, enum.Enum, BaseException)):
        return False
    if hasattr(kind, "__del__") or hasattr(kind, "__slots__") or not hasattr(value, "__dict__"):
        return False
    if any(hasattr(kind, name) for name in ("__copy__", "__deepcopy__", "__enter__", "__torch_function__")):
        return False
    own_state = getattr(kind, "__getstate__", None) is not getattr(object, "__getstate__", None)
    return not own_state and all(getattr(kind, n) is getattr(object, n) for n in _OWN_WAYS)
