"""How much memory is held at each operator: through inference, and through a training step."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sed_torch._frozen import FrozenMapping
from sed_torch.costing.heads import heads_running, split_first
from sed_torch.costing.recurrence import Recurrence
from sed_torch.costing.saving import Saved, runs_apart
from sed_torch.costing.storage import Storages, itemsize, with_values
from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS

__all__ = ["Moment", "inference_timeline", "training_timeline"]

Phase = Literal["forward", "backward", "optimizer"]
_PARTS = ("getitem", "select", "narrow")
_NO_CALLS: Mapping[str, int] = FrozenMapping()


@dataclass(frozen=True, slots=True)
class Moment:
    """What is held while one operator runs, beside what is there all the time.

    Attributes:
        phase: ``"forward"``, ``"backward"`` or ``"optimizer"``.
        node: name of the node, ``""`` for the optimiser's step.
        path: dotted path of its module.
        activations: bytes of activations and their gradients.
        batched: the part of them that grows with the batch.
        gradients: bytes of parameters' gradients, and of what the optimiser's step holds for a moment.
    """

    phase: Phase
    node: str
    path: str
    activations: int
    batched: int
    gradients: int = 0

    def bytes(self, times: float = 1.0) -> float:
        """All of it, with the batch that many times as large."""
        return self.activations - self.batched + self.batched * times + self.gradients


class _Tally:
    """Bytes that are held: all, and of them those that grow with the batch, because the node they belong to does."""

    __slots__ = ("_growing", "all", "batched")

    def __init__(self, growing: Collection[str]) -> None:
        self._growing = growing
        self.all = self.batched = 0

    def add(self, name: str, size: int) -> None:
        """``size`` more bytes of the node ``name``."""
        self.all += size
        if name in self._growing:
            self.batched += size


def inference_timeline(
    storages: Storages, casts: Mapping[str, Mapping[str, str]], *, device: str = "cpu"
) -> tuple[Moment, ...]:
    """Memory held at each operator of a forward without gradients.

    Args:
        storages: memory of the graph's results.
        casts: node → operands that autocast copies for it, with the dtype of the copy. It keeps the copy of a trainable
            parameter until the forward is over; that of a map is there while its reader runs.
        device: whose kernels run, ``"cpu"`` or ``"cuda"``.
    """
    return tuple(_forward(storages, {}, casts, device))


def training_timeline(
    storages: Storages,
    saved: Sequence[Saved],
    optimizer: int = 0,
    again: Sequence[Saved] = (),
    calls: Mapping[str, int] = _NO_CALLS,
) -> tuple[Moment, ...]:
    """Memory held at each operator of a step: forward, then backward in reverse, then the optimiser.

    In the backward pass an operator holds the gradient of its result, makes those of its operands, and lets go of
    what it kept. Gradients of parameters stay until the step is over, and so do the batch and the outputs, which the
    loop has in hand (``out = model(x)``). What the loss keeps is not the model's and is left out.

    Args:
        storages: memory of the graph's results.
        saved: what is kept for the backward pass.
        optimizer: bytes that the optimiser holds while it steps.
        again: what checkpointed calls keep, which is there only while their own backward runs.
        calls: node → number of the checkpointed call that it is in.
    """
    whole = {s.storage: s.bytes for s in saved}
    *before, last = (*_forward(storages, whole), *_backward(storages, saved, again, calls))
    return (*before, replace(last, gradients=last.gradients + optimizer))


def _owner(storage: str) -> str:
    """The node that a piece of memory belongs to (``"relu_1:mask"`` is of ``relu_1``)."""
    return storage.split(":", 1)[0]


def _forward(
    storages: Storages,
    saved: Mapping[str, int],
    casts: Mapping[str, Mapping[str, str]] | None = None,
    device: str = "cpu",
) -> Iterator[Moment]:
    starts, ends = _allocated(storages, saved)
    held = _Tally(storages.batched)
    cached: set[tuple[str, str]] = set()
    for place, node in enumerate(storages.graph.nodes):
        for name, size in starts.get(place, ()):
            held.add(name, size)
        for name, size in ends.get(place, ()):
            held.add(name, -size)
        if node.op in ("parameter", "constant"):
            continue
        beside = _Tally(storages.batched)
        if casts is not None:
            _add_running(storages, node, beside, device)
            _add_casts(storages, node, casts.get(node.name, {}), beside, held, cached)
        there = held.all + beside.all, held.batched + beside.batched
        yield Moment("forward", node.name, node.path, *there)


_Changes = Mapping[int, Sequence[tuple[str, int]]]
"""Place → the nodes whose memory comes or goes there, with its bytes."""


def _allocated(storages: Storages, saved: Mapping[str, int]) -> tuple[_Changes, _Changes]:
    """Where the forward takes memory, for its results and beside them, and where it lets go of it."""
    nodes, index = storages.graph.nodes, storages.graph.index
    last = _held_until(storages)
    starts: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    ends: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for place, node in enumerate(nodes):
        name = node.name
        if storages.root[name] != name or node.shape is None or storages.resident(name):
            continue
        size = storages.own_bytes(name)
        starts[0 if node.op == "input" else place].append((name, size))
        if name not in saved:
            ends[last[name] + 1].append((name, size))
    for storage, size in saved.items():
        if storage not in index:  # masks, indices, statistics, copies: kept beside results
            owner = _owner(storage)
            starts[index[owner]].append((owner, size))
    return starts, ends


def _add_running(storages: Storages, node: Node, beside: _Tally, device: str) -> None:
    """What an operator holds only while it runs without gradients."""
    attends = node.op in OPS and OPS[node.op].rule == "attention"
    apart = attends and runs_apart(node, device)
    beside.add(node.name, _attending(storages, node) if apart else _running(storages, node))
    if node.op != "multi_head_attention_forward":  # gone before its heads are at work
        for name in node.copied:
            beside.add(name, storages.copied_bytes(node, name))


def _add_casts(
    storages: Storages,
    node: Node,
    casts: Mapping[str, str],
    beside: _Tally,
    held: _Tally,
    cached: set[tuple[str, str]],
) -> None:
    """The copies that autocast makes for an operator: of a map beside it, of a parameter until the forward is over."""
    for name, dtype in casts.items():
        size = round(storages.entries(name) * itemsize(dtype))
        if storages.graph[name].op != "parameter":
            if node.op not in ("gru", "rnn"):  # which let go of it before their steps
                beside.add(name, size)
        elif split_first(storages.graph, node, name):  # gone before the heads are at work
            continue
        elif (name, dtype) not in cached:
            cached.add((name, dtype))
            held.add(name, size)


def _running(storages: Storages, node: Node) -> int:
    """Bytes held only while an operator runs without gradients.

    A max pool writes down where it found its maxima, also where nobody asks: an int64 an entry. Layers that are many
    operators in one call hold what is between these.
    """
    if node.op == "max_pool":
        return round(8 * storages.entries(node.name))
    rule = OPS[node.op].rule if node.op in OPS else None
    if rule not in ("recurrent", "multi_head_attention"):
        return 0
    graph, first = storages.graph, node.inputs[0]
    times = storages.times if node.name in storages.batched else 1.0
    size = itemsize(storages.dtypes[node.name] or storages.dtypes[first])
    if rule == "multi_head_attention":
        return round(heads_running(graph, node, size=size, times=times))
    return round(Recurrence.of(node, graph[first].shape or (), times).running(size))


def _attending(storages: Storages, node: Node) -> int:
    """Bytes inside of attention that runs operator by operator, beside its result and copies of its values.

    Scaled queries are there throughout. With them are first the keys, scaled and laid out anew, and a map of scores,
    then two of these maps, before and after a mask or the softmax; the values and the result come last. Queries may be
    laid out anew as well, which is not known here.
    """
    graph = storages.graph
    queries, keys = (graph[name].shape or (1, 1) for name in node.inputs[:2])
    times = storages.times if node.name in storages.batched else 1.0
    size = max(itemsize(storages.dtypes[node.inputs[0]]), 4) * times
    scores = size * math.prod(queries[:-1]) * keys[-2]
    scoring = scores + max(2 * size * math.prod(keys), scores)
    late = storages.own_bytes(node.name) + sum(storages.copied_bytes(node, name) for name in node.copied)
    return round(size * math.prod(queries) + max(scoring - late, scores))


def _held_until(storages: Storages) -> Mapping[str, int]:
    """Root → place of the last node that ran while the forward still held a result in its memory."""
    graph = storages.graph
    last_reader = {storages.root[name]: place for place, n in enumerate(graph.nodes) for name in n.inputs}
    ends: dict[str, int] = {}
    for place, node in enumerate(graph.nodes):
        root = storages.root[node.name]
        ends[root] = max(ends.get(root, -1), place, _end(graph, node, last_reader.get(root, place)))
    for name in graph.outputs:
        ends[storages.root[name]] = len(graph.nodes) - 1
    return ends


def _end(graph: Graph, node: Node, read: int) -> int:
    """Place of the last node that is computed while a result is held.

    Where nobody followed how long that is (torch.export, what the forward makes itself), its last reader ends it.
    """
    if node.until:
        return graph.index.get(node.until, read)
    followed = graph.frontend.startswith("fx") and node.op not in ("constant", "parameter")
    return len(graph.nodes) - 1 if followed and node.shape is not None else read


def _backward(
    storages: Storages, saved: Sequence[Saved], inside: Sequence[Saved], calls: Mapping[str, int]
) -> Iterator[Moment]:
    graph, needing, root = storages.graph, storages.differentiable, storages.root
    mine = _held_by_the_step(storages)
    let_go = [s for s in saved if s.storage not in mine]
    freed: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    again: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    kept, flowing = _Tally(storages.batched), _Tally(storages.batched)
    for piece in (*let_go, *inside):  # the first to keep a storage is the last to need it on the way back
        freed[piece.by].append((_owner(piece.storage), piece.bytes))
    for piece in inside:
        again[calls[piece.by]].append((_owner(piece.storage), piece.bytes))
    for name, size in (*((_owner(s.storage), s.bytes) for s in let_go), *mine.items()):
        kept.add(name, size)
    there = {root[o] for o in graph.outputs if o in needing}
    for name in there:
        flowing.add(name, storages.own_bytes(name))
    gradients = 0
    have: set[str] = set()
    summed: set[str] = set()
    for node in reversed(graph.nodes):
        if node.name not in needing or node.op in ("parameter", "constant"):
            continue
        for name, size in again.pop(calls.get(node.name, -1), ()):
            kept.add(name, size)
        for read in _reads(storages, node, needing):
            if graph[read].op == "parameter":
                gradients += 0 if read in have else storages.own_bytes(read)
                have.add(read)
            elif read not in there:
                there.add(read)
                flowing.add(read, storages.own_bytes(read))
        beside = _Tally(storages.batched)
        if _made_anew(node):
            beside.add(node.name, storages.own_bytes(node.name))
        if _is_part(graph, node):
            beside.add(node.shares, storages.own_bytes(node.shares) if node.shares in summed else 0)
            summed.add(node.shares)
        held = kept.all + flowing.all + beside.all, kept.batched + flowing.batched + beside.batched
        yield Moment("backward", node.name, node.path, *held, gradients)
        for name, size in freed.get(node.name, ()):
            kept.add(name, -size)
        if root[node.name] == node.name and node.name in there:
            there.discard(node.name)
            flowing.add(node.name, -storages.own_bytes(node.name))
    yield Moment("optimizer", "", "", max(kept.all, 0), max(kept.batched, 0), gradients)


def _held_by_the_step(storages: Storages) -> Mapping[str, int]:
    """Bytes by root of what the training loop itself has in hand until the step is over: the batch, and the outputs."""
    graph = storages.graph
    inputs = (n.name for n in graph.nodes if n.op == "input" and n.shape is not None)
    roots = dict.fromkeys(storages.root[name] for name in (*inputs, *graph.outputs))
    return {
        r: storages.own_bytes(r) for r in roots if graph[r].shape is not None and not storages.resident(r)
    }


def _made_anew(node: Node) -> bool:
    """Whether an operator that wrote over what it read makes a gradient beside the one given; a sum hands it on."""
    written = bool(node.shares) and node.target.endswith("_")
    return written and node.op in OPS and bool(OPS[node.op].saves)


def _is_part(graph: Graph, node: Node) -> bool:
    """Whether an operator takes one part of a map: its backward makes a whole map, nought but for that part.

    The first of them is the gradient of what was taken from, the others are there beside it until they are added.
    """
    return node.op in _PARTS and bool(node.shares) and node.numel < graph[node.shares].numel


def _reads(storages: Storages, node: Node, needing: Collection[str]) -> Iterator[str]:
    """Roots of the operands that get a gradient; what a view passes back is the gradient it was given."""
    for name in with_values(node):
        if name in needing and storages.root[name] != storages.root[node.name]:
            yield storages.root[name]
