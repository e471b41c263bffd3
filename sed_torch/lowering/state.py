"""What a node stands for while a graph is lowered, and what every rule asks: steps, operands, shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sed_torch.batching import find_batch
from sed_torch.graph import Graph, Node
from sed_torch.lowering.axes import (
    EQUAL_ATOM,
    Atom,
    Layout,
    axes_in,
    input_layout,
    is_identity,
    map_of,
    read_axes,
    reshaped,
    resized,
    within,
)
from sed_torch.lowering.work import macs_of
from sed_torch.topology import Kind, Step

__all__ = [
    "ALL_AXES",
    "Lowering",
    "NodeField",
    "main_of",
    "mix_numbers",
    "relayout",
    "resized_if_needed",
    "shape_of",
]


ALL_AXES = frozenset(range(16))


@dataclass(frozen=True, slots=True)
class NodeField:
    """What a live node stands for.

    Attributes:
        step: index of the step that leaves its field.
        ndim: axes of that field.
        layout: where the positions are in the tensor.
        gate: it is a factor between 0 and 1, or (``"inverse"``) the reciprocal of a size: multiplying a map
            with it leaves the map's Γ.
    """

    step: int
    ndim: int
    layout: Layout
    gate: bool | Literal["inverse"] = False

    def __post_init__(self) -> None:
        # dimensions taken from another operand have axes that this field lacks: independent entries here
        if any(a.axis >= self.ndim for dim in self.layout for a in dim):
            object.__setattr__(self, "layout", within(self.layout, self.ndim))


class Lowering:
    """A graph on its way to a topology: the steps so far, and the value of each node."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.axes = find_batch(graph)
        self.steps: list[Step] = []
        self.values: dict[str, NodeField] = {}
        self.reached = _reached(graph)
        self.owned, self.learned = _owned_parameters(graph, self.reached)

    def emit(
        self,
        node: Node,
        kind: Kind,
        inputs: tuple[int, ...],
        ndim: int,
        layout: Layout,
        *,
        suffix: str = "",
        gate: bool | Literal["inverse"] = False,
        **numbers: Any,
    ) -> NodeField:
        """Append a step; the first one of a node owns its parameters."""
        params = 0 if suffix else self.owned.pop(node.name, 0)
        if kind == "mix" and numbers["positions"] == 0:  # of no rows: an expert that no token was sent to
            kind, numbers = "same", {}
        channels, size = map_of(layout, ndim)
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
                part_of=node.name if suffix else "",
                **{"channels": channels, "size": size, **numbers},
            )
        )
        return NodeField(len(self.steps) - 1, ndim, layout, gate)

    def emit_pointwise(
        self, node: Node, x: NodeField, layout: Layout, *, suffix: str = "", **numbers: Any
    ) -> NodeField:
        """Append a linear layer at each position of ``x``."""
        ones = (1,) * x.ndim
        numbers |= {"window": ones, "stride": ones, "dilation": ones}
        return self.emit(node, "mix", (x.step,), x.ndim, layout, suffix=suffix, **numbers)

    def aside(self, node: Node, macs: float, *, samples: int | None = None, suffix: str = "") -> None:
        """Note the work of an operator that reads parameters and constants alone: counted, on no path."""
        if macs:
            name, once = node.name + suffix, macs / (samples or self.sharing(node))
            part_of, source = node.name if suffix else "", node.source
            step = Step(name, "learned", (), node.path, node.op, 0, macs=once, source=source, part_of=part_of)
            self.steps.append(step)

    def with_work(self, node: Node, value: NodeField, before: int) -> NodeField:
        """``value``, with the work of its node that no step since ``before`` has counted."""
        work = macs_of(self.graph, node)
        if not work:
            return value
        whole = work / self.sharing(node)
        missing = whole - sum(s.macs for s in self.steps[before:])
        if missing <= 1e-6 * whole:
            return value
        suffix = ":work" if any(s.name == node.name for s in self.steps[before:]) else ""
        step = (value.step,)
        return self.emit(
            node, "same", step, value.ndim, value.layout, suffix=suffix, gate=value.gate, macs=missing
        )

    def data(self, node: Node, place: int = 0) -> NodeField:
        """The value of an operand; where it does not depend on the input, a white map of parameters."""
        name = node.inputs[place]
        found = self.values.get(name)
        if found is None:
            layout = input_layout(self.graph[name].shape or (), None)
            found = self.emit(node, "learned", (), len(layout), layout, suffix=f":learned{place}")
        return found

    def with_others(self, node: Node, value: NodeField, inputs: Sequence[NodeField]) -> NodeField:
        """``value``, on a path with further operands that shape it but do not carry it: offsets, masks, weights."""
        others = tuple(dict.fromkeys(v.step for v in inputs if v.step != value.step))
        if not others:
            return value
        steps = (value.step, *others)
        return self.emit(node, "same", steps, value.ndim, value.layout, suffix=":with", gate=value.gate)

    def samples(self, name: str) -> int:
        """How many samples a node's result holds: all of them, or one that is the same for all."""
        return self.axes.batch if self.axes.carries(name) else 1

    def held(self, name: str) -> tuple[int, int]:
        """(samples in a node's result, samples in all): (1, N) where a forward takes N samples one by one."""
        batch = self.samples(name)
        return (batch if self.axes.holds(name) else 1), batch

    def sharing(self, node: Node) -> int:
        """How many samples share the work of a node: all of them as soon as one operand holds them."""
        return max(self.samples(name) for name in (node.name, *node.inputs))

    def on_axes(self, node: Node, value: NodeField, dims: Sequence[int]) -> NodeField:
        """``value`` with its field along the tensor dimensions ``dims``, in that order."""
        value = self._repeated(node, value, dims)
        axes = read_axes(value.layout, dims)
        if is_identity(axes, value.ndim):
            return value
        channels, _ = map_of(tuple(dim for d, dim in enumerate(value.layout) if d not in dims), 0)
        return self.emit(
            node,
            "view",
            (value.step,),
            len(axes),
            value.layout,
            suffix=":view",
            axes=axes,
            channels=channels,
            size=tuple(math.prod(a.size for a in value.layout[d]) for d in dims),
        )

    def _repeated(self, node: Node, value: NodeField, dims: Sequence[int]) -> NodeField:
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


def _owned_parameters(graph: Graph, reached: set[str]) -> tuple[dict[str, int], frozenset[str]]:
    """Parameters that each live node is the first to read, through nodes that only transform weights.

    And the names of all those nodes: parameters, and what is computed from parameters alone.
    """
    sizes = {n.name: n.numel for n in graph.nodes if n.op == "parameter"}
    taken: set[str] = set()
    carried: dict[str, frozenset[str]] = {p: frozenset((p,)) for p in sizes}
    owned: dict[str, int] = {}
    for node in graph.nodes:
        if node.op in ("input", "parameter"):
            continue
        read = [found for i in node.inputs if (found := carried.get(i))]
        weights = read[0] if len(read) == 1 else frozenset().union(*read)
        if node.name not in reached:
            carried[node.name] = weights
            continue
        new = weights - taken
        if new:
            taken |= new
            owned[node.name] = sum(sizes[w] for w in new)
    return owned, frozenset(name for name, weights in carried.items() if weights)


def shape_of(node: Node) -> tuple[int, ...]:
    """Sizes of a node's result; () for a tuple of results."""
    return node.shape or ()


def relayout(node: Node, value: NodeField) -> Layout:
    """The value's layout on the node's shape, for operators that keep positions where they are."""
    shape = shape_of(node)
    if len(shape) == len(value.layout):
        return tuple(resized_if_needed(dim, n) for dim, n in zip(value.layout, shape, strict=True))
    return reshaped(value.layout, shape)


def resized_if_needed(dim: tuple[Atom, ...], size: int) -> tuple[Atom, ...]:
    """``dim`` itself when it already has ``size`` entries."""
    entries = dim[0].size if len(dim) == 1 else math.prod([a.size for a in dim])
    return dim if entries == size else resized(dim, size)


def main_of(inputs: list[NodeField]) -> NodeField:
    """The operand that carries the map: the one with most spatial dimensions, the first of equals."""
    return max(inputs, key=lambda v: (sum(bool(axes_in(d)) for d in v.layout), v.ndim))


def mix_numbers(
    entries: int, samples: tuple[int, int], c_in: int, c_out: int, groups: int, reads: float
) -> dict[str, Any]:
    """Numbers of a mix that leaves ``entries``, each of which reads ``c_in`` channels at ``reads`` taps.

    ``samples`` are how many of them the result holds, and how many share the work (see ``Lowering.held``).
    """
    held, batch = samples
    return {
        "positions": entries / held / c_out,
        "c_in": c_in,
        "c_out": c_out,
        "groups": groups,
        "macs": entries / batch * c_in * reads,
        "share": held / batch,
    }
