"""Views of results: figures, drawings of the graph, and one-file HTML. Nothing is scored here."""

from __future__ import annotations

from sed_torch.report.drawing import Drawing, draw
from sed_torch.report.html import save_html, to_html
from sed_torch.report.plots import correlations, memory_timeline, profile, scatter, search_trace, waterfall
from sed_torch.report.reading import read_result
from sed_torch.report.style import inline_svg, save_figure

__all__ = [
    "Drawing",
    "correlations",
    "draw",
    "inline_svg",
    "memory_timeline",
    "profile",
    "read_result",
    "save_figure",
    "save_html",
    "scatter",
    "search_trace",
    "to_html",
    "waterfall",
]
