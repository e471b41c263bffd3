"""Networks of TransNAS-Bench-101 side by side.

Nothing inside pools, so that no map loses local entropy: sums fall apart into addends of live edges (micro) and of
layers (macro).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from sed_torch.spaces.cells import EDGES, edge_costs, live_edges, longest_paths
from sed_torch.spaces.tally import Sums, total
from sed_torch.spaces.transnas.architecture import (
    BLOCKS,
    MICRO_LAYERS,
    STEM_WIDTH,
    MacroArch,
    MicroArch,
    layer_shape,
)
from sed_torch.spaces.transnas.topology import write_head, write_layer, write_micro, write_stem
from sed_torch.spaces.white import Measure, addends, count, counted
from sed_torch.spaces.writing import part

__all__ = ["macro_counts", "macro_scores", "micro_counts", "micro_scores"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_OPS = 4


# --- micro ---------------------------------------------------------------------------------------------------


def micro_scores(archs: Sequence[MicroArch], image_size: int, num_classes: int, definition: str) -> Array:
    """Scores in nats; -inf without a live path."""
    ops = _digits(archs)
    live = live_edges(ops != 0)
    found = total(definition, _micro_sums(ops, live, addends(definition), image_size, num_classes))
    return np.where(live.any(axis=1), found, -np.inf)


def micro_counts(archs: Sequence[MicroArch], what: str, image_size: int, num_classes: int) -> Array:
    """Parameters, multiply-accumulates or depth of each."""
    ops = _digits(archs)
    if what == "depth":
        return _micro_depths(ops)
    everywhere = np.ones(ops.shape, dtype=bool)
    return counted(_micro_sums(ops, everywhere, count(what), image_size, num_classes))


def _digits(archs: Sequence[MicroArch]) -> Ints:
    codes = b"".join(a.ops.encode() for a in archs)
    return (np.frombuffer(codes, dtype=np.uint8).reshape(-1, len(EDGES)) - ord("0")).astype(np.int64)


def _micro_sums(ops: Ints, counts: Bools, measure: Measure, image_size: int, num_classes: int) -> Sums:
    """Sums over the rest of the network and the edges that count."""
    tables = _micro_tables(measure, image_size, num_classes)
    edges = np.arange(len(EDGES))
    return {
        a: rest + np.where(counts, table[edges, ops], 0.0).sum(axis=1) for a, (rest, table) in tables.items()
    }


@lru_cache(maxsize=16)
def _micro_tables(measure: Measure, image_size: int, num_classes: int) -> Mapping[float, tuple[float, Array]]:
    """What the rest of the network and (edge, operation) add."""

    @cache
    def parts(ops: tuple[int, ...]) -> Mapping[float, float]:
        text = "".join(map(str, ops))
        return measure(part(lambda b, x: write_micro(b, text, x, num_classes), 3, image_size))

    whole = {a for op in range(_OPS) for a in parts((op,) * len(EDGES))}

    def cost_at(positions: float) -> Callable[[Sequence[int]], float]:
        return lambda ops: parts(tuple(ops)).get(positions, 0.0)

    return {a: edge_costs(cost_at(a), _OPS) for a in whole}


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


def macro_scores(archs: Sequence[MacroArch], image_size: int, num_classes: int, definition: str) -> Array:
    """Scores in nats."""
    return total(definition, _macro_sums(archs, addends(definition), image_size, num_classes))


def macro_counts(archs: Sequence[MacroArch], what: str, image_size: int, num_classes: int) -> Array:
    """Parameters, multiply-accumulates or depth of each."""
    return counted(_macro_sums(archs, count(what), image_size, num_classes))


def _macro_sums(archs: Sequence[MacroArch], measure: Measure, image_size: int, num_classes: int) -> Sums:
    found: dict[float, Array] = defaultdict(lambda: np.zeros(len(archs)))
    for row, arch in enumerate(archs):
        for sums in _macro_parts(arch.layers, measure, image_size, num_classes):
            for positions, value in sums.items():
                found[positions][row] += value
    return found or {0.0: np.zeros(0)}


def _macro_parts(
    layers: str, measure: Measure, image_size: int, num_classes: int
) -> Iterator[Mapping[float, float]]:
    yield _stem(measure, image_size)
    width, size = STEM_WIDTH, -(-image_size // 4)
    for digit in layers:
        yield _layer(measure, digit, width, size)
        width, stride = layer_shape(digit, width)
        size = -(-size // stride)
    yield _head(measure, width, size, num_classes)


@lru_cache(maxsize=16)
def _stem(measure: Measure, image_size: int) -> Mapping[float, float]:
    return measure(part(write_stem, 3, image_size))


@lru_cache(maxsize=512)
def _layer(measure: Measure, digit: str, width: int, size: int) -> Mapping[float, float]:
    return measure(part(lambda b, x: write_layer(b, x, digit, ""), width, size))


@lru_cache(maxsize=256)
def _head(measure: Measure, width: int, size: int, num_classes: int) -> Mapping[float, float]:
    return measure(part(lambda b, x: write_head(b, x, num_classes), width, size))
