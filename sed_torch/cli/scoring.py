"""``sed-torch score``."""

from __future__ import annotations

import contextlib
import math
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from sed_torch.cli.helping import Helped
from sed_torch.cli.options import expected_options, one_or_many, output_options, sizes
from sed_torch.cli.output import FINDINGS, emit

if TYPE_CHECKING:
    from sed_torch.scoring.result import Score


@click.command(cls=Helped)
@click.argument("ref")
@click.option(
    "--input-size",
    callback=sizes,
    metavar="N,C,H,W",
    multiple=True,
    help="With batch dimension, such as 1,3,224,224; repeat for more inputs. Default: inferred, and said.",
)
@click.option("--depth", type=click.IntRange(min=0), help="Names of the module path that make a block.")
@click.option(
    "--frontend",
    type=click.Choice(["auto", "fx", "export"]),
    default="auto",
    show_default=True,
    help="What reads the graph; auto: torch.fx, and torch.export where that cannot.",
)
@click.option("--strict", is_flag=True, help="An operator without a rule is an error.")
@click.option(
    "--columns",
    metavar="NAME,NAME",
    help="List the modules instead, with these columns; 'all' has all, 'default' a few. '--legend' names them.",
)
@click.option("--tree", is_flag=True, help="List the modules as a tree.")
@click.option("--legend", is_flag=True, help="Say what the columns mean, below the table.")
@click.option(
    "--advice/--no-advice", default=True, show_default=True, help="Say what to change and at what cost."
)
@expected_options
@output_options
def score(
    ref: str,
    input_size: list[tuple[int, ...]],
    depth: int | None,
    frontend: Any,
    strict: bool,
    columns: str | None,
    tree: bool,
    legend: bool,
    advice: bool,
    expected: bool,
    calibration: str | None,
    form: str | None,
    output: str | None,
) -> int:
    """Score one model, and show where the score comes from.

    REF is timm:NAME, torchvision:NAME, hf:NAME, package.module:factory, file.py:Class or "file.py:fn(width=32)".
    hf:NAME is a model type or class of transformers, or a local config.json or a folder with one.

    \b
    sed-torch score timm:resnet50
    sed-torch score "hf:bert(num_hidden_layers=2)"
    sed-torch score "nets.py:Net(width=32)" --input-size 1,3,32,32 --format json
    sed-torch score timm:resnet50 --tree --depth 2 --columns output,kernel,params,macs
    """
    import dataclasses

    from sed_torch.costing import with_memory
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
    result = with_memory(result)
    if expected:
        from sed_torch.calibration import calibrations, with_expected

        result = with_expected(result, calibrations(calibration))
    if depth is not None:
        result = dataclasses.replace(result, depth=depth)
    if advice and result.total is not None and math.isfinite(result.total):
        from sed_torch.sensitivity import sensitivity

        result = dataclasses.replace(result, advice=sensitivity(result).advice(1))
    listed = columns is not None or tree
    if listed:
        chosen = None if columns in (None, "default") else columns
        emit(result.table(chosen, depth=depth, tree=tree), form, output)
    else:
        emit(result, form, output)
    if legend:
        _tell_legend(listed)
    return score_status(result)


def _tell_legend(listed: bool) -> None:
    """What the words mean, in lines of the terminal's width."""
    from sed_torch.scoring.layers import COLUMNS
    from sed_torch.scoring.result import LEGEND
    from sed_torch.tables import wrapped

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo()
    for word, meaning in (COLUMNS if listed else LEGEND).items():
        for line in wrapped(f"{word:12} {meaning}", width):
            click.echo(line)


def score_status(result: Score) -> int:
    """1 when the score is missing, infinite, or of a part of the model only."""
    whole = result.total is not None and math.isfinite(result.total) and not result.unknown
    return 0 if whole else FINDINGS
