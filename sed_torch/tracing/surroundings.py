"""What a forward may change besides the model and its arguments, put back after it was followed.

Caches live in class attributes, in globals, in ``functools.lru_cache``, in default arguments and closures; a
tensor of a trace that stays in one of them makes the user's own model fail later. Before the forward is
followed, the containers that its classes and their modules can reach are noted; afterwards each is as it was.
"""

from __future__ import annotations

import collections
import functools
import gc
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from sed_torch.tracing.modules import tree_of
from sed_torch.tracing.reaching import LRU_CACHE, is_object, reach_of
from sed_torch.tracing.turns import others_run

__all__ = ["Surroundings", "default_device_set_aside", "surroundings_kept"]

_PLAIN = frozenset([bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size])
_MUCH = 256  # entries of a container that are looked into; a cache's own are noted whatever their number
_DEEP = 4
_FUNCTIONS = (types.FunctionType, types.MethodType)
_MISSING: Any = object()
_OF_CLASSES = frozenset(["_abc_impl"])


def default_device_set_aside() -> AbstractContextManager[Any]:
    """New tensors are made on the CPU, whatever ``torch.set_default_device`` or ``with torch.device("meta")`` say:
    constants that a forward makes then have values.
    """
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


@contextmanager
def surroundings_kept(model: nn.Module, passed_on: Iterable[Any] = ()) -> Iterator[None]:
    """Put back what the block changes in reach of the model's classes.

    Args:
        model: the module whose forward will be followed.
        passed_on: objects that the forward works on although they are the caller's.

    While other threads run, only tensors of the trace are taken out: the rest may be their doing.
    """
    surroundings = Surroundings()
    surroundings.note_reach_of(model)
    for value in passed_on:
        surroundings.note(value)
    switches = _switches()
    if torch.are_deterministic_algorithms_enabled() and not others_run():
        torch.use_deterministic_algorithms(False)  # some operators then refuse `meta` as they would a GPU
    try:
        yield
    finally:
        surroundings.restore(only_traced=others_run())
        if not others_run():
            _set_back(switches)


class Surroundings:
    """Containers and namespaces with what they held when they were noted."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._dicts: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        self._lists: list[tuple[Any, list[Any]]] = []
        self._sets: list[tuple[set[Any], set[Any]]] = []
        self._spaces: list[tuple[type, dict[str, Any]]] = []
        self._names: list[tuple[dict[str, Any], str, Any]] = []
        self._caches: list[tuple[Any, int]] = []

    # -- noting ------------------------------------------------------------------------------------------

    def note_reach_of(self, model: nn.Module) -> None:
        """What the code of a module tree and of its hooks can reach by name."""
        modules = [module for _, module in tree_of(model)]
        kinds = {type(m) for m in modules}
        functions = tuple(_functions_of(modules))
        for reach in reach_of(kinds, functions):
            for kind in reach.kinds:
                self._note_space(kind)
            for space, name in reach.names:
                value = space.get(name, _MISSING)
                self._names.append((space, name, value))
                if type(value) not in _PLAIN:
                    self.note(value)
        for function in functions:
            self.note(function)

    def note(self, value: Any, depth: int = 0) -> None:
        """A container, function or object, and what it holds."""
        kind = type(value)
        if (
            kind in _PLAIN
            or isinstance(value, (Tensor, nn.Module, types.ModuleType))
            or id(value) in self._known
        ):
            return
        self._known.add(id(value))
        inside: Iterable[Any] = ()
        if isinstance(value, dict):
            self._dicts.append(
                (value, dict(dict.items(value)))
            )  # not in a way of its own, which may load more
            inside = dict.values(value)
        elif isinstance(value, (list, collections.deque)):
            self._lists.append((value, [*_items(value)]))
            inside = self._lists[-1][1]
        elif kind is set:
            self._sets.append((value, set(value)))
        elif isinstance(value, tuple):
            inside = value
        elif kind is types.FunctionType:
            inside = _held_by_function(value)
        elif isinstance(value, (classmethod, staticmethod, types.MethodType)):
            inside = (value.__func__,)
        elif kind is LRU_CACHE:
            self._caches.append((value, value.cache_info().misses))
            inside = _held_by_function(value.__wrapped__) if hasattr(value, "__wrapped__") else ()
        elif isinstance(value, functools.partial):
            inside = (value.func, *value.args, *value.keywords.values())
        elif is_object(kind):
            self._dicts.append((vars(value), dict(vars(value))))
            inside = vars(value).values()
        if depth < _DEEP and inside and len(inside) <= _MUCH:  # type: ignore[arg-type]
            for v in tuple(inside):
                if type(v) not in _PLAIN:
                    self.note(v, depth + 1)

    def _note_space(self, kind: type) -> None:
        """The attributes of a class, and what those hold that can change."""
        names = dict(vars(kind))
        self._spaces.append((kind, names))
        for name, value in names.items():
            if type(value) in _PLAIN or (name.startswith("__") and name.endswith("__")):
                continue
            if not (type(value) is types.FunctionType and _is_bare(value)):
                self.note(value, 1)

    # -- putting back ------------------------------------------------------------------------------------

    def restore(self, *, only_traced: bool = False) -> None:
        """Everything noted holds again what it held; with ``only_traced``, it only lets go of traced tensors."""
        for table, before in self._dicts:
            if _differ(table, before) and (not only_traced or _has_traced(dict.values(table))):
                dict.clear(table)
                dict.update(table, before)
        for sequence, items in self._lists:
            now = [*_items(sequence)]
            same = len(now) == len(items) and all(map(is_, now, items))
            if not same and (not only_traced or _has_traced(now)):
                kind: Any = list if isinstance(sequence, list) else collections.deque
                kind.clear(sequence)
                kind.extend(sequence, items)
        for group, members in self._sets:
            if not only_traced and group != members:
                group.clear()
                group.update(members)
        for space, names in self._spaces:
            if _differ(vars(space), names):
                _restore_names(space, names, only_traced=only_traced)
        for globals_, name, value in self._names:
            now = globals_.get(name, _MISSING)
            if now is not value and (not only_traced or _has_traced([now])):
                if value is _MISSING:
                    del globals_[name]
                else:
                    globals_[name] = value
        for cache, misses in self._caches:
            if cache.cache_info().misses != misses and _has_traced(_entries_of(cache)):
                cache.cache_clear()


def _differ(now: Mapping[Any, Any], before: dict[Any, Any]) -> bool:
    values = dict.values(now) if isinstance(now, dict) else now.values()
    return len(values) != len(before) or not all(map(is_, values, before.values()))


def _items(sequence: Any) -> Iterator[Any]:
    return list.__iter__(sequence) if isinstance(sequence, list) else collections.deque.__iter__(sequence)


def _restore_names(space: Any, before: dict[str, Any], *, only_traced: bool) -> None:
    for name, value in list(vars(space).items()):
        if name.startswith("__") or name in _OF_CLASSES or before.get(name, _restore_names) is value:
            continue
        if only_traced and not _has_traced([value]):
            continue
        if name in before:
            setattr(space, name, before[name])
        elif not isinstance(value, (types.ModuleType, type, types.FunctionType)):  # something was imported
            delattr(space, name)
    if not only_traced:
        for name in before.keys() - vars(space).keys():
            setattr(space, name, before[name])


def _has_traced(values: Iterable[Any], depth: int = 0) -> bool:
    for value in tuple(values):
        if isinstance(value, Tensor):
            if value.device.type == "meta":
                return True
        elif depth < _DEEP:
            if isinstance(value, dict) and _has_traced(dict.values(value), depth + 1):
                return True
            if isinstance(value, (list, tuple, set)) and _has_traced(value, depth + 1):
                return True
            if is_object(type(value)) and _has_traced(vars(value).values(), depth + 1):
                return True
    return False


def _entries_of(cache: Any) -> list[Any]:
    """Results that an ``lru_cache`` keeps: those of a bounded one lie in links, one level deeper."""
    found = list(gc.get_referents(cache))
    for table in [v for v in found if isinstance(v, dict)]:
        found += [r for link in table.values() if type(link) not in _PLAIN for r in gc.get_referents(link)]
    return found


def _held_by_function(function: Any) -> list[Any]:
    named = getattr(function, "__kwdefaults__", None) or {}
    held = [*(getattr(function, "__defaults__", None) or ()), *named.values()]
    for cell in getattr(function, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # nothing was assigned to it yet
            continue
    own = getattr(function, "__dict__", None)
    return held if own is None else [*held, own]


def _is_bare(function: types.FunctionType) -> bool:
    return not (function.__closure__ or function.__defaults__ or function.__kwdefaults__ or function.__dict__)


def _functions_of(modules: Iterable[nn.Module]) -> Iterator[Any]:
    """Hooks, and functions that were set on a module rather than on its class."""
    for module in modules:
        for value in module.__dict__.values():
            if type(value) in _FUNCTIONS:
                yield value
        for table in (module._forward_hooks, module._forward_pre_hooks):
            if table:
                yield from (v for v in table.values() if hasattr(v, "__module__"))
    for table in _global_hooks():
        yield from (v for v in table.values() if hasattr(v, "__module__"))


def _global_hooks() -> list[dict[int, Any]]:
    registry = vars(nn.modules.module)
    return [v for k, v in registry.items() if k.startswith("_global_") and k.endswith("_hooks") and v]


# -- switches of the process -----------------------------------------------------------------------------

Setter = Callable[[Any], Any]
_SWITCHES: tuple[tuple[Callable[[], Any], Setter], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    (lambda: torch.backends.cudnn.benchmark, lambda v: setattr(torch.backends.cudnn, "benchmark", v)),
    (lambda: torch.backends.cudnn.deterministic, lambda v: setattr(torch.backends.cudnn, "deterministic", v)),
    (lambda: torch.backends.cudnn.enabled, lambda v: setattr(torch.backends.cudnn, "enabled", v)),
    (
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda v: torch.use_deterministic_algorithms(v[0], warn_only=v[1]),
    ),
    (lambda: dict(os.environ), lambda v: _set_environment(v)),
    (lambda: list(warnings.filters), lambda v: warnings.filters.__setitem__(slice(None), v)),  # type: ignore[index]
    (sys.getrecursionlimit, sys.setrecursionlimit),
)


def _set_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _switches() -> list[Any]:
    return [get() for get, _ in _SWITCHES]


def _set_back(before: list[Any]) -> None:
    for (get, put), value in zip(_SWITCHES, before, strict=True):
        if get() != value:
            put(value)
