"""Models in processes of their own, stopped at a limit of time or memory."""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, Any

from sed_torch.errors import MissingDependencyError
from sed_torch.ranking.packing import Packed
from sed_torch.ranking.rows import RankRow
from sed_torch.ranking.worker import Item, Options

__all__ = ["ChildPool", "isolated"]

_START_LIMIT = 300.0  # seconds for imports, on the slowest of disks
_POLL = 0.05


class _Stopped(Exception):  # noqa: N818 - not an error: an answer that did not come
    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class _GoneError(Exception):
    """The child had left for want of work before it was asked."""


class _Child:
    """A process that scores models one after the other."""

    def __init__(self) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        # A session of its own: Ctrl-C is for the parent, which then stops its children.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sed_torch.ranking.child"],
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
                self._answers.put(line)
        self._answers.put(None)

    def ask(self, request: dict[str, Any], options: Options) -> RankRow:
        """The row, or :class:`_Stopped`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise _GoneError from None
        memory = _Memory(self._process.pid, options.memory_limit)
        deadline, started = time.monotonic() + _START_LIMIT, False
        while True:
            try:
                answer = self._answers.get(timeout=_POLL)
            except queue.Empty:
                memory.check()
                if time.monotonic() > deadline:
                    raise _Stopped("timeout", _too_long(options, started)) from None
                continue
            if answer is None:
                if not started and self._process.wait() == 0:
                    raise _GoneError
                raise self._crash()
            data = json.loads(answer)
            if "row" in data:
                return RankRow.from_dict(data["row"])
            started = True
            limit = options.time_limit
            deadline = float("inf") if limit is None else time.monotonic() + limit

    def _crash(self) -> _Stopped:
        code = self._process.wait()
        how = f"exit status {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-code).name
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        told = next((line for line in lines if line.startswith("Fatal")), lines[-1] if lines else "")
        return _Stopped("crashed", f"its process died ({how}){': ' + told if told else ''}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(timeout=5)
        for pipe in (self._process.stdin, self._errors):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _too_long(options: Options, started: bool) -> str:
    if not started:
        return f"stopped: its process was not ready after {_START_LIMIT:g} s"
    return f"stopped after {options.time_limit:g} s, the time limit"


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
                raise _Stopped(
                    "memory",
                    f"stopped at {used / 2**30:.2f} GiB resident, limit {self._limit / 2**30:.2f} GiB",
                )


class ChildPool:
    """A child for each thread that asks; a child that had to be stopped is replaced by the next request."""

    def __init__(self) -> None:
        self._children: dict[int, _Child] = {}
        self._lock = threading.Lock()
        self._closed = False

    def __call__(self, item: Item, options: Options) -> RankRow:
        """As :func:`~sed_torch.ranking.worker.score_item`, within the limits."""
        start = time.perf_counter()
        request = _request(item, options)
        try:
            try:
                return self._child().ask(request, options)
            except _GoneError:
                self._drop()
                return self._child().ask(request, options)
        except _GoneError:
            self._drop()
            return RankRow(name=item.name, status="crashed", reason="its process died before it was asked")
        except _Stopped as stop:
            self._drop()
            return RankRow(
                name=item.name,
                status=stop.status,  # type: ignore[arg-type]
                reason=stop.reason,
                seconds=time.perf_counter() - start,
            )

    def _child(self) -> _Child:
        me = threading.get_ident()
        with self._lock:
            if self._closed:
                raise _Stopped("crashed", "the run was stopped")
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


def _request(item: Item, options: Options) -> dict[str, Any]:
    request = {"name": item.name, "input_size": options.input_size, "cache": options.cache}
    if isinstance(item.target, str):
        return {**request, "ref": item.target}
    packed = item.target if isinstance(item.target, Packed) else Packed.of(item.target)
    data = None if packed.data is None else base64.b64encode(packed.data).decode()
    return {**request, "object": data, "problem": packed.problem}


_pool: ChildPool | None = None
_pool_lock = threading.Lock()


def isolated(item: Item, options: Options) -> RankRow:
    """Score in a child of this worker process; for workers that others start, such as those of a cluster."""
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ChildPool()
            atexit.register(_pool.close)
    return _pool(item, options)
