"""Which section of a page shows a result: a function a kind; what has none of its own is shown as its tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import singledispatch
from typing import Any

from sed_torch import tables
from sed_torch.costing import Cost
from sed_torch.diagnostics import CheckReport
from sed_torch.errors import InputError
from sed_torch.evidence import ValidationReport
from sed_torch.ranking import Ranking
from sed_torch.report.costs import costed
from sed_torch.report.models import unscored
from sed_torch.report.parts import (
    Column,
    Notes,
    Part,
    Section,
    table_of,
)
from sed_torch.report.rankings import ranked, searched
from sed_torch.report.validations import validated
from sed_torch.report.words import apart, sentence
from sed_torch.scoring import DEFINITIONS
from sed_torch.searching.result import SearchResult

__all__ = ["LIMITS", "about", "section"]

_MEANING = (
    "SED is the log of the norm of a network's maps, a mean over their scales: how much independent input its "
    "convolutions and linear layers sum up, given the local entropy that its topology leaves on the maps they read."
)

LIMITS = (
    "It compares architectures for the same task at the same input size, and says nothing of data, recipe, weights "
    "or numerical trouble.",
    "It was made for convolutional networks. Attention, MLP and recurrent networks are scored by the same rules, and "
    "marked as extrapolated.",
    "Size is the count to beat: look at parameters and MACs beside it. Near the top of a benchmark it separates "
    "little.",
    "Coverage below 100 % means that part of the model has no rule and was left out of the score.",
)


@singledispatch
def section(result: Any, key: str) -> Section:
    """The section of a result; ``key`` is unique in the page.

    Raises:
        InputError: it is no result.
    """
    if not isinstance(result, tables.Tabular):
        raise InputError(
            f"cannot report on {type(result).__name__}: expected a Score, CheckReport, Ranking, ValidationReport, "
            "SearchResult or another result with tables"
        )
    view = result.view()
    parts: list[Part] = [Notes(tuple(map(apart, view.lines)))] if view.lines else []
    parts += _tables(view.grids, key)
    if view.notes:
        parts.append(Notes(view.notes))
    for k, chapter in enumerate(view.chapters):
        if chapter.paragraphs:
            parts.append(Notes(chapter.paragraphs, chapter.heading))
        parts += _tables(chapter.grids, f"{key}-chapter{k}", chapter.heading)
        if chapter.after or chapter.notes:
            parts.append(Notes((*chapter.after, *chapter.notes)))
    kind = result.kind.removeprefix("an ").removeprefix("a ")
    title = f"{kind[:1].upper()}{kind[1:]}"
    return Section(f"{key}-tables", title, tuple(parts), subtitle=view.headline)


_TITLES = {"block": "Blocks", "module": "Modules"}


def _tables(grids: Sequence[tables.Grid], key: str, heading: str = "") -> Iterator[Part]:
    for i, grid in enumerate(grids):
        columns = [Column(c, c, number=_is_number(grid.rows, c)) for c in grid.columns]
        rows = [{**row, "pale": k in grid.pale} for k, row in enumerate(grid.rows)]
        caption = grid.caption or heading or _TITLES.get(next(iter(grid.columns), ""), "Rows")
        yield table_of(f"{key}-{i}", caption, columns, rows, pale="pale")


def _is_number(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    return all(tables.cell(r.get(column)).lstrip("+-")[:1].isdigit() or r.get(column) is None for r in rows)


section.register(Ranking)(ranked)
section.register(ValidationReport)(validated)
section.register(SearchResult)(searched)
section.register(CheckReport)(unscored)
section.register(Cost)(costed)


def about(definitions: Iterable[str], versions: Mapping[str, str]) -> Section:
    """The definition of the score, its limits, and the versions of what computed it."""
    named = sorted({d for d in definitions if d})
    lines = [
        f"{d}: {DEFINITIONS[d].formula}. {sentence(DEFINITIONS[d].source)}" if d in DEFINITIONS else d
        for d in named
    ]
    lines.append(
        "A_v are output positions of operator v, C its channels, g its groups, and n_eff the effective taps "
        "n·det(R)^(1/n) of the patch it reads, whose correlation matrix is R."
    )
    parts: list[Part] = [Notes((_MEANING, *lines), "Definition"), Notes(LIMITS, "Limits")]
    if versions:
        parts.append(Notes((", ".join(f"{k} {v}" for k, v in versions.items()),), "Versions"))
    return Section("about", "What SED is", tuple(parts))
