"""What a training step and an inference cost, as a result with views."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from sed_torch._plain import checked_schema, revived
from sed_torch.costing.devices import Device
from sed_torch.costing.roofline import OperatorWork, seconds
from sed_torch.costing.saving import CHECKPOINT, Saved
from sed_torch.costing.timeline import Moment
from sed_torch.errors import DataError, InputError
from sed_torch.tables import Grid, Tabular, View, mebibytes, quantity

__all__ = ["Cost", "mebibytes"]

_PLAIN = ("parameters", "trainable", "buffers", "optimizer_state", "recomputed", "depth", "by")
_PIECES = ("saved", "training", "inference", "work")

COLUMNS = {
    "block": ("block", "params", "params MiB", "saved MiB", "share", "GFLOPs"),
    "operator": ("operator", "saved MiB", "share", "GFLOPs"),
}
"""Of the rows of a view, by what a row is."""
EXCLUDED = "workspace of kernels, the CUDA context and fragmentation of the allocator are left out"


@dataclass(frozen=True, repr=False)
class Cost(Tabular):
    """Memory and least time of a model, from its graph alone.

    All memory is in bytes. What is left out is named in :data:`EXCLUDED`; what had to be assumed, in ``assumed``.

    Attributes:
        name: for display.
        batch: samples a step.
        optimizer: name, see :data:`sed_torch.costing.OPTIMIZERS`.
        dtype: of parameters as they are held.
        amp: dtype of autocast, None without.
        kernels: ``"cuda"`` or ``"cpu"``: whose kernels decide what is kept.
        parameters: bytes of all parameters.
        trainable: bytes of those that are trained; their gradients take as much.
        buffers: bytes of buffers.
        optimizer_state: bytes that the optimiser keeps.
        saved: what autograd keeps for the backward pass, each piece of memory once.
        training: memory held at each operator of a step, beside what is there all the time.
        inference: memory held at each operator of a forward without gradients.
        work: operations and bytes moved, operator by operator, of a forward.
        recomputed: multiply-accumulates a sample that checkpointing does once more.
        params: block path → entries of its parameters.
        attention: node → the way its attention is taken to be done: ``"math"``, ``"flash"`` or ``"efficient"``.
        unknown: operators without a row in the table, whose saved memory is not counted.
        assumed: what was not given, in words.
        device: the device of the roofline, if one was named.
        depth: names of a module path that make a block in the views.
        by: what a row of the views is: a ``"block"``, or an ``"operator"`` over the whole model.
    """

    schema: ClassVar = "sed_torch.cost/1"
    kind: ClassVar = "a cost"

    name: str
    batch: int
    optimizer: str
    dtype: str
    amp: str | None
    kernels: str
    parameters: int
    trainable: int
    buffers: int
    optimizer_state: int
    saved: tuple[Saved, ...] = field(repr=False)
    training: tuple[Moment, ...] = field(repr=False)
    inference: tuple[Moment, ...] = field(repr=False)
    work: tuple[OperatorWork, ...] = field(repr=False)
    recomputed: float = 0.0
    params: Mapping[str, int] = field(default_factory=dict, repr=False)
    attention: Mapping[str, str] = field(default_factory=dict, repr=False)
    unknown: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    device: Device | None = None
    depth: int = 1
    by: str = "block"

    def __post_init__(self) -> None:
        if self.by not in COLUMNS:
            raise InputError(f"by must be one of {', '.join(COLUMNS)}, found {self.by!r}")

    # -- memory ------------------------------------------------------------------------------------------

    @property
    def activations(self) -> int:
        """Bytes that autograd keeps for the backward pass; checkpointed blocks left out."""
        return sum(s.bytes for s in self.saved)

    @property
    def gradients(self) -> int:
        """Bytes of the gradients of trainable parameters."""
        return self.trainable

    @property
    def resident(self) -> int:
        """Bytes there all the time while training: parameters, buffers and the optimiser's state."""
        return self.parameters + self.buffers + self.optimizer_state

    @property
    def peak(self) -> int:
        """Bytes at the fullest moment of a training step."""
        return self.peak_at(self.batch)

    @property
    def peak_moment(self) -> Moment:
        """When that is."""
        return max(self.training, key=Moment.bytes)

    @property
    def place_of_peak(self) -> str:
        """When that is, in words."""
        moment = self.peak_moment
        return f"{moment.phase} of {moment.path or 'the root'}" if moment.node else "the optimiser's step"

    @property
    def precision(self) -> str:
        """Dtype of the parameters, and of autocast, in words."""
        return f"{self.dtype}, autocast {self.amp}" if self.amp else self.dtype

    def parts(self) -> dict[str, int]:
        """Bytes by what they are: there all the time or at the end of the forward, not all at the same moment."""
        return {
            "parameters": self.parameters,
            "gradients": self.gradients,
            "optimizer": self.optimizer_state,
            "buffers": self.buffers,
            "saved for backward": self.activations,
        }

    @property
    def inference_peak(self) -> int:
        """Bytes at the fullest moment of a forward without gradients."""
        most = max((m.bytes() for m in self.inference), default=0.0)
        return math.ceil(self.parameters + self.buffers + most)

    def peak_at(self, batch: int) -> int:
        """Bytes at the fullest moment of a training step with another batch size.

        Raises:
            InputError: for a batch below 1.
        """
        if batch < 1:
            raise InputError(f"batch must be at least 1, found {batch}")
        most = max((m.bytes(batch / self.batch) for m in self.training), default=0.0)
        return math.ceil(self.resident + most)

    def largest_batch(self, memory: float) -> int:
        """The largest batch whose training step fits in ``memory`` bytes; 0 where not even one sample does."""
        most = math.inf
        for moment in self.training:
            room = memory - self.resident - moment.bytes(0.0)
            if room < 0:
                return 0
            if moment.batched:
                most = min(most, room / (moment.batched / self.batch))
        return int(most) if math.isfinite(most) else 0

    def fits(self, memory: float) -> bool:
        """Whether the training step fits in ``memory`` bytes."""
        return self.peak <= memory

    # -- time --------------------------------------------------------------------------------------------

    @property
    def flops(self) -> float:
        """Floating-point operations of a forward over the batch."""
        return math.fsum(w.flops for w in self.work)

    def seconds(self, device: Device | None = None, *, training: bool = True) -> float | None:
        """A lower bound of the time of a step (of a forward without ``training``); None without a device."""
        device = device or self.device
        return seconds(self.work, device, training=training) if device is not None else None

    # -- views -------------------------------------------------------------------------------------------

    def by_block(self, depth: int | None = None) -> list[dict[str, Any]]:
        """A row a block of the module tree: parameters, memory kept for backward, its share, operations."""
        depth = self.depth if depth is None else depth
        kept: defaultdict[str, int] = defaultdict(int)
        done: defaultdict[str, float] = defaultdict(float)
        params: defaultdict[str, int] = defaultdict(int)
        for piece in self.saved:
            kept[_cut(piece.path, depth)] += piece.bytes
        for work in self.work:
            done[_cut(work.path, depth)] += work.flops
        for path, count in self.params.items():
            params[_cut(path, depth)] += count
        total = self.activations or 1
        return [
            self._row(block, params[block], kept[block], kept[block] / total, done[block])
            for block in dict.fromkeys([*done, *kept, *params])
        ]

    def by_operator(self) -> list[dict[str, Any]]:
        """A row an operator: what it keeps and does over the whole model, the largest first.

        Attention has a row a way in which it is done, as in ``scaled_dot_product_attention (flash)``.
        """
        kept: defaultdict[str, int] = defaultdict(int)
        done: defaultdict[str, float] = defaultdict(float)
        for piece in self.saved:
            kept[self._operator(piece.op, piece.by)] += piece.bytes
        for work in self.work:
            done[self._operator(work.op, work.node)] += work.flops
        total = self.activations or 1
        names = sorted({*kept, *done}, key=lambda op: (-kept[op], -done[op], op))
        return [
            {
                "operator": op,
                "saved MiB": kept[op] / 2**20,
                "share": kept[op] / total,
                "GFLOPs": done[op] / 1e9,
            }
            for op in names
        ]

    def _operator(self, op: str, node: str) -> str:
        way = self.attention.get(node) if op != CHECKPOINT else None
        return f"{op} ({way})" if way else op

    def _row(self, block: str, params: int, kept: int, share: float, flops: float) -> dict[str, Any]:
        each = self.parameters / max(sum(self.params.values()), 1)
        return {
            "block": block or "(root)",
            "params": params,
            "params MiB": params * each / 2**20,
            "saved MiB": kept / 2**20,
            "share": share,
            "GFLOPs": flops / 1e9,
        }

    def view(self) -> View:
        """What people see: the peak and what it is made of, blocks or operators, what is left out."""
        headline = (
            f"{self.name}: {mebibytes(self.peak)} at the peak of a training step "
            f"(batch {self.batch}, {self.precision}, {self.optimizer}), at {self.place_of_peak}"
        )
        lines = [
            "   ".join(f"{name} {mebibytes(size)}" for name, size in self.parts().items()),
            f"inference peak {mebibytes(self.inference_peak)}",
            *self._on_device(),
        ]
        rows, columns = self.records()
        grid = Grid(
            tuple(_READ[c][0] for c in columns), tuple(map(_shown, rows)), spared=("their size", "FLOPs")
        )
        return View(headline, tuple(lines), (grid,), tuple(self._notes()))

    def records(self) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """One row a block, or an operator where ``by`` says so, numbers with full precision."""
        rows = self.by_operator() if self.by == "operator" else self.by_block()
        return rows, COLUMNS[self.by]

    def _on_device(self) -> list[str]:
        if self.device is None:
            return []
        least, most = self.seconds() or 0.0, self.largest_batch(self.device.memory)
        largest = f"largest batch {most:,}" if most else "not even one sample fits"
        return [
            f"{self.device.name}: {'fits' if self.fits(self.device.memory) else 'does NOT fit'}; {largest}; "
            f"a step takes at least {least * 1e3:,.2f} ms "
            "(roofline: a lower bound, no forecast)"
        ]

    def _notes(self) -> list[str]:
        """What is left out, assumed and unknown, a line each."""
        lines = [
            "saved: what autograd keeps for the backward pass; FLOPs: of a forward over the whole batch",
            EXCLUDED,
        ]
        if self.recomputed:
            lines.append(f"checkpointing computes {self.recomputed / 1e9:.3f} GMACs a sample once more")
        lines += [f"assumed: {a}" for a in self.assumed]
        if self.unknown:
            lines.append(f"unknown operators, whose saved memory is not counted: {', '.join(self.unknown)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers: sums in bytes, blocks, notes, and the pieces behind them; :meth:`from_dict` reads it back."""
        moment = self.peak_moment
        return {
            "schema": self.schema,
            "name": self.name,
            "batch": self.batch,
            "dtype": self.dtype,
            "amp": self.amp,
            "kernels": self.kernels,
            "optimizer": self.optimizer,
            "bytes": {
                "parameters": self.parameters,
                "gradients": self.gradients,
                "optimizer_state": self.optimizer_state,
                "buffers": self.buffers,
                "saved_for_backward": self.activations,
                "peak": self.peak,
                "inference_peak": self.inference_peak,
            },
            "peak_at": {"phase": moment.phase, "node": moment.node, "path": moment.path},
            "flops": self.flops,
            "device": self.device.name if self.device else None,
            "least_seconds": self.seconds(),
            "blocks": self.by_block(),
            "operators": self.by_operator(),
            "notes": self._notes(),
            "pieces": {
                **{name: getattr(self, name) for name in _PLAIN},
                **{name: [asdict(piece) for piece in getattr(self, name)] for name in _PIECES},
                "params": dict(self.params),
                "attention": dict(self.attention),
                "unknown": list(self.unknown),
                "assumed": list(self.assumed),
                "device": self.device and {**asdict(self.device), "flops": dict(self.device.flops)},
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Cost:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: for data of another kind, or with sums alone, as earlier versions wrote it.
        """
        checked_schema(data, cls.schema, cls.kind)
        if "pieces" not in data:
            raise DataError("a cost without the pieces behind its sums, as 0.1.0 wrote it: compute it again")
        return revived(cls, {**data, **data["pieces"]}, cls.kind)


_READ: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "block": ("block", str),
    "operator": ("operator", str),
    "params": ("params", quantity),
    "params MiB": ("their size", lambda size: mebibytes(size * 2**20)),
    "saved MiB": ("saved", lambda size: mebibytes(size * 2**20)),
    "share": ("share", lambda share: f"{share:.1%}"),
    "GFLOPs": ("FLOPs", lambda count: quantity(count * 1e9)),
}
"""Column → its name in a table that people read, and how a value is written there."""


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table as people read it."""
    return {_READ[column][0]: _READ[column][1](value) for column, value in row.items()}


def _cut(path: str, depth: int) -> str:
    return ".".join(path.split(".")[:depth]) if depth else ""


def blocks_of(paths: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Module paths that a pattern names, each pattern at least one.

    Raises:
        InputError: for a pattern that names no module.
    """
    from fnmatch import fnmatchcase

    found: list[str] = []
    for pattern in patterns:
        here = [p for p in paths if p and fnmatchcase(p, pattern) and p.count(".") == pattern.count(".")]
        if not here:
            raise InputError(f"checkpointing names {pattern!r}, which is no module of the model")
        found += here
    return list(dict.fromkeys(found))
