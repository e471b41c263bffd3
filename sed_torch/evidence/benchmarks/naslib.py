"""NASLib's JSON of NAS-Bench-Suite-Zero: ``{dataset: {arch: {proxy: {"score": s}, "val_accuracy": a}}}``."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sed_torch.errors import DataError
from sed_torch.evidence.benchmarks.building import without_failures
from sed_torch.evidence.benchmarks.row import Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.reading import brief, json_number, read_json

__all__ = ["DATASET_ALIASES", "key_integers", "read_benchmark"]

DATASET_ALIASES = {"imagenet16-120": "imagenet16", "cifar10-valid": "cifar10"}
"""Other spellings of datasets."""

_LONGEST_KEY = 400  # a matrix of 7 vertices takes 168


def read_benchmark(file: Path, benchmark: Benchmark, dataset: str | None, max_bytes: int) -> BenchmarkTable:
    """One dataset of a file; keys become the strings that the benchmark's space reads.

    Raises:
        DataError: as :func:`sed_torch.evidence.reading.read_json`, or another structure (with the dataset,
            architecture and proxy at which it differs).
    """
    content = read_json(file, max_bytes=max_bytes)
    chosen, entries = _dataset(file, content, benchmark, dataset)
    archs: list[str] = []
    accuracy: list[float] = []
    rivals: dict[str, list[float]] = {}
    for key, entry in entries.items():
        where = f"{file}: {chosen} > {key}"
        if not isinstance(entry, dict) or "val_accuracy" not in entry:
            raise DataError(
                f"{where}: expected an object with val_accuracy and proxies, found {brief(entry)}"
            )
        archs.append(key if benchmark.json_key is None else benchmark.json_key(key, where))
        accuracy.append(json_number(entry["val_accuracy"], f"{where} > val_accuracy", finite=True))
        for proxy, value in _scores(entry, where):
            column = rivals.setdefault(proxy, [math.nan] * (len(archs) - 1))
            column.append(value)
        for column in rivals.values():
            column.extend([math.nan] * (len(archs) - len(column)))
    if len(set(archs)) != len(archs):
        raise DataError(f"{file}: {chosen}: an architecture is there twice")
    known = DATASET_ALIASES.get(chosen.lower(), chosen)
    notes = ["NASLib's val_accuracy", *([benchmark.notes[known]] if known in benchmark.notes else [])]
    arrays, failed = without_failures({k: np.asarray(v, dtype=np.float64) for k, v in rivals.items()})
    return BenchmarkTable(
        benchmark.name,
        known,
        tuple(archs),
        np.asarray(accuracy, dtype=np.float64),
        benchmark.unit(known),
        str(file),
        arrays,
        params=arrays["params"] * 1e6 if "params" in arrays else None,
        macs=arrays["flops"] * 1e6 if "flops" in arrays else None,
        notes=(*notes, *failed),
    )


def _dataset(
    file: Path, content: dict[str, Any], benchmark: Benchmark, dataset: str | None
) -> tuple[str, dict[str, Any]]:
    wanted = dataset or (next(iter(content)) if len(content) == 1 else benchmark.datasets[0])
    wanted = benchmark.json_names.get(wanted, wanted)
    key = DATASET_ALIASES.get(wanted.lower(), wanted.lower())
    for name, entries in content.items():
        if DATASET_ALIASES.get(name.lower(), name.lower()) == key:
            if not isinstance(entries, dict) or not entries:
                raise DataError(f"{file}: {name}: expected {{arch: ...}}, found {brief(entries)}")
            return name, entries
    raise DataError(f"{file}: no dataset {wanted!r}; it has {', '.join(map(str, list(content)[:8]))}")


def _scores(entry: dict[str, Any], where: str) -> Iterator[tuple[str, float]]:
    for proxy, value in entry.items():
        if isinstance(value, dict):
            if "score" not in value:
                raise DataError(f"{where} > {proxy}: expected an object with a score, found {brief(value)}")
            yield proxy, json_number(value["score"], f"{where} > {proxy} > score")


def key_integers(key: str) -> tuple[int, ...]:
    """``"(1, 0, 2)"`` or ``"['1', '0', '2']"`` → integers; nothing for anything else."""
    try:
        values = ast.literal_eval(key[:_LONGEST_KEY])
        return tuple(int(v) for v in values if isinstance(v, (int, str)))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return ()
