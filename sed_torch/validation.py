"""Scores ⋈ trained accuracies: how well a score orders networks, beside its rivals on the same rows."""

from __future__ import annotations

import html
import itertools
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sed_torch import tables
from sed_torch._frozen import FrozenMapping
from sed_torch.accuracies import Accuracies, Table, read_accuracies, read_table
from sed_torch.benchmark_data import BenchmarkTable, load
from sed_torch.correlation import (
    Correlation,
    Difference,
    Interval,
    Partial,
    correlate,
    paired_difference,
    partial_spearman,
    spearman,
    top_rows,
    undefined_reason,
)
from sed_torch.errors import DataError, InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MIN_GROUP",
    "SCHEMA",
    "Comparison",
    "GroupRow",
    "Joined",
    "ValidationReport",
    "Within",
    "join",
    "validate",
    "validate_benchmark",
]

FloatArray = npt.NDArray[np.float64]

SCHEMA = "sed_torch.validation/1"
MIN_GROUP = 8
"""Members a group needs for its own correlation."""

_TOP = 0.1
_PREFIXES = ("timm:", "torchvision:")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A rival and the score on the rows that have both.

    Attributes:
        rival: its name.
        n: rows with the score, the rival and the accuracy.
        rival_correlation, score_correlation: of each on these rows; without intervals.
        difference: Spearman's ρ of the score minus the rival's, with a paired interval; > 0: the score is better.
        top_difference: the same among the best 10 % of these rows by accuracy.
    """

    rival: str
    n: int
    rival_correlation: Correlation
    score_correlation: Correlation
    difference: Difference
    top_difference: Difference

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON."""
        return {
            "rival": self.rival,
            "n": self.n,
            "rival_correlation": self.rival_correlation.to_dict(),
            "score_correlation": self.score_correlation.to_dict(),
            "difference": self.difference.to_dict(),
            "top_difference": self.top_difference.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group of at least :data:`MIN_GROUP` members.

    Attributes:
        group: its name.
        n: members with a score and an accuracy.
        spearman: ρ by predictor (the score, and params and MACs where given), None where undefined.
        reason: why the score's ρ is None, or None.
    """

    group: str
    n: int
    spearman: Mapping[str, float | None]
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON."""
        return {"group": self.group, "n": self.n, "spearman": dict(self.spearman), "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Within:
    """Correlation within groups, such as families of architectures.

    Attributes:
        rows: the groups, largest first.
        mean: unweighted mean of ρ over the groups where every predictor has one, or None without such a group.
        groups: how many groups that is.
        small: groups left out because they have fewer than :data:`MIN_GROUP` members.
    """

    rows: tuple[GroupRow, ...]
    mean: Mapping[str, float | None]
    groups: int
    small: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON."""
        return {
            "mean": dict(self.mean),
            "groups": self.groups,
            "small": self.small,
            "rows": [r.to_dict() for r in self.rows],
        }


@dataclass(frozen=True)
class ValidationReport:
    """How well a score orders networks by trained accuracy.

    Attributes:
        title: what was validated on what.
        score_name: the score's name.
        n: rows with a score and an accuracy.
        overall: on all of them.
        rivals: each rival beside the score on the rows that have both, best rival first.
        partial: ρ with params, MACs or both held fixed (rank residuals).
        within: correlation within groups, or None where no groups were given.
        ceiling: two training runs against each other on the score's rows, by ``"a/b"``: what noise leaves to
            be explained. Empty where no single runs were given. Without intervals.
        left_out: (name, reason) of every row that has no score or no accuracy.
        notes: what to say wherever the figures are shown.
        unit: of the accuracy and of regret.
        source: where the accuracies are from.
        seed, n_bootstrap: of the intervals.
    """

    title: str
    score_name: str
    n: int
    overall: Correlation
    rivals: tuple[Comparison, ...] = ()
    partial: tuple[Partial, ...] = ()
    within: Within | None = None
    ceiling: Mapping[str, Correlation] = field(default_factory=FrozenMapping)
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    unit: str | None = None
    source: str | None = None
    seed: int = 0
    n_bootstrap: int = 1000

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version."""
        return {
            "schema": SCHEMA,
            "title": self.title,
            "score_name": self.score_name,
            "n": self.n,
            "overall": self.overall.to_dict(),
            "rivals": [c.to_dict() for c in self.rivals],
            "partial": [p.to_dict() for p in self.partial],
            "within": None if self.within is None else self.within.to_dict(),
            "ceiling": {k: c.to_dict() for k, c in self.ceiling.items()},
            "left_out": [{"name": n, "reason": r} for n, r in self.left_out],
            "notes": list(self.notes),
            "unit": self.unit,
            "source": self.source,
            "seed": self.seed,
            "n_bootstrap": self.n_bootstrap,
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as strict JSON."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a predictor: the score on all its rows, then each rival on the common rows.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return tables.to_dataframe(frame_rows(self))

    def to_markdown(self) -> str:
        """Tables and notes as GitHub Markdown."""
        parts = [f"### {_escape_markdown(self.title)}"]
        for caption, rows in _tables(self):
            lines = [f"| {' | '.join(_escape_markdown(c) for c in row)} |" for row in rows]
            lines.insert(1, "|" + "---|" * len(rows[0]))
            parts.append("\n".join([f"**{caption}**", "", *lines]))
        parts.append("\n".join(f"- {_escape_markdown(line)}" for line in _remarks(self)))
        return "\n\n".join(parts) + "\n"

    def __str__(self) -> str:
        parts = [self.title]
        for caption, rows in _tables(self):
            widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
            lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
            parts.append("\n".join([caption, *(f"  {line}" for line in lines)]))
        parts.append("\n".join(_remarks(self)))
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        parts = [f"<h4>{html.escape(self.title)}</h4>"]
        for caption, rows in _tables(self):
            cells = [
                "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row) + "</tr>"
                for tag, row in zip(itertools.chain(["th"], itertools.repeat("td")), rows, strict=False)
            ]
            parts.append(f"<table><caption>{html.escape(caption)}</caption>{''.join(cells)}</table>")
        parts.append("<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in _remarks(self)) + "</ul>")
        return "".join(parts)


# --- validating ----------------------------------------------------------------------------------------------


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
        seed: of the resampling, see :mod:`sed_torch.correlation`.
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
    x, y = _column(scores, "scores"), _column(accuracy, "accuracy")
    counts = {
        name: _column(v, name, y.size) for name, v in (("params", params), ("macs", macs)) if v is not None
    }
    others = {name: _column(v, f"rival {name!r}", y.size) for name, v in (rivals or {}).items()}
    runs = {name: _column(v, f"seed {name!r}", y.size) for name, v in (seeds or {}).items()}
    _column(x, "scores", y.size)
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
        benchmark: a name of :data:`sed_torch.benchmark_data.BENCHMARKS`.
        dataset: one of its datasets; by default the first.
        data: folder or file, see :func:`sed_torch.benchmark_data.find_data`.
        score_fn: architectures (strings in the community's encoding) → one score each, higher is better, NaN or
            None where there is none.
        sample: score a seeded random sample of so many architectures instead of all.
        k: for nDCG and regret.
        seed: of the sample and of the resampling.
        n_bootstrap: resamples; 0 leaves the intervals out.
        score_name: how the score is called in the report.

    Raises:
        DataError: see :func:`sed_torch.benchmark_data.load`; or ``score_fn`` gave another number of scores.
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
    scores = _column(score_fn(table.archs), "score_fn's result")
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


def _column(values: npt.ArrayLike, name: str, size: int | None = None) -> FloatArray:
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: expected an array of numbers (NaN where missing): {error}") from error
    if column.ndim != 1:
        raise DataError(f"{name}: expected a one-dimensional array, found shape {column.shape}")
    if size is not None and column.size != size:
        raise DataError(f"{name}: {column.size} values for {size} accuracies: expected one per row")
    return column


def _labels(names: Sequence[str] | None, size: int) -> Sequence[str]:
    if names is None:
        return [f"row {i}" for i in range(size)]
    if len(names) != size:
        raise DataError(f"names: {len(names)} for {size} accuracies: expected one per row")
    return names


def _best_first(comparison: Comparison) -> float:
    value = comparison.rival_correlation.spearman
    return math.inf if value is None else -value


def _left_out(labels: Sequence[str], x: FloatArray, y: FloatArray) -> tuple[tuple[str, str], ...]:
    no_score, no_accuracy = np.isnan(x), ~np.isfinite(y)
    why = {(True, True): "no score and no accuracy", (True, False): "no score", (False, True): "no accuracy"}
    rows = np.flatnonzero(no_score | no_accuracy).tolist()
    return tuple((str(labels[i]), why[bool(no_score[i]), bool(no_accuracy[i])]) for i in rows)


def _compare(
    name: str, rival: FloatArray, x: FloatArray, y: FloatArray, k: int, n_bootstrap: int, seed: int
) -> Comparison:
    rows = ~np.isnan(rival) & ~np.isnan(x) & np.isfinite(y)
    r, s, a = rival[rows], x[rows], y[rows]
    top = top_rows(a, _TOP)
    return Comparison(
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


# --- joining -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Joined:
    """Networks that have both a score and an accuracy, row-aligned.

    Attributes:
        names: as in the accuracies.
        scores: shape (n,), higher is better.
        accuracy: shape (n,), higher is better.
        params, macs: shape (n,), NaN where missing, or None where the ranking has no such column.
        groups: the family of each, None where it has none, or None where the ranking has no such column.
        left_out: (name, reason) of ranked networks without a score or without an accuracy, then of networks
            with an accuracy that were not ranked.
        unit, source, metric, reduction: of the accuracies.
    """

    names: tuple[str, ...]
    scores: FloatArray
    accuracy: FloatArray
    params: FloatArray | None
    macs: FloatArray | None
    groups: tuple[str | None, ...] | None
    left_out: tuple[tuple[str, str], ...]
    unit: str | None
    source: str
    metric: str
    reduction: str

    def __len__(self) -> int:
        return len(self.names)

    def validate(
        self, *, k: int = 10, seed: int = 0, n_bootstrap: int = 1000, score_name: str = "SED"
    ) -> ValidationReport:
        """:func:`validate` on these rows; what was left out in joining is listed in the report."""
        report = validate(
            self.scores,
            self.accuracy,
            names=self.names,
            params=self.params,
            macs=self.macs,
            groups=self.groups,
            k=k,
            seed=seed,
            n_bootstrap=n_bootstrap,
            score_name=score_name,
            title=f"{score_name} against {self.metric}",
            unit=self.unit,
            source=self.source,
            notes=(f"accuracies: {self.reduction}",),
        )
        return replace(report, left_out=(*self.left_out, *report.left_out))

    def rows(self) -> list[dict[str, Any]]:
        """One row a network: name, score, accuracy, and params, macs and group where the ranking has such columns."""
        columns = {"score": self.scores, "accuracy": self.accuracy, "params": self.params, "macs": self.macs}
        numbers = {
            k: [None if math.isnan(n) else n for n in v.tolist()] for k, v in columns.items() if v is not None
        }
        listed = {"name": self.names, **numbers, **({} if self.groups is None else {"group": self.groups})}
        return [dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        said = {k: getattr(self, k) for k in ("unit", "source", "metric", "reduction")}
        return {**said, "networks": self.rows(), "left_out": [list(pair) for pair in self.left_out]}

    def to_dataframe(self) -> pd.DataFrame:
        """:meth:`rows`.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return tables.to_dataframe(self.rows())

    def __str__(self) -> str:
        return f"{len(self)} networks with a score and {self.metric} of {self.source}; {len(self.left_out)} left out"

    def _repr_html_(self) -> str:
        rows = self.rows()
        return tables.to_html(rows, list(rows[0]) if rows else ["name"], str(self))


def join(
    ranking: str | os.PathLike[str],
    accuracies: str | os.PathLike[str] | Accuracies,
    *,
    name_column: str = "name",
    score_column: str = "sed",
) -> Joined:
    """Join a ranking CSV (``Ranking.to_csv``) with accuracies by name.

    A name matches as it is, or without the ``timm:`` or ``torchvision:`` before it; where both zoos have it, the
    reference of the accuracies' own zoo does. The columns family, params, macs, status and reason are taken
    where the ranking has them.

    Args:
        ranking: CSV with at least a name and a score.
        accuracies: an :class:`~sed_torch.accuracies.Accuracies`, or a CSV for
            :func:`~sed_torch.accuracies.read_accuracies`.
        name_column: of the ranking.
        score_column: of the ranking, higher is better.

    Raises:
        DataError: a file is not what it should be, a network is ranked twice, or nothing matches.
    """
    known = accuracies if isinstance(accuracies, Accuracies) else read_accuracies(accuracies)
    table = read_table(ranking, required=(name_column, score_column))
    scores = table.numbers(score_column)
    trained = dict(zip(known.names, known.values.tolist(), strict=True))
    keys, passed_over = _match(table, table.text(name_column), trained, known.zoo)
    why = {**_why_no_accuracy(known), **passed_over}
    left_out = _unmatched(table, table.text(name_column), keys, scores, why)
    rows = [i for i, key in enumerate(keys) if key is not None and not math.isnan(scores[i])]
    if not rows:
        raise DataError(
            f"{table.path}: none of its {len(table)} networks has both a score and one of the {len(known)} "
            f"accuracies of {known.source}; the ranking has {_first(table.text(name_column))}, "
            f"the accuracies {_first(known.names)}"
        )
    ranked = {key for key in keys if key is not None}
    names = tuple(str(keys[i]) for i in rows)
    return Joined(
        names,
        scores[rows],
        np.asarray([trained[n] for n in names], dtype=np.float64),
        _numbers(table, "params", rows),
        _numbers(table, "macs", rows),
        tuple(table.text("family")[i] or None for i in rows) if "family" in table.columns else None,
        (*left_out, *((n, "not in the ranking") for n in known.names if n not in ranked)),
        known.unit,
        known.source,
        known.metric,
        known.reduction,
    )


def _match(
    table: Table, names: Sequence[str], trained: Mapping[str, float], zoo: str | None
) -> tuple[list[str | None], dict[str, str]]:
    """The name in the accuracies of each row, and why a name gave its place to another."""
    keys: list[str | None] = []
    seen: dict[str, int] = {}
    passed_over: dict[str, str] = {}
    for i, name in enumerate(names):
        key = name if name in trained else _bare(name)
        first = seen.setdefault(key, i)
        if first != i and key in trained:
            own = [j for j in (first, i) if zoo and names[j] == f"{zoo}:{key}"]
            if len(own) != 1:
                raise DataError(
                    f"{table.path}, line {table.lines[i]}: {key!r} is ranked on line {table.lines[first]} already; "
                    "rank one of them only, or name one in full in the accuracies (timm:NAME)"
                )
            other = first if own[0] == i else i
            passed_over[names[other]] = f"ranked from {zoo} too"
            seen[key] = own[0]
        keys.append(key if key in trained else None)
    return [None if n in passed_over else k for n, k in zip(names, keys, strict=True)], passed_over


def _why_no_accuracy(known: Accuracies) -> dict[str, str]:
    """Of networks all of whose recipes were left out: the reasons, the most frequent first."""
    reasons: dict[str, dict[str, int]] = {}
    for name, reason in known.left_out:
        counts = reasons.setdefault(name.partition(".")[0], {})
        counts[reason] = counts.get(reason, 0) + 1
    return {
        name: "no accuracy: " + "; ".join(sorted(counts, key=lambda r: -counts[r]))
        for name, counts in reasons.items()
    }


def _bare(name: str) -> str:
    return next((name[len(p) :] for p in _PREFIXES if name.startswith(p)), name)


def _unmatched(
    table: Table,
    names: Sequence[str],
    keys: Sequence[str | None],
    scores: FloatArray,
    why: Mapping[str, str],
) -> list[tuple[str, str]]:
    reasons = table.text("reason") if "reason" in table.columns else [""] * len(table)
    found = []
    for name, key, score, reason in zip(names, keys, scores, reasons, strict=True):
        if math.isnan(score):
            found.append((name, f"no score: {reason}" if reason else "no score"))
        elif key is None:
            found.append((name, why.get(name) or why.get(_bare(name), "no accuracy")))
    return found


def _numbers(table: Table, name: str, rows: Sequence[int]) -> FloatArray | None:
    return table.numbers(name)[rows] if name in table.columns else None


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


# --- views ---------------------------------------------------------------------------------------------------


def _show(value: float | None, interval: Interval | None = None) -> str:
    return "–" if value is None else f"{value:.3f}" + (f" {interval}" if interval is not None else "")


def _escape_markdown(text: str) -> str:
    for raw, safe in (("|", "\\|"), ("\n", " "), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(raw, safe)
    return text


def _tables(report: ValidationReport) -> list[tuple[str, list[list[str]]]]:
    tables = [("All rows, 95 % intervals", _overall_rows(report))]
    if report.rivals:
        tables.append(("Rivals, each with the score on the same rows (Spearman's ρ)", _rival_rows(report)))
    if report.partial:
        tables.append(("Spearman's ρ with size held fixed (rank residuals)", _partial_rows(report)))
    if report.within is not None:
        tables.append((f"Within groups of {MIN_GROUP} or more (Spearman's ρ)", _within_rows(report.within)))
    if report.ceiling:
        tables.append(("Noise ceiling: one training run against another", _ceiling_rows(report.ceiling)))
    return tables


def _overall_rows(report: ValidationReport) -> list[list[str]]:
    regret = "regret@k" + (f", {report.unit}" if report.unit else "")
    head = ["rows", "n", "Spearman ρ", "Kendall τ-b", "weighted τ", "nDCG@k", regret, "k"]
    rows = [head]
    for label, c in (("all", report.overall), ("top 10 %", report.overall.top)):
        if c is not None:
            values = (c.spearman, c.kendall, c.weighted_tau, c.ndcg, c.regret)
            names = ("spearman", "kendall", "weighted_tau", "ndcg", "regret")
            shown = [_show(v, c.intervals.get(n)) for n, v in zip(names, values, strict=True)]
            rows.append([label, f"{c.n:,}", *shown, str(c.k)])
    return rows


def _rival_rows(report: ValidationReport) -> list[list[str]]:
    rows = [["rival", "n", "rival ρ", f"{report.score_name} ρ", "difference", "difference, top 10 %"]]
    for c in report.rivals:
        d, t = c.difference, c.top_difference
        rival = _show(c.rival_correlation.spearman, d.second_interval)
        score = _show(c.score_correlation.spearman, d.first_interval)
        rows.append(
            [c.rival, f"{c.n:,}", rival, score, _show(d.value, d.interval), _show(t.value, t.interval)]
        )
    return rows


def _partial_rows(report: ValidationReport) -> list[list[str]]:
    return [
        ["held fixed", "n", f"{report.score_name} ρ"],
        *(
            [" and ".join(p.covariates), f"{p.n:,}", p.reason or _show(p.value, p.interval)]
            for p in report.partial
        ),
    ]


def _within_rows(within: Within) -> list[list[str]]:
    names = list(within.mean)
    rows = [["group", "n", *names]]
    rows.append([f"mean of {within.groups}", "", *(_show(within.mean[n]) for n in names)])
    rows.extend([r.group, f"{r.n:,}", *(_show(r.spearman[n]) for n in names)] for r in within.rows)
    return rows


def _ceiling_rows(ceiling: Mapping[str, Correlation]) -> list[list[str]]:
    return [
        ["runs", "n", "Spearman ρ", "Kendall τ-b", "ρ, top 10 %"],
        *(
            [k, f"{c.n:,}", _show(c.spearman), _show(c.kendall), _show(c.top.spearman if c.top else None)]
            for k, c in ceiling.items()
        ),
    ]


def _remarks(report: ValidationReport) -> list[str]:
    lines = list(report.notes)
    for label, c in (("all rows", report.overall), ("top 10 %", report.overall.top)):
        if c is not None and c.reason is not None:
            lines.append(f"{label}: undefined, {c.reason}")
    lines.extend(f"{c.rival}: undefined, {c.difference.reason}" for c in report.rivals if c.difference.reason)
    reasons: dict[str, int] = {}
    for _, reason in report.left_out:
        reasons[reason] = reasons.get(reason, 0) + 1
    most = sorted(reasons.items(), key=lambda item: -item[1])[:5]
    why = ": " + "; ".join(f"{n:,} × {r}" for r, n in most) if most else ""
    lines.append(f"{len(report.left_out):,} left out{why}" + ("; ..." if len(reasons) > 5 else ""))
    if report.within is not None and report.within.small:
        lines.append(f"{report.within.small:,} groups have fewer than {MIN_GROUP} members")
    drawn = report.n_bootstrap
    lines.append(
        f"percentile bootstrap of {drawn:,} resamples, fewer for slow statistics, seed {report.seed}"
    )
    if report.source:
        lines.append(f"accuracies from {report.source}")
    return lines


def frame_rows(report: ValidationReport) -> list[dict[str, Any]]:
    """The rows of :meth:`ValidationReport.to_dataframe`."""
    return [_frame_row(report, None), *(_frame_row(report, c) for c in report.rivals)]


def _frame_row(report: ValidationReport, comparison: Comparison | None) -> dict[str, Any]:
    """Of the score on all its rows, or of a rival on the common rows."""
    c = report.overall if comparison is None else comparison.rival_correlation
    d = None if comparison is None else comparison.difference
    interval = c.intervals.get("spearman") if d is None else d.second_interval
    return {
        "predictor": report.score_name if comparison is None else comparison.rival,
        "n": c.n,
        "spearman": c.spearman,
        "spearman_low": interval.low if interval else None,
        "spearman_high": interval.high if interval else None,
        "kendall": c.kendall,
        "weighted_tau": c.weighted_tau,
        "ndcg": c.ndcg,
        "regret": c.regret,
        "top_spearman": c.top.spearman if c.top else None,
        "score_spearman_same_rows": d.first if d else c.spearman,
        "difference": d.value if d else None,
        "difference_low": d.interval.low if d and d.interval else None,
        "difference_high": d.interval.high if d and d.interval else None,
        "reason": c.reason,
    }
