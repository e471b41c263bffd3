"""How far a ranking is, on stderr, for people."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from sed_torch.ranking.rows import RankRow

__all__ = ["Report", "reporting"]

Report = Callable[[int, int, RankRow], None]
"""Called with (rows done, rows in all, the last row)."""


@contextlib.contextmanager
def reporting(progress: bool | Report | None, total: int, done: int) -> Iterator[Callable[[RankRow], None]]:
    """A function to call with each row. None: a bar where stderr is a terminal; False: quiet; True: a bar."""
    if callable(progress):
        yield _counting(progress, total, done)
    elif progress or (progress is None and sys.stderr.isatty()):
        with _bar(total, done) as advance:
            yield advance
    else:
        yield lambda row: None


def _counting(report: Report, total: int, done: int) -> Callable[[RankRow], None]:
    count = done

    def advance(row: RankRow) -> None:
        nonlocal count
        count += 1
        report(count, total, row)

    return advance


@contextlib.contextmanager
def _bar(total: int, done: int) -> Iterator[Callable[[RankRow], None]]:
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
        TextColumn("ranking"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("ranking", total=total, completed=done, last="")
        yield lambda row: bar.update(task, advance=1, last=row.name)
