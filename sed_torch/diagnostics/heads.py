"""Attention over the wrong axis: the heads of a token instead of the tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sed_torch.diagnostics.registry import Hit
from sed_torch.diagnostics.subject import Subject
from sed_torch.graph import Node
from sed_torch.ops import OPS
from sed_torch.tables import shape_text

__all__ = ["heads_instead_of_tokens"]


def heads_instead_of_tokens(subject: Subject) -> Iterator[Hit]:
    """Attention of (N, L, heads, d) as a reshape of (N, L, D) leaves it, and put together again as it is.

    Told by what was called and not by sizes: a linear layer's tokens are split into heads, nothing moves the axis of
    the heads before the tokens, attention runs over the last axis but one, and the heads are merged where they stand.
    """
    for node in subject.live:
        for query, key in _attention(subject, node):
            split = [_split_tokens(subject, value) for value in (query, key)]
            if None in split or split[0] != split[1] or not _merged(subject, node, split[0] or ()):
                continue
            heads = (query.shape or ())[2]
            yield Hit(
                node.path,
                f"attention of {shape_text(query.shape or ())} runs over the {heads} heads of each token, not over "
                f"the {(query.shape or ())[1]} tokens",
                "transpose(1, 2) of query, key and value before, and of the result after",
                {"shape": query.shape, "heads": heads},
                node.source,
            )
            return  # the layers after it do the same


def _attention(subject: Subject, node: Node) -> Iterator[tuple[Node, Node]]:
    """(query, key) of an attention: by the fused call, or as the product that a softmax reads."""
    if node.op == "scaled_dot_product_attention" and len(node.inputs) > 2:
        yield subject.graph[node.inputs[0]], subject.graph[node.inputs[1]]
    elif node.op == "matmul" and len(node.inputs) == 2:
        query, turned = (subject.graph[i] for i in node.inputs)
        after = [r.op for r, _ in zip(subject.forward_alone(node), range(5), strict=False)]
        if turned.op in OPS.ruled("permute") and "softmax" in after and turned.inputs:
            key = subject.graph[turned.inputs[0]]
            if (key.shape or ())[-2:] == (turned.shape or ())[-1:-3:-1]:
                yield query, key


_KEPT = frozenset(
    ["chunk", "split", "unbind", "item", "getitem", "select", "mul", "div", "dropout", "to", "float"]
)


def _split_tokens(subject: Subject, value: Node) -> tuple[int, ...] | None:
    """(N, L, heads · d) of a linear layer whose last axis alone a reshape split into what is read here."""
    shape = value.shape or ()
    if len(shape) != 4 or shape[2] < 2:
        return None
    while value.op in _KEPT or value.op in OPS.having("normalises", "elementwise"):
        inputs = subject.data_inputs(value)
        if len(inputs) != 1:
            return None
        value = inputs[0]
    source = (
        subject.data_inputs(value)[0]
        if value.op in OPS.ruled("reshape") and subject.data_inputs(value)
        else value
    )
    before, after = source.shape or (), value.shape or ()
    if len(before) != 3 or len(after) < 4 or after[:2] != before[:2] or shape[:2] != before[:2]:
        return None
    while source.op in _KEPT and len(subject.data_inputs(source)) == 1:
        source = subject.data_inputs(source)[0]
    return (*shape[:2], math.prod(shape[2:])) if source.op == "linear" else None


def _merged(subject: Subject, node: Node, shape: tuple[int, ...]) -> bool:
    """Whether what attention leaves is put together again without a change of place."""
    todo, seen = [node], {node.name}
    while todo and len(seen) < 16:
        for reader in subject.needed_readers(todo.pop()):
            if reader.op in OPS.ruled("reshape") and reader.shape == shape:
                return True
            passed = reader.op in ("softmax", "matmul", *_KEPT) or reader.op in OPS.having(
                "elementwise", "arithmetic"
            )
            if passed and reader.name not in seen:
                seen.add(reader.name)
                todo.append(reader)
    return False
