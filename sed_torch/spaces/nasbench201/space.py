"""The space of NAS-Bench-201."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sed_torch.building import Value
from sed_torch.errors import SpaceError
from sed_torch.spaces.base import Counts, Scores, Space, other_than
from sed_torch.spaces.lines import fits
from sed_torch.spaces.nasbench201 import batch
from sed_torch.spaces.nasbench201.architecture import EDGES, OPS, Cell201
from sed_torch.spaces.nasbench201.topology import write_network
from sed_torch.spaces.writing import SpaceBuilder

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NASBench201"]


class NASBench201(Space[Cell201]):
    """NAS-Bench-201 (Dong and Yang, ICLR 2020); the topology space of NATS-Bench.

    A 3×3 stem of 16 channels, three stages of five cells at 16, 32 and 64 channels, residual blocks of stride
    2 between them. Strings are ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``.
    """

    name = "nasbench201"
    title = "NAS-Bench-201 (NATS-Bench topology)"
    source = "Dong and Yang, ICLR 2020 (arXiv 2001.00326); Dong et al., TPAMI 2021 (arXiv 2009.00437)"
    arch_type = Cell201
    size = 15_625

    def parse(self, text: str) -> Cell201:
        return Cell201.parse(text)

    def format(self, arch: Cell201) -> str:
        return str(arch)

    def check(self, arch: Cell201) -> Cell201:
        if len(arch.ops) != len(EDGES) or any(op not in OPS for op in arch.ops):
            raise SpaceError(f"nasbench201: expected {len(EDGES)} operations of {OPS}, found {arch.ops}")
        return arch

    def __iter__(self) -> Iterator[Cell201]:
        for ops in itertools.product(OPS, repeat=len(EDGES)):
            yield Cell201(ops)

    def sample(self, rng: np.random.Generator) -> Cell201:
        return Cell201(tuple(OPS[i] for i in rng.integers(len(OPS), size=len(EDGES))))

    def mutate(self, arch: Cell201 | str, rng: np.random.Generator) -> Cell201:
        ops = list(self.resolve(arch).ops)
        edge = int(rng.integers(len(ops)))
        ops[edge] = OPS[other_than(OPS.index(ops[edge]), len(OPS), rng)]
        return Cell201(tuple(ops))

    def suggest(self, trial: Any) -> Cell201:
        """An architecture from an Optuna trial: the operation of each edge."""
        return Cell201(tuple(trial.suggest_categorical(f"edge_{i}_{j}", OPS) for i, j in EDGES))

    def build(self, arch: Cell201 | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces.nasbench201 import nets

        return nets.CellNet(self.resolve(arch).ops, self._classes(num_classes))

    def _write(self, b: SpaceBuilder, arch: Cell201, image: Value, num_classes: int) -> Value | None:
        return write_network(b, arch.ops, image, num_classes)

    def _score_batch(
        self, archs: Sequence[Cell201 | str], image_size: int, num_classes: int, definition: str
    ) -> Scores:
        """The whole space once, then a look-up a cell (about 1 µs)."""
        if not fits(image_size):
            return self._score_each(archs, image_size, num_classes, definition)
        return batch.all_scores(image_size, num_classes, definition)[batch.places(archs, self.resolve)]

    def _count_batch(self, archs: Sequence[Cell201], what: str) -> Counts:
        return batch.counts(archs, what, self.image_size, self.num_classes)
