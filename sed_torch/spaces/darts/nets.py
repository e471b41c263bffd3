"""The network of DARTS as NAS-Bench-301 uses it. Needs torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sed_torch.spaces.darts.architecture import (
    CELLS,
    NODES,
    NONE,
    REDUCTIONS,
    STEM_MULTIPLIER,
    WIDTH,
    Edge,
    Genotype,
    edge_names,
)
from sed_torch.spaces.modules import Zero, average_pool, conv_block, conv_norm, sequence, total

__all__ = ["Net"]


class Halving(nn.Module):
    """Two 1×1 convolutions of stride 2, the second one position further, side by side."""

    def __init__(self, c_in: int, c_out: int, *, affine: bool) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        out: Tensor = self.norm(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))
        return out


def _separable(width: int, kernel: int, stride: int, dilation: int, suffix: str) -> dict[str, nn.Module]:
    padding = dilation * (kernel // 2)
    return {
        f"relu{suffix}": nn.ReLU(),
        f"depthwise{suffix}": nn.Conv2d(
            width, width, kernel, stride, padding, dilation, groups=width, bias=False
        ),
        f"pointwise{suffix}": nn.Conv2d(width, width, 1, bias=False),
        f"norm{suffix}": nn.BatchNorm2d(width, affine=False),
    }


def _edge(op: str, width: int, stride: int) -> nn.Module:
    if op == NONE:
        return Zero(stride=stride)
    if op == "skip_connect":
        return nn.Identity() if stride == 1 else Halving(width, width, affine=False)
    if op == "max_pool_3x3":
        return sequence(pool=nn.MaxPool2d(3, stride, 1), norm=nn.BatchNorm2d(width, affine=False))
    if op == "avg_pool_3x3":
        return sequence(pool=average_pool(stride), norm=nn.BatchNorm2d(width, affine=False))
    kernel = int(op[-1])
    if op.startswith("dil"):
        return sequence(**_separable(width, kernel, stride, 2, ""))
    return sequence(**_separable(width, kernel, stride, 1, "_1"), **_separable(width, kernel, 1, 1, "_2"))


class Cell(nn.Module):
    """Nodes 0 and 1 are the outputs of the two cells before; for the edges see :func:`edge_names`."""

    def __init__(
        self,
        edges: tuple[Edge, ...],
        c_older: int,
        c_newer: int,
        width: int,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        super().__init__()
        self.preprocess_0 = (
            Halving(c_older, width, affine=True) if after_reduction else conv_block(c_older, width, 1)
        )
        self.preprocess_1 = conv_block(c_newer, width, 1)
        names = edge_names(edges)
        self.reads = [[(names[k], edges[k][0]) for k in (2 * n, 2 * n + 1)] for n in range(NODES)]
        for name, (i, op) in zip(names, edges, strict=True):
            self.add_module(name, _edge(op, width, 2 if reduction and i < 2 else 1))

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        nodes = [self.preprocess_0(older), self.preprocess_1(newer)]
        for reads in self.reads:
            nodes.append(total([self.get_submodule(name)(nodes[i]) for name, i in reads]))
        return torch.cat(nodes[2:], dim=1)


class Net(nn.Module):
    """Stem, eight cells, classifier."""

    def __init__(self, arch: Genotype, num_classes: int) -> None:
        super().__init__()
        older = newer = STEM_MULTIPLIER * WIDTH
        self.stem = conv_norm(3, newer, 3)
        self.cells = nn.ModuleList()
        width = WIDTH
        for i in range(CELLS):
            reduction = i in REDUCTIONS
            width *= 2 if reduction else 1
            edges = arch.reduce if reduction else arch.normal
            self.cells.append(Cell(edges, older, newer, width, reduction, i - 1 in REDUCTIONS))
            older, newer = newer, NODES * width
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(newer, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        older = newer = self.stem(x)
        for cell in self.cells:
            older, newer = newer, cell(older, newer)
        out: Tensor = self.classifier(self.pool(newer).flatten(1))
        return out
