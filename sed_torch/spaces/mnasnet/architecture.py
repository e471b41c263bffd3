"""Architectures of Accel-NASBench: four numbers for each of seven blocks."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from sed_torch.errors import SpaceError

__all__ = [
    "CHOICES",
    "HEAD_WIDTH",
    "STEM_WIDTH",
    "STRIDES",
    "TRAITS",
    "WIDTHS",
    "BlockChoice",
    "MnasArch",
    "squeeze_width",
]

STEM_WIDTH = 32
WIDTHS = (16, 24, 40, 80, 112, 192, 320)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
HEAD_WIDTH = 1280

TRAITS = ("expansion", "kernel", "layers", "squeeze")
_COMMON = {"expansion": (1, 4, 6), "kernel": (3, 5), "layers": (1, 2, 3), "squeeze": (0, 1)}


@dataclass(frozen=True, slots=True)
class BlockChoice:
    """One block of inverted residuals.

    Attributes:
        expansion: inner channels over those that enter, 1, 4 or 6.
        kernel: of the depthwise convolutions, 3 or 5.
        layers: inverted residuals, 1 to 3 (the sixth block up to 4).
        squeeze: 1 where they have squeeze and excitation, else 0.
    """

    expansion: int
    kernel: int
    layers: int
    squeeze: int


def _choices(block: int) -> tuple[BlockChoice, ...]:
    values = dict(_COMMON)
    if block == 5:
        values["layers"] = (1, 2, 3, 4)
    return tuple(BlockChoice(*numbers) for numbers in itertools.product(*values.values()))


CHOICES = tuple(_choices(block) for block in range(len(WIDTHS)))
"""What each block may be: 36 choices, 48 in the sixth."""


def squeeze_width(c_in: int) -> int:
    """Channels between squeeze and excitation of an inverted residual that reads ``c_in`` channels."""
    return max(1, c_in // 4)


@dataclass(frozen=True, slots=True)
class MnasArch:
    """An architecture: the choice of each of the seven blocks."""

    blocks: tuple[BlockChoice, ...]

    def __str__(self) -> str:
        columns = zip(*((b.expansion, b.kernel, b.layers, b.squeeze) for b in self.blocks), strict=True)
        return "-".join("".join(map(str, column)) for column in columns)

    @classmethod
    def parse(cls, text: str) -> MnasArch:
        """An architecture from its string, ``6466611-3535533-1233222-0000000``, or from the table's columns joined.

        Raises:
            SpaceError: if it is none.
        """
        columns = [re.sub(r"[\s|]", "", c) for c in re.split("[-,;]", text.strip())]
        if len(columns) != len(TRAITS) or not all(re.fullmatch(rf"\d{{{len(WIDTHS)}}}", c) for c in columns):
            raise SpaceError(
                f"not an architecture of mnasnet: {text[:80]!r}: expected expansions-kernels-layers-squeeze of"
                f" {len(WIDTHS)} digits each, such as 6466611-3535533-1233222-0000000"
            )
        return cls(tuple(BlockChoice(*map(int, numbers)) for numbers in zip(*columns, strict=True)))
