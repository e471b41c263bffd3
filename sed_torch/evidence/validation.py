"""What a validation found: a score beside its rivals, on the same rows, in several views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sed_torch import tables
from sed_torch._frozen import FrozenMapping
from sed_torch._plain import checked_schema, revived
from sed_torch.evidence.correlation import Correlation, Difference, Partial
from sed_torch.evidence.reading import left_out_from, left_out_to
from sed_torch.evidence.resampling import MIN_INTERVAL_ROWS, Interval

__all__ = ["MIN_GROUP", "SCHEMA", "GroupRow", "Rival", "ValidationReport", "Within", "frame_rows"]

SCHEMA = "sed_torch.validation/1"
MIN_GROUP = 8
"""Members a group needs for its own correlation."""


@dataclass(frozen=True, slots=True)
class Rival:
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


@dataclass(frozen=True, repr=False)
class ValidationReport(tables.Tabular):
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

    schema: ClassVar = SCHEMA
    kind: ClassVar = "a validation"

    title: str
    score_name: str
    n: int
    overall: Correlation
    rivals: tuple[Rival, ...] = ()
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
            "left_out": left_out_to(self.left_out),
            "notes": list(self.notes),
            "unit": self.unit,
            "source": self.source,
            "seed": self.seed,
            "n_bootstrap": self.n_bootstrap,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ValidationReport:
        """Inverse of :meth:`to_dict`; what 0.1.0 wrote is read as well.

        Raises:
            DataError: for data of another kind.
        """
        checked_schema(data, SCHEMA, "a validation")
        left_out = left_out_from(data.get("left_out", ()))
        return revived(cls, {**data, "left_out": left_out}, "a validation")

    def records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """One row a predictor: the score on all its rows, then each rival on the common rows."""
        rows = frame_rows(self)
        return rows, list(rows[0])

    def verdict(self) -> str:
        """What this says of the score, in one sentence: does it order these networks better than their size does?"""
        c = self.overall
        if c.spearman is None:
            return f"{self.score_name} says nothing of the order of these {self.n:,} networks: {c.reason}"
        what = f"{self.score_name} orders these {self.n:,} networks"
        own = _show(c.spearman, c.intervals.get("spearman"))
        sizes = [
            r for r in self.rivals if r.rival.lower() in ("params", "macs") and r.difference.value is not None
        ]
        if not sizes:
            return f"{what} with Spearman's ρ of {own}; nothing is known of their size, which is the count to beat"
        rival = max(sizes, key=lambda r: r.rival_correlation.spearman or -1.0)
        name = {"macs": "MACs"}.get(rival.rival.lower(), rival.rival)
        both = f"{_show(rival.difference.first)} against {_show(rival.difference.second)}"
        interval = rival.difference.interval
        if interval is None:
            return f"{what} with ρ {both} of {name}; too few for an interval, so this shows nothing"
        better = (
            "better than" if interval.low > 0 else "worse than" if interval.high < 0 else "no better than"
        )
        given = next(
            (p for p in self.partial if [_counted(n) for n in p.covariates] == [rival.rival.lower()]), None
        )
        alone = (
            ""
            if given is None or given.value is None
            else f"; given {name} {_show(given.value, given.interval)}"
        )
        return f"{what} {better} {name} (Spearman's ρ {both}{alone})"

    def view(self) -> tables.View:
        """The verdict, and the tables behind it."""
        grids = tuple(_grid(caption, rows) for caption, rows in _tables(self))
        return tables.View(self.verdict(), (self.title,), grids, tuple(_remarks(self)))


# --- views ---------------------------------------------------------------------------------------------------


def _show(value: float | None, interval: Interval | None = None) -> str:
    return "–" if value is None else f"{value:.3f}" + (f" {interval}" if interval is not None else "")


def _counted(covariate: str) -> str:
    """``log-MACs`` is ``macs``: ranks do not know logarithms."""
    return covariate.removeprefix("log-").lower()


def _grid(caption: str, rows: list[list[str]]) -> tables.Grid:
    head, *body = rows
    cells = tuple(dict(zip(head, row, strict=True)) for row in body)
    return tables.Grid(tuple(head), cells, caption, spared=tuple(head[:1:-1]))


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
    if report.n_bootstrap and report.n < MIN_INTERVAL_ROWS:
        lines.append(f"no intervals: they need {MIN_INTERVAL_ROWS} rows")
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


def _frame_row(report: ValidationReport, comparison: Rival | None) -> dict[str, Any]:
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
