"""Rows of plain values → text, Markdown, CSV, HTML and frames; and :class:`Tabular`, which gives every result these.

Knows nothing of what the rows mean. A result says what it shows in one method, ``view()``, and what it is in another,
``to_dict()``; whatever a person or a program reads of it is made here, so that a new form is written once.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sed_torch._plain import checked_schema, from_text, revived
from sed_torch.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = [
    "Grid",
    "Tabular",
    "View",
    "bytes_of",
    "cell",
    "count_of",
    "mebibytes",
    "quantity",
    "to_csv",
    "to_dataframe",
    "to_html",
    "to_markdown",
    "to_text",
    "wrapped",
]

Row = Mapping[str, Any]


def quantity(value: float | None) -> str:
    """4089184256 → ``4.09 G``; None → ``–``."""
    if value is None:
        return "–"
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.2f} {unit}"
    return f"{value:g}"


def mebibytes(size: float) -> str:
    """Bytes as a person reads them: ``11.5 KiB``, ``812.5 MiB``, ``13.42 GiB``."""
    if size == 0:
        return "0 B"
    if size < 2**20:
        return f"{size / 2**10:,.1f} KiB"
    return f"{size / 2**30:,.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


def bytes_of(memory: str | float) -> int:
    """``"24GB"``, ``"1.5GiB"``, ``"800M"`` or a number of bytes → bytes; units are powers of 1024, as for memory.

    Raises:
        InputError: for anything else, and for what is not more than 0.
    """
    size = 0.0
    if isinstance(memory, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]?)(?:i?b)?\s*", memory.lower())
        size = float(found[1]) * 1024 ** " kmgt".index(found[2] or " ") if found else 0.0
    elif isinstance(memory, int | float) and not isinstance(memory, bool) and math.isfinite(memory):
        size = float(memory)
    if size < 1:
        raise InputError(
            f"{memory!r} is no amount of memory; expected bytes, or a text such as '24GB' or '800M'"
        )
    return int(size)


_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}


def count_of(text: str | float) -> float:
    """``"1.5M"`` → 1,500,000; units are k, M, G (or B) and T, powers of 1000; a number is itself.

    Raises:
        InputError: for anything else, and for what is not a finite number above 0.
    """
    plain = str(text).lower().replace(",", "") if isinstance(text, int | float | str) else ""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*([kmgbt]?)\s*", plain)
    if not found:
        raise InputError(f"{text!r} is no quantity: expected a number such as 1000000, 1.0M or 200k")
    value = float(found[1]) * _UNITS[found[2]]
    if not (value > 0 and math.isfinite(value)):
        raise InputError(f"{text!r} must be a positive number")
    return value


def cell(value: Any) -> str:
    """A value as a person reads it: three decimals, ``–`` for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else ("-inf" if value < 0 else "inf")
    return str(value)


def _grid(rows: Sequence[Row], columns: Sequence[str]) -> list[list[str]]:
    return [[cell(r.get(c)) for c in columns] for r in rows]


def _numeric(rows: Sequence[Row], column: str) -> bool:
    values = [r.get(column) for r in rows]
    return any(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)


def _to_the_right(rows: Sequence[Row], columns: Sequence[str], grid: Sequence[Sequence[str]]) -> list[bool]:
    """Which columns hold numbers, or what reads as such."""
    return [
        _numeric(rows, c) or all(g[i].lstrip("+-")[:1].isdigit() or g[i] == "–" for g in grid)
        for i, c in enumerate(columns)
    ]


def to_text(
    rows: Sequence[Row], columns: Sequence[str], *, width: int | None = None, spared: Sequence[str] = ()
) -> str:
    """Aligned columns, numbers to the right.

    Args:
        rows: values by column.
        columns: in order.
        width: characters a line may have; None for no limit. What does not fit is left out column by column, never
            cut in a number: first the spared columns, then words in the first column are shortened.
        spared: columns that may be left out, the first of them first.
    """
    return "\n".join(_text_lines(rows, columns, width, spared))


_SHORTEST = 12  # characters of a name that still tell it from others


def _text_lines(
    rows: Sequence[Row], columns: Sequence[str], width: int | None, spared: Sequence[str]
) -> list[str]:
    kept = list(columns)
    for column in spared:
        if width is None or _width(rows, kept) <= width:
            break
        if column in kept:
            kept.remove(column)
    grid = _grid(rows, kept)
    right = _to_the_right(rows, kept, grid)
    if width is not None:
        grid = _shortened(grid, right, _width(rows, kept) - width)
    widths = [max([len(c), *(len(g[i]) for g in grid)]) for i, c in enumerate(kept)]

    def line(values: Sequence[str]) -> str:
        cells = (v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True))
        return "  ".join(cells).rstrip()

    return [line(kept), line(["─" * w for w in widths]), *map(line, grid)]


def _width(rows: Sequence[Row], columns: Sequence[str]) -> int:
    grid = _grid(rows, columns)
    return sum(max([len(c), *(len(g[i]) for g in grid)]) + 2 for i, c in enumerate(columns)) - 2


def _shortened(grid: list[list[str]], right: Sequence[bool], by: int) -> list[list[str]]:
    """Words cut in the middle where lines are too long: ``layer1.0.co…relu``, the longest first; numbers stay whole."""
    lengths = [max((len(g[i]) for g in grid), default=0) for i in range(len(right))]
    for i in sorted((i for i, r in enumerate(right) if not r), key=lambda i: -lengths[i]):
        longest = lengths[i]
        room = max(longest - max(by, 0), _SHORTEST)
        if by > 0 and room < longest:
            grid = [[*g[:i], _middle_out(g[i], room), *g[i + 1 :]] for g in grid]
            by -= longest - room
    return grid


def _middle_out(text: str, room: int) -> str:
    if len(text) <= room:
        return text
    head = (room - 1) // 3
    return f"{text[:head]}…{text[len(text) - (room - 1 - head) :]}"


def to_markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A GitHub table; what Markdown or HTML would read out of values is escaped."""
    head = f"| {' | '.join(map(_escaped, columns))} |"
    rule = f"|{'|'.join('---:' if _numeric(rows, c) else '---' for c in columns)}|"
    body = [f"| {' | '.join(map(_escaped, g))} |" for g in _grid(rows, columns)]
    return "\n".join([head, rule, *body])


def _escaped(text: str) -> str:
    for raw, safe in (("|", "\\|"), ("\n", " "), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(raw, safe)
    return text


def to_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """CSV with full precision and empty cells for what is missing."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for r in rows:
        writer.writerow(["" if r.get(c) is None else r.get(c) for c in columns])
    return buffer.getvalue()


def to_html(rows: Sequence[Row], columns: Sequence[str], caption: str = "", *, most: int = 60) -> str:
    """A small table for a notebook: its first rows, and how many more there are. Everything is escaped."""
    shown = rows[:most]
    grid = _grid(shown, columns)
    style = ["" if r else ' style="text-align:left"' for r in _to_the_right(shown, columns, grid)]

    def line(tag: str, values: Sequence[str]) -> str:
        cells = (f"<{tag}{s}>{html.escape(v)}</{tag}>" for s, v in zip(style, values, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    body = "".join(line("td", g) for g in grid)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    more = f"<p><small>… and {len(rows) - most:,} more rows</small></p>" if len(rows) > most else ""
    return f"<table>{title}<thead>{line('th', list(columns))}</thead><tbody>{body}</tbody></table>{more}"


def to_dataframe(
    rows: Sequence[Row] | Mapping[str, Any], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """A pandas DataFrame of rows, or of columns by name, in this order (default: as they come).

    Raises:
        MissingDependencyError: pandas is not installed; the message tells how to get it.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError:
        from sed_torch.errors import MissingDependencyError

        raise MissingDependencyError("pandas", "stats", "to_dataframe()") from None
    data = dict(rows) if isinstance(rows, Mapping) else list(rows)
    return pd.DataFrame(data, columns=None if columns is None else list(columns))


# -- every view of every result ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as people see it.

    Attributes:
        columns: names, in order.
        rows: values by column.
        caption: above it, or ``""``.
        spared: columns that a narrow terminal does without, the first of them first.
        pale: numbers of rows that matter less.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    spared: tuple[str, ...] = ()
    pale: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class View:
    """What a result shows people.

    Attributes:
        headline: what it is and says, in one line.
        lines: what else matters at once.
        grids: its tables.
        notes: what explains them.
    """

    headline: str
    lines: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    notes: tuple[str, ...] = ()

    def text(self, width: int | None = None) -> str:
        """Plain text, in lines of at most ``width`` characters where one is given."""
        return "\n".join(line for line, _ in self._styled(width))

    def markdown(self) -> str:
        """GitHub Markdown: the headline in bold, lines, tables, a list of notes."""
        lines = "  \n".join(map(_escaped, self.lines))
        parts = [f"**{_escaped(self.headline)}**" if self.headline else "", lines]
        for grid in self.grids:
            table = to_markdown(grid.rows, grid.columns)
            parts.append(f"{_escaped(grid.caption)}\n\n{table}" if grid.caption else table)
        parts.append("\n".join(f"- {_escaped(note)}" for note in self.notes))
        return "\n\n".join(p for p in parts if p)

    def html(self) -> str:
        """A fragment for a notebook; everything is escaped."""
        lines = "<br>".join(html.escape(line) for line in self.lines)
        head = f"<p><b>{html.escape(self.headline)}</b>{'<br>' if lines else ''}{lines}</p>"
        grids = "".join(to_html(g.rows, g.columns, g.caption) for g in self.grids)
        notes = "<br>".join(html.escape(note) for note in self.notes)
        return f"<div>{head}{grids}{f'<p><small>{notes}</small></p>' if notes else ''}</div>"

    def _styled(self, width: int | None) -> Iterator[tuple[str, str | None]]:
        """Lines, each with the style it has where there are styles."""
        if self.headline:
            yield from ((line, "bold") for line in wrapped(self.headline, width))
        yield from ((line, None) for text in self.lines for line in wrapped(text, width))
        for grid in self.grids:
            yield "", None
            if grid.caption:
                yield grid.caption, None
            lines = _text_lines(grid.rows, grid.columns, width, grid.spared)
            yield from ((line, None) for line in lines[:2])
            yield from ((line, "dim" if i in grid.pale else None) for i, line in enumerate(lines[2:]))
        if self.notes:
            yield "", None
        yield from ((line, None) for note in self.notes for line in wrapped(note, width))


def wrapped(text: str, width: int | None) -> list[str]:
    """Lines of whole words."""
    if width is None or len(text) <= width:
        return [text]
    import textwrap

    return textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False) or [""]


Kind = TypeVar("Kind", bound="Tabular")


class Tabular(ABC):
    """A result that people see as tables and programs read as rows.

    A subclass gives :meth:`view` and :meth:`to_dict`, and :meth:`records` where programs get more than people; it then
    has text, Markdown, CSV, JSON, HTML, a DataFrame, and looks well in a terminal and in a notebook. It names its kind
    and the schema of its JSON, from which it is read back.
    """

    __slots__ = ()

    schema: ClassVar[str]
    """The schema of its JSON, such as ``"sed_torch.cost/1"``."""

    kind: ClassVar[str]
    """What it is, for messages: ``"a cost"``."""

    @abstractmethod
    def view(self) -> View:
        """What people see: headline, tables, notes."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON."""

    @classmethod
    def from_dict(cls: type[Kind], data: Mapping[str, Any]) -> Kind:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: for data of another kind, or damaged.
        """
        checked_schema(data, cls.schema, cls.kind)
        return revived(cls, data, cls.kind)

    @classmethod
    def from_json(cls: type[Kind], text: str) -> Kind:
        """Inverse of :meth:`to_json`; errors as in :meth:`from_dict`."""
        return cls.from_dict(from_text(text, cls.kind))

    def records(self) -> tuple[Sequence[Row], Sequence[str]]:
        """Rows and columns with full precision, for CSV and frames; what is missing is None."""
        grid = self.view().grids[0]
        return grid.rows, grid.columns

    def to_text(self, *, width: int | None = None) -> str:
        """Plain text, in lines of at most ``width`` characters where one is given; no number is ever cut."""
        return self.view().text(width)

    def to_markdown(self) -> str:
        """GitHub Markdown."""
        return self.view().markdown()

    def to_csv(self) -> str:
        """CSV with full precision and empty cells for what is missing."""
        return to_csv(*self.records())

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as strict JSON."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_dataframe(self) -> pd.DataFrame:
        """The rows of :meth:`to_csv` as a pandas DataFrame.

        Raises:
            MissingDependencyError: pandas is not installed; the message tells how to get it.
        """
        return to_dataframe(*self.records())

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the rows of :meth:`to_csv` as a Parquet file, whole or not at all.

        Raises:
            MissingDependencyError: pandas or pyarrow is not installed.
        """
        from sed_torch._files import atomic_write
        from sed_torch.errors import MissingDependencyError

        frame = self.to_dataframe()
        buffer = io.BytesIO()
        try:
            frame.to_parquet(buffer, index=False)
        except ImportError:
            raise MissingDependencyError("pyarrow", "parquet", "to_parquet()") from None
        with atomic_write(path, "wb") as f:
            f.write(buffer.getvalue())  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_middle_out(self.view().headline, 100)})"

    def _repr_html_(self) -> str:
        return self.view().html()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        for line, style in self.view()._styled(options.max_width):
            yield Text(line, style=style or "", no_wrap=True, overflow="ignore")
