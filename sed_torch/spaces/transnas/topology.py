"""The networks of TransNAS-Bench-101, with a linear head, as topologies."""

from __future__ import annotations

from sed_torch.building import Value
from sed_torch.spaces.cells import write_nodes
from sed_torch.spaces.transnas.architecture import BLOCKS, MICRO_LAYERS, STEM_WIDTH, layer_shape
from sed_torch.spaces.writing import SpaceBuilder

__all__ = ["write_head", "write_layer", "write_macro", "write_micro", "write_stem"]


def write_micro(b: SpaceBuilder, ops: str, image: Value, num_classes: int) -> Value | None:
    """Stem, five layers of two cells, head; None without a live path."""
    x: Value | None = write_stem(b, image)
    width = STEM_WIDTH
    for i, digit in enumerate(MICRO_LAYERS):
        width, stride = layer_shape(digit, width)
        for block in range(BLOCKS):
            x = x and _write_cell(b, x, ops, width, 1 if block else stride, f"layers.{i}.{block}")
    return x and write_head(b, x, num_classes)


def write_macro(b: SpaceBuilder, layers: str, image: Value, num_classes: int) -> Value:
    """Stem, layers of two residual blocks, head."""
    x = write_stem(b, image)
    for i, digit in enumerate(layers):
        x = write_layer(b, x, digit, f"layers.{i}")
    return write_head(b, x, num_classes)


def write_stem(b: SpaceBuilder, image: Value) -> Value:
    """Two 3×3 convolutions of stride 2."""
    x = b.conv_norm(image, STEM_WIDTH // 2, 3, stride=2, path="stem.0")
    return b.conv_norm(x, STEM_WIDTH, 3, stride=2, path="stem.1")


def write_head(b: SpaceBuilder, x: Value, num_classes: int) -> Value:
    """Global pooling, classifier."""
    return b.head(x, num_classes)


def _write_cell(b: SpaceBuilder, x: Value, ops: str, width: int, stride: int, path: str) -> Value | None:
    def write(op: str, read: Value, source: int, at: str) -> Value | None:
        step = 1 if source else stride
        if op == "0":
            return b.zeros(width, tuple(-(-n // step) for n in read.size), at)
        if op == "1":
            plain = step == 1 and read.channels == width
            return read if plain else _write_halves(b, read, width, step, at)
        return b.conv_norm(read, width, 1 if op == "2" else 3, stride=step, path=at)

    return write_nodes(b, x, ops, path, write)


def _write_halves(b: SpaceBuilder, x: Value, width: int, stride: int, path: str) -> Value:
    """Two 1×1 convolutions, the second one position further, side by side."""
    halves = [b.conv(x, width // 2, 1, stride=stride, path=f"{path}.conv_{i}") for i in (1, 2)]
    return b.norm(b.cat(*halves, path=path), path=f"{path}.norm")


def write_layer(b: SpaceBuilder, x: Value, digit: str, path: str) -> Value:
    """Two residual blocks, the first of which has the layer's stride."""
    width, stride = layer_shape(digit, x.channels)
    for block in range(BLOCKS):
        x = _write_block(b, x, width, 1 if block else stride, f"{path}.{block}")
    return x


def _write_block(b: SpaceBuilder, x: Value, width: int, stride: int, path: str) -> Value:
    y = b.conv_norm(x, width, 3, stride=stride, path=f"{path}.conv_a")
    y = b.conv_norm(y, width, 3, path=f"{path}.conv_b")
    if stride > 1 or x.channels != width:
        x = b.conv_norm(x, width, stride=stride, path=f"{path}.downsample")
    return b.add(x, y, path=path)
