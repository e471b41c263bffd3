"""NAS-Bench-201, also the topology space of NATS-Bench: cells of six edges, five operations each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sed_torch.errors import SpaceError
from sed_torch.spaces._edges import EDGES
from sed_torch.spaces._lines import SMALLEST_IMAGE
from sed_torch.spaces.base import Scores, Space, SpaceBuilder, other_than
from sed_torch.topology import Value

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CELLS_PER_STAGE", "EDGES", "OPS", "WIDTHS", "Cell201", "NASBench201"]

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


def _node_codes(node: int) -> dict[str, tuple[str, ...]]:
    """Every spelling of a node's edges, with its operations."""
    return {
        "|" + "|".join(f"{op}~{i}" for i, op in enumerate(ops)) + "|": ops
        for ops in itertools.product(OPS, repeat=node)
    }


# 5 + 25 + 125 node strings: three look-ups read a cell, without a regular expression
_NODES = (_node_codes(1), _node_codes(2), _node_codes(3))
_CODES = tuple({text: i for i, text in enumerate(node)} for node in _NODES)


class NASBench201(Space[Cell201]):
    """NAS-Bench-201 (Dong and Yang, ICLR 2020); the topology space of NATS-Bench.

    A 3×3 stem of 16 channels, three stages of five cells at 16, 32 and 64 channels, residual blocks of stride
    2 between them. Strings are ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``.
    """

    name = "nasbench201"
    title = "NAS-Bench-201 (NATS-Bench topology)"
    source = "Dong and Yang, ICLR 2020 (arXiv 2001.00326); Dong et al., TPAMI 2021 (arXiv 2009.00437)"
    arch_type = Cell201
    size = 15_625

    def parse(self, text: str) -> Cell201:
        parts = text.strip().split("+")
        if len(parts) == 3:
            try:
                first, second, third = (node[part] for node, part in zip(_NODES, parts, strict=True))
                return Cell201(first + second + third)
            except KeyError:
                pass
        raise _alien(text)

    def format(self, arch: Cell201) -> str:
        return str(arch)

    def resolve(self, arch: Cell201 | str) -> Cell201:
        cell = super().resolve(arch)
        if len(cell.ops) != len(EDGES) or any(op not in OPS for op in cell.ops):
            raise SpaceError(f"nasbench201: expected {len(EDGES)} operations of {OPS}, found {cell.ops}")
        return cell

    def __iter__(self) -> Iterator[Cell201]:
        for ops in itertools.product(OPS, repeat=len(EDGES)):
            yield Cell201(ops)

    def sample(self, rng: np.random.Generator) -> Cell201:
        return Cell201(tuple(OPS[i] for i in rng.integers(len(OPS), size=len(EDGES))))

    def mutate(self, arch: Cell201 | str, rng: np.random.Generator) -> Cell201:
        ops = list(self.resolve(arch).ops)
        edge = int(rng.integers(len(ops)))
        ops[edge] = OPS[other_than(OPS.index(ops[edge]), len(OPS), rng)]
        return Cell201(tuple(ops))

    def build(self, arch: Cell201 | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces import _nats_nets

        classes = self.num_classes if num_classes is None else num_classes
        return _nats_nets.CellNet(self.resolve(arch).ops, classes)

    def _write(self, b: SpaceBuilder, arch: Cell201, image: Value, num_classes: int) -> Value | None:
        x: Value | None = write_stem(b, image, WIDTHS[0])
        cell = 0
        for stage, width in enumerate(WIDTHS):
            if stage:
                x = x and write_reduction(b, x, width, f"cells.{cell}")
                cell += 1
            for _ in range(CELLS_PER_STAGE):
                x = x and write_cell(b, x, width, arch.ops, f"cells.{cell}")
                cell += 1
        return x and write_head(b, x, num_classes)

    def score_many(
        self,
        archs: Sequence[Cell201 | str],
        *,
        image_size: int | None = None,
        num_classes: int | None = None,
    ) -> Scores:
        """SED of many cells in nats: the whole space once, then a look-up a cell (about 1 µs)."""
        from sed_torch.spaces import _nasbench201_batch as batch

        size = self.image_size if image_size is None else image_size
        classes = self.num_classes if num_classes is None else num_classes
        if size % 4 or size < SMALLEST_IMAGE:
            return super().score_many(archs, image_size=size, num_classes=classes)
        return batch.all_scores(size, classes)[self._indices(archs)]

    def _indices(self, archs: Iterable[Cell201 | str]) -> list[int]:
        """Position of each in the order of :meth:`__iter__`."""
        one, two, three = _CODES
        found = []
        for arch in archs:
            text = arch if isinstance(arch, str) else str(self.resolve(arch))
            try:
                a, b, c = text.split("+")
                found.append(one[a] * 3125 + two[b] * 125 + three[c])
            except (KeyError, ValueError):
                found.append(self._index(self.parse(text)))
        return found

    @staticmethod
    def _index(cell: Cell201) -> int:
        index = 0
        for op in cell.ops:
            index = index * len(OPS) + OPS.index(op)
        return index

    def params(self, arch: Cell201 | str, *, num_classes: int | None = None) -> int:
        """Parameters of the network as published, dead edges included."""
        classes = self.num_classes if num_classes is None else num_classes
        return int(_linear_cost(self.resolve(arch).ops, _op_costs("params", self.image_size, classes)))

    def macs(
        self, arch: Cell201 | str, *, image_size: int | None = None, num_classes: int | None = None
    ) -> float:
        """Multiply-accumulates a sample of convolutions and linear layers, dead edges included."""
        size = self.image_size if image_size is None else image_size
        classes = self.num_classes if num_classes is None else num_classes
        return _linear_cost(self.resolve(arch).ops, _op_costs("macs", size, classes))


def _linear_cost(ops: Sequence[str], costs: dict[str, float]) -> float:
    return costs[""] + sum(costs[op] for op in ops)


@lru_cache(maxsize=16)
def _op_costs(what: str, image_size: int, num_classes: int) -> dict[str, float]:
    """Cost of one edge of each operation, and of the rest of the network under ``""``."""
    space = NASBench201()

    def cost(op: str) -> float:
        cell = Cell201((op, *("none",) * 5))
        whole = space.topology(cell, image_size=image_size, num_classes=num_classes, keep_dead=True)
        return float(getattr(whole, what))

    rest = cost("none")
    return {"": rest, **{op: cost(op) - rest for op in OPS}}


def _alien(text: str) -> SpaceError:
    why = "expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
    unknown = [
        t.split("~")[0] for t in text.replace("+", "|").split("|") if t.split("~")[0] not in (*OPS, "")
    ]
    if unknown:
        why = f"operation {unknown[0]!r} is unknown, expected one of {', '.join(OPS)}"
    return SpaceError(f"not a cell of nasbench201: {text!r}: {why}")


def write_stem(b: SpaceBuilder, image: Value, width: int) -> Value:
    """3×3 convolution and its norm."""
    return b.norm(b.conv(image, width, 3, padding=1, path="stem.conv"), path="stem.norm")


def write_conv(b: SpaceBuilder, x: Value, width: int, kernel: int, path: str, stride: int = 1) -> Value:
    """ReLU, convolution, norm."""
    out = b.conv(x, width, kernel, stride=stride, padding=kernel // 2, path=f"{path}.conv")
    return b.norm(out, path=f"{path}.norm")


def write_cell(b: SpaceBuilder, x: Value, width: int, ops: Sequence[str], path: str) -> Value | None:
    """Four nodes, each the sum of its edges."""
    nodes: list[Value | None] = [x]
    edges = iter(ops)
    for to in (1, 2, 3):
        values = [_write_edge(b, next(edges), nodes[i], width, f"{path}.edge_{i}_{to}") for i in range(to)]
        nodes.append(b.add_live(values, path))
    return nodes[-1]


def _write_edge(b: SpaceBuilder, op: str, x: Value | None, width: int, path: str) -> Value | None:
    if x is None:
        return None
    if op == "none":
        return b.zeros(width, x.size, path)
    if op == "avg_pool_3x3":
        return b.pool(x, 3, stride=1, padding=1, path=path)
    if op == "skip_connect":
        return x if x.channels == width else _write_widening(b, x, width, path)
    return write_conv(b, x, width, 1 if op == "nor_conv_1x1" else 3, path)


def _write_widening(b: SpaceBuilder, x: Value, width: int, path: str) -> Value:
    """A skip between different widths: 1×1 convolution and norm (only the size space has it)."""
    return b.norm(b.conv(x, width, 1, path=f"{path}.conv"), path=f"{path}.norm")


def write_reduction(b: SpaceBuilder, x: Value, width: int, path: str) -> Value:
    """Residual block of stride 2: two 3×3 convolutions beside average pooling and a 1×1 convolution."""
    y = write_conv(b, x, width, 3, f"{path}.conv_a", stride=2)
    y = write_conv(b, y, width, 3, f"{path}.conv_b")
    pooled = b.pool(x, 2, path=f"{path}.downsample.pool")
    return b.add(b.conv(pooled, width, 1, path=f"{path}.downsample.conv"), y, path=path)


def write_head(b: SpaceBuilder, x: Value, num_classes: int) -> Value:
    """Norm, ReLU, global pooling, classifier."""
    x = b.global_pool(b.norm(x, path="norm"), path="pool")
    return b.linear(x, num_classes, path="classifier")
