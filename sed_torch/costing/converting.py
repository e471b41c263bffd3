"""A model as ``model.to(dtype)`` would leave it, to be followed in its place: no weight is read, the model stays."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_map_only

from sed_torch.tracing.shadow import unwrap

__all__ = ["converted", "converted_inputs"]


def converted(model: nn.Module, dtype: str) -> nn.Module | None:
    """A copy of a model whose floating parameters and buffers have a dtype; parameters are on ``meta``.

    None for a model that cannot be copied, or whose layers wait for their first input.
    """
    model, wanted = unwrap(model), getattr(torch, dtype)
    parameters, buffers = list(model.parameters()), list(model.buffers())
    if any(is_lazy(t) for t in (*parameters, *buffers)):
        return None
    memo: dict[int, Any] = {id(b): b.to(wanted) if b.is_floating_point() else b for b in buffers}
    for p in parameters:
        empty = torch.empty_like(p, dtype=wanted if p.is_floating_point() else p.dtype, device="meta")
        memo[id(p)] = nn.Parameter(empty, requires_grad=p.requires_grad)
    try:
        return copy.deepcopy(model, memo)
    except Exception:  # whatever a model holds that cannot be copied
        return None


def converted_inputs(given: Any, dtype: str) -> Any:
    """Inputs whose floating tensors have a dtype, on ``meta``; whole numbers stay."""
    wanted = getattr(torch, dtype)

    def as_wanted(t: Tensor) -> Tensor:
        return torch.empty_like(t, dtype=wanted, device="meta") if t.is_floating_point() else t

    return tree_map_only(Tensor, as_wanted, given)
