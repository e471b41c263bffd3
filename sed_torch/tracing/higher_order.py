"""Control flow that torch spells as operators: ``cond``, ``switch``, ``while_loop``, ``scan``, ``map``.

Each is followed as the Python it stands for. Where only data could tell which way it goes, the first branch is taken,
or one turn of the loop, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sed_torch.errors import TraceError
from sed_torch.tracing.signals import Signal

__all__ = ["CONTROL_FLOW", "Asking"]

_MOST_TURNS = 4096


class Asking(Protocol):
    """What a recorder tells here."""

    assumed: list[str]

    def place(self) -> str:
        """The line of the forward that is being followed."""

    def number_of(self, value: Any) -> int | None:
        """A number or a truth value, if it is known without data."""


def _cond(recorder: Asking, pred: Any, true: Any, false: Any, operands: Any = ()) -> Any:
    taken = recorder.number_of(pred)
    if taken is None:
        taken = 1
        recorder.assumed.append(f"of torch.cond the first branch was followed ({recorder.place()})")
    return (true if taken else false)(*operands)


def _switch(recorder: Asking, index: Any, branches: Any, operands: Any = ()) -> Any:
    taken = recorder.number_of(index)
    if taken is None:
        taken = 0
        recorder.assumed.append(f"of torch.switch the first branch was followed ({recorder.place()})")
    return branches[min(max(taken, 0), len(branches) - 1)](*operands)


def _while_loop(recorder: Asking, goes_on: Any, body: Any, carried: Any, more: Any = ()) -> Any:
    values, turns = tuple(carried), 0
    while True:
        on = recorder.number_of(goes_on(*values, *more))
        if on is None and not turns:
            recorder.assumed.append(
                f"of a while_loop that data end one turn was followed ({recorder.place()})"
            )
        if not on and not (on is None and not turns):
            return values
        _bounded(turns, "a while_loop", recorder)
        found = body(*values, *more)
        values, turns = tuple(found) if isinstance(found, (tuple, list)) else (found,), turns + 1


def _scan(recorder: Asking, step: Any, init: Any, xs: Any, more: Any = (), *_: Any, **__: Any) -> Any:
    carry, rows = list(init), []
    for i in range(_length(xs, recorder)):
        found = list(step(*carry, *(x.select(0, i) for x in xs), *more))
        carry = found[: len(init)]
        rows.append(found[len(init) :])
    return (*carry, *(torch.stack(list(parts)) for parts in zip(*rows, strict=True)))


def _map(recorder: Asking, function: Any, xs: Any, more: Any = (), *_: Any, **__: Any) -> Any:
    rows = [_several(function(*(x.select(0, i) for x in xs), *more)) for i in range(_length(xs, recorder))]
    return tuple(torch.stack(list(parts)) for parts in zip(*rows, strict=True))


def _associative_scan(recorder: Asking, combine: Any, xs: Any, more: Any = (), *_: Any, **__: Any) -> Any:
    rows = [[x.select(0, 0) for x in xs]]
    for i in range(1, _length(xs, recorder)):
        rows.append(_several(combine(*rows[-1], *(x.select(0, i) for x in xs), *more)))
    return tuple(torch.stack(list(parts)) for parts in zip(*rows, strict=True))


def _several(found: Any) -> list[Any]:
    return list(found) if isinstance(found, (tuple, list)) else [found]


def _length(xs: Sequence[Tensor], recorder: Asking) -> int:
    turns = int(xs[0].shape[0])
    _bounded(turns - 1, "a scan", recorder)
    return turns


def _bounded(turns: int, what: str, recorder: Asking) -> None:
    if turns >= _MOST_TURNS:
        raise Signal(
            TraceError(f"{what} of more than {_MOST_TURNS} turns is not followed ({recorder.place()})")
        )


CONTROL_FLOW: Mapping[str, Callable[..., Any]] = {
    "cond": _cond,
    "switch": _switch,
    "while_loop": _while_loop,
    "scan": _scan,
    "map_impl": _map,
    "associative_scan": _associative_scan,
}
"""Name of an operator → what follows it."""
