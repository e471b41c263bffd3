"""Where tasks are done: in this process, in threads or processes of this machine, on a Dask or Ray cluster."""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Generic, Literal, get_args

from sed_torch.errors import InputError, MissingDependencyError, SedTorchError
from sed_torch.jobs.supervision import ChildPool, isolated
from sed_torch.jobs.work import Limits, Result, Task, Work

__all__ = ["BACKENDS", "Backend", "check_workers", "run", "worker_died"]

Backend = Literal["loky", "threading", "dask", "ray"]
"""joblib's processes or threads, or a cluster."""

BACKENDS: tuple[str, ...] = get_args(Backend)


def check_workers(jobs: int, backend: str) -> None:
    """Raise InputError for a number of workers or a backend that there is not."""
    if backend not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}, found {backend!r}")
    if jobs == 0 or jobs < -1:
        raise InputError(f"jobs must be positive, or -1 for one a core, found {jobs}")


def run(
    work: Work[Task, Result],
    tasks: Sequence[Task],
    *,
    jobs: int = 1,
    backend: str = "loky",
    scheduler: Any = None,
    limits: Limits | None = None,
    rescue: bool = False,
) -> Generator[tuple[int, Result], None, None]:
    """Do the tasks; yield the number of each task with its result, as they come.

    Closing the generator stops what is still being done. At most two tasks a worker are under way at a time, so that
    what is in flight is all that can be lost, and that tasks which hold much memory are packed only when needed.

    Args:
        work: what is done.
        tasks: what it is done with.
        jobs: workers; -1 for one a core. A cluster's own size holds for ``"dask"`` and ``"ray"``.
        backend: joblib's ``"loky"`` (processes) or ``"threading"``, or ``"dask"`` or ``"ray"`` for a cluster.
        scheduler: address of the Dask scheduler, or a ``distributed.Client``; the current client when None. Address
            of the Ray cluster; when None the one this process is connected to, else one is started here.
        limits: of every task; with some, each runs in a child process of its worker.
        rescue: should a worker process die, do what was not done again, each task in a process of its own, so that
            only the one that kills its process is lost. Without it the backend's error is raised, which
            :func:`worker_died` knows.

    Raises:
        InputError: a number of workers or a backend that there is not.
        MissingDependencyError: joblib, psutil, distributed or ray is needed and not installed.
        SedTorchError: no cluster answers.
    """
    check_workers(jobs, backend)
    place = _Place(work, jobs, backend, scheduler, limits or Limits())
    numbered = list(enumerate(tasks))
    if not numbered:
        return
    done: set[int] = set()
    try:
        with contextlib.closing(place.go_through(numbered, isolate=bool(limits))) as stream:
            for i, result in stream:
                done.add(i)
                yield i, result
    except Exception as error:
        if not rescue or limits or not worker_died(error):
            raise
        yield from place.go_through([(i, t) for i, t in numbered if i not in done], isolate=True)


_DEATHS = {
    "BrokenProcessPool",
    "TerminatedWorkerError",
    "KilledWorker",
    "WorkerCrashedError",
    "RayActorError",
}
"""Of concurrent.futures, loky, Dask and Ray, which need not be installed."""


def worker_died(error: Exception) -> bool:
    """Whether an error says that a worker process is gone."""
    return bool({c.__name__ for c in type(error).__mro__} & _DEATHS)


class _Place(Generic[Task, Result]):
    """Workers of one kind, and what they do."""

    def __init__(
        self, work: Work[Task, Result], jobs: int, backend: str, scheduler: Any, limits: Limits
    ) -> None:
        self._work = work
        self._jobs = jobs
        self._backend = backend
        self._scheduler = scheduler
        self._limits = limits

    def go_through(
        self, tasks: list[tuple[int, Task]], *, isolate: bool
    ) -> Generator[tuple[int, Result], None, None]:
        """Each task in a child process of its worker, or in the worker itself."""
        if self._backend in ("dask", "ray"):
            yield from self._on_cluster(tasks, isolate)
        elif isolate:
            yield from self._in_children(tasks)
        elif self._jobs == 1:
            yield from ((i, self._work.do(task)) for i, task in tasks)
        else:
            # Threads share one stdout, which must not be turned away under each other.
            do = self._work.do if self._backend == "threading" else _Quietly(self._work.do)
            yield from self._parallel(do, tasks, {"backend": self._backend, "n_jobs": self._jobs})

    def _in_children(self, tasks: list[tuple[int, Task]]) -> Iterator[tuple[int, Result]]:
        """Threads that each watch a child; this process itself does nothing."""
        pool = ChildPool()

        def do(task: Task) -> Result:
            return pool.do(self._work, task, self._limits)

        try:
            if self._jobs == 1:
                yield from ((i, do(task)) for i, task in tasks)
            else:
                yield from self._parallel(do, tasks, {"backend": "threading", "n_jobs": self._jobs})
        finally:
            pool.close()

    def _on_cluster(self, tasks: list[tuple[int, Task]], isolate: bool) -> Iterator[tuple[int, Result]]:
        do = _Isolated(self._work, self._limits) if isolate else _Quietly(self._work.do)
        config: dict[str, Any] = {"backend": self._backend, "n_jobs": -1}
        with contextlib.ExitStack() as stack:
            if self._backend == "ray":
                stack.enter_context(_ray(self._scheduler))
            else:
                config["client"] = stack.enter_context(_client(self._scheduler))
            yield from self._parallel(do, tasks, config)

    def _parallel(
        self, do: Callable[[Task], Result], tasks: list[tuple[int, Task]], config: dict[str, Any]
    ) -> Iterator[tuple[int, Result]]:
        try:
            from joblib import Parallel, delayed, parallel_config
        except ModuleNotFoundError:
            raise MissingDependencyError("joblib", "rank", "more than one job at a time") from None
        pack = self._work.pack
        with parallel_config(**config):
            parallel = Parallel(batch_size=1, pre_dispatch="2*n_jobs")
            if _streams(parallel):
                parallel = Parallel(batch_size=1, pre_dispatch="2*n_jobs", return_as="generator_unordered")
                results = parallel(delayed(_numbered)(do, i, pack(task)) for i, task in tasks)
                try:
                    yield from _one_by_one(results)
                finally:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # who stops early knows that work is lost
                        results.close()
                return
            size = 8 * max(parallel._effective_n_jobs(), 1)
            for at in range(0, len(tasks), size):
                yield from parallel(
                    delayed(_numbered)(do, i, pack(task)) for i, task in tasks[at : at + size]
                )


class _Quietly(Generic[Task, Result]):
    """In a worker process: what models print belongs to no one's results."""

    def __init__(self, do: Callable[[Task], Result]) -> None:
        self._do = do

    def __call__(self, task: Task) -> Result:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._do(task)


class _Isolated(Generic[Task, Result]):
    """In a worker of a cluster: in a child of it, within limits."""

    def __init__(self, work: Work[Task, Result], limits: Limits) -> None:
        self._work = work
        self._limits = limits

    def __call__(self, task: Task) -> Result:
        return isolated(self._work, task, self._limits)


def _numbered(do: Callable[[Task], Result], i: int, task: Task) -> tuple[int, Result]:
    return i, do(task)


def _one_by_one(results: Iterable[tuple[int, Result]]) -> Iterator[tuple[int, Result]]:
    """Unlike ``yield from``, leaves the closing of ``results`` to the caller."""
    for result in results:  # noqa: UP028
        yield result


def _streams(parallel: Any) -> bool:
    """Whether results come one by one; Ray's backend gives them a call at a time."""
    return bool(getattr(parallel._backend, "supports_return_generator", False))


@contextlib.contextmanager
def _client(scheduler: Any) -> Iterator[Any]:
    """The given client, the current one, or one for the address that is closed afterwards."""
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
