"""Which architectures to look at next. A strategy never proposes one twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import numpy as np

from sed_torch.searching.sources import Source

__all__ = ["Evolution", "Exhaustive", "Random", "Strategy"]

_DRAWS = 500
"""Draws in a row that give nothing new, after which a space counts as seen whole."""


class Strategy(Protocol):
    """Proposes architectures and learns how good they are."""

    name: str

    def ask(self, n: int) -> list[Any]:
        """At most ``n`` architectures that were not proposed before; none when there are no more."""

    def tell(self, archs: Sequence[Any], sed: Sequence[float], violation: Sequence[float]) -> None:
        """Scores, and how far each is above the limits."""


class Exhaustive:
    """All architectures, in a random order: a search cut short has seen a random sample."""

    name = "exhaustive"

    def __init__(self, source: Source, rng: np.random.Generator) -> None:
        archs = list(source.archs()) if source.archs is not None else []
        self._left = [archs[i] for i in rng.permutation(len(archs))]

    def ask(self, n: int) -> list[Any]:
        found, self._left = self._left[:n], self._left[n:]
        return found

    def tell(self, archs: Sequence[Any], sed: Sequence[float], violation: Sequence[float]) -> None:
        """Nothing to learn."""


class Random:
    """The space's own random architectures, each once."""

    name = "random"

    def __init__(self, source: Source, rng: np.random.Generator) -> None:
        self._source, self._rng = source, rng
        self._seen: set[Hashable] = set()

    def ask(self, n: int) -> list[Any]:
        found: list[Any] = []
        vain = 0
        while len(found) < n and vain < _DRAWS:
            arch = self._propose()
            vain = 0 if self._is_new(arch) else vain + 1
            if not vain:
                found.append(arch)
        return found

    def tell(self, archs: Sequence[Any], sed: Sequence[float], violation: Sequence[float]) -> None:
        """Nothing to learn."""

    def _propose(self) -> Any:
        return self._source.sample(self._rng)

    def _is_new(self, arch: Any) -> bool:
        key = self._source.key(arch)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


class Evolution(Random):
    """Regularised evolution (Real et al., AAAI 2019): the best of a few is mutated, the oldest dies.

    Children come in batches, so that a space can score them side by side. Within the limits the score counts;
    of two beyond them the one less far beyond is better, whatever its score.

    Args:
        source: what is searched; it needs ``mutate``.
        rng: its generator.
        population: members alive.
        tournament: members drawn, of which the best has a child.
        batch: children at a time.
    """

    name = "evolution"

    def __init__(
        self,
        source: Source,
        rng: np.random.Generator,
        *,
        population: int = 128,
        tournament: int = 32,
        batch: int = 64,
    ) -> None:
        super().__init__(source, rng)
        self._alive: deque[tuple[tuple[float, float], Any]] = deque(maxlen=population)
        self._population, self._tournament, self._batch = population, tournament, batch
        self._asked = 0

    def ask(self, n: int) -> list[Any]:
        first = self._population - self._asked
        found = super().ask(min(n, first if first > 0 else self._batch))
        self._asked += len(found)
        return found

    def tell(self, archs: Sequence[Any], sed: Sequence[float], violation: Sequence[float]) -> None:
        for arch, score, beyond in zip(archs, sed, violation, strict=True):
            self._alive.append(((-float(beyond), float(score)), arch))

    def _propose(self) -> Any:
        if self._asked < self._population or self._source.mutate is None:
            return super()._propose()
        drawn = self._rng.integers(len(self._alive), size=self._tournament)
        _, parent = max((self._alive[i] for i in drawn.tolist()), key=lambda member: member[0])
        # now and then further away, so that a space with few neighbours is never stuck
        child = self._source.mutate(parent, self._rng)
        while self._rng.random() < 0.1:
            child = self._source.mutate(child, self._rng)
        return child
