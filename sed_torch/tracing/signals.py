"""What goes up through a forward when it cannot be followed further.

A forward may catch exceptions: to try a ``view`` before a ``reshape``, or to go on whatever happens. What it would
catch in a run (shapes that do not fit) it catches here too. That *we* cannot go on is no such exception: it is not
an ``Exception``, and the recorder remembers it, so that a bare ``except:`` does not lose it either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sed_torch.errors import TraceError

__all__ = ["LostValueError", "Signal", "explained", "signals_noticed", "with_explanation"]

_EXPLANATION = "_sed_torch_explanation"


class Signal(BaseException):
    """Carries an error of ours past the ``except Exception`` of a forward."""

    def __init__(self, error: TraceError) -> None:
        super().__init__(str(error))
        self.error = error
        noticed = _NOTICED.get()
        if noticed is not None:
            noticed.append(self)

    def settled(self) -> None:
        """It has been dealt with: whoever caught it knew what it was."""
        noticed = _NOTICED.get()
        if noticed is not None and self in noticed:
            noticed.remove(self)


_NOTICED: ContextVar[list[Signal] | None] = ContextVar("noticed", default=None)


@contextmanager
def signals_noticed() -> Iterator[list[Signal]]:
    """All signals that are made meanwhile and not settled, also those that a bare ``except:`` of the forward caught."""
    noticed: list[Signal] = []
    token = _NOTICED.set(noticed)
    try:
        yield noticed
    finally:
        _NOTICED.reset(token)


class LostValueError(TraceError):
    """A tensor appeared that no recorded call produced."""


def with_explanation(error: Exception, explanation: TraceError) -> Exception:
    """The exception that a run would raise as well, knowing what to say when it leaves the forward."""
    setattr(error, _EXPLANATION, explanation)
    return error


def explained(error: BaseException) -> TraceError | None:
    """What :func:`with_explanation` attached."""
    found = getattr(error, _EXPLANATION, None)
    return found if isinstance(found, TraceError) else None
