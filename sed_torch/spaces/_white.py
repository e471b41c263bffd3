"""Networks in which no map loses local entropy: nothing inside pools, so that n_eff = n everywhere.

The score is then the log of a sum over operators, and spaces of such networks are tables of addends.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from sed_torch.spaces.base import SpaceBuilder
from sed_torch.topology import Step, Topology, Value

__all__ = ["amplitude", "piece"]


def amplitude(step: Step) -> float:
    """A · C_out · √(C_in/g · n) of a mixing step on a white map; 0 for any other step."""
    return step.positions * step.c_out * math.sqrt(step.c_in * step.taps) if step.kind == "mix" else 0.0


def piece(write: Callable[[SpaceBuilder, Value], object], channels: int, size: int) -> Topology:
    """The topology of a part of a network that reads a map of ``channels`` × ``size`` × ``size``."""
    b = SpaceBuilder(keep_dead=True)
    write(b, b.input(channels, (size, size)))
    return b.finish()
