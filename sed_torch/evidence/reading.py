"""Files of figures that others made, read as text and with limits: CSV and JSON, plain or gzipped.

Nothing pickled is ever loaded, and a compressed file may not grow beyond ``max_bytes``. Whatever is wrong with a file
is a :class:`~sed_torch.errors.DataError` that names it and the line.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sed_torch.errors import DataError
from sed_torch.tables import listed

__all__ = [
    "MAX_BYTES",
    "Table",
    "brief",
    "decode",
    "json_number",
    "left_out_from",
    "left_out_to",
    "read_bytes",
    "read_json",
    "read_table",
    "some",
]

FloatArray = npt.NDArray[np.float64]

MAX_BYTES = 1 << 30
"""Largest size of a file once decompressed, in bytes (1 GiB)."""

_MAGIC = (
    (b"PK\x03\x04", "a zip archive (a torch checkpoint is one, with a pickle inside)"),
    (b"BZh", "a bzip2 file (NATS-Bench's pickles come so compressed)"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
)
_PICKLE_ADVICE = (
    "a pickle runs code of the file's author when it is loaded, so it is never loaded here. "
    "Use the benchmark's CSV or NASLib's zc_*.json instead"
)


def read_bytes(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> bytes:
    """A file's content, gunzipped where it is gzip, at most ``max_bytes`` long.

    Raises:
        DataError: missing, unreadable, truncated, too large, a pickle or another binary format.
    """
    file = Path(path)
    try:
        with file.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(file, "rb") if compressed else file.open("rb") as stream:
            data = _read_limited(stream, file, max_bytes)
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file") from error
    except EOFError as error:
        raise DataError(
            f"{file}: the gzip stream ends too early; the file is truncated, get it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file}: not a sound gzip file ({error}); get it again") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    _check_format(file, data)
    return data


def _read_limited(stream: Any, file: Path, max_bytes: int) -> bytes:
    data = bytearray()
    while piece := stream.read(1 << 20):
        data += piece
        if len(data) > max_bytes:
            raise DataError(
                f"{file}: more than {max_bytes:,} bytes once decompressed, which no file expected here is; "
                "pass max_bytes= if it is meant"
            )
    return bytes(data)


def _check_format(file: Path, data: bytes) -> None:
    suffixes = {s.lower() for s in file.suffixes}
    if suffixes & {".pickle", ".pkl", ".pbz2", ".pth", ".pt"} or (
        data[:1] == b"\x80" and data[1:2] <= b"\x05"
    ):
        raise DataError(f"{file}: {_PICKLE_ADVICE}")
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise DataError(f"{file}: expected CSV or JSON text, found {what}")


def decode(file: Path, data: bytes) -> str:
    """UTF-8 text, or a DataError naming the line where it is not."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}, line {line}: expected UTF-8 text, found binary data") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{file}, line {line}: expected text, found a NUL byte")
    return text


@dataclass(frozen=True)
class Table:
    """A CSV file as text cells.

    Attributes:
        path: where it was read.
        columns: names in the first line, in order.
        rows: one list of cells a row, each as long as ``columns``.
        lines: line number of each row in the file, from 1.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def require(self, *names: str) -> None:
        """Raise a DataError unless all columns are there."""
        absent = [n for n in names if n not in self.columns]
        if absent:
            raise DataError(
                f"{self.path}, line 1: expected the column{'s' * (len(absent) > 1)} {', '.join(absent)}; "
                f"found {some(self.columns)}"
            )

    def text(self, name: str) -> tuple[str, ...]:
        """A column as it is spelled."""
        self.require(name)
        i = self.columns.index(name)
        return tuple(row[i] for row in self.rows)

    def numbers(self, name: str, *, finite: bool = False) -> FloatArray:
        """A column as floats, NaN where a cell is empty; ``finite`` refuses a spelled-out nan or inf."""
        values = [
            self._number(c, name, line, finite) for c, line in zip(self.text(name), self.lines, strict=True)
        ]
        return np.asarray(values, dtype=np.float64)

    def _number(self, cell: str, name: str, line: int, finite: bool) -> float:
        if not cell.strip():
            return math.nan
        try:
            value = float(cell)
        except ValueError:
            value = None
        if value is None or (finite and not math.isfinite(value)):
            what = "a finite number" if finite else "a number"
            raise DataError(f"{self.path}, line {line}, column {name!r}: expected {what}, found {cell!r}")
        return value


def read_table(
    path: str | os.PathLike[str], *, required: Sequence[str] = (), max_bytes: int = MAX_BYTES
) -> Table:
    """A CSV file (or gzipped CSV) with a header line; blank lines are skipped.

    Raises:
        DataError: as :func:`read_bytes`; no header, no rows, a column named twice or missing from
            ``required``, a row with more or fewer cells than the header, or broken quoting.
    """
    file = Path(path)
    text = decode(file, read_bytes(file, max_bytes=max_bytes))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    columns: tuple[str, ...] = ()
    try:
        for cells in reader:
            if not cells:
                continue
            if not columns:
                columns = tuple(c.strip() for c in cells)
                continue
            if len(cells) != len(columns):
                raise DataError(
                    f"{file}, line {reader.line_num}: expected {len(columns)} cells as in the header, "
                    f"found {len(cells)}; the file may be truncated"
                )
            rows.append(tuple(cells))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: not sound CSV: {error}") from error
    _check_columns(file, columns, rows)
    table = Table(file, columns, tuple(rows), tuple(lines))
    table.require(*required)
    return table


def _check_columns(file: Path, columns: tuple[str, ...], rows: Sequence[object]) -> None:
    if not columns:
        raise DataError(f"{file}: expected a CSV file with a header line, found an empty file")
    twice = sorted({c for c in columns if columns.count(c) > 1})
    if twice:
        raise DataError(f"{file}, line 1: the column {twice[0]!r} is named twice")
    if not rows:
        raise DataError(f"{file}: a header and no rows")


def some(values: Iterable[str], limit: int = 8) -> str:
    """The first of several names, for a message."""
    shown = [v if len(v) <= 40 else v[:37] + "..." for v in values]
    return listed(shown, limit)


def read_json(file: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """A JSON file (or gzipped JSON) with one object.

    Raises:
        DataError: as :func:`read_bytes`, broken JSON (with its line), or anything but an object with content.
    """
    text = decode(file, read_bytes(file, max_bytes=max_bytes))
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file}, line {error.lineno}: not sound JSON ({error.msg}); the file may be truncated"
        ) from error
    except RecursionError as error:
        raise DataError(f"{file}: JSON nested too deeply to be a benchmark") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise DataError(f"{file}: not sound JSON ({error})") from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"{file}: expected {{dataset: {{arch: ...}}}}, found {brief(content)}")
    return content


def json_number(value: Any, where: str, *, finite: bool = False) -> float:
    """A number of a JSON file, NaN for null; ``finite`` refuses null, nan and inf."""
    if value is None and not finite:
        return math.nan
    sound = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        number = float(value) if sound else math.nan
    except OverflowError:
        number = math.nan
        sound = False
    if not sound or (finite and not math.isfinite(number)):
        raise DataError(f"{where}: expected a {'finite ' if finite else ''}number, found {brief(value)}")
    return number


def brief(value: Any) -> str:
    """A value for a message, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def left_out_to(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """(name, reason) of what was left out, as JSON has it."""
    return [{"name": name, "reason": reason} for name, reason in pairs]


def left_out_from(rows: Iterable[Any]) -> list[list[Any]]:
    """Inverse of :func:`left_out_to`; what is no such row is left for whoever checks it."""
    return [[row.get("name"), row.get("reason")] if isinstance(row, Mapping) else row for row in rows]
