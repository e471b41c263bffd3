"""Who may trace at the same time: any number of recorders, or one ``torch.export``.

``torch.export`` replaces ``nn.Module.__call__`` for the whole process while it runs, so that a module called
from another thread would end up in its graph, or fail. Recorders patch nothing and do not disturb each other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["alone", "others_run", "together"]

_changed = threading.Condition()
_recorders = 0


@contextmanager
def together() -> Iterator[None]:
    """Run beside other recorders, while no export runs."""
    global _recorders
    with _changed:
        _recorders += 1
    try:
        yield
    finally:
        with _changed:
            _recorders -= 1
            _changed.notify_all()


@contextmanager
def alone() -> Iterator[None]:
    """Run while no recorder and no other export does; who comes meanwhile waits."""
    with _changed:
        _changed.wait_for(lambda: _recorders == 0)
        yield


def others_run() -> bool:
    """Threads other than this one, not counting helpers that may be killed at exit."""
    me = threading.current_thread()
    return any(t is not me and not t.daemon for t in threading.enumerate())
