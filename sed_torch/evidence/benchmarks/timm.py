"""timm's published ImageNet results: read, reduced to one row an architecture, fetched."""

from __future__ import annotations

import fnmatch
import math
import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sed_torch.errors import DataError, MissingDependencyError
from sed_torch.evidence.accuracies import Accuracies, AccuracyRow
from sed_torch.evidence.benchmarks.row import Benchmark
from sed_torch.evidence.benchmarks.table import BenchmarkTable
from sed_torch.evidence.reading import MAX_BYTES, Table, read_table

__all__ = ["TIMM", "TIMM_LEFT_OUT", "TIMM_RESULTS", "Published", "fetch_timm_results", "timm_results"]

FloatArray = npt.NDArray[np.float64]

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


def _read(file: Path, benchmark: Benchmark, dataset: str, max_bytes: int) -> BenchmarkTable:
    found = timm_results(file, max_bytes=max_bytes)
    return BenchmarkTable(
        benchmark.name,
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


TIMM = Benchmark(
    name="timm",
    datasets=("imagenet",),
    files=("timm_imagenet.csv.gz", "timm_imagenet.csv", "results-imagenet.csv"),
    read=_read,
    zoo="timm",
)
