"""How long a score takes, beside the proxies that run the network: one core, the same networks, one run.

Times are CPU seconds of one thread: those of the wall clock on a core that nobody else uses.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from sed_torch.proxies import compute
from sed_torch.scoring import sed
from sed_torch.scoring.model import score
from sed_torch.spaces import Space, get_space

__all__ = ["RIVALS", "NetworkTimes", "SearchTime", "SpaceTimes", "time_networks", "time_search", "time_space"]

RIVALS = ("synflow", "naswot", "zen")

_SPACE = """
import json, time
from sed_torch.spaces import get_space
space = get_space({name!r})
archs = [str(arch) for arch in space]
seconds = []
for _ in range({repeats}):
    start = time.process_time()
    space.score_many(archs)
    seconds.append(time.process_time() - start)
print(json.dumps([len(archs), seconds]))
"""

_SEARCH = """
import json, time
time.perf_counter = time.process_time
from sed_torch.searching import search
found = search({name!r}, budget_s={budget_s}, progress=False)
print(json.dumps({{
    "space": found.space, "size": found.size, "strategy": found.strategy, "looks": found.looks,
    "seconds": found.seconds, "arch": found.best.arch, "sed": found.best.sed, "params": found.best.params,
    "front": len(found.front),
}}))
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SpaceTimes:
    """Scoring all of a space from its strings, in a process of its own on one core.

    Attributes:
        space: its name.
        networks: how many.
        first: CPU seconds of the first time, tables that are made once included; imports are not.
        again: CPU seconds of the median later time.
    """

    space: str
    networks: int
    first: float
    again: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class NetworkTimes:
    """CPU seconds a network, medians over some networks of a space, on one core.

    Attributes:
        space: its name.
        archs: the networks.
        string: SED from one string alone, through its topology.
        build: building the module.
        traced: tracing the built module and scoring it.
        rivals: each proxy on the built module, copying it included.
        batch: samples a batch of the proxies.
        largest_difference: the largest difference between the two ways to the score, in nats.
        load: the machine's load average over the last minute, or None where it has none to tell.
    """

    space: str
    archs: tuple[str, ...]
    string: float
    build: float
    traced: float
    rivals: Mapping[str, float]
    batch: int
    largest_difference: float
    load: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"archs": list(self.archs), "rivals": dict(self.rivals)}


@dataclass(frozen=True, slots=True)
class SearchTime:
    """A search in a process of its own, on one core: tables are made within its time, imports are not counted.

    Its clock is the CPU's, so that a busy machine does not cut it short.

    Attributes:
        space: its name.
        size: architectures in it.
        strategy: that was used.
        looks: architectures looked at.
        seconds: CPU seconds, at most the budget and a batch.
        arch: the best.
        sed: its score, in nats.
        params: its parameters.
        front: members of the Pareto front of score and parameters.
        accuracy: dataset → of the best, in the unit of its table, where a table has it.
    """

    space: str
    size: int
    strategy: str
    looks: int
    seconds: float
    arch: str
    sed: float
    params: int
    front: int
    accuracy: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def time_search(name: str, *, budget_s: float = 1.0) -> SearchTime:
    """Search a space for so many CPU seconds.

    Raises:
        subprocess.CalledProcessError: the process failed.
    """
    return SearchTime(**_in_a_process(_SEARCH.format(name=name, budget_s=budget_s)))


def time_space(name: str = "nasbench201", *, repeats: int = 6) -> SpaceTimes:
    """Time a space that can be enumerated.

    Raises:
        subprocess.CalledProcessError: the process failed.
    """
    networks, seconds = _in_a_process(_SPACE.format(name=name, repeats=repeats))
    return SpaceTimes(name, networks, seconds[0], statistics.median(seconds[1:]))


def _in_a_process(code: str) -> Any:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | threads | {"PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def time_networks(
    name: str = "nasbench201",
    *,
    networks: int = 8,
    rivals: Sequence[str] = RIVALS,
    batch: int = 64,
    seed: int = 0,
) -> NetworkTimes:
    """Time random networks of a space; one more comes first and is not counted."""
    space = get_space(name)
    archs = _alive(space, networks + 1, np.random.default_rng(seed))
    with _one_thread():
        rows = [_times(space, arch, rivals, batch) for arch in archs][1:]
    difference = max(row.pop("difference") for row in rows)
    middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    return NetworkTimes(
        name,
        tuple(archs[1:]),
        middle["string"],
        middle["build"],
        middle["traced"],
        {r: middle[r] for r in rivals},
        batch,
        difference,
        os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def _alive(space: Space[Any], n: int, rng: np.random.Generator) -> list[str]:
    found: list[str] = []
    while len(found) < n:
        arch = space.format(space.sample(rng))
        if np.isfinite(space.score_many([arch])[0]) and arch not in found:
            found.append(arch)
    return found


def _times(space: Space[Any], arch: str, rivals: Sequence[str], batch: int) -> dict[str, float]:
    of_string, string = _timed(lambda: sed(space.topology(arch)))
    model, build = _timed(lambda: space.build(arch))
    of_model, traced = _timed(lambda: score(model, input_size=space.input_size).total)
    seconds = {}
    for rival in rivals:
        run = partial(compute, model, [rival], input_size=space.input_size, batch_size=batch)
        _, seconds[rival] = _timed(run)
    difference = abs((of_model if of_model is not None else float("nan")) - of_string)
    return {"string": string, "build": build, "traced": traced, "difference": difference, **seconds}


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
