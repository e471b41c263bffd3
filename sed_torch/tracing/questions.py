"""Questions that a forward, or a call that has no shape otherwise, asks about values."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor

from sed_torch.errors import TraceError
from sed_torch.tracing.arguments import formatted, on_meta
from sed_torch.tracing.bounding import Bounds, put_back
from sed_torch.tracing.healthy import healthy_answer
from sed_torch.tracing.known import UNKNOWN, Call, shaped_by_values
from sed_torch.tracing.names import in_place
from sed_torch.tracing.places import Places
from sed_torch.tracing.signals import Signal
from sed_torch.tracing.stand_ins import StandIns
from sed_torch.tracing.statements import asking, differs, ends_a_loop, goes_on, in_while
from sed_torch.tracing.tape import Tape
from sed_torch.tracing.tensors import nodes_in, tensors_of

__all__ = ["Questions"]

_MOST_TURNS = 5000
"""How often a ``while`` is kept going by answers that are made up."""
_NO_NUMBER = -1
"""What no place, class or token is numbered."""


class Questions:
    """Answers what can be told without data.

    Args:
        tape: what was recorded so far.
        stand_ins: of the model's tensors and of constants.
        depends: whether a call on tensors must be recorded.
        assumed: what had to be assumed on the way, in words; answers may add to it.
        places: where the forward is.
        bounds: what answers choices of the data, if anything does.
    """

    def __init__(
        self,
        tape: Tape,
        stand_ins: StandIns,
        depends: Callable[[list[Tensor]], bool],
        assumed: list[str],
        places: Places,
        bounds: Bounds | None = None,
    ) -> None:
        self._tape, self._stand_ins, self._depends = tape, stand_ins, depends
        self._known = stand_ins.known
        self.assumed, self._places, self._bounds = assumed, places, bounds
        self._turns: Counter[tuple[CodeType, int]] = Counter()  # where a loop was kept going, and how often

    def place(self) -> str:
        """The line of the forward that is being followed."""
        return self._places.here()[1] or "the forward"

    def printed(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """A tensor as text; a whole number that is known may be part of a name."""
        tensor = args[0]
        whole = not (tensor.dtype.is_floating_point or tensor.dtype.is_complex)
        if tensor.dim() == 0 and whole and self._depends([tensor]):
            found = self.value(func, args, kwargs)
            if isinstance(found, str):
                return found
        return formatted(func, *args, **kwargs)

    def number_of(self, value: Any) -> int | None:
        """A number or a truth value, if it is known without data."""
        with torch._C.DisableTorchFunction():
            if isinstance(value, Tensor) and self._depends([value]):
                found = self.value(Tensor.item, (value,), {})
                return None if found is UNKNOWN else int(found)
            return int(value)

    def value(self, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The values that the forward asks for, where they rest on known ones alone."""
        meta = self._stand_ins.to_meta(args), self._stand_ins.to_meta(kwargs)
        asked = [*map(self._tape.nodes, meta)]
        if self._known.chosen(nodes_in(asked)) and (frame := asking()) is not None and ends_a_loop(frame):
            return self._going_on(frame, args)
        found = self._known.result(func, *asked)
        if found is UNKNOWN and self._of_whole_numbers(args) and (frame := asking()) is not None:
            return self._going_on(frame, args) if ends_a_loop(frame) else found
        return found

    def _of_whole_numbers(self, args: tuple[Any, ...]) -> bool:
        """Whether what is asked for rests on whole numbers alone, as a token does, not on a measure."""
        asked = [self._tape.node(self._stand_ins.of(a)) for a in args[:1] if isinstance(a, Tensor)]
        whole, seen = False, set(asked)
        while asked:
            node = asked.pop()
            dtype = node.meta.get("dtype")
            if dtype is torch.bool:
                asked += [n for n in node.all_input_nodes if n not in seen]
                seen.update(node.all_input_nodes)
            elif dtype is None or dtype.is_floating_point or dtype.is_complex:
                return False
            else:
                whole = True
        return whole

    def _going_on(self, frame: FrameType, args: tuple[Any, ...]) -> Any:
        """What keeps a loop going that has an end besides: choices taken in turn say which rows go where, not when a
        sequence is over.
        """
        on = goes_on(frame)
        number = not args or args[0].dtype is not torch.bool  # such as a token that is compared with the last
        if on is None or (number and differs(frame) is not on):
            return UNKNOWN
        words = f"a loop that data may end goes on to its last turn ({os.path.basename(self.place())})"
        if words not in self.assumed:
            self.assumed.append(words)
        self._end_of_patience()
        return _NO_NUMBER if number else on

    def healthy(self, name: str, args: tuple[Any, ...]) -> Any:
        """What a healthy run answers to a question that only checks or reports."""
        nodes = [self._tape.node(self._stand_ins.of(a)) for a in args if isinstance(a, Tensor)]
        answer, words = healthy_answer(
            name, nodes[0] if nodes else None, nodes[1] if len(nodes) > 1 else None
        )
        if words and words not in self.assumed:
            self.assumed.append(words)
        if isinstance(answer, bool):
            self._end_of_patience()
        return answer

    def _end_of_patience(self) -> None:
        """A loop that only a sick run would leave has no last turn here."""
        frame = asking()
        if frame is None:
            return
        self._turns[place := (frame.f_code, frame.f_lineno)] += 1
        if self._turns[place] > _MOST_TURNS and in_while(frame):
            raise Signal(
                TraceError(
                    f"the loop at {self.place()} would go on for ever: a healthy run gives the same answer there each "
                    f"turn, and {_MOST_TURNS} turns were followed. Give it an end that does not hang on the data, such "
                    "as a number of turns"
                )
            )

    def bound(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What bounds answer where nothing else does; :data:`UNKNOWN` where there are none."""
        return self._bounds.answer(name, args, kwargs) if self._bounds is not None else UNKNOWN

    def with_bounds(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call | None:
        """A call that chooses entries by what is not known, as if it chose all of them; None if it is no such call."""
        if name in ("__getitem__", "__setitem__") and len(args) > 1:
            masks = self._bounds.masks(args[1]) if self._bounds is not None else put_back(args[1])
            if masks:
                all_of = {id(m): torch.ones(m.shape, dtype=torch.bool, device="cpu") for m in masks}
                known = {id(t): self._known.value(self._tape.node(t)) for t in tensors_of(args[1:], kwargs)}
                known = {key: v for key, v in known.items() if v is not UNKNOWN}
                return shaped_by_values(func, name, args, kwargs, all_of | known, self._known_constant)
        if self._bounds is None:
            return None
        found = self._bounds.selected(name, args, kwargs)
        return (args, kwargs, found) if found is not UNKNOWN else None

    def with_values(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call | None:
        """A call that has no result on shapes alone, with the values that are known; None if these do not help."""
        if name == "__getitem__" and (again := self._shaped(func, name, args, kwargs, args[1:])) is not None:
            return again  # a place in a weight: its number suffices
        found = self._known.result(
            func, self._tape.nodes(args), self._tape.nodes(kwargs), writes=in_place(name)
        )
        if found is not UNKNOWN:
            return args, kwargs, on_meta(found)
        return self._shaped(func, name, args, kwargs, args)

    def _shaped(
        self,
        func: Callable[..., Any],
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        asked: tuple[Any, ...],
    ) -> Call | None:
        """A call whose result's shape hangs on what is known of the tensors ``asked`` for."""
        values = {id(t): self._known.value(self._tape.node(t)) for t in tensors_of(asked, kwargs)}
        values = {key: v for key, v in values.items() if v is not UNKNOWN}
        return shaped_by_values(func, name, args, kwargs, values, self._known_constant)

    def _known_constant(self, value: Tensor) -> Tensor:
        return self._stand_ins.of(self._stand_ins.made(value))

    def size(self, value: Any) -> Any:
        """A whole number that the forward computed as a constant tensor, as a number."""
        if isinstance(value, (tuple, list)):
            return type(value)(map(self.size, value))
        whole = isinstance(value, Tensor) and value.dim() == 0 and not value.dtype.is_floating_point
        return int(value) if whole and not self._depends([value]) else value
