"""Rank all of timm and torchvision; report what was read, what it cost, and how far it agrees with training.

python examples/rank_zoo.py --jobs 2 --cache zoo-cache --timm-results results-imagenet.csv -o zoo.md

A run that was stopped goes on with the same command. Times are CPU seconds where machines are shared.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from sed_torch import tables
from sed_torch.evidence import (
    Accuracies,
    ValidationReport,
    join,
    read_accuracies,
    timm_results,
    torchvision_accuracies,
)
from sed_torch.ranking import Ranking, RankRow, rank
from sed_torch.zoo import expand, family_of

# detectors choose boxes by their scores; video and flow are other tasks, quantised models the same networks
OTHER_TASKS = ("detection", "optical_flow", "quantization", "video")
FEWEST = 3  # rows that have an order to agree with


def main(argv: Sequence[str] | None = None) -> None:
    """Rank, time a second run from the cache, validate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("patterns", nargs="*", default=["timm:*", "torchvision:*"])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--cache", help="folder of rows; a temporary one when not given")
    parser.add_argument("--time-limit", type=float, default=300.0, help="seconds a model")
    parser.add_argument("--timm-results", help="timm's results-imagenet.csv")
    parser.add_argument("--pycls", help="CSV with the columns timm_arch and top1")
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--rows", help="also write the ranking to this CSV")
    parser.add_argument("-o", "--output", help="Markdown file; stdout when not given")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        text = report(args, Path(args.cache or scratch))
    if args.output:
        Path(args.output).write_text(text, encoding="utf-8")
    else:
        print(text, end="")


def report(args: argparse.Namespace, cache: Path) -> str:
    """The whole page, as Markdown."""
    refs = [r for r in expand(args.patterns) if not str(family_of(r)).startswith(OTHER_TASKS)]
    load = os.getloadavg()[0]
    ranking = rank(refs, jobs=args.jobs, cache=cache, time_limit=args.time_limit)
    # the children that scored, all of them gone by now
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if args.rows:
        Path(args.rows).write_text(ranking.to_csv(), encoding="utf-8")
    unit = 1 if sys.platform == "darwin" else 1024
    cost = {
        "wall": f"{ranking.elapsed:,.0f} s",
        "jobs": args.jobs,
        "load before": f"{load:.1f} on {os.cpu_count()} cores",
        "CPU of the workers": f"{_cpu_of_children():,.0f} s",
        "largest worker": f"{used.ru_maxrss * unit / 2**30:.2f} GiB",
        "from the cache": f"{ranking.cached:,} rows",
        **cpu_a_model(ranking),
        "second run": second_run(refs, ranking, cache),
    }
    versions = ", ".join(f"{k} {v}" for k, v in ranking.versions.items())
    parts = [
        "# The zoo\n\n"
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}, {versions}, Python "
        f"{platform.python_version()}, {platform.system()} {platform.machine()}; written by "
        f"`python examples/rank_zoo.py {' '.join(named(word) for word in sys.argv[1:])}`.",
        *reading(ranking),
        "## What it cost\n\nEach model in a worker that can be stopped; the second run starts a new process.",
        tables.to_markdown([cost], list(cost)),
        *largest(ranking),
        *agreement(ranking, args),
    ]
    return "\n\n".join(parts) + "\n"


def named(word: str) -> str:
    """A word of the command line; of a path its file's name, for folders differ from machine to machine."""
    return Path(word).name if os.sep in word else word


def second_run(refs: Sequence[str], first: Ranking, cache: Path) -> str:
    """Wall time of the command line on the same models, imports included."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "rank.csv")
        start, before = time.perf_counter(), _cpu_of_children()
        subprocess.run(
            [sys.executable, "-m", "sed_torch", "rank", *refs, "--no-expected", "-o", str(target)],
            env={**os.environ, "SED_TORCH_CACHE": str(cache)},
            stderr=subprocess.DEVNULL,
            check=False,  # a failed model is a finding, exit status 1
        )
        seconds = time.perf_counter() - start
        spent = _cpu_of_children() - before
        same = target.read_text(encoding="utf-8") == first.to_csv()
    return f"{seconds:.1f} s ({spent:.1f} s CPU), {'the same ranking' if same else 'ANOTHER RANKING'}"


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_a_model(ranking: Ranking) -> dict[str, str]:
    """CPU seconds to build, trace and score a model."""
    cpu = sorted(r.cpu_seconds for r in ranking if r.cpu_seconds is not None)
    if len(cpu) < FEWEST:
        return {}
    high = statistics.quantiles(cpu, n=20, method="inclusive")[-1]
    return {
        "CPU a model: median, 95 %, most": f"{statistics.median(cpu):.2f} s, {high:.2f} s, {cpu[-1]:.1f} s"
    }


def of_zoo(ranking: Ranking, zoo: str) -> list[RankRow]:
    return [r for r in ranking if r.name.startswith(f"{zoo}:")]


def reading(ranking: Ranking) -> Iterable[str]:
    """What was read, and what was not, with the reason."""
    yield "## What was read"
    rows = []
    for zoo in ("timm", "torchvision"):
        mine = of_zoo(ranking, zoo)
        read = [r for r in mine if r.coverage is not None]
        params = sum(r.params or 0 for r in read)
        known = sum((r.params or 0) * (r.coverage or 0.0) for r in read)
        fronts = Counter(r.frontend or r.status for r in mine)
        if mine:
            rows.append(
                {
                    "models of": zoo,
                    "names": len(mine),
                    "traced": f"{len(read) / len(mine):.2%}",
                    "without opaque leaf": f"{sum(not _leaf(r) for r in read) / len(mine):.2%}",
                    "parameters under a rule": f"{known / max(params, 1):.3%}",
                    "front-ends": ", ".join(f"{n} × {f}" for f, n in fronts.most_common()),
                }
            )
    yield tables.to_markdown(rows, list(rows[0]))
    partial = [r for r in ranking if r.status != "ok" or _leaf(r) or (r.coverage or 0.0) < 1.0]
    if partial:
        yield "Not read in full:"
        rows = [
            {
                "model": r.name,
                "status": r.status,
                "front-end": r.frontend,
                "coverage": None if r.coverage is None else f"{r.coverage:.2%}",
                "reason": r.reason,
            }
            for r in sorted(partial, key=lambda r: (r.status, r.coverage or 0.0, r.name))
        ]
        yield tables.to_markdown(rows, list(rows[0]))


def _leaf(row: RankRow) -> bool:
    return "leaf" in (row.frontend or "")


def largest(ranking: Ranking) -> Iterable[str]:
    """The largest models one by one, by parameters and by CPU time."""
    by_size = sorted(ranking, key=lambda r: -(r.params or 0))[:8]
    by_time = sorted(ranking, key=lambda r: -(r.cpu_seconds or 0.0))[:8]
    for title, large in (("The largest:", by_size), ("The slowest:", by_time)):
        yield title
        rows = [
            {
                "model": r.name,
                "params": tables.quantity(r.params),
                "MACs": tables.quantity(r.macs),
                "CPU s": r.cpu_seconds,
                "SED": r.sed,
                "status": r.status,
            }
            for r in large
        ]
        yield tables.to_markdown(rows, list(rows[0]))


def agreement(ranking: Ranking, args: argparse.Namespace) -> Iterable[str]:
    """Against accuracies after training: a table of all, then each in full."""
    sources: list[tuple[str, str, Accuracies]] = []
    if args.timm_results:
        found = timm_results(args.timm_results)
        sources.append(("timm", f"timm's results, {found.reduction}", found))
    if of_zoo(ranking, "torchvision"):
        for recipe in ("best", "V1"):
            found = torchvision_accuracies(recipe)
            sources.append(("torchvision", f"torchvision's weights, {found.reduction}", found))
    if args.pycls:
        found = read_accuracies(args.pycls, "timm_arch", "top1")
        sources.append(("timm", "pycls, one recipe for all", found))
    reports = [(title, validated(ranking, zoo, known, args.bootstrap)) for zoo, title, known in sources]
    done = [(title, r) for title, r in reports if r is not None]
    if done:
        yield "## How far it agrees with trained networks\n\nSpearman's ρ, params and MACs on the same rows."
        rows = [summary(title, r) for title, r in done]
        yield tables.to_markdown(rows, list(rows[0]))
        yield from (r.to_markdown().replace("### ", f"### {title}: ", 1).strip() for title, r in done)


def validated(ranking: Ranking, zoo: str, known: Accuracies, bootstrap: int) -> ValidationReport | None:
    mine = of_zoo(ranking, zoo)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rank.csv")
        path.write_text(Ranking.of(mine).to_csv(), encoding="utf-8")
        if len({r.name.partition(":")[2] for r in mine} & set(known.names)) < FEWEST:
            return None
        return join(path, known).validate(n_bootstrap=bootstrap)


def summary(title: str, report: ValidationReport) -> dict[str, object]:
    within = report.within.mean if report.within else {}
    rivals = {c.rival: c.rival_correlation.spearman for c in report.rivals}
    groups = report.within.groups if report.within else 0
    return {
        "accuracies": title,
        "networks": report.n,
        "SED": report.overall.spearman,
        "params": rivals.get("params"),
        "MACs": rivals.get("macs"),
        "families": groups,
        "SED within": within.get("SED"),
        "params within": within.get("params"),
        "MACs within": within.get("macs"),
    }


if __name__ == "__main__":  # worker processes import this file
    main()
