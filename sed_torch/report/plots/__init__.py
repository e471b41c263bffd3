"""Figures of results: profile, waterfall, scatter, correlation, search trace, memory.

Each returns a matplotlib ``Figure`` and computes nothing that the result does not hold (the numbers are in
:mod:`sed_torch.report.series`). Groups differ in shape or hatching as well as in colour, so that every figure
can be read in black and white; ``theme="dark"`` is for dark pages.
"""

from __future__ import annotations

from sed_torch.report.plots.costs import memory_timeline
from sed_torch.report.plots.models import scatter
from sed_torch.report.plots.predictors import correlations
from sed_torch.report.plots.scores import profile, waterfall
from sed_torch.report.plots.searches import search_trace

__all__ = ["correlations", "memory_timeline", "profile", "scatter", "search_trace", "waterfall"]
