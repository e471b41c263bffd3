"""Failures planted at a place, and jobs run in threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Fails:
    """The n-th call raises ``error``; others go through. Counts all calls."""

    def __init__(self, inner: Callable[..., Any], at: int, error: BaseException | None) -> None:
        self.inner, self.at, self.error, self.calls = inner, at, error, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.error is not None and self.calls == self.at:
            raise self.error
        return self.inner(*args, **kwargs)


def in_threads(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Results of all jobs, started at once; the first exception is raised."""
    start = threading.Barrier(len(jobs))
    results: list[Any] = [None] * len(jobs)

    def run(i: int) -> None:
        start.wait()
        try:
            results[i] = jobs[i]()
        except BaseException as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(jobs))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for r in results:
        if isinstance(r, BaseException):
            raise r
    return results
