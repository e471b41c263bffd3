"""Programs that ``torch.export`` made: read as the module that they unlift to, at the sizes they were exported with."""

from __future__ import annotations

import os
import re
import weakref
from types import FrameType
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

__all__ = ["GENERATED", "inputs_of", "module_of", "path_of", "place_in", "source_of"]

GENERATED = "<eval_with_key>"
"""What the file of a graph's own forward is called."""
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in')

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


def place_in(
    module: nn.Module, frame: FrameType, known: dict[int, list[torch.fx.Node]]
) -> tuple[str, str | None]:
    """Path and line of the module that the call was in from which a line of a graph's own forward was made.

    Args:
        module: of the graph.
        frame: of its forward.
        known: nodes of the graphs that were asked before, by their ids.
    """
    lines, first = getattr(module, "_lineno_map", None), getattr(module, "_prologue_start", None)
    graph = module.__dict__.get("_graph")
    if not isinstance(lines, dict) or not isinstance(first, int) or not isinstance(graph, torch.fx.Graph):
        return "", None
    at = lines.get(frame.f_lineno - first)
    nodes = known.get(id(graph))
    if nodes is None:
        nodes = known[id(graph)] = list(graph.nodes)
    if at is None or at >= len(nodes):
        return "", None
    return path_of(nodes[at]), source_of(nodes[at])


def path_of(node: torch.fx.Node) -> str:
    """Dotted path of the module that a node of an exported graph was recorded in."""
    stack = node.meta.get("nn_module_stack") or {}
    last = list(stack.values())[-1] if stack else ("", None)
    path = str(last[0]).replace("L['self'].", "").replace("L['self']", "")
    return re.sub(r"@\d+$", "", path)


def source_of(node: torch.fx.Node) -> str | None:
    """``file:line`` of the code, not torch's, that a node of an exported graph was recorded in."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [f for f in frames if not f[0].startswith(torch.__path__[0] + os.sep)]
    return f"{own[-1][0]}:{own[-1][1]}" if own else None
