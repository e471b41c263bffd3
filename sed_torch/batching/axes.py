"""Axes: what a dimension consists of, which are the same, and what was done along each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from sed_torch.attributes import Recurrent
from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS

__all__ = ["FIXED", "WALKED", "WEAK", "Axes", "Axis", "Dim", "Dims", "entries"]

Axis = tuple[int, int]
"""Its number and how many entries of it a dimension has."""
Dim = tuple[Axis, ...]
Dims = tuple[Dim, ...]

WEAK, WALKED, FIXED = 1, 2, 3
"""How strongly a call speaks against an axis being the batch: it reduces it; runs through it; fixes its size."""


def entries(dim: Dim) -> int:
    """Entries of a dimension."""
    return math.prod(n for _, n in dim)


class Axes:
    """The axes of a graph's tensors.

    Attributes:
        dims: node → its dimensions.
        dropped: node → axes of which it has one entry only.
        gathered: node → axes of which it has entries that an index chose, in a dimension of other entries.
        members: (axis, axis of the entries it refers to): by an index each entry of the first, as an edge, reads from
            or writes to one of the second, as a node; and whether it writes.
        pairs: products of all rows with all columns: node, dimension of the rows, of the columns.
        packed: nodes that hold the steps of all sequences in one dimension → the dimension that the sequences lay
            along before they were packed.
        lost: nodes of which only is known that they come from their inputs.
        listed: arguments that are lists of tensors, with the axis along which their entries follow and its size.
        of_lists: inputs that are entries of lists.
        sequences: of packed sequences among the inputs, the dimension that they lay along.
        ragged: entries of such lists that begin with different sizes: along those lie no samples.
        live: nodes that depend on an input.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.parent: list[int] = []
        self.level: list[int] = []
        self.events: list[tuple[int, str, str, int]] = []
        self.dims: dict[str, Dims] = {}
        self.dropped: dict[str, frozenset[int]] = {}
        self.gathered: dict[str, frozenset[int]] = {}
        self.members: list[tuple[int, int, bool]] = []
        self.pairs: list[tuple[str, Dim, Dim]] = []
        self.packed: dict[str, Dim] = {}
        self.lost: set[str] = set()
        self.live: set[str] = set()
        self.listed: list[tuple[str, int, int]] = []
        self.ragged: frozenset[str] = frozenset()
        lists = _lists(graph)
        self.of_lists = frozenset(m for members in lists.values() for m in members)
        for name, members in lists.items():
            if len(members) < 2:
                continue
            if len({(graph[m].shape or (0,))[0] for m in members}) > 1:
                self.ragged |= frozenset(members)
            ((axis, size),) = self.fresh(len(members))
            self.listed.append((name, axis, size))
            self.dropped.update(dict.fromkeys(members, frozenset([axis])))
        self.sequences: tuple[Dim, ...] = tuple(map(self._given_packed, _packs(graph)))

    def _given_packed(self, pack: tuple[tuple[str, ...], int]) -> Dim:
        """The axis of the sequences in a packed batch that was given so; its inputs hold the steps of them all."""
        names, size = pack
        dim = self.fresh(size)
        self.packed.update(dict.fromkeys(names, dim))
        return dim

    def root(self, axis: int) -> int:
        while self.parent[axis] != axis:
            self.parent[axis] = self.parent[self.parent[axis]]
            axis = self.parent[axis]
        return axis

    def fresh(self, size: int) -> Dim:
        if size == 1:
            return ()
        self.parent.append(len(self.parent))
        self.level.append(0)
        return ((len(self.parent) - 1, size),)

    def unify(self, a: Dim, b: Dim) -> None:
        if len(a) != len(b) or any(x[1] != y[1] for x, y in zip(a, b, strict=True)):
            return
        for (x, _), (y, _) in zip(a, b, strict=True):
            p, q = self.root(x), self.root(y)
            if p != q:
                self.parent[q] = p
                self.level[p] = max(self.level[p], self.level[q])

    def mark(self, dims: Iterable[Dim], level: int, node: Node, how: str) -> None:
        for dim in dims:
            for axis, _ in dim:
                root = self.root(axis)
                self.level[root] = max(self.level[root], level)
                self.events.append((axis, node.name, how, level))

    def _cut(self, dim: Dim, size: int) -> Dim:
        """A dimension of which a part is left, or to which entries were added: the innermost axis goes on."""
        if size == 1:
            return ()
        inner = dim[-1] if dim else None
        if inner is not None and len(dim) == 1:
            return ((inner[0], size),)
        if inner is not None and size % inner[1] == 0:
            return (*self.fresh(size // inner[1]), inner)
        return self.fresh(size)

    def _drop(self, node: Node, dims: Iterable[Dim]) -> None:
        dims = [d for d in dims if d]
        axes = frozenset(axis for dim in dims for axis, _ in dim)
        if axes:
            self.mark(dims, WEAK, node, "selects from")
            self.dropped[node.name] = self.dropped.get(node.name, frozenset()) | axes

    def refer(self, dim: Dim, to: Dim, writes: bool) -> None:
        """Notes that an index lets the entries of a dimension read from, or write to, entries of another one."""
        own, other = ({self.root(a) for a, _ in d} for d in (dim, to))
        self.members += [(a, b, writes) for a in sorted(own - other) for b in sorted(other - own)]

    def _owners(self, axis: int, written: bool = False) -> set[int]:
        """Axes whose entries those of an axis refer to (or write to), directly or by others in between."""
        start = self.root(axis)
        found, new = set[int](), {start}
        while new:
            found |= new
            links = [(a, b) for a, b, writes in self.members if writes or not written]
            new = {self.root(b) for a, b in links if self.root(a) in new} - found
        return found - {start}

    def _linked(self, axis: int) -> set[int]:
        """Axes that references join to an axis, in either direction."""
        found, new = set[int](), {self.root(axis)}
        while new:
            found |= new
            pairs = [(self.root(a), self.root(b)) for a, b, _ in self.members]
            new = {y for a, b in pairs for x, y in ((a, b), (b, a)) if x in new} - found
        return found

    def _input_sizes(self) -> dict[int, int]:
        """Entries of the inputs' axes."""
        inputs = [n.name for n in self.graph.nodes if n.op == "input"]
        sizes = {self.root(a): s for n in inputs for d in self.dims.get(n, ()) for a, s in d}
        return sizes | {self.root(axis): size for _, axis, size in self.listed}


def _packs(graph: Graph) -> Iterator[tuple[tuple[str, ...], int]]:
    """Packed sequences among the inputs: the inputs that hold them, and how many sequences they are.

    A recurrence that reads one is handed its steps, how many sequences are left at each, and a state for all.
    """
    inputs = {n.name: n for n in graph.nodes if n.op == "input" and n.shape}
    known: set[str] = set()
    for node in graph.nodes:
        if node.op not in OPS or OPS[node.op].rule != "recurrent" or node.op.endswith("_cell"):
            continue
        if node.of(Recurrent).time is not None or len(node.inputs) < 3:
            continue
        steps, left, state = (graph[i] for i in node.inputs[:3])
        if left.name not in inputs or left.name in known or len(state.shape or ()) != 3:
            continue
        known.add(left.name)
        rows = (steps.shape or (0,))[0]
        held = tuple(n for n, i in inputs.items() if i.shape and i.shape[0] == rows and n != left.name)
        if state.shape is not None and state.shape[1] > 1:
            yield held, state.shape[1]


def _lists(graph: Graph) -> dict[str, list[str]]:
    """Arguments that are lists: name → the inputs that are their entries, of one rank."""
    inputs = {n.target: n for n in graph.nodes if n.op == "input" and n.shape is not None}
    found: dict[str, list[str]] = {}
    for target, node in inputs.items():
        name = target.removesuffix("0")
        if name == target or name in inputs or name == "x":  # the arguments themselves are x0, x1, …
            continue
        entries_of = [node]
        while (entry := inputs.get(f"{name}{len(entries_of)}")) is not None:
            entries_of.append(entry)
        if len({len(e.shape or ()) for e in entries_of}) == 1:
            found[name] = [e.name for e in entries_of]
    return found
