"""Where gates are open: a tensor of weights in which a choice left all others at zero.

A router that writes the weights of its chosen experts into zeros (``zeros.scatter(1, chosen, weights)``) asks later
which entries are above zero. Weights that are a softmax are, whatever they are; so the choice alone answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.fx
from torch import Tensor

from sed_torch.tracing.names import CALL

__all__ = ["open_gates"]

_ASKS = frozenset(["gt", "__gt__", "greater", "ne", "__ne__", "not_equal", "bool", "nonzero"])
_MOVES = frozenset([
    "__getitem__", "select", "index_select", "view", "reshape", "permute", "transpose", "t", "T", "clone", "to",
    "float", "contiguous", "squeeze", "unsqueeze", "detach", "sum", "flatten", "type_as", "split", "item", "unbind",
    "chunk",
])  # fmt: skip
_POSITIVE = frozenset(["softmax", "sigmoid", "exp", "softplus"])
_KEEPS_SIGN = _MOVES | frozenset(["topk", "max", "div", "__truediv__", "gather", "mul", "__mul__", "clamp"])

Value = Callable[[torch.fx.Node], Any]


def open_gates(node: torch.fx.Node, value: Value) -> Tensor | None:
    """The answer to the question, asked by ``node``, which entries are above zero; None where it is no such question,
    or cannot be told.

    Args:
        node: of a comparison with zero.
        value: the value of a node, or None.
    """
    spelling = node.meta.get("spelling")
    if spelling not in _ASKS or not node.args or not isinstance(node.args[0], torch.fx.Node):
        return None
    if spelling not in ("bool", "nonzero") and (len(node.args) < 2 or node.args[1] != 0):
        return None
    pattern = _pattern(node.args[0], value)
    return None if pattern is None else pattern.nonzero() if spelling == "nonzero" else pattern > 0


def _pattern(node: torch.fx.Node, value: Value) -> Tensor | None:
    """Zeros where there are zeros, something above zero elsewhere."""
    known = value(node)
    if isinstance(known, Tensor):
        return known
    spelling = str(node.meta.get("spelling"))
    operands = [a for a in node.args if isinstance(a, torch.fx.Node)]
    if spelling in ("scatter", "scatter_") and len(operands) == 3:
        base, index, weights = _pattern(operands[0], value), value(operands[1]), operands[2]
        if base is None or not isinstance(index, Tensor) or not _positive(weights):
            return None
        dim: Any = node.args[1]
        return base.scatter(dim, index, torch.ones(index.shape, dtype=base.dtype, device="cpu"))
    if spelling in ("mul", "__mul__") and len(operands) == 2:
        parts = [_pattern(o, value) for o in operands]
        if parts[0] is not None and parts[1] is not None:
            return parts[0] * parts[1]
        open_, other = (0, 1) if parts[0] is not None else (1, 0)
        at = parts[open_]
        return at if at is not None and _positive(operands[other]) else None
    if spelling in _MOVES and operands and CALL in node.meta:
        return _moved(node, operands[0], value)
    return None


def _moved(node: torch.fx.Node, first: torch.fx.Node, value: Value) -> Tensor | None:
    pattern = _pattern(first, value)
    rest: list[Any] = [value(a) if isinstance(a, torch.fx.Node) else a for a in node.args[1:]]
    if pattern is None or any(a is None for a in rest):
        return None
    try:
        found = node.meta[CALL][0](pattern, *rest, **node.kwargs)
    except Exception:  # then it is not known
        return None
    return found if isinstance(found, Tensor) else None


def _positive(node: torch.fx.Node, depth: int = 12) -> bool:
    """Whether all entries are above zero, whatever the data."""
    spelling = node.meta.get("spelling")
    if spelling in _POSITIVE:
        return True
    operands = [a for a in node.args if isinstance(a, torch.fx.Node)]
    if spelling == "gather" or spelling in ("__getitem__", "index_select"):
        operands = operands[:1]
    return (
        spelling in _KEEPS_SIGN
        and depth > 0
        and bool(operands)
        and all(_positive(o, depth - 1) for o in operands)
    )
