"""All 15,625 cells of NAS-Bench-201 at once.

Γ depends on the *kind* of each live edge only (none, skip, pool, mix), so few distinct networks remain. Inside
a stage every map's covariance is Σ_j w_j T^j φ, with φ what enters the stage and T the 3×3 box average's
triangle: a map is a vector of 16 coefficients, at most 15 pools lie on a path of five cells. φ is white at
first, and T, the 2×2 pool and subsampling act on each axis alone, so that every basis function is the product
of one vector with itself over the two axes; only the lags that a 3×3 kernel reads are ever formed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sed_torch.spaces._patch import PATCH_LAGS, effective_taps_3x3
from sed_torch.spaces.nasbench201 import CELLS_PER_STAGE, EDGES, OPS, WIDTHS

__all__ = ["SMALLEST_IMAGE", "all_scores"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SMALLEST_IMAGE = 12
"""Below it the last stage's map is narrower than the kernel, which then reads fewer taps."""

_STAGES = len(WIDTHS)
_BASIS = 3 * CELLS_PER_STAGE + 1  # T^0 … T^15
_NONE, _SKIP, _MIX, _POOL = range(4)
_KIND = np.array([{"none": _NONE, "skip_connect": _SKIP, "avg_pool_3x3": _POOL}.get(op, _MIX) for op in OPS])
_SOURCE = np.array([i for i, _ in EDGES])


@lru_cache(maxsize=8)
def all_scores(image_size: int, num_classes: int) -> Array:
    """SED of every cell in the order of the space's iteration; -inf without a live path."""
    table = _root_taps()
    widths = np.array(WIDTHS, dtype=float)
    positions = (image_size / 2.0 ** np.arange(_STAGES)) ** 2
    unit = positions * widths**1.5  # A · C_out · √C_in of a convolution inside a stage

    per_source = np.einsum("s,psi->pi", unit, table.nodes)
    into = positions[1:] * widths[1:]
    fixed = (
        positions[0] * widths[0] * math.sqrt(27.0)
        + table.strided @ (into * np.sqrt(widths[:-1]))
        + table.second @ (into * np.sqrt(widths[1:]))
        + float(np.sum(into * np.sqrt(widths[:-1])))
        + num_classes * math.sqrt(widths[-1])
    )
    cells = _cells()
    total = fixed[cells.pattern]
    total += (
        CELLS_PER_STAGE
        * float(np.sum(unit))
        * np.sum(cells.live & (cells.ops == _op("nor_conv_1x1")), axis=1)
    )
    reads = cells.live & (cells.ops == _op("nor_conv_3x3"))
    total += np.sum(reads * per_source[cells.pattern][:, _SOURCE], axis=1)
    scores = np.where(cells.connected, np.log(total), -np.inf)
    scores.setflags(write=False)
    return scores


def _op(name: str) -> int:
    return OPS.index(name)


@dataclass(frozen=True, slots=True)
class _Cells:
    """Every cell: its operations (N, 6), live edges (N, 6), row of its pattern (N,), whether it is alive (N,)."""

    ops: Ints
    live: Bools
    pattern: Ints
    connected: Bools
    kinds: Ints  # (P, 6), one row a distinct pattern of live edges


@lru_cache(maxsize=1)
def _cells() -> _Cells:
    ops = np.indices((len(OPS),) * len(EDGES)).reshape(len(EDGES), -1).T
    kinds = _KIND[ops]
    live = _live_edges(kinds != _NONE)
    code = np.where(live, kinds, _NONE) @ 4 ** np.arange(len(EDGES))
    distinct, pattern = np.unique(code, return_inverse=True)
    rows = distinct[:, None] // 4 ** np.arange(len(EDGES)) % 4
    return _Cells(ops, live, pattern.reshape(-1), np.asarray(live.any(axis=1)), rows)


def _live_edges(there: Bools) -> Bools:
    """Edges on a path from node 0 to node 3; none when there is no path."""
    reached = [np.ones(len(there), dtype=bool)] + [np.zeros(len(there), dtype=bool) for _ in range(3)]
    for e, (i, j) in enumerate(EDGES):
        reached[j] = reached[j] | (there[:, e] & reached[i])
    needed = [np.zeros(len(there), dtype=bool) for _ in range(3)] + [np.ones(len(there), dtype=bool)]
    for e, (i, j) in sorted(enumerate(EDGES), key=lambda edge: -edge[1][1]):
        needed[i] = needed[i] | (there[:, e] & needed[j])
    return np.stack([there[:, e] & reached[i] & needed[j] for e, (i, j) in enumerate(EDGES)], axis=1)


@dataclass(frozen=True, slots=True)
class _RootTaps:
    """√n_eff of the 3×3 kernels, a row a pattern.

    Attributes:
        nodes: (P, stage, node) sum over the stage's cells for a reader of nodes 0, 1, 2.
        strided: (P, transition) first convolution of the residual block.
        second: (P, transition) its second one.
    """

    nodes: Array
    strided: Array
    second: Array


@lru_cache(maxsize=1)
def _root_taps() -> _RootTaps:
    kinds = _cells().kinds
    nodes = np.zeros((len(kinds), _STAGES, 3))
    strided, second = (np.zeros((len(kinds), _STAGES - 1)) for _ in range(2))
    lines = np.ones((1, 1))  # φ's basis: white; one axis of each separable function, over lags
    share = np.ones((len(kinds), 1))  # φ in that basis
    for stage in range(_STAGES):
        powers = _pool_powers(lines)
        weights, nodes[:, stage] = _run_stage(kinds, share @ _reads(powers))
        if stage + 1 < _STAGES:
            mixed, pooled = powers[:, :, ::2], _box(powers, 2)[:, :, ::2]
            joint = (share[:, :, None] * weights[:, None, :]).reshape(len(kinds), -1)
            by_mix, by_pool = (_normalised(joint, axis) for axis in (mixed, pooled))
            strided[:, stage] = _root(joint @ _reads_of(powers))
            second[:, stage] = _root(by_mix @ _reads_of(mixed))
            share = np.concatenate([by_mix, by_pool], axis=1)
            lines = _stack(_flat(mixed), _flat(pooled))
    return _RootTaps(nodes, strided, second)


def _pool_powers(lines: Array) -> Array:
    """T^j of every basis function along one axis: (basis, j, lags)."""
    powers = np.zeros((len(lines), _BASIS, lines.shape[1] + 2 * (_BASIS - 1)))
    powers[:, 0, : lines.shape[1]] = lines
    for j in range(1, _BASIS):
        powers[:, j] = _box(powers[:, j - 1], 3)[..., : powers.shape[2]]
    return powers


def _box(lines: Array, width: int) -> Array:
    """Autocovariance along one axis after a mean over ``width`` positions; lags grow by width - 1."""
    n, grow = lines.shape[-1], width - 1
    both = np.zeros((*lines.shape[:-1], 2 * (n + 2 * grow) - 1))
    centre = n + 2 * grow - 1
    both[..., centre : centre + n] = lines
    both[..., centre - n + 1 : centre + 1] = lines[..., ::-1]
    out = np.zeros((*lines.shape[:-1], n + grow))
    for j in range(-grow, width):
        out += ((width - abs(j)) / width**2) * both[..., centre - j : centre - j + n + grow]
    return out


def _flat(powers: Array) -> Array:
    return powers.reshape(-1, powers.shape[-1])


def _stack(a: Array, b: Array) -> Array:
    """Rows of both, over the lags of the longer."""
    out = np.zeros((len(a) + len(b), max(a.shape[1], b.shape[1])))
    out[: len(a), : a.shape[1]] = a
    out[len(a) :, : b.shape[1]] = b
    return out


def _at_patch_lags(lines: Array) -> Array:
    """The separable functions at the lags a 3×3 kernel reads."""
    return np.stack([lines[..., x] * lines[..., y] for x, y in PATCH_LAGS], axis=-1)


def _reads(powers: Array) -> Array:
    """(basis, j·lag): what T^j φ is at the patch's lags."""
    return _at_patch_lags(powers).reshape(len(powers), -1)


def _reads_of(powers: Array) -> Array:
    """(basis·j, lag)."""
    return _at_patch_lags(_flat(powers))


def _normalised(joint: Array, lines: Array) -> Array:
    """Coefficients over Γ(0)."""
    variance = joint @ _flat(lines)[:, 0] ** 2
    return joint / np.where(variance > 0.0, variance, 1.0)[:, None]


def _root(lags: Array) -> Array:
    return np.sqrt(effective_taps_3x3(lags))


def _run_stage(kinds: Ints, reads: Array) -> tuple[Array, Array]:
    """Five cells: (coefficients of what leaves the stage, Σ √n_eff of nodes 0, 1, 2)."""
    reads = reads.reshape(len(kinds), _BASIS, len(PATCH_LAGS))
    skip, mix, pool = ((kinds == kind).astype(float) for kind in (_SKIP, _MIX, _POOL))
    x = np.zeros((len(kinds), _BASIS))
    x[:, 0] = 1.0
    total = np.zeros((len(kinds), 3))
    for _ in range(CELLS_PER_STAGE):
        nodes = [x] + [np.zeros_like(x) for _ in range(3)]
        for node in range(3):
            lags = np.einsum("pj,pjl->pl", nodes[node], reads)
            total[:, node] += _root(lags)
            variance = np.where(lags[:, 0] > 0.0, lags[:, 0], 1.0)
            for e, (i, j) in enumerate(EDGES):
                if i == node:
                    nodes[j] += nodes[i] * (skip[:, e] + mix[:, e] / variance)[:, None]
                    nodes[j][:, 1:] += nodes[i][:, :-1] * pool[:, e, None]
        x = nodes[3]
    return x, total
