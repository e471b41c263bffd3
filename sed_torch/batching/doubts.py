"""Whether a network may treat its batch axis wrongly, as far as one trace and its code tell.

Reading a model at a second batch size settles what happens to the batch axis, and costs as much as the first time.
Most networks leave no doubt: the axis stays the first of each value, or goes where a permutation puts it, no call
works along it, and each reshape takes its size from the input. Whatever is not plainly so is in doubt.

:func:`sed_torch.batching.find_batch` asks another question, and cannot answer this one: it finds where the samples of
this one trace lie by the entries that axes have (so it says nothing of a batch of one), and takes the likeliest where
several fit. Here the batch is dimension 0 of every input by agreement, a size that only happens to fit counts for
nothing, and what is not understood is an answer: doubt. Both read the attributes of a call through the same classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sed_torch.attributes import AdaptivePool, Expand, Item, Join, Matmul, Permute, Recurrent, Reduce, Slice
from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS

__all__ = ["RUNS", "batch_in_doubt"]


RUNS = frozenset(["cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "sort"])
"""Calls that hand something on along the dimension that they are given."""


class _DoubtError(Exception):
    """Something that is not plain."""


def batch_in_doubt(graph: Graph, samples: int, follows: Callable[[Node], bool]) -> bool:
    """Whether anything is not plain about the batch axis.

    Args:
        graph: of the model; all its inputs begin with the batch.
        samples: how many samples there are.
        follows: whether the sizes that a call is given in the model's code come from its input.
    """
    try:
        _Follow(graph, samples, follows).through()
    except _DoubtError:
        return True
    return False


class _Follow:
    """Follows the batch axis: of each value, the dimension along which its samples lie, None for none."""

    def __init__(self, graph: Graph, samples: int, follows: Callable[[Node], bool]) -> None:
        self.graph, self.samples, self.follows = graph, samples, follows
        self.at: dict[str, int | None] = {}

    def through(self) -> None:
        outputs = set(self.graph.outputs)
        for node in self.graph.nodes:
            if node.name not in self.graph.needed:
                continue
            at = self._of(node)
            self.at[node.name] = at
            whole = node.shape is None or (at == 0 and node.shape[:1] == (self.samples,))
            if node.name in outputs and not whole and node.name in self.graph.live:
                raise _DoubtError

    def _of(self, node: Node) -> int | None:
        if node.op == "input":
            return 0
        if node.op in ("parameter", "constant") or not node.inputs:
            return None
        data = [i for i in node.inputs if self.at.get(i) is not None]
        if not data:
            return self._without_data(node)
        known = OPS.get(node.op)
        rule = known.rule if known is not None else ""
        if rule in ("keep", "gate") and len(node.inputs) == 1:
            return self._along(node, self._same(node, data))
        visit = _RULES.get(rule)
        if visit is None:
            raise _DoubtError
        return visit(self, node, data)

    def _without_data(self, node: Node) -> int | None:
        """Of parameters and constants: one that was expanded by the batch has it now."""
        if node.op not in OPS.ruled("expand"):
            return None
        return 0 if self.follows(node) else None

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self.graph[name].shape
        if shape is None:
            raise _DoubtError
        return shape

    def _same(self, node: Node, data: list[str]) -> int:
        """The one dimension, where operands meet entry by entry; what has no batch must not have its size either."""
        shape = node.shape
        if shape is None:
            raise _DoubtError
        places = {len(shape) - len(self._shape(i)) + (self.at[i] or 0) for i in data}
        if len(places) != 1:
            raise _DoubtError
        at = places.pop()
        for name in node.inputs:
            if self.at.get(name) is None:
                own = self._shape(name)
                place = at - (len(shape) - len(own))
                if place >= 0 and own[place] != 1:
                    raise _DoubtError
        if self._shape(data[0])[self.at[data[0]] or 0] != shape[at]:
            raise _DoubtError
        return at

    def _along(self, node: Node, at: int) -> int:
        """Calls that normalise must not do it along the batch."""
        dim, rank = node.facts.get("dim"), len(node.shape or ())
        named = "dim" in node.facts and node.op in OPS.having("squashes")
        runs = "dim" in node.facts and node.op in RUNS
        normalises = named or runs or "softm" in node.op or node.op == "normalize"
        if normalises and (not isinstance(dim, int) or dim % rank == at):
            raise _DoubtError
        return at

    def _entrywise(self, node: Node, data: list[str]) -> int:
        return self._along(node, self._same(node, data))

    def _layer(self, node: Node, data: list[str]) -> int:
        """Layers that read the batch as dimension 0."""
        source = self._shape(data[0])
        spatial = node.of(AdaptivePool).axes if node.op in OPS.ruled("adaptive_pool") else len(node.window)
        first = node.inputs[0] == data[0] and len(data) == 1 and self.at[data[0]] == 0
        if not first or len(source) < (spatial + 2 if spatial else 2) or node.shape is None:
            raise _DoubtError
        if node.shape[:1] != source[:1]:
            raise _DoubtError
        return self._along(node, 0)

    def _linear(self, node: Node, data: list[str]) -> int:
        at = self.at[data[0]] or 0
        if data != [node.inputs[0]] or at == len(self._shape(data[0])) - 1:
            raise _DoubtError
        return at

    def _looked_up(self, node: Node, data: list[str]) -> int:
        """An embedding, read by ids."""
        if len(data) != 1 or node.op != "embedding" or self.graph[data[0]].shape is None:
            raise _DoubtError
        return self.at[data[0]] or 0

    def _cat(self, node: Node, data: list[str]) -> int:
        places = {self.at.get(i) for i in node.inputs}
        dim = node.of(Join).dim
        if len(places) != 1 or None in places:
            raise _DoubtError
        at = places.pop() or 0
        rank = len(self._shape(data[0]))
        if node.op == "stack":
            return at + (dim % (rank + 1) <= at)
        if dim % rank == at:
            raise _DoubtError
        return at

    def _permuted(self, node: Node, data: list[str]) -> int:
        order = node.of(Permute).order
        if self.at[data[0]] not in order:
            raise _DoubtError
        return order.index(self.at[data[0]] or 0)

    def _moved(self, node: Node, data: list[str]) -> int:
        """By a slice's list of (dimension of the source, entries); the batch must stay whole."""
        at = self.at[data[0]]
        places = [j for j, (d, _) in enumerate(node.of(Slice).dims or ()) if d == at]
        if len(places) != 1:
            raise _DoubtError
        return places[0]

    def _sliced(self, node: Node, data: list[str]) -> int | None:
        if len(node.inputs) != 1:
            raise _DoubtError
        if node.shape is None:
            return self.at[data[0]]  # its items ask for the rest
        at = self._moved(node, data)
        if node.shape[at] != self._shape(data[0])[self.at[data[0]] or 0]:
            raise _DoubtError
        return at

    def _item(self, node: Node, data: list[str]) -> int:
        source = self.graph[node.inputs[0]]
        known = OPS.get(source.op)
        rule = known.rule if known is not None else ""
        if rule == "slice":
            behind = [i for i in source.inputs if self.at.get(i) is not None]
            at = self._moved(source, behind)
            if node.shape is None or node.shape[at] != self._shape(behind[0])[self.at[behind[0]] or 0]:
                raise _DoubtError
            return at
        if rule == "multi_head_attention":
            return 0 if node.of(Item).index else 1
        if rule == "recurrent":
            return self.at[source.name] or 0 if node.of(Item).index == 0 else 1
        raise _DoubtError

    def _reduced(self, node: Node, data: list[str]) -> int:
        dims = node.of(Reduce).dims
        at, source = self.at[data[0]] or 0, self._shape(data[0])
        if len(data) != 1 or dims is None or at in dims or node.shape is None:
            raise _DoubtError
        kept = len(node.shape) == len(source)
        return at if kept else at - sum(d < at for d in dims)

    def _reshaped(self, node: Node, data: list[str]) -> int:
        """A reshape that begins with whole samples, by a size that comes from the input."""
        at, source, shape = self.at[data[0]] or 0, self._shape(data[0]), node.shape
        if len(data) != 1 or shape is None:
            raise _DoubtError
        dim = node.facts.get("dim")
        if node.op == "unsqueeze" and isinstance(dim, int):
            return at + (dim % len(shape) <= at)
        if node.op == "squeeze":
            named = [dim] if isinstance(dim, int) else list(dim) if isinstance(dim, (tuple, list)) else []
            gone = {d % len(source) for d in named if isinstance(d, int)}
            if not gone or at in gone or len(source) - len(gone) != len(shape):
                raise _DoubtError
            return at - sum(d < at for d in gone)
        if at != 0 or not shape or shape[0] % self.samples:
            raise _DoubtError
        if node.op == "flatten":
            return 0
        if node.op not in ("reshape", "unflatten") or not self.follows(node):
            raise _DoubtError
        return 0

    def _expanded(self, node: Node, data: list[str]) -> int:
        at, source, shape = self.at[data[0]] or 0, self._shape(data[0]), node.shape
        if len(data) != 1 or shape is None or node.of(Expand).repeats is not None or node.op != "expand":
            raise _DoubtError
        at += len(shape) - len(source)
        if shape[at] != source[self.at[data[0]] or 0] or not self.follows(node):
            raise _DoubtError
        return at

    def _product(self, node: Node, data: list[str]) -> int:
        """Matrix products of stacks."""
        if node.op == "einsum":
            return self._summed(node)
        if node.op != "matmul" or node.shape is None or len(node.inputs) != 2:
            raise _DoubtError
        rank = len(node.shape)
        places = {rank - len(self._shape(i)) + (self.at[i] or 0) for i in data}
        at = places.pop()
        if places or at >= rank - 2 or any(len(self._shape(i)) < 3 for i in data):
            raise _DoubtError
        for name in node.inputs:
            own = self._shape(name)
            if (
                self.at.get(name) is None
                and len(own) > 2
                and own[at - rank : at - rank + 1] not in ((), (1,))
            ):
                raise _DoubtError
        return at

    def _summed(self, node: Node) -> int:
        """An einsum in which the batch has one letter."""
        terms, arrow, result = (node.of(Matmul).equation or "").replace(" ", "").partition("->")
        operands = terms.split(",")
        if not arrow or "." in terms or len(operands) != len(node.inputs):
            raise _DoubtError
        letters = {
            t[at] for t, i in zip(operands, node.inputs, strict=True) if (at := self.at.get(i)) is not None
        }
        others = "".join(t for t, i in zip(operands, node.inputs, strict=True) if self.at.get(i) is None)
        letter = letters.pop()
        if letters or letter in others or letter not in result:
            raise _DoubtError
        return result.index(letter)

    def _attends(self, node: Node, data: list[str]) -> int:
        read = node.inputs[:3]
        if any(self.at.get(i) != 0 or len(self._shape(i)) < 3 for i in read):
            raise _DoubtError
        return 0

    def _multi_head(self, node: Node, data: list[str]) -> int | None:
        if any(self.at[i] != 1 or len(self._shape(i)) != 3 for i in data[:3]):
            raise _DoubtError
        return 1

    def _recurrent(self, node: Node, data: list[str]) -> int | None:
        time = node.of(Recurrent).time
        given = [i for i in node.inputs if self.graph[i].op != "parameter"]
        if (
            len(self._shape(data[0])) != 3
            or time not in (0, 1)
            or self.at[data[0]] != 1 - time
            or len(given) != 1
        ):
            raise _DoubtError
        return 1 - time

    def _written(self, node: Node, data: list[str]) -> int:
        base = node.inputs[0]
        if node.op not in ("setitem", "copy") or any(self.at.get(i) != 0 for i in node.inputs):
            raise _DoubtError
        if any(self._shape(i)[:1] != self._shape(base)[:1] for i in node.inputs):
            raise _DoubtError
        return 0


_Visit = Callable[[_Follow, Node, list[str]], "int | None"]
_RULES: Mapping[str, _Visit] = {
    **dict.fromkeys(("keep", "gate", "add", "mul"), _Follow._entrywise),
    **dict.fromkeys(
        ("norm", "conv", "conv_transpose", "pool", "adaptive_pool", "interpolate", "pad", "pixel_shuffle"),
        _Follow._layer,
    ),
    "pixel_unshuffle": _Follow._layer,
    "linear": _Follow._linear,
    "embedding": _Follow._looked_up,
    **dict.fromkeys(("cat", "stack"), _Follow._cat),
    "permute": _Follow._permuted,
    "slice": _Follow._sliced,
    "item": _Follow._item,
    "reduce": _Follow._reduced,
    "reshape": _Follow._reshaped,
    "expand": _Follow._expanded,
    "matmul": _Follow._product,
    "attention": _Follow._attends,
    "multi_head_attention": _Follow._multi_head,
    "recurrent": _Follow._recurrent,
    "write": _Follow._written,
}
