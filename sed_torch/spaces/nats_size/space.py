"""The size space of NATS-Bench."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sed_torch.building import Value
from sed_torch.errors import SpaceError
from sed_torch.spaces.base import Counts, Scores, Space, other_than
from sed_torch.spaces.nats_size import batch
from sed_torch.spaces.nats_size.architecture import LAYERS, OPS, WIDTHS, Widths
from sed_torch.spaces.nats_size.topology import write_network
from sed_torch.spaces.writing import SpaceBuilder

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NATSSize"]


class NATSSize(Space[Widths]):
    """The size space of NATS-Bench (Dong et al., TPAMI 2021).

    A 3×3 stem as wide as the first cell, three cells and two residual blocks of stride 2 in turn, each of 8 to
    64 channels. Strings are ``8:16:24:32:64``.
    """

    name = "nats_size"
    title = "NATS-Bench size"
    source = "Dong et al., TPAMI 2021 (arXiv 2009.00437)"
    arch_type = Widths
    size = len(WIDTHS) ** LAYERS

    def parse(self, text: str) -> Widths:
        try:
            return self.check(Widths(tuple(int(c) for c in text.strip().split(":"))))
        except ValueError as error:
            raise SpaceError(f"not widths of nats_size: {text!r}: expected such as 8:16:24:32:64") from error

    def format(self, arch: Widths) -> str:
        return str(arch)

    def check(self, arch: Widths) -> Widths:
        if len(arch.channels) != LAYERS or any(c not in WIDTHS for c in arch.channels):
            raise SpaceError(f"nats_size: {arch}: expected {LAYERS} widths of {WIDTHS}")
        return arch

    def __iter__(self) -> Iterator[Widths]:
        for channels in itertools.product(WIDTHS, repeat=LAYERS):
            yield Widths(channels)

    def sample(self, rng: np.random.Generator) -> Widths:
        return Widths(tuple(WIDTHS[i] for i in rng.integers(len(WIDTHS), size=LAYERS)))

    def mutate(self, arch: Widths | str, rng: np.random.Generator) -> Widths:
        channels = list(self.resolve(arch).channels)
        layer = int(rng.integers(LAYERS))
        channels[layer] = WIDTHS[other_than(WIDTHS.index(channels[layer]), len(WIDTHS), rng)]
        return Widths(tuple(channels))

    def suggest(self, trial: Any) -> Widths:
        """An architecture from an Optuna trial: the width of each layer."""
        low, high, step = WIDTHS[0], WIDTHS[-1], WIDTHS[1] - WIDTHS[0]
        return Widths(tuple(trial.suggest_int(f"width_{i}", low, high, step=step) for i in range(LAYERS)))

    def build(self, arch: Widths | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces.nats_size import nets

        return nets.WidthNet(OPS, self.resolve(arch).channels, self._classes(num_classes))

    def _write(self, b: SpaceBuilder, arch: Widths, image: Value, num_classes: int) -> Value:
        return write_network(b, arch, image, num_classes)

    def _score_batch(
        self, archs: Sequence[Widths | str], image_size: int, num_classes: int, definition: str
    ) -> Scores:
        """No map loses local entropy, so that each pair of widths adds its number."""
        if image_size % 4:  # a reduction's two branches differ in size then, which the topology says
            return self._score_each(archs, image_size, num_classes, definition)
        return batch.scores([self.resolve(a) for a in archs], image_size, num_classes, definition)

    def _count_batch(self, archs: Sequence[Widths], what: str) -> Counts:
        return batch.counts(archs, what, self.image_size, self.num_classes)
