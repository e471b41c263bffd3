"""Accel-NASBench: networks like MnasNet, trained on ImageNet under a shortened recipe."""

from __future__ import annotations

from pathlib import Path

from sed_torch.evidence.benchmarks.building import build_table, mean_of_repeats
from sed_torch.evidence.benchmarks.row import Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.reading import read_table

__all__ = ["ACCEL_NASBENCH"]

_FEATURES = ("exp", "kernel", "layers", "se")


def _read(file: Path, benchmark: Benchmark, dataset: str, max_bytes: int) -> BenchmarkTable:
    table = read_table(file, required=(*_FEATURES, "val_top1"), max_bytes=max_bytes)
    columns = zip(*(table.text(c) for c in _FEATURES), strict=True)
    codes = tuple("-".join(cell.replace("|", "") for cell in cells) for cells in columns)
    table, archs, repeats = mean_of_repeats(table, codes, "val_top1")
    return build_table(
        table,
        benchmark,
        dataset,
        "val_top1",
        archs=archs,
        params=("params", 1e6),
        macs=("macs", 1e6),
        notes=[
            "validation top-1 after a shortened recipe, one seed",
            f"{repeats} architectures were trained twice; the mean of both",
            "the published MACs also count norms and pools",
        ],
    )


ACCEL_NASBENCH = Benchmark(
    name="accel_nasbench",
    datasets=("imagenet",),
    files=("accel_nasbench.csv.gz", "accel_nasbench.csv"),
    read=_read,
    space="mnasnet",
    aliases=("mnasnet",),
)
