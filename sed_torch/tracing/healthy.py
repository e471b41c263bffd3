"""Questions about values that a forward asks only to check or to report: the answer of a healthy run.

An assertion holds, a branch that raises or warns is not taken, nothing is NaN, a number that is only logged has no
part in the network. Which of these a question is, the statement tells in which it is asked. All other questions stay
without an answer: what decides which layers run is not guessed.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import torch
import torch.fx
from torch import nn

from sed_torch.tracing.known import UNKNOWN
from sed_torch.tracing.statements import (
    OWN_DIR,
    Span,
    Statement,
    asking,
    called,
    parsed,
    polarity,
    position,
    span_of,
)

__all__ = ["ASSERTIONS", "healthy_answer"]

ASSERTIONS = frozenset(["_assert", "_assert_async", "_functional_assert_async", "_assert_scalar"])
"""Functions that do nothing but check."""

_MODULE = nn.Module.__call__.__code__.co_filename
_BOOLS = frozenset(["__bool__", "is_nonzero", "allclose", "equal", "__contains__"])
_FLOATS = frozenset(["__float__", "item", "__complex__"])
_INTS = frozenset(["__int__", "__index__", "item"])
_NEVER, _ALWAYS = frozenset(["isnan", "isinf", "isneginf", "isposinf"]), frozenset(["isfinite", "isreal"])
_KEEPS = frozenset(
    ["any", "all", "sum", "max", "min", "amax", "amin", "__getitem__", "view", "reshape", "to", "bool"]
)
_REPORTS = frozenset([
    "print", "warn", "warning", "info", "debug", "error", "critical", "exception", "log", "write",
    "append", "update",
])  # fmt: skip
_ARITHMETIC = frozenset([
    "abs", "add", "add_", "amax", "amin", "clamp", "clamp_", "clone", "detach", "div", "div_",
    "exp", "finfo", "float", "floor", "full_like", "isinf", "isnan", "item", "log", "masked_fill",
    "max", "mean", "min", "mul", "mul_", "nan_to_num", "nan_to_num_", "new_tensor", "norm",
    "ones_like", "round", "size", "sqrt", "std", "sub", "sub_", "sum", "tensor", "to", "type_as",
    "where", "zeros_like",
])  # fmt: skip
_BEYOND = 1e30
"""No number of a healthy run is larger: what is compared with such a bound asks whether it overflows."""
_PLAIN_CALLS = frozenset(
    ["float", "int", "bool", "max", "min", "abs", "len", "print", "str", "repr", "isinstance"]
)


def healthy_answer(name: str, node: torch.fx.Node | None, other: torch.fx.Node | None) -> tuple[Any, str]:
    """The answer and what it takes for granted, in words; :data:`UNKNOWN` where the question decides more.

    Args:
        name: the torch function that asks (``"__bool__"``, ``"item"``, …).
        node: what it asks about.
        other: the second operand of a comparison.
    """
    frame = asking()
    where = (
        f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        if frame is not None
        else "the forward"
    )
    if name in ("allclose", "equal") and node is not None and node is other:
        return True, ""
    if name in _BOOLS and node is not None:
        value = _constant(node)
        if value is not None:
            return value, f"no value is NaN or infinite ({where})"
    if frame is not None and name in _FLOATS | _INTS and _in_hook(frame):
        whole = name not in _FLOATS or (
            node is not None and not getattr(node.meta.get("dtype"), "is_floating_point", True)
        )
        return 0 if whole else float("nan"), f"a value is only noted by a hook ({where})"
    # what a lambda leaves is used by whoever calls it; the statement around it is not its own
    found = _statement(frame) if frame is not None and frame.f_code.co_name != "<lambda>" else None
    if found is None:
        return UNKNOWN, ""
    assert frame is not None
    return _from_statement(name, node, found, position(frame), where, frame.f_locals)


def _in_hook(frame: FrameType) -> bool:
    """Whether a hook asks, as opposed to the forward of a module that a hook may call."""
    caller: FrameType | None = frame
    while caller is not None and not caller.f_code.co_filename.startswith(OWN_DIR):
        before = caller.f_back
        if (
            before is not None
            and before.f_code.co_filename == _MODULE
            and caller.f_code.co_filename != _MODULE
        ):
            hook = before.f_locals.get("hook")
            hook = getattr(hook, "func", hook)
            code = getattr(hook, "__code__", getattr(type(hook).__call__, "__code__", None))
            return code is caller.f_code
        caller = before
    return False


# -- what the operators say ------------------------------------------------------------------------------------


def _constant(node: torch.fx.Node) -> bool | None:
    """The truth value of a tensor that asks whether something is NaN, infinite or equal to itself."""
    spelling = str(node.meta.get("spelling", "")).strip("_")
    operands = [a for a in node.args if isinstance(a, torch.fx.Node)]
    if spelling in _NEVER:
        return False
    if spelling in _ALWAYS:
        return True
    if spelling in ("eq", "ne") and len(operands) == 2 and operands[0] is operands[1]:
        return spelling == "eq"
    if not operands:
        return None
    if spelling in ("logical_not", "bitwise_not", "invert"):
        inner = _constant(operands[0])
        return None if inner is None else not inner
    if spelling in ("or", "and", "logical_or", "logical_and", "bitwise_or", "bitwise_and"):
        values = [_constant(o) for o in operands]
        if None in values or len(values) < 2:
            return None
        return any(values) if "or" in spelling else all(values)
    if (
        spelling in _KEEPS
        or node.meta.get("spelling") in _KEEPS
        or spelling in ("is_all_true", "is_any_true")
    ):
        return _constant(operands[0])
    if spelling in ("gt", "ge", "lt", "le") and len(operands) == 1:
        inner, bound = _constant(operands[0]), node.args[1] if len(node.args) > 1 else None
        if isinstance(bound, (int, float)) and (inner is False or abs(bound) >= _BEYOND):
            # isnan(x).sum() > 0; x.abs().max() > torch.finfo(x.dtype).max
            return {"gt": bound < 0, "ge": bound <= 0, "lt": bound > 0, "le": bound >= 0}[spelling]
    return None


# -- what the statement says -----------------------------------------------------------------------------------


def _statement(frame: FrameType) -> Statement | None:
    """The statement that the frame is in; of a compound one only its test counts."""
    asked = position(frame)
    best, least = None, None
    for found in parsed(frame.f_code.co_filename):
        part: Any = found.statement
        if isinstance(part, (ast.If, ast.While)):
            if span_of(part)[0] == asked[0]:  # the jump after its test
                return found
            part = part.test
        elif isinstance(part, _COMPOUND):
            continue
        start, end = span_of(part)
        if start <= asked[0] and asked[1] <= end:
            span = end[0] - start[0], end[1] - start[1]
            if least is None or span < least:
                best, least = found, span
    return best


_COMPOUND = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.For,
    ast.AsyncFor,
    ast.With,
    ast.AsyncWith,
    ast.Try,
)


def _from_statement(
    name: str,
    node: torch.fx.Node | None,
    found: Statement,
    asked: Span,
    where: str,
    values: Mapping[str, Any],
) -> tuple[Any, str]:
    statement = found.statement
    is_float = node is not None and getattr(node.meta.get("dtype"), "is_floating_point", False)
    if node is not None and name in _BOOLS and _cut_to_known(found, asked):
        smaller = str(node.meta.get("spelling", "")).strip("_") == "lt"
        return smaller, f"in {where} a size is taken as what it is cut to"
    if name in _BOOLS and (data_second := _bounds_a_number(statement, asked)) is not None:
        return data_second, ""  # whatever is done with it asks again
    if name in _INTS and not is_float and _only_divides(found, asked):
        return 1, f"a count only divides in {where}"
    if isinstance(statement, (ast.Assert, ast.If)):
        holds = True if isinstance(statement, ast.Assert) else _healthy_side(statement)
        if holds is None:
            return UNKNOWN, ""
        words = f"the branch in {where} is {'taken' if holds else 'not taken'}"
        if isinstance(statement, ast.Assert):
            words = f"the check in {where} passes"
        if name in _BOOLS:
            side = polarity(statement.test, asked)
            return (holds == side, words) if side is not None else (UNKNOWN, "")
        if isinstance(statement, ast.If):
            return UNKNOWN, ""
        return (
            (0.5, words) if is_float and name in _FLOATS else (0, words) if name in _INTS else (UNKNOWN, "")
        )
    if is_float and name in _FLOATS and _beyond(statement, asked, values):
        return 0.0, f"no value is NaN or infinite ({where})"
    reports = f"a value is only reported in {where}"
    if is_float and name in _FLOATS and _decides_nothing(statement, found.function):
        return float("nan"), reports
    if not is_float and name in _INTS and isinstance(statement, ast.Expr) and not _sizes(statement):
        return 0, reports
    if name in _BOOLS and isinstance(statement, ast.Expr) and not _sizes(statement):
        return True, reports
    return UNKNOWN, ""


def _cut_to_known(found: Statement, asked: Span) -> bool:
    """Whether a size is the larger of two, and the result is cut to one of them in this statement or the next, a
    ``return``: whichever it is, the result is the same. As ``one_hot(i, max(i.max() + 1, n))[..., :n]``.
    """
    parts = list(ast.walk(found.statement))
    if isinstance(found.statement, ast.Assign):
        body = getattr(found.function, "body", [])
        after = body[body.index(found.statement) + 1 :][:1] if found.statement in body else []
        parts += [p for s in after if isinstance(s, ast.Return) for p in ast.walk(s)]
    cuts = {ast.dump(p.upper) for p in parts if isinstance(p, ast.Slice) and p.upper is not None}
    return any(
        isinstance(p, ast.Call)
        and span_of(p) == asked
        and called(p) == "max"
        and any(ast.dump(a) in cuts for a in p.args)
        for p in parts
    )


def _bounds_a_number(statement: ast.stmt, asked: Span) -> bool | None:
    """Of ``max(1, count)``, whether the second is the tensor: the answer by which it is what is returned."""
    for part in ast.walk(statement):
        if isinstance(part, ast.Call) and span_of(part) == asked and called(part) in ("max", "min"):
            plain = [_magnitude(a, {}) > 0 or isinstance(a, ast.Constant) for a in part.args]
            if isinstance(part.func, ast.Name) and len(plain) == 2 and any(plain):
                return plain[0]
    return None


def _only_divides(found: Statement, asked: Span) -> bool:
    """Whether a whole number is only divided or multiplied with, or reported: ``loss / max(1, count)``."""
    parents = {c: p for p in ast.walk(found.function) for c in ast.iter_child_nodes(p)}
    start = next((p for p in parents if isinstance(p, ast.Call) and span_of(p) == asked), None)
    if start is None or called(start) not in ("item", "int"):
        return False
    kind = parents[start]
    if not isinstance(kind, ast.Assign):
        return _divides(start, parents)
    names = [t.id for t in kind.targets if isinstance(t, ast.Name)]
    uses = [n for n in parents if isinstance(n, ast.Name) and n.id in names and isinstance(n.ctx, ast.Load)]
    return len(names) == len(kind.targets) == 1 and bool(uses) and all(_divides(n, parents) for n in uses)


def _divides(part: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> bool:
    parent = parents[part]
    while isinstance(parent, ast.Call) and part is not parent.func and called(parent) in ("max", "float"):
        part, parent = parent, parents[parent]
    return isinstance(parent, (ast.BinOp, ast.AugAssign)) and isinstance(parent.op, ast.Div)


def _beyond(statement: ast.stmt, asked: Span, values: Mapping[str, Any]) -> bool:
    """Whether a number is asked for only to be compared with a bound that none of a healthy run comes near."""
    for part in ast.walk(statement):
        if not isinstance(part, ast.Compare):
            continue
        operands = [part.left, *part.comparators]
        bounds = [o for o in operands if span_of(o) != asked]
        if len(bounds) == len(operands) - 1 and all(_magnitude(b, values) >= _BEYOND for b in bounds):
            return True
    return False


def _magnitude(bound: ast.expr, values: Mapping[str, Any]) -> float:
    """Of a number, or of a local variable that holds one; 0 for anything else."""
    if isinstance(bound, ast.UnaryOp) and isinstance(bound.op, ast.USub):
        return _magnitude(bound.operand, values)
    value = values.get(bound.id) if isinstance(bound, ast.Name) else getattr(bound, "value", None)
    return float(abs(value)) if isinstance(value, (int, float)) else 0.0


def _healthy_side(branch: ast.If) -> bool | None:
    """The side of a branch that a healthy run takes; None where both run layers."""
    if _stops(branch.body) and not (branch.orelse and _stops(branch.orelse)):
        return False
    if branch.orelse and _stops(branch.orelse):
        return True
    if _harmless(branch.body) and _harmless(branch.orelse):
        return False
    return None


def _stops(body: Sequence[ast.stmt]) -> bool:
    """Raises, or does nothing but report."""
    if body and _raises(body[-1]):
        return True
    return bool(body) and all(
        isinstance(s, ast.Pass)
        or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Call) and called(s.value) in _REPORTS)
        for s in body
    )


def _raises(statement: ast.stmt) -> bool:
    """``raise``, or an assertion of what is false: ``assert False``, ``torch._assert(False, …)``."""
    if isinstance(statement, ast.Assert):
        return isinstance(statement.test, ast.Constant) and not statement.test.value
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and called(call) in ASSERTIONS and call.args:
        return isinstance(call.args[0], ast.Constant) and not call.args[0].value
    return isinstance(statement, ast.Raise)


def _harmless(body: Sequence[ast.stmt]) -> bool:
    """Arithmetic on what is there: no layer, no way out."""
    for statement in body:
        for part in ast.walk(statement):
            if isinstance(
                part, (ast.Return, ast.Break, ast.Continue, ast.Raise, ast.Yield, ast.While, ast.For)
            ):
                return False
            if isinstance(part, ast.Call) and not _plain(part):
                return False
    return True


def _plain(call: ast.Call) -> bool:
    """A number's or a tensor's own arithmetic; anything else may be a layer."""
    if isinstance(call.func, ast.Name):
        return call.func.id in _PLAIN_CALLS
    return isinstance(call.func, ast.Attribute) and call.func.attr in _ARITHMETIC


def _sizes(statement: ast.AST) -> bool:
    """Whether numbers in a statement may be sizes, places or decisions."""
    return any(
        isinstance(p, (ast.Slice, ast.Subscript, ast.IfExp))
        or (
            isinstance(p, ast.Call) and called(p) in ("range", "view", "reshape", "zeros", "expand", "repeat")
        )
        for p in ast.walk(statement)
    )


def _decides_nothing(statement: ast.stmt, function: ast.AST) -> bool:
    """Whether a number is stored, printed or computed with, but never compared."""
    if isinstance(statement, ast.Expr):
        return not any(isinstance(p, (ast.Compare, ast.IfExp)) for p in ast.walk(statement))
    if not isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return)):
        return False
    if any(isinstance(p, (ast.Compare, ast.IfExp, ast.BoolOp)) for p in ast.walk(statement)):
        return False
    if isinstance(statement, ast.Return):
        return False
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    names = {
        p.id for t in targets for p in ast.walk(t) if isinstance(p, ast.Name) and isinstance(p.ctx, ast.Store)
    }
    attributes = {t.attr for t in targets if isinstance(t, ast.Attribute)}
    for part in ast.walk(function):
        deciding: Any = None
        if isinstance(part, (ast.If, ast.While, ast.IfExp, ast.Assert)):
            deciding = part.test
        elif isinstance(part, (ast.Compare, ast.Slice)) or (
            isinstance(part, ast.Call) and called(part) in ("range", "int", "round")
        ):
            deciding = part
        if deciding is None:
            continue
        for inner in ast.walk(deciding):
            if isinstance(inner, ast.Name) and inner.id in names:
                return False
            if isinstance(inner, ast.Attribute) and inner.attr in attributes:
                return False
    return True
