"""``sed-torch report``."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from sed_torch.cli.helping import Helped
from sed_torch.cli.options import one_or_many, sizes, writable
from sed_torch.cli.output import FINDINGS, emit, page_of
from sed_torch.cli.scoring import score_status
from sed_torch.cli.validating import Truth, joined_with

if TYPE_CHECKING:
    from sed_torch.diagnostics import CheckReport


@click.command(cls=Helped)
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    callback=writable,
    help="The HTML file.",
)
@click.option("--input-size", callback=sizes, metavar="N,C,H,W", multiple=True, help="For all models.")
@click.option("--depth", type=click.IntRange(min=0), help="Names of the module path that make a block.")
@click.option("--title", help="Of the page.")
@click.option("--against", metavar="SOURCE", help="Also validate each ranking, as 'validate --against' does.")
def report(
    refs: tuple[str, ...],
    output: str,
    input_size: list[tuple[int, ...]],
    depth: int | None,
    title: str | None,
    against: str | None,
) -> int:
    """Write one HTML file that holds all there is to say: scores, findings, figures, tables.

    REF is a model as for 'score' (several are compared), a ranking that 'rank -o' wrote as CSV, a file of
    'train-counterparts', or the JSON that any command wrote with '-o x.json'. The page needs no network and no other
    file.

    \b
    sed-torch report timm:resnet50 timm:convnext_tiny -o two.html
    sed-torch report rank.csv --against torchvision -o rank.html
    """
    suffix = os.path.splitext(output)[1].lower()
    if suffix not in ("", ".html", ".htm"):
        raise click.UsageError(
            f"a report is HTML, not {suffix}: name it .html, and print it from a browser for a PDF"
        )
    if against is not None and not any(map(_is_file, refs)):
        raise click.UsageError("--against goes with a ranking's file only")
    with contextlib.redirect_stdout(sys.stderr):
        found = [r for ref in refs for r in _reportable(ref, one_or_many(input_size), against)]
    emit(None, "html", output, page=lambda: page_of(*found, title=title, depth=depth))
    return FINDINGS if any(map(_has_findings, found)) else 0


def _is_file(ref: str) -> bool:
    return os.path.splitext(ref)[1].lower() in (".csv", ".json")


def _reportable(ref: str, input_size: Any, against: str | None) -> list[Any]:
    """What a reference or a file holds: a check with its score, a ranking and its validation, runs, any result."""
    from sed_torch.diagnostics import check as compute
    from sed_torch.zoo import load

    if not _is_file(ref):
        return [_told(compute(load(ref).model, input_size=input_size, name=ref))]
    from sed_torch.ranking import Ranking, read_ranking
    from sed_torch.training import is_runs_file, read_runs

    if os.path.exists(ref) and is_runs_file(ref):
        return [read_runs(ref).validate()]
    if os.path.splitext(ref)[1].lower() == ".json":
        from sed_torch.report import read_result

        found = read_result(ref)
        if against is not None and not isinstance(found, Ranking):
            raise click.UsageError(
                f"--against goes with a ranking's file only, {ref} holds {type(found).__name__}"
            )
    else:
        found = read_ranking(ref)
    if against is None:
        return [found]
    return [found, joined_with(ref, Truth(against)).validate()]


def _told(check: CheckReport) -> CheckReport:
    """The check, whose score says what accuracy to expect and what to change."""
    import dataclasses

    from sed_torch.calibration import with_expected
    from sed_torch.sensitivity import sensitivity

    if check.score is None or check.score.total is None or not math.isfinite(check.score.total):
        return check
    score = dataclasses.replace(with_expected(check.score), advice=sensitivity(check.score).advice(2))
    return dataclasses.replace(check, score=score)


def _has_findings(result: Any) -> bool:
    """A check that failed, or a score that is missing or partial."""
    score = getattr(result, "score", None)
    return bool(getattr(result, "failed", False)) or (score is not None and bool(score_status(score)))
