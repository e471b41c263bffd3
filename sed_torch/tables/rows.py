"""Rows of plain values → text, Markdown, CSV, HTML and frames; and numbers as a person reads them."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sed_torch.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Row",
    "bytes_of",
    "cell",
    "columns_of",
    "count_of",
    "escaped",
    "first_of",
    "listed",
    "mebibytes",
    "middle_out",
    "quantity",
    "shape_text",
    "text_lines",
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


def shape_text(sizes: Iterable[Any], empty: str = "") -> str:
    """Sizes as people write them: ``3×224×224``; ``empty`` where there is none."""
    return "×".join(map(str, sizes)) or empty


def listed(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are: ``a, b and 4 more``."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def columns_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """The columns that rows have between them, in the order in which they come."""
    return tuple(dict.fromkeys(name for row in rows for name in row))


def first_of(rows: Sequence[Row], most: int) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """The first rows, and a note of how many there are besides, if there are any."""
    rest = len(rows) - most
    return tuple(rows[:most]), ((f"… and {rest:,} more rows",) if rest > 0 else ())


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
    return "\n".join(text_lines(rows, columns, width, spared))


_SHORTEST = 12  # characters of a name that still tell it from others


def text_lines(
    rows: Sequence[Row], columns: Sequence[str], width: int | None, spared: Sequence[str]
) -> list[str]:
    """The lines of :func:`to_text`: names of the columns, a rule, one a row."""
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
            grid = [[*g[:i], middle_out(g[i], room), *g[i + 1 :]] for g in grid]
            by -= longest - room
    return grid


def middle_out(text: str, room: int) -> str:
    """``text`` in at most ``room`` characters, cut in the middle."""
    if len(text) <= room:
        return text
    head = (room - 1) // 3
    return f"{text[:head]}…{text[len(text) - (room - 1 - head) :]}"


def to_markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A GitHub table; what Markdown or HTML would read out of values is escaped."""
    head = f"| {' | '.join(map(escaped, columns))} |"
    rule = f"|{'|'.join('---:' if _numeric(rows, c) else '---' for c in columns)}|"
    body = [f"| {' | '.join(map(escaped, g))} |" for g in _grid(rows, columns)]
    return "\n".join([head, rule, *body])


def escaped(text: str) -> str:
    """``text`` with nothing in it that Markdown or HTML would read as its own."""
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


def wrapped(text: str, width: int | None) -> list[str]:
    """Lines of whole words."""
    if width is None or len(text) <= width:
        return [text]
    import textwrap

    return textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False) or [""]
