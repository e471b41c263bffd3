"""The figure of a validation: how well the score and its rivals order networks by accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sed_torch.evidence import ValidationReport
from sed_torch.report import series
from sed_torch.report.series import Bar
from sed_torch.report.style import Theme, ThemeName, new_figure, say_instead, shortened, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["correlations"]


def correlations(report: ValidationReport, *, theme: ThemeName = "light") -> Figure:
    """How well the score and its rivals order networks by accuracy: Spearman's ρ with 95 % intervals.

    A hollow diamond is the score on the same rows as the rival. The right half, where there are enough rows, is
    ρ among the 10 % of networks with the best accuracy, where it is hardest to be right.

    Args:
        report: of a validation.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        MissingDependencyError: without matplotlib.
    """
    bars = series.bars_of(report)
    has_top = any(b.top is not None for b in bars)
    with new_figure(9.5, 1.9 + 0.34 * len(bars), theme) as (figure, colours):
        if all(b.rho is None for b in bars):
            return say_instead(figure, report.overall.reason or "no correlation is defined")
        axes = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2)) if has_top else [figure.subplots()]
        _draw_bars(axes[0], bars, colours, report)
        if has_top:
            _draw_top(axes[1], bars, colours)
        ticks = [f"{shortened(b.name, 30)}  (n {b.n:,})" for b in bars]
        axes[0].set_yticks(range(len(bars)), ticks, fontsize=9)
        axes[0].set_ylim(len(bars) - 0.4, -0.6)
        for tick, bar in zip(axes[0].get_yticklabels(), bars, strict=True):
            tick.set_fontweight("bold" if bar.ours else "normal")
        write_title(figure, shortened(report.title, 90), colours)
        figure.legend(loc="outside lower left", fontsize=8, ncols=4)
    return figure


def _draw_bars(ax: Axes, bars: Sequence[Bar], theme: Theme, report: ValidationReport) -> None:
    ax.set_title("Spearman's ρ with accuracy, 95 % intervals")
    for ours in (True, False):
        hue = theme.hues[0] if ours else theme.hues[1]
        found = [(k, b.rho) for k, b in enumerate(bars) if b.ours == ours and b.rho is not None]
        for k, b in enumerate(bars):
            if b.ours == ours and b.low is not None and b.high is not None:
                ax.plot([b.low, b.high], [k, k], color=hue, lw=2.2, solid_capstyle="butt", zorder=2)
        label = report.score_name if ours else "rival"
        style: dict[str, Any] = {"ls": "", "marker": "o" if ours else "s", "color": hue, "ms": 7, "zorder": 3}
        ax.plot([rho for _, rho in found], [k for k, _ in found], label=label, **style)
    same = [(k, b.same_rows) for k, b in enumerate(bars) if b.same_rows is not None]
    if same:
        hollow: dict[str, Any] = {"ls": "", "marker": "D", "ms": 5.5, "mfc": "none", "mec": theme.hues[0]}
        ax.plot(
            [v for _, v in same],
            [k for k, _ in same],
            label=f"{report.score_name} on the same rows",
            **hollow,
        )
    for i, (runs, ceiling) in enumerate(report.ceiling.items()):
        if ceiling.spearman is not None and i == 0:
            label = f"noise ceiling: run {runs}"
            ax.axvline(ceiling.spearman, color=theme.muted, ls=(0, (4, 2)), lw=1.2, label=label)
    _rho_axis(ax, [v for b in bars for v in (b.rho, b.low, b.high) if v is not None], theme)


def _draw_top(ax: Axes, bars: Sequence[Bar], theme: Theme) -> None:
    ax.set_title("among the best 10 %")
    for ours in (True, False):
        found = [(k, b.top) for k, b in enumerate(bars) if b.ours == ours and b.top is not None]
        hue, marker = (theme.hues[0], "o") if ours else (theme.hues[1], "s")
        for k, value in found:
            ax.plot([0, value], [k, k], color=hue, lw=1)
        ax.plot([v for _, v in found], [k for k, _ in found], ls="", marker=marker, color=hue, ms=7)
    _rho_axis(ax, [b.top for b in bars if b.top is not None], theme)


def _rho_axis(ax: Axes, values: Sequence[float], theme: Theme) -> None:
    low = min([0.0, *values])
    ax.set_xlim(low - 0.05 if low < 0 else 0.0, 1.02)
    if low < 0:
        ax.axvline(0, color=theme.muted, lw=0.8)
    ax.grid(axis="x")
