"""All 15,625 cells of NAS-Bench-201 at once.

Γ depends on the *kind* of each live edge only (none, skip, pool, mix), so few distinct networks remain. Inside
a stage every map's covariance is Σ_j w_j T^j φ, with φ what enters the stage and T the 3×3 box average's
triangle: a map is a vector of 16 coefficients, at most 15 pools lie on a path of five cells. φ is white at
first, and T, the 2×2 pool and subsampling act on each axis alone, so that every basis function is the product
of one vector with itself over the two axes; only the lags that a 3×3 kernel reads are ever formed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sed_torch.spaces.cells import EDGES, edge_costs, live_edges, longest_paths
from sed_torch.spaces.lines import box, flat, pool_powers, reads, reads_of, stack
from sed_torch.spaces.nasbench201.architecture import CELLS_PER_STAGE, NODE_CODES, OPS, WIDTHS, Cell201
from sed_torch.spaces.nasbench201.topology import write_network
from sed_torch.spaces.patch import PATCH_LAGS, effective_taps_3x3
from sed_torch.spaces.tally import Sums, Tally, total
from sed_torch.spaces.writing import part

__all__ = ["all_scores", "counts", "places"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_STAGES = len(WIDTHS)
_BASIS = 3 * CELLS_PER_STAGE + 1  # T^0 … T^15
_NONE, _SKIP, _MIX, _POOL = range(4)
_KIND = np.array([{"none": _NONE, "skip_connect": _SKIP, "avg_pool_3x3": _POOL}.get(op, _MIX) for op in OPS])
_IMAGE_CHANNELS = 3
_SOURCES = 3  # nodes that edges lead from
_SOURCE = np.array([i for i, _ in EDGES])


@lru_cache(maxsize=8)
def all_scores(image_size: int, num_classes: int, definition: str) -> Array:
    """Score of every cell in the order of the space's iteration; -inf without a live path."""
    table, cells = _root_taps(), _cells()
    patterns = len(cells.kinds)
    fixed, inside = Tally(definition, patterns), Tally(definition, 1)
    nodes = [Tally(definition, patterns) for _ in range(_SOURCES)]
    for stage, width in enumerate(WIDTHS):
        positions = (image_size / 2.0**stage) ** 2
        inside.add(positions, width, width, 1.0, times=CELLS_PER_STAGE)
        for node, tally in enumerate(nodes):
            for cell in range(CELLS_PER_STAGE):
                tally.add(positions, width, width, table.nodes[:, stage, cell, node])
        if stage:
            before = WIDTHS[stage - 1]
            fixed.add(positions, before, width, table.strided[:, stage - 1])
            fixed.add(positions, width, width, table.second[:, stage - 1])
            fixed.add(positions, before, width, 1.0)
    fixed.add(image_size**2, _IMAGE_CHANNELS, WIDTHS[0], 3.0)  # a 3×3 kernel on a white map
    fixed.add(1.0, WIDTHS[-1], num_classes, 1.0)

    found = total(definition, _sums_of_cells(cells, fixed, inside, nodes))
    scores = np.where(cells.connected, found, -np.inf)
    scores.setflags(write=False)
    return scores


def _sums_of_cells(cells: _Cells, fixed: Tally, inside: Tally, nodes: Sequence[Tally]) -> Sums:
    """From what patterns add to what cells add, which have so many 1×1 and so many 3×3 convolutions on each node."""
    ones = np.sum(cells.live & (cells.ops == _op("nor_conv_1x1")), axis=1)
    threes = cells.live & (cells.ops == _op("nor_conv_3x3"))
    found = {a: sums[cells.pattern] for a, sums in fixed.sums.items()}
    for positions, of_one in inside.sums.items():
        found[positions] = found[positions] + ones * of_one
        for node, tally in enumerate(nodes):
            times = threes[:, node == _SOURCE].sum(axis=1)
            found[positions] += times * tally.sums[positions][cells.pattern]
    return found


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
    live = live_edges(kinds != _NONE)
    code = np.where(live, kinds, _NONE) @ 4 ** np.arange(len(EDGES))
    distinct, pattern = np.unique(code, return_inverse=True)
    rows = distinct[:, None] // 4 ** np.arange(len(EDGES)) % 4
    return _Cells(ops, live, pattern.reshape(-1), np.asarray(live.any(axis=1)), rows)


@dataclass(frozen=True, slots=True)
class _RootTaps:
    """√n_eff of the 3×3 kernels, a row a pattern.

    Attributes:
        nodes: (P, stage, cell, node) a reader of nodes 0, 1, 2 of each cell.
        strided: (P, transition) first convolution of the residual block.
        second: (P, transition) its second one.
    """

    nodes: Array
    strided: Array
    second: Array


@lru_cache(maxsize=1)
def _root_taps() -> _RootTaps:
    kinds = _cells().kinds
    nodes = np.zeros((len(kinds), _STAGES, CELLS_PER_STAGE, _SOURCES))
    strided, second = (np.zeros((len(kinds), _STAGES - 1)) for _ in range(2))
    lines = np.ones((1, 1))  # φ's basis: white; one axis of each separable function, over lags
    share = np.ones((len(kinds), 1))  # φ in that basis
    for stage in range(_STAGES):
        powers = pool_powers(lines, _BASIS)
        weights, nodes[:, stage] = _run_stage(kinds, share @ reads(powers))
        if stage + 1 < _STAGES:
            mixed, pooled = powers[:, :, ::2], box(powers, 2)[:, :, ::2]
            joint = (share[:, :, None] * weights[:, None, :]).reshape(len(kinds), -1)
            by_mix, by_pool = (_normalised(joint, axis) for axis in (mixed, pooled))
            strided[:, stage] = _root(joint @ reads_of(powers))
            second[:, stage] = _root(by_mix @ reads_of(mixed))
            share = np.concatenate([by_mix, by_pool], axis=1)
            lines = stack(flat(mixed), flat(pooled))
    return _RootTaps(nodes, strided, second)


def _normalised(joint: Array, lines: Array) -> Array:
    """Coefficients over Γ(0)."""
    variance = joint @ flat(lines)[:, 0] ** 2
    return joint / np.where(variance > 0.0, variance, 1.0)[:, None]


def _root(lags: Array) -> Array:
    return np.sqrt(effective_taps_3x3(lags))


def _run_stage(kinds: Ints, read: Array) -> tuple[Array, Array]:
    """Five cells: (coefficients of what leaves the stage, √n_eff of nodes 0, 1, 2 of each)."""
    read = read.reshape(len(kinds), _BASIS, len(PATCH_LAGS))
    skip, mix, pool = ((kinds == kind).astype(float) for kind in (_SKIP, _MIX, _POOL))
    x = np.zeros((len(kinds), _BASIS))
    x[:, 0] = 1.0
    roots = np.zeros((len(kinds), CELLS_PER_STAGE, _SOURCES))
    for cell in range(CELLS_PER_STAGE):
        nodes = [x] + [np.zeros_like(x) for _ in range(_SOURCES)]
        for node in range(_SOURCES):
            lags = np.einsum("pj,pjl->pl", nodes[node], read)
            roots[:, cell, node] = _root(lags)
            variance = np.where(lags[:, 0] > 0.0, lags[:, 0], 1.0)
            for e, (i, j) in enumerate(EDGES):
                if i == node:
                    nodes[j] += nodes[i] * (skip[:, e] + mix[:, e] / variance)[:, None]
                    nodes[j][:, 1:] += nodes[i][:, :-1] * pool[:, e, None]
        x = nodes[3]
    return x, roots


def places(archs: Iterable[Cell201 | str], resolve: Callable[[Cell201 | str], Cell201]) -> list[int]:
    """The place of each in the order of :func:`all_scores`."""
    one, two, three = NODE_CODES
    found = []
    for arch in archs:
        text = arch if isinstance(arch, str) else str(resolve(arch))
        try:
            a, b, c = text.split("+")
            found.append(one[a] * 3125 + two[b] * 125 + three[c])
        except (KeyError, ValueError):
            a, b, c = str(resolve(text)).split("+")
            found.append(one[a] * 3125 + two[b] * 125 + three[c])
    return found


def counts(archs: Sequence[Cell201], what: str, image_size: int, num_classes: int) -> Array:
    """Parameters, multiply-accumulates or depth of each: all but the depth add up over the edges."""
    index = {op: i for i, op in enumerate(OPS)}
    ops = np.array([[index[op] for op in a.ops] for a in archs], dtype=np.int64).reshape(-1, len(EDGES))
    if what == "depth":
        return _depths(ops)
    base, costs = _costs(what, image_size, num_classes)
    return np.asarray(base + costs[np.arange(len(EDGES)), ops].sum(axis=1))


def _depths(ops: Ints) -> Array:
    mixes = np.array([op.startswith("nor_conv") for op in OPS], dtype=np.int64)
    chain = longest_paths(live_edges(ops != _op("none")), mixes[ops])
    # stem, two convolutions in each residual block, classifier
    whole = len(WIDTHS) * CELLS_PER_STAGE * chain + 2 * (len(WIDTHS) - 1) + 2
    return np.where(chain < 0, 0.0, whole)


@lru_cache(maxsize=8)
def _costs(what: str, image_size: int, num_classes: int) -> tuple[float, Array]:
    def cost(ops: Sequence[int]) -> float:
        names = [OPS[i] for i in ops]
        whole = part(lambda b, x: write_network(b, names, x, num_classes), 3, image_size)
        return float(getattr(whole, what))

    return edge_costs(cost, len(OPS))
