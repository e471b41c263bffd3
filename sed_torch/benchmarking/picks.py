"""Which trained network a score would have picked, and how good that one is."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sed_torch.errors import InputError
from sed_torch.evidence.benchmarks import BenchmarkTable
from sed_torch.searching import search
from sed_torch.spaces import get_space

__all__ = [
    "BEST",
    "LARGEST",
    "PUBLIC_FLOPS",
    "RANDOM_NETWORK",
    "Pick",
    "SearchRow",
    "half_limit",
    "picks",
    "search_rows",
]

FloatArray = npt.NDArray[np.float64]
Spread = tuple[float, float, float]

PUBLIC_FLOPS = "flops, public"
"""What the benchmark's authors count; ``macs`` are this project's own."""

BEST, LARGEST, MOST_MACS, RANDOM_NETWORK = "best possible", "largest network", "most MACs", "random network"


@dataclass(frozen=True, slots=True)
class Pick:
    """What a predictor picks of a benchmark's networks: the one it likes best.

    Attributes:
        by: the predictor; or :data:`BEST`, the highest accuracy; or :data:`RANDOM_NETWORK`, the mean over all.
        candidates: networks it could choose among: within the limit, and scored by it.
        ties: networks it likes equally well; accuracy and params are their means.
        accuracy: of the pick, in the benchmark's unit, higher is better.
        params: of the pick, or None where unknown.
        percentile: share of the other networks within the limit that are less accurate than it, in [0, 1].
    """

    by: str
    candidates: int
    ties: int
    accuracy: float
    params: float | None
    percentile: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def half_limit(table: BenchmarkTable) -> float | None:
    """Half the parameters of the largest network, or None where they are unknown."""
    return None if table.params is None else float(np.nanmax(table.params)) / 2


def picks(table: BenchmarkTable, scores: FloatArray, limit: float | None = None) -> tuple[Pick, ...]:
    """What SED, each public rival, size and chance pick.

    Args:
        table: networks with accuracies.
        scores: SED of each, shape (n,); -inf is never picked, NaN neither.
        limit: parameters a network may have, or None.

    Raises:
        InputError: a limit where the table has no params, or one that no network meets.
    """
    if limit is not None and table.params is None:
        raise InputError(f"{table.benchmark}: no params to limit")
    within = np.ones(len(table), dtype=bool)
    if limit is not None and table.params is not None:
        within = table.params <= limit
    if not within.any():
        raise InputError(f"{table.benchmark}: no network has at most {limit:g} parameters")
    rivals = {n: v for n, v in table.rivals.items() if n not in ("params", "flops", PUBLIC_FLOPS)}
    counts = {n: v for n, v in ((LARGEST, table.params), (MOST_MACS, table.macs)) if v is not None}
    found = [_pick(table, n, v, within) for n, v in {"SED": scores, **counts, **rivals}.items()]
    chance = _of_rows(table, RANDOM_NETWORK, np.flatnonzero(within), int(within.sum()), within)
    best = _pick(table, BEST, table.accuracy, within)
    return (*(p for p in found if p is not None), chance, *((best,) if best else ()))


def _pick(table: BenchmarkTable, by: str, values: FloatArray, within: npt.NDArray[np.bool_]) -> Pick | None:
    known = within & np.isfinite(values)
    if not known.any():
        return None
    rows = np.flatnonzero(known & (values == values[known].max()))
    return _of_rows(table, by, rows, int(known.sum()), within)


def _of_rows(
    table: BenchmarkTable, by: str, rows: npt.NDArray[Any], candidates: int, within: npt.NDArray[np.bool_]
) -> Pick:
    accuracy = float(table.accuracy[rows].mean())
    params = None if table.params is None else float(table.params[rows].mean())
    worse = int((table.accuracy[within] < accuracy).sum())
    return Pick(by, candidates, len(rows), accuracy, params, worse / max(int(within.sum()) - 1, 1))


@dataclass(frozen=True, slots=True)
class SearchRow:
    """Searches of one kind, looked up in the table of trained networks.

    Attributes:
        space: its name.
        strategy: of :func:`sed_torch.search`.
        limit: parameters a network may have, or None.
        looks: architectures each looked at.
        runs: searches, with seeds 0, 1, …
        seconds: wall-clock seconds of the median run.
        sed: (mean, least, most) score of the picks over the runs, in nats.
        accuracy: dataset → the same of the picks' accuracy, in its unit; empty where a pick may be in no table.
        params: mean parameters of the picks.
    """

    space: str
    strategy: str
    limit: float | None
    looks: int
    runs: int
    seconds: float
    sed: Spread
    accuracy: Mapping[str, Spread]
    params: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {
            "sed": list(self.sed),
            "accuracy": {k: list(v) for k, v in self.accuracy.items()},
        }


def search_rows(
    space: str, tables: Sequence[BenchmarkTable], limits: Sequence[float | None], *, looks: int, runs: int
) -> tuple[SearchRow, ...]:
    """The whole space where it can be seen, and evolution and random search with equally few looks, by what they pick.

    Args:
        space: its name.
        tables: datasets that have all of the space's architectures; none where no table has them.
        limits: parameters a network may have; None for no limit.
        looks: of the searches by evolution and at random.
        runs: how many of these.
    """
    known = {t.dataset: dict(zip(t.archs, t.accuracy.tolist(), strict=True)) for t in tables}
    kinds: list[tuple[str, int | None, int]] = [("evolution", looks, runs), ("random", looks, runs)]
    if get_space(space).enumerable:
        kinds.insert(0, ("exhaustive", None, 1))
    return tuple(
        _search_row(space, known, kind, limit, number, n) for limit in limits for kind, number, n in kinds
    )


def _search_row(
    space: str,
    known: Mapping[str, Mapping[str, float]],
    strategy: str,
    limit: float | None,
    looks: int | None,
    runs: int,
) -> SearchRow:
    found = [
        search(
            space,
            constraints=None if limit is None else {"params": limit},
            strategy=strategy,
            seed=seed,
            max_looks=looks,
            budget_s=None,
            progress=False,
        )
        for seed in range(runs)
    ]
    return SearchRow(
        space,
        found[0].strategy,
        limit,
        found[0].looks,
        runs,
        statistics.median(r.seconds for r in found),
        _spread([r.best.sed for r in found]),
        {dataset: _spread([table[r.best.arch] for r in found]) for dataset, table in known.items()},
        statistics.fmean(r.best.params for r in found),
    )


def _spread(values: Sequence[float]) -> Spread:
    return statistics.fmean(values), min(values), max(values)
