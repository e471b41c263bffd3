"""What an ``autograd.Function`` of the model's own keeps for its backward pass, as its forward says.

It says so by ``ctx.save_for_backward(…)`` or by setting attributes of ``ctx``, which no recorder of calls sees. While
one runs, it is told of the tensors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.utils import _pytree as tree

__all__ = ["functions_followed"]

_lock = threading.Lock()
_following = 0
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

    def setter(ctx: FunctionCtx, name: str, value: Any) -> None:
        super(FunctionCtx, ctx).__setattr__(name, value)
        ours = recorder() if name not in _SAY_OTHERWISE else None
        if ours is not None:
            ours.kept([t for t in tree.tree_leaves(value) if isinstance(t, Tensor)])

    with _lock:
        _following += 1
        if _following == 1:
            FunctionCtx.__setattr__ = setter  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        with _lock:
            _following -= 1
            if _following == 0:
                del FunctionCtx.__setattr__
