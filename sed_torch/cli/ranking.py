"""``sed-torch rank``."""

from __future__ import annotations

from typing import Any

import click

from sed_torch.cli.options import byte_count, one_or_many, output_options, sizes, worker_options
from sed_torch.cli.output import FINDINGS, emit, views_of


@click.command()
@click.argument("patterns", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(min=1), help="Print the first N; a file gets all.")
@click.option(
    "--sort",
    type=click.Choice(
        ["sed", "given-size", "params", "macs", "suppression", "coverage", "seconds", "name", "family"]
    ),
    default="sed",
    show_default=True,
)
@click.option(
    "--cache/--no-cache", default=True, show_default=True, help="Keep rows in the user's cache folder."
)
@click.option(
    "--resume/--fresh",
    default=True,
    show_default=True,
    help="Go on from the rows in the cache, or compute all anew.",
)
@click.option(
    "--baseline",
    "baselines",
    type=click.Choice(["params", "macs"]),
    multiple=True,
    default=["params", "macs"],
    show_default=True,
    help="What the size-controlled rank is free of; may be repeated.",
)
@click.option("--input-size", callback=sizes, metavar="N,C,H,W", multiple=True, help="For all models.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    help="Seconds a model may take before it is stopped.",
)
@click.option(
    "--memory-limit", callback=byte_count, metavar="SIZE", help="Memory a worker may take, such as 4G."
)
@worker_options
@output_options
def rank(
    patterns: tuple[str, ...],
    top: int | None,
    sort: str,
    jobs: int,
    cache: bool,
    resume: bool,
    baselines: tuple[str, ...],
    input_size: list[tuple[int, ...]],
    time_limit: float,
    memory_limit: int | None,
    backend: Any,
    scheduler: str | None,
    form: str | None,
    output: str | None,
) -> int:
    """Rank many models; one that fails is a row with its reason, and the exit status is 1.

    PATTERN is a reference as for 'score', or a glob; '!' excludes.

    \b
    sed-torch rank 'timm:resnet*' --top 20 --jobs 2 -o rank.csv
    sed-torch rank 'timm:regnety_*,!*_tv' torchvision:resnet50 --sort given-size
    """
    from sed_torch.ranking import rank as compute

    result = compute(
        list(patterns),
        sort=sort.replace("-", "_"),
        jobs=jobs,
        cache=cache or None,
        baselines=baselines,
        input_size=one_or_many(input_size),
        backend=backend,
        scheduler=scheduler,
        time_limit=time_limit,
        memory_limit=memory_limit,
        resume=resume,
    )
    if output:
        emit(views_of(result), form, output)
        if top:
            emit(views_of(result.top(top)), "text", None, result.top(top))
    else:
        shown = result.top(top) if top else result
        emit(views_of(shown), form, None, shown)
    return FINDINGS if result.failures else 0
