"""Networks of NAS-Bench-201 and of the size space of NATS-Bench. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sed_torch.spaces._nets import Zero, conv_block, sequence, total
from sed_torch.spaces.nasbench201 import CELLS_PER_STAGE, EDGES, WIDTHS

__all__ = ["CellNet", "WidthNet"]


class Cell(nn.Module):
    """Four nodes; ``edge_0_2`` leads from node 0 to node 2."""

    def __init__(self, ops: Sequence[str], c_in: int, c_out: int) -> None:
        super().__init__()
        for op, (i, j) in zip(ops, EDGES, strict=True):
            self.add_module(f"edge_{i}_{j}", _edge(op, c_in if i == 0 else c_out, c_out))

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for to in (1, 2, 3):
            nodes.append(total([self.get_submodule(f"edge_{i}_{to}")(nodes[i]) for i in range(to)]))
        return nodes[-1]


def _edge(op: str, c_in: int, c_out: int) -> nn.Module:
    if op == "none":
        return Zero(None if c_in == c_out else c_out)
    if op == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    if op == "skip_connect":
        return nn.Identity() if c_in == c_out else _widening(c_in, c_out)
    return conv_block(c_in, c_out, 1 if op == "nor_conv_1x1" else 3)


def _widening(c_in: int, c_out: int) -> nn.Sequential:
    return sequence(conv=nn.Conv2d(c_in, c_out, 1, bias=False), norm=nn.BatchNorm2d(c_out))


class Reduction(nn.Module):
    """Residual block of stride 2 between stages."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_a = conv_block(c_in, c_out, 3, stride=2)
        self.conv_b = conv_block(c_out, c_out, 3)
        self.downsample = sequence(pool=nn.AvgPool2d(2), conv=nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.downsample(x) + self.conv_b(self.conv_a(x))
        return out


class _Net(nn.Module):
    """Stem, cells, classifier."""

    def __init__(self, c_stem: int, cells: Sequence[nn.Module], c_last: int, num_classes: int) -> None:
        super().__init__()
        self.stem = sequence(conv=nn.Conv2d(3, c_stem, 3, padding=1, bias=False), norm=nn.BatchNorm2d(c_stem))
        self.cells = nn.ModuleList(cells)
        self.norm = nn.BatchNorm2d(c_last)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(c_last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x)
        out: Tensor = self.classifier(self.pool(self.relu(self.norm(x))).flatten(1))
        return out


class CellNet(_Net):
    """NAS-Bench-201: three stages of five equal cells."""

    def __init__(self, ops: Sequence[str], num_classes: int) -> None:
        cells: list[nn.Module] = []
        for stage, width in enumerate(WIDTHS):
            if stage:
                cells.append(Reduction(WIDTHS[stage - 1], width))
            cells.extend(Cell(ops, width, width) for _ in range(CELLS_PER_STAGE))
        super().__init__(WIDTHS[0], cells, WIDTHS[-1], num_classes)


class WidthNet(_Net):
    """NATS-Bench size: one cell a stage, five free widths."""

    def __init__(self, ops: Sequence[str], widths: Sequence[int], num_classes: int) -> None:
        cells: list[nn.Module] = []
        before = widths[0]
        for i, width in enumerate(widths):
            cells.append(Reduction(before, width) if i % 2 else Cell(ops, before, width))
            before = width
        super().__init__(widths[0], cells, before, num_classes)
