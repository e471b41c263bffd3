"""The code that a model's classes run, as functions and syntax trees."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import types

__all__ = ["functions_of", "source_tree", "tree_of"]


@functools.lru_cache(maxsize=4096)
def source_tree(thing: type | types.CodeType) -> tuple[ast.Module | None, int]:
    """A class or function as a tree, and how many lines stand before it in its file; None without its source."""
    try:
        lines, first = inspect.getsourcelines(thing)
        return ast.parse(textwrap.dedent("".join(lines))), first - 1
    except (OSError, TypeError, SyntaxError, IndexError):
        return None, 0


def tree_of(code: types.CodeType) -> tuple[ast.FunctionDef | None, int]:
    """As :func:`source_tree`, of a function that was written as one; None also for a lambda."""
    tree, before = source_tree(code)
    found = tree.body[0] if tree is not None and tree.body else None
    return (found, before) if isinstance(found, ast.FunctionDef) else (None, 0)


@functools.lru_cache(maxsize=1024)
def functions_of(kind: type) -> tuple[types.FunctionType, ...]:
    """The functions that a forward runs of its class and its bases, as far as they are not torch's own."""
    methods: dict[str, list[types.FunctionType]] = {}
    for base in kind.__mro__:
        if base.__module__.startswith("torch.") or base is object:
            continue
        for name, value in vars(base).items():
            plain = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            methods.setdefault(name, []).extend(_layers(plain))
    found: dict[types.FunctionType, None] = {}
    todo = [f for name in ("forward", "__call__", "__getattr__") for f in methods.get(name, ())]
    while todo:
        function = todo.pop()
        if function not in found:
            found[function] = None
            todo += [f for name in _names_in(function.__code__) for f in methods.get(name, ())]
    return tuple(found)


def _layers(function: object) -> list[types.FunctionType]:
    """A function and what it wraps, by ``functools.wraps`` or in its closure."""
    found: list[types.FunctionType] = []
    while isinstance(function, types.FunctionType) and function not in found:
        found.append(function)
        cells = [c.cell_contents for c in function.__closure__ or () if c != types.CellType()]
        found += [f for f in cells if isinstance(f, types.FunctionType) and f not in found]
        function = getattr(function, "__wrapped__", None)
    return found


def _names_in(code: types.CodeType) -> set[str]:
    """Names and texts that a function and those inside it use."""
    texts = {c for c in code.co_consts if isinstance(c, str)}
    inner = [_names_in(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(texts, *inner)
