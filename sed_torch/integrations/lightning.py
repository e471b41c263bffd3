"""Lightning: check and score the module before it is fitted.

>>> from lightning.pytorch import Trainer                                     # doctest: +SKIP
>>> Trainer(callbacks=[SedCheck(raise_on="error")]).fit(module, data)         # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from sed_torch.diagnostics import CheckReport, check
from sed_torch.diagnostics.finding import FailOn, checked_level
from sed_torch.errors import InputError, MissingDependencyError
from sed_torch.integrations._shared import failure, findings_table, loss_of, memory, metrics, raise_everywhere

try:
    from lightning.pytorch.callbacks import Callback
except ModuleNotFoundError:
    try:
        from pytorch_lightning.callbacks import Callback
    except ModuleNotFoundError:
        raise MissingDependencyError("lightning", "lightning", "sed_torch.integrations.lightning") from None

__all__ = ["SedCheck"]

_Base: Any = Callback


class SedCheck(_Base):  # type: ignore[misc]
    """Runs :func:`sed_torch.check` once, on rank zero; logs what it found, or prints it where no logger takes text.

    With ``input_size``, or an ``example_input_array`` of the module, it runs before fitting; else on the first batch of
    training, before it is used, from which the inputs are taken.

    Logged under ``sed/…`` through the trainer's loggers: score, parts, suppression, parameters, MACs, numbers of
    errors and warnings as metrics; the findings as text where the logger takes text (TensorBoard, W&B).

    Args:
        model: name of the attribute of the LightningModule that holds the network, dotted if need be. None: the
            module itself when it has a forward, else its only child.
        input_size: as for :func:`sed_torch.check`; the module's ``example_input_array`` when None, else the inputs of
            the first batch.
        raise_on: stop the fit from this severity on, in all processes; None never stops it.
        ignore: codes to leave out.
        baseline: a baseline file.
        loss: the loss applied to the output, for SED303; the module's ``criterion``, ``loss`` or ``loss_fn`` when None.

    Attributes:
        report: the report, on rank zero, once a fit has begun.

    Raises:
        CheckFailedError: at the start of ``fit``, with ``raise_on``.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        input_size: Any = None,
        raise_on: FailOn | None = "error",
        ignore: Sequence[str] = (),
        baseline: str | None = None,
        loss: Any = None,
    ) -> None:
        super().__init__()
        if raise_on is not None:
            checked_level("raise_on", raise_on)
        self.model, self.input_size, self.raise_on = model, input_size, raise_on
        self.ignore, self.baseline, self.loss = tuple(ignore), baseline, loss
        self.report: CheckReport | None = None
        self._waits = False

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Lightning's hook: before the strategy wraps the module and before optimizers are made."""
        if stage != "fit":
            return
        self._waits = self.input_size is None and getattr(pl_module, "example_input_array", None) is None
        if not self._waits:
            self._run(trainer, pl_module, None)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Lightning's hook: the first batch, as the loader gave it."""
        if self._waits:
            self._waits = False
            self._run(trainer, pl_module, batch)

    def _run(self, trainer: Any, pl_module: Any, batch: Any) -> None:
        message: str | None = None
        if trainer.is_global_zero:
            self.report, message = failure(lambda: self._check(pl_module, batch), self.raise_on)
            if self.report is not None:
                size, example = self._inputs(pl_module)
                used = memory(network(pl_module, self.model), batch, size, example)
                self._log(trainer, self.report, metrics(self.report) | used)
        raise_everywhere(trainer.strategy.broadcast(message), self.report)

    def _inputs(self, pl_module: Any) -> tuple[Any, Any]:
        """The size that was given, else the example that the module has."""
        example = getattr(pl_module, "example_input_array", None) if self.input_size is None else None
        return self.input_size, example

    def _check(self, pl_module: Any, batch: Any) -> CheckReport:
        given, example = self._inputs(pl_module)
        return check(
            network(pl_module, self.model),
            batch,
            self.loss if self.loss is not None else loss_of(pl_module),
            input_size=given,
            input_data=example,
            ignore=self.ignore,
            baseline=self.baseline,
        )

    def _log(self, trainer: Any, report: CheckReport, numbers: dict[str, float]) -> None:
        told = False
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=0)
            if hasattr(logger, "log_text"):  # W&B
                columns, rows = findings_table(report)
                logger.log_text(key="sed/findings", columns=columns, data=rows)
                told = True
            elif hasattr(getattr(logger, "experiment", None), "add_text"):  # TensorBoard
                logger.experiment.add_text("sed/findings", f"```\n{report}\n```", 0)
                told = True
        if report.findings and not told:
            print(report)


def network(pl_module: Any, name: str | None) -> nn.Module:
    """The network inside a LightningModule, see :class:`SedCheck`.

    Raises:
        InputError: ``name`` names no module, or it is None and there is nothing to choose.
    """
    if name is not None:
        found = pl_module
        for part in name.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, nn.Module):
            raise InputError(f"SedCheck(model={name!r}): {type(pl_module).__name__} has no such module")
        return found
    base: Any = next(c for c in type(pl_module).__mro__ if c.__name__ == "LightningModule")
    if type(pl_module).forward is not base.forward:
        assert isinstance(pl_module, nn.Module)
        return pl_module
    children = [m for m in pl_module.children() if any(True for _ in m.parameters())]
    if len(children) != 1:
        raise InputError(
            f"{type(pl_module).__name__} has no forward and {len(children)} children with parameters: "
            "name the network, as in SedCheck(model='net')"
        )
    return children[0]  # type: ignore[no-any-return]
