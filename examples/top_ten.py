"""Train the ten networks that SED ranks first: how good is the best of them?

For every benchmark whose file is in the data folder: among all its networks, the ten with the highest score, and where
the most accurate of these ten stands among all. Beside it ten by parameters, by MACs, at random, and by the public
proxy that does best on that benchmark, with SED on the same rows.

python examples/top_ten.py --data FOLDER -o examples/results/top-ten.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sed_torch import tables
from sed_torch._version import __version__
from sed_torch.errors import DataError
from sed_torch.evidence.benchmarks import BENCHMARKS, BenchmarkTable, load, scorer, space_of

SPACES = (
    *("nasbench201", "nasbench101", "nasbench301", "transnas_micro", "transnas_macro"),
    *("accel_nasbench", "nasbench_macro", "nats_size"),
)
TEN = 10


def standing(values: NDArray[np.float64], accuracy: NDArray[np.float64], k: int = TEN) -> float | None:
    """Where the best of the k highest values stands: the share of networks that are at least as accurate, in (0, 1].

    Networks that have no value are left out; of equal values those that come first in the file are taken.
    None where fewer than k networks have a value.
    """
    known = ~np.isnan(values)  # -inf is a score: of a network without a live path
    if known.sum() < k:
        return None
    order = np.argsort(-values[known], kind="stable")[:k]
    best = accuracy[known][order].max()
    return float((accuracy[known] >= best).mean())


def at_random(n: int, k: int = TEN) -> float:
    """The mean of the same for k networks of n drawn at random."""
    return (n + 1) / (k + 1) / n


@dataclass(frozen=True)
class Row:
    """Shares of a benchmark's task, each in (0, 1], lower is better."""

    benchmark: str
    dataset: str
    n: int
    sed: float
    params: float
    macs: float
    rival: str
    rival_share: float | None
    sed_there: float | None

    @property
    def chance(self) -> float:
        """Of ten at random."""
        return at_random(self.n)


def row_of(table: BenchmarkTable, scores: NDArray[np.float64]) -> Row:
    """One task of a benchmark."""
    sed = standing(scores, table.accuracy)
    assert sed is not None
    rivals = {n: s for n, v in table.rivals.items() if (s := standing(v, table.accuracy)) is not None}
    best = min(rivals, key=lambda n: rivals[n]) if rivals else ""
    there = None
    if best:
        known = np.isfinite(table.rivals[best])
        there = standing(np.where(known, scores, np.nan), np.where(known, table.accuracy, -np.inf))
    assert table.params is not None
    assert table.macs is not None
    params, macs = standing(table.params, table.accuracy), standing(table.macs, table.accuracy)
    assert params is not None
    assert macs is not None
    return Row(table.benchmark, table.dataset, len(table), sed, params, macs, best, rivals.get(best), there)


def rows_of(folder: str | None, spaces: Sequence[str] = SPACES) -> list[Row]:
    """All tasks of the benchmarks whose files are there."""
    found = []
    for name in spaces:
        for dataset in BENCHMARKS.get(name, ()):
            try:
                table = load(name, dataset, folder)
            except DataError as error:
                print(f"{name} {dataset}: {error}")
                continue
            counts = space_of(name).count_many(table.archs, ("params", "macs"))
            rivals = {n: v for n, v in table.rivals.items() if n not in ("params", "flops")}
            table = replace(table, params=counts["params"], macs=counts["macs"], rivals=rivals)
            found.append(row_of(table, scorer(name, dataset)(table.archs)))
            print(f"{name} {dataset}: best {found[-1].sed:.2%}")
    return found


def page(rows: Sequence[Row]) -> str:
    """The report."""
    columns = (
        "benchmark",
        "dataset",
        "n",
        "SED",
        "params",
        "MACs",
        "random",
        "best public proxy",
        "SED there",
    )

    def percent(share: float | None) -> str:
        return "–" if share is None else f"{share:.2%}"

    shown = [
        {
            "benchmark": r.benchmark,
            "dataset": r.dataset,
            "n": f"{r.n:,}",
            "SED": percent(r.sed),
            "params": percent(r.params),
            "MACs": percent(r.macs),
            "random": percent(r.chance),
            "best public proxy": f"{r.rival} {percent(r.rival_share)}" if r.rival else None,
            "SED there": percent(r.sed_there),
        }
        for r in rows
    ]
    shares = [r.sed for r in rows]
    sizes = {n: np.median([getattr(r, n) for r in rows]) for n in ("params", "macs")}
    worse = [f"{r.benchmark} {r.dataset} ({r.sed:.1%})" for r in rows if r.sed >= r.chance]
    below = [r for r in rows if r.macs < r.sed]
    lines = [
        "# Train ten, hold one of the best",
        "",
        f"Made by `python examples/top_ten.py --data FOLDER`, sed-torch {__version__}.",
        "",
        f"Train the ten that SED ranks first, and you hold one of the best {np.median(shares):.1%} of the space in the "
        f"median of {len(rows)} tasks, one of the best {max(shares):.1%} in the worst; ten at random hold one of the "
        "best 9.1 %.",
        "",
        f"Ten by parameters hold one of the best {sizes['params']:.1%} in the median, ten by MACs one of the best "
        f"{sizes['macs']:.1%}: without a limit on size, size is as good a guide.",
        "",
        f"SED does no better than ten at random on {', '.join(worse) if worse else 'none of them'}. Ten by MACs hold a "
        f"better one than ten by SED on {len(below)} of {len(rows)} tasks.",
        "",
        tables.to_markdown(shown, columns),
        "",
        "A share says how many of all networks are at least as accurate as the best of the ten: lower is better. The "
        "best public proxy is chosen by this very figure, which favours it; *SED there* is of the same rows.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of benchmark files; SED_TORCH_DATA when not given")
    parser.add_argument("--only", action="append", choices=SPACES, help="a benchmark; may be repeated")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    text = page(rows_of(args.data, args.only or SPACES))
    if args.output is None:
        print(text)
    else:
        args.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
