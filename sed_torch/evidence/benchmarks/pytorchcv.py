"""Models of the package pytorchcv, under its own names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sed_torch.evidence.benchmarks.building import build_table
from sed_torch.evidence.benchmarks.row import Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.reading import read_table

__all__ = ["PYTORCHCV"]


def _read(file: Path, benchmark: Benchmark, dataset: str, max_bytes: int) -> BenchmarkTable:
    table = read_table(file, required=("model", "dataset", "accuracy"), max_bytes=max_bytes)
    what = "top-5" if dataset == "imagenet_top5" else "top-1"
    return build_table(
        table,
        benchmark,
        dataset,
        "accuracy",
        archs=table.text("model"),
        only=np.asarray([d == dataset for d in table.text("dataset")]),
        notes=[
            f"{what} as pytorchcv publishes it; recipes differ, and many weights are converted from elsewhere"
        ],
    )


PYTORCHCV = Benchmark(
    name="pytorchcv",
    datasets=("imagenet_top5", "cifar10", "cifar100", "svhn"),
    files=("pytorchcv.csv", "pytorchcv.csv.gz"),
    read=_read,
)
