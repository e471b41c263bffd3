"""Starting child processes in tests."""

from __future__ import annotations

import signal


def hears_ctrl_c() -> None:
    """For ``preexec_fn``: undo what a shell's background job inherits, ignoring SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
