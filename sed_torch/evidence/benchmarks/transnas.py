"""TransNAS-Bench-101, micro and macro."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError
from sed_torch.evidence.benchmarks.building import NASLIB_PROXIES, archs_of, build_table
from sed_torch.evidence.benchmarks.naslib import key_integers
from sed_torch.evidence.benchmarks.row import NASLIB_INPUTS, NASLIB_NOTES, Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.reading import read_table

__all__ = ["TRANSNAS_MACRO", "TRANSNAS_MICRO"]

_TASKS = (
    "class_scene",
    "class_object",
    "jigsaw",
    "room_layout",
    "autoencoder",
    "normal",
    "segmentsemantic",
)
_UNITS = FrozenMapping({"room_layout": "negative loss", "autoencoder": "SSIM", "normal": "SSIM"})


def _read(file: Path, benchmark: Benchmark, dataset: str, max_bytes: int) -> BenchmarkTable:
    target = f"{dataset}_val_final"
    table = read_table(file, required=("arch", "space", target), max_bytes=max_bytes)
    space = benchmark.name.removeprefix("transnas_")
    return build_table(
        table,
        benchmark,
        dataset,
        target,
        archs=archs_of(table),
        rivals={p: f"{dataset}_{p}" for p in NASLIB_PROXIES},
        params=(f"{dataset}_params", 1e6),
        macs=(f"{dataset}_flops", 1e6),
        only=np.asarray([s == space for s in table.text("space")]),
        notes=["validation metric of the last epoch, higher is better"],
        size={"micro": 4096, "macro": 3256}[space],
    )


def _micro_string(key: str, where: str) -> str:
    """Six digits → ``64-41414-a_bc_def``."""
    if key.startswith("64-"):
        return key
    text = "".join(map(str, key_integers(key)))
    if len(text) == 6 and set(text) <= set("0123"):
        return f"64-41414-{text[0]}_{text[1:3]}_{text[3:]}"
    raise DataError(f"{where}: expected six digits of 0 to 3 or a string 64-…, found {key[:60]!r}")


def _macro_string(key: str, where: str) -> str:
    """Four to six digits → ``64-4111-basic``."""
    if key.startswith("64-"):
        return key
    text = "".join(map(str, key_integers(key))).replace("0", "")  # NASLib fills up with zeros
    if 4 <= len(text) <= 6 and set(text) <= set("1234"):
        return f"64-{text}-basic"
    raise DataError(f"{where}: expected four to six digits of 1 to 4 or a string 64-…, found {key[:60]!r}")


TRANSNAS_MICRO = Benchmark(
    name="transnas_micro",
    datasets=_TASKS,
    files=("tnb101.csv.gz", "tnb101.csv", "zc_transbench101_micro.json"),
    read=_read,
    space="transnas_micro",
    units=_UNITS,
    inputs=NASLIB_INPUTS,
    json_datasets=tuple(NASLIB_INPUTS),
    json_key=_micro_string,
    notes=NASLIB_NOTES,
)

TRANSNAS_MACRO = Benchmark(
    name="transnas_macro",
    datasets=_TASKS,
    files=("tnb101.csv.gz", "tnb101.csv", "zc_transbench101_macro.json"),
    read=_read,
    space="transnas_macro",
    units=_UNITS,
    json_key=_macro_string,
)
