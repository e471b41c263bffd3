"""Genotypes of DARTS worked through side by side.

Between reductions every map's covariance is Σ w[p,j] T^j φ_p, with T the 3×3 pool's triangle. A reduction cell
turns each of its two inputs F into F(2d) (convolutions, skips) or (T F)(2d) (pools): these four are the φ of
the next stage, and the first of them are all that later cells of the stage read of the stage before. Every
operation but the skip leaves variance 1. Everything
is separable into lines (:mod:`sed_torch.spaces.lines`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sed_torch.spaces.darts.architecture import (
    CELLS,
    INPUTS,
    NODES,
    OPERATIONS,
    OPS,
    REDUCTIONS,
    STEM_MULTIPLIER,
    WIDTH,
    Genotype,
)
from sed_torch.spaces.lines import flat, pool_powers
from sed_torch.spaces.patch import effective_taps_square, patch_lags
from sed_torch.spaces.tally import Tally

__all__ = ["scores"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_CHUNK = 512
_SKIP = OPS.index("skip_connect")
_NONE = len(OPS)
_POOLS = (OPS.index("max_pool_3x3"), OPS.index("avg_pool_3x3"))
_KERNELS = {OPS.index(op): (int(op[-1]), 2 if op.startswith("dil") else 1) for op in OPS if "conv" in op}
_POWERS = (9, 12, 12)
"""Powers of T in each stage: four pools a cell at most, three in a reduction cell after its stride."""

_LAGS = sorted({(i * gap, j * gap) for gap in (1, 2) for i, j in patch_lags(5)})
_PLACE = {lag: i for i, lag in enumerate(_LAGS)}


def scores(genotypes: Sequence[Genotype], image_size: int, num_classes: int, definition: str) -> Array:
    """Scores in nats."""
    distinct = list(dict.fromkeys(genotypes))
    parts = [
        _Chunk(distinct[i : i + _CHUNK], image_size, definition).run(num_classes)
        for i in range(0, len(distinct), _CHUNK)
    ]
    known = dict(zip(distinct, np.concatenate(parts or [np.zeros(0)]).tolist(), strict=True))
    return np.array([known[g] for g in genotypes], dtype=np.float64)


def _width(cell: int) -> int:
    return WIDTH << sum(r <= cell for r in REDUCTIONS)


@lru_cache(maxsize=1)
def _stage_reads() -> tuple[Array, ...]:
    """For each stage, its basis at all lags: (basis, powers · lags)."""
    lines = np.ones((1, 1))
    found = []
    for powers in _POWERS:
        grown = pool_powers(lines, powers + 1)
        wide = np.zeros((*grown.shape[:2], max(grown.shape[2], max(map(max, _LAGS)) + 1)))
        wide[:, :, : grown.shape[2]] = grown
        at = np.stack([wide[..., x] * wide[..., y] for x, y in _LAGS], axis=-1)
        found.append(at[:, :powers].reshape(len(lines), -1))
        lines = flat(grown[:, :, ::2])
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Stage:
    """Fields of one resolution; a field is (rows, P, powers).

    Attributes:
        size: height and width of the maps.
        sources: (N, P, basis) the φ in the stage's basis.
        read: (N, P, powers, lags) what each T^j φ_p is at the lags that kernels read.
    """

    size: int
    sources: Array
    read: Array

    @classmethod
    def of(cls, index: int, size: int, sources: Array) -> _Stage:
        read = sources @ _stage_reads()[index]
        return cls(size, sources, read.reshape(*sources.shape[:2], _POWERS[index], len(_LAGS)))

    def unit(self, source: int | Ints, rows: int | None = None) -> Array:
        """φ of that number, in each row."""
        n = len(self.read) if rows is None else rows
        field = np.zeros((n, *self.read.shape[1:3]))
        field[np.arange(n), source, 0] = 1.0
        return field

    def normalised(self, field: Array, rows: Ints | slice) -> Array:
        """Γ/Γ(0); zeros stay zeros."""
        variance = np.einsum("npj,npj->n", field, self.read[rows, :, :, 0])
        return np.asarray(field / np.where(variance > 0.0, variance, 1.0)[:, None, None])

    def roots(self, field: Array, rows: Ints, kernel: int, gap: int) -> Array:
        """√n_eff of a kernel of which only the taps that fall on the map count."""
        k = min(kernel, -(-self.size // gap))
        places = [_PLACE[i * gap, j * gap] for i, j in patch_lags(k)]
        lags = np.einsum("npj,npjl->nl", field, self.read[rows][..., places])
        return np.sqrt(effective_taps_square(lags, k))

    def reduced(self, index: int, inputs: Sequence[Array]) -> _Stage:
        """The next stage: F(2d) and (T F)(2d) of each input are its φ."""
        n, _, powers = inputs[0].shape
        found = []
        for field in inputs:
            for pooled in (0, 1):
                shifted = np.zeros((*field.shape[:2], powers + 1))
                shifted[:, :, pooled : pooled + powers] = field
                found.append(np.einsum("npb,npj->nbj", self.sources, shifted).reshape(n, -1))
        return _Stage.of(index, self.size // 2, np.stack(found, axis=1))


class _Chunk:
    """Genotypes side by side, cell by cell."""

    def __init__(self, genotypes: Sequence[Genotype], image_size: int, definition: str) -> None:
        number = {op: i for i, op in enumerate(OPERATIONS)}
        cells = [[[(i, number[op]) for i, op in c] for c in (g.normal, g.reduce)] for g in genotypes]
        edges = np.array(cells)  # (N, normal or reduce, edge, (node, op))
        self.edges = [edges[:, int(cell in REDUCTIONS)] for cell in range(CELLS)]
        self.reads = [_reads_of_inputs(of_cell) for of_cell in self.edges]
        self.needed = _needed_cells(self.reads)
        self.stage = _Stage.of(0, image_size, np.ones((len(genotypes), 1, 1)))
        self.tally = Tally(definition, len(genotypes))
        stem = (self.needed[0] & (self.reads[0][0] | self.reads[0][1])) | (self.needed[1] & self.reads[1][0])
        self.tally.add(
            image_size**2, 3, STEM_MULTIPLIER * WIDTH, 3.0, times=stem
        )  # a 3×3 kernel on a white map

    def run(self, num_classes: int) -> Array:
        """Scores of all genotypes; -inf where zeros are all that reaches the classifier."""
        older = newer = self.stage.unit(0)
        older_alive = newer_alive = np.ones(self.tally.networks, dtype=bool)
        c_older = c_newer = STEM_MULTIPLIER * WIDTH
        for cell in range(CELLS):
            width, whole = _width(cell), slice(None)
            first, second = (
                self.needed[cell] & alive & reads
                for alive, reads in zip((older_alive, newer_alive), self.reads[cell], strict=True)
            )
            # after a reduction the older input comes by two 1×1 convolutions of stride 2, half the channels each
            halves = 2 if cell - 1 in REDUCTIONS else 1
            self.tally.add(self.stage.size**2, c_older, width // halves, 1.0, times=halves * first)
            self.tally.add(self.stage.size**2, c_newer, width, 1.0, times=second)
            inputs = [self.stage.normalised(field, whole) for field in (older, newer)]
            before: _Stage | None = None
            older = newer
            if cell in REDUCTIONS:
                before, self.stage = self.stage, self.stage.reduced(1 + REDUCTIONS.index(cell), inputs)
                older = self.stage.unit(2) * newer_alive[:, None, None]
            newer, alive = self._cell(cell, before, inputs, [older_alive, newer_alive], width)
            older_alive, newer_alive = newer_alive, alive
            c_older, c_newer = c_newer, NODES * width
        self.tally.add(1.0, c_newer, num_classes, 1.0)
        return np.where(newer_alive, self.tally.scores(), -np.inf)

    def _cell(
        self, cell: int, before: _Stage | None, inputs: Sequence[Array], alive: Sequence[Bools], width: int
    ) -> tuple[Array, Bools]:
        """What leaves a cell, and whether it is anything but zeros; ``before`` is what a reduction cell reads."""
        n, needed = self.tally.networks, self.needed[cell]
        read = np.stack(inputs, axis=1)
        nodes = np.zeros((n, INPUTS + NODES, *self.stage.read.shape[1:3]))
        if before is None:
            nodes[:, :INPUTS] = read
        lives = np.zeros((n, INPUTS + NODES), dtype=bool)
        lives[:, :INPUTS] = np.stack(alive, axis=1)
        for place in range(2 * NODES):
            source, op = self.edges[cell][:, place, 0], self.edges[cell][:, place, 1]
            node, there = place // 2 + INPUTS, lives[np.arange(n), source]
            strided = source < (0 if before is None else INPUTS)
            for kind in range(len(OPS)):
                rows = np.flatnonzero(there & (op == kind) & ~strided)
                if rows.size:
                    nodes[rows, node] += self._edge(
                        nodes[rows, source[rows]], rows, kind, width, needed[rows]
                    )
                rows = np.flatnonzero(there & (op == kind) & strided)
                if rows.size and before is not None:
                    field = read[rows, source[rows]]
                    nodes[rows, node] += self._strided(
                        before, field, source[rows], rows, kind, width, needed[rows]
                    )
            lives[:, node] |= there & (op != _NONE)
        # nodes of zeros have no part in the mean; what is read of it is normalised, so that the sum will do
        return np.asarray(nodes[:, INPUTS:].sum(axis=1)), np.asarray(lives[:, INPUTS:].any(axis=1))

    def _edge(self, field: Array, rows: Ints, kind: int, width: int, needed: Bools) -> Array:
        """What an edge of stride 1 leaves."""
        if kind == _SKIP:
            return field
        if kind in _POOLS:
            pooled = np.zeros_like(field)
            pooled[:, :, 1:] = field[:, :, :-1]
            return self.stage.normalised(pooled, rows)
        kernel, gap = _KERNELS[kind]
        pairs = 3 - gap  # a separable operation is two depthwise and pointwise pairs, a dilated one is one
        self._pair(self.stage.roots(field, rows, kernel, gap), rows, width, pairs * needed)
        return self.stage.normalised(field, rows)

    def _strided(
        self,
        before: _Stage,
        field: Array,
        source: Ints,
        rows: Ints,
        kind: int,
        width: int,
        needed: Bools,
    ) -> Array:
        """What an edge of stride 2 leaves of an input of the cell, which has variance 1."""
        if kind in _POOLS:
            return self.stage.normalised(self.stage.unit(2 * source + 1, len(rows)), rows)
        out = self.stage.unit(2 * source, len(rows))
        if kind == _SKIP:  # two 1×1 convolutions of half the channels each
            self.tally.add(self.stage.size**2, width, width // 2, 1.0, rows=rows, times=2 * needed)
            return out
        kernel, gap = _KERNELS[kind]
        self._pair(before.roots(field, rows, kernel, gap), rows, width, needed)
        if gap == 1:
            self._pair(self.stage.roots(out, rows, kernel, gap), rows, width, needed)
        return out

    def _pair(self, roots: Array, rows: Ints, width: int, times: Ints | Bools) -> None:
        """A depthwise and a pointwise convolution."""
        self.tally.add(self.stage.size**2, 1, width, roots, groups=width, rows=rows, times=times)
        self.tally.add(self.stage.size**2, width, width, 1.0, rows=rows, times=times)


def _reads_of_inputs(edges: Ints) -> tuple[Bools, Bools]:
    """Whether an edge that is not "none" reads the older input of a cell, and the newer."""
    there = edges[:, :, 1] != _NONE
    older, newer = (np.asarray(np.any(there & (edges[:, :, 0] == k), axis=1)) for k in range(INPUTS))
    return older, newer


def _needed_cells(reads: Sequence[tuple[Bools, Bools]]) -> list[Bools]:
    """Of each cell: whether the classifier depends on what leaves it (in some genotypes a cell is never read)."""
    needed = [np.zeros(len(reads[0][0]), dtype=bool) for _ in reads]
    needed[-1][:] = True
    for cell in reversed(range(len(reads))):
        older, newer = reads[cell]
        if cell >= 1:
            needed[cell - 1] |= needed[cell] & newer
        if cell >= 2:
            needed[cell - 2] |= needed[cell] & older
    return needed
