"""The statement of a forward in which something is asked, and those around it, by its source."""

from __future__ import annotations

import ast
import functools
import itertools
import linecache
import os
import sys
from dataclasses import dataclass
from types import FrameType

import torch

__all__ = [
    "OWN_DIR",
    "Span",
    "Statement",
    "asking",
    "called",
    "differs",
    "ends_a_loop",
    "goes_on",
    "in_while",
    "is_guarded",
    "parsed",
    "polarity",
    "position",
    "span_of",
]

Span = tuple[tuple[int, int], tuple[int, int]]
"""Line and column, from and to."""

OWN_DIR = os.path.dirname(os.path.abspath(__file__)) + os.sep
_BETWEEN = tuple(
    os.path.join(torch.__path__[0], name)
    for name in ("_tensor.py", "overrides.py", "functional.py", "_jit_internal.py")
)


def asking() -> FrameType | None:
    """The frame whose code asks, past torch's own methods."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((OWN_DIR, *_BETWEEN)):
        frame = frame.f_back
    return frame


@dataclass(frozen=True)
class Statement:
    """A statement, and the function that it stands in, or the module."""

    statement: ast.stmt
    function: ast.AST


@functools.lru_cache(maxsize=64)
def parsed(filename: str) -> tuple[Statement, ...]:
    """All statements of a file, inner ones too; none where its source is not at hand."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return ()
    found: list[Statement] = []
    todo: list[tuple[ast.AST, ast.AST]] = [(tree, tree)]
    while todo:
        node, function = todo.pop()
        if isinstance(node, ast.stmt):
            found.append(Statement(node, function))
        inner = node if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        todo.extend((child, inner) for child in ast.iter_child_nodes(node))
    return tuple(found)


def called(call: ast.Call) -> str:
    """The name of what is called, the last one of ``a.b.c()``; nothing where it has none."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def position(frame: FrameType) -> Span:
    """Where in its file a frame is: line and column, from and to. Before Python 3.11 the line alone is known."""
    line = frame.f_lineno
    positions = getattr(frame.f_code, "co_positions", None)
    if positions is not None:
        first, last, start, end = next(itertools.islice(positions(), frame.f_lasti // 2, None))
        if None not in (first, last, start, end):
            return (first, start), (last, end)
    text = linecache.getline(frame.f_code.co_filename, line)
    return (line, len(text) - len(text.lstrip())), (line, len(text.split("#")[0].rstrip()))


def span_of(part: ast.stmt | ast.expr) -> Span:
    """Where a part of a statement stands."""
    return (part.lineno, part.col_offset), (part.end_lineno or part.lineno, part.end_col_offset or 0)


def polarity(test: ast.expr, asked: Span, side: bool = True) -> bool | None:
    """Whether the truth of what is asked speaks for a test, through ``not``, ``and``, ``or``; None if unclear."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return polarity(test.operand, asked, not side)
    if not isinstance(test, ast.BoolOp):
        return side
    within = [v for v in test.values if span_of(v)[0] <= asked[0] and asked[1] <= span_of(v)[1]]
    sides = {polarity(v, asked, side) for v in within or test.values}
    return sides.pop() if len(sides) == 1 else None


def ends_a_loop(frame: FrameType) -> bool:
    """Whether what is asked for decides that a loop ends: in a ``while`` test, or in an ``if`` that leaves it."""
    return any(isinstance(s, ast.While) or _leaves(s, _loop_around(s, frame)) for s in _tests(frame))


def in_while(frame: FrameType) -> bool:
    """Whether what is asked for decides on another turn of a ``while``: in its test, or in an ``if`` that leaves it."""
    return any(
        isinstance(s, ast.While) or isinstance(_loop_around(s, frame), ast.While) for s in _tests(frame)
    )


def goes_on(frame: FrameType) -> bool | None:
    """The answer by which a loop goes on that something besides ends; None where nothing does, or no loop asks.

    What ends it besides: the last turn of a ``for``, or a counter in the test of a ``while``.
    """
    tests, at = _tests(frame), position(frame)
    if len(tests) != 1:
        return None
    asked = tests[0]
    if isinstance(asked, ast.While):
        sides = {
            polarity(v, at) for v in _besides_a_count(asked)
        }  # Python tells no place in a test of several
        return sides.pop() if len(sides) == 1 else None
    loop = _loop_around(asked, frame)
    if (
        not (isinstance(loop, ast.For) or (loop is not None and _is_counted(loop)))
        or not _leaves(asked, loop)
        or asked.orelse
    ):
        return None
    side = polarity(asked.test, at)
    return None if side is None else not side


def _loop_around(statement: ast.stmt, frame: FrameType) -> ast.For | ast.While | None:
    """The innermost loop around a statement, in its own function."""
    found = parsed(frame.f_code.co_filename)
    function = next((s.function for s in found if s.statement is statement), None)
    around = [
        s.statement
        for s in found
        if isinstance(s.statement, (ast.For, ast.While))
        and s.function is function
        and any(part is statement for part in ast.walk(s.statement))
    ]
    return max(around, key=lambda loop: loop.lineno, default=None)


def _leaves(branch: ast.If, loop: ast.stmt | None) -> bool:
    """Whether a branch inside a loop ends by leaving it."""
    return loop is not None and isinstance(branch.body[-1], (ast.Break, ast.Return))


def _tests(frame: FrameType) -> list[ast.If | ast.While]:
    """The statements in whose test a frame asks."""
    at = position(frame)
    found = [s.statement for s in parsed(frame.f_code.co_filename)]
    return [
        s
        for s in found
        if isinstance(s, (ast.If, ast.While))
        and ((span_of(s.test)[0] <= at[0] and at[1] <= span_of(s.test)[1]) or at[0] == span_of(s)[0])
    ]


def _besides_a_count(loop: ast.While) -> list[ast.expr]:
    """What ends a loop besides a number that its body steps, as in ``while n < 4 and …``; nothing without such."""
    if not isinstance(loop.test, ast.BoolOp) or not isinstance(loop.test.op, ast.And):
        return []
    others = [v for v in loop.test.values if not _counts(v, loop)]
    return others if len(others) < len(loop.test.values) else []


def _is_counted(loop: ast.While) -> bool:
    """Whether a number that its body steps ends a loop."""
    return _counts(loop.test, loop) or bool(_besides_a_count(loop))


def _counts(test: ast.expr, loop: ast.While) -> bool:
    steps = [s.target for s in loop.body if isinstance(s, ast.AugAssign)]
    stepped = {t.id for t in steps if isinstance(t, ast.Name)}
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and test.left.id in stepped
        and isinstance(test.ops[0], (ast.Lt, ast.LtE, ast.Gt, ast.GtE))
    )


def differs(frame: FrameType) -> bool | None:
    """Whether what a frame asks for is compared by ``!=`` (True) or ``==`` (False) with something; else None."""
    at = position(frame)
    for statement in _tests(frame):
        for part in ast.walk(statement.test):
            if isinstance(part, ast.Compare) and len(part.ops) == 1:
                spans = [span_of(side) for side in (part.left, part.comparators[0])]
                if any(s[0] <= at[0] and at[1] <= s[1] for s in spans):
                    op = part.ops[0]
                    return True if isinstance(op, ast.NotEq) else False if isinstance(op, ast.Eq) else None
    return None


def is_guarded() -> bool:
    """Whether some frame of the forward would catch an exception raised where it is now."""
    frame = asking()
    while frame is not None and not frame.f_code.co_filename.startswith(OWN_DIR):
        line = frame.f_lineno
        file = frame.f_code.co_filename
        own = not file.startswith(torch.__path__[0] + os.sep)
        if own and any(_guards(found.statement, line) for found in parsed(file)):
            return True
        frame = frame.f_back
    return False


def _guards(statement: ast.stmt, line: int) -> bool:
    """Whether a statement around a line catches exceptions: ``except``, leaving in ``finally``, ``suppress``."""
    if isinstance(statement, ast.Try):
        caught = statement.handlers or any(
            isinstance(p, (ast.Return, ast.Break, ast.Continue))
            for final in statement.finalbody
            for p in ast.walk(final)
        )
        body = statement.body
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        entered = [i.context_expr for i in statement.items]
        caught = any(
            isinstance(c, ast.Call) and any(w in called(c).lower() for w in _CATCHERS) for c in entered
        )
        body = statement.body
    else:
        return False
    return bool(caught) and body[0].lineno <= line <= (body[-1].end_lineno or 0)


_CATCHERS = ("suppress", "ignore", "catch", "swallow", "guard", "safe")
