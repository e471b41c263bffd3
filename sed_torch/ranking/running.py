"""``rank``: collect the models, find what is known, run the rest, keep every row as it comes."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from torch import nn

from sed_torch.errors import InputError, SedTorchError
from sed_torch.jobs import Backend, Limits, Packed, Progress, Work, check_workers, reporting, run
from sed_torch.ranking.cache import RowCache, calculus, default_cache_dir, key_of_reference
from sed_torch.ranking.result import Ranking, check_sizes
from sed_torch.ranking.rows import BASELINES, RankRow, check_baselines, check_sort
from sed_torch.ranking.worker import Options, RankItem, import_zoo, score_item, stopped_row
from sed_torch.zoo import ZOOS, expand, family_of

__all__ = ["Backend", "Models", "rank"]

Models = str | nn.Module | Callable[[], nn.Module] | Sequence[Any] | Mapping[str, Any]


def rank(
    models: Models,
    *,
    sort: str = "sed",
    jobs: int = 1,
    cache: bool | str | os.PathLike[str] | None = None,
    baselines: Sequence[str] = BASELINES,
    on_error: Literal["row", "raise"] = "row",
    input_size: Any = None,
    backend: Backend = "loky",
    scheduler: Any = None,
    time_limit: float | None = None,
    memory_limit: int | None = None,
    max_params: float | str | None = None,
    max_macs: float | str | None = None,
    max_memory: float | str | None = None,
    progress: bool | Progress[RankRow] | None = None,
    resume: bool = True,
) -> Ranking:
    """Score many models and put them in order, higher SED first.

    Models are built on ``meta`` one at a time a worker, so that neither weights nor memory are needed. With a
    cache, every row is kept as soon as it is there: a run that is killed loses the models in flight, and the
    next run with the same cache goes on from there.

    Args:
        models: references and globs (see :func:`sed_torch.zoo.expand`), modules, factories, a sequence of
            those, or a mapping from names to references, modules or factories.
        sort: ``"sed"``, ``"given_size"``, ``"params"``, ``"macs"``, ``"suppression"``, ``"coverage"``,
            ``"seconds"`` (largest first), ``"name"`` or ``"family"``.
        jobs: workers; -1 for one a core. A cluster's own size holds for ``"dask"`` and ``"ray"``.
        cache: None for none, True for the user's cache folder, or a folder. Names of timm, torchvision and
            transformers are looked up by name, package versions and definition. Modules, factories and references
            to files and local configs are traced first and looked up by their graph, which saves only the scoring.
        baselines: what the size-controlled rank is free of: ``"params"``, ``"macs"``; see :class:`RankRow`.
        on_error: ``"row"`` for a row with the reason; ``"raise"`` to stop at the first failure.
        input_size: for all models, with batch dimension; inferred for each when None.
        backend: joblib's ``"loky"``, or ``"dask"`` or ``"ray"`` for a cluster, whose workers must have
            ``sed_torch`` installed.
        scheduler: address of the Dask scheduler, or a ``distributed.Client``; the current client when None.
            Address of the Ray cluster; when None the one this process is connected to, else one is started here.
        time_limit: seconds a model may take. With a limit, models run in child processes of the workers.
        memory_limit: bytes of resident memory that a model's process may reach, the imports (some 400 MB)
            included.
        max_params: leave out models with more parameters, a number or text such as ``"10M"``; the others are ranked
            among themselves.
        max_macs: the same for multiply-accumulates a sample.
        max_memory: the same for bytes of a training step with one sample, see :attr:`RankRow.memory`.
        progress: None for a bar on stderr where that is a terminal, True, False, or a function of
            (rows done, rows in all, last row).
        resume: use what the cache holds; False computes and keeps every row anew.

    Returns:
        A :class:`Ranking`; the same whatever the backend and the order in which rows came.

    Raises:
        ModelReferenceError: a name or pattern matches no model.
        MissingDependencyError: joblib, psutil, platformdirs, distributed or ray is needed and not installed.
        InputError: an argument is none of the above.
        SedTorchError: with ``on_error="raise"``.
    """
    _check(sort, baselines, on_error)
    sizes = {"params": max_params, "macs": max_macs, "memory": max_memory}
    most = check_sizes({n: v for n, v in sizes.items() if v is not None})
    check_workers(jobs, backend)
    limits = Limits(time_limit, memory_limit)
    start = time.perf_counter()
    items = collect(models)
    store = _store(cache)
    options = Options(input_size, os.fspath(store.folder.parent) if store else None)
    keys: list[str | None] = _keys(items, options) if store else [None] * len(items)
    rows = _known(items, keys, store) if resume else {}
    cached = len(rows)
    missing = [i for i in range(len(items)) if i not in rows]
    work = Work(partial(score_item, options=options), stopped_row, _packed, import_zoo)
    where: dict[str, Any] = {"jobs": jobs, "backend": backend, "scheduler": scheduler, "limits": limits}
    running = contextlib.closing(run(work, [items[i] for i in missing], **where, rescue=True))
    bar = reporting(progress, len(items), cached, what="ranking", name=lambda row: row.name)
    with _telling(rows, items, keys, store), bar as advance, running as stream:
        for at, row in stream:
            i = missing[at]
            if on_error == "raise" and row.status not in ("ok", "undefined"):
                raise SedTorchError(f"{row.name}: {row.status}: {row.reason}")
            row = _with_family(row, items[i])
            rows[i] = row
            key = keys[i]
            if store and key:
                store.put(key, row)
            advance(row)
    return Ranking.of(
        (rows[i] for i in range(len(items))),
        sort=sort,
        baselines=baselines,
        versions=_versions(items),
        elapsed=time.perf_counter() - start,
        cached=cached,
        limits=most,
    )


@contextlib.contextmanager
def _telling(
    rows: Mapping[int, RankRow], items: Sequence[RankItem], keys: Sequence[str | None], store: RowCache | None
) -> Iterator[None]:
    """Let who interrupts know what is kept, where, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        done = f"{len(rows)} of {len(items)} models were done"
        if store is None:
            raise KeyboardInterrupt(f"{done}; nothing is kept, as no cache was asked for") from None
        kept = sum(keys[i] is not None for i in rows)
        rest = (
            ""
            if kept == len(rows)
            else f" ({len(rows) - kept} others are kept by their graph, and traced again)"
        )
        raise KeyboardInterrupt(
            f"{done}; {kept} rows are kept in {store.folder}{rest}; the same call again goes on from there"
        ) from None


def _check(sort: str, baselines: Sequence[str], on_error: str) -> None:
    check_sort(sort)
    check_baselines(baselines)
    if on_error not in ("row", "raise"):
        raise InputError(f"on_error must be one of row, raise, found {on_error!r}")


# -- what to rank ----------------------------------------------------------------------------------------


def collect(models: Models) -> list[RankItem]:
    """The models of a call, each with a name of its own."""
    if isinstance(models, Mapping):
        return [RankItem(str(name), target) for name, target in models.items()]
    if isinstance(models, (str, nn.Module)) or callable(models):
        models = [models]
    items: list[RankItem] = []
    patterns: list[str] = []
    for model in models:
        if isinstance(model, str):
            patterns.append(model)
            continue
        items += _expanded(patterns)
        patterns = []
        if isinstance(model, nn.Module):
            items.append(RankItem(type(model).__name__, model))
        elif callable(model):
            items.append(RankItem(getattr(model, "__name__", type(model).__name__), model))
        else:
            raise InputError(
                f"cannot rank a {type(model).__name__}: expected references, nn.Modules or factories"
            )
    return _unique([*items, *_expanded(patterns)])


def _expanded(patterns: list[str]) -> list[RankItem]:
    return [RankItem(ref, ref) for ref in expand(patterns)] if patterns else []


def _unique(items: list[RankItem]) -> list[RankItem]:
    """``Net``, ``Net#2``: two modules of one class are two rows; the same reference twice is one."""
    seen: Counter[str] = Counter()
    out: list[RankItem] = []
    for item in items:
        seen[item.name] += 1
        if seen[item.name] == 1:
            out.append(item)
        elif not isinstance(item.target, str):
            out.append(RankItem(f"{item.name}#{seen[item.name]}", item.target))
    return out


# -- what is known ---------------------------------------------------------------------------------------


def _store(cache: bool | str | os.PathLike[str] | None) -> RowCache | None:
    if cache is None or cache is False:
        return None
    return RowCache(default_cache_dir() if cache is True else cache)


def _keys(items: list[RankItem], options: Options) -> list[str | None]:
    """A thousand keys take as long as their digests, no more."""
    key, computed_by = options.key(), calculus()
    return [
        key_of_reference(item.target, key, computed_by) if isinstance(item.target, str) else None
        for item in items
    ]


def _known(items: list[RankItem], keys: list[str | None], store: RowCache | None) -> dict[int, RankRow]:
    found: dict[int, RankRow] = {}
    for i, key in enumerate(keys):
        row = store.get(key) if store and key else None
        if row is not None:
            found[i] = replace(row, name=items[i].name)
    return found


def _with_family(row: RankRow, item: RankItem) -> RankRow:
    """A model that was stopped could not tell its family; a zoo can."""
    if row.family is None and isinstance(item.target, str):
        return replace(row, family=family_of(item.target))
    return row


def _versions(items: Iterable[RankItem]) -> dict[str, str]:
    from importlib import metadata

    from sed_torch.scoring.model import versions

    found = versions()
    prefixes = {i.target.partition(":")[0] for i in items if isinstance(i.target, str)}
    for zoo in sorted(prefixes & set(ZOOS)):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[ZOOS[zoo]] = metadata.version(ZOOS[zoo])
    return found


# -- running ---------------------------------------------------------------------------------------------


def _packed(item: RankItem) -> RankItem:
    return item if isinstance(item.target, str) else RankItem(item.name, Packed.of(item.target))
