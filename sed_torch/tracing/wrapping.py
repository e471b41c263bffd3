"""Tensors that a forward wraps anew: ``Variable(x)`` and ``nn.Parameter(x)`` cut what they wrap off the gradient.

Neither is a call that a recorder sees. While one runs, both are followed as the ``detach`` that they amount to.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.variable import VariableMeta

__all__ = ["Following", "wraps_followed"]


class Following(Protocol):
    """A recorder, as far as it is asked here."""

    def holds(self, tensor: Tensor) -> bool:
        """Whether a recorded call made a tensor."""

    def same(self, tensor: Tensor, as_this: Tensor) -> None:
        """From now on ``tensor`` holds what another one holds."""


_lock = threading.Lock()
_following = 0
_parameter: Any = nn.Parameter.__new__


@contextmanager
def wraps_followed(mode: type[Any]) -> Iterator[None]:
    """While a recorder (``mode``) runs in a thread, tensors that are wrapped there are followed."""
    global _following

    def recorder() -> Following | None:
        stack: list[Any] = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        return next((m for m in reversed(stack) if isinstance(m, mode)), None)

    def variable(cls: Any, data: Any = None, *args: Any, **kwargs: Any) -> Any:
        ours = recorder() if isinstance(data, Tensor) else None
        return (
            data.detach()
            if ours is not None and ours.holds(data)
            else type.__call__(cls, data, *args, **kwargs)
        )

    def parameter(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        made = _parameter(cls, data, requires_grad)
        ours = recorder() if isinstance(data, Tensor) else None
        if ours is not None and ours.holds(data):
            ours.same(made, data.detach())
        return made

    with _lock:
        _following += 1
        if _following == 1:
            VariableMeta.__call__ = variable  # type: ignore[method-assign,assignment]
            nn.Parameter.__new__ = parameter  # type: ignore[method-assign]
    try:
        yield
    finally:
        with _lock:
            _following -= 1
            if _following == 0:
                del VariableMeta.__call__
                nn.Parameter.__new__ = _parameter  # type: ignore[method-assign]
