"""``sed-torch search``."""

from __future__ import annotations

from typing import Any

import click

from sed_torch._files import write_text
from sed_torch.cli.helping import Helped
from sed_torch.cli.options import output_options, python_file, quantity
from sed_torch.cli.output import INTERRUPTED, emit, say


@click.command(cls=Helped)
@click.option("--space", required=True, metavar="NAME", help="Such as nasbench201, darts, nats_size.")
@click.option("--max-params", callback=quantity, metavar="N", help="Parameters, such as 1M.")
@click.option(
    "--max-macs", callback=quantity, metavar="N", help="Multiply-accumulates a sample, such as 200M."
)
@click.option("--max-depth", callback=quantity, metavar="N", help="Convolutions one after the other.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Wall-clock time.",
)
@click.option(
    "--max-looks", type=click.IntRange(min=1), metavar="N", help="Architectures to look at, at most."
)
@click.option(
    "--strategy",
    type=click.Choice(["auto", "exhaustive", "evolution", "random"]),
    default="auto",
    show_default=True,
)
@click.option(
    "--objective",
    "objectives",
    type=click.Choice(["sed", "expected", "params", "macs", "depth"]),
    multiple=True,
    help="The best is best by the first, the Pareto front is of all; may be repeated.  [default: sed, or with a "
    "calibration expected; params]",
)
@click.option(
    "--calibration",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Search by the accuracy that it foretells ('sed-torch calibrate' makes one).",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--export",
    type=click.Path(dir_okay=False),
    callback=python_file,
    metavar="FILE.py",
    help="Write the best network as a Python file with a function network().",
)
@output_options
def search(
    space: str,
    max_params: float | None,
    max_macs: float | None,
    max_depth: float | None,
    budget: float,
    max_looks: int | None,
    strategy: Any,
    objectives: tuple[str, ...],
    calibration: str | None,
    seed: int,
    export: str | None,
    form: str | None,
    output: str | None,
) -> int:
    """Find the best networks of a search space by score, within limits of size.

    Ctrl-C ends it early and keeps the best so far. CSV has the Pareto front.

    \b
    sed-torch search --space nasbench201 --max-params 1M
    sed-torch search --space darts --max-macs 150M --budget 10 -o found.json
    sed-torch search --space nasbench201 --max-params 1M --export net.py
    sed-torch search --space nasbench201 --calibration my.json --budget 10
    """
    from sed_torch.searching import search as find
    from sed_torch.spaces import SPACES

    result = find(
        space,
        max_params=max_params,
        max_macs=max_macs,
        max_depth=max_depth,
        budget_s=budget,
        strategy=strategy,
        seed=seed,
        objectives=objectives or None,
        calibration=_calibration(calibration),
        max_looks=max_looks,
    )
    if export is not None:
        write_text(export, result.to_code())
        size = ",".join(map(str, SPACES[result.space].input_size))
        say(f"wrote {export}; to score it: sed-torch score {export}:network --input-size {size}")
    emit(result, form, output)
    return INTERRUPTED if result.stop == "interrupted" else 0


def _calibration(file: str | None) -> Any:
    if file is None:
        return None
    from sed_torch.calibration import read_calibration

    return read_calibration(file)
