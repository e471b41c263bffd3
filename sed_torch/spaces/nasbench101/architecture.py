"""Cells of NAS-Bench-101: graphs of at most seven vertices and nine edges."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from sed_torch.errors import SpaceError
from sed_torch.spaces.cells import live_vertices

__all__ = [
    "CELLS_PER_STACK",
    "MAX_EDGES",
    "MAX_VERTICES",
    "OPS",
    "STACKS",
    "STEM_WIDTH",
    "Cell101",
    "triangle",
    "vertex_channels",
]

OPS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
MAX_VERTICES = 7
MAX_EDGES = 9
STACKS = 3
CELLS_PER_STACK = 3
STEM_WIDTH = 128

_LETTERS = dict(zip("31p", OPS, strict=True))
_NAMES = {**_LETTERS, **{op: op for op in OPS}}
_LETTER = {op: letter for letter, op in _LETTERS.items()}


@dataclass(frozen=True, slots=True)
class Cell101:
    """A pruned cell.

    Attributes:
        matrix: upper-triangular adjacency, ``matrix[i][j] == 1`` for an edge from i to j; vertex 0 is the
            input, the last one the output, and every other lies on a path between them.
        ops: operations of the vertices between.
    """

    matrix: tuple[tuple[int, ...], ...]
    ops: tuple[str, ...]

    @classmethod
    def from_matrix(cls, matrix: Any, ops: Sequence[str]) -> Cell101:
        """A cell from an adjacency matrix and its operations, pruned.

        Args:
            matrix: square, upper-triangular, of zeros and ones; a list of lists or an array.
            ops: one a vertex (``"input"`` first, ``"output"`` last), or without these two.

        Raises:
            SpaceError: if the graph or an operation is not of the space, or no path leads through it.
        """
        return _pruned(_as_matrix(matrix), _as_ops(tuple(ops), len(matrix)))

    @classmethod
    def parse(cls, text: str) -> Cell101:
        """A cell from its string, pruned.

        Raises:
            SpaceError: if it is none.
        """
        text = text.strip()
        if text.startswith(("[", "(")):
            return cls.from_matrix(*_literal(text))
        bits, colon, letters = text.partition(":")
        vertices = next((n for n in range(2, MAX_VERTICES + 1) if n * (n - 1) // 2 == len(bits)), 0)
        if not colon or not vertices or set(bits) - {"0", "1"}:
            raise SpaceError(
                f"not a cell of nasbench101: {text!r}: expected bits:ops with the upper triangle of a matrix of"
                f" 2 to {MAX_VERTICES} vertices and a letter of '31p' a vertex between, or a matrix and a list"
            )
        return _pruned(triangle(bits, vertices), _as_ops(tuple(letters), vertices))

    @property
    def edges(self) -> int:
        """Number of edges."""
        return sum(map(sum, self.matrix))

    def __str__(self) -> str:
        bits = "".join(str(b) for i, row in enumerate(self.matrix) for b in row[i + 1 :])
        return f"{bits}:{''.join(_LETTER[op] for op in self.ops)}"


def _as_matrix(matrix: Any) -> tuple[tuple[int, ...], ...]:
    try:
        rows = tuple(tuple(int(b) for b in row) for row in matrix)
    except (TypeError, ValueError) as error:
        raise SpaceError(f"nasbench101: expected a matrix of zeros and ones: {error}") from error
    n = len(rows)
    if n < 2 or any(len(row) != n for row in rows):
        raise SpaceError(f"nasbench101: expected a square matrix of at least 2 vertices, found {n} rows")
    if any(b not in (0, 1) or (b and j <= i) for i, row in enumerate(rows) for j, b in enumerate(row)):
        raise SpaceError("nasbench101: expected an upper-triangular matrix of zeros and ones")
    return rows


def _as_ops(ops: tuple[str, ...], vertices: int) -> tuple[str, ...]:
    inner = ops[1:-1] if len(ops) == vertices and ops[:1] == ("input",) and ops[-1:] == ("output",) else ops
    if len(inner) != vertices - 2 or any(op not in _NAMES for op in inner):
        raise SpaceError(
            f"nasbench101: expected {vertices - 2} operations of {', '.join(OPS)} between input and output,"
            f" found {ops}"
        )
    return tuple(_NAMES[op] for op in inner)


@lru_cache(maxsize=1 << 16)
def _pruned(matrix: tuple[tuple[int, ...], ...], ops: tuple[str, ...]) -> Cell101:
    """Without the vertices that lie on no path from input to output."""
    keep = np.flatnonzero(live_vertices(matrix)).tolist()
    if not keep:
        raise SpaceError("nasbench101: no path leads from the input to the output")
    cell = Cell101(
        tuple(tuple(matrix[i][j] for j in keep) for i in keep), tuple(ops[i - 1] for i in keep[1:-1])
    )
    if len(keep) > MAX_VERTICES or cell.edges > MAX_EDGES:
        raise SpaceError(
            f"nasbench101: expected at most {MAX_VERTICES} vertices and {MAX_EDGES} edges,"
            f" found {len(keep)} and {cell.edges} after pruning"
        )
    return cell


def _literal(text: str) -> tuple[Any, Any]:
    try:
        value = ast.literal_eval(text)
        matrix, ops = value
        return matrix, tuple(str(op) for op in ops)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise SpaceError(
            f"not a cell of nasbench101: {text[:80]!r}: expected a matrix and a list of operations"
        ) from error


def triangle(bits: Sequence[Any], vertices: int) -> tuple[tuple[int, ...], ...]:
    """The matrix of a row-major upper triangle."""
    matrix = np.zeros((vertices, vertices), dtype=int)
    matrix[np.triu_indices(vertices, 1)] = [int(b) for b in bits]
    return tuple(map(tuple, matrix.tolist()))


@lru_cache(maxsize=1 << 12)
def vertex_channels(matrix: tuple[tuple[int, ...], ...], c_in: int, c_out: int) -> tuple[int, ...]:
    """Channels of each vertex: the output's are shared among the vertices that feed it, the first ones taking
    what is left over; any other vertex has the most that one of its readers needs.
    """
    last = len(matrix) - 1
    channels = [c_in] + [0] * (last - 1) + [c_out]
    feeding = [v for v in range(1, last) if matrix[v][last]]
    for rank, v in enumerate(feeding):
        channels[v] = c_out // len(feeding) + (rank < c_out % len(feeding))
    for v in range(last - 1, 0, -1):
        if not matrix[v][last]:
            channels[v] = max(channels[j] for j in range(v + 1, last) if matrix[v][j])
    return tuple(channels)
