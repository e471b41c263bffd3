"""``counterparts``: collect the networks, find what is trained, train the rest, keep every row as it comes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal

from sed_torch.errors import InputError, SedTorchError
from sed_torch.jobs import Packed, Stop, Work, check_workers, reporting, run as run_all, worker_died
from sed_torch.proxies import PROXIES
from sed_torch.spaces import ALIASES, SPACES, Space
from sed_torch.training.candidates import Networks, Trainee, candidates
from sed_torch.training.data import Data
from sed_torch.training.devices import resolve_device
from sed_torch.training.files import RunFile, read_rows
from sed_torch.training.recipe import Recipe
from sed_torch.training.results import Counterparts
from sed_torch.training.rows import STATIC, RunRow
from sed_torch.training.worker import Job, TrainSettings, run

__all__ = ["RunProgress", "counterparts"]

RunProgress = Callable[[int, int, RunRow], None]
"""Called with (runs done, runs in all, last row of the run)."""


def counterparts(
    networks: Networks,
    output: str | os.PathLike[str],
    *,
    n: int | None = None,
    archs: Sequence[str] | None = None,
    sample_seed: int = 0,
    width: int | None = None,
    cells: int | None = None,
    dataset: str | Data = "digits",
    data: str | os.PathLike[str] | None = None,
    recipe: Recipe | None = None,
    seeds: int | Sequence[int] = 2,
    device: str = "auto",
    proxies: Sequence[str] = ("synflow", "naswot"),
    time_limit: float | None = None,
    jobs: int = 1,
    threads: int = 1,
    backend: Literal["loky", "dask", "ray"] = "loky",
    scheduler: Any = None,
    resume: bool = True,
    progress: RunProgress | None = None,
) -> Counterparts:
    """Train networks under one recipe and keep their accuracies beside SED and its rivals.

    Rows go to a CSV file as they come, each on the disk before the next: after every epoch with ``jobs=1`` and
    backend ``"loky"``, else after every run. A killed call leaves whole lines; the same call again goes on with the
    runs that are not finished. On one device a seed gives the same accuracies every time, whatever ``jobs``; on CUDA
    that holds for networks whose operators have deterministic algorithms.

    Args:
        networks: a space or its name, of which ``n`` architectures are drawn; a :class:`~sed_torch.ranking.Ranking`,
            whose scored models are built anew; or references and globs (see :func:`sed_torch.zoo.expand`),
            classes, factories, a sequence of those, or a mapping from names to them. A class or function with a
            parameter ``num_classes`` is told it.
        output: the CSV file.
        n: networks to train: drawn from a space (24 unless told otherwise), the first ones of anything else.
        archs: architectures of the space, instead of drawing them.
        sample_seed: of the drawing.
        width: channels of the stem of ``nasbench201``, doubled at each of its two reductions; 16 as published.
        cells: cells a stage of ``nasbench201``; 5 as published.
        dataset: a name for :func:`~sed_torch.training.load_data`, or a :class:`~sed_torch.training.Data`.
        data: folder of the dataset.
        recipe: how to train; ``Recipe()`` when None.
        seeds: so many, from 0, or which.
        device: ``"auto"``, ``"cuda"`` (runs take turns on several GPUs), ``"cuda:N"``, ``"mps"`` or ``"cpu"``.
        proxies: rivals of SED beside params and MACs, keys of :data:`sed_torch.proxies.PROXIES`.
        time_limit: seconds of training a run.
        jobs: runs at a time; -1 for one a core.
        threads: CPU threads a run; results on a CPU may depend on them.
        backend: joblib's ``"loky"``, or ``"dask"`` or ``"ray"`` for a cluster, as for :func:`sed_torch.ranking.rank`.
        scheduler: address of the Dask scheduler, or a ``distributed.Client``.
        resume: go on with the file; False begins it anew.
        progress: a function to call after every run.

    Returns:
        Every row of the file, those of earlier calls included.

    Raises:
        DataError: the dataset is missing or damaged, or the file is of another recipe, dataset or space.
        ModelReferenceError, SpaceError, ModelError: ``networks`` names nothing that can be trained.
        InputError: a proxy is unknown.
        SedTorchError: the device is not there, or a worker process died.
        MissingDependencyError: scikit-learn, torchvision, joblib, distributed or ray is needed and not installed.
        InputError: an argument is none of the above.
    """
    wanted = _proxies(proxies)
    numbers = _check(jobs, threads, time_limit, backend, seeds)
    resolve_device(device)
    chosen = candidates(networks, n, archs=archs, sample_seed=sample_seed, width=width, cells=cells)
    settings = TrainSettings(
        dataset,
        None if data is None else os.fspath(data),
        recipe or Recipe(),
        device,
        threads,
        time_limit,
        wanted,
        _space(networks, width, cells),
    )
    settings.data()  # what is wrong with it is told before anything is written
    file = RunFile(output, wanted)
    with file.held(resume=resume, same=settings.row()) as kept:
        done = {(r.network, r.seed) for r in kept}
        pending = _jobs(chosen, numbers, settings, done)
        total = len(chosen) * len(numbers)
        bar = reporting(
            progress or False, total, total - len(pending), what="training", name=lambda row: row.network
        )
        work = contextlib.closing(_rows(pending, jobs, backend, scheduler))
        with bar as advance, work as stream:
            for rows in stream:
                file.append(rows)
                if rows[-1].final:
                    advance(rows[-1])
    return Counterparts(tuple(read_rows(output)[1]), wanted, os.fspath(output), len(done))


def _proxies(names: Sequence[str]) -> tuple[str, ...]:
    unknown = [p for p in names if p not in PROXIES]
    if isinstance(names, str) or unknown:
        raise InputError(f"unknown proxies {names!r}: expected a sequence of {', '.join(PROXIES)}")
    return tuple(dict.fromkeys(p for p in names if p not in STATIC))


def _check(
    jobs: int, threads: int, time_limit: float | None, backend: str, seeds: int | Sequence[int]
) -> list[int]:
    """The seeds, the rest being sound."""
    if backend == "threading":
        raise InputError(
            "backend must be one of loky, dask, ray: seeds belong to a process, found 'threading'"
        )
    check_workers(jobs, backend)
    if threads < 1:
        raise InputError(f"threads must be 1 or more, found {threads}")
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"time_limit must be positive or None, found {time_limit!r}")
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(dict.fromkeys(seeds))
    if not numbers or min(numbers) < 0:
        raise InputError(f"seeds must be 1 or more, or whole numbers of 0 or more, found {seeds!r}")
    return numbers


def _space(networks: Networks, width: int | None, cells: int | None) -> str | None:
    """What the rows say of the space."""
    name = networks.name if isinstance(networks, Space) else networks
    if not isinstance(name, str) or name not in (*SPACES, *ALIASES):
        return None
    reduced = [f"{k}={v}" for k, v in (("width", width), ("cells", cells)) if v is not None]
    return " ".join([ALIASES.get(name, name), *reduced])


def _jobs(
    chosen: list[Trainee], seeds: list[int], settings: TrainSettings, done: set[tuple[str, int]]
) -> list[Job]:
    """Seed by seed, so that a call that is cut short has all networks with the first seed."""
    every = [(c, s) for s in seeds for c in chosen]
    return [Job(c, s, i, settings) for i, (c, s) in enumerate(every) if (c.name, s) not in done]


def _rows(
    jobs: list[Job], n_jobs: int, backend: str, scheduler: Any
) -> Generator[Sequence[RunRow], None, None]:
    """Rows to append, as they come."""
    if backend == "loky" and n_jobs == 1:
        for job in jobs:
            for row in run(job):
                yield [row]
        return
    tasks: list[Job | Packed] = [*jobs]
    work = Work[Job | Packed, "list[RunRow]"](_every_row, _never_stopped, Packed.of)
    try:
        with contextlib.closing(
            run_all(work, tasks, jobs=n_jobs, backend=backend, scheduler=scheduler)
        ) as stream:
            for _, rows in stream:
                yield rows
    except Exception as error:
        if not worker_died(error):
            raise
        raise SedTorchError(
            f"a worker process died ({type(error).__name__}), for want of memory perhaps; runs that were finished are "
            "in the file. The same call again goes on with the others: try fewer jobs"
        ) from error


def _every_row(job: Job | Packed) -> list[RunRow]:
    """A run to its end, where epochs cannot be handed over one by one."""
    return list(run(job.unpack() if isinstance(job, Packed) else job))


def _never_stopped(job: Job | Packed, stop: Stop) -> list[RunRow]:
    """Runs keep their time limit themselves, so that what was trained until then is kept."""
    raise SedTorchError(stop.reason)
