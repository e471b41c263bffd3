"""What a result shows people: a headline, tables, notes, and for whole documents chapters with headings."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass

from sed_torch.tables.rows import Row, escaped, text_lines, to_html, to_markdown, wrapped

__all__ = ["Chapter", "Grid", "View"]


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
class Chapter:
    """A part of a document: what stands under a heading.

    Attributes:
        heading: of the part; ``""`` goes on with the part before.
        paragraphs: before the tables; they may have Markdown's ``*emphasis*`` and ``code`` in them.
        grids: its tables.
        after: paragraphs after the tables.
        notes: a list at the end.
        level: of the heading, 2 for a part of the document, 3 for a part of that.
        folded: a page shows the heading alone until a reader asks for the rest.
    """

    heading: str = ""
    paragraphs: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    after: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    level: int = 2
    folded: bool = False

    def markdown(self) -> str:
        """GitHub Markdown."""
        pieces = [
            *map(_in_markdown, self.paragraphs),
            *map(_grid_in_markdown, self.grids),
            *map(_in_markdown, self.after),
            "\n".join(f"- {_in_markdown(note)}" for note in self.notes),
        ]
        heading = f"{'#' * self.level} {escaped(self.heading)}" if self.heading else ""
        if self.folded:
            heading = f"<details><summary>{escaped(self.heading)}</summary>"
            pieces.append("</details>")
        return "\n\n".join(p for p in (heading, *pieces) if p)

    def html(self) -> str:
        """A fragment; everything is escaped."""
        inner = "".join(
            (
                *(f"<p>{html.escape(text)}</p>" for text in self.paragraphs),
                *(to_html(g.rows, g.columns, g.caption) for g in self.grids),
                *(f"<p>{html.escape(text)}</p>" for text in (*self.after, *self.notes)),
            )
        )
        if self.folded:
            return f"<details><summary>{html.escape(self.heading)}</summary>{inner}</details>"
        heading = (
            f"<h{self.level + 1}>{html.escape(self.heading)}</h{self.level + 1}>" if self.heading else ""
        )
        return heading + inner

    def styled(self, width: int | None) -> Iterator[Styled]:
        """Lines, each with the style it has where there are styles."""
        if self.heading:
            yield "", None
            yield from ((line, "bold") for line in wrapped(self.heading, width))
        for text in self.paragraphs:
            yield from (("", None), *_wrapped(text, width))
        for grid in self.grids:
            yield from _grid_styled(grid, width)
        for text in (*self.after, *self.notes):
            yield from (("", None), *_wrapped(text, width))


Styled = tuple[str, "str | None"]
"""A line, and its style or None."""


@dataclass(frozen=True, slots=True)
class View:
    """What a result shows people.

    Attributes:
        headline: what it is and says, in one line; the title of a document.
        lines: what else matters at once.
        grids: its tables.
        notes: what explains them.
        chapters: of a document, the rest of it.
    """

    headline: str
    lines: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    notes: tuple[str, ...] = ()
    chapters: tuple[Chapter, ...] = ()

    @property
    def every_grid(self) -> tuple[Grid, ...]:
        """All tables, those of chapters too."""
        return (*self.grids, *(g for part in self.chapters for g in part.grids))

    def text(self, width: int | None = None) -> str:
        """Plain text, in lines of at most ``width`` characters where one is given."""
        return "\n".join(line for line, _ in self.styled(width))

    def markdown(self) -> str:
        """GitHub Markdown: the headline in bold or as a title, lines, tables, a list of notes, chapters."""
        headline = escaped(self.headline)
        head = f"# {headline}" if self.chapters else f"**{headline}**"
        pieces = [
            head if headline else "",
            "  \n".join(map(escaped, self.lines)),
            *map(_grid_in_markdown, self.grids),
            "\n".join(f"- {escaped(note)}" for note in self.notes),
            *(part.markdown() for part in self.chapters),
        ]
        return "\n\n".join(p for p in pieces if p)

    def html(self) -> str:
        """A fragment for a notebook; everything is escaped."""
        lines = "<br>".join(html.escape(line) for line in self.lines)
        head = f"<p><b>{html.escape(self.headline)}</b>{'<br>' if lines else ''}{lines}</p>"
        grids = "".join(to_html(g.rows, g.columns, g.caption) for g in self.grids)
        notes = "<br>".join(html.escape(note) for note in self.notes)
        small = f"<p><small>{notes}</small></p>" if notes else ""
        return f"<div>{head}{grids}{small}{''.join(part.html() for part in self.chapters)}</div>"

    def styled(self, width: int | None) -> Iterator[Styled]:
        """Lines, each with the style it has where there are styles."""
        if self.headline:
            yield from ((line, "bold") for line in wrapped(self.headline, width))
        for text in self.lines:
            yield from _wrapped(text, width)
        for grid in self.grids:
            yield from _grid_styled(grid, width)
        if self.notes:
            yield "", None
        for note in self.notes:
            yield from _wrapped(note, width)
        for part in self.chapters:
            yield from part.styled(width)


def _in_markdown(text: str) -> str:
    """A text that may have Markdown's own signs in it, but no HTML."""
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _grid_in_markdown(grid: Grid) -> str:
    table = to_markdown(grid.rows, grid.columns)
    return f"{escaped(grid.caption)}\n\n{table}" if grid.caption else table


def _wrapped(text: str, width: int | None) -> Iterator[Styled]:
    yield from (
        (line.rstrip(), None) for whole in text.splitlines() or [""] for line in wrapped(whole, width)
    )


def _grid_styled(grid: Grid, width: int | None) -> Iterator[Styled]:
    yield "", None
    if grid.caption:
        yield from _wrapped(grid.caption, width)
    lines = text_lines(grid.rows, grid.columns, width, grid.spared)
    yield from ((line, None) for line in lines[:2])
    yield from ((line, "dim" if i in grid.pale else None) for i, line in enumerate(lines[2:]))
