"""Cells of NAS-Bench-201: four nodes, six edges, five operations."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from sed_torch.errors import SpaceError
from sed_torch.spaces.cells import EDGES

__all__ = ["CELLS_PER_STAGE", "EDGES", "NODE_CODES", "OPS", "WIDTHS", "Cell201"]

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""Operations, in the order of the published space."""

WIDTHS = (16, 32, 64)
CELLS_PER_STAGE = 5


@dataclass(frozen=True, slots=True)
class Cell201:
    """A cell: the operation of each edge of :data:`EDGES`."""

    ops: tuple[str, ...]

    def __str__(self) -> str:
        a, b, c, d, e, f = self.ops
        return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"

    @classmethod
    def parse(cls, text: str) -> Cell201:
        """A cell from its string.

        Raises:
            SpaceError: if it is none.
        """
        parts = text.strip().split("+")
        if len(parts) == 3:
            try:
                first, second, third = (node[part] for node, part in zip(_NODES, parts, strict=True))
                return cls(first + second + third)
            except KeyError:
                pass
        raise _alien(text)


def _node_codes(node: int) -> dict[str, tuple[str, ...]]:
    """Every spelling of a node's edges, with its operations."""
    return {
        "|" + "|".join(f"{op}~{i}" for i, op in enumerate(ops)) + "|": ops
        for ops in itertools.product(OPS, repeat=node)
    }


# 5 + 25 + 125 node strings: three look-ups read a cell, without a regular expression
_NODES = (_node_codes(1), _node_codes(2), _node_codes(3))
NODE_CODES = tuple({text: i for i, text in enumerate(node)} for node in _NODES)
"""For each of the three nodes: the number of every spelling of its edges."""


def _alien(text: str) -> SpaceError:
    why = "expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
    unknown = [
        t.split("~")[0] for t in text.replace("+", "|").split("|") if t.split("~")[0] not in (*OPS, "")
    ]
    if unknown:
        why = f"operation {unknown[0]!r} is unknown, expected one of {', '.join(OPS)}"
    return SpaceError(f"not a cell of nasbench201: {text!r}: {why}")
