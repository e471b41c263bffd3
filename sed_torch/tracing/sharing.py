"""Whose memory a result lies in, and what a product has to copy first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sed_torch.ops import lookup
from sed_torch.tracing.tensors import storage_of

__all__ = ["copied_by", "fusable", "shared_by"]

_PRODUCTS = frozenset(["matmul", "__matmul__", "linear"])


def shared_by(name: str, result: Tensor, args: Any, kwargs: Any) -> Tensor | None:
    """The argument whose memory a result looks at: of a view, and of a call that wrote in place."""
    if not args or not isinstance(args[0], Tensor):
        return None
    same = result is args[0] or storage_of(result) == storage_of(args[0])
    return args[0] if same or _idle_dropout(name, args, kwargs) else None


def _idle_dropout(name: str, args: Any, kwargs: Any) -> bool:
    """A dropout that drops nothing hands back the tensor that it was given."""
    row = lookup(name)
    if row is None or row.name != "dropout" or not args:
        return False
    p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    training = args[2] if len(args) > 2 else kwargs.get("training", kwargs.get("train", True))
    return not training or p == 0


def copied_by(name: str, args: Any, is_constant: Callable[[Tensor], bool]) -> list[Tensor]:
    """Operands that a product copies first, as they do not lie in memory as it needs them.

    ``is_constant`` says whether an operand needs no gradient, whatever happens.
    """
    if name in _PRODUCTS:
        pair = [a for a in args[:2] if isinstance(a, Tensor) and a.layout is torch.strided]
        return _copied_by_product(pair[0], pair[1], is_constant) if len(pair) == 2 else []
    if name == "einsum":
        return _copied_by_einsum(args)
    if name == "multi_head_attention_forward":  # its projections take rows
        return [a for a in args[:3] if isinstance(a, Tensor) and not _viewable(a, (-1, a.shape[-1]))]
    if name == "scaled_dot_product_attention":  # the values, where no fused kernel does it
        return [a for a in args[2:3] if isinstance(a, Tensor) and not _viewable(a, (-1, *a.shape[-2:]))]
    return []


def _viewable(operand: Tensor, shape: Sequence[int]) -> bool:
    try:
        operand.view(shape)
    except RuntimeError:
        return False
    return True


def _copied_by_product(a: Tensor, b: Tensor, is_constant: Callable[[Tensor], bool]) -> list[Tensor]:
    """As ``at::matmul`` does it: a matrix of many rows, or one matrix for each place of the other dimensions."""
    large, small = (a, b) if a.dim() >= b.dim() else (b, a)
    if large.dim() < 3:
        return []
    if small.dim() <= 2 and (not is_constant(small) or (a is large and _rows_follow(large))):
        rows = large if large is a else large.mT
        return [] if _viewable(rows, (-1, rows.shape[-1])) else [large]
    if a.dim() == 1 or b.dim() == 1:
        return []
    places = torch.Size(torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]))  # type: ignore[no-untyped-call]
    return [
        t
        for t in (a, b)
        if not _viewable(t.expand(*places, *t.shape[-2:]), (-1, *t.shape[-2:])) and t.numel()
    ]


def _rows_follow(operand: Tensor) -> bool:
    sizes, strides = operand.shape, operand.stride()
    return all(strides[i] == strides[i + 1] * sizes[i + 1] for i in range(operand.dim() - 2))


def _copied_by_einsum(args: Any) -> list[Tensor]:
    """As ``at::einsum`` does it for two operands: one matrix for each place of the dimensions that both keep."""
    operands = args[1:] if len(args) == 3 else args[1] if len(args) == 2 else ()
    equation = args[0] if args and isinstance(args[0], str) else ""
    if len(operands) != 2 or "->" not in equation or "." in equation:
        return []
    names, out = equation.replace(" ", "").split("->")
    left, _, right = names.partition(",")
    shared = set(left) & set(right)
    if any(len(set(n)) != len(n) or len(n) != t.dim() for n, t in zip((left, right), operands, strict=True)):
        return []
    batch, summed = ([n for n in out if n in shared], [n for n in left if n in shared and n not in out])
    if not summed:
        return []
    kept = [[n for n in out if n in side and n not in shared] for side in (left, right)]
    orders = [[batch, kept[0], summed], [batch, summed, kept[1]]]
    return [
        tensor
        for tensor, side, order in zip(operands, (left, right), orders, strict=True)
        if not _lies_so(tensor, side, order)
    ]


def _lies_so(tensor: Tensor, names: str, order: Sequence[Sequence[str]]) -> bool:
    """Whether groups of dimensions in this order can be taken as one each without a copy."""
    sizes = dict(zip(names, tensor.shape, strict=True))
    there = [n for group in order for n in group]
    if set(there) != set(names):  # one that stands in one operand alone is summed over before
        return True
    return _viewable(
        tensor.permute([names.index(n) for n in there]),
        [math.prod(sizes[n] for n in group) for group in order],
    )


def fusable(args: Any, kwargs: Any) -> bool:
    """Whether a fused kernel takes these queries, keys and values as they lie in memory: torch's
    ``use_flash_attention_cpp``.
    """
    given = [*args[:3], *(kwargs.get(n) for n in ("query", "key", "value")[len(args) :])]
    if any(not isinstance(t, Tensor) or t.dim() not in (3, 4) or t.stride(-1) != 1 for t in given):
        return False
    mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
    same = len({t.shape[-1] for t in given}) == len({t.shape[0] for t in given}) == 1
    return same and (mask is None or mask.dim() in (2, given[0].dim()))
