"""What a calibration is worth: a few trained networks of a space, ImageNet accuracies, and networks trained by others.

python examples/calibration_report.py --topologies FOLDER [-o examples/results/calibration.md] [--draws 20]

Needs the public accuracies (``SED_TORCH_DATA``), timm, torchvision, pytorchcv, scipy and scikit-learn. FOLDER keeps the
traced networks of zoos from one run to the next. Spaces are sampled with a seed, at most ``MOST`` networks a set.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gzip
import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from imagenet_calibration import by_reference, candidates
from numpy.typing import NDArray
from scipy.stats import spearmanr
from zoo_topologies import trace_all

import sed_torch
from sed_torch import tables
from sed_torch.calibration import Calibration, imagenet
from sed_torch.calibration.fitting import fit, folds
from sed_torch.calibration.making import calibrate, held_out
from sed_torch.calibration.networks import Candidates, measured_in
from sed_torch.calibration.process import Points
from sed_torch.calibration.scales import by_error, by_ranks, linear
from sed_torch.calibration.seen import domain_of
from sed_torch.errors import DataError
from sed_torch.evidence import timm_results, torchvision_accuracies
from sed_torch.evidence.benchmarks import BENCHMARKS, BenchmarkTable, find_data, find_file, load, space_of
from sed_torch.scoring import DEFAULT_DEFINITION, evaluate
from sed_torch.scoring.features import FEATURES, feature_matrix
from sed_torch.scoring.model import versions
from sed_torch.spaces import get_space
from sed_torch.training import read_runs
from sed_torch.training.networks import space_network

Array = NDArray[np.float64]

MOST, SIZES, NAMES = 400, (10, 20, 50), tuple(FEATURES)
COUNTED = ("params", "macs", "chain")


@dataclass(frozen=True)
class Set:
    """Networks with a score, features and an accuracy, all finite."""

    name: str
    benchmark: str
    sed: Array
    features: Array
    accuracy: Array

    @property
    def first(self) -> Array:
        """The score as sed/1 defined it, which is one of the features."""
        return self.features[:, NAMES.index("amplitude")]


# -- sets ----------------------------------------------------------------------------------------------------


def _set(name: str, benchmark: str, sed: Array, features: Array, accuracy: Sequence[float] | Array) -> Set:
    values = np.asarray(accuracy, dtype=np.float64)
    known = np.isfinite(sed) & np.isfinite(features).all(axis=1) & np.isfinite(values)
    return Set(name, benchmark, sed[known], features[known], values[known])


def measured(space: Any, archs: Sequence[str]) -> tuple[Array, Array]:
    """(scores, features) of architectures."""
    evaluations = [evaluate(space.topology(a)) for a in archs]
    return np.array([np.nan if e.total is None else e.total for e in evaluations]), feature_matrix(
        evaluations
    )


def some(n: int) -> list[int]:
    return sorted(np.random.default_rng(0).permutation(n)[:MOST].tolist())


def benchmark_sets() -> Iterator[Set]:
    """Spaces of the benchmark report: the tasks of one share the architectures that are drawn."""
    for name in ("nasbench201", "nasbench101", "nasbench301", "transnas_micro", "transnas_macro"):
        tasks = {d: t for d in BENCHMARKS[name] if not d.startswith("naslib") and (t := table_of(name, d))}
        shared = list(tasks.values()) if name != "nasbench101" else []
        archs = sorted(set.intersection(*(set(t.archs) for t in shared))) if shared else []
        drawn = [archs[i] for i in some(len(archs))]
        known = measured(space_of(name), drawn) if drawn else None
        for task, table in tasks.items():
            where = dict(zip(table.archs, table.accuracy.tolist(), strict=True))
            own = drawn or [table.archs[i] for i in some(len(table.archs))]
            sed, features = known or measured(space_of(name), own)
            yield _set(f"{name} {task}", name, sed, features, [where[a] for a in own])


def table_of(name: str, dataset: str) -> BenchmarkTable | None:
    try:
        return load(name, dataset)
    except DataError as error:
        print(f"{name} {dataset}: not there: {error}", file=sys.stderr)
        return None


def rows_of(file: str) -> list[dict[str, str]]:
    path = find_data() / file
    opened: Callable[..., Any] = gzip.open if file.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def trained_sets() -> Iterator[Set]:
    """Accel-NASBench and NAS-Bench-Macro."""
    rows = rows_of("accel_nasbench.csv.gz")
    rows = [rows[i] for i in some(len(rows))]
    space = get_space("mnasnet")
    archs = ["-".join(r[k].replace("|", "") for k in ("exp", "kernel", "layers", "se")) for r in rows]
    yield _set("accel_nasbench", "accel", *measured(space, archs), [float(r["val_top1"]) for r in rows])
    rows = rows_of("nasbench_macro.csv.gz")
    rows = [rows[i] for i in some(len(rows))]
    found = measured(get_space("nasbench_macro"), [r["arch"] for r in rows])
    yield _set("nasbench_macro", "macro", *found, [float(r["acc"]) for r in rows])


def zoo_set(name: str, accuracies: dict[str, float], folder: Path) -> Set:
    nets = candidates(list(accuracies), folder)
    return _set(name, name.split()[0], nets.sed, nets.features, [accuracies[n] for n in nets.names])


def zoos() -> dict[str, dict[str, float]]:
    """Published networks by reference, with the accuracies they were published with."""
    pycls, vision = load("pycls"), torchvision_accuracies("V1")
    return {
        "timm": by_reference(timm_results(find_file("timm"))),
        "torchvision V1": {f"torchvision:{r.name}": r.accuracy for r in vision.rows},
        "pycls, one recipe": dict(
            zip([f"timm:{a}" for a in pycls.archs], pycls.accuracy.tolist(), strict=True)
        ),
        "MMPretrain, own": {
            f"timm:{r['timm']}@{r['size']}": float(r["top1"])
            for r in rows_of("mmpretrain_imagenet.csv")
            if r["own"] == "True"
        },
        "pytorchcv (top-5)": {
            f"cv:{r['model']}": float(r["accuracy"])
            for r in rows_of("pytorchcv.csv")
            if r["dataset"] == "imagenet_top5"
        },
    }


# -- few trained networks ------------------------------------------------------------------------------------


def foretold(data: Set, rows: Array, columns: Sequence[int] | None = None) -> Array:
    """What :func:`sed_torch.calibrate` foretells of all, from ``rows``; on some counts only, with the first as mean."""
    features = data.features if columns is None else data.features[:, list(columns)]
    mean = data.sed if columns is None else features[:, 0]
    domain = domain_of(features, features[rows], range(len(rows)), ranked=True)
    x, s = domain.inputs(features), by_ranks(mean).to_normal(mean)
    z = by_ranks(data.accuracy[rows]).to_normal(data.accuracy[rows])
    return fit(x[rows], s[rows], z, np.zeros(len(rows))).predict(x, s)[0]


def few_shot(data: Set, draws: int) -> dict[str, Any]:
    counts = [NAMES.index(c) for c in COUNTED]
    found: dict[str, list[float]] = {}
    for n in SIZES:
        for draw in range(draws):
            rows = np.random.default_rng(1000 * n + draw).permutation(len(data.sed))[:n]
            rest = np.setdiff1d(np.arange(len(data.sed)), rows)

            def rho(values: Array, rest: Array = rest) -> float:
                return float(spearmanr(values[rest], data.accuracy[rest]).statistic)

            found.setdefault(f"{n}", []).append(rho(foretold(data, rows)))
            found.setdefault(f"gain {n}", []).append(found[f"{n}"][-1] - rho(data.sed))
            found.setdefault(f"over sed/1 {n}", []).append(found[f"{n}"][-1] - rho(data.first))
            if n == 20:
                found.setdefault("counts 20", []).append(rho(foretold(data, rows, counts)))
    alone, first = (float(spearmanr(s, data.accuracy).statistic) for s in (data.sed, data.first))
    return {"set": data, "alone": alone, "first": first, **{k: np.array(v) for k, v in found.items()}}


def _spread(values: Array) -> str:
    low, high = np.quantile(values, [0.05, 0.95])
    return f"{values.mean():.3f} ({low:.2f} to {high:.2f})"


def few_shot_section(results: Sequence[dict[str, Any]], draws: int) -> str:
    rows = [
        {
            "set": r["set"].name,
            "networks": len(r["set"].sed),
            "sed/1 alone": f"{r['first']:.3f}",
            "score alone": f"{r['alone']:.3f}",
            **{f"{n} trained": _spread(r[f"{n}"]) for n in SIZES},
            "params, MACs, depth: 20": _spread(r["counts 20"]),
        }
        for r in results
    ]
    by_benchmark: dict[str, list[dict[str, Any]]] = {}
    for r in results:
        by_benchmark.setdefault(r["set"].benchmark, []).append(r)

    def mean(value: Callable[[dict[str, Any]], float]) -> float:
        return float(np.mean([np.mean([value(r) for r in found]) for found in by_benchmark.values()]))

    gains = {n: mean(lambda r, n=n: r[f"gain {n}"].mean()) for n in SIZES}
    over_first = {n: mean(lambda r, n=n: r[f"over sed/1 {n}"].mean()) for n in SIZES}
    worst = {n: min((float(r[f"gain {n}"].mean()), r["set"].name) for r in results) for n in SIZES}
    over = mean(lambda r: r["20"].mean() - r["counts 20"].mean())
    lines = [
        "## A few trained networks",
        f"ρ on the networks that were not trained, mean of {draws} draws (5 to 95 % of the draws in brackets). "
        f"At most {MOST:,} networks a set. NAS-Bench-301's accuracies are a surrogate's.",
        tables.to_markdown(rows, list(rows[0])),
        f"Above the score alone, each benchmark once: {', '.join(f'{gains[n]:+.3f} with {n}' for n in SIZES)}; "
        f"above sed/1 alone: {', '.join(f'{over_first[n]:+.3f}' for n in SIZES)}. "
        f"At 20 above the same process on params, MACs and depth: {over:+.3f}. "
        f"Lowest set: {', '.join(f'{worst[n][0]:+.3f} with {n} ({worst[n][1]})' for n in SIZES)}.",
    ]
    return "\n\n".join(lines)


# -- ImageNet ------------------------------------------------------------------------------------------------


def left_out(data: Candidates, accuracy: Array, columns: Sequence[str] | None) -> dict[str, Any]:
    """Each model file left out in turn, with all features, some of them, or none but the score."""
    groups = [str(f) for f in data.families or ()]
    chosen = list(NAMES) if columns is None else list(columns)
    features = data.features[:, [NAMES.index(c) for c in chosen]]
    mean = features[:, 0] if columns else data.sed
    scale, target = linear(mean), by_error(accuracy, 100.0)
    nothing = Points(np.zeros((len(mean), 1)), np.zeros((len(mean), 0)))
    x = domain_of(features, features, groups).inputs(features) if chosen else nothing
    s, z = scale.to_normal(mean), target.to_normal(accuracy)
    fold = folds(fit(x, s, z, np.zeros(len(z))), s, z, groups)
    off = np.abs(fold.mean - z) / np.sqrt(fold.variance)
    halves = np.array([hash_of(g) % 2 for g in groups])
    factor = np.where(halves == 0, *(np.quantile(off[halves == h], 0.9) / 1.645 for h in (1, 0)))
    figures = held_out("", 0, fold, accuracy, mean, target, 1.0)
    covered = float(np.mean(off <= 1.645 * factor))
    width = held_out("", 0, fold, accuracy, mean, target, float(np.mean(factor))).width
    return {
        "mean error": f"{figures.error:.2f}",
        "median": f"{figures.median_error:.2f}",
        "ρ": f"{figures.spearman:.3f}",
        "covered as fitted": f"{figures.covered:.1%}",
        "covered when widened": f"{covered:.1%}",
        "median width": f"{width:.1f}",
    }


def hash_of(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0]


def imagenet_section(folder: Path, every: dict[str, dict[str, float]]) -> str:
    nets = candidates(list(every["timm"]), folder)
    keep = np.flatnonzero(nets.known())
    data = Candidates(
        tuple(nets.names[i] for i in keep),
        nets.sed[keep],
        nets.features[keep],
        nets.definition,
        tuple((nets.families or ())[i] for i in keep),
    )
    accuracy = np.array([every["timm"][n] for n in data.names])
    kinds: dict[str, Sequence[str] | None] = {
        "the score alone": (),
        "params, MACs": ("params", "macs"),
        "params, MACs, activations, depth": ("params", "macs", "activations", "chain"),
        "all": None,
    }
    rows = [{"numbers used": k, **left_out(data, accuracy, c)} for k, c in kinds.items()]
    return "\n\n".join(
        [
            "## ImageNet accuracy of an unseen architecture",
            f"timm's results, {len(data.names)} architectures; each of {len(set(data.families or ()))} model files "
            "left out in turn; errors in points of top-1. The factor that widens intervals is taken from one half of "
            "the files and tried on the other.",
            tables.to_markdown(rows, list(rows[0])),
        ]
    )


def carried_section(folder: Path, every: dict[str, dict[str, float]], known: Calibration) -> str:
    rows = []
    for name, accuracies in every.items():
        if name == "timm":
            continue
        data = zoo_set(name, accuracies, folder)
        said = known.accuracies(data.sed, data.features)
        outside = known.domain.outside(data.features, known.mixture.inputs, known.features)
        rows.append(
            {
                "trained by": name,
                "networks": len(said),
                "ρ": f"{spearmanr(said, data.accuracy).statistic:.3f}",
                "score alone": f"{spearmanr(data.sed, data.accuracy).statistic:.3f}",
                "MACs": f"{spearmanr(data.features[:, NAMES.index('macs')], data.accuracy).statistic:.3f}",
                "foretold minus measured, median": "–"
                if "top-5" in name
                else f"{np.median(said - data.accuracy):+.1f}",
                "called outside": f"{np.mean([r is not None for r in outside]):.0%}",
            }
        )
    return "\n\n".join(
        [
            "## Carried to networks that others trained",
            "The shipped calibration, whose recipes are the best of each architecture; many of these architectures are "
            "among those it has seen, with other accuracies. A level that is too high is the recipes'.",
            tables.to_markdown(rows, list(rows[0])),
        ]
    )


def outside_section(sets: Sequence[Set], known: Calibration) -> str:
    first = {s.benchmark: s for s in reversed(sets) if s.benchmark not in ("timm", "pytorchcv")}
    rows = []
    for name, data in first.items():
        reasons = known.domain.outside(data.features, known.mixture.inputs, known.features)
        kinds = [re.split(r" is |:", r)[0] for r in reasons if r]
        usual = max(set(kinds), key=kinds.count) if kinds else "–"
        share = f"{np.mean([r is not None for r in reasons]):.1%}"
        rows.append({"space": name, "networks": len(reasons), "called outside": share, "mostly for": usual})
    return "\n\n".join(
        [
            "## What the shipped calibration knows nothing of",
            "Most networks of these spaces are small ones for small images. Accel-NASBench's are ImageNet networks, "
            "and known; TransNAS-Bench's read images of 256 pixels.",
            tables.to_markdown(rows, list(rows[0])),
        ]
    )


# -- counterparts --------------------------------------------------------------------------------------------


def counterparts_section(file: Path, size: int, draws: int) -> str:
    """Networks trained here: calibrated on 20, the others foretold, beside proxies that run the network."""
    runs = read_runs(file)
    means = measured_in(runs).values
    named = re.match(r"nasbench201 width=(\d+) cells=(\d+)", runs.rows[0].space or "")
    assert named
    first = {r.network: r for r in runs.rows if r.seed == 0 and r.params is not None}
    names = [n for n in first if n in means]
    scores = [
        sed_torch.score(
            space_network("nasbench201", n, 10, int(named[1]), int(named[2])), input_size=(1, 3, size, size)
        )
        for n in names
    ]
    features = np.array([list(s.features.values()) for s in scores])
    sed = np.array([np.nan if s.total is None else s.total for s in scores])
    data = _set(file.stem, "", sed, features, [means[n] for n in names])
    known = np.isfinite(sed) & np.isfinite(features).all(axis=1)
    names = [n for n, k in zip(names, known, strict=True) if k]
    rivals = {
        p: np.array([first[n].predictor(p) or np.nan for n in names])
        for p in ("params", "macs", *runs.proxies)
    }
    found: dict[str, list[float]] = {}
    inside: list[float] = []
    errors: list[float] = []
    for draw in range(draws):
        rows = np.random.default_rng(draw).permutation(len(names))[:20]
        rest = np.setdiff1d(np.arange(len(names)), rows)
        nets = Candidates(tuple(names), data.sed, data.features, DEFAULT_DEFINITION)
        fitted = calibrate(nets, {names[i]: data.accuracy[i] for i in rows})
        middle, low, high = fitted.intervals(data.sed, data.features)
        for name, values in {"calibrated on 20": middle, "SED": data.sed, **rivals}.items():
            ok = rest[np.isfinite(values[rest])]
            found.setdefault(name, []).append(float(spearmanr(values[ok], data.accuracy[ok]).statistic))
        errors.append(float(np.abs(middle - data.accuracy)[rest].mean()))
        inside.append(float(np.mean((low <= data.accuracy)[rest] & (data.accuracy <= high)[rest])))
    seeds = [
        {r.network: r.test_accuracy for r in runs.finals if r.trained and r.seed == s} for s in runs.seeds
    ]
    both = [n for n in names if all(n in s for s in seeds)]
    ceiling = spearmanr([seeds[0][n] for n in both], [seeds[-1][n] for n in both]).statistic
    table = [{"predictor": k, "ρ": _spread(np.array(v))} for k, v in found.items()]
    table.sort(key=lambda row: -float(row["ρ"].split()[0]))
    return "\n\n".join(
        [
            "## Trained counterparts of our own",
            f"{len(names)} cells of NAS-Bench-201, {runs.rows[0].space}, on 10,000 images of Fashion-MNIST at "
            f"{size} × {size} pixels, {len(seeds)} seeds each ({len(both)} with all), {runs.rows[0].recipe}; trained "
            f"on two busy cores of an x86 CPU ({runs.rows[0].device}; {runs.rows[0].software}). [Runs]({file.name}). "
            f"One seed orders the networks like the other with ρ {ceiling:.3f}.",
            f"ρ on the networks left, mean of {draws} draws of 20 to calibrate on; the proxies ran the network, SED "
            "and the calibration did not.",
            tables.to_markdown(table, list(table[0])),
            f"Calibrated on 20, the others are foretold within {np.mean(errors):.2f} points on average, and "
            f"{np.mean(inside):.0%} lie in their 90 % intervals.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topologies", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    here = Path(__file__).resolve().parent / "results"
    parser.add_argument("--runs", type=Path, default=here / "counterparts-fashion.csv")
    parser.add_argument("-o", "--output", type=Path, default=here / "calibration.md")
    args = parser.parse_args()
    every = zoos()
    trace_all((ref for refs in every.values() for ref in refs), args.topologies, args.jobs)
    sets = [*benchmark_sets(), *trained_sets()]
    sets += [zoo_set(n, every[n], args.topologies) for n in ("timm", "pytorchcv (top-5)")]
    results = []
    for data in sets:
        print(data.name, file=sys.stderr, flush=True)
        results.append(few_shot(data, args.draws))
    known = imagenet()
    made = ", ".join(f"{k} {v}" for k, v in versions().items())
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    sections = [
        "# From score to accuracy",
        f"Made by `python examples/calibration_report.py` on {day} with {made}. Score: `{DEFAULT_DEFINITION}`; "
        f"{len(FEATURES)} features of the topology. ρ is Spearman's.",
        few_shot_section(results, args.draws),
        imagenet_section(args.topologies, every),
        carried_section(args.topologies, every, known),
        outside_section(sets, known),
    ]
    if args.runs.exists():
        sections.append(counterparts_section(args.runs, 16, args.draws))
    args.output.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    print(args.output)


if __name__ == "__main__":
    main()
