"""Random cells of NAS-Bench-101, and the moves that lead from a cell to its neighbours."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sed_torch.errors import SpaceError
from sed_torch.spaces.base import other_than
from sed_torch.spaces.nasbench101.architecture import MAX_EDGES, MAX_VERTICES, OPS, Cell101, triangle

__all__ = ["live_codes", "neighbour", "random_cell"]

Ints = NDArray[np.int64]


def random_cell(rng: np.random.Generator) -> Cell101:
    """Uniform over the pruned matrices with every choice of operations, most of which have seven vertices."""
    codes = _live_matrices()
    weights = np.array([len(c) * float(len(OPS)) ** v for v, c in enumerate(codes)])
    inner = int(rng.choice(len(codes), p=weights / weights.sum()))
    code = int(rng.choice(codes[inner]))
    vertices = inner + 2
    bits = [code >> i & 1 for i in range(vertices * (vertices - 1) // 2)]
    return Cell101(triangle(bits, vertices), tuple(OPS[i] for i in rng.integers(len(OPS), size=inner)))


def neighbour(cell: Cell101, rng: np.random.Generator) -> Cell101:
    """One operation, one edge or one vertex is changed, added or taken away; no other vertex dies of it."""
    moves = (_change_op, _flip_edge, _add_vertex, _drop_vertex)
    while True:
        matrix, ops = moves[rng.integers(len(moves))](np.array(cell.matrix), list(cell.ops), rng)
        try:
            found = Cell101.from_matrix(matrix, ops)
        except SpaceError:
            continue
        if found != cell and len(found.ops) == len(ops):
            return found


@lru_cache(maxsize=1)
def _live_matrices() -> tuple[Ints, ...]:
    """Triangles, as bits of a number, of all pruned matrices with 0, 1, … 5 vertices between input and output."""
    return tuple(live_codes(n) for n in range(2, MAX_VERTICES + 1))


def live_codes(vertices: int) -> Ints:
    """Triangles, as bits of a number, of the pruned matrices of so many vertices."""
    rows, columns = np.triu_indices(vertices, 1)
    codes = np.arange(1 << len(rows))
    codes = codes[sum((codes >> i) & 1 for i in range(len(rows))) <= MAX_EDGES]
    # in a graph without cycles a vertex is live when every vertex but the ends is read and reads
    for v in range(vertices):
        for side in (columns == v, rows == v):
            mask = int(np.sum(np.where(side, 1 << np.arange(len(rows)), 0)))
            codes = codes[(codes & mask) != 0] if mask else codes
    return codes


Moved = tuple[Ints, list[str]]


def _change_op(matrix: Ints, ops: list[str], rng: np.random.Generator) -> Moved:
    if ops:
        v = int(rng.integers(len(ops)))
        ops[v] = OPS[other_than(OPS.index(ops[v]), len(OPS), rng)]
    return matrix, ops


def _flip_edge(matrix: Ints, ops: list[str], rng: np.random.Generator) -> Moved:
    i, j = sorted(rng.choice(len(matrix), size=2, replace=False))
    matrix[i, j] ^= 1
    return matrix, ops


def _add_vertex(matrix: Ints, ops: list[str], rng: np.random.Generator) -> Moved:
    """A vertex with one edge in and one out."""
    v = int(rng.integers(1, len(matrix)))
    matrix = np.insert(np.insert(matrix, v, 0, axis=0), v, 0, axis=1)
    matrix[rng.integers(v), v] = matrix[v, rng.integers(v + 1, len(matrix))] = 1
    return matrix, [*ops[: v - 1], OPS[rng.integers(len(OPS))], *ops[v - 1 :]]


def _drop_vertex(matrix: Ints, ops: list[str], rng: np.random.Generator) -> Moved:
    if not ops:
        return matrix, ops
    v = int(rng.integers(1, len(matrix) - 1))
    return np.delete(np.delete(matrix, v, axis=0), v, axis=1), [*ops[: v - 1], *ops[v:]]
