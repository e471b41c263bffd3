"""Lazy layers, which learn their shapes from the first input: a copy of the model on ``meta`` gets them here.

The model itself is not run and keeps its lazy layers.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy

from sed_torch.errors import ModelError
from sed_torch.tracing.given import tensors_replaced
from sed_torch.tracing.inputs import Inputs
from sed_torch.tracing.modules import tree_of
from sed_torch.tracing.surroundings import surroundings_kept

__all__ = ["settled"]


def settled(model: nn.Module, inputs: Inputs) -> nn.Module:
    """The model itself, or, where it has lazy layers, a copy on ``meta`` in which they have their shapes.

    Raises:
        ModelError: a lazy layer has no shape even after a call with these inputs.
    """
    if _first_lazy(model) is None:
        return model
    memo: dict[int, Any] = {}
    for t in (*model.parameters(), *model.buffers()):
        memo.setdefault(id(t), _on_meta(t))
    try:
        made = copy.deepcopy(model, memo).eval()
        args, kwargs = tensors_replaced(inputs.args, dict(inputs.kwargs), lambda t, _: torch.empty_like(t))
        with torch.no_grad(), torch.device("meta"), surroundings_kept(made):
            made(*args, **kwargs)
    except Exception as error:
        raise ModelError(
            f"{_words(model)}: a call on shapes alone failed ({type(error).__name__}: {error})"
        ) from error
    if _first_lazy(made) is not None:
        raise ModelError(f"{_words(made)}, and a call with this input does not reach it")
    for found, own in zip(made.modules(), model.modules(), strict=False):
        found.training = own.training
    return made


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    if is_lazy(tensor):
        kind: Any = UninitializedParameter if isinstance(tensor, nn.Parameter) else UninitializedBuffer
        lazy: torch.Tensor = kind(requires_grad=tensor.requires_grad, device="meta", dtype=tensor.dtype)
        return lazy
    meta = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")
    return nn.Parameter(meta, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else meta


def _first_lazy(model: nn.Module) -> tuple[str, nn.Module, str] | None:
    for path, module in tree_of(model):
        for name, t in (*module._parameters.items(), *module._buffers.items()):
            if t is not None and is_lazy(t):
                return path, module, name
    return None


def _words(model: nn.Module) -> str:
    found = _first_lazy(model)
    assert found is not None
    path, module, name = found
    return (
        f"{f'module {path!r}' if path else 'the model'} ({type(module).__name__}) is lazy: {name!r} has no shape yet. "
        "Run one forward on a dummy input (or give the layer its input size) and call again"
    )
