"""What ``nn.MultiheadAttention`` keeps for its backward pass: one call to the tracer, a dozen operators inside."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sed_torch.attributes import MultiHead
from sed_torch.graph import Graph, Node

__all__ = ["heads_running", "pieces_of_heads", "split_first"]


def pieces_of_heads(
    graph: Graph, node: Node, *, device: str, size: float, times: float
) -> Mapping[str, float]:
    """Bytes kept beside the operands, by what they are.

    Queries, keys and values that come from one map are projected into one piece of memory. The product with the values
    is fused where no weights are asked for, and on the CPU where nothing is dropped.

    Args:
        graph: the traced graph.
        node: a ``multi_head_attention_forward``; operands are (positions, samples, channels) or (positions, channels).
        device: ``"cuda"`` or ``"cpu"``, whose kernels are meant.
        size: bytes of an entry.
        times: how many times as large the batch is as the traced one.
    """
    query, key, value = node.inputs[:3]
    shapes = [graph[name].shape or (1, 1) for name in (query, key, value)]
    attrs = node.of(MultiHead)
    wide = attrs.embed
    queries, keys, values = (math.prod(s[:-1]) * wide * size * times for s in shapes)
    heads = int(attrs.heads or node.facts.get("heads") or 1)
    samples = math.prod(shapes[0][1:-1]) * times
    maps = samples * heads * shapes[0][0] * (shapes[1][0] + attrs.extra)
    rate = node.facts.get("p") if node.facts.get("training", True) else 0.0
    asked = bool(node.facts.get("weights", True))
    if not asked and not (
        rate and device == "cpu"
    ):  # whose result lies as the queries do, for the projection to read
        found = {"projected": queries + keys + values, "result": queries}
        found["statistics"] = 4 * heads * math.prod(shapes[0][:-1]) * times
        masks = [graph[name] for name in node.inputs[3:] if graph[name].op != "parameter"]
        told = node.facts.get("causal") is True and node.facts.get("padding") is None
        if masks and not told:  # a kernel that is told of a causal mask does not read it
            rows = shapes[0][0] if any((m.shape or ())[-2:-1] == (shapes[0][0],) for m in masks) else 1
            found["mask"] = samples * heads * rows * shapes[1][0] * size
        return found
    found = {"attended": queries}  # laid out anew for the projection that follows
    wider = 1.0
    if not asked:  # one call does it all, in float32 whatever it is given
        wider = max(size, 4) / size
        size, queries, keys, values = (n * wider for n in (size, queries, keys, values))
    packed = {query: queries, key: keys, value: values}
    found["projected"] = (
        {1: queries + keys + values, 2: keys + values if key == value else values}.get(len(packed), values)
        if asked or wider == 1
        else values
    )
    found |= {"queries": queries, "weights": maps * size}
    if not asked:
        found["keys"] = keys
    elif len(packed) == 3:  # keys lie in memory of their own, and are read as they are
        found["projected keys"] = keys
    if rate:
        found |= {"mask": maps * (size if device == "cpu" else 1), "dropped": maps * size}
    return found


def split_first(graph: Graph, node: Node, name: str) -> bool:
    """Whether attention takes a parameter apart first, so that autocast keeps no copy of it for the next to read it."""
    if node.op != "multi_head_attention_forward" or len(set(node.inputs[:3])) == 1:
        return False
    return (graph[name].shape or (0,))[0] == 3 * node.of(MultiHead).embed


def heads_running(graph: Graph, node: Node, *, size: float, times: float) -> float:
    """Bytes held for a moment while it runs without gradients: projections, and the copy that tells them apart."""
    names = node.inputs[:3]
    wide = node.of(MultiHead).embed
    query, key, value = (math.prod((graph[n].shape or (1,))[:-1]) * wide * size * times for n in names)
    if len(set(names)) == 1:
        return 2 * (query + key + value)
    return query + (2 if names[1] == names[2] else 1) * (key + value)
