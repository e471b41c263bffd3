"""The network of DARTS, as NAS-Bench-301 uses it, as a topology."""

from __future__ import annotations

import dataclasses

from sed_torch.building import Value
from sed_torch.spaces.darts.architecture import (
    CELLS,
    INPUTS,
    NODES,
    NONE,
    REDUCTIONS,
    STEM_MULTIPLIER,
    WIDTH,
    Edge,
    Genotype,
    edge_names,
)
from sed_torch.spaces.writing import SpaceBuilder

__all__ = ["write_network"]


def write_network(b: SpaceBuilder, arch: Genotype, image: Value, num_classes: int) -> Value | None:
    """Stem, eight cells, head; None without a live path."""
    before: Value | None
    x: Value | None
    before = x = b.conv_norm(image, STEM_MULTIPLIER * WIDTH, 3, path="stem")
    width = WIDTH
    for i in range(CELLS):
        reduction = i in REDUCTIONS
        width *= 2 if reduction else 1
        edges = arch.reduce if reduction else arch.normal
        before, x = x, _write_cell(b, before, x, width, edges, i, f"cells.{i}")
    return x and b.head(x, num_classes)


def _write_cell(
    b: SpaceBuilder,
    older: Value | None,
    newer: Value | None,
    width: int,
    edges: tuple[Edge, ...],
    cell: int,
    path: str,
) -> Value | None:
    """Two inputs and four nodes, of which the four are put side by side; None where zeros are all that reaches it."""
    at = f"{path}.preprocess_0"
    if cell - 1 in REDUCTIONS:
        first = older and _write_halving(b, older, width, at, affine=True)
    else:
        first = older and b.conv_norm(older, width, path=at)
    nodes = [first, newer and b.conv_norm(newer, width, path=f"{path}.preprocess_1")]
    names = edge_names(edges)
    for node in range(NODES):
        values = []
        for place in (2 * node, 2 * node + 1):
            i, op = edges[place]
            stride = 2 if cell in REDUCTIONS and i < INPUTS else 1
            x = nodes[i]
            values.append(x and _write_edge(b, x, op, stride, f"{path}.{names[place]}"))
        nodes.append(b.add_live(values, path))
    live = [v for v in nodes[INPUTS:] if v is not None]
    # channels of zeros stay where they are
    return dataclasses.replace(b.cat(*live, path=path), channels=NODES * width) if live else None


def _write_halving(b: SpaceBuilder, x: Value, width: int, path: str, *, affine: bool) -> Value:
    """Two 1×1 convolutions of stride 2, the second one position further, side by side."""
    shifted = dataclasses.replace(x, size=tuple(n - 1 for n in x.size))
    halves = [
        b.conv(x, width // 2, 1, stride=2, path=f"{path}.conv_1"),
        b.conv(shifted, width // 2, 1, stride=2, path=f"{path}.conv_2"),
    ]
    return b.norm(b.cat(*halves, path=path), affine=affine, path=f"{path}.norm")


def _write_edge(b: SpaceBuilder, x: Value, op: str, stride: int, path: str) -> Value | None:
    if op == NONE:
        return b.zeros(x.channels, tuple(-(-n // stride) for n in x.size), path)
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
