"""Graph → topology: each operator's rule is applied to shapes and layouts, and leaves steps of the calculus.

Operators without effect leave no step: their value is the one they read. An unknown operator passes on what
it reads; it is named in the coverage, not here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sed_torch.graph import Graph, Node
from sed_torch.layout import (
    BATCH,
    CHANNEL,
    EQUAL_ATOM,
    Atom,
    Layout,
    axes_in,
    broadcast,
    canonical_layout,
    input_layout,
    is_identity,
    permuted,
    read_axes,
    reshaped,
    resized,
    within,
    without_axes,
)
from sed_torch.ops import OPS
from sed_torch.topology import Kind, Step, Topology, clip_window

__all__ = ["lower"]

_ALL_AXES = frozenset(range(16))


@dataclass(frozen=True, slots=True)
class _Value:
    """What a live node stands for: a step, its field's axes, and where the positions are in the tensor."""

    step: int
    ndim: int
    layout: Layout
    gate: bool = False

    def __post_init__(self) -> None:
        # dimensions taken from another operand have axes that this field lacks: independent entries here
        if any(a.axis >= self.ndim for dim in self.layout for a in dim):
            object.__setattr__(self, "layout", within(self.layout, self.ndim))


def lower(graph: Graph) -> Topology:
    """The topology of a traced graph.

    Only nodes on a path from an input to an output are lowered as such; mixing operators elsewhere are kept
    as dead steps, so that they can be reported.
    """
    try:
        return _Lowering(graph, 0).run()
    except _SequenceFirstError as found:
        return _Lowering(graph, found.batch_dim).run()


class _SequenceFirstError(Exception):
    """A recurrent or attention layer goes along dimension 0 of the input: the batch is another one, or none."""

    def __init__(self, batch_dim: int | None) -> None:
        super().__init__(batch_dim)
        self.batch_dim = batch_dim


class _Lowering:
    def __init__(self, graph: Graph, batch_dim: int | None) -> None:
        self.graph = graph
        self.batch_dim = batch_dim
        first = next((n.shape or () for n in graph.nodes if n.op == "input"), ())
        self.batch = graph.batch if batch_dim == 0 else first[batch_dim] if batch_dim is not None else 1
        self.steps: list[Step] = []
        self.values: dict[str, _Value] = {}
        self.reached = _reached(graph)
        self.owned = _owned_parameters(graph)

    def run(self) -> Topology:
        for node in self.graph.nodes:
            if node.op == "input":
                self._input(node)
            elif node.name in self.reached:
                self._lower(node)
        outputs = tuple(dict.fromkeys(self.values[o].step for o in self.graph.outputs if o in self.values))
        return Topology(tuple(self.steps), outputs, self.graph.name)

    def _input(self, node: Node) -> None:
        layout = input_layout(node.shape or (), self.batch_dim)
        ndim = 1 + max((a.axis for dim in layout for a in dim), default=-1)
        self.values[node.name] = self.emit(node, "input", (), ndim, layout)

    def _lower(self, node: Node) -> None:
        inputs = [self.values[i] for i in node.inputs if i in self.values]
        if not inputs:
            return
        rule = OPS[node.op].rule if node.op in OPS else "keep"
        value = RULES.get(rule, _keep)(self, node, inputs)
        self.values[node.name] = value
        if node.name in self.owned and self.steps[value.step].name != node.name:
            # parameters of an operator that leaves no step of its own (an embedding, a scale, a bias)
            self.values[node.name] = self.emit(
                node, "same", (value.step,), value.ndim, value.layout, gate=value.gate
            )

    def emit(
        self,
        node: Node,
        kind: Kind,
        inputs: tuple[int, ...],
        ndim: int,
        layout: Layout,
        *,
        suffix: str = "",
        gate: bool = False,
        **numbers: Any,
    ) -> _Value:
        """Append a step; the first one of a node owns its parameters."""
        params = 0 if suffix else self.owned.pop(node.name, 0)
        self.steps.append(
            Step(
                name=node.name + suffix,
                kind=kind,
                inputs=inputs,
                path=node.path,
                op=node.op,
                ndim=ndim,
                params=params,
                source=node.source,
                **numbers,
            )
        )
        return _Value(len(self.steps) - 1, ndim, layout, gate)

    def with_others(self, node: Node, value: _Value, inputs: Sequence[_Value]) -> _Value:
        """``value``, on a path with further operands that shape it but do not carry it: offsets, masks, weights."""
        others = tuple(dict.fromkeys(v.step for v in inputs if v.step != value.step))
        if not others:
            return value
        steps = (value.step, *others)
        return self.emit(node, "same", steps, value.ndim, value.layout, suffix=":with", gate=value.gate)

    def goes_along(self, value: _Value, dim: int) -> None:
        """An operator runs through ``dim`` of a value step by step: this cannot be the batch."""
        if self.batch_dim == 0 and any(a.axis == BATCH for a in value.layout[dim]):
            inputs = [n for n in self.graph.nodes if n.op == "input"]
            ranks = [len(n.shape or ()) for n in inputs]
            unbatched = ranks[0] == 1 or (ranks[0] == 2 and "int" not in inputs[0].dtype)
            raise _SequenceFirstError(None if unbatched else 1)

    def on_axes(self, node: Node, value: _Value, dims: Sequence[int]) -> _Value:
        """``value`` with its field along the tensor dimensions ``dims``, in that order."""
        value = self._repeated(node, value, dims)
        axes = read_axes(value.layout, dims)
        if is_identity(axes, value.ndim):
            return value
        return self.emit(node, "view", (value.step,), len(axes), value.layout, suffix=":view", axes=axes)

    def _repeated(self, node: Node, value: _Value, dims: Sequence[int]) -> _Value:
        """Dimensions in which every position stands several times in a row: the field is upsampled there."""
        layout, factor = list(value.layout), [1.0] * value.ndim
        for d in dims:
            dim = layout[d]
            if len(dim) == 2 and dim[0].axis >= 0 and not dim[0].parts and dim[0].step == 1:
                axis, times = dim[0].axis, dim[1].size
                if dim[1].axis == EQUAL_ATOM and sum(axis in axes_in(other) for other in layout) == 1:
                    layout[d] = (Atom(axis, dim[0].size * times),)
                    factor[axis] = float(times)
        if all(f == 1 for f in factor):
            return value
        steps = (value.step,)
        return self.emit(
            node,
            "upsample",
            steps,
            value.ndim,
            tuple(layout),
            suffix=":repeat",
            gate=value.gate,
            factor=tuple(factor),
        )


def _reached(graph: Graph) -> set[str]:
    reached: set[str] = set()
    for node in graph.nodes:
        if node.op == "input" or any(i in reached for i in node.inputs):
            reached.add(node.name)
    return reached


def _owned_parameters(graph: Graph) -> dict[str, int]:
    """Parameters that each live node is the first to read, through nodes that only transform weights."""
    sizes = {n.name: n.numel for n in graph.nodes if n.op == "parameter"}
    reached = _reached(graph)
    first: dict[str, str] = {}
    carried: dict[str, frozenset[str]] = {p: frozenset((p,)) for p in sizes}
    owned: dict[str, int] = {}
    for node in graph.nodes:
        if node.op in ("input", "parameter"):
            continue
        weights = (
            frozenset().union(*(carried.get(i, frozenset()) for i in node.inputs))
            if node.inputs
            else frozenset()
        )
        if node.name not in reached:
            carried[node.name] = weights
            continue
        new = [w for w in weights if w not in first]
        first.update(dict.fromkeys(new, node.name))
        if new:
            owned[node.name] = sum(sizes[w] for w in new)
    return owned


# -- rules: (lowering, node, live inputs) → value ----------------------------------------------------------


def _shape(node: Node) -> tuple[int, ...]:
    return node.shape or ()


def _relayout(node: Node, value: _Value) -> Layout:
    """The value's layout on the node's shape, for operators that keep positions where they are."""
    shape = _shape(node)
    if len(shape) == len(value.layout):
        return tuple(resized_if_needed(dim, n) for dim, n in zip(value.layout, shape, strict=True))
    return reshaped(value.layout, shape)


def resized_if_needed(dim: tuple[Atom, ...], size: int) -> tuple[Atom, ...]:
    """``dim`` itself when it already has ``size`` entries."""
    return dim if math.prod(a.size for a in dim) == size else resized(dim, size)


def _main(inputs: list[_Value]) -> _Value:
    """The operand that carries the map: the one with most spatial dimensions, the first of equals."""
    return max(inputs, key=lambda v: (sum(bool(axes_in(d)) for d in v.layout), v.ndim))


def _keep(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    main = inputs[0] if len(inputs) == 1 else low.with_others(node, _main(inputs), inputs)
    if node.shape is None:
        return main
    return _Value(main.step, main.ndim, _relayout(node, main), main.gate and node.op not in ("unknown",))


def _gate(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    value = _keep(low, node, inputs)
    return _Value(value.step, value.ndim, value.layout, gate=True)


def _norm(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    main = low.with_others(node, inputs[0], inputs)
    layout = _relayout(node, main) if node.shape is not None else main.layout
    return low.emit(node, "norm", (main.step,), main.ndim, layout)


def _mix_numbers(node: Node, batch: int, c_in: int, c_out: int, groups: int, reads: float) -> dict[str, Any]:
    outputs = node.numel / batch
    return {
        "positions": outputs / c_out,
        "c_in": c_in,
        "c_out": c_out,
        "groups": groups,
        "macs": outputs * c_in * reads,
    }


def _conv(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    if node.attrs.get("transposed"):
        return _conv_transpose(low, node, inputs)
    a, x = node.attrs, low.with_others(node, inputs[0], inputs)
    n = len(a["window"])
    rank = len(x.layout)
    seen = low.on_axes(node, x, range(rank - n, rank))
    extent = _extent(low, node, x, n)
    shape = _shape(node)
    numbers = _mix_numbers(node, low.batch, a["c_in"], a["c_out"], a["groups"], math.prod(a["window"]))
    return low.emit(
        node,
        "mix",
        (seen.step,),
        n,
        canonical_layout(shape, n, x.layout[0] if rank > n + 1 else ()),
        window=clip_window(a["window"], extent, a["dilation"]),
        stride=a["stride"],
        dilation=a["dilation"],
        **numbers,
    )


def _extent(low: _Lowering, node: Node, x: _Value, n: int) -> tuple[int, ...]:
    """Sizes of the map an operator slides over: the last n of its first live input."""
    shape = next(low.graph[i].shape for i in node.inputs if i in low.values)
    return tuple((shape or ())[-n:]) if n else ()


def _conv_transpose(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    a, x = node.attrs, low.with_others(node, inputs[0], inputs)
    n, rank = len(a["window"]), len(x.layout)
    seen = low.on_axes(node, x, range(rank - n, rank))
    extent = _extent(low, node, x, n)
    patches = _phases(a["window"], a["stride"], extent)
    outputs = node.numel / low.batch
    positions_in = math.prod(extent)
    value = low.emit(
        node,
        "mix",
        (seen.step,),
        n,
        canonical_layout(_shape(node), n, x.layout[0] if rank > n + 1 else ()),
        window=clip_window(a["window"], extent, (1,) * n),
        stride=(1,) * n,
        dilation=(1,) * n,
        patches=patches,
        positions=outputs / a["c_out"],
        c_in=a["c_in"],
        c_out=a["c_out"],
        groups=a["groups"],
        macs=positions_in * a["c_in"] * a["c_out"] * float(math.prod(a["window"])),
    )
    if all(s == 1 for s in a["stride"]):
        return value
    return low.emit(node, "dilate", (value.step,), n, value.layout, suffix=":spread", factor=a["stride"])


def _phases(
    window: Sequence[int], stride: Sequence[int], extent: Sequence[int]
) -> tuple[tuple[float, tuple[int, ...]], ...]:
    """Taps an output of each phase reads: a transposed convolution of width k and stride s has s phases an axis."""
    phases: list[tuple[float, tuple[int, ...]]] = [(1.0, ())]
    for k, s, size in zip(window, stride, extent, strict=True):
        counts: dict[int, float] = {}
        for phase in range(s):
            taps = min(-(-(k - phase) // s) if k > phase else 0, size)
            counts[taps] = counts.get(taps, 0.0) + 1.0 / s
        phases = [(w * share, (*taps, t)) for w, taps in phases for t, share in counts.items()]
    return tuple(p for p in phases if all(p[1]))


def _linear(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    c_in, c_out = node.attrs["c_in"], node.attrs["c_out"]
    return _mix_last(low, node, low.with_others(node, inputs[0], inputs), c_in, c_out)


def _mix_last(low: _Lowering, node: Node, x: _Value, c_in: int, c_out: int, suffix: str = "") -> _Value:
    """Contract the last dimension with weights: positions elsewhere stay, those in it are mixed away."""
    mixed = axes_in(x.layout[-1]) if x.layout else frozenset()
    shape = _shape(node)
    layout = _relayout_but_last(x.layout, shape)
    gone = mixed - frozenset().union(*(axes_in(d) for d in layout)) if mixed else frozenset()
    step = x
    if gone and x.ndim:
        # the mixed axes are read out by independent weights: what comes out is independent along them
        kept = [i for i in range(x.ndim) if i not in gone]
        axes = tuple((i, 1, 1) for i in kept)
        step = low.emit(node, "view", (x.step,), len(axes), layout, suffix=":read" + suffix, axes=axes)
        layout = _renumbered(layout, {old: new for new, old in enumerate(kept)})
    ones = (1,) * step.ndim
    return low.emit(
        node,
        "mix",
        (step.step,),
        step.ndim,
        layout,
        suffix=suffix,
        window=ones,
        stride=ones,
        dilation=ones,
        **_mix_numbers(node, low.batch, c_in, c_out, 1, 1.0),
    )


def _relayout_but_last(layout: Layout, shape: tuple[int, ...]) -> Layout:
    if not shape:
        return ()
    last = (Atom(CHANNEL, shape[-1]),) if shape[-1] > 1 else ()
    if len(layout) == len(shape):
        return (*layout[:-1], last)
    return (*reshaped(layout[:-1], shape[:-1]), last)


def _renumbered(layout: Layout, new: Mapping[int, int]) -> Layout:
    def atom(a: Atom) -> Atom:
        axis = new.get(a.axis, CHANNEL) if a.axis >= 0 else a.axis
        return Atom(axis, a.size, a.step, tuple(atom(p) for p in a.parts))

    return tuple(tuple(atom(a) for a in dim) for dim in layout)


def _pool(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    a, x = node.attrs, inputs[0]
    n, rank = len(a["window"]), len(x.layout)
    extent = _extent(low, node, x, n)
    out = _pooled_shape(node, n)
    window = clip_window(a["window"], extent, a["dilation"])
    if all(size == 1 for size in out) and math.prod(extent) > 1:
        return _average(low, node, x, range(rank - n, rank), extent, low_rank=rank)
    seen = low.on_axes(node, x, range(rank - n, rank))
    layout = canonical_layout(_pooled_full(node, x, out), n, x.layout[0] if rank > n + 1 else ())
    return low.emit(
        node, "pool", (seen.step,), n, layout, window=window, stride=a["stride"], dilation=a["dilation"]
    )


def _pooled_shape(node: Node, n: int) -> tuple[int, ...]:
    return tuple((node.shape or node.attrs.get("result", ()))[-n:])


def _pooled_full(node: Node, x: _Value, out: tuple[int, ...]) -> tuple[int, ...]:
    if node.shape is not None:
        return node.shape
    lead = tuple(math.prod(a.size for a in d) for d in x.layout[: len(x.layout) - len(out)])
    return (*lead, *out)


def _average(
    low: _Lowering, node: Node, x: _Value, dims: Sequence[int], extent: Sequence[int], low_rank: int
) -> _Value:
    """Average over whole dimensions: nothing but a constant is left along their axes."""
    counts = [0] * x.ndim
    for d, size in zip(dims, extent, strict=True):
        for axis in axes_in(x.layout[d]):
            counts[axis] = max(counts[axis], _positions(x.layout[d], axis) or size)
    shape = _shape(node)
    kept = tuple(() if i in {d % low_rank for d in dims} else dim for i, dim in enumerate(x.layout))
    layout = kept if len(kept) == len(shape) else reshaped(kept, shape)
    if not any(counts):
        return _Value(x.step, x.ndim, layout)
    gone = frozenset(i for i, c in enumerate(counts) if c)
    return low.emit(node, "average", (x.step,), x.ndim, without_axes(layout, gone), counts=tuple(counts))


def _positions(dim: tuple[Atom, ...], axis: int) -> int:
    return math.prod(a.size for atom in dim for a in (atom.parts or (atom,)) if a.axis == axis)


def _adaptive_pool(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    x = inputs[0]
    n, rank = node.attrs["axes"], len(x.layout)
    extent, out = _extent(low, node, x, n), _pooled_shape(node, n)
    if not out:
        return _keep(low, node, inputs)
    if all(size == 1 for size in out):
        return _average(low, node, x, range(rank - n, rank), extent, low_rank=rank)
    window = tuple(-(-size // o) for size, o in zip(extent, out, strict=True))
    stride = tuple(max(1, size // o) for size, o in zip(extent, out, strict=True))
    seen = low.on_axes(node, x, range(rank - n, rank))
    layout = canonical_layout(_pooled_full(node, x, out), n, x.layout[0] if rank > n + 1 else ())
    return low.emit(node, "pool", (seen.step,), n, layout, window=window, stride=stride, dilation=(1,) * n)


def _reduce(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    x = inputs[0]
    rank = len(x.layout)
    dims = tuple(d for d in node.attrs.get("dims", range(rank)) if d < rank)
    sizes = [math.prod(a.size for a in x.layout[d]) for d in dims]
    if node.shape is None:
        return x
    kept = tuple(() if i in dims else dim for i, dim in enumerate(x.layout))
    if len(node.shape) != rank:
        kept = tuple(dim for i, dim in enumerate(x.layout) if i not in dims)
    value = _average(low, node, x, dims, sizes, low_rank=rank)
    gone = frozenset(a for d in dims for a in axes_in(x.layout[d]))
    layout = (
        without_axes(kept, gone)
        if len(kept) == len(node.shape)
        else reshaped(without_axes(kept, gone), node.shape)
    )
    return _Value(value.step, value.ndim, layout)


def _aligned(low: _Lowering, node: Node, values: list[_Value]) -> tuple[_Value, list[_Value]]:
    """Operands with their fields on the same axes: those of the operand that carries the map."""
    carrier = _main(values)
    main = _settled(low, node, carrier, values)
    others = []
    for k, v in enumerate(values):
        if v is carrier:
            others.append(main)
        elif v.ndim == 0 or not any(axes_in(d) for d in v.layout):
            others.append(v)
        else:
            others.append(_on_main_axes(low, node, main, v, k))
    return main, others


def _settled(low: _Lowering, node: Node, main: _Value, values: list[_Value]) -> _Value:
    """``main`` with every position read where it keeps each s-th only (``x[::2]``) and another operand does not."""
    dims = [d for d in main.layout if axes_in(d)]
    alone = all(len(d) == 1 and not d[0].parts for d in dims)
    steps = {d[0].axis: d[0].step for d in dims}
    if not alone or len(steps) < len(dims) or all(step == 1 for step in steps.values()):
        return main
    if not any(_finer(main, v) for v in values):
        return main
    axes = tuple((i, steps.get(i, 1), 1) for i in range(main.ndim))
    layout = tuple((Atom(d[0].axis, d[0].size),) if axes_in(d) else d for d in main.layout)
    return low.emit(
        node, "view", (main.step,), main.ndim, layout, suffix=":settled", axes=axes, gate=main.gate
    )


def _finer(main: _Value, v: _Value) -> bool:
    """Some dimension of ``v`` goes on by fewer positions of its field than that of ``main``."""
    pairs = zip(reversed(main.layout), reversed(v.layout), strict=False)
    return any(a[-1].axis >= 0 and b[-1].axis >= 0 and b[-1].step < a[-1].step for a, b in pairs if a and b)


def _on_main_axes(low: _Lowering, node: Node, main: _Value, v: _Value, place: int) -> _Value:
    """``v`` along the axes of ``main``, dimension by dimension (both right-aligned, as broadcasting does)."""
    found: list[tuple[int, int, int]] = []
    for axis in range(main.ndim):
        found.append(_axis_of(main, v, axis))
    axes = tuple(found)
    if is_identity(axes, v.ndim):
        return v
    return low.emit(node, "view", (v.step,), main.ndim, main.layout, suffix=f":on{place}", axes=axes)


def _axis_of(main: _Value, v: _Value, axis: int) -> tuple[int, int, int]:
    for i in range(1, min(len(main.layout), len(v.layout)) + 1):
        for a, b in zip(main.layout[-i][::-1], v.layout[-i][::-1], strict=False):
            if a.axis == axis and b.axis >= 0:
                return (b.axis, max(1, b.step // a.step), 1)
            if a.axis == axis and b.axis == EQUAL_ATOM:
                return (-2, 1, 1)
    present = any(axis in axes_in(d) for d in main.layout)
    return (-2, 1, 1) if present else ((axis, 1, 1) if axis < v.ndim else (-1, 1, 1))


def _add(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    if len(inputs) == 1:
        return _keep(low, node, inputs)
    main, aligned = _aligned(low, node, inputs)
    layout = broadcast([main.layout, *(v.layout for v in inputs)], _shape(node))
    return low.emit(node, "add", tuple(v.step for v in aligned), main.ndim, layout)


def _mul(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    """A factor without positions, or one squashed into (0, 1), gates: Γ of the other is kept."""
    if len(inputs) == 1:
        return _keep(low, node, inputs)
    maps = [v for v in inputs if any(axes_in(d) for d in v.layout) and not v.gate]
    if not maps:
        maps = [v for v in inputs if any(axes_in(d) for d in v.layout)][:1] or inputs[:1]
    layout = broadcast([maps[0].layout, *(v.layout for v in inputs)], _shape(node))
    if len(maps) == 1:
        gate = all(v.gate for v in inputs)
        # a step of its own keeps the gate's branch on a live path
        steps = (maps[0].step, *(v.step for v in inputs if v is not maps[0]))
        return low.emit(node, "same", steps, maps[0].ndim, layout, gate=gate)
    main, aligned = _aligned(low, node, maps)
    if main not in maps:
        layout = broadcast([main.layout, *(v.layout for v in inputs)], _shape(node))
    gates = tuple(v.step for v in inputs if v.gate)
    product = low.emit(node, "mul", tuple(v.step for v in aligned), main.ndim, layout)
    if not gates:
        return product
    return low.emit(node, "same", (product.step, *gates), main.ndim, layout, suffix=":gate")


def _cat(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    dim = node.attrs["dim"]
    main, aligned = _aligned(low, node, inputs)
    sizes = [_size_along(low.graph[i], dim) for i in node.inputs if i in low.values]
    shape = _shape(node)
    layout = broadcast([main.layout], shape)
    if len(layout) > dim and main.layout:
        layout = tuple(
            resized_if_needed(main.layout[i] if i < len(main.layout) else d, shape[i]) if i == dim else d
            for i, d in enumerate(layout)
        )
    if len(inputs) == 1:
        return _Value(main.step, main.ndim, layout)
    return low.emit(
        node, "cat", tuple(v.step for v in aligned), main.ndim, layout, weights=tuple(float(s) for s in sizes)
    )


def _size_along(node: Node, dim: int) -> int:
    return node.shape[dim] if node.shape is not None and dim < len(node.shape) else 1


def _stack(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    dim = node.attrs["dim"]
    main, aligned = _aligned(low, node, inputs)
    shape = _shape(node)
    new = (Atom(CHANNEL, shape[dim]),) if shape[dim] > 1 else ()
    layout = (*main.layout[:dim], new, *main.layout[dim:])
    if len(inputs) == 1:
        return _Value(main.step, main.ndim, layout)
    weights = (1.0,) * len(aligned)
    return low.emit(node, "cat", tuple(v.step for v in aligned), main.ndim, layout, weights=weights)


def _reshape(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    x = inputs[0]
    return _Value(x.step, x.ndim, reshaped(x.layout, _shape(node)), x.gate)


def _permute(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    x = inputs[0]
    order = node.attrs["order"]
    layout = permuted(x.layout, order) if len(order) == len(x.layout) else reshaped(x.layout, _shape(node))
    return _Value(x.step, x.ndim, layout, x.gate)


def _slice(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    x = low.with_others(node, inputs[0], inputs)
    dims = node.attrs.get("dims")
    if node.shape is None or dims is None or any(d >= len(x.layout) for d, _ in dims):
        return _keep(low, node, inputs)
    if len(dims) != len(node.shape):
        return _Value(x.step, x.ndim, reshaped(x.layout, node.shape), x.gate)
    layout = tuple(
        _cut(x.layout[d] if d >= 0 else (), step, n) for (d, step), n in zip(dims, node.shape, strict=True)
    )
    return _Value(x.step, x.ndim, layout, x.gate)


def _cut(dim: tuple[Atom, ...], step: int, size: int) -> tuple[Atom, ...]:
    if step == 1:
        return resized_if_needed(dim, size)
    return resized(dim, size, step)


def _expand(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    if node.shape is None:
        return _main(inputs)
    x = inputs[0]
    shape = _shape(node)
    if "repeats" in node.attrs:
        return _repeat_each(low, node, x)
    padded: Layout = (
        ((),) * (len(shape) - len(x.layout)) + x.layout if len(shape) >= len(x.layout) else x.layout
    )
    if len(padded) != len(shape):
        return _Value(x.step, x.ndim, reshaped(x.layout, shape), x.gate)
    layout = tuple(resized_if_needed(d, n) for d, n in zip(padded, shape, strict=True))
    return _Value(x.step, x.ndim, layout, x.gate)


def _repeat_each(low: _Lowering, node: Node, x: _Value) -> _Value:
    """``repeat_interleave``: along an axis of the field it is nearest upsampling; elsewhere entries repeat."""
    dim, repeats = node.attrs["dim"], node.attrs["repeats"]
    shape, cut = _shape(node), x.layout[node.attrs["dim"]]
    whole = len(cut) == 1 and cut[0].axis >= 0 and not cut[0].parts
    elsewhere = any(axes_in(d) & axes_in(cut) for i, d in enumerate(x.layout) if i != dim)
    if repeats == 1 or not whole or elsewhere:
        layout = tuple(resized_if_needed(d, n) for d, n in zip(x.layout, shape, strict=True))
        return _Value(x.step, x.ndim, layout, x.gate)
    axis, step = cut[0].axis, cut[0].step
    if step > 1:
        axes = tuple((i, step if i == axis else 1, 1) for i in range(x.ndim))
        x = low.emit(node, "view", (x.step,), x.ndim, x.layout, suffix=":view", axes=axes, gate=x.gate)
    layout = (*x.layout[:dim], (Atom(axis, shape[dim]),), *x.layout[dim + 1 :])
    factor = tuple(float(repeats) if i == axis else 1.0 for i in range(x.ndim))
    return low.emit(node, "upsample", (x.step,), x.ndim, layout, factor=factor, gate=x.gate)


def _interpolate(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    x = inputs[0]
    before = next(low.graph[i].shape for i in node.inputs if i in low.values) or ()
    after = _shape(node)
    if len(before) != len(after):
        return _keep(low, node, inputs)
    dims = list(range(2, len(after)))
    factor = tuple(after[d] / before[d] for d in dims)
    if all(f == 1 for f in factor):
        return x
    seen = low.on_axes(node, x, dims)
    layout = canonical_layout(after, len(dims), x.layout[0])
    # an axis of one position is repeated: nothing but a constant along it, and `view` has said so already
    known = tuple(1.0 if before[d] == 1 else f for d, f in zip(dims, factor, strict=True))
    if all(before[d] == 1 for d in dims):
        equal = tuple(
            (Atom(EQUAL_ATOM, after[i]),) if i in dims and after[i] > 1 else d for i, d in enumerate(layout)
        )
        return _Value(x.step, x.ndim, equal, x.gate)
    return low.emit(node, "upsample", (seen.step,), len(dims), layout, factor=known)


def _pixel_shuffle(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    x, r = inputs[0], node.attrs["factor"]
    rank = len(x.layout)
    seen = low.on_axes(node, x, (rank - 2, rank - 1))
    layout = canonical_layout(_shape(node), 2, x.layout[0] if rank > 3 else ())
    return low.emit(node, "dilate", (seen.step,), 2, layout, factor=(r, r))


def _pixel_unshuffle(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    x, r = inputs[0], node.attrs["factor"]
    rank = len(x.layout)
    axes = read_axes(x.layout, (rank - 2, rank - 1))
    strided = tuple((a, s * r, d) if a >= 0 and d == 1 else (a, s, d) for a, s, d in axes)
    layout = canonical_layout(_shape(node), 2, x.layout[0] if rank > 3 else ())
    return low.emit(node, "view", (x.step,), 2, layout, axes=strided)


def _unfold(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    """im2col: (N, C, *positions) → (N, C·k, patches). The taps of a patch stand side by side as channels."""
    x, shape = inputs[0], _shape(node)
    if "dim" in node.attrs:
        return _sliding_window(node, x)
    if len(x.layout) != len(shape) + 1:
        return _keep(low, node, inputs)
    rank = len(x.layout)
    seen = low.on_axes(node, x, (rank - 2, rank - 1))
    grid = _patches(node.attrs, _extent(low, node, x, 2))
    patches = tuple(
        Atom(i, n, s) for i, (n, s) in enumerate(zip(grid, node.attrs["stride"], strict=True)) if n > 1
    )
    lead = x.layout[: rank - 3]
    return _Value(seen.step, seen.ndim, (*lead, (Atom(CHANNEL, shape[-2]),), patches))


def _patches(attrs: Mapping[str, Any], extent: Sequence[int]) -> tuple[int, ...]:
    """Places of a window along each axis."""
    numbers = zip(extent, attrs["window"], attrs["stride"], attrs["padding"], attrs["dilation"], strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in numbers)


def _sliding_window(node: Node, x: _Value) -> _Value:
    """``Tensor.unfold``: a dimension becomes the places of a window, and a new last one runs within it."""
    dim, size, step = (node.attrs[k] for k in ("dim", "size", "step"))
    cut = x.layout[dim]
    places = resized(cut, _shape(node)[dim], step)
    layout = (*x.layout[:dim], places, *x.layout[dim + 1 :], resized_if_needed(cut, size))
    return _Value(x.step, x.ndim, layout, x.gate)


def _matmul(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    if node.attrs.get("added"):
        return _matmul_operands(low, node, list(node.inputs[1:]))
    if node.op != "grouped_mm":
        return _matmul_operands(low, node, list(node.inputs))
    mixed = _matmul_operands(low, node, list(node.inputs[:2]))  # what follows says where the groups end
    return low.with_others(node, mixed, inputs[2:])


def _matmul_operands(low: _Lowering, node: Node, names: list[str]) -> _Value:
    live = [n for n in names if n in low.values]
    if not live:
        return _keep(low, node, [low.values[i] for i in node.inputs if i in low.values])
    shapes = [low.graph[n].shape or () for n in names]
    if len(names) != 2:
        return _keep(low, node, [low.values[n] for n in live])
    equation = node.attrs.get("equation") or _matmul_equation(*(len(s) for s in shapes))
    a, b, out = _parsed(equation, shapes, len(_shape(node)))
    extents = {**dict(zip(a, shapes[0], strict=False)), **dict(zip(b, shapes[1], strict=False))}
    contracted = [c for c in dict.fromkeys(a + b) if c in a and c in b and c not in out]
    reads = math.prod(extents[c] for c in contracted)
    letters = {names[0]: a, names[1]: b} if names[0] != names[1] else {names[0]: a}
    layout = _contracted_layout(low, live, letters, out, _shape(node))
    if len(live) == 1:
        return _matmul_with_weights(low, node, live[0], letters[live[0]], out, contracted, extents, layout)
    return _attend(low, node, live, letters, contracted, reads, layout)


def _matmul_equation(rank_a: int, rank_b: int) -> str:
    if rank_a == 1 and rank_b == 1:
        return "k,k->"
    batch = "abcdefgh"[: max(rank_a, rank_b) - 2]
    left = batch[len(batch) - max(rank_a - 2, 0) :] + ("mk" if rank_a > 1 else "k")
    right = batch[len(batch) - max(rank_b - 2, 0) :] + ("kn" if rank_b > 1 else "k")
    out = batch + ("m" if rank_a > 1 else "") + ("n" if rank_b > 1 else "")
    return f"{left},{right}->{out}"


def _parsed(equation: str, shapes: Sequence[tuple[int, ...]], rank_out: int) -> tuple[str, str, str]:
    left, _, out = equation.partition("->")
    a, _, b = left.partition(",")
    spare = "ZYXWVUTSRQPO"
    longest = max(
        (len(s) - len(t.replace("...", "")) for s, t in zip(shapes, (a, b), strict=False) if "..." in t),
        default=0,
    )
    a, b = (
        t.replace(
            "...", spare[longest - (len(s) - len(t.replace("...", ""))) : longest] if "..." in t else ""
        )
        for s, t in zip(shapes, (a, b), strict=False)
    )
    out = out.replace("...", spare[:longest])
    if "->" not in equation:
        out = "".join(sorted(c for c in set(a + b) if (a + b).count(c) == 1))
    return a, b, out


def _contracted_layout(
    low: _Lowering, live: Sequence[str], letters: Mapping[str, str], out: str, shape: tuple[int, ...]
) -> Layout:
    dims: list[tuple[Atom, ...]] = []
    for c, size in zip(out, shape, strict=False):
        options = [
            low.values[n].layout[letters[n].index(c)]
            for n in live
            if c in letters[n] and letters[n].index(c) < len(low.values[n].layout)
        ]
        options = [o for o in options if math.prod(a.size for a in o) == size]
        dims.append(options[0] if options else ((Atom(CHANNEL, size),) if size > 1 else ()))
    return (
        tuple(dims) if len(dims) == len(shape) else tuple((Atom(CHANNEL, n),) if n > 1 else () for n in shape)
    )


def _matmul_with_weights(
    low: _Lowering,
    node: Node,
    name: str,
    letters: str,
    out: str,
    contracted: Sequence[str],
    extents: Mapping[str, int],
    layout: Layout,
) -> _Value:
    """One operand is a weight: a linear layer spelled as a product."""
    x = low.values[name]
    c_in = math.prod(extents[c] for c in contracted)
    c_out = math.prod(extents[c] for c in out if c not in letters) or 1
    if not contracted:  # an outer product with weights mixes nothing
        return _Value(x.step, x.ndim, layout)
    ones = (1,) * x.ndim
    return low.emit(
        node,
        "mix",
        (x.step,),
        x.ndim,
        layout,
        window=ones,
        stride=ones,
        dilation=ones,
        **_mix_numbers(node, low.batch, c_in, max(c_out, 1), 1, 1.0),
    )


def _attend(
    low: _Lowering,
    node: Node,
    live: Sequence[str],
    letters: Mapping[str, str],
    contracted: Sequence[str],
    reads: int,
    layout: Layout,
) -> _Value:
    """A product of two maps. Contracting positions averages the map that is summed over (attention)."""
    values = [low.values[n] for n in live]
    macs = node.numel / low.batch * reads
    source = values[-1]
    summed = frozenset(
        axis
        for c in contracted
        for axis in axes_in(source.layout[letters[live[-1]].index(c)] if c in letters[live[-1]] else ())
    )
    if not summed:
        main = values[0]
        steps = tuple(v.step for v in values)
        return low.emit(node, "same", steps, main.ndim, layout, macs=macs)
    counts = tuple(
        max((_positions(d, axis) for d in source.layout if axis in axes_in(d)), default=0)
        if axis in summed
        else 0
        for axis in range(source.ndim)
    )
    value = low.emit(
        node,
        "attend",
        (source.step, *(v.step for v in values[:-1])),
        source.ndim,
        without_axes(layout, _ALL_AXES),
        counts=counts,
        macs=macs,
    )
    return value


def _attention(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    """softmax(QKᵀ)V: the map of V averaged over its positions, laid out as Q."""
    q, v = inputs[0], inputs[min(2, len(inputs) - 1)]
    shape = _shape(node)
    named = [low.graph[i].shape or () for i in node.inputs[:3]]
    length = named[1][-2] if len(named) > 1 and len(named[1]) > 1 else 1
    width = named[0][-1] if named[0] else 1
    macs = math.prod(shape[:-1]) * length * (width + shape[-1]) / low.batch if shape else 0.0
    axes = axes_in(v.layout[-2]) if len(v.layout) > 1 else frozenset()
    counts = tuple(_positions(v.layout[-2], a) if a in axes else 0 for a in range(v.ndim))
    layout = without_axes(broadcast([q.layout], shape), _ALL_AXES)
    layout = (
        (*layout[:-1], ((Atom(CHANNEL, shape[-1]),) if shape and shape[-1] > 1 else ())) if layout else layout
    )
    steps = (v.step, *(i.step for i in inputs if i.step != v.step))
    return low.emit(node, "attend", steps, v.ndim, layout, counts=counts, macs=macs)


def _multi_head_attention(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    """nn.MultiheadAttention on (tokens, batch, channels): input projections, attention, output projection."""
    a = node.attrs
    q, k, v = (low.values.get(i, inputs[0]) for i in node.inputs[:3])
    shapes = [low.graph[i].shape or () for i in node.inputs[:3]]
    for x, shape in zip((q, k, v), shapes, strict=True):
        if len(shape) == len(x.layout):
            low.goes_along(x, 0)
    tokens = [math.prod(s[:-1]) / low.batch for s in shapes]
    embed = a["embed"]
    widths = _packed(node.inputs[:3], a)
    sources = zip((q, k, v), tokens, (embed, a["k_in"], a["v_in"]), widths, ("", ":k", ":v"), strict=True)
    steps: list[_Value] = []
    for x, n, c_in, times, suffix in sources:
        if times:
            step = _pointwise(low, node, x, suffix, positions=n, c_in=c_in, c_out=times * embed)
        steps.append(step)
    source = steps[2]
    dims = [d for d in source.layout if axes_in(d)]
    counts = tuple(max((_positions(d, i) for d in dims), default=0) for i in range(source.ndim))
    kept = without_axes(q.layout, _ALL_AXES)
    if node.inputs[0] not in low.values:  # learned queries: each reads the same average
        kept = tuple((Atom(EQUAL_ATOM, n),) if n > 1 else () for n in shapes[0][:-1])
        kept += ((Atom(CHANNEL, embed),) if embed > 1 else (),)
    attended = low.emit(
        node,
        "attend",
        tuple(dict.fromkeys((source.step, steps[0].step, steps[1].step))),
        source.ndim,
        kept,
        suffix=":attend",
        counts=counts,
        macs=2.0 * tokens[0] * shapes[1][0] * embed,
    )
    return _pointwise(low, node, attended, ":out", positions=tokens[0], c_in=embed, c_out=a["out"])


def _packed(names: Sequence[str], a: Mapping[str, Any]) -> tuple[int, int, int]:
    """How many of the three projections each operand gets in one product: torch packs those of one tensor."""
    query, key, value = names
    if key != value or a["k_in"] != a["embed"]:
        return 1, 1, 1
    return (3, 0, 0) if query == key else (1, 2, 0)


def _recurrent(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    """Each layer and direction mixes its input and its state into the gates at every position."""
    a, x, states = node.attrs, inputs[0], inputs[1:]
    shape = next(low.graph[i].shape for i in node.inputs if i in low.values) or ()
    if a["time"] is not None and len(shape) == 3:
        low.goes_along(x, a["time"])
    positions = math.prod(shape[:-1]) / low.batch if shape else 1.0
    width, step = max(a["gates"] * a["hidden"], 1), low.with_others(node, x, states[1:])
    for place, (c_in, c_state, projection) in enumerate(a["layers"]):
        numbers = {"positions": positions, "c_out": width}
        before = states[0] if states and place == 0 else step
        name = "" if place == 0 else f":in{place}"
        new = _pointwise(low, node, step, name, c_in=c_in, **numbers)
        old = _pointwise(low, node, before, f":state{place}", c_in=c_state, **numbers)
        step = low.emit(node, "add", (new.step, old.step), step.ndim, step.layout, suffix=f":sum{place}")
        if projection:
            step = _pointwise(
                low,
                node,
                step,
                f":projection{place}",
                c_in=a["hidden"],
                c_out=projection,
                positions=positions,
            )
    layout = step.layout
    if node.shape is not None:
        layout = _relayout_but_last(layout, node.shape)
    return _Value(step.step, step.ndim, layout)


def _pointwise(
    low: _Lowering, node: Node, x: _Value, suffix: str, *, positions: float, c_in: int, c_out: int
) -> _Value:
    """A linear layer at each position, as a part of a larger operator."""
    ones = (1,) * x.ndim
    return low.emit(
        node,
        "mix",
        (x.step,),
        x.ndim,
        x.layout,
        suffix=suffix,
        window=ones,
        stride=ones,
        dilation=ones,
        positions=positions,
        c_in=max(c_in, 1),
        c_out=c_out,
        macs=positions * c_in * c_out,
    )


def _embedding(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    """A row of the table for each token: positions stay, channels are new."""
    x, shape = inputs[0], _shape(node)
    channel = (Atom(CHANNEL, shape[-1]),) if shape and shape[-1] > 1 else ()
    if node.attrs.get("bag"):
        return low.emit(node, "same", (x.step,), x.ndim, without_axes((x.layout[0], channel), _ALL_AXES))
    return low.emit(node, "same", (x.step,), x.ndim, (*x.layout, channel))


def _write(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    """x[i] = y: what is written and what it is written into, weighted by their entries."""
    shape = _shape(node)
    main, aligned = _aligned(low, node, inputs)
    layout = (
        tuple(resized_if_needed(d, n) for d, n in zip(main.layout, shape, strict=True))
        if len(main.layout) == len(shape)
        else reshaped(main.layout, shape)
    )
    if len(inputs) == 1:
        return _Value(main.step, main.ndim, layout)
    sizes = [low.graph[i].numel or 1 for i in node.inputs if i in low.values]
    weights = tuple(float(s) for s in sizes)
    return low.emit(node, "cat", tuple(v.step for v in aligned), main.ndim, layout, weights=weights)


def _item(low: _Lowering, node: Node, inputs: list[_Value]) -> _Value:
    return _keep(low, node, inputs)


Rule = Callable[[_Lowering, Node, list[_Value]], _Value]

RULES: Mapping[str, Rule] = {
    "keep": _keep,
    "gate": _gate,
    "norm": _norm,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "linear": _linear,
    "pool": _pool,
    "adaptive_pool": _adaptive_pool,
    "reduce": _reduce,
    "add": _add,
    "mul": _mul,
    "cat": _cat,
    "stack": _stack,
    "reshape": _reshape,
    "permute": _permute,
    "slice": _slice,
    "expand": _expand,
    "pad": _keep,
    "interpolate": _interpolate,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "unfold": _unfold,
    "matmul": _matmul,
    "attention": _attention,
    "multi_head_attention": _multi_head_attention,
    "recurrent": _recurrent,
    "embedding": _embedding,
    "write": _write,
    "item": _item,
    "opaque": _keep,
}
