"""The network of NAS-Bench-201. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sed_torch.spaces.modules import Zero, average_pool, conv_block, conv_norm, sequence, total
from sed_torch.spaces.nasbench201.architecture import CELLS_PER_STAGE, EDGES, WIDTHS

__all__ = ["Cell", "CellNet", "Net", "Reduction"]


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
        return average_pool()
    if op == "skip_connect":
        return nn.Identity() if c_in == c_out else conv_norm(c_in, c_out, 1)
    return conv_block(c_in, c_out, 1 if op == "nor_conv_1x1" else 3)


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


class Net(nn.Module):
    """Stem, cells, classifier."""

    def __init__(self, c_stem: int, cells: Sequence[nn.Module], c_last: int, num_classes: int) -> None:
        super().__init__()
        self.stem = conv_norm(3, c_stem, 3)
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


class CellNet(Net):
    """NAS-Bench-201: three stages of five equal cells.

    Args:
        ops: the cell.
        num_classes: outputs of the classifier.
        width: channels of the stem, doubled at each of the two reductions.
        cells: cells a stage.
    """

    def __init__(
        self, ops: Sequence[str], num_classes: int, *, width: int = WIDTHS[0], cells: int = CELLS_PER_STAGE
    ) -> None:
        layers: list[nn.Module] = []
        widths = [width * w // WIDTHS[0] for w in WIDTHS]
        for stage, channels in enumerate(widths):
            if stage:
                layers.append(Reduction(widths[stage - 1], channels))
            layers.extend(Cell(ops, channels, channels) for _ in range(cells))
        super().__init__(width, layers, widths[-1], num_classes)
