"""``rank``: collect the models, find what is known, run the rest, keep every row as it comes."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import nn

from sed_torch.errors import InputError, MissingDependencyError, SedTorchError
from sed_torch.ranking.cache import RowCache, calculus, default_cache_dir, key_of_reference
from sed_torch.ranking.packing import Packed
from sed_torch.ranking.progress import Report, reporting
from sed_torch.ranking.rows import BASELINES, Ranking, RankRow, check_baselines, check_sort
from sed_torch.ranking.supervise import ChildPool, isolated
from sed_torch.ranking.worker import Item, Options, score_item
from sed_torch.zoo import expand, family_of

__all__ = ["Backend", "Models", "rank"]

Backend = Literal["loky", "threading", "dask", "ray"]
Models = str | nn.Module | Callable[[], nn.Module] | Sequence[Any] | Mapping[str, Any]
_Numbered = tuple[int, RankRow]


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
    progress: bool | Report | None = None,
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
        cache: None for none, True for the user's cache folder, or a folder. References to timm and
            torchvision are looked up by name, package versions and definition. Modules, factories and
            references to files are traced first and looked up by their graph, which saves only the scoring.
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
    _check(sort, baselines, on_error, backend, jobs, time_limit, memory_limit)
    start = time.perf_counter()
    items = collect(models)
    store = _store(cache)
    options = Options(input_size, os.fspath(store.folder.parent) if store else None, time_limit, memory_limit)
    keys: list[str | None] = _keys(items, options) if store else [None] * len(items)
    rows = _known(items, keys, store) if resume else {}
    cached = len(rows)
    missing = [(i, item) for i, item in enumerate(items) if i not in rows]
    work = contextlib.closing(_run(missing, options, jobs, backend, scheduler))
    with reporting(progress, len(items), cached) as advance, work as stream:
        for i, row in stream:
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
    )


def _check(
    sort: str,
    baselines: Sequence[str],
    on_error: str,
    backend: str,
    jobs: int,
    time_limit: float | None,
    memory_limit: int | None,
) -> None:
    check_sort(sort)
    check_baselines(baselines)
    for name, value, known in (
        ("on_error", on_error, ("row", "raise")),
        ("backend", backend, ("loky", "threading", "dask", "ray")),
    ):
        if value not in known:
            raise InputError(f"{name} must be one of {', '.join(known)}, found {value!r}")
    if jobs == 0 or jobs < -1:
        raise InputError(f"jobs must be positive, or -1 for one a core, found {jobs}")
    for name, limit in (("time_limit", time_limit), ("memory_limit", memory_limit)):
        if limit is not None and not limit > 0:
            raise InputError(f"{name} must be positive or None, found {limit!r}")


# -- what to rank ----------------------------------------------------------------------------------------


def collect(models: Models) -> list[Item]:
    """The models of a call, each with a name of its own."""
    if isinstance(models, Mapping):
        return [Item(str(name), target) for name, target in models.items()]
    if isinstance(models, (str, nn.Module)) or callable(models):
        models = [models]
    items: list[Item] = []
    patterns: list[str] = []
    for model in models:
        if isinstance(model, str):
            patterns.append(model)
            continue
        items += _expanded(patterns)
        patterns = []
        if isinstance(model, nn.Module):
            items.append(Item(type(model).__name__, model))
        elif callable(model):
            items.append(Item(getattr(model, "__name__", type(model).__name__), model))
        else:
            raise InputError(
                f"cannot rank a {type(model).__name__}: expected references, nn.Modules or factories"
            )
    return _unique([*items, *_expanded(patterns)])


def _expanded(patterns: list[str]) -> list[Item]:
    return [Item(ref, ref) for ref in expand(patterns)] if patterns else []


def _unique(items: list[Item]) -> list[Item]:
    """``Net``, ``Net#2``: two modules of one class are two rows; the same reference twice is one."""
    seen: Counter[str] = Counter()
    out: list[Item] = []
    for item in items:
        seen[item.name] += 1
        if seen[item.name] == 1:
            out.append(item)
        elif not isinstance(item.target, str):
            out.append(Item(f"{item.name}#{seen[item.name]}", item.target))
    return out


# -- what is known ---------------------------------------------------------------------------------------


def _store(cache: bool | str | os.PathLike[str] | None) -> RowCache | None:
    if cache is None or cache is False:
        return None
    return RowCache(default_cache_dir() if cache is True else cache)


def _keys(items: list[Item], options: Options) -> list[str | None]:
    """A thousand keys take as long as their digests, no more."""
    key, computed_by = options.key(), calculus()
    return [
        key_of_reference(item.target, key, computed_by) if isinstance(item.target, str) else None
        for item in items
    ]


def _known(items: list[Item], keys: list[str | None], store: RowCache | None) -> dict[int, RankRow]:
    found: dict[int, RankRow] = {}
    for i, key in enumerate(keys):
        row = store.get(key) if store and key else None
        if row is not None:
            found[i] = replace(row, name=items[i].name)
    return found


def _with_family(row: RankRow, item: Item) -> RankRow:
    """A model that was stopped could not tell its family; a zoo can."""
    if row.family is None and isinstance(item.target, str):
        return replace(row, family=family_of(item.target))
    return row


def _versions(items: Iterable[Item]) -> dict[str, str]:
    from importlib import metadata

    from sed_torch.scoring.model import versions

    found = versions()
    prefixes = {i.target.partition(":")[0] for i in items if isinstance(i.target, str)}
    for zoo in sorted(prefixes & {"timm", "torchvision"}):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[zoo] = metadata.version(zoo)
    return found


# -- running ---------------------------------------------------------------------------------------------


def _run(
    items: list[tuple[int, Item]], options: Options, jobs: int, backend: str, scheduler: Any
) -> Generator[_Numbered, None, None]:
    """Rows as they come. Should a worker die, what was not done runs again, each model in its own process."""
    if not items:
        return
    done: set[int] = set()
    try:
        with contextlib.closing(_once(items, options, jobs, backend, scheduler)) as stream:
            for i, row in stream:
                done.add(i)
                yield i, row
    except Exception as error:
        if not _worker_died(error) or options.isolated:
            raise
        rest = [(i, item) for i, item in items if i not in done]
        yield from _once(rest, replace(options, isolate=True), jobs, backend, scheduler)


def _once(
    items: list[tuple[int, Item]], options: Options, jobs: int, backend: str, scheduler: Any
) -> Generator[_Numbered, None, None]:
    if backend in ("dask", "ray"):
        yield from _on_cluster(items, options, backend, scheduler)
    elif options.isolated:
        yield from _in_children(items, options, jobs)
    elif jobs == 1:
        yield from ((i, score_item(item, options)) for i, item in items)
    else:
        # Threads share one stdout, which must not be turned away under each other.
        work = score_item if backend == "threading" else _score_quietly
        yield from _parallel(work, items, options, {"backend": backend, "n_jobs": jobs})


_DEATHS = {
    "BrokenProcessPool",
    "TerminatedWorkerError",
    "KilledWorker",
    "WorkerCrashedError",
    "RayActorError",
}
"""Of concurrent.futures, loky, Dask and Ray, which need not be installed."""


def _worker_died(error: Exception) -> bool:
    names = {c.__name__ for c in type(error).__mro__}
    return bool(names & _DEATHS)


def _score_quietly(item: Item, options: Options) -> RankRow:
    """In a worker process: what models print belongs to no one's results."""
    import sys

    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return score_item(item, options)


def _in_children(items: list[tuple[int, Item]], options: Options, jobs: int) -> Iterator[_Numbered]:
    """Threads that each watch a child; the parent itself scores nothing."""
    pool = ChildPool()
    try:
        if jobs == 1:
            yield from ((i, pool(item, options)) for i, item in items)
        else:
            yield from _parallel(pool, items, options, {"backend": "threading", "n_jobs": jobs})
    finally:
        pool.close()


def _on_cluster(
    items: list[tuple[int, Item]], options: Options, backend: str, scheduler: Any
) -> Iterator[_Numbered]:
    work = isolated if options.isolated else score_item
    with contextlib.ExitStack() as stack:
        if backend == "ray":
            stack.enter_context(_ray(scheduler))
            config: dict[str, Any] = {"backend": "ray", "n_jobs": -1}
        else:
            config = {"backend": "dask", "n_jobs": -1, "client": stack.enter_context(_client(scheduler))}
        yield from _parallel(work, items, options, config)


@contextlib.contextmanager
def _client(scheduler: Any) -> Iterator[Any]:
    """The given client, the current one, or one for the address that is closed afterwards."""
    import importlib

    try:
        distributed: Any = importlib.import_module("distributed")
    except ModuleNotFoundError:
        raise MissingDependencyError("distributed", "cluster", "backend='dask'") from None
    if scheduler is not None and not isinstance(scheduler, str):
        yield scheduler
        return
    try:
        client = (
            distributed.Client(scheduler, set_as_default=False) if scheduler else distributed.get_client()
        )
    except (OSError, ValueError) as error:
        where = f"at {scheduler!r}" if scheduler else "in this process"
        raise SedTorchError(
            f"no Dask scheduler answers {where}: start one with 'dask scheduler' and give its address "
            f"({type(error).__name__}: {error})"
        ) from error
    try:
        yield client
    finally:
        if scheduler:
            client.close()


@contextlib.contextmanager
def _ray(address: Any) -> Iterator[None]:
    """Ray as the caller has it, else connected here (or started on this machine) and left again."""
    import importlib

    try:
        ray: Any = importlib.import_module("ray")
        register = importlib.import_module("ray.util.joblib").register_ray
    except ModuleNotFoundError:
        raise MissingDependencyError("ray", "ray", "backend='ray'") from None
    register()
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except Exception as error:  # of Ray's own kinds, and of sockets
        where = f"at {address!r}" if address else "on this machine"
        raise SedTorchError(f"no Ray cluster answers {where} ({type(error).__name__}: {error})") from error
    try:
        yield
    finally:
        ray.shutdown()


def _parallel(
    work: Callable[[Item, Options], RankRow],
    items: list[tuple[int, Item]],
    options: Options,
    config: dict[str, Any],
) -> Iterator[_Numbered]:
    try:
        from joblib import Parallel, delayed, parallel_config
    except ModuleNotFoundError:
        raise MissingDependencyError("joblib", "rank", "rank() with more than one job") from None
    with parallel_config(**config):
        # One model a task, so that what is in flight is all that can be lost.
        parallel = Parallel(batch_size=1, pre_dispatch="2*n_jobs")
        if _streams(parallel):
            parallel = Parallel(batch_size=1, pre_dispatch="2*n_jobs", return_as="generator_unordered")
            rows = parallel(delayed(_numbered)(work, i, _packed(item), options) for i, item in items)
            try:
                yield from _one_by_one(rows)
            finally:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # who stops early knows that work is lost
                    rows.close()
            return
        size = 8 * max(parallel._effective_n_jobs(), 1)
        for at in range(0, len(items), size):
            slice_ = items[at : at + size]
            yield from parallel(delayed(_numbered)(work, i, _packed(item), options) for i, item in slice_)


def _packed(item: Item) -> Item:
    """One at a time, as workers become free: modules that hold weights are large."""
    return item if isinstance(item.target, str) else Item(item.name, Packed.of(item.target))


def _one_by_one(rows: Iterable[_Numbered]) -> Iterator[_Numbered]:
    """Unlike ``yield from``, leaves the closing of ``rows`` to the caller."""
    for row in rows:  # noqa: UP028
        yield row


def _streams(parallel: Any) -> bool:
    """Whether rows come one by one; Ray's backend gives them a call at a time."""
    return bool(getattr(parallel._backend, "supports_return_generator", False))


def _numbered(work: Callable[[Item, Options], RankRow], i: int, item: Item, options: Options) -> _Numbered:
    return i, work(item, options)
