"""Rules of matrix products, contractions and attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sed_torch.attributes import MultiHead
from sed_torch.graph import Node
from sed_torch.lowering.axes import (
    CHANNEL,
    EQUAL_ATOM,
    Atom,
    Layout,
    axes_in,
    broadcast,
    reshaped,
    without_axes,
)
from sed_torch.lowering.contracting import Contraction, Product, contraction_of
from sed_torch.lowering.keeping import lower_keep
from sed_torch.lowering.pooling import positions_of
from sed_torch.lowering.recurring import pointwise
from sed_torch.lowering.state import ALL_AXES, Lowering, NodeField, mix_numbers, shape_of
from sed_torch.lowering.work import attention_macs, extra_tokens, factors_of

__all__ = ["lower_attention", "lower_matmul", "lower_multi_head_attention"]


def lower_matmul(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """A sum of products: with weights it is a linear layer, with another map it mixes as attention does.

    The result is laid out by the dimensions that the operands bring along. Several operands are taken in the
    pairs in which torch contracts them. What is only added (``addmm``) and what only shapes (the offsets of
    ``grouped_mm``) stays on the path. Weights are taken as independent and of unit variance.
    """
    names = factors_of(node)
    shapes = [low.graph[n].shape or () for n in names]
    contraction = contraction_of(node, shapes)
    live = [low.values[n] for n in names if n in low.values]
    if contraction is None or not live:
        return lower_keep(low, node, inputs)
    operands: list[NodeField | None] = [low.values.get(n) for n in names]
    letters = list(contraction.letters)
    if not contraction.products:
        return _rearranged(low, node, live[0], contraction)
    for k, product in enumerate(contraction.products):
        suffix = "" if k == len(contraction.products) - 1 else f":{k}"
        operands.append(_multiply(low, node, contraction, product, operands, letters, suffix))
        letters.append(product.out)
    value = operands[-1]
    assert value is not None  # one of the factors is live
    return low.with_others(node, value, [v for v in inputs if v not in live])


def _rearranged(low: Lowering, node: Node, x: NodeField, contraction: Contraction) -> NodeField:
    """One operand: dimensions change places, or are summed over."""
    names, shape = contraction.letters[0], shape_of(node)
    gone = [d for d, c in enumerate(names) if c not in contraction.out]
    if len(x.layout) != len(names):
        return NodeField(x.step, x.ndim, reshaped(x.layout, shape))
    layout = tuple(x.layout[names.index(c)] for c in contraction.out)
    axes = frozenset().union(*(axes_in(x.layout[d]) for d in gone)) if gone else frozenset()
    if not axes:
        return NodeField(x.step, x.ndim, layout, x.gate)
    counts = _counts(x, axes)
    return low.emit(node, "average", (x.step,), x.ndim, without_axes(layout, axes), counts=counts)


def _counts(x: NodeField, axes: frozenset[int]) -> tuple[int, ...]:
    """Positions along each axis of the field that is summed over, 0 for the others."""
    return tuple(
        max((positions_of(d, axis) for d in x.layout if axis in axes_in(d)), default=0) if axis in axes else 0
        for axis in range(x.ndim)
    )


def _multiply(
    low: Lowering,
    node: Node,
    contraction: Contraction,
    product: Product,
    operands: Sequence[NodeField | None],
    letters: Sequence[str],
    suffix: str,
) -> NodeField | None:
    """One pair of a contraction; None when neither depends on the input."""
    sizes = contraction.sizes
    pair = [(operands[k], letters[k]) for k in (product.left, product.right)]
    live = [(v, names) for v, names in pair if v is not None]
    entries, reads = contraction.entries(product.out), contraction.entries(product.summed)
    macs = float(entries * reads) if product.summed else 0.0
    if not live:
        low.aside(node, macs, samples=1, suffix=suffix or ":aside")
        return None
    layout = _contracted_layout(live, product.out, [sizes[c] for c in product.out])
    if len(live) == 1:
        x, names = live[0]
        if not product.summed:  # a product with weights that sums over nothing mixes nothing
            return NodeField(x.step, x.ndim, layout)
        c_out = math.prod(sizes[c] for c in product.out if c not in names) or 1
        numbers = mix_numbers(entries, low.held(node.name), reads, max(c_out, 1), 1, 1.0)
        return low.emit_pointwise(node, x, layout, suffix=suffix, **numbers)
    return _attend(low, node, live, product.summed, layout, macs / low.sharing(node), suffix)


def _contracted_layout(live: Sequence[tuple[NodeField, str]], out: str, shape: Sequence[int]) -> Layout:
    dims: list[tuple[Atom, ...]] = []
    for c, size in zip(out, shape, strict=True):
        options = [
            v.layout[names.index(c)] for v, names in live if c in names and names.index(c) < len(v.layout)
        ]
        options = [o for o in options if math.prod(a.size for a in o) == size]
        dims.append(options[0] if options else ((Atom(CHANNEL, size),) if size > 1 else ()))
    return tuple(dims)


def _attend(
    low: Lowering,
    node: Node,
    live: Sequence[tuple[NodeField, str]],
    summed: str,
    layout: Layout,
    macs: float,
    suffix: str,
) -> NodeField:
    """A product of two maps. Contracting positions averages the map that is summed over (attention)."""
    values = [v for v, _ in live]
    source, names = live[-1]
    axes = frozenset(
        axis
        for c in summed
        for axis in axes_in(source.layout[names.index(c)] if names.index(c) < len(source.layout) else ())
    )
    if not axes:
        steps = tuple(v.step for v in values)
        return low.emit(node, "same", steps, values[0].ndim, layout, suffix=suffix, macs=macs)
    steps = (source.step, *(v.step for v in values[:-1]))
    layout = without_axes(layout, ALL_AXES)
    counts = _counts(source, axes)
    return low.emit(node, "attend", steps, source.ndim, layout, suffix=suffix, counts=counts, macs=macs)


def lower_attention(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """softmax(QKᵀ)V: the map of V averaged over its positions, laid out as Q."""
    q, v = inputs[0], inputs[min(2, len(inputs) - 1)]
    shape = shape_of(node)
    macs = attention_macs(low.graph, node) / low.sharing(node)
    axes = axes_in(v.layout[-2]) if len(v.layout) > 1 else frozenset()
    counts = tuple(positions_of(v.layout[-2], a) if a in axes else 0 for a in range(v.ndim))
    layout = without_axes(broadcast([q.layout], shape), ALL_AXES)
    layout = (
        (*layout[:-1], ((Atom(CHANNEL, shape[-1]),) if shape and shape[-1] > 1 else ())) if layout else layout
    )
    steps = (v.step, *(i.step for i in inputs if i.step != v.step))
    return low.emit(node, "attend", steps, v.ndim, layout, counts=counts, macs=macs)


def lower_multi_head_attention(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """nn.MultiheadAttention on (tokens, batch, channels): input projections, attention, output projection."""
    a = node.of(MultiHead)
    q, k, v = (low.values.get(i, inputs[0]) for i in node.inputs[:3])
    shapes = [low.graph[i].shape or () for i in node.inputs[:3]]
    tokens = [math.prod(s[:-1]) / low.samples(i) for i, s in zip(node.inputs, shapes, strict=False)]
    embed = a.embed
    widths = _packed(node.inputs[:3], a)
    sources = zip((q, k, v), tokens, (embed, a.k_in, a.v_in), widths, ("", ":k", ":v"), strict=True)
    steps: list[NodeField] = []
    for x, n, c_in, times, suffix in sources:
        if times:
            step = pointwise(low, node, x, suffix, positions=n, c_in=c_in, c_out=times * embed)
        steps.append(step)
    source = steps[2]
    dims = [d for d in source.layout if axes_in(d)]
    counts = tuple(max((positions_of(d, i) for d in dims), default=0) for i in range(source.ndim))
    kept = without_axes(q.layout, ALL_AXES)
    if node.inputs[0] not in low.values:  # learned queries: each reads the same average
        kept = tuple((Atom(EQUAL_ATOM, n),) if n > 1 else () for n in shapes[0][:-1])
        kept += ((Atom(CHANNEL, embed),) if embed > 1 else (),)
    attended = low.emit(
        node,
        "attend",
        tuple(dict.fromkeys((source.step, steps[0].step, steps[1].step))),
        source.ndim,
        kept,
        suffix=":attend",
        counts=counts,
        macs=2.0 * tokens[0] * (shapes[1][0] + extra_tokens(node)) * embed,
    )
    return pointwise(low, node, attended, ":out", positions=tokens[0], c_in=embed, c_out=a.out)


def _packed(names: Sequence[str], a: MultiHead) -> tuple[int, int, int]:
    """How many of the three projections each operand gets in one product: torch packs those of one tensor."""
    query, key, value = names
    if key != value or a.k_in != a.embed:
        return 1, 1, 1
    return (3, 0, 0) if query == key else (1, 2, 0)
