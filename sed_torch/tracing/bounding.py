"""What follows a choice of the data, followed as far as a bound on it goes. Asked where nothing else could be read.

Where data choose which entries go on, all do: an upper bound. Where they choose one of two ways, one is followed, and
the parameters of the other count as not covered. How often a loop runs has no bound, and is not answered.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
import torch.fx
from torch import Tensor

from sed_torch.tracing.known import UNKNOWN
from sed_torch.tracing.statements import Span, asking, called, parsed, position, span_of

__all__ = ["TWO_WAYS", "Bounds", "put_back"]

TWO_WAYS = "of two ways"
"""How an answer to a question with two begins in words."""
_PLACES = frozenset(["nonzero", "argwhere", "where"])
_UNIQUE = frozenset(["unique", "_unique2", "unique_consecutive"])
_BOOLS = frozenset(["__bool__", "is_nonzero"])
_INTS = frozenset(["item", "__int__", "__index__"])
_KEPT = frozenset(["nms"])
"""Operators that keep some of the rows of their first operand, by their places."""


class Bounds:
    """Answers for one trace.

    Args:
        takes: the answer to a question with two.
        place: the line of the forward that is being followed.

    Attributes:
        branched: whether one of several ways was taken.
    """

    def __init__(self, takes: bool, place: Callable[[], str]) -> None:
        self._takes, self._place_of = takes, place
        self._told: dict[str, dict[str, None]] = {}
        self.branched = False

    @property
    def chose(self) -> bool:
        """Whether anything was answered."""
        return bool(self._told)

    def words(self) -> tuple[str, ...]:
        """What was taken for granted, and where."""
        return tuple(f"{told} ({', '.join(places)})" for told, places in self._told.items())

    def answer(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a call that asks for values; :data:`UNKNOWN` where there is no bound."""
        if name in _BOOLS:
            return self._branch()
        if name in _INTS:
            one = bool(args) and isinstance(args[0], Tensor) and args[0].dtype is torch.bool
            return self._branch() if one else self._place()
        return self.selected(name, args, kwargs)

    def selected(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result, on ``meta``, of a call that lets data choose entries, when all are chosen."""
        x = args[0] if args and isinstance(args[0], Tensor) else None
        if x is None:
            return UNKNOWN
        rows = torch.empty(x.numel(), dtype=torch.int64, device="meta")
        if name in _PLACES and (len(args) == 1 or name != "where"):
            self._said()
            apart = name == "where" or kwargs.get("as_tuple")
            return (rows,) * x.dim() if apart else rows.new_empty(x.numel(), x.dim())
        if name in _UNIQUE:
            return self._distinct(x, kwargs)
        if name in _KEPT:
            self._said()
            return rows.new_empty(x.shape[0])
        if name == "masked_select" and len(args) == 2:
            self._said()
            return x.new_empty((x.expand_as(args[1]) if x.dim() < args[1].dim() else x).numel())
        return UNKNOWN

    def masks(self, index: Any) -> list[Tensor]:
        """Masks among the indices of a call, each of which chooses all."""
        masks = _masks(index)
        if masks:
            self._said()
        return masks

    def _distinct(self, x: Tensor, kwargs: dict[str, Any]) -> Any:
        """Distinct values: as many as there are entries; one where a loop goes through them, as its turns share all."""
        frame = asking()
        turn = frame is not None and _is_walked(frame)
        self._said("one turn is followed of what data choose" if turn else _ALL)
        if kwargs.get("dim") is not None:
            return UNKNOWN
        n = 1 if turn else x.numel()
        counts = torch.empty(n, dtype=torch.int64, device="meta")
        several = [x.new_empty(n)]
        if kwargs.get("return_inverse"):
            several.append(counts.new_empty(x.shape))
        if kwargs.get("return_counts"):
            several.append(counts)
        return several[0] if len(several) == 1 else tuple(several)

    def _branch(self) -> Any:
        """One of two ways, where neither leaves or repeats a loop."""
        frame = asking()
        if frame is None or _in_loop_control(frame, position(frame)):
            return UNKNOWN
        self.branched = True
        self._said(
            f"{TWO_WAYS} between which data choose the {'first' if self._takes else 'second'} is followed"
        )
        return self._takes

    def _place(self) -> Any:
        """A number that only looks something up: the first."""
        frame = asking()
        if frame is None or not _is_index(frame, position(frame)):
            return UNKNOWN
        self.branched = True
        self._said("the first is followed of those among which data choose")
        return 0

    def _said(self, words: str | None = None) -> None:
        self._told.setdefault(words or _ALL, {})[os.path.basename(self._place_of())] = None


def put_back(index: Any) -> list[Tensor]:
    """Masks by which entries are read and put back in one statement, as in ``near[m] = d[m]``: how many they are does
    not matter. Nothing where that is not so.
    """
    masks, frame = _masks(index), asking()
    if not masks or frame is None:
        return []
    at = position(frame)
    for found in parsed(frame.f_code.co_filename):
        statement = found.statement
        if not isinstance(statement, (ast.Assign, ast.AugAssign)) or not _within(at, span_of(statement)):
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        written = {ast.dump(t.slice) for t in targets if isinstance(t, ast.Subscript)}
        subscripts = [p for p in ast.walk(statement) if isinstance(p, ast.Subscript) and span_of(p) == at]
        plain = not any(isinstance(p, ast.Call) for p in ast.walk(statement))
        return masks if plain and any(ast.dump(p.slice) in written for p in subscripts) else []
    return []


def _masks(index: Any) -> list[Tensor]:
    found = index if isinstance(index, (tuple, list)) else (index,)
    return [a for a in found if isinstance(a, Tensor) and a.dtype is torch.bool and a.dim()]


_ALL = "an upper bound: all entries are taken among which data choose"


def _is_walked(frame: FrameType) -> bool:
    """Whether a ``for`` goes through what is asked for."""
    at = position(frame)
    return any(
        isinstance(s.statement, ast.For) and _within(at, span_of(s.statement.iter))
        for s in parsed(frame.f_code.co_filename)
    )


def _in_loop_control(frame: FrameType, at: Span) -> bool:
    """Whether what is asked for decides how often a loop runs; also where the source does not tell."""
    statements = [s.statement for s in parsed(frame.f_code.co_filename)]
    line = frame.f_lineno
    loops = [s for s in statements if isinstance(s, (ast.For, ast.While)) and _covers(s, line)]
    asked = [s for s in statements if isinstance(s, (ast.If, ast.While)) and _asks(s, at)]
    inside = [
        p
        for s in statements
        if not isinstance(s, (ast.FunctionDef, ast.ClassDef)) and _covers(s, line)
        for p in ast.walk(s)
        if isinstance(p, ast.IfExp) and _within(at, span_of(p.test))
    ]
    if inside and not asked:
        return False
    if len(asked) != 1 or isinstance(asked[0], ast.While):
        return True
    leaves = (ast.Break, ast.Continue, *((ast.Return,) if loops else ()))
    ways = [*asked[0].body, *asked[0].orelse]
    return bool(loops) and any(isinstance(p, leaves) for s in ways for p in ast.walk(s))


def _asks(statement: ast.If | ast.While, at: Span) -> bool:
    return _within(at, span_of(statement.test)) or at[0] == span_of(statement)[0]


def _is_index(frame: FrameType, at: Span) -> bool:
    """Whether what is asked for stands as an index in brackets, not as a bound of a slice."""
    for found in parsed(frame.f_code.co_filename):
        if isinstance(found.statement, (ast.FunctionDef, ast.ClassDef)) or not _covers(
            found.statement, at[0][0]
        ):
            continue
        for part in ast.walk(found.statement):
            if isinstance(part, ast.Subscript) and _within(at, span_of(part.slice)):
                inner = [*ast.walk(part.slice)]
                return not any(isinstance(p, (ast.Slice, ast.BinOp)) or _sizes(p) for p in inner)
    return False


def _sizes(part: ast.AST) -> bool:
    return isinstance(part, ast.Call) and called(part) in ("range", "slice", "max", "min")


def _covers(statement: ast.stmt, line: int) -> bool:
    return statement.lineno <= line <= (statement.end_lineno or statement.lineno)


def _within(at: Span, span: Span) -> bool:
    return span[0] <= at[0] and at[1] <= span[1]
