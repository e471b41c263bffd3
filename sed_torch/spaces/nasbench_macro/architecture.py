"""Architectures of NAS-Bench-Macro: one digit a layer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sed_torch.errors import SpaceError

__all__ = ["BLOCKS", "HEAD_WIDTH", "LAYERS", "STAGES", "STEM_WIDTH", "WIDTHS", "MacroLayers", "layer_shape"]

STEM_WIDTH = 32
WIDTHS = (64, 128, 256)
STAGES = (2, 3, 3)
"""Layers of each stage; the first of each halves the map."""

LAYERS = sum(STAGES)
HEAD_WIDTH = 1280

BLOCKS = {"0": None, "1": (3, 3), "2": (6, 5)}
"""(expansion, kernel) of a digit's inverted residual; None for the identity."""


def layer_shape(layer: int) -> tuple[int, int]:
    """(channels, stride) of a layer."""
    for width, layers in zip(WIDTHS, STAGES, strict=True):
        if layer < layers:
            return width, 1 if layer else 2
        layer -= layers
    raise IndexError(layer)


@dataclass(frozen=True, slots=True)
class MacroLayers:
    """An architecture: one digit a layer, 0 identity, 1 expansion 3 and kernel 3, 2 expansion 6 and kernel 5.

    An identity after the first layer of its stage is no layer, wherever it stands: it comes last there.
    """

    digits: str

    def __str__(self) -> str:
        return self.digits

    @classmethod
    def parse(cls, text: str) -> MacroLayers:
        """An architecture from its digits, brought into the one spelling of its network.

        Raises:
            SpaceError: if it is none.
        """
        text = text.strip()
        if not re.fullmatch(rf"[0-2]{{{LAYERS}}}", text):
            raise SpaceError(
                f"not an architecture of nasbench_macro: {text!r}: expected {LAYERS} digits of 0 (identity),"
                " 1 (expansion 3, kernel 3), 2 (expansion 6, kernel 5)"
            )
        found, start = "", 0
        for layers in STAGES:
            first, later = text[start], text[start + 1 : start + layers]
            found += first + later.replace("0", "").ljust(layers - 1, "0")
            start += layers
        return cls(found)
