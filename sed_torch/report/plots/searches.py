"""The figure of a search: how it improved, and its Pareto front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sed_torch import tables
from sed_torch.report import series
from sed_torch.report.series import Trace
from sed_torch.report.style import Theme, ThemeName, new_figure, shortened, write_title
from sed_torch.searching.result import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["search_trace"]

_COUNTS = {"sed": "SED, nats", "params": "parameters", "macs": "MACs a sample", "depth": "depth"}


def search_trace(result: SearchResult, *, theme: ThemeName = "light") -> Figure:
    """How a search went: left, the best so far over architectures looked at; right, its Pareto front.

    Args:
        result: of :func:`sed_torch.search`.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        MissingDependencyError: without matplotlib.
    """
    data = series.trace_of(result)
    with new_figure(9.5, 4.4, theme) as (figure, colours):
        left, right = figure.subplots(1, 2)
        _draw_trace(left, data, colours)
        _draw_search_front(right, data, colours)
        for ax in (left, right):
            ax.grid(True)
        limits = ", ".join(
            f"{n} ≤ {tables.quantity(v).replace('.00', '')}" for n, v in result.constraints.items()
        )
        title = f"Search of {shortened(data.space, 50)}" + (f", {limits}" if limits else "")
        write_title(figure, title, colours)
    return figure


def _draw_trace(ax: Axes, data: Trace, theme: Theme) -> None:
    looks = [max(n, 1) for n in data.looks]
    ax.step(looks, data.values, where="post", color=theme.hues[0], lw=1.6)
    ax.plot(looks[:-1], data.values[:-1], ls="", marker="o", ms=4, color=theme.hues[0])
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}")
    ax.set_title(f"best of {data.looks[-1]:,} in {data.seconds[-1]:.2f} s")
    ax.set_xlabel("architectures looked at")
    ax.set_ylabel(_COUNTS[data.objective])
    ax.margins(0.04, 0.1)


def _draw_search_front(ax: Axes, data: Trace, theme: Theme) -> None:
    x, y = [c for c, _ in data.front], [v for _, v in data.front]
    ax.step(x, y, where="post", color=theme.muted, lw=1, zorder=1)
    ax.plot(x, y, ls="", marker="s", ms=4, color=theme.hues[1], label="Pareto front", zorder=2)
    ax.plot(*data.best, ls="", marker="*", ms=13, color=theme.hues[0], label="best", zorder=3)
    ax.xaxis.set_major_formatter(lambda v, _: tables.quantity(v).replace(".00", ""))
    ax.locator_params(axis="x", nbins=5)
    ax.set_title("Pareto front")
    ax.set_xlabel(_COUNTS[data.other])
    ax.set_ylabel(_COUNTS[data.objective])
    ax.margins(0.06, 0.1)
    ax.legend(fontsize=8.5, loc="best")
