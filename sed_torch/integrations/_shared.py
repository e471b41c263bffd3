"""What the callbacks share: the numbers they log, and agreement between processes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from torch import nn

from sed_torch.diagnostics import CheckReport
from sed_torch.diagnostics.finding import FailOn
from sed_torch.diagnostics.loading import model_inputs
from sed_torch.errors import CheckFailedError, SedTorchError

__all__ = ["failure", "findings_table", "loss_of", "memory", "metrics", "raise_everywhere"]


def metrics(report: CheckReport) -> dict[str, float]:
    """Score, its parts and the number of findings, by the names under which they are logged. Finite ones only."""
    numbers: dict[str, float | None] = {
        "sed/errors": float(len(report.errors)),
        "sed/warnings": float(len(report.warnings)),
    }
    if report.score is not None:
        for name in ("total", "conv", "pool", "skip", "suppression", "params", "macs"):
            value = getattr(report.score, name)
            numbers["sed/score" if name == "total" else f"sed/{name}"] = value
    return {k: float(v) for k, v in numbers.items() if v is not None and math.isfinite(v)}


def memory(model: nn.Module, batch: Any, input_size: Any, input_data: Any) -> dict[str, float]:
    """What a training step takes, in MiB, by the names under which it is logged; nothing where it cannot be counted.

    ``sed/memory_fixed_mib`` is there whatever the batch (weights, gradients, AdamW's moments, buffers),
    ``sed/memory_sample_mib`` comes with each sample (kept for the backward pass), in the dtype that the model is in.
    """
    from sed_torch.costing import cost

    try:
        if input_size is None and input_data is None and batch is not None:
            input_data = model_inputs(model, batch)[0]
        found = cost(model, input_size=input_size, input_data=input_data)
    except Exception:  # a help in the log, and no reason to stop a training
        return {}
    fixed = found.resident + found.gradients
    per_sample = sum(s.bytes for s in found.saved if s.batched) / found.batch
    return {"sed/memory_fixed_mib": fixed / 2**20, "sed/memory_sample_mib": per_sample / 2**20}


def findings_table(report: CheckReport) -> tuple[list[str], list[list[str]]]:
    """Column names and rows, for loggers that take tables."""
    columns = ["code", "severity", "path", "message", "advice"]
    return columns, [[str(getattr(f, c)) for c in columns] for f in report.findings]


def failure(run: Callable[[], CheckReport], level: FailOn | None) -> tuple[CheckReport | None, str | None]:
    """The report, and why training must not start, if so. A model that cannot be read stops nothing by itself."""
    try:
        report = run()
    except SedTorchError as error:
        stops = level not in (None, "never")
        return None, f"the model could not be checked: {error}" if stops else None
    found = report.at_least(level) if level is not None else ()
    return report, str(report) if found else None


_LOSSES = ("criterion", "loss", "loss_fn", "loss_func", "criterion_")


def loss_of(holder: Any) -> Any:
    """The loss that a module or trainer holds under a usual name; None where it has none, or a method of its own."""
    for name in _LOSSES:
        found = getattr(holder, name, None)
        if isinstance(found, (nn.Module, functools.partial)) or _of_torch(found):
            return found
    return None


def _of_torch(value: Any) -> bool:
    return callable(value) and str(getattr(value, "__module__", "")).startswith("torch.nn")


def raise_everywhere(message: str | None, report: CheckReport | None) -> None:
    """Raise in every process what rank zero found, lest the others wait for it in their first collective."""
    if message is not None:
        raise CheckFailedError(message, report)
