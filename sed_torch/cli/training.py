"""``sed-torch train-counterparts``."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from sed_torch.cli.helping import Helped
from sed_torch.cli.options import worker_options, writable
from sed_torch.cli.output import FINDINGS, say

if TYPE_CHECKING:
    from sed_torch.training import RunRow


@click.command("train-counterparts", cls=Helped)
@click.argument("patterns", nargs=-1)
@click.option("--space", metavar="NAME", help="Train networks of a space, such as nasbench201.")
@click.option(
    "--ranking", type=click.Path(exists=True, dir_okay=False), help="Train the models of a file of 'rank -o'."
)
@click.option(
    "--networks",
    "-n",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of a space: so many at random (24). Else: the first N (all).",
)
@click.option("--sample-seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--width", type=click.IntRange(min=1), help="nasbench201: channels of the stem.  [default: 16]")
@click.option("--cells", type=click.IntRange(min=1), help="nasbench201: cells a stage.  [default: 5]")
@click.option(
    "--dataset",
    default="digits",
    show_default=True,
    metavar="NAME",
    help="digits, fashion-mnist, a dataset class of torchvision, or module:function.",
)
@click.option("--data", type=click.Path(exists=True, file_okay=False), help="Folder of the dataset.")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Runs a network, from seed 0."
)
@click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=2), default=64, show_default=True)
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), default=0.1, show_default=True)
@click.option("--momentum", type=click.FloatRange(0, 1, max_open=True), default=0.9, show_default=True)
@click.option("--weight-decay", type=click.FloatRange(min=0), default=5e-4, show_default=True)
@click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), default=0.1, show_default=True)
@click.option("--crop", type=click.IntRange(min=0), default=0, show_default=True, help="Pixels of padding.")
@click.option("--flip", is_flag=True, help="Mirror half of the images.")
@click.option(
    "--patience", type=click.IntRange(min=1), metavar="EPOCHS", help="Stop early when training stands still."
)
@click.option("--amp/--no-amp", default=True, show_default=True, help="Mixed precision, on CUDA only.")
@click.option("--compile", "compiled", is_flag=True, help="Run networks through torch.compile.")
@click.option("--device", default="auto", show_default=True, help="auto, cuda, cuda:N, mps or cpu.")
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    default=["synflow", "naswot"],
    show_default=True,
    metavar="NAME",
    help="Rivals beside params and MACs; may be repeated.",
)
@click.option("--time-limit", type=click.FloatRange(min=0, min_open=True), help="Seconds of training a run.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the CPU, a run."
)
@worker_options
@click.option(
    "--resume/--fresh", default=True, show_default=True, help="Go on with the file, or begin it anew."
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    callback=writable,
    help="CSV file, to which every row is appended as it comes.",
)
def train_counterparts(
    patterns: tuple[str, ...],
    space: str | None,
    ranking: str | None,
    networks: int | None,
    output: str,
    backend: Any,
    scheduler: str | None,
    compiled: bool,
    jobs: int,
    **options: Any,
) -> int:
    """Train networks under one recipe, and keep their accuracies beside SED and its rivals.

    A killed run goes on when the same command is given again. 'sed-torch validate' reads the file. The recipe is
    SGD with Nesterov momentum, a cosine to 0 and label smoothing. A run that fails is a row with its reason, and
    the exit status is 1.

    \b
    sed-torch train-counterparts --space nasbench201 --width 8 --cells 1 --crop 1 --jobs 2 -o runs.csv
    sed-torch train-counterparts --space nasbench201 -n 100 --dataset fashion-mnist --device cuda -o runs.csv
    sed-torch train-counterparts 'timm:resnet1?' nets.py:Net --dataset CIFAR10 --data FOLDER -o runs.csv
    """
    import dataclasses

    from sed_torch.ranking import read_ranking
    from sed_torch.spaces import get_space
    from sed_torch.training import Recipe, counterparts

    if sum(map(bool, (patterns, space, ranking))) != 1:
        raise click.UsageError("expected one of PATTERNS, --space NAME and --ranking FILE")
    if space is None:
        for name in ("width", "cells"):
            if options[name] is not None:
                raise click.UsageError(f"--{name} goes with --space only")
    names = [f.name for f in dataclasses.fields(Recipe) if f.name != "compile"]
    recipe = Recipe(**{n: options.pop(n) for n in names}, compile=compiled)
    chosen: Any = space and get_space(space)
    with contextlib.redirect_stdout(sys.stderr):
        result = counterparts(
            chosen or (read_ranking(ranking) if ranking else list(patterns)),
            output,
            n=networks,
            recipe=recipe,
            jobs=jobs,
            backend=backend,
            scheduler=scheduler,
            progress=_tell_run,
            **options,
        )
    click.echo(str(result))
    return FINDINGS if result.failures else 0


def _tell_run(done: int, total: int, row: RunRow) -> None:
    how = row.reason or f"{row.test_accuracy:.2f} % in {row.seconds:.0f} s"
    say(f"{done}/{total}  {row.network}  seed {row.seed}  {row.status}: {how}")
