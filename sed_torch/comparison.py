"""Two architectures side by side, block by block; and what small changes to one would do to its score.

The change of a score is shared out exactly: with amplitudes a and b of a block in two networks, and totals S and T,

    SED(B) - SED(A) = ln T - ln S = Σ (b - a) / L(S, T),     L(S, T) = (T - S) / (ln T - ln S)

where L is the logarithmic mean. The shares add up to the change, whatever the order of the blocks.
"""

from __future__ import annotations

import difflib
import html
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from sed_torch import tables
from sed_torch.errors import InputError
from sed_torch.scoring import sed
from sed_torch.scoring.model import score
from sed_torch.scoring.result import Block, Score
from sed_torch.topology import Step, Topology, cut_path

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BlockChange", "Comparison", "Sensitivity", "Variation", "compare", "sensitivity"]

Status = Literal["same", "changed", "renamed", "added", "removed"]


# -- two networks --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BlockChange:
    """A block of one network beside its counterpart in the other.

    Attributes:
        path: in the first network; in the second where it was added.
        path_b: in the second network, when it differs; else None.
        status: ``"same"``, ``"changed"``, ``"renamed"`` (alike but for the path), ``"added"``, ``"removed"``.
        change: its share of the change of the score, in nats; all of them add up to it.
        params_a, params_b: parameters, None where the block is missing.
        macs_a, macs_b: multiply-accumulates a sample.
        suppression_a, suppression_b: effective taps over taps.
        what: what changed, operator by operator, in words.
    """

    path: str
    path_b: str | None
    status: Status
    change: float | None
    params_a: int | None
    params_b: int | None
    macs_a: float | None
    macs_b: float | None
    suppression_a: float | None
    suppression_b: float | None
    what: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """What :func:`sed_torch.compare` found.

    Attributes:
        a, b: the scores of the two networks.
        blocks: blocks in order of execution, matched by path, else by what stands between matched ones.
        depth: names of the module path that make a block.
        change: SED(b) - SED(a) in nats; None where a score is not finite.
        parts: the change of each part of the score (conv, pool, skip), in nats.
    """

    a: Score = field(repr=False)
    b: Score = field(repr=False)
    blocks: tuple[BlockChange, ...]
    depth: int

    @property
    def change(self) -> float | None:
        """SED(b) - SED(a), in nats."""
        return _difference(self.a.total, self.b.total)

    @property
    def parts(self) -> dict[str, float | None]:
        """The change of the parts of the score, in nats, see :class:`sed_torch.Score`."""
        return {n: _difference(getattr(self.a, n), getattr(self.b, n)) for n in ("conv", "pool", "skip")}

    @property
    def changed(self) -> tuple[BlockChange, ...]:
        """Blocks that are not the same."""
        return tuple(b for b in self.blocks if b.status != "same")

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version."""
        return {
            "schema": "sed_torch.comparison/1",
            "a": self.a.name,
            "b": self.b.name,
            "sed_a": _plain(self.a.total),
            "sed_b": _plain(self.b.total),
            "change": self.change,
            "parts": self.parts,
            "params": [self.a.params, self.b.params],
            "macs": [self.a.macs, self.b.macs],
            "depth": self.depth,
            "blocks": [asdict(b) for b in self.blocks],
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as strict JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_dataframe(self) -> pd.DataFrame:
        """One row a block.

        Raises:
            MissingDependencyError: without pandas.
        """
        return tables.to_dataframe([asdict(b) for b in self.blocks])

    def to_csv(self) -> str:
        """One line a block."""
        rows = [{**asdict(b), "what": "; ".join(b.what)} for b in self.blocks]
        return tables.to_csv(rows, list(BlockChange.__dataclass_fields__))

    def to_markdown(self) -> str:
        """Headline and the blocks that changed, in Markdown."""
        return f"**{self.headline()}**\n\n{tables.to_markdown(self._rows(), _COLUMNS)}"

    def headline(self) -> str:
        """Both scores and their difference on one line."""
        change = "undefined" if self.change is None else f"{self.change:+.4f} nats"
        return f"{self.a.name} → {self.b.name}: SED {_shown(self.a)} → {_shown(self.b)} ({change})"

    def _rows(self) -> list[dict[str, Any]]:
        return [_row(b) for b in self.changed]

    def to_text(self) -> str:
        """The comparison as plain text: the blocks that changed, and what in them."""
        parts = "   ".join(f"{n} {'–' if v is None else format(v, '+.4f')}" for n, v in self.parts.items())
        sizes = (
            f"params {tables.quantity(self.a.params)} → {tables.quantity(self.b.params)}   "
            f"MACs {tables.quantity(self.a.macs)} → {tables.quantity(self.b.macs)}"
        )
        if not self.changed:
            return "\n".join([self.headline(), sizes, "no block differs"])
        table = tables.to_text(self._rows(), _COLUMNS)
        details = [f"{b.path or '(root)'}: {line}" for b in self.changed for line in b.what]
        same = len(self.blocks) - len(self.changed)
        return "\n".join(
            [self.headline(), parts, sizes, "", table, "", *details, f"{same} blocks are the same"]
        )

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        table = tables.to_html(self._rows(), _COLUMNS)
        return f"<div><p><b>{html.escape(self.headline())}</b></p>{table}</div>"


_COLUMNS = ("block", "status", "change of SED", "params", "MACs", "suppression")


def _row(b: BlockChange) -> dict[str, Any]:
    return {
        "block": (b.path or "(root)") + (f" → {b.path_b}" if b.path_b is not None else ""),
        "status": b.status,
        "change of SED": "–" if b.change is None else f"{b.change:+.4f}",
        "params": f"{tables.quantity(b.params_a)} → {tables.quantity(b.params_b)}",
        "MACs": f"{tables.quantity(b.macs_a)} → {tables.quantity(b.macs_b)}",
        "suppression": f"{tables.cell(b.suppression_a)} → {tables.cell(b.suppression_b)}",
    }


def _shown(result: Score) -> str:
    return "undefined" if result.total is None else f"{result.total:.4f}"


def _plain(value: float | None) -> float | str | None:
    return "-inf" if value == -math.inf else value


def _difference(a: float | None, b: float | None) -> float | None:
    if a is None or b is None or not (math.isfinite(a) and math.isfinite(b)):
        return None
    return b - a


def compare(
    a: nn.Module | Score,
    b: nn.Module | Score,
    *,
    input_size: Any = None,
    depth: int | None = None,
) -> Comparison:
    """What changed between two architectures, block by block, and what it did to the score.

    Args:
        a: the first network, or its score.
        b: the second one.
        input_size: for networks that are not scored yet; inferred when None.
        depth: names of the module path that make a block; the larger default of the two when None.

    Returns:
        A :class:`Comparison`; changes are b minus a, in nats.

    Raises:
        InputError: the scores are of different definitions or input sizes.
        SedTorchError: as for :func:`sed_torch.score`.
    """
    first, second = (x if isinstance(x, Score) else score(x, input_size=input_size) for x in (a, b))
    if first.definition != second.definition:
        raise InputError(f"scores of {first.definition} and {second.definition} cannot be compared")
    if first.inputs != second.inputs:
        raise InputError(
            f"scores compare at one input size only, found {first.inputs} and {second.inputs}: give input_size"
        )
    depth = max(first.depth, second.depth) if depth is None else depth
    pairs = _aligned(_described(first, depth), _described(second, depth))
    scale = _log_mean(first, second)
    return Comparison(first, second, tuple(_change(p, q, scale) for p, q in pairs), depth)


@dataclass(frozen=True)
class _Described:
    """A block with its operators in words."""

    block: Block
    steps: tuple[str, ...]


_Pair = tuple["_Described | None", "_Described | None"]


def _described(result: Score, depth: int) -> list[_Described]:
    topology = result.evaluation.topology
    groups = topology.blocks(depth)
    return [
        _Described(
            b, tuple(w for i in groups[b.path] if (w := _words(topology.steps[i], i in topology.live)))
        )
        for b in result.by_block(depth)
    ]


def _words(step: Step, live: bool) -> str:
    """An operator without its name; "" for those that only carry a field on."""
    if step.kind in ("view", "same", "input"):
        return ""
    size = "×".join(map(str, step.window)) or "1"
    stride = "×".join(map(str, step.stride))
    dead = "" if live else " (dead)"
    if step.kind == "mix":
        window = f" {size}" if step.taps > 1 else ""
        strided = f" stride {stride}" if any(s > 1 for s in step.stride) else ""
        spread = f" dilation {'×'.join(map(str, step.dilation))}" if any(d > 1 for d in step.dilation) else ""
        groups = f" groups {step.groups}" if step.groups > 1 else ""
        return f"{step.op}{window} {step.c_in * step.groups}→{step.c_out}{strided}{spread}{groups}{dead}"
    if step.kind == "pool":
        return f"{step.op} {size} stride {stride}{dead}"
    if step.kind in ("add", "cat"):
        return f"{step.op} of {len(step.inputs)}{dead}"
    return f"{step.op or step.kind}{dead}"


_KEYS: tuple[Callable[[_Described], Any], ...] = (
    lambda x: (x.block.path, x.steps),  # the same block
    lambda x: x.steps or x.block.path,  # moved or renamed
    lambda x: x.block.path,  # changed
)


def _aligned(a: Sequence[_Described], b: Sequence[_Described], keys: Any = _KEYS) -> Iterator[_Pair]:
    """Counterparts in order: blocks with the same path and content, between them by content, then by path."""
    if not keys:
        if len(a) == len(b):
            yield from zip(a, b, strict=True)
        else:
            yield from ((x, None) for x in a)
            yield from ((None, y) for y in b)
        return
    matcher = difflib.SequenceMatcher(a=[*map(keys[0], a)], b=[*map(keys[0], b)], autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            yield from zip(a[i:j], b[k:m], strict=True)
        else:
            yield from _aligned(a[i:j], b[k:m], keys[1:])


def _log_mean(a: Score, b: Score) -> float | None:
    if a.total is None or b.total is None or not (math.isfinite(a.total) and math.isfinite(b.total)):
        return None
    s, t = math.exp(a.total), math.exp(b.total)
    return s if math.isclose(s, t, rel_tol=1e-12) else (t - s) / (b.total - a.total)


def _change(a: _Described | None, b: _Described | None, scale: float | None) -> BlockChange:
    p, q = (x.block if x is not None else None for x in (a, b))
    before, after = (x.amplitude if x is not None else 0.0 for x in (p, q))
    steps_a, steps_b = (x.steps if x is not None else () for x in (a, b))
    first = p if p is not None else q
    assert first is not None
    renamed = p is not None and q is not None and p.path != q.path
    return BlockChange(
        path=first.path,
        path_b=q.path if renamed and q is not None else None,
        status=_status(p, q, steps_a == steps_b, renamed),
        change=(after - before) / scale if scale else None,
        params_a=p.params if p is not None else None,
        params_b=q.params if q is not None else None,
        macs_a=p.macs if p is not None else None,
        macs_b=q.macs if q is not None else None,
        suppression_a=p.suppression if p is not None else None,
        suppression_b=q.suppression if q is not None else None,
        what=_counted(_edits(steps_a, steps_b, p, q)),
    )


def _status(a: Block | None, b: Block | None, alike: bool, renamed: bool) -> Status:
    if a is None:
        return "added"
    if b is None:
        return "removed"
    same = alike and a.params == b.params and math.isclose(a.amplitude, b.amplitude, rel_tol=1e-9)
    return "changed" if not same else "renamed" if renamed else "same"


def _counted(lines: Iterable[str]) -> tuple[str, ...]:
    """Each line once, with how often it came."""
    counts: dict[str, int] = {}
    for line in lines:
        counts[line] = counts.get(line, 0) + 1
    return tuple(line if n == 1 else f"{line}  ×{n}" for line, n in counts.items())


def _listed(words: Sequence[str]) -> str:
    """Operators in a row; a sequence that comes several times stands there once, with how often it came."""
    for period in range(1, len(words) // 2 + 1):
        times, rest = divmod(len(words), period)
        if not rest and list(words) == list(words[:period]) * times:
            return f"{times} × ({', '.join(words[:period])})"
    return ", ".join(words)


def _edits(a: Sequence[str], b: Sequence[str], p: Block | None, q: Block | None) -> Iterable[str]:
    for tag, i, j, k, m in difflib.SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes():
        before, after = _listed(a[i:j]), _listed(b[k:m])
        if tag == "replace":
            yield f"{before} → {after}"
        elif tag == "delete":
            yield f"without {before}"
        elif tag == "insert":
            yield f"with {after}"
    if (
        p is not None
        and q is not None
        and a == b
        and not math.isclose(p.amplitude, q.amplitude, rel_tol=1e-9)
    ):
        yield "the same operators on another map"


# -- one network, varied -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Variation:
    """What a change to one block would do to the score.

    Attributes:
        path: the block.
        change: ``"kernel +2"``, ``"kernel -2"``, ``"pool as convolution"``, ``"without skip"``, ``"width +25%"``,
            ``"width -25%"``.
        operators: operators that it touches.
        effect: SED after minus SED before, in nats.
    """

    path: str
    change: str
    operators: int
    effect: float


@dataclass(frozen=True)
class Sensitivity:
    """What :func:`sed_torch.sensitivity` found.

    Attributes:
        name: the network.
        total: its score in nats.
        depth: names of the module path that make a block.
        rows: one a block and change, in order of execution; a change that touches nothing has no row.
    """

    name: str
    total: float
    depth: int
    rows: tuple[Variation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version."""
        return {"schema": "sed_torch.sensitivity/1", **asdict(self)}

    def to_dataframe(self) -> pd.DataFrame:
        """One row a block and change.

        Raises:
            MissingDependencyError: without pandas.
        """
        return tables.to_dataframe([asdict(r) for r in self.rows])

    def table(self) -> list[dict[str, Any]]:
        """One row a block, one column a change; None where the change touches nothing."""
        rows: dict[str, dict[str, Any]] = {}
        for r in self.rows:
            rows.setdefault(r.path, {"block": r.path or "(root)", **dict.fromkeys(CHANGES)})[r.change] = (
                r.effect
            )
        return list(rows.values())

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as strict JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_csv(self) -> str:
        """One line a block and change."""
        return tables.to_csv([asdict(r) for r in self.rows], list(Variation.__dataclass_fields__))

    def to_markdown(self) -> str:
        """Headline and one row a block, in Markdown."""
        return f"**{self.headline()}**\n\n{tables.to_markdown(self._shown(), ('block', *CHANGES))}"

    def to_text(self) -> str:
        """Headline and one row a block, as plain text."""
        return f"{self.headline()}\n{tables.to_text(self._shown(), ('block', *CHANGES))}"

    def headline(self) -> str:
        """Name and score on one line."""
        return f"{self.name}: SED = {self.total:.4f} nats; what a change to one block alone would add"

    def _shown(self) -> list[dict[str, Any]]:
        return [
            {k: f"{v:+.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in self.table()
        ]

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return tables.to_html(self.table(), ("block", *CHANGES), self.name)


CHANGES = ("kernel +2", "kernel -2", "pool as convolution", "without skip", "width +25%", "width -25%")


def sensitivity(model: nn.Module | Score, *, input_size: Any = None, depth: int | None = None) -> Sensitivity:
    """For each block, what a small change to it alone would do to the score.

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
    rows = [v for path in paths for v in _variations(topology, path, depth, result.total)]
    return Sensitivity(result.name, result.total, depth, tuple(rows))


def _variations(topology: Topology, path: str, depth: int, total: float) -> Iterable[Variation]:
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
            varied = sed(replace(topology, steps=tuple(steps)))
            yield Variation(path, change, touched, varied - total)


Varied = tuple[list[Step], int]


def _kernels(topology: Topology, block: frozenset[int], by: int) -> Varied:
    steps, touched = list(topology.steps), 0
    for i in sorted(block):
        step = steps[i]
        if step.kind != "mix" or step.op != "conv" or step.taps <= 1:
            continue
        side = (step.positions * math.prod(step.stride)) ** (1 / max(len(step.window), 1))
        window = tuple(w if w == 1 else min(max(1, w + by), max(w, math.ceil(side))) for w in step.window)
        if window != step.window:
            steps[i] = replace(step, window=window)
            touched += 1
    return steps, touched


def _pools_as_convolutions(topology: Topology, block: frozenset[int]) -> Varied:
    steps, touched = list(topology.steps), 0
    channels, positions = _channels(topology), _positions(topology)
    for i in sorted(block):
        step = steps[i]
        if step.kind == "pool" and step.taps > 1 and channels[i] and positions[i]:
            steps[i] = replace(
                step, kind="mix", op="conv", positions=positions[i], c_in=channels[i], c_out=channels[i]
            )
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
    for i, step in enumerate(topology.steps):
        inputs = [scale[j] for j in step.inputs]
        if step.kind != "mix":
            scale.append(_carried_scale(step, inputs))
            continue
        read = inputs[0] if inputs else 1.0
        depthwise = step.groups > 1 and step.c_in == 1
        made = read if depthwise else factor if i in block and i not in topology.outputs else 1.0
        scale.append(made)
        touched += made != 1.0 and i in block
        steps[i] = replace(
            step,
            c_in=step.c_in if depthwise else max(1, round(step.c_in * read)),
            c_out=max(1, round(step.c_out * made)),
            groups=max(1, round(step.groups * read)) if depthwise else step.groups,
        )
    return steps, touched


def _carried_scale(step: Step, inputs: Sequence[float]) -> float:
    if not inputs:
        return 1.0
    if step.kind == "cat":
        return sum(w * s for w, s in zip(step.weights, inputs, strict=True)) / sum(step.weights)
    if step.kind == "add":
        return max(inputs, key=lambda s: abs(s - 1.0))
    return inputs[0]


def _channels(topology: Topology) -> list[int]:
    """Channels of what each step leaves; 0 where it is not known (the input's own)."""
    found: list[int] = []
    for step in topology.steps:
        if step.kind == "mix":
            found.append(step.c_out)
        elif step.kind == "cat":
            found.append(int(sum(step.weights)))
        else:
            found.append(max((found[j] for j in step.inputs), default=0))
    return found


def _positions(topology: Topology) -> list[float]:
    """Positions of what each step leaves, 0 where it is not known."""
    found: list[float] = []
    for step in topology.steps:
        before = max((found[j] for j in step.inputs), default=0.0)
        if step.kind == "mix":
            found.append(step.positions)
        elif step.kind == "pool":
            found.append(float(max(1, round(before / math.prod(step.stride)))) if before else 0.0)
        elif step.kind in ("upsample", "dilate"):
            found.append(before * math.prod(step.factor))
        elif step.kind in ("average", "attend"):
            found.append(1.0 if before else 0.0)
        else:
            found.append(before)
    return found
