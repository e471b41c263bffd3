"""Rules of matrix products, contractions and attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sed_torch.graph import Node
from sed_torch.lowering.axes import CHANNEL, EQUAL_ATOM, Atom, Layout, axes_in, broadcast, without_axes
from sed_torch.lowering.keeping import lower_keep
from sed_torch.lowering.pooling import positions_of
from sed_torch.lowering.recurring import pointwise
from sed_torch.lowering.state import ALL_AXES, Lowering, Value, mix_numbers, shape_of

__all__ = ["lower_attention", "lower_matmul", "lower_multi_head_attention"]


def lower_matmul(low: Lowering, node: Node, inputs: list[Value]) -> Value:
    if node.attrs.get("added"):
        return _matmul_operands(low, node, list(node.inputs[1:]))
    if node.op != "grouped_mm":
        return _matmul_operands(low, node, list(node.inputs))
    mixed = _matmul_operands(low, node, list(node.inputs[:2]))  # what follows says where the groups end
    return low.with_others(node, mixed, inputs[2:])


def _matmul_operands(low: Lowering, node: Node, names: list[str]) -> Value:
    live = [n for n in names if n in low.values]
    if not live:
        return lower_keep(low, node, [low.values[i] for i in node.inputs if i in low.values])
    shapes = [low.graph[n].shape or () for n in names]
    if len(names) != 2:
        return lower_keep(low, node, [low.values[n] for n in live])
    equation = node.attrs.get("equation") or _matmul_equation(*(len(s) for s in shapes))
    a, b, out = _parsed(equation, shapes, len(shape_of(node)))
    extents = {**dict(zip(a, shapes[0], strict=False)), **dict(zip(b, shapes[1], strict=False))}
    contracted = [c for c in dict.fromkeys(a + b) if c in a and c in b and c not in out]
    reads = math.prod(extents[c] for c in contracted)
    letters = {names[0]: a, names[1]: b} if names[0] != names[1] else {names[0]: a}
    layout = _contracted_layout(low, live, letters, out, shape_of(node))
    if len(live) == 1:
        return _matmul_with_weights(low, node, live[0], letters[live[0]], out, contracted, extents, layout)
    return _attend(low, node, live, letters, contracted, reads, layout)


def _matmul_equation(rank_a: int, rank_b: int) -> str:
    if rank_a == 1 and rank_b == 1:
        return "k,k->"
    batch = "abcdefgh"[: max(rank_a, rank_b) - 2]
    left = batch[len(batch) - max(rank_a - 2, 0) :] + ("mk" if rank_a > 1 else "k")
    right = batch[len(batch) - max(rank_b - 2, 0) :] + ("kn" if rank_b > 1 else "k")
    out = batch + ("m" if rank_a > 1 else "") + ("n" if rank_b > 1 else "")
    return f"{left},{right}->{out}"


def _parsed(equation: str, shapes: Sequence[tuple[int, ...]], rank_out: int) -> tuple[str, str, str]:
    left, _, out = equation.partition("->")
    a, _, b = left.partition(",")
    spare = "ZYXWVUTSRQPO"
    longest = max(
        (len(s) - len(t.replace("...", "")) for s, t in zip(shapes, (a, b), strict=False) if "..." in t),
        default=0,
    )
    a, b = (
        t.replace(
            "...", spare[longest - (len(s) - len(t.replace("...", ""))) : longest] if "..." in t else ""
        )
        for s, t in zip(shapes, (a, b), strict=False)
    )
    out = out.replace("...", spare[:longest])
    if "->" not in equation:
        out = "".join(sorted(c for c in set(a + b) if (a + b).count(c) == 1))
    return a, b, out


def _contracted_layout(
    low: Lowering, live: Sequence[str], letters: Mapping[str, str], out: str, shape: tuple[int, ...]
) -> Layout:
    dims: list[tuple[Atom, ...]] = []
    for c, size in zip(out, shape, strict=False):
        options = [
            low.values[n].layout[letters[n].index(c)]
            for n in live
            if c in letters[n] and letters[n].index(c) < len(low.values[n].layout)
        ]
        options = [o for o in options if math.prod(a.size for a in o) == size]
        dims.append(options[0] if options else ((Atom(CHANNEL, size),) if size > 1 else ()))
    return (
        tuple(dims) if len(dims) == len(shape) else tuple((Atom(CHANNEL, n),) if n > 1 else () for n in shape)
    )


def _matmul_with_weights(
    low: Lowering,
    node: Node,
    name: str,
    letters: str,
    out: str,
    contracted: Sequence[str],
    extents: Mapping[str, int],
    layout: Layout,
) -> Value:
    """One operand is a weight: a linear layer spelled as a product."""
    x = low.values[name]
    c_in = math.prod(extents[c] for c in contracted)
    c_out = math.prod(extents[c] for c in out if c not in letters) or 1
    if not contracted:  # an outer product with weights mixes nothing
        return Value(x.step, x.ndim, layout)
    numbers = mix_numbers(node, low.samples(node.name), c_in, max(c_out, 1), 1, 1.0)
    return low.emit_pointwise(node, x, layout, **numbers)


def _attend(
    low: Lowering,
    node: Node,
    live: Sequence[str],
    letters: Mapping[str, str],
    contracted: Sequence[str],
    reads: int,
    layout: Layout,
) -> Value:
    """A product of two maps. Contracting positions averages the map that is summed over (attention)."""
    values = [low.values[n] for n in live]
    macs = node.numel / low.samples(node.name) * reads
    source = values[-1]
    summed = frozenset(
        axis
        for c in contracted
        for axis in axes_in(source.layout[letters[live[-1]].index(c)] if c in letters[live[-1]] else ())
    )
    if not summed:
        main = values[0]
        steps = tuple(v.step for v in values)
        return low.emit(node, "same", steps, main.ndim, layout, macs=macs)
    counts = tuple(
        max((positions_of(d, axis) for d in source.layout if axis in axes_in(d)), default=0)
        if axis in summed
        else 0
        for axis in range(source.ndim)
    )
    value = low.emit(
        node,
        "attend",
        (source.step, *(v.step for v in values[:-1])),
        source.ndim,
        without_axes(layout, ALL_AXES),
        counts=counts,
        macs=macs,
    )
    return value


def lower_attention(low: Lowering, node: Node, inputs: list[Value]) -> Value:
    """softmax(QKᵀ)V: the map of V averaged over its positions, laid out as Q."""
    q, v = inputs[0], inputs[min(2, len(inputs) - 1)]
    shape = shape_of(node)
    named = [low.graph[i].shape or () for i in node.inputs[:3]]
    length = named[1][-2] if len(named) > 1 and len(named[1]) > 1 else 1
    width = named[0][-1] if named[0] else 1
    macs = math.prod(shape[:-1]) * length * (width + shape[-1]) / low.samples(node.name) if shape else 0.0
    axes = axes_in(v.layout[-2]) if len(v.layout) > 1 else frozenset()
    counts = tuple(positions_of(v.layout[-2], a) if a in axes else 0 for a in range(v.ndim))
    layout = without_axes(broadcast([q.layout], shape), ALL_AXES)
    layout = (
        (*layout[:-1], ((Atom(CHANNEL, shape[-1]),) if shape and shape[-1] > 1 else ())) if layout else layout
    )
    steps = (v.step, *(i.step for i in inputs if i.step != v.step))
    return low.emit(node, "attend", steps, v.ndim, layout, counts=counts, macs=macs)


def lower_multi_head_attention(low: Lowering, node: Node, inputs: list[Value]) -> Value:
    """nn.MultiheadAttention on (tokens, batch, channels): input projections, attention, output projection."""
    a = node.attrs
    q, k, v = (low.values.get(i, inputs[0]) for i in node.inputs[:3])
    shapes = [low.graph[i].shape or () for i in node.inputs[:3]]
    tokens = [math.prod(s[:-1]) / low.samples(i) for i, s in zip(node.inputs, shapes, strict=False)]
    embed = a["embed"]
    widths = _packed(node.inputs[:3], a)
    sources = zip((q, k, v), tokens, (embed, a["k_in"], a["v_in"]), widths, ("", ":k", ":v"), strict=True)
    steps: list[Value] = []
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
        macs=2.0 * tokens[0] * shapes[1][0] * embed,
    )
    return pointwise(low, node, attended, ":out", positions=tokens[0], c_in=embed, c_out=a["out"])


def _packed(names: Sequence[str], a: Mapping[str, Any]) -> tuple[int, int, int]:
    """How many of the three projections each operand gets in one product: torch packs those of one tensor."""
    query, key, value = names
    if key != value or a["k_in"] != a["embed"]:
        return 1, 1, 1
    return (3, 0, 0) if query == key else (1, 2, 0)
