"""``sed-torch check`` and ``sed-torch explain``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from sed_torch.cli.helping import Helped
from sed_torch.cli.options import byte_count, one_or_many, sizes, writable_as
from sed_torch.cli.output import FAILURE, FINDINGS, emit, page_of, say
from sed_torch.cli.settings import Settings, read_settings

if TYPE_CHECKING:
    from sed_torch.diagnostics import CheckReport
    from sed_torch.errors import SedTorchError


_CHECK_FORMATS = ("text", "concise", "json", "sarif", "github")
_LEVELS = ("info", "warning", "error", "never")


@click.command(cls=Helped)
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option(
    "--input-size",
    callback=sizes,
    metavar="N,C,H,W",
    multiple=True,
    help="With batch dimension; repeat for more inputs. Default: the settings', else inferred, and said.",
)
@click.option("--select", multiple=True, metavar="CODE", help="Look for these only: SED104, SED1, a name.")
@click.option(
    "--ignore", multiple=True, metavar="CODE", help="Leave these out, besides those of the settings."
)
@click.option(
    "--fail-on", type=click.Choice(_LEVELS), help="Exit with 1 from this severity on. Default: error."
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
@click.option(
    "--memory",
    callback=byte_count,
    metavar="SIZE",
    help="What a training step may take, such as 24GB: a finding when it does not fit.",
)
@click.option("--optimizer", metavar="NAME", help="Of that step; goes with --memory. Default: adamw.")
@click.option("--statistics", is_flag=True, help="Show how many findings there are of each code instead.")
@click.option(
    "--format",
    "form",
    type=click.Choice(_CHECK_FORMATS),
    is_eager=True,
    help="Default: by --output, else text.",
)
@click.option(
    "-o",
    "--output",
    "--output-file",
    type=click.Path(dir_okay=False),
    callback=writable_as("text", "json", "csv", "md", "html", "parquet", "sarif", "github"),
    help="Write to a file.",
)
def check(
    refs: tuple[str, ...],
    input_size: list[tuple[int, ...]],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: Any,
    baseline: str | None,
    update_baseline: bool,
    max_drop: float,
    loss: str | None,
    memory: int | None,
    optimizer: str | None,
    statistics: bool,
    form: str | None,
    output: str | None,
) -> int:
    """Look for what is wrong with an architecture, before it is trained.

    REF is as for 'score'; 'net.py:*' means all modules of a file that can be made without arguments, 'net.py' lists
    them. 'sed-torch explain CODE' tells what a code means. Settings stand in [tool.sed-torch] of pyproject.toml:
    select, ignore, fail-on, baseline, loss, memory, per-path, input-sizes. '# sed: ignore[SED105]' in the line of a
    finding, or the one that makes its module, leaves it out.

    \b
    sed-torch check nets.py:Net --fail-on warning
    sed-torch check 'nets.py:*' others.py:Net --statistics
    sed-torch check nets.py:Net --baseline sed.json --format github
    sed-torch check timm:vit_base_patch16_224 --input-size 64,3,224,224 --memory 24GB
    """
    settings = read_settings()
    baseline = baseline or settings.baseline
    if update_baseline and baseline is None:
        raise click.UsageError("--update-baseline goes with --baseline FILE")
    if baseline == settings.baseline and baseline is not None and not os.path.exists(baseline):
        baseline = baseline if update_baseline else None
    memory = memory or settings.memory
    if optimizer is not None and memory is None:
        raise click.UsageError("--optimizer goes with --memory SIZE")
    chosen = _expanded(refs)
    if chosen is None:
        return 0
    reports, unread = _each(
        chosen,
        lambda ref: _checked(
            ref,
            settings,
            input_size=one_or_many(input_size) or settings.input_size(ref),
            select=select or settings.select,
            ignore=(*settings.ignore, *ignore),
            fail_on="never" if update_baseline else fail_on or settings.fail_on or "error",
            baseline=None if update_baseline else baseline,
            max_drop=max_drop,
            loss=loss or settings.loss,
            memory=memory,
            optimizer=optimizer or "adamw",
            name=ref,
        ),
    )
    if reports:
        _emit(reports, form, output, statistics)
    for ref, error in unread.items():
        say(f"error: {ref}: {error}")
    if unread:
        kept = "; no baseline was written" if update_baseline else ""
        say(f"{len(unread)} of {len(chosen)} could not be checked{kept}")
        return FAILURE
    if update_baseline and baseline is not None:
        _update_baseline(baseline, reports)
        return 0
    return FINDINGS if any(r.failed for r in reports) else 0


def _each(
    refs: list[str], checked: Callable[[str], CheckReport]
) -> tuple[list[CheckReport], dict[str, SedTorchError]]:
    """A report of each model, and the errors of those that cannot be read: one among several stops no other."""
    from sed_torch.errors import ModelError, ModelReferenceError, TraceError

    reports: list[CheckReport] = []
    unread: dict[str, SedTorchError] = {}
    for ref in refs:
        try:
            reports.append(checked(ref))
        except (TraceError, ModelError, ModelReferenceError) as error:
            if len(refs) == 1:
                raise
            unread[ref] = error
    return reports, unread


def _expanded(refs: tuple[str, ...]) -> list[str] | None:
    """References one by one; None where a file was given alone and its modules have been listed."""
    from sed_torch.zoo import expand, modules_matching

    found: list[str] = []
    for ref in refs:
        source, _, pattern = ref.rpartition(":")
        if ref.endswith(".py") and os.path.isfile(ref):
            for name in modules_matching(ref, "*"):
                click.echo(f"{ref}:{name}")
            if len(refs) == 1:
                return None
        elif source and any(c in pattern for c in "*?["):
            found += expand(ref)
        else:
            found.append(ref)
    return list(dict.fromkeys(found))


def _checked(ref: str, settings: Settings, **options: Any) -> CheckReport:
    import dataclasses

    from sed_torch.diagnostics import check as compute
    from sed_torch.diagnostics.comments import parted_by_path
    from sed_torch.zoo import load

    with contextlib.redirect_stdout(sys.stderr):
        report = compute(load(ref).model, **options)
    stay, out = parted_by_path(report.findings, settings.per_path)
    return dataclasses.replace(report, findings=stay, ignored=(*report.ignored, *out))


def _emit(reports: list[CheckReport], form: str | None, output: str | None, statistics: bool) -> None:
    """One report as it is, several one after the other; in JSON a list, in SARIF a run each."""
    if statistics:
        text = _statistics(reports)
        emit(text, form, output, views={"text": lambda: text})
        return
    if len(reports) == 1:
        (report,) = reports
        views = {
            "text": report.to_text,
            "json": report.to_json,
            "sarif": report.to_sarif,
            "concise": report.to_concise,
            "github": report.to_github,
        }
        emit(report, form, output, views=views)
        return
    failed = sum(r.failed for r in reports)
    tail = f"{len(reports)} models: {failed} failed" if failed else f"{len(reports)} models: all ok"
    emit(
        reports,
        form,
        output,
        views={
            "text": lambda: "\n\n".join([*(r.to_text() for r in reports), tail]),
            "json": lambda: json.dumps(
                [r.to_dict() for r in reports], indent=2, allow_nan=False, default=str
            ),
            "sarif": lambda: _one_log(reports),
            "concise": lambda: "\n".join(r.to_concise() for r in reports),
            "github": lambda: "\n".join(r.to_github() for r in reports),
            "html": lambda: page_of(*reports),
        },
    )


def _one_log(reports: list[CheckReport]) -> str:
    logs = [json.loads(r.to_sarif()) for r in reports]
    return json.dumps({**logs[0], "runs": [run for log in logs for run in log["runs"]]}, indent=2)


def _statistics(reports: list[CheckReport]) -> str:
    from sed_torch.diagnostics import RULES

    counts = Counter((f.code, f.severity) for r in reports for f in r.findings)
    lines = [
        f"{count:>5}  {code}  {severity:<8} {RULES[code].name}"
        for (code, severity), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return "\n".join([*lines, f"{sum(counts.values())} findings in {len(reports)} models"])


def _update_baseline(path: str, reports: Sequence[CheckReport]) -> None:
    from sed_torch.diagnostics import Baseline

    known = Baseline.read(path) if os.path.exists(path) else Baseline({})
    for report in reports:
        known = known.with_report(report)
    known.write(path)
    say(f"wrote {path}")


@click.command(cls=Helped)
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Show the page of a check: what it means, why it matters, what to do. Without CODE, list all."""
    from sed_torch.diagnostics import explain as page

    click.echo(page(code))
