"""Genotypes of DARTS: a normal and a reduction cell of four nodes each."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from sed_torch.errors import SpaceError

__all__ = [
    "CELLS",
    "INPUTS",
    "NODES",
    "NONE",
    "OPERATIONS",
    "OPS",
    "REDUCTIONS",
    "STEM_MULTIPLIER",
    "WIDTH",
    "Edge",
    "Genotype",
    "edge_names",
]

OPS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""Operations that NAS-Bench-301 samples; their order gives the numbers of the compact strings."""

NONE = "none"
"""The operation that leaves zeros: DARTS' own, which other samplers keep."""

OPERATIONS = (*OPS, NONE)
"""All operations of a genotype, in the order of their numbers."""

NODES = 4
CELLS = 8
REDUCTIONS = (2, 5)
WIDTH = 32
STEM_MULTIPLIER = 3

Edge = tuple[int, str]
"""(node that is read, operation); nodes 0 and 1 are the outputs of the two cells before."""

INPUTS = 2


@dataclass(frozen=True, slots=True)
class Genotype:
    """Two cells.

    Attributes:
        normal: two edges a node, eight in all, in the order of the nodes; both may read one node.
        reduce: the same for the cells of stride 2.
    """

    normal: tuple[Edge, ...]
    reduce: tuple[Edge, ...]

    @classmethod
    def parse(cls, text: str) -> Genotype:
        """A genotype from its string.

        Raises:
            SpaceError: if it is none.
        """
        text = text.strip()
        readers = {"G": _read_darts, "{": _read_mapping}
        return cls(*readers.get(text[:1], _read_compact)(text))

    def __str__(self) -> str:
        return repr(
            tuple(tuple((i, OPERATIONS.index(op)) for i, op in cell) for cell in (self.normal, self.reduce))
        )

    def to_darts(self) -> str:
        """The genotype as DARTS prints it."""
        cells = {
            f"{name}={[(op, i) for i, op in cell]!r}, {name}_concat=range({INPUTS}, {INPUTS + NODES})"
            for name, cell in (("normal", self.normal), ("reduce", self.reduce))
        }
        return f"Genotype({', '.join(sorted(cells))})"


def edge_names(cell: tuple[Edge, ...]) -> tuple[str, ...]:
    """Names of a cell's edges: ``edge_0_3`` leads from node 0 to node 3, ``edge_0_3_again`` is a second such edge."""
    names = [f"edge_{i}_{place // 2 + INPUTS}" for place, (i, _) in enumerate(cell)]
    return tuple(n if n not in names[:k] else f"{n}_again" for k, n in enumerate(names))


def _read_compact(text: str) -> tuple[tuple[Edge, ...], ...]:
    try:
        normal, reduce = ast.literal_eval(text)
        return tuple(tuple((int(i), _operation(op)) for i, op in cell) for cell in (normal, reduce))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise _alien(text) from error


def _operation(op: Any) -> str:
    """By its number or its name."""
    if isinstance(op, str):
        return op
    if not isinstance(op, int) or not 0 <= op < len(OPERATIONS):
        raise ValueError(f"no operation {op!r}")
    return OPERATIONS[op]


def _read_mapping(text: str) -> tuple[tuple[Edge, ...], ...]:
    """DARTS' four fields as a literal or as JSON; nothing is evaluated."""
    try:
        given = ast.literal_eval(text)
        concats = [list(given.get(f"{name}_concat", _CONCAT)) for name in ("normal", "reduce")]
        if set(given) - {*_FIELDS} or any(sorted(c) != _CONCAT for c in concats):
            raise ValueError("other fields")
        return tuple(tuple((int(i), str(op)) for op, i in given[name]) for name in ("normal", "reduce"))
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise _alien(text) from error


_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")


def _read_darts(text: str) -> tuple[tuple[Edge, ...], ...]:
    """Arguments of the call are read as literals; nothing is evaluated."""
    try:
        call = ast.parse(text, mode="eval").body
        if not (
            isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"
        ):
            raise ValueError("not a call of Genotype")
        given = dict(zip(_FIELDS, call.args, strict=False)) | {str(k.arg): k.value for k in call.keywords}
        if set(given) != set(_FIELDS) or any(_nodes(given[n]) != _CONCAT for n in _FIELDS[1::2]):
            raise ValueError("other arguments")
        cells = [ast.literal_eval(given[n]) for n in _FIELDS[::2]]
        return tuple(tuple((int(i), str(op)) for op, i in cell) for cell in cells)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise _alien(text) from error


_CONCAT = list(range(INPUTS, INPUTS + NODES))


def _nodes(argument: ast.expr) -> list[int]:
    """``[2, 3, 4, 5]`` or ``range(2, 6)``."""
    if isinstance(argument, ast.Call) and isinstance(argument.func, ast.Name) and argument.func.id == "range":
        return list(range(*(int(ast.literal_eval(a)) for a in argument.args)))
    return [int(i) for i in ast.literal_eval(argument)]


def _alien(text: str) -> SpaceError:
    return SpaceError(
        f"not a genotype of darts: {text[:80]!r}: expected (((node, op), … eight pairs), (… eight pairs)) or"
        " Genotype(normal=[(op, node), …], normal_concat=range(2, 6), reduce=[…], reduce_concat=range(2, 6))"
    )
