"""``torch.fx.Graph`` → :class:`~sed_torch.graph.Graph`: names become canonical, tensors become shapes."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch.fx
from torch import nn

from sed_torch.attributes import Attributes, Conv, Item, MadeOf
from sed_torch.graph import Graph, ModuleInfo, Node, Parameter
from sed_torch.ops import OPS, Op, canonical
from sed_torch.tracing.calls import read_attrs
from sed_torch.tracing.facts import facts_of
from sed_torch.tracing.modules import named_modules
from sed_torch.tracing.tensors import nodes_in

__all__ = ["to_graph"]


def to_graph(
    fx_graph: torch.fx.Graph,
    model: nn.Module,
    *,
    frontend: str,
    assumed: tuple[str, ...] = (),
) -> Graph:
    """The graph of ``model`` as recorded in ``fx_graph``.

    Every fx node carries ``meta["path"]``, ``meta["source"]``, for a tensor ``meta["shape"]`` and
    ``meta["dtype"]``, and for calls ``meta["spelling"]``.
    """
    nodes: list[Node] = []
    outputs: tuple[str, ...] = ()
    for fx_node in fx_graph.nodes:
        if fx_node.op == "output":
            outputs = tuple(dict.fromkeys(n.name for n in nodes_in(fx_node.args)))
        else:
            nodes.append(_node(fx_node))
    counts = _call_counts(nodes)
    return Graph(
        nodes=tuple(nodes),
        outputs=outputs,
        name=type(model).__name__,
        parameters=tuple(
            Parameter(n, tuple(p.shape), _dtype(p.dtype), p.requires_grad)
            for n, p in model.named_parameters()
        ),
        modules=tuple(
            ModuleInfo(p, type(m).__name__, counts.get(p, 0), m.training) for p, m in named_modules(model)
        ),
        frontend=frontend,
        assumed=assumed,
    )


def _call_counts(nodes: list[Node]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in nodes:
        path = node.path
        while node.op not in ("parameter", "constant") and path not in counts:
            counts[path] = 1
            path = path.rpartition(".")[0]
    return counts


def _node(fx_node: torch.fx.Node) -> Node:
    meta = fx_node.meta
    dtype = meta.get("dtype")
    common: dict[str, Any] = {
        "name": fx_node.name,
        "shape": meta.get("shape"),
        "dtype": _dtype(dtype) if dtype is not None else "",
        "path": meta.get("path", ""),
        "source": meta.get("source"),
    }
    # what few nodes have is said of those alone
    for key in ("shares", "until"):
        if (other := meta.get(key)) is not None:
            common[key] = other.name
    if facts := meta.get("facts"):
        common["facts"] = facts
    if kept := meta.get("kept"):
        common["facts"] = {**common.get("facts", {}), "kept": tuple(n.name for n in kept)}
    if copied := meta.get("copied"):
        common["copied"] = tuple(n.name for n in copied)
    kind = fx_node.op
    if kind == "placeholder":
        return Node(op="input", target=str(fx_node.target), **common)
    if kind == "get_attr":
        is_parameter = meta.get("parameter") is not None
        return Node(op="parameter" if is_parameter else "constant", target=str(fx_node.target), **common)
    return _call(fx_node, common)


def _call(fx_node: torch.fx.Node, common: dict[str, Any]) -> Node:
    meta, args, kwargs = fx_node.meta, fx_node.args, fx_node.kwargs
    spelling: str = meta["spelling"]
    plain = canonical(spelling)
    op: Op | None = meta.get("op") or OPS.by_spelling(plain)
    shaped_like = op is not None and plain in op.shaped_like
    inputs = tuple(n.name for n in nodes_in(args[:1] if shaped_like else (args, kwargs)))
    if op is None:
        return Node(op="unknown", target=spelling, inputs=inputs, **common)
    name = _refined(op, inputs, args)
    facts = facts_of(name, args, kwargs)
    if facts:
        common["facts"] = {**common.get("facts", {}), **facts}
    if op.rule == "zero":
        return Node(op=name, target=spelling, inputs=(), attrs=MadeOf(of=inputs), **common)
    if name == "zero":
        return Node(op="zero", target=spelling, inputs=(), attrs=MadeOf(of=inputs), **common)
    if op.rule == "item":
        place: Any = args[1]
        return Node(op="item", target=spelling, inputs=inputs, attrs=Item(index=int(place)), **common)
    attrs: Attributes | None = meta.get("attrs")
    if attrs is None:
        attrs = read_attrs(op, plain, args, kwargs)
    if isinstance(attrs, Conv) and attrs.transposed:
        name = "conv_transpose"
    if "stale" in meta:  # who reads, by its old name, a value that this call overwrote
        attrs = dataclasses.replace(attrs, stale=tuple(meta["stale"]))
    return Node(op=name, target=spelling, inputs=inputs, attrs=attrs, **common)


def _refined(op: Op, inputs: tuple[str, ...], args: tuple[Any, ...]) -> str:
    """Spellings whose meaning depends on the arguments."""
    if op.name in ("max", "min") and len(inputs) == 2:
        return "maximum" if op.name == "max" else "minimum"
    if op.name == "mul" and len(args) == 2 and any(map(_is_zero, args)):
        return "zero"
    return op.name


def _is_zero(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0


@functools.cache
def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
