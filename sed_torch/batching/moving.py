"""What becomes of axes where entries are moved: reshape, slice, concatenation, writes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from sed_torch.attributes import Cut, Expand, Join, Permute, Slice, Write
from sed_torch.batching.axes import FIXED, WEAK, Axes, Axis, Dim, Dims, entries
from sed_torch.graph import Node

__all__ = ["Moving"]


class Moving(Axes):
    """Rules of calls that move entries."""

    def _places(self, node: Node, inputs: list[str]) -> Dims | None:
        """Resizing of positions, where the channels stay as well, and shuffling, which takes them apart."""
        x, shape = self.dims[inputs[0]], node.shape or ()
        if node.op in ("pixel_shuffle", "pixel_unshuffle"):
            keep = max(len(x) - 3, 0)
            self.mark(x[keep:], FIXED, node, "slides along")
        else:
            window = re.search(r"(\d)d", node.target) if node.op == "max_unpool" else None
            keep = len(x) - int(window[1]) if window else 2
            self.mark(x[keep:], FIXED, node, "slides along")
        return (*x[:keep], *(self.fresh(k) for k in shape[keep:])) if len(shape) == len(x) else None

    def _cat(self, node: Node, inputs: list[str]) -> Dims | None:
        at = node.of(Join).dim
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
        at, shape = node.of(Join).dim, node.shape or ()
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

    def _reshape(self, node: Node, inputs: list[str]) -> Dims | None:
        return self._refolded(self.dims[inputs[0]], node.shape or ())

    def _refolded(self, x: Dims, shape: tuple[int, ...]) -> Dims | None:
        """The same entries in the same order as a tensor of another shape.

        What lies between two borders that both shapes have is folded by itself: where 8×5×5 becomes 50×4, what stood
        before it goes on.
        """
        axes = [a for dim in x for a in dim]
        if math.prod(s for _, s in axes) != math.prod(shape):
            return None
        dims: list[Dim] = []
        begin = at = 0
        while at < len(shape):
            end, begin_at, left, right = begin, at, 1, shape[at]
            at += 1
            while left != right:
                if left < right:
                    left *= axes[end][1]
                    end += 1
                else:
                    right *= shape[at]
                    at += 1
            part, sizes = axes[begin:end], shape[begin_at:at]
            dims += self._folded(part, sizes) or self._crossed(part, sizes)
            begin = end
        return tuple(dims)

    def _crossed(self, axes: Sequence[Axis], sizes: Sequence[int]) -> list[Dim]:
        """Axes that the borders of dimensions run across: the first dimension begins with those that fit in whole."""
        first, left = list[Axis](), sizes[0]
        for axis, n in axes:
            if left % n:
                break
            first.append((axis, n))
            left //= n
        return [(*first, *self.fresh(left)), *map(self.fresh, sizes[1:])]

    def _folded(self, axes: Sequence[Axis], sizes: Sequence[int]) -> list[Dim]:
        """Axes laid out along dimensions; an empty list where a border runs across one."""
        pool = list(axes[::-1])
        dims: list[Dim] = []
        for size in sizes:
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
                    return []
            dims.append(tuple(dim))
        return dims

    def _permute(self, node: Node, inputs: list[str]) -> Dims | None:
        x = self.dims[inputs[0]]
        order = node.of(Permute).order
        return tuple(x[i] for i in order) if len(order) == len(x) else None

    def _slice(self, node: Node, inputs: list[str]) -> Dims | None:
        x, shape = self.dims[inputs[0]], node.shape or ()
        dims = node.of(Slice).dims
        if dims is None or any(d >= len(x) for d, _ in dims):
            return None
        kept = {d for d, _ in dims}
        gathered = len(inputs) > 1
        if gathered:
            return self._gathered(node, inputs, dims)
        single = {d for (d, _), n in zip(dims, shape, strict=False) if n == 1}  # as of x[i : i + 1]
        self._drop(node, [d for i, d in enumerate(x) if i not in kept - single])
        if len(dims) != len(shape):
            return None
        return tuple(x[d] if d >= 0 else self.fresh(n) for (d, _), n in zip(dims, shape, strict=True))

    def _gathered(self, node: Node, inputs: list[str], dims: Sequence[tuple[int, int]]) -> Dims | None:
        """Entries looked up by an index: along it there are as many as the index has."""
        x, shape = self.dims[inputs[0]], node.shape or ()
        index = self.dims[inputs[1]]
        if node.op == "gather" or node.op == "take_along_dim":
            for own, taken in zip(x, index, strict=False):
                if entries(own) != entries(taken) and inputs[0] in self.live:
                    self.refer(taken, own, writes=False)
            return tuple(
                d if entries(d) == n else i if entries(i) == n else self.fresh(n)
                for d, i, n in zip(x, index, shape, strict=False)
            )
        new: list[Dim] = []
        places = iter(index)
        for (d, _), n in zip(dims, shape, strict=False):
            own = x[d] if d >= 0 else ()
            if d >= 0 and entries(own) == n:
                new.append(own)
                continue
            taken = next(places, ())
            if own and n == 1:
                self._drop(node, [own])
            elif own:
                self.mark([own], WEAK, node, "selects from")
                self.gathered[node.name] = self._gathered_of(node.name) | {axis for axis, _ in own}
            new.append(taken if entries(taken) == n else self.fresh(n))
            if inputs[0] in self.live:
                self.refer(new[-1], own, writes=False)
                mask = self.graph[inputs[1]].dtype == "bool" and len(index) == 1
                known = self.graph[inputs[1]].op == "constant" and n < entries(own)  # the places of a mask
                if mask or known:  # some of the same: what they refer to
                    self.refer(own, new[-1], writes=False)
        return tuple(new) if len(new) == len(shape) else None

    def _expand(self, node: Node, inputs: list[str]) -> Dims | None:
        x, shape = self.dims[inputs[0]], node.shape or ()
        x = ((),) * (len(shape) - len(x)) + x
        if len(x) != len(shape):
            return None
        dims: list[Dim] = []
        for dim, n in zip(x, shape, strict=True):
            have = entries(dim)
            if have == n:
                dims.append(dim)
            elif n % have:
                dims.append(self.fresh(n))
            elif node.of(Expand).repeats is not None:
                dims.append((*dim, *self.fresh(n // have)))
            else:
                dims.append((*self.fresh(n // have), *dim))
        return tuple(dims)

    def _unfold(self, node: Node, inputs: list[str]) -> Dims | None:
        x, shape = self.dims[inputs[0]], node.shape or ()
        if "dim" in node.attrs:
            self.mark([x[node.of(Cut).dim]], FIXED, node, "slides along")
            return (*(self._cut(d, n) for d, n in zip(x, shape, strict=False)), self.fresh(shape[-1]))
        self.mark(x[-3:], FIXED, node, "slides along")
        return (*x[:-3], *(self.fresh(n) for n in shape[len(x) - 3 :]))

    def _write(self, node: Node, inputs: list[str]) -> Dims | None:
        """``x[index] = y``: what is written in shares the axes of what it is written into."""
        base, value = self.dims.get(node.inputs[0]), self.dims.get(node.inputs[-1])
        if base is None or value is None or len(node.inputs) < 2:
            return base
        region = node.of(Write).dims or tuple(range(len(base)))
        whole = self.graph[node.inputs[0]].shape or ()
        if len(value) != len(region) and math.prod(map(entries, value)) == math.prod(whole):
            value = self._refolded(value, whole) or ()  # through a view of another shape
        places = zip(reversed(region), reversed(value), strict=False)
        if node.of(Write).dims is None and len(value) != len(
            region
        ):  # a diagonal: its first dimensions are theirs
            places = zip(region, value, strict=False)
        one_of = set(range(len(base))) - set(region)
        for place, dim in places:
            if not dim:
                one_of.add(place)
            if 0 <= place < len(base):
                self.unify(base[place], dim)
                if dim and entries(dim) != entries(base[place]) and self._indexes(node, dim):
                    self._scattered(node, dim, base[place])
        sizes = self._input_sizes()
        single = self.dropped.get(node.inputs[-1], frozenset())
        for axis in sorted(single | self._gathered_of(node.inputs[-1])):
            for place, dim in enumerate(base):
                if place in one_of and dim and entries(dim) == sizes.get(self.root(axis)):
                    self.unify(dim, ((axis, entries(dim)),))
                    self.dropped[node.name] = self.dropped.get(node.name, frozenset()) - {axis}
                    break
        return base

    def _indexes(self, node: Node, dim: Dim) -> bool:
        """Whether an index among a write's operands says where each entry of a dimension goes: it has as many."""
        indices = [i for i in node.inputs[1:-1] if self.graph[i].dtype.startswith("int")]
        same = [d for i in indices for d in self.dims.get(i, ()) if entries(d) == entries(dim)]
        for own in same[:1]:
            self.unify(dim, own)
        return bool(same)

    def _scattered(self, node: Node, dim: Dim, to: Dim) -> None:
        """Entries written where an index says: into the nodes of a graph, if there are as many places as those."""
        single = {self.root(a) for axes in self.dropped.values() for a in axes}
        for other in (n for n in self.graph.nodes if n.op == "input" and node.inputs[0] not in self.live):
            first = (self.dims.get(other.name) or ((),))[0]
            rows = {self.root(a) for a, _ in first} & single  # as of a list of edges, sources and targets
            if entries(first) == entries(to) and not rows:
                self.unify(first, to)
                break
        self.refer(dim, to, writes=True)
        self.gathered[node.name] = self._gathered_of(node.name) | {axis for axis, _ in dim}

    def _gathered_of(self, name: str) -> frozenset[int]:
        return self.gathered.get(name, frozenset())
