"""``sed-torch graph``."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from sed_torch.cli.helping import Helped
from sed_torch.cli.options import one_or_many, sizes, writable_as
from sed_torch.cli.output import emit


@click.command(cls=Helped)
@click.argument("ref")
@click.option("--input-size", callback=sizes, metavar="N,C,H,W", multiple=True, help="Default: inferred.")
@click.option("--depth", type=click.IntRange(min=0), help="Names of the module path that make a block.")
@click.option(
    "--color",
    type=click.Choice(["share", "suppression"]),
    default="share",
    show_default=True,
    help="What fills the boxes: their share of the score, or the local entropy lost in them.",
)
@click.option(
    "--engine",
    type=click.Choice(["builtin", "graphviz"]),
    default="builtin",
    show_default=True,
    help="What lays an SVG out.",
)
@click.option("--theme", type=click.Choice(["light", "dark"]), default="light", show_default=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "svg", "dot", "mermaid", "json"]),
    is_eager=True,
    help="Default: by the suffix of --output, else text.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    callback=writable_as("text", "svg", "dot", "mermaid", "json"),
    help="Write to a file.",
)
def graph(
    ref: str,
    input_size: list[tuple[int, ...]],
    depth: int | None,
    color: Any,
    engine: Any,
    theme: Any,
    form: str | None,
    output: str | None,
) -> None:
    """Draw a model's blocks: what flows where, what each adds to the score, what is dead.

    \b
    sed-torch graph timm:resnet50 -o resnet50.svg
    sed-torch graph nets.py:Net --depth 2 --color suppression --format mermaid
    """
    from sed_torch.report import draw
    from sed_torch.scoring.model import score as compute
    from sed_torch.zoo import load

    with contextlib.redirect_stdout(sys.stderr):
        scored = compute(load(ref).model, input_size=one_or_many(input_size), name=ref)
        drawing = draw(scored, depth=depth, color=color)
    views = {
        "text": lambda: str(drawing),
        "svg": lambda: drawing.to_svg(engine=engine, theme=theme),
        "dot": drawing.to_dot,
        "mermaid": drawing.to_mermaid,
        "json": drawing.to_json,
    }
    emit(None, form, output, views=views)
