"""The network of Accel-NASBench. Needs torch."""

from __future__ import annotations

from torch import Tensor, nn

from sed_torch.spaces.mnasnet.architecture import (
    HEAD_WIDTH,
    STEM_WIDTH,
    STRIDES,
    WIDTHS,
    BlockChoice,
    MnasArch,
    squeeze_width,
)
from sed_torch.spaces.modules import InvertedResidual, conv_norm

__all__ = ["Net"]


def _block(c_in: int, c_out: int, stride: int, choice: BlockChoice) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(choice.layers):
        squeeze = squeeze_width(c_in) if choice.squeeze else 0
        layers.append(InvertedResidual(c_in, c_out, choice.expansion, choice.kernel, stride, squeeze))
        c_in, stride = c_out, 1
    return nn.Sequential(*layers)


class Net(nn.Module):
    """Stem, seven blocks, classifier."""

    def __init__(self, arch: MnasArch, num_classes: int) -> None:
        super().__init__()
        before = (STEM_WIDTH, *WIDTHS[:-1])
        self.stem = conv_norm(3, STEM_WIDTH, 3, 2)
        self.relu = nn.ReLU6()
        self.blocks = nn.Sequential(*map(_block, before, WIDTHS, STRIDES, arch.blocks))
        self.last = conv_norm(WIDTHS[-1], HEAD_WIDTH, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(HEAD_WIDTH, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.relu(self.stem(x)))
        out: Tensor = self.classifier(self.pool(self.relu(self.last(x))).flatten(1))
        return out
