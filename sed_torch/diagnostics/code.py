"""What a model's code says about where sizes come from and what the training mode changes; read as syntax trees.

Everything here errs on one side: what is not plain from the code counts as not known, and is then traced.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from sed_torch.graph import Node

__all__ = ["Sizes", "functions_of", "reads_again", "source_tree", "tree_of"]

_READS_SIZE = frozenset(["shape", "size"])


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


def reads_again(function: types.FunctionType, line: int, call: str) -> bool:
    """Whether a function may read, after it called a method at this line, what it held before.

    False only where the call stands in a plain statement of the function's own body, and what follows reads nothing
    but what that statement binds, and ``self``.
    """
    tree, before = tree_of(function.__code__)
    body = tree.body if tree is not None else []
    at = next((i for i, s in enumerate(body) if s.lineno <= line - before <= (s.end_lineno or 0)), None)
    if tree is None or at is None or not isinstance(body[at], (ast.Assign, ast.Return, ast.Expr)):
        return True
    calls = [n for n in ast.walk(body[at]) if isinstance(n, ast.Call) and _method(n) == call]
    inside = {n for c in calls for n in ast.walk(c)}
    arguments = tree.args
    given = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    held = {*given[1:], *(n for s in body[:at] for n in _names(s, ast.Store))}
    read = {n.id for n in ast.walk(body[at]) if isinstance(n, ast.Name) and n not in inside}
    bound = _names(body[at], ast.Store)
    later = {n for s in body[at + 1 :] for n in _names(s, ast.Load)}
    return len(calls) != 1 or bool(held & ((later | (read - bound)) - bound))


def _method(call: ast.Call) -> str | None:
    return call.func.attr if isinstance(call.func, ast.Attribute) else None


def _names(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}


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


@functools.lru_cache(maxsize=1024)
def _lines(kind: type) -> Mapping[str, list[tuple[int, int, types.CodeType]]]:
    """File → (first line, last line, code) of the functions of a class, and of those that they name."""
    found: dict[str, list[tuple[int, int, types.CodeType]]] = {}
    for function in functions_of(kind):
        named = [function.__globals__.get(n) for n in function.__code__.co_names]
        for f in (function, *named):
            if isinstance(f, types.FunctionType):
                code = inspect.unwrap(f).__code__
                last = max((n for _, _, n in code.co_lines() if n is not None), default=code.co_firstlineno)
                found.setdefault(code.co_filename, []).append((code.co_firstlineno, last, code))
    return found


class Sizes:
    """Tells of a reshape whether its first size comes from the input.

    Args:
        model: the module, whose classes' code is read.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = model
        self._by_path: Mapping[str, nn.Module] | None = None
        self._known: dict[tuple[str, str], bool] = {}

    def follow(self, node: Node) -> bool:
        """Whether the first size that a reshape or an expand is given is -1, or read from a shape."""
        if node.source is None:
            return False
        key = node.source, node.target
        if key not in self._known:
            self._known[key] = self._follow(node, node.source)
        return self._known[key]

    def _follow(self, node: Node, source: str) -> bool:
        if self._by_path is None:
            self._by_path = dict(self._modules.named_modules())
        module = self._by_path.get(node.path)
        file, _, line = source.rpartition(":")
        if module is None or not line.isdigit():
            return False
        kind: Any = type(module)
        for first, last, code in _lines(kind).get(file, ()):
            if first <= int(line) <= last:
                tree, before = tree_of(code)
                if tree is not None:
                    return _sizes_follow(tree, int(line) - before, node.target)
        return False


def _sizes_follow(tree: ast.FunctionDef, line: int, target: str) -> bool:
    calls = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and _name(n) == target and n.lineno <= line <= (n.end_lineno or n.lineno)
    ]
    return bool(calls) and all(_first_follows(tree, c) for c in calls)


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _first_follows(tree: ast.FunctionDef, call: ast.Call) -> bool:
    if _name(call) == "flatten":
        dims = [a for a in call.args if isinstance(a, ast.Constant)]
        return len(call.args) == len(dims) and bool(dims) and dims[0].value not in (0, None)
    if call.keywords or not call.args:
        return False
    of_torch = isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
    args = call.args
    if of_torch and call.func.value.id == "torch":  # type: ignore[attr-defined]
        args = args[1:]
    first = args[0] if args else None
    while isinstance(first, (ast.Tuple, ast.List)) and first.elts:
        first = first.elts[0]
    return first is not None and _comes_from_input(tree, first, 4)


def _comes_from_input(tree: ast.FunctionDef, value: ast.expr, depth: int) -> bool:
    """Whether an expression is -1, or holds a size that was read from a tensor."""
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        return isinstance(value.operand, ast.Constant) and value.operand.value == 1
    if any(isinstance(n, ast.Attribute) and n.attr in _READS_SIZE for n in ast.walk(value)):
        return not any(isinstance(n, (ast.IfExp, ast.BoolOp)) for n in ast.walk(value))
    names = [n.id for n in ast.walk(value) if isinstance(n, ast.Name)]
    return depth > 0 and any(_name_comes_from_input(tree, n, depth - 1) for n in names)


def _name_comes_from_input(tree: ast.FunctionDef, name: str, depth: int) -> bool:
    given = list(_given(tree, name))
    return bool(given) and all(_comes_from_input(tree, v, depth) for v in given)


def _given(tree: ast.FunctionDef, name: str) -> Iterator[ast.expr]:
    """What a local name is assigned."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            names = [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
            if name in names:
                yield node.value
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)):
            named = isinstance(node.target, ast.Name) and node.target.id == name
            yield from [node.value] if named and node.value is not None else []
