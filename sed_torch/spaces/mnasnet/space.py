"""The space of Accel-NASBench."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sed_torch.building import Value
from sed_torch.errors import SpaceError
from sed_torch.spaces.base import Counts, Scores, Space, not_enumerable, other_than
from sed_torch.spaces.mnasnet import batch
from sed_torch.spaces.mnasnet.architecture import CHOICES, TRAITS, WIDTHS, BlockChoice, MnasArch
from sed_torch.spaces.mnasnet.topology import write_network
from sed_torch.spaces.writing import SpaceBuilder

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MnasNet"]


class MnasNet(Space[MnasArch]):
    """Accel-NASBench (Ahmad et al.): a space like MnasNet's, trained on ImageNet.

    A 3×3 stem of stride 2, seven blocks of 16 to 320 channels, each of one to three inverted residuals (the sixth of
    up to four) with an expansion of 1, 4 or 6, kernels of 3 or 5, and squeeze-excitation or none, to a quarter of the
    channels that enter; a 1×1 convolution to 1280. Strings are ``6466611-3535533-1233222-0000000``: expansions,
    kernels, layers and squeeze-excitation of the seven blocks. Parameters equal the published ones; the published
    multiply-accumulates also count norms and pools.
    """

    name = "mnasnet"
    title = "MnasNet-like (Accel-NASBench)"
    source = "Tan et al., CVPR 2019 (arXiv 1807.11626); Ahmad et al., Accel-NASBench (arXiv 2404.08005)"
    arch_type = MnasArch
    size = math.prod(map(len, CHOICES))
    image_size = 224
    num_classes = 1000
    enumerable = False

    def parse(self, text: str) -> MnasArch:
        return self.check(MnasArch.parse(text))

    def format(self, arch: MnasArch) -> str:
        return str(arch)

    def check(self, arch: MnasArch) -> MnasArch:
        if len(arch.blocks) != len(WIDTHS):
            raise SpaceError(f"mnasnet: expected {len(WIDTHS)} blocks, found {len(arch.blocks)}")
        for i, (block, choices) in enumerate(zip(arch.blocks, CHOICES, strict=True)):
            if block not in choices:
                allowed = "; ".join(f"{f} {sorted({getattr(c, f) for c in choices})}" for f in TRAITS)
                raise SpaceError(f"mnasnet: block {i + 1} is {block}: expected {allowed}")
        return arch

    def __iter__(self) -> Iterator[MnasArch]:
        raise not_enumerable(self)

    def sample(self, rng: np.random.Generator) -> MnasArch:
        return MnasArch(tuple(choices[rng.integers(len(choices))] for choices in CHOICES))

    def mutate(self, arch: MnasArch | str, rng: np.random.Generator) -> MnasArch:
        """One number of one block is changed."""
        blocks = list(self.resolve(arch).blocks)
        place = int(rng.integers(len(blocks)))
        feature = TRAITS[rng.integers(len(TRAITS))]
        others = [f for f in TRAITS if f != feature]
        near = [c for c in CHOICES[place] if all(getattr(c, f) == getattr(blocks[place], f) for f in others)]
        blocks[place] = near[other_than(near.index(blocks[place]), len(near), rng)]
        return MnasArch(tuple(blocks))

    def suggest(self, trial: Any) -> MnasArch:
        """An architecture from an Optuna trial: the four numbers of each block."""
        return MnasArch(tuple(_suggest_block(trial, i) for i in range(len(WIDTHS))))

    def build(self, arch: MnasArch | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces.mnasnet import nets

        return nets.Net(self.resolve(arch), self._classes(num_classes))

    def _write(self, b: SpaceBuilder, arch: MnasArch, image: Value, num_classes: int) -> Value:
        return write_network(b, arch, image, num_classes)

    def _score_batch(
        self, archs: Sequence[MnasArch | str], image_size: int, num_classes: int, definition: str
    ) -> Scores:
        """No map loses local entropy, so that each block adds its own numbers."""
        return batch.scores([self.resolve(a) for a in archs], image_size, num_classes, definition)

    def _count_batch(self, archs: Sequence[MnasArch], what: str) -> Counts:
        return batch.counts(archs, what, self.image_size, self.num_classes)


def _suggest_block(trial: Any, block: int) -> BlockChoice:
    values = {f: sorted({getattr(c, f) for c in CHOICES[block]}) for f in TRAITS}
    return BlockChoice(*(trial.suggest_categorical(f"block_{block}_{f}", v) for f, v in values.items()))
