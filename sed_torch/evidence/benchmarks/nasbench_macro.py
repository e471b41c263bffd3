"""NAS-Bench-Macro."""

from __future__ import annotations

from pathlib import Path

from sed_torch.evidence.benchmarks.building import archs_of, build_table
from sed_torch.evidence.benchmarks.row import Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.reading import read_table

__all__ = ["NASBENCH_MACRO"]


def _read(file: Path, benchmark: Benchmark, dataset: str, max_bytes: int) -> BenchmarkTable:
    table = read_table(file, required=("arch", "acc"), max_bytes=max_bytes)
    return build_table(
        table,
        benchmark,
        dataset,
        "acc",
        archs=archs_of(table),
        params=("params", 1.0),
        macs=("flops", 1.0),
        seeds={s: s for s in ("seed0", "seed1", "seed2")},
        notes=["test accuracy, mean of 3 seeds"],
        size=3969,
    )


NASBENCH_MACRO = Benchmark(
    name="nasbench_macro",
    datasets=("cifar10",),
    files=("nasbench_macro.csv.gz", "nasbench_macro.csv"),
    read=_read,
    space="nasbench_macro",
    aliases=("nb_macro",),
)
