"""The networks of the size space of NATS-Bench as topologies."""

from __future__ import annotations

from sed_torch.building import Value
from sed_torch.spaces.nasbench201.topology import write_cell, write_head, write_reduction, write_stem
from sed_torch.spaces.nats_size.architecture import OPS, Widths
from sed_torch.spaces.writing import SpaceBuilder

__all__ = ["write_head", "write_layer", "write_network", "write_stem"]


def write_network(b: SpaceBuilder, arch: Widths, image: Value, num_classes: int) -> Value:
    """Stem, five layers, head."""
    x = write_stem(b, image, arch.channels[0])
    for layer, width in enumerate(arch.channels):
        x = write_layer(b, x, layer, width)
    return write_head(b, x, num_classes)


def write_layer(b: SpaceBuilder, x: Value, layer: int, width: int) -> Value:
    """A cell, or at odd layers a residual block of stride 2."""
    path = f"cells.{layer}"
    if layer % 2:
        return write_reduction(b, x, width, path)
    out = write_cell(b, x, width, OPS, path)
    assert out is not None  # the cell has no "none"
    return out
