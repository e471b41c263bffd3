"""Which globals and classes the code of a forward can name: where a cache of its own may lie.

Code objects list the names they use. Starting from ``forward``, hooks and special methods, these are looked up
in the functions' globals; functions and methods found so are read in turn. Packages that keep nothing of a
model's (torch, numpy, the standard library) are not entered.
"""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

__all__ = ["LRU_CACHE", "Reach", "is_foreign", "is_object", "reach_of"]

LRU_CACHE = type(functools.lru_cache(len))
# What keeps no tensors of a model's. An omission here costs time, not correctness.
_FOREIGN = frozenset(sys.stdlib_module_names) | {
    "PIL",
    "_pytest",
    "accelerate",
    "anyio",
    "builtins",
    "certifi",
    "click",
    "einops",
    "filelock",
    "fsspec",
    "h11",
    "httpcore",
    "httpx",
    "huggingface_hub",
    "idna",
    "jinja2",
    "numpy",
    "packaging",
    "pandas",
    "psutil",
    "pytest",
    "regex",
    "requests",
    "rich",
    "safetensors",
    "scipy",
    "sed_torch",
    "sklearn",
    "sympy",
    "tokenizers",
    "torch",
    "tqdm",
    "triton",
    "typer",
    "typing_extensions",
    "urllib3",
    "yaml",
}
_OF_NAMESPACES = frozenset(["argparse", "collections", "types", "weakref"])
_FIRST = ("forward", "__call__")
_NOT_CALLED = frozenset(["__init__", "__del__", "__deepcopy__", "__getstate__", "__setstate__", "__repr__"])
_SETTERS = frozenset(["__dict__", "setattr", "setdefault"])
_STORE_ATTR = dis.opmap["STORE_ATTR"]
_STORE_GLOBAL = dis.opmap["STORE_GLOBAL"]


class Reach:
    """Names and classes that code can reach.

    Attributes:
        names: (globals, name) of what is no plain function, class or module of its own.
        kinds: classes whose attributes the code can reach.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[int, str], tuple[dict[str, Any], str]] = {}
        self._kinds: dict[type, None] = {}
        self._used: set[str] = set(_FIRST)
        self._methods: dict[str, list[Any]] = {}
        self._waiting: list[Any] = []
        self._read: set[types.CodeType] = set()
        self._met: set[tuple[int, types.CodeType]] = set()

    @property
    def names(self) -> tuple[tuple[dict[str, Any], str], ...]:
        return tuple(self._names.values())

    @property
    def kinds(self) -> tuple[type, ...]:
        return tuple(self._kinds)

    def start(self, kinds: Iterable[type], functions: Iterable[Any]) -> None:
        for kind in kinds:
            self._enter(kind)
        self._waiting.extend(functions)
        while self._waiting:
            self._follow(self._waiting.pop())

    def _enter(self, kind: type) -> None:
        """A class: methods are read once their name is used somewhere."""
        for base in kind.__mro__:
            if base in self._kinds or is_foreign(base.__module__):
                continue
            self._kinds[base] = None
            module = issubclass(base, nn.Module)
            for name, value in list(vars(base).items()):
                special = name.startswith("__") and not (name in _NOT_CALLED and module)
                if special or name in self._used:
                    self._waiting.append(value)
                else:
                    self._methods.setdefault(name, []).append(value)

    def _follow(self, value: Any) -> None:
        for function in _functions_in(value):
            if not is_foreign(function.__module__):
                self._read_code(function.__code__, function.__globals__)

    def _read_code(self, code: types.CodeType, space: dict[str, Any]) -> None:
        if code in self._read:
            return
        self._read.add(code)
        for name in code.co_names:
            if name not in self._used:
                self._used.add(name)
                self._waiting.extend(self._methods.pop(name, ()))
            if name in space:
                self._meet(space, name, code)
        if _STORE_GLOBAL in code.co_code[::2]:
            for step in dis.get_instructions(code):
                if step.opcode == _STORE_GLOBAL:
                    self._names[id(space), step.argval] = space, step.argval
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._read_code(constant, space)

    def _meet(self, space: dict[str, Any], name: str, code: types.CodeType) -> None:
        value = space[name]
        kind = type(value)
        if kind is types.ModuleType or isinstance(value, types.ModuleType):
            own = vars(value)
            met = id(own), code
            if (
                not is_foreign(value.__name__) and met not in self._met
            ):  # modules may name each other in circles
                self._met.add(met)
                for other in code.co_names if own is not space else ():
                    if other in own and (id(own), other) not in self._names:
                        self._meet(own, other, code)
        elif isinstance(value, type):
            if not is_foreign(value.__module__):
                self._enter(value)
        elif kind is types.FunctionType:
            self._waiting.append(value)
            sets = _STORE_ATTR in code.co_code[::2] or not _SETTERS.isdisjoint(code.co_names)
            if sets or value.__closure__ or value.__defaults__ or value.__kwdefaults__ or value.__dict__:
                self._names[id(space), name] = space, name
        elif kind is not types.BuiltinFunctionType:
            self._names[id(space), name] = space, name
            self._waiting.append(value)
            if is_object(kind):
                self._enter(kind)


def _functions_in(value: Any, depth: int = 0) -> Iterator[types.FunctionType]:
    """The Python functions behind a method, property, decorator or partial."""
    kind = type(value)
    if kind is types.FunctionType:
        yield value
        for cell in value.__closure__ or ():
            try:
                inside = cell.cell_contents
            except ValueError:  # nothing was assigned to it yet
                continue
            if depth < 4 and (callable(inside) or type(inside) is tuple):
                yield from _functions_in(inside, depth + 1)
    elif kind in (classmethod, staticmethod, types.MethodType):
        yield from _functions_in(value.__func__, depth)
    elif kind is property:
        for part in (value.fget, value.fset):
            yield from _functions_in(part, depth)
    elif kind is functools.partial or kind is functools.cached_property:
        yield from _functions_in(value.func, depth)
    elif kind is LRU_CACHE:
        yield from _functions_in(getattr(value, "__wrapped__", None), depth)
    elif kind is dict and depth < 2 and len(value) < 64:  # a table of functions
        for part in dict.values(value):
            yield from _functions_in(part, depth + 1)


@functools.lru_cache(64)
def _reach_of_classes(kinds: frozenset[type]) -> Reach:
    reach = Reach()
    reach.start(kinds, ())
    return reach


def reach_of(kinds: Iterable[type], functions: Iterable[Any]) -> tuple[Reach, ...]:
    """What the forwards of these classes (found once), and these functions, can name."""
    found = _reach_of_classes(frozenset(k for k in kinds if not is_foreign(k.__module__)))
    functions = list(functions)
    if not functions:
        return (found,)
    others = Reach()  # not kept: hooks may hold on to whole models
    others.start((), functions)
    return found, others


@functools.lru_cache(4096)
def is_foreign(module: Any) -> bool:
    """A module that keeps no state of a model's."""
    return not isinstance(module, str) or (module.partition(".")[0] in _FOREIGN and module != "__main__")


def is_object(kind: type) -> bool:
    """An ordinary object of the user's own: its attributes lie in a dict of its own."""
    return (
        (not is_foreign(kind.__module__) or kind.__module__ in _OF_NAMESPACES)
        and not issubclass(kind, (type, nn.Module, Tensor))
        and any("__dict__" in base.__dict__ for base in kind.__mro__)
    )
