"""Third round of the search for a score: norms over scales, of which sed/2 was chosen. Every table by one command.

python examples/score_scales.py --topologies FOLDER [-o examples/results/score-scales.md]

Needs the public accuracies (``SED_TORCH_DATA``), timm, torchvision and pytorchcv; the first two rounds are
``score_search.py``'s. FOLDER keeps the topologies of published models from one run to the next.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from calibration_report import rows_of
from numpy.typing import NDArray
from score_fields import CALCULI, Fields
from score_search import (
    RESAMPLES,
    SCALE_TERMS,
    Form,
    Nets,
    Rows,
    by_scale,
    change_lines,
    even,
    figures,
    markdown,
    mean_by_benchmark,
    of_space,
    over_scales,
    sample,
    total,
)
from zoo_topologies import families_and_topologies, trace_all

from sed_torch.entropy import Field
from sed_torch.evidence import torchvision_accuracies
from sed_torch.evidence.benchmarks import BENCHMARKS, load, space_of
from sed_torch.scoring.model import versions
from sed_torch.topology import Topology

Array = NDArray[np.float64]
Prepared = Sequence[tuple[Rows, "ScaleNets"]]

BASE = "A·C_out·√f (sed/1)"
TERM = "√(C_out·f)·g^¼"
CHOSEN = f"{TERM}, mean over scales, end 2, r^0.5"
COMPARED = (
    CHOSEN,
    f"{TERM}, mean over scales, end 4, r^0.5",
    "√(C_out·f), mean over scales, end 2, r^0.5",
    "C_out·√f, mean over scales, end 2, r^0.7",
    "C_out·ln(1+f), mean over scales, end 2, r^0.7",
)
"""Forms whose differences from sed/1 get intervals."""


# --- what these forms need besides ---------------------------------------------------------------------------


class ScaleNets(Nets):
    """Operators with what the map that each reads is worth as a whole, and what each renews of the sum it joins."""

    @cached_property
    def _fields(self) -> list[Fields]:
        return [CALCULI[""](t) for t in self.topologies]

    @cached_property
    def flat(self) -> Array:
        """Entropy power a position of the map that each operator reads, by Szegő's theorem."""
        return np.array(
            [
                flatness(field)
                for net, fields in zip(self.topologies, self._fields, strict=True)
                for i, step in enumerate(net.steps)
                if step.kind == "mix"
                and fields[i] is not None
                and (field := fields[step.inputs[0]]) is not None
            ]
        )

    @cached_property
    def renewed(self) -> Array:
        """Share of the variance of the sums behind it that is new with each operator; 1 outside residual branches."""
        found: list[float] = []
        for net, fields in zip(self.topologies, self._fields, strict=True):
            found += [
                u
                for u, s, f in zip(_renewed(net, fields), net.steps, fields, strict=True)
                if s.kind == "mix" and f
            ]
        return np.array(found)

    @cached_property
    def chains(self) -> Array:
        return np.array([float(t.depth) for t in self.topologies])


@lru_cache(maxsize=1 << 14)
def flatness(field: Field) -> float:
    """Spectral flatness: the geometric mean of the spectrum over its arithmetic mean, the constant part left out."""
    if field.variance <= 0.0:
        return 0.0
    spectrum = np.asarray(field.lags, dtype=np.float64)
    if field.ndim == 0 or spectrum.size == 1:
        return float(spectrum.reshape(-1)[0] / field.variance) if field.ndim else 1.0
    for axis, n in enumerate(spectrum.shape):
        grid = (np.arange(max(64, 4 * n)) + 0.5) * np.pi / max(64, 4 * n)
        cosines = np.cos(np.outer(grid, np.arange(n))) * np.where(np.arange(n) == 0, 1, 2)
        spectrum = np.moveaxis(np.tensordot(cosines, np.moveaxis(spectrum, axis, 0), axes=1), 0, axis)
    return float(np.exp(np.mean(np.log(np.maximum(spectrum, 1e-6 * field.variance)))) / field.variance)


def _renewed(net: Topology, fields: Fields) -> list[float]:
    share = [0.0] * len(net)
    for o in net.outputs:
        share[o] = 1.0
    for i in range(len(net) - 1, -1, -1):
        if fields[i] is None:
            continue
        step, skips = net.steps[i], net.skips.get(i, frozenset())
        variances = [f.variance if (f := fields[j]) is not None else 0.0 for j in step.inputs]
        for p, j in enumerate(step.inputs):
            branch = step.kind == "add" and skips and p not in skips
            own = variances[p] / (sum(variances) or 1.0) if branch else 1.0
            share[j] = max(share[j], share[i] * own)
    return share


# --- rows ----------------------------------------------------------------------------------------------------


def half_of(benchmark: str, title: str, size: int, *, tuning: bool) -> Rows:
    """Of the networks whose code's SHA-256 is even, or of the others."""
    table = load(benchmark)
    mine = np.array([i for i, a in enumerate(table.archs) if (_parity(a) == 0) == tuning])
    rows = mine[sample(len(mine), size, 6)]
    nets, accuracy = of_space(benchmark, BENCHMARKS[benchmark][0], rows)
    return Rows(title, nets, {"all": (np.arange(len(nets)), accuracy)})


def _parity(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[-1] % 2


def cells(*, tuning: bool) -> Rows:
    half = np.array_split(np.random.default_rng(0).permutation(15_625), 2)[0 if tuning else 1]
    rows = half[sample(len(half), 1000, 1)]
    space, archs = space_of("nasbench201"), load("nasbench201").archs
    datasets = ("cifar10",) if tuning else BENCHMARKS["nasbench201"]
    sets = {d: (np.arange(len(rows)), load("nasbench201", d).accuracy[rows]) for d in datasets}
    return Rows("NAS-Bench-201", [space.topology(archs[i]) for i in rows], sets)


def tasks(benchmark: str) -> Rows:
    """Six tasks, the autoencoder left out: its accuracy is of another kind."""
    tables = {t: load(benchmark, t) for t in BENCHMARKS[benchmark] if t != "autoencoder"}
    archs = sorted(set.intersection(*(set(t.archs) for t in tables.values())))
    chosen = [archs[i] for i in sample(len(archs), 600, 4)]
    sets = {}
    for task, table in tables.items():
        where = {a: i for i, a in enumerate(table.archs)}
        sets[task] = (np.arange(len(chosen)), table.accuracy[[where[a] for a in chosen]])
    return Rows(benchmark, [space_of(benchmark).topology(a) for a in chosen], sets)


def published(title: str, accuracies: Mapping[str, float], folder: Path) -> Rows:
    trace_all(accuracies, folder)
    found = list(families_and_topologies(list(accuracies), folder))
    values = np.array([accuracies[ref] for ref, _, _ in found])
    return Rows(
        title,
        [t for _, _, t in found],
        {"all": (np.arange(len(found)), values)},
        np.array([f for _, f, _ in found]),
    )


def timm(*, tuning: bool) -> dict[str, float]:
    table = load("timm")
    pairs = zip(table.archs, table.accuracy.tolist(), strict=True)
    return {f"timm:{name}": value for name, value in pairs if even(name) == tuning}


def tuned_rows(folder: Path) -> Iterator[Rows]:
    yield cells(tuning=True)
    for dataset, size in (("val_108ep_one_run", 900), ("test_108ep", 400)):
        table = load("nasbench101", dataset)
        nets, accuracy = of_space("nasbench101", dataset, sample(len(table), size, 3))
        yield Rows(f"NAS-Bench-101 {dataset.split('_')[0]}", nets, {"all": (np.arange(len(nets)), accuracy)})
    yield half_of("accel_nasbench", "Accel-NASBench", 1000, tuning=True)
    yield half_of("nasbench_macro", "NAS-Bench-Macro", 800, tuning=True)
    yield published("timm, even", timm(tuning=True), folder)


def untuned_rows(folder: Path) -> Iterator[Rows]:
    yield cells(tuning=False)
    yield tasks("transnas_micro")
    yield tasks("transnas_macro")
    table = load("nasbench301")
    nets, accuracy = of_space("nasbench301", "cifar10", sample(len(table), 500, 5))
    yield Rows("NAS-Bench-301", nets, {"all": (np.arange(len(nets)), accuracy)})
    yield half_of("accel_nasbench", "Accel-NASBench", 1000, tuning=False)
    yield half_of("nasbench_macro", "NAS-Bench-Macro", 800, tuning=False)
    yield published("timm, odd", timm(tuning=False), folder)
    vision = torchvision_accuracies("V1")
    yield published("torchvision", {f"torchvision:{r.name}": r.accuracy for r in vision.rows}, folder)
    pycls = load("pycls")
    names = [f"timm:{a}" for a in pycls.archs]
    yield published("pycls", dict(zip(names, pycls.accuracy.tolist(), strict=True)), folder)
    for title, own in (("MMPretrain all", False), ("MMPretrain own", True)):
        rows = [r for r in rows_of("mmpretrain_imagenet.csv") if not own or r["own"] == "True"]
        yield published(title, {f"timm:{r['timm']}@{r['size']}": float(r["top1"]) for r in rows}, folder)
    for title, dataset in (
        ("pytorchcv-ImageNet", "imagenet_top5"),
        ("pytorchcv CIFAR-10", "cifar10"),
        ("pytorchcv CIFAR-100", "cifar100"),
        ("pytorchcv SVHN", "svhn"),
    ):
        rows = [r for r in rows_of("pytorchcv.csv") if r["dataset"] == dataset]
        yield published(title, {f"cv:{r['model']}": float(r["accuracy"]) for r in rows}, folder)


# --- forms ---------------------------------------------------------------------------------------------------


def forms() -> dict[str, Form]:
    term, half = SCALE_TERMS[TERM], math.log(2)
    found: dict[str, Form] = {
        BASE: total(lambda x: x.A * x.cout * np.sqrt(x.f)),
        "Σ A·C_out (activations)": total(lambda x: x.A * x.cout),
        "MACs": total(lambda x: x.A * x.cin * x.n * x.cout),
        "params": total(lambda x: x.cin * x.n * x.cout),
        "operators": total(lambda x: np.ones_like(x.f)),
        "longest chain": lambda x: np.asarray(x.chains),  # type: ignore[attr-defined]
        "√(C_out·f), scales by effective positions A·e^(mean ln spectrum)": over_scales(
            SCALE_TERMS["√(C_out·f)"],
            0.0,
            0.5,
            lambda x: np.maximum(x.A * x.flat, 1e-3),  # type: ignore[attr-defined]
        ),
        "√(C_out·C_in/g·n)·whole map's entropy power": over_scales(
            lambda x: np.sqrt(x.cout * x.cin * x.n * x.flat),
            0.0,
            0.5,  # type: ignore[attr-defined]
        ),
    }
    for e in (0.25, 0.5, 1.0):
        found[f"{TERM} · (share of the sum's variance)^{e:g}, end 2, r^0.5"] = over_scales(
            lambda x, e=e: term(x) * x.renewed**e, half, 0.5
        )
    for p in (1.1, 1.25, 1.5, 2.0):
        found[f"(Σ ({TERM})^{p:g})^(1/{p:g}), end 2, r^0.5"] = over_scales(term, half, 0.5, None, p)
    return found | by_scale()


# --- tables --------------------------------------------------------------------------------------------------

BARS: tuple[tuple[str, float], ...] = (
    ("mean gain", 0.04),
    ("worst loss", -0.04),
    ("Accel-NASBench", 0.75),
    ("NAS-Bench-101 val", 0.55),
    ("timm", 0.83),
    ("timm, in families", 0.895),
    ("NAS-Bench-201 cifar10", 0.90),
    ("NAS-Bench-201 cifar100", 0.88),
    ("NAS-Bench-201 imagenet16", 0.875),
)


def all_figures(every: Mapping[str, Form], parts: Prepared) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, form in every.items():
        found[name] = {}
        for rows, nets in parts:
            found[name] |= figures(form, rows, nets)
    return found


def ordered(found: Mapping[str, Mapping[str, float]]) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = [
        {"form": name, "mean": mean_by_benchmark(f), **f} for name, f in found.items()
    ]
    return sorted(lines, key=lambda line: -float(line["mean"]))  # type: ignore[arg-type]


def against_the_bars(
    every: Mapping[str, Form],
    tuned: Mapping[str, Mapping[str, float]],
    rest: Mapping[str, Mapping[str, float]],
    whole: Prepared,
    untuned: Prepared,
) -> list[dict[str, object]]:
    """What each form has of what is asked, those that meet most first."""
    cells_rows, cells_nets = untuned[0]
    alone = {
        f"NAS-Bench-201 {d}": Rows("x", cells_rows.topologies, {"all": pair})
        for d, pair in cells_rows.sets.items()
    }
    lines: list[dict[str, object]] = []
    for name, form in every.items():
        gains = {c: v - rest[BASE][c] for c, v in rest[name].items()}
        plain = {c: v for c, v in gains.items() if "families" not in c}
        values = {
            "mean gain": mean_by_benchmark(rest[name]) - mean_by_benchmark(rest[BASE]),
            "worst loss": min(plain.values()),
            "Accel-NASBench": (tuned[name]["Accel-NASBench"] + rest[name]["Accel-NASBench"]) / 2,
            "NAS-Bench-101 val": tuned[name]["NAS-Bench-101 val"],
            **{k: v for rows, nets in whole for k, v in figures(form, rows, nets).items()},
            **{k: figures(form, rows, cells_nets)["x"] for k, rows in alone.items()},
        }
        met = [values[b] >= least for b, least in BARS]
        worst = min(plain, key=lambda c: plain[c])
        lines.append(
            {"form": name, "met": f"{sum(met)} of {len(met)}", **{b: values[b] for b, _ in BARS}, "at": worst}
        )
    return sorted(lines, key=lambda line: (-int(str(line["met"]).split()[0]), -float(line["mean gain"])))  # type: ignore[arg-type]


def _exclusion(rest: Mapping[str, Mapping[str, float]]) -> str:
    """Whether any form gains as much as is asked without losing more than is allowed; who comes nearest."""

    def worst(name: str) -> float:
        return min(v - rest[BASE][c] for c, v in rest[name].items() if "families" not in c)

    base = mean_by_benchmark(rest[BASE])
    gaining = {
        n: mean_by_benchmark(f) - base for n, f in rest.items() if mean_by_benchmark(f) - base >= BARS[0][1]
    }
    allowed = [n for n in gaining if worst(n) >= BARS[1][1]]
    near = sorted(gaining, key=lambda n: -worst(n))[:4]
    return (
        f"{len(gaining)} of {len(rest)} forms gain {BARS[0][1]:g} and more on the mean of the rows not tuned on; "
        f"{len(allowed) or 'none'} of them loses no more than {-BARS[1][1]:g} on any set. Nearest: "
        + "; ".join(f"`{n}` (worst {worst(n):+.3f}, mean {gaining[n]:+.3f})" for n in near)
        + "."
    )


def report(tuned: Prepared, untuned: Prepared, whole: Prepared) -> str:
    every = forms()
    on_tuned, on_rest = all_figures(every, tuned), all_figures(every, untuned)
    bars = against_the_bars(every, on_tuned, on_rest, whole, untuned)
    changes = change_lines(every, COMPARED, BASE, untuned)
    counts = [{"rows": r.benchmark, "networks": str(len(r.topologies))} for r, _ in (*tuned, *untuned)]
    stamp = ", ".join(f"{k} {v}" for k, v in versions().items())
    asked = ", ".join(f"{name} ≥ {least:+g}" for name, least in BARS)
    return "\n".join(
        [
            "# Norms over scales, of which sed/2 was chosen",
            "",
            f"{datetime.date.today()}; {stamp}; `python examples/score_scales.py --topologies FOLDER`.",
            "",
            f"All {len(every)} forms of the third round, none left out; the first two rounds are in",
            "[score-search.md](score-search.md). Spearman's ρ; the mean takes each benchmark once; f = (C_in/g)·n_eff.",
            "*Mean over scales, end k, r^e*: the mean over ln r of ln Σ r^e·term over the operators whose map has at",
            "least r positions, r running k times further down than 1. *In families*: mean within timm's families of",
            "8 and more. Rivals by counting stand among the forms.",
            "",
            "What was looked at before choosing: a table of about 120 forms that had been made by looking at all sets.",
            "The scale average itself, its norm and r^½ were found on the rows tuned on. One form (no g, end 4)",
            "was then held against the other rows, where TransNAS macro lost 0.06 and zoos gained little; the factor",
            "g^¼ and the end 2 were chosen after that look, on all rows. Only sets kept aside can confirm these.",
            f"Chosen: `{CHOSEN}`.",
            "",
            markdown(counts),
            "",
            "## Against what was asked",
            "",
            f"On the rows not tuned on: {asked}; gains and losses are against sed/1, Accel-NASBench is the mean of its",
            "halves, timm is whole, NAS-Bench-101 is among the rows tuned on. *At*: the worst loss's set. The bars",
            "exclude each other where no form meets all; the table is the frontier, those that meet most first.",
            "",
            markdown(bars[:30]),
            "",
            _exclusion(on_rest),
            "",
            "## Against sed/1 on the rows not tuned on",
            "",
            f"95 % intervals of {RESAMPLES} paired resamples of the networks.",
            "",
            markdown(changes),
            "",
            "## Rows tuned on",
            "",
            markdown(ordered(on_tuned)),
            "",
            "## Rows not tuned on",
            "",
            markdown(ordered(on_rest)),
            "",
        ]
    )


def prepared(found: Iterator[Rows]) -> list[tuple[Rows, ScaleNets]]:
    parts = []
    for rows in found:
        print(f"{rows.benchmark}: {len(rows.topologies)} networks", flush=True)
        parts.append((rows, ScaleNets(rows.topologies)))
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topologies", type=Path, required=True)
    here = Path(__file__).resolve().parent / "results"
    parser.add_argument("-o", "--output", type=Path, default=here / "score-scales.md")
    args = parser.parse_args()
    tuned, untuned = prepared(tuned_rows(args.topologies)), prepared(untuned_rows(args.topologies))
    both = published("timm", timm(tuning=True) | timm(tuning=False), args.topologies)
    args.output.write_text(report(tuned, untuned, prepared(iter([both]))), encoding="utf-8")
    print(args.output)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
