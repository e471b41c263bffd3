"""Modules that the networks of several spaces share. Needs torch."""

from __future__ import annotations

from collections import OrderedDict
from functools import reduce
from operator import add

from torch import Tensor, nn

__all__ = ["Zero", "average_pool", "conv_block", "conv_norm", "sequence", "total"]


def sequence(**modules: nn.Module) -> nn.Sequential:
    """A sequence whose members have names."""
    return nn.Sequential(OrderedDict(modules))


def conv_norm(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm."""
    return sequence(
        conv=nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), norm=nn.BatchNorm2d(c_out)
    )


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
