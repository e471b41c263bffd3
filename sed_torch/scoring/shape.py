"""Size and shape told apart: what is left of a score at equal parameters, multiply-accumulates and input.

A score grows with the network's size, and with the input's. Over a population of known networks that is nearly a law,

    SED ≈ a + b · ln params + c · ln MACs + d · ln A,    A = H · W positions of the input,

and a network's *shape* is its SED minus what the law says of its size, in nats: above 0 it makes more of its
parameters and multiply-accumulates than the population does, below 0 less. The law is ordinary least squares over the
reference networks (:mod:`sed_torch.scoring.standing`) at every input size of their table, each network weighing the
same. Since A is one of its variables, the shape of one network hardly moves with the input: it is what compares where
networks read images of different sizes, as scores do not. It is no score by itself: what size is worth is left out of
it, and over networks of many sizes it orders worse than SED or parameters do (``examples/results/size-and-shape.md``).

The law is known where the population is. How far a network is from it is its leverage (Hoaglin and Welsch, 1978),
x·(XᵀX)⁻¹·x for x = (1, ln params, ln MACs, ln A): beyond the largest of the population nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shape", "SizeLaw", "Sized", "image_positions"]

Array = NDArray[np.float64]


class Sized(NamedTuple):
    """A network of the population at one input: its name, SED in nats, parameters, MACs a sample, H·W of the input."""

    name: str
    sed: float
    params: float
    macs: float
    positions: float


@dataclass(frozen=True, slots=True)
class Shape:
    """A score beyond what its size predicts.

    Attributes:
        nats: SED minus the law's, higher is better.
        below: how many networks of the population have less, at the input of the reference table.
        of: of how many, the network itself left out.
    """

    nats: float
    below: int
    of: int

    def sentence(self) -> str:
        """In words."""
        return (
            f"{self.nats:+.3f} nats beyond what its params, MACs and input size predict, "
            f"above {self.below} of {self.of} torchvision networks"
        )


@dataclass(frozen=True)
class SizeLaw:
    """How SED goes with size over a population.

    Attributes:
        rows: the population, a network at one or several inputs.
    """

    rows: tuple[Sized, ...]

    @cached_property
    def _fit(self) -> tuple[Array, Array, float]:
        """(coefficients, (XᵀWX)⁻¹, largest leverage)."""
        x = np.array([_variables(r.params, r.macs, r.positions) for r in self.rows])
        names = [r.name for r in self.rows]
        weights = np.array([1.0 / names.count(n) for n in names])
        gram = np.linalg.inv((x.T * weights) @ x)
        coefficients = gram @ (x.T * weights) @ np.array([r.sed for r in self.rows])
        return coefficients, gram, float(np.einsum("ij,jk,ik->i", x, gram, x).max())

    @property
    def coefficients(self) -> tuple[float, float, float, float]:
        """a, b, c and d of the law."""
        a, b, c, d = (float(v) for v in self._fit[0])
        return a, b, c, d

    @cached_property
    def positions(self) -> tuple[float, float]:
        """Smallest and largest input of the population, H · W."""
        found = [r.positions for r in self.rows]
        return min(found), max(found)

    def nats(self, sed: float, params: float, macs: float, positions: float) -> float:
        """SED minus what the law says of such a size, wherever that is."""
        return sed - float(self._fit[0] @ _variables(params, macs, positions))

    def leverage(self, params: float, macs: float, positions: float) -> float:
        """How far such a size is from the population, 1 for the farthest of its own networks."""
        _, gram, largest = self._fit
        x = _variables(params, macs, positions)
        return float(x @ gram @ x) / largest


def _variables(params: float, macs: float, positions: float) -> Array:
    return np.array([1.0, math.log(params), math.log(macs), math.log(positions)])


def image_positions(inputs: Sequence[Sequence[int]]) -> float | None:
    """H · W where a network reads one batch of images, else None."""
    if len(inputs) != 1 or len(inputs[0]) != 4:
        return None
    height, width = inputs[0][2:]
    return float(height * width) or None
