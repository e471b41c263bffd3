"""Figures of results: profile, waterfall, scatter, correlation, search trace.

Each returns a matplotlib ``Figure`` and computes nothing that the result does not hold (the numbers are in
:mod:`sed_torch.report.series`). Groups differ in shape or hatching as well as in colour, so that every figure
can be read in black and white; ``theme="dark"`` is for dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sed_torch import tables
from sed_torch.evidence import Accuracies, Joined, ValidationReport
from sed_torch.ranking import Ranking
from sed_torch.report import series
from sed_torch.report.series import Against, Band, Bar, Cloud, Drop, Point, Profile, Trace
from sed_torch.report.style import HATCHES, MARKERS, Theme, ThemeName, new_figure
from sed_torch.scoring.result import Score
from sed_torch.searching.result import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["correlations", "profile", "scatter", "search_trace", "waterfall"]

WHITE = 0.5 * math.log(2 * math.pi * math.e)
"""Local entropy per tap of a white map, nats at unit variance."""

_CONSTANT = 0.0  # a map with less entropy is all but constant; how much less says nothing more
_GREY = "#7d858f"
_LONG = 44  # characters of a name
_MANY = 3000  # points beyond which a vector file would be slow


# -- along depth -----------------------------------------------------------------------------------------


def profile(score: Score, *, depth: int | None = None, theme: ThemeName = "light") -> Figure:
    """The entropy profile: what happens to local entropy along the depth of a network.

    Above, the local entropy per tap of the map that each live convolution or linear layer reads (nats at unit
    variance; 1.419 is white, higher is better). In the middle, the taps it has and the effective ones. Below,
    its suppression (effective over taps, in (0, 1], higher is better). Blocks are bands; pools, averages over
    all positions and identity skips are marked where they act.

    Args:
        score: of one model.
        depth: names of the module path that make a block; the score's own when None.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        MissingDependencyError: without matplotlib.
    """
    data = series.profile_of(score, depth)
    width = min(14.0, 7.0 + 0.05 * len(data.points))
    with new_figure(width, 6.4, theme) as (figure, colours):
        if not data.points:
            return _nothing(figure, score.headline())
        axes = figure.subplots(3, 1, sharex=True, height_ratios=(1.1, 1.1, 0.8))
        _draw_entropy(axes[0], data, colours)
        _draw_taps(axes[1], data, colours)
        _draw_suppression(axes[2], data, colours)
        for ax in axes:
            _draw_bands(ax, data.bands, colours)
            ax.grid(axis="y")
        _name_bands(axes[0], data.bands, len(data.points))
        axes[0].set_xlim(0.4, len(data.points) + 0.6)
        axes[2].set_xlabel("convolutions and linear layers, in order of execution")
        _title(figure, score.headline(), colours)
        figure.align_ylabels()
    return figure


def _title(figure: Figure, text: str, theme: Theme) -> None:
    if theme.name != "css":  # a page has headings of its own
        figure.suptitle(text, fontweight="bold", fontsize=11.5, x=0.01, ha="left")


def _nothing(figure: Figure, text: str) -> Figure:
    figure.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    return figure


def _draw_bands(ax: Axes, bands: Sequence[Band], theme: Theme) -> None:
    for band in bands[::2]:
        ax.axvspan(band.first - 0.5, band.last + 0.5, color=theme.faint, alpha=0.6, lw=0, zorder=0)


def _name_bands(ax: Axes, bands: Sequence[Band], places: int) -> None:
    """Names above the bands; upright where they would touch, none where a band is too thin for one."""
    longest = max(len(b.block) for b in bands)
    level = all(len(b.block) * 1.1 / 90 <= (b.last - b.first + 1) / places for b in bands)
    for band in bands:
        thin = (band.last - band.first + 1) / places < 0.016
        if thin and len(bands) > 40:
            continue
        ax.annotate(
            band.block if longest < 34 else _short(band.block, 33),
            ((band.first + band.last) / 2, 1.02),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            rotation=0 if level else 90,
            fontsize=8,
        )


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"…{text[1 - width :]}"


def _draw_entropy(ax: Axes, data: Profile, theme: Theme) -> None:
    known = [(p.place, p.entropy) for p in data.points if p.entropy is not None]
    floor = min([e for _, e in known if e >= _CONSTANT] + [WHITE - 0.15])
    room = (WHITE - floor) * 0.14
    ax.axhline(WHITE, color=theme.muted, lw=1, ls=(0, (1, 2)))
    # The line breaks where a map is all but constant: the scale would show nothing else.
    shown = [e if e >= _CONSTANT else math.nan for _, e in known]
    ax.plot([x for x, _ in known], shown, color=theme.hues[0], lw=1.4, marker="o", ms=3.2, zorder=3)
    gone = [x for x, e in known if e < _CONSTANT]
    ax.plot(gone, [floor - 1.5 * room] * len(gone), color=theme.hues[6], zorder=4, **_GONE)
    ax.set_ylim(floor - (2.4 if gone else 1.0) * room, WHITE + 2.4 * room)
    ax.set_ylabel("local entropy read\n[nats a tap]")
    _draw_marks(ax, data, theme, WHITE + 1.3 * room, bool(gone))


_GONE: Mapping[str, Any] = {"ls": "", "marker": "X", "ms": 7}

_MARK_STYLES: Mapping[str, tuple[str, int, str]] = {
    "pool": ("v", 1, "pool"),
    "average": ("D", 4, "average over all positions (global pool, attention)"),
    "skip": ("+", 2, "merge with an identity skip"),
}


def _draw_marks(ax: Axes, data: Profile, theme: Theme, height: float, gone: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=theme.hues[0], marker="o", ms=4, label="map read"),
        Line2D([], [], color=theme.muted, ls=(0, (1, 2)), label="white map, 1.419"),
    ]
    for kind, (marker, hue, label) in _MARK_STYLES.items():
        places = [m.place for m in data.marks if m.kind == kind]
        style: dict[str, Any] = {"ls": "", "marker": marker, "ms": 6, "mew": 1.3, "color": theme.hues[hue]}
        if kind == "average":
            style["markerfacecolor"] = "none"
        if places:
            ax.plot(places, [height] * len(places), zorder=4, **style)
            handles.append(Line2D([], [], label=label, **style))
    if gone:
        label = "below 0: all but constant, acts as a bias"
        handles.append(Line2D([], [], label=label, color=theme.hues[6], **_GONE))
    ax.figure.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=8)


def _draw_taps(ax: Axes, data: Profile, theme: Theme) -> None:
    x = [p.place for p in data.points]
    taps = [p.taps for p in data.points]
    ax.bar(x, taps, 0.8, fill=False, ec=theme.muted, lw=0.9, label="taps", zorder=2)
    effective = [p.effective_taps for p in data.points]
    ax.bar(x, effective, 0.8, color=theme.hues[0], label="effective taps", zorder=3)
    if max(taps) > 12 * sorted(taps)[len(taps) // 2]:
        ax.set_yscale("log", base=2)
        ax.set_ylim(0.5, max(taps) * 1.6)
        ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
    ax.set_ylabel("taps")
    ax.legend(loc="upper right", fontsize=8, ncols=2, bbox_to_anchor=(1, 1.16), borderaxespad=0)


def _draw_suppression(ax: Axes, data: Profile, theme: Theme) -> None:
    x = [p.place for p in data.points]
    values = [p.suppression for p in data.points]
    ax.bar(x, values, 0.8, color=theme.hues[5], zorder=3)
    ax.axhline(1.0, color=theme.muted, lw=1, ls=(0, (1, 2)))
    ax.set_ylim(0, 1.08)
    ax.set_ylabel("suppression\n(effective / taps)")


# -- by block --------------------------------------------------------------------------------------------


def waterfall(score: Score, *, depth: int | None = None, theme: ThemeName = "light") -> Figure:
    """Where a score comes from, and what it loses, block by block.

    Left, the share of the total amplitude exp(SED) that each block adds: bars follow each other up to 100 %.
    Right, in nats: from the conv part (nothing decreased) down to the score, what the decrease of local
    entropy in each block costs.

    Args:
        score: of one model.
        depth: names of the module path that make a block; the score's own when None.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        MissingDependencyError: without matplotlib.
    """
    data = series.waterfall_of(score, depth)
    with new_figure(9.5, min(30.0, 1.9 + 0.27 * len(data.rows)), theme) as (figure, colours):
        if not data.rows:
            return _nothing(figure, score.headline())
        figure.get_layout_engine().set(wspace=0.05)  # type: ignore[union-attr,call-arg]
        left, right = figure.subplots(1, 2, sharey=True)
        _draw_shares(left, data.rows, colours)
        _draw_drops(right, data.rows, data.conv, data.total, colours)
        rows = range(len(data.rows))
        left.set_yticks(rows, [_short(r.block, 40) for r in data.rows], fontsize=9)
        left.set_ylim(len(data.rows) - 0.4, -1.6)
        for ax in (left, right):
            ax.grid(axis="x")
        _title(figure, score.headline(), colours)
    return figure


def _draw_shares(ax: Axes, rows: Sequence[Drop], theme: Theme) -> None:
    for k, row in enumerate(rows):
        ax.barh(k, row.share, 0.72, left=row.start, color=theme.hues[0], zorder=2)
        inside = row.start + row.share > 0.8
        x = row.start - 0.01 if inside else row.start + row.share + 0.01
        text = f"{row.share:.1%}" if row.share >= 0.0005 else "<0.1%"
        ax.text(x, k, text, va="center", ha="right" if inside else "left", fontsize=8)
    _connect(ax, [r.start + r.share for r in rows], theme)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    ax.set_title("share of the amplitude exp(SED)")


def _connect(ax: Axes, ends: Sequence[float], theme: Theme) -> None:
    for k, x in enumerate(ends[:-1]):
        ax.plot([x, x], [k - 0.36, k + 1.36], color=theme.muted, lw=0.7, zorder=1)


def _draw_drops(
    ax: Axes, rows: Sequence[Drop], conv: float | None, total: float | None, theme: Theme
) -> None:
    ax.set_title("from the conv part down to SED [nats]")
    if conv is None or total is None or not math.isfinite(total):
        return
    if conv - total < 5e-5:
        ax.set_axis_off()
        ax.text(
            0.5, 0.5, f"conv {conv:.4f} = SED:\nno effective tap is lost", transform=ax.transAxes, ha="center"
        )
        return
    span = conv - total
    for k, row in enumerate(rows):
        ax.barh(k, row.nats, 0.72, left=row.before, color=theme.hues[6], hatch=HATCHES[1], zorder=2)
        if -row.nats > 0.01 * span and -row.nats >= 5e-5:
            ax.text(row.after - 0.015 * span, k, f"{row.nats:+.4f}", va="center", ha="right", fontsize=8)
    _connect(ax, [r.after for r in rows], theme)
    ax.plot([conv, conv], [-0.9, -0.36], color=theme.ink, lw=1.4)
    ax.text(conv, -1.0, f"conv {conv:.4f}", ha="right", va="bottom", fontsize=8.5)
    ax.plot([total, total], [-0.9, len(rows)], color=theme.ink, lw=1, ls=(0, (4, 2)), zorder=1)
    ax.text(total, -1.0, f"SED {total:.4f}", ha="center", va="bottom", fontsize=8.5, fontweight="bold")
    ax.set_xlim(total - 0.35 * span, conv + 0.06 * span)
    ax.ticklabel_format(useOffset=False)
    ax.locator_params(axis="x", nbins=5)


# -- many models -----------------------------------------------------------------------------------------


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
            return _nothing(figure, f"none of {cloud.left_out:,} models has both values")
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
            ax, points, size, theme.hues[k], MARKERS[k], _short(group, 30), alpha=0.85, zorder=3, **style
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


# -- predictors ------------------------------------------------------------------------------------------


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
            return _nothing(figure, report.overall.reason or "no correlation is defined")
        axes = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2)) if has_top else [figure.subplots()]
        _draw_bars(axes[0], bars, colours, report)
        if has_top:
            _draw_top(axes[1], bars, colours)
        ticks = [f"{_short(b.name, 30)}  (n {b.n:,})" for b in bars]
        axes[0].set_yticks(range(len(bars)), ticks, fontsize=9)
        axes[0].set_ylim(len(bars) - 0.4, -0.6)
        for tick, bar in zip(axes[0].get_yticklabels(), bars, strict=True):
            tick.set_fontweight("bold" if bar.ours else "normal")
        _title(figure, _short(report.title, 90), colours)
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


# -- search ----------------------------------------------------------------------------------------------

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
        title = f"Search of {_short(data.space, 50)}" + (f", {limits}" if limits else "")
        _title(figure, title, colours)
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
