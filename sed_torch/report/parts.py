"""What a page is made of: plain values, ready for the template. Text is text; only figures are markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sed_torch import tables

__all__ = [
    "Card",
    "Column",
    "Facts",
    "Figure",
    "Findings",
    "Notes",
    "Part",
    "Section",
    "TableCell",
    "TablePart",
    "table_of",
]


@dataclass(frozen=True, slots=True)
class Card:
    """The one number: what it is called, how it reads, and what it means.

    Attributes:
        label: such as ``"SED"``.
        value: as shown.
        unit: of it, and its direction.
        notes: sentences.
        gauge: 0 to 100 for a bar under the value, or None.
        gauge_label: what the bar says.
    """

    kind: ClassVar[str] = "card"
    label: str
    value: str
    unit: str
    notes: tuple[str, ...] = ()
    gauge: float | None = None
    gauge_label: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values side by side; each (name, value, explanation)."""

    kind: ClassVar[str] = "facts"
    rows: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Notes:
    """A list of sentences; ``level`` is ``"plain"`` or ``"warning"``."""

    kind: ClassVar[str] = "notes"
    lines: tuple[str, ...]
    title: str = ""
    level: str = "plain"


@dataclass(frozen=True, slots=True)
class Figure:
    """Inline SVG, the only markup that goes into a page as it is.

    Attributes:
        svg: an ``<svg>`` element whose texts were escaped by whoever drew it.
        title: above it.
        caption: below it.
    """

    kind: ClassVar[str] = "figure"
    svg: str
    title: str
    caption: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found: (code, severity, where, message, advice, evidence) each; ``verdict`` sums them up."""

    kind: ClassVar[str] = "findings"
    verdict: str
    rows: tuple[tuple[str, str, str, str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key in the rows, its heading, what it means, and whether it holds numbers."""

    key: str
    label: str
    meaning: str = ""
    number: bool = True
    bar: bool = False


@dataclass(frozen=True, slots=True)
class TableCell:
    """A cell: what is shown, what it sorts by (None sorts last, ``""`` as shown), and 0 to 100 for a bar."""

    text: str
    sort: str | float | None = ""
    bar: float | None = None


@dataclass(frozen=True, slots=True)
class TablePart:
    """Rows that sort by a click on a heading, and filter by words.

    Attributes:
        id: unique in the page.
        title: above it.
        columns: its columns; the first names the row.
        rows: cells, one a column; and whether the row is pale (failed, dead).
        filter: whether to offer a filter.
        open: whether it is unfolded.
    """

    kind: ClassVar[str] = "table"
    id: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[tuple[TableCell, ...], bool], ...]
    filter: bool = True
    open: bool = True


Part = Card | Facts | Notes | Figure | Findings | TablePart


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it.

    Attributes:
        id: unique in the page.
        title: the heading.
        parts: in order.
        folded: whether to unfold it by a click.
    """

    id: str
    title: str
    parts: tuple[Part, ...]
    folded: bool = False
    subtitle: str = field(default="")


def table_of(
    id: str,
    title: str,
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, Any]],
    *,
    pale: str = "",
    filter: bool | None = None,
    open: bool = True,
) -> TablePart:
    """A table from rows of plain values; numbers sort by their full precision whatever is shown.

    A value may be a pair (shown, sorted by). ``pale`` names a key whose truth makes a row pale.
    """
    values = list(rows)
    most = {c.key: max((_amount(r.get(c.key)) for r in values), default=0.0) for c in columns if c.bar}
    cells = tuple(
        (tuple(_cell(r.get(c.key), most.get(c.key)) for c in columns), bool(pale and r.get(pale)))
        for r in values
    )
    return TablePart(id, title, tuple(columns), cells, len(values) > 8 if filter is None else filter, open)


def _amount(value: Any) -> float:
    number = value[1] if isinstance(value, tuple) else value
    return float(number) if isinstance(number, (int, float)) else 0.0


def _cell(value: Any, most: float | None) -> TableCell:
    text, key = value if isinstance(value, tuple) else (value, value)
    shown = tables.cell(text)
    bar = 100.0 * _amount(value) / most if most else None
    if key is None:
        return TableCell(shown, None, bar)
    if isinstance(key, bool) or not isinstance(key, (int, float)):
        return TableCell(shown, "", bar)
    # what reads as the number it is needs no second copy in the page
    return TableCell(shown, "" if shown == repr(key) else float(f"{key:.9g}"), bar)
