"""The one recipe that all networks of a run are trained under."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from sed_torch.errors import InputError

__all__ = ["Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """SGD with Nesterov momentum, a cosine from ``lr`` to 0 over all steps, and label smoothing.

    Weight decay acts on every parameter. The loss of training is the smoothed one, that of testing is not.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step; the last, smaller batch of an epoch is left out.
        lr: learning rate of the first step.
        momentum: of SGD, 0 for none.
        weight_decay: L2 penalty.
        label_smoothing: of the cross-entropy, from 0 to below 1.
        crop: pixels that images are padded by before a random crop to their size; 0 for none. Like ``flip``, for
            images that are held in memory; other datasets bring transforms of their own.
        flip: mirror half of the images.
        patience: stop early when the training loss has not improved by 0.1 % for so many epochs; None for never.
            The test images have no say in it.
        amp: automatic mixed precision on CUDA, bfloat16 where the GPU has it, else float16 with scaled losses.
        compile: run the network through ``torch.compile``.

    Raises:
        InputError: a value is out of its range.
    """

    epochs: int = 20
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    crop: int = 0
    flip: bool = False
    patience: int | None = None
    amp: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "epochs", "1 or more", self.epochs)
        _require(
            self.batch_size >= 2, "batch_size", "2 or more (batch norm compares images)", self.batch_size
        )
        _require(0 < self.lr < math.inf, "lr", "positive and finite", self.lr)
        _require(0 <= self.momentum < 1, "momentum", "from 0 to below 1", self.momentum)
        _require(0 <= self.weight_decay < math.inf, "weight_decay", "0 or more", self.weight_decay)
        _require(0 <= self.label_smoothing < 1, "label_smoothing", "from 0 to below 1", self.label_smoothing)
        _require(self.crop >= 0, "crop", "0 or more pixels", self.crop)
        _require(self.patience is None or self.patience >= 1, "patience", "1 or more, or None", self.patience)

    def lr_at(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 0, of ``steps`` in all."""
        return 0.5 * self.lr * (1 + math.cos(math.pi * step / steps))

    def __str__(self) -> str:
        """``sgd epochs=20 batch_size=64 …``: all that decides the result."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return " ".join(["sgd", *(f"{name}={_spell(value)}" for name, value in values)])


def _require(holds: bool, name: str, expected: str, found: object) -> None:
    if not holds:
        raise InputError(f"{name}: expected {expected}, found {found!r}")


def _spell(value: object) -> str:
    if value is None:
        return "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value}"
