"""What goes up through a forward when it cannot be followed further.

A forward may catch exceptions: to try a ``view`` before a ``reshape``, or to go on whatever happens. What it would
catch in a run (shapes that do not fit) it catches here too. That *we* cannot go on is no such exception: it is not
an ``Exception``, and the recorder remembers it, so that a bare ``except:`` does not lose it either.
"""

from __future__ import annotations

from sed_torch.errors import TraceError

__all__ = ["LostValueError", "Signal", "explained", "with_explanation"]

_EXPLANATION = "_sed_torch_explanation"


class Signal(BaseException):
    """Carries an error of ours past the ``except Exception`` of a forward."""

    def __init__(self, error: TraceError) -> None:
        super().__init__(str(error))
        self.error = error


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
