"""Programs that ``torch.export`` made: read as the module that they unlift to, at the sizes they were exported with."""

from __future__ import annotations

import weakref
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

__all__ = ["inputs_of", "module_of"]

_modules: weakref.WeakKeyDictionary[Any, nn.Module] = weakref.WeakKeyDictionary()


def module_of(model: object) -> object:
    """The module of an ``ExportedProgram``, the same one each time; anything else as it is."""
    kind = type(model)
    if kind.__name__ != "ExportedProgram" or not kind.__module__.startswith("torch.export"):
        return model
    found = _modules.get(model)
    if found is None:
        program: Any = model
        found = _modules[model] = program.module()
    return found


def inputs_of(model: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Arguments like those that a graph was made with, as ``meta`` tensors; None where it does not tell."""
    if not isinstance(model, torch.fx.GraphModule):
        return None
    values = [n.meta.get("val") for n in model.graph.nodes if n.op == "placeholder"]
    if not values or not any(isinstance(v, Tensor) for v in values):
        return None
    flat = [_like(v) if isinstance(v, Tensor) else v for v in values]
    if any(v is None for v in flat):
        return None
    info: Any = getattr(model.graph._codegen, "pytree_info", None)
    if info is None:
        return tuple(flat), {}
    try:
        args, kwargs = torch.utils._pytree.tree_unflatten(flat, info.in_spec)
    except ValueError:
        return None
    return tuple(args), dict(kwargs)


def _like(value: Tensor) -> Tensor | None:
    """A tensor of the sizes of another; None where it has symbolic ones without a number."""
    sizes = [n if isinstance(n, int) else getattr(n.node, "hint", None) for n in value.shape]
    if any(n is None for n in sizes):
        return None
    return torch.empty([int(n) for n in sizes if n is not None], dtype=value.dtype, device="meta")
