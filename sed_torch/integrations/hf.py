"""Hugging Face Trainer: check and score the model when training begins.

>>> trainer = Trainer(model=model, args=args, train_dataset=data)             # doctest: +SKIP
>>> add_sed_check(trainer, raise_on="error")                                  # doctest: +SKIP
>>> trainer.train()                                                           # doctest: +SKIP
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from sed_torch.diagnostics import CheckReport, check
from sed_torch.diagnostics.finding import FailOn, checked_level
from sed_torch.errors import MissingDependencyError
from sed_torch.integrations._shared import failure, memory, metrics, raise_everywhere

try:
    from transformers import TrainerCallback
except ModuleNotFoundError:
    raise MissingDependencyError("transformers", "hf", "sed_torch.integrations.hf") from None

__all__ = ["SedCheckCallback", "add_sed_check"]

_Base: Any = TrainerCallback


class SedCheckCallback(_Base):  # type: ignore[misc]
    """Runs :func:`sed_torch.check` once, when training begins, on world rank zero; logs what it found.

    With a trainer, score, parts and numbers of findings go through ``trainer.log`` and so to all its integrations
    (TensorBoard, W&B, …); without one they are appended to ``state.log_history``.

    Args:
        input_size: as for :func:`sed_torch.check`; when None, what the trainer's loader makes of its first samples,
            else from the model's config.
        input_data: a batch instead, such as ``{"input_ids": …}``.
        raise_on: stop training from this severity on, in all processes; None never stops it.
        ignore: codes to leave out.
        baseline: a baseline file.
        trainer: the trainer to log through; :func:`add_sed_check` gives it.

    Attributes:
        report: the report, on rank zero, once training has begun.

    Raises:
        CheckFailedError: when training begins, with ``raise_on``.
    """

    def __init__(
        self,
        *,
        input_size: Any = None,
        input_data: Any = None,
        raise_on: FailOn | None = "error",
        ignore: Sequence[str] = (),
        baseline: str | None = None,
        trainer: Any = None,
    ) -> None:
        super().__init__()
        if raise_on is not None:
            checked_level("raise_on", raise_on)
        self.input_size, self.input_data, self.raise_on = input_size, input_data, raise_on
        self.ignore, self.baseline = tuple(ignore), baseline
        # the trainer holds the callback already
        self._trainer = weakref.ref(trainer) if trainer is not None else None
        self.report: CheckReport | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """The Trainer's hook."""
        message: str | None = None
        if state.is_world_process_zero:
            loader = kwargs.get("train_dataloader")
            self.report, message = failure(lambda: self._check(model, loader), self.raise_on)
            if self.report is not None:
                batch = None if self._given or loader is None else first_batch(loader)
                numbers = metrics(self.report) | memory(model, batch, self.input_size, self.input_data)
                self._log(state, numbers)
        raise_everywhere(_from_rank_zero(message), self.report)

    @property
    def _given(self) -> bool:
        return self.input_size is not None or self.input_data is not None

    def _check(self, model: Any, loader: Any) -> CheckReport:
        trainer = self._trainer() if self._trainer is not None else None
        return check(
            model,
            None if self._given or loader is None else first_batch(loader),
            getattr(trainer, "compute_loss_func", None),
            input_size=self.input_size,
            input_data=self.input_data,
            ignore=self.ignore,
            baseline=self.baseline,
        )

    def _log(self, state: Any, numbers: dict[str, float]) -> None:
        trainer = self._trainer() if self._trainer is not None else None
        if trainer is not None:
            trainer.log(numbers)
        else:
            state.log_history.append({**numbers, "step": state.global_step})


def first_batch(loader: Any) -> Any:
    """What a data loader makes of the first samples of its data; None where it cannot be asked without a draw.

    The sampler is not touched, so that the order of training stays as it would have been.
    """
    try:
        size = min(getattr(loader, "batch_size", None) or 2, 4, len(loader.dataset))
        with torch.random.fork_rng(devices=[]):
            return loader.collate_fn([loader.dataset[i] for i in range(size)])
    except Exception:  # an iterable data set, a collator of its own ways: the config tells the inputs then
        return None


def _from_rank_zero(message: str | None) -> str | None:
    if not (dist.is_available() and dist.is_initialized()):
        return message
    box = [message]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def add_sed_check(trainer: Any, **options: Any) -> SedCheckCallback:
    """Add a :class:`SedCheckCallback` that logs through ``trainer``; options are those of the callback."""
    callback = SedCheckCallback(trainer=trainer, **options)
    trainer.add_callback(callback)
    return callback
