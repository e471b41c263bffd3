"""A CSV file of runs that survives a kill: whole lines appended and synced, a torn last line overlooked."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sed_torch._files import write_text
from sed_torch.errors import DataError
from sed_torch.evidence.reading import decode, read_bytes
from sed_torch.training.rows import RunRow, cells, columns, proxies_of, row_of

__all__ = ["RunFile", "is_runs_file", "read_rows"]


def is_runs_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins with the header of runs. False for one that cannot be read."""
    try:
        with open(path, encoding="utf-8") as f:
            return proxies_of(f.readline(1 << 16).rstrip("\r\n").split(",")) is not None
    except (OSError, UnicodeDecodeError):
        return False


def read_rows(path: str | os.PathLike[str]) -> tuple[tuple[str, ...], list[RunRow]]:
    """The proxies that a file has columns for, and its rows in order. A last line without its end does not count.

    Raises:
        DataError: missing, no file of runs, a line that cannot be read, or an epoch that is there twice.
    """
    file = Path(path)
    text = decode(file, read_bytes(file))
    lines = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
    header = next(lines, [])
    proxies = proxies_of(header)
    if proxies is None:
        raise DataError(
            f"{file}: not a file of 'sed-torch train-counterparts': expected the columns {', '.join(columns(()))}, "
            f"proxies before 'missing'; found {', '.join(header[:8]) or 'nothing'}"
        )
    seen: dict[tuple[str, int, int], int] = {}
    rows: list[RunRow] = []
    for number, values in enumerate(lines, 2):
        where = f"{file}, line {number}"
        row = row_of(header, values, where)
        key = (row.network, row.seed, row.epoch)
        if key in seen:
            raise DataError(
                f"{where}: {row.network} seed {row.seed} epoch {row.epoch} is on line {seen[key]} already"
            )
        seen[key] = number
        rows.append(row)
    return proxies, rows


class RunFile:
    """The file of a run, held by one process at a time.

    Args:
        path: the file.
        proxies: columns it is to have.
    """

    def __init__(self, path: str | os.PathLike[str], proxies: Sequence[str]) -> None:
        self.path = Path(path)
        self._header = columns(proxies)
        self._proxies = tuple(proxies)
        self._handle = -1

    @contextlib.contextmanager
    def held(self, *, resume: bool, same: RunRow) -> Iterator[list[RunRow]]:
        """Open for appending; gives the rows of the runs that are done, and only they stay in the file.

        A run that was cut off has no checkpoint and begins anew, so its epochs go; so do runs that failed or ran
        out of time, which another attempt may mend.

        Args:
            resume: False to begin with an empty file.
            same: a row with the space, dataset and recipe that rows of the file must have.

        Raises:
            DataError: the file is of something else, or another process writes to it.
        """
        old = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._lock(old)
            kept = self._kept(same) if resume and os.path.getsize(self.path) else []
            write_text(self.path, self._text([self._header, *(cells(r, self._header) for r in kept)]))
            self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            self._lock(self._handle)
        finally:
            os.close(old)
        try:
            yield kept
        finally:
            os.close(self._handle)
            self._handle = -1

    def append(self, rows: Iterable[RunRow]) -> None:
        """Whole lines in one write, on the disk when this returns."""
        data = memoryview(self._text([cells(r, self._header) for r in rows]).encode())
        while data:  # one write, but for a full disk or a signal
            data = data[os.write(self._handle, data) :]
        os.fsync(self._handle)

    def _kept(self, same: RunRow) -> list[RunRow]:
        proxies, rows = read_rows(self.path) if _has_line(self.path) else (self._proxies, [])
        if proxies != self._proxies:
            raise self._other("proxies", " ".join(proxies), " ".join(self._proxies))
        for row in rows:
            for name in ("space", "dataset", "recipe"):
                if getattr(row, name) != getattr(same, name):
                    raise self._other(name, getattr(row, name), getattr(same, name))
        done = {(r.network, r.seed) for r in rows if r.final and r.status not in ("failed", "timeout")}
        return [r for r in rows if (r.network, r.seed) in done]

    def _other(self, what: str, found: object, expected: object) -> DataError:
        return DataError(
            f"{self.path} holds runs with another {what} ({found}; this run: {expected}): name another file, or "
            "start anew with --fresh (resume=False)"
        )

    def _lock(self, handle: int) -> None:
        try:
            import fcntl
        except ModuleNotFoundError:  # Windows
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{self.path}: another process is writing to it; wait, or name another file"
            ) from None
        except OSError:
            return  # a file system without locks

    @staticmethod
    def _text(lines: Iterable[Sequence[str]]) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(lines)
        return buffer.getvalue()


def _has_line(path: Path) -> bool:
    """Whether there is more than a torn header."""
    with path.open("rb") as f:
        return f.readline(1 << 16).endswith(b"\n")
