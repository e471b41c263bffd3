"""Training one network, an epoch at a time."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sed_torch.errors import ModelError
from sed_torch.proxies.trial import Batch, UndefinedError, forward
from sed_torch.training.batches import Batches
from sed_torch.training.recipe import Recipe

__all__ = ["Epoch", "RunStatus", "train"]

RunStatus = Literal["running", "ok", "stopped", "diverged", "timeout", "failed"]
_NEEDED_GAIN = 1e-3


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch came to.

    Attributes:
        epoch: counted from 1.
        status: ``"running"`` until the last one, which says how the run ended: ``"ok"``, ``"stopped"`` (early, by
            the recipe's patience), ``"diverged"`` or ``"timeout"``.
        reason: why it ended so, None when ``"running"`` or ``"ok"``.
        lr: learning rate at its first step.
        train_loss: mean smoothed cross-entropy over its steps, in nats.
        test_loss: mean cross-entropy on the test images after it, in nats.
        test_accuracy: on the test images after it, in per cent.
        seconds: wall-clock, since the run began.
    """

    epoch: int
    status: RunStatus
    reason: str | None
    lr: float
    train_loss: float | None
    test_loss: float | None
    test_accuracy: float | None
    seconds: float


class _TimeUp(Exception):  # noqa: N818 - an end, not an error
    pass


def train(
    model: nn.Module,
    batches: Batches,
    recipe: Recipe,
    *,
    num_classes: int,
    device: torch.device,
    time_limit: float | None = None,
) -> Iterator[Epoch]:
    """Train a network under a recipe; it is moved to the device and changed.

    Args:
        model: takes images, returns (n, classes) logits, or something that has them as ``logits`` or ``out``.
        batches: the data.
        recipe: how.
        num_classes: outputs that are expected at least.
        device: where.
        time_limit: seconds after which the run ends; looked at before every step.

    Raises:
        ModelError: the output has another shape.
    """
    run = _Run(model, batches, recipe, num_classes, device, time_limit)
    best, since = math.inf, 0
    for epoch in range(1, recipe.epochs + 1):
        lr = recipe.lr_at((epoch - 1) * batches.steps, recipe.epochs * batches.steps)
        try:
            loss = run.learn(epoch)
            if not math.isfinite(loss):
                yield Epoch(
                    epoch, "diverged", f"the training loss became {loss}", lr, None, None, None, run.seconds
                )
                return
            test_loss, accuracy = run.test()
        except _TimeUp:
            told = f"stopped in epoch {epoch} after {time_limit:g} s, the time limit"
            yield Epoch(epoch, "timeout", told, lr, None, None, None, run.seconds)
            return
        best, since = (loss, 0) if loss < best * (1 - _NEEDED_GAIN) else (best, since + 1)
        status, reason = _status(recipe, epoch, since)
        measured = test_loss if math.isfinite(test_loss) else None
        yield Epoch(epoch, status, reason, lr, loss, measured, accuracy, run.seconds)
        if status != "running":
            return


def _status(recipe: Recipe, epoch: int, since: int) -> tuple[RunStatus, str | None]:
    if epoch == recipe.epochs:
        return "ok", None
    if recipe.patience is not None and since >= recipe.patience:
        return "stopped", f"the training loss has not improved for {since} epochs"
    return "running", None


class _Run:
    """The network with its optimiser."""

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        recipe: Recipe,
        num_classes: int,
        device: torch.device,
        time_limit: float | None,
    ) -> None:
        self._start = time.perf_counter()
        self._limit = math.inf if time_limit is None else time_limit
        self._batches, self._recipe, self._classes, self._device = batches, recipe, num_classes, device
        layout = torch.channels_last if device.type == "cuda" else torch.preserve_format
        net = model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        self._net: Any = torch.compile(net) if recipe.compile else net
        self._optimizer = torch.optim.SGD(
            net.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
        )
        self._amp = recipe.amp and device.type == "cuda"
        self._dtype = torch.bfloat16 if self._amp and torch.cuda.is_bf16_supported() else torch.float16
        self._scaler = torch.amp.GradScaler("cuda", enabled=self._amp and self._dtype == torch.float16)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def learn(self, epoch: int) -> float:
        """One epoch; its mean loss."""
        steps = self._recipe.epochs * self._batches.steps
        total = torch.zeros((), device=self._device)
        self._net.train()
        for i, (images, labels) in enumerate(self._batches.training(), (epoch - 1) * self._batches.steps):
            self._check_time()
            for group in self._optimizer.param_groups:
                group["lr"] = self._recipe.lr_at(i, steps)
            self._optimizer.zero_grad(set_to_none=True)
            with self._precision():
                logits = self._logits(images)
                loss = F.cross_entropy(logits.float(), labels, label_smoothing=self._recipe.label_smoothing)
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self._scaler.step(self._optimizer)
            self._scaler.update()
            total += loss.detach()  # read once an epoch: a look at every step would make the GPU wait
        return float(total) / self._batches.steps

    @torch.no_grad()
    def test(self) -> tuple[float, float]:
        """Loss, and accuracy in per cent, on the test images."""
        loss = torch.zeros((), dtype=torch.float64)
        right = count = 0
        self._net.eval()
        for images, labels in self._batches.testing():
            self._check_time()
            with self._precision():
                logits = self._logits(images).float()
            loss += F.cross_entropy(logits, labels, reduction="sum").cpu()
            right += int((logits.argmax(1) == labels).sum())
            count += len(labels)
        return float(loss) / count, 100 * right / count

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast("cuda", self._dtype) if self._amp else contextlib.nullcontext()

    def _logits(self, images: Tensor) -> Tensor:
        try:
            logits = forward(self._net, Batch((images,), {}))
        except UndefinedError as error:
            raise ModelError(f"the network cannot be trained to classify: {error}") from None
        if logits.ndim != 2 or logits.shape[1] < self._classes:
            raise ModelError(
                f"the network's output is {tuple(logits.shape)}, expected ({len(images)}, {self._classes}) for the "
                f"{self._classes} classes of the data"
            )
        return logits

    def _check_time(self) -> None:
        if self.seconds > self._limit:
            raise _TimeUp
