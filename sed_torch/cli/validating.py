"""``sed-torch validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from sed_torch.cli.options import output_options, refuse
from sed_torch.cli.output import FINDINGS, emit, page_of

if TYPE_CHECKING:
    from sed_torch.validation import Joined


@click.command()
@click.argument("ranking", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--against", metavar="SOURCE", help="torchvision, timm, or a CSV with a name and an accuracy.")
@click.option("--recipe", help="torchvision: best, V1, V2. timm: best, median, or a tag.  [default: best]")
@click.option("--tags", multiple=True, metavar="PATTERN", help="timm: take tags that match; may be repeated.")
@click.option(
    "--timm-results",
    type=click.Path(exists=True, dir_okay=False),
    help="timm's results-imagenet.csv. Default: looked for in the data folder.",
)
@click.option("--benchmark", metavar="NAME", help="Score the networks of a benchmark, such as nasbench201.")
@click.option("--dataset", help="Of the benchmark.  [default: its first]")
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

    if ranking is not None:
        refuse("--benchmark", {"--dataset": dataset, "--sample": sample, "--benchmark": benchmark})
    if ranking is not None and is_runs_file(ranking):
        given = {"--against": against, "--recipe": recipe, "--tags": tags, "--timm-results": timm_results}
        refuse("a RANKING", {**given, "--data": data})
        report = read_runs(ranking).validate(n_bootstrap=bootstrap, seed=seed)
    elif ranking is not None:
        report = joined_with(ranking, against, recipe, tags, timm_results, data).validate(
            n_bootstrap=bootstrap, seed=seed
        )
    else:
        if benchmark is None:
            raise click.UsageError("expected a RANKING with --against SOURCE, or --benchmark NAME")
        given = {"--against": against, "--recipe": recipe, "--tags": tags, "--timm-results": timm_results}
        refuse("a RANKING", given)
        from sed_torch.benchmark_data import scorer
        from sed_torch.validation import validate_benchmark

        report = validate_benchmark(
            benchmark,
            dataset,
            data=data,
            score_fn=scorer(benchmark, dataset),
            sample=sample,
            seed=seed,
            n_bootstrap=bootstrap,
        )
    views = {
        "text": lambda: str(report),
        "json": report.to_json,
        "csv": lambda: str(report.to_dataframe().to_csv(index=False)),
        "md": report.to_markdown,
        "html": lambda: page_of(report),
    }
    emit(views, form, output)
    return FINDINGS if report.overall.spearman is None else 0


def joined_with(
    ranking: str,
    source: str | None,
    recipe: str | None,
    tags: tuple[str, ...],
    timm_results: str | None,
    data: str | None,
) -> Joined:
    """The ranking joined with the accuracies that were asked for."""
    from sed_torch import accuracies
    from sed_torch.benchmark_data import find_file
    from sed_torch.validation import join

    if source is None:
        raise click.UsageError("a RANKING needs --against torchvision, timm or FILE")
    if source != "timm":
        refuse("--against timm", {"--tags": tags, "--timm-results": timm_results, "--data": data})
    if source == "torchvision":
        kinds = ("best", "V1", "V2")
        if recipe not in (None, *kinds):
            raise click.BadParameter(f"{recipe!r} is none of {', '.join(kinds)}", param_hint="--recipe")
        known = accuracies.torchvision_accuracies(cast("Any", recipe or "best"))
    elif source == "timm":
        file = timm_results or find_file("timm", data)
        known = accuracies.timm_results(file, include=tags or None, reduce=recipe or "best")
    else:
        refuse("--against torchvision or timm", {"--recipe": recipe})
        known = accuracies.read_accuracies(source)
    return join(ranking, known)
