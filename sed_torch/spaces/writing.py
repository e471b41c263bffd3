"""The builder that the topologies of search spaces are written with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sed_torch.building import TopologyBuilder, Value
from sed_torch.topology import Step, Topology

__all__ = ["SpaceBuilder", "part"]


class SpaceBuilder(TopologyBuilder):
    """A :class:`~sed_torch.TopologyBuilder` that knows zeros, and the convolutions that search spaces are made of.

    Args:
        name: the topology's name.
        keep_dead: write operators that read zeros down as well. They have no part in the score, but own
            parameters and cost multiply-accumulates in the network as published.
    """

    def __init__(self, name: str = "", *, keep_dead: bool = False) -> None:
        super().__init__(name)
        self.keep_dead = keep_dead

    def zeros(self, channels: int, size: tuple[int, ...], path: str = "") -> Value | None:
        """What the operation "none" leaves: nothing, or (``keep_dead``) a map that no input reaches."""
        if not self.keep_dead:
            return None
        name = self._unique(path or "zeros")
        return self._append(
            Step(name, "same", path=path, op="zeros", ndim=len(size), channels=channels, size=size)
        )

    def add_live(self, values: Iterable[Value | None], path: str = "") -> Value | None:
        """Sum of the values that are there; None when none is."""
        there = [v for v in values if v is not None]
        return self.add(*there, path=path) if there else None

    def conv_norm(
        self,
        x: Value,
        c_out: int,
        kernel: int = 1,
        *,
        path: str,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        affine: bool = True,
    ) -> Value:
        """A convolution, padded to keep the map's size but for its stride, and its norm.

        Their paths are ``{path}.conv`` and ``{path}.norm``.
        """
        out = self.conv(
            x,
            c_out,
            kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            path=f"{path}.conv",
        )
        return self.norm(out, affine=affine, path=f"{path}.norm")

    def gate(self, x: Value, by: Value, path: str = "") -> Value:
        """``x`` times one number a channel, which leaves Γ as it is."""
        name, n = self._unique(path or "gate"), len(x.size)
        step = Step(name, "same", (x.index, by.index), path, "mul", ndim=n, channels=x.channels, size=x.size)
        return self._append(step)

    def inverted_residual(
        self, x: Value, c_out: int, expand: int, kernel: int, *, stride: int = 1, squeeze: int = 0, path: str
    ) -> Value:
        """1×1 expansion, depthwise convolution, squeeze and excitation, 1×1 projection; a skip where shapes agree.

        Args:
            x: what is read.
            c_out: channels that leave it.
            expand: inner channels over those of ``x``; at 1 there is no expansion.
            kernel: of the depthwise convolution.
            stride: of the depthwise convolution.
            squeeze: channels between squeeze and excitation; without them at 0.
            path: of the block; its parts are ``expand``, ``depthwise``, ``squeeze``, ``project``.
        """
        inner = x.channels * expand
        y = x if expand == 1 else self.conv_norm(x, inner, path=f"{path}.expand")
        y = self.conv_norm(y, inner, kernel, stride=stride, groups=inner, path=f"{path}.depthwise")
        if squeeze:
            at = f"{path}.squeeze"
            g = self.conv(self.global_pool(y, path=f"{at}.pool"), squeeze, (), bias=True, path=f"{at}.reduce")
            y = self.gate(y, self.conv(g, inner, (), bias=True, path=f"{at}.excite"), at)
        y = self.conv_norm(y, c_out, path=f"{path}.project")
        return self.add(x, y, path=path) if stride == 1 and x.channels == c_out else y

    def head(self, x: Value, num_classes: int) -> Value:
        """Global average pooling and a linear classifier, as every space here ends."""
        return self.linear(self.global_pool(x, path="pool"), num_classes, path="classifier")


def part(write: Callable[[SpaceBuilder, Value], object], channels: int, size: int) -> Topology:
    """The topology of a part of a network that reads a map of ``channels`` × ``size`` × ``size``.

    No step of it is live, for a part has no output: it is made to be counted.
    """
    b = SpaceBuilder(keep_dead=True)
    write(b, b.input(channels, (size, size)))
    return b.finish()
