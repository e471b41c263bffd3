"""What small changes to one network, a block at a time, would do to its score."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from torch import nn

from sed_torch import tables
from sed_torch._listed import Listed
from sed_torch.errors import InputError
from sed_torch.scoring import sed
from sed_torch.scoring.model import score
from sed_torch.scoring.result import Score
from sed_torch.topology import Step, Topology, cut_path

__all__ = ["CHANGES", "Sensitivity", "Variation", "sensitivity"]

_SCHEMA = "sed_torch.sensitivity/1"


@dataclass(frozen=True, slots=True)
class Variation:
    """What a change to one block would do to the score.

    Attributes:
        path: the block.
        change: ``"kernel +2"``, ``"kernel -2"``, ``"pool as convolution"``, ``"without skip"``, ``"width +25%"``,
            ``"width -25%"``.
        operators: operators that it touches.
        effect: SED after minus SED before, in nats.
        params: parameters after minus before; None in a file of an older version.
        macs: multiply-accumulates a sample after minus before; None likewise.
        cost: the mean of what it adds to parameters and to multiply-accumulates, each as a share of the network's:
            0.02 for a change that adds two per cent of both; below 0 where it saves. None likewise.
    """

    path: str
    change: str
    operators: int
    effect: float
    params: int | None = None
    macs: float | None = None
    cost: float | None = None

    @property
    def gain(self) -> float | None:
        """Nats for one per cent of the network's size, by :attr:`cost`; None where nothing is gained or paid."""
        if self.cost is None or self.cost <= 0 or self.effect <= 0:
            return None
        return self.effect / (100 * self.cost)

    def sentence(self) -> str:
        """The change, what it does and what it costs, in words."""
        where = f"{self.path or '(root)'}: {self.change}"
        if self.params is None or self.macs is None or self.cost is None:
            return f"{where}: {self.effect:+.4f} nats"
        price = f"{_quantity(self.params)} params, {_quantity(self.macs)} MACs"
        gain = "" if self.gain is None else f", {self.gain:.4f} nats for 1 % of size"
        return f"{where}: {self.effect:+.4f} nats for {price}{gain}"


@dataclass(frozen=True, repr=False)
class Sensitivity(tables.Tabular, Listed[Variation]):
    """What :func:`sed_torch.sensitivity` found; ``len()``, ``for`` and ``[0]`` give its rows.

    Attributes:
        name: the network.
        total: its score in nats.
        depth: names of the module path that make a block.
        rows: one a block and change, in order of execution; a change that touches nothing has no row.
    """

    schema: ClassVar = _SCHEMA
    kind: ClassVar = "a sensitivity"

    name: str
    total: float
    depth: int
    rows: tuple[Variation, ...]

    def _items(self) -> tuple[Variation, ...]:
        return self.rows

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version; :meth:`from_dict` reads it back."""
        return {"schema": _SCHEMA, **asdict(self)}

    def best(self, n: int = 3) -> tuple[Variation, ...]:
        """The changes that raise the score: those that cost nothing first, then by what one per cent of size gains."""
        useful = [r for r in self.rows if r.cost is not None and r.effect > _NOTHING]
        free = sorted((r for r in useful if (r.cost or 0.0) <= 0), key=lambda r: -r.effect)
        paid = sorted((r for r in useful if (r.cost or 0.0) > 0), key=lambda r: -(r.gain or 0.0))
        return tuple([*free, *paid][:n])

    def savings(self, n: int = 3) -> tuple[Variation, ...]:
        """The changes that make the network smaller: those first that lose least for one per cent of size."""
        smaller = [r for r in self.rows if r.cost is not None and r.cost < 0 and r.effect <= _NOTHING]
        return tuple(sorted(smaller, key=lambda r: -r.effect / -(r.cost or -1.0))[:n])

    def table(self) -> list[dict[str, Any]]:
        """One row a block, one column a change; None where the change touches nothing."""
        rows: dict[str, dict[str, Any]] = {}
        for r in self.rows:
            row = rows.setdefault(r.path, {"block": r.path or "(root)", **dict.fromkeys(CHANGES)})
            row[r.change] = r.effect
        return list(rows.values())

    def records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """One row a block and change."""
        return [asdict(r) for r in self.rows], list(Variation.__dataclass_fields__)

    def headline(self) -> str:
        """Name and score on one line."""
        return f"{self.name}: SED = {self.total:.4f} nats; what a change to one block alone would add"

    def view(self) -> tables.View:
        """The changes that are worth it, one row a block, and what every change costs."""
        effects = tuple(
            {k: f"{v:+.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in self.table()
        )
        grids = [tables.Grid(("block", *CHANGES), effects, "nats", spared=CHANGES[::-1])]
        priced = [r for r in self.rows if r.cost is not None]
        if priced:
            order = sorted(priced, key=lambda r: (r.gain is None, -(r.gain or 0.0), -r.effect))
            rows = tuple(map(_priced, order))
            spared = ("MACs", "params")
            grids.append(
                tables.Grid(tuple(rows[0]), rows, "what each change costs, best gain first", spared=spared)
            )
        return tables.View(self.headline(), self.advice(), tuple(grids), _NOTES if priced else ())

    def advice(self, n: int = 2) -> tuple[str, ...]:
        """What to change and at what cost, and where to save, in sentences."""
        better = [f"change first: {r.sentence()}" for r in self.best(n)]
        return (*better, *(f"save first: {r.sentence()}" for r in self.savings(1)))


_NOTHING = 5e-5  # what four decimals do not show

_NOTES = (
    "gain: nats for one per cent of the network's size, the mean of what parameters and MACs grow by",
    "A score says nothing of what a change does to training: weigh these as ideas, and measure.",
)


def _quantity(value: float) -> str:
    return f"{'+' if value > 0 else ''}{tables.quantity(value)}"


def _priced(r: Variation) -> dict[str, Any]:
    return {
        "block": r.path or "(root)",
        "change": r.change,
        "SED": f"{r.effect:+.4f}",
        "params": _quantity(r.params or 0),
        "MACs": _quantity(r.macs or 0.0),
        "size": f"{r.cost:+.1%}",
        "gain": None if r.gain is None else f"{r.gain:.4f}",
    }


CHANGES = ("kernel +2", "kernel -2", "pool as convolution", "without skip", "width +25%", "width -25%")


def sensitivity(model: nn.Module | Score, *, input_size: Any = None, depth: int | None = None) -> Sensitivity:
    """For each block, what a small change to it alone would do to the score, and what it costs.

    Changes are made to the topology, not to the model: kernels two wider or narrower (with the padding that keeps
    the size; 1×1 stay, and no kernel outgrows its map), pools as dense convolutions of the same window and
    stride, merges without their identity skips, and a quarter more or less of the channels that the block's
    convolutions and linear layers compute (what reads them follows, sums take the new width).

    Args:
        model: a network, or its score.
        input_size: for a network; inferred when None.
        depth: names of the module path that make a block; the score's default when None.

    Raises:
        InputError: the score is undefined or -inf.
        SedTorchError: as for :func:`sed_torch.score`.
    """
    result = model if isinstance(model, Score) else score(model, input_size=input_size)
    if result.total is None or not math.isfinite(result.total):
        raise InputError(f"{result.name} has no finite score that could change ({result.reason})")
    depth = result.depth if depth is None else depth
    topology = result.evaluation.topology
    paths = dict.fromkeys(cut_path(topology.steps[i].path, depth) for i in sorted(topology.live))
    rows = [v for path in paths for v in _variations(result, path, depth)]
    return Sensitivity(result.name, result.total, depth, tuple(rows))


def _variations(result: Score, path: str, depth: int) -> Iterable[Variation]:
    topology = result.evaluation.topology
    block = frozenset(i for i in topology.live if cut_path(topology.steps[i].path, depth) == path)
    made = {
        "kernel +2": _kernels(topology, block, 2),
        "kernel -2": _kernels(topology, block, -2),
        "pool as convolution": _pools_as_convolutions(topology, block),
        "without skip": _without_skips(topology, block),
        "width +25%": _widths(topology, block, 1.25),
        "width -25%": _widths(topology, block, 0.75),
    }
    for change, (steps, touched) in made.items():
        if touched:
            after = replace(topology, steps=tuple(steps))
            effect = sed(after, definition=result.definition) - float(result)
            params, macs = _price(topology, after)
            shares = [d / whole for d, whole in ((params, result.params), (macs, result.macs)) if whole]
            yield Variation(path, change, touched, effect, params, macs, math.fsum(shares) / 2)


def _price(before: Topology, after: Topology) -> tuple[int, float]:
    """Parameters and multiply-accumulates a sample that a changed topology has more than the one before."""
    params = macs = 0.0
    for a, b in zip(before.steps, after.steps, strict=True):
        if a == b:
            continue
        if a.kind != "mix" and b.kind == "mix":  # a pool that became a convolution
            weights = b.taps * b.c_in * b.c_out
            params += weights
            macs += weights * b.positions
            continue
        wider = b.channels / a.channels if a.channels and b.channels else 1.0
        if a.kind != "mix":  # norms, learned scales, attention: as wide as the map
            params += a.params * (wider - 1.0)
            macs += a.macs * (wider - 1.0)
            continue
        held, grown = (x.taps * x.c_in * x.c_out for x in (a, b))
        weights = min(held, float(a.params))  # none of its own where they are shared
        params += weights * (grown / held - 1.0) + (a.params - weights) * (wider - 1.0)
        macs += a.macs * (grown / held - 1.0)
    return round(params), macs


Varied = tuple[list[Step], int]


def _kernels(topology: Topology, block: frozenset[int], by: int) -> Varied:
    steps, touched = list(topology.steps), 0
    for i in sorted(block):
        step = steps[i]
        if step.kind != "mix" or step.op != "conv" or step.taps <= 1:
            continue
        sides = topology.steps[step.inputs[0]].size or step.window
        window = tuple(
            w if w == 1 else min(max(1, w + by), max(w, n)) for w, n in zip(step.window, sides, strict=True)
        )
        if window != step.window:
            steps[i] = replace(step, window=window)
            touched += 1
    return steps, touched


def _pools_as_convolutions(topology: Topology, block: frozenset[int]) -> Varied:
    steps, touched = list(topology.steps), 0
    for i in sorted(block):
        step = steps[i]
        if step.kind == "pool" and step.taps > 1 and step.channels and step.size is not None:
            positions, width = float(math.prod(step.size)), step.channels
            steps[i] = replace(step, kind="mix", op="conv", positions=positions, c_in=width, c_out=width)
            touched += 1
    return steps, touched


def _without_skips(topology: Topology, block: frozenset[int]) -> Varied:
    steps, touched = list(topology.steps), 0
    for i, places in topology.skips.items():
        if i in block and steps[i].kind == "add":
            kept = tuple(j for p, j in enumerate(steps[i].inputs) if p not in places)
            steps[i] = replace(steps[i], inputs=kept)
            touched += 1
    return steps, touched


def _widths(topology: Topology, block: frozenset[int], factor: float) -> Varied:
    steps, touched = list(topology.steps), 0
    scale: list[float] = []
    given = _channels_returned(topology)
    for i, step in enumerate(topology.steps):
        inputs = [scale[j] for j in step.inputs]
        if step.kind != "mix":
            scale.append(_carried_scale(step, inputs))
            if any(f != 1.0 for f in inputs):
                weights = tuple(w * f for w, f in zip(step.weights, inputs, strict=False))
                steps[i] = replace(step, weights=weights)
                steps[i] = replace(steps[i], channels=_carried_channels(topology, steps, i))
            continue
        read = inputs[0] if inputs else 1.0
        depthwise = _is_depthwise(step)
        made = read if depthwise else factor if i in block and i not in given else 1.0
        scale.append(made)
        touched += made != 1.0 and i in block
        steps[i] = replace(
            step,
            c_in=step.c_in if depthwise else max(1, round(step.c_in * read)),
            c_out=max(1, round(step.c_out * made)),
            channels=max(1, round(step.channels * made)),
            groups=max(1, round(step.groups * read)) if depthwise else step.groups,
        )
    return steps, touched


def _is_depthwise(step: Step) -> bool:
    return step.groups > 1 and step.c_in == 1


def _channels_returned(topology: Topology) -> set[int]:
    """Steps whose channels are those of an output, such as a classifier's classes: the task gives them, nobody else."""
    found: set[int] = set()
    todo = list(topology.outputs)
    while todo:
        i = todo.pop()
        if i not in found:
            found.add(i)
            step = topology.steps[i]
            if step.kind != "mix" or _is_depthwise(step):
                todo += step.inputs
    return found


def _carried_scale(step: Step, inputs: Sequence[float]) -> float:
    if not inputs:
        return 1.0
    if step.kind == "cat":
        return sum(w * s for w, s in zip(step.weights, inputs, strict=True)) / sum(step.weights)
    if step.kind == "add":
        return max(inputs, key=lambda s: abs(s - 1.0))
    return inputs[0]


def _carried_channels(topology: Topology, steps: Sequence[Step], place: int) -> int:
    """Channels that a step which is no mix leaves once those of what it reads have changed."""
    step = topology.steps[place]
    if step.weights:
        ratio = sum(steps[place].weights) / sum(step.weights)
    else:
        before, after = (max(s[j].channels for j in step.inputs) for s in (topology.steps, steps))
        ratio = after / before if before else 1.0
    return round(step.channels * ratio)
