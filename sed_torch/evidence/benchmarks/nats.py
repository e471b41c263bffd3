"""NAS-Bench-201 and the size space of NATS-Bench."""

from __future__ import annotations

from pathlib import Path

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError
from sed_torch.evidence.benchmarks.building import NASLIB_PROXIES, archs_of, build_table
from sed_torch.evidence.benchmarks.naslib import key_integers
from sed_torch.evidence.benchmarks.row import NASLIB_INPUTS, NASLIB_NOTES, Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.reading import read_table

__all__ = ["NASBENCH201", "NATS_SIZE"]


def _read(file: Path, benchmark: Benchmark, dataset: str, max_bytes: int) -> BenchmarkTable:
    target = f"{dataset}_test"
    table = read_table(file, required=("arch", target), max_bytes=max_bytes)
    epochs, size = {"nasbench201": (200, 15_625), "nats_size": (90, 32_768)}[benchmark.name]
    notes = [f"test accuracy after {epochs} epochs, mean of the available seeds"]
    if dataset != "cifar10":
        notes.append("params and MACs are those of the CIFAR-10 network; their order is the same")
    return build_table(
        table,
        benchmark,
        dataset,
        target,
        archs=archs_of(table),
        rivals={p: f"{dataset}_{p}" for p in NASLIB_PROXIES},
        params=("params_M", 1e6),
        macs=("cifar10_flops_M", 1e6),
        seeds={s: f"{dataset}_test_{s}" for s in ("seed0", "seed1", "seed2")},
        notes=notes,
        size=size,
    )


# NASLib's order of operations, and of edges (0,1), (0,2), (0,3), (1,2), (1,3), (2,3).
_NASLIB_OPS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")


def _edge_string(key: str, where: str) -> str:
    """Six op indices → an edge string."""
    if key.startswith("|"):
        return key
    indices = key_integers(key)
    if len(indices) != 6 or not all(0 <= i < len(_NASLIB_OPS) for i in indices):
        raise DataError(
            f"{where}: expected six op indices from 0 to 4 or an edge string |op~0|+..., found {key[:60]!r}"
        )
    a, b, c, d, e, f = (_NASLIB_OPS[i] for i in indices)
    return f"|{a}~0|+|{b}~0|{d}~1|+|{c}~0|{e}~1|{f}~2|"


_INPUTS = {"cifar100": (32, 100), "imagenet16": (16, 120)}

NASBENCH201 = Benchmark(
    name="nasbench201",
    datasets=("cifar10", "cifar100", "imagenet16"),
    files=("nb201.csv.gz", "nb201.csv", "zc_nasbench201.json"),
    read=_read,
    space="nasbench201",
    aliases=("nb201", "nats_tss"),
    inputs=FrozenMapping({**_INPUTS, **NASLIB_INPUTS}),
    json_datasets=tuple(NASLIB_INPUTS),
    json_key=_edge_string,
    notes=NASLIB_NOTES,
)

NATS_SIZE = Benchmark(
    name="nats_size",
    datasets=("cifar10", "cifar100", "imagenet16"),
    files=("nats_size.csv.gz", "nats_size.csv"),
    read=_read,
    space="nats_size",
    aliases=("nats_sss",),
    inputs=FrozenMapping(_INPUTS),
)
