"""``sed-torch cost``."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from sed_torch.cli.helping import Helped
from sed_torch.cli.options import byte_count, one_or_many, output_options, sizes
from sed_torch.cli.output import FINDINGS, emit


@click.command(cls=Helped)
@click.argument("ref")
@click.option(
    "--input-size",
    callback=sizes,
    metavar="N,C,H,W",
    multiple=True,
    help="With batch dimension, such as 1,3,224,224; repeat for more inputs. Default: inferred, and said.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Samples a step. Default: that of the input.")
@click.option("--amp", type=click.Choice(["bf16", "fp16"]), help="Autocast to this dtype.")
@click.option(
    "--dtype",
    metavar="NAME",
    help="Of parameters and inputs, such as bfloat16. Default: as found.",
)
@click.option(
    "--optimizer", metavar="NAME", default="adamw", show_default=True, help="An unknown one lists all."
)
@click.option(
    "--checkpoint",
    "checkpointing",
    multiple=True,
    metavar="MODULE",
    help="Module whose calls are checkpointed, such as 'blocks.*'; repeat for more.",
)
@click.option(
    "--gpu", metavar="NAME", help="Device for the largest batch and the least time, such as 'H100 80GB'."
)
@click.option(
    "--memory", callback=byte_count, metavar="SIZE", help="Fail when a step needs more, such as 24G."
)
@click.option(
    "--depth", type=click.IntRange(min=0), default=1, show_default=True, help="Names that make a block."
)
@click.option(
    "--by",
    type=click.Choice(["block", "operator"]),
    default="block",
    show_default=True,
    help="What a row is: a block, or an operator over the whole model.",
)
@output_options
def cost(
    ref: str,
    input_size: list[tuple[int, ...]],
    batch: int | None,
    memory: int | None,
    depth: int,
    by: str,
    form: str | None,
    output: str | None,
    **options: Any,
) -> int:
    """Memory of a training step and of inference, and the least time of a step, before the first step.

    REF is as for 'score'. Exits with 1 when the step does not fit in --memory.

    \b
    sed-torch cost timm:resnet50 --batch 64 --amp bf16 --gpu "A100 40GB"
    sed-torch cost timm:vit_base_patch16_224 --batch 256 --checkpoint "blocks.*" --memory 24G
    sed-torch cost timm:vit_base_patch16_224 --by operator
    """
    import dataclasses

    from sed_torch.costing import cost as compute
    from sed_torch.costing.result import mebibytes
    from sed_torch.zoo import load

    with contextlib.redirect_stdout(sys.stderr):  # what the model prints belongs to the logs
        loaded = load(ref)
        result = compute(
            loaded.model, input_size=one_or_many(input_size), batch_size=batch, name=ref, **options
        )
    emit(dataclasses.replace(result, depth=depth, by=by), form, output)
    if memory is None or result.fits(memory):
        return 0
    most = result.largest_batch(memory)
    which = (
        f"the largest batch that does is {most}"
        if most
        else f"not even one sample does: a step with it takes {mebibytes(result.peak_at(1))}"
    )
    click.echo(f"{mebibytes(result.peak)} do not fit in {mebibytes(memory)}; {which}", err=True)
    return FINDINGS
