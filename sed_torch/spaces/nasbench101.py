"""NAS-Bench-101: cells as graphs of at most seven vertices and nine edges."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sed_torch.errors import SpaceError
from sed_torch.spaces._lines import SMALLEST_IMAGE
from sed_torch.spaces.base import Scores, Space, SpaceBuilder, not_enumerable, other_than
from sed_torch.topology import Value

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "CELLS_PER_STACK",
    "MAX_EDGES",
    "MAX_VERTICES",
    "OPS",
    "STACKS",
    "STEM_WIDTH",
    "Cell101",
    "NASBench101",
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
    n = len(matrix)
    reached, needed = {0}, {n - 1}
    for i in range(n):
        if i in reached:
            reached.update(j for j in range(n) if matrix[i][j])
    for i in range(n - 1, -1, -1):
        if any(matrix[i][j] and j in needed for j in range(n)):
            needed.add(i)
    keep = sorted(reached & needed)
    if 0 not in keep or n - 1 not in keep:
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


class NASBench101(Space[Cell101]):
    """NAS-Bench-101 (Ying et al., ICML 2019).

    A 3×3 stem of 128 channels, three stacks of three cells, max pooling and twice the channels between stacks.
    Vertices that feed the output share its channels and are concatenated; the cell's input enters by 1×1
    projections. :attr:`size` counts cells up to isomorphism.

    Strings are ``bits:ops``, the row-major upper triangle of the matrix and a letter a vertex (``3`` conv3x3,
    ``1`` conv1x1, ``p`` maxpool3x3), such as ``"111001:31"``; or a matrix and a list of operations as the
    public API takes them, ``"[[0, 1], [0, 0]], ['input', 'output']"``.
    """

    name = "nasbench101"
    title = "NAS-Bench-101"
    source = "Ying et al., ICML 2019 (arXiv 1902.09635)"
    arch_type = Cell101
    size = 423_624
    enumerable = False

    def parse(self, text: str) -> Cell101:
        text = text.strip()
        if text.startswith(("[", "(")):
            return Cell101.from_matrix(*_literal(text))
        bits, colon, letters = text.partition(":")
        vertices = next((n for n in range(2, MAX_VERTICES + 1) if n * (n - 1) // 2 == len(bits)), 0)
        if not colon or not vertices or set(bits) - {"0", "1"}:
            raise SpaceError(
                f"not a cell of nasbench101: {text!r}: expected bits:ops with the upper triangle of a matrix of"
                f" 2 to {MAX_VERTICES} vertices and a letter of '31p' a vertex between, or a matrix and a list"
            )
        return _pruned(_triangle(bits, vertices), _as_ops(tuple(letters), vertices))

    def format(self, arch: Cell101) -> str:
        return str(arch)

    def resolve(self, arch: Cell101 | str) -> Cell101:
        cell = super().resolve(arch)
        return _pruned(_as_matrix(cell.matrix), _as_ops(cell.ops, len(cell.matrix)))

    def __iter__(self) -> Iterator[Cell101]:
        raise not_enumerable(self)

    def sample(self, rng: np.random.Generator) -> Cell101:
        """Uniform over the pruned matrices with every choice of operations, most of which have seven vertices."""
        codes = _live_matrices()
        weights = np.array([len(c) * float(len(OPS)) ** v for v, c in enumerate(codes)])
        inner = int(rng.choice(len(codes), p=weights / weights.sum()))
        code = int(rng.choice(codes[inner]))
        vertices = inner + 2
        bits = [code >> i & 1 for i in range(vertices * (vertices - 1) // 2)]
        return Cell101(_triangle(bits, vertices), tuple(OPS[i] for i in rng.integers(len(OPS), size=inner)))

    def mutate(self, arch: Cell101 | str, rng: np.random.Generator) -> Cell101:
        """One operation, one edge or one vertex is changed, added or taken away; no other vertex dies of it."""
        cell = self.resolve(arch)
        moves = (_change_op, _flip_edge, _add_vertex, _drop_vertex)
        while True:
            matrix, ops = moves[rng.integers(len(moves))](np.array(cell.matrix), list(cell.ops), rng)
            try:
                found = Cell101.from_matrix(matrix, ops)
            except SpaceError:
                continue
            if found != cell and len(found.ops) == len(ops):
                return found

    def build(self, arch: Cell101 | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces import _nasbench101_nets

        classes = self.num_classes if num_classes is None else num_classes
        return _nasbench101_nets.Net(self.resolve(arch), classes)

    def _write(self, b: SpaceBuilder, arch: Cell101, image: Value, num_classes: int) -> Value:
        x = _write_conv(b, image, STEM_WIDTH, 3, "stem")
        for stack in range(STACKS):
            width = STEM_WIDTH << stack
            if stack:
                x = b.pool(x, 2, path=f"downsample.{stack - 1}", op="max_pool")
            for i in range(CELLS_PER_STACK):
                x = _write_cell(b, x, arch, width, f"cells.{stack * CELLS_PER_STACK + i}")
        return b.linear(b.global_pool(x, path="pool"), num_classes, path="classifier")

    def score_many(
        self,
        archs: Sequence[Cell101 | str],
        *,
        image_size: int | None = None,
        num_classes: int | None = None,
    ) -> Scores:
        """SED of many cells in nats, worked through side by side."""
        from sed_torch.spaces import _nasbench101_batch as batch

        size = self.image_size if image_size is None else image_size
        classes = self.num_classes if num_classes is None else num_classes
        if size % 4 or size < SMALLEST_IMAGE:
            return super().score_many(archs, image_size=size, num_classes=classes)
        return batch.scores([self.resolve(a) for a in archs], size, classes)


def _literal(text: str) -> tuple[Any, Any]:
    try:
        value = ast.literal_eval(text)
        matrix, ops = value
        return matrix, tuple(str(op) for op in ops)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise SpaceError(
            f"not a cell of nasbench101: {text[:80]!r}: expected a matrix and a list of operations"
        ) from error


def _triangle(bits: Sequence[Any], vertices: int) -> tuple[tuple[int, ...], ...]:
    matrix = np.zeros((vertices, vertices), dtype=int)
    matrix[np.triu_indices(vertices, 1)] = [int(b) for b in bits]
    return tuple(map(tuple, matrix.tolist()))


@lru_cache(maxsize=1)
def _live_matrices() -> tuple[NDArray[np.int64], ...]:
    """Triangles, as bits of a number, of all pruned matrices with 0, 1, … 5 vertices between input and output."""
    return tuple(_live_codes(n) for n in range(2, MAX_VERTICES + 1))


def _live_codes(vertices: int) -> NDArray[np.int64]:
    rows, columns = np.triu_indices(vertices, 1)
    codes = np.arange(1 << len(rows))
    codes = codes[sum((codes >> i) & 1 for i in range(len(rows))) <= MAX_EDGES]
    # in a graph without cycles a vertex is live when every vertex but the ends is read and reads
    for v in range(vertices):
        for side in (columns == v, rows == v):
            mask = int(np.sum(np.where(side, 1 << np.arange(len(rows)), 0)))
            codes = codes[(codes & mask) != 0] if mask else codes
    return codes


Moved = tuple[NDArray[np.int64], list[str]]


def _change_op(matrix: NDArray[np.int64], ops: list[str], rng: np.random.Generator) -> Moved:
    if ops:
        v = int(rng.integers(len(ops)))
        ops[v] = OPS[other_than(OPS.index(ops[v]), len(OPS), rng)]
    return matrix, ops


def _flip_edge(matrix: NDArray[np.int64], ops: list[str], rng: np.random.Generator) -> Moved:
    i, j = sorted(rng.choice(len(matrix), size=2, replace=False))
    matrix[i, j] ^= 1
    return matrix, ops


def _add_vertex(matrix: NDArray[np.int64], ops: list[str], rng: np.random.Generator) -> Moved:
    """A vertex with one edge in and one out."""
    v = int(rng.integers(1, len(matrix)))
    matrix = np.insert(np.insert(matrix, v, 0, axis=0), v, 0, axis=1)
    matrix[rng.integers(v), v] = matrix[v, rng.integers(v + 1, len(matrix))] = 1
    return matrix, [*ops[: v - 1], OPS[rng.integers(len(OPS))], *ops[v - 1 :]]


def _drop_vertex(matrix: NDArray[np.int64], ops: list[str], rng: np.random.Generator) -> Moved:
    if not ops:
        return matrix, ops
    v = int(rng.integers(1, len(matrix) - 1))
    return np.delete(np.delete(matrix, v, axis=0), v, axis=1), [*ops[: v - 1], *ops[v:]]


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


def _write_conv(b: SpaceBuilder, x: Value, width: int, kernel: int, path: str) -> Value:
    out = b.conv(x, width, kernel, padding=kernel // 2, path=f"{path}.conv")
    return b.norm(out, path=f"{path}.norm")


def _write_cell(b: SpaceBuilder, x: Value, cell: Cell101, width: int, path: str) -> Value:
    channels = vertex_channels(cell.matrix, x.channels, width)
    last = len(channels) - 1
    values = [x]
    for v in range(1, last):
        inputs = [
            dataclasses.replace(values[i], channels=channels[v]) for i in range(1, v) if cell.matrix[i][v]
        ]
        if cell.matrix[0][v]:
            inputs.append(_write_conv(b, x, channels[v], 1, f"{path}.project_{v}"))
        values.append(_write_vertex(b, b.add(*inputs, path=path), cell.ops[v - 1], f"{path}.vertex_{v}"))
    feeding = [values[v] for v in range(1, last) if cell.matrix[v][last]]
    outputs = [b.cat(*feeding, path=path)] if feeding else []
    if cell.matrix[0][last]:
        outputs.append(_write_conv(b, x, width, 1, f"{path}.project_{last}"))
    return b.add(*outputs, path=path)


def _write_vertex(b: SpaceBuilder, x: Value, op: str, path: str) -> Value:
    if op == "maxpool3x3":
        return b.pool(x, 3, stride=1, padding=1, path=path, op="max_pool")
    return _write_conv(b, x, x.channels, 3 if op == "conv3x3-bn-relu" else 1, path)
