"""The network of NAS-Bench-Macro. Needs torch."""

from __future__ import annotations

from torch import Tensor, nn

from sed_torch.spaces.modules import InvertedResidual, conv_norm
from sed_torch.spaces.nasbench_macro.architecture import (
    BLOCKS,
    HEAD_WIDTH,
    STEM_WIDTH,
    WIDTHS,
    layer_shape,
)

__all__ = ["Net"]


def _layer(c_in: int, width: int, stride: int, digit: str) -> nn.Module:
    block = BLOCKS[digit]
    if block is not None:
        return InvertedResidual(c_in, width, *block, stride=stride)
    return nn.Identity() if stride == 1 else conv_norm(c_in, width, 1, stride)


class Net(nn.Module):
    """Stem, eight layers, classifier."""

    def __init__(self, digits: str, num_classes: int) -> None:
        super().__init__()
        self.stem = conv_norm(3, STEM_WIDTH, 3)
        self.relu = nn.ReLU6()
        self.layers = nn.Sequential()
        c_in = STEM_WIDTH
        for i, digit in enumerate(digits):
            width, stride = layer_shape(i)
            self.layers.append(_layer(c_in, width, stride, digit))
            c_in = width
        self.last = conv_norm(WIDTHS[-1], HEAD_WIDTH, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(HEAD_WIDTH, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.relu(self.stem(x)))
        out: Tensor = self.classifier(self.pool(self.relu(self.last(x))).flatten(1))
        return out
