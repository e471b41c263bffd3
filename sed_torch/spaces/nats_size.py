"""The size space of NATS-Bench: five widths of one fixed cell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from sed_torch.errors import SpaceError
from sed_torch.spaces._white import amplitude, piece
from sed_torch.spaces.base import Scores, Space, SpaceBuilder, other_than
from sed_torch.spaces.nasbench201 import write_cell, write_head, write_reduction, write_stem
from sed_torch.topology import Value

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OPS", "WIDTHS", "NATSSize", "Widths"]

WIDTHS = tuple(range(8, 65, 8))

OPS = (
    "nor_conv_3x3",
    "nor_conv_3x3",
    "nor_conv_3x3",
    "skip_connect",
    "nor_conv_3x3",
    "nor_conv_3x3",
)
"""The cell of every network: the best of the topology space on CIFAR-100's validation set."""

_LAYERS = 5


@dataclass(frozen=True, slots=True)
class Widths:
    """Channels of the five layers: cell, reduction, cell, reduction, cell."""

    channels: tuple[int, ...]

    def __str__(self) -> str:
        return ":".join(map(str, self.channels))


class NATSSize(Space[Widths]):
    """The size space of NATS-Bench (Dong et al., TPAMI 2021).

    A 3×3 stem as wide as the first cell, three cells and two residual blocks of stride 2 in turn, each of 8 to
    64 channels. Strings are ``8:16:24:32:64``.
    """

    name = "nats_size"
    title = "NATS-Bench size"
    source = "Dong et al., TPAMI 2021 (arXiv 2009.00437)"
    arch_type = Widths
    size = len(WIDTHS) ** _LAYERS

    def parse(self, text: str) -> Widths:
        try:
            return self._checked(Widths(tuple(int(c) for c in text.strip().split(":"))))
        except ValueError as error:
            raise SpaceError(f"not widths of nats_size: {text!r}: expected such as 8:16:24:32:64") from error

    def format(self, arch: Widths) -> str:
        return str(arch)

    def resolve(self, arch: Widths | str) -> Widths:
        return self._checked(super().resolve(arch))

    @staticmethod
    def _checked(arch: Widths) -> Widths:
        if len(arch.channels) != _LAYERS or any(c not in WIDTHS for c in arch.channels):
            raise SpaceError(f"nats_size: {arch}: expected {_LAYERS} widths of {WIDTHS}")
        return arch

    def __iter__(self) -> Iterator[Widths]:
        for channels in itertools.product(WIDTHS, repeat=_LAYERS):
            yield Widths(channels)

    def sample(self, rng: np.random.Generator) -> Widths:
        return Widths(tuple(WIDTHS[i] for i in rng.integers(len(WIDTHS), size=_LAYERS)))

    def mutate(self, arch: Widths | str, rng: np.random.Generator) -> Widths:
        channels = list(self.resolve(arch).channels)
        layer = int(rng.integers(_LAYERS))
        channels[layer] = WIDTHS[other_than(WIDTHS.index(channels[layer]), len(WIDTHS), rng)]
        return Widths(tuple(channels))

    def build(self, arch: Widths | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces import _nats_nets

        classes = self.num_classes if num_classes is None else num_classes
        return _nats_nets.WidthNet(OPS, self.resolve(arch).channels, classes)

    def _write(self, b: SpaceBuilder, arch: Widths, image: Value, num_classes: int) -> Value:
        x = write_stem(b, image, arch.channels[0])
        for layer, width in enumerate(arch.channels):
            x = _write_layer(b, x, layer, width)
        return write_head(b, x, num_classes)

    def score_many(
        self,
        archs: Sequence[Widths | str],
        *,
        image_size: int | None = None,
        num_classes: int | None = None,
    ) -> Scores:
        """SED of many widths in nats: no map loses local entropy, so that each pair of widths adds its number."""
        size = self.image_size if image_size is None else image_size
        classes = self.num_classes if num_classes is None else num_classes
        ends, pairs = _tables(size, classes)
        channels = np.array([self.resolve(a).channels for a in archs], dtype=int).reshape(-1, _LAYERS)
        index = channels // WIDTHS[0] - 1
        total = ends[0, index[:, 0]] + ends[1, index[:, -1]] + pairs[0, index[:, 0], index[:, 0]]
        for layer in range(1, _LAYERS):
            total += pairs[layer, index[:, layer - 1], index[:, layer]]
        return np.asarray(np.log(total))


def _write_layer(b: SpaceBuilder, x: Value, layer: int, width: int) -> Value:
    path = f"cells.{layer}"
    if layer % 2:
        return write_reduction(b, x, width, path)
    out = write_cell(b, x, width, OPS, path)
    assert out is not None  # the cell has no "none"
    return out


@lru_cache(maxsize=8)
def _tables(image_size: int, num_classes: int) -> tuple[Scores, Scores]:
    """Addends of the sum inside the logarithm: (stem and head, width), (layer, width before, width)."""
    count = len(WIDTHS)
    ends, pairs = np.zeros((2, count)), np.zeros((_LAYERS, count, count))
    for i, before in enumerate(WIDTHS):
        stem = piece(partial(write_stem, width=before), 3, image_size)
        head = piece(partial(write_head, num_classes=num_classes), before, image_size // 4)
        ends[:, i] = [sum(map(amplitude, part.steps)) for part in (stem, head)]
        for layer, j in itertools.product(range(_LAYERS), range(count)):
            size = image_size >> (layer // 2)
            part = piece(partial(_write_layer, layer=layer, width=WIDTHS[j]), before, size)
            pairs[layer, i, j] = sum(map(amplitude, part.steps))
    return ends, pairs
