"""How a graph ends where data choose: one opaque node for what may be computed otherwise, or for what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.fx

from sed_torch.attributes import Attributes
from sed_torch.errors import TraceError
from sed_torch.ops import OPS
from sed_torch.tracing.names import target

if TYPE_CHECKING:
    from sed_torch.tracing.recorder import Recorder

__all__ = ["cut_short", "note_choices"]


def note_choices(recorder: Recorder) -> None:
    """Add one opaque node for what data may choose otherwise: it owns the parameters of ways that were not followed."""
    if recorder.bounds is None or not recorder.bounds.chose or recorder.was_cut:
        return
    output = next(n for n in recorder.graph.nodes if n.op == "output")
    ends: Any = output.args[0]
    rest = _not_reached(recorder) if recorder.bounds.branched else []
    node = _opaque(recorder, "what data choose", (*ends, *rest))
    for late in (*rest, node):
        output.prepend(late)
    output.args = ((*ends, node),)


def cut_short(recorder: Recorder, error: TraceError) -> bool:
    """End the graph where the data would choose among entries: what follows becomes one opaque node.

    False where that is not why the forward could not be followed, or where no parameter was read yet.
    """
    ends = [n for n in recorder.graph.nodes if n.op == "call_function" and not n.users]
    read = {n.meta.get("parameter") for n in recorder.graph.nodes} - {None}
    bounded = recorder.bounds is not None and recorder.bounds.chose
    chosen = recorder.selecting or ("a choice" if bounded else None)
    if chosen is None or not read or not ends:
        return False
    node = _opaque(recorder, f"what follows {chosen}", (*ends, *_not_reached(recorder)))
    node.meta.update(path=error.module_path or "", source=error.source)
    recorder.graph.output((node,))
    recorder.opaque, recorder.was_cut = recorder.opaque + 1, True
    return True


def _not_reached(recorder: Recorder) -> list[torch.fx.Node]:
    read = {n.meta.get("parameter") for n in recorder.graph.nodes} - {None}
    named = recorder.shadow.original.named_parameters()
    return [recorder.node_of(p) for name, p in named if name not in read]


def _opaque(recorder: Recorder, name: str, reads: tuple[torch.fx.Node, ...]) -> torch.fx.Node:
    node = recorder.graph.create_node("call_function", target("what_follows"), reads, {})
    node.meta.update(spelling=name, op=OPS["opaque"], attrs=Attributes(), path="", source=None, shape=None)
    return node
