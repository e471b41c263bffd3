"""Sums over the operators of many networks side by side, from which a definition of the score makes its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed_torch.scoring import definition_of

__all__ = ["Sums", "Tally", "total"]

Array = NDArray[np.float64]

Sums = Mapping[float, Array]
"""Number of output positions → the sums of many networks' addends, shape (networks,)."""


def total(definition: str, sums: Sums) -> Array:
    """Scores in nats of networks with these sums, shape (networks,); -inf for one without operators."""
    positions = np.array(sorted(sums, reverse=True))
    return definition_of(definition).total(np.stack([sums[a] for a in positions], axis=1), positions)


class Tally:
    """What the operators of many networks add, for each map size.

    Args:
        definition: name of the definition whose addends are summed.
        networks: how many.

    Attributes:
        sums: number of output positions → the networks' sums, shape (networks,).
    """

    def __init__(self, definition: str, networks: int) -> None:
        self.definition = definition_of(definition)
        self.networks = networks
        self.sums: dict[float, Array] = {}

    def add(
        self,
        positions: float,
        c_in: Any,
        c_out: Any,
        root_taps: Any,
        *,
        groups: Any = 1,
        times: Any = 1.0,
        rows: Any = slice(None),
    ) -> None:
        """One operator of each network of ``rows``; all but ``positions`` are numbers or arrays over these rows.

        Args:
            positions: output positions, equal in all networks.
            c_in: input channels a group.
            c_out: output channels.
            root_taps: √n_eff.
            groups: groups.
            times: how many such operators a network has.
            rows: numbers of the networks, each once.
        """
        addend = self.definition.addend(positions, c_in, c_out, root_taps, groups)
        self.add_sums(positions, addend * times, rows)

    def add_sums(self, positions: float, values: Any, rows: Any = slice(None)) -> None:
        """Addends that are summed already."""
        if positions not in self.sums:
            self.sums[positions] = np.zeros(self.networks)
        self.sums[positions][rows] += values

    def scores(self) -> Array:
        """The scores in nats, shape (networks,); -inf for a network without operators."""
        return total(self.definition.name, self.sums)
