"""Graph → topology: each operator's rule is applied to shapes and layouts, and leaves steps of the calculus.

Operators without effect leave no step: their value is the one they read. An unknown operator passes on what
it reads; it is named in the coverage, not here.
"""

from __future__ import annotations

from sed_torch.graph import Graph, Node
from sed_torch.lowering.axes import input_layout
from sed_torch.lowering.keeping import lower_keep
from sed_torch.lowering.rules import LOWERINGS
from sed_torch.lowering.state import Lowering
from sed_torch.lowering.work import macs_of
from sed_torch.ops import OPS
from sed_torch.topology import Topology

__all__ = ["LOWERINGS", "lower"]


def lower(graph: Graph) -> Topology:
    """The topology of a traced graph.

    Only nodes on a path from an input to an output are lowered as such; mixing operators elsewhere are kept
    as dead steps, so that they can be reported.
    """
    low = Lowering(graph)
    for node in low.graph.nodes:
        if node.op == "input":
            _lower_input(low, node)
        elif node.name in low.reached:
            _lower_node(low, node)
        else:
            low.aside(node, macs_of(low.graph, node))
    outputs = tuple(dict.fromkeys(low.values[o].step for o in low.graph.outputs if o in low.values))
    return Topology(tuple(low.steps), outputs, low.graph.name)


def _lower_input(low: Lowering, node: Node) -> None:
    layout = input_layout(node.shape or (), low.axes.inputs.get(node.name))
    ndim = 1 + max((a.axis for dim in layout for a in dim), default=-1)
    low.values[node.name] = low.emit(node, "input", (), ndim, layout)


def _lower_node(low: Lowering, node: Node) -> None:
    inputs = [low.values[i] for i in node.inputs if i in low.values]
    if not inputs:
        return
    rule = OPS[node.op].rule if node.op in OPS else "keep"
    before = len(low.steps)
    value = low.with_work(node, LOWERINGS.get(rule, lower_keep)(low, node, inputs), before)
    low.values[node.name] = value
    if node.name in low.owned and low.steps[value.step].name != node.name:
        # parameters of an operator that leaves no step of its own (an embedding, a scale, a bias)
        low.values[node.name] = low.emit(
            node, "same", (value.step,), value.ndim, value.layout, gate=value.gate
        )
