"""The network of Accel-NASBench as a topology."""

from __future__ import annotations

from sed_torch.building import Value
from sed_torch.spaces.mnasnet.architecture import (
    HEAD_WIDTH,
    STEM_WIDTH,
    STRIDES,
    WIDTHS,
    BlockChoice,
    MnasArch,
    squeeze_width,
)
from sed_torch.spaces.writing import SpaceBuilder

__all__ = ["write_block", "write_head", "write_network", "write_stem"]


def write_network(b: SpaceBuilder, arch: MnasArch, image: Value, num_classes: int) -> Value:
    """Stem, seven blocks, head."""
    x = write_stem(b, image)
    for i, choice in enumerate(arch.blocks):
        x = write_block(b, x, i, choice)
    return write_head(b, x, num_classes)


def write_stem(b: SpaceBuilder, image: Value) -> Value:
    """3×3 convolution of stride 2."""
    return b.conv_norm(image, STEM_WIDTH, 3, stride=2, path="stem")


def write_block(b: SpaceBuilder, x: Value, block: int, choice: BlockChoice) -> Value:
    """Inverted residuals, the first of which has the block's stride."""
    for layer in range(choice.layers):
        x = b.inverted_residual(
            x,
            WIDTHS[block],
            choice.expansion,
            choice.kernel,
            stride=1 if layer else STRIDES[block],
            squeeze=squeeze_width(x.channels) if choice.squeeze else 0,
            path=f"blocks.{block}.{layer}",
        )
    return x


def write_head(b: SpaceBuilder, x: Value, num_classes: int) -> Value:
    """1×1 convolution, global pooling, classifier."""
    return b.head(b.conv_norm(x, HEAD_WIDTH, path="last"), num_classes)
