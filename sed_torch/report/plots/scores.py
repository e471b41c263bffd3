"""Figures of one score: the entropy profile along its depth, and the waterfall over its blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sed_torch.report import series
from sed_torch.report.series import Band, Drop, Profile
from sed_torch.report.style import HATCHES, Theme, ThemeName, new_figure, say_instead, shortened, write_title
from sed_torch.scoring.result import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["WHITE", "profile", "waterfall"]

WHITE = 0.5 * math.log(2 * math.pi * math.e)
"""Local entropy per tap of a white map, nats at unit variance."""

_CONSTANT = 0.0  # a map with less entropy is all but constant; how much less says nothing more


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
            return say_instead(figure, score.headline())
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
        write_title(figure, score.headline(), colours)
        figure.align_ylabels()
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
            band.block if longest < 34 else shortened(band.block, 33),
            ((band.first + band.last) / 2, 1.02),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            rotation=0 if level else 90,
            fontsize=8,
        )


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
            return say_instead(figure, score.headline())
        figure.get_layout_engine().set(wspace=0.05)  # type: ignore[union-attr,call-arg]
        left, right = figure.subplots(1, 2, sharey=True)
        _draw_shares(left, data.rows, colours)
        _draw_drops(right, data.rows, data.conv, data.total, colours)
        rows = range(len(data.rows))
        left.set_yticks(rows, [shortened(r.block, 40) for r in data.rows], fontsize=9)
        left.set_ylim(len(data.rows) - 0.4, -1.6)
        for ax in (left, right):
            ax.grid(axis="x")
        write_title(figure, score.headline(), colours)
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
