"""The network of NAS-Bench-201 as a topology."""

from __future__ import annotations

from collections.abc import Sequence

from sed_torch.building import Value
from sed_torch.spaces.cells import write_nodes
from sed_torch.spaces.nasbench201.architecture import CELLS_PER_STAGE, WIDTHS
from sed_torch.spaces.writing import SpaceBuilder

__all__ = ["write_cell", "write_head", "write_network", "write_reduction", "write_stem"]


def write_network(b: SpaceBuilder, ops: Sequence[str], image: Value, num_classes: int) -> Value | None:
    """Stem, three stages of five cells with residual blocks between them, head; None without a live path."""
    x: Value | None = write_stem(b, image, WIDTHS[0])
    cell = 0
    for stage, width in enumerate(WIDTHS):
        if stage:
            x = x and write_reduction(b, x, width, f"cells.{cell}")
            cell += 1
        for _ in range(CELLS_PER_STAGE):
            x = x and write_cell(b, x, width, ops, f"cells.{cell}")
            cell += 1
    return x and write_head(b, x, num_classes)


def write_stem(b: SpaceBuilder, image: Value, width: int) -> Value:
    """3×3 convolution and its norm."""
    return b.conv_norm(image, width, 3, path="stem")


def write_cell(b: SpaceBuilder, x: Value, width: int, ops: Sequence[str], path: str) -> Value | None:
    """Four nodes, each the sum of its edges."""

    def write(op: str, read: Value, source: int, at: str) -> Value | None:
        if op == "none":
            return b.zeros(width, read.size, at)
        if op == "avg_pool_3x3":
            return b.pool(read, 3, stride=1, padding=1, path=at)
        if op == "skip_connect":
            # only the size space has skips between different widths
            return read if read.channels == width else b.conv_norm(read, width, path=at)
        return b.conv_norm(read, width, 1 if op == "nor_conv_1x1" else 3, path=at)

    return write_nodes(b, x, ops, path, write)


def write_reduction(b: SpaceBuilder, x: Value, width: int, path: str) -> Value:
    """Residual block of stride 2: two 3×3 convolutions beside average pooling and a 1×1 convolution."""
    y = b.conv_norm(x, width, 3, stride=2, path=f"{path}.conv_a")
    y = b.conv_norm(y, width, 3, path=f"{path}.conv_b")
    pooled = b.pool(x, 2, path=f"{path}.downsample.pool")
    return b.add(b.conv(pooled, width, 1, path=f"{path}.downsample.conv"), y, path=path)


def write_head(b: SpaceBuilder, x: Value, num_classes: int) -> Value:
    """Norm, ReLU, global pooling, classifier."""
    return b.head(b.norm(x, path="norm"), num_classes)
