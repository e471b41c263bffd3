"""Attention masks that rest on buffers and constants alone: their values, and how many rows block everything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sed_torch.diagnostics.subject import Subject
from sed_torch.graph import Node
from sed_torch.ops import canonical

__all__ = ["rows_blocked"]

LARGEST = 1 << 22
"""Entries; larger masks are not looked at."""


def rows_blocked(subject: Subject, node: Node) -> int:
    """How many queries see no key by the mask that a node applies; 0 where it applies none that is known."""
    if node.op == "masked_fill":
        blocks = node.facts.get("value") == -math.inf and len(node.inputs) > 1 and _to_softmax(subject, node)
        return _rows(subject, node.inputs[1], True) if blocks else 0
    if node.op == "where" and len(node.inputs) > 1 and _to_softmax(subject, node):
        value, other = (_chosen(subject, node, name, place) for place, name in ((1, "value"), (-1, "other")))
        if other == -math.inf:
            return _rows(subject, node.inputs[0], False)
        return _rows(subject, node.inputs[0], True) if value == -math.inf else 0
    if node.op == "add" and len(node.inputs) == 2:
        masks = [i for i in node.inputs if i not in subject.reached]
        return _rows(subject, masks[0], True) if len(masks) == 1 and _to_softmax(subject, node) else 0
    if (
        node.op == "scaled_dot_product_attention"
        and node.facts.get("mask") == "tensor"
        and len(node.inputs) > 3
    ):
        mask = subject.graph[node.inputs[3]]
        return _rows(subject, mask.name, mask.dtype != "bool")
    if node.op == "multi_head_attention_forward" and node.facts.get("mask") == "tensor":
        masks = [
            i for i in node.inputs[3:] if i not in subject.reached and subject.graph[i].op != "parameter"
        ]
        return max((_rows(subject, m, True) for m in masks if _is_square(subject, m)), default=0)
    return 0


def _chosen(subject: Subject, node: Node, name: str, place: int) -> object:
    """The number that ``where`` takes on one side, written there or held by a constant; None for no number."""
    given = node.facts.get(name)
    tensor = given == "tensor" and len(node.inputs) > 1
    return subject.graph[node.inputs[place]].facts.get("number") if tensor else given


def _is_square(subject: Subject, name: str) -> bool:
    shape = subject.graph[name].shape or ()
    return len(shape) in (2, 3) and subject.graph[name].dtype != ""


def _to_softmax(subject: Subject, node: Node) -> bool:
    """Whether a softmax over the last axis reads the value, through what leaves entries in place."""
    return any(
        reader.op == "softmax"
        or (
            (reader.op in ("dropout", "clone", "to", "add", "mul", "div", "masked_fill"))
            and _to_softmax(subject, reader)
        )
        for reader in subject.needed_readers(node)
    )


def _rows(subject: Subject, name: str, blocked: bool) -> int:
    """Rows along the last axis whose entries are all blocked: True or -inf, or, for ``blocked`` False, False."""
    node = subject.graph[name]
    counted = node.facts.get("rows")
    if isinstance(counted, Mapping):
        return int(counted["full" if blocked else "empty"])
    mask = _value(subject, node)
    if mask is None or mask.dim() < 2:
        return 0
    if mask.dtype.is_floating_point:
        whole = mask == -math.inf if blocked else mask != -math.inf
        return int(whole.all(-1).sum()) if blocked else 0
    whole = mask.bool() if blocked else ~mask.bool()
    return int(whole.all(-1).sum())


def _value(subject: Subject, node: Node) -> Tensor | None:
    """The value of a node that rests on buffers; None where an operator is not known here or it is large."""
    if node.numel > LARGEST or node.op == "parameter" or node.name in subject.reached:
        return None
    if node.op == "constant":
        buffers: Mapping[str, Tensor] = subject.once("buffers", lambda s: dict(s.model.named_buffers()))
        found = buffers.get(node.target)
        return found if found is not None and found.device.type != "meta" else None
    known = _EVALUATED.get(canonical(node.target).strip("_")) or _EVALUATED.get(node.op)
    if known is None or not node.inputs:
        return None
    values = [_value(subject, subject.graph[i]) for i in node.inputs]
    if any(v is None for v in values):
        return None
    with torch.no_grad():
        try:
            return known(values, node.facts)
        except (RuntimeError, TypeError, IndexError, KeyError):
            return None


def _slices(index: Any) -> Any:
    if isinstance(index, tuple) and index[:1] == ("slice",):
        return slice(*index[1:])
    if isinstance(index, tuple):
        return tuple(map(_slices, index))
    return Ellipsis if index == "..." else index


_EVALUATED: Mapping[str, Callable[[list[Any], Mapping[str, Any]], Tensor]] = {
    "invert": lambda v, f: ~v[0],
    "logical_not": lambda v, f: ~v[0].bool(),
    "bitwise_not": lambda v, f: ~v[0],
    "bool": lambda v, f: v[0].bool(),
    "float": lambda v, f: v[0].float(),
    "to": lambda v, f: v[0],
    "eq": lambda v, f: v[0] == f["scalar"],
    "ne": lambda v, f: v[0] != f["scalar"],
    "gt": lambda v, f: v[0] > f["scalar"],
    "lt": lambda v, f: v[0] < f["scalar"],
    "tril": lambda v, f: torch.tril(v[0], f["diagonal"]),
    "triu": lambda v, f: torch.triu(v[0], f["diagonal"]),
    "unsqueeze": lambda v, f: v[0].unsqueeze(f["dim"]),
    "getitem": lambda v, f: v[0][_slices(f["index"])],
    "masked_fill": lambda v, f: v[0].masked_fill(v[1], f["value"]),
    "clone": lambda v, f: v[0],
}
