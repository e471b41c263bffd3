"""``sed-torch rank``."""

from __future__ import annotations

from typing import Any

import click

from sed_torch.cli.helping import Helped
from sed_torch.cli.options import (
    byte_count,
    expected_options,
    one_or_many,
    output_options,
    quantity,
    sizes,
    worker_options,
)
from sed_torch.cli.output import FINDINGS, emit


@click.command(cls=Helped)
@click.argument("patterns", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(min=1), help="Print the first N; a file gets all.")
@click.option(
    "--sort",
    "--by",
    "sort",
    type=click.Choice(
        [
            *("sed", "expected", "given-size", "params", "macs", "suppression", "coverage", "seconds"),
            *("name", "family"),
        ]
    ),
    default="sed",
    show_default=True,
    metavar="COLUMN",
    help="sed, expected, given-size, params, macs, suppression, coverage, seconds, name or family.",
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
@click.option("--max-params", callback=quantity, metavar="N", help="Leave out larger models; such as 10M.")
@click.option(
    "--max-macs",
    callback=quantity,
    metavar="N",
    help="The same by multiply-accumulates a sample, such as 2G.",
)
@click.option(
    "--max-memory",
    callback=byte_count,
    metavar="SIZE",
    help="The same by bytes of a training step with one sample and AdamW, such as 4G.",
)
@click.option(
    "--front",
    type=click.Choice(["params", "macs"]),
    help="Only the Pareto front of the score (with --by expected of that) against this cost.",
)
@click.option(
    "--input-size",
    callback=sizes,
    metavar="N,C,H,W",
    multiple=True,
    help="For all models, so that their scores compare. Default: each model's own, and said.",
)
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
@expected_options
@output_options
def rank(
    patterns: tuple[str, ...],
    top: int | None,
    sort: str,
    jobs: int,
    cache: bool,
    resume: bool,
    baselines: tuple[str, ...],
    max_params: float | None,
    max_macs: float | None,
    max_memory: int | None,
    front: str | None,
    input_size: list[tuple[int, ...]],
    time_limit: float,
    memory_limit: int | None,
    backend: Any,
    scheduler: str | None,
    expected: bool,
    calibration: str | None,
    form: str | None,
    output: str | None,
) -> int:
    """Rank many models; one that fails is a row with its reason, and the exit status is 1.

    The first line is the best within --max-params, --max-macs and --max-memory, or the Pareto front: the largest model
    has the largest score, and is seldom the answer. Ctrl-C keeps the rows that are done; the same command goes on from
    there.

    PATTERN is a reference as for 'score', or a glob; '!' excludes.

    \b
    sed-torch rank 'timm:resnet*' --top 20 --jobs 2 -o rank.csv
    sed-torch rank 'timm:regnety_*,!*_tv' torchvision:resnet50 --sort given-size
    sed-torch rank 'timm:*' --by expected --max-params 10M --front macs
    sed-torch rank 'timm:*mobilenet*' --max-params 5M --input-size 1,3,224,224 -o small.parquet
    """
    from sed_torch.ranking import rank as compute

    if not expected and (sort == "expected" or calibration):
        raise click.UsageError("--no-expected goes with neither --by expected nor --calibration")

    result = compute(
        list(patterns),
        sort=sort.replace("-", "_"),
        jobs=jobs,
        cache=cache or None,
        baselines=baselines,
        max_params=max_params,
        max_macs=max_macs,
        max_memory=max_memory,
        input_size=one_or_many(input_size),
        backend=backend,
        scheduler=scheduler,
        time_limit=time_limit,
        memory_limit=memory_limit,
        resume=resume,
    )
    failed = bool(result.failures)
    if expected:
        from sed_torch.calibration import calibrations, expect

        result = expect(result, calibrations(calibration), sort=result.sort)
    if front:
        result = result.front_of(front, "expected" if sort == "expected" else "sed")
    if output:
        emit(result, form, output)
        if top:
            emit(result.top(top), "text", None)
    else:
        emit(result.top(top) if top else result, form, None)
    return FINDINGS if failed else 0
