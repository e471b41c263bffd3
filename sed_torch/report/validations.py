"""A validation → a section of a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sed_torch.evidence import MIN_GROUP, ValidationReport, Within
from sed_torch.evidence.correlation import Correlation, Interval
from sed_torch.report import plots
from sed_torch.report.parts import (
    Card,
    Column,
    Figure,
    Notes,
    Part,
    Section,
    TablePart,
    table_of,
)
from sed_torch.report.style import inline_svg
from sed_torch.report.words import number, sentence

__all__ = ["validated"]


def validated(report: ValidationReport, key: str) -> Section:
    """A validation: the score's correlation, its rivals, size held fixed, groups, and who was left out."""
    c = report.overall
    interval = c.intervals.get("spearman")
    counted = f"{c.n:,} networks with a score and an accuracy; {len(report.left_out):,} left out."
    notes = [sentence(report.verdict()), counted]
    notes += [sentence(n) for n in report.notes if n]
    figure = inline_svg(
        plots.correlations(report, theme="css"), f"{key}-rho", f"{report.title}; the tables have the numbers"
    )
    unit = f"Spearman's ρ with accuracy, higher is better{f'; 95 % interval {interval}' if interval else ''}"
    parts: list[Part] = [
        Card(report.score_name, number(c.spearman, 3), unit, tuple(notes)),
        Figure(
            figure,
            "The score and its rivals",
            "Dots are Spearman's ρ with accuracy, lines 95 % intervals; hollow diamonds are the score on the rival's "
            "rows. On the right, ρ among the networks with the best accuracy, where it is hardest to be right.",
        ),
        _overall_table(report, key),
    ]
    parts += _rival_tables(report, key)
    if report.source:
        parts.append(Notes((f"Accuracies from {report.source}.",), "Source"))
    return Section(f"{key}-validation", report.title, tuple(parts))


def _with(value: float | None, interval: Interval | None) -> tuple[str | None, float | None]:
    if value is None:
        return None, None
    return f"{value:.3f}" + (f" {interval}" if interval else ""), value


_STATISTICS = (
    ("spearman", "Spearman's ρ"),
    ("kendall", "Kendall's τ-b"),
    ("weighted_tau", "weighted τ"),
    ("ndcg", "nDCG@k"),
    ("regret", "regret@k"),
)


def _overall_table(report: ValidationReport, key: str) -> TablePart:
    columns = (
        Column("rows", "rows", number=False),
        Column("n", "n"),
        *(Column(name, label) for name, label in _STATISTICS),
        Column("k", "k"),
    )

    def row(label: str, c: Correlation) -> dict[str, Any]:
        values = {name: _with(getattr(c, name), c.intervals.get(name)) for name, _ in _STATISTICS}
        return {"rows": label, "n": c.n, "k": c.k, **values}

    found = [row("all", report.overall)]
    if report.overall.top is not None:
        found.append(row("best 10 % by accuracy", report.overall.top))
    title = "The score" + (f" (regret in {report.unit})" if report.unit else "")
    return table_of(f"{key}-overall", title, columns, found, filter=False)


def _rival_tables(report: ValidationReport, key: str) -> Iterable[Part]:
    if report.rivals:
        yield _rival_table(report, key)
    if report.partial:
        columns: tuple[Column, ...] = (
            Column("given", "held fixed", number=False),
            Column("n", "n"),
            Column("rho", f"{report.score_name} ρ"),
        )
        rows = [
            {"given": " and ".join(p.covariates), "n": p.n, "rho": _with(p.value, p.interval)}
            for p in report.partial
        ]
        yield table_of(f"{key}-partial", "With size held fixed", columns, rows)
    if report.within is not None and report.within.rows:
        yield _within_table(report.within, key)
    if report.ceiling:
        columns = (
            Column("runs", "runs", number=False),
            Column("n", "n"),
            Column("rho", "ρ"),
            Column("tau", "τ-b"),
        )
        rows = [{"runs": k, "n": c.n, "rho": c.spearman, "tau": c.kendall} for k, c in report.ceiling.items()]
        yield table_of(f"{key}-ceiling", "Noise ceiling: one training run against another", columns, rows)
    if report.left_out:
        columns = (Column("name", "network", number=False), Column("reason", "reason", number=False))
        shown = [{"name": n, "reason": r} for n, r in report.left_out[:_LEFT_OUT]]
        more = f", the first {_LEFT_OUT}" if len(report.left_out) > _LEFT_OUT else ""
        yield table_of(f"{key}-left", f"{len(report.left_out):,} left out{more}", columns, shown, open=False)


_LEFT_OUT = 500


def _rival_table(report: ValidationReport, key: str) -> TablePart:
    columns = (
        Column("rival", "rival", number=False),
        Column("n", "n", "rows that have both"),
        Column("rho", "its ρ"),
        Column("ours", f"{report.score_name} ρ", "on the same rows"),
        Column("difference", "difference", "above 0 the score is better; paired 95 % interval"),
        Column("top", "difference, best 10 %"),
    )
    rows = [
        {
            "rival": c.rival,
            "n": c.n,
            "rho": _with(c.rival_correlation.spearman, c.difference.second_interval),
            "ours": _with(c.score_correlation.spearman, c.difference.first_interval),
            "difference": _with(c.difference.value, c.difference.interval),
            "top": _with(c.top_difference.value, c.top_difference.interval),
        }
        for c in report.rivals
    ]
    return table_of(f"{key}-rivals", "Rivals on the same rows", columns, rows)


def _within_table(within: Within, key: str) -> TablePart:
    names = list(within.mean)
    columns = (
        Column("group", "group", number=False),
        Column("n", "n"),
        *(Column(f"p.{n}", n) for n in names),
    )

    def row(group: str, n: int | None, rho: Mapping[str, float | None]) -> dict[str, Any]:
        return {"group": group, "n": n, **{f"p.{name}": rho[name] for name in names}}

    rows = [row(f"(mean of {within.groups})", None, within.mean)]
    rows += [row(r.group, r.n, r.spearman) for r in within.rows]
    return table_of(f"{key}-within", f"Within groups of {MIN_GROUP} or more (Spearman's ρ)", columns, rows)
