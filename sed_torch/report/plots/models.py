"""Figures of many models: points by score, size and accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sed_torch import tables
from sed_torch.evidence import Accuracies, Joined
from sed_torch.ranking import Ranking
from sed_torch.report import series
from sed_torch.report.series import Against, Cloud, Point
from sed_torch.report.style import MARKERS, Theme, ThemeName, new_figure, say_instead, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["scatter"]

_GREY = "#7d858f"
_LONG = 44  # characters of a name
_MANY = 3000  # points beyond which a vector file would be slow


def scatter(
    source: Ranking | Joined,
    *,
    against: Against = "macs",
    accuracy: Mapping[str, float] | Accuracies | None = None,
    families: int = 8,
    names: int = 8,
    theme: ThemeName = "light",
) -> Figure:
    """Many models as points: SED over size, with the Pareto front, or trained accuracy over SED.

    Args:
        source: a ranking, or one joined with accuracies (:func:`sed_torch.evidence.join`).
        against: ``"macs"``, ``"params"``, or ``"accuracy"``.
        accuracy: by model name, needed for a ranking with ``against="accuracy"``; higher is better.
        families: how many of the largest families get a colour and a shape of their own (at most 8).
        names: how many outliers are named: those farthest from what their size (or score) lets expect. One of
            more than 44 characters, such as an architecture's, is called by its place in the ranking: #3.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        MissingDependencyError: without matplotlib.
        InputError: accuracies or sizes are missing.
    """
    cloud = series.cloud_of(source, against, accuracy)
    with new_figure(9.5, 5.6, theme) as (figure, colours):
        if not cloud.points:
            return say_instead(figure, f"none of {cloud.left_out:,} models has both values")
        ax = figure.subplots()
        _draw_cloud(ax, cloud, cloud.groups(min(families, len(MARKERS))), colours)
        if cloud.has_front:
            _draw_front(ax, cloud, colours)
        ax.set_xlabel(cloud.x_label)
        ax.set_ylabel(cloud.y_label)
        if cloud.x_log:
            _log_axis(ax)
        ax.margins(0.06, 0.08)
        ax.grid(True)
        _name_points(ax, cloud.outliers(names), colours)
        ax.set_title(_cloud_title(cloud))
        if len(ax.get_legend_handles_labels()[0]) > 1:
            figure.legend(loc="outside right upper", fontsize=8.5, markerscale=1.3)
    return figure


def _log_axis(ax: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=9))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: tables.quantity(v).replace(".00", "")))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _cloud_title(cloud: Cloud) -> str:
    without = f", {cloud.left_out:,} without both values" if cloud.left_out else ""
    return f"{len(cloud.points):,} models{without}"


def _draw_cloud(ax: Axes, cloud: Cloud, groups: Sequence[str], theme: Theme) -> None:
    few, many = len(cloud.points) < 400, len(cloud.points) > _MANY
    style: dict[str, Any] = {"rasterized": many, "mew": 0.4}
    rest = [p for p in cloud.points if p.group not in groups]
    if rest:
        label = "other families" if groups else "models"
        size = 16 if few else (4 if many else 9)
        # pixels do not follow a page's colours: a grey for both papers
        colour = (_GREY if many else theme.muted) if groups else theme.hues[0]
        _scatter(ax, rest, size, colour, "o", label, alpha=0.75 if few else 0.5, **style)
    for k, group in enumerate(groups):
        points = [p for p in cloud.points if p.group == group]
        size = 34 if few else 18
        _scatter(
            ax, points, size, theme.hues[k], MARKERS[k], shortened(group, 30), alpha=0.85, zorder=3, **style
        )


def _scatter(
    ax: Axes, points: Sequence[Point], size: float, colour: str, marker: str, label: str, **more: Any
) -> None:
    # A label that begins with an underscore would be left out of the legend.
    label = f"\u200b{label}" if label.startswith("_") else label
    x, y = [p.x for p in points], [p.y for p in points]
    # one element of a vector file a group, where scatter() makes one a point
    ax.plot(x, y, ls="", marker=marker, ms=math.sqrt(size), color=colour, label=label, **more)


def _draw_front(ax: Axes, cloud: Cloud, theme: Theme) -> None:
    front = sorted((p for p in cloud.points if p.front), key=lambda p: p.x)
    ax.step(
        [p.x for p in front],
        [p.y for p in front],
        where="post",
        color=theme.ink,
        lw=1.1,
        label="Pareto front",
    )


def _label(point: Point) -> str | None:
    """Its name, or where that is too long to stand in a figure, its place in the ranking, or nothing."""
    if len(point.name) <= _LONG:
        return point.name
    return None if point.rank is None else f"#{point.rank}"


def _name_points(ax: Axes, points: Sequence[Point], theme: Theme) -> None:
    """Names beside their points, each moved up or down until it lies on no other, left out if it always does."""
    if not points:
        return
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.5, foreground=theme.paper)]
    figure = ax.figure
    figure.draw_without_rendering()  # type: ignore[union-attr]
    taken: list[Any] = []
    box = ax.get_window_extent()
    for p in sorted(points, key=lambda p: -p.y):
        if (label := _label(p)) is None:
            continue
        right = ax.transData.transform((p.x, p.y))[0] < (box.x0 + box.x1) / 2
        for dy in (0, 10, -10, 20, -20, 30, -30, 42, -42):
            text = ax.annotate(
                label,
                (p.x, p.y),
                (9 if right else -9, dy),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                fontsize=8,
                zorder=5,
                path_effects=halo,
                arrowprops={"arrowstyle": "-", "color": theme.muted, "lw": 0.7, "shrinkA": 0, "shrinkB": 2},
            )
            extent = text.get_window_extent()
            inside = box.y0 < extent.y0 and extent.y1 < box.y1
            if inside and not any(extent.overlaps(other) for other in taken):
                taken.append(extent)
                break
            text.remove()
