"""``sed-torch calibrate``."""

from __future__ import annotations

from typing import Any

import click

from sed_torch.cli.helping import Helped
from sed_torch.cli.options import writable
from sed_torch.cli.output import emit, say


@click.command(cls=Helped)
@click.argument("models", metavar="RUNS|RANKING|SPACE")
@click.option(
    "--accuracies",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="CSV with a name and an accuracy, and perhaps seed and epoch. RUNS hold theirs.",
)
@click.option("--unit", default="%", show_default=True, help="Of the accuracies.")
@click.option("--title", help="What is foretold.  [default: accuracy, or the data set of RUNS]")
@click.option("--note", help="What the numbers hold for.")
@click.option(
    "--noise",
    type=click.FloatRange(min=0),
    help="Standard deviation of an accuracy.  [default: by seeds]",
)
@click.option(
    "--scale",
    type=click.Choice(["auto", "ranks", "error"]),
    default="auto",
    show_default=True,
    help="Of accuracies.",
)
@click.option(
    "--format", "form", type=click.Choice(["text", "md"]), default="text", help="Of what is printed."
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    callback=writable,
    help="The calibration (.json).",
)
def calibrate(
    models: str,
    accuracies: str | None,
    unit: str,
    title: str | None,
    note: str | None,
    noise: float | None,
    scale: Any,
    form: str,
    output: str,
) -> int:
    """Learn from trained networks what accuracy a score stands for.

    RUNS is a file of 'train-counterparts', which holds its accuracies. A RANKING, the file of 'rank -o', or the name
    of a search space needs --accuracies. The result answers for other models: 'rank --calibration FILE'.

    \b
    sed-torch calibrate runs.csv -o my.json
    sed-torch calibrate rank.csv --accuracies trained.csv --title "CIFAR-10 accuracy" -o my.json
    sed-torch calibrate nasbench201 --accuracies cells.csv -o my.json
    """
    from sed_torch.calibration import calibrate as compute, write_calibration

    known: dict[str, Any] = {
        k: v for k, v in (("title", title), ("note", note), ("noise", noise)) if v is not None
    }
    result = compute(models, accuracies, unit=unit, scale=scale, **known)
    write_calibration(result, output)
    say(f"wrote {output}")
    emit(result, form, None)
    return 0
