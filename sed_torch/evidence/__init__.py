"""Evidence for and against a score: trained accuracies, joined with rankings and benchmarks, in rank statistics.

:mod:`~sed_torch.evidence.reading` reads files of others safely, :mod:`~sed_torch.evidence.accuracies` holds what
networks reached, :mod:`~sed_torch.evidence.benchmarks` the public tables. :mod:`~sed_torch.evidence.correlation`
compares two columns, :mod:`~sed_torch.evidence.validating` a score and its rivals with accuracies, and
:mod:`~sed_torch.evidence.joining` finds the accuracies of a ranking's networks.
"""

from __future__ import annotations

import warnings
from typing import Any

from sed_torch.evidence.accuracies import Accuracies, AccuracyRow, read_accuracies
from sed_torch.evidence.benchmarks.timm import (
    TIMM_LEFT_OUT,
    TIMM_RESULTS,
    Published,
    fetch_timm_results,
    timm_results,
)
from sed_torch.evidence.benchmarks.torchvision import torchvision_accuracies
from sed_torch.evidence.joining import Joined, join
from sed_torch.evidence.reading import MAX_BYTES, Table, read_bytes, read_table
from sed_torch.evidence.validating import validate, validate_benchmark
from sed_torch.evidence.validation import (
    MIN_GROUP,
    SCHEMA,
    GroupRow,
    Rival,
    ValidationReport,
    Within,
)

__all__ = [
    "MAX_BYTES",
    "MIN_GROUP",
    "SCHEMA",
    "TIMM_LEFT_OUT",
    "TIMM_RESULTS",
    "Accuracies",
    "AccuracyRow",
    "GroupRow",
    "Joined",
    "Published",
    "Rival",
    "Table",
    "ValidationReport",
    "Within",
    "fetch_timm_results",
    "join",
    "read_accuracies",
    "read_bytes",
    "read_table",
    "timm_results",
    "torchvision_accuracies",
    "validate",
    "validate_benchmark",
]


def __getattr__(name: str) -> Any:
    """The class of a rival had the name of another one until 0.1."""
    if name != "Comparison":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("Comparison of a validation is now Rival", DeprecationWarning, stacklevel=2)
    return Rival
