"""What a model's code says about where sizes come from and what the training mode changes; read as syntax trees.

Everything here errs on one side: what is not plain from the code counts as not known, and is then traced.
"""

from __future__ import annotations

import ast
import functools
import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from sed_torch.graph import Node
from sed_torch.tracing.code import functions_of, tree_of

__all__ = ["Sizes", "called_at", "reads_again"]

_READS_SIZE = frozenset(["shape", "size"])


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
    read = {n.id for n in _read_in(body[at]) if n not in inside}
    bound = _names(body[at], ast.Store)
    later = {n.id for s in body[at + 1 :] for n in _read_in(s)}
    return len(calls) != 1 or bool(held & ((later | (read - bound)) - bound))


def called_at(function: Any, name: str) -> int | None:
    """The line of the file at which a function calls ``self.name``, where it does so once."""
    if not isinstance(function, types.FunctionType):
        return None
    tree, before = tree_of(function.__code__)
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and _method(n) == name] if tree else []
    return calls[0].lineno + before if len(calls) == 1 else None


def _method(call: ast.Call) -> str | None:
    return call.func.attr if isinstance(call.func, ast.Attribute) else None


_OF_KIND = frozenset(["device", "dtype", "shape", "size", "dim", "ndim"])
"""What these tell of a tensor are not its entries."""


def _read_in(tree: ast.AST) -> list[ast.Name]:
    """Names that are read, for more than what kind of tensor they hold."""
    kinds = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in _OF_KIND}
    return [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and id(n) not in kinds
    ]


def _names(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}


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
