"""``sed-torch benchmark``."""

from __future__ import annotations

import click

from sed_torch.cli.helping import Helped
from sed_torch.cli.options import output_options
from sed_torch.cli.output import emit, say


@click.command(cls=Helped)
@click.option(
    "--data", type=click.Path(exists=True), help="Folder of benchmark files.  [default: SED_TORCH_DATA]"
)
@click.option("--only", multiple=True, metavar="NAME", help="A benchmark; may be repeated.  [default: all]")
@click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    metavar="N",
    help="Resamples for the 95 % intervals.",
)
@click.option(
    "--networks",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    metavar="N",
    help="Built networks to time; 0 times nothing.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@output_options
def benchmark(
    data: str | None,
    only: tuple[str, ...],
    bootstrap: int,
    networks: int,
    seed: int,
    form: str | None,
    output: str | None,
) -> None:
    """Report quality, picks and times on the public benchmarks whose files you have.

    Times are of one core; keep the machine quiet. CSV has the summary of quality alone.

    \b
    OMP_NUM_THREADS=1 sed-torch benchmark --data FOLDER -o benchmarks.md
    """
    from sed_torch.benchmarking import REPORTED, run_benchmarks

    result = run_benchmarks(
        data,
        only=only or REPORTED,
        n_bootstrap=bootstrap,
        networks=networks,
        seed=seed,
        report=lambda stage: say(f"… {stage}"),
    )
    emit(result, form, output)
