"""NAS-Bench-201, also the topology space of NATS-Bench: cells of six edges, five operations each."""

from __future__ import annotations

from sed_torch.spaces.nasbench201.architecture import CELLS_PER_STAGE, EDGES, OPS, WIDTHS, Cell201
from sed_torch.spaces.nasbench201.space import NASBench201

__all__ = ["CELLS_PER_STAGE", "EDGES", "OPS", "WIDTHS", "Cell201", "NASBench201"]
