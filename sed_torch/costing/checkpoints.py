"""Checkpointed blocks (``torch.utils.checkpoint``): what they keep instead of their activations, and compute again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from sed_torch.costing.saving import CHECKPOINT, Saved
from sed_torch.costing.storage import Storages
from sed_torch.graph import Graph, Node
from sed_torch.lowering.work import macs_of
from sed_torch.tables import listed

__all__ = ["boundary", "calls_of", "recomputed", "several_calls"]

_BEFORE = ("input", "copy", "cast")
"""What an operator keeps before it computes anything."""


def calls_of(graph: Graph, paths: Sequence[str]) -> Mapping[str, int]:
    """Node → number of the checkpointed call that it is in.

    A graph does not tell where one call of a module ends and the next begins. Where all operators of a module come
    several times over, in the same order, it is taken to be called so many times.
    """
    found: dict[str, int] = {}
    count = 0
    for runs in _runs(graph, paths).values():
        for call in _split(runs):
            found |= dict.fromkeys((n.name for n in call), count)
            count += 1
    return found


def several_calls(graph: Graph, paths: Sequence[str]) -> tuple[str, ...]:
    """Which modules are taken to be called several times, in words."""
    counts = {path: len(_split(runs)) for path, runs in _runs(graph, paths).items()}
    several = [f"{path} ({count} times)" for path, count in counts.items() if count > 1]
    if not several:
        return ()
    words = "checkpointed modules whose operators come several times over are taken to be called as often"
    return (f"{words}: {listed(several, 3)}",)


def _runs(graph: Graph, paths: Sequence[str]) -> Mapping[str, list[list[Node]]]:
    """Checkpointed module → its operators, in stretches without others between them."""
    if not paths:
        return {}
    chosen = set(paths)
    nodes = [n for n in graph.nodes if n.op not in ("input", "parameter", "constant")]
    found: dict[str, list[list[Node]]] = {}
    for path, run in groupby(nodes, lambda n: _block(n.path, chosen)):
        if path:
            found.setdefault(path, []).append(list(run))
    return found


def _block(path: str, chosen: set[str]) -> str:
    """The outermost of the chosen modules that a path lies in; what one inside of it spares is not seen."""
    parts = path.split(".")
    return next((p for i in range(len(parts)) if (p := ".".join(parts[: i + 1])) in chosen), "")


def _split(runs: Sequence[list[Node]]) -> Sequence[list[Node]]:
    """The calls that a module's operators were made in."""
    keys = [[(n.path, n.target, n.source) for n in run] for run in runs]
    if len(runs) > 1 and all(k == keys[0] for k in keys):
        return runs
    nodes, steps = [n for run in runs for n in run], [k for each in keys for k in each]
    period = next(
        p for p in range(1, len(steps) + 1) if len(steps) % p == 0 and steps == steps[:p] * (len(steps) // p)
    )
    return [nodes[i : i + period] for i in range(0, len(nodes), period)]


def boundary(storages: Storages, saved: Iterable[Saved], calls: Mapping[str, int]) -> tuple[Saved, ...]:
    """What checkpointed calls read from outside: kept by the checkpoint itself, where nobody else keeps it."""
    already = {s.storage for s in saved if s.by not in calls}
    found: dict[str, Saved] = {}
    for node in storages.graph.nodes:
        for name in node.inputs if node.name in calls else ():
            root = storages.root[name]
            outside = calls.get(name) != calls[node.name] and not storages.resident(name)
            if outside and root not in already and root not in found:
                path, grows = storages.graph[name].path, root in storages.batched
                size = storages.bytes(name)
                found[root] = Saved(node.name, root, "input", size, path, CHECKPOINT, grows)
    return tuple(found.values())


def recomputed(
    graph: Graph, saved: Iterable[Saved], calls: Mapping[str, int], needing: Iterable[str]
) -> float:
    """Multiply-accumulates done once more: of each call up to the last that is kept, where the checkpoint stops.

    An operator that keeps what it reads is not computed any more, one that keeps what it computes is.

    Args:
        graph: the graph.
        saved: all that each operator keeps, also where others keep it too.
        calls: node → number of its call.
        needing: nodes that a gradient flows through.
    """
    index, flowing = graph.index, set(needing)
    last: dict[int, int] = {}
    for piece in saved:
        if piece.by in calls:
            place = index[piece.by] + (piece.kept not in _BEFORE)
            last[calls[piece.by]] = max(last.get(calls[piece.by], 0), place)
    work = {name: macs_of(graph, graph[name]) for name in calls}
    for name, macs in work.items():
        if macs and name in flowing:  # keeps at least its weight
            last[calls[name]] = max(last.get(calls[name], 0), index[name])
    return sum(macs for name, macs in work.items() if index[name] < last.get(calls[name], 0))
