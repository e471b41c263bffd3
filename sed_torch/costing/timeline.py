"""How much memory is held at each operator: through inference, and through a training step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sed_torch._frozen import FrozenMapping
from sed_torch.costing.heads import heads_running, split_first
from sed_torch.costing.recurrence import Recurrence
from sed_torch.costing.saving import Saved
from sed_torch.costing.storage import Storages, itemsize, with_values
from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS

__all__ = ["Moment", "inference_timeline", "training_timeline"]

Phase = Literal["forward", "backward", "optimizer"]
Counts = Callable[[str], bool]
"""Whether the memory of a node is counted."""


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


def inference_timeline(storages: Storages, casts: Mapping[str, Mapping[str, str]]) -> tuple[Moment, ...]:
    """Memory held at each operator of a forward without gradients.

    Args:
        storages: memory of the graph's results.
        casts: node → operands that autocast copies for it, with the dtype of the copy. It keeps the copy of a trainable
            parameter until the forward is over; that of a map is there while its reader runs.
    """
    return _both(storages, lambda counts: _forward(storages, {}, counts, casts))


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

    def walk(counts: Counts) -> list[Moment]:
        return [
            *_forward(storages, whole, counts),
            *_backward(storages, _counted(saved, counts), _counted(again, counts), calls, counts),
        ]

    *before, last = _both(storages, walk)
    return (*before, replace(last, gradients=last.gradients + optimizer))


def _both(storages: Storages, walk: Callable[[Counts], Sequence[Moment]]) -> tuple[Moment, ...]:
    """Walk once for all memory and once for what grows with the batch."""
    batched = storages.batched
    return tuple(
        Moment(m.phase, m.node, m.path, m.activations, b.activations, m.gradients)
        for m, b in zip(walk(lambda _: True), walk(lambda name: name in batched), strict=True)
    )


def _counted(saved: Sequence[Saved], counts: Counts) -> list[Saved]:
    return [s for s in saved if counts(_owner(s.storage))]


def _owner(storage: str) -> str:
    """The node that a piece of memory belongs to (``"relu_1:mask"`` is of ``relu_1``)."""
    return storage.split(":", 1)[0]


def _forward(
    storages: Storages,
    saved: Mapping[str, int],
    counts: Counts,
    casts: Mapping[str, Mapping[str, str]] | None = None,
) -> list[Moment]:
    nodes = storages.graph.nodes
    ends = _held_until(storages)
    change = [0] * (len(nodes) + 1)
    for place, root in _own_roots(storages, counts):
        size = storages.own_bytes(root)
        change[0 if nodes[place].op == "input" else place] += size
        if root not in saved:
            change[ends[root] + 1] -= size
    for place, size in _beside(storages, saved, counts):
        change[place] += size
    moments: list[Moment] = []
    held = 0
    cached: set[tuple[str, str]] = set()
    for place, node in enumerate(nodes):
        held += change[place]
        if node.op not in ("parameter", "constant"):
            beside = _running(storages, node) if counts(node.name) and casts is not None else 0
            if (
                casts is not None and node.op != "multi_head_attention_forward"
            ):  # gone before its heads are at work
                beside += sum(storages.copied_bytes(node, i) for i in node.copied if counts(i))
            for name, dtype in (casts or {}).get(node.name, {}).items():
                size = round(storages.entries(name) * itemsize(dtype)) if counts(name) else 0
                if storages.graph[name].op != "parameter":
                    beside += (
                        0 if node.op in ("gru", "rnn") else size
                    )  # which let go of it before their steps
                elif split_first(storages.graph, node, name):  # gone before the heads are at work
                    continue
                elif (name, dtype) not in cached:
                    cached.add((name, dtype))
                    held += size
            moments.append(Moment("forward", node.name, node.path, held + beside, 0))
    return moments


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


def _own_roots(storages: Storages, counts: Counts) -> Iterator[tuple[int, str]]:
    """(place, root) of all memory that the forward allocates, and of the inputs."""
    for place, node in enumerate(storages.graph.nodes):
        own = storages.root[node.name] == node.name and node.shape is not None
        if own and counts(node.name) and not storages.resident(node.name):
            yield place, node.name


def _beside(storages: Storages, saved: Mapping[str, int], counts: Counts) -> Iterator[tuple[int, int]]:
    """(place, bytes) of what is kept beside results: masks, indices, statistics, copies."""
    index = storages.graph.index
    for name, size in saved.items():
        if name not in index and counts(_owner(name)):
            yield index[_owner(name)], size


def _backward(
    storages: Storages,
    saved: Sequence[Saved],
    inside: Sequence[Saved],
    calls: Mapping[str, int],
    counts: Counts,
) -> Iterator[Moment]:
    graph, needing, root = storages.graph, storages.differentiable, storages.root
    freed: defaultdict[str, int] = defaultdict(int)
    again: defaultdict[int, int] = defaultdict(int)
    mine = _held_by_the_step(storages, counts)
    let_go = [s for s in saved if s.storage not in mine]
    for piece in (*let_go, *inside):  # the first to keep a storage is the last to need it on the way back
        freed[piece.by] += piece.bytes
    for piece in inside:
        again[calls[piece.by]] += piece.bytes
    kept = sum(s.bytes for s in let_go) + sum(map(storages.own_bytes, mine))
    flowing = {
        root[o]: storages.own_bytes(root[o]) for o in graph.outputs if o in needing and counts(root[o])
    }
    total, gradients = sum(flowing.values()), 0
    have: set[str] = set()
    summed: set[str] = set()
    for node in reversed(graph.nodes):
        if node.name not in needing or node.op in ("parameter", "constant"):
            continue
        kept += again.pop(calls.get(node.name, -1), 0)
        for read in _reads(storages, node, needing):
            if graph[read].op == "parameter":
                gradients += 0 if read in have else storages.own_bytes(read)
                have.add(read)
            elif read not in flowing and counts(read):
                flowing[read] = storages.own_bytes(read)
                total += flowing[read]
        beside = storages.own_bytes(node.name) if _made_anew(node) and counts(node.name) else 0
        if _is_part(graph, node) and counts(node.shares):
            beside += storages.own_bytes(node.shares) if node.shares in summed else 0
            summed.add(node.shares)
        yield Moment("backward", node.name, node.path, kept + total + beside, 0, gradients)
        kept -= freed[node.name]
        if root[node.name] == node.name:
            total -= flowing.pop(node.name, 0)
    yield Moment("optimizer", "", "", max(kept, 0), 0, gradients)


def _held_by_the_step(storages: Storages, counts: Counts) -> frozenset[str]:
    """Roots of what the training loop itself has in hand until the step is over: the batch, and the outputs."""
    graph = storages.graph
    inputs = (n.name for n in graph.nodes if n.op == "input" and n.shape is not None)
    roots = {storages.root[name] for name in (*inputs, *graph.outputs)}
    return frozenset(
        r for r in roots if counts(r) and graph[r].shape is not None and not storages.resident(r)
    )


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
