"""The process in which tasks are done that may have to be stopped: requests on stdin, answers on stdout.

Run by :mod:`sed_torch.jobs.supervision` as ``python -m sed_torch.jobs.child``. One line a request and one or two an
answer, each a pickle in base64, read only by the process that started this one and by this one: a request is (work,
task); the answers are ``("started",)`` when the clock may run, then ``("done", result)`` or ``("failed", error)``.
"""

from __future__ import annotations

import base64
import faulthandler
import os
import pickle
import sys
import threading
import time
from dataclasses import dataclass
from typing import IO

from sed_torch.jobs.packing import dumps

_PATIENCE = float(os.environ.get("SED_TORCH_CHILD_IDLE_S", "60"))


@dataclass
class _Idle:
    """Since when there is nothing to do, on the monotonic clock; None while there is."""

    since: float | None = None


def main() -> None:
    """Serve until the parent closes the pipe, or is gone."""
    # What a model prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()
    idle = _Idle()
    threading.Thread(target=_watch, args=(os.getppid(), idle), daemon=True).start()
    for line in sys.stdin:
        idle.since = None
        work, task = pickle.loads(base64.b64decode(line))
        work.ready(task)
        _answer(answers, dumps(("started",)))
        try:
            answer = dumps(("done", work.do(task)))
        except Exception as error:  # that of the work; the parent raises it
            answer = _failure(error)
        _answer(answers, answer)
        idle.since = time.monotonic()


def _failure(error: Exception) -> bytes:
    try:
        return dumps(("failed", error))
    except Exception:  # errors may hold anything
        return dumps(("failed", RuntimeError(f"{type(error).__name__}: {error}")))


def _answer(answers: IO[str], answer: bytes) -> None:
    answers.write(base64.b64encode(answer).decode() + "\n")
    answers.flush()


def _watch(parent: int, idle: _Idle) -> None:
    """Leave when the parent is gone, and when a parent that lives on (a cluster's worker) asks no more."""
    while os.getppid() == parent:
        time.sleep(0.5)
        since = idle.since
        if since is not None and time.monotonic() - since > _PATIENCE:
            os._exit(0)
    os._exit(1)


if __name__ == "__main__":
    main()
