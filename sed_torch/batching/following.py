"""One pass through a graph, giving each dimension its axes."""

from __future__ import annotations

from sed_torch.attributes import Item, Recurrent, Slice
from sed_torch.batching.axes import FIXED, WALKED, Dim, Dims, entries
from sed_torch.batching.mixing import BATCH_RULES, Rules, left_by
from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS

__all__ = ["Follower"]


class Follower(Rules):
    """Goes through a graph once, noting what is done along each axis."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        for node in graph.nodes:
            self._visit(node)

    def _visit(self, node: Node) -> None:
        # what has no entries (the start of a cache) says nothing of axes
        inputs = [i for i in node.inputs if i in self.dims and 0 not in (self.graph[i].shape or ())]
        live = [i for i in inputs if i in self.live]
        if node.op == "input" or any(i in self.live for i in node.inputs):
            self.live.add(node.name)
        dropped: frozenset[int] = frozenset().union(*(self.dropped.get(i, frozenset()) for i in node.inputs))
        if dropped:
            self.dropped[node.name] = dropped
        gathered: frozenset[int] = frozenset().union(*(self._gathered_of(i) for i in node.inputs))
        if gathered:
            self.gathered[node.name] = gathered
        packed = next((self.packed[i] for i in node.inputs if i in self.packed), None)
        if packed is not None:
            self.packed[node.name] = packed
        if node.shape is None:
            if any(i in self.live for i in node.inputs):
                self._several(node, live)
            return
        if node.op in ("input", "parameter", "constant") or not inputs or 0 in node.shape:
            self.dims[node.name] = tuple(self.fresh(n) for n in node.shape)
            if node.op == "parameter":
                self.mark(self.dims[node.name], FIXED, node, "fixes")
            elif node.inputs and not inputs and node.op != "item":
                self.lost.add(node.name)
            if node.op == "item":
                self._item(node)
            return
        rule = OPS[node.op].rule if node.op in OPS else ""
        visit = BATCH_RULES.get(rule, Rules._like_inputs if rule else Rules.foreign)
        dims = visit(self, node, inputs)
        self.dims[node.name] = self._sized(node, dims)

    def _sized(self, node: Node, dims: Dims | None) -> Dims:
        """``dims`` where they have the node's sizes; what is of another size is an axis of its own."""
        shape = node.shape or ()
        if dims is None or len(dims) != len(shape):
            self.lost.add(node.name)
            return tuple(self.fresh(n) for n in shape)
        return tuple(d if entries(d) == n else self._cut(d, n) for d, n in zip(dims, shape, strict=True))

    def _several(self, node: Node, inputs: list[str]) -> None:
        """A call with several results: what it does along its operands is noted here, its items ask for the rest."""
        rule = OPS[node.op].rule if node.op in OPS else ""
        if node.op == "_pack_padded_sequence" and inputs:
            x, place = self.dims[inputs[0]], _batch_place(node)
            if len(x) > place:
                self.mark([x[1 - place]], WALKED, node, "packs the steps of")
                self.packed[node.name] = x[place]
                for lengths in inputs[1:2]:
                    self.unify(x[place], self.dims[lengths][0])
        elif rule == "recurrent":
            self._recurrent(node, inputs)
        elif rule == "multi_head_attention":
            self._multi_head(node, inputs)
        elif rule == "reduce":
            self._reduce(node, inputs)

    def _item(self, node: Node) -> None:
        source = self.graph[node.inputs[0]] if node.inputs else None
        if source is None:
            return
        rule = OPS[source.op].rule if source.op in OPS else ""
        first = next((self.dims[i] for i in source.inputs if i in self.dims), None)
        shape = node.shape or ()
        self.lost.add(node.name)
        if first is None:
            return
        if source.name in self.packed:
            self._of_packed(node, source, self.packed[source.name])
        elif rule == "slice" and source.op == "unbind":
            self._unbound(node, source, first)
        elif rule == "recurrent" and len(first) == 3 and (time := source.of(Recurrent).time) is not None:
            batch = first[1 - time]
            at = 1 - time if node.of(Item).index == 0 else 1
            if len(shape) == 3 and shape[at] == entries(batch):
                self._set(node, at, batch)
        elif rule == "recurrent" and source.op.endswith("_cell") and len(shape) == 2:
            read = [i for i in source.inputs if i in self.dims and self.graph[i].op != "parameter"]
            rows = next(iter(self._rows(read)), first[0])
            self.dims[node.name] = (
                rows if entries(rows) == shape[0] else self.fresh(shape[0]),
                self.fresh(shape[1]),
            )
            self.lost.discard(node.name)
        elif rule == "reduce":  # values and where they were found
            self.lost.discard(node.name)
            self.dims[node.name] = self._sized(node, left_by(source, first, len(shape)))
        elif len(first) == len(shape):
            self.dims[node.name] = tuple(
                d if entries(d) == n else self._part(d, n) for d, n in zip(first, shape, strict=True)
            )
            self.lost.discard(node.name)
            if rule == "slice":  # as of x.split(1)
                self._drop(node, [d for d, n in zip(first, shape, strict=True) if n == 1])

    def _of_packed(self, node: Node, source: Node, batch: Dim) -> None:
        """The data of a packed batch hold its sequences one with another; padded again and in states they are apart."""
        shape, index = node.shape or (), node.of(Item).index
        place = 1
        if source.op == "_pad_packed_sequence":
            del self.packed[node.name]
            place = _batch_place(source)
        elif index == 0:
            return
        elif source.op == "_pack_padded_sequence":
            del self.packed[node.name]
            self.mark(self.dims[node.name], FIXED, node, "counts the steps along")
            return
        if len(shape) > place and shape[place] == entries(batch):
            self._set(node, place, batch)
        self.packed.pop(node.name, None)

    def _part(self, dim: Dim, size: int) -> Dim:
        total = entries(dim)
        if dim and len(dim) > 1 and total % size == 0 and dim[-1][1] == size:
            return dim[-1:]
        return self._cut(dim, size)

    def _unbound(self, node: Node, source: Node, first: Dims) -> None:
        shape = node.shape or ()
        named = [d for d, _ in source.of(Slice).dims or ()]
        gone = next((d for d in range(len(first)) if d not in named), 0)
        rest = tuple(d for i, d in enumerate(first) if i != gone)
        if len(rest) == len(shape):
            self.dims[node.name] = rest
            self.lost.discard(node.name)
        self._drop(node, [first[gone]])

    def _set(self, node: Node, place: int, dim: Dim) -> None:
        dims = self.dims[node.name]
        self.dims[node.name] = (*dims[:place], dim, *dims[place + 1 :])


def _batch_place(node: Node) -> int:
    return 0 if node.facts.get("batch_first") else 1
