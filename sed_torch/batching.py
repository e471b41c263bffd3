"""Along which dimension of each tensor the samples of a batch lie: found by following what a network does.

Every dimension of every tensor is a product of *axes*. An axis that a layer's weights fix the size of (channels), that
a window slides along (positions) or that a recurrence or attention runs through (time, tokens) is no batch; an axis
that nothing mixes is one. Two tensors that meet entry by entry share their axes. By convention the batch is
dimension 0; it is another one, or none, where what the network does speaks against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS

__all__ = ["BatchAxes", "Mixing", "find_batch"]

Axis = tuple[int, int]
"""Its number and how many entries of it a dimension has."""
Dim = tuple[Axis, ...]
Dims = tuple[Dim, ...]

_WEAK, _WALKED, _FIXED = 1, 2, 3
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


@dataclass(frozen=True, slots=True)
class Mixing:
    """A node that brings the samples of a batch together.

    Attributes:
        node: its name.
        how: what it does to the batch axis, as in "averages over", "attends along", "selects from".
        strong: whether every sample's result depends on the others (an average at the end is weak).
    """

    node: str
    how: str
    strong: bool


@dataclass(frozen=True)
class BatchAxes:
    """Where the samples are.

    Attributes:
        batch: how many samples there are; 1 where there is no batch axis.
        inputs: input node → the dimension along which its samples lie, None where it has none.
        mixing: what brings samples together, in the order of the nodes.
        words: what was assumed, where the batch is not dimension 0 of every input; else "".
    """

    batch: int
    inputs: Mapping[str, int | None]
    mixing: tuple[Mixing, ...] = ()
    words: str = ""
    _dims: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    _carrying: frozenset[str] | None = field(default=None, repr=False)

    def dims(self, name: str) -> tuple[int, ...]:
        """Dimensions of a node's result along which the samples lie (merged with others perhaps); () for none."""
        return self._dims.get(name, ())

    def carries(self, name: str) -> bool:
        """Whether a node's result exists once a sample, as opposed to once for all samples."""
        return self._carrying is None or name in self._carrying


def find_batch(graph: Graph) -> BatchAxes:
    """The batch axis of a graph and where it goes."""
    inputs = [n for n in graph.nodes if n.op == "input" and n.shape is not None]
    plain = all(not n.shape or n.shape[0] == 1 for n in inputs)
    runs = any(n.op in OPS and OPS[n.op].rule in ("recurrent", "multi_head_attention") for n in graph.nodes)
    empty = any(0 in (n.shape or ()) for n in graph.nodes)
    if not inputs or (plain and not runs) or empty:  # of nothing, every dimension is as good
        return BatchAxes(1, {n.name: 0 if n.shape else None for n in inputs})
    return _Follower(graph).found()


class _Follower:
    """Goes through a graph once, giving each dimension its axes and noting what is done along them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.parent: list[int] = []
        self.level: list[int] = []
        self.events: list[tuple[int, str, str, int]] = []
        self.dims: dict[str, Dims] = {}
        self.dropped: dict[str, frozenset[int]] = {}  # axes that a node has one entry of
        self.lost: set[str] = set()  # nodes of which only is known that they come from their inputs
        self.live: set[str] = set()
        for node in graph.nodes:
            self._visit(node)

    # -- axes --------------------------------------------------------------------------------------------

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

    # -- nodes -------------------------------------------------------------------------------------------

    def _visit(self, node: Node) -> None:
        inputs = [i for i in node.inputs if i in self.dims]
        live = [i for i in inputs if i in self.live]
        if node.op == "input" or any(i in self.live for i in node.inputs):
            self.live.add(node.name)
        dropped: frozenset[int] = frozenset().union(*(self.dropped.get(i, frozenset()) for i in node.inputs))
        if dropped:
            self.dropped[node.name] = dropped
        if node.shape is None:
            if any(i in self.live for i in node.inputs):
                self._several(node, live)
            return
        if node.op in ("input", "parameter", "constant") or not inputs:
            self.dims[node.name] = tuple(self.fresh(n) for n in node.shape)
            if node.op == "parameter":
                self.mark(self.dims[node.name], _FIXED, node, "fixes")
            elif node.inputs and not inputs and node.op != "item":
                self.lost.add(node.name)
            if node.op == "item":
                self._item(node)
            return
        rule = OPS[node.op].rule if node.op in OPS else ""
        visit = _RULES.get(rule, _Follower._like_inputs)
        dims = visit(self, node, inputs)
        self.dims[node.name] = self._sized(node, dims)

    def _sized(self, node: Node, dims: Dims | None) -> Dims:
        """``dims`` where they have the node's sizes; what is of another size is an axis of its own."""
        shape = node.shape or ()
        if dims is None or len(dims) != len(shape):
            self.lost.add(node.name)
            return tuple(self.fresh(n) for n in shape)
        return tuple(d if _entries(d) == n else self._cut(d, n) for d, n in zip(dims, shape, strict=True))

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

    def _several(self, node: Node, inputs: list[str]) -> None:
        """A call with several results: what it does along its operands is noted here, its items ask for the rest."""
        rule = OPS[node.op].rule if node.op in OPS else ""
        if rule == "recurrent":
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
        if rule == "slice" and source.op == "unbind":
            self._unbound(node, source, first)
        elif rule == "recurrent" and len(first) == 3 and source.attrs.get("time") is not None:
            time = source.attrs["time"]
            batch = first[1 - time]
            at = 1 - time if node.attrs.get("index") == 0 else 1
            if len(shape) == 3 and shape[at] == _entries(batch):
                self._set(node, at, batch)
        elif len(first) == len(shape):
            self.dims[node.name] = tuple(
                d if _entries(d) == n else self._part(d, n) for d, n in zip(first, shape, strict=True)
            )
            self.lost.discard(node.name)

    def _part(self, dim: Dim, size: int) -> Dim:
        total = _entries(dim)
        if dim and len(dim) > 1 and total % size == 0 and dim[-1][1] == size:
            return dim[-1:]
        return self._cut(dim, size)

    def _unbound(self, node: Node, source: Node, first: Dims) -> None:
        shape = node.shape or ()
        named = [d for d, _ in source.attrs.get("dims", ())]
        gone = next((d for d in range(len(first)) if d not in named), 0)
        rest = tuple(d for i, d in enumerate(first) if i != gone)
        if len(rest) == len(shape):
            self.dims[node.name] = rest
            self.lost.discard(node.name)
        self._drop(node, [first[gone]])

    def _drop(self, node: Node, dims: Iterable[Dim]) -> None:
        dims = [d for d in dims if d]
        axes = frozenset(axis for dim in dims for axis, _ in dim)
        if axes:
            self.mark(dims, _WEAK, node, "selects from")
            self.dropped[node.name] = self.dropped.get(node.name, frozenset()) | axes

    def _set(self, node: Node, place: int, dim: Dim) -> None:
        dims = self.dims[node.name]
        self.dims[node.name] = (*dims[:place], dim, *dims[place + 1 :])

    # -- rules -------------------------------------------------------------------------------------------

    def _like_inputs(self, node: Node, inputs: list[str]) -> Dims | None:
        """Entry by entry, operands broadcast against each other."""
        shape = node.shape or ()
        dims: list[Dim] = []
        if node.op == "prelu":
            inputs = inputs[:1]
        for place in range(1, len(shape) + 1):
            found: Dim = ()
            for name in inputs:
                own = self.dims[name]
                if len(own) < place or not own[-place]:
                    continue
                if not found:
                    found = own[-place]
                else:
                    self.unify(found, own[-place])
            dims.insert(0, found)
        return tuple(d if d or n == 1 else self.fresh(n) for d, n in zip(dims, shape, strict=True))

    def _gate(self, node: Node, inputs: list[str]) -> Dims | None:
        x = self.dims[inputs[0]]
        dim = node.facts.get("dim") if node.facts else None
        if isinstance(dim, int) and x and -len(x) <= dim < len(x):
            self.mark([x[dim]], _WEAK, node, "takes a softmax over")
        return self._like_inputs(node, inputs)

    def _norm(self, node: Node, inputs: list[str]) -> Dims | None:
        x = self.dims[inputs[0]]
        if node.op in ("batch_norm", "instance_norm", "group_norm"):
            unbatched = node.op == "instance_norm" and len(x) == 2
            channels = x[0:1] if unbatched else x[1:2]
        else:
            channels = x[-1:] if node.op in ("layer_norm", "rms_norm") else ()
        self.mark(channels, _FIXED, node, "normalises")
        return x

    def _conv(self, node: Node, inputs: list[str]) -> Dims | None:
        n = len(node.attrs.get("window", (1, 1)))
        x = self.dims[inputs[0]]
        if inputs[0] not in self.live:
            return None
        self.mark(x[-n:], _FIXED, node, "slides along")
        self.mark(x[-n - 1 : -n], _FIXED, node, "mixes as channels")
        shape = node.shape or ()
        return (
            *x[: -n - 1],
            self.fresh(shape[-n - 1]),
            *(self._cut(d, k) for d, k in zip(x[-n:], shape[-n:], strict=True)),
        )

    def _linear(self, node: Node, inputs: list[str]) -> Dims | None:
        x = self.dims[inputs[0]]
        self.mark(x[-1:], _FIXED, node, "mixes as channels")
        shape = node.shape or ()
        return (*x[:-1], self.fresh(shape[-1])) if len(shape) == len(x) else x[:-1]

    def _pool(self, node: Node, inputs: list[str]) -> Dims | None:
        n = len(node.attrs["window"]) if "window" in node.attrs else node.attrs.get("axes", 2)
        x = self.dims[inputs[0]]
        self.mark(x[-n:], _FIXED, node, "slides along")
        return x

    def _places(self, node: Node, inputs: list[str]) -> Dims | None:
        """Resizing and shuffling of positions: the dimensions before the channels stay."""
        x, shape = self.dims[inputs[0]], node.shape or ()
        keep = 2 if node.op == "interpolate" else max(len(x) - 3, 0)
        self.mark(x[max(keep, 1) :] if node.op == "interpolate" else x[keep:], _FIXED, node, "slides along")
        return (*x[:keep], *(self.fresh(k) for k in shape[keep:])) if len(shape) == len(x) else None

    def _reduce(self, node: Node, inputs: list[str]) -> Dims | None:
        if not inputs:
            return None
        x = self.dims[inputs[0]]
        gone = {d for d in node.attrs.get("dims", range(len(x))) if d < len(x)}
        self.mark([x[d] for d in gone], _WEAK, node, "reduces")
        if node.shape is not None and len(node.shape) == len(x):
            return tuple(() if i in gone else d for i, d in enumerate(x))
        return tuple(d for i, d in enumerate(x) if i not in gone)

    def _cat(self, node: Node, inputs: list[str]) -> Dims | None:
        at = node.attrs["dim"]
        shape = node.shape or ()
        fits = [i for i in inputs if len(self.dims[i]) == len(shape)]
        if not fits:
            return None
        dims = list(self.dims[fits[0]])
        for name in fits[1:]:
            for i, d in enumerate(self.dims[name]):
                if i != at and d and dims[i]:
                    self.unify(dims[i], d)
                elif i != at and d:
                    dims[i] = d
        parts = [self.dims[i][at] for i in fits]
        same = (
            len(parts) == len(node.inputs)
            and len({tuple((self.root(a), s) for a, s in p) for p in parts}) == 1
        )
        again = self._restacked(node, shape[at])
        if again is not None:
            dims[at] = again
        elif same and parts[0]:
            dims[at] = (*self.fresh(len(parts)), *parts[0])
        else:
            dims[at] = self._cut(parts[0], shape[at])
        return tuple(dims)

    def _stack(self, node: Node, inputs: list[str]) -> Dims | None:
        at, shape = node.attrs["dim"], node.shape or ()
        first = self.dims[inputs[0]]
        for name in inputs[1:]:
            for a, b in zip(first, self.dims[name], strict=False):
                self.unify(a, b)
        again = self._restacked(node, shape[at])
        return (*first[:at], again if again is not None else self.fresh(shape[at]), *first[at:])

    def _restacked(self, node: Node, size: int) -> Dim | None:
        """The axis that all operands are single entries of, put together again."""
        if len(node.inputs) != size or size < 2:
            return None
        sizes = self._input_sizes()
        common = frozenset.intersection(*(self.dropped.get(i, frozenset()) for i in node.inputs))
        for axis in sorted(common):
            if sizes.get(self.root(axis)) == size:
                self.dropped[node.name] = self.dropped.get(node.name, frozenset()) - {axis}
                return ((axis, size),)
        return None

    def _input_sizes(self) -> dict[int, int]:
        """Entries of the inputs' axes."""
        inputs = [n.name for n in self.graph.nodes if n.op == "input"]
        return {self.root(a): s for n in inputs for d in self.dims.get(n, ()) for a, s in d}

    def _reshape(self, node: Node, inputs: list[str]) -> Dims | None:
        x, shape = self.dims[inputs[0]], node.shape or ()
        pool = [a for dim in x for a in dim][::-1]
        if math.prod(s for _, s in pool) != math.prod(shape):
            return None
        dims: list[Dim] = []
        for size in shape:
            dim: list[Axis] = []
            have = 1
            while have < size and pool:
                axis, n = pool.pop()
                need = size // have
                if size % have == 0 and need % n == 0:
                    dim.append((axis, n))
                    have *= n
                elif size % have == 0 and n % need == 0:
                    dim.append((axis, need))
                    pool.append((self.fresh(n // need)[0][0], n // need))
                    have *= need
                else:
                    return None
            dims.append(tuple(dim))
        return tuple(dims)

    def _permute(self, node: Node, inputs: list[str]) -> Dims | None:
        x = self.dims[inputs[0]]
        order = node.attrs.get("order", ())
        return tuple(x[i] for i in order) if len(order) == len(x) else None

    def _slice(self, node: Node, inputs: list[str]) -> Dims | None:
        x, shape = self.dims[inputs[0]], node.shape or ()
        dims = node.attrs.get("dims")
        if dims is None or any(d >= len(x) for d, _ in dims):
            return None
        kept = {d for d, _ in dims}
        gathered = len(inputs) > 1
        if gathered:
            return self._gathered(node, inputs, dims)
        self._drop(node, [d for i, d in enumerate(x) if i not in kept])
        if len(dims) != len(shape):
            return None
        return tuple(x[d] if d >= 0 else self.fresh(n) for (d, _), n in zip(dims, shape, strict=True))

    def _gathered(self, node: Node, inputs: list[str], dims: Sequence[tuple[int, int]]) -> Dims | None:
        """Entries looked up by an index: along it there are as many as the index has."""
        x, shape = self.dims[inputs[0]], node.shape or ()
        index = self.dims[inputs[1]]
        if node.op == "gather" or node.op == "take_along_dim":
            return tuple(d if _entries(d) == n else self.fresh(n) for d, n in zip(x, shape, strict=False))
        new: list[Dim] = []
        places = iter(index)
        for (d, _), n in zip(dims, shape, strict=False):
            own = x[d] if d >= 0 else ()
            if d >= 0 and _entries(own) == n:
                new.append(own)
                continue
            if own:
                self._drop(node, [own])
            taken = next(places, ())
            new.append(taken if _entries(taken) == n else self.fresh(n))
        return tuple(new) if len(new) == len(shape) else None

    def _expand(self, node: Node, inputs: list[str]) -> Dims | None:
        x, shape = self.dims[inputs[0]], node.shape or ()
        x = ((),) * (len(shape) - len(x)) + x
        if len(x) != len(shape):
            return None
        dims: list[Dim] = []
        for dim, n in zip(x, shape, strict=True):
            have = _entries(dim)
            if have == n:
                dims.append(dim)
            elif n % have:
                dims.append(self.fresh(n))
            elif "repeats" in node.attrs:
                dims.append((*dim, *self.fresh(n // have)))
            else:
                dims.append((*self.fresh(n // have), *dim))
        return tuple(dims)

    def _unfold(self, node: Node, inputs: list[str]) -> Dims | None:
        x, shape = self.dims[inputs[0]], node.shape or ()
        if "dim" in node.attrs:
            self.mark([x[node.attrs["dim"]]], _FIXED, node, "slides along")
            return (*(self._cut(d, n) for d, n in zip(x, shape, strict=False)), self.fresh(shape[-1]))
        self.mark(x[-3:], _FIXED, node, "slides along")
        return (*x[:-3], *(self.fresh(n) for n in shape[len(x) - 3 :]))

    def _matmul(self, node: Node, inputs: list[str]) -> Dims | None:
        names = list(node.inputs[1:] if node.attrs.get("added") else node.inputs)[:2]
        if len(node.inputs) - bool(node.attrs.get("added")) != 2 or any(n not in self.dims for n in names):
            return None
        a, b = (self.dims[n] for n in names)
        letters = _letters(node.attrs.get("equation"), len(a), len(b))
        if letters is None:
            return None
        left, right, out = letters
        at: dict[str, Dim] = {}
        for letter, dim in (*zip(left, a, strict=True), *zip(right, b, strict=True)):
            if letter in at and at[letter] and dim:
                self.unify(at[letter], dim)
            elif dim or letter not in at:
                at[letter] = dim
        weights = [n for n in names if n not in self.live]
        for letter in set(left) & set(right) - set(out):
            if weights:
                self.mark([at[letter]], _FIXED, node, "mixes as channels")
            else:
                self.mark([at[letter]], _WALKED, node, "sums over")
        rows, columns = set(out) - set(right), set(out) - set(left)
        if not weights:
            roots = {self.root(x) for c in columns for x, _ in at[c]}
            paired = [at[c] for c in rows if any(self.root(x) in roots for x, _ in at[c])]
            self.mark(paired, _WEAK, node, "pairs")
        return tuple(at.get(c, ()) for c in out)

    def _attention(self, node: Node, inputs: list[str]) -> Dims | None:
        q = self.dims[inputs[0]]
        for name in inputs[1:3]:
            own = self.dims[name]
            if len(own) == len(q):
                for a, b in zip(q[:-2], own[:-2], strict=True):
                    self.unify(a, b)
                self.unify(q[-1], own[-1])
            self.mark(own[-2:-1], _WALKED, node, "attends along")
        self.mark(q[-2:-1], _WALKED, node, "attends along")
        shape = node.shape or ()
        return (*q[:-1], q[-1] if _entries(q[-1]) == shape[-1] else self.fresh(shape[-1]))

    def _multi_head(self, node: Node, inputs: list[str]) -> Dims | None:
        operands = [self.dims[i] for i in node.inputs[:3] if i in self.dims]
        for x in operands:
            level = _WALKED if len(x) == 3 else _FIXED
            self.mark(x[:1], level, node, "attends along")
            self.mark(x[-1:], _FIXED, node, "mixes as channels")
            if len(x) == 3 and len(operands[0]) == 3:
                self.unify(operands[0][1], x[1])
        return operands[0] if operands and node.shape is not None else None

    def _recurrent(self, node: Node, inputs: list[str]) -> Dims | None:
        x = next((self.dims[i] for i in node.inputs if i in self.dims), None)
        if x is None:
            return None
        time = node.attrs.get("time")
        self.mark(x[-1:], _FIXED, node, "mixes as channels")
        if time is None and node.op.endswith("_cell"):
            for name in inputs[1:]:
                if name in self.live and self.dims[name] and x:
                    self.unify(x[0], self.dims[name][0])
            return (*x[:-1], self.fresh((node.shape or (1,))[-1]))
        if len(x) == 3 and time is not None:
            self.mark([x[time]], _WALKED, node, "runs along")
            for name in inputs[1:]:
                own = self.dims[name]
                if len(own) == 3 and self.graph[name].op != "parameter":
                    self.unify(x[1 - time], own[1])
        else:
            self.mark(x[:1], _FIXED, node, "runs along")
        return None

    def _embedding(self, node: Node, inputs: list[str]) -> Dims | None:
        ids = next((i for i in inputs if i in self.live), inputs[0])
        x, shape = self.dims[ids], node.shape or ()
        if len(shape) == len(x) + 1:
            return (*x, self.fresh(shape[-1]))
        if len(shape) == len(x) == 2:
            self.mark(x[1:], _WEAK, node, "sums over")
            return (x[0], self.fresh(shape[-1]))
        return None

    def _write(self, node: Node, inputs: list[str]) -> Dims | None:
        """``x[index] = y``: what is written in shares the axes of what it is written into."""
        base, value = self.dims.get(node.inputs[0]), self.dims.get(node.inputs[-1])
        if base is None or value is None or len(node.inputs) < 2:
            return base
        region = node.attrs.get("dims") or tuple(range(len(base)))
        for place, dim in zip(reversed(region), reversed(value), strict=False):
            if 0 <= place < len(base):
                self.unify(base[place], dim)
        sizes = self._input_sizes()
        for axis in sorted(self.dropped.get(node.inputs[-1], ())):
            for place, dim in enumerate(base):
                if place not in region and dim and _entries(dim) == sizes.get(self.root(axis)):
                    self.unify(dim, ((axis, _entries(dim)),))
                    self.dropped[node.name] = self.dropped.get(node.name, frozenset()) - {axis}
        return base

    def _opaque(self, node: Node, inputs: list[str]) -> Dims | None:
        return None

    # -- the batch ---------------------------------------------------------------------------------------

    def found(self) -> BatchAxes:
        """The choice, followed through the graph."""
        inputs = [n for n in self.graph.nodes if n.op == "input" and n.shape is not None]
        chosen = self._chosen(inputs)
        if chosen is None:
            shapes = ", ".join("×".join(map(str, n.shape or ())) or "a number" for n in inputs)
            return BatchAxes(
                1, {n.name: None for n in inputs}, (), f"no batch dimension: {shapes} is one sample"
            )
        node, place, words = chosen
        dim = self.dims[node.name][place]
        if not dim:
            placed = {n.name: 0 if n.shape and n.shape[0] == 1 else None for n in inputs}
            return BatchAxes(1, {**placed, node.name: place}, (), words)
        size = _entries(dim)
        for other in inputs:  # what begins with as many entries as there are samples begins with the samples
            first = self.dims[other.name][:1]
            if first and first[0] and _entries(first[0]) == size and self._level(first[0]) < _WALKED:
                self.unify(dim, first[0])
        root = self.root(dim[0][0])
        dims = {name: found for name, ds in self.dims.items() if (found := self._along(ds, root))}
        places = {n.name: next(iter(dims.get(n.name, ())), None) for n in inputs}
        return BatchAxes(size, places, self._mixing(root), words, dims, self._carrying(root, dims))

    def _along(self, dims: Dims, root: int) -> tuple[int, ...]:
        return tuple(i for i, d in enumerate(dims) if any(self.root(a) == root for a, _ in d))

    def _level(self, dim: Dim) -> int:
        return max((self.level[self.root(a)] for a, _ in dim), default=0)

    def _chosen(self, inputs: list[Node]) -> tuple[Node, int, str] | None:
        """An input, the dimension of it along which the samples lie, and why where it is not the obvious one."""
        by_convention = [n for n in inputs if n.shape and self._level(self.dims[n.name][0]) < _WALKED]
        if by_convention:
            node = max(by_convention, key=lambda n: self._weight(n, self.dims[n.name][0]))
            size = (node.shape or (1,))[0]
            obvious = node is inputs[0] or (inputs[0].shape or (0,))[0] == size
            return node, 0, "" if obvious else f"the batch is dimension 0 of {node.name} ({size})"
        outputs = {self.root(a) for o in self.graph.outputs for d in self.dims.get(o, ()) for a, _ in d}
        for node in inputs:
            for place, dim in enumerate(self.dims[node.name]):
                if not self._level(dim) and place and (not dim or self.root(dim[0][0]) in outputs):
                    how = self._how(self.dims[node.name][0])
                    size = _entries(dim)
                    return (
                        node,
                        place,
                        f"the batch is dimension {place} of {node.name} ({size}): the network {how} dimension 0",
                    )
        node = next((n for n in inputs if n.shape), inputs[0])
        dims = self.dims[node.name]
        least = 2 if "int" in node.dtype else 3
        if dims and self._level(dims[0]) < _FIXED and len(dims) >= least:
            where = f"the batch is dimension 0 of {node.name} ({_entries(dims[0])})"
            return node, 0, f"{where}, though the network {self._how(dims[0])} it"
        return None

    def _how(self, dim: Dim) -> str:
        roots = {self.root(a) for a, _ in dim}
        return next(
            (how for a, _, how, level in self.events if level >= _WALKED and self.root(a) in roots), "mixes"
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
                    Mixing(node, how, level >= _WALKED or how in ("pairs", "takes a softmax over")),
                )
        return tuple(found.values())

    def _carrying(self, root: int, dims: Mapping[str, tuple[int, ...]]) -> frozenset[str]:
        carrying: set[str] = set()
        for node in self.graph.nodes:
            single = any(self.root(a) == root for a in self.dropped.get(node.name, ()))
            comes = (node.name in self.lost or node.shape is None) and any(i in carrying for i in node.inputs)
            if dims.get(node.name) or single or comes:
                carrying.add(node.name)
        return frozenset(carrying)


def _entries(dim: Dim) -> int:
    return math.prod(n for _, n in dim)


def _letters(equation: object, rank_a: int, rank_b: int) -> tuple[str, str, str] | None:
    """The letters of both operands and of the result; of a plain product where no equation is given."""
    if not equation:
        if not rank_a or not rank_b:
            return None
        batch = "ABCDEFGH"[: max(rank_a, rank_b, 2) - 2]
        left = batch[len(batch) - max(rank_a - 2, 0) :] + ("mk" if rank_a > 1 else "k")
        right = batch[len(batch) - max(rank_b - 2, 0) :] + ("kn" if rank_b > 1 else "k")
        return left, right, batch + ("m" if rank_a > 1 else "") + ("n" if rank_b > 1 else "")
    text = str(equation)
    sides, arrow, out = text.partition("->")
    parts = sides.split(",")
    if len(parts) != 2:
        return None
    spare = "ZYXWVUTS"
    filled, longest = [], 0
    for part, rank in zip(parts, (rank_a, rank_b), strict=True):
        n = rank - len(part.replace("...", ""))
        if n < 0 or ("..." not in part and n):
            return None
        filled.append(part.replace("...", spare[:n][::-1]) if "..." in part else part)
        longest = max(longest, n if "..." in part else 0)
    if not arrow:
        out = ("..." if "..." in sides else "") + "".join(
            sorted(c for c in set(sides) - set(".,") if sides.count(c) == 1)
        )
    return filled[0], filled[1], out.replace("...", spare[:longest][::-1])


_RULES: Mapping[str, Callable[[_Follower, Node, list[str]], Dims | None]] = {
    "gate": _Follower._gate,
    "norm": _Follower._norm,
    "conv": _Follower._conv,
    "conv_transpose": _Follower._conv,
    "linear": _Follower._linear,
    "pool": _Follower._pool,
    "adaptive_pool": _Follower._pool,
    "reduce": _Follower._reduce,
    "cat": _Follower._cat,
    "stack": _Follower._stack,
    "reshape": _Follower._reshape,
    "permute": _Follower._permute,
    "slice": _Follower._slice,
    "expand": _Follower._expand,
    "interpolate": _Follower._places,
    "pixel_shuffle": _Follower._places,
    "pixel_unshuffle": _Follower._places,
    "unfold": _Follower._unfold,
    "matmul": _Follower._matmul,
    "attention": _Follower._attention,
    "multi_head_attention": _Follower._multi_head,
    "recurrent": _Follower._recurrent,
    "embedding": _Follower._embedding,
    "write": _Follower._write,
    "opaque": _Follower._opaque,
}
