"""Rules of operators that move positions: reshape, permute, slices, repeats, resizing, windows."""

from __future__ import annotations

from collections.abc import Sequence

from sed_torch.attributes import Cut, Expand, Permute, Pixel, Slice, Unfold
from sed_torch.graph import Node
from sed_torch.lowering.axes import (
    CHANNEL,
    EQUAL_ATOM,
    Atom,
    Layout,
    axes_in,
    canonical_layout,
    permuted,
    read_axes,
    reshaped,
    resized,
)
from sed_torch.lowering.keeping import lower_keep
from sed_torch.lowering.mixing import extent_of
from sed_torch.lowering.state import Lowering, NodeField, main_of, resized_if_needed, shape_of

__all__ = [
    "lower_expand",
    "lower_interpolate",
    "lower_permute",
    "lower_pixel_shuffle",
    "lower_pixel_unshuffle",
    "lower_reshape",
    "lower_slice",
    "lower_unfold",
]


def lower_reshape(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """Γ unchanged: positions are found again in row-major order (exact wherever sizes divide)."""
    x = inputs[0]
    return NodeField(x.step, x.ndim, reshaped(x.layout, shape_of(node)), x.gate)


def lower_permute(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """Γ unchanged: dimensions change places."""
    x = inputs[0]
    order = node.of(Permute).order
    layout = permuted(x.layout, order) if len(order) == len(x.layout) else reshaped(x.layout, shape_of(node))
    return NodeField(x.step, x.ndim, layout, x.gate)


def lower_slice(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """Γ unchanged, read at every ``step``-th position; an index by a tensor is taken as a run of positions."""
    dims = node.of(Slice).dims
    if node.shape is None or dims is None or any(d >= len(inputs[0].layout) for d, _ in dims):
        return lower_keep(low, node, inputs)
    x = low.with_others(node, inputs[0], inputs)
    if len(dims) != len(node.shape):
        return NodeField(x.step, x.ndim, reshaped(x.layout, node.shape), x.gate)
    layout = tuple(
        _cut(x.layout[d] if d >= 0 else (), step, n) for (d, step), n in zip(dims, node.shape, strict=True)
    )
    return NodeField(x.step, x.ndim, layout, x.gate)


def _cut(dim: tuple[Atom, ...], step: int, size: int) -> tuple[Atom, ...]:
    if step == 1:
        return resized_if_needed(dim, size)
    return resized(dim, size, step)


def lower_expand(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """Entries repeated: along a new or single dimension all are equal; ``repeat_interleave`` upsamples."""
    if node.shape is None:
        return low.with_others(node, main_of(inputs), inputs)
    x = inputs[0]
    shape = shape_of(node)
    a = node.of(Expand)
    if a.repeats is not None and a.dim is not None:
        return _repeat_each(low, node, x, a.dim, a.repeats)
    padded: Layout = (
        ((),) * (len(shape) - len(x.layout)) + x.layout if len(shape) >= len(x.layout) else x.layout
    )
    if len(padded) != len(shape):
        return NodeField(x.step, x.ndim, reshaped(x.layout, shape), x.gate)
    layout = tuple(resized_if_needed(d, n) for d, n in zip(padded, shape, strict=True))
    return NodeField(x.step, x.ndim, layout, x.gate)


def _repeat_each(low: Lowering, node: Node, x: NodeField, dim: int, repeats: int) -> NodeField:
    """``repeat_interleave``: along an axis of the field it is nearest upsampling; elsewhere entries repeat."""
    shape, cut = shape_of(node), x.layout[dim]
    whole = len(cut) == 1 and cut[0].axis >= 0 and not cut[0].parts
    elsewhere = any(axes_in(d) & axes_in(cut) for i, d in enumerate(x.layout) if i != dim)
    if repeats == 1 or not whole or elsewhere:
        layout = tuple(resized_if_needed(d, n) for d, n in zip(x.layout, shape, strict=True))
        return NodeField(x.step, x.ndim, layout, x.gate)
    axis, step = cut[0].axis, cut[0].step
    if step > 1:
        axes = tuple((i, step if i == axis else 1, 1) for i in range(x.ndim))
        x = low.emit(node, "view", (x.step,), x.ndim, x.layout, suffix=":view", axes=axes, gate=x.gate)
    layout = (*x.layout[:dim], (Atom(axis, shape[dim]),), *x.layout[dim + 1 :])
    factor = tuple(float(repeats) if i == axis else 1.0 for i in range(x.ndim))
    return low.emit(node, "upsample", (x.step,), x.ndim, layout, factor=factor, gate=x.gate)


def lower_interpolate(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """Upsampling by the ratio of sizes, on (N, C, *positions): Γ(d/s), linear between the known lags, whatever
    the mode of interpolation. Downsampling reads the map at every s-th position.
    """
    x = inputs[0]
    before = next(low.graph[i].shape for i in node.inputs if i in low.values) or ()
    after = shape_of(node)
    if len(before) != len(after):
        return lower_keep(low, node, inputs)
    dims = list(range(2, len(after)))
    factor = tuple(after[d] / before[d] for d in dims)
    if all(f == 1 for f in factor):
        return x
    seen = low.on_axes(node, x, dims)
    layout = canonical_layout(after, len(dims), x.layout[0])
    # an axis of one position is repeated: nothing but a constant along it, and `view` has said so already
    known = tuple(1.0 if before[d] == 1 else f for d, f in zip(dims, factor, strict=True))
    if all(before[d] == 1 for d in dims):
        equal = tuple(
            (Atom(EQUAL_ATOM, after[i]),) if i in dims and after[i] > 1 else d for i, d in enumerate(layout)
        )
        return NodeField(x.step, x.ndim, equal, x.gate)
    return low.emit(node, "upsample", (seen.step,), len(dims), layout, factor=known)


def lower_pixel_shuffle(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """(N, C·r², H, W) → (N, C, r·H, r·W): neighbours come from different channels, so Γ(d/r) where r divides d
    and zero between.
    """
    x, r = inputs[0], node.of(Pixel).factor
    rank = len(x.layout)
    seen = low.on_axes(node, x, (rank - 2, rank - 1))
    layout = canonical_layout(shape_of(node), 2, x.layout[0] if rank > 3 else ())
    return low.emit(node, "dilate", (seen.step,), 2, layout, factor=(r, r))


def lower_pixel_unshuffle(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """(N, C, r·H, r·W) → (N, C·r², H, W): each channel reads every r-th position, Γ(r·d)."""
    x, r = inputs[0], node.of(Pixel).factor
    rank = len(x.layout)
    axes = read_axes(x.layout, (rank - 2, rank - 1))
    strided = tuple((a, s * r, d) if a >= 0 and d == 1 else (a, s, d) for a, s, d in axes)
    layout = canonical_layout(shape_of(node), 2, x.layout[0] if rank > 3 else ())
    return low.emit(node, "view", (x.step,), 2, layout, axes=strided)


def lower_unfold(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """im2col: (N, C, *positions) → (N, C·k, patches). The taps of a patch stand side by side as channels."""
    x, shape = inputs[0], shape_of(node)
    if "dim" in node.attrs:
        return _sliding_window(node, x)
    if len(x.layout) != len(shape) + 1:
        return lower_keep(low, node, inputs)
    rank = len(x.layout)
    seen = low.on_axes(node, x, (rank - 2, rank - 1))
    a = node.of(Unfold)
    grid = _patches(a, extent_of(low, node, x, 2))
    patches = tuple(Atom(i, n, s) for i, (n, s) in enumerate(zip(grid, a.stride, strict=True)) if n > 1)
    lead = x.layout[: rank - 3]
    return NodeField(seen.step, seen.ndim, (*lead, (Atom(CHANNEL, shape[-2]),), patches))


def _patches(a: Unfold, extent: Sequence[int]) -> tuple[int, ...]:
    """Places of a window along each axis."""
    numbers = zip(extent, a.window, a.stride, a.padding, a.dilation, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in numbers)


def _sliding_window(node: Node, x: NodeField) -> NodeField:
    """``Tensor.unfold``: a dimension becomes the places of a window, and a new last one runs within it."""
    a = node.of(Cut)
    cut = x.layout[a.dim]
    places = resized(cut, shape_of(node)[a.dim], a.step)
    layout = (*x.layout[: a.dim], places, *x.layout[a.dim + 1 :], resized_if_needed(cut, a.size))
    return NodeField(x.step, x.ndim, layout, x.gate)
