"""NAS-Bench-101."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError
from sed_torch.evidence.benchmarks.building import NASLIB_PROXIES, build_table
from sed_torch.evidence.benchmarks.naslib import key_integers
from sed_torch.evidence.benchmarks.row import Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.reading import Table, read_table
from sed_torch.spaces.cells import live_vertices

__all__ = ["NASBENCH101"]


def _read(file: Path, benchmark: Benchmark, dataset: str, max_bytes: int) -> BenchmarkTable:
    table = read_table(file, required=("n_vertices", "adj_upper", "ops", dataset), max_bytes=max_bytes)
    # val_* and test_* are fractions, NASLib's figure is in percent and its counts in millions; the mlfe_*
    # columns go with test_108ep
    naslib = dataset == "naslib_val_accuracy"
    params = {"test_108ep": ("mlfe_params", 1.0), "val_108ep_one_run": ("params", 1.0)}
    kind = {
        "val_108ep_one_run": "validation accuracy of one run of 108 epochs",
        "test_108ep": "test accuracy after 108 epochs",
        "naslib_val_accuracy": "validation accuracy as NASLib gives it",
    }[dataset]
    return build_table(
        table,
        benchmark,
        dataset,
        dataset,
        archs=_archs(table),
        rivals={p: f"naslib_{p}" for p in NASLIB_PROXIES},
        params=params.get(dataset, ("naslib_params", 1e6)),
        macs=("naslib_flops", 1e6) if naslib else None,
        scale=1.0 if naslib else 100.0,
        notes=[kind, "a sample of the benchmark's 423,624 architectures"],
    )


def _archs(table: Table) -> tuple[str, ...]:
    """``bits:ops`` as :mod:`sed_torch.spaces.nasbench101` writes a cell; both are text, ops may be empty."""
    found = []
    columns = (table.text(c) for c in ("n_vertices", "adj_upper", "ops"))
    for line, vertices, bits, ops in zip(table.lines, *columns, strict=True):
        n = int(vertices) if vertices.isdecimal() and len(vertices) < 3 else 0
        sound = n >= 2 and len(bits) == n * (n - 1) // 2 and not set(bits) - {"0", "1"}
        if not sound or len(ops) != n - 2 or set(ops) - set("13p"):
            raise DataError(
                f"{table.path}, line {line}: expected n_vertices n, n·(n−1)/2 bits and n−2 ops of 1, 3, p; "
                f"found {vertices!r}, {bits!r}, {ops!r}"
            )
        found.append(f"{bits}:{ops}")
    return tuple(found)


# NASLib's operations of vertices: 0 is the input, 1 the output.
_NASLIB_OPS = {2: "p", 3: "1", 4: "3"}


def _cell_string(key: str, where: str) -> str:
    """A flattened matrix and op indices → ``bits:ops``, without vertices off every path."""
    if ":" in key:
        return key
    indices = key_integers(key)
    n = math.isqrt(len(indices))  # n·n of the matrix and n operations
    rows, ops = [indices[i * n : (i + 1) * n] for i in range(n)], indices[n * n :]
    sound = 2 <= n <= 7 and len(ops) == n and all(v in (0, 1) for row in rows for v in row)
    sound = sound and not any(rows[i][j] for i in range(n) for j in range(i + 1))
    if not sound or (ops[0], ops[-1]) != (0, 1) or any(o not in _NASLIB_OPS for o in ops[1:-1]):
        raise DataError(
            f"{where}: expected an upper-triangular matrix of 2 to 7 vertices, flattened, and as many op indices (0 "
            f"first, 1 last, 2 to 4 between), found {key[:60]!r}"
        )
    live = np.flatnonzero(live_vertices(rows)).tolist()
    if len(live) < 2:
        raise DataError(f"{where}: no path leads from the input to the output of {key[:60]!r}")
    bits = "".join(str(rows[i][j]) for k, i in enumerate(live) for j in live[k + 1 :])
    return f"{bits}:{''.join(_NASLIB_OPS[ops[v]] for v in live[1:-1])}"


_DATASETS = ("val_108ep_one_run", "test_108ep", "naslib_val_accuracy")

NASBENCH101 = Benchmark(
    name="nasbench101",
    datasets=_DATASETS,
    files=("nb101.csv.gz", "nb101.csv", "zc_nasbench101.json"),
    read=_read,
    space="nasbench101",
    aliases=("nb101",),
    json_key=_cell_string,
    json_names=FrozenMapping(dict.fromkeys(_DATASETS, "cifar10")),  # NASLib has one figure
)
