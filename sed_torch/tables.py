"""Rows of plain values → text, Markdown, CSV and HTML. Knows nothing of what the rows mean."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cell", "quantity", "to_csv", "to_dataframe", "to_html", "to_markdown", "to_text"]

Row = Mapping[str, Any]


def quantity(value: float | None) -> str:
    """4089184256 → ``4.09 G``; None → ``–``."""
    if value is None:
        return "–"
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.2f} {unit}"
    return f"{value:g}"


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
        _numeric(rows, c) or all(g[i][:1].isdigit() or g[i] == "–" for g in grid)
        for i, c in enumerate(columns)
    ]


def to_text(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Aligned columns, numbers to the right."""
    grid = _grid(rows, columns)
    right = _to_the_right(rows, columns, grid)
    widths = [max([len(c), *(len(g[i]) for g in grid)]) for i, c in enumerate(columns)]

    def line(values: Sequence[str]) -> str:
        cells = (v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True))
        return "  ".join(cells).rstrip()

    return "\n".join([line(list(columns)), line(["─" * w for w in widths]), *map(line, grid)])


def to_markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A GitHub table; pipes in values are escaped."""
    head = f"| {' | '.join(columns)} |"
    rule = f"|{'|'.join('---:' if _numeric(rows, c) else '---' for c in columns)}|"
    body = [f"| {' | '.join(v.replace('|', chr(92) + '|') for v in g)} |" for g in _grid(rows, columns)]
    return "\n".join([head, rule, *body])


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
