"""The MnasNet-like space of Accel-NASBench: expansion, kernel, layers and squeeze-excitation of seven blocks."""

from __future__ import annotations

from sed_torch.spaces.mnasnet.architecture import CHOICES, STRIDES, WIDTHS, BlockChoice, MnasArch
from sed_torch.spaces.mnasnet.space import MnasNet

__all__ = ["CHOICES", "STRIDES", "WIDTHS", "BlockChoice", "MnasArch", "MnasNet"]
