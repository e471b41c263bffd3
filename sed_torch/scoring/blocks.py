"""The parts of a score: what each block and kind of operator adds, what has no rule, and how blocks are shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sed_torch import entropy, tables
from sed_torch.scoring.formula import Evaluation, Term, log_sum
from sed_torch.topology import cut_path

__all__ = ["LEGEND", "Block", "OpRow", "Unknown", "blocks_of", "folded", "grid_of", "ops_of"]


@dataclass(frozen=True, slots=True)
class Block:
    """The part of the score that a block (a module path) contributes.

    Attributes:
        path: dotted module path, ``""`` for the root's own operators.
        share: share of the total amplitude; shares of all blocks add up to 1.
        amplitude: its part of exp(total); amplitudes of all blocks add up to it.
        norm: Σ of what its operators add by themselves, whatever stands around them (under ``sed/1`` the amplitude).
        taps: Σ n.
        effective_taps: Σ n_eff.
        suppression: effective taps over taps, in (0, 1], higher is better; None without a live operator.
        entropy_in: local entropy per tap of the map it reads, nats at unit variance (1.419 on a white map).
        entropy_out: of the map it leaves.
        conv: the log that its amplitude would have if local entropy had decreased nowhere, in nats; the exponentials of
            all blocks add up to that of :attr:`Score.conv`.
        pool, skip: its part of :attr:`Score.pool` and :attr:`Score.skip`, in nats; parts of all blocks add up to them.
        lost: its part of what the decrease of local entropy costs, in nats, ≤ 0; parts of all blocks add up to the
            total minus the conv part.
        params: parameters.
        macs: multiply-accumulates a sample.
        live: whether anything of it is on a path from an input to an output.
        operators: live mixing operators.
    """

    path: str
    share: float
    amplitude: float
    norm: float
    taps: float
    effective_taps: float
    suppression: float | None
    entropy_in: float | None
    entropy_out: float | None
    conv: float | None
    pool: float | None
    skip: float | None
    lost: float | None
    params: int
    macs: float
    live: bool
    operators: int


@dataclass(frozen=True, slots=True)
class OpRow:
    """The part of the score that an operator kind contributes; fields as in :class:`Block`."""

    op: str
    count: int
    share: float
    amplitude: float
    taps: float
    effective_taps: float
    params: int
    macs: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """An operator without a rule.

    Attributes:
        target: as the model spells it.
        count: calls.
        params: parameters it reads.
        path: module of the first call.
        source: ``file:line`` of the first call, or None.
    """

    target: str
    count: int
    params: int
    path: str
    source: str | None


def blocks_of(evaluation: Evaluation, depth: int) -> tuple[Block, ...]:
    """Blocks by module path cut to ``depth`` names, in order of execution; their shares add up to 1."""
    steps = evaluation.topology.steps
    terms: dict[str, list[Term]] = {}
    for term in evaluation.terms:
        terms.setdefault(cut_path(steps[term.step].path, depth), []).append(term)
    total = math.fsum(t.amplitude for t in evaluation.terms)
    groups = evaluation.topology.blocks(depth)
    return tuple(
        _block(evaluation, path, members, terms.get(path, []), total) for path, members in groups.items()
    )


def ops_of(evaluation: Evaluation) -> tuple[OpRow, ...]:
    """Contributions by operator kind, largest share first."""
    total = math.fsum(t.amplitude for t in evaluation.terms)
    found: dict[str, list[Term]] = {}
    for term in evaluation.terms:
        found.setdefault(evaluation.topology.steps[term.step].op, []).append(term)
    rows = [_op_row(evaluation, op, terms, total) for op, terms in found.items()]
    return tuple(sorted(rows, key=lambda r: -r.share))


def _op_row(evaluation: Evaluation, op: str, terms: list[Term], total: float) -> OpRow:
    amplitude = math.fsum(t.amplitude for t in terms)
    return OpRow(
        op=op,
        count=len(terms),
        share=amplitude / total if total else 0.0,
        amplitude=amplitude,
        taps=math.fsum(t.taps for t in terms),
        effective_taps=math.fsum(t.effective_taps for t in terms),
        params=sum(evaluation.topology.steps[t.step].params for t in terms),
        macs=math.fsum(evaluation.topology.steps[t.step].macs for t in terms),
    )


def _block(evaluation: Evaluation, path: str, steps: list[int], terms: list[Term], total: float) -> Block:
    topology = evaluation.topology
    live = [i for i in steps if i in topology.live]
    amplitude = math.fsum(t.amplitude for t in terms)
    taps = math.fsum(t.taps for t in terms)
    effective = math.fsum(t.effective_taps for t in terms)
    return Block(
        path=path,
        share=amplitude / total if total else 0.0,
        amplitude=amplitude,
        norm=math.fsum(t.norm for t in terms),
        taps=taps,
        effective_taps=effective,
        suppression=effective / taps if taps else None,
        entropy_in=_entropy(evaluation, topology.steps[live[0]].inputs[:1]) if live else None,
        entropy_out=_entropy(evaluation, live[-1:]),
        conv=log_sum(t.conv for t in terms) if terms else None,
        pool=math.fsum(t.pool for t in terms) if terms else None,
        skip=math.fsum(t.skip for t in terms) if terms else None,
        lost=math.fsum(t.lost for t in terms) if terms else None,
        params=sum(topology.steps[i].params for i in steps),
        macs=math.fsum(topology.steps[i].macs for i in steps),
        live=bool(live),
        operators=len(terms),
    )


def _entropy(evaluation: Evaluation, steps: Iterable[int]) -> float | None:
    fields = [evaluation.fields[i] for i in steps]
    found = next((f for f in fields if f is not None), None)
    return entropy.local_entropy(found) if found is not None else None


# -- shown as a table ------------------------------------------------------------------------------------

LEGEND: Mapping[str, str] = {
    "block": "a module of the model, by its path; equal neighbours are one row, path … path ×n",
    "(root)": "(root): operators that the model's own forward runs, outside every submodule",
    "share": "its share of the score: were its norm 1 % larger, SED would be larger by this share of 0.01 nats; all "
    "shares add up to 100 %",
    "SED part": "SED + ln share: the exponentials of all parts add up to exp(SED); not what it would score alone",
    "shape": "SED beyond what parameters, multiply-accumulates and input size predict on torchvision's networks, in "
    "nats: above 0 it makes more of its size than they do; it hardly moves with the input",
    "taps": "positions that its kernels read for one value they make, summed: 49 for 7×7, 1 for a linear layer",
    "effective": "how many of these taps are free of each other, given what pools and skips correlated before",
    "suppression": "effective taps over taps, from 0 to 1: 1 is best, and low where averages came before",
    "h in": "local entropy a tap of the map it reads, in nats; at most 1.419, white noise at unit variance",
    "h out": "the same of the map it leaves; below 0 is no error, the entropy of a continuous quantity can be",
    "params": "parameters",
    "MACs": "multiply-accumulates a sample",
    "live": "whether it lies on a path from an input to an output; what is dead adds nothing",
    "conv": "the score as if no pool and no skip correlated anything, in nats",
    "pool": "what pooling takes from that (0 or less), in nats",
    "skip": "what identity skips change: above 0 where they win back what pools took",
    "coverage": "how much of the model is under a rule of the calculus; the rest is listed as unknown",
}
"""What the columns and words of a score's text mean."""

_COLUMNS = (
    "block",
    "share",
    "SED part",
    "taps",
    "effective",
    "suppression",
    "h in",
    "h out",
    "params",
    "MACs",
    "live",
)
_SPARED = ("effective", "taps", "h in", "MACs", "live", "h out", "params", "SED part")


def grid_of(blocks: Sequence[Block]) -> tables.Grid:
    """The table of a score's text: a row a block, dead ones pale."""
    pale = frozenset(i for i, b in enumerate(blocks) if not b.live)
    return tables.Grid(_COLUMNS, tuple(_display(b) for b in blocks), spared=_SPARED, pale=pale)


def _display(block: Block) -> dict[str, Any]:
    return {
        "block": block.path or "(root)",
        "share": f"{block.share:.1%}",
        "SED part": log_sum([block.amplitude]) if block.amplitude else None,
        "taps": tables.quantity(round(block.taps, 2)) if block.taps else None,
        "effective": tables.quantity(round(block.effective_taps, 2)) if block.taps else None,
        "suppression": block.suppression,
        "h in": block.entropy_in,
        "h out": block.entropy_out,
        "params": tables.quantity(block.params),
        "MACs": tables.quantity(block.macs),
        "live": "yes" if block.live else "dead",
    }


def folded(blocks: tuple[Block, ...]) -> list[Block]:
    """Runs of blocks equal but for their path become one row, ``path … path ×n``, with their sums' common value."""
    rows: list[Block] = []
    run: list[Block] = []
    for block in (*blocks, None):
        if run and (block is None or _outline(block) != _outline(run[0])):
            rows.append(run[0] if len(run) == 1 else _merged(run))
            run = []
        if block is not None:
            run.append(block)
    return rows


def _outline(b: Block) -> tuple[Any, ...]:
    root = not b.path  # what the root does itself is no neighbour of its submodules
    numbers = (b.operators, b.taps, round(b.effective_taps, 9), round(b.amplitude, 6), b.params, b.macs)
    return (root, *numbers, b.live)


def _merged(run: list[Block]) -> Block:
    values = asdict(run[0])
    values["path"] = f"{run[0].path} … {run[-1].path} ×{len(run)}"
    values["entropy_out"] = run[-1].entropy_out
    for name in ("share", "amplitude", "norm", "taps", "effective_taps", "params", "macs", "operators"):
        values[name] = values[name] * len(run)
    for name in ("pool", "skip", "lost"):
        values[name] = values[name] and values[name] * len(run)
    return Block(**values)
