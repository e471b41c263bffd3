"""``sed-torch validate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from sed_torch.cli.helping import Helped
from sed_torch.cli.options import output_options, refuse
from sed_torch.cli.output import FINDINGS, emit

if TYPE_CHECKING:
    from sed_torch.evidence import Accuracies, Joined


@click.command(cls=Helped)
@click.argument("ranking", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--against",
    metavar="SOURCE",
    help="torchvision, timm, mmpretrain, pycls, pytorchcv, or a CSV with a name and an accuracy.",
)
@click.option("--recipe", help="torchvision: best, V1, V2. timm: best, median, or a tag.  [default: best]")
@click.option("--tags", multiple=True, metavar="PATTERN", help="timm: take tags that match; may be repeated.")
@click.option(
    "--timm-results",
    type=click.Path(exists=True, dir_okay=False),
    help="timm's results-imagenet.csv. Default: that of the data folder, else fetched once into the cache.",
)
@click.option(
    "--name-column", metavar="NAME", help="FILE: column of names.  [default: model, name, arch, ...]"
)
@click.option(
    "--metric-column", metavar="NAME", help="FILE: column of accuracies.  [default: top1, acc@1, ...]"
)
@click.option("--benchmark", metavar="NAME", help="Score the networks of a benchmark, such as nasbench201.")
@click.option("--dataset", help="Of the benchmark, or of mmpretrain and pytorchcv.  [default: its first]")
@click.option("--data", type=click.Path(exists=True), help="Folder or file.  [default: SED_TORCH_DATA]")
@click.option("--sample", type=click.IntRange(min=3), metavar="N", help="A random sample of the benchmark.")
@click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    metavar="N",
    help="Resamples for the 95 % intervals.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@output_options
def validate(
    ranking: str | None,
    against: str | None,
    recipe: str | None,
    tags: tuple[str, ...],
    timm_results: str | None,
    name_column: str | None,
    metric_column: str | None,
    benchmark: str | None,
    dataset: str | None,
    data: str | None,
    sample: int | None,
    bootstrap: int,
    seed: int,
    form: str | None,
    output: str | None,
) -> int:
    """Hold scores against the accuracies of trained networks.

    Either a RANKING, the CSV that 'rank -o' wrote; or the runs of 'train-counterparts', which hold their scores; or a
    benchmark's networks, which are scored here.

    \b
    sed-torch validate rank.csv --against torchvision
    sed-torch validate rank.csv --against timm --timm-results results-imagenet.csv
    sed-torch validate runs.csv -o runs.md
    sed-torch validate --benchmark nasbench201 --dataset cifar100 --data FOLDER
    """
    from sed_torch.training import is_runs_file, read_runs

    truth = Truth(against, recipe, tags, timm_results, name_column, metric_column, data, dataset)
    if ranking is not None:
        refuse("--benchmark", {"--sample": sample, "--benchmark": benchmark})
        if against not in _TABLES:
            refuse("--benchmark", {"--dataset": dataset})
    if ranking is not None and is_runs_file(ranking):
        refuse("a RANKING", {**truth.options(), "--data": data})
        report = read_runs(ranking).validate(n_bootstrap=bootstrap, seed=seed)
    elif ranking is not None:
        report = joined_with(ranking, truth).validate(n_bootstrap=bootstrap, seed=seed)
    else:
        if benchmark is None:
            raise click.UsageError("expected a RANKING with --against SOURCE, or --benchmark NAME")
        refuse("a RANKING", truth.options())
        from sed_torch.evidence import validate_benchmark
        from sed_torch.evidence.benchmarks import scorer

        report = validate_benchmark(
            benchmark,
            dataset,
            data=data,
            score_fn=scorer(benchmark, dataset),
            sample=sample,
            seed=seed,
            n_bootstrap=bootstrap,
        )
    emit(report, form, output)
    return FINDINGS if report.overall.spearman is None else 0


_TABLES = ("mmpretrain", "pycls", "pytorchcv")
"""Benchmarks of published models, whose tables are accuracies by name."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The accuracies that were asked for: the source, and the options that some sources have."""

    against: str | None
    recipe: str | None = None
    tags: tuple[str, ...] = ()
    timm_results: str | None = None
    name_column: str | None = None
    metric_column: str | None = None
    data: str | None = None
    dataset: str | None = None

    def options(self) -> dict[str, Any]:
        """What goes with a RANKING only, by its spelling."""
        return {
            "--against": self.against,
            "--recipe": self.recipe,
            "--tags": self.tags,
            "--timm-results": self.timm_results,
            "--name-column": self.name_column,
            "--metric-column": self.metric_column,
        }


def joined_with(ranking: str, truth: Truth) -> Joined:
    """The ranking joined with the accuracies that were asked for."""
    from sed_torch.evidence import join

    source, options = truth.against, truth.options()
    if source is None:
        raise click.UsageError("a RANKING needs --against torchvision, timm or FILE")
    if source != "timm":
        refuse("--against timm", {n: options[n] for n in ("--tags", "--timm-results")})
    if source not in ("timm", *_TABLES):
        refuse("--against timm", {"--data": truth.data})
    if source in ("timm", "torchvision", *_TABLES):
        refuse("--against FILE", {n: options[n] for n in ("--name-column", "--metric-column")})
    if source not in ("timm", "torchvision"):
        refuse("--against torchvision or timm", {"--recipe": truth.recipe})
    return join(ranking, _accuracies(source, truth))


def _accuracies(source: str, truth: Truth) -> Accuracies:
    from sed_torch import evidence
    from sed_torch.evidence.benchmarks import accuracies_of

    if source == "torchvision":
        kinds = ("best", "V1", "V2")
        if truth.recipe not in (None, *kinds):
            raise click.BadParameter(f"{truth.recipe!r} is none of {', '.join(kinds)}", param_hint="--recipe")
        return evidence.torchvision_accuracies(cast("Any", truth.recipe or "best"))
    if source == "timm":
        file = truth.timm_results or _timm_file(truth.data)
        return evidence.timm_results(file, include=truth.tags or None, reduce=truth.recipe or "best")
    if source in _TABLES:
        return accuracies_of(source, truth.dataset, truth.data)
    if not Path(source).is_file():
        known = ", ".join(("torchvision", "timm", *_TABLES))
        raise click.BadParameter(
            f"{source}: no such file; expected {known}, or a CSV file", param_hint="--against"
        )
    return evidence.read_accuracies(source, truth.name_column, truth.metric_column)


def _timm_file(data: str | None) -> Path:
    """Of the data folder; where none was named and it has none, fetched once."""
    from sed_torch.errors import DataError
    from sed_torch.evidence import fetch_timm_results
    from sed_torch.evidence.benchmarks import find_file

    try:
        return find_file("timm", data)
    except DataError:
        if data is not None:
            raise
    return fetch_timm_results()
