"""The space of NAS-Bench-Macro."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sed_torch.building import Value
from sed_torch.spaces.base import Counts, Scores, Space
from sed_torch.spaces.nasbench_macro import batch
from sed_torch.spaces.nasbench_macro.architecture import BLOCKS, LAYERS, MacroLayers
from sed_torch.spaces.nasbench_macro.topology import write_network
from sed_torch.spaces.writing import SpaceBuilder

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NASBenchMacro"]


class NASBenchMacro(Space[MacroLayers]):
    """NAS-Bench-Macro (Su et al., CVPR 2021): eight layers in three stages, each an identity or an inverted residual.

    A 3×3 stem of 32 channels, stages of two, three and three layers of 64, 128 and 256 channels, the first of each of
    stride 2; a 1×1 convolution to 1280. Strings are eight digits: 0 identity (in a stage's first layer a 1×1
    convolution of stride 2), 1 an inverted residual of expansion 3 and kernel 3, 2 one of expansion 6 and kernel 5.
    Of the 6,561 strings 3,969 are different networks; a string is read as the one of them that the benchmark lists.
    """

    name = "nasbench_macro"
    title = "NAS-Bench-Macro"
    source = "Su et al., CVPR 2021 (arXiv 2103.11922)"
    arch_type = MacroLayers
    size = 3969

    def parse(self, text: str) -> MacroLayers:
        return MacroLayers.parse(text)

    def format(self, arch: MacroLayers) -> str:
        return str(arch)

    def check(self, arch: MacroLayers) -> MacroLayers:
        return MacroLayers.parse(arch.digits)

    def __iter__(self) -> Iterator[MacroLayers]:
        for digits in map("".join, itertools.product(BLOCKS, repeat=LAYERS)):
            arch = MacroLayers.parse(digits)
            if arch.digits == digits:
                yield arch

    def sample(self, rng: np.random.Generator) -> MacroLayers:
        """Uniform over the networks."""
        while True:
            digits = "".join(map(str, rng.integers(len(BLOCKS), size=LAYERS)))
            arch = MacroLayers.parse(digits)
            if arch.digits == digits:
                return arch

    def mutate(self, arch: MacroLayers | str, rng: np.random.Generator) -> MacroLayers:
        """One layer is changed."""
        known = self.resolve(arch)
        while True:
            place, digit = int(rng.integers(LAYERS)), str(rng.integers(len(BLOCKS)))
            child = MacroLayers.parse(known.digits[:place] + digit + known.digits[place + 1 :])
            if child != known:
                return child

    def suggest(self, trial: Any) -> MacroLayers:
        """An architecture from an Optuna trial: the digit of each layer."""
        digits = (trial.suggest_categorical(f"layer_{i}", list(BLOCKS)) for i in range(LAYERS))
        return MacroLayers.parse("".join(digits))

    def build(self, arch: MacroLayers | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces.nasbench_macro import nets

        return nets.Net(self.resolve(arch).digits, self._classes(num_classes))

    def _write(self, b: SpaceBuilder, arch: MacroLayers, image: Value, num_classes: int) -> Value:
        return write_network(b, arch.digits, image, num_classes)

    def _score_batch(
        self, archs: Sequence[MacroLayers | str], image_size: int, num_classes: int, definition: str
    ) -> Scores:
        """No map loses local entropy, so that each layer adds its own numbers."""
        return batch.scores([self.resolve(a) for a in archs], image_size, num_classes, definition)

    def _count_batch(self, archs: Sequence[MacroLayers], what: str) -> Counts:
        return batch.counts(archs, what, self.image_size, self.num_classes)
