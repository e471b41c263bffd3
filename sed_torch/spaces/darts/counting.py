"""Parameters, multiply-accumulates and depth of genotypes, from what each kind of edge costs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

from sed_torch.spaces.darts.architecture import CELLS, NODES, NONE, OPS, REDUCTIONS, Edge, Genotype
from sed_torch.spaces.darts.topology import write_network
from sed_torch.spaces.writing import part
from sed_torch.topology import Topology

__all__ = ["counts"]


def counts(archs: Sequence[Genotype], what: str, image_size: int, num_classes: int) -> list[float]:
    """One count of each."""
    if what == "depth":
        return [_depth(a) for a in archs]
    base, costs = _costs(image_size, num_classes)[what]
    return [base + sum(costs.get(k, 0.0) for k in _edges(a)) for a in archs]


EdgeKind = tuple[bool, bool, str]
"""(in a reduction cell, reads an input of the cell, operation): what an edge's cost depends on."""


def _edges(arch: Genotype) -> list[EdgeKind]:
    return [(r, i < 2, op) for r, cell in ((False, arch.normal), (True, arch.reduce)) for i, op in cell]


@lru_cache(maxsize=8)
def _costs(image_size: int, num_classes: int) -> dict[str, tuple[float, dict[EdgeKind, float]]]:
    """Cost of a network without its edges, and of each kind of edge in all cells of its kind."""
    found: dict[str, tuple[float, dict[EdgeKind, float]]] = {}
    for cell in _all_edges():
        whole = _whole(Genotype(cell, cell), image_size, num_classes)
        for what in ("params", "macs"):
            shares = _shares(whole, what)
            found.setdefault(what, (float(getattr(whole, what)) - sum(shares.values()), {}))
            for place, (i, op) in enumerate(cell):
                name = f"edge_{i}_{place // 2 + 2}"
                for reduction in (False, True):
                    found[what][1][reduction, i < 2, op] = shares[reduction, name]
    return found


def _all_edges() -> list[tuple[Edge, ...]]:
    """Cells that between them have each operation on an input and on a node."""
    free = [(0, "skip_connect"), (1, "skip_connect")]
    on_inputs = [((i % 2), OPS[i % len(OPS)]) for i in range(2 * NODES)]
    cells = [tuple(on_inputs)]
    for first in (0, len(OPS) - 5):
        ops = OPS[first : first + 5]
        inner = [free[0], *((i, op) for i, op in zip((2, 2, 3, 2, 3), ops, strict=True))]
        cells.append((*free, *inner))
    return cells


def _whole(arch: Genotype, image_size: int, num_classes: int) -> Topology:
    return part(lambda b, x: write_network(b, arch, x, num_classes), 3, image_size)


def _shares(whole: Topology, what: str) -> dict[tuple[bool, str], float]:
    """Of each edge by name, summed over the normal cells (False) and the reduction cells (True)."""
    shares: dict[tuple[bool, str], float] = defaultdict(float)
    for step in whole.steps:
        names = step.path.split(".")
        if len(names) > 2 and names[2].startswith("edge_"):
            shares[int(names[1]) in REDUCTIONS, names[2]] += float(getattr(step, what))
    return shares


_CHAIN = {"sep": 4, "dil": 2}
"""Convolutions one after the other: depthwise and 1×1, twice in a separable one."""


def _depth(arch: Genotype) -> float:
    before = now = 1.0  # the stem
    for cell in range(CELLS):
        reduction = cell in REDUCTIONS
        nodes = [before + 1, now + 1]  # a 1×1 convolution, or a halving one, on each
        edges = arch.reduce if reduction else arch.normal
        for first, second in zip(edges[::2], edges[1::2], strict=True):
            nodes.append(max(nodes[i] + _chain(i, op, reduction) for i, op in (first, second)))
        before, now = now, max(nodes[2:])
    return max(now + 1.0, 0.0)


def _chain(reads: int, op: str, reduction: bool) -> float:
    if op == NONE:
        return -math.inf
    if op == "skip_connect":
        return int(reduction and reads < 2)
    return _CHAIN.get(op[:3], 0)
