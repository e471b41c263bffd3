"""One network with one seed → its rows, in whatever process this runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from sed_torch.errors import ModelReferenceError, SedTorchError
from sed_torch.training.batches import Batches
from sed_torch.training.candidates import Trainee
from sed_torch.training.data import Data, load_data
from sed_torch.training.devices import repeatable, resolve_device
from sed_torch.training.loop import train
from sed_torch.training.predictors import predict
from sed_torch.training.recipe import Recipe
from sed_torch.training.rows import RunRow

__all__ = ["Job", "TrainSettings", "run"]


@dataclass(frozen=True)
class TrainSettings:
    """What holds for every run.

    Attributes:
        dataset: a name for :func:`~sed_torch.training.load_data`, or the data.
        folder: of the data.
        recipe: how to train.
        device: a name for :func:`~sed_torch.training.devices.resolve_device`.
        threads: of the CPU, a run.
        time_limit: seconds a run.
        proxies: rivals to compute.
        space: for the rows.
    """

    dataset: str | Data
    folder: str | None
    recipe: Recipe
    device: str
    threads: int
    time_limit: float | None
    proxies: tuple[str, ...]
    space: str | None

    def data(self) -> Data:
        """The data; a name is looked up once a process."""
        return self.dataset if isinstance(self.dataset, Data) else _loaded(self.dataset, self.folder)

    def row(self) -> RunRow:
        """What all rows have in common."""
        name = self.dataset if isinstance(self.dataset, str) else self.dataset.name
        return RunRow("", 0, space=self.space, dataset=name, recipe=str(self.recipe), software=_software())


@dataclass(frozen=True)
class Job:
    """A run to do.

    Attributes:
        candidate: the network.
        seed: of the run.
        slot: number of the run, by which GPUs take turns.
        settings: the rest.
    """

    candidate: Trainee
    seed: int
    slot: int
    settings: TrainSettings


@lru_cache(maxsize=2)
def _loaded(name: str, folder: str | None) -> Data:
    return load_data(name, folder)


def run(job: Job) -> Iterator[RunRow]:
    """The rows of a run as epochs end; whatever goes wrong in it is its last row."""
    last = replace(job.settings.row(), network=job.candidate.name, seed=job.seed)
    device = resolve_device(job.settings.device, job.slot)
    data = job.settings.data()
    last = replace(last, device=_named(device, job.settings.threads))
    try:
        with repeatable(device, job.seed, job.settings.threads):
            for row in _epochs(job, last, data, device):
                last = row
                yield row
    except Exception as error:  # a network's own code may raise anything
        nothing: dict[str, Any] = dict.fromkeys(("lr", "train_loss", "test_loss", "test_accuracy"))
        yield replace(last, epoch=last.epoch + 1, status="failed", reason=_told(error), **nothing)


def _epochs(job: Job, row: RunRow, data: Data, device: torch.device) -> Iterator[RunRow]:
    settings = job.settings
    # Built on the CPU, so that a seed draws the same weights and the proxies say the same for every device.
    model = job.candidate.make(data.num_classes)
    row = replace(row, **predict(model, data.input_size, settings.proxies, job.seed))
    batches = Batches(data.train, data.test, settings.recipe, job.seed, device)
    torch.manual_seed(job.seed)  # dropout is the same whatever the weights took
    limits: dict[str, Any] = {"num_classes": data.num_classes, "time_limit": settings.time_limit}
    for epoch in train(model, batches, settings.recipe, device=device, **limits):
        yield replace(
            row,
            epoch=epoch.epoch,
            status=epoch.status,
            reason=epoch.reason,
            lr=epoch.lr,
            train_loss=epoch.train_loss,
            test_loss=epoch.test_loss,
            test_accuracy=epoch.test_accuracy,
            seconds=round(epoch.seconds, 3),
        )


def _told(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, ModelReferenceError):
        return first
    surprise = (
        "" if isinstance(error, (SedTorchError, MemoryError, torch.cuda.OutOfMemoryError)) else "unexpected "
    )
    return f"{surprise}{type(error).__name__}: {first}"


def _named(device: torch.device, threads: int) -> str:
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return f"cpu, {threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else str(device)


def _software() -> str:
    from sed_torch.scoring import DEFAULT_DEFINITION
    from sed_torch.scoring.model import versions

    found = versions()
    return f"sed_torch {found['sed_torch']} ({DEFAULT_DEFINITION}), torch {found['torch']}"
