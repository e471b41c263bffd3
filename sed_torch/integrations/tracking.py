"""Results in an experiment tracker: one call for TensorBoard, Weights & Biases, MLflow and Lightning's loggers.

None of them is imported here: a run is known by the methods that its tracker documents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from sed_torch.costing import Cost
from sed_torch.diagnostics import CheckReport
from sed_torch.errors import InputError
from sed_torch.integrations._shared import metrics as metrics_of_check
from sed_torch.scoring.result import Score
from sed_torch.tables import Tabular

__all__ = ["log_to", "metrics_of"]

_OF_A_SCORE = ("conv", "pool", "skip", "suppression", "params", "macs", "coverage")
_OF_A_COST = {"peak": "peak_bytes", "inference_peak": "inference_bytes", "parameters": "param_bytes"}


def metrics_of(*results: Tabular) -> dict[str, float]:
    """The numbers of scores, checks and costs, by the names under which they are logged, ``sed/…``.

    Only finite numbers: a score that is undefined or infinite has none.

    Raises:
        InputError: a result of another kind.
    """
    found: dict[str, float] = {}
    for result in results:
        if isinstance(result, CheckReport):
            found |= metrics_of_check(result)
        elif isinstance(result, Score):
            numbers = {"sed/score": result.total, **{f"sed/{n}": getattr(result, n) for n in _OF_A_SCORE}}
            found |= {k: float(v) for k, v in numbers.items() if v is not None and math.isfinite(v)}
        elif isinstance(result, Cost):
            found |= {f"sed/{name}": float(getattr(result, of)) for of, name in _OF_A_COST.items()}
        else:
            raise InputError(
                f"expected a score, a check report or a cost to log, found {type(result).__name__}"
            )
    return found


def log_to(run: Any, *results: Tabular, step: int = 0, text: bool = True) -> dict[str, float]:
    """Log results to a run of an experiment tracker.

    Args:
        run: a ``SummaryWriter`` of TensorBoard; a run of ``wandb.init()``, or the module ``wandb``; the module
            ``mlflow`` with an active run; a logger of Lightning; or a dict, which is filled.
        results: scores, check reports, costs.
        step: at which the numbers stand.
        text: also log the whole text of each result, where the tracker takes text.

    Returns:
        The numbers that were logged, by name.

    Raises:
        InputError: a run or a result of another kind.

    Example:
        >>> import sed_torch, torch
        >>> from sed_torch.integrations.tracking import log_to
        >>> logged = log_to({}, sed_torch.score(torch.nn.Conv2d(3, 8, 3), input_size=(1, 3, 32, 32)))
        >>> sorted(logged)[:3]
        ['sed/conv', 'sed/coverage', 'sed/macs']
    """
    numbers = metrics_of(*results)
    write, tell = _written_by(run, step)
    write(numbers)
    if text and tell is not None:
        for result in results:
            name = getattr(result, "name", "model")
            tell(f"sed/{type(result).__name__.lower()}", f"{name}\n\n{result.to_markdown()}")
    return numbers


Writing = tuple[Callable[[Mapping[str, float]], Any], Callable[[str, str], Any] | None]


def _written_by(run: Any, step: int) -> Writing:
    """How a run takes numbers, and how it takes text, if it does."""
    if isinstance(run, MutableMapping):
        return run.update, None
    if _can(run, "add_scalar"):  # TensorBoard

        def scalars(numbers: Mapping[str, float]) -> None:
            for name, value in numbers.items():
                run.add_scalar(name, value, step)

        return scalars, (lambda tag, words: run.add_text(tag, words, step)) if _can(run, "add_text") else None
    if _can(run, "log_metrics"):  # MLflow's module; loggers of Lightning
        words = (lambda tag, words: run.log_text(words, f"{tag}.md")) if _is_mlflow(run) else None
        return lambda numbers: run.log_metrics(dict(numbers), step=step), words
    if _can(run, "log"):  # Weights & Biases; text goes into the summary, which takes plain values
        summary = getattr(run, "summary", None)
        update = summary.update if summary is not None and _can(summary, "update") else None
        return lambda numbers: run.log(dict(numbers), step=step), (
            None if update is None else lambda tag, words: update({tag: words})
        )
    raise InputError(
        f"cannot log to a {type(run).__name__}: expected a SummaryWriter (add_scalar), a run of wandb (log), mlflow "
        "or a logger of Lightning (log_metrics), or a dict"
    )


def _is_mlflow(run: Any) -> bool:
    """MLflow's ``log_text(text, file)``; a Lightning logger's ``log_text`` takes a key first."""
    return getattr(run, "__name__", "") == "mlflow" and _can(run, "log_text")


def _can(run: Any, method: str) -> bool:
    return callable(getattr(run, method, None))
