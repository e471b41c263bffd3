"""The graph of a forward in training and in evaluation mode: the one read off the other where it can be."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from sed_torch.errors import InputError, TraceError
from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS
from sed_torch.tracing import trace
from sed_torch.tracing.asking import asks_for_mode, switched_by_mode
from sed_torch.tracing.shadow import unwrap
from sed_torch.tracing.switching import Lines, Switched
from sed_torch.tracing.watching import mode_reads

__all__ = ["both_modes", "dropping", "resting"]

Given = Mapping[str, Any]
"""How the inputs were given, as :func:`sed_torch.tracing.trace` takes it."""


_BY_ENTRY = OPS.having("elementwise") | {"to"}
"""What noise is put on with, and what stands beside it."""


def both_modes(model: nn.Module, given: Given, batch: int | None) -> tuple[Graph, Graph, tuple[str, ...]]:
    """The graphs of training and of evaluation mode, and what had to be assumed.

    Where the mode does no more than switch noise and statistics, one forward is followed, and what noise it has is
    taken out for the other.

    Raises:
        TraceError: the forward could be followed in neither mode.
    """
    training: Graph | None = None
    assumed: tuple[str, ...] = ()
    why = ""
    with mode_reads() as reads:
        try:
            training, assumed = _at_batch(model, given, batch, training=True)
        except TraceError as error:  # by the front-ends that evaluation mode has beside
            why = str(error).split("\n", 1)[0]
    switched = switched_by_mode(unwrap(model), reads) if training is not None else None
    if training is not None and switched is not None:
        rest = resting(training, unwrap(model), switched)
        return training, rest or _at_batch(model, given, batch)[0], assumed
    evaluation, assumed = _at_batch(model, given, batch)
    if training is not None:
        return training, evaluation, assumed
    words = (
        f"training mode could not be followed, so evaluation mode was read, with its dropouts at work ({why})"
    )
    return dropping(evaluation), evaluation, (*assumed, words)


def _at_batch(
    model: nn.Module, given: Given, batch: int | None, **options: Any
) -> tuple[Graph, tuple[str, ...]]:
    """The forward at the batch asked for: how a map lies in memory, and so what is copied, may depend on it."""
    if batch is None:
        return trace(model, **given, **options), ()
    try:
        return trace(model, **given, **options, batch=batch), ()
    except InputError:
        graph = trace(model, **given, **options)
    return graph, (f"batch {batch} scaled up from the batch of {graph.batch} that was given",)


def dropping(graph: Graph) -> Graph:
    """A graph of evaluation mode whose dropouts drop: each has a result of its own, and a mask."""
    nodes = tuple(
        replace(n, shares="", facts={**n.facts, "training": True})
        if n.op == "dropout" and n.facts.get("p")
        else n
        for n in graph.nodes
    )
    return replace(graph, nodes=nodes)


def resting(graph: Graph, model: nn.Module, switched: Switched) -> Graph | None:
    """A graph of training mode without its noise: dropouts hand on what they are given, and so does what was done in
    lines that run in training alone.

    None where these do more to a map than to go over its entries, or where others read what they made.
    """
    asked, noise = _Asked(model, switched), _noise(graph)
    gated = asked.gated(graph)
    gone: set[str] = set()
    nodes: list[Node] = []
    before: dict[str, str] = {}  # what was taken out → what ran before it
    for node in graph.nodes:
        data = [i for i in node.inputs if i not in gone]
        if node.name not in gated:
            if len(data) < len(node.inputs):
                return None
            nodes.append(_at_rest(node, asked))
        elif node.name in noise or not data:
            gone.add(node.name)
            before[node.name] = nodes[-1].name if nodes else ""
        elif len(data) == 1 and _hands_on(node, graph[data[0]]):
            nodes.append(Node(node.name, "alias", "alias", (data[0],), node.shape, node.dtype, path=node.path,
                              source=node.source, shares=data[0], until=node.until))  # fmt: skip
        else:
            return None
    if gone & {*graph.outputs}:
        return None
    if before:
        nodes = [replace(n, until=before[n.until]) if n.until in before else n for n in nodes]
    return replace(graph, nodes=tuple(nodes))


def _hands_on(node: Node, data: Node) -> bool:
    """Whether a map leaves an operator as it came, but for its entries."""
    return node.op in _BY_ENTRY and (node.shape, node.dtype) == (data.shape, data.dtype)


class _Asked:
    """What is left to the mode: by the module at a path, or by the line of the code."""

    def __init__(self, model: nn.Module, switched: Switched) -> None:
        self._modules = dict(model.named_modules())
        self._known: dict[type, bool] = {}
        self._gated, self._given = _by_file(switched.gated), _by_file(switched.given)

    def gated(self, graph: Graph) -> set[str]:
        """Nodes that training alone comes by, and the numbers of the forward's own that these alone read."""
        if not self._gated:
            return set()
        found = {n.name for n in graph.nodes if _is_among(n.source, self._gated)}
        kept = {i for n in graph.nodes if n.name not in found for i in n.inputs} | {*graph.outputs}
        return found | {n.name for n in graph.nodes if n.target == "constant" and n.name not in kept}

    def switched(self, node: Node) -> bool:
        """Whether the mode decides if an operator drops entries or takes statistics."""
        if _is_among(node.source, self._given):
            return True
        kind = type(self._modules.get(node.path))
        if kind not in self._known:
            self._known[kind] = kind.__module__.startswith("torch.nn.")
        return self._known[kind] or (OPS[node.op].has("attends") and asks_for_mode(kind))


_ByFile = Mapping[str, Sequence[tuple[int, int]]]


def _by_file(lines: Collection[Lines]) -> _ByFile:
    found: dict[str, list[tuple[int, int]]] = {}
    for file, first, last in lines:
        found.setdefault(file, []).append((first, last))
    return found


def _is_among(source: str | None, lines: _ByFile) -> bool:
    file, _, line = (source or "").rpartition(":")
    return any(first <= int(line) <= last for first, last in lines.get(file, ()))


def _noise(graph: Graph) -> set[str]:
    """Nodes that hold random numbers, or what is computed from these alone."""
    found: set[str] = set()
    for node in graph.nodes:
        row = OPS.get(node.op)
        drawn = bool(node.facts.get("drawn")) or (row is not None and row.has("random"))
        alone = all(i in found or _is_empty(graph[i]) for i in node.inputs)
        if alone and (drawn or (node.inputs and row is not None and row.has("elementwise"))):
            found |= {node.name, *node.inputs}
    return found


def _is_empty(node: Node) -> bool:
    """Memory that was asked for, of no values yet."""
    return not node.inputs and node.op in OPS and OPS[node.op].rule == "zero"


def _at_rest(node: Node, asked: _Asked) -> Node:
    """A node as evaluation mode has it, where that is for the mode to say."""
    facts = node.facts
    told = facts.get("training") or (facts.get("p") and OPS[node.op].has("attends"))
    if not told or not asked.switched(node):
        return node
    rest = {**facts, "training": False}
    if node.op == "dropout":
        return replace(node, facts=rest, shares=node.inputs[0])
    return replace(node, facts={**rest, "p": 0.0} if "p" in facts else rest)
