"""Tasks in processes of their own, stopped at a limit of time or memory."""

from __future__ import annotations

import atexit
import base64
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from typing import IO, Any, cast

from sed_torch.errors import MissingDependencyError
from sed_torch.jobs.packing import dumps
from sed_torch.jobs.work import Limits, Result, Stop, Task, Work

__all__ = ["ChildPool", "isolated"]

_START_LIMIT = 300.0  # seconds for imports, on the slowest of disks
_POLL = 0.05


class _Stopped(Exception):  # noqa: N818 - not an error: an answer that did not come
    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.stop = stop


class _GoneError(Exception):
    """The child had waited in vain for long enough to exit by itself, and so it never read the request."""


class _Child:
    """A process that does tasks one after the other."""

    def __init__(self) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        # A session of its own: Ctrl-C is for the parent, which then stops its children.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sed_torch.jobs.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=env,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._answers: queue.Queue[str | None] = queue.Queue()
        assert self._process.stdout is not None  # it is a pipe
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _read(self, pipe: IO[str]) -> None:
        with pipe, contextlib.suppress(ValueError, OSError):
            for line in pipe:
                if line.endswith("\n"):  # a process that dies may leave half of one
                    self._answers.put(line)
        self._answers.put(None)

    def ask(self, request: str, limits: Limits) -> Any:
        """The result, or :class:`_Stopped`; an exception of the work is raised here."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except OSError:
            raise _GoneError from None
        memory = _Memory(self._process.pid, limits.memory)
        deadline, started = time.monotonic() + _START_LIMIT, False
        while True:
            try:
                answer = self._answers.get(timeout=_POLL)
            except queue.Empty:
                memory.check()
                if time.monotonic() > deadline:
                    raise _Stopped(Stop("timeout", _too_long(limits, started))) from None
                continue
            if answer is None:
                if not started and self._process.wait() == 0:
                    raise _GoneError
                raise self._crash()
            kind, *value = pickle.loads(base64.b64decode(answer))
            if kind == "done":
                return value[0]
            if kind == "failed":
                raise value[0]
            started = True
            deadline = float("inf") if limits.seconds is None else time.monotonic() + limits.seconds

    def _crash(self) -> _Stopped:
        code = self._process.wait()
        how = f"exit status {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-code).name
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        told = next((line for line in lines if line.startswith("Fatal")), lines[-1] if lines else "")
        return _Stopped(Stop("crashed", f"its process died ({how}){': ' + told if told else ''}"))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(timeout=5)
        for pipe in (self._process.stdin, self._errors):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _too_long(limits: Limits, started: bool) -> str:
    if not started:
        return f"stopped: its process was not ready after {_START_LIMIT:g} s"
    return f"stopped after {limits.seconds:g} s, the time limit"


class _Memory:
    """Resident memory of a process against a limit."""

    def __init__(self, pid: int, limit: int | None) -> None:
        self._limit = limit
        if limit is None:
            return
        try:
            import psutil
        except ModuleNotFoundError:
            raise MissingDependencyError("psutil", "rank", "memory_limit") from None
        self._gone = psutil.Error
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(pid)

    def check(self) -> None:
        if self._limit is None:
            return
        with contextlib.suppress(self._gone, AttributeError):
            used = self._process.memory_info().rss
            if used > self._limit:
                of = f"limit {self._limit / 2**30:.2f} GiB"
                raise _Stopped(Stop("memory", f"stopped at {used / 2**30:.2f} GiB resident, {of}"))


class ChildPool:
    """A child for each thread that asks; a child that had to be stopped is replaced by the next request."""

    def __init__(self) -> None:
        self._children: dict[int, _Child] = {}
        self._lock = threading.Lock()
        self._closed = False

    def do(self, work: Work[Task, Result], task: Task, limits: Limits) -> Result:
        """The result of the work, within the limits; ``work.stopped`` makes it where the child had to be stopped."""
        start = time.perf_counter()
        request = base64.b64encode(dumps((work, work.pack(task)))).decode()
        try:
            try:
                result = self._child().ask(request, limits)
            except _GoneError:
                self._drop()
                result = self._child().ask(request, limits)
        except _GoneError:
            self._drop()
            return work.stopped(task, Stop("crashed", "its process died before it was asked"))
        except _Stopped as stopped:
            self._drop()
            return work.stopped(task, replace(stopped.stop, seconds=time.perf_counter() - start))
        return cast("Result", result)

    def _child(self) -> _Child:
        me = threading.get_ident()
        with self._lock:
            if self._closed:
                raise _Stopped(Stop("crashed", "the run was stopped"))
            child = self._children.get(me)
            if child is not None and not child.alive:
                self._children.pop(me).close()
                child = None
            if child is None:
                child = self._children[me] = _Child()
            return child

    def _drop(self) -> None:
        with self._lock:
            child = self._children.pop(threading.get_ident(), None)
        if child is not None:
            child.close()

    def close(self) -> None:
        """Stop all children, in the middle of what they do."""
        with self._lock:
            self._closed = True
            children = list(self._children.values())
            self._children.clear()
        for child in children:
            child.close()


_pool: ChildPool | None = None
_pool_lock = threading.Lock()


def isolated(work: Work[Task, Result], task: Task, limits: Limits) -> Result:
    """Do it in a child of this worker process; for workers that others start, such as those of a cluster."""
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ChildPool()
            atexit.register(_pool.close)
    return _pool.do(work, task, limits)
