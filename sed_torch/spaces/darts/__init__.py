"""The space of DARTS, which NAS-Bench-301 samples: a normal and a reduction cell of four nodes each."""

from __future__ import annotations

from sed_torch.spaces.darts.architecture import (
    CELLS,
    NODES,
    OPS,
    REDUCTIONS,
    STEM_MULTIPLIER,
    WIDTH,
    Edge,
    Genotype,
)
from sed_torch.spaces.darts.space import DARTS

__all__ = ["CELLS", "DARTS", "NODES", "OPS", "REDUCTIONS", "STEM_MULTIPLIER", "WIDTH", "Edge", "Genotype"]
