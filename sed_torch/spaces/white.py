"""Networks in which no map loses local entropy: nothing inside pools, so that n_eff = n everywhere.

The score is then the log of a sum over operators, and spaces of such networks are tables of addends.
"""

from __future__ import annotations

import math

from sed_torch.topology import Step, Topology

__all__ = ["amplitude", "amplitude_sum"]


def amplitude(step: Step) -> float:
    """A · C_out · √(C_in/g · n) of a mixing step on a white map; 0 for any other step."""
    return step.positions * step.c_out * math.sqrt(step.c_in * step.taps) if step.kind == "mix" else 0.0


def amplitude_sum(topology: Topology) -> float:
    """Σ :func:`amplitude` over the steps."""
    return sum(map(amplitude, topology.steps))
