"""The network of NAS-Bench-101. Needs torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sed_torch.spaces.modules import conv_norm, sequence, total
from sed_torch.spaces.nasbench101.architecture import (
    CELLS_PER_STACK,
    STACKS,
    STEM_WIDTH,
    Cell101,
    vertex_channels,
)

__all__ = ["Net"]


def _conv(c_in: int, c_out: int, kernel: int) -> nn.Sequential:
    return sequence(**dict(conv_norm(c_in, c_out, kernel).named_children()), relu=nn.ReLU())


def _vertex(op: str, width: int) -> nn.Module:
    if op == "maxpool3x3":
        return nn.MaxPool2d(3, stride=1, padding=1)
    return _conv(width, width, 3 if op == "conv3x3-bn-relu" else 1)


class Cell(nn.Module):
    """``project_2`` brings the cell's input to vertex 2, ``vertex_2`` is that vertex's operation."""

    def __init__(self, cell: Cell101, c_in: int, c_out: int) -> None:
        super().__init__()
        self.matrix = cell.matrix
        self.channels = vertex_channels(cell.matrix, c_in, c_out)
        self.last = len(cell.matrix) - 1
        for v in range(1, self.last + 1):
            if self.matrix[0][v]:
                self.add_module(f"project_{v}", _conv(c_in, self.channels[v], 1))
            if v < self.last:
                self.add_module(f"vertex_{v}", _vertex(cell.ops[v - 1], self.channels[v]))

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for v in range(1, self.last):
            inputs = [values[i][:, : self.channels[v]] for i in range(1, v) if self.matrix[i][v]]
            if self.matrix[0][v]:
                inputs.append(self.get_submodule(f"project_{v}")(x))
            values.append(self.get_submodule(f"vertex_{v}")(total(inputs)))
        feeding = [values[v] for v in range(1, self.last) if self.matrix[v][self.last]]
        outputs = [torch.cat(feeding, dim=1)] if feeding else []
        if self.matrix[0][self.last]:
            outputs.append(self.get_submodule(f"project_{self.last}")(x))
        return total(outputs)


class Net(nn.Module):
    """Stem, three stacks of three cells, classifier."""

    def __init__(self, cell: Cell101, num_classes: int) -> None:
        super().__init__()
        widths = [STEM_WIDTH << stack for stack in range(STACKS) for _ in range(CELLS_PER_STACK)]
        self.stem = _conv(3, STEM_WIDTH, 3)
        before = [STEM_WIDTH, *widths[:-1]]
        self.cells = nn.ModuleList(Cell(cell, a, b) for a, b in zip(before, widths, strict=True))
        self.downsample = nn.ModuleList(nn.MaxPool2d(2) for _ in range(STACKS - 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, cell in enumerate(self.cells):
            if i and i % CELLS_PER_STACK == 0:
                x = self.downsample[i // CELLS_PER_STACK - 1](x)
            x = cell(x)
        out: Tensor = self.classifier(self.pool(x).flatten(1))
        return out
