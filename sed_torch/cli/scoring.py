"""``sed-torch score``."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from sed_torch.cli.options import expected_options, one_or_many, output_options, sizes
from sed_torch.cli.output import FINDINGS, emit

if TYPE_CHECKING:
    from sed_torch.scoring.result import Score


@click.command()
@click.argument("ref")
@click.option(
    "--input-size",
    callback=sizes,
    metavar="N,C,H,W",
    multiple=True,
    help="With batch dimension, such as 1,3,224,224; repeat for more inputs. Default: inferred, and said.",
)
@click.option("--depth", type=click.IntRange(min=0), help="Names of the module path that make a block.")
@click.option("--frontend", type=click.Choice(["auto", "fx", "export"]), default="auto", show_default=True)
@click.option("--strict", is_flag=True, help="An operator without a rule is an error.")
@click.option("--legend", is_flag=True, help="Say what the columns mean, below the table.")
@expected_options
@output_options
def score(
    ref: str,
    input_size: list[tuple[int, ...]],
    depth: int | None,
    frontend: Any,
    strict: bool,
    legend: bool,
    expected: bool,
    calibration: str | None,
    form: str | None,
    output: str | None,
) -> int:
    """Score one model, and show where the score comes from.

    REF is timm:NAME, torchvision:NAME, package.module:factory, file.py:Class or "file.py:fn(width=32)".

    \b
    sed-torch score timm:resnet50
    sed-torch score "nets.py:Net(width=32)" --input-size 1,3,32,32 --format json
    """
    import dataclasses

    from sed_torch.scoring.model import score as compute
    from sed_torch.zoo import load

    # What the model prints while it is made belongs to the logs, not into the result.
    with contextlib.redirect_stdout(sys.stderr):
        loaded = load(ref)
        size = one_or_many(input_size)
        result = compute(
            loaded.model, input_size=size, depth=depth, frontend=frontend, strict=strict, name=ref
        )
    if loaded.reason:
        result = dataclasses.replace(result, assumed=(*result.assumed, loaded.reason))
    if expected:
        from sed_torch.calibration import calibrations, with_expected

        result = with_expected(result, calibrations(calibration))
    if depth is not None:
        result = dataclasses.replace(result, depth=depth)
    emit(result, form, output)
    if legend:
        from sed_torch.scoring.result import LEGEND

        click.echo("\n" + "\n".join(f"{word:12} {meaning}" for word, meaning in LEGEND.items()))
    return score_status(result)


def score_status(result: Score) -> int:
    """1 when the score is missing, infinite, or of a part of the model only."""
    import math

    whole = result.total is not None and math.isfinite(result.total) and not result.unknown
    return 0 if whole else FINDINGS
