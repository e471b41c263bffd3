"""Topologies written by hand, with the shapes of PyTorch's layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sed_torch.errors import GraphError
from sed_torch.topology import Step, Topology, clip_window

__all__ = ["TopologyBuilder", "Value"]


@dataclass(frozen=True, slots=True)
class Value:
    """What a builder call returns: a step, with the channels and the size of the map it stands for."""

    index: int
    channels: int
    size: tuple[int, ...]


class TopologyBuilder:
    """Write a topology by hand, with the shapes of PyTorch's layers.

    Activations, dropout and identities need no call: they leave Γ as it is. ``path`` groups steps into
    blocks. Parameters are counted as PyTorch's layers have them.

    Example:
        >>> b = TopologyBuilder("tiny")
        >>> x = b.input(3, (32, 32))
        >>> x = b.norm(b.conv(x, 16, 3, padding=1))
        >>> t = b.finish(b.linear(b.global_pool(x), 10))
        >>> t.params
        634
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._steps: list[Step] = []
        self._names: set[str] = set()

    def input(self, channels: int, size: Sequence[int]) -> Value:
        """A white input map."""
        step = Step(
            self._unique("input"), "input", ndim=len(size), channels=channels, size=tuple(map(int, size))
        )
        return self._append(step)

    def conv(
        self,
        x: Value,
        c_out: int,
        kernel: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = False,
        path: str = "",
    ) -> Value:
        """A convolution. A kernel larger than its map reads only the taps that fall on it."""
        n = len(x.size)
        k, s, p, d = (_per_axis(v, n) for v in (kernel, stride, padding, dilation))
        size = _conv_size(x.size, k, s, p, d)
        positions, c_in = math.prod(size), x.channels // groups
        step = Step(
            self._unique(path or "conv"),
            "mix",
            (x.index,),
            path,
            "conv",
            n,
            window=clip_window(k, x.size, d),
            stride=s,
            dilation=d,
            positions=float(positions),
            c_in=c_in,
            c_out=c_out,
            groups=groups,
            params=c_out * c_in * math.prod(k) + (c_out if bias else 0),
            macs=float(positions * c_out * c_in * math.prod(k)),
            channels=c_out,
            size=size,
        )
        return self._append(step)

    def linear(self, x: Value, c_out: int, *, bias: bool = True, path: str = "") -> Value:
        """A linear layer over the channels; positions, if any are left, stay."""
        n, positions = len(x.size), math.prod(x.size)
        step = Step(
            self._unique(path or "linear"),
            "mix",
            (x.index,),
            path,
            "linear",
            n,
            window=(1,) * n,
            stride=(1,) * n,
            dilation=(1,) * n,
            positions=float(positions),
            c_in=x.channels,
            c_out=c_out,
            params=x.channels * c_out + (c_out if bias else 0),
            macs=float(positions * x.channels * c_out),
            channels=c_out,
            size=x.size,
        )
        return self._append(step)

    def norm(self, x: Value, *, affine: bool = True, path: str = "") -> Value:
        """Normalisation to unit variance; ``affine`` counts its 2·C parameters."""
        params = 2 * x.channels if affine else 0
        step = Step(
            self._unique(path or "norm"),
            "norm",
            (x.index,),
            path,
            "norm",
            len(x.size),
            params=params,
            channels=x.channels,
            size=x.size,
        )
        return self._append(step)

    def pool(
        self,
        x: Value,
        kernel: int | Sequence[int],
        *,
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        path: str = "",
        op: str = "avg_pool",
    ) -> Value:
        """Average or max pooling over a window (``stride`` defaults to the kernel, as in PyTorch)."""
        n = len(x.size)
        k, p = _per_axis(kernel, n), _per_axis(padding, n)
        s = _per_axis(kernel if stride is None else stride, n)
        size = _conv_size(x.size, k, s, p, (1,) * n)
        window = clip_window(k, x.size, (1,) * n)
        step = Step(
            self._unique(path or "pool"),
            "pool",
            (x.index,),
            path,
            op,
            n,
            window=window,
            stride=s,
            dilation=(1,) * n,
            channels=x.channels,
            size=size,
        )
        return self._append(step)

    def global_pool(self, x: Value, *, path: str = "") -> Value:
        """Mean over all positions: a vector of channels is left."""
        n = len(x.size)
        step = Step(
            self._unique(path or "global_pool"),
            "average",
            (x.index,),
            path,
            "mean",
            n,
            counts=x.size,
            channels=x.channels,
            size=(1,) * n,
        )
        return Value(self._append(step).index, x.channels, ())

    def add(self, *values: Value, path: str = "") -> Value:
        """Sum of branches of equal shape; a single value is returned as it is."""
        if len(values) == 1:
            return values[0]
        first = values[0]
        if any((v.channels, v.size) != (first.channels, first.size) for v in values):
            raise GraphError(f"add at {path!r}: shapes differ: {[(v.channels, *v.size) for v in values]}")
        index = tuple(v.index for v in values)
        n = len(first.size)
        step = Step(
            self._unique(path or "add"),
            "add",
            index,
            path,
            "add",
            n,
            channels=first.channels,
            size=first.size,
        )
        return self._append(step)

    def cat(self, *values: Value, path: str = "") -> Value:
        """Channels side by side; a single value is returned as it is."""
        if len(values) == 1:
            return values[0]
        first = values[0]
        if any(v.size != first.size for v in values):
            raise GraphError(f"cat at {path!r}: sizes differ: {[v.size for v in values]}")
        weights = tuple(float(v.channels) for v in values)
        index = tuple(v.index for v in values)
        step = Step(
            self._unique(path or "cat"),
            "cat",
            index,
            path,
            "cat",
            len(first.size),
            weights=weights,
            channels=sum(v.channels for v in values),
            size=first.size,
        )
        return self._append(step)

    def finish(self, *outputs: Value) -> Topology:
        """The finished topology. With no output there is no live path, and the score is -inf."""
        return Topology(tuple(self._steps), tuple(v.index for v in outputs), self.name)

    def _append(self, step: Step) -> Value:
        self._steps.append(step)
        return Value(len(self._steps) - 1, step.channels, step.size or ())

    def _unique(self, base: str) -> str:
        name, n = base, 1
        while name in self._names:
            n += 1
            name = f"{base}#{n}"
        self._names.add(name)
        return name


def _per_axis(value: int | Sequence[int], n: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * n
    if len(value) != n:
        raise GraphError(f"expected one number or {n}, one an axis, found {tuple(value)}")
    return tuple(int(v) for v in value)


def _conv_size(
    size: tuple[int, ...], k: tuple[int, ...], s: tuple[int, ...], p: tuple[int, ...], d: tuple[int, ...]
) -> tuple[int, ...]:
    out = tuple(
        (n + 2 * pi - di * (ki - 1) - 1) // si + 1 for n, ki, si, pi, di in zip(size, k, s, p, d, strict=True)
    )
    if any(n < 1 for n in out):
        raise GraphError(f"a window of {k} (dilation {d}) does not fit a map of {size} with padding {p}")
    return out
