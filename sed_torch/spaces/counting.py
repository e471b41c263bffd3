"""Parameters, multiply-accumulates and depth of many architectures, without writing each one's topology.

In every space here these counts add up over edges, layers or vertices. The addends are read off the topologies
of a few architectures or parts, so that a space's network is written down in one place.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sed_torch.errors import SpaceError
from sed_torch.spaces import darts, nasbench101, nasbench201 as nb201, nats_size, transnas
from sed_torch.spaces._edges import EDGES, live_edges
from sed_torch.spaces._white import piece
from sed_torch.spaces.base import Space
from sed_torch.topology import Topology

__all__ = ["COUNTS", "count_many"]

A = TypeVar("A", bound=Hashable)

Counts = NDArray[np.float64]
Ints = NDArray[np.int64]

COUNTS = ("params", "macs", "depth")
"""What is counted: parameters, multiply-accumulates a sample (both with dead edges, as published), and the longest
chain of live convolutions and linear layers."""


def count_many(space: Space[A], archs: Sequence[A | str], what: Iterable[str] = COUNTS) -> dict[str, Counts]:
    """Counts of many architectures at the space's own input and classifier.

    Args:
        space: a space. One that is not of this package is counted by writing each topology.
        archs: architectures or their strings.
        what: some of :data:`COUNTS`.

    Returns:
        One array of shape (n,) each; equal to ``space.params``, ``space.macs`` and ``topology(arch).depth``.

    Raises:
        SpaceError: if an architecture is not of the space, or a count is unknown.
    """
    names = tuple(what)
    unknown = [n for n in names if n not in COUNTS]
    if unknown:
        raise SpaceError(f"no count named {unknown[0]!r}: expected some of {', '.join(COUNTS)}")
    known = [space.resolve(a) for a in archs]
    # A subclass may write another network: only the classes themselves have tables.
    count = _FAST.get(type(space), partial(_by_topology, space))
    return {n: np.asarray(count(known, n), dtype=np.float64).reshape(len(known)) for n in names}


def _by_topology(space: Space[Any], archs: Sequence[Any], what: str) -> list[float]:
    dead = what != "depth"
    return [float(getattr(space.topology(a, keep_dead=dead), what)) for a in archs]


# --- cells of six edges --------------------------------------------------------------------------------------


def _nasbench201(archs: Sequence[nb201.Cell201], what: str) -> Counts:
    index = {op: i for i, op in enumerate(nb201.OPS)}
    ops = np.array([[index[op] for op in a.ops] for a in archs], dtype=np.int64).reshape(-1, len(EDGES))
    if what == "depth":
        chain = _longest(ops, _weights(len(EDGES), [op.startswith("nor_conv") for op in nb201.OPS]))
        cells = len(nb201.WIDTHS) * nb201.CELLS_PER_STAGE
        # stem, two convolutions in each residual block, classifier
        return np.where(chain < 0, 0, cells * chain + 2 * (len(nb201.WIDTHS) - 1) + 2)
    base, costs = _edge_costs(nb201.NASBench201(), len(nb201.OPS), _cell201, what)
    return np.asarray(base + costs[np.arange(len(EDGES)), ops].sum(axis=1))


def _cell201(ops: Sequence[int]) -> nb201.Cell201:
    return nb201.Cell201(tuple(nb201.OPS[i] for i in ops))


def _transnas_micro(archs: Sequence[transnas.MicroArch], what: str) -> Counts:
    ops = np.array([[int(d) for d in a.ops] for a in archs], dtype=np.int64).reshape(-1, len(EDGES))
    if what == "depth":
        return _transnas_micro_depth(ops)
    base, costs = _edge_costs(transnas.TransNASMicro(), 4, _micro, what)
    return np.asarray(base + costs[np.arange(len(EDGES)), ops].sum(axis=1))


def _micro(ops: Sequence[int]) -> transnas.MicroArch:
    return transnas.MicroArch("".join(map(str, ops)))


def _transnas_micro_depth(ops: Ints) -> Counts:
    plain = _weights(len(EDGES), [False, False, True, True])
    changing = plain.copy()  # where a cell halves or widens, its skips from node 0 are convolutions
    changing[[e for e, (i, _) in enumerate(EDGES) if i == 0], 1] = 1
    changes = sum(d != "1" for d in transnas.TransNASMicro.layers)
    cells = len(transnas.TransNASMicro.layers) * transnas.BLOCKS
    total = changes * _longest(ops, changing) + (cells - changes) * _longest(ops, plain)
    return np.where(_longest(ops, plain) < 0, 0, total + 3)  # two convolutions in the stem, classifier


def _weights(edges: int, mixes: Sequence[bool]) -> Ints:
    return np.tile(np.array(mixes, dtype=np.int64), (edges, 1))


def _longest(ops: Ints, weights: Ints) -> Ints:
    """Largest sum of weights over paths of live edges from node 0 to node 3; negative without a path."""
    live = live_edges(ops != 0)
    cost = np.where(live, weights[np.arange(len(EDGES)), ops], -1_000)
    nodes = [np.zeros(len(ops), dtype=np.int64), *(np.full(len(ops), -10_000) for _ in range(3))]
    for e, (i, j) in enumerate(EDGES):
        nodes[j] = np.maximum(nodes[j], nodes[i] + cost[:, e])
    return nodes[3]


def _edge_costs(
    space: Space[Any], n_ops: int, make: Callable[[Sequence[int]], Any], what: str
) -> tuple[float, Counts]:
    """Cost of the network without its edges, and of (edge, operation); operation 0 costs nothing."""
    return _edge_costs_once(type(space), n_ops, make, what)


@lru_cache(maxsize=16)
def _edge_costs_once(
    kind: type[Space[Any]], n_ops: int, make: Callable[[Sequence[int]], Any], what: str
) -> tuple[float, Counts]:
    space = kind()

    def cost(ops: Sequence[int]) -> float:
        return float(getattr(space.topology(make(ops), keep_dead=True), what))

    base = cost([0] * len(EDGES))
    table = np.zeros((len(EDGES), n_ops))
    for e in range(len(EDGES)):
        for op in range(1, n_ops):
            table[e, op] = cost([op if k == e else 0 for k in range(len(EDGES))]) - base
    return base, table


# --- chains of layers ----------------------------------------------------------------------------------------


def _nats_size(archs: Sequence[nats_size.Widths], what: str) -> Counts:
    if what == "depth":
        depth = nats_size.NATSSize().topology(archs[0]).depth if len(archs) else 0
        return np.full(len(archs), float(depth))  # widths do not change it
    if not len(archs):
        return np.empty(0)
    index = np.array([a.channels for a in archs], dtype=np.int64) // nats_size.WIDTHS[0] - 1
    ends, pairs = _nats_size_table()[what]
    total = ends[0, index[:, 0]] + ends[1, index[:, -1]]
    for layer, table in enumerate(pairs):
        total += table[index[:, max(layer - 1, 0)], index[:, layer]]
    return np.asarray(total)


@lru_cache(maxsize=1)
def _nats_size_table() -> dict[str, tuple[Counts, Counts]]:
    """Addends: (stem and head, width), (layer, width before, width)."""
    space, widths = nats_size.NATSSize, nats_size.WIDTHS
    layers, n = len(nats_size.NATSSize().sample(np.random.default_rng(0)).channels), len(widths)
    found = {w: (np.zeros((2, n)), np.zeros((layers, n, n))) for w in ("params", "macs")}
    for i, before in enumerate(widths):
        stem = piece(partial(nb201.write_stem, width=before), 3, space.image_size)
        head = partial(nb201.write_head, num_classes=space.num_classes)
        parts = [stem, piece(head, before, space.image_size // 4)]
        for what, (ends, _) in found.items():
            ends[:, i] = [getattr(part, what) for part in parts]
        for layer, (j, width) in itertools.product(range(layers), enumerate(widths)):
            write = partial(nats_size._write_layer, layer=layer, width=width)
            part = piece(write, before, space.image_size >> (layer // 2))
            for what, (_, pairs) in found.items():
                pairs[layer, i, j] = getattr(part, what)
    return found


def _transnas_macro(archs: Sequence[transnas.MacroArch], what: str) -> list[float]:
    return [_transnas_macro_count(a.layers, what) for a in archs]


def _transnas_macro_count(layers: str, what: str) -> float:
    total, width, size = _macro_stem(what)
    for digit in layers:
        total += _macro_layer(digit, width, size, what)
        wider, stride = transnas.layer_shape(digit, width)
        width, size = wider, -(-size // stride)
    return total + _macro_head(width, size, what)


@lru_cache(maxsize=3)
def _macro_stem(what: str) -> tuple[float, int, int]:
    stem = piece(transnas._write_stem, 3, transnas.TransNASMacro.image_size)
    size = round(next(s.positions for s in reversed(stem.steps) if s.kind == "mix") ** 0.5)
    return _chained(stem, what), transnas.STEM_WIDTH, size


@lru_cache(maxsize=256)
def _macro_layer(digit: str, width: int, size: int, what: str) -> float:
    return _chained(piece(lambda b, x: transnas._write_blocks(b, x, digit, ""), width, size), what)


@lru_cache(maxsize=256)
def _macro_head(width: int, size: int, what: str) -> float:
    classes = transnas.TransNASMacro.num_classes
    return _chained(piece(lambda b, x: transnas._write_head(b, x, classes), width, size), what)


def _chained(part: Topology, what: str) -> float:
    """A count of a part; its longest chain is that to its last step, which is what it returns."""
    if what == "depth":
        return float(Topology(part.steps, (len(part) - 1,)).depth)
    return float(getattr(part, what))


# --- DARTS ---------------------------------------------------------------------------------------------------


def _darts(archs: Sequence[darts.Genotype], what: str) -> list[float]:
    if what == "depth":
        return [_darts_depth(a) for a in archs]
    base, costs = _darts_costs()[what]
    return [base + sum(costs[k] for k in _darts_edges(a)) for a in archs]


DartsEdge = tuple[bool, bool, str]
"""(in a reduction cell, reads an input of the cell, operation): what an edge's cost depends on."""


def _darts_edges(arch: darts.Genotype) -> list[DartsEdge]:
    return [(r, i < 2, op) for r, cell in ((False, arch.normal), (True, arch.reduce)) for i, op in cell]


@lru_cache(maxsize=1)
def _darts_costs() -> dict[str, tuple[float, dict[DartsEdge, float]]]:
    """Cost of a network without its edges, and of each kind of edge in all cells of its kind."""
    found: dict[str, tuple[float, dict[DartsEdge, float]]] = {}
    for cell in _all_darts_edges():
        whole = darts.DARTS().topology(darts.Genotype(cell, cell), keep_dead=True)
        for what in ("params", "macs"):
            shares = _darts_shares(whole, what)
            found.setdefault(what, (float(getattr(whole, what)) - sum(shares.values()), {}))
            for place, (i, op) in enumerate(cell):
                name = f"edge_{i}_{place // 2 + 2}"
                for reduction in (False, True):
                    found[what][1][reduction, i < 2, op] = shares[reduction, name]
    return found


def _all_darts_edges() -> list[tuple[darts.Edge, ...]]:
    """Cells that between them have each operation on an input and on a node."""
    free = [(0, "skip_connect"), (1, "skip_connect")]
    on_inputs = [((i % 2), darts.OPS[i % len(darts.OPS)]) for i in range(2 * darts.NODES)]
    cells = [tuple(on_inputs)]
    for first in (0, len(darts.OPS) - 5):
        ops = darts.OPS[first : first + 5]
        inner = [free[0], *((i, op) for i, op in zip((2, 2, 3, 2, 3), ops, strict=True))]
        cells.append((*free, *inner))
    return cells


def _darts_shares(whole: Topology, what: str) -> dict[tuple[bool, str], float]:
    """Of each edge by name, summed over the normal cells (False) and the reduction cells (True)."""
    shares: dict[tuple[bool, str], float] = defaultdict(float)
    for step in whole.steps:
        names = step.path.split(".")
        if len(names) > 2 and names[2].startswith("edge_"):
            shares[int(names[1]) in darts.REDUCTIONS, names[2]] += float(getattr(step, what))
    return shares


_DARTS_CHAIN = {"sep": 4, "dil": 2}
"""Convolutions one after the other: depthwise and 1×1, twice in a separable one."""


def _darts_depth(arch: darts.Genotype) -> float:
    before = now = 1  # the stem
    for cell in range(darts.CELLS):
        reduction = cell in darts.REDUCTIONS
        nodes = [before + 1, now + 1]  # a 1×1 convolution, or a halving one, on each
        edges = arch.reduce if reduction else arch.normal
        for first, second in zip(edges[::2], edges[1::2], strict=True):
            nodes.append(max(nodes[i] + _darts_chain(i, op, reduction) for i, op in (first, second)))
        before, now = now, max(nodes[2:])
    return now + 1.0


def _darts_chain(reads: int, op: str, reduction: bool) -> int:
    if op == "skip_connect":
        return int(reduction and reads < 2)
    return _DARTS_CHAIN.get(op[:3], 0)


# --- NAS-Bench-101 -------------------------------------------------------------------------------------------


def _nasbench101(archs: Sequence[nasbench101.Cell101], what: str) -> list[float]:
    return [_nasbench101_count(a, what) for a in archs]


def _nasbench101_count(cell: nasbench101.Cell101, what: str) -> float:
    if what == "depth":
        # stem and classifier
        return nasbench101.STACKS * nasbench101.CELLS_PER_STACK * _cell101_depth(cell) + 2.0
    total = _nasbench101_rest(what)
    for stack in range(nasbench101.STACKS):
        width = nasbench101.STEM_WIDTH << stack
        positions = (nasbench101.NASBench101.image_size >> stack) ** 2
        for entering, times in (
            (max(width // 2, nasbench101.STEM_WIDTH), 1),
            (width, nasbench101.CELLS_PER_STACK - 1),
        ):
            weights, norms = _cell101_weights(cell, entering, width)
            total += times * (weights + norms if what == "params" else weights * positions)
    return total


def _cell101_weights(cell: nasbench101.Cell101, c_in: int, width: int) -> tuple[int, int]:
    """Weights of the convolutions of a cell, and parameters of the norms that follow them."""
    matrix, last = cell.matrix, len(cell.matrix) - 1
    channels = nasbench101.vertex_channels(matrix, c_in, width)
    weights = norms = 0
    for v in range(1, last + 1):
        if matrix[0][v]:
            weights, norms = weights + c_in * channels[v], norms + 2 * channels[v]
        taps = _TAPS_101[cell.ops[v - 1]] if v < last else 0
        if taps:
            weights, norms = weights + taps * channels[v] ** 2, norms + 2 * channels[v]
    return weights, norms


_TAPS_101 = {"conv3x3-bn-relu": 9, "conv1x1-bn-relu": 1, "maxpool3x3": 0}


def _cell101_depth(cell: nasbench101.Cell101) -> int:
    matrix, last = cell.matrix, len(cell.matrix) - 1
    depth = [0] * (last + 1)
    for v in range(1, last + 1):
        inner = [depth[i] for i in range(1, v) if matrix[i][v]]
        projected = [1] if matrix[0][v] else []
        mixes = v < last and _TAPS_101[cell.ops[v - 1]] > 0
        depth[v] = max(inner + projected) + mixes
    return depth[last]


@lru_cache(maxsize=2)
def _nasbench101_rest(what: str) -> float:
    """Stem and classifier: a network without vertices, less its projections."""
    space = nasbench101.NASBench101()
    whole = space.topology("1:", keep_dead=True)
    cells = [s for s in whole.steps if s.path.startswith("cells.")]
    return float(getattr(whole, what)) - float(sum(getattr(s, what) for s in cells))


_FAST: Mapping[type[Space[Any]], Callable[[Any, str], Any]] = {
    nb201.NASBench201: _nasbench201,
    nasbench101.NASBench101: _nasbench101,
    darts.DARTS: _darts,
    transnas.TransNASMicro: _transnas_micro,
    transnas.TransNASMacro: _transnas_macro,
    nats_size.NATSSize: _nats_size,
}
