"""Rules of operators that leave positions where they are: activations, gates, normalisation."""

from __future__ import annotations

from sed_torch.attributes import Item, Slice
from sed_torch.graph import Node
from sed_torch.lowering.state import Lowering, NodeField, main_of, relayout
from sed_torch.ops import OPS, canonical

__all__ = ["lower_gate", "lower_item", "lower_keep", "lower_norm"]


def lower_keep(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """Γ unchanged: activations and all that works entry by entry; dimensions keep their positions.

    With several operands the one with most spatial dimensions carries the map, the others stay on the path. An
    activation is taken as leaving correlations alone: exact for linear functions, an approximation for others.
    """
    main = inputs[0] if len(inputs) == 1 else low.with_others(node, main_of(inputs), inputs)
    if node.shape is None:
        return main
    gate = False if node.op == "unknown" else "inverse" if inverts(node) else main.gate
    return NodeField(main.step, main.ndim, relayout(node, main), gate)


def inverts(node: Node) -> bool:
    """Whether an operator leaves what is large where its operand is small."""
    op = OPS.get(node.op)
    return op is not None and op.has("inverts")


def lower_gate(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """Γ unchanged, and the result is marked as a factor between 0 and 1, which leaves Γ of what it multiplies.

    Exact for a constant factor; a gate that varies over positions is taken as smooth.
    """
    value = lower_keep(low, node, inputs)
    return NodeField(value.step, value.ndim, value.layout, gate=True)


def lower_norm(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """Γ/Γ(0): the map at unit variance, whatever it is normalised over; the scale and shift that are learned
    are taken as one and zero, as layers begin.
    """
    main = low.with_others(node, inputs[0], inputs)
    layout = relayout(node, main) if node.shape is not None else main.layout
    return low.emit(node, "norm", (main.step,), main.ndim, layout)


def lower_item(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """One of several results. Of tensors broadcast to one another, each is the operand at its place; of those that a
    dimension was taken apart into, each has the others.
    """
    source = low.graph[node.inputs[0]]
    index = node.of(Item).index
    if canonical(source.target) == "broadcast_tensors" and 0 <= index < len(source.inputs):
        inputs = [low.values.get(source.inputs[index], inputs[0])]
    value, dims = inputs[0], source.of(Slice).dims if source.op == "unbind" else None
    if dims is not None and len(dims) + 1 == len(value.layout):
        return NodeField(value.step, value.ndim, tuple(value.layout[d] for d, _ in dims), value.gate)
    return lower_keep(low, node, inputs)
