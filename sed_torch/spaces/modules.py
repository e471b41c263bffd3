"""Modules that the networks of several spaces share. Needs torch."""

from __future__ import annotations

from collections import OrderedDict
from functools import reduce
from operator import add

from torch import Tensor, nn

__all__ = ["InvertedResidual", "Zero", "average_pool", "conv_block", "conv_norm", "sequence", "total"]


def sequence(**modules: nn.Module) -> nn.Sequential:
    """A sequence whose members have names."""
    return nn.Sequential(OrderedDict(modules))


def conv_norm(c_in: int, c_out: int, kernel: int, stride: int = 1, *, groups: int = 1) -> nn.Sequential:
    """Convolution and batch norm."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return sequence(conv=conv, norm=nn.BatchNorm2d(c_out))


def conv_block(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution, batch norm."""
    return sequence(relu=nn.ReLU(), **dict(conv_norm(c_in, c_out, kernel, stride).named_children()))


def average_pool(stride: int = 1) -> nn.AvgPool2d:
    """3×3 average pooling; positions beyond the border do not count."""
    return nn.AvgPool2d(3, stride, 1, count_include_pad=False)


class Zero(nn.Module):
    """The operation "none": zeros of the shape that the edge would have."""

    def __init__(self, c_out: int | None = None, stride: int = 1) -> None:
        super().__init__()
        self.c_out, self.stride = c_out, stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.c_out is None:
            return x.mul(0.0)
        return x.new_zeros((x.shape[0], self.c_out, x.shape[2], x.shape[3]))

    def extra_repr(self) -> str:
        return f"c_out={self.c_out}, stride={self.stride}"


def total(values: list[Tensor]) -> Tensor:
    """Sum of maps of equal shape."""
    return reduce(add, values)


class SqueezeExcitation(nn.Module):
    """Scales each channel by what a small network makes of the means of all."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeeze, 1)
        self.relu = nn.ReLU()
        self.excite = nn.Conv2d(squeeze, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.gate(self.excite(self.relu(self.reduce(self.pool(x)))))
        return out


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise convolution, squeeze and excitation, 1×1 projection; a skip where shapes agree.

    Args:
        c_in: channels that enter.
        c_out: channels that leave.
        expand: inner channels over ``c_in``; at 1 there is no expansion.
        kernel: of the depthwise convolution.
        stride: of the depthwise convolution.
        squeeze: channels between squeeze and excitation; without them at 0.
    """

    def __init__(
        self, c_in: int, c_out: int, expand: int, kernel: int, stride: int = 1, squeeze: int = 0
    ) -> None:
        super().__init__()
        inner = c_in * expand
        self.expand = conv_norm(c_in, inner, 1) if expand > 1 else nn.Identity()
        self.depthwise = conv_norm(inner, inner, kernel, stride, groups=inner)
        self.squeeze = SqueezeExcitation(inner, squeeze) if squeeze else nn.Identity()
        self.project = conv_norm(inner, c_out, 1)
        self.first = nn.ReLU6() if expand > 1 else nn.Identity()
        self.second = nn.ReLU6()
        self.skip = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(self.expand(x))
        y = self.second(self.depthwise(y))
        out: Tensor = self.project(self.squeeze(y))
        return x + out if self.skip else out
