"""Networks of the size space of NATS-Bench. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sed_torch.spaces.nasbench201.nets import Cell, Net, Reduction

__all__ = ["WidthNet"]


class WidthNet(Net):
    """NATS-Bench size: one cell a stage, five free widths."""

    def __init__(self, ops: Sequence[str], widths: Sequence[int], num_classes: int) -> None:
        cells: list[nn.Module] = []
        before = widths[0]
        for i, width in enumerate(widths):
            cells.append(Reduction(before, width) if i % 2 else Cell(ops, before, width))
            before = width
        super().__init__(widths[0], cells, before, num_classes)
