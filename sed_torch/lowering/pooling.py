"""Rules of pooling, averages and other reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sed_torch.attributes import AdaptivePool, Pool, Reduce
from sed_torch.graph import Node
from sed_torch.lowering.axes import Atom, axes_in, canonical_layout, reshaped, without_axes
from sed_torch.lowering.keeping import lower_keep
from sed_torch.lowering.mixing import extent_of
from sed_torch.lowering.state import Lowering, NodeField, shape_of
from sed_torch.topology import clip_window

__all__ = ["lower_adaptive_pool", "lower_loss", "lower_pool", "lower_reduce", "positions_of"]


def lower_pool(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """A pool on the n last dimensions: Γ of the mean over the window, read at every stride. A maximum is taken as
    a mean of the same window. A pool over the whole map averages it: a constant is left.
    """
    a, x = node.of(Pool), inputs[0]
    n, rank = len(a.window), len(x.layout)
    extent = extent_of(low, node, x, n)
    out = _pooled_shape(node, n)
    window = clip_window(a.window, extent, a.dilation)
    if all(size == 1 for size in out) and math.prod(extent) > 1:
        return _average(low, node, x, range(rank - n, rank), extent, low_rank=rank)
    seen = low.on_axes(node, x, range(rank - n, rank))
    layout = canonical_layout(_pooled_full(node, x, out), n, x.layout[0] if rank > n + 1 else ())
    return low.emit(
        node, "pool", (seen.step,), n, layout, window=window, stride=a.stride, dilation=a.dilation
    )


def _pooled_shape(node: Node, n: int) -> tuple[int, ...]:
    return tuple((node.shape or ())[-n:])


def _pooled_full(node: Node, x: NodeField, out: tuple[int, ...]) -> tuple[int, ...]:
    if node.shape is not None:
        return node.shape
    lead = tuple(math.prod(a.size for a in d) for d in x.layout[: len(x.layout) - len(out)])
    return (*lead, *out)


def _average(
    low: Lowering, node: Node, x: NodeField, dims: Sequence[int], extent: Sequence[int], low_rank: int
) -> NodeField:
    """Average over whole dimensions: nothing but a constant is left along their axes."""
    counts = [0] * x.ndim
    for d, size in zip(dims, extent, strict=True):
        for axis in axes_in(x.layout[d]):
            counts[axis] = max(counts[axis], positions_of(x.layout[d], axis) or size)
    shape = shape_of(node)
    kept = tuple(() if i in {d % low_rank for d in dims} else dim for i, dim in enumerate(x.layout))
    layout = kept if len(kept) == len(shape) else reshaped(kept, shape)
    if not any(counts):
        return NodeField(x.step, x.ndim, layout)
    gone = frozenset(i for i, c in enumerate(counts) if c)
    return low.emit(node, "average", (x.step,), x.ndim, without_axes(layout, gone), counts=tuple(counts))


def positions_of(dim: tuple[Atom, ...], axis: int) -> int:
    """Positions along an axis within one dimension."""
    return math.prod(a.size for atom in dim for a in (atom.parts or (atom,)) if a.axis == axis)


def lower_adaptive_pool(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """A pool to a given size, as the pool of that ratio (windows that differ by one position are taken alike);
    to one position it averages the map.
    """
    x = inputs[0]
    n, rank = node.of(AdaptivePool).axes, len(x.layout)
    extent, out = extent_of(low, node, x, n), _pooled_shape(node, n)
    if not out:
        return lower_keep(low, node, inputs)
    if all(size == 1 for size in out):
        return _average(low, node, x, range(rank - n, rank), extent, low_rank=rank)
    window = tuple(-(-size // o) for size, o in zip(extent, out, strict=True))
    stride = tuple(max(1, size // o) for size, o in zip(extent, out, strict=True))
    seen = low.on_axes(node, x, range(rank - n, rank))
    layout = canonical_layout(_pooled_full(node, x, out), n, x.layout[0] if rank > n + 1 else ())
    return low.emit(node, "pool", (seen.step,), n, layout, window=window, stride=stride, dilation=(1,) * n)


def lower_reduce(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """Dimensions summed over, averaged or compared: the field is averaged along the axes that run there, and
    nothing but a constant is left along them. A maximum is taken as a mean.
    """
    x = inputs[0]
    rank = len(x.layout)
    named = node.of(Reduce).dims
    dims = tuple(d for d in (range(rank) if named is None else named) if d < rank)
    sizes = [math.prod(a.size for a in x.layout[d]) for d in dims]
    if node.shape is None:
        return x
    kept = tuple(() if i in dims else dim for i, dim in enumerate(x.layout))
    if len(node.shape) != rank:
        kept = tuple(dim for i, dim in enumerate(x.layout) if i not in dims)
    value = _average(low, node, x, dims, sizes, low_rank=rank)
    gone = frozenset(a for d in dims for a in axes_in(x.layout[d]))
    layout = (
        without_axes(kept, gone)
        if len(kept) == len(node.shape)
        else reshaped(without_axes(kept, gone), node.shape)
    )
    return NodeField(value.step, value.ndim, layout)


def lower_loss(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """A loss: one number is the average over all positions; one number a position leaves the map where it was."""
    x = low.with_others(node, inputs[0], inputs)
    if node.shape is None or math.prod(node.shape) > 1:
        return lower_keep(low, node, [x])
    rank = len(x.layout)
    sizes = [math.prod(a.size for a in d) for d in x.layout]
    return _average(low, node, x, range(rank), sizes, low_rank=rank)
