"""Whose memory a result lies in, how many bytes it has, and what needs a gradient: read off the graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from sed_torch.graph import BYTES, Graph, Node, itemsize
from sed_torch.ops import OPS

__all__ = ["BYTES", "Storages", "itemsize"]


@dataclass(frozen=True)
class Storages:
    """The memory of a graph's results.

    Attributes:
        graph: the graph.
        dtypes: node name → dtype that its result has under the precision looked at (see :mod:`.precision`).
        times: how many times as large the batch is as the traced one.
    """

    graph: Graph
    dtypes: Mapping[str, str]
    times: float = 1.0

    @cached_property
    def root(self) -> Mapping[str, str]:
        """Node → the node whose memory its result lies in: itself, unless it is a view or written in place."""
        found: dict[str, str] = {}
        for node in self.graph.nodes:
            same = node.shares and self.dtypes[node.shares] == self.dtypes[node.name]
            found[node.name] = found[node.shares] if same else node.name
        return found

    def bytes(self, name: str) -> int:
        """Bytes of the memory that the result of a node lies in."""
        return self.own_bytes(self.root[name])

    def own_bytes(self, name: str) -> int:
        """Bytes that the entries of a node's result take."""
        return self._sizes[name]

    @cached_property
    def _sizes(self) -> Mapping[str, int]:
        return {name: math.ceil(n * itemsize(self.dtypes[name])) for name, n in self._entries.items()}

    def copied_bytes(self, node: Node, name: str) -> int:
        """Bytes of the copy that a product makes of an operand: of each matrix that it reads, so many times."""
        shape, of = node.shape or (), self.graph[name].shape or ()
        size = self.own_bytes(name)
        spread = node.op == "matmul" and min(len(self.graph[i].shape or ()) for i in node.inputs[:2]) > 2
        places = math.prod(shape[:-2]) / max(math.prod(of[:-2]), 1) if spread else 1.0
        return math.ceil(size * max(places, 1.0))

    def entries(self, name: str) -> float:
        """Entries of a node's result at the batch looked at."""
        return self._entries[name]

    @cached_property
    def _entries(self) -> Mapping[str, float]:
        return {n.name: n.numel * (self.times if n.name in self.batched else 1.0) for n in self.graph.nodes}

    def resident(self, name: str) -> bool:
        """Whether the memory belongs to the model (a parameter or a buffer) and is there before the step."""
        node = self.graph[self.root[name]]
        return node.op == "parameter" or (node.op == "constant" and node.target != "constant")

    @cached_property
    def items(self) -> Mapping[str, tuple[Node, ...]]:
        """Node → those of its several results that are read."""
        found: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            if node.op == "item":
                found.setdefault(node.inputs[0], []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def batched(self) -> frozenset[str]:
        """Nodes whose size grows with the batch: those that an input leads to, and the inputs."""
        grown: set[str] = set()
        for node in self.graph.nodes:
            if node.op == "input" or any(i in grown for i in node.inputs):
                grown.add(node.name)
        return frozenset(grown)

    @cached_property
    def differentiable(self) -> frozenset[str]:
        """Nodes through which a gradient flows back to a trainable parameter."""
        return self._needing[0]

    @property
    def in_functions(self) -> frozenset[str]:
        """Nodes in autograd functions of the model's own that are given what needs a gradient: what is computed of it
        there, whatever by, is given one by the function itself.
        """
        return self._needing[1]

    @cached_property
    def _needing(self) -> tuple[frozenset[str], frozenset[str]]:
        trainable = {p.name for p in self.graph.parameters if p.trainable}
        found: set[str] = set()
        within: set[str] = set()
        for node in self.graph.nodes:
            if node.facts.get("grad") == "function":
                if any(i in found or i in within for i in node.inputs):
                    within.add(node.name)
                needs = node.name in within and _is_floating(node)
            elif node.op == "parameter":
                needs = node.target in trainable
            else:
                needs = _passes_gradients(node) and any(i in found for i in with_values(node))
            if needs:
                found.add(node.name)
        return frozenset(found), frozenset(within)


def with_values(node: Node) -> tuple[str, ...]:
    """Operands whose values are read; of others (``x.to(other)``, ``x.expand_as(other)``) a shape or a dtype is."""
    like = node.op in OPS and node.target.removesuffix("_") in OPS[node.op].shaped_like
    return node.inputs[:1] if like or node.op == "to" else node.inputs


def _passes_gradients(node: Node) -> bool:
    if node.facts.get("grad") is False:  # under torch.no_grad
        return False
    row = OPS.get(node.op)
    return _is_floating(node) and (row is None or not row.has("no_gradient") or row.has("flat"))


def _is_floating(node: Node) -> bool:
    return node.dtype == "" or node.dtype.startswith(("float", "bfloat", "complex"))
