"""Topology: the form of a network that the score reads.

A :class:`Topology` is a short program of :class:`Step` s over fields (see :mod:`sed_torch.entropy`): what is
mixed, pooled, added, and in which order. It knows nothing of torch, of tensors' layouts or of weights. The
tracer's graph is lowered to it; search spaces write it directly with :class:`sed_torch.building.TopologyBuilder`.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from sed_torch._moved import moved_name
from sed_torch._plain import from_text
from sed_torch.errors import GraphError

if TYPE_CHECKING:
    from sed_torch.entropy import AxisRead

__all__ = ["SCHEMA", "Kind", "Step", "Topology", "clip_window", "cut_path"]

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
        channels: independent entries at each position of the map that it leaves; 0 where that is not known.
        size: positions of that map along each axis of its field; None where that is not known.
        part_of: the operator that it is a part of, where one leaves several steps (``"attn"`` of ``"attn:out"``);
            ``""`` where it is all of it.
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
    channels: int = 0
    size: tuple[int, ...] | None = None
    part_of: str = ""

    @property
    def operator(self) -> str:
        """Name of the operator that it is, or is a part of: in a traced network, of a node of its graph."""
        return self.part_of or self.name

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
        steps: the steps; inputs of each come before it. Where none says which map it leaves, that is filled in.
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
        if not any(s.channels or s.size is not None for s in self.steps):
            object.__setattr__(self, "steps", _filled(self.steps))

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
    def from_json(cls, text: str) -> Topology:
        """Inverse of :meth:`to_json`.

        Raises:
            DataError: the text is no JSON object.
            GraphError: as :meth:`from_dict` raises it.
        """
        return cls.from_dict(from_text(text, "topology"))

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


def _filled(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Steps that say nothing of the maps they leave (0.2.0 wrote such): those follow from the numbers of the mixes."""
    found: list[Step] = []
    for step in steps:
        before = [found[j] for j in step.inputs]
        channels = max((s.channels for s in before), default=0)
        channels = {"mix": step.c_out, "cat": int(sum(step.weights))}.get(step.kind, channels)
        operator = step.name.partition(":")[0]
        found.append(
            dataclasses.replace(
                step,
                channels=channels,
                size=_size_after(step, before),
                part_of=operator if operator != step.name else "",
            )
        )
    return tuple(found)


def _size_after(step: Step, before: Sequence[Step]) -> tuple[int, ...] | None:
    """The map that a step leaves, told from its numbers and the maps that it reads; maps of mixes have equal sides."""
    size = next((s.size for s in before if s.size is not None and len(s.size) == step.ndim), None)
    if step.kind == "mix":
        side = round(step.positions ** (1 / max(step.ndim, 1)))
        return (side,) * step.ndim if side**step.ndim == step.positions else None
    if size is None:
        return None
    if step.kind == "pool":
        return tuple(max(1, round(n / s)) for n, s in zip(size, step.stride, strict=True))
    if step.kind in ("upsample", "dilate"):
        return tuple(round(n * f) for n, f in zip(size, step.factor, strict=True))
    if step.kind in ("average", "attend"):
        return tuple(1 if count else n for n, count in zip(size, step.counts, strict=True))
    return None if step.kind == "view" else size


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


def clip_window(window: Iterable[int], extent: Iterable[int], dilation: Iterable[int]) -> tuple[int, ...]:
    """Taps per axis that can fall on a map of ``extent`` positions at once."""
    return tuple(min(k, -(-n // d)) for k, n, d in zip(window, extent, dilation, strict=True))


def __getattr__(name: str) -> Any:
    """What stood here until 0.1: writing by hand has a module of its own."""
    return moved_name(__name__, name)
