"""Results to stdout or a file: one of a result's views, chosen by --format or by the file's suffix."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from sed_torch.tables import Tabular

__all__ = [
    "FAILURE",
    "FINDINGS",
    "INTERRUPTED",
    "METHODS",
    "Views",
    "emit",
    "form_of",
    "page_of",
    "refuse_form",
    "say",
]

FINDINGS, FAILURE, INTERRUPTED = 1, 2, 130
"""Exit status: of a result that asks for a look, of wrong usage or an unreadable model, after Ctrl-C."""

Views = Mapping[str, Callable[[], str]]

METHODS = {"text": "to_text", "json": "to_json", "csv": "to_csv", "md": "to_markdown"}
"""What ``--format`` may ask of any result, and the method that gives it."""

_SUFFIXES = {
    **{".json": "json", ".csv": "csv", ".md": "md", ".txt": "text", ".html": "html", ".htm": "html"},
    ".parquet": "parquet",
    **{".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".sarif": "sarif"},
}


def say(text: str) -> None:
    """Tell the user, on stderr: stdout is for results."""
    click.echo(text, err=True)


def form_of(form: str | None, output: str | None) -> str:
    """The form that was asked for, else that of the file's suffix, else text."""
    suffix = os.path.splitext(output or "")[1].lower()
    return form or (_SUFFIXES.get(suffix, suffix.lstrip(".")) if suffix else "text")


def refuse_form(form: str, forms: Sequence[str]) -> None:
    """What this command cannot write is an error that says what it can.

    Raises:
        click.UsageError: the form is none of these.
    """
    if form in forms:
        return
    printed = "; for a PDF, print the .html page from a browser" if form == "pdf" and "html" in forms else ""
    raise click.UsageError(
        f"this command has no {form} form; expected one of {', '.join(forms)}, by --format or as the suffix{printed}"
    )


def emit(
    result: Any,
    form: str | None,
    output: str | None,
    *,
    views: Mapping[str, Callable[[], str]] | None = None,
    page: Callable[[], str] | None = None,
) -> None:
    """One view of a result to the file or stdout.

    Args:
        result: what has been found; a :class:`~sed_torch.tables.Tabular` has all forms.
        form: the form; by the file's suffix, else text, when None.
        output: the file, or None for stdout, where a terminal gets colours and its width, a pipe gets whole lines.
        views: forms that this command has otherwise or besides, by name; where the result has none, all there are.
        page: makes the HTML page; None where the usual one does.
    """
    known = {**_views_of(result), **(views or {})}
    if page is not None:
        known["html"] = page
    form = form_of(form, output)
    if form == "parquet" and output and isinstance(result, Tabular):
        result.to_parquet(output)
        say(f"wrote {output}")
        return
    refuse_form(form, [*known, *(["parquet"] if isinstance(result, Tabular) else [])])
    if output:
        from sed_torch._files import write_text

        write_text(output, known[form]().rstrip("\n") + "\n")
        say(f"wrote {output}")
    elif form == "text" and sys.stdout.isatty() and _is_rich(result):
        from rich.console import Console

        Console().print(result)  # honours NO_COLOR and TERM
    else:
        click.echo(known[form]().rstrip("\n"))


def _is_rich(result: Any) -> bool:
    return hasattr(result, "__rich_console__") or hasattr(result, "__rich__")


def _views_of(result: Any) -> dict[str, Callable[[], str]]:
    if not isinstance(result, Tabular):
        return {}
    views = {form: getattr(result, method) for form, method in METHODS.items()}
    return {**views, "html": lambda: page_of(result)}


def page_of(*results: Any, **options: Any) -> str:
    from sed_torch.report import to_html

    return to_html(*results, **options)
