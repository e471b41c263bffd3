"""NAS-Bench-301: cells of DARTS."""

from __future__ import annotations

from pathlib import Path

from sed_torch._frozen import FrozenMapping
from sed_torch.evidence.benchmarks.building import NASLIB_PROXIES, archs_of, build_table
from sed_torch.evidence.benchmarks.row import NASLIB_INPUTS, NASLIB_NOTES, Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.reading import read_table

__all__ = ["NASBENCH301"]

_SURROGATE = "val_accuracy is a surrogate's prediction, not a trained network's"


def _read(file: Path, benchmark: Benchmark, dataset: str, max_bytes: int) -> BenchmarkTable:
    table = read_table(file, required=("arch", "val_accuracy"), max_bytes=max_bytes)
    return build_table(
        table,
        benchmark,
        dataset,
        "val_accuracy",
        archs=archs_of(table),
        rivals={p: p for p in NASLIB_PROXIES},
        params=("params", 1e6),
        macs=("flops", 1e6),
        notes=[_SURROGATE],
    )


NASBENCH301 = Benchmark(
    name="nasbench301",
    datasets=("cifar10",),
    files=("nb301_naslib.csv.gz", "nb301_naslib.csv", "zc_nasbench301.json"),
    read=_read,
    space="darts",
    aliases=("nb301", "darts"),
    inputs=NASLIB_INPUTS,
    json_datasets=tuple(NASLIB_INPUTS),
    notes=FrozenMapping({**NASLIB_NOTES, "cifar10": _SURROGATE}),
)
