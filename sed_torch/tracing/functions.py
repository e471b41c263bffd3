"""What an ``autograd.Function`` of the model's own keeps for its backward pass, as its forward says.

It says so by ``ctx.save_for_backward(…)`` or by setting attributes of ``ctx``, which no recorder of calls sees. While
one runs, it is told of the tensors.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils import _pytree as tree

__all__ = ["functions_followed"]

_lock = threading.Lock()
_following = 0
_running: Counter[Any] = Counter()
_apply: Any = vars(Function)["apply"]
_SAY_OTHERWISE = frozenset(["dirty_tensors", "non_differentiable", "saved_for_forward"])
"""Attributes of ``ctx`` by which torch is told of tensors that are not kept for the backward pass."""


class Keeping(Protocol):
    """A recorder, as far as it is told here."""

    def kept(self, tensors: list[Tensor]) -> None:
        """A function of the model's own keeps these tensors."""


@contextmanager
def functions_followed(mode: type[Any]) -> Iterator[None]:
    """While a recorder (``mode``) runs in a thread, it is told what the functions called there keep."""
    global _following

    def recorder() -> Keeping | None:
        stack: list[Any] = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        return next((m for m in reversed(stack) if isinstance(m, mode)), None)

    def setter(ctx: Any, name: str, value: Any) -> None:
        object.__setattr__(ctx, name, value)
        ours = recorder() if name not in _SAY_OTHERWISE else None
        if ours is not None:
            ours.kept([t for t in tree.tree_leaves(value) if isinstance(t, Tensor)])

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if recorder() is None:
            return _apply.__get__(None, cls)(*args, **kwargs)
        with _overheard(cls._backward_cls, setter):
            return _apply.__get__(None, cls)(*args, **kwargs)

    with _lock:
        _following += 1
        if _following == 1:
            Function.apply = classmethod(apply)
    try:
        yield
    finally:
        with _lock:
            _following -= 1
            if _following == 0:
                Function.apply = _apply


@contextmanager
def _overheard(kind: Any, setter: Any) -> Iterator[None]:
    """While a function runs, attributes of its ``ctx``, whose class is its own, are set by ``setter``.

    (That of the class which all have in common is not touched: Python then goes through each class derived from it.)
    """
    with _lock:
        _running[kind] += 1
        if _running[kind] == 1:
            kind.__setattr__ = setter
    try:
        yield
    finally:
        with _lock:
            _running[kind] -= 1
            if not _running[kind]:
                del kind.__setattr__, _running[kind]
