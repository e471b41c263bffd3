"""Graph: what the tracer found, frozen, typed and free of torch.

One :class:`Node` an operator, in execution order, each with its shape, its module path and the line of the
user's code it came from.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from sed_torch._frozen import FrozenMapping
from sed_torch._plain import from_text
from sed_torch.attributes import Attributes
from sed_torch.errors import GraphError
from sed_torch.tables import shape_text

__all__ = ["BYTES", "SCHEMA", "BatchAxes", "Graph", "Mixing", "ModuleInfo", "Node", "Parameter", "itemsize"]

SCHEMA = "sed_torch.graph/1"

A = TypeVar("A", bound=Attributes)

_NOTHING: FrozenMapping[str, Any] = FrozenMapping()

BYTES: Mapping[str, float] = {
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    **dict.fromkeys(("float32", "int32", "uint32", "complex32"), 4),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    "complex128": 16,
}
"""Bytes of an entry by dtype; one byte for all that are not named (bool, uint8, the float8 types)."""


def itemsize(dtype: str) -> float:
    """Bytes of one entry of a dtype, named as in ``torch.float32`` without ``torch.``."""
    return BYTES.get(dtype, 1)


@dataclass(frozen=True, slots=True)
class Node:
    """One operator and its result.

    Attributes:
        name: unique name.
        op: canonical operator (``"conv"``, ``"relu"``, …), ``"input"``, ``"parameter"``, ``"constant"``, or
            ``"unknown"`` where no rule exists.
        target: how the model spelled it (``"conv2d"``, ``"Tensor.add_"``).
        inputs: names of the nodes it reads, in argument order.
        shape: sizes of the result, batch included; None for a tuple of results (see ``"item"`` nodes).
        dtype: of the result, as in ``torch.float32`` without ``torch.``.
        attrs: the numbers its rule needs (window, stride, dims, …), see :mod:`sed_torch.attributes`; read by name
            with :meth:`of`.
        path: dotted path of the module it ran in, ``""`` for the root.
        source: ``file:line`` in the user's code, or None.
        shares: name of the node whose memory the result lies in (a view, or written in place); ``""`` where it
            has memory of its own.
        until: name of the last node that was computed while the forward still held the result; ``""`` where it
            was held to the end.
        facts: what a check asks and no score depends on: a rate of dropout, literal arguments; ``grad`` is False
            where the call ran without gradient, ``"function"`` inside an ``autograd.Function`` of the model's own.
        copied: operands that a product copies first, as they do not lie in memory as it needs them.
    """

    name: str
    op: str
    target: str = ""
    inputs: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    attrs: Mapping[str, Any] = _NOTHING
    path: str = ""
    source: str | None = None
    shares: str = ""
    until: str = ""
    facts: Mapping[str, Any] = _NOTHING
    copied: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # the commonest first: to ask an abstract class takes longer than all else here
        if self.attrs is not _NOTHING and not isinstance(self.attrs, (Attributes, FrozenMapping)):
            object.__setattr__(self, "attrs", FrozenMapping(self.attrs))
        if self.facts is not _NOTHING and not isinstance(self.facts, FrozenMapping):
            object.__setattr__(self, "facts", FrozenMapping(self.facts) if self.facts else _NOTHING)

    def of(self, kind: type[A]) -> A:
        """The attributes, typed as those of one kind of rule.

        Raises:
            GraphError: in a graph made by hand or read back, where they are none of that kind.
        """
        if isinstance(self.attrs, kind):
            return self.attrs
        try:
            return kind.read(self.attrs, whole=False)
        except ValueError as error:
            raise GraphError(f"attributes of node {self.name!r} ({self.op}): {error}") from error

    @property
    def window(self) -> tuple[int, ...]:
        """Sizes of the window it slides over a map, ``()`` where it slides none."""
        window: tuple[int, ...] = self.attrs.get("window", ())
        return window

    @property
    def numel(self) -> int:
        """Entries of the result, 0 for a tuple of results."""
        return math.prod(self.shape) if self.shape is not None else 0

    def __str__(self) -> str:
        shape = shape_text(self.shape) if self.shape is not None else "…"
        attrs = " ".join(f"{k}={_short(v)}" for k, v in self.attrs.items())
        reads = f" ← {', '.join(self.inputs)}" if self.inputs else ""
        return f"{self.name:<28} {self.op:<14} {shape:<18} {attrs}{reads}".rstrip()


def _short(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "×".join(_short(v) for v in value) if value else "()"
    return str(value)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the model.

    Attributes:
        name: dotted name, as in ``named_parameters()``.
        shape: sizes.
        dtype: without ``torch.``.
        trainable: ``requires_grad``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    trainable: bool = True

    @property
    def numel(self) -> int:
        """Entries."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """A module of the model.

    Attributes:
        path: dotted path, ``""`` for the root.
        type: class name.
        calls: how many times the forward called it.
        training: whether it was in train mode.
    """

    path: str
    type: str
    calls: int = 0
    training: bool = True


@dataclass(frozen=True, slots=True)
class Mixing:
    """A node that brings the samples of a batch together.

    Attributes:
        node: its name.
        how: what it does to the batch axis, as in "averages over", "attends along", "selects from".
        strong: whether every sample's result depends on the others (an average at the end is weak).
    """

    node: str
    how: str
    strong: bool


@dataclass(frozen=True)
class BatchAxes:
    """Where the samples are.

    Attributes:
        batch: how many samples there are; 1 where there is no batch axis.
        inputs: input node → the dimension along which its samples lie, None where it has none.
        mixing: what brings samples together, in the order of the nodes.
        words: what was assumed, where the batch is not dimension 0 of every input; else "".
        nodes: those of the graph of which it was found.
    """

    batch: int
    inputs: Mapping[str, int | None]
    mixing: tuple[Mixing, ...] = ()
    words: str = ""
    _dims: Mapping[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    _carrying: frozenset[str] | None = field(default=None, repr=False)
    _single: frozenset[str] = field(default=frozenset(), repr=False)
    nodes: tuple[Node, ...] = field(default=(), repr=False, compare=False)

    def dims(self, name: str) -> tuple[int, ...]:
        """Dimensions of a node's result along which the samples lie (merged with others perhaps); () for none."""
        return self._dims.get(name, ())

    def holds(self, name: str) -> bool:
        """Whether a node's result holds all samples, along a dimension or not, as opposed to one of them."""
        return bool(self.dims(name)) or (self.carries(name) and name not in self._single)

    def carries(self, name: str) -> bool:
        """Whether a node's result exists once a sample, as opposed to once for all samples."""
        return self._carrying is None or name in self._carrying


@dataclass(frozen=True)
class Graph:
    """Operators of a model in execution order.

    Attributes:
        nodes: the nodes; inputs of each come before it.
        outputs: names of the nodes that the forward returns.
        name: the model's class or reference.
        parameters: all parameters of the model, used or not.
        modules: all modules of the model, called or not.
        batch: how many samples the inputs hold; 1 where there is no batch dimension.
        batch_dims: input node → the dimension along which its samples lie, None where it has none. Empty where
            nobody has looked (a graph made by hand): :func:`sed_torch.batching.find_batch` does.
        axes: where the samples lie in every node, as the trace found it; None where nobody has looked.
        frontend: how it was traced: ``"fx"``, ``"export"``, ``"fx+leaf"`` with opaque
            leaves, ``"fx+bound"`` where choices of the data are bounded, or ``"fx+cut"`` up to where they have
            no bound.
        assumed: what was not given and had to be assumed, in words.

    Raises:
        GraphError: if a node reads a later one or names repeat.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    name: str = ""
    parameters: tuple[Parameter, ...] = ()
    modules: tuple[ModuleInfo, ...] = ()
    batch: int = 1
    frontend: str = "fx"
    assumed: tuple[str, ...] = ()
    batch_dims: Mapping[str, int | None] = field(default_factory=dict)
    axes: BatchAxes | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.check()

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, name: str) -> Node:
        try:
            return self.nodes[self.index[name]]
        except KeyError:
            raise GraphError(f"graph {self.name!r} has no node named {name!r}") from None

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Place of each node by name."""
        return {n.name: i for i, n in enumerate(self.nodes)}

    def check(self) -> None:
        """Raise :class:`GraphError` if an invariant is broken."""
        seen: set[str] = set()
        for node in self.nodes:
            if node.name in seen:
                raise GraphError(f"graph {self.name!r}: two nodes are named {node.name!r}")
            missing = [i for i in node.inputs if i not in seen]
            if missing:
                raise GraphError(f"node {node.name!r} reads {missing[0]!r}, which is not computed before it")
            seen.add(node.name)
        for name in self.outputs:
            if name not in seen:
                raise GraphError(f"graph {self.name!r}: output {name!r} names no node")

    @cached_property
    def live(self) -> Set[str]:
        """Names of the nodes on a path from an input to an output."""
        live: set[str] = set()
        for node in self.nodes:
            if node.name in self.needed and (node.op == "input" or any(i in live for i in node.inputs)):
                live.add(node.name)
        return live

    @cached_property
    def needed(self) -> Set[str]:
        """Names of the nodes that an output depends on."""
        needed = set(self.outputs)
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        return needed

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of the structure: equal for equal graphs, whatever their names and source lines."""
        place = self.index
        digest = hashlib.sha256(b"([")
        for i, n in enumerate(self.nodes):  # row by row: all in one string would be most of a score's memory
            stated = n.attrs.stated() if isinstance(n.attrs, Attributes) else n.attrs.items()
            row = n.op, [place[i] for i in n.inputs], n.shape, sorted(stated), n.path
            digest.update(f"{', ' if i else ''}{row!r}".encode())
        outputs = [place[o] for o in self.outputs]
        parameters = [(p.name, p.shape) for p in self.parameters]
        digest.update(f"], {outputs!r}, {parameters!r})".encode())
        return digest.hexdigest()

    def __str__(self) -> str:
        shown = [n for n in self.nodes if n.op != "parameter"]
        head = f"Graph {self.name or '(unnamed)'}: {len(self.nodes)} nodes, frontend {self.frontend}"
        return "\n".join([head, *_folded(shown), f"outputs: {', '.join(self.outputs)}"])

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version; :meth:`from_dict` reads it back."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "batch": self.batch,
            "frontend": self.frontend,
            "assumed": list(self.assumed),
            "batch_dims": dict(self.batch_dims),
            "nodes": [_row(n) for n in self.nodes],
            "outputs": list(self.outputs),
            "parameters": [dataclasses.asdict(p) for p in self.parameters],
            "modules": [dataclasses.asdict(m) for m in self.modules],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """:meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Inverse of :meth:`to_json`.

        Raises:
            DataError: the text is no JSON object.
            GraphError: as :meth:`from_dict` raises it.
        """
        return cls.from_dict(from_text(text, "graph"))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Graph:
        """Inverse of :meth:`to_dict`.

        Raises:
            GraphError: for another schema or malformed content.
        """
        if data.get("schema") != SCHEMA:
            raise GraphError(f"expected schema {SCHEMA!r}, found {data.get('schema')!r}")
        try:
            return cls(
                nodes=tuple(Node(**{k: _frozen(v) for k, v in n.items()}) for n in data["nodes"]),
                outputs=tuple(data["outputs"]),
                name=data["name"],
                parameters=tuple(
                    Parameter(**{k: _frozen(v) for k, v in p.items()}) for p in data["parameters"]
                ),
                modules=tuple(ModuleInfo(**m) for m in data["modules"]),
                batch=int(data["batch"]),
                frontend=data["frontend"],
                assumed=tuple(data["assumed"]),
                batch_dims=dict(data.get("batch_dims", {})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise GraphError(f"malformed graph: {type(error).__name__}: {error}") from error


def _row(node: Node) -> dict[str, Any]:
    row = {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}
    row["attrs"] = dict(node.attrs)
    row["facts"] = dict(node.facts)
    if not row["facts"]:
        del row["facts"]
    return row


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(v) for v in value)
    if isinstance(value, dict):
        return {k: _frozen(v) for k, v in value.items()}
    return value


def _folded(nodes: list[Node]) -> Iterator[str]:
    """One line a node; runs of blocks that differ in their index only are shown once, with their count."""
    blocks: list[tuple[str, list[Node]]] = []
    for node in nodes:
        key = _block_of(node.path)
        if blocks and blocks[-1][0] == key:
            blocks[-1][1].append(node)
        else:
            blocks.append((key, [node]))
    i = 0
    while i < len(blocks):
        shape = _outline(blocks[i][1])
        j = i + 1
        while j < len(blocks) and blocks[i][0] and _outline(blocks[j][1]) == shape:
            j += 1
        count = j - i
        if count > 1:
            yield f"  {blocks[i][0]} … {blocks[j - 1][0]}  ×{count}"
        for node in blocks[i][1]:
            yield f"  {node}"
        i = j


def _block_of(path: str) -> str:
    """The path up to its last numeric name: the repeated block that the node belongs to."""
    names = path.split(".")
    places = [i for i, name in enumerate(names) if name.isdigit()]
    return ".".join(names[: places[0] + 1]) if places else ""


def _outline(nodes: list[Node]) -> list[Any]:
    return [(n.op, n.shape, sorted((k, str(v)) for k, v in n.attrs.items())) for n in nodes]
