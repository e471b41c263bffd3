"""Rules of sums, products, concatenations and writes: operands brought onto one map's axes."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sed_torch.attributes import Join, Write
from sed_torch.entropy import EQUAL
from sed_torch.graph import Node
from sed_torch.lowering.axes import (
    BATCH,
    CHANNEL,
    EQUAL_ATOM,
    Atom,
    Layout,
    axes_in,
    broadcast,
    is_identity,
)
from sed_torch.lowering.keeping import lower_keep
from sed_torch.lowering.state import Lowering, NodeField, main_of, relayout, resized_if_needed, shape_of

__all__ = ["lower_add", "lower_cat", "lower_mul", "lower_stack", "lower_write"]


def _aligned(low: Lowering, node: Node, values: list[NodeField]) -> tuple[NodeField, list[NodeField]]:
    """Operands with their fields on the same axes: those of the operand that carries the map."""
    carrier = main_of(values)
    main = _settled(low, node, carrier, values)
    others = []
    for k, v in enumerate(values):
        if v is carrier:
            others.append(main)
        elif v.ndim == 0 or not any(axes_in(d) for d in v.layout):
            others.append(v)
        else:
            others.append(_on_main_axes(low, node, main, v, k))
    return main, others


def _settled(low: Lowering, node: Node, main: NodeField, values: list[NodeField]) -> NodeField:
    """``main`` with every position read where it keeps each s-th only (``x[::2]``) and another operand does not."""
    dims = [d for d in main.layout if axes_in(d)]
    alone = all(len(d) == 1 and not d[0].parts for d in dims)
    steps = {d[0].axis: d[0].step for d in dims}
    if not alone or len(steps) < len(dims) or all(step == 1 for step in steps.values()):
        return main
    if not any(_finer(main, v) for v in values):
        return main
    axes = tuple((i, steps.get(i, 1), 1) for i in range(main.ndim))
    layout = tuple((Atom(d[0].axis, d[0].size),) if axes_in(d) else d for d in main.layout)
    return low.emit(
        node, "view", (main.step,), main.ndim, layout, suffix=":settled", axes=axes, gate=main.gate
    )


def _finer(main: NodeField, v: NodeField) -> bool:
    """Whether neighbouring entries of ``v`` lie closer together on its field than those of ``main`` do."""
    pairs = zip(reversed(main.layout), reversed(v.layout), strict=False)
    return any(a[-1].axis >= 0 and b[-1].axis >= 0 and b[-1].step < a[-1].step for a, b in pairs if a and b)


def _on_main_axes(low: Lowering, node: Node, main: NodeField, v: NodeField, place: int) -> NodeField:
    """``v`` along the axes of ``main``, dimension by dimension (both right-aligned, as broadcasting does)."""
    found: list[tuple[int, int, int]] = []
    for axis in range(main.ndim):
        found.append(_axis_of(main, v, axis))
    axes = tuple(found)
    if is_identity(axes, v.ndim):
        return v
    return low.emit(node, "view", (v.step,), main.ndim, main.layout, suffix=f":on{place}", axes=axes)


def _axis_of(main: NodeField, v: NodeField, axis: int) -> tuple[int, int, int]:
    for i in range(1, min(len(main.layout), len(v.layout)) + 1):
        for a, b in zip(main.layout[-i][::-1], v.layout[-i][::-1], strict=False):
            if a.axis == axis and b.axis >= 0:
                return (b.axis, max(1, b.step // a.step), 1)
            if a.axis == axis and b.axis == EQUAL_ATOM:
                return (-2, 1, 1)
    present = any(axis in axes_in(d) for d in main.layout)
    return (-2, 1, 1) if present else ((axis, 1, 1) if axis < v.ndim else (-1, 1, 1))


def lower_add(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """A sum: ΣΓ, the operands taken as independent. Operands are brought onto the axes of the one that carries
    the map. Exact for independent branches; what they share by a skip is left out.
    """
    if len(inputs) == 1:
        return _with_learned(low, node, inputs[0], "add") or lower_keep(low, node, inputs)
    main, aligned = _aligned(low, node, inputs)
    layout = broadcast([main.layout, *(v.layout for v in inputs)], shape_of(node))
    return low.emit(node, "add", tuple(v.step for v in aligned), main.ndim, layout)


def _with_learned(low: Lowering, node: Node, x: NodeField, kind: Literal["add", "mul"]) -> NodeField | None:
    """``x`` met by a map of parameters where ``x`` itself repeats one value; None where it does not.

    A learned constant is a map of independent entries, as every weight is: a style that scales it, or a code
    that is spread over positions and added to it, is no constant field.
    """
    learned = [low.graph[i].shape or () for i in node.inputs if i in low.learned]
    shape = shape_of(node)
    if not learned or (x.ndim and any(axes_in(d) for d in x.layout[2:])):
        return None
    layout = relayout(node, x)
    spread = [
        d
        for d, n in enumerate(shape)
        if n > 1 and d > 0 and _repeats(layout[d]) and any(_entries(s, d - len(shape)) > 1 for s in learned)
    ]
    if len(spread) < 2:  # one dimension may be the channels
        return None
    ndim = x.ndim + len(spread)
    axes = (*((i, 1, 1) for i in range(x.ndim)), *[EQUAL] * len(spread))
    layout = tuple(
        (Atom(x.ndim + spread.index(d), n),) if d in spread else layout[d] for d, n in enumerate(shape)
    )
    seen = low.emit(node, "view", (x.step,), ndim, layout, suffix=":spread", axes=axes)
    white = low.emit(node, "learned", (), ndim, layout, suffix=":learned")
    return low.emit(node, kind, (seen.step, white.step), ndim, layout)


def _repeats(dim: tuple[Atom, ...]) -> bool:
    return all(a.axis == EQUAL_ATOM for a in dim)


def _entries(shape: tuple[int, ...], place: int) -> int:
    return shape[place] if -place <= len(shape) else 1


def lower_mul(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """A product: Γ·Γ of two maps; a factor without positions, or one squashed into (0, 1), leaves Γ as it is.

    A map over a size that was read from the same map (a quotient, or a product with the reciprocal) is
    normalised by hand: Γ/Γ(0), as after a layer that normalises.
    """
    if len(inputs) == 1:
        return _with_learned(low, node, inputs[0], "mul") or lower_keep(low, node, inputs)
    if node.op == "div" and len(node.inputs) == 2 and len(inputs) == 2:
        inputs = [inputs[0], replace(inputs[1], gate="inverse")]
    maps = [v for v in inputs if any(axes_in(d) for d in v.layout) and not v.gate]
    if not maps:
        maps = [v for v in inputs if any(axes_in(d) for d in v.layout)][:1] or inputs[:1]
    layout = broadcast([maps[0].layout, *(v.layout for v in inputs)], shape_of(node))
    if len(maps) == 1:
        gate = all(v.gate for v in inputs)
        # a step of its own keeps the gate's branch on a live path
        steps = (maps[0].step, *(v.step for v in inputs if v is not maps[0]))
        sizes = [
            v for v in inputs if v.gate == "inverse" and v is not maps[0] and any(map(axes_in, v.layout))
        ]
        if sizes and _of_one_map(low, [maps[0], *sizes]):
            kept = low.emit(node, "same", steps, maps[0].ndim, layout, suffix=":size")
            return low.emit(node, "norm", (kept.step,), kept.ndim, kept.layout)
        if not sizes:
            return low.emit(node, "same", steps, maps[0].ndim, layout, gate=gate)
        maps.extend(sizes)  # a quotient of two maps that have nothing in common
    main, aligned = _aligned(low, node, maps)
    if main not in maps:
        layout = broadcast([main.layout, *(v.layout for v in inputs)], shape_of(node))
    gates = tuple(v.step for v in inputs if v.gate and v not in maps)
    product = low.emit(node, "mul", tuple(v.step for v in aligned), main.ndim, layout)
    if not gates:
        return product
    return low.emit(node, "same", (product.step, *gates), main.ndim, layout, suffix=":gate")


def _of_one_map(low: Lowering, values: list[NodeField]) -> bool:
    """Whether all of them are computed, without mixing channels or positions, from one value."""
    return bool(frozenset.intersection(*(_sources(low, v.step) for v in values)))


def _sources(low: Lowering, step: int) -> frozenset[int]:
    """Steps behind a value, back to the layers that mixed or pooled."""
    found, todo = set(), [step]
    while todo:
        i = todo.pop()
        if i not in found:
            found.add(i)
            if low.steps[i].kind not in ("mix", "pool", "input", "learned"):
                todo.extend(low.steps[i].inputs)
    return frozenset(found)


def lower_cat(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """Channels side by side: the mean of the Γ, weighted by channels. Along positions it is the same mean, an
    approximation (the seam between the parts is not seen).
    """
    dim = node.of(Join).dim
    sizes = [_size_along(low.graph[i], dim) for i in node.inputs if i in low.values]
    if any(sizes):  # what has no entries, as a cache at the start, adds none
        inputs = [v for v, s in zip(inputs, sizes, strict=True) if s]
        sizes = [s for s in sizes if s]
    main, aligned = _aligned(low, node, inputs)
    shape = shape_of(node)
    layout = broadcast([main.layout], shape)
    if len(layout) > dim and main.layout:
        layout = tuple(
            resized_if_needed(main.layout[i] if i < len(main.layout) else d, shape[i]) if i == dim else d
            for i, d in enumerate(layout)
        )
    if _of_samples(low, node) and dim < len(layout):
        layout = (*layout[:dim], (Atom(BATCH, shape[dim]),), *layout[dim + 1 :])
    if len(inputs) == 1:
        return NodeField(main.step, main.ndim, layout)
    return low.emit(
        node, "cat", tuple(v.step for v in aligned), main.ndim, layout, weights=tuple(float(s) for s in sizes)
    )


def _of_samples(low: Lowering, node: Node) -> bool:
    """Whether what is joined are the samples, which were taken one by one."""
    dim, batch = node.of(Join).dim, low.axes.batch
    return (
        batch > 1 and len(node.inputs) == batch == _size_along(node, dim) and dim in low.axes.dims(node.name)
    )


def _size_along(node: Node, dim: int) -> int:
    return node.shape[dim] if node.shape is not None and dim < len(node.shape) else 1


def lower_stack(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """A new dimension, of channels or of the samples that were taken one by one: the mean of the Γ."""
    dim = node.of(Join).dim
    main, aligned = _aligned(low, node, inputs)
    shape = shape_of(node)
    new = (Atom(BATCH if _of_samples(low, node) else CHANNEL, shape[dim]),) if shape[dim] > 1 else ()
    layout = (*main.layout[:dim], new, *main.layout[dim:])
    if len(inputs) == 1:
        return NodeField(main.step, main.ndim, layout)
    weights = (1.0,) * len(aligned)
    return low.emit(node, "cat", tuple(v.step for v in aligned), main.ndim, layout, weights=weights)


def lower_write(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """x[i] = y: what is written and what it is written into, weighted by their entries."""
    shape = shape_of(node)
    main, aligned = _aligned(low, node, inputs)
    base = low.values.get(node.inputs[0])
    whole = base if base is not None and len(base.layout) == len(shape) else main
    layout = (
        tuple(resized_if_needed(d, n) for d, n in zip(whole.layout, shape, strict=True))
        if len(whole.layout) == len(shape)
        else _placed(low, node, whole)
    )
    if len(inputs) == 1:
        return NodeField(main.step, main.ndim, layout)
    sizes = [low.graph[i].numel or 1 for i in node.inputs if i in low.values]
    weights = tuple(float(s) for s in sizes)
    return low.emit(node, "cat", tuple(v.step for v in aligned), main.ndim, layout, weights=weights)


def _placed(low: Lowering, node: Node, value: NodeField) -> Layout:
    """The layout of what a value of fewer dimensions is written into; along the others lie other values."""
    shape, batch = shape_of(node), low.axes.dims(node.name)
    region = node.of(Write).dims or tuple(range(len(shape)))
    new: list[tuple[Atom, ...]] = [
        (Atom(BATCH if d in batch else CHANNEL, n),) if n > 1 else () for d, n in enumerate(shape)
    ]
    for place, dim in zip(reversed(region), reversed(value.layout), strict=False):
        if 0 <= place < len(shape):
            new[place] = resized_if_needed(dim, shape[place])
    return tuple(new)
