"""NAS-Bench-Macro: identity or one of two inverted residuals in each of eight layers."""

from __future__ import annotations

from sed_torch.spaces.nasbench_macro.architecture import LAYERS, STAGES, WIDTHS, MacroLayers
from sed_torch.spaces.nasbench_macro.space import NASBenchMacro

__all__ = ["LAYERS", "STAGES", "WIDTHS", "MacroLayers", "NASBenchMacro"]
