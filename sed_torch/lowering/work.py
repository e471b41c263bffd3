"""Multiply-accumulates of an operator, by its shapes alone, whatever its operands are computed from.

Counted are sums of products: convolutions, linear layers, products of matrices, attention, recurrent layers,
distances of all pairs. What only multiplies or only adds (activations, norms, masks) counts nothing, as in
torch's own counter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from sed_torch.attributes import Conv, Linear, Matmul, MultiHead, Recurrent
from sed_torch.graph import Graph, Node
from sed_torch.lowering.contracting import contraction_of
from sed_torch.ops import OPS, RuleName

__all__ = ["attention_macs", "extra_tokens", "factors_of", "macs_of"]


def macs_of(graph: Graph, node: Node) -> float:
    """Multiply-accumulates of one call, over the whole batch; 0 where an operator does no such work."""
    op = OPS.get(node.op)
    if op is None:
        return 0.0
    if node.op == "cdist":
        return float(node.numel * (_shapes(graph, node)[0] or (0,))[-1])
    count = _COUNTS.get(op.rule)
    return float(count(graph, node)) if count is not None and node.inputs else 0.0


def _shapes(graph: Graph, node: Node) -> list[tuple[int, ...]]:
    return [graph[i].shape or () for i in node.inputs]


def factors_of(node: Node) -> tuple[str, ...]:
    """Names of the operands that a node of the rule ``matmul`` multiplies: not what it adds, nor its offsets."""
    if node.of(Matmul).added:
        return node.inputs[1:]
    return node.inputs[:2] if node.op == "grouped_mm" else node.inputs


def _conv(graph: Graph, node: Node) -> float:
    a = node.of(Conv)
    if node.op == "conv_transpose" or a.transposed:
        return _conv_transpose(graph, node)
    return float(node.numel * a.c_in * math.prod(a.window))


def _conv_transpose(graph: Graph, node: Node) -> float:
    """Each entry of the input meets each output channel of its group at each place of the window."""
    a = node.of(Conv)
    entries = graph[node.inputs[0]].numel
    return float(entries * a.c_out // a.groups * math.prod(a.window))


def _linear(graph: Graph, node: Node) -> float:
    return float(node.numel * node.of(Linear).c_in)


def _matmul(graph: Graph, node: Node) -> float:
    shapes = [graph[i].shape or () for i in factors_of(node)]
    if node.op == "grouped_mm" and [len(s) for s in shapes] == [2, 2]:
        return float(shapes[0][0] * shapes[0][1] * shapes[1][1])  # each row of the sum belongs to one group
    if node.op == "outer":
        return float(node.numel)  # a column times a row: sums of one product
    contraction = contraction_of(node, shapes)
    return float(contraction.macs) if contraction is not None else 0.0


def attention_macs(graph: Graph, node: Node) -> float:
    """Q·Kᵀ and its product with V."""
    shapes, out = _shapes(graph, node), node.shape or ()
    length = shapes[1][-2] if len(shapes) > 1 and len(shapes[1]) > 1 else 1
    width = shapes[0][-1] if shapes and shapes[0] else 1
    return float(math.prod(out[:-1]) * length * (width + out[-1])) if out else 0.0


def extra_tokens(node: Node) -> int:
    """Keys that multi-head attention adds to those it is given: a learned bias, a zero."""
    return node.of(MultiHead).extra


def _multi_head(graph: Graph, node: Node) -> float:
    a = node.of(MultiHead)
    shapes = _shapes(graph, node)[:3]
    tokens = [math.prod(s[:-1]) for s in shapes]
    embed = a.embed
    projections = embed * sum(n * c for n, c in zip(tokens, (embed, a.k_in, a.v_in), strict=True))
    attention = 2 * tokens[0] * (shapes[1][0] + extra_tokens(node)) * embed
    return float(projections + attention + tokens[0] * embed * a.out)


def _recurrent(graph: Graph, node: Node) -> float:
    a, shape = node.of(Recurrent), graph[node.inputs[0]].shape or ()
    positions, width = math.prod(shape[:-1]), a.gates * a.hidden
    layers = (width * (c_in + state) + a.hidden * projection for c_in, state, projection in a.layers)
    return float(positions * sum(layers))


def _loss(graph: Graph, node: Node) -> float:
    """``linear_cross_entropy(input, weight, target)`` is a linear layer first."""
    if node.op != "linear_cross_entropy":
        return 0.0
    x, weight = _shapes(graph, node)[:2]
    return float(math.prod(x[:-1]) * math.prod(weight))  # (classes, …, channels)


_COUNTS: Mapping[RuleName, Callable[[Graph, Node], float]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "linear": _linear,
    "matmul": _matmul,
    "attention": attention_macs,
    "multi_head_attention": _multi_head,
    "recurrent": _recurrent,
    "loss": _loss,
}
