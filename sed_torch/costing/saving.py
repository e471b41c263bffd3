"""What autograd keeps of each operator for the backward pass, from the traits of the operator table.

Memory is counted by storage, as torch's ``saved_tensors_hooks`` see it: a result that two operators keep counts
once, a view counts as the whole of what it views, and parameters and buffers count as what they are, not here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sed_torch.attributes import MultiHead, Norm
from sed_torch.costing.precision import Precision
from sed_torch.costing.storage import Storages, itemsize
from sed_torch.graph import Node
from sed_torch.ops import OPS

__all__ = ["Kept", "Saved", "saved_for_backward"]

Kept = Literal["input", "result", "mask", "indices", "statistics", "state", "cast", "copy"]
"""What a saved piece of memory is to the operator that keeps it."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A piece of memory that is kept until the backward pass.

    Attributes:
        by: name of the node whose backward needs it.
        storage: name of the node whose memory it is, or of a piece of its own (``"relu_1:mask"``).
        kept: what it is to the operator.
        bytes: its size.
        path: dotted path of the module that computed it.
        op: operator that keeps it.
        batched: whether it grows with the batch.
    """

    by: str
    storage: str
    kept: Kept
    bytes: int
    path: str
    op: str
    batched: bool


def saved_for_backward(storages: Storages, precision: Precision, *, device: str) -> tuple[Saved, ...]:
    """All pieces in the order in which they are first kept, each storage once."""
    graph = storages.graph
    seen: set[str] = set()
    found: list[Saved] = []
    for node in graph.nodes:
        if node.name not in storages.differentiable or not node.inputs or node.op not in OPS:
            continue
        for piece in _Keeper(storages, precision, node, device).pieces():
            if piece.storage not in seen:
                seen.add(piece.storage)
                found.append(piece)
    return tuple(found)


@dataclass(frozen=True)
class _Keeper:
    """What one node keeps."""

    storages: Storages
    precision: Precision
    node: Node
    device: str

    def pieces(self) -> Iterator[Saved]:
        row = OPS[self.node.op]
        inputs = self.node.inputs
        if self.node.op == "multi_head_attention_forward":
            yield from self._attention_block()
            return
        if row.rule == "attention" and self._unfused():
            yield from self._unfused_attention()
            return
        if row.has("saves_input") and not self._is_mean():
            yield from self._input(inputs[0])
        if row.has("saves_other"):  # a bias is added, and its gradient needs nothing
            yield from self._operands(inputs[1:2] if row.has("weighted") else inputs[1:])
        if row.has("saves_factors"):
            yield from self._operands(self._factors())
        if row.has("saves_result"):
            yield from self._results()
        if row.has("saves_mask"):
            yield from self._mask()
        if row.has("saves_indices"):
            yield from self._indices()
        if row.has("saves_statistics"):
            for which in ("mean", "deviation"):
                yield from self._own("statistics", 4 * self._groups(), which)
        if row.has("saves_logsumexp"):
            queries = math.prod((self.node.shape or (0,))[:-1])
            yield from self._own("statistics", 4 * queries * self._times)
        if row.has("saves_state"):
            yield from self._own("state", self._recurrent_state())

    def _is_mean(self) -> bool:
        """An adaptive average pool that leaves one position is torch.mean, which keeps nothing."""
        return self.node.op == "adaptive_avg_pool" and all(n == 1 for n in (self.node.shape or ())[-2:])

    def _unfused(self) -> bool:
        """On the CPU, attention whose mask needs a gradient, or that drops entries, is done operator by operator."""
        learned = any(i in self.storages.differentiable for i in self.node.inputs[3:])
        return self.device == "cpu" and (learned or bool(self.node.facts.get("p")))

    def _unfused_attention(self) -> Iterator[Saved]:
        """Scaled copies of queries and keys, the weights after softmax, and the values."""
        q, k, v = self.node.inputs[:3]
        queries, keys = (self.storages.graph[name].shape or (1, 1) for name in (q, k))
        size = itemsize(self.storages.dtypes[q])
        yield from self._own("copy", self.storages.own_bytes(q), "queries")
        yield from self._own("copy", self.storages.own_bytes(k), "keys")
        yield from self._own("result", size * math.prod(queries[:-1]) * keys[-2] * self._times, "weights")
        yield from self._operands([v])

    # -- the kinds of piece ------------------------------------------------------------------------------

    def _operands(self, names: Sequence[str]) -> Iterator[Saved]:
        casts = self.precision.casts.get(self.node.name, {})
        for name in names:
            if name in casts:
                source = self.storages.graph[name]
                # autocast keeps the copy of a parameter for all who read it, and copies a map for each reader
                owner = name if source.op == "parameter" else f"{self.node.name}:{name}"
                size = math.ceil(self.storages.entries(name) * itemsize(casts[name]))
                yield self._piece(f"{owner}:{casts[name]}", "cast", size, name in self.storages.batched)
            elif name in self.node.copied:
                size = self.storages.own_bytes(name)
                yield self._piece(f"{self.node.name}:{name}", "copy", size, name in self.storages.batched)
            elif not self.storages.resident(name):
                root = self.storages.root[name]
                yield self._piece(root, "input", self.storages.bytes(name), root in self.storages.batched)

    def _input(self, name: str) -> Iterator[Saved]:
        """The first operand; an operator that writes over it keeps a copy, unless its result says enough."""
        if not (self.node.target.endswith("_") and self.node.shares):
            yield from self._operands([name])
        elif OPS[self.node.op].has("result_suffices"):
            yield from self._results()
        else:
            yield from self._own("copy", self.storages.own_bytes(name))

    def _factors(self) -> list[str]:
        """Factors of a product that another factor's gradient needs; a divisor is needed for its own too."""
        inputs, needing = self.node.inputs, self.storages.differentiable
        if OPS[self.node.op].rule == "linear":  # what follows is the bias, which is added
            inputs = inputs[: 3 if self.node.op == "bilinear" else 2]
        elif self.node.op in ("addmm", "baddbmm"):
            inputs = inputs[-2:]
        if self.node.op == "div":
            divisor = inputs[1:2]
            return [*divisor, *(inputs[:1] if any(d in needing for d in divisor) else ())]
        return [
            name
            for place, name in enumerate(inputs)
            if any(other in needing for at, other in enumerate(inputs) if at != place)
        ]

    def _results(self) -> Iterator[Saved]:
        root = self.storages.root[self.node.name]
        if not self.storages.resident(self.node.name):
            yield self._piece(root, "result", self.storages.bytes(self.node.name), self._batched)

    def _mask(self) -> Iterator[Saved]:
        given = [i for i in self.node.inputs if self.storages.dtypes[i] == "bool"]
        if given:
            yield from self._operands(given)
        elif self.node.op == "dropout" and self._drops_nothing():
            return
        elif self.device == "cpu" and self.node.op == "dropout":  # there the mask is a map of factors
            yield from self._own("mask", self.storages.own_bytes(self.node.name))
        else:
            yield from self._own("mask", self.storages.entries(self.node.name))

    def _drops_nothing(self) -> bool:
        return self.node.facts.get("p") == 0 or self.node.facts.get("training") is False

    def _indices(self) -> Iterator[Saved]:
        given = [i for i in self.node.inputs if self.storages.dtypes[i] in ("int64", "int32", "bool")]
        if given:
            yield from self._operands(given)
        else:
            yield from self._own("indices", 8 * self._entries())

    def _own(self, kept: Kept, size: float, label: str = "") -> Iterator[Saved]:
        if size:
            grows = self._batched and not (kept == "statistics" and self.node.op == "batch_norm")
            yield self._piece(f"{self.node.name}:{label or kept}", kept, math.ceil(size), grows)

    def _piece(self, storage: str, kept: Kept, size: int, batched: bool) -> Saved:
        node = self.node
        return Saved(node.name, storage, kept, size, node.path, node.op, batched)

    # -- sizes -------------------------------------------------------------------------------------------

    @property
    def _batched(self) -> bool:
        return self.node.name in self.storages.batched

    @property
    def _times(self) -> float:
        return self.storages.times if self._batched else 1.0

    def _entries(self) -> float:
        """Entries of the result, of the first where there are several."""
        if self.node.shape is not None:
            return self.storages.entries(self.node.name)
        parts = (n.name for n in self.storages.graph.nodes if self.node.name in n.inputs)
        return next((self.storages.entries(name) for name in parts), 0)

    def _groups(self) -> float:
        """How many groups a norm takes a mean and a deviation of."""
        if self.node.op == "batch_norm":  # of each channel, over the batch
            return self.node.shape[1] if self.node.shape and len(self.node.shape) > 1 else 0
        return self._groups_as_traced() * self._times

    def _groups_as_traced(self) -> int:
        graph, node = self.storages.graph, self.node
        shape = node.shape or ()
        weight = next((graph[i].numel for i in node.inputs if graph[i].op == "parameter"), 0)
        if node.op == "group_norm":
            return (shape[0] if shape else 0) * (node.of(Norm).groups or 32)
        if node.op == "instance_norm":
            return math.prod(shape[:2])
        if node.op == "normalize":
            return node.numel // max(shape[-1] if shape else 1, 1)
        return node.numel // weight if weight else math.prod(shape[:-1])

    def _recurrent_state(self) -> float:
        """Gates and states of each step, as the fused kernels lay them out (an estimate)."""
        gates = {"lstm": 4, "lstm_cell": 4, "gru": 4, "gru_cell": 4}.get(self.node.op, 1)
        cells = 2 if self.node.op.startswith("lstm") else 1
        return (gates + cells) * self._entries() * itemsize(self.storages.dtypes[self.node.name] or "float32")

    def _attention_block(self) -> Iterator[Saved]:
        """nn.MultiheadAttention: what its products read, the projections, the attended map, and the map copied back."""
        node, graph = self.node, self.storages.graph
        yield from self._operands(node.inputs[:3])
        size = itemsize(self.storages.dtypes[node.inputs[0]])
        entries = [graph[i].numel for i in node.inputs[:3]]
        width = (graph[node.inputs[0]].shape or (1,))[-1]
        projected = sum(math.prod((graph[i].shape or (0,))[:-1]) * width for i in node.inputs[:3])
        heads = node.of(MultiHead).heads or 1
        queries = math.prod((graph[node.inputs[0]].shape or (0,))[:-1])
        yield from self._own(
            "state", (size * (projected + 2 * entries[0]) + 4 * heads * queries) * self._times
        )
