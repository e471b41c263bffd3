"""Results to stdout or a file: one of a result's views, chosen by --format or by the file's suffix."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

__all__ = [
    "FAILURE",
    "FINDINGS",
    "INTERRUPTED",
    "Views",
    "emit",
    "page_of",
    "row_views",
    "say",
    "table_views",
    "views_of",
]

FINDINGS, FAILURE, INTERRUPTED = 1, 2, 130
"""Exit status: of a result that asks for a look, of wrong usage or an unreadable model, after Ctrl-C."""

Views = Mapping[str, Callable[[], str]]

_SUFFIXES = {
    **{".json": "json", ".csv": "csv", ".md": "md", ".txt": "text", ".html": "html", ".htm": "html"},
    **{".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".sarif": "sarif"},
}


def say(text: str) -> None:
    """Tell the user, on stderr: stdout is for results."""
    click.echo(text, err=True)


def emit(
    views: Mapping[str, Callable[[], str]], form: str | None, output: str | None, rich: Any = None
) -> None:
    """One of the views to the file or stdout; colours only on a terminal, and for the text form."""
    suffix = os.path.splitext(output or "")[1].lower()
    form = form or (_SUFFIXES.get(suffix, suffix) if suffix else "text")
    if form not in views:
        raise click.UsageError(
            f"this command has no {form} form; expected one of {', '.join(views)}, by --format or as the suffix"
        )
    if output:
        from sed_torch._files import write_text

        write_text(output, views[form]().rstrip("\n") + "\n")
        say(f"wrote {output}")
    elif form == "text" and rich is not None and sys.stdout.isatty():
        from rich.console import Console

        Console().print(rich)  # honours NO_COLOR and TERM
    else:
        click.echo(views[form]().rstrip("\n"))


def row_views(rows: list[dict[str, Any]], columns: Sequence[str]) -> dict[str, Callable[[], str]]:
    import json

    from sed_torch import tables

    return {
        "text": lambda: tables.to_text(rows, columns),
        "json": lambda: json.dumps(rows, indent=2),
        "csv": lambda: tables.to_csv(rows, columns),
        "md": lambda: tables.to_markdown(rows, columns),
    }


def page_of(*results: Any, **options: Any) -> str:
    from sed_torch.report import to_html

    return to_html(*results, **options)


def table_views(result: Any) -> dict[str, Callable[[], str]]:
    """The views that results have which are tables."""
    return {
        "text": result.to_text,
        "json": result.to_json,
        "csv": result.to_csv,
        "md": result.to_markdown,
    }


def views_of(result: Any) -> dict[str, Callable[[], str]]:
    """The same, and a page."""
    return {**table_views(result), "html": lambda: page_of(result)}
