"""Networks of Accel-NASBench side by side: no map loses local entropy, and what a block adds is its own affair."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from sed_torch.spaces.mnasnet.architecture import CHOICES, STEM_WIDTH, STRIDES, WIDTHS, MnasArch
from sed_torch.spaces.mnasnet.topology import write_block, write_head, write_stem
from sed_torch.spaces.tally import Sums, total
from sed_torch.spaces.white import Measure, WhiteTable, addends, count, counted, place_sums
from sed_torch.spaces.writing import part

__all__ = ["counts", "scores"]

Array = NDArray[np.float64]

_NUMBER = tuple({choice: i for i, choice in enumerate(choices)} for choices in CHOICES)


def scores(archs: Sequence[MnasArch], image_size: int, num_classes: int, definition: str) -> Array:
    """Scores in nats."""
    return total(definition, _sums(archs, addends(definition), image_size, num_classes))


def counts(archs: Sequence[MnasArch], what: str, image_size: int, num_classes: int) -> Array:
    """Parameters, multiply-accumulates or depth of each."""
    return counted(_sums(archs, count(what), image_size, num_classes))


def _sums(archs: Sequence[MnasArch], measure: Measure, image_size: int, num_classes: int) -> Sums:
    numbers = [[number[b] for number, b in zip(_NUMBER, a.blocks, strict=True)] for a in archs]
    chosen = np.array(numbers, dtype=np.int64).reshape(-1, len(WIDTHS))
    return place_sums(*_tables(measure, image_size, num_classes), chosen)


@lru_cache(maxsize=16)
def _tables(measure: Measure, image_size: int, num_classes: int) -> tuple[WhiteTable, WhiteTable]:
    """What every network has, and what (block, choice) adds."""
    rest, blocks = WhiteTable(measure), WhiteTable(measure, (len(WIDTHS), max(map(len, CHOICES))))
    rest.enter((), part(write_stem, 3, image_size))
    c_in, size = STEM_WIDTH, -(-image_size // 2)
    for i, choices in enumerate(CHOICES):
        for j, choice in enumerate(choices):
            blocks.enter((i, j), part(partial(write_block, block=i, choice=choice), c_in, size))
        c_in, size = WIDTHS[i], -(-size // STRIDES[i])
    rest.enter((), part(partial(write_head, num_classes=num_classes), c_in, size))
    return rest, blocks
