"""The figure of a cost: the memory of a training step, operator by operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sed_torch.costing import Cost
from sed_torch.report import series
from sed_torch.report.series import Timeline
from sed_torch.report.style import HATCHES, Theme, ThemeName, new_figure, write_title
from sed_torch.tables import mebibytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["memory_timeline"]


def memory_timeline(cost: Cost, *, theme: ThemeName = "light") -> Figure:
    """The memory that a training step holds at each operator: forward, backward, and the optimiser's step.

    Layers from below: what is there all the time (parameters, buffers, the optimiser's state), gradients of
    parameters, activations with their gradients. The fullest moment is marked; so is the memory of the device, where
    one was named and the step comes near it.

    Args:
        cost: of one model.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        MissingDependencyError: without matplotlib.
    """
    data = series.timeline_of(cost)
    with new_figure(9.5, 3.9, theme) as (figure, colours):
        ax = figure.subplots()
        _draw_layers(ax, data, colours)
        _draw_phases(ax, data, colours)
        _draw_peak(ax, data, colours)
        most = data.total(data.peak)
        if data.limit is not None and data.limit < 3 * most:
            ax.axhline(
                data.limit, color=colours.hues[6], lw=1.4, ls=(0, (5, 2)), label="memory of the device"
            )
            most = max(most, data.limit)
        ax.set_ylim(0, 1.16 * max(most, 1))
        ax.set_yticks(_round_sizes(1.1 * most))
        ax.yaxis.set_major_formatter(lambda v, _: mebibytes(round(v)))
        ax.set_xlim(0, max(len(data.activations), 1))
        ax.set_xlabel("operators, in order of execution")
        ax.set_ylabel("memory held")
        ax.grid(axis="y")
        figure.legend(loc="outside lower center", ncols=4, fontsize=8.5)
        write_title(figure, f"{data.name}: a training step of {data.batch:,}", colours)
    return figure


def _draw_layers(ax: Axes, data: Timeline, theme: Theme) -> None:
    edges = range(len(data.activations) + 1)
    below = [0.0] * len(data.activations)
    layers = {
        "parameters, optimizer, buffers": [data.resident] * len(below),
        "gradients of parameters": data.gradients,
        "activations and their gradients": data.activations,
    }
    for k, (label, sizes) in enumerate(layers.items()):
        top = [b + s for b, s in zip(below, sizes, strict=True)]
        ax.stairs(
            top, edges, baseline=below, fill=True, color=theme.hues[k], hatch=HATCHES[k], lw=0, label=label
        )
        below = top


def _draw_phases(ax: Axes, data: Timeline, theme: Theme) -> None:
    places = len(data.activations)
    for phase, first, last in data.phases:
        if first:
            ax.axvline(first, color=theme.muted, lw=1, ls=(0, (1, 2)))
        if (last + 1 - first) > 0.05 * places:
            ax.annotate(phase, ((first + last + 1) / 2, 1.0), xycoords=("data", "axes fraction"), ha="center",
                        va="bottom", fontsize=9, color=theme.muted)  # fmt: skip


def _draw_peak(ax: Axes, data: Timeline, theme: Theme) -> None:
    x, y = data.peak + 0.5, data.total(data.peak)
    left = x < len(data.activations) / 2
    ax.plot([x], [y], ls="", marker="v", ms=7, color=theme.ink, zorder=4)
    ax.annotate(f"{mebibytes(y)}, {data.where}", (x, y), (0, 8), textcoords="offset points", fontsize=8.5,
                ha="left" if left else "right", va="bottom")  # fmt: skip


def _round_sizes(most: float) -> list[float]:
    """Ticks at round numbers of KiB, MiB or GiB."""
    unit = next((u for u in (2**30, 2**20) if most >= 2 * u), 2**10)
    steps = (m * 10.0**k * unit for k in range(-1, 9) for m in (1, 2, 5))
    step = next(s for s in steps if most / s <= 6)
    return [k * step for k in range(int(most / step) + 1)]
