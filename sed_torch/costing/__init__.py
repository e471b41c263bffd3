"""Will it fit, and how long: memory and least time of a training step, from the graph alone.

graph → :mod:`.precision` (dtypes) → :mod:`.storage` (whose memory) → :mod:`.saving` (what backward needs) →
:mod:`.timeline` (when) and :mod:`.roofline` (how long at least) → :mod:`.result`.
"""

from __future__ import annotations

from sed_torch.costing.devices import DEVICES, Device
from sed_torch.costing.model import (
    cost,
    cost_of_graphs,
    cost_of_score,
    dropping,
    kept_for_backward,
    step_memory,
    with_memory,
)
from sed_torch.costing.optimizers import OPTIMIZERS, optimizer_named
from sed_torch.costing.result import Cost
from sed_torch.costing.saving import Saved
from sed_torch.costing.timeline import Moment

__all__ = [
    "DEVICES",
    "OPTIMIZERS",
    "Cost",
    "Device",
    "Moment",
    "Saved",
    "cost",
    "cost_of_graphs",
    "cost_of_score",
    "dropping",
    "kept_for_backward",
    "optimizer_named",
    "step_memory",
    "with_memory",
]
