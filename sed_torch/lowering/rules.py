"""The table from an operator's rule to the function that lowers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sed_torch.graph import Node
from sed_torch.lowering.attending import lower_attention, lower_matmul, lower_multi_head_attention
from sed_torch.lowering.keeping import lower_gate, lower_item, lower_keep, lower_norm
from sed_torch.lowering.merging import lower_add, lower_cat, lower_mul, lower_stack, lower_write
from sed_torch.lowering.mixing import lower_conv, lower_conv_transpose, lower_embedding, lower_linear
from sed_torch.lowering.moving import (
    lower_expand,
    lower_interpolate,
    lower_permute,
    lower_pixel_shuffle,
    lower_pixel_unshuffle,
    lower_reshape,
    lower_slice,
    lower_unfold,
)
from sed_torch.lowering.pooling import lower_adaptive_pool, lower_loss, lower_pool, lower_reduce
from sed_torch.lowering.recurring import lower_recurrent
from sed_torch.lowering.state import Lowering, NodeField

__all__ = ["LOWERINGS", "Rule"]


Rule = Callable[[Lowering, Node, list[NodeField]], NodeField]


LOWERINGS: Mapping[str, Rule] = {
    "keep": lower_keep,
    "gate": lower_gate,
    "norm": lower_norm,
    "conv": lower_conv,
    "conv_transpose": lower_conv_transpose,
    "linear": lower_linear,
    "pool": lower_pool,
    "adaptive_pool": lower_adaptive_pool,
    "reduce": lower_reduce,
    "add": lower_add,
    "mul": lower_mul,
    "cat": lower_cat,
    "stack": lower_stack,
    "reshape": lower_reshape,
    "permute": lower_permute,
    "slice": lower_slice,
    "expand": lower_expand,
    "pad": lower_keep,
    "interpolate": lower_interpolate,
    "pixel_shuffle": lower_pixel_shuffle,
    "pixel_unshuffle": lower_pixel_unshuffle,
    "unfold": lower_unfold,
    "matmul": lower_matmul,
    "attention": lower_attention,
    "multi_head_attention": lower_multi_head_attention,
    "recurrent": lower_recurrent,
    "embedding": lower_embedding,
    "loss": lower_loss,
    "write": lower_write,
    "item": lower_item,
    "opaque": lower_keep,
}
