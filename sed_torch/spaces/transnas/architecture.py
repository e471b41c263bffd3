"""Cells (micro) and layers (macro) of TransNAS-Bench-101."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = [
    "BLOCKS",
    "MICRO_LAYERS",
    "STEM_WIDTH",
    "TASK_CLASSES",
    "MacroArch",
    "MicroArch",
    "is_macro",
    "layer_shape",
    "macro_archs",
]

STEM_WIDTH = 64
BLOCKS = 2
"""Cells or residual blocks a layer."""

TASK_CLASSES = {"class_scene": 63, "class_object": 100, "room_layout": 9}
"""Outputs of the linear heads to which the parameter counts of NAS-Bench-Suite-Zero belong."""

MICRO_LAYERS = "41414"
"""Layers of every network of the micro space, as digits of :func:`layer_shape`."""


def layer_shape(digit: str, width: int) -> tuple[int, int]:
    """(width, stride) of a layer: 2 and 4 double the width, 3 and 4 halve the map."""
    return width * 2 if digit in "24" else width, 2 if digit in "34" else 1


@dataclass(frozen=True, slots=True)
class MicroArch:
    """A cell: one digit an edge (0 none, 1 skip, 2 conv1x1, 3 conv3x3), in the order of the string."""

    ops: str

    def __str__(self) -> str:
        return f"{STEM_WIDTH}-{MICRO_LAYERS}-{self.ops[:1]}_{self.ops[1:3]}_{self.ops[3:]}"


@dataclass(frozen=True, slots=True)
class MacroArch:
    """Layers: one digit each (1 plain, 2 twice the channels, 3 half the map, 4 both)."""

    layers: str

    def __str__(self) -> str:
        return f"{STEM_WIDTH}-{self.layers}-basic"


def is_macro(layers: str) -> bool:
    """Whether digits are layers of the macro space."""
    halved, doubled = sum(d in "34" for d in layers), sum(d in "24" for d in layers)
    return bool(re.fullmatch("[1-4]{4,6}", layers)) and 1 <= halved <= 4 and 1 <= doubled <= 3


@lru_cache(maxsize=1)
def macro_archs() -> tuple[MacroArch, ...]:
    """The macro space."""
    layers = ("".join(d) for n in (4, 5, 6) for d in itertools.product("1234", repeat=n))
    return tuple(MacroArch(text) for text in layers if is_macro(text))
