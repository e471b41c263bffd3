"""``sed-torch compare`` and ``sed-torch sensitivity``."""

from __future__ import annotations

import contextlib
import sys

import click

from sed_torch.cli.helping import Helped
from sed_torch.cli.options import one_or_many, output_options, sizes
from sed_torch.cli.output import emit


@click.command(cls=Helped)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--input-size", callback=sizes, metavar="N,C,H,W", multiple=True, help="For both. Default: inferred."
)
@click.option("--depth", type=click.IntRange(min=0), help="Names of the module path that make a block.")
@output_options
def compare(
    a: str, b: str, input_size: list[tuple[int, ...]], depth: int | None, form: str | None, output: str | None
) -> None:
    """Show what changed from model A to model B, block by block, and what it did to the score.

    \b
    sed-torch compare timm:resnet50 timm:resnext50_32x4d
    sed-torch compare "nets.py:Net(width=32)" "nets.py:Net(width=48)" --depth 2
    """
    from sed_torch.comparing import compare as compared
    from sed_torch.scoring.model import score as compute
    from sed_torch.zoo import load

    size = one_or_many(input_size)
    with contextlib.redirect_stdout(sys.stderr):
        first, second = (compute(load(ref).model, input_size=size, name=ref) for ref in (a, b))
    result = compared(first, second, depth=depth)
    emit(result, form, output)


@click.command(cls=Helped)
@click.argument("ref")
@click.option("--input-size", callback=sizes, metavar="N,C,H,W", multiple=True, help="Default: inferred.")
@click.option("--depth", type=click.IntRange(min=0), help="Names of the module path that make a block.")
@output_options
def sensitivity(
    ref: str, input_size: list[tuple[int, ...]], depth: int | None, form: str | None, output: str | None
) -> None:
    """Show what small changes to each block would do to the score: kernels, pools, skips, widths.

    \b
    sed-torch sensitivity timm:resnet18 --depth 2
    """
    from sed_torch.scoring.model import score as compute
    from sed_torch.sensitivity import sensitivity as varied
    from sed_torch.zoo import load

    with contextlib.redirect_stdout(sys.stderr):
        result = varied(compute(load(ref).model, input_size=one_or_many(input_size), name=ref), depth=depth)
    emit(result, form, output)
