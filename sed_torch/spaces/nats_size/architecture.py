"""Widths of the size space of NATS-Bench."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LAYERS", "OPS", "WIDTHS", "Widths"]

WIDTHS = tuple(range(8, 65, 8))

OPS = (
    "nor_conv_3x3",
    "nor_conv_3x3",
    "nor_conv_3x3",
    "skip_connect",
    "nor_conv_3x3",
    "nor_conv_3x3",
)
"""The cell of every network: the best of the topology space on CIFAR-100's validation set."""

LAYERS = 5


@dataclass(frozen=True, slots=True)
class Widths:
    """Channels of the five layers: cell, reduction, cell, reduction, cell."""

    channels: tuple[int, ...]

    def __str__(self) -> str:
        return ":".join(map(str, self.channels))
