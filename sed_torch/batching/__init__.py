"""Along which dimension of each tensor the samples of a batch lie: found by following what a network does.

Every dimension of every tensor is a product of *axes*. An axis that a layer's weights fix the size of (channels), that
a window slides along (positions) or that a recurrence or attention runs through (time, tokens) is no batch; an axis
that nothing mixes is one. Two tensors that meet entry by entry share their axes. By convention the batch is
dimension 0; it is another one, or none, where what the network does speaks against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sed_torch.batching.axes import FIXED, WALKED, WEAK, Dim, Dims, entries
from sed_torch.batching.following import Follower
from sed_torch.batching.mixing import MESSAGES
from sed_torch.graph import BatchAxes, Graph, Mixing, Node
from sed_torch.ops import OPS
from sed_torch.tables import shape_text

__all__ = ["BatchAxes", "Mixing", "find_batch"]

_LAYERS = frozenset(
    [
        "conv",
        "conv_transpose",
        "linear",
        "matmul",
        "attention",
        "multi_head_attention",
        "recurrent",
        "embedding",
    ]
)


def find_batch(graph: Graph) -> BatchAxes:
    """The batch axis of a graph and where it goes; a graph that knows it is asked."""
    if graph.axes is not None and graph.axes.nodes is graph.nodes:
        return graph.axes
    return replace(_found(graph), nodes=graph.nodes)


def _found(graph: Graph) -> BatchAxes:
    inputs = [n for n in graph.nodes if n.op == "input" and n.shape is not None]
    plain = all(not n.shape or n.shape[0] == 1 for n in inputs)
    runs = any(n.op in OPS and OPS[n.op].rule in ("recurrent", "multi_head_attention") for n in graph.nodes)
    empty = any(0 in (n.shape or ()) for n in inputs)
    if not inputs or (plain and not runs) or empty:  # of nothing, every dimension is as good
        return BatchAxes(1, {n.name: 0 if n.shape else None for n in inputs})
    return _Chooser(graph).found()


class _Chooser(Follower):
    """Decides which axis is the batch, and where it goes."""

    def found(self) -> BatchAxes:
        """The choice, followed through the graph."""
        inputs = [n for n in self.graph.nodes if n.op == "input" and n.shape is not None]
        chosen = self._chosen(inputs)
        if chosen is None:
            return self._of_lists(inputs)
        node, place, words = chosen
        dim = self.dims[node.name][place]
        if not dim:
            placed = {n.name: 0 if n.shape and n.shape[0] == 1 else None for n in inputs}
            return BatchAxes(1, {**placed, node.name: place}, (), words)
        size = entries(dim)
        for sequences in self.sequences:
            self.unify(dim, sequences)
        apart = self._apart(inputs)
        edges = self._referring(dim[0][0])
        listed = [n.name for n in inputs if any(self._along(self.dims[n.name], e) for e in edges)]
        if listed:
            words = (
                f"the batch is dimension {place} of {node.name} ({size}), as the nodes of a graph; what is "
                f"computed of their edges in {', '.join(listed)} is shared out among them"
            )
        for other in inputs:  # what begins with as many entries as there are samples begins with the samples
            first = self.dims[other.name][:1]
            if other is not node and any(self._along(first, root) for root in apart):
                continue  # edges of a graph, or their list
            if first and first[0] and entries(first[0]) == size and self._level(first[0]) < WALKED:
                self.unify(dim, first[0])
        split = self._split(inputs, self.root(dim[0][0]), edges)
        if split:
            return self._of_one(inputs, f"; {split[0]} and {node.name} are parts of one graph")
        return self._along_axis(inputs, dim[0][0], size, words)

    def _of_lists(self, inputs: list[Node]) -> BatchAxes:
        """Without a dimension for them, the samples are the entries of a list; if there is none, all is one."""
        if self.listed:
            name, axis, size = self.listed[0]
            for _, other, n in self.listed:
                self.unify(((axis, size),), ((other, n),))
            return self._along_axis(
                inputs, axis, size, f"the samples are the {size} entries of the list {name}"
            )
        if self.sequences:
            ((axis, size),) = self.sequences[0]
            for sequences in self.sequences[1:]:
                self.unify(self.sequences[0], sequences)
            return self._along_axis(inputs, axis, size, f"the samples are the {size} packed sequences")
        return self._of_one(inputs)

    def _of_one(self, inputs: list[Node], why: str = "") -> BatchAxes:
        """All that is given is one sample."""
        shapes = ", ".join(shape_text(n.shape or (), "a number") for n in inputs)
        return BatchAxes(
            1, {n.name: None for n in inputs}, (), f"no batch dimension: {shapes} is one sample{why}"
        )

    def _along_axis(self, inputs: list[Node], axis: int, size: int, words: str) -> BatchAxes:
        root = self.root(axis)
        dims = {name: found for name, ds in self.dims.items() if (found := self._along(ds, root))}
        places = {n.name: next(iter(dims.get(n.name, ())), None) for n in inputs}
        packed = {n for n, d in self.packed.items() if self._among((a for a, _ in d), root)}
        single = frozenset(n for n, axes in self.dropped.items() if self._among(axes, root))
        edges = self._referring(root)
        gathered = {
            n for n, axes in self.gathered.items() if any(self._among(axes, r) for r in (root, *edges))
        }
        gathered |= {n for n, ds in self.dims.items() if any(self._along(ds, r) for r in edges)}
        carrying = self._carrying(dims, single | packed | gathered)
        return BatchAxes(size, places, self._mixing(root), words, dims, carrying, single)

    def _among(self, axes: Iterable[int], root: int) -> bool:
        return any(self.root(axis) == root for axis in axes)

    def _along(self, dims: Dims, root: int) -> tuple[int, ...]:
        return tuple(i for i, d in enumerate(dims) if self._among((a for a, _ in d), root))

    def _referring(self, root: int) -> set[int]:
        """Axes of inputs, and of what is made of them, whose entries refer to those of an axis: a graph's edges."""
        return {r for r in {self.root(a) for a, _, _ in self.members} if self.root(root) in self._owners(r)}

    def _apart(self, inputs: list[Node]) -> set[int]:
        """First axes of inputs that are no batch, as a graph's are: of edges, which refer to nodes; of a list of
        edges, which has sources in one row and targets in another; of nodes that are joined where they are written to.
        """
        rows = [n for n in inputs if n.shape and self.dims[n.name][0]]
        first = {n.name: self.root(self.dims[n.name][0][0][0]) for n in rows}
        nodes = set(first.values())
        edges = {a for a in {self.root(a) for a, _, _ in self.members} if self._refers(a, nodes)}
        joined = {a for a in nodes if any(self.level[m] >= WALKED for m in self._owners(a, written=True))}
        lists = {
            first[n.name]
            for n in rows
            if "int" in n.dtype and any(self._along(self.dims[n.name][1:], a) for a in edges)
        }
        return edges | joined | lists

    def _refers(self, axis: int, nodes: set[int]) -> bool:
        """Whether entries are of nodes: they write to them, or read what layers compute of them. (A table that is
        only looked up in has no nodes.)
        """
        owners = self._owners(axis)
        of = owners & nodes
        written = any(
            w and self.root(b) in of and self.root(a) in {axis, *owners} for a, b, w in self.members
        )
        return bool(of) and (written or any(map(self._computed, of)))

    def _computed(self, root: int) -> bool:
        """Whether layers compute something of each entry of an axis: of nodes, not of a table that is looked up in."""
        layers = [n for n in self.graph.nodes if n.op in OPS and OPS[n.op].rule in _LAYERS]
        return any(self._along(self.dims.get(n.name, ()), root) for n in layers)

    def _split(self, inputs: list[Node], root: int, edges: set[int]) -> list[str]:
        """Inputs of entries that indices join with the samples but that belong to none: the other nodes of a graph of
        two kinds. What layers compute of them would be counted for every sample.
        """
        others = self._linked(root) - {root} - edges
        return [
            n.name
            for n in inputs
            for dim in self.dims[n.name][:1]
            if any(self.root(a) in others and self._computed(self.root(a)) for a, _ in dim)
        ]

    def _level(self, dim: Dim) -> int:
        return max((self.level[self.root(a)] for a, _ in dim), default=0)

    def _chosen(self, inputs: list[Node]) -> tuple[Node, int, str] | None:
        """An input, the dimension of it along which the samples lie, and why where it is not the obvious one."""
        apart = self._apart(inputs)
        if self.ragged and self.ragged >= {n.name for n in inputs}:
            return None
        by_convention = [
            n
            for n in inputs
            if n.shape
            and not (n.name in self.of_lists and self._summed_up(self.dims[n.name][0]))
            and self._level(self.dims[n.name][0]) < WALKED
            and not any(self._along(self.dims[n.name][:1], root) for root in apart)
        ]
        if by_convention:
            node = max(by_convention, key=lambda n: self._weight(n, self.dims[n.name][0]))
            size = (node.shape or (1,))[0]
            obvious = node is inputs[0] or (inputs[0].shape or (0,))[0] == size
            return node, 0, "" if obvious else f"the batch is dimension 0 of {node.name} ({size})"
        outputs = {self.root(a) for o in self.graph.outputs for d in self.dims.get(o, ()) for a, _ in d}
        elsewhere = [
            (level, node, place, entries(dim))
            for node in inputs
            for place, dim in enumerate(self.dims[node.name])
            if place and (level := self._level(dim)) <= WEAK and (not dim or self.root(dim[0][0]) in outputs)
        ]
        if elsewhere:  # rather one that nothing selects from, as where samples are taken one by one
            _, node, place, size = min(elsewhere, key=lambda found: found[0])
            how = self._how(self.dims[node.name][0])
            words = f"the batch is dimension {place} of {node.name} ({size}): the network {how} dimension 0"
            return node, place, words
        node = next((n for n in inputs if n.shape), inputs[0])
        dims = self.dims[node.name]
        least = 2 if "int" in node.dtype or (dims and self._how(dims[0]) == MESSAGES) else 3
        if dims and self._level(dims[0]) < FIXED and len(dims) >= least:
            where = f"the batch is dimension 0 of {node.name} ({entries(dims[0])})"
            return node, 0, f"{where}, though the network {self._how(dims[0])} it"
        return None

    def _summed_up(self, dim: Dim) -> bool:
        """Whether nothing of a dimension is left in the end, as of the steps of a sequence."""
        ends = [self.dims.get(o, ()) for o in self.graph.outputs if o not in self.lost]
        return (
            bool(ends)
            and self._level(dim) >= WEAK
            and not any(self._along(d, self.root(a)) for d in ends for a, _ in dim)
        )

    def _how(self, dim: Dim) -> str:
        roots = {self.root(a) for a, _ in dim}
        return next(
            (how for a, _, how, level in self.events if level >= WALKED and self.root(a) in roots), "mixes"
        )

    def _weight(self, node: Node, dim: Dim) -> int:
        """Entries of the layers' results that have an axis; of all that an input reaches where its size is 1."""
        layers = [n for n in self.graph.nodes if n.op in OPS and OPS[n.op].rule in _LAYERS]
        if dim:
            root = self.root(dim[0][0])
            return sum(n.numel for n in layers if self._along(self.dims.get(n.name, ()), root))
        reached = {node.name}
        for n in self.graph.nodes:
            if any(i in reached for i in n.inputs):
                reached.add(n.name)
        return sum(n.numel for n in layers if n.name in reached)

    def _mixing(self, root: int) -> tuple[Mixing, ...]:
        found: dict[tuple[str, str], Mixing] = {}
        for axis, node, how, level in self.events:
            if self.root(axis) == root and how != "fixes":
                found.setdefault(
                    (node, how),
                    Mixing(
                        node,
                        how,
                        (level >= WALKED and how != MESSAGES) or how in ("pairs", "takes a softmax over"),
                    ),
                )
        for name, row, column in self.pairs:  # the samples of two inputs, as texts with images
            if all(self._among((a for a, _ in d), root) for d in (row, column)):
                found.setdefault((name, "pairs"), Mixing(name, "pairs", True))
        return tuple(found.values())

    def _carrying(self, dims: Mapping[str, tuple[int, ...]], otherwise: frozenset[str]) -> frozenset[str]:
        """Nodes whose results exist once a sample: those with a dimension for them, and ``otherwise``.

        Where a call loses track of the dimension, its result still holds all samples, and so does what is made of it.
        """
        carrying: set[str] = set()
        vague: set[str] = set()  # of several samples, nobody knows along which dimension
        for node in self.graph.nodes:
            if dims.get(node.name) or node.name in otherwise:
                carrying.add(node.name)
            elif node.shape != () and (
                (node.op != "item" and any(i in vague for i in node.inputs))
                or (
                    (node.name in self.lost or node.shape is None) and any(i in carrying for i in node.inputs)
                )
            ):
                carrying.add(node.name)
                vague.add(node.name)
        return frozenset(carrying)
