"""Cells as graphs: which vertices and edges are live, and the cells of four nodes that two spaces have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sed_torch.building import Value
from sed_torch.spaces.writing import SpaceBuilder

__all__ = [
    "EDGES",
    "EdgeWriter",
    "edge_costs",
    "live_edges",
    "live_vertices",
    "longest_paths",
    "write_nodes",
]

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(from, to), in the order of the strings of NAS-Bench-201 and TransNAS-Bench-101."""

_NODES = 4

EdgeWriter = Callable[[str, Value, int, str], "Value | None"]
"""(operation, what is read, index of the node that is read, path) → what the edge leaves, None for zeros."""


def write_nodes(b: SpaceBuilder, x: Value, ops: Sequence[str], path: str, write: EdgeWriter) -> Value | None:
    """Four nodes, each the sum of its edges; ``edge_0_2`` leads from node 0 to node 2."""
    nodes: list[Value | None] = [x]
    edges = iter(ops)
    for to in range(1, _NODES):
        values = []
        for i in range(to):
            op, read = next(edges), nodes[i]
            values.append(None if read is None else write(op, read, i, f"{path}.edge_{i}_{to}"))
        nodes.append(b.add_live(values, path))
    return nodes[-1]


def live_vertices(adjacency: ArrayLike) -> Bools:
    """Vertices on a path from the first to the last, of many graphs at once.

    Args:
        adjacency: (..., n, n), upper-triangular: whether an edge leads from the row to the column.

    Returns:
        (..., n); all False where no path leads from the first vertex to the last.
    """
    there = np.asarray(adjacency, dtype=bool)
    n = there.shape[-1]
    reached, needed = np.zeros((2, *there.shape[:-1]), dtype=bool)
    reached[..., 0] = needed[..., -1] = True
    for v in range(1, n):
        reached[..., v] = (there[..., :v, v] & reached[..., :v]).any(axis=-1)
        u = n - 1 - v
        needed[..., u] = (there[..., u, u + 1 :] & needed[..., u + 1 :]).any(axis=-1)
    return np.asarray(reached & needed)


def live_edges(there: Bools) -> Bools:
    """Edges of :data:`EDGES` on a path from node 0 to node 3.

    Args:
        there: (N, 6), whether an edge has an operation other than "none".

    Returns:
        (N, 6); a row without a single live edge is a cell that returns zeros.
    """
    adjacency = np.zeros((len(there), _NODES, _NODES), dtype=bool)
    source, target = np.transpose(EDGES)
    adjacency[:, source, target] = there
    live = live_vertices(adjacency)
    return np.asarray(there & live[:, source] & live[:, target])


def longest_paths(live: Bools, cost: Ints) -> Ints:
    """Largest sum of costs over paths of live edges from node 0 to node 3; negative without a path.

    Args:
        live: (N, 6), of :func:`live_edges`.
        cost: (N, 6), of each edge.
    """
    steps = np.where(live, cost, -1_000)
    nodes = [np.zeros(len(live), dtype=np.int64), *(np.full(len(live), -10_000) for _ in range(_NODES - 1))]
    for e, (i, j) in enumerate(EDGES):
        nodes[j] = np.maximum(nodes[j], nodes[i] + steps[:, e])
    return nodes[-1]


def edge_costs(cost: Callable[[Sequence[int]], float], n_ops: int) -> tuple[float, NDArray[np.float64]]:
    """What a network costs without its edges, and what each operation on each edge adds to that.

    Args:
        cost: operations by number → a count of the whole network that adds up over edges; operation 0 adds nothing.
        n_ops: number of operations.

    Returns:
        The first, and an array (6, n_ops).
    """
    base = cost([0] * len(EDGES))
    table = np.zeros((len(EDGES), n_ops))
    for e in range(len(EDGES)):
        for op in range(1, n_ops):
            table[e, op] = cost([op if k == e else 0 for k in range(len(EDGES))]) - base
    return base, table
