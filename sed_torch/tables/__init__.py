"""Results as people and programs read them: text, Markdown, CSV, JSON, HTML and frames.

Knows nothing of what the rows mean. A result says what it shows in one method, ``view()``, and what it is in another,
``to_dict()``; whatever a person or a program reads of it is made here, so that a new form is written once.
:mod:`~sed_torch.tables.rows` writes rows of plain values, :mod:`~sed_torch.tables.view` what people see, and
:class:`Tabular` gives every result all of it.
"""

from __future__ import annotations

from sed_torch.tables.rows import (
    bytes_of,
    cell,
    columns_of,
    count_of,
    first_of,
    listed,
    mebibytes,
    quantity,
    shape_text,
    to_csv,
    to_dataframe,
    to_html,
    to_markdown,
    to_text,
    wrapped,
)
from sed_torch.tables.tabular import Tabular
from sed_torch.tables.view import Chapter, Grid, View

__all__ = [
    "Chapter",
    "Grid",
    "Tabular",
    "View",
    "bytes_of",
    "cell",
    "columns_of",
    "count_of",
    "first_of",
    "listed",
    "mebibytes",
    "quantity",
    "shape_text",
    "to_csv",
    "to_dataframe",
    "to_html",
    "to_markdown",
    "to_text",
    "wrapped",
]
