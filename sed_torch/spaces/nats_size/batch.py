"""Networks of the size space of NATS-Bench side by side.

Nothing inside pools, so that no map loses local entropy and every sum falls apart into addends of pairs of widths.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from sed_torch.spaces.nats_size.architecture import LAYERS, WIDTHS, Widths
from sed_torch.spaces.nats_size.topology import write_head, write_layer, write_network, write_stem
from sed_torch.spaces.white import amplitude_sum
from sed_torch.spaces.writing import part
from sed_torch.topology import Topology

__all__ = ["counts", "scores"]

Array = NDArray[np.float64]


def scores(archs: Sequence[Widths], image_size: int, num_classes: int) -> Array:
    """SED in nats."""
    return np.asarray(np.log(_totals(archs, _tables(amplitude_sum, image_size, num_classes))))


def counts(archs: Sequence[Widths], what: str, image_size: int, num_classes: int) -> Array:
    """Parameters, multiply-accumulates or depth of each."""
    if what == "depth":  # widths do not change it
        return np.full(len(archs), _depth(image_size, num_classes))
    return _totals(archs, _tables(_count(what), image_size, num_classes))


def _totals(archs: Sequence[Widths], tables: tuple[Array, Array]) -> Array:
    ends, pairs = tables
    channels = np.array([a.channels for a in archs], dtype=np.int64).reshape(-1, LAYERS)
    index = channels // WIDTHS[0] - 1
    total = ends[0, index[:, 0]] + ends[1, index[:, -1]]
    for layer in range(LAYERS):
        total += pairs[layer, index[:, max(layer - 1, 0)], index[:, layer]]
    return np.asarray(total)


@lru_cache(maxsize=1)
def _depth(image_size: int, num_classes: int) -> float:
    arch = Widths((WIDTHS[0],) * LAYERS)
    whole = part(lambda b, x: write_network(b, arch, x, num_classes), 3, image_size)
    return float(Topology(whole.steps, (len(whole) - 1,)).depth)


@lru_cache(maxsize=4)
def _count(what: str) -> Callable[[Topology], float]:
    return lambda topology: float(getattr(topology, what))


@lru_cache(maxsize=16)
def _tables(measure: Callable[[Topology], float], image_size: int, num_classes: int) -> tuple[Array, Array]:
    """Addends: (stem and head, width), (layer, width before, width)."""
    count = len(WIDTHS)
    ends, pairs = np.zeros((2, count)), np.zeros((LAYERS, count, count))
    for i, before in enumerate(WIDTHS):
        ends[:, i] = (
            measure(part(partial(write_stem, width=before), 3, image_size)),
            measure(part(partial(write_head, num_classes=num_classes), before, image_size // 4)),
        )
        for layer, (j, width) in itertools.product(range(LAYERS), enumerate(WIDTHS)):
            write = partial(write_layer, layer=layer, width=width)
            pairs[layer, i, j] = measure(part(write, before, image_size >> (layer // 2)))
    return ends, pairs
