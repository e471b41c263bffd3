"""The modules of a network as its graph has them: shapes, kernels, parameters, without what the calculus says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sed_torch.graph import Graph, ModuleInfo, Node, Parameter, itemsize
from sed_torch.ops import OPS

__all__ = ["Layer", "Shape", "Structure", "layers_of", "upwards"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A module as the graph has it, without what the calculus says of it.

    Attributes:
        path: dotted path, ``""`` for the root.
        type: class name.
        called: whether any operator ran in it or in what it holds, or read a parameter of theirs.
        training: whether it was in train mode.
        inputs: shapes of the maps it reads from outside, batch included.
        outputs: shapes of the maps it leaves to the outside.
        window, stride, dilation, groups: of its convolutions and pools, each different one once; empty where it has
            none of its own.
        parameters: its own, without those of the modules inside it.
        activations: entries, a sample, of what its own convolutions, linear layers and matrix products leave.
        memory: bytes, for the batch that was traced, of what all its own operators leave in memory of their own.
        input_bytes: of the network's inputs, at the root; else 0.
    """

    path: str
    type: str
    called: bool
    training: bool
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    window: tuple[Shape, ...]
    stride: tuple[Shape, ...]
    dilation: tuple[Shape, ...]
    groups: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    activations: float
    memory: float
    input_bytes: float = 0.0


class Structure:
    """The layers of a graph, read off it when somebody asks."""

    def __init__(self, graph: Graph | None = None, layers: Iterable[Layer] = ()) -> None:
        self._graph = graph
        self._layers = tuple(layers)

    @property
    def graph(self) -> Graph | None:
        """The graph, None for layers that were read back."""
        return self._graph

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """One a module, in the order of ``named_modules()``."""
        return self._layers if self._graph is None else layers_of(self._graph)


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """The modules of a graph."""
    inside: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for path in upwards(node.path):
            inside.setdefault(path, []).append(node)
    readers: dict[str, list[str]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node.path)
    for name in graph.outputs:
        readers.setdefault(name, []).append("..")  # nowhere in the model
    owned: dict[str, list[Parameter]] = {}
    for parameter in graph.parameters:
        owned.setdefault(parameter.name.rpartition(".")[0], []).append(parameter)
    # multi-head attention reads the weights of its projection without calling it
    reads = (n.target.rpartition(".")[0] for n in graph.nodes if n.op == "parameter")
    alive = {p for path in reads for p in upwards(path)}
    return tuple(
        _layer(graph, m, inside.get(m.path, []), m.path in alive, readers, owned.get(m.path, []))
        for m in graph.modules
    )


_PRODUCTS = frozenset({"conv", "conv_transpose", "linear", "matmul"})


def _layer(
    graph: Graph,
    module: ModuleInfo,
    nodes: Sequence[Node],
    alive: bool,
    readers: Mapping[str, Sequence[str]],
    parameters: Sequence[Parameter],
) -> Layer:
    path = module.path
    ran = [n for n in nodes if n.op not in ("parameter", "constant")]
    own = [n for n in ran if n.path == path]
    windows = [n.attrs for n in own if "window" in n.attrs]
    products = [n for n in own if (op := OPS.get(n.op)) is not None and op.rule in _PRODUCTS]
    return Layer(
        path=path,
        type=module.type,
        called=alive or bool(ran),
        training=module.training,
        inputs=tuple(_read(graph, ran, path)),
        outputs=tuple(_left(graph, ran, path, readers)),
        window=_each(tuple(a["window"]) for a in windows),
        stride=_each(tuple(a.get("stride", ())) for a in windows),
        dilation=_each(tuple(a.get("dilation", ())) for a in windows),
        groups=_each(int(a["groups"]) for a in windows if "groups" in a),
        parameters=tuple(parameters),
        activations=sum(n.numel for n in products) / max(graph.batch, 1),
        memory=float(sum(n.numel * itemsize(n.dtype) for n in own if not n.shares and n.op != "input")),
        input_bytes=float(sum(n.numel * itemsize(n.dtype) for n in own if n.op == "input")),
    )


def _each(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


def upwards(path: str) -> Iterator[str]:
    """A path and all that it lies in, the root last."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _within(path: str, outer: str) -> bool:
    return not outer or path == outer or path.startswith(f"{outer}.")


def _read(graph: Graph, nodes: Sequence[Node], path: str) -> Iterator[Shape]:
    """Shapes of what nodes of a module read from outside it; of the root, its inputs."""
    if not path:
        yield from (n.shape for n in nodes if n.op == "input" and n.shape is not None)
        return
    mine = {n.name for n in nodes}
    seen: set[str] = set()
    for node in nodes:
        for name in node.inputs:
            source = graph[name]
            if name in mine or name in seen or source.op in ("parameter", "constant"):
                continue
            seen.add(name)
            if source.shape is not None:
                yield source.shape


def _left(
    graph: Graph, nodes: Sequence[Node], path: str, readers: Mapping[str, Sequence[str]]
) -> Iterator[Shape]:
    """Shapes of what a module leaves: results that are read outside it, else its last."""
    if not path:
        yield from (s for o in graph.outputs if (s := graph[o].shape) is not None)
        return
    left = [n for n in nodes if any(not _within(r, path) for r in readers.get(n.name, ()))]
    for node in left or nodes[-1:]:
        if node.shape is not None:
            yield node.shape
