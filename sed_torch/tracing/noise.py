"""What an expression of a function's text holds: data, random numbers, or neither.

Data are what the function is given, and what is computed from it. Noise is what is filled with numbers that data have
no part in, though it may have their shape. What may do more than to add to data or multiply them is other.
"""

from __future__ import annotations

import ast
import builtins
import types
from collections.abc import Mapping

from sed_torch.tracing.statements import called
from sed_torch.tracing.watching import Switches, is_plain

__all__ = ["DATA", "FREE", "NOISE", "OTHER", "Kinds", "root_of"]

FREE, NOISE, DATA, OTHER = range(4)
"""Neither data nor noise (numbers, shapes); noise; data; and what does more with data. The larger one wins."""

_MAKERS = frozenset(
    "new new_empty new_full new_ones new_zeros empty empty_like full full_like ones ones_like zeros zeros_like "  # noqa: SIM905
    "rand rand_like randn randn_like Bernoulli Beta".split()
)
"""Calls whose result has values of its own, though perhaps the shape of what they are given first."""
_TELLS = frozenset("len isinstance float int bool str type".split())  # noqa: SIM905
_SIZE_METHODS = frozenset("size dim numel ndimension".split())  # noqa: SIM905
_BY_ENTRY = frozenset("add sub mul div to type type_as clone contiguous float half bfloat16 dropout".split())  # noqa: SIM905
"""Calls that take data entry by entry."""
_SIZES = frozenset(["shape", "ndim", "dtype", "device", "is_cuda", "requires_grad", "training"])
_SEVERAL = (ast.Tuple, ast.List, ast.ListComp, ast.comprehension)
_SUMS = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_PLAIN_PACKAGES = frozenset(["torch", "builtins", "math", "random", "numpy", "typing"])
_NUMBERS = frozenset(["float", "int", "bool", "str"])


class Kinds:
    """Kinds of the expressions of one function.

    Args:
        tree: the function.
        own: the name of the module that it belongs to, ``""`` for none.
        off: what is known of that module's attributes.
        mode: names that hold the mode.
        names: what the function sees beside its own.
    """

    def __init__(
        self,
        tree: ast.FunctionDef,
        own: str,
        off: Switches,
        mode: Mapping[str, object],
        names: Mapping[str, object],
    ) -> None:
        self._own, self._off, self._mode, self._globals = own, off, mode, names
        self._names: dict[str, int] = {a: DATA for a in _parameters(tree) if a != own and a not in mode}
        before: dict[str, int] = {}
        while before != self._names:
            before = dict(self._names)
            for node in ast.walk(tree):
                self._spread(node)

    def _spread(self, node: ast.AST) -> None:
        """What is assigned to names."""
        if isinstance(node, (ast.For, ast.comprehension)):
            targets, kind = [node.target], self.of(node.iter)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr)) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            kind = self.of(node.value)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            targets, kind = [node.optional_vars], self.of(node.context_expr)
        else:
            return
        for name in {n for t in targets for n in _written(t)} - {self._own}:
            self._names[name] = max(self._names.get(name, FREE), min(kind, DATA))

    def of(self, value: ast.AST) -> int:
        """What an expression holds."""
        if isinstance(value, (ast.Constant, ast.Slice, ast.JoinedStr)):
            return FREE
        if isinstance(value, ast.Name):
            kind = DATA if value.id == self._own else self._names.get(value.id, FREE)
            return FREE if value.id in self._mode else kind
        if isinstance(value, ast.Attribute):
            return self._attribute(value)
        if isinstance(value, ast.Call):
            return self._call(value)
        if isinstance(value, ast.BinOp):
            sides = {self.of(value.left), self.of(value.right)}
            return max(sides) if max(sides) < DATA or isinstance(value.op, _SUMS) else OTHER
        if isinstance(value, ast.Compare):
            if all(isinstance(o, (ast.Is, ast.IsNot)) for o in value.ops):
                return FREE
            sides = {self.of(v) for v in (value.left, *value.comparators)}
            return max(sides) if max(sides) < DATA else OTHER
        if isinstance(value, ast.Subscript):
            inner = max(self.of(value.value), self.of(value.slice))
            return inner if inner < DATA else OTHER
        if isinstance(value, (ast.UnaryOp, ast.Starred)):
            return self.of(value.operand if isinstance(value, ast.UnaryOp) else value.value)
        if isinstance(value, (ast.IfExp, ast.BoolOp, *_SEVERAL)):
            parts = (v for v in ast.iter_child_nodes(value) if isinstance(v, (ast.expr, ast.comprehension)))
            most = max((self.of(v) for v in parts), default=FREE)
            return OTHER if most == DATA and isinstance(value, _SEVERAL) else most
        return OTHER

    def _attribute(self, value: ast.Attribute) -> int:
        if isinstance(value.value, ast.Name) and value.value.id == self._own:
            return FREE if value.attr == "training" or is_plain(value.attr, self._off) else OTHER
        inner = self.of(value.value)
        if value.attr in _SIZES:
            return FREE if inner < OTHER else OTHER
        return inner if inner < DATA else OTHER

    def _call(self, call: ast.Call) -> int:
        name = called(call)
        method = isinstance(call.func, ast.Attribute)
        held = self.of(call.func.value) if isinstance(call.func, ast.Attribute) else FREE
        args = [self.of(a) for a in call.args]
        given = max([*args, *(self.of(k.value) for k in call.keywords)], default=FREE)
        if (
            not method
            and name in _TELLS
            and not any(isinstance(n, ast.Call) for a in call.args for n in ast.walk(a))
        ):
            return FREE
        if max(held, given) == OTHER or not self._is_known(call.func, held):
            return OTHER
        if name in _MAKERS:
            first = args[:1] if held != DATA and name.endswith("_like") else []
            others = [*args[len(first) :], *(self.of(k.value) for k in call.keywords)]
            return NOISE if max(others, default=FREE) < DATA else OTHER
        if name in (_SIZE_METHODS if method else _TELLS):
            return FREE
        most = max(held, given)
        return most if most < DATA or name.removesuffix("_") in _BY_ENTRY else OTHER

    def _is_known(self, function: ast.expr, held: int) -> bool:
        """Whether a function is torch's, Python's or a method of numbers, and so runs no layers."""
        root = root_of(function)
        if root is None or root in self._names:
            return held in (NOISE, DATA) or root is None
        found = self._globals.get(root, getattr(builtins, root, None))
        if isinstance(function, ast.Attribute) and isinstance(found, types.ModuleType):
            return not isinstance(getattr(found, function.attr, None), types.FunctionType) or (
                found.__name__.partition(".")[0] in _PLAIN_PACKAGES
            )
        return str(getattr(found, "__module__", "")).partition(".")[0] in _PLAIN_PACKAGES


def _is_number(argument: ast.arg, default: ast.expr | None) -> bool:
    """Whether a parameter holds a number, by its annotation or by what it is when not given."""
    note = argument.annotation
    if isinstance(note, ast.Constant) and isinstance(note.value, str):
        return note.value in _NUMBERS
    if isinstance(note, ast.Name):
        return note.id in _NUMBERS
    return isinstance(default, ast.Constant) and isinstance(default.value, (bool, int, float, str))


def _parameters(tree: ast.FunctionDef) -> list[str]:
    """Those that may hold data: none that holds a number, by its annotation, its default or what it is held against."""
    given = tree.args
    listed = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [*[None] * (len(listed) - len(given.defaults)), *given.defaults]
    pairs = [*zip(listed, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    rest = [a.arg for a in (given.vararg, given.kwarg) if a is not None]
    numbers = _held_against_numbers(tree)
    return [a.arg for a, d in pairs if not _is_number(a, d) and a.arg not in numbers] + rest


def _held_against_numbers(tree: ast.FunctionDef) -> set[str]:
    """Names in a test such as ``p == 0.0``."""
    tests = [n.test for n in ast.walk(tree) if isinstance(n, (ast.If, ast.IfExp))]
    compared = [c for t in tests for c in ast.walk(t) if isinstance(c, ast.Compare)]
    return {
        c.left.id
        for c in compared
        if isinstance(c.left, ast.Name)
        and isinstance(c.comparators[0], ast.Constant)
        and isinstance(c.comparators[0].value, (int, float))
    }


def _written(target: ast.expr) -> list[str]:
    """The names that an assignment writes to, themselves or an entry of theirs."""
    if isinstance(target, (ast.Tuple, ast.List)):
        return [n for part in target.elts for n in _written(part)]
    root = root_of(target.value if isinstance(target, ast.Starred) else target)
    return [root] if root is not None else []


def root_of(function: ast.expr) -> str | None:
    """The name that ``a.b[c].d`` begins with."""
    while isinstance(function, (ast.Attribute, ast.Subscript)):
        function = function.value
    return function.id if isinstance(function, ast.Name) else None
