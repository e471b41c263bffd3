"""Networks in which no map loses local entropy: nothing inside pools, so that n_eff = n everywhere.

What such a network adds up to is the sum of what its parts add, and a space of them is a table of addends. Parts are
measured on their topologies, so that a space's network is written down in one place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed_torch.scoring import definition_of
from sed_torch.spaces.tally import Sums
from sed_torch.topology import Topology

__all__ = ["Measure", "WhiteTable", "addends", "count", "counted", "place_sums"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

Measure = Callable[[Topology], Mapping[float, float]]
"""What a part of a network adds, for each number of positions (a count has one entry, under 0)."""


@lru_cache(maxsize=16)
def addends(definition: str) -> Measure:
    """Measures what the operators of a part add to a definition's sums, on white maps."""
    addend = definition_of(definition).addend

    def measure(topology: Topology) -> Mapping[float, float]:
        found: dict[float, float] = {}
        for step in topology.steps:
            if step.kind == "mix":
                value = addend(step.positions, step.c_in, step.c_out, math.sqrt(step.taps), step.groups)
                found[step.positions] = found.get(step.positions, 0.0) + float(value)
        return found

    return measure


@lru_cache(maxsize=8)
def count(what: str) -> Measure:
    """Measures a count of a part: parameters, multiply-accumulates, or the longest chain to its last step."""

    def measure(topology: Topology) -> Mapping[float, float]:
        if what == "depth":
            topology = Topology(topology.steps, (len(topology) - 1,))
        return {0.0: float(getattr(topology, what))}

    return measure


class WhiteTable:
    """Numbers for each map size: what the parts of a network add, by whatever they are chosen by.

    Args:
        measure: of a part.
        shape: of the choices.

    Attributes:
        values: positions → array of ``shape``.
    """

    def __init__(self, measure: Measure, shape: tuple[int, ...] = ()) -> None:
        self.measure, self.shape = measure, shape
        self.values: dict[float, Array] = {}

    def enter(self, index: Any, *parts: Topology) -> None:
        """What the parts add where a network has the choice of that index."""
        for part in parts:
            for positions, value in self.measure(part).items():
                self.values.setdefault(positions, np.zeros(self.shape))[index] += value


def place_sums(rest: WhiteTable, choices: WhiteTable, chosen: Ints) -> dict[float, Array]:
    """Sums of networks that make one choice at each of several places, whatever they choose elsewhere.

    Args:
        rest: what every network has, of shape ().
        choices: of shape (places, choices).
        chosen: (networks, places), the number of each choice.
    """
    found = {a: np.full(len(chosen), float(value)) for a, value in rest.values.items()}
    places = np.arange(chosen.shape[1])
    for positions, table in choices.values.items():
        found[positions] = found.get(positions, 0.0) + table[places, chosen].sum(axis=1)
    return found


def counted(sums: Sums) -> Array:
    """Counts of networks with these sums."""
    return np.asarray(sums[0.0])
