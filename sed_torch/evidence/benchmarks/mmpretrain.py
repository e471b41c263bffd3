"""OpenMMLab's model zoo: networks that have a timm name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from sed_torch.errors import DataError
from sed_torch.evidence.benchmarks.row import Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.benchmarks.timm import TIMM_LEFT_OUT
from sed_torch.evidence.reading import Table, read_table

__all__ = ["MMPRETRAIN"]


def _read(file: Path, benchmark: Benchmark, dataset: str, max_bytes: int) -> BenchmarkTable:
    table = read_table(file, required=("timm", "size", "top1", "own", "name"), max_bytes=max_bytes)
    best: dict[str, tuple[float, float]] = {}
    columns = (table.text("timm"), table.text("name"), table.text("own"))
    numbers = (_all(table, "size"), _all(table, "top1"))
    for arch, name, own, size, top1 in zip(*columns, *numbers, strict=True):
        alien = TIMM_LEFT_OUT & set(re.split("[_-]", name))
        if not arch or alien or (dataset == "imagenet_own" and own.strip().lower() != "true"):
            continue
        # of several sizes the smallest, at which timm scores it as a rule; of several trainings the best
        best[arch] = min(best.get(arch, (np.inf, 0.0)), (size, -top1))
    if not best:
        raise DataError(f"{file}: no row of {benchmark.name} has a top1")
    notes = ["best of several trainings, at the smallest image size published"]
    if dataset == "imagenet_own":
        notes.append("networks trained there; others are converted from elsewhere")
    values = np.asarray([-top1 for _, top1 in best.values()], dtype=np.float64)
    return BenchmarkTable(
        benchmark.name, dataset, tuple(best), values, benchmark.unit(dataset), str(file), notes=tuple(notes)
    )


def _all(table: Table, column: str) -> list[float]:
    values = table.numbers(column, finite=True)
    for line, value in zip(table.lines, values, strict=True):
        if np.isnan(value):
            raise DataError(f"{table.path}, line {line}, column {column!r}: expected a number, found nothing")
    return [float(v) for v in values]


MMPRETRAIN = Benchmark(
    name="mmpretrain",
    datasets=("imagenet", "imagenet_own"),
    files=("mmpretrain_imagenet.csv", "mmpretrain_imagenet.csv.gz"),
    read=_read,
    zoo="timm",
)
