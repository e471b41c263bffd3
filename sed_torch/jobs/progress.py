"""How far a run is, on stderr, for people."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

__all__ = ["Progress", "reporting"]

Result = TypeVar("Result")

Progress = Callable[[int, int, Result], None]
"""Called with (results so far, results in all, the last result)."""


@contextlib.contextmanager
def reporting(
    progress: bool | Progress[Result] | None,
    total: int,
    done: int,
    *,
    what: str,
    name: Callable[[Result], str],
) -> Iterator[Callable[[Result], None]]:
    """A function to call with each result.

    Args:
        progress: None for a bar where stderr is a terminal; False: quiet; True: a bar; or a function.
        total: results in all.
        done: results that were there before.
        what: is done, such as ``"ranking"``.
        name: what the bar says of the last result.
    """
    if callable(progress):
        yield _counting(progress, total, done)
    elif progress or (progress is None and sys.stderr.isatty()):
        with _bar(total, done, what) as advance:
            yield lambda result: advance(name(result))
    else:
        yield lambda result: None


def _counting(report: Progress[Result], total: int, done: int) -> Callable[[Result], None]:
    count = done

    def advance(result: Result) -> None:
        nonlocal count
        count += 1
        report(count, total, result)

    return advance


@contextlib.contextmanager
def _bar(total: int, done: int, what: str) -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(what, markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done, last="")
        yield lambda name: bar.update(task, advance=1, last=name)
