"""Cells of NAS-Bench-101 worked through side by side.

Inside a stack every map's covariance is Σ_j w_j T^j φ (:mod:`sed_torch.spaces.lines`); five vertices that pool
in a row, three cells a stack, make at most 15 pools. Convolutions normalise, the concatenation takes the mean
weighted by channels, and nothing else happens to Γ, so that a vertex of many cells is one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sed_torch.spaces.lines import box, flat, pool_powers, reads
from sed_torch.spaces.nasbench101.architecture import (
    CELLS_PER_STACK,
    MAX_VERTICES,
    OPS,
    STACKS,
    STEM_WIDTH,
    Cell101,
    vertex_channels,
)
from sed_torch.spaces.nasbench101.topology import write_network
from sed_torch.spaces.patch import PATCH_LAGS, effective_taps_3x3
from sed_torch.spaces.tally import Tally
from sed_torch.spaces.writing import part

__all__ = ["counts", "scores"]

Array = NDArray[np.float64]

_LAST = MAX_VERTICES - 1
_BASIS = (MAX_VERTICES - 2) * CELLS_PER_STACK + 1
_CHUNK = 2048
_CONV3, _CONV1, _POOL = range(3)


def scores(cells: Sequence[Cell101], image_size: int, num_classes: int, definition: str) -> Array:
    """Scores in nats."""
    distinct = list(dict.fromkeys(cells))
    parts = [
        _chunk_scores(distinct[i : i + _CHUNK], image_size, num_classes, definition)
        for i in range(0, len(distinct), _CHUNK)
    ]
    known = dict(zip(distinct, np.concatenate(parts or [np.zeros(0)]).tolist(), strict=True))
    return np.array([known[c] for c in cells], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Cells:
    """Cells laid out over seven vertices, the output last.

    Attributes:
        edges: (N, 7, 7) adjacency.
        ops: (N, 7) index in OPS; -1 where there is no vertex.
        channels: (STACKS, N, 7) of each vertex.
    """

    edges: Array
    ops: NDArray[np.int64]
    channels: Array


def _lay_out(cells: Sequence[Cell101]) -> _Cells:
    edges = np.zeros((len(cells), MAX_VERTICES, MAX_VERTICES))
    ops = np.full((len(cells), MAX_VERTICES), -1)
    channels = np.zeros((STACKS, len(cells), MAX_VERTICES))
    places = [np.array([*range(n - 1), _LAST]) for n in range(MAX_VERTICES + 1)]
    for row, cell in enumerate(cells):
        place = places[len(cell.matrix)]
        edges[row, place[:, None], place] = cell.matrix
        ops[row, 1 : len(cell.ops) + 1] = [OPS.index(op) for op in cell.ops]
        for stack in range(STACKS):
            width = STEM_WIDTH << stack
            channels[stack, row, place] = vertex_channels(cell.matrix, width, width)
    return _Cells(edges, ops, channels)


@lru_cache(maxsize=1)
def _stack_reads() -> tuple[Array, ...]:
    """For each stack, what its basis is at the patch's lags: (basis, j·lag)."""
    lines = np.ones((1, 1))
    found = []
    for _ in range(STACKS):
        powers = pool_powers(lines, _BASIS)
        found.append(reads(powers))
        lines = flat(box(powers, 2)[:, :, ::2])
    return tuple(found)


def _chunk_scores(cells: Sequence[Cell101], image_size: int, num_classes: int, definition: str) -> Array:
    laid, tally = _lay_out(cells), Tally(definition, len(cells))
    tally.add(image_size**2, 3, STEM_WIDTH, 3.0)  # a 3×3 kernel on a white map
    tally.add(1.0, STEM_WIDTH << (STACKS - 1), num_classes, 1.0)
    share = np.ones((len(cells), 1))
    for stack, basis in enumerate(_stack_reads()):
        read = (share @ basis).reshape(len(cells), _BASIS, len(PATCH_LAGS))
        x = np.zeros((len(cells), _BASIS))
        x[:, 0] = 1.0
        for i in range(CELLS_PER_STACK):
            c_in = STEM_WIDTH << (stack - 1 if stack and not i else stack)
            x = _run_cell(laid, stack, x, read, c_in, (image_size / 2**stack) ** 2, tally)
        share = (share[:, :, None] * x[:, None, :]).reshape(len(cells), -1)
    return tally.scores()


def _run_cell(
    cells: _Cells, stack: int, x: Array, read: Array, c_in: int, positions: float, tally: Tally
) -> Array:
    """Coefficients of what leaves a cell; its convolutions go into the tally."""
    edges, channels = cells.edges, cells.channels[stack]
    projected = _normalised(x, read)
    values = np.zeros((len(x), MAX_VERTICES, _BASIS))
    for v in range(1, MAX_VERTICES):
        tally.add(positions, c_in, channels[:, v], 1.0, times=edges[:, 0, v])
    for v in range(1, _LAST):
        inputs = np.einsum("pi,pij->pj", edges[:, 1:v, v], values[:, 1:v])
        inputs += edges[:, 0, v, None] * projected
        op = cells.ops[:, v]
        pool, mix = op == _POOL, (op == _CONV3) | (op == _CONV1)
        values[pool, v, 1:] = inputs[pool, :-1]
        values[mix, v] = _normalised(inputs[mix], read[mix])
        roots = np.where(op == _CONV1, 1.0, 0.0)
        wide = op == _CONV3
        roots[wide] = np.sqrt(effective_taps_3x3(_at_lags(inputs[wide], read[wide])))
        tally.add(positions, channels[:, v], channels[:, v], roots, times=mix)
    weights = edges[:, 1:_LAST, _LAST] * channels[:, 1:_LAST] / (STEM_WIDTH << stack)
    out = np.einsum("pi,pij->pj", weights, values[:, 1:_LAST])
    return np.asarray(out + edges[:, 0, _LAST, None] * projected)


def _at_lags(coefficients: Array, read: Array) -> Array:
    return np.asarray(np.einsum("pj,pjl->pl", coefficients, read))


def _normalised(coefficients: Array, read: Array) -> Array:
    """Coefficients over Γ(0); every vertex that is there has variance."""
    variance = np.einsum("pj,pj->p", coefficients, read[:, :, 0])
    return np.asarray(coefficients / variance[:, None])


# --- counts --------------------------------------------------------------------------------------------------


def counts(cells: Sequence[Cell101], what: str, image_size: int, num_classes: int) -> list[float]:
    """Parameters, multiply-accumulates or depth of each."""
    return [_count(cell, what, image_size, num_classes) for cell in cells]


def _count(cell: Cell101, what: str, image_size: int, num_classes: int) -> float:
    if what == "depth":
        # stem and classifier
        return STACKS * CELLS_PER_STACK * _depth(cell) + 2.0
    total = _rest(what, image_size, num_classes)
    for stack in range(STACKS):
        width = STEM_WIDTH << stack
        positions = (image_size >> stack) ** 2
        for entering, times in (
            (max(width // 2, STEM_WIDTH), 1),
            (width, CELLS_PER_STACK - 1),
        ):
            weights, norms = _weights(cell, entering, width)
            total += times * (weights + norms if what == "params" else weights * positions)
    return total


def _weights(cell: Cell101, c_in: int, width: int) -> tuple[int, int]:
    """Weights of the convolutions of a cell, and parameters of the norms that follow them."""
    matrix, last = cell.matrix, len(cell.matrix) - 1
    channels = vertex_channels(matrix, c_in, width)
    weights = norms = 0
    for v in range(1, last + 1):
        if matrix[0][v]:
            weights, norms = weights + c_in * channels[v], norms + 2 * channels[v]
        taps = _TAPS[cell.ops[v - 1]] if v < last else 0
        if taps:
            weights, norms = weights + taps * channels[v] ** 2, norms + 2 * channels[v]
    return weights, norms


_TAPS = {"conv3x3-bn-relu": 9, "conv1x1-bn-relu": 1, "maxpool3x3": 0}


def _depth(cell: Cell101) -> int:
    matrix, last = cell.matrix, len(cell.matrix) - 1
    depth = [0] * (last + 1)
    for v in range(1, last + 1):
        inner = [depth[i] for i in range(1, v) if matrix[i][v]]
        projected = [1] if matrix[0][v] else []
        mixes = v < last and _TAPS[cell.ops[v - 1]] > 0
        depth[v] = max(inner + projected) + mixes
    return depth[last]


@lru_cache(maxsize=8)
def _rest(what: str, image_size: int, num_classes: int) -> float:
    """Stem and classifier: a network without vertices, less its projections."""
    cell = Cell101(((0, 1), (0, 0)), ())
    whole = part(lambda b, x: write_network(b, cell, x, num_classes), 3, image_size)
    cells = [s for s in whole.steps if s.path.startswith("cells.")]
    return float(getattr(whole, what)) - float(sum(getattr(s, what) for s in cells))
