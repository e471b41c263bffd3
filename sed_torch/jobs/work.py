"""What is to be done with each task, and within which limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from sed_torch.errors import InputError

__all__ = ["Limits", "Result", "Stop", "Task", "Work"]

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Stop:
    """Why a task has no result of its own.

    Attributes:
        status: ``"timeout"`` or ``"memory"`` (stopped at a limit), or ``"crashed"`` (its process died).
        reason: in words.
        seconds: wall-clock time that it had.
    """

    status: Literal["timeout", "memory", "crashed"]
    reason: str
    seconds: float | None = None


@dataclass(frozen=True)
class Limits:
    """What a task may take. With a limit, tasks run in processes that can be stopped.

    Attributes:
        seconds: wall-clock time a task, or None.
        memory: resident bytes of its process, or None.

    Raises:
        InputError: a limit is not positive.
    """

    seconds: float | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        for name, limit in (("time_limit", self.seconds), ("memory_limit", self.memory)):
            if limit is not None and not limit > 0:
                raise InputError(f"{name} must be positive or None, found {limit!r}")

    def __bool__(self) -> bool:
        return self.seconds is not None or self.memory is not None


def _as_it_is(task: Task) -> Task:
    return task


@dataclass(frozen=True)
class Work(Generic[Task, Result]):
    """What is done with a task. All four are functions that other processes can import, or partials of such.

    Attributes:
        do: task → result; what goes wrong with a task should be part of its result, since an exception ends the run.
        stopped: the result of a task that was stopped or whose process died.
        pack: what is sent to another process in place of the task, made when a worker becomes free for it.
        ready: is called with the task in the process that will do it, before its clock runs: imports, say.
    """

    do: Callable[[Task], Result]
    stopped: Callable[[Task, Stop], Result]
    pack: Callable[[Task], Task] = _as_it_is
    ready: Callable[[Task], object] = _as_it_is
