"""What layers do along axes: contract, slide, attend, run through, reduce."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sed_torch.attributes import AdaptivePool, Conv, Matmul, Recurrent, Reduce
from sed_torch.batching.axes import FIXED, WALKED, WEAK, Dim, Dims, entries
from sed_torch.batching.moving import Moving
from sed_torch.graph import Node

__all__ = ["BATCH_RULES", "MESSAGES", "Rules"]

MESSAGES = "passes messages along"
"""What the nodes of a graph do, which are read as samples nevertheless."""


_FROM_THE_LEFT: Mapping[str, int] = {
    "stft": 2,
    "istft": 1,
    "view_as_real": 1,
    "view_as_complex": 0,
    "one_hot": 1,
}
"""Calls that change the number of dimensions → how many new ones they end in."""


def reduced_by(node: Node, rank: int) -> frozenset[int]:
    """The dimensions that a reduction of a tensor with that many takes away."""
    named = node.of(Reduce).dims
    return frozenset(d for d in (range(rank) if named is None else named) if d < rank)


def left_by(node: Node, x: Dims, rank: int) -> Dims:
    """The dimensions that a reduction of ``x`` leaves; of one entry those that it keeps, where all are kept."""
    gone = reduced_by(node, len(x))
    if rank == len(x):
        return tuple(() if i in gone else d for i, d in enumerate(x))
    return tuple(d for i, d in enumerate(x) if i not in gone)


class Rules(Moving):
    """Rules of all calls."""

    def _keep(self, node: Node, inputs: list[str]) -> Dims | None:
        """As :meth:`_like_inputs`; where the number of dimensions changes, the first ones stay."""
        x, shape = self.dims[inputs[0]], node.shape or ()
        if (len(inputs) > 1 and node.op not in _FROM_THE_LEFT) or len(x) == len(shape):
            return self._like_inputs(node, inputs)
        if node.op in ("stft", "istft"):
            self.mark(
                x[len(shape) - 2 if node.op == "stft" else len(shape) - 1 :], FIXED, node, "slides along"
            )
        kept = max(len(shape) - _FROM_THE_LEFT.get(node.op, 0), 0)
        return tuple(
            x[i] if i < min(len(x), kept) and entries(x[i]) == n else self.fresh(n)
            for i, n in enumerate(shape)
        )

    def _like_inputs(self, node: Node, inputs: list[str]) -> Dims | None:
        """Entry by entry, operands broadcast against each other."""
        shape = node.shape or ()
        dims: list[Dim] = []
        if node.op == "prelu":
            inputs = inputs[:1]
        for place in range(1, len(shape) + 1):
            met = [self._telling(name, -place) for name in inputs if len(self.dims[name]) >= place]
            told = sorted((found for found in met if found[1]), key=lambda found: found[0], reverse=True)
            for _, other in told[1:]:
                self.unify(told[0][1], other)
            dims.insert(0, told[0][1] if told else ())
        return tuple(d if d or n == 1 else self.fresh(n) for d, n in zip(dims, shape, strict=True))

    def foreign(self, node: Node, inputs: list[str]) -> Dims | None:
        """An operator without a row: what is as large as an operand has its axes, else as far as it begins like it."""
        shape = node.shape or ()
        x = max((self.dims[i] for i in inputs), key=len)
        if tuple(map(entries, x)) == shape:
            return self._like_inputs(node, inputs)
        same = next(
            (i for i, (d, n) in enumerate(zip(x, shape, strict=False)) if entries(d) != n), len(shape)
        )
        self.lost.add(node.name)
        return (*x[:same], *map(self.fresh, shape[len(x[:same]) :]))

    def _telling(self, name: str, place: int) -> tuple[tuple[bool, int], Dim]:
        """A dimension of an operand, and how much it says: one of data more than one of constants, one that is known
        to be a product of axes more than one that is not.
        """
        dim = self.dims[name][place]
        return (name in self.live, len(dim)), dim

    def _gate(self, node: Node, inputs: list[str]) -> Dims | None:
        x = self.dims[inputs[0]]
        dim = node.facts.get("dim") if node.facts else None
        if isinstance(dim, int) and x and -len(x) <= dim < len(x):
            self.mark([x[dim]], WEAK, node, "takes a softmax over")
        return self._like_inputs(node, inputs)

    def _norm(self, node: Node, inputs: list[str]) -> Dims | None:
        x = self.dims[inputs[0]]
        if node.op in ("batch_norm", "instance_norm", "group_norm"):
            unbatched = node.op == "instance_norm" and len(x) == 2
            channels = x[0:1] if unbatched else x[1:2]
        else:
            channels = x[-1:] if node.op in ("layer_norm", "rms_norm") else ()
        self.mark(channels, FIXED, node, "normalises")
        return x

    def _conv(self, node: Node, inputs: list[str]) -> Dims | None:
        a = node.of(Conv)
        n = len(a.window)
        x, kernels = self.dims[inputs[0]], inputs[1] if len(inputs) > 1 else inputs[0]
        shape = node.shape or ()
        made = self.dims[kernels][0] if kernels in self.live and self.dims[kernels] else ()
        if inputs[0] not in self.live:  # a learned map, and kernels that data makes
            if entries(made) != shape[-n - 1]:
                return None
            return (*x[: -n - 1], made, *map(self.fresh, shape[-n:]))
        self.mark(x[-n:], FIXED, node, "slides along")
        apart, mixed = _grouped(x[-n - 1], a.groups)
        self.mark([mixed], FIXED, node, "mixes as channels")
        self.unify(apart, made[: len(apart)])
        return (
            *x[: -n - 1],
            (*apart, *self.fresh(shape[-n - 1] // max(entries(apart), 1))),
            *(self._cut(d, k) for d, k in zip(x[-n:], shape[-n:], strict=True)),
        )

    def _linear(self, node: Node, inputs: list[str]) -> Dims | None:
        x = self.dims[inputs[0]]
        self.mark(x[-1:], FIXED, node, "mixes as channels")
        shape = node.shape or ()
        return (*x[:-1], self.fresh(shape[-1])) if len(shape) == len(x) else x[:-1]

    def _pool(self, node: Node, inputs: list[str]) -> Dims | None:
        n = len(node.window) or node.of(AdaptivePool).axes
        x = self.dims[inputs[0]]
        self.mark(x[-n:], FIXED, node, "slides along")
        return x

    def _reduce(self, node: Node, inputs: list[str]) -> Dims | None:
        if not inputs:
            return None
        x = self.dims[inputs[0]]
        gone = reduced_by(node, len(x))
        self.mark([x[d] for d in gone], WEAK, node, "reduces")
        return left_by(node, x, len(node.shape) if node.shape is not None else len(x) - len(gone))

    def _matmul(self, node: Node, inputs: list[str]) -> Dims | None:
        call = node.of(Matmul)
        names = list(node.inputs[1:] if call.added else node.inputs)[:2]
        if len(node.inputs) - bool(call.added) != 2 or any(n not in self.dims for n in names):
            return None
        a, b = (self.dims[n] for n in names)
        letters = _letters(call.equation, len(a), len(b))
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
        passed = self._messages(node, names, a, b)
        for letter in set(left) & set(right) - set(out):
            if weights:
                self.mark([at[letter]], FIXED, node, "mixes as channels")
            elif not passed:
                self.mark([at[letter]], WALKED, node, "sums over")
        rows, columns = set(out) - set(right), set(out) - set(left)
        if not weights:
            roots = {self.root(x) for c in columns for x, _ in at[c]}
            self.pairs += [(node.name, at[r], at[c]) for r in rows for c in columns if at[r] and at[c]]
            paired = [at[c] for c in rows if any(self.root(x) in roots for x, _ in at[c])]
            self.mark(paired, WEAK, node, "pairs")
        return tuple(at.get(c, ()) for c in out)

    def _messages(self, node: Node, names: list[str], a: Dims, b: Dims) -> bool:
        """A square matrix among the inputs, times what was computed of the nodes of a graph: its rows and columns
        are those nodes. (``x @ w`` of two inputs, the first one square by chance, is no such product, nor is one with
        weights.)
        """
        if names[1] not in self.live and node.op != "_sparse_mm":
            return False
        inputs = [n.name for n in self.graph.nodes if n.op == "input"]
        left, right = (next((i for i in inputs if self.dims[i] == self.dims[n]), None) for n in names)
        if left is None or len(a) != 2 or len(b) != 2 or not a[0] or entries(a[0]) != entries(a[1]):
            return False
        passed = node.op == "_sparse_mm" or right is None or inputs.index(right) < inputs.index(left)
        if passed:
            self.unify(a[0], a[1])
            self.unify(a[1], b[0])
            self.mark(a[:1], WALKED, node, MESSAGES)
        return passed

    def _attention(self, node: Node, inputs: list[str]) -> Dims | None:
        q = self.dims[inputs[0]]
        for name in inputs[1:3]:
            own = self.dims[name]
            if len(own) == len(q):
                for a, b in zip(q[:-2], own[:-2], strict=True):
                    self.unify(a, b)
                self.unify(q[-1], own[-1])
            self.mark(own[-2:-1], WALKED, node, "attends along")
        self.mark(q[-2:-1], WALKED, node, "attends along")
        shape = node.shape or ()
        return (*q[:-1], q[-1] if entries(q[-1]) == shape[-1] else self.fresh(shape[-1]))

    def _multi_head(self, node: Node, inputs: list[str]) -> Dims | None:
        operands = [self.dims[i] for i in node.inputs[:3] if i in self.dims]
        for x in operands:
            level = WALKED if len(x) == 3 else FIXED
            self.mark(x[:1], level, node, "attends along")
            self.mark(x[-1:], FIXED, node, "mixes as channels")
            if len(x) == 3 and len(operands[0]) == 3:
                self.unify(operands[0][1], x[1])
        return operands[0] if operands and node.shape is not None else None

    def _rows(self, inputs: list[str]) -> list[Dim]:
        """Of the data that a recurrent cell reads the dimension of the samples, the most telling first.

        An input or a state of zeros says nothing, whatever its place among the operands.
        """
        rank = len(self.dims[inputs[0]])
        rows = [self._telling(i, 0) for i in inputs if len(self.dims[i]) == rank > 1]
        told = sorted((found for found in rows if found[0][0]), key=lambda found: found[0], reverse=True)
        return [dim for _, dim in told]

    def _recurrent(self, node: Node, inputs: list[str]) -> Dims | None:
        x = next((self.dims[i] for i in node.inputs if i in self.dims), None)
        if x is None:
            return None
        time = node.of(Recurrent).time
        self.mark(x[-1:], FIXED, node, "mixes as channels")
        if time is None and node.op.endswith("_cell"):
            rows = self._rows(inputs)
            for other in rows[1:]:
                self.unify(rows[0], other)
            return (*(rows[:1] or x[:-1]), self.fresh((node.shape or (1,))[-1]))
        if len(x) == 3 and time is not None:
            self.mark([x[time]], WALKED, node, "runs along")
            for name in inputs[1:]:
                own = self.dims[name]
                if len(own) == 3 and self.graph[name].op != "parameter":
                    self.unify(x[1 - time], own[1])
        else:
            self.mark(x[:1], FIXED, node, "runs along")
            for name in inputs[1:]:  # how many sequences are left at each step, of a packed batch
                if len(self.dims[name]) == 1 and _is_row(self.graph[name]):
                    self.mark(self.dims[name], FIXED, node, "counts the steps along")
        return None

    def _embedding(self, node: Node, inputs: list[str]) -> Dims | None:
        ids = next((i for i in inputs if i in self.live), inputs[0])
        x, shape = self.dims[ids], node.shape or ()
        if (
            node.op == "embedding_bag" and len(x) == 1
        ):  # bags of one row of ids: where each begins is a tensor too
            self.mark(x, FIXED, node, "pools into bags")
            begins = next((self.dims[i] for i in node.inputs if i != ids and _is_row(self.graph[i])), ((),))
            bags = begins[0] if begins[0] and entries(begins[0]) == shape[0] else self.fresh(shape[0])
            return (bags, self.fresh(shape[-1]))
        if len(shape) == len(x) + 1:
            return (*x, self.fresh(shape[-1]))
        if len(shape) == len(x) == 2:
            self.mark(x[1:], WEAK, node, "sums over")
            return (x[0], self.fresh(shape[-1]))
        return None

    def _opaque(self, node: Node, inputs: list[str]) -> Dims | None:
        """A module that was not entered is taken to keep its first dimension, if the result has it."""
        x, shape = self.dims[inputs[0]], node.shape or ()
        if not shape or not x or entries(x[0]) != shape[0]:
            return None
        return (x[0], *map(self.fresh, shape[1:]))


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


def _is_row(node: Node) -> bool:
    return len(node.shape or ()) == 1 and node.dtype.startswith("int")


def _grouped(dim: Dim, groups: int) -> tuple[Dim, Dim]:
    """What groups keep apart of a dimension folded from several axes (samples as groups), and what they mix."""
    for i in range(1, len(dim)):
        if entries(dim[:i]) == groups:
            return dim[:i], dim[i:]
    if len(dim) > 1 and entries(dim) == groups:  # a kernel for each channel of each sample
        return dim[:1], dim[1:]
    return (), dim


BATCH_RULES: Mapping[str, Callable[[Rules, Node, list[str]], Dims | None]] = {
    "keep": Rules._keep,
    "gate": Rules._gate,
    "norm": Rules._norm,
    "conv": Rules._conv,
    "conv_transpose": Rules._conv,
    "linear": Rules._linear,
    "pool": Rules._pool,
    "adaptive_pool": Rules._pool,
    "reduce": Rules._reduce,
    "cat": Rules._cat,
    "stack": Rules._stack,
    "reshape": Rules._reshape,
    "permute": Rules._permute,
    "slice": Rules._slice,
    "expand": Rules._expand,
    "interpolate": Rules._places,
    "pixel_shuffle": Rules._places,
    "pixel_unshuffle": Rules._places,
    "unfold": Rules._unfold,
    "matmul": Rules._matmul,
    "attention": Rules._attention,
    "multi_head_attention": Rules._multi_head,
    "recurrent": Rules._recurrent,
    "embedding": Rules._embedding,
    "write": Rules._write,
    "opaque": Rules._opaque,
}
