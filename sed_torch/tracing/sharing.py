"""Whose memory a result lies in, and what a product has to copy first."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sed_torch.ops import lookup
from sed_torch.tracing.tensors import storage_of

__all__ = ["FOLDING", "folds", "shared_by"]

FOLDING = {
    **dict.fromkeys(("matmul", "__matmul__", "linear"), slice(2)),
    "scaled_dot_product_attention": slice(2, 3),  # the values, where no fused kernel does it
}
"""Products that take all but the last two dimensions as one → their operands that have to lie so."""


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


def folds(operand: Tensor) -> bool:
    """Whether a product can take all but the last two dimensions as one without a copy of the operand."""
    if operand.dim() < 3 or operand.is_contiguous():
        return True
    try:
        operand.view(-1, *operand.shape[-2:])
    except RuntimeError:
        return False
    return True
