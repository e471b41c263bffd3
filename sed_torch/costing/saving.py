"""What autograd keeps of each operator for the backward pass, from the traits of the operator table.

Memory is counted by storage, as torch's ``saved_tensors_hooks`` see it: a result that two operators keep counts
once, a view counts as the whole of what it views, and parameters and buffers count as what they are, not here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sed_torch.attributes import Item, Norm
from sed_torch.costing.heads import pieces_of_heads
from sed_torch.costing.precision import Precision
from sed_torch.costing.recurrence import Recurrence
from sed_torch.costing.storage import Storages, itemsize
from sed_torch.graph import Node
from sed_torch.ops import OPS, Op

__all__ = [
    "CHECKPOINT",
    "Kept",
    "Saved",
    "attention_kernel",
    "once",
    "pieces_kept",
    "runs_apart",
    "saved_for_backward",
]

Kept = Literal["input", "result", "mask", "indices", "statistics", "state", "cast", "copy"]
"""What a saved piece of memory is to the operator that keeps it."""


_DROPS_CHANNELS = re.compile(r"dropout[123]d|feature_")
CHECKPOINT = "checkpoint"
"""The operator of what a checkpoint keeps itself."""


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
    return once(pieces_kept(storages, precision, device=device))


def pieces_kept(storages: Storages, precision: Precision, *, device: str) -> Iterator[Saved]:
    """All that each operator keeps, in order: a storage as often as it is kept."""
    for node in storages.graph.nodes:
        keeper = _Keeper(storages, precision, node, device)
        if node.facts.get("grad") == "function":
            yield from keeper.kept_by_function()
        elif node.name in storages.differentiable and node.inputs and node.op in OPS:
            yield from keeper.pieces()


def once(pieces: Iterable[Saved], calls: Mapping[str, int] | None = None) -> tuple[Saved, ...]:
    """Each storage where it is first kept: outside of checkpointed calls, and in each of these for itself."""
    found: dict[tuple[int | None, str], Saved] = {}
    for piece in pieces:
        found.setdefault((calls.get(piece.by) if calls else None, piece.storage), piece)
    return tuple(found.values())


def runs_apart(node: Node, device: str) -> bool:
    """Whether attention is done operator by operator on a device, as far as its call tells."""
    if device != "cpu":
        return False
    return not node.facts.get("fusable", True) or bool(node.facts.get("p"))


def attention_kernel(storages: Storages, node: Node, device: str) -> Literal["math", "flash", "efficient"]:
    """Which of torch's ways attention is taken to be done in.

    ``"math"`` is operator by operator: on the CPU where its mask needs a gradient, where it drops entries, and where
    its operands do not lie in memory as the fused kernel takes them. On a GPU flash attention takes two bytes an
    entry, heads of at most 256 and no mask; the rest is for the memory-efficient kernel, which keeps the same.
    """
    learned = any(i in storages.differentiable for i in node.inputs[3:])
    if runs_apart(node, device) or (learned and device == "cpu"):
        return "math"
    if device == "cpu":
        return "flash"
    width = (node.shape or (0,))[-1]
    small = itemsize(storages.dtypes[node.name]) == 2 and width <= 256 and len(node.inputs) == 3
    return "flash" if small else "efficient"


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
        if row.rule == "attention":
            apart = attention_kernel(self.storages, self.node, self.device) == "math"
            yield from self._unfused_attention() if apart else self._fused_attention()
            return
        if row.rule == "recurrent":
            yield from self._recurrent()
            return
        if self.node.op == "rms_norm":
            yield from self._root_mean_square()
            return
        if row.has("saves_input") and not self._is_mean():
            yield from self._input(inputs[0])
        if row.has("saves_other"):  # a bias is added, and its gradient needs nothing
            yield from self._operands(inputs[1:2] if row.has("weighted") else inputs[1:])
        if row.has("saves_factors"):
            yield from self._factor_pieces()
        if row.has("saves_result"):
            yield from self._results()
        yield from self._maps(row)
        yield from self._as_called()
        if row.has("saves_mask"):
            yield from self._mask()
        if row.has("saves_indices"):
            yield from self._indices()
        if row.has("saves_statistics"):
            for which in ("mean", "deviation"):
                yield from self._own("statistics", self._statistic() * self._groups(), which)

    def _maps(self, row: Op) -> Iterator[Saved]:
        """Maps that are made on the way, each as large as the first operand."""
        many = row.has("saves_map") + 2 * row.has("saves_maps")
        many += row.has("saves_map_on_cpu") and self.device == "cpu"
        if many:
            yield from self._own("state", many * self._copy_bytes(self.node.inputs[0]), "on the way")

    def _as_called(self) -> Iterator[Saved]:
        """What some operators keep in some of their forms alone."""
        node, facts = self.node, self.node.facts
        if node.op == "pow" and len(node.inputs) > 1:  # the exponent is a tensor
            yield from self._operands(node.inputs[1:])
            yield from self._results()
        elif node.op == "div" and node.target in ("__rtruediv__", "__rdiv__"):  # a reciprocal, times a number
            yield from self._own("state", self.storages.own_bytes(node.name), "reciprocal")
        elif node.op == "lerp":  # between two tensors by a number nothing has to be known
            yield from self._operands(node.inputs[2:])
        elif node.op == "pad" and facts.get("mode") in ("reflect", "replicate"):
            yield from self._operands(node.inputs[:1])
        elif node.op == "gumbel_softmax" and facts.get("hard"):
            size = self.storages.own_bytes(node.name)
            yield from self._own("state", size, "softmax")
            yield from self._own("indices", 8 * self._entries() / max((node.shape or (1,))[-1], 1))

    def _root_mean_square(self) -> Iterator[Saved]:
        """Its map and a deviation; on the CPU, operator by operator in float32, also the map before its weight."""
        given, dtype = self.node.inputs[0], self.storages.dtypes[self.node.inputs[0]]
        apart = self.device == "cpu"
        if apart and itemsize(dtype) < 4:
            yield from self._own("cast", 4 * self.storages.entries(given))
        else:
            yield from self._operands([given])
        size = max(itemsize(dtype), 4)
        yield from self._own("statistics", size * self._groups(), "deviation")
        if len(self.node.inputs) > 1:
            yield from self._own(
                "result", size * self.storages.entries(given) if apart else 0, "before its weight"
            )
            yield from self._operands(self.node.inputs[1:])

    def kept_by_function(self) -> Iterator[Saved]:
        """What an autograd function of the model's own says that it keeps; its steps keep nothing."""
        if self.node.name in self.storages.in_functions:
            yield from self._operands(self.node.facts.get("kept", ()))

    def _is_mean(self) -> bool:
        """An adaptive average pool that leaves one position is torch.mean, which keeps nothing."""
        window = 3 if "3d" in self.node.target else 2
        shape = self.node.shape or ()
        return self.node.op == "adaptive_avg_pool" and all(n == 1 for n in shape[-window:])

    def _fused_attention(self) -> Iterator[Saved]:
        """Queries, keys, values, the mask as it is added, the result, and a logarithm of the sum a query."""
        size = itemsize(self.storages.dtypes[self.node.name])
        for name in self.node.inputs:
            if self.storages.dtypes[name] == "bool":  # each call turns it into numbers of its own
                entries = self.storages.entries(name)
                yield self._piece(
                    f"{self.node.name}:{name}",
                    "mask",
                    math.ceil(size * entries),
                    name in self.storages.batched,
                )
            else:
                yield from self._operands([name], copied=False)
        yield from self._results()
        queries = math.prod((self.node.shape or (0,))[:-1])
        yield from self._own("statistics", 4 * queries * self._times)

    def _unfused_attention(self) -> Iterator[Saved]:
        """Scaled copies of queries and keys, the weights after softmax, and the values."""
        q, k, v = self.node.inputs[:3]
        queries, keys = (self.storages.graph[name].shape or (1, 1) for name in (q, k))
        held = itemsize(self.storages.dtypes[q])
        size = max(held, 4)  # in float32, whatever it is given
        yield from self._own("copy", size * self.storages.entries(q), "queries")
        shared = math.prod(queries[:-2]) / max(
            math.prod(keys[:-2]), 1
        )  # heads of queries that read one of keys
        yield from self._own("copy", size * self.storages.entries(k) * shared, "keys")
        maps = size * math.prod(queries[:-1]) * keys[-2] * self._times
        yield from self._own("result", maps, "weights")
        if self.node.facts.get("p"):  # on the CPU the mask is a map of factors
            yield from self._own("mask", maps, "dropping")
            yield from self._own("result", maps, "dropped")
        if held < size or shared > 1:
            yield from self._own("cast", size * self.storages.entries(v) * shared, "values")
        else:
            yield from self._operands([v])

    # -- the kinds of piece ------------------------------------------------------------------------------

    def _operands(self, names: Iterable[str], *, copied: bool = True) -> Iterator[Saved]:
        casts = self.precision.casts.get(self.node.name, {})
        for name in names:
            if name in casts:
                source = self.storages.graph[name]
                # autocast keeps the copy of a parameter for all who read it, and copies a map for each reader
                owner = name if source.op == "parameter" else f"{self.node.name}:{name}"
                size = math.ceil(self.storages.entries(name) * itemsize(casts[name]))
                yield self._piece(f"{owner}:{casts[name]}", "cast", size, name in self.storages.batched)
            elif copied and name in self.node.copied:
                size = self.storages.copied_bytes(self.node, name)
                yield self._piece(f"{self.node.name}:{name}", "copy", size, name in self.storages.batched)
            elif not self.storages.resident(name):
                root = self.storages.root[name]
                yield self._piece(root, "input", self.storages.bytes(name), root in self.storages.batched)

    def _copy_bytes(self, name: str) -> int:
        """Bytes of the copy that autocast or the operator itself makes of an operand."""
        dtype = self.precision.casts.get(self.node.name, {}).get(name, self.storages.dtypes[name])
        return math.ceil(self.storages.entries(name) * itemsize(dtype))

    def _input(self, name: str) -> Iterator[Saved]:
        """The first operand; an operator that writes over it keeps a copy, unless its result says enough."""
        if not (self.node.target.endswith("_") and self.node.shares):
            yield from self._operands([name])
        elif OPS[self.node.op].has("result_suffices"):
            yield from self._results()
        else:
            yield from self._own("copy", self.storages.own_bytes(name))

    def _factor_pieces(self) -> Iterator[Saved]:
        """The factors; of one that is written over, a copy."""
        written = self.node.inputs[0] if self.node.target.endswith("_") and self.node.shares else None
        for name in self._factors():
            if name == written and self.storages.dtypes[name] == self.storages.dtypes[self.node.name]:
                yield from self._own("copy", self.storages.own_bytes(name), "factor")
            else:
                yield from self._operands([name])

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
        elif self.node.op == "dropout" and _DROPS_CHANNELS.search(self.node.target):  # a factor a channel
            channels = self._times * math.prod((self.node.shape or (1,))[:2])
            yield from self._own("mask", channels * itemsize(self.storages.dtypes[self.node.name]))
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
            return
        if OPS[self.node.op].rule == "loss" and len(self.node.inputs) > 1:  # probabilities as targets
            yield from self._operands(self.node.inputs[1:2])
            return
        read = [n for n in self.storages.items.get(self.node.name, ()) if n.dtype == "int64"]
        if read:  # they are a result as well
            yield from self._operands([read[0].name])
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

    def _statistic(self) -> float:
        """Bytes of a mean: in float32, but on the CPU in the dtype of the map where nothing else is in float32."""
        dtypes = [self.storages.dtypes[i] for i in self.node.inputs]
        return itemsize(dtypes[0]) if self.device == "cpu" and "float32" not in dtypes[1:] else 4.0

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
            groups = node.of(Norm).groups or node.facts.get("groups") or 32
            return (shape[0] if shape else 0) * int(groups)
        if node.op == "instance_norm":
            return math.prod(shape[:2])
        if node.op == "normalize":
            dims = node.facts.get("dim", 1)
            over = [dims] if isinstance(dims, int) else dims if isinstance(dims, tuple) else [-1]
            return node.numel // max(math.prod(shape[d] for d in over if -len(shape) <= d < len(shape)), 1)
        normalized = node.facts.get("normalized")
        if isinstance(normalized, tuple) and normalized:
            weight = weight or math.prod(shape[-len(normalized) :])
        return node.numel // weight if weight else math.prod(shape[:-1])

    def _recurrent(self) -> Iterator[Saved]:
        """Input, first states and weights that are cast, what the steps leave, and the last layer's output."""
        graph, node, storages = self.storages.graph, self.node, self.storages
        first = node.inputs[0]
        casts = self.precision.casts.get(node.name, {})
        recurrence = Recurrence.of(node, graph[first].shape or (), self._times)
        apart = recurrence.directions if node.op in ("gru", "rnn") else 1  # each direction reads for itself
        yield from self._operands(i for i in node.inputs if graph[i].op != "parameter")
        if apart > 1 and (first in casts or recurrence.turned):
            yield from self._own("copy", self._copy_bytes(first), "backwards")
        yield from self._weights(casts, apart)
        size = itemsize(storages.dtypes[node.name] or storages.dtypes[first])
        for label, bytes_ in recurrence.kept(self.device, size).items():
            yield from self._own("state", bytes_, label)
        output = next(
            (n for n in graph.nodes if n.op == "item" and n.inputs[0] == node.name and n.of(Item).index == 0),
            None,
        )
        if output is not None and node.op == "lstm" and recurrence.directions == 1:
            root = storages.root[output.name]
            yield self._piece(root, "result", storages.bytes(output.name), self._batched)

    def _attention_block(self) -> Iterator[Saved]:
        """nn.MultiheadAttention: what its projections read, and what is inside."""
        node, storages = self.node, self.storages
        casts = self.precision.casts.get(node.name, {})
        given = node.inputs[:3]
        yield from self._operands(dict.fromkeys(given))
        if given[1] != given[2] and given[0] in given[1:]:  # one map is projected twice, and copied for each
            again = [i for i in given[:1] if i in casts or i in node.copied]
            yield from self._own("copy", sum(map(self._copy_bytes, again)), "again")
        yield from self._weights(casts)
        size = itemsize(casts.get(node.inputs[0], storages.dtypes[node.inputs[0]]))
        pieces = pieces_of_heads(storages.graph, node, device=self.device, size=size, times=self._times)
        for label, bytes_ in pieces.items():
            yield from self._own("state", bytes_, label)

    def _weights(self, casts: Iterable[str], readers: int = 1) -> Iterator[Saved]:
        """Copies that autocast made of weights.

        A bias is added, so that nobody needs its copy again; nor that of the weight that reads the input where that
        needs no gradient. Each of several ``readers`` has two weights, the first of which does.
        """
        graph, needing = self.storages.graph, self.storages.differentiable
        weights = [i for i in casts if graph[i].op == "parameter" and len(graph[i].shape or ()) > 1]
        flows = any(i in needing for i in self.node.inputs[:3] if graph[i].op != "parameter")
        reading = () if flows else weights[: 2 * readers : 2]
        yield from self._operands(w for w in weights if w not in reading)
