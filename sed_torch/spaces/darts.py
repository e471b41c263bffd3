"""The space of DARTS, which NAS-Bench-301 samples: a normal and a reduction cell of four nodes each."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sed_torch.errors import SpaceError
from sed_torch.spaces._lines import SMALLEST_IMAGE
from sed_torch.spaces.base import Scores, Space, SpaceBuilder, not_enumerable, other_than
from sed_torch.topology import Value

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CELLS", "DARTS", "NODES", "OPS", "REDUCTIONS", "STEM_MULTIPLIER", "WIDTH", "Edge", "Genotype"]

OPS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""Operations; their order gives the numbers of the compact strings."""

NODES = 4
CELLS = 8
REDUCTIONS = (2, 5)
WIDTH = 32
STEM_MULTIPLIER = 3

Edge = tuple[int, str]
"""(node that is read, operation); nodes 0 and 1 are the outputs of the two cells before."""

_INPUTS = 2


@dataclass(frozen=True, slots=True)
class Genotype:
    """Two cells.

    Attributes:
        normal: two edges a node, eight in all, in the order of the nodes.
        reduce: the same for the cells of stride 2.
    """

    normal: tuple[Edge, ...]
    reduce: tuple[Edge, ...]

    def __str__(self) -> str:
        return repr(tuple(tuple((i, OPS.index(op)) for i, op in cell) for cell in (self.normal, self.reduce)))

    def to_darts(self) -> str:
        """The genotype as DARTS prints it."""
        cells = {
            f"{name}={[(op, i) for i, op in cell]!r}, {name}_concat=range({_INPUTS}, {_INPUTS + NODES})"
            for name, cell in (("normal", self.normal), ("reduce", self.reduce))
        }
        return f"Genotype({', '.join(sorted(cells))})"


class DARTS(Space[Genotype]):
    """The DARTS space as NAS-Bench-301 samples it.

    Eight cells from 32 channels on (a stem of three times as many), reductions at cells 2 and 5, no auxiliary
    head. Inside the cells every operation but the skip ends in a norm without parameters, pools too: the network
    to which the parameter counts of NAS-Bench-Suite-Zero belong. DARTS' own network for the final training has
    parameters in these norms and none after pools.

    Strings are ``((node, op), … ×8), ((node, op), … ×8)`` with operations by number in :data:`OPS`, or
    DARTS' own ``Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=…, reduce=…, reduce_concat=…)``.
    """

    name = "darts"
    title = "DARTS (NAS-Bench-301)"
    source = "Liu et al., ICLR 2019 (arXiv 1806.09055); Siems et al. (arXiv 2008.09777)"
    arch_type = Genotype
    size = (1 * 3 * 6 * 10 * len(OPS) ** 8) ** 2
    enumerable = False

    def parse(self, text: str) -> Genotype:
        text = text.strip()
        cells = _read_darts(text) if text.startswith("Genotype") else _read_compact(text)
        return self._checked(Genotype(*cells))

    def format(self, arch: Genotype) -> str:
        return str(arch)

    def resolve(self, arch: Genotype | str) -> Genotype:
        return self._checked(super().resolve(arch))

    @staticmethod
    def _checked(arch: Genotype) -> Genotype:
        for name, cell in (("normal", arch.normal), ("reduce", arch.reduce)):
            if len(cell) != 2 * NODES:
                raise SpaceError(f"darts: expected {2 * NODES} edges in the {name} cell, found {len(cell)}")
            for node in range(NODES):
                (i, _), (j, _) = pair = cell[2 * node : 2 * node + 2]
                if i == j or not all(0 <= k < node + _INPUTS for k in (i, j)):
                    raise SpaceError(
                        f"darts: node {node + _INPUTS} of the {name} cell reads {i} and {j}: expected two"
                        f" different nodes below {node + _INPUTS}"
                    )
                if any(op not in OPS for _, op in pair):
                    raise SpaceError(f"darts: expected operations of {', '.join(OPS)}, found {pair}")
        return arch

    def __iter__(self) -> Iterator[Genotype]:
        raise not_enumerable(self)

    def sample(self, rng: np.random.Generator) -> Genotype:
        def cell() -> tuple[Edge, ...]:
            return tuple(
                (int(i), OPS[rng.integers(len(OPS))])
                for node in range(NODES)
                for i in sorted(rng.choice(node + _INPUTS, size=2, replace=False))
            )

        return Genotype(cell(), cell())

    def mutate(self, arch: Genotype | str, rng: np.random.Generator) -> Genotype:
        """One edge reads another node, or has another operation."""
        known = self.resolve(arch)
        name = ("normal", "reduce")[rng.integers(2)]
        cell = list(getattr(known, name))
        place = int(rng.integers(len(cell)))
        reads, op = cell[place]
        sibling = cell[place ^ 1][0]
        free = [i for i in range(place // 2 + _INPUTS) if i not in (reads, sibling)]
        if free and rng.random() < 0.5:
            cell[place] = (int(rng.choice(free)), op)
        else:
            cell[place] = (reads, OPS[other_than(OPS.index(op), len(OPS), rng)])
        return dataclasses.replace(known, **{name: tuple(cell)})

    def build(self, arch: Genotype | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces import _darts_nets

        classes = self.num_classes if num_classes is None else num_classes
        return _darts_nets.Net(self.resolve(arch), classes)

    def _write(self, b: SpaceBuilder, arch: Genotype, image: Value, num_classes: int) -> Value:
        width = STEM_MULTIPLIER * WIDTH
        x = b.norm(b.conv(image, width, 3, padding=1, path="stem.conv"), path="stem.norm")
        before, width = x, WIDTH
        for i in range(CELLS):
            reduction = i in REDUCTIONS
            width *= 2 if reduction else 1
            edges = arch.reduce if reduction else arch.normal
            before, x = x, _write_cell(b, (before, x), width, edges, reduction, f"cells.{i}")
        return b.linear(b.global_pool(x, path="pool"), num_classes, path="classifier")

    def score_many(
        self,
        archs: Sequence[Genotype | str],
        *,
        image_size: int | None = None,
        num_classes: int | None = None,
    ) -> Scores:
        """SED of many genotypes in nats, worked through side by side."""
        from sed_torch.spaces import _darts_batch as batch

        size = self.image_size if image_size is None else image_size
        classes = self.num_classes if num_classes is None else num_classes
        if size % 4 or size < SMALLEST_IMAGE:
            return super().score_many(archs, image_size=size, num_classes=classes)
        return batch.scores([self.resolve(a) for a in archs], size, classes)


def _read_compact(text: str) -> tuple[tuple[Edge, ...], ...]:
    try:
        normal, reduce = ast.literal_eval(text)
        return tuple(tuple((int(i), OPS[_number(op)]) for i, op in cell) for cell in (normal, reduce))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise _alien(text) from error


def _number(op: Any) -> int:
    if not isinstance(op, int) or not 0 <= op < len(OPS):
        raise ValueError(f"no operation {op!r}")
    return op


def _read_darts(text: str) -> tuple[tuple[Edge, ...], ...]:
    """Arguments of the call are read as literals; nothing is evaluated."""
    names = ("normal", "normal_concat", "reduce", "reduce_concat")
    try:
        call = ast.parse(text, mode="eval").body
        if not (
            isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"
        ):
            raise ValueError("not a call of Genotype")
        given = dict(zip(names, call.args, strict=False)) | {str(k.arg): k.value for k in call.keywords}
        if set(given) != set(names) or any(_nodes(given[n]) != _CONCAT for n in names[1::2]):
            raise ValueError("other arguments")
        cells = [ast.literal_eval(given[n]) for n in names[::2]]
        return tuple(tuple((int(i), str(op)) for op, i in cell) for cell in cells)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise _alien(text) from error


_CONCAT = list(range(_INPUTS, _INPUTS + NODES))


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


def _write_cell(
    b: SpaceBuilder,
    inputs: tuple[Value, Value],
    width: int,
    edges: Sequence[Edge],
    reduction: bool,
    path: str,
) -> Value:
    older, newer = inputs
    if older.size != newer.size:
        first = _write_halving(b, older, width, f"{path}.preprocess_0", affine=True)
    else:
        first = _write_1x1(b, older, width, f"{path}.preprocess_0")
    nodes = [first, _write_1x1(b, newer, width, f"{path}.preprocess_1")]
    for node in range(NODES):
        values = []
        for i, op in edges[2 * node : 2 * node + 2]:
            stride = 2 if reduction and i < _INPUTS else 1
            values.append(_write_edge(b, nodes[i], op, stride, f"{path}.edge_{i}_{node + _INPUTS}"))
        nodes.append(b.add(*values, path=path))
    return b.cat(*nodes[_INPUTS:], path=path)


def _write_1x1(b: SpaceBuilder, x: Value, width: int, path: str) -> Value:
    return b.norm(b.conv(x, width, 1, path=f"{path}.conv"), path=f"{path}.norm")


def _write_halving(b: SpaceBuilder, x: Value, width: int, path: str, *, affine: bool) -> Value:
    """Two 1×1 convolutions of stride 2, the second one position further, side by side."""
    shifted = dataclasses.replace(x, size=tuple(n - 1 for n in x.size))
    halves = [
        b.conv(x, width // 2, 1, stride=2, path=f"{path}.conv_1"),
        b.conv(shifted, width // 2, 1, stride=2, path=f"{path}.conv_2"),
    ]
    return b.norm(b.cat(*halves, path=path), affine=affine, path=f"{path}.norm")


def _write_edge(b: SpaceBuilder, x: Value, op: str, stride: int, path: str) -> Value:
    if op == "skip_connect":
        return x if stride == 1 else _write_halving(b, x, x.channels, path, affine=False)
    if op in ("max_pool_3x3", "avg_pool_3x3"):
        x = b.pool(x, 3, stride=stride, padding=1, path=f"{path}.pool", op=op[:8])
        return b.norm(x, affine=False, path=f"{path}.norm")
    kernel = int(op[-1])
    if op.startswith("dil"):
        return _write_separable(b, x, kernel, stride, 2, path, "")
    x = _write_separable(b, x, kernel, stride, 1, path, "_1")
    return _write_separable(b, x, kernel, 1, 1, path, "_2")


def _write_separable(
    b: SpaceBuilder, x: Value, kernel: int, stride: int, dilation: int, path: str, suffix: str
) -> Value:
    """A depthwise convolution, a 1×1 convolution, a norm without parameters."""
    width = x.channels
    padding = dilation * (kernel // 2)
    x = b.conv(
        x,
        width,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=width,
        path=f"{path}.depthwise{suffix}",
    )
    return b.norm(
        b.conv(x, width, 1, path=f"{path}.pointwise{suffix}"), affine=False, path=f"{path}.norm{suffix}"
    )
