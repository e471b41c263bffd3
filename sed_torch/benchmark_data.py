"""Trained networks of public benchmarks, read from files the user has: which architecture reached what accuracy.

The files are not part of this package. :func:`find_data` says where they are looked for, :func:`load` reads one
benchmark, from this project's CSV layout or from NASLib's ``zc_*.json`` (NAS-Bench-Suite-Zero). NATS-Bench publishes
pickles and nothing else; these are refused, and ``examples/nats_to_csv.py`` asks NATS-Bench's own package for a CSV.

Proxy scores (``rivals``) often cover a part of the networks only, such as those without dead edges: compare on the
same rows, as :func:`sed_torch.validation.validate` does.
"""

from __future__ import annotations

import ast
import html
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sed_torch import tables
from sed_torch._frozen import FrozenMapping
from sed_torch.accuracies import MAX_BYTES, Table, decode, read_bytes, read_table, timm_results
from sed_torch.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from sed_torch.spaces import Space

__all__ = [
    "BENCHMARKS",
    "MAX_BYTES",
    "BenchmarkTable",
    "datasets",
    "find_data",
    "find_file",
    "load",
    "read_naslib_json",
    "scorer",
    "space_of",
]

FloatArray = npt.NDArray[np.float64]

BENCHMARKS: Mapping[str, tuple[str, ...]] = FrozenMapping(
    {
        "nasbench201": ("cifar10", "cifar100", "imagenet16"),
        "nasbench101": ("val_108ep_one_run", "test_108ep", "naslib_val_accuracy"),
        "nasbench301": ("cifar10",),
        "transnas_micro": (
            "class_scene",
            "class_object",
            "jigsaw",
            "room_layout",
            "autoencoder",
            "normal",
            "segmentsemantic",
        ),
        "transnas_macro": (
            "class_scene",
            "class_object",
            "jigsaw",
            "room_layout",
            "autoencoder",
            "normal",
            "segmentsemantic",
        ),
        "nats_size": ("cifar10", "cifar100", "imagenet16"),
        "timm": ("imagenet",),
        "pycls": ("imagenet",),
    }
)
"""Benchmarks and their datasets; the first dataset is the default."""

_SPACES = {
    "nasbench201": "nasbench201",
    "nasbench101": "nasbench101",
    "nasbench301": "darts",
    "transnas_micro": "transnas_micro",
    "transnas_macro": "transnas_macro",
    "nats_size": "nats_size",
}

# (image size, classes) of the trained networks, where they are not the space's own
_INPUTS = {
    ("nasbench201", "cifar100"): (32, 100),
    ("nasbench201", "imagenet16"): (16, 120),
    ("nats_size", "cifar100"): (32, 100),
    ("nats_size", "imagenet16"): (16, 120),
}

_ALIASES = {
    "nb201": "nasbench201",
    "nb101": "nasbench101",
    "nb301": "nasbench301",
    "darts": "nasbench301",
    "nats_tss": "nasbench201",
    "nats_sss": "nats_size",
}
_DATASET_ALIASES = {"imagenet16-120": "imagenet16", "cifar10-valid": "cifar10"}

_FILES = {
    "nasbench201": ("nb201.csv.gz", "nb201.csv", "zc_nasbench201.json"),
    "nasbench101": ("nb101.csv.gz", "nb101.csv", "zc_nasbench101.json"),
    "nasbench301": ("nb301_naslib.csv.gz", "nb301_naslib.csv", "zc_nasbench301.json"),
    "transnas_micro": ("tnb101.csv.gz", "tnb101.csv", "zc_transbench101_micro.json"),
    "transnas_macro": ("tnb101.csv.gz", "tnb101.csv", "zc_transbench101_macro.json"),
    "nats_size": ("nats_size.csv.gz", "nats_size.csv"),
    "timm": ("timm_imagenet.csv.gz", "timm_imagenet.csv", "results-imagenet.csv"),
    "pycls": ("pycls_dds_baselines.csv", "pycls_dds_baselines.csv.gz"),
}

_PROXIES = (
    "epe_nas",
    "fisher",
    "grad_norm",
    "grasp",
    "jacov",
    "l2_norm",
    "nwot",
    "plain",
    "snip",
    "synflow",
    "zen",
    "flops",
    "params",
)

_GET_DATA = (
    "The files of trained accuracies are not part of sed-torch. Put them in a folder and pass it (data=...), or name "
    "it in the environment variable SED_TORCH_DATA. NASLib publishes zc_nasbench201.json and its likes "
    "(github.com/automl/NASLib, branch zerocost), which can be read as they are; examples/nats_to_csv.py makes a CSV "
    "of NATS-Bench"
)


@dataclass(frozen=True, eq=False)
class BenchmarkTable:
    """A benchmark's trained networks; arrays are read-only and aligned with ``archs``.

    Attributes:
        benchmark: its name, see :data:`BENCHMARKS`.
        dataset: the dataset or task.
        archs: architectures in the encoding the benchmark's community uses.
        accuracy: shape (n,), never NaN, higher is better.
        unit: of the accuracy, such as ``"%"``.
        rivals: scores of public proxies by name, shape (n,), NaN where missing. NASLib's mark of a failed proxy
            (−1e8) and -inf are missing; the notes say how many.
        params: parameters, NaN where missing, or None where the file has none.
        macs: multiply-accumulates a sample as the benchmark counts them (most call them FLOPs), likewise.
        seeds: accuracies of single training runs by name, for the noise ceiling.
        notes: what to say wherever the figures are shown.
        source: the file.
    """

    benchmark: str
    dataset: str
    archs: tuple[str, ...]
    accuracy: FloatArray
    unit: str
    source: str
    rivals: Mapping[str, FloatArray] = field(default_factory=FrozenMapping)
    params: FloatArray | None = None
    macs: FloatArray | None = None
    seeds: Mapping[str, FloatArray] = field(default_factory=FrozenMapping)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for array in (self.accuracy, self.params, self.macs, *self.rivals.values(), *self.seeds.values()):
            if array is not None:
                if array.shape != (len(self.archs),):
                    raise DataError(
                        f"{self.source}: {array.shape} values for {len(self.archs)} architectures"
                    )
                array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.archs)

    def take(self, rows: npt.ArrayLike) -> BenchmarkTable:
        """The same with some rows: a boolean mask of shape (n,), or row numbers."""
        chosen = np.arange(len(self))[np.asarray(rows)]

        def cut(values: FloatArray | None) -> Any:
            return None if values is None else values[chosen]

        return BenchmarkTable(
            self.benchmark,
            self.dataset,
            tuple(self.archs[i] for i in chosen),
            self.accuracy[chosen],
            self.unit,
            self.source,
            FrozenMapping({k: v[chosen] for k, v in self.rivals.items()}),
            cut(self.params),
            cut(self.macs),
            FrozenMapping({k: v[chosen] for k, v in self.seeds.items()}),
            self.notes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON: missing is None, infinities are strings."""
        return {
            "benchmark": self.benchmark,
            "dataset": self.dataset,
            "unit": self.unit,
            "source": self.source,
            "notes": list(self.notes),
            "archs": list(self.archs),
            "accuracy": _plain(self.accuracy),
            "params": None if self.params is None else _plain(self.params),
            "macs": None if self.macs is None else _plain(self.macs),
            "rivals": {k: _plain(v) for k, v in self.rivals.items()},
            "seeds": {k: _plain(v) for k, v in self.seeds.items()},
        }

    def to_dataframe(self) -> pd.DataFrame:
        """One row an architecture; rivals as ``rival_<name>``, seeds as ``seed_<name>``.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        data: dict[str, Any] = {"arch": list(self.archs), "accuracy": self.accuracy}
        data |= {k: v for k, v in (("params", self.params), ("macs", self.macs)) if v is not None}
        data |= {f"rival_{k}": v for k, v in self.rivals.items()}
        data |= {f"seed_{k}": v for k, v in self.seeds.items()}
        return tables.to_dataframe(data)

    def __str__(self) -> str:
        lines = [
            f"{self.benchmark} {self.dataset}: {len(self):,} architectures, accuracy "
            f"{self.accuracy.min():g} to {self.accuracy.max():g} {self.unit}",
            *(f"  {name}: {int((~np.isnan(v)).sum()):,} rows" for name, v in self.rivals.items()),
            *(f"  note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"BenchmarkTable({self.benchmark!r}, {self.dataset!r}, n={len(self)})"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _plain(values: FloatArray) -> list[float | str | None]:
    return [None if math.isnan(v) else v if math.isfinite(v) else str(v) for v in values.tolist()]


# --- finding -------------------------------------------------------------------------------------------------


def find_data(data: str | os.PathLike[str] | None = None) -> Path:
    """The folder (or file) with benchmark data: the argument, else SED_TORCH_DATA, else ``../shared/data``.

    Raises:
        DataError: it does not exist; the message says how to get the data.
    """
    if data is not None:
        path, what = Path(data), f"data={os.fspath(data)!r}"
    elif os.environ.get("SED_TORCH_DATA"):
        path = Path(os.environ["SED_TORCH_DATA"])
        what = f"SED_TORCH_DATA={os.environ['SED_TORCH_DATA']!r}"
    else:
        path, what = Path("..", "shared", "data"), "../shared/data, the default,"
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
    return _find_file(_benchmark(benchmark), find_data(data))


def space_of(benchmark: str) -> Space[Any]:
    """The search space of a benchmark's architectures.

    Raises:
        DataError: no such benchmark, or one of published models (timm, pycls), which have names and no space.
    """
    name = _benchmark(benchmark)
    if name not in _SPACES:
        raise DataError(
            f"{name} is no search space: rank its models by name (sed-torch rank 'timm:*' -o rank.csv) and hold "
            "the ranking against their accuracies (sed-torch validate rank.csv --against timm)"
        )
    from sed_torch.spaces import get_space

    return get_space(_SPACES[name])


def scorer(benchmark: str, dataset: str | None = None) -> Callable[[Sequence[str]], FloatArray]:
    """SED of a benchmark's architectures at the dataset's own image size and number of classes.

    Returns:
        A function of architecture strings, for :func:`sed_torch.validation.validate_benchmark`; it gives nats,
        higher is better, -inf without a live path.

    Raises:
        DataError: as :func:`space_of`, or no such dataset.
    """
    space = space_of(benchmark)
    name = _benchmark(benchmark)
    size, classes = _INPUTS.get((name, _dataset(name, dataset)), (None, None))

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
        benchmark: a name of :data:`BENCHMARKS`, or an alias (nb101, nb201, nb301, darts).
        dataset: one of :func:`datasets`; by default the first.
        data: a folder or one file, see :func:`find_data`.
        max_bytes: limit of a file's decompressed size.

    Raises:
        DataError: unknown names, no file, or a file that is not what it should be (with file and line).
    """
    name = _benchmark(benchmark)
    chosen = _dataset(name, dataset)
    file = _find_file(name, find_data(data))
    if ".json" in file.suffixes:
        return read_naslib_json(file, name, chosen, max_bytes=max_bytes)
    return _READERS[name](file, name, chosen, max_bytes)


def _benchmark(name: str) -> str:
    key = _ALIASES.get(name.lower(), name.lower())
    if key not in BENCHMARKS:
        aliases = ", ".join(_ALIASES)
        raise DataError(f"no benchmark {name!r}: expected one of {', '.join(BENCHMARKS)} (or {aliases})")
    return key


def _dataset(benchmark: str, name: str | None) -> str:
    known = BENCHMARKS[benchmark]
    if name is None:
        return known[0]
    key = _DATASET_ALIASES.get(name.lower(), name.lower())
    if key not in known:
        raise DataError(f"{benchmark} has no dataset {name!r}: expected one of {', '.join(known)}")
    return key


def _find_file(benchmark: str, place: Path) -> Path:
    if place.is_file():
        return place
    for name in _FILES[benchmark]:
        if (place / name).is_file():
            return place / name
    pickles = sorted(p.name for p in place.glob("*.p*") if {".pickle", ".pkl", ".pbz2"} & set(p.suffixes))
    hint = ""
    if pickles:
        hint = f" It has {pickles[0]}, which is a pickle and is never loaded; examples/nats_to_csv.py makes it a CSV."
    raise DataError(
        f"{place}: no file of {benchmark}; looked for {', '.join(_FILES[benchmark])}.{hint} {_GET_DATA}."
    )


# --- this project's CSV files --------------------------------------------------------------------------------


def _nats(file: Path, benchmark: str, dataset: str, max_bytes: int) -> BenchmarkTable:
    target = f"{dataset}_test"
    table = read_table(file, required=("arch", target), max_bytes=max_bytes)
    epochs, size = {"nasbench201": (200, 15_625), "nats_size": (90, 32_768)}[benchmark]
    notes = [f"test accuracy after {epochs} epochs, mean of the available seeds"]
    if dataset != "cifar10":
        notes.append("params and MACs are those of the CIFAR-10 network; their order is the same")
    return _build(
        table,
        benchmark,
        dataset,
        target,
        "%",
        archs=_archs(table),
        rivals={p: f"{dataset}_{p}" for p in _PROXIES},
        params=("params_M", 1e6),
        macs=("cifar10_flops_M", 1e6),
        seeds={s: f"{dataset}_test_{s}" for s in ("seed0", "seed1", "seed2")},
        notes=notes,
        size=size,
    )


def _nasbench101(file: Path, benchmark: str, dataset: str, max_bytes: int) -> BenchmarkTable:
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
    return _build(
        table,
        benchmark,
        dataset,
        dataset,
        "%",
        archs=_nasbench101_archs(table),
        rivals={p: f"naslib_{p}" for p in _PROXIES},
        params=params.get(dataset, ("naslib_params", 1e6)),
        macs=("naslib_flops", 1e6) if naslib else None,
        scale=1.0 if naslib else 100.0,
        notes=[kind, "a sample of the benchmark's 423,624 architectures"],
    )


def _nasbench101_archs(table: Table) -> tuple[str, ...]:
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


def _nasbench301(file: Path, benchmark: str, dataset: str, max_bytes: int) -> BenchmarkTable:
    table = read_table(file, required=("arch", "val_accuracy"), max_bytes=max_bytes)
    return _build(
        table,
        benchmark,
        dataset,
        "val_accuracy",
        "%",
        archs=_archs(table),
        rivals={p: p for p in _PROXIES},
        params=("params", 1e6),
        macs=("flops", 1e6),
        notes=["val_accuracy is a surrogate's prediction, not a trained network's"],
    )


_TASK_UNITS = {"room_layout": "negative loss", "autoencoder": "SSIM", "normal": "SSIM"}


def _transnas(file: Path, benchmark: str, dataset: str, max_bytes: int) -> BenchmarkTable:
    target = f"{dataset}_val_final"
    table = read_table(file, required=("arch", "space", target), max_bytes=max_bytes)
    space = benchmark.removeprefix("transnas_")
    return _build(
        table,
        benchmark,
        dataset,
        target,
        _TASK_UNITS.get(dataset, "%"),
        archs=_archs(table),
        rivals={p: f"{dataset}_{p}" for p in _PROXIES},
        params=(f"{dataset}_params", 1e6),
        macs=(f"{dataset}_flops", 1e6),
        only=np.asarray([s == space for s in table.text("space")]),
        notes=["validation metric of the last epoch, higher is better"],
        size={"micro": 4096, "macro": 3256}[space],
    )


def _timm(file: Path, benchmark: str, dataset: str, max_bytes: int) -> BenchmarkTable:
    found = timm_results(file, max_bytes=max_bytes)
    return BenchmarkTable(
        benchmark,
        dataset,
        found.names,
        found.values,
        "%",
        str(file),
        params=np.asarray([math.nan if r.params is None else r.params for r in found.rows], dtype=np.float64),
        macs=np.asarray([math.nan if r.macs is None else r.macs for r in found.rows], dtype=np.float64),
        notes=(
            f"{found.reduction}; tags that name more data or a teacher are left out",
            "recipes and image sizes differ between architectures; accuracy and MACs are at the smallest size "
            "published of each, which is timm's default input size",
        ),
    )


def _pycls(file: Path, benchmark: str, dataset: str, max_bytes: int) -> BenchmarkTable:
    table = read_table(file, required=("model", "top1", "timm_arch"), max_bytes=max_bytes)
    archs = table.text("timm_arch")
    return _build(
        table,
        benchmark,
        dataset,
        "top1",
        "%",
        archs=archs,
        only=np.asarray([bool(a) for a in archs]),
        notes=["one recipe for all, mean of 5 runs; models without a counterpart in timm are left out"],
    )


_READERS: Mapping[str, Callable[[Path, str, str, int], BenchmarkTable]] = {
    "nasbench201": _nats,
    "nats_size": _nats,
    "nasbench101": _nasbench101,
    "nasbench301": _nasbench301,
    "transnas_micro": _transnas,
    "transnas_macro": _transnas,
    "timm": _timm,
    "pycls": _pycls,
}


def _archs(table: Table) -> tuple[str, ...]:
    archs = table.text("arch")
    for line, arch in zip(table.lines, archs, strict=True):
        if not arch:
            raise DataError(
                f"{table.path}, line {line}, column 'arch': expected an architecture, found nothing"
            )
    return archs


def _build(
    table: Table,
    benchmark: str,
    dataset: str,
    target: str,
    unit: str,
    *,
    archs: tuple[str, ...],
    rivals: Mapping[str, str] = FrozenMapping(),
    params: tuple[str, float] | None = None,
    macs: tuple[str, float] | None = None,
    seeds: Mapping[str, str] = FrozenMapping(),
    only: npt.NDArray[np.bool_] | None = None,
    scale: float = 1.0,
    notes: list[str],
    size: int | None = None,
) -> BenchmarkTable:
    """Rows with an accuracy (and in ``only``); column names map to what the file has of them."""
    accuracy = table.numbers(target, finite=True) * scale
    keep = np.isfinite(accuracy) if only is None else np.isfinite(accuracy) & only
    if not keep.any():
        raise DataError(f"{table.path}: no row of {benchmark} has a {target}")
    kept = tuple(arch for arch, k in zip(archs, keep, strict=True) if k)
    _check_archs_once(table, archs, keep)
    if size is not None and len(kept) != size:
        notes = [*notes, f"{len(kept):,} of the benchmark's {size:,} architectures"]

    def column(spec: tuple[str, float] | None) -> FloatArray | None:
        values = None
        if spec is not None and spec[0] in table.columns:
            values = table.numbers(spec[0])[keep] * spec[1]
        return None if values is None or np.isnan(values).all() else values

    scores, failed = _without_failures(_present({k: column((c, 1.0)) for k, c in rivals.items()}))
    return BenchmarkTable(
        benchmark,
        dataset,
        kept,
        accuracy[keep],
        unit,
        str(table.path),
        scores,
        column(params),
        column(macs),
        _present({k: column((c, scale)) for k, c in seeds.items()}),
        (*notes, *failed),
    )


_FAILED = -1e8
"""What NASLib writes where a proxy failed; as a score, it would order networks that were never scored."""


def _without_failures(
    rivals: Mapping[str, FloatArray],
) -> tuple[Mapping[str, FloatArray], tuple[str, ...]]:
    """Proxies' scores with failures as NaN, and a note that counts them."""
    cleaned, counts = {}, []
    for name, values in rivals.items():
        failed = (values == _FAILED) | np.isneginf(values)
        cleaned[name] = np.where(failed, math.nan, values)
        if failed.any():
            counts.append(f"{name} {int(failed.sum()):,}")
    note = f"marks of failure (−1e8 or -inf) in public scores, taken as missing: {', '.join(counts)}"
    return FrozenMapping(cleaned), (note,) if counts else ()


def _present(columns: Mapping[str, FloatArray | None]) -> Mapping[str, FloatArray]:
    return FrozenMapping({k: v for k, v in columns.items() if v is not None})


def _check_archs_once(table: Table, archs: tuple[str, ...], keep: npt.NDArray[np.bool_]) -> None:
    seen: dict[str, int] = {}
    for line, arch, kept in zip(table.lines, archs, keep, strict=True):
        if kept and arch in seen:
            raise DataError(f"{table.path}, line {line}: {arch!r} is on line {seen[arch]} already")
        if kept:
            seen[arch] = line


# --- NASLib's JSON -------------------------------------------------------------------------------------------


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
        DataError: as :func:`sed_torch.accuracies.read_bytes`, broken JSON (with its line), or another structure
            (with the dataset, architecture and proxy at which it differs).
    """
    file, name = Path(path), _benchmark(benchmark)
    content = _read_json(file, max_bytes)
    chosen, entries = _naslib_dataset(file, content, name, dataset)
    archs: list[str] = []
    accuracy: list[float] = []
    rivals: dict[str, list[float]] = {}
    for key, entry in entries.items():
        where = f"{file}: {chosen} > {key}"
        if not isinstance(entry, dict) or "val_accuracy" not in entry:
            raise DataError(
                f"{where}: expected an object with val_accuracy and proxies, found {_brief(entry)}"
            )
        archs.append(_from_naslib_key(name, key, where))
        accuracy.append(_json_number(entry["val_accuracy"], f"{where} > val_accuracy", finite=True))
        for proxy, value in _naslib_scores(entry, where):
            column = rivals.setdefault(proxy, [math.nan] * (len(archs) - 1))
            column.append(value)
        for column in rivals.values():
            column.extend([math.nan] * (len(archs) - len(column)))
    if len(set(archs)) != len(archs):
        raise DataError(f"{file}: {chosen}: an architecture is there twice")
    notes = ["NASLib's val_accuracy"]
    if name == "nasbench301":
        notes.append("val_accuracy is a surrogate's prediction, not a trained network's")
    arrays, failed = _without_failures({k: np.asarray(v, dtype=np.float64) for k, v in rivals.items()})
    return BenchmarkTable(
        name,
        _DATASET_ALIASES.get(chosen.lower(), chosen),
        tuple(archs),
        np.asarray(accuracy, dtype=np.float64),
        _TASK_UNITS.get(chosen, "%"),
        str(file),
        arrays,
        params=arrays["params"] * 1e6 if "params" in arrays else None,
        macs=arrays["flops"] * 1e6 if "flops" in arrays else None,
        notes=(*notes, *failed),
    )


def _read_json(file: Path, max_bytes: int) -> dict[str, Any]:
    text = decode(file, read_bytes(file, max_bytes=max_bytes))
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file}, line {error.lineno}: not sound JSON ({error.msg}); the file may be truncated"
        ) from error
    except RecursionError as error:
        raise DataError(f"{file}: JSON nested too deeply to be a benchmark") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise DataError(f"{file}: not sound JSON ({error})") from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"{file}: expected {{dataset: {{arch: ...}}}}, found {_brief(content)}")
    return content


def _naslib_dataset(
    file: Path, content: dict[str, Any], benchmark: str, dataset: str | None
) -> tuple[str, dict[str, Any]]:
    wanted = dataset or (next(iter(content)) if len(content) == 1 else BENCHMARKS[benchmark][0])
    if benchmark == "nasbench101" and wanted in BENCHMARKS[benchmark]:
        wanted = "cifar10"  # NASLib has one figure, under the dataset's name
    key = _DATASET_ALIASES.get(wanted.lower(), wanted.lower())
    for name, entries in content.items():
        if _DATASET_ALIASES.get(name.lower(), name.lower()) == key:
            if not isinstance(entries, dict) or not entries:
                raise DataError(f"{file}: {name}: expected {{arch: ...}}, found {_brief(entries)}")
            return name, entries
    raise DataError(f"{file}: no dataset {wanted!r}; it has {', '.join(map(str, list(content)[:8]))}")


def _naslib_scores(entry: dict[str, Any], where: str) -> Iterator[tuple[str, float]]:
    for proxy, value in entry.items():
        if isinstance(value, dict):
            if "score" not in value:
                raise DataError(f"{where} > {proxy}: expected an object with a score, found {_brief(value)}")
            yield proxy, _json_number(value["score"], f"{where} > {proxy} > score")


def _json_number(value: Any, where: str, *, finite: bool = False) -> float:
    if value is None and not finite:
        return math.nan
    sound = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        number = float(value) if sound else math.nan
    except OverflowError:
        number = math.nan
        sound = False
    if not sound or (finite and not math.isfinite(number)):
        raise DataError(f"{where}: expected a {'finite ' if finite else ''}number, found {_brief(value)}")
    return number


# NASLib's order of operations, and of edges (0,1), (0,2), (0,3), (1,2), (1,3), (2,3).
_NASLIB_OPS_201 = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
# … and of NAS-Bench-101's vertices: 0 is the input, 1 the output.
_NASLIB_OPS_101 = {2: "p", 3: "1", 4: "3"}
_LONGEST_KEY = 400  # a matrix of 7 vertices takes 168


def _from_naslib_key(benchmark: str, key: str, where: str) -> str:
    """A key of NASLib's files → the string of the benchmark's space."""
    if benchmark == "nasbench201" and not key.startswith("|"):
        return _nasbench201_string(_key_integers(key), where, key)
    if benchmark == "nasbench101" and ":" not in key:
        return _nasbench101_string(_key_integers(key), where, key)
    if benchmark.startswith("transnas") and not key.startswith("64-"):
        return _transnas_string(benchmark, _key_integers(key), where, key)
    return key


def _key_integers(key: str) -> tuple[int, ...]:
    """``"(1, 0, 2)"`` or ``"['1', '0', '2']"`` → integers; nothing for anything else."""
    try:
        values = ast.literal_eval(key[:_LONGEST_KEY])
        return tuple(int(v) for v in values if isinstance(v, (int, str)))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return ()


def _nasbench201_string(indices: tuple[int, ...], where: str, key: str) -> str:
    if len(indices) != 6 or not all(0 <= i < len(_NASLIB_OPS_201) for i in indices):
        raise DataError(
            f"{where}: expected six op indices from 0 to 4 or an edge string |op~0|+..., found {key[:60]!r}"
        )
    a, b, c, d, e, f = (_NASLIB_OPS_201[i] for i in indices)
    return f"|{a}~0|+|{b}~0|{d}~1|+|{c}~0|{e}~1|{f}~2|"


def _nasbench101_string(indices: tuple[int, ...], where: str, key: str) -> str:
    n = math.isqrt(len(indices))  # n·n of the matrix and n operations
    rows, ops = [indices[i * n : (i + 1) * n] for i in range(n)], indices[n * n :]
    sound = 2 <= n <= 7 and len(ops) == n and all(v in (0, 1) for row in rows for v in row)
    sound = sound and not any(rows[i][j] for i in range(n) for j in range(i + 1))
    if not sound or (ops[0], ops[-1]) != (0, 1) or any(o not in _NASLIB_OPS_101 for o in ops[1:-1]):
        raise DataError(
            f"{where}: expected an upper-triangular matrix of 2 to 7 vertices, flattened, and as many op indices (0 "
            f"first, 1 last, 2 to 4 between), found {key[:60]!r}"
        )
    live = _on_a_path(rows)
    if len(live) < 2:
        raise DataError(f"{where}: no path leads from the input to the output of {key[:60]!r}")
    bits = "".join(str(rows[i][j]) for k, i in enumerate(live) for j in live[k + 1 :])
    return f"{bits}:{''.join(_NASLIB_OPS_101[ops[v]] for v in live[1:-1])}"


def _on_a_path(rows: Sequence[Sequence[int]]) -> list[int]:
    """Vertices on a path from the first to the last, of an upper-triangular matrix."""
    n = len(rows)
    reached, feeds = {0}, {n - 1}
    for j in range(1, n):
        reached |= {j} if any(rows[i][j] for i in reached if i < j) else set()
    for i in range(n - 2, -1, -1):
        feeds |= {i} if any(rows[i][j] for j in feeds if j > i) else set()
    return sorted(reached & feeds)


def _transnas_string(benchmark: str, digits: tuple[int, ...], where: str, key: str) -> str:
    text = "".join(str(d) for d in digits)
    if benchmark == "transnas_micro" and len(digits) == 6 and set(text) <= set("0123"):
        return f"64-41414-{text[0]}_{text[1:3]}_{text[3:]}"
    text = text.replace("0", "")  # NASLib fills up with zeros
    if benchmark == "transnas_macro" and 4 <= len(text) <= 6 and set(text) <= set("1234"):
        return f"64-{text}-basic"
    wanted = "six digits of 0 to 3" if benchmark == "transnas_micro" else "four to six digits of 1 to 4"
    raise DataError(f"{where}: expected {wanted} or a string 64-…, found {key[:60]!r}")


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
