"""TransNAS-Bench-101: cells of six edges (micro), and widths and strides of residual blocks (macro)."""

from __future__ import annotations

from sed_torch.spaces.transnas.architecture import (
    BLOCKS,
    STEM_WIDTH,
    TASK_CLASSES,
    MacroArch,
    MicroArch,
    layer_shape,
)
from sed_torch.spaces.transnas.space import TransNASMacro, TransNASMicro

__all__ = [
    "BLOCKS",
    "STEM_WIDTH",
    "TASK_CLASSES",
    "MacroArch",
    "MicroArch",
    "TransNASMacro",
    "TransNASMicro",
    "layer_shape",
]
