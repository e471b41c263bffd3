"""Networks of NAS-Bench-Macro side by side: no map loses local entropy, and what a layer adds is its own affair."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from sed_torch.spaces.nasbench_macro.architecture import (
    BLOCKS,
    LAYERS,
    STEM_WIDTH,
    MacroLayers,
    layer_shape,
)
from sed_torch.spaces.nasbench_macro.topology import write_head, write_layer, write_stem
from sed_torch.spaces.tally import Sums, total
from sed_torch.spaces.white import Measure, WhiteTable, addends, count, counted, place_sums
from sed_torch.spaces.writing import part

__all__ = ["counts", "scores"]

Array = NDArray[np.float64]


def scores(archs: Sequence[MacroLayers], image_size: int, num_classes: int, definition: str) -> Array:
    """Scores in nats."""
    return total(definition, _sums(archs, addends(definition), image_size, num_classes))


def counts(archs: Sequence[MacroLayers], what: str, image_size: int, num_classes: int) -> Array:
    """Parameters, multiply-accumulates or depth of each."""
    return counted(_sums(archs, count(what), image_size, num_classes))


def _sums(archs: Sequence[MacroLayers], measure: Measure, image_size: int, num_classes: int) -> Sums:
    numbers = [list(map(int, a.digits)) for a in archs]
    chosen = np.array(numbers, dtype=np.int64).reshape(-1, LAYERS)
    return place_sums(*_tables(measure, image_size, num_classes), chosen)


@lru_cache(maxsize=16)
def _tables(measure: Measure, image_size: int, num_classes: int) -> tuple[WhiteTable, WhiteTable]:
    """What every network has, and what (layer, digit) adds."""
    rest, layers = WhiteTable(measure), WhiteTable(measure, (LAYERS, len(BLOCKS)))
    rest.enter((), part(write_stem, 3, image_size))
    c_in, size = STEM_WIDTH, image_size
    for i in range(LAYERS):
        for j, digit in enumerate(BLOCKS):
            layers.enter((i, j), part(partial(write_layer, layer=i, digit=digit), c_in, size))
        c_in, stride = layer_shape(i)
        size = -(-size // stride)
    rest.enter((), part(partial(write_head, num_classes=num_classes), c_in, size))
    return rest, layers
