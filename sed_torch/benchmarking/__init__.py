"""What SED is worth on public benchmarks: quality beside its rivals, what a search by it picks, and time."""

from __future__ import annotations

from typing import Any

from sed_torch._moved import moved_name
from sed_torch.benchmarking.picks import Pick, SearchRow, picks
from sed_torch.benchmarking.report import BenchmarkReport
from sed_torch.benchmarking.result import DatasetResult
from sed_torch.benchmarking.running import REPORTED, run_benchmarks
from sed_torch.benchmarking.timing import NetworkTimes, SearchTime, SpaceTimes

__all__ = [
    "REPORTED",
    "BenchmarkReport",
    "DatasetResult",
    "NetworkTimes",
    "Pick",
    "SearchRow",
    "SearchTime",
    "SpaceTimes",
    "picks",
    "run_benchmarks",
]


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name)
