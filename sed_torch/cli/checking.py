"""``sed-torch check`` and ``sed-torch explain``."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from sed_torch.cli.options import one_or_many, sizes, writable
from sed_torch.cli.output import FINDINGS, emit, say

if TYPE_CHECKING:
    from sed_torch.diagnostics import CheckReport


_CHECK_FORMATS = ("text", "json", "sarif", "github")
_LEVELS = ("info", "warning", "error", "never")


@click.command()
@click.argument("ref")
@click.option(
    "--input-size",
    callback=sizes,
    metavar="N,C,H,W",
    multiple=True,
    help="With batch dimension; repeat for more inputs. Default: inferred, and said.",
)
@click.option("--select", multiple=True, metavar="CODE", help="Look for these only: SED104, SED1, a name.")
@click.option("--ignore", multiple=True, metavar="CODE", help="Leave these out.")
@click.option(
    "--fail-on",
    type=click.Choice(_LEVELS),
    default="error",
    show_default=True,
    help="Exit with 1 from this severity on.",
)
@click.option(
    "--baseline",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Forgive what this file lists; fail if the score fell below it.",
)
@click.option(
    "--update-baseline", is_flag=True, help="Write what is found now to the baseline, and exit with 0."
)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    metavar="NATS",
    help="By how much the score may fall below the baseline's.",
)
@click.option("--loss", metavar="NAME", help="Loss on the output, such as CrossEntropyLoss.")
@click.option("--format", "form", type=click.Choice(_CHECK_FORMATS), help="Default: by --output, else text.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), callback=writable, help="Write to a file.")
def check(
    ref: str,
    input_size: list[tuple[int, ...]],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: Any,
    baseline: str | None,
    update_baseline: bool,
    max_drop: float,
    loss: str | None,
    form: str | None,
    output: str | None,
) -> int:
    """Look for what is wrong with an architecture, before it is trained.

    REF is as for 'score'. 'sed-torch explain CODE' tells what a code means.

    \b
    sed-torch check nets.py:Net --fail-on warning
    sed-torch check nets.py:Net --baseline sed.json --format github
    """
    from sed_torch.diagnostics import check as compute
    from sed_torch.zoo import load

    if update_baseline and baseline is None:
        raise click.UsageError("--update-baseline goes with --baseline FILE")
    with contextlib.redirect_stdout(sys.stderr):
        report = compute(
            load(ref).model,
            input_size=one_or_many(input_size),
            select=select,
            ignore=ignore,
            fail_on=fail_on,
            baseline=None if update_baseline else baseline,
            max_drop=max_drop,
            loss=loss,
            name=ref,
        )
    views = {
        "text": report.to_text,
        "json": report.to_json,
        "sarif": report.to_sarif,
        "github": report.to_github,
    }
    emit(report, form, output, views=views)
    if update_baseline and baseline is not None:
        _update_baseline(baseline, report)
        return 0
    return FINDINGS if report.failed else 0


def _update_baseline(path: str, report: CheckReport) -> None:
    from sed_torch.diagnostics import Baseline

    known = Baseline.read(path) if os.path.exists(path) else Baseline({})
    known.with_report(report).write(path)
    say(f"wrote {path}")


@click.command()
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Show the page of a check: what it means, why it matters, what to do. Without CODE, list all."""
    from sed_torch.diagnostics import explain as page

    click.echo(page(code))
