"""Topology: the form of a network that the score reads.

A :class:`Topology` is a short program of :class:`Step` s over fields (see :mod:`sed_torch.entropy`): what is
mixed, pooled, added, and in which order. It knows nothing of torch, of tensors' layouts or of weights. The
tracer's graph is lowered to it; search spaces write it directly with :class:`TopologyBuilder`.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from sed_torch.errors import GraphError

__all__ = ["SCHEMA", "Kind", "Step", "Topology", "TopologyBuilder", "Value"]

SCHEMA = "sed_torch.topology/1"

Kind = Literal[
    "input",  # white map
    "mix",  # convolution, linear layer: reads a patch, scores, leaves Γ(s·d)/Γ(0)
    "norm",  # Γ/Γ(0)
    "pool",  # mean or max over a window
    "add",  # independent branches
    "cat",  # channels side by side
    "mul",  # product of two maps
    "upsample",  # Γ(d/s)
    "dilate",  # Γ(d/s) where s divides d (transposed convolution, pixel shuffle)
    "average",  # mean over all positions of the named axes (global pooling)
    "attend",  # the same by attention
    "view",  # other axes of the same field
    "same",  # Γ unchanged
    "learned",  # white map of parameters; its work, and that of what reads parameters alone, is counted
]

AxisRead = tuple[int, int, int]

# merges never look further back than this many steps for the fork of a skip
_SKIP_SEARCH = 4096


@dataclass(frozen=True, slots=True)
class Step:
    """One operator as the calculus sees it.

    Attributes:
        name: unique name.
        kind: what it does to Γ, see :data:`Kind`.
        inputs: indices of earlier steps.
        path: dotted module path, ``""`` for the root.
        op: canonical operator name, for display.
        ndim: spatial axes of the field it leaves.
        window, stride, dilation: per axis of the field it reads (mix, pool).
        patches: for a transposed convolution, (share of positions, taps per axis) of each phase; else empty.
        weights: channels of each input (cat).
        factor: scale per axis (upsample, dilate).
        counts: positions averaged per axis, 0 for an axis left alone (average, attend).
        axes: how each new axis reads the old field (view).
        positions: output positions A of a mix, a sample.
        share: share of the samples that pass through it: 1, or 1/N where a forward takes N samples one by one.
        c_in: input channels a group, C_in/g, of a mix.
        c_out: output channels of a mix.
        groups: groups of a mix.
        params: parameters owned.
        macs: multiply-accumulates a sample.
        source: ``file:line`` in the user's code, or None.
    """

    name: str
    kind: Kind
    inputs: tuple[int, ...] = ()
    path: str = ""
    op: str = ""
    ndim: int = 2
    window: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    patches: tuple[tuple[float, tuple[int, ...]], ...] = ()
    weights: tuple[float, ...] = ()
    factor: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    axes: tuple[AxisRead, ...] = ()
    positions: float = 0.0
    c_in: int = 0
    c_out: int = 0
    groups: int = 1
    params: int = 0
    macs: float = 0.0
    source: str | None = None
    share: float = 1.0

    @property
    def taps(self) -> float:
        """Taps n of the patch a mix reads (the mean over phases for a transposed convolution)."""
        if self.patches:
            return sum(share * math.prod(p) for share, p in self.patches)
        return float(math.prod(self.window))

    def __str__(self) -> str:
        detail = {
            "mix": f"{self.c_in * self.groups}→{self.c_out} taps={'×'.join(map(str, self.window)) or 1}"
            f" A={self.positions:g}" + (f" groups={self.groups}" if self.groups > 1 else ""),
            "pool": f"window={'×'.join(map(str, self.window))} stride={'×'.join(map(str, self.stride))}",
            "cat": f"channels={'+'.join(f'{w:g}' for w in self.weights)}",
            "average": f"positions={math.prod(c for c in self.counts if c)}",
            "attend": f"positions={math.prod(c for c in self.counts if c)}",
            "upsample": f"×{'×'.join(f'{f:g}' for f in self.factor)}",
            "dilate": f"×{'×'.join(f'{f:g}' for f in self.factor)}",
        }.get(self.kind, "")
        arrow = f" ← {', '.join(map(str, self.inputs))}" if self.inputs else ""
        return f"{self.kind:<8} {self.path or self.name} {detail}{arrow}".rstrip()


@dataclass(frozen=True)
class Topology:
    """A network as steps in topological order.

    Attributes:
        steps: the steps; inputs of each come before it.
        outputs: indices of the steps whose values the network returns.
        name: the model's name, for display.

    Raises:
        GraphError: if a step reads a later one, names repeat, or a mix lacks its numbers.
    """

    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    name: str = ""

    def __post_init__(self) -> None:
        self.check()

    def __len__(self) -> int:
        return len(self.steps)

    def check(self) -> None:
        """Raise :class:`GraphError` if an invariant is broken."""
        seen: set[str] = set()
        for i, step in enumerate(self.steps):
            if step.name in seen:
                raise GraphError(f"topology {self.name!r}: two steps are named {step.name!r}")
            seen.add(step.name)
            if any(not 0 <= j < i for j in step.inputs):
                raise GraphError(
                    f"step {i} ({step.name!r}) reads {step.inputs}: a step may read earlier ones only"
                )
            _check_step(step)
        if any(not 0 <= j < len(self.steps) for j in self.outputs):
            raise GraphError(f"topology {self.name!r}: outputs {self.outputs} name no step")

    @cached_property
    def live(self) -> frozenset[int]:
        """Indices of the steps on a path from an input to an output."""
        return frozenset(self._reached & self._needed)

    @property
    def independent_macs(self) -> float:
        """Multiply-accumulates of what reads parameters and constants alone: done once, whatever the batch."""
        return sum(s.macs for s in self.steps if s.kind == "learned")

    @cached_property
    def _reached(self) -> set[int]:
        reached: set[int] = set()
        for i, step in enumerate(self.steps):
            if step.kind == "input" or any(j in reached for j in step.inputs):
                reached.add(i)
        return reached

    @cached_property
    def _needed(self) -> set[int]:
        needed = set(self.outputs)
        for i in range(len(self.steps) - 1, -1, -1):
            if i in needed:
                needed.update(self.steps[i].inputs)
        return needed

    @cached_property
    def skips(self) -> Mapping[int, frozenset[int]]:
        """For each live merge (add, cat): which of its inputs, by place, are identity skips.

        An input is an identity skip when it leads back, without mixing or pooling, to a value from which
        another input of the same merge is computed. A merge always keeps at least one input. A sum that only
        another sum reads is part of it: (x + x) + f(x) has the skips of x + f(x) + x.
        """
        parts = self._parts_of_sums
        found: dict[int, frozenset[int]] = {}
        for i, step in enumerate(self.steps):
            if step.kind in ("add", "cat") and i in self.live and i not in parts:
                self._find_skips(i, parts, found)
        return found

    @cached_property
    def _parts_of_sums(self) -> frozenset[int]:
        """Live sums that one other sum reads, once, and nothing else."""
        readers: dict[int, list[int]] = {}
        for i in self.live:
            for j in self.steps[i].inputs:
                readers.setdefault(j, []).append(i)
        return frozenset(
            j
            for j, by in readers.items()
            if len(by) == 1
            and j not in self.outputs
            and self.steps[j].kind == self.steps[by[0]].kind == "add"
        )

    def _find_skips(self, merge: int, parts: frozenset[int], found: dict[int, frozenset[int]]) -> None:
        """Enter into ``found`` the skips of a merge and of the sums that are part of it."""
        sums = [merge]
        for i in sums:  # grows as parts are met, readers before what they read
            sums.extend(j for j in self.steps[i].inputs if j in parts)
        leaves = {j for i in sums for j in self.steps[i].inputs if j in self.live and j not in sums}
        origins = {j: self._origin(j) for j in leaves}
        before = self._ancestors(set(origins.values()))
        skips = {j for j, origin in origins.items() if origin in before}
        for i in reversed(sums):
            inputs = [j for j in self.steps[i].inputs if j in self.live]
            if all(j in skips for j in inputs):
                skips.add(i)  # left out as a whole by the sum that reads it
            elif any(j in skips for j in inputs):
                found[i] = frozenset(p for p, j in enumerate(self.steps[i].inputs) if j in skips)

    def _origin(self, i: int) -> int:
        """Back through steps that neither mix, pool nor merge."""
        while self.steps[i].kind in ("norm", "same") and len(self.steps[i].inputs) == 1:
            i = self.steps[i].inputs[0]
        return i

    def _ancestors(self, of: set[int]) -> set[int]:
        """Steps that some of ``of`` is computed from, back to the earliest of them."""
        found: set[int] = set()
        first = min(of)
        later = [-i for i in of]
        heapq.heapify(later)
        while later and len(found) < _SKIP_SEARCH:
            for j in self.steps[-heapq.heappop(later)].inputs:
                if j >= first and j not in found:
                    found.add(j)
                    heapq.heappush(later, -j)
        return found

    @cached_property
    def params(self) -> int:
        """Parameters owned by all steps."""
        return sum(s.params for s in self.steps)

    @cached_property
    def macs(self) -> float:
        """Multiply-accumulates a sample, over all steps."""
        return sum(s.macs for s in self.steps)

    @cached_property
    def depth(self) -> int:
        """Longest chain of mixing steps from an input to an output."""
        longest: list[int] = []
        for i, s in enumerate(self.steps):
            before = max((longest[j] for j in s.inputs), default=0)
            longest.append(before + (s.kind == "mix" and i in self.live))
        return max((longest[i] for i in self.outputs), default=0)

    def blocks(self, depth: int) -> dict[str, list[int]]:
        """Step indices by module path cut to ``depth`` names, in order of first appearance."""
        found: dict[str, list[int]] = {}
        for i, step in enumerate(self.steps):
            found.setdefault(cut_path(step.path, depth), []).append(i)
        return found

    def __str__(self) -> str:
        head = f"Topology {self.name or '(unnamed)'}: {len(self.steps)} steps, {len(self.live)} live"
        lines = [f"{'' if i in self.live else '·'}{i:>4}  {s}" for i, s in enumerate(self.steps)]
        return "\n".join([head, *lines, f"outputs: {', '.join(map(str, self.outputs))}"])

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version; :meth:`from_dict` reads it back."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "steps": [_step_to_dict(s) for s in self.steps],
            "outputs": list(self.outputs),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """:meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Topology:
        """Inverse of :meth:`to_dict`.

        Raises:
            GraphError: for another schema or malformed content.
        """
        if data.get("schema") != SCHEMA:
            raise GraphError(f"expected schema {SCHEMA!r}, found {data.get('schema')!r}")
        try:
            steps = tuple(_step_from_dict(s) for s in data["steps"])
            return cls(steps, tuple(int(i) for i in data["outputs"]), str(data.get("name", "")))
        except (KeyError, TypeError, ValueError) as error:
            raise GraphError(f"malformed topology: {type(error).__name__}: {error}") from error


def cut_path(path: str, depth: int) -> str:
    """The first ``depth`` names of a dotted module path."""
    return ".".join(path.split(".")[:depth]) if path else ""


_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Step)}


def _step_to_dict(step: Step) -> dict[str, Any]:
    return {
        name: getattr(step, name) for name, default in _DEFAULTS.items() if getattr(step, name) != default
    }


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


def _step_from_dict(data: Mapping[str, Any]) -> Step:
    return Step(**{name: _tuples(value) for name, value in data.items()})


def _check_step(step: Step) -> None:
    if step.kind not in get_args(Kind):
        raise GraphError(
            f"step {step.name!r}: no kind named {step.kind!r}; expected one of {', '.join(get_args(Kind))}"
        )
    if step.kind in ("mix", "pool") and not len(step.window) == len(step.stride) == len(step.dilation):
        raise GraphError(f"step {step.name!r}: window, stride and dilation need one number an axis each")
    if step.kind == "mix" and (step.c_in < 1 or step.c_out < 1 or step.positions <= 0):
        raise GraphError(f"step {step.name!r}: a mix needs positions, c_in and c_out of at least 1")
    if step.kind == "cat" and len(step.weights) != len(step.inputs):
        raise GraphError(f"step {step.name!r}: a cat needs one weight an input")
    if any(w < 1 for w in step.window) or any(s < 1 for s in step.stride):
        raise GraphError(f"step {step.name!r}: window and stride must be positive")


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
        return self._append(Step(self._unique("input"), "input", ndim=len(size)), channels, tuple(size))

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
        )
        return self._append(step, c_out, size)

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
        )
        return self._append(step, c_out, x.size)

    def norm(self, x: Value, *, affine: bool = True, path: str = "") -> Value:
        """Normalisation to unit variance; ``affine`` counts its 2·C parameters."""
        params = 2 * x.channels if affine else 0
        step = Step(
            self._unique(path or "norm"), "norm", (x.index,), path, "norm", len(x.size), params=params
        )
        return self._append(step, x.channels, x.size)

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
        )
        return self._append(step, x.channels, size)

    def global_pool(self, x: Value, *, path: str = "") -> Value:
        """Mean over all positions: a vector of channels is left."""
        n = len(x.size)
        step = Step(
            self._unique(path or "global_pool"), "average", (x.index,), path, "mean", n, counts=x.size
        )
        return self._append(step, x.channels, ())

    def add(self, *values: Value, path: str = "") -> Value:
        """Sum of branches of equal shape; a single value is returned as it is."""
        if len(values) == 1:
            return values[0]
        first = values[0]
        if any((v.channels, v.size) != (first.channels, first.size) for v in values):
            raise GraphError(f"add at {path!r}: shapes differ: {[(v.channels, *v.size) for v in values]}")
        index = tuple(v.index for v in values)
        step = Step(self._unique(path or "add"), "add", index, path, "add", len(first.size))
        return self._append(step, first.channels, first.size)

    def cat(self, *values: Value, path: str = "") -> Value:
        """Channels side by side; a single value is returned as it is."""
        if len(values) == 1:
            return values[0]
        first = values[0]
        if any(v.size != first.size for v in values):
            raise GraphError(f"cat at {path!r}: sizes differ: {[v.size for v in values]}")
        weights = tuple(float(v.channels) for v in values)
        index = tuple(v.index for v in values)
        step = Step(self._unique(path or "cat"), "cat", index, path, "cat", len(first.size), weights=weights)
        return self._append(step, sum(v.channels for v in values), first.size)

    def finish(self, *outputs: Value) -> Topology:
        """The finished topology. With no output there is no live path, and the score is -inf."""
        return Topology(tuple(self._steps), tuple(v.index for v in outputs), self.name)

    def _append(self, step: Step, channels: int, size: tuple[int, ...]) -> Value:
        self._steps.append(step)
        return Value(len(self._steps) - 1, channels, size)

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


def clip_window(window: Iterable[int], extent: Iterable[int], dilation: Iterable[int]) -> tuple[int, ...]:
    """Taps per axis that can fall on a map of ``extent`` positions at once."""
    return tuple(min(k, -(-n // d)) for k, n, d in zip(window, extent, dilation, strict=True))
