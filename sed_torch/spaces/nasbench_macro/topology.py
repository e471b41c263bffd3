"""The network of NAS-Bench-Macro as a topology."""

from __future__ import annotations

from sed_torch.building import Value
from sed_torch.spaces.nasbench_macro.architecture import BLOCKS, HEAD_WIDTH, STEM_WIDTH, layer_shape
from sed_torch.spaces.writing import SpaceBuilder

__all__ = ["write_head", "write_layer", "write_network", "write_stem"]


def write_network(b: SpaceBuilder, digits: str, image: Value, num_classes: int) -> Value:
    """Stem, eight layers, head."""
    x = write_stem(b, image)
    for layer, digit in enumerate(digits):
        x = write_layer(b, x, layer, digit)
    return write_head(b, x, num_classes)


def write_stem(b: SpaceBuilder, image: Value) -> Value:
    """3×3 convolution."""
    return b.conv_norm(image, STEM_WIDTH, 3, path="stem")


def write_layer(b: SpaceBuilder, x: Value, layer: int, digit: str) -> Value:
    """An inverted residual, or the identity: in a stage's first layer a 1×1 convolution of stride 2."""
    width, stride = layer_shape(layer)
    block = BLOCKS[digit]
    path = f"layers.{layer}"
    if block is not None:
        return b.inverted_residual(x, width, *block, stride=stride, path=path)
    return x if stride == 1 else b.conv_norm(x, width, stride=stride, path=path)


def write_head(b: SpaceBuilder, x: Value, num_classes: int) -> Value:
    """1×1 convolution, global pooling, classifier."""
    return b.head(b.conv_norm(x, HEAD_WIDTH, path="last"), num_classes)
