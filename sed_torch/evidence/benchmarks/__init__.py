"""Trained networks of public benchmarks, read from files the user has: which architecture reached what accuracy.

The files are not part of this package. :func:`find_data` says where they are looked for, :func:`load` reads one
benchmark, from this project's CSV layout or from NASLib's ``zc_*.json`` (NAS-Bench-Suite-Zero). NATS-Bench publishes
pickles and nothing else; these are refused, and ``examples/nats_to_csv.py`` asks NATS-Bench's own package for a CSV.

A benchmark is one :class:`~sed_torch.evidence.benchmarks.row.Benchmark` in the file of its source, and one entry of
:data:`ROWS`. Proxy scores (``rivals``) often cover a part of the networks only, such as those without dead edges:
compare on the same rows, as :func:`sed_torch.evidence.validate` does.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError
from sed_torch.evidence.accuracies import Accuracies, AccuracyRow
from sed_torch.evidence.benchmarks import naslib
from sed_torch.evidence.benchmarks.accel_nasbench import ACCEL_NASBENCH
from sed_torch.evidence.benchmarks.mmpretrain import MMPRETRAIN
from sed_torch.evidence.benchmarks.nasbench101 import NASBENCH101
from sed_torch.evidence.benchmarks.nasbench301 import NASBENCH301
from sed_torch.evidence.benchmarks.nasbench_macro import NASBENCH_MACRO
from sed_torch.evidence.benchmarks.naslib import DATASET_ALIASES
from sed_torch.evidence.benchmarks.nats import NASBENCH201, NATS_SIZE
from sed_torch.evidence.benchmarks.pycls import PYCLS
from sed_torch.evidence.benchmarks.pytorchcv import PYTORCHCV
from sed_torch.evidence.benchmarks.row import Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.benchmarks.timm import TIMM
from sed_torch.evidence.benchmarks.transnas import TRANSNAS_MACRO, TRANSNAS_MICRO
from sed_torch.evidence.reading import MAX_BYTES
from sed_torch.evidence.statistics import defined
from sed_torch.spaces import Space, get_space

__all__ = [
    "BENCHMARKS",
    "MAX_BYTES",
    "ROWS",
    "Benchmark",
    "BenchmarkTable",
    "accuracies_of",
    "datasets",
    "find_data",
    "find_file",
    "load",
    "read_naslib_json",
    "scorer",
    "space_of",
]

FloatArray = npt.NDArray[np.float64]

ROWS: Mapping[str, Benchmark] = FrozenMapping(
    {
        row.name: row
        for row in (
            *(NASBENCH201, NASBENCH101, NASBENCH301, TRANSNAS_MICRO, TRANSNAS_MACRO, NATS_SIZE),
            *(ACCEL_NASBENCH, NASBENCH_MACRO, TIMM, PYCLS, MMPRETRAIN, PYTORCHCV),
        )
    }
)
"""The benchmarks by name."""

BENCHMARKS: Mapping[str, tuple[str, ...]] = FrozenMapping({n: row.datasets for n, row in ROWS.items()})
"""Benchmarks and their datasets; the first dataset is the default."""

_ALIASES = {alias: row.name for row in ROWS.values() for alias in row.aliases}

_GET_DATA = (
    "The files of trained accuracies are not part of sed-torch. Put them in a folder and pass it (data=...), or name "
    "it in the environment variable SED_TORCH_DATA. NASLib publishes zc_nasbench201.json and its likes "
    "(github.com/automl/NASLib, branch zerocost), which can be read as they are; examples/nats_to_csv.py makes a CSV "
    "of NATS-Bench"
)


def find_data(data: str | os.PathLike[str] | None = None) -> Path:
    """The folder (or file) with benchmark data: the argument, else the environment variable SED_TORCH_DATA.

    Raises:
        DataError: neither is given, or it does not exist; the message says how to get the data.
    """
    if data is not None:
        path, what = Path(data), f"data={os.fspath(data)!r}"
    elif os.environ.get("SED_TORCH_DATA"):
        path = Path(os.environ["SED_TORCH_DATA"])
        what = f"SED_TORCH_DATA={os.environ['SED_TORCH_DATA']!r}"
    else:
        raise DataError(f"no benchmark data: neither data= nor SED_TORCH_DATA says where it is. {_GET_DATA}.")
    path = path.expanduser()
    if not path.exists():
        raise DataError(f"no benchmark data: {what} does not exist. {_GET_DATA}.")
    return path


def datasets(benchmark: str) -> tuple[str, ...]:
    """Datasets (or tasks) of a benchmark, the default first.

    Raises:
        DataError: no such benchmark.
    """
    return BENCHMARKS[_benchmark(benchmark)]


def find_file(benchmark: str, data: str | os.PathLike[str] | None = None) -> Path:
    """The file of a benchmark, looked for as :func:`find_data` says.

    Raises:
        DataError: no such benchmark, or no file; the message says how to get one.
    """
    return _find_file(ROWS[_benchmark(benchmark)], find_data(data))


def space_of(benchmark: str) -> Space[Any]:
    """The search space of a benchmark's architectures.

    Raises:
        DataError: no such benchmark, or one of published models (timm, pycls, mmpretrain, pytorchcv), which have
            names and no space.
    """
    name = _benchmark(benchmark)
    space = ROWS[name].space
    if space is None:
        raise DataError(
            f"{name} is no search space: rank its models by name (sed-torch rank 'timm:*' -o rank.csv) and hold "
            "the ranking against their accuracies (sed-torch validate rank.csv --against timm)"
        )
    return get_space(space)


def scorer(benchmark: str, dataset: str | None = None) -> Callable[[Sequence[str]], FloatArray]:
    """SED of a benchmark's architectures at the dataset's own image size and number of classes.

    Returns:
        A function of architecture strings, for :func:`sed_torch.evidence.validate_benchmark`; it gives nats,
        higher is better, -inf without a live path.

    Raises:
        DataError: as :func:`space_of`, or no such dataset.
    """
    space = space_of(benchmark)
    name = _benchmark(benchmark)
    size, classes = ROWS[name].inputs.get(_dataset(name, dataset), (None, None))

    def score(archs: Sequence[str]) -> FloatArray:
        return space.score_many(archs, image_size=size, num_classes=classes)

    return score


def load(
    benchmark: str,
    dataset: str | None = None,
    data: str | os.PathLike[str] | None = None,
    *,
    max_bytes: int = MAX_BYTES,
) -> BenchmarkTable:
    """A benchmark's architectures that have an accuracy, with public proxies' scores.

    Args:
        benchmark: a name of :data:`BENCHMARKS`, or an alias (nb101, nb201, nb301, darts, mnasnet).
        dataset: one of :func:`datasets`; by default the first.
        data: a folder or one file, see :func:`find_data`.
        max_bytes: limit of a file's decompressed size.

    Raises:
        DataError: unknown names, no file, or a file that is not what it should be (with file and line).
    """
    name = _benchmark(benchmark)
    chosen = _dataset(name, dataset)
    row = ROWS[name]
    file = _find_file(row, find_data(data), json=chosen in row.json_datasets)
    if ".json" in file.suffixes:
        return naslib.read_benchmark(file, row, chosen, max_bytes)
    return row.read(file, row, chosen, max_bytes)


def read_naslib_json(
    path: str | os.PathLike[str],
    benchmark: str = "nasbench201",
    dataset: str | None = None,
    *,
    max_bytes: int = MAX_BYTES,
) -> BenchmarkTable:
    """NAS-Bench-Suite-Zero's ``zc_*.json``: ``{dataset: {arch: {proxy: {"score": s}, "val_accuracy": a}}}``.

    Keys become the strings that :mod:`sed_torch.spaces` reads: NAS-Bench-201's six op indices an edge string,
    NAS-Bench-101's flattened matrix and op indices ``bits:ops`` (without vertices off every path), TransNAS's digits
    ``64-…``. NAS-Bench-301's are such strings.

    Raises:
        DataError: as :func:`sed_torch.evidence.reading.read_bytes`, broken JSON (with its line), or another structure
            (with the dataset, architecture and proxy at which it differs).
    """
    return naslib.read_benchmark(Path(path), ROWS[_benchmark(benchmark)], dataset, max_bytes)


def accuracies_of(
    benchmark: str, dataset: str | None = None, data: str | os.PathLike[str] | None = None
) -> Accuracies:
    """A benchmark's table as accuracies that a ranking can be joined with, by the names of its networks.

    Raises:
        DataError: as :func:`load`.
    """
    table = load(benchmark, dataset, data)
    unknown = np.full(len(table), math.nan)
    columns = (
        table.params if table.params is not None else unknown,
        table.macs if table.macs is not None else unknown,
    )
    counts = zip(*([defined(v) for v in c.tolist()] for c in columns), strict=True)
    rows = tuple(
        AccuracyRow(name, float(value), params=params, macs=macs)
        for name, value, (params, macs) in zip(table.archs, table.accuracy, counts, strict=True)
    )
    said = "; ".join(table.notes) or "one row a network"
    zoo = ROWS[table.benchmark].zoo
    return Accuracies(rows, f"{table.benchmark} {table.dataset}", table.unit, table.source, said, zoo=zoo)


def _benchmark(name: str) -> str:
    key = _ALIASES.get(name.lower(), name.lower())
    if key not in BENCHMARKS:
        aliases = ", ".join(_ALIASES)
        raise DataError(f"no benchmark {name!r}: expected one of {', '.join(BENCHMARKS)} (or {aliases})")
    return key


def _dataset(benchmark: str, name: str | None) -> str:
    row = ROWS[benchmark]
    known = (*row.datasets, *row.json_datasets)
    if name is None:
        return known[0]
    key = DATASET_ALIASES.get(name.lower(), name.lower())
    if key not in known:
        raise DataError(f"{benchmark} has no dataset {name!r}: expected one of {', '.join(known)}")
    return key


def _find_file(benchmark: Benchmark, place: Path, *, json: bool = False) -> Path:
    if place.is_file():
        return place
    files = [f for f in benchmark.files if f.endswith(".json") or not json]
    for name in files:
        if (place / name).is_file():
            return place / name
    pickles = sorted(p.name for p in place.glob("*.p*") if {".pickle", ".pkl", ".pbz2"} & set(p.suffixes))
    hint = ""
    if pickles:
        hint = f" It has {pickles[0]}, which is a pickle and is never loaded; examples/nats_to_csv.py makes it a CSV."
    raise DataError(
        f"{place}: no file of {benchmark.name}; looked for {', '.join(files)}.{hint} {_GET_DATA}."
    )
