"""The space of DARTS, which NAS-Bench-301 samples."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sed_torch.building import Value
from sed_torch.errors import SpaceError
from sed_torch.spaces.base import Scores, Space, not_enumerable, other_than
from sed_torch.spaces.darts import batch, counting
from sed_torch.spaces.darts.architecture import INPUTS, NODES, NONE, OPERATIONS, OPS, Edge, Genotype
from sed_torch.spaces.darts.topology import write_network
from sed_torch.spaces.lines import fits
from sed_torch.spaces.writing import SpaceBuilder

if TYPE_CHECKING:
    from torch import nn

__all__ = ["DARTS"]


class DARTS(Space[Genotype]):
    """The DARTS space as NAS-Bench-301 samples it.

    Eight cells from 32 channels on (a stem of three times as many), reductions at cells 2 and 5, no auxiliary
    head. Inside the cells every operation but the skip ends in a norm without parameters, pools too: the network
    to which the parameter counts of NAS-Bench-Suite-Zero belong. DARTS' own network for the final training has
    parameters in these norms and none after pools.

    Samples and :attr:`size` are of genotypes as NAS-Bench-301 draws them, whose nodes read two different nodes each.
    Genotypes of other samplers are read as well: with the operation ``none``, and with two edges from one node.

    Strings are ``((node, op), … ×8), ((node, op), … ×8)`` with operations by number in :data:`OPS`, or
    DARTS' own ``Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=…, reduce=…, reduce_concat=…)``, or these
    four fields as a mapping (JSON).
    """

    name = "darts"
    title = "DARTS (NAS-Bench-301)"
    source = "Liu et al., ICLR 2019 (arXiv 1806.09055); Siems et al. (arXiv 2008.09777)"
    arch_type = Genotype
    size = (1 * 3 * 6 * 10 * len(OPS) ** 8) ** 2
    enumerable = False

    def parse(self, text: str) -> Genotype:
        return self.check(Genotype.parse(text))

    def format(self, arch: Genotype) -> str:
        return str(arch)

    def check(self, arch: Genotype) -> Genotype:
        for name, cell in (("normal", arch.normal), ("reduce", arch.reduce)):
            if len(cell) != 2 * NODES:
                raise SpaceError(f"darts: expected {2 * NODES} edges in the {name} cell, found {len(cell)}")
            for node in range(NODES):
                (i, _), (j, _) = pair = cell[2 * node : 2 * node + 2]
                if not all(0 <= k < node + INPUTS for k in (i, j)):
                    raise SpaceError(
                        f"darts: node {node + INPUTS} of the {name} cell reads {i} and {j}: expected two"
                        f" nodes below {node + INPUTS}"
                    )
                if any(op not in OPERATIONS for _, op in pair):
                    raise SpaceError(f"darts: expected operations of {', '.join(OPERATIONS)}, found {pair}")
        return arch

    def __iter__(self) -> Iterator[Genotype]:
        raise not_enumerable(self)

    def sample(self, rng: np.random.Generator) -> Genotype:
        def cell() -> tuple[Edge, ...]:
            return tuple(
                (int(i), OPS[rng.integers(len(OPS))])
                for node in range(NODES)
                for i in sorted(rng.choice(node + INPUTS, size=2, replace=False))
            )

        return Genotype(cell(), cell())

    def mutate(self, arch: Genotype | str, rng: np.random.Generator) -> Genotype:
        """One edge reads another node, or has another operation."""
        known = self.resolve(arch)
        name = ("normal", "reduce")[rng.integers(2)]
        cell = list(getattr(known, name))
        place = int(rng.integers(len(cell)))
        reads, op = cell[place]
        sibling = cell[place ^ 1][0]
        free = [i for i in range(place // 2 + INPUTS) if i not in (reads, sibling)]
        if free and rng.random() < 0.5:
            cell[place] = (int(rng.choice(free)), op)
        else:
            # "none" is left, never chosen
            chosen = rng.integers(len(OPS)) if op == NONE else other_than(OPS.index(op), len(OPS), rng)
            cell[place] = (reads, OPS[chosen])
        return dataclasses.replace(known, **{name: tuple(cell)})

    def suggest(self, trial: Any) -> Genotype:
        """An architecture from an Optuna trial: the two nodes that each node reads, and the two operations."""
        return Genotype(*(_suggest_cell(trial, name) for name in ("normal", "reduce")))

    def build(self, arch: Genotype | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces.darts import nets

        return nets.Net(self.resolve(arch), self._classes(num_classes))

    def _write(self, b: SpaceBuilder, arch: Genotype, image: Value, num_classes: int) -> Value | None:
        return write_network(b, arch, image, num_classes)

    def _score_batch(
        self, archs: Sequence[Genotype | str], image_size: int, num_classes: int, definition: str
    ) -> Scores:
        """Genotypes worked through side by side."""
        if not fits(image_size):
            return self._score_each(archs, image_size, num_classes, definition)
        return batch.scores([self.resolve(a) for a in archs], image_size, num_classes, definition)

    def _count_batch(self, archs: Sequence[Genotype], what: str) -> list[float]:
        return counting.counts(archs, what, self.image_size, self.num_classes)


def _suggest_cell(trial: Any, name: str) -> tuple[Edge, ...]:
    edges: list[Edge] = []
    for node in range(INPUTS, NODES + INPUTS):
        pairs = [f"{i},{j}" for i, j in itertools.combinations(range(node), 2)]
        reads = trial.suggest_categorical(f"{name}_{node}_reads", pairs).split(",")
        ops = (trial.suggest_categorical(f"{name}_{node}_op_{k}", OPS) for k in (0, 1))
        edges.extend((int(i), op) for i, op in zip(reads, ops, strict=True))
    return tuple(edges)
