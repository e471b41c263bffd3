"""Benchmarks of trained networks: finding their files, and reading them into one table.

Ground truth is never shipped with the package. :func:`load` reads two public kinds of files, both text:

* CSV (plain or gzip) with one row per architecture, one file per benchmark, in a folder (:func:`find_data`);
* the JSON files of NAS-Bench-Suite-Zero (Krishnakumar et al. 2022), ``{dataset: {architecture:
  {proxy: {"score": ..., "time": ...}, "val_accuracy": ...}}}``: give the file itself as ``data``.

NATS-Bench's own files, and those of NAS-Bench-201 and TransNAS-Bench-101, are pickles. They are refused, since
loading a pickle runs code from the file.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sed_torch import tables
from sed_torch.accuracies import MAX_BYTES, TextTable, family_of, read_table, read_text, timm_results
from sed_torch.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BENCHMARKS", "DATA_VARIABLE", "BenchmarkTable", "datasets", "find_data", "load"]

Array = NDArray[np.float64]
StrPath = str | os.PathLike[str]

#: Environment variable that names the folder of benchmark files.
DATA_VARIABLE = "SED_TORCH_DATA"

#: NAS-Bench-Suite-Zero writes -1e8 where a proxy failed. That is no score: it reads as missing.
_FAILED = -1e8

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
)
_TASKS = ("class_scene", "class_object", "jigsaw", "room_layout", "autoencoder", "normal", "segmentsemantic")
_TASK_METRICS = {
    "room_layout": "validation −loss after the last epoch",
    "autoencoder": "validation SSIM after the last epoch",
    "normal": "validation SSIM after the last epoch",
    "segmentsemantic": "validation pixel accuracy after the last epoch (%)",
}
_SURROGATE = (
    "val_accuracy is the prediction of NAS-Bench-301's surrogate, not the accuracy of a trained network"
)


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkTable:
    """Trained accuracies of the architectures of one benchmark, with public rivals' scores.

    Every array has one entry per architecture. NaN is missing; rows without an accuracy are not in the table.

    Attributes:
        benchmark: canonical name.
        dataset: the dataset, task or measurement the accuracy belongs to.
        archs: architectures in the encoding of the community (of the space of the same name).
        accuracy: higher is better, in the unit that ``metric`` names.
        metric: what the accuracy is.
        source: the file it was read from.
        rivals: public proxy → scores. Where the proxy failed its score is NaN.
        params: trainable parameters, or None.
        macs: multiply–accumulates of one forward, or None.
        seeds: seed → accuracy of that training run, for the noise ceiling.
        groups: family of each architecture, where the benchmark mixes families.
        left_out: rows of the file without this accuracy.
        notes: what a reader must know to judge the numbers.
    """

    benchmark: str
    dataset: str
    archs: tuple[str, ...]
    accuracy: Array
    metric: str
    source: str
    rivals: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}))
    params: Array | None = None
    macs: Array | None = None
    seeds: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}))
    groups: tuple[str, ...] | None = None
    left_out: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.archs)

    def take(self, rows: Iterable[int]) -> BenchmarkTable:
        """The table of these rows, in this order."""
        index = np.fromiter(rows, dtype=np.intp)

        def cut(values: Array | None) -> Array | None:
            return None if values is None else values[index]

        return BenchmarkTable(
            self.benchmark,
            self.dataset,
            tuple(self.archs[i] for i in index),
            self.accuracy[index],
            self.metric,
            self.source,
            MappingProxyType({name: values[index] for name, values in self.rivals.items()}),
            cut(self.params),
            cut(self.macs),
            MappingProxyType({name: values[index] for name, values in self.seeds.items()}),
            None if self.groups is None else tuple(self.groups[i] for i in index),
            self.left_out,
            self.notes,
        )

    def sample(self, n: int, seed: int = 0) -> BenchmarkTable:
        """``n`` rows without replacement, in the order of the table; all of them where there are fewer."""
        if n >= len(self):
            return self
        rows = np.random.default_rng(seed).choice(len(self), size=n, replace=False)
        return self.take(np.sort(rows))

    def rows(self) -> list[dict[str, Any]]:
        """One mapping per architecture; None where something is missing."""
        columns: dict[str, Sequence[Any]] = {"arch": self.archs, "accuracy": _plain(self.accuracy)}
        if self.groups is not None:
            columns["group"] = self.groups
        numbers = {"params": self.params, "macs": self.macs, **self.rivals, **self.seeds}
        columns |= {name: _plain(values) for name, values in numbers.items() if values is not None}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON."""
        names = ("benchmark", "dataset", "metric", "source", "left_out")
        return {**{n: getattr(self, n) for n in names}, "notes": list(self.notes), "rows": self.rows()}

    def to_dataframe(self) -> pd.DataFrame:
        """One row per architecture.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingDependencyError("pandas", "stats", "BenchmarkTable.to_dataframe()") from error
        return pd.DataFrame(self.rows())

    def __str__(self) -> str:
        best = int(np.argmax(self.accuracy))
        lines = [
            f"{self.benchmark}, {self.dataset}: {len(self)} architectures from {self.source}",
            f"{self.metric}: {self.accuracy.min():g} to {self.accuracy[best]:g} ({self.archs[best]})",
        ]
        if self.rivals:
            counts = (f"{name} {np.count_nonzero(~np.isnan(v))}" for name, v in self.rivals.items())
            lines.append("rivals (rows): " + ", ".join(counts))
        return "\n".join([*lines, *self.notes])

    def _repr_html_(self) -> str:
        rows = self.take(range(min(len(self), 50))).rows()
        caption = f"{self.benchmark}, {self.dataset}: first {len(rows)} of {len(self)}"
        return tables.to_html(rows, list(rows[0]), caption)


# --- finding -----------------------------------------------------------------------------------------------


def find_data(data: StrPath | None = None) -> Path:
    """The folder (or file) of benchmark data: the argument, else ``$SED_TORCH_DATA``, else ``../shared/data``.

    Raises:
        DataError: it does not exist.
    """
    named = data if data is not None else os.environ.get(DATA_VARIABLE) or None
    path = Path(named) if named is not None else Path("..", "shared", "data")
    if not path.exists():
        origin = "" if data is not None else f" ({f'${DATA_VARIABLE}' if named else 'the default place'})"
        raise DataError(
            f"no benchmark data at {path}{origin}. Benchmark figures are not part of the package: get them from the"
            f" benchmark's authors or from NAS-Bench-Suite-Zero (zc_*.json), and pass data= or set ${DATA_VARIABLE}"
            f" to the folder, which should hold {', '.join(sorted({b.file for b in BENCHMARKS.values()}))},"
            " or to a zc_*.json file"
        )
    return path


def datasets(benchmark: str) -> tuple[str, ...]:
    """The datasets (tasks, measurements) of a benchmark; the first is the default.

    Raises:
        DataError: unknown benchmark.
    """
    return tuple(_benchmark(benchmark)[1].datasets)


def load(
    benchmark: str, dataset: str | None = None, data: StrPath | None = None, *, max_bytes: int = MAX_BYTES
) -> BenchmarkTable:
    """A benchmark's accuracies and rivals.

    Args:
        benchmark: ``nasbench101``, ``nasbench201``, ``nasbench301`` (or ``darts``), ``transnas_micro``,
            ``transnas_macro``, ``timm`` or ``pycls``.
        dataset: see :func:`datasets`; default: the first of them.
        data: a folder, or a file (CSV of that benchmark, or a JSON file of NAS-Bench-Suite-Zero); default:
            see :func:`find_data`.
        max_bytes: limit on the uncompressed size of the file.

    Raises:
        DataError: unknown benchmark or dataset, or a file that is missing, truncated, corrupt, too large or not
            of the expected format; the message names the file, the line and what was expected.
    """
    name, spec = _benchmark(benchmark)
    dataset = spec.datasets[0] if dataset is None else _dataset(name, spec, dataset)
    path = find_data(data)
    path = _file_in(path, spec.file) if path.is_dir() else path
    if path.suffix == ".json" or path.name.endswith(".json.gz"):
        return _read_suite_zero(path, name, dataset, max_bytes)
    return spec.read(path, name, dataset, max_bytes)


@dataclass(frozen=True, slots=True)
class _Benchmark:
    file: str
    datasets: tuple[str, ...]
    read: Callable[[Path, str, str, int], BenchmarkTable]


def _benchmark(name: str) -> tuple[str, _Benchmark]:
    canonical = _ALIASES.get(name, name)
    if canonical not in BENCHMARKS:
        raise DataError(f"unknown benchmark {name!r}; expected one of {', '.join([*BENCHMARKS, *_ALIASES])}")
    return canonical, BENCHMARKS[canonical]


def _dataset(name: str, spec: _Benchmark, dataset: str) -> str:
    canonical = _SUITE_ZERO_NAMES.get(dataset, dataset)
    if canonical not in spec.datasets:
        raise DataError(f"{name} has no dataset {dataset!r}; expected one of {', '.join(spec.datasets)}")
    return canonical


def _file_in(folder: Path, file: str) -> Path:
    for candidate in (file, file.removesuffix(".gz"), f"{file}.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    raise DataError(
        f"{folder} has no {file}; pass data= the folder or the file itself, or set ${DATA_VARIABLE}"
    )


# --- CSV -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a CSV file that have an accuracy."""

    table: TextTable
    keep: NDArray[np.bool_]
    accuracy: Array

    @classmethod
    def read(
        cls,
        path: Path,
        accuracy: str,
        required: Sequence[str],
        wanted: Callable[[str], bool],
        max_bytes: int,
        where: Callable[[TextTable], NDArray[np.bool_]] | None = None,
    ) -> _Rows:
        names = {accuracy, *required}
        table = read_table(
            path,
            required=[*required, accuracy],
            columns=lambda c: c in names or wanted(c),
            max_bytes=max_bytes,
        )
        values = table.numbers(accuracy, finite=True)
        keep = ~np.isnan(values) if where is None else ~np.isnan(values) & where(table)
        if not keep.any():
            raise DataError(f"{path}: no row has a value in {accuracy!r}")
        return cls(table, keep, values[keep])

    def text(self, column: str) -> tuple[str, ...]:
        return tuple(v for v, k in zip(self.table.text(column), self.keep, strict=True) if k)

    def archs(self, column: str = "arch") -> tuple[str, ...]:
        found = self.text(column)
        first: dict[str, int] = {}
        lines = [line for line, k in zip(self.table.lines, self.keep, strict=True) if k]
        for arch, line in zip(found, lines, strict=True):
            if first.setdefault(arch, line) != line:
                raise DataError(
                    f"{self.table.source}, line {line}: {arch!r} is on line {first[arch]} already"
                )
        return found

    def optional(self, column: str, unit: float = 1.0) -> Array | None:
        return self.table.numbers(column)[self.keep] * unit if column in self.table.columns else None

    def rivals(self, prefix: str = "") -> tuple[Mapping[str, Array], tuple[str, ...]]:
        """Proxies that have a score in these rows, and a note on those that failed somewhere."""
        found = {p: self.optional(prefix + p) for p in _PROXIES}
        return _without_failures({p: v for p, v in found.items() if v is not None})

    @property
    def left_out(self) -> int:
        return int(self.keep.size - self.keep.sum())


def _without_failures(scores: Mapping[str, Array]) -> tuple[Mapping[str, Array], tuple[str, ...]]:
    clean, failed = {}, []
    for name, values in scores.items():
        bad = (values <= _FAILED) | np.isinf(values)
        if np.isnan(values[~bad]).all():
            continue
        clean[name] = np.where(bad, np.nan, values)
        if bad.any():
            failed.append(f"{name} {np.count_nonzero(bad)}")
    notes = (
        (f"failed proxies (−1e8 or ±inf in the source) are missing: {', '.join(failed)}",) if failed else ()
    )
    return MappingProxyType(clean), notes


def _read_nasbench201(path: Path, name: str, dataset: str, max_bytes: int) -> BenchmarkTable:
    rows = _Rows.read(
        path,
        f"{dataset}_test",
        ["arch"],
        lambda c: c.startswith(dataset) or c in ("params_M", "cifar10_flops_M"),
        max_bytes,
    )
    rivals, notes = rows.rivals(f"{dataset}_")
    seeds = {f"seed{i}": rows.optional(f"{dataset}_test_seed{i}") for i in range(3)}
    if dataset != "cifar10":
        notes += ("params and macs are those of the CIFAR-10 network, whose head and image size differ",)
    return BenchmarkTable(
        name,
        dataset,
        rows.archs(),
        rows.accuracy,
        "test accuracy after 200 epochs, mean of the available seeds (%)",
        str(path),
        rivals,
        rows.optional("params_M", 1e6),
        rows.optional("cifar10_flops_M", 1e6),
        MappingProxyType({k: v for k, v in seeds.items() if v is not None}),
        left_out=rows.left_out,
        notes=(*notes, "public proxies cover networks without dead edges: compare on the same rows"),
    )


def _read_nasbench101(path: Path, name: str, dataset: str, max_bytes: int) -> BenchmarkTable:
    rows = _Rows.read(
        path,
        dataset,
        ["adj_upper", "ops"],
        lambda c: c.startswith("naslib_") or c in ("params", "mlfe_params"),
        max_bytes,
    )
    rivals, notes = rows.rivals("naslib_")
    if dataset == "naslib_val_accuracy":
        metric = "validation accuracy as in NAS-Bench-Suite-Zero (%)"
    else:
        split, epochs = ("test" if dataset.startswith("test") else "validation"), dataset.split("_")[1][:-2]
        metric = f"{split} accuracy after {epochs} epochs{', one run' if dataset.endswith('run') else ''} (fraction)"
    archs = [f"{bits}:{ops}" for bits, ops in zip(rows.text("adj_upper"), rows.text("ops"), strict=True)]
    _check_cells(rows, archs)
    return BenchmarkTable(
        name,
        dataset,
        tuple(archs),
        rows.accuracy,
        metric,
        str(path),
        rivals,
        _first_present(
            rows.optional("params"), rows.optional("mlfe_params"), rows.optional("naslib_params", 1e6)
        ),
        rows.optional("naslib_flops", 1e6),
        left_out=rows.left_out,
        notes=notes,
    )


def _check_cells(rows: _Rows, archs: Sequence[str]) -> None:
    """Bits that are not 0 or 1, or another count of operations, mean the columns were read as numbers once."""
    lines = [line for line, k in zip(rows.table.lines, rows.keep, strict=True) if k]
    for arch, line in zip(archs, lines, strict=True):
        bits, _, ops = arch.partition(":")
        n = len(ops) + 2
        if set(bits) - {"0", "1"} or set(ops) - set("31p") or len(bits) != n * (n - 1) // 2:
            raise DataError(
                f"{rows.table.source}, line {line}: adj_upper {bits!r} and ops {ops!r} are no cell; expected text,"
                " n(n−1)/2 bits for n − 2 letters of 3, 1, p (was the column converted to a number?)"
            )


def _read_nasbench301(path: Path, name: str, dataset: str, max_bytes: int) -> BenchmarkTable:
    rows = _Rows.read(
        path, "val_accuracy", ["arch"], lambda c: c in {*_PROXIES, "params", "flops"}, max_bytes
    )
    rivals, notes = rows.rivals()
    return BenchmarkTable(
        name,
        dataset,
        rows.archs(),
        rows.accuracy,
        "validation accuracy predicted by the surrogate (%)",
        str(path),
        rivals,
        rows.optional("params", 1e6),
        rows.optional("flops", 1e6),
        left_out=rows.left_out,
        notes=(_SURROGATE, *notes),
    )


def _read_transnas(path: Path, name: str, dataset: str, max_bytes: int) -> BenchmarkTable:
    space = name.removeprefix("transnas_")
    rows = _Rows.read(
        path,
        f"{dataset}_val_final",
        ["arch", "space"],
        lambda c: c.startswith(dataset),
        max_bytes,
        where=lambda table: np.array([s == space for s in table.text("space")]),
    )
    rivals, notes = rows.rivals(f"{dataset}_")
    return BenchmarkTable(
        name,
        dataset,
        rows.archs(),
        rows.accuracy,
        _TASK_METRICS.get(dataset, "validation top-1 after the last epoch (%)"),
        str(path),
        rivals,
        rows.optional(f"{dataset}_params", 1e6),
        rows.optional(f"{dataset}_flops", 1e6),
        notes=notes,
    )


def _read_timm(path: Path, name: str, dataset: str, max_bytes: int) -> BenchmarkTable:
    found = timm_results(path, max_bytes=max_bytes)
    return BenchmarkTable(
        name,
        dataset,
        found.names,
        found.accuracy,
        found.metric,
        found.source,
        params=found.params,
        macs=found.macs,
        groups=tuple(map(family_of, found.names)),
        left_out=len(found.left_out),
        notes=found.notes,
    )


def _read_pycls(path: Path, name: str, dataset: str, max_bytes: int) -> BenchmarkTable:
    rows = _Rows.read(
        path,
        "top1",
        ["model", "timm_arch"],
        lambda c: False,
        max_bytes,
        where=lambda table: np.array([bool(a.strip()) for a in table.text("timm_arch")]),
    )
    archs = rows.archs("timm_arch")
    unnamed = [m for m, k in zip(rows.table.text("model"), rows.keep, strict=True) if not k]
    notes: tuple[str, ...] = ("one training recipe for all, mean of 5 runs",)
    if unnamed:
        notes += (f"without a timm name, left out: {', '.join(unnamed)}",)
    return BenchmarkTable(
        name,
        dataset,
        archs,
        rows.accuracy,
        "ImageNet-1k top-1 (%)",
        str(path),
        groups=tuple(map(family_of, archs)),
        left_out=rows.left_out,
        notes=notes,
    )


_EPOCHS = tuple(f"val_{e}ep_one_run" for e in (36, 12, 4))

#: Canonical name → file, datasets (the first is the default) and reader.
BENCHMARKS: Mapping[str, _Benchmark] = MappingProxyType(
    {
        "nasbench101": _Benchmark(
            "nb101.csv.gz",
            ("val_108ep_one_run", "test_108ep", "val_108ep", *_EPOCHS, "naslib_val_accuracy"),
            _read_nasbench101,
        ),
        "nasbench201": _Benchmark("nb201.csv.gz", ("cifar10", "cifar100", "imagenet16"), _read_nasbench201),
        "nasbench301": _Benchmark("nb301_naslib.csv.gz", ("cifar10",), _read_nasbench301),
        "transnas_micro": _Benchmark("tnb101.csv.gz", _TASKS, _read_transnas),
        "transnas_macro": _Benchmark("tnb101.csv.gz", _TASKS, _read_transnas),
        "timm": _Benchmark("timm_imagenet.csv.gz", ("imagenet",), _read_timm),
        "pycls": _Benchmark("pycls_dds_baselines.csv", ("imagenet",), _read_pycls),
    }
)
_ALIASES = {"darts": "nasbench301"}
_SUITE_ZERO_NAMES = {"ImageNet16-120": "imagenet16"}


# --- JSON of NAS-Bench-Suite-Zero ------------------------------------------------------------------------------

# NASLib numbers the edges (0→1, 0→2, 0→3, 1→2, 1→3, 2→3) and the operations so.
_NASLIB_201_OPS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")


def _read_suite_zero(path: Path, benchmark: str, dataset: str, max_bytes: int) -> BenchmarkTable:
    content = _json_object(path, max_bytes)
    back = {v: k for k, v in _SUITE_ZERO_NAMES.items()}
    key = next((k for k in (dataset, back.get(dataset)) if k in content), None)
    if benchmark == "nasbench101" and "cifar10" in content:
        key, dataset = "cifar10", "naslib_val_accuracy"
    if key is None:
        raise DataError(f"{path} has no dataset {dataset!r}; found {', '.join(map(repr, list(content)[:8]))}")
    accuracy, scores = _suite_zero_scores(path, key, content[key])
    params, flops = scores.pop("params", None), scores.pop("flops", None)
    rivals, notes = _without_failures(scores)
    notes = (_SURROGATE, *notes) if benchmark == "nasbench301" else notes
    return BenchmarkTable(
        benchmark,
        dataset,
        tuple(_naslib_arch(benchmark, arch, path) for arch in content[key]),
        accuracy,
        "validation accuracy as in NAS-Bench-Suite-Zero",
        str(path),
        rivals,
        _scaled(params, 1e6),
        _scaled(flops, 1e6),
        notes=notes,
    )


def _suite_zero_scores(path: Path, key: str, entries: Any) -> tuple[Array, dict[str, Array]]:
    """Accuracies, and proxy → scores, NaN where an architecture has none."""
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{path}: {key!r} should map architectures to their scores, found {_kind(entries)}")
    accuracy = np.full(len(entries), np.nan)
    scores: dict[str, Array] = {}
    for row, (arch, entry) in enumerate(entries.items()):
        where = f"{path}: {key!r} → {arch!r}"
        if not isinstance(entry, dict) or "val_accuracy" not in entry:
            raise DataError(f"{where}: expected a mapping with 'val_accuracy', found {_kind(entry)}")
        accuracy[row] = _json_number(entry["val_accuracy"], f"{where} → 'val_accuracy'")
        for name, value in entry.items():
            score = value.get("score") if isinstance(value, dict) else value
            if name not in ("val_accuracy", "id") and score is not None:
                column = scores.setdefault(name, np.full(len(entries), np.nan))
                column[row] = _json_number(score, f"{where} → {name!r}", finite=False)
    return accuracy, scores


def _json_object(path: Path, max_bytes: int) -> dict[str, Any]:
    text = read_text(path, max_bytes=max_bytes)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}: not JSON ({error.msg}); is the file truncated?"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path}: nested too deeply for a file of scores") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected {{dataset: {{architecture: scores}}}}, found {_kind(content)}")
    return content


def _json_number(value: Any, where: str, finite: bool = True) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: expected a number, found {_kind(value)}")
    if finite and not np.isfinite(value):
        raise DataError(f"{where}: expected a finite number, found {value}")
    return float(value)


def _naslib_arch(benchmark: str, key: str, path: Path) -> str:
    """NASLib's key in the encoding of the community: an edge string for NAS-Bench-201, else as it is."""
    if benchmark != "nasbench201" or key.startswith("|"):
        return key
    try:
        a, b, c, d, e, f = (_NASLIB_201_OPS[i] if i >= 0 else "" for i in ast.literal_eval(key))
    except (ValueError, SyntaxError, TypeError, IndexError, MemoryError, RecursionError) as error:
        raise DataError(
            f"{path}: {key!r} is no NAS-Bench-201 architecture; expected six operation numbers from 0 to 4, such as"
            " '(4, 0, 3, 1, 4, 3)'"
        ) from error
    return f"|{a}~0|+|{b}~0|{d}~1|+|{c}~0|{e}~1|{f}~2|"


# --- small things ----------------------------------------------------------------------------------------------


def _first_present(*columns: Array | None) -> Array | None:
    """Per row, the first column that has a value."""
    found = [c for c in columns if c is not None]
    if not found:
        return None
    result: Array = found[0].copy()
    for column in found[1:]:
        result[np.isnan(result)] = column[np.isnan(result)]
    return result


def _scaled(values: Array | None, unit: float) -> Array | None:
    return None if values is None else values * unit


def _plain(values: Array) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]


def _kind(value: Any) -> str:
    return (
        "a mapping without it" if isinstance(value, dict) else f"{type(value).__name__} {str(value)[:40]!r}"
    )
