"""What a check looks at: one trace, its score, and the questions that several rules ask of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from sed_torch.attributes import AdaptivePool, Sliding
from sed_torch.diagnostics.lines import assignment
from sed_torch.diagnostics.traces import Aligned, Traces, scaled_dims
from sed_torch.graph import Graph, Node, Parameter
from sed_torch.ops import OPS, canonical
from sed_torch.scoring import Term
from sed_torch.scoring.result import Score
from sed_torch.topology import Topology

__all__ = ["NOT_DATA", "Subject", "common_path"]

NOT_DATA = ("parameter", "constant")


class Subject:
    """A traced model, and what is asked of it more than once.

    Attributes:
        model: the module, unwrapped; read, never run.
        graph: the trace in evaluation mode.
        score: the score of that very trace.
        batch_given: whether the caller gave the batch size.
        loss: the loss the caller named, or None.
        memory: bytes that a training step may take, or None where the caller gave none.
        optimizer: name of the optimiser of that step.
        traces: further traces of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: Graph,
        score: Score,
        *,
        batch_given: bool = False,
        loss: Any = None,
        memory: int | None = None,
        optimizer: str = "adamw",
        traces: Traces | None = None,
    ) -> None:
        self.model = model
        self.graph = graph
        self.score = score
        self.batch_given = batch_given
        self.loss = loss
        self.memory = memory
        self.optimizer = optimizer
        self.traces = traces
        self._once: dict[str, Any] = {}

    def once(self, name: str, compute: Callable[[Subject], Any]) -> Any:
        """``compute(self)``, remembered under a name: what several rules of one theme ask for."""
        if name not in self._once:
            self._once[name] = compute(self)
        return self._once[name]

    @property
    def topology(self) -> Topology:
        """The topology that was scored."""
        return self.score.evaluation.topology

    @cached_property
    def training_graph(self) -> Graph | None:
        """The graph in training mode, traced only when a rule asks; None when it cannot be followed."""
        return self.traces.training if self.traces is not None else None

    @cached_property
    def trained_as(self) -> Subject:
        """The same model as it is trained: over the graph in training mode, where that can be followed."""
        graph = self.training_graph
        return self if graph is None else Subject(self.model, graph, self.score, loss=self.loss)

    @cached_property
    def in_modes(self) -> Subject | None:
        """Over the graph with the flags that operators have in training; None where it cannot be followed."""
        graph = self.traces.modes if self.traces is not None else None
        return None if graph is None else Subject(self.model, graph, self.score, loss=self.loss)

    @property
    def samples(self) -> int:
        """The batch size: with what all inputs begin, else that of the trace."""
        return (self.traces.samples if self.traces is not None else 0) or self.graph.batch

    @cached_property
    def batch_dims(self) -> Mapping[str, tuple[int, ...]] | None:
        """Dimensions of each value that grow with the batch; None where it could not be read at two sizes."""
        other = self.traces.other if self.traces is not None else None
        return scaled_dims(self.graph, other) if isinstance(other, Aligned) else None

    @cached_property
    def modules(self) -> Mapping[str, nn.Module]:
        """Modules by path."""
        return dict(self.model.named_modules())

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """Parameters by name."""
        return {p.name: p for p in self.graph.parameters}

    @cached_property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """The parameters themselves, by name."""
        return dict(self.model.named_parameters())

    @cached_property
    def readers(self) -> Mapping[str, tuple[Node, ...]]:
        """Nodes that read each node, in order; a node that reads it twice stands there once."""
        found: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def needed_readers(self, node: Node) -> tuple[Node, ...]:
        """Readers on which an output depends."""
        needed = self.graph.needed
        return tuple(r for r in self.readers.get(node.name, ()) if r.name in needed)

    @cached_property
    def reached(self) -> frozenset[str]:
        """Nodes that depend on an input."""
        reached: set[str] = set()
        for node in self.graph.nodes:
            if node.op == "input" or any(i in reached for i in node.inputs):
                reached.add(node.name)
        return frozenset(reached)

    @cached_property
    def trained(self) -> frozenset[str]:
        """Nodes whose value depends on a trainable parameter."""
        found: set[str] = set()
        for node in self.graph.nodes:
            if node.op == "parameter":
                parameter = self.parameters.get(node.target)
                if parameter is not None and parameter.trainable:
                    found.add(node.name)
            elif any(i in found for i in node.inputs):
                found.add(node.name)
        return frozenset(found)

    @cached_property
    def live(self) -> tuple[Node, ...]:
        """Operators on a path from an input to an output, in order."""
        return tuple(n for n in self.graph.nodes if n.name in self.graph.live and n.op != "input")

    def data_inputs(self, node: Node) -> list[Node]:
        """The inputs that depend on the network's input, in argument order."""
        return [self.graph[i] for i in node.inputs if i in self.reached]

    def weight(self, node: Node) -> Parameter | None:
        """The parameter that a convolution or linear layer reads as its weight; None when it is computed."""
        if len(node.inputs) > 1 and self.graph[node.inputs[1]].op == "parameter":
            return self.parameters.get(self.graph[node.inputs[1]].target)
        return None

    @cached_property
    def terms(self) -> Mapping[str, Term]:
        """Terms of the score by the name of their node (the first of a node's)."""
        found: dict[str, Term] = {}
        for term in self.score.evaluation.terms:
            found.setdefault(self.topology.steps[term.step].operator, term)
        return found

    def module_at(self, node: Node) -> nn.Module | None:
        """The module in whose forward the node was recorded."""
        return self.modules.get(node.path)

    # -- shapes ------------------------------------------------------------------------------------------

    def extent(self, node: Node) -> tuple[int, ...]:
        """Spatial sizes of the map that a convolution or pool slides over."""
        shape = self.graph[node.inputs[0]].shape if node.inputs else None
        n = len(node.window) or (node.of(AdaptivePool).axes if node.op in OPS.ruled("adaptive_pool") else 0)
        return tuple((shape or ())[-n:]) if n else ()

    def out_extent(self, node: Node) -> tuple[int, ...]:
        """Spatial sizes of what a convolution or pool leaves."""
        n = len(node.window)
        shape = node.shape
        if shape is None:  # a pool that also returns indices
            item = next((r for r in self.readers.get(node.name, ()) if r.op == "item"), None)
            shape = item.shape if item is not None else None
        return tuple((shape or ())[-n:]) if n else ()

    def padding(self, node: Node) -> tuple[int, ...]:
        """Padding before each axis: the module's own, else the least that explains the shapes."""
        module = self.module_at(node)
        a = node.of(Sliding)
        if isinstance(module, _ConvNd) and tuple(module.kernel_size) == a.window:
            if not isinstance(module.padding, str):
                return tuple(int(p) for p in module.padding)
            if module.padding == "valid":
                return (0,) * len(a.window)
        return tuple(
            max(0, (out - 1) * s + d * (k - 1) + 1 - n) // 2
            for out, n, k, s, d in zip(
                self.out_extent(node), self.extent(node), a.window, a.stride, a.dilation, strict=False
            )
        )

    def before_padding(self, node: Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(sizes of the map before any padding operator, positions padded before each axis)."""
        extent, pad = self.extent(node), self.padding(node)
        source = self.graph[node.inputs[0]]
        while source.op == "pad" and source.inputs and self.graph[source.inputs[0]].shape is not None:
            inner = self.graph[source.inputs[0]]
            sizes = tuple((inner.shape or ())[-len(extent) :])
            pad = tuple(p + max(0, n - m) // 2 for p, n, m in zip(pad, extent, sizes, strict=True))
            extent, source = sizes, inner
        return extent, pad

    # -- walks -------------------------------------------------------------------------------------------

    def back_through(self, node: Node, ops: frozenset[str]) -> Node:
        """The value that ``node`` reads first, looked at through operators of ``ops`` with one data input."""
        inputs = self.data_inputs(node)
        found = inputs[0] if inputs else node
        while found.op in ops:
            inputs = self.data_inputs(found)
            if len(inputs) != 1:
                break
            found = inputs[0]
        return found

    def forward_alone(self, node: Node) -> Iterator[Node]:
        """The nodes after ``node`` as long as each value has one reader."""
        while True:
            readers = self.needed_readers(node)
            if len(readers) != 1 or node.name in self.graph.outputs or self._read_behind(node, readers[0]):
                return
            node = readers[0]
            yield node

    def read_again(self, node: Node) -> bool:
        """Whether a value has several readers, or may have one more behind a cut."""
        readers = self.needed_readers(node)
        return len(readers) > 1 or any(self._read_behind(node, r) for r in readers)

    def _read_behind(self, node: Node, reader: Node) -> bool:
        """Whether what follows a cut may read a value too: one that a forward still holds which the cut ended."""
        shared = common_path([node.path, reader.path])
        return any(not shared or f"{path}.".startswith(f"{shared}.") for path in self._cut_in)

    @cached_property
    def _cut_in(self) -> tuple[str, ...]:
        """Modules in whose forwards the graph was cut, because data would choose what comes next."""
        cut = self.graph.frontend == "fx+cut"
        return tuple(n.path for n in self.graph.nodes if cut and n.op == "opaque")

    # -- naming ------------------------------------------------------------------------------------------

    def assigned(self, name: str) -> str | None:
        """``file:line`` of the assignment that made a module or tensor of this dotted name; see :mod:`.lines`."""
        return assignment(self.modules, name)

    def dropout_rate(self, node: Node) -> float:
        """Rate of the nn.Dropout that ran; 0 for a functional call, whose rate the graph does not hold."""
        module = self.module_at(node)
        return float(module.p) if isinstance(module, _DropoutNd) else 0.0

    def is_batch_norm(self, node: Node) -> bool:
        """A batch normalisation that computes its statistics in training."""
        return node.op == "batch_norm" and isinstance(self.module_at(node), _BatchNorm)

    def channels(self, node: Node) -> int:
        """Output channels of a convolution or linear layer."""
        return int(node.attrs.get("c_out", 0))

    def numel(self, node: Node) -> float:
        """Entries a sample."""
        return node.numel / max(self.graph.batch, 1)


def common_path(paths: Sequence[str]) -> str:
    """The deepest module path that holds all of ``paths``."""
    parts = [p.split(".") if p else [] for p in paths]
    if not parts:
        return ""
    shared = 0
    while shared < min(map(len, parts)) and len({p[shared] for p in parts}) == 1:
        shared += 1
    return ".".join(parts[0][:shared])


def is_in_place(node: Node) -> bool:
    """Whether the call overwrote its first argument."""
    target = node.target
    name = canonical(target)
    return (target.endswith("_") and not target.endswith("__")) or (
        name.startswith("__i") and name.endswith("__") and name not in ("__invert__", "__index__", "__int__")
    )


def share(part: float, whole: float) -> float:
    """part / whole, 0 for nothing of nothing."""
    return part / whole if whole and math.isfinite(whole) else 0.0
