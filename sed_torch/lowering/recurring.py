"""Rules of recurrent layers."""

from __future__ import annotations

import math

from sed_torch.attributes import Recurrent
from sed_torch.graph import Node
from sed_torch.lowering.mixing import relayout_but_last
from sed_torch.lowering.state import Lowering, NodeField

__all__ = ["lower_recurrent", "pointwise"]


def lower_recurrent(low: Lowering, node: Node, inputs: list[NodeField]) -> NodeField:
    """Each layer and direction mixes its input and its state into the gates at every position."""
    a, x, states = node.of(Recurrent), inputs[0], inputs[1:]
    shape = next(low.graph[i].shape for i in node.inputs if i in low.values) or ()
    positions = math.prod(shape[:-1]) / low.samples(node.name) if shape else 1.0
    width, step = max(a.gates * a.hidden, 1), low.with_others(node, x, states[1:])
    for place, (c_in, c_state, projection) in enumerate(a.layers):
        before = states[0] if states and place == 0 else step
        name = "" if place == 0 else f":in{place}"
        new = pointwise(low, node, step, name, c_in=c_in, c_out=width, positions=positions)
        old = pointwise(low, node, before, f":state{place}", c_in=c_state, c_out=width, positions=positions)
        step = low.emit(node, "add", (new.step, old.step), step.ndim, step.layout, suffix=f":sum{place}")
        if projection:
            step = pointwise(
                low,
                node,
                step,
                f":projection{place}",
                c_in=a.hidden,
                c_out=projection,
                positions=positions,
            )
    layout = step.layout
    if node.shape is not None:
        layout = relayout_but_last(layout, node.shape)
    return NodeField(step.step, step.ndim, layout)


def pointwise(
    low: Lowering, node: Node, x: NodeField, suffix: str, *, positions: float, c_in: int, c_out: int
) -> NodeField:
    """A linear layer at each position, as a part of a larger operator."""
    return low.emit_pointwise(
        node,
        x,
        x.layout,
        suffix=suffix,
        positions=positions,
        c_in=max(c_in, 1),
        c_out=c_out,
        macs=positions * c_in * c_out,
    )
