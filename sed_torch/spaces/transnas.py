"""TransNAS-Bench-101: cells of six edges (micro), and widths and strides of residual blocks (macro)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sed_torch.errors import SpaceError
from sed_torch.spaces._edges import EDGES, live_edges
from sed_torch.spaces._white import amplitude, piece
from sed_torch.spaces.base import Scores, Space, SpaceBuilder, other_than
from sed_torch.topology import Topology, Value

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "BLOCKS",
    "STEM_WIDTH",
    "TASK_CLASSES",
    "MacroArch",
    "MicroArch",
    "TransNASMacro",
    "TransNASMicro",
    "layer_shape",
]

STEM_WIDTH = 64
BLOCKS = 2
"""Cells or residual blocks a layer."""

TASK_CLASSES = {"class_scene": 63, "class_object": 100, "room_layout": 9}
"""Outputs of the linear heads to which the parameter counts of NAS-Bench-Suite-Zero belong."""

_TITLE = "TransNAS-Bench-101"
_SOURCE = "Duan et al., CVPR 2021 (arXiv 2105.11871)"


def layer_shape(digit: str, width: int) -> tuple[int, int]:
    """(width, stride) of a layer: 2 and 4 double the width, 3 and 4 halve the map."""
    return width * 2 if digit in "24" else width, 2 if digit in "34" else 1


@dataclass(frozen=True, slots=True)
class MicroArch:
    """A cell: one digit an edge (0 none, 1 skip, 2 conv1x1, 3 conv3x3), in the order of the string."""

    ops: str

    def __str__(self) -> str:
        return f"{STEM_WIDTH}-{TransNASMicro.layers}-{self.ops[:1]}_{self.ops[1:3]}_{self.ops[3:]}"


@dataclass(frozen=True, slots=True)
class MacroArch:
    """Layers: one digit each (1 plain, 2 twice the channels, 3 half the map, 4 both)."""

    layers: str

    def __str__(self) -> str:
        return f"{STEM_WIDTH}-{self.layers}-basic"


class TransNASMicro(Space[MicroArch]):
    """TransNAS-Bench-101 micro (Duan et al., CVPR 2021): five layers of two cells, every other one strided.

    Strings are ``64-41414-a_bc_def``. The head is the linear classifier of the scene, object and room-layout
    tasks; 47 classes by default, as ``class_scene`` was trained. The published parameter counts are those of
    63 classes, see :data:`TASK_CLASSES`.
    """

    name = "transnas_micro"
    title = f"{_TITLE} micro"
    source = _SOURCE
    arch_type = MicroArch
    size = 4096
    image_size = 256
    num_classes = 47
    layers = "41414"

    def parse(self, text: str) -> MicroArch:
        match = re.fullmatch(rf"{STEM_WIDTH}-{self.layers}-([0-3])_([0-3]{{2}})_([0-3]{{3}})", text.strip())
        if match is None:
            raise SpaceError(
                f"not an architecture of transnas_micro: {text!r}: expected {STEM_WIDTH}-{self.layers}-a_bc_def"
                " with digits 0 (none), 1 (skip), 2 (conv1x1), 3 (conv3x3)"
            )
        return MicroArch("".join(match.groups()))

    def format(self, arch: MicroArch) -> str:
        return str(arch)

    def resolve(self, arch: MicroArch | str) -> MicroArch:
        known = super().resolve(arch)
        if not re.fullmatch("[0-3]{6}", known.ops):
            raise SpaceError(f"transnas_micro: expected six digits of 0 to 3, found {known.ops!r}")
        return known

    def __iter__(self) -> Iterator[MicroArch]:
        for ops in itertools.product("0123", repeat=len(EDGES)):
            yield MicroArch("".join(ops))

    def sample(self, rng: np.random.Generator) -> MicroArch:
        return MicroArch("".join(map(str, rng.integers(4, size=len(EDGES)))))

    def mutate(self, arch: MicroArch | str, rng: np.random.Generator) -> MicroArch:
        ops = list(self.resolve(arch).ops)
        edge = int(rng.integers(len(ops)))
        ops[edge] = str(other_than(int(ops[edge]), 4, rng))
        return MicroArch("".join(ops))

    def build(self, arch: MicroArch | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces import _transnas_nets

        classes = self.num_classes if num_classes is None else num_classes
        return _transnas_nets.MicroNet(self.resolve(arch).ops, classes)

    def _write(self, b: SpaceBuilder, arch: MicroArch, image: Value, num_classes: int) -> Value | None:
        x: Value | None = _write_stem(b, image)
        width = STEM_WIDTH
        for i, digit in enumerate(self.layers):
            width, stride = layer_shape(digit, width)
            for block in range(BLOCKS):
                x = x and _write_cell(
                    b, x, arch.ops, width, stride if block == 0 else 1, f"layers.{i}.{block}"
                )
        return x and _write_head(b, x, num_classes)

    def score_many(
        self,
        archs: Sequence[MicroArch | str],
        *,
        image_size: int | None = None,
        num_classes: int | None = None,
    ) -> Scores:
        """SED of many cells in nats: no map loses local entropy, so that each live edge adds its own number."""
        size = self.image_size if image_size is None else image_size
        classes = self.num_classes if num_classes is None else num_classes
        rest, table = _micro_table(size, classes)
        codes = [self.resolve(a).ops.encode() for a in archs]
        ops = np.frombuffer(b"".join(codes), dtype=np.uint8).reshape(-1, len(EDGES)) - ord("0")
        live = live_edges(ops != 0)
        total = rest + np.sum(np.where(live, table[np.arange(len(EDGES)), ops], 0.0), axis=1)
        return np.where(live.any(axis=1), np.log(total), -np.inf)


class TransNASMacro(Space[MacroArch]):
    """TransNAS-Bench-101 macro (Duan et al., CVPR 2021): four to six layers of two residual blocks.

    One to four layers halve the map and one to three double the channels, in any combination: 3,256 networks.
    Strings are ``64-4111-basic``. For the head see :class:`TransNASMicro`.
    """

    name = "transnas_macro"
    title = f"{_TITLE} macro"
    source = _SOURCE
    arch_type = MacroArch
    size = 3256
    image_size = 256
    num_classes = 47

    def parse(self, text: str) -> MacroArch:
        match = re.fullmatch(rf"{STEM_WIDTH}-(\d+)-basic", text.strip())
        if match is None:
            raise SpaceError(
                f"not an architecture of transnas_macro: {text!r}: expected {STEM_WIDTH}-layers-basic with four to"
                " six digits of 1 (plain), 2 (twice the channels), 3 (half the map), 4 (both)"
            )
        return self._checked(MacroArch(match.group(1)))

    def format(self, arch: MacroArch) -> str:
        return str(arch)

    def resolve(self, arch: MacroArch | str) -> MacroArch:
        return self._checked(super().resolve(arch))

    @staticmethod
    def _checked(arch: MacroArch) -> MacroArch:
        if not _is_macro(arch.layers):
            raise SpaceError(
                f"transnas_macro: {arch.layers!r}: expected four to six digits of 1 to 4, of which one to four are 3"
                " or 4 (half the map) and one to three are 2 or 4 (twice the channels)"
            )
        return arch

    def __iter__(self) -> Iterator[MacroArch]:
        return iter(_macro_archs())

    def sample(self, rng: np.random.Generator) -> MacroArch:
        return _macro_archs()[rng.integers(self.size)]

    def mutate(self, arch: MacroArch | str, rng: np.random.Generator) -> MacroArch:
        """One layer is changed, added or taken away."""
        layers = self.resolve(arch).layers
        while True:
            place, digit = int(rng.integers(len(layers))), str(rng.integers(1, 5))
            tail = (layers[place + 1 :], layers[place:], layers[place + 1 :])
            kind = int(rng.integers(3))
            child = layers[:place] + ("" if kind == 2 else digit) + tail[kind]
            if child != layers and _is_macro(child):
                return MacroArch(child)

    def build(self, arch: MacroArch | str, *, num_classes: int | None = None) -> nn.Module:
        from sed_torch.spaces import _transnas_nets

        classes = self.num_classes if num_classes is None else num_classes
        return _transnas_nets.MacroNet(self.resolve(arch).layers, classes)

    def _write(self, b: SpaceBuilder, arch: MacroArch, image: Value, num_classes: int) -> Value:
        x = _write_stem(b, image)
        for i, digit in enumerate(arch.layers):
            x = _write_blocks(b, x, digit, f"layers.{i}")
        return _write_head(b, x, num_classes)

    def score_many(
        self,
        archs: Sequence[MacroArch | str],
        *,
        image_size: int | None = None,
        num_classes: int | None = None,
    ) -> Scores:
        """SED of many networks in nats: no map loses local entropy, so that each layer adds its own number."""
        size = self.image_size if image_size is None else image_size
        classes = self.num_classes if num_classes is None else num_classes
        return np.log(
            np.array([_macro_sum(self.resolve(a).layers, size, classes) for a in archs], dtype=np.float64)
        )


def _is_macro(layers: str) -> bool:
    halved, doubled = sum(d in "34" for d in layers), sum(d in "24" for d in layers)
    return bool(re.fullmatch("[1-4]{4,6}", layers)) and 1 <= halved <= 4 and 1 <= doubled <= 3


@lru_cache(maxsize=1)
def _macro_archs() -> tuple[MacroArch, ...]:
    layers = ("".join(d) for n in (4, 5, 6) for d in itertools.product("1234", repeat=n))
    return tuple(MacroArch(text) for text in layers if _is_macro(text))


@lru_cache(maxsize=16)
def _micro_table(image_size: int, num_classes: int) -> tuple[float, Scores]:
    """What the rest of the network and (edge, operation) add to the sum inside the logarithm."""
    space = TransNASMicro()
    table = np.zeros((len(EDGES), 4))
    names = [f"edge_{i}_{j}" for i, j in EDGES]
    rest = 0.0
    for op in "0123":
        whole = space.topology(
            MicroArch(op * 6), image_size=image_size, num_classes=num_classes, keep_dead=True
        )
        for step in whole.steps:
            edge = next((e for e, name in enumerate(names) if name in step.path.split(".")), None)
            if edge is not None:
                table[edge, int(op)] += amplitude(step)
            elif op == "0":
                rest += amplitude(step)
    return rest, table


def _macro_sum(layers: str, image_size: int, num_classes: int) -> float:
    total, width, size = _stem_sum(image_size)
    for digit in layers:
        added, width, size = _layer_sum(digit, width, size)
        total += added
    return total + _sum(piece(lambda b, x: _write_head(b, x, num_classes), width, size))


@lru_cache(maxsize=16)
def _stem_sum(image_size: int) -> tuple[float, int, int]:
    stem = piece(_write_stem, 3, image_size)
    return _sum(stem), STEM_WIDTH, round(stem.steps[-2].positions ** 0.5)


@lru_cache(maxsize=256)
def _layer_sum(digit: str, width: int, size: int) -> tuple[float, int, int]:
    wider, stride = layer_shape(digit, width)
    layer = piece(lambda b, x: _write_blocks(b, x, digit, ""), width, size)
    return _sum(layer), wider, -(-size // stride)


def _sum(topology: Topology) -> float:
    return sum(map(amplitude, topology.steps))


def _write_conv(b: SpaceBuilder, x: Value, width: int, kernel: int, stride: int, path: str) -> Value:
    out = b.conv(x, width, kernel, stride=stride, padding=kernel // 2, path=f"{path}.conv")
    return b.norm(out, path=f"{path}.norm")


def _write_stem(b: SpaceBuilder, image: Value) -> Value:
    x = _write_conv(b, image, STEM_WIDTH // 2, 3, 2, "stem.0")
    return _write_conv(b, x, STEM_WIDTH, 3, 2, "stem.1")


def _write_head(b: SpaceBuilder, x: Value, num_classes: int) -> Value:
    return b.linear(b.global_pool(x, path="pool"), num_classes, path="classifier")


def _write_cell(b: SpaceBuilder, x: Value, ops: str, width: int, stride: int, path: str) -> Value | None:
    nodes: list[Value | None] = [x]
    edges = iter(ops)
    for to in (1, 2, 3):
        values = []
        for i in range(to):
            step = stride if i == 0 else 1
            values.append(_write_edge(b, nodes[i], next(edges), width, step, f"{path}.edge_{i}_{to}"))
        nodes.append(b.add_live(values, path))
    return nodes[-1]


def _write_edge(
    b: SpaceBuilder, x: Value | None, op: str, width: int, stride: int, path: str
) -> Value | None:
    if x is None:
        return None
    if op == "0":
        return b.zeros(width, tuple(-(-n // stride) for n in x.size), path)
    if op == "1":
        plain = stride == 1 and x.channels == width
        return x if plain else _write_halves(b, x, width, stride, path)
    return _write_conv(b, x, width, 1 if op == "2" else 3, stride, path)


def _write_halves(b: SpaceBuilder, x: Value, width: int, stride: int, path: str) -> Value:
    """Two 1×1 convolutions, the second one position further, side by side."""
    halves = [b.conv(x, width // 2, 1, stride=stride, path=f"{path}.conv_{i}") for i in (1, 2)]
    return b.norm(b.cat(*halves, path=path), path=f"{path}.norm")


def _write_blocks(b: SpaceBuilder, x: Value, digit: str, path: str) -> Value:
    width, stride = layer_shape(digit, x.channels)
    for block in range(BLOCKS):
        x = _write_block(b, x, width, stride if block == 0 else 1, f"{path}.{block}")
    return x


def _write_block(b: SpaceBuilder, x: Value, width: int, stride: int, path: str) -> Value:
    y = _write_conv(b, x, width, 3, stride, f"{path}.conv_a")
    y = _write_conv(b, y, width, 3, 1, f"{path}.conv_b")
    if stride > 1 or x.channels != width:
        x = _write_conv(b, x, width, 1, stride, f"{path}.downsample")
    return b.add(x, y, path=path)
