"""NAS-Bench-201's network at another width and depth, small enough to train many of on a CPU."""

from __future__ import annotations

from torch import nn

from sed_torch.errors import SpaceError
from sed_torch.spaces import get_space
from sed_torch.spaces.nasbench201 import CELLS_PER_STAGE, WIDTHS
from sed_torch.spaces.nasbench201.nets import CellNet

__all__ = ["space_network"]


def space_network(
    space: str, arch: str, num_classes: int, width: int | None = None, cells: int | None = None
) -> nn.Module:
    """The network of an architecture, as published or reduced.

    Args:
        space: name of the space.
        arch: string of the architecture.
        num_classes: outputs of the classifier.
        width: channels of the stem, doubled at each of the two reductions; as published (16) when None.
        cells: cells a stage; as published (5) when None.

    Raises:
        SpaceError: the space or architecture is unknown, or the space has no reduced form.
    """
    known = get_space(space)
    if width is None and cells is None:
        return known.build(arch, num_classes=num_classes)
    check_reduced(space, width, cells)
    ops = known.resolve(arch).ops
    stem = WIDTHS[0] if width is None else width
    return CellNet(ops, num_classes, width=stem, cells=CELLS_PER_STAGE if cells is None else cells)


def check_reduced(space: str, width: int | None, cells: int | None) -> None:
    """Raise a SpaceError where :func:`space_network` would."""
    name = get_space(space).name
    if name != "nasbench201" and (width, cells) != (None, None):
        raise SpaceError(f"{name} is trained as published: width and cells reduce nasbench201 only")
    for what, value in (("width", width), ("cells", cells)):
        if value is not None and value < 1:
            raise SpaceError(f"{name}: {what} must be 1 or more, found {value}")
