"""The network of NAS-Bench-101 as a topology."""

from __future__ import annotations

import dataclasses

from sed_torch.building import Value
from sed_torch.spaces.nasbench101.architecture import (
    CELLS_PER_STACK,
    STACKS,
    STEM_WIDTH,
    Cell101,
    vertex_channels,
)
from sed_torch.spaces.writing import SpaceBuilder

__all__ = ["write_network"]


def write_network(b: SpaceBuilder, cell: Cell101, image: Value, num_classes: int) -> Value:
    """Stem, three stacks of three cells with max pools between them, head."""
    x = b.conv_norm(image, STEM_WIDTH, 3, path="stem")
    for stack in range(STACKS):
        width = STEM_WIDTH << stack
        if stack:
            x = b.pool(x, 2, path=f"downsample.{stack - 1}", op="max_pool")
        for i in range(CELLS_PER_STACK):
            x = _write_cell(b, x, cell, width, f"cells.{stack * CELLS_PER_STACK + i}")
    return b.head(x, num_classes)


def _write_cell(b: SpaceBuilder, x: Value, cell: Cell101, width: int, path: str) -> Value:
    channels = vertex_channels(cell.matrix, x.channels, width)
    last = len(channels) - 1
    values = [x]
    for v in range(1, last):
        inputs = [
            dataclasses.replace(values[i], channels=channels[v]) for i in range(1, v) if cell.matrix[i][v]
        ]
        if cell.matrix[0][v]:
            inputs.append(b.conv_norm(x, channels[v], path=f"{path}.project_{v}"))
        values.append(_write_vertex(b, b.add(*inputs, path=path), cell.ops[v - 1], f"{path}.vertex_{v}"))
    feeding = [values[v] for v in range(1, last) if cell.matrix[v][last]]
    outputs = [b.cat(*feeding, path=path)] if feeding else []
    if cell.matrix[0][last]:
        outputs.append(b.conv_norm(x, width, path=f"{path}.project_{last}"))
    return b.add(*outputs, path=path)


def _write_vertex(b: SpaceBuilder, x: Value, op: str, path: str) -> Value:
    if op == "maxpool3x3":
        return b.pool(x, 3, stride=1, padding=1, path=path, op="max_pool")
    return b.conv_norm(x, x.channels, 3 if op == "conv3x3-bn-relu" else 1, path=path)
