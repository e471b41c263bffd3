"""The command line: parse, call, print.

Results go to stdout, everything else to stderr. Exit status: 0 all well; 1 findings (a score undefined or
partial, rows that failed); 2 wrong usage, or a model that could not be read; 130 interrupted. Imports are
inside the commands, so that ``sed-torch --help`` loads no more than the package itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click

if TYPE_CHECKING:
    from sed_torch.diagnostics import CheckReport
    from sed_torch.ranking import Ranking
    from sed_torch.results import Score
    from sed_torch.training import RunRow
    from sed_torch.validation import Joined

__all__ = ["cli", "main"]

FINDINGS, FAILURE, INTERRUPTED = 1, 2, 130
_FORMATS = ("text", "json", "csv", "md")
_SUFFIXES = {".json": "json", ".csv": "csv", ".md": "md", ".txt": "text", ".html": "html", ".htm": "html"}


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; what the user got wrong is told in words, never as a traceback."""
    sys.exit(_run(args))


def _run(args: Sequence[str] | None) -> int:
    from sed_torch.errors import SedTorchError

    try:
        result = cli.main(
            args=None if args is None else list(args), prog_name="sed-torch", standalone_mode=False
        )
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return FAILURE
    except click.ClickException as error:
        error.show()
        return FAILURE
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return INTERRUPTED
    except SedTorchError as error:
        _say(f"error: {error}")
        return FAILURE
    except BrokenPipeError:
        # The reader (head, less) has left. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _say(f"error: {error}")
        return FAILURE
    return result if isinstance(result, int) else 0


def _say(text: str) -> None:
    click.echo(text, err=True)


# -- output ----------------------------------------------------------------------------------------------


def _output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option(
        "--format",
        "form",
        type=click.Choice(_FORMATS),
        help="Default: by the suffix of --output, else text.",
    )(command)
    return click.option(
        "-o",
        "--output",
        type=click.Path(dir_okay=False),
        callback=_writable,
        help="Write to a file, whole or not at all; .html is a page.",
    )(command)


def _writable(_: click.Context, __: click.Parameter, path: str | None) -> str | None:
    """Told before the work, not after it."""
    folder = os.path.dirname(path or "") or "."
    if path is not None and not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise click.BadParameter(f"{folder!r} is not a folder that can be written to")
    return path


def _emit(
    views: Mapping[str, Callable[[], str]], form: str | None, output: str | None, rich: Any = None
) -> None:
    """One of the views to the file or stdout; colours only on a terminal, and for the text form."""
    form = form or _SUFFIXES.get(os.path.splitext(output or "")[1].lower(), "text")
    if form not in views:
        raise click.UsageError(f"this command has no {form} form; expected one of {', '.join(views)}")
    if output:
        from sed_torch._files import write_text

        write_text(output, views[form]().rstrip("\n") + "\n")
        _say(f"wrote {output}")
    elif form == "text" and rich is not None and sys.stdout.isatty():
        from rich.console import Console

        Console().print(rich)  # honours NO_COLOR and TERM
    else:
        click.echo(views[form]().rstrip("\n"))


def _row_views(rows: list[dict[str, Any]], columns: Sequence[str]) -> dict[str, Callable[[], str]]:
    import json

    from sed_torch import tables

    return {
        "text": lambda: tables.to_text(rows, columns),
        "json": lambda: json.dumps(rows, indent=2),
        "csv": lambda: tables.to_csv(rows, columns),
        "md": lambda: tables.to_markdown(rows, columns),
    }


def _sizes(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[tuple[int, ...]]:
    """``1,3,224,224`` or ``1x3x224x224``: batch first, all positive."""
    sizes = []
    for value in values:
        try:
            size = tuple(int(part) for part in value.strip("() ").replace("x", ",").split(","))
        except ValueError:
            size = ()
        if not size or min(size) < 1:
            raise click.BadParameter(f"{value!r} is no size; expected positive integers such as 1,3,224,224")
        sizes.append(size)
    return sizes


def _one_or_many(sizes: list[tuple[int, ...]]) -> Any:
    return sizes[0] if len(sizes) == 1 else sizes or None


def _bytes(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """``2G``, ``1.5GiB``, ``800M`` or plain bytes; units are powers of 1024, as for memory."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    if not found or not float(found[1]):
        raise click.BadParameter(f"{text!r} is no amount of memory; expected one such as 2G or 800M")
    return int(float(found[1]) * 1024 ** " kmgt".index(found[2] or " "))


def _quantity(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """``1.0M``, ``200k`` or a plain number; units are powers of 1000."""
    from sed_torch.errors import SearchError
    from sed_torch.searching import parse_quantity

    try:
        return None if text is None else parse_quantity(text)
    except SearchError as error:
        raise click.BadParameter(str(error)) from error


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from sed_torch import __version__

        click.echo(f"sed-torch {__version__}")
        ctx.exit()


# -- commands --------------------------------------------------------------------------------------------


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 all well, 1 findings, 2 wrong usage or unreadable model, 130 interrupted.",
)
@click.option(
    "--version", is_flag=True, callback=_version, expose_value=False, is_eager=True, help="Print it."
)
def cli() -> None:
    """Score PyTorch networks before training, from their computational graph alone."""


@cli.command()
@click.argument("ref")
@click.option(
    "--input-size",
    callback=_sizes,
    metavar="N,C,H,W",
    multiple=True,
    help="With batch dimension, such as 1,3,224,224; repeat for more inputs. Default: inferred, and said.",
)
@click.option("--depth", type=click.IntRange(min=0), help="Names of the module path that make a block.")
@click.option("--frontend", type=click.Choice(["auto", "fx", "export"]), default="auto", show_default=True)
@click.option("--strict", is_flag=True, help="An operator without a rule is an error.")
@_output_options
def score(
    ref: str,
    input_size: list[tuple[int, ...]],
    depth: int | None,
    frontend: Any,
    strict: bool,
    form: str | None,
    output: str | None,
) -> int:
    """Score one model, and show where the score comes from.

    REF is timm:NAME, torchvision:NAME, package.module:factory, file.py:Class or "file.py:fn(width=32)".

    \b
    sed-torch score timm:resnet50
    sed-torch score "nets.py:Net(width=32)" --input-size 1,3,32,32 --format json
    """
    import dataclasses

    from sed_torch.api import score as compute
    from sed_torch.zoo import load

    # What the model prints while it is made belongs to the logs, not into the result.
    with contextlib.redirect_stdout(sys.stderr):
        loaded = load(ref)
        size = _one_or_many(input_size)
        result = compute(
            loaded.model, input_size=size, depth=depth, frontend=frontend, strict=strict, name=ref
        )
    if loaded.reason:
        result = dataclasses.replace(result, assumed=(*result.assumed, loaded.reason))
    views = {
        "text": lambda: result.to_text(depth),
        "json": lambda: result.to_json(depth=depth),
        "csv": lambda: result.to_csv(depth),
        "md": lambda: result.to_markdown(depth),
        "html": lambda: _page(result, depth=depth),
    }
    _emit(views, form, output, result)
    return _score_status(result)


def _page(*results: Any, **options: Any) -> str:
    from sed_torch.report import to_html

    return to_html(*results, **options)


def _score_status(result: Score) -> int:
    """1 when the score is missing, infinite, or of a part of the model only."""
    import math

    whole = result.total is not None and math.isfinite(result.total) and not result.unknown
    return 0 if whole else FINDINGS


@cli.command()
@click.argument("patterns", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(min=1), help="Print the first N; a file gets all.")
@click.option(
    "--sort",
    type=click.Choice(
        ["sed", "given-size", "params", "macs", "suppression", "coverage", "seconds", "name", "family"]
    ),
    default="sed",
    show_default=True,
)
@click.option(
    "--jobs", "-j", type=click.IntRange(min=-1), default=1, show_default=True, help="-1: one a core."
)
@click.option(
    "--cache/--no-cache", default=True, show_default=True, help="Keep rows in the user's cache folder."
)
@click.option(
    "--resume/--fresh",
    default=True,
    show_default=True,
    help="Go on from the rows in the cache, or compute all anew.",
)
@click.option(
    "--baseline",
    "baselines",
    type=click.Choice(["params", "macs"]),
    multiple=True,
    default=["params", "macs"],
    show_default=True,
    help="What the size-controlled rank is free of; may be repeated.",
)
@click.option("--input-size", callback=_sizes, metavar="N,C,H,W", multiple=True, help="For all models.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    help="Seconds a model may take before it is stopped.",
)
@click.option("--memory-limit", callback=_bytes, metavar="SIZE", help="Memory a worker may take, such as 4G.")
@click.option("--backend", type=click.Choice(["loky", "dask", "ray"]), default="loky", show_default=True)
@click.option("--scheduler", metavar="ADDRESS", help="Of the Dask scheduler, such as tcp://host:8786.")
@_output_options
def rank(
    patterns: tuple[str, ...],
    top: int | None,
    sort: str,
    jobs: int,
    cache: bool,
    resume: bool,
    baselines: tuple[str, ...],
    input_size: list[tuple[int, ...]],
    time_limit: float,
    memory_limit: int | None,
    backend: Any,
    scheduler: str | None,
    form: str | None,
    output: str | None,
) -> int:
    """Rank many models; one that fails is a row with its reason, and the exit status is 1.

    PATTERN is a reference as for 'score', or a glob; '!' excludes.

    \b
    sed-torch rank 'timm:resnet*' --top 20 --jobs 2 -o rank.csv
    sed-torch rank 'timm:regnety_*,!*_tv' torchvision:resnet50 --sort given-size
    """
    from sed_torch.ranking import rank as compute

    if jobs == 0:
        raise click.BadParameter("0 workers do nothing; expected 1 or more, or -1", param_hint="--jobs")
    if (backend == "dask") != (scheduler is not None):
        raise click.UsageError("--scheduler ADDRESS goes with --backend dask, and --backend dask with it")
    result = compute(
        list(patterns),
        sort=sort.replace("-", "_"),
        jobs=jobs,
        cache=cache or None,
        baselines=baselines,
        input_size=_one_or_many(input_size),
        backend=backend,
        scheduler=scheduler,
        time_limit=time_limit,
        memory_limit=memory_limit,
        resume=resume,
    )
    if output:
        _emit(_ranking_views(result), form, output)
        if top:
            _emit(_ranking_views(result.top(top)), "text", None, result.top(top))
    else:
        shown = result.top(top) if top else result
        _emit(_ranking_views(shown), form, None, shown)
    return FINDINGS if result.failures else 0


def _ranking_views(result: Ranking) -> dict[str, Callable[[], str]]:
    return {
        "text": result.to_text,
        "json": result.to_json,
        "csv": result.to_csv,
        "md": result.to_markdown,
        "html": lambda: _page(result),
    }


@cli.command()
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
@_output_options
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
    if ranking is not None:
        _refuse("--benchmark", {"--dataset": dataset, "--sample": sample, "--benchmark": benchmark})
    if ranking is not None and _holds_runs(ranking):
        from sed_torch.training import read_runs

        given = {"--against": against, "--recipe": recipe, "--tags": tags, "--timm-results": timm_results}
        _refuse("a RANKING", {**given, "--data": data})
        report = read_runs(ranking).validate(n_bootstrap=bootstrap, seed=seed)
    elif ranking is not None:
        report = _against(ranking, against, recipe, tags, timm_results, data).validate(
            n_bootstrap=bootstrap, seed=seed
        )
    else:
        if benchmark is None:
            raise click.UsageError("expected a RANKING with --against SOURCE, or --benchmark NAME")
        given = {"--against": against, "--recipe": recipe, "--tags": tags, "--timm-results": timm_results}
        _refuse("a RANKING", given)
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
        "html": lambda: _page(report),
    }
    _emit(views, form, output)
    return FINDINGS if report.overall.spearman is None else 0


def _holds_runs(path: str) -> bool:
    from sed_torch.training import is_runs_file

    return is_runs_file(path)


def _refuse(needs: str, options: Mapping[str, Any]) -> None:
    """What would be ignored is an error."""
    for name, value in options.items():
        if value not in (None, ()):
            what = "a RANKING is not scored" if name == "--benchmark" else f"goes with {needs} only"
            raise click.UsageError(f"{name}: {what}")


def _against(
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
        _refuse("--against timm", {"--tags": tags, "--timm-results": timm_results, "--data": data})
    if source == "torchvision":
        kinds = ("best", "V1", "V2")
        if recipe not in (None, *kinds):
            raise click.BadParameter(f"{recipe!r} is none of {', '.join(kinds)}", param_hint="--recipe")
        known = accuracies.torchvision_accuracies(cast("Any", recipe or "best"))
    elif source == "timm":
        file = timm_results or find_file("timm", data)
        known = accuracies.timm_results(file, include=tags or None, reduce=recipe or "best")
    else:
        _refuse("--against torchvision or timm", {"--recipe": recipe})
        known = accuracies.read_accuracies(source)
    return join(ranking, known)


@cli.command()
@click.option("--space", required=True, metavar="NAME", help="Such as nasbench201, darts, nats_size.")
@click.option("--max-params", callback=_quantity, metavar="N", help="Such as 1.0M.")
@click.option(
    "--max-macs", callback=_quantity, metavar="N", help="Multiply-accumulates a sample, such as 200M."
)
@click.option("--max-depth", callback=_quantity, metavar="N", help="Convolutions one after the other.")
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
    type=click.Choice(["sed", "params", "macs", "depth"]),
    multiple=True,
    default=["sed", "params"],
    show_default=True,
    help="The best is best by the first, the Pareto front is of all; may be repeated.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@_output_options
def search(
    space: str,
    max_params: float | None,
    max_macs: float | None,
    max_depth: float | None,
    budget: float,
    max_looks: int | None,
    strategy: Any,
    objectives: tuple[str, ...],
    seed: int,
    form: str | None,
    output: str | None,
) -> int:
    """Find the best networks of a search space by score, within limits of size.

    Ctrl-C ends it early and keeps the best so far. CSV has the Pareto front.

    \b
    sed-torch search --space nasbench201 --max-params 1.0M
    sed-torch search --space darts --max-macs 150M --budget 10 -o found.json
    """
    from sed_torch.searching import search as find

    limits = {"params": max_params, "macs": max_macs, "depth": max_depth}
    result = find(
        space,
        constraints={k: v for k, v in limits.items() if v is not None},
        budget_s=budget,
        strategy=strategy,
        seed=seed,
        objectives=objectives,
        max_looks=max_looks,
    )
    views = {
        "text": result.to_text,
        "json": result.to_json,
        "csv": result.to_csv,
        "md": result.to_markdown,
        "html": lambda: _page(result),
    }
    _emit(views, form, output)
    return INTERRUPTED if result.stop == "interrupted" else 0


@cli.command("train-counterparts")
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
    "--jobs", "-j", type=click.IntRange(min=-1), default=1, show_default=True, help="-1: one a core."
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the CPU, a run."
)
@click.option("--backend", type=click.Choice(["loky", "dask", "ray"]), default="loky", show_default=True)
@click.option("--scheduler", metavar="ADDRESS", help="Of the Dask scheduler, such as tcp://host:8786.")
@click.option(
    "--resume/--fresh", default=True, show_default=True, help="Go on with the file, or begin it anew."
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    callback=_writable,
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
    from sed_torch.training import Recipe, counterparts

    if sum(map(bool, (patterns, space, ranking))) != 1:
        raise click.UsageError("expected one of PATTERNS, --space NAME and --ranking FILE")
    if jobs == 0:
        raise click.BadParameter("0 workers do nothing; expected 1 or more, or -1", param_hint="--jobs")
    if (backend == "dask") != (scheduler is not None):
        raise click.UsageError("--scheduler ADDRESS goes with --backend dask, and --backend dask with it")
    if space is None:
        for name in ("width", "cells"):
            if options[name] is not None:
                raise click.UsageError(f"--{name} goes with --space only")
    names = [f.name for f in dataclasses.fields(Recipe) if f.name != "compile"]
    recipe = Recipe(**{n: options.pop(n) for n in names}, compile=compiled)
    chosen: Any = space and _space(space)
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


def _space(name: str) -> Any:
    from sed_torch.spaces import get_space

    return get_space(name)


def _tell_run(done: int, total: int, row: RunRow) -> None:
    how = row.reason or f"{row.test_accuracy:.2f} % in {row.seconds:.0f} s"
    _say(f"{done}/{total}  {row.network}  seed {row.seed}  {row.status}: {how}")


@cli.command()
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
@_output_options
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
    from sed_torch.benchmarking import SPACES, run_benchmarks

    result = run_benchmarks(
        data,
        only=only or SPACES,
        n_bootstrap=bootstrap,
        networks=networks,
        seed=seed,
        report=lambda stage: _say(f"… {stage}"),
    )
    views = {
        "text": result.to_markdown,
        "json": result.to_json,
        "csv": result.to_csv,
        "md": result.to_markdown,
    }
    _emit(views, form, output)


_CHECK_FORMATS = ("text", "json", "sarif", "github")
_LEVELS = ("info", "warning", "error", "never")


@cli.command()
@click.argument("ref")
@click.option(
    "--input-size",
    callback=_sizes,
    metavar="N,C,H,W",
    multiple=True,
    help="With batch dimension; repeat for more inputs. Default: inferred, and said.",
)
@click.option("--select", multiple=True, metavar="CODE", help="Look for these only: SED104, SED1, a name.")
@click.option("--ignore", multiple=True, metavar="CODE", help="Leave these out.")
@click.option(
    "--fail-on",
    type=click.Choice(_LEVELS),
    default="error",
    show_default=True,
    help="Exit with 1 from this severity on.",
)
@click.option(
    "--baseline",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Forgive what this file lists; fail if the score fell below it.",
)
@click.option(
    "--update-baseline", is_flag=True, help="Write what is found now to the baseline, and exit with 0."
)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    metavar="NATS",
    help="By how much the score may fall below the baseline's.",
)
@click.option("--loss", metavar="NAME", help="Loss on the output, such as CrossEntropyLoss.")
@click.option("--format", "form", type=click.Choice(_CHECK_FORMATS), help="Default: by --output, else text.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), callback=_writable, help="Write to a file.")
def check(
    ref: str,
    input_size: list[tuple[int, ...]],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: Any,
    baseline: str | None,
    update_baseline: bool,
    max_drop: float,
    loss: str | None,
    form: str | None,
    output: str | None,
) -> int:
    """Look for what is wrong with an architecture, before it is trained.

    REF is as for 'score'. 'sed-torch explain CODE' tells what a code means.

    \b
    sed-torch check nets.py:Net --fail-on warning
    sed-torch check nets.py:Net --baseline sed.json --format github
    """
    from sed_torch.diagnostics import check as compute
    from sed_torch.zoo import load

    if update_baseline and baseline is None:
        raise click.UsageError("--update-baseline goes with --baseline FILE")
    with contextlib.redirect_stdout(sys.stderr):
        report = compute(
            load(ref).model,
            input_size=_one_or_many(input_size),
            select=select,
            ignore=ignore,
            fail_on=fail_on,
            baseline=None if update_baseline else baseline,
            max_drop=max_drop,
            loss=loss,
            name=ref,
        )
    views = {
        "text": report.to_text,
        "json": report.to_json,
        "sarif": report.to_sarif,
        "github": report.to_github,
    }
    _emit(views, form or ("sarif" if (output or "").endswith(".sarif") else None), output, report)
    if update_baseline and baseline is not None:
        _update_baseline(baseline, report)
        return 0
    return FINDINGS if report.failed else 0


def _update_baseline(path: str, report: CheckReport) -> None:
    from sed_torch.diagnostics import Baseline

    known = Baseline.read(path) if os.path.exists(path) else Baseline({})
    known.with_report(report).write(path)
    _say(f"wrote {path}")


@cli.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--input-size", callback=_sizes, metavar="N,C,H,W", multiple=True, help="For both. Default: inferred."
)
@click.option("--depth", type=click.IntRange(min=0), help="Names of the module path that make a block.")
@_output_options
def compare(
    a: str, b: str, input_size: list[tuple[int, ...]], depth: int | None, form: str | None, output: str | None
) -> None:
    """Show what changed from model A to model B, block by block, and what it did to the score.

    \b
    sed-torch compare timm:resnet50 timm:resnext50_32x4d
    sed-torch compare "nets.py:Net(width=32)" "nets.py:Net(width=48)" --depth 2
    """
    from sed_torch.api import score as compute
    from sed_torch.comparison import compare as compared
    from sed_torch.zoo import load

    size = _one_or_many(input_size)
    with contextlib.redirect_stdout(sys.stderr):
        first, second = (compute(load(ref).model, input_size=size, name=ref) for ref in (a, b))
    result = compared(first, second, depth=depth)
    views = {
        "text": result.to_text,
        "json": result.to_json,
        "csv": result.to_csv,
        "md": result.to_markdown,
    }
    _emit(views, form, output)


@cli.command()
@click.argument("ref")
@click.option("--input-size", callback=_sizes, metavar="N,C,H,W", multiple=True, help="Default: inferred.")
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
    help="Default: by the suffix of --output, else text.",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False), callback=_writable, help="Write to a file.")
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
    from sed_torch.api import score as compute
    from sed_torch.report import draw
    from sed_torch.zoo import load

    with contextlib.redirect_stdout(sys.stderr):
        scored = compute(load(ref).model, input_size=_one_or_many(input_size), name=ref)
        drawing = draw(scored, depth=depth, color=color)
    views = {
        "text": lambda: str(drawing),
        "svg": lambda: drawing.to_svg(engine=engine, theme=theme),
        "dot": drawing.to_dot,
        "mermaid": drawing.to_mermaid,
        "json": drawing.to_json,
    }
    suffixes = {".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid"}
    _emit(views, form or suffixes.get(os.path.splitext(output or "")[1].lower()), output)


@cli.command()
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    callback=_writable,
    help="The HTML file.",
)
@click.option("--input-size", callback=_sizes, metavar="N,C,H,W", multiple=True, help="For all models.")
@click.option("--depth", type=click.IntRange(min=0), help="Names of the module path that make a block.")
@click.option("--title", help="Of the page.")
@click.option("--against", metavar="SOURCE", help="Also validate each ranking, as 'validate --against' does.")
def report(
    refs: tuple[str, ...],
    output: str,
    input_size: list[tuple[int, ...]],
    depth: int | None,
    title: str | None,
    against: str | None,
) -> int:
    """Write one HTML file that holds all there is to say: scores, findings, figures, tables.

    REF is a model as for 'score' (several are compared), a ranking that 'rank -o' wrote as CSV or JSON, or a file
    of 'train-counterparts'. The file needs no network and no other file.

    \b
    sed-torch report timm:resnet50 timm:convnext_tiny -o two.html
    sed-torch report rank.csv --against torchvision -o rank.html
    """
    if against is not None and not any(map(_is_file, refs)):
        raise click.UsageError("--against goes with a ranking's file only")
    with contextlib.redirect_stdout(sys.stderr):
        found = [r for ref in refs for r in _reportable(ref, _one_or_many(input_size), against)]
    _emit({"html": lambda: _page(*found, title=title, depth=depth)}, "html", output)
    return FINDINGS if any(map(_has_findings, found)) else 0


def _is_file(ref: str) -> bool:
    return os.path.splitext(ref)[1].lower() in (".csv", ".json")


def _reportable(ref: str, input_size: Any, against: str | None) -> list[Any]:
    """What a reference or a file holds: a check with its score, a ranking and its validation, runs."""
    from sed_torch.diagnostics import check as compute
    from sed_torch.zoo import load

    if not _is_file(ref):
        return [compute(load(ref).model, input_size=input_size, name=ref)]
    from sed_torch.ranking import read_ranking
    from sed_torch.training import read_runs

    if os.path.exists(ref) and _holds_runs(ref):
        return [read_runs(ref).validate()]
    ranking = read_ranking(ref)
    if against is None:
        return [ranking]
    return [ranking, _against(ref, against, None, (), None, None).validate()]


def _has_findings(result: Any) -> bool:
    """A check that failed, or a score that is missing or partial."""
    score = getattr(result, "score", None)
    return bool(getattr(result, "failed", False)) or (score is not None and bool(_score_status(score)))


@cli.command()
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Show the page of a check: what it means, why it matters, what to do. Without CODE, list all."""
    from sed_torch.diagnostics import explain as page

    click.echo(page(code))


@cli.command()
@_output_options
def ops(form: str | None, output: str | None) -> None:
    """List the operators that have a rule, with their spellings."""
    from sed_torch.ops import table

    rows: list[dict[str, Any]] = [dict(r) for r in table()]
    columns = ("op", "rule", "spellings")
    short = [{**r, "spellings": _cut(r["spellings"], 60)} for r in rows]
    _emit({**_row_views(rows, columns), "text": _row_views(short, columns)["text"]}, form, output)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: text.rfind(",", 0, width - 2) + 1] + " …"


_PACKAGES = {
    "torch": "required",
    "numpy": "required",
    "click": "required",
    "rich": "required",
    "timm": "references timm:NAME",
    "torchvision": "references torchvision:NAME",
    "joblib": "rank",
    "platformdirs": "cache",
    "psutil": "memory limit of rank",
    "distributed": "rank on a Dask cluster",
    "ray": "rank on a Ray cluster",
    "scipy": "validate",
    "scikit-learn": "the dataset digits",
    "optuna": "search with an Optuna study",
    "pandas": "to_dataframe()",
    "pyarrow": "to_parquet()",
    "matplotlib": "plots, HTML reports",
    "jinja2": "HTML reports",
    "graphviz": "graph --engine graphviz",
    "networkx": "to_networkx()",
    "pooch": "downloading benchmark results",
}


@cli.command()
@_output_options
def doctor(form: str | None, output: str | None) -> int:
    """Show the environment: versions, optional packages, devices; no paths, no names, no settings."""
    rows = [*_environment(), *_package_rows(), *_device_rows()]
    _emit(_row_views(rows, ("item", "found", "for")), form, output)
    return FINDINGS if any(r["found"] is None and r["for"] == "required" for r in rows) else 0


def _environment() -> list[dict[str, Any]]:
    import platform

    from sed_torch import __version__
    from sed_torch.scoring import DEFAULT_DEFINITION

    return [
        {"item": "sed-torch", "found": __version__, "for": f"definition {DEFAULT_DEFINITION}"},
        {"item": "python", "found": platform.python_version(), "for": platform.python_implementation()},
        {"item": "platform", "found": platform.system(), "for": platform.machine()},
    ]


def _package_rows() -> list[dict[str, Any]]:
    from importlib import metadata

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return [{"item": name, "found": version(name), "for": use} for name, use in _PACKAGES.items()]


def _device_rows() -> list[dict[str, Any]]:
    import torch

    rows: list[dict[str, Any]] = [{"item": "cpu", "found": f"{os.cpu_count()} cores", "for": "device"}]
    if torch.cuda.is_available():
        rows += [
            {"item": f"cuda:{i}", "found": torch.cuda.get_device_name(i), "for": "device"}
            for i in range(torch.cuda.device_count())
        ]
    if torch.backends.mps.is_available():
        rows.append({"item": "mps", "found": "available", "for": "device"})
    return rows
