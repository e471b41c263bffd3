"""NAS-Bench-101: cells as graphs of at most seven vertices and nine edges."""

from __future__ import annotations

from sed_torch.spaces.nasbench101.architecture import (
    CELLS_PER_STACK,
    MAX_EDGES,
    MAX_VERTICES,
    OPS,
    STACKS,
    STEM_WIDTH,
    Cell101,
    vertex_channels,
)
from sed_torch.spaces.nasbench101.space import NASBench101

__all__ = [
    "CELLS_PER_STACK",
    "MAX_EDGES",
    "MAX_VERTICES",
    "OPS",
    "STACKS",
    "STEM_WIDTH",
    "Cell101",
    "NASBench101",
    "vertex_channels",
]
