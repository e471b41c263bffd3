"""Scores against trained accuracies: how well a score orders networks, beside its rivals on the same rows."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError, InputError
from sed_torch.evidence.benchmarks import BenchmarkTable, load
from sed_torch.evidence.correlation import (
    Correlation,
    Partial,
    correlate,
    paired_difference,
    partial_spearman,
    spearman,
    top_rows,
    undefined_reason,
)
from sed_torch.evidence.statistics import column_of
from sed_torch.evidence.validation import MIN_GROUP, GroupRow, Rival, ValidationReport, Within

__all__ = ["validate", "validate_benchmark"]

FloatArray = npt.NDArray[np.float64]

_TOP = 0.1


def validate(
    scores: npt.ArrayLike,
    accuracy: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
    rivals: Mapping[str, npt.ArrayLike] | None = None,
    params: npt.ArrayLike | None = None,
    macs: npt.ArrayLike | None = None,
    groups: Sequence[str | None] | None = None,
    seeds: Mapping[str, npt.ArrayLike] | None = None,
    k: int = 10,
    seed: int = 0,
    n_bootstrap: int = 1000,
    score_name: str = "SED",
    title: str | None = None,
    unit: str | None = None,
    source: str | None = None,
    notes: Sequence[str] = (),
) -> ValidationReport:
    """Compare a score, and its rivals on the same rows, with trained accuracy.

    Args:
        scores: shape (n,), higher is better; NaN where missing, -inf is a score.
        accuracy: shape (n,), higher is better; NaN where missing.
        names: of the rows, for the list of what was left out.
        rivals: other predictors by name, shape (n,) each, higher is better.
        params: parameters, shape (n,); counted among the rivals, and held fixed in a partial correlation.
        macs: multiply-accumulates a sample, likewise.
        groups: a group a row (such as its family), None where it has none.
        seeds: accuracies of single training runs by name, for the noise ceiling.
        k: for nDCG and regret.
        seed: of the resampling, see :mod:`sed_torch.evidence.correlation`.
        n_bootstrap: resamples; 0 leaves the intervals out.
        score_name: how the score is called in the report.
        title: of the report.
        unit: of the accuracy.
        source: where the accuracies are from.
        notes: what to say with the figures.

    Raises:
        DataError: columns of different lengths, or not numbers.
        InputError: ``k`` < 1 or ``n_bootstrap`` < 0.
        MissingDependencyError: scipy is not installed.
    """
    x, y = column_of(scores, "scores"), column_of(accuracy, "accuracy")
    counts = {
        name: column_of(v, name, y.size) for name, v in (("params", params), ("macs", macs)) if v is not None
    }
    others = {name: column_of(v, f"rival {name!r}", y.size) for name, v in (rivals or {}).items()}
    runs = {name: column_of(v, f"seed {name!r}", y.size) for name, v in (seeds or {}).items()}
    column_of(x, "scores", y.size)
    labels = _labels(names, y.size)
    used = ~np.isnan(x) & np.isfinite(y)
    overall = correlate(x, y, k=k, top_fraction=_TOP, n_bootstrap=n_bootstrap, seed=seed)
    compared = [_compare(n, r, x, y, k, n_bootstrap, seed) for n, r in {**others, **counts}.items()]
    compared.sort(key=_best_first)
    return ValidationReport(
        title=title or f"{score_name} against trained accuracy",
        score_name=score_name,
        n=overall.n,
        overall=overall,
        rivals=tuple(compared),
        partial=_partials(x, y, counts, n_bootstrap, seed),
        within=None if groups is None else _within(x, y, groups, {score_name: x, **counts}),
        ceiling=FrozenMapping(_ceiling({name: v[used] for name, v in runs.items()}, k)),
        left_out=_left_out(labels, x, y),
        notes=tuple(notes),
        unit=unit,
        source=source,
        seed=seed,
        n_bootstrap=n_bootstrap,
    )


def validate_benchmark(
    benchmark: str,
    dataset: str | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    score_fn: Callable[[Sequence[str]], npt.ArrayLike],
    sample: int | None = None,
    k: int = 10,
    seed: int = 0,
    n_bootstrap: int = 1000,
    score_name: str = "SED",
) -> ValidationReport:
    """Score a benchmark's architectures and validate the score on them.

    Args:
        benchmark: a name of :data:`sed_torch.evidence.benchmarks.BENCHMARKS`.
        dataset: one of its datasets; by default the first.
        data: folder or file, see :func:`sed_torch.evidence.benchmarks.find_data`.
        score_fn: architectures (strings in the community's encoding) → one score each, higher is better, NaN or
            None where there is none.
        sample: score a seeded random sample of so many architectures instead of all.
        k: for nDCG and regret.
        seed: of the sample and of the resampling.
        n_bootstrap: resamples; 0 leaves the intervals out.
        score_name: how the score is called in the report.

    Raises:
        DataError: see :func:`sed_torch.evidence.benchmarks.load`; or ``score_fn`` gave another number of scores.
        InputError: ``sample`` < 1.
    """
    table = load(benchmark, dataset, data)
    notes = list(table.notes)
    if sample is not None and sample < 1:
        raise InputError(f"sample must be 1 or more, found {sample}")
    if sample is not None and sample < len(table):
        rows = np.sort(np.random.default_rng(seed).choice(len(table), sample, replace=False))
        notes.append(f"a random sample of {sample:,} of {len(table):,} architectures, seed {seed}")
        table = table.take(rows)
    scores = column_of(score_fn(table.archs), "score_fn's result")
    if scores.size != len(table):
        raise DataError(
            f"score_fn gave {scores.size} scores for {len(table)} architectures: expected one each"
        )
    return validate(
        scores,
        table.accuracy,
        names=table.archs,
        rivals=_proper_rivals(table),
        params=table.params,
        macs=table.macs,
        seeds=table.seeds,
        k=k,
        seed=seed,
        n_bootstrap=n_bootstrap,
        score_name=score_name,
        title=f"{score_name} on {table.benchmark} {table.dataset}",
        unit=table.unit,
        source=table.source,
        notes=notes,
    )


def _proper_rivals(table: BenchmarkTable) -> dict[str, FloatArray]:
    """Without the public columns that repeat params and MACs, where the table has those."""
    repeated = {"params"} if table.params is not None else set()
    repeated |= {"flops"} if table.macs is not None else set()
    return {k: v for k, v in table.rivals.items() if k not in repeated}


def _labels(names: Sequence[str] | None, size: int) -> Sequence[str]:
    if names is None:
        return [f"row {i}" for i in range(size)]
    if len(names) != size:
        raise DataError(f"names: {len(names)} for {size} accuracies: expected one per row")
    return names


def _best_first(comparison: Rival) -> float:
    value = comparison.rival_correlation.spearman
    return math.inf if value is None else -value


def _left_out(labels: Sequence[str], x: FloatArray, y: FloatArray) -> tuple[tuple[str, str], ...]:
    no_score, no_accuracy = np.isnan(x), ~np.isfinite(y)
    why = {(True, True): "no score and no accuracy", (True, False): "no score", (False, True): "no accuracy"}
    rows = np.flatnonzero(no_score | no_accuracy).tolist()
    return tuple((str(labels[i]), why[bool(no_score[i]), bool(no_accuracy[i])]) for i in rows)


def _compare(
    name: str, rival: FloatArray, x: FloatArray, y: FloatArray, k: int, n_bootstrap: int, seed: int
) -> Rival:
    rows = ~np.isnan(rival) & ~np.isnan(x) & np.isfinite(y)
    r, s, a = rival[rows], x[rows], y[rows]
    top = top_rows(a, _TOP)
    return Rival(
        name,
        int(rows.sum()),
        correlate(r, a, k=k, top_fraction=_TOP, n_bootstrap=0),
        correlate(s, a, k=k, top_fraction=_TOP, n_bootstrap=0),
        paired_difference(s, r, a, n_bootstrap=n_bootstrap, seed=seed),
        paired_difference(s[top], r[top], a[top], n_bootstrap=n_bootstrap, seed=seed),
    )


def _partials(
    x: FloatArray, y: FloatArray, counts: Mapping[str, FloatArray], n_bootstrap: int, seed: int
) -> tuple[Partial, ...]:
    spelled = {"params": "log-params", "macs": "log-MACs"}
    single = [{spelled[name]: values} for name, values in counts.items()]
    sets = [*single, {k: v for one in single for k, v in one.items()}] if len(single) > 1 else single
    return tuple(partial_spearman(x, y, given, n_bootstrap=n_bootstrap, seed=seed) for given in sets)


def _within(
    x: FloatArray, y: FloatArray, groups: Sequence[str | None], predictors: Mapping[str, FloatArray]
) -> Within:
    if len(groups) != y.size:
        raise DataError(f"groups: {len(groups)} for {y.size} accuracies: expected one per row, None without")
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        if group is not None and not np.isnan(x[i]) and np.isfinite(y[i]):
            members.setdefault(str(group), []).append(i)
    large = {g: rows for g, rows in members.items() if len(rows) >= MIN_GROUP}
    rows = tuple(
        GroupRow(
            group,
            len(at),
            FrozenMapping({name: spearman(p[at], y[at]) for name, p in predictors.items()}),
            undefined_reason(x[at], y[at]),
        )
        for group, at in sorted(large.items(), key=lambda item: (-len(item[1]), item[0]))
    )
    whole = [r.spearman for r in rows if None not in r.spearman.values()]
    mean = {
        name: math.fsum(r[name] or 0.0 for r in whole) / len(whole) if whole else None for name in predictors
    }
    return Within(rows, FrozenMapping(mean), len(whole), len(members) - len(large))


def _ceiling(runs: Mapping[str, FloatArray], k: int) -> dict[str, Correlation]:
    return {
        f"{a}/{b}": correlate(runs[a], runs[b], k=k, top_fraction=_TOP, n_bootstrap=0)
        for a, b in itertools.combinations(runs, 2)
    }
