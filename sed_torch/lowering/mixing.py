"""Rules of convolutions, linear layers and embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sed_torch.attributes import Conv, Embedding, Linear
from sed_torch.graph import Node
from sed_torch.lowering.axes import CHANNEL, Atom, Layout, axes_in, canonical_layout, reshaped, without_axes
from sed_torch.lowering.state import ALL_AXES, Lowering, NodeField, mix_numbers, shape_of
from sed_torch.lowering.work import macs_of
from sed_torch.topology import clip_window

__all__ = [
    "extent_of",
    "lower_conv",
    "lower_conv_transpose",
    "lower_embedding",
    "lower_linear",
    "relayout_but_last",
]


def lower_conv(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """A convolution: an operator that scores, on its n last dimensions; leaves Γ(s·d)/Γ(0) of what it reads.

    Its weights are taken as independent. The result is (N, C, *positions). Taps that padding alone can fill are
    cut from the window. A data operand that is a parameter is a white map.
    """
    a = node.of(Conv)
    if a.transposed:
        return lower_conv_transpose(low, node, inputs)
    x = low.with_others(node, low.data(node), inputs)
    n = len(a.window)
    rank = len(x.layout)
    seen = low.on_axes(node, x, range(rank - n, rank))
    extent = extent_of(low, node, x, n)
    shape = shape_of(node)
    folded = _folded(low, node, n)
    numbers = mix_numbers(
        node.numel,
        low.held(node.name),
        a.c_in,
        a.c_out // folded,
        a.groups // folded,
        math.prod(a.window),
    )
    return low.emit(
        node,
        "mix",
        (seen.step,),
        n,
        canonical_layout(shape, n, x.layout[0] if rank > n + 1 else ()),
        window=clip_window(a.window, extent, a.dilation),
        stride=a.stride,
        dilation=a.dilation,
        **numbers,
    )


def _folded(low: Lowering, node: Node, n: int) -> int:
    """How many samples stand side by side as groups of channels (a kernel a sample); 1 as a rule."""
    batch, place = low.samples(node.name), len(shape_of(node)) - n - 1
    a = node.of(Conv)
    whole = a.groups % batch == 0 and a.c_out % batch == 0
    return batch if batch > 1 and place > 0 and low.axes.dims(node.name) == (place,) and whole else 1


def extent_of(low: Lowering, node: Node, x: NodeField, n: int) -> tuple[int, ...]:
    """Sizes of the map an operator slides over: the last n of its first operand."""
    shape = low.graph[node.inputs[0]].shape or ()
    return shape[-n:] if n else ()


def lower_conv_transpose(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """A transposed convolution: an operator that scores, one patch a phase of its stride; then the map is
    spread, Γ(d/s) where s divides d and zero between. MACs are counted at the positions it reads.
    """
    a, x = node.of(Conv), low.with_others(node, low.data(node), inputs)
    n, rank = len(a.window), len(x.layout)
    seen = low.on_axes(node, x, range(rank - n, rank))
    extent = extent_of(low, node, x, n)
    patches = _phases(a.window, a.stride, extent)
    outputs = node.numel / low.samples(node.name)
    value = low.emit(
        node,
        "mix",
        (seen.step,),
        n,
        canonical_layout(shape_of(node), n, x.layout[0] if rank > n + 1 else ()),
        window=clip_window(a.window, extent, (1,) * n),
        stride=(1,) * n,
        dilation=(1,) * n,
        patches=patches,
        positions=outputs / a.c_out,
        c_in=a.c_in,
        c_out=a.c_out,
        groups=a.groups,
        macs=macs_of(low.graph, node) / low.sharing(node),
    )
    if all(s == 1 for s in a.stride):
        return value
    return low.emit(node, "dilate", (value.step,), n, value.layout, suffix=":spread", factor=a.stride)


def _phases(
    window: Sequence[int], stride: Sequence[int], extent: Sequence[int]
) -> tuple[tuple[float, tuple[int, ...]], ...]:
    """Taps an output of each phase reads: a transposed convolution of width k and stride s has s phases an axis."""
    phases: list[tuple[float, tuple[int, ...]]] = [(1.0, ())]
    for k, s, size in zip(window, stride, extent, strict=True):
        counts: dict[int, float] = {}
        for phase in range(s):
            taps = min(-(-(k - phase) // s) if k > phase else 0, size)
            counts[taps] = counts.get(taps, 0.0) + 1.0 / s
        phases = [(w * share, (*taps, t)) for w, taps in phases for t, share in counts.items()]
    return tuple(p for p in phases if all(p[1]))


def lower_linear(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """A linear layer at each position: an operator that scores, with one tap. Positions in the dimension that it
    contracts are mixed away; those elsewhere stay.
    """
    a = node.of(Linear)
    return _mix_last(low, node, low.with_others(node, low.data(node), inputs), a.c_in, a.c_out)


def _mix_last(low: Lowering, node: Node, x: NodeField, c_in: int, c_out: int, suffix: str = "") -> NodeField:
    """Contract the last dimension with weights: positions elsewhere stay, those in it are mixed away."""
    mixed = axes_in(x.layout[-1]) if x.layout else frozenset()
    shape = shape_of(node)
    if not node.numel:  # on no rows at all, as the layer of a degree that no node has: nothing is mixed
        return NodeField(x.step, x.ndim, relayout_but_last(x.layout, shape), x.gate)
    layout = relayout_but_last(x.layout, shape)
    gone = mixed - frozenset().union(*(axes_in(d) for d in layout)) if mixed else frozenset()
    step = x
    if gone and x.ndim:
        # the mixed axes are read out by independent weights: what comes out is independent along them
        kept = [i for i in range(x.ndim) if i not in gone]
        axes = tuple((i, 1, 1) for i in kept)
        layout = _renumbered(layout, {old: new for new, old in enumerate(kept)})
        step = low.emit(node, "view", (x.step,), len(axes), layout, suffix=":read" + suffix, axes=axes)
    numbers = mix_numbers(node.numel, low.held(node.name), c_in, c_out, 1, 1.0)
    return low.emit_pointwise(node, step, layout, suffix=suffix, **numbers)


def relayout_but_last(layout: Layout, shape: tuple[int, ...]) -> Layout:
    """``layout`` on ``shape``, whose last dimension holds new channels."""
    if not shape:
        return ()
    last = (Atom(CHANNEL, shape[-1]),) if shape[-1] > 1 else ()
    if len(layout) == len(shape):
        return (*layout[:-1], last)
    return (*reshaped(layout[:-1], shape[:-1]), last)


def _renumbered(layout: Layout, new: Mapping[int, int]) -> Layout:
    def atom(a: Atom) -> Atom:
        axis = new.get(a.axis, CHANNEL) if a.axis >= 0 else a.axis
        return Atom(axis, a.size, a.step, tuple(atom(p) for p in a.parts))

    return tuple(tuple(atom(a) for a in dim) for dim in layout)


def lower_embedding(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """A row of the table for each token: positions stay, channels are new."""
    x, shape = inputs[0], shape_of(node)
    channel = (Atom(CHANNEL, shape[-1]),) if shape and shape[-1] > 1 else ()
    if node.of(Embedding).bag:
        return low.emit(node, "same", (x.step,), x.ndim, without_axes((x.layout[0], channel), ALL_AXES))
    return low.emit(node, "same", (x.step,), x.ndim, (*x.layout, channel))
