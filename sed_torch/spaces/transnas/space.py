"""The two spaces of TransNAS-Bench-101."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sed_torch.building import Value
from sed_torch.errors import SpaceError
from sed_torch.spaces.base import Counts, Scores, Space, other_than
from sed_torch.spaces.cells import EDGES
from sed_torch.spaces.transnas import batch
from sed_torch.spaces.transnas.architecture import (
    MICRO_LAYERS,
    STEM_WIDTH,
    MacroArch,
    MicroArch,
    is_macro,
    macro_archs,
)
from sed_torch.spaces.transnas.topology import write_macro, write_micro
from sed_torch.spaces.writing import SpaceBuilder

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TransNASMacro", "TransNASMicro"]

_SOURCE = "Duan et al., CVPR 2021 (arXiv 2105.11871)"


class TransNASMicro(Space[MicroArch]):
    """TransNAS-Bench-101 micro (Duan et al., CVPR 2021): five layers of two cells, every other one strided.

    Strings are ``64-41414-a_bc_def``. The head is the linear classifier of the scene, object and room-layout
    tasks; 47 classes by default, as ``class_scene`` was trained. The published parameter counts are those of
    63 classes, see :data:`TASK_CLASSES`.
    """

    name = "transnas_micro"
    title = "TransNAS-Bench-101 micro"
    source = _SOURCE
    arch_type = MicroArch
    size = 4096
    image_size = 256
    num_classes = 47
    layers = MICRO_LAYERS

    def parse(self, text: str) -> MicroArch:
        match = re.fullmatch(rf"{STEM_WIDTH}-{self.layers}-([0-3])_([0-3]{{2}})_([0-3]{{3}})", text.strip())
        if match is None:
            raise SpaceError(
                f"not an architecture of transnas_micro: {text!r}: expected {STEM_WIDTH}-{self.layers}-a_bc_def"
                " with digits 0 (none), 1 (skip), 2 (conv1x1), 3 (conv3x3)"
            )
        return MicroArch("".join(match.groups()))

    def format(self, arch: MicroArch) -> str:
        return str(arch)

    def check(self, arch: MicroArch) -> MicroArch:
        if not re.fullmatch("[0-3]{6}", arch.ops):
            raise SpaceError(f"transnas_micro: expected six digits of 0 to 3, found {arch.ops!r}")
        return arch

    def __iter__(self) -> Iterator[MicroArch]:
        for ops in itertools.product("0123", repeat=len(EDGES)):
            yield MicroArch("".join(ops))

    def sample(self, rng: np.random.Generator) -> MicroArch:
        return MicroArch("".join(map(str, rng.integers(4, size=len(EDGES)))))

    def mutate(self, arch: MicroArch | str, rng: np.random.Generator) -> MicroArch:
        ops = list(self.resolve(arch).ops)
        edge = int(rng.integers(len(ops)))
        ops[edge] = str(other_than(int(ops[edge]), 4, rng))
        return MicroArch("".join(ops))

    def suggest(self, trial: Any) -> MicroArch:
        """An architecture from an Optuna trial: the operation of each edge."""
        return MicroArch("".join(trial.suggest_categorical(f"edge_{i}_{j}", list("0123")) for i, j in EDGES))

    def build(self, arch: MicroArch | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces.transnas import nets

        return nets.MicroNet(self.resolve(arch).ops, self._classes(num_classes))

    def _write(self, b: SpaceBuilder, arch: MicroArch, image: Value, num_classes: int) -> Value | None:
        return write_micro(b, arch.ops, image, num_classes)

    def _score_batch(
        self, archs: Sequence[MicroArch | str], image_size: int, num_classes: int, definition: str
    ) -> Scores:
        """No map loses local entropy, so that each live edge adds its own number."""
        return batch.micro_scores([self.resolve(a) for a in archs], image_size, num_classes, definition)

    def _count_batch(self, archs: Sequence[MicroArch], what: str) -> Counts:
        return batch.micro_counts(archs, what, self.image_size, self.num_classes)


class TransNASMacro(Space[MacroArch]):
    """TransNAS-Bench-101 macro (Duan et al., CVPR 2021): four to six layers of two residual blocks.

    One to four layers halve the map and one to three double the channels, in any combination: 3,256 networks.
    Strings are ``64-4111-basic``. For the head see :class:`TransNASMicro`.
    """

    name = "transnas_macro"
    title = "TransNAS-Bench-101 macro"
    source = _SOURCE
    arch_type = MacroArch
    size = 3256
    image_size = 256
    num_classes = 47

    def parse(self, text: str) -> MacroArch:
        match = re.fullmatch(rf"{STEM_WIDTH}-(\d+)-basic", text.strip())
        if match is None:
            raise SpaceError(
                f"not an architecture of transnas_macro: {text!r}: expected {STEM_WIDTH}-layers-basic with four to"
                " six digits of 1 (plain), 2 (twice the channels), 3 (half the map), 4 (both)"
            )
        return self.check(MacroArch(match.group(1)))

    def format(self, arch: MacroArch) -> str:
        return str(arch)

    def check(self, arch: MacroArch) -> MacroArch:
        if not is_macro(arch.layers):
            raise SpaceError(
                f"transnas_macro: {arch.layers!r}: expected four to six digits of 1 to 4, of which one to four are 3"
                " or 4 (half the map) and one to three are 2 or 4 (twice the channels)"
            )
        return arch

    def __iter__(self) -> Iterator[MacroArch]:
        return iter(macro_archs())

    def sample(self, rng: np.random.Generator) -> MacroArch:
        return macro_archs()[rng.integers(self.size)]

    def mutate(self, arch: MacroArch | str, rng: np.random.Generator) -> MacroArch:
        """One layer is changed, added or taken away."""
        layers = self.resolve(arch).layers
        while True:
            place, digit = int(rng.integers(len(layers))), str(rng.integers(1, 5))
            tail = (layers[place + 1 :], layers[place:], layers[place + 1 :])
            kind = int(rng.integers(3))
            child = layers[:place] + ("" if kind == 2 else digit) + tail[kind]
            if child != layers and is_macro(child):
                return MacroArch(child)

    def suggest(self, trial: Any) -> MacroArch:
        """An architecture from an Optuna trial: the number of layers and the digit of each."""
        layers = trial.suggest_int("layers", 4, 6)
        digits = [trial.suggest_categorical(f"layer_{i}", list("1234")) for i in range(layers)]
        return self.check(MacroArch("".join(digits)))

    def build(self, arch: MacroArch | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces.transnas import nets

        return nets.MacroNet(self.resolve(arch).layers, self._classes(num_classes))

    def _write(self, b: SpaceBuilder, arch: MacroArch, image: Value, num_classes: int) -> Value:
        return write_macro(b, arch.layers, image, num_classes)

    def _score_batch(
        self, archs: Sequence[MacroArch | str], image_size: int, num_classes: int, definition: str
    ) -> Scores:
        """No map loses local entropy, so that each layer adds its own number."""
        return batch.macro_scores([self.resolve(a) for a in archs], image_size, num_classes, definition)

    def _count_batch(self, archs: Sequence[MacroArch], what: str) -> Counts:
        return batch.macro_counts(archs, what, self.image_size, self.num_classes)
