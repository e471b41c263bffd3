"""The graph of a forward in training and in evaluation mode: the one read off the other where it can be."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from sed_torch.errors import InputError, TraceError
from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS
from sed_torch.tracing import trace
from sed_torch.tracing.asking import asks_for_mode, mode_matters
from sed_torch.tracing.shadow import unwrap
from sed_torch.tracing.watching import mode_reads

__all__ = ["both_modes", "dropping", "resting"]

Given = Mapping[str, Any]
"""How the inputs were given, as :func:`sed_torch.tracing.trace` takes it."""


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
    if training is not None and not mode_matters(unwrap(model), reads):
        rest = resting(training, unwrap(model))
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


def resting(graph: Graph, model: nn.Module) -> Graph | None:
    """A graph of training mode without its noise: dropouts hand on what they are given, and so do products with
    random numbers in modules that ask for their mode.

    None where random numbers are used otherwise, so that the graph does not tell whether the mode switches them.
    """
    asked = _Asked(model)
    noise = _noise(graph)
    switched = {n.name: n for n in graph.nodes if _is_factor(n, noise) and asked(n.path)}
    if not switched:
        return replace(graph, nodes=tuple(_at_rest(n, asked) for n in graph.nodes))
    others = (n for n in graph.nodes if n.name not in switched and n.name not in noise)
    if any(i in noise for n in others for i in n.inputs) or noise & set(graph.outputs):
        return None
    scales = _rescaled(graph, switched, noise)
    if scales is None:
        return None
    switched |= scales
    nodes: list[Node] = []
    before: dict[str, str] = {}  # what was taken out → what ran before it
    for node in graph.nodes:
        if node.name in noise:
            before[node.name] = nodes[-1].name if nodes else ""
        elif node.name in switched:
            data = next(i for i in node.inputs if i not in noise)
            nodes.append(Node(node.name, "alias", "alias", (data,), node.shape, node.dtype, path=node.path,
                              source=node.source, shares=data, until=node.until))  # fmt: skip
        else:
            nodes.append(_at_rest(node, asked))
    return replace(graph, nodes=tuple(replace(n, until=before.get(n.until, n.until)) for n in nodes))


def _rescaled(graph: Graph, switched: Mapping[str, Node], noise: set[str]) -> dict[str, Node] | None:
    """Products with a number that make up for what the noise takes away (``x / keep * mask``), and rest with it.

    The number stands in the noise as well; None where one does not, so that it may be there in evaluation mode too.
    """
    readers = Counter(i for n in graph.nodes for i in n.inputs)
    found: dict[str, Node] = {}
    for node in switched.values():
        data = graph[next(i for i in node.inputs if i not in noise)]
        number = data.facts.get("scalar")
        if data.op not in ("div", "mul") or len(data.inputs) != 1 or data.path != node.path or not number:
            continue
        keep = number if data.op == "div" else 1 / number
        drawn = _numbers(graph, next(i for i in node.inputs if i in noise), noise)
        if readers[data.name] > 1 or not any(math.isclose(keep, k) for k in drawn):
            return None
        found[data.name] = data
    return found


def _numbers(graph: Graph, name: str, noise: set[str]) -> Iterator[float]:
    """The numbers that random ones are compared with, or that are added to them."""
    node = graph[name]
    if isinstance(node.facts.get("scalar"), (int, float)):
        yield float(node.facts["scalar"])
    for i in node.inputs:
        if i in noise:
            yield from _numbers(graph, i, noise)


class _Asked:
    """Whether the module at a path leaves it to its mode to switch something."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules())
        self._known: dict[type, bool] = {}

    def __call__(self, path: str) -> bool:
        module = self._modules.get(path)
        if module is None:
            return False
        kind = type(module)
        if kind not in self._known:
            of_torch = kind.__module__.startswith("torch.nn.")
            self._known[kind] = of_torch or asks_for_mode(kind)
        return self._known[kind]


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


def _is_factor(node: Node, noise: set[str]) -> bool:
    return node.op == "mul" and len(node.inputs) == 2 and sum(i in noise for i in node.inputs) == 1


def _at_rest(node: Node, asked: _Asked) -> Node:
    """A node as evaluation mode has it, where that is for its module to say."""
    facts = node.facts
    if not (facts.get("training") or (facts.get("p") and OPS[node.op].has("attends"))) or not asked(
        node.path
    ):
        return node
    rest = {**facts, "training": False}
    if node.op == "dropout":
        return replace(node, facts=rest, shares=node.inputs[0])
    return replace(node, facts={**rest, "p": 0.0} if "p" in facts else rest)
