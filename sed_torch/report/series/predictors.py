"""The numbers behind the figure of a validation: a bar a predictor."""

from __future__ import annotations

from dataclasses import dataclass

from sed_torch.evidence import ValidationReport

__all__ = ["Bar", "bars_of"]


@dataclass(frozen=True, slots=True)
class Bar:
    """A predictor of a validation.

    Attributes:
        name: its name.
        ours: True for the score itself.
        n: rows it was measured on.
        rho: Spearman's ρ with accuracy, in [-1, 1], higher is better; None where undefined.
        low, high: 95 % interval, or None.
        same_rows: the score's ρ on the same rows; None for the score itself.
        top: ρ among the rows with the best accuracy, or None.
    """

    name: str
    ours: bool
    n: int
    rho: float | None
    low: float | None
    high: float | None
    same_rows: float | None
    top: float | None


def bars_of(report: ValidationReport) -> tuple[Bar, ...]:
    """The score and its rivals, best first; those without a ρ last."""
    c, interval = report.overall, report.overall.intervals.get("spearman")
    low, high = (interval.low, interval.high) if interval else (None, None)
    bars = [Bar(report.score_name, True, c.n, c.spearman, low, high, None, c.top.spearman if c.top else None)]
    for rival in report.rivals:
        r, second = rival.rival_correlation, rival.difference.second_interval
        bars.append(
            Bar(
                name=rival.rival,
                ours=False,
                n=rival.n,
                rho=r.spearman,
                low=second.low if second else None,
                high=second.high if second else None,
                same_rows=rival.score_correlation.spearman,
                top=r.top.spearman if r.top else None,
            )
        )
    return tuple(sorted(bars, key=lambda b: (b.rho is None, -(b.rho or 0.0), not b.ours, b.name)))
