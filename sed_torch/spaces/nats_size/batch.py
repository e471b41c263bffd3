"""Networks of the size space of NATS-Bench side by side.

Nothing inside pools, so that no map loses local entropy and every sum falls apart into addends of pairs of widths.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from sed_torch.spaces.nats_size.architecture import LAYERS, WIDTHS, Widths
from sed_torch.spaces.nats_size.topology import write_head, write_layer, write_stem
from sed_torch.spaces.tally import Sums, total
from sed_torch.spaces.white import Measure, WhiteTable, addends, count, counted
from sed_torch.spaces.writing import part

__all__ = ["counts", "scores"]

Array = NDArray[np.float64]


def scores(archs: Sequence[Widths], image_size: int, num_classes: int, definition: str) -> Array:
    """Scores in nats."""
    return total(definition, _sums(archs, addends(definition), image_size, num_classes))


def counts(archs: Sequence[Widths], what: str, image_size: int, num_classes: int) -> Array:
    """Parameters, multiply-accumulates or depth of each."""
    return counted(_sums(archs, count(what), image_size, num_classes))


def _sums(archs: Sequence[Widths], measure: Measure, image_size: int, num_classes: int) -> Sums:
    stem, layers, head = _tables(measure, image_size, num_classes)
    channels = np.array([a.channels for a in archs], dtype=np.int64).reshape(-1, LAYERS)
    index = channels // WIDTHS[0] - 1
    found: dict[float, Array] = defaultdict(lambda: np.zeros(len(archs)))
    for positions, widths in stem.values.items():
        found[positions] += widths[index[:, 0]]
    for positions, widths in head.values.items():
        found[positions] += widths[index[:, -1]]
    for positions, pairs in layers.values.items():
        for layer in range(LAYERS):
            found[positions] += pairs[layer, index[:, max(layer - 1, 0)], index[:, layer]]
    return found


@lru_cache(maxsize=16)
def _tables(measure: Measure, image_size: int, num_classes: int) -> tuple[WhiteTable, WhiteTable, WhiteTable]:
    """What (width of the first layer), (layer, width before, width) and (width of the last layer) add."""
    count = len(WIDTHS)
    stem, head = WhiteTable(measure, (count,)), WhiteTable(measure, (count,))
    layers = WhiteTable(measure, (LAYERS, count, count))
    for i, before in enumerate(WIDTHS):
        stem.enter(i, part(partial(write_stem, width=before), 3, image_size))
        head.enter(i, part(partial(write_head, num_classes=num_classes), before, image_size // 4))
        for layer, (j, width) in itertools.product(range(LAYERS), enumerate(WIDTHS)):
            write = partial(write_layer, layer=layer, width=width)
            layers.enter((layer, i, j), part(write, before, image_size >> (layer // 2)))
    return stem, layers, head
