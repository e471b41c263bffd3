"""The numbers behind the figures: results rearranged along depth, blocks or predictors. Nothing is scored here."""

from __future__ import annotations

from sed_torch.report.series.costs import Timeline, timeline_of
from sed_torch.report.series.models import Against, Cloud, Point, cloud_of
from sed_torch.report.series.predictors import Bar, bars_of
from sed_torch.report.series.scores import (
    Band,
    Drop,
    Mark,
    Profile,
    ProfilePoint,
    Waterfall,
    profile_of,
    waterfall_of,
)
from sed_torch.report.series.searches import Trace, trace_of

__all__ = [
    "Against",
    "Band",
    "Bar",
    "Cloud",
    "Drop",
    "Mark",
    "Point",
    "Profile",
    "ProfilePoint",
    "Timeline",
    "Trace",
    "Waterfall",
    "bars_of",
    "cloud_of",
    "profile_of",
    "timeline_of",
    "trace_of",
    "waterfall_of",
]
