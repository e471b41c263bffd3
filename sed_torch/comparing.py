"""Two architectures side by side, block by block.

The change of a score is shared out exactly. Where the definition's sum over operators grows from S to T, an operator
whose addend grows from a to b has the part (b - a) / L(S, T) in ln T - ln S, with the logarithmic mean
L(S, T) = (T - S) / (ln T - ln S); ``sed/2`` takes the mean of these parts over its scales. The parts add up to the
change, whatever the order of the blocks, and what both networks have has none (:func:`~sed_torch.scoring.share_out`).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from torch import nn

from sed_torch import tables
from sed_torch._listed import Listed
from sed_torch._moved import moved_name
from sed_torch._plain import checked_schema, finite
from sed_torch.errors import DataError, InputError
from sed_torch.scoring import share_out
from sed_torch.scoring.model import score
from sed_torch.scoring.result import Block, Score
from sed_torch.topology import Step, Topology, cut_path

__all__ = ["BlockChange", "Comparison", "compare"]

_SCHEMA = "sed_torch.comparison/1"

BlockStatus = Literal["same", "changed", "renamed", "added", "removed"]


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
    status: BlockStatus
    change: float | None
    params_a: int | None
    params_b: int | None
    macs_a: float | None
    macs_b: float | None
    suppression_a: float | None
    suppression_b: float | None
    what: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Comparison(tables.Tabular, Listed[BlockChange]):
    """What :func:`sed_torch.compare` found; ``len()``, ``for`` and ``[0]`` give its blocks.

    Attributes:
        a, b: the scores of the two networks.
        blocks: blocks in order of execution, matched by path, else by what stands between matched ones.
        depth: names of the module path that make a block.
        change: SED(b) - SED(a) in nats; None where a score is not finite.
        parts: the change of each part of the score (conv, pool, skip), in nats.
    """

    schema: ClassVar = _SCHEMA
    kind: ClassVar = "a comparison"

    a: Score = field(repr=False)
    b: Score = field(repr=False)
    blocks: tuple[BlockChange, ...]
    depth: int

    def _items(self) -> tuple[BlockChange, ...]:
        return self.blocks

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
        """Plain data with a schema version; :meth:`from_dict` reads it back."""
        return {
            "schema": _SCHEMA,
            "a": self.a.name,
            "b": self.b.name,
            "sed_a": finite(self.a.total),
            "sed_b": finite(self.b.total),
            "change": self.change,
            "parts": self.parts,
            "params": [self.a.params, self.b.params],
            "macs": [self.a.macs, self.b.macs],
            "depth": self.depth,
            "blocks": [asdict(b) for b in self.blocks],
            "scores": [self.a.to_dict(), self.b.to_dict()],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Comparison:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: for data of another kind, or such as 0.1.0 wrote, which held no scores.
        """
        checked_schema(data, _SCHEMA, "a comparison")
        if len(data.get("scores", ())) != 2:
            raise DataError("a comparison without its scores, as 0.1.0 wrote it: compare the networks again")
        a, b = (Score.from_dict(s) for s in data["scores"])
        return compare(a, b, depth=data.get("depth"))

    def records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """One row a block, changed or not."""
        rows = [{**asdict(b), "what": "; ".join(b.what)} for b in self.blocks]
        return rows, list(BlockChange.__dataclass_fields__)

    def headline(self) -> str:
        """Both scores and their difference on one line."""
        change = "undefined" if self.change is None else f"{self.change:+.4f} nats"
        return f"{self.a.name} → {self.b.name}: SED {_shown(self.a)} → {_shown(self.b)} ({change})"

    def view(self) -> tables.View:
        """The blocks that changed, and what in them."""
        parts = "   ".join(f"{n} {'–' if v is None else format(v, '+.4f')}" for n, v in self.parts.items())
        sizes = (
            f"params {tables.quantity(self.a.params)} → {tables.quantity(self.b.params)}   "
            f"MACs {tables.quantity(self.a.macs)} → {tables.quantity(self.b.macs)}"
        )
        if not self.changed:
            return tables.View(self.headline(), (sizes,), notes=("no block differs",))
        rows = tuple(_row(b) for b in self.changed)
        details = [f"{b.path or '(root)'}: {line}" for b in self.changed for line in b.what]
        same = len(self.blocks) - len(self.changed)
        grid = tables.Grid(_COLUMNS, rows, spared=("suppression", "MACs", "params"))
        return tables.View(
            self.headline(), (parts, sizes), (grid,), (*details, f"{same} blocks are the same")
        )


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
    changes = _changes(first, second, depth)
    return Comparison(first, second, tuple(_change(p, q, changes) for p, q in pairs), depth)


@dataclass(frozen=True)
class _Described:
    """A block with its operators in words, and the maps (channels, size) that they leave."""

    block: Block
    steps: tuple[str, ...]
    maps: tuple[tuple[int, tuple[int, ...] | None], ...]


_Pair = tuple["_Described | None", "_Described | None"]


def _described(result: Score, depth: int) -> list[_Described]:
    topology = result.evaluation.topology
    groups = topology.blocks(depth)
    return [_describe(b, topology, groups[b.path]) for b in result.by_block(depth)]


def _describe(block: Block, topology: Topology, places: Sequence[int]) -> _Described:
    words = {i: w for i in places if (w := _words(topology.steps[i], i in topology.live))}
    maps = ((topology.steps[i].channels, topology.steps[i].size) for i in words)
    return _Described(block, tuple(words.values()), tuple(maps))


def _words(step: Step, live: bool) -> str:
    """An operator without its name; "" for those that only carry a field on."""
    if step.kind in ("view", "same", "input"):
        return ""
    size = tables.shape_text(step.window, "1")
    stride = tables.shape_text(step.stride)
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


def _changes(a: Score, b: Score, depth: int) -> tuple[dict[str, float], dict[str, float]] | None:
    """What the blocks of each network, by path, have to do with the change of the score; None without a change."""
    parts = share_out(a.evaluation, b.evaluation)
    if parts is None:
        return None
    found: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for result, values, blocks in zip((a, b), parts, found, strict=True):
        for term, value in zip(result.evaluation.terms, values, strict=True):
            path = cut_path(result.evaluation.topology.steps[term.step].path, depth)
            blocks[path] = blocks.get(path, 0.0) + value
    return found


def _change(
    a: _Described | None, b: _Described | None, changes: tuple[dict[str, float], dict[str, float]] | None
) -> BlockChange:
    p, q = (x.block if x is not None else None for x in (a, b))
    alike = a is not None and b is not None and _read_alike(a, b)
    parts = [found.get(x.path, 0.0) for x, found in zip((p, q), changes or (), strict=False) if x is not None]
    steps_a, steps_b = (x.steps if x is not None else () for x in (a, b))
    what = list(_edits(steps_a, steps_b))
    if p is not None and q is not None and not what and not alike:
        what.append("the same operators on another map")
    first = p if p is not None else q
    assert first is not None
    renamed = p is not None and q is not None and p.path != q.path
    return BlockChange(
        path=first.path,
        path_b=q.path if renamed and q is not None else None,
        status=_status(p, q, steps_a == steps_b and alike, renamed),
        change=math.fsum(parts) if changes is not None else None,
        params_a=p.params if p is not None else None,
        params_b=q.params if q is not None else None,
        macs_a=p.macs if p is not None else None,
        macs_b=q.macs if q is not None else None,
        suppression_a=p.suppression if p is not None else None,
        suppression_b=q.suppression if q is not None else None,
        what=_counted(what),
    )


def _status(a: Block | None, b: Block | None, alike: bool, renamed: bool) -> BlockStatus:
    if a is None:
        return "added"
    if b is None:
        return "removed"
    return "changed" if not alike or a.params != b.params else "renamed" if renamed else "same"


def _read_alike(a: _Described, b: _Described) -> bool:
    """Whether two blocks of the same operators stand on maps of the same size and the same local entropy."""
    return a.maps == b.maps and math.isclose(a.block.norm, b.block.norm, rel_tol=1e-9)


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


def _edits(a: Sequence[str], b: Sequence[str]) -> Iterable[str]:
    for tag, i, j, k, m in difflib.SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes():
        before, after = _listed(a[i:j]), _listed(b[k:m])
        if tag == "replace":
            yield f"{before} → {after}"
        elif tag == "delete":
            yield f"without {before}"
        elif tag == "insert":
            yield f"with {after}"


def __getattr__(name: str) -> Any:
    """What stood here until 0.1: sensitivity has a module of its own."""
    return moved_name(__name__, name)
