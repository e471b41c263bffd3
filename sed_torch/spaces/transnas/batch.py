"""Networks of TransNAS-Bench-101 side by side.

Nothing inside pools, so that no map loses local entropy: sums fall apart into addends of live edges (micro) and of
layers (macro).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sed_torch.spaces.cells import EDGES, edge_costs, live_edges, longest_paths
from sed_torch.spaces.transnas.architecture import (
    BLOCKS,
    MICRO_LAYERS,
    STEM_WIDTH,
    MacroArch,
    MicroArch,
    layer_shape,
)
from sed_torch.spaces.transnas.topology import write_head, write_layer, write_micro, write_stem
from sed_torch.spaces.white import amplitude_sum
from sed_torch.spaces.writing import part
from sed_torch.topology import Topology

__all__ = ["macro_counts", "macro_scores", "micro_counts", "micro_scores"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Measure = Callable[[Topology], float]

_OPS = 4


# --- micro ---------------------------------------------------------------------------------------------------


def micro_scores(archs: Sequence[MicroArch], image_size: int, num_classes: int) -> Array:
    """SED in nats; -inf without a live path."""
    rest, table = _micro_table(amplitude_sum, image_size, num_classes)
    ops = _digits(archs)
    live = live_edges(ops != 0)
    total = rest + np.sum(np.where(live, table[np.arange(len(EDGES)), ops], 0.0), axis=1)
    return np.where(live.any(axis=1), np.log(total), -np.inf)


def micro_counts(archs: Sequence[MicroArch], what: str, image_size: int, num_classes: int) -> Array:
    """Parameters, multiply-accumulates or depth of each."""
    ops = _digits(archs)
    if what == "depth":
        return _micro_depths(ops)
    rest, table = _micro_table(_count(what), image_size, num_classes)
    return np.asarray(rest + table[np.arange(len(EDGES)), ops].sum(axis=1))


def _digits(archs: Sequence[MicroArch]) -> Ints:
    codes = b"".join(a.ops.encode() for a in archs)
    return (np.frombuffer(codes, dtype=np.uint8).reshape(-1, len(EDGES)) - ord("0")).astype(np.int64)


@lru_cache(maxsize=16)
def _micro_table(measure: Measure, image_size: int, num_classes: int) -> tuple[float, Array]:
    """What the rest of the network and (edge, operation) add."""

    def cost(ops: Sequence[int]) -> float:
        text = "".join(map(str, ops))
        return measure(part(lambda b, x: write_micro(b, text, x, num_classes), 3, image_size))

    return edge_costs(cost, _OPS)


def _micro_depths(ops: Ints) -> Array:
    plain = np.tile(np.array([0, 0, 1, 1], dtype=np.int64), (len(EDGES), 1))
    changing = plain.copy()  # where a cell halves or widens, its skips from node 0 are convolutions
    changing[[e for e, (i, _) in enumerate(EDGES) if i == 0], 1] = 1
    live, edges = live_edges(ops != 0), np.arange(len(EDGES))
    in_plain, in_changing = (longest_paths(live, cost[edges, ops]) for cost in (plain, changing))
    changes = sum(d != "1" for d in MICRO_LAYERS)
    total = changes * in_changing + (len(MICRO_LAYERS) * BLOCKS - changes) * in_plain
    return np.where(in_plain < 0, 0.0, total + 3.0)  # two convolutions in the stem, classifier


# --- macro ---------------------------------------------------------------------------------------------------


def macro_scores(archs: Sequence[MacroArch], image_size: int, num_classes: int) -> Array:
    """SED in nats."""
    return np.asarray(np.log(_macro_totals(archs, amplitude_sum, image_size, num_classes)))


def macro_counts(archs: Sequence[MacroArch], what: str, image_size: int, num_classes: int) -> Array:
    """Parameters, multiply-accumulates or depth of each."""
    return _macro_totals(archs, _count(what), image_size, num_classes)


def _macro_totals(archs: Sequence[MacroArch], measure: Measure, image_size: int, num_classes: int) -> Array:
    return np.array([_macro_total(a.layers, measure, image_size, num_classes) for a in archs])


def _macro_total(layers: str, measure: Measure, image_size: int, num_classes: int) -> float:
    total, width, size = _stem(measure, image_size), STEM_WIDTH, -(-image_size // 4)
    for digit in layers:
        total += _layer(measure, digit, width, size)
        width, stride = layer_shape(digit, width)
        size = -(-size // stride)
    return total + _head(measure, width, size, num_classes)


@lru_cache(maxsize=16)
def _stem(measure: Measure, image_size: int) -> float:
    return measure(part(write_stem, 3, image_size))


@lru_cache(maxsize=512)
def _layer(measure: Measure, digit: str, width: int, size: int) -> float:
    return measure(part(lambda b, x: write_layer(b, x, digit, ""), width, size))


@lru_cache(maxsize=256)
def _head(measure: Measure, width: int, size: int, num_classes: int) -> float:
    return measure(part(lambda b, x: write_head(b, x, num_classes), width, size))


@lru_cache(maxsize=4)
def _count(what: str) -> Measure:
    return _chain if what == "depth" else lambda topology: float(getattr(topology, what))


def _chain(topology: Topology) -> float:
    """The longest chain to the last step, which is what a part returns."""
    return float(Topology(topology.steps, (len(topology) - 1,)).depth)
