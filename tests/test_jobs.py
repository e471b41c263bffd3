"""Any work, any result: here numbers, words and deaths; what ranking and training make of it is tested there."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import pytest

from sed_torch.errors import InputError, SedTorchError
from sed_torch.jobs import Limits, Packed, Stop, Work, reporting, run, worker_died

pytestmark = pytest.mark.usefixtures("no_child_outlives_its_test")


def square(n: int) -> int:
    if n == -1:
        raise ValueError("minus one has no square here")
    if n == -2:
        os._exit(3)
    if n == -3:
        time.sleep(60)
    return n * n


def stopped(n: int, stop: Stop) -> int:
    return {"crashed": -100, "timeout": -200, "memory": -300}[stop.status]


WORK = Work(square, stopped)


@pytest.mark.parametrize(
    "where",
    [
        *({"jobs": 1}, {"jobs": 2, "backend": "threading"}, {"jobs": 2}),
        *({"limits": Limits(seconds=60)}, {"jobs": 2, "limits": Limits(seconds=60, memory=2**40)}),
    ],
    ids=str,
)
def test_every_place_gives_every_result(where: dict[str, object]) -> None:
    got = dict(run(WORK, [3, 1, 2], **where))  # type: ignore[arg-type]
    assert got == {0: 9, 1: 1, 2: 4}
    assert list(run(WORK, [], **where)) == []  # type: ignore[arg-type]


def test_a_task_that_is_stopped_or_dies_has_a_result_too() -> None:
    got = dict(run(WORK, [5, -2, -3, 6], limits=Limits(seconds=1.5)))
    assert got == {0: 25, 1: -100, 2: -200, 3: 36}


def test_a_dead_worker_is_known_or_gone_around() -> None:
    with pytest.raises(Exception, match=r"terminated|died|abruptly") as caught:
        list(run(WORK, [-2, 2], jobs=2))
    assert worker_died(caught.value)
    assert not worker_died(ValueError("no"))
    assert dict(run(WORK, [2, -2, 3], jobs=2, rescue=True)) == {0: 4, 1: -100, 2: 9}


@pytest.mark.parametrize("limits", [None, Limits(seconds=60)], ids=str)
def test_an_error_of_the_work_ends_the_run(limits: Limits | None) -> None:
    with pytest.raises(ValueError, match="minus one has no square"):
        list(run(WORK, [1, -1], limits=limits))


def test_closing_stops_what_runs() -> None:
    start = time.monotonic()
    with contextlib.closing(run(WORK, [2, -3, -3], jobs=2, limits=Limits(seconds=300))) as stream:
        assert next(stream) == (0, 4)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "jobs must be positive, or -1"),
        ({"backend": "slurm"}, "backend must be one of loky, threading, dask, ray, found 'slurm'"),
    ],
)
def test_wrong_arguments(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(run(WORK, [1], **options))  # type: ignore[arg-type]
    for limit in (0, -1.0):
        with pytest.raises(InputError, match="time_limit must be positive or None"):
            Limits(seconds=limit)


def test_packing() -> None:
    packed = Packed.of(lambda: 7)
    assert Packed.of(packed) is packed
    assert packed.unpack()() == 7
    broken = Packed.of(threading.Lock())
    with pytest.raises(SedTorchError, match="cannot be sent to a worker process"):
        broken.unpack()


def test_progress_counts_from_what_was_there() -> None:
    told: list[tuple[int, int, str]] = []

    def tell(done: int, total: int, result: str) -> None:
        told.append((done, total, result))

    with reporting(tell, 5, 3, what="squaring", name=str) as advance:
        advance("a")
        advance("b")
    assert told == [(4, 5, "a"), (5, 5, "b")]
