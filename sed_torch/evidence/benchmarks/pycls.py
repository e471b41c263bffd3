"""Networks of pycls' model zoo, trained under one recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sed_torch.evidence.benchmarks.building import build_table
from sed_torch.evidence.benchmarks.row import Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.reading import read_table

__all__ = ["PYCLS"]


def _read(file: Path, benchmark: Benchmark, dataset: str, max_bytes: int) -> BenchmarkTable:
    table = read_table(file, required=("model", "top1", "timm_arch"), max_bytes=max_bytes)
    archs = table.text("timm_arch")
    return build_table(
        table,
        benchmark,
        dataset,
        "top1",
        archs=archs,
        only=np.asarray([bool(a) for a in archs]),
        notes=["one recipe for all, mean of 5 runs; models without a counterpart in timm are left out"],
    )


PYCLS = Benchmark(
    name="pycls",
    datasets=("imagenet",),
    files=("pycls_dds_baselines.csv", "pycls_dds_baselines.csv.gz"),
    read=_read,
    zoo="timm",
)
