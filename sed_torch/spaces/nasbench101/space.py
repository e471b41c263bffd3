"""The space of NAS-Bench-101."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sed_torch.building import Value
from sed_torch.spaces.base import Scores, Space, not_enumerable
from sed_torch.spaces.lines import fits
from sed_torch.spaces.nasbench101 import batch
from sed_torch.spaces.nasbench101.architecture import MAX_VERTICES, OPS, Cell101
from sed_torch.spaces.nasbench101.sampling import neighbour, random_cell
from sed_torch.spaces.nasbench101.topology import write_network
from sed_torch.spaces.writing import SpaceBuilder

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NASBench101"]


class NASBench101(Space[Cell101]):
    """NAS-Bench-101 (Ying et al., ICML 2019).

    A 3×3 stem of 128 channels, three stacks of three cells, max pooling and twice the channels between stacks.
    Vertices that feed the output share its channels and are concatenated; the cell's input enters by 1×1
    projections. :attr:`size` counts cells up to isomorphism.

    Strings are ``bits:ops``, the row-major upper triangle of the matrix and a letter a vertex (``3`` conv3x3,
    ``1`` conv1x1, ``p`` maxpool3x3), such as ``"111001:31"``; or a matrix and a list of operations as the
    public API takes them, ``"[[0, 1], [0, 0]], ['input', 'output']"``.
    """

    name = "nasbench101"
    title = "NAS-Bench-101"
    source = "Ying et al., ICML 2019 (arXiv 1902.09635)"
    arch_type = Cell101
    size = 423_624
    enumerable = False

    def parse(self, text: str) -> Cell101:
        return Cell101.parse(text)

    def format(self, arch: Cell101) -> str:
        return str(arch)

    def check(self, arch: Cell101) -> Cell101:
        return Cell101.from_matrix(arch.matrix, arch.ops)

    def __iter__(self) -> Iterator[Cell101]:
        raise not_enumerable(self)

    def sample(self, rng: np.random.Generator) -> Cell101:
        """Uniform over the pruned matrices with every choice of operations, most of which have seven vertices."""
        return random_cell(rng)

    def mutate(self, arch: Cell101 | str, rng: np.random.Generator) -> Cell101:
        """One operation, one edge or one vertex is changed, added or taken away; no other vertex dies of it."""
        return neighbour(self.resolve(arch), rng)

    def suggest(self, trial: Any) -> Cell101:
        """An architecture from an Optuna trial: each edge of seven vertices, the operation of each vertex."""
        n = MAX_VERTICES
        matrix = np.zeros((n, n), dtype=int)
        for i, j in itertools.combinations(range(n), 2):
            matrix[i, j] = trial.suggest_int(f"edge_{i}_{j}", 0, 1)
        ops = [trial.suggest_categorical(f"vertex_{v}", OPS) for v in range(1, n - 1)]
        return Cell101.from_matrix(matrix.tolist(), ops)

    def build(self, arch: Cell101 | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces.nasbench101 import nets

        return nets.Net(self.resolve(arch), self._classes(num_classes))

    def _write(self, b: SpaceBuilder, arch: Cell101, image: Value, num_classes: int) -> Value:
        return write_network(b, arch, image, num_classes)

    def _score_batch(
        self, archs: Sequence[Cell101 | str], image_size: int, num_classes: int, definition: str
    ) -> Scores:
        """Cells worked through side by side."""
        if not fits(image_size):
            return self._score_each(archs, image_size, num_classes, definition)
        return batch.scores([self.resolve(a) for a in archs], image_size, num_classes, definition)

    def _count_batch(self, archs: Sequence[Cell101], what: str) -> list[float]:
        return batch.counts(archs, what, self.image_size, self.num_classes)
