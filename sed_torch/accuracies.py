"""Trained accuracies, one row a network: from a CSV, timm's published results, or torchvision's weights.

Files are read as text and with limits: nothing pickled is ever loaded, and a compressed file may not grow beyond
``max_bytes``. Whatever is wrong with one is a :class:`~sed_torch.errors.DataError` that names file and line.
"""

from __future__ import annotations

import csv
import fnmatch
import gzip
import html
import io
import math
import os
import statistics
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sed_torch import tables
from sed_torch.errors import DataError, InputError, MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MAX_BYTES",
    "TIMM_LEFT_OUT",
    "TIMM_RESULTS",
    "Accuracies",
    "AccuracyRow",
    "Published",
    "Table",
    "fetch_timm_results",
    "read_accuracies",
    "read_bytes",
    "read_table",
    "timm_results",
    "torchvision_accuracies",
]

FloatArray = npt.NDArray[np.float64]

MAX_BYTES = 1 << 30
"""Largest size of a file once decompressed, in bytes (1 GiB)."""

_EXTRA_DATA = (
    *(
        "in12k",
        "in21k",
        "in22k",
        "jft",
        "ig1b",
        "yfcc100m",
        "laion2b",
        "laiona",
        "webli",
        "m30m",
        "m38m",
        "6m",
    ),
    *("openai", "clip", "seer", "swag", "swsl", "ssl", "wsl"),  # methods that imply such data
)
_DISTILLATION = ("dist", "distilled", "ssld", "teacher", "usi")

TIMM_LEFT_OUT = frozenset([*_EXTRA_DATA, *_DISTILLATION])
"""Words of a timm tag (split at ``_``) that name more data than ImageNet-1k, or a teacher.

``usi`` is a recipe of distillation by name (Ridnik et al. 2022). Self-supervised pretraining on ImageNet-1k
itself (``fcmae_ft_in1k``, ``mae_in1k_ft_in1k``) stays, and so does what a tag does not say, such as VOLO's token
labelling.
"""

# Distilled networks whose tag does not say so: deit_base_distilled_patch16_224.fb_in1k, hrnet_w18_ssld.paddle_in1k
_DISTILLED_NAMES = frozenset(("distilled", "ssld"))

_MAGIC = (
    (b"PK\x03\x04", "a zip archive (a torch checkpoint is one, with a pickle inside)"),
    (b"BZh", "a bzip2 file (NATS-Bench's pickles come so compressed)"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
)
_PICKLE_ADVICE = (
    "a pickle runs code of the file's author when it is loaded, so it is never loaded here. "
    "Use the benchmark's CSV or NASLib's zc_*.json instead"
)


# --- reading -------------------------------------------------------------------------------------------------


def read_bytes(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> bytes:
    """A file's content, gunzipped where it is gzip, at most ``max_bytes`` long.

    Raises:
        DataError: missing, unreadable, truncated, too large, a pickle or another binary format.
    """
    file = Path(path)
    try:
        with file.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(file, "rb") if compressed else file.open("rb") as stream:
            data = _read_limited(stream, file, max_bytes)
    except FileNotFoundError as error:
        raise DataError(f"{file}: no such file") from error
    except EOFError as error:
        raise DataError(
            f"{file}: the gzip stream ends too early; the file is truncated, get it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file}: not a sound gzip file ({error}); get it again") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    _check_format(file, data)
    return data


def _read_limited(stream: Any, file: Path, max_bytes: int) -> bytes:
    data = bytearray()
    while piece := stream.read(1 << 20):
        data += piece
        if len(data) > max_bytes:
            raise DataError(
                f"{file}: more than {max_bytes:,} bytes once decompressed, which no file expected here is; "
                "pass max_bytes= if it is meant"
            )
    return bytes(data)


def _check_format(file: Path, data: bytes) -> None:
    suffixes = {s.lower() for s in file.suffixes}
    if suffixes & {".pickle", ".pkl", ".pbz2", ".pth", ".pt"} or (
        data[:1] == b"\x80" and data[1:2] <= b"\x05"
    ):
        raise DataError(f"{file}: {_PICKLE_ADVICE}")
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise DataError(f"{file}: expected CSV or JSON text, found {what}")


def decode(file: Path, data: bytes) -> str:
    """UTF-8 text, or a DataError naming the line where it is not."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}, line {line}: expected UTF-8 text, found binary data") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{file}, line {line}: expected text, found a NUL byte")
    return text


@dataclass(frozen=True)
class Table:
    """A CSV file as text cells.

    Attributes:
        path: where it was read.
        columns: names in the first line, in order.
        rows: one list of cells a row, each as long as ``columns``.
        lines: line number of each row in the file, from 1.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def require(self, *names: str) -> None:
        """Raise a DataError unless all columns are there."""
        absent = [n for n in names if n not in self.columns]
        if absent:
            raise DataError(
                f"{self.path}, line 1: expected the column{'s' * (len(absent) > 1)} {', '.join(absent)}; "
                f"found {_some(self.columns)}"
            )

    def text(self, name: str) -> tuple[str, ...]:
        """A column as it is spelled."""
        self.require(name)
        i = self.columns.index(name)
        return tuple(row[i] for row in self.rows)

    def numbers(self, name: str, *, finite: bool = False) -> FloatArray:
        """A column as floats, NaN where a cell is empty; ``finite`` refuses a spelled-out nan or inf."""
        values = [
            self._number(c, name, line, finite) for c, line in zip(self.text(name), self.lines, strict=True)
        ]
        return np.asarray(values, dtype=np.float64)

    def _number(self, cell: str, name: str, line: int, finite: bool) -> float:
        if not cell.strip():
            return math.nan
        try:
            value = float(cell)
        except ValueError:
            value = None
        if value is None or (finite and not math.isfinite(value)):
            what = "a finite number" if finite else "a number"
            raise DataError(f"{self.path}, line {line}, column {name!r}: expected {what}, found {cell!r}")
        return value


def read_table(
    path: str | os.PathLike[str], *, required: Sequence[str] = (), max_bytes: int = MAX_BYTES
) -> Table:
    """A CSV file (or gzipped CSV) with a header line; blank lines are skipped.

    Raises:
        DataError: as :func:`read_bytes`; no header, no rows, a column named twice or missing from
            ``required``, a row with more or fewer cells than the header, or broken quoting.
    """
    file = Path(path)
    text = decode(file, read_bytes(file, max_bytes=max_bytes))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    columns: tuple[str, ...] = ()
    try:
        for cells in reader:
            if not cells:
                continue
            if not columns:
                columns = tuple(c.strip() for c in cells)
                continue
            if len(cells) != len(columns):
                raise DataError(
                    f"{file}, line {reader.line_num}: expected {len(columns)} cells as in the header, "
                    f"found {len(cells)}; the file may be truncated"
                )
            rows.append(tuple(cells))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: not sound CSV: {error}") from error
    _check_columns(file, columns, rows)
    table = Table(file, columns, tuple(rows), tuple(lines))
    table.require(*required)
    return table


def _check_columns(file: Path, columns: tuple[str, ...], rows: Sequence[object]) -> None:
    if not columns:
        raise DataError(f"{file}: expected a CSV file with a header line, found an empty file")
    twice = sorted({c for c in columns if columns.count(c) > 1})
    if twice:
        raise DataError(f"{file}, line 1: the column {twice[0]!r} is named twice")
    if not rows:
        raise DataError(f"{file}: a header and no rows")


def _some(values: Iterable[str], limit: int = 8) -> str:
    shown = [v if len(v) <= 40 else v[:37] + "..." for v in values]
    return ", ".join(shown[:limit]) + (f" and {len(shown) - limit} more" if len(shown) > limit else "")


# --- accuracies ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """A trained network.

    Attributes:
        name: the architecture.
        accuracy: in the unit of its :class:`Accuracies`, higher is better.
        recipe: the training recipe (timm's tag, torchvision's weights), or None where several were reduced or
            none is known.
        recipes: how many recipes it was chosen or reduced from.
        img_size: side of the test image in pixels, or None.
        params: parameters, or None.
        macs: multiply-accumulates a sample, or None.
    """

    name: str
    accuracy: float
    recipe: str | None = None
    recipes: int = 1
    img_size: int | None = None
    params: float | None = None
    macs: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON."""
        return {name: getattr(self, name) for name in _ROW_FIELDS}


_ROW_FIELDS = ("name", "accuracy", "recipe", "recipes", "img_size", "params", "macs")


@dataclass(frozen=True)
class Accuracies:
    """Accuracies of trained networks, one row a network, higher is better.

    Attributes:
        rows: the networks.
        metric: what is measured, such as ``"ImageNet-1K top-1"``.
        unit: such as ``"%"``, or None where unknown.
        source: where from.
        reduction: how several recipes became one row.
        left_out: (name, reason) of everything that was not taken.
        zoo: ``"timm"`` or ``"torchvision"``, whose references the names are, or None where that is not known.
    """

    rows: tuple[AccuracyRow, ...]
    metric: str
    unit: str | None
    source: str
    reduction: str
    left_out: tuple[tuple[str, str], ...] = field(default=())
    zoo: Literal["timm", "torchvision"] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Names, in order of the rows."""
        return tuple(r.name for r in self.rows)

    @property
    def values(self) -> FloatArray:
        """Accuracies, in order of the rows; shape (n,)."""
        return np.asarray([r.accuracy for r in self.rows], dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON."""
        return {
            "metric": self.metric,
            "unit": self.unit,
            "source": self.source,
            "reduction": self.reduction,
            "rows": [r.to_dict() for r in self.rows],
            "left_out": [{"name": n, "reason": r} for n, r in self.left_out],
        }

    def to_dataframe(self) -> pd.DataFrame:
        """One row a network.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return tables.to_dataframe([r.to_dict() for r in self.rows], _ROW_FIELDS)

    def __str__(self) -> str:
        best = max(self.rows, key=lambda r: r.accuracy, default=None)
        head = f"{len(self.rows)} networks, {self.metric}"
        if best is not None:
            head += f"; best {best.name} {best.accuracy:g}{' ' + self.unit if self.unit else ''}"
        return f"{head}\n{self.reduction}; {len(self.left_out)} left out; from {self.source}"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def read_accuracies(
    path: str | os.PathLike[str],
    name_column: str | None = None,
    metric_column: str | None = None,
    *,
    max_bytes: int = MAX_BYTES,
) -> Accuracies:
    """Accuracies from any CSV: one row a network, an empty metric leaves the row out.

    Args:
        path: CSV, may be gzipped.
        name_column: by default the first of model, name, arch, architecture, timm_arch.
        metric_column: by default the first of top1, acc@1, accuracy, test_accuracy, val_accuracy, acc.
        max_bytes: limit of the decompressed size.

    Raises:
        DataError: as :func:`read_table`; a column that cannot be found, a metric that is not a finite number,
            a name twice, or no row left.
    """
    table = read_table(path, max_bytes=max_bytes)
    name_column = _find_column(table, name_column, _NAME_COLUMNS, "name_column")
    metric_column = _find_column(table, metric_column, _METRIC_COLUMNS, "metric_column")
    names, values = table.text(name_column), table.numbers(metric_column, finite=True)
    _check_once(table, names)
    rows, left_out = [], []
    for line, name, value in zip(table.lines, names, values, strict=True):
        if not name:
            left_out.append((f"line {line}", f"no {name_column}"))
        elif math.isnan(value):
            left_out.append((name, f"no {metric_column}"))
        else:
            rows.append(AccuracyRow(name, float(value)))
    if not rows:
        raise DataError(f"{table.path}: no row with both {name_column!r} and {metric_column!r}")
    return Accuracies(
        tuple(rows), metric_column, None, str(table.path), "one row a network as in the file", tuple(left_out)
    )


_NAME_COLUMNS = ("model", "name", "arch", "architecture", "timm_arch")
_METRIC_COLUMNS = ("top1", "acc@1", "accuracy", "test_accuracy", "val_accuracy", "acc")


def _find_column(table: Table, given: str | None, usual: Sequence[str], argument: str) -> str:
    if given is not None:
        table.require(given)
        return given
    for name in usual:
        if name in table.columns:
            return name
    raise DataError(
        f"{table.path}, line 1: none of the usual columns {', '.join(usual)}; "
        f"pass {argument}= one of {_some(table.columns)}"
    )


def _check_once(table: Table, names: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for line, name in zip(table.lines, names, strict=True):
        if name and name in seen:
            raise DataError(
                f"{table.path}, line {line}: {name!r} is on line {seen[name]} already; expected one row a network"
            )
        seen[name] = line


# --- timm ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Published:
    """A file that its authors published, pinned to one version of it.

    Attributes:
        url: where it is.
        sha256: of its content, in hexadecimal.
        name: of the copy.
    """

    url: str
    sha256: str
    name: str


TIMM_RESULTS = Published(
    "https://raw.githubusercontent.com/huggingface/pytorch-image-models/"
    "4e5207c7bb6592474ca56e28b2cf85be8f1a550f/results/results-imagenet.csv",
    "30972bf7c7ab451bbd4480ec6116b13d0a84441c57bbc946896fd312264acfcd",
    "timm-results-imagenet.csv",
)
"""timm's results of 2025-10-30: 1,556 weights."""


def fetch_timm_results(folder: str | os.PathLike[str] | None = None, file: Published = TIMM_RESULTS) -> Path:
    """timm's published results for :func:`timm_results`, downloaded once and checked against the known hash.

    Args:
        folder: where the copy is kept; the user's cache folder when None.
        file: which version.

    Raises:
        DataError: it cannot be had, or is not what was published.
        MissingDependencyError: pooch is not installed.
    """
    try:
        import pooch
    except ModuleNotFoundError:
        raise MissingDependencyError("pooch", "data", "downloading timm's results") from None
    from sed_torch.ranking import default_cache_dir

    target = default_cache_dir() / "data" if folder is None else Path(folder)
    try:
        found = pooch.retrieve(
            file.url,
            known_hash=f"sha256:{file.sha256}",
            fname=file.name,
            path=target,
            downloader=pooch.HTTPDownloader(timeout=30),
        )
    except Exception as error:  # of requests, of the disk, or a hash that differs
        why = (str(error).strip().splitlines() or [""])[0]
        raise DataError(
            f"{file.url} could not be fetched ({type(error).__name__}: {why}); get results-imagenet.csv of "
            "pytorch-image-models by hand and name it with --timm-results (timm_results(path) in Python)"
        ) from error
    return Path(found)


def timm_results(
    path: str | os.PathLike[str],
    include: Iterable[str] | None = None,
    exclude: Iterable[str] = TIMM_LEFT_OUT,
    reduce: str = "best",
    *,
    max_bytes: int = MAX_BYTES,
) -> Accuracies:
    """timm's published ImageNet-1k results (results-imagenet.csv), one row an architecture.

    A model is ``architecture.tag``; the tag names the recipe. Recipes differ by several points, which no score of
    the architecture can see: say how they were reduced wherever the figures are shown. Of several test image
    sizes the smallest published is taken: it is timm's default input size, at which a model is scored.

    Args:
        path: the CSV, may be gzipped; columns model, img_size, top1, and where present param_count (millions)
            and infer_gmacs.
        include: patterns (``fnmatch``) of which the tag must match one; None takes all.
        exclude: words of a tag, split at ``_``, that leave it out; by default :data:`TIMM_LEFT_OUT` (more data
            or a teacher), which also leaves out architectures with ``distilled`` or ``ssld`` in their name.
            Pass ``()`` to keep all.
        reduce: ``"best"``, the highest top-1 over the tags left; ``"median"``, the median over the tags; or a
            tag, which alone is taken.
        max_bytes: limit of the decompressed size.

    Raises:
        DataError: as :func:`read_table`; a top1 that is missing or not a number, or no row left.
    """
    table = read_table(path, required=("model", "img_size", "top1"), max_bytes=max_bytes)
    patterns = None if include is None else tuple(include)
    words = frozenset(exclude)
    kept: dict[str, list[AccuracyRow]] = {}
    left_out: dict[str, str] = {}
    for row in _timm_rows(table):
        reason = _timm_reason(row, patterns, words, reduce)
        if reason is None:
            kept.setdefault(row.name, []).append(row)
        else:
            left_out[f"{row.name}.{row.recipe}" if row.recipe else row.name] = reason
    if not kept:
        raise DataError(f"{table.path}: no row is left by include={patterns}, exclude and reduce={reduce!r}")
    rows = tuple(_timm_reduce(rows, reduce) for rows in kept.values())
    reduction = {
        "best": "best tag an architecture",
        "median": "median over tags an architecture",
    }.get(reduce, f"tag {reduce!r} alone") + ", at the smallest image size published"
    if patterns is not None:
        reduction += f"; of tags {', '.join(patterns)} only"
    source, without = str(table.path), tuple(left_out.items())
    return Accuracies(rows, "ImageNet-1K top-1", "%", source, reduction, without, zoo="timm")


def _timm_rows(table: Table) -> Iterable[AccuracyRow]:
    top1, size = table.numbers("top1", finite=True), table.numbers("img_size", finite=True)
    params, gmacs = _optional(table, "param_count"), _optional(table, "infer_gmacs")
    for i, model in enumerate(table.text("model")):
        if math.isnan(top1[i]):
            raise DataError(
                f"{table.path}, line {table.lines[i]}, column 'top1': expected a number, found nothing"
            )
        name, _, tag = model.partition(".")
        yield AccuracyRow(
            name,
            float(top1[i]),
            recipe=tag or None,
            img_size=None if math.isnan(size[i]) else int(size[i]),
            params=None if math.isnan(params[i]) else round(float(params[i]) * 1e6),
            macs=None if math.isnan(gmacs[i]) else float(gmacs[i]) * 1e9,
        )


def _optional(table: Table, name: str) -> FloatArray:
    if name not in table.columns:
        return np.full(len(table), np.nan)
    # param_count is written with thousands separators
    i = table.columns.index(name)
    rows = tuple((row[i].replace(",", ""),) for row in table.rows)
    return Table(table.path, (name,), rows, table.lines).numbers(name)


def _timm_reason(
    row: AccuracyRow, patterns: tuple[str, ...] | None, words: frozenset[str], reduce: str
) -> str | None:
    tag = row.recipe or ""
    found = sorted(words & set(tag.split("_")))
    if found:
        what = "a teacher" if found[0] in _DISTILLATION else "more data than ImageNet-1k"
        return f"tag word {found[0]!r} ({what})" if found[0] in TIMM_LEFT_OUT else f"tag word {found[0]!r}"
    named = sorted(words & _DISTILLED_NAMES & set(row.name.split("_")))
    if named:
        return f"{named[0]!r} in the architecture's name (a teacher)"
    if patterns is not None and not any(fnmatch.fnmatchcase(tag, p) for p in patterns):
        return "tag not in include"
    if reduce not in ("best", "median") and tag != reduce:
        return f"tag is not {reduce!r}"
    return None


def _timm_reduce(rows: list[AccuracyRow], reduce: str) -> AccuracyRow:
    by_tag: dict[str | None, AccuracyRow] = {}
    for row in rows:
        if row.recipe not in by_tag or _side(row) < _side(by_tag[row.recipe]):
            by_tag[row.recipe] = row
    best = max(by_tag.values(), key=lambda r: r.accuracy)
    if reduce != "median" or len(by_tag) == 1:
        return AccuracyRow(
            best.name, best.accuracy, best.recipe, len(by_tag), best.img_size, best.params, best.macs
        )
    sizes = {r.img_size for r in by_tag.values()}
    return AccuracyRow(
        best.name,
        statistics.median(r.accuracy for r in by_tag.values()),
        recipes=len(by_tag),
        img_size=best.img_size if len(sizes) == 1 else None,
        params=best.params,
        macs=best.macs if len(sizes) == 1 else None,
    )


def _side(row: AccuracyRow) -> float:
    return math.inf if row.img_size is None else row.img_size


# --- torchvision ---------------------------------------------------------------------------------------------


def torchvision_accuracies(recipe: Literal["best", "V1", "V2"] = "best") -> Accuracies:
    """ImageNet-1K top-1 of torchvision's published weights, one row an architecture; downloads nothing.

    Args:
        recipe: ``"V1"`` (the original recipes) or ``"V2"`` (the improved ones) takes weights of that name alone,
            ``"best"`` the better of both. Weights pretrained on more data (SWAG) and without a published
            ImageNet-1K figure are left out, and listed.

    Raises:
        MissingDependencyError: torchvision is not installed.
        InputError: another recipe.
    """
    wanted = {"best": ("IMAGENET1K_V1", "IMAGENET1K_V2"), "V1": ("IMAGENET1K_V1",), "V2": ("IMAGENET1K_V2",)}
    if recipe not in wanted:
        raise InputError(f"recipe must be one of {', '.join(wanted)}, found {recipe!r}")
    try:
        import torchvision
        from torchvision import models
    except ImportError as error:
        raise MissingDependencyError("torchvision", "test", "torchvision_accuracies") from error
    rows, left_out = [], []
    for name in models.list_models(module=models):
        found = []
        for weights in models.get_model_weights(name):
            accuracy = weights.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
            reason = _torchvision_reason(weights.name, accuracy, wanted[recipe])
            if reason is None:
                found.append(_torchvision_row(name, weights, float(accuracy)))
            else:
                left_out.append((f"{name}.{weights.name}", reason))
        if found:
            best = max(found, key=lambda r: r.accuracy)
            rows.append(
                AccuracyRow(
                    name, best.accuracy, best.recipe, len(found), best.img_size, best.params, best.macs
                )
            )
    reduction = "best of V1 and V2 an architecture" if recipe == "best" else f"{wanted[recipe][0]} alone"
    source = f"torchvision {torchvision.__version__} weights metadata"
    without = tuple(left_out)
    return Accuracies(tuple(rows), "ImageNet-1K top-1", "%", source, reduction, without, zoo="torchvision")


def _torchvision_reason(weights: str, accuracy: float | None, wanted: Sequence[str]) -> str | None:
    if "SWAG" in weights:
        return "pretrained on more data than ImageNet-1K"
    if accuracy is None or not math.isfinite(accuracy):
        return "no ImageNet-1K accuracy is published"
    return None if weights in wanted else f"not {' or '.join(wanted)}"


def _torchvision_row(name: str, weights: Any, accuracy: float) -> AccuracyRow:
    crop = getattr(weights.transforms, "keywords", {}).get("crop_size")
    ops = weights.meta.get("_ops")  # GFLOPS in torchvision's counting: one multiply-accumulate is one
    return AccuracyRow(
        name,
        accuracy,
        recipe=weights.name,
        img_size=crop if isinstance(crop, int) else None,
        params=weights.meta.get("num_params"),
        macs=None if ops is None else float(ops) * 1e9,
    )
