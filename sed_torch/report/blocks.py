"""The graph that is drawn: blocks of a score as nodes, what flows between them as edges, repeats folded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sed_torch.scoring.result import Block, Score
from sed_torch.tables import shape_text
from sed_torch.topology import Step, Topology, cut_path

__all__ = ["BlockEdge", "BlockNode", "blocks_of"]

NodeKind = Literal["input", "output", "block", "op"]


@dataclass(frozen=True, slots=True)
class BlockNode:
    """A box of the drawing.

    Attributes:
        id: unique, a plain identifier.
        kind: ``"block"`` (a module), ``"op"`` (an operator of the root's own forward), ``"input"``, ``"output"``.
        label: the module path, or the operator.
        count: how many equal blocks in a row it stands for.
        last: path of the last of them, ``""`` where ``count`` is 1.
        share: of the total amplitude exp(SED), over all of them.
        suppression: effective taps over taps in (0, 1], over all of them, higher is better; None without a live
            operator.
        operators: live convolutions and linear layers.
        params: parameters.
        macs: multiply-accumulates a sample.
        pools: pooling operators in it.
        live: whether anything of it is on a path from an input to an output.
    """

    id: str
    kind: NodeKind
    label: str
    count: int = 1
    last: str = ""
    share: float = 0.0
    suppression: float | None = None
    operators: int = 0
    params: int = 0
    macs: float = 0.0
    pools: int = 0
    live: bool = True


@dataclass(frozen=True, slots=True)
class BlockEdge:
    """A map that flows from one box to another.

    Attributes:
        source, target: ids.
        skip: every map that flows here is an identity skip into a sum or a concatenation.
        live: whether it is on a path from an input to an output.
        back: it flows to a box that stands earlier (a module called again).
    """

    source: str
    target: str
    skip: bool = False
    live: bool = True
    back: bool = False


@dataclass(slots=True)
class _Group:
    """Steps that make a box, while the graph is put together."""

    kind: NodeKind
    label: str
    steps: list[int]


def blocks_of(score: Score, depth: int | None = None) -> tuple[tuple[BlockNode, ...], tuple[BlockEdge, ...]]:
    """Boxes in order of execution, and the edges between them.

    Args:
        score: of one model.
        depth: names of the module path that make a block; the score's own when None.
    """
    depth = score.depth if depth is None else depth
    topology = score.evaluation.topology
    groups, place = _grouped(topology, depth, score.inputs)
    edges = _edges(topology, groups, place)
    blocks = {b.path: b for b in score.by_block(depth)}
    nodes = [_node(k, g, blocks, topology, score) for k, g in enumerate(groups)]
    outlines = [_outline(g, topology) for g in groups]
    return _folded(nodes, edges, outlines)


# -- steps → boxes ---------------------------------------------------------------------------------------


def _grouped(
    topology: Topology, depth: int, inputs: Sequence[tuple[int, ...]]
) -> tuple[list[_Group], list[int]]:
    """Groups, and for each step the index of its group.

    A module is one box. Operators of the root's own forward are boxes of their own, except those that change
    neither positions nor channels: they go with what they read.
    """
    groups: list[_Group] = []
    place: list[int] = []
    of_block: dict[str, int] = {}
    shapes = (shape_text(shape) for shape in inputs)
    names = itertools.chain((f"input {shape}" for shape in shapes), itertools.repeat("input"))
    for i, step in enumerate(topology.steps):
        block = cut_path(step.path, depth)
        if step.kind == "input":
            found = _add(groups, "input", next(names), i)
        elif block:
            if block not in of_block:
                of_block[block] = _add(groups, "block", block, i)
            else:
                groups[of_block[block]].steps.append(i)
            found = of_block[block]
        elif step.kind in ("same", "view", "norm") and len(step.inputs) == 1:
            found = place[step.inputs[0]]
        else:
            found = _add(groups, "op", step.op or step.kind, i)
        place.append(found)
    return groups, place


def _add(groups: list[_Group], kind: NodeKind, label: str, step: int) -> int:
    groups.append(_Group(kind, label, [step]))
    return len(groups) - 1


def _edges(
    topology: Topology, groups: list[_Group], place: Sequence[int]
) -> dict[tuple[int, int], tuple[bool, bool]]:
    """(source, target) → (skip, live). The outputs get a box at the end."""
    edges: dict[tuple[int, int], tuple[bool, bool]] = {}

    def connect(source: int, target: int, skip: bool, live: bool) -> None:
        if source != target:
            before_skip, before_live = edges.get((source, target), (True, False))
            edges[source, target] = (before_skip and skip, before_live or live)

    for i, step in enumerate(topology.steps):
        skips = topology.skips.get(i, frozenset())
        for p, j in enumerate(step.inputs):
            connect(place[j], place[i], p in skips, i in topology.live and j in topology.live)
    if topology.outputs:
        end = _add(groups, "output", "output", -1)
        groups[end].steps.clear()
        for j in topology.outputs:
            connect(place[j], end, False, j in topology.live)
    return edges


def _node(k: int, group: _Group, blocks: Mapping[str, Block], topology: Topology, score: Score) -> BlockNode:
    steps = [topology.steps[i] for i in group.steps]
    live = any(i in topology.live for i in group.steps) or group.kind == "output"
    values: dict[str, Any] = {"id": f"n{k}", "kind": group.kind, "label": group.label, "live": live}
    values["pools"] = sum(s.kind == "pool" for s in steps)
    if group.kind == "block":
        block = blocks[group.label]
        names = ("share", "suppression", "operators", "params", "macs")
        values |= {name: getattr(block, name) for name in names}
    elif group.kind == "op":
        values |= _op_values(group.steps, steps, score)
    return BlockNode(**values)


def _op_values(indices: Sequence[int], steps: Sequence[Step], score: Score) -> dict[str, Any]:
    terms = [t for t in score.evaluation.terms if t.step in indices]
    total = math.fsum(t.amplitude for t in score.evaluation.terms)
    taps = math.fsum(t.taps for t in terms)
    return {
        "share": math.fsum(t.amplitude for t in terms) / total if total else 0.0,
        "suppression": math.fsum(t.effective_taps for t in terms) / taps if taps else None,
        "operators": len(terms),
        "params": sum(s.params for s in steps),
        "macs": math.fsum(s.macs for s in steps),
    }


# -- repeats ---------------------------------------------------------------------------------------------

Outline = tuple[Any, ...]


def _outline(group: _Group, topology: Topology) -> Outline:
    """What a block is made of, whatever it is called and whatever it reads."""
    steps = (topology.steps[i] for i in group.steps)
    return (
        group.kind,
        *(
            (s.kind, s.op, s.window, s.stride, s.dilation, s.positions, s.c_in, s.c_out, s.groups)
            for s in steps
        ),
    )


def _folded(
    nodes: Sequence[BlockNode],
    edges: Mapping[tuple[int, int], tuple[bool, bool]],
    outlines: Sequence[Outline],
) -> tuple[tuple[BlockNode, ...], tuple[BlockEdge, ...]]:
    """Chains of blocks with one outline become one box."""
    after: dict[int, set[int]] = {k: set() for k in range(len(nodes))}
    before: dict[int, set[int]] = {k: set() for k in range(len(nodes))}
    for source, target in edges:
        after[source].add(target)
        before[target].add(source)
    run_of: dict[int, int] = {}
    runs: list[list[int]] = []
    for k, node in enumerate(nodes):
        previous = next(iter(before[k])) if len(before[k]) == 1 else None
        joins = (
            previous is not None
            and node.kind == "block"
            and after[previous] == {k}
            and outlines[previous] == outlines[k]
            and nodes[previous].live == node.live
            and runs[run_of[previous]][-1] == previous
        )
        if joins and previous is not None:
            runs[run_of[previous]].append(k)
            run_of[k] = run_of[previous]
        else:
            run_of[k] = len(runs)
            runs.append([k])
    kept = tuple(_merged([nodes[k] for k in run]) for run in runs)
    return kept, tuple(_folded_edges(edges, run_of, kept))


def _folded_edges(
    edges: Mapping[tuple[int, int], tuple[bool, bool]], run_of: Mapping[int, int], kept: Sequence[BlockNode]
) -> Iterable[BlockEdge]:
    for (source, target), (skip, live) in edges.items():
        a, b = run_of[source], run_of[target]
        if a != b:
            yield BlockEdge(kept[a].id, kept[b].id, skip, live, b < a)


def _merged(run: Sequence[BlockNode]) -> BlockNode:
    if len(run) == 1:
        return run[0]
    first, operators = run[0], sum(n.operators for n in run)
    known = [(n.suppression, n.operators) for n in run if n.suppression is not None]
    return BlockNode(
        id=first.id,
        kind=first.kind,
        label=first.label,
        count=len(run),
        last=run[-1].label,
        share=math.fsum(n.share for n in run),
        # equal blocks have equal taps, so the mean is the quotient of the sums
        suppression=math.fsum(s for s, _ in known) / len(known) if known else None,
        operators=operators,
        params=sum(n.params for n in run),
        macs=math.fsum(n.macs for n in run),
        pools=sum(n.pools for n in run),
        live=first.live,
    )
