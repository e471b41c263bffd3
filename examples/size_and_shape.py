"""What is left of the score at equal size: partial correlations on every public set, and what the shape is worth.

python examples/size_and_shape.py --topologies FOLDER [-o examples/results/size-and-shape.md]

Needs the public accuracies (``SED_TORCH_DATA``), timm, torchvision and pytorchcv. FOLDER keeps the traced networks of
zoos from one run to the next, as for ``calibration_report.py``. Of spaces at most ``MOST`` networks a set are taken.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from calibration_report import rows_of, zoos
from numpy.typing import NDArray
from zoo_topologies import families_and_topologies, trace_all

from sed_torch import tables
from sed_torch.evidence.benchmarks import BENCHMARKS, load, scorer, space_of
from sed_torch.evidence.correlation import Partial, partial_spearman, spearman
from sed_torch.scoring import DEFAULT_DEFINITION, evaluate
from sed_torch.scoring.model import versions
from sed_torch.scoring.standing import read_reference
from sed_torch.topology import Topology

Array = NDArray[np.float64]

SPACES = (
    *("nasbench201", "nasbench101", "nasbench301", "transnas_micro", "transnas_macro"),
    *("accel_nasbench", "nasbench_macro"),
)
MOST, RESAMPLES = 5_000, 500
NAMED = 60
"""Networks whose size the law of the reference table knows, for the shape's own correlation to be told."""


@dataclass(frozen=True)
class Set:
    """Networks with a finite score, their accuracies and sizes; positions are of the input."""

    name: str
    sed: Array
    accuracy: Array
    params: Array
    macs: Array
    positions: Array

    def known(self) -> Set:
        """Those that are finite."""
        keep = np.isfinite(self.sed) & np.isfinite(self.accuracy)
        return Set(self.name, *(v[keep] for v in self.columns()))

    def columns(self) -> tuple[Array, ...]:
        return self.sed, self.accuracy, self.params, self.macs, self.positions


def space_sets() -> Iterator[Set]:
    """Every dataset of the benchmark report; params and MACs are the published counts, dead edges and all."""
    for name in SPACES:
        for dataset in BENCHMARKS[name]:
            if dataset.startswith("naslib"):
                continue
            table, space = load(name, dataset), space_of(name)
            rows = np.sort(np.random.default_rng(0).permutation(len(table))[:MOST])
            archs = [table.archs[i] for i in rows]
            counts = space.count_many(archs, ("params", "macs"))
            side = np.full(len(archs), float(space.image_size) ** 2)
            sed = scorer(name, dataset)(archs)
            yield Set(
                f"{name} {dataset}", sed, table.accuracy[rows], counts["params"], counts["macs"], side
            ).known()


def zoo_sets(folder: Path) -> Iterator[Set]:
    every = zoos()
    every["MMPretrain, all"] = {
        f"timm:{r['timm']}@{r['size']}": float(r["top1"]) for r in rows_of("mmpretrain_imagenet.csv")
    }
    for dataset in ("cifar10", "cifar100", "svhn"):
        every[f"pytorchcv {dataset}"] = {
            f"cv:{r['model']}": float(r["accuracy"])
            for r in rows_of("pytorchcv.csv")
            if r["dataset"] == dataset
        }
    trace_all((ref for refs in every.values() for ref in refs), folder)
    for name, accuracies in every.items():
        rows = []
        for ref, _, topology in families_and_topologies(list(accuracies), folder):
            total = evaluate(topology).total
            params = float(sum(s.params for s in topology.steps))
            rows.append(
                (
                    np.nan if total is None else total,
                    accuracies[ref],
                    params,
                    topology.macs,
                    _positions(topology),
                )
            )
        yield Set(name, *np.array(rows, dtype=np.float64).T).known()


def _positions(topology: Topology) -> float:
    """Of the largest map that an operator reads: the input's, but for padding."""
    live = (topology.steps[i] for i in topology.live)
    return max(s.positions * float(np.prod(s.stride)) for s in live if s.kind == "mix")


def line(data: Set) -> dict[str, Any]:
    law = read_reference().law
    covariates = {"log-params": np.log(data.params), "log-MACs": np.log(data.macs)}
    own = partial_spearman(data.sed, data.accuracy, covariates, n_bootstrap=RESAMPLES)
    sides = law.positions
    inside = np.array(
        [
            sides[0] <= a <= sides[1] and law.leverage(p, m, a) <= 1.0 + 1e-9
            for p, m, a in zip(data.params, data.macs, data.positions, strict=True)
        ]
    )
    found = {
        "set": data.name,
        "networks": f"{len(data.sed):,}",
        "SED ρ": _number(spearman(data.sed, data.accuracy)),
        "params ρ": _number(spearman(data.params, data.accuracy)),
        "MACs ρ": _number(spearman(data.macs, data.accuracy)),
        "SED, size held fixed": _partial(own),
        "verdict": _verdict(own),
    }
    if inside.sum() < min(NAMED, 0.8 * len(data.sed)):
        return {**found, "shape known": f"{inside.mean():.0%}", "shape ρ": "–", "shape, size held fixed": "–"}
    rows = zip(*(v[inside].tolist() for v in (data.sed, data.params, data.macs, data.positions)), strict=True)
    shape = np.array([law.nats(*row) for row in rows])
    accuracy = data.accuracy[inside]
    held = {k: v[inside] for k, v in covariates.items()}
    return {
        **found,
        "shape known": f"{inside.mean():.0%}",
        "shape ρ": _number(spearman(shape, accuracy)),
        "shape, size held fixed": _partial(partial_spearman(shape, accuracy, held, n_bootstrap=RESAMPLES)),
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _partial(found: Partial) -> str:
    return "–" if found.value is None else f"{found.value:.3f} {found.interval or ''}".rstrip()


def _verdict(found: Partial) -> str:
    if found.interval is None:
        return "–"
    return "above 0" if found.interval.low > 0 else "below 0" if found.interval.high < 0 else "unclear"


def moved() -> str:
    """How far a network's score and shape move over the inputs of the reference table."""
    law = read_reference().law
    names = {r.name for r in law.rows}
    spread: dict[str, list[float]] = {"score": [], "shape": []}
    for name in names:
        rows = [r for r in law.rows if r.name == name]
        if len(rows) > 3:
            spread["score"].append(float(np.std([r.sed for r in rows])))
            spread["shape"].append(float(np.std([law.nats(*r[1:]) for r in rows])))
    at = [law.nats(*r[1:]) for r in law.rows if r.positions == 224**2]
    a, b, c, d = law.coefficients
    return (
        f"SED ≈ {a:.2f} {b:+.3f} · ln params {c:+.3f} · ln MACs {d:+.3f} · ln A over {len(names)} networks of "
        f"torchvision at inputs of {law.positions[0] ** 0.5:.0f} to {law.positions[1] ** 0.5:.0f} pixels a side "
        f"({len(law.rows)} scores). The shapes of these networks at 224 × 224 spread with a standard deviation of "
        f"{np.std(at):.2f} nats. Over the inputs, one network's score moves by {np.mean(spread['score']):.2f} nats "
        f"(standard deviation, mean of {len(spread['score'])} networks that read several inputs), its shape by "
        f"{np.mean(spread['shape']):.3f}, at most {max(spread['shape']):.3f}."
    )


def report(lines: Sequence[dict[str, Any]]) -> str:
    stamp = ", ".join(f"{k} {v}" for k, v in versions().items())
    said = {
        v: ", ".join(r["set"] for r in lines if r["verdict"] == v) or "none" for v in ("below 0", "unclear")
    }
    parts = [
        "# Size and shape told apart",
        f"Made by `python examples/size_and_shape.py` on {datetime.datetime.now(datetime.timezone.utc).date()} with "
        f"{stamp}. Score: `{DEFAULT_DEFINITION}`.",
        "## The law of size",
        moved(),
        "## What is left at equal parameters and multiply-accumulates",
        "Spearman's ρ with trained accuracy, and its partial ρ with log-params and log-MACs held fixed (rank "
        f"residuals; 95 % bootstrap intervals over networks, {RESAMPLES} resamples). Networks without a live path are "
        "left out: score and accuracy of those are low alike, which would flatter the score. Published counts of "
        "parameters hold dead edges too. *Shape* is the score minus the law above, told where the law knows the "
        "networks' size.",
        tables.to_markdown(lines, list(lines[0])),
        "A shape is for networks of like size: across sizes it orders worse than the score, and where one size "
        "rules, against accuracy.",
        f"Below 0: {said['below 0']}. Unclear, 0 in the interval: {said['unclear']}.",
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topologies", type=Path, required=True)
    here = Path(__file__).resolve().parent / "results"
    parser.add_argument("-o", "--output", type=Path, default=here / "size-and-shape.md")
    args = parser.parse_args()
    lines = []
    for data in (*zoo_sets(args.topologies), *space_sets()):
        print(data.name, file=sys.stderr, flush=True)
        lines.append(line(data))
    args.output.write_text(report(lines), encoding="utf-8")
    print(args.output)


if __name__ == "__main__":
    main()
