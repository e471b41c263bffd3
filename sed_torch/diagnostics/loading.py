"""From a batch as a data loader gives it to what the model is called with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from sed_torch.errors import InputError

__all__ = ["model_inputs"]

_NAMES = (
    "x",
    "input",
    "inputs",
    "image",
    "images",
    "img",
    "pixel_values",
    "input_ids",
    "data",
    "features",
    "audio",
)


def model_inputs(model: nn.Module, batch: Any) -> tuple[Any, str]:
    """(``input_data`` for the model, what was chosen in words) from a batch of a loader.

    A tensor is the input. Of a tuple or list the first parts are taken, as many as the forward must have; the rest
    is targets. Of a mapping, what the forward names is taken, else the one entry that is called like an input.

    Raises:
        InputError: nothing in the batch can be the input.
    """
    if isinstance(batch, Mapping):
        return _from_mapping(model, batch)
    if isinstance(batch, (tuple, list)) and not hasattr(batch, "_fields"):
        return _from_sequence(model, batch)
    if isinstance(batch, (tuple, list)):  # a named tuple
        return _from_sequence(model, tuple(batch))
    if isinstance(batch, Tensor) or hasattr(batch, "__array_interface__"):
        return batch, "the batch"
    return (batch,), f"the batch, a {type(batch).__name__}"


def _parameters(model: nn.Module) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return []


def _from_sequence(model: nn.Module, batch: Sequence[Any]) -> tuple[Any, str]:
    if not batch:
        raise InputError("the batch is empty: expected a tensor, or a tuple that begins with the inputs")
    positional = [p for p in _parameters(model) if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in positional)
    taken = min(max(needed, 1), len(batch))
    first = batch[0]
    if taken == 1 and isinstance(first, Mapping):
        return _from_mapping(model, first)
    inputs = tuple(batch[:taken])
    what = (
        f"the first {taken} of {len(batch)} parts of the batch" if len(batch) > taken else "all of the batch"
    )
    return (inputs[0] if taken == 1 and isinstance(first, Tensor) else inputs), what


def _from_mapping(model: nn.Module, batch: Mapping[Any, Any]) -> tuple[Any, str]:
    parameters = _parameters(model)
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    chosen = {k: v for k, v in batch.items() if k in named}
    if chosen:
        return chosen, f"{', '.join(map(str, chosen))} of the batch"
    for name in (*_NAMES, *batch):
        if isinstance(batch.get(name), Tensor):
            return batch[name], f"{name!r} of the batch"
    raise InputError(
        f"the batch has {', '.join(map(repr, batch)) or 'nothing'}, none of which is an argument of "
        f"{type(model).__name__}.forward or a tensor: give input_data"
    )
