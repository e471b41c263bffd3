"""Networks of TransNAS-Bench-101 with a linear head. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sed_torch.spaces.cells import EDGES
from sed_torch.spaces.modules import Zero, conv_block, conv_norm, total
from sed_torch.spaces.transnas.architecture import BLOCKS, MICRO_LAYERS, STEM_WIDTH, layer_shape

__all__ = ["MacroNet", "MicroNet"]


class Halves(nn.Module):
    """Two 1×1 convolutions, the second one position further, side by side."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, stride, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out // 2, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        out: Tensor = self.norm(torch.cat([self.conv_1(x), self.conv_2(shifted)], dim=1))
        return out


def _edge(op: str, c_in: int, c_out: int, stride: int) -> nn.Module:
    same = c_in == c_out
    if op == "0":
        return Zero(None if same else c_out, stride)
    if op == "1":
        return nn.Identity() if same and stride == 1 else Halves(c_in, c_out, stride)
    return conv_block(c_in, c_out, 1 if op == "2" else 3, stride)


class Cell(nn.Module):
    """Four nodes; ``edge_0_2`` leads from node 0 to node 2."""

    def __init__(self, ops: str, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        for op, (i, j) in zip(ops, EDGES, strict=True):
            edge = _edge(op, c_in, c_out, stride) if i == 0 else _edge(op, c_out, c_out, 1)
            self.add_module(f"edge_{i}_{j}", edge)

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for to in (1, 2, 3):
            nodes.append(total([self.get_submodule(f"edge_{i}_{to}")(nodes[i]) for i in range(to)]))
        return nodes[-1]


class Block(nn.Module):
    """Basic residual block."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv_a = conv_block(c_in, c_out, 3, stride)
        self.conv_b = conv_block(c_out, c_out, 3)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or c_in != c_out:
            self.downsample = conv_norm(c_in, c_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.downsample(x) + self.conv_b(self.conv_a(x))
        return out


class _Net(nn.Module):
    """Stem of stride 4, layers, pooling, linear head."""

    def __init__(self, layers: Sequence[Sequence[nn.Module]], width: int, num_classes: int) -> None:
        super().__init__()
        half = STEM_WIDTH // 2
        self.stem = nn.Sequential(conv_norm(3, half, 3, 2), conv_block(half, STEM_WIDTH, 3, 2))
        self.layers = nn.ModuleList(nn.Sequential(*blocks) for blocks in layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.classifier(self.pool(x).flatten(1))
        return out


class MicroNet(_Net):
    """Five layers of two cells."""

    def __init__(self, ops: str, num_classes: int) -> None:
        layers, width = [], STEM_WIDTH
        for digit in MICRO_LAYERS:
            before, (width, stride) = width, layer_shape(digit, width)
            first = Cell(ops, before, width, stride)
            layers.append([first, *(Cell(ops, width, width, 1) for _ in range(BLOCKS - 1))])
        super().__init__(layers, width, num_classes)


class MacroNet(_Net):
    """Four to six layers of two residual blocks."""

    def __init__(self, digits: str, num_classes: int) -> None:
        layers, width = [], STEM_WIDTH
        for digit in digits:
            before, (width, stride) = width, layer_shape(digit, width)
            layers.append(
                [Block(before, width, stride), *(Block(width, width, 1) for _ in range(BLOCKS - 1))]
            )
        super().__init__(layers, width, num_classes)
