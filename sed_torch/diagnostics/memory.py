"""SED322, SED323: a training step that does not fit in the memory given, and one map that takes most of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sed_torch.costing import Cost, Saved, cost_of_graphs, dropping, kept_for_backward
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import NOT_DATA, Subject
from sed_torch.errors import SedTorchError
from sed_torch.graph import Graph
from sed_torch.ops import OPS
from sed_torch.tables import mebibytes, shape_text

__all__ = ["LARGE", "uncounted"]

LARGE = 64 * 2**20
"""Bytes a sample below which one map is not worth a word, however much of the whole it is."""

SAVES = 0.95
"""What a change must bring the peak down to, as a share, to be named as a help."""


@rule("SED322", "step-exceeds-memory", "error")
def step_exceeds_memory(subject: Subject) -> Iterator[Hit]:
    """A training step does not fit in the memory given.

    Looked at only with ``check(..., memory="24GB")`` or ``sed-torch check REF --memory 24GB``. What a step takes is
    counted as :func:`sed_torch.cost` does: parameters, gradients, the optimiser's state, and what autograd keeps.
    The workspace of kernels, the CUDA context and fragmentation come on top, so leave some room.

    An error where not even one sample fits; a warning where one does and the batch that was given does not.

    Why it matters: the run ends with an out-of-memory error at its first step, perhaps after hours in a queue.

    What to do: take a smaller batch and accumulate gradients; train under autocast; checkpoint the blocks
    (``torch.utils.checkpoint``); take an optimiser that keeps less. The finding says what each would come to;
    ``sed-torch cost`` shows the blocks.

    Reference: Chen et al. (2016), arXiv 1604.06174; Rajbhandari et al. (2020), arXiv 1910.02054, section 3.

    Triggers::

        model = nn.Sequential(nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))
        size = (8, 1024)
        options = dict(memory="12MB")

    Near miss::

        model = nn.Sequential(nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))
        size = (8, 1024)
        options = dict(memory="12MB", optimizer="sgd")
    """
    memory = subject.memory
    if memory is None:
        return
    given = _cost(subject)
    if given.peak <= memory:
        return
    one = _cost(subject, batch_size=1) if given.batch > 1 else given
    if one.peak > memory:
        more = mebibytes(given.peak) != mebibytes(one.peak)
        also = f" ({mebibytes(given.peak)} with the batch of {given.batch})" if more else ""
        text = f"not even one sample fits in {mebibytes(memory)}: a training step takes {_peak(one)}{also}"
        yield _hit(subject, one, given, memory, text, 0)
    elif subject.batch_given:
        most = given.largest_batch(memory)
        text = (
            f"a batch of {given.batch} does not fit in {mebibytes(memory)}: a training step takes {_peak(given)}; "
            f"the largest batch that fits is {most}"
        )
        yield _hit(subject, given, given, memory, text, most)


@rule("SED323", "map-takes-most-memory", "info")
def map_takes_most_memory(subject: Subject) -> Iterator[Hit]:
    """One map takes more than half of the memory that is kept for the backward pass.

    Only from 64 MiB a sample on; the input itself is not counted as a map, and neither is what a recurrent layer
    keeps for all its steps.

    Why it matters: that one map decides how large the batch, the image or the sequence can be, and all other layers
    together could be had again for what it takes.

    What to do: stride or pool before it, or give it fewer channels; checkpoint the part that makes it. Attention
    weights are not kept by ``F.scaled_dot_product_attention``.

    Reference: Chen et al. (2016), arXiv 1604.06174; Dao et al. (2022), arXiv 2205.14135, section 2.2.

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 128, 3), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(128, 8, 3))
        size = (1, 3, 512, 512)

    Near miss::

        model = nn.Sequential(nn.Conv2d(3, 128, 3, stride=4), nn.ReLU(), nn.Conv2d(128, 8, 3))
        size = (1, 3, 512, 512)
    """
    graph = subject.graph
    if not _may_be_large(graph):
        return
    pieces = kept_for_backward(graph)
    total = sum(s.bytes for s in pieces)
    sizes: defaultdict[str, int] = defaultdict(int)
    last: dict[str, Saved] = {}
    for piece in pieces:
        if piece.batched and not (piece.kept == "state" and piece.op in OPS.having("recurrent")):
            sizes[piece.storage] += piece.bytes
            last[piece.storage] = piece
    if not sizes:
        return
    storage = max(sizes, key=lambda s: sizes[s])
    size, samples = sizes[storage], graph.batch
    node = graph[storage.split(":", 1)[0]]
    if node.op == "input" or 2 * size <= total or size < LARGE * samples:
        return
    shape = shape_text(node.shape) if node.shape and storage == node.name else ""
    yield Hit(
        node.path,
        f"one map{f' ({shape})' if shape else ''} takes {size / total:.0%} of what is kept for the backward pass: "
        f"{mebibytes(size / samples)} a sample of {mebibytes(total / samples)}",
        "stride or pool before it, give it fewer channels, or checkpoint the part that makes it; let "
        "F.scaled_dot_product_attention compute attention weights",
        {"bytes_a_sample": round(size / samples), "share": size / total, "kept": last[storage].kept},
        node.source,
    )


def _may_be_large(graph: Graph) -> bool:
    """Whether some result is large enough at 16 bytes an entry, the most there is; spares most models the counting.

    Attention modules keep maps inside that are the result of no node.
    """
    return any(
        n.op == "multi_head_attention_forward"
        or (n.op not in NOT_DATA and n.shape is not None and 16 * n.numel >= LARGE * graph.batch)
        for n in graph.nodes
    )


def uncounted(subject: Subject) -> tuple[str, ...]:
    """What the memory of a step leaves out or guesses for this model, in words; empty where no memory was given."""
    if subject.memory is None:
        return ()
    found = _cost(subject)
    lines = [a for a in found.assumed if a not in subject.graph.assumed]
    if found.unknown:
        lines.append(f"what {', '.join(found.unknown)} keep for the backward pass is not counted")
    return tuple(f"memory: {line}" for line in lines)


def _cost(subject: Subject, **changed: Any) -> Cost:
    """The cost of a step at the batch that was given, or with something else."""
    if not changed:
        found: Cost = subject.once("cost", lambda s: _counted(s, {}))
        return found
    return _counted(subject, changed)


def _counted(subject: Subject, changed: Mapping[str, Any]) -> Cost:
    graph = subject.graph
    options: dict[str, Any] = {
        "buffers": sum(b.numel() * b.element_size() for b in subject.model.buffers()),
        "batch_size": graph.batch,
        "optimizer": subject.optimizer,
        **changed,
    }
    trained = subject.in_modes.graph if subject.in_modes is not None else None
    if trained is not None:
        try:
            return cost_of_graphs(trained, graph, **options)
        except SedTorchError:  # only the graph of evaluation has been scored, and so can be lowered for sure
            pass
    reason = "training mode could not be followed, so evaluation mode was read, with its dropouts at work"
    return cost_of_graphs(dropping(graph), graph, **options, assumed=(reason,))


def _peak(cost: Cost) -> str:
    least = "at least " if cost.unknown or any("NOT counted" in a for a in cost.assumed) else ""
    return f"{least}{mebibytes(cost.peak)} at its peak ({cost.dtype}, {cost.optimizer}{_parts(cost)})"


def _parts(cost: Cost) -> str:
    """What takes them, the largest first."""
    named = sorted(cost.parts().items(), key=lambda item: -item[1])
    return "".join(f", {name} {mebibytes(size)}" for name, size in named if size >= 0.02 * cost.peak)


def _hit(subject: Subject, cost: Cost, given: Cost, memory: int, text: str, most: int) -> Hit:
    helps = _helps(subject, cost)
    said = [f"{name} it takes {mebibytes(peak)}" for name, peak in helps.items()]
    batch = [f"take a batch of {most} and accumulate gradients"] if most else []
    return Hit(
        "",
        text,
        "; ".join([*batch, *said]) or "take a smaller model or input, or shard it over several devices",
        {
            "memory": memory,
            "batch": given.batch,
            "bytes": given.peak,
            "bytes_of_one_sample": cost.peak if cost.batch == 1 else given.peak_at(1),
            "largest_batch": most,
            "parameters": given.parameters,
            "gradients": given.gradients,
            "optimizer_state": given.optimizer_state,
            "saved_for_backward": given.activations,
            "with": helps,
        },
        severity="warning" if most else "error",
    )


def _helps(subject: Subject, cost: Cost) -> dict[str, int]:
    """What the step would take with one thing changed, for the changes that save something."""
    changes: dict[str, dict[str, Any]] = {"under autocast to bf16": {"amp": "bf16"}}
    blocks = _blocks(subject.graph)
    if blocks:
        named = ", ".join(blocks[:4]) + (", …" if len(blocks) > 4 else "")
        changes[f"with {named} checkpointed"] = {"checkpointing": blocks}
    if cost.optimizer_state:
        changes["with plain SGD"] = {"optimizer": "sgd"}
    peaks = {name: _cost(subject, batch_size=cost.batch, **change).peak for name, change in changes.items()}
    return {name: peak for name, peak in peaks.items() if peak < SAVES * cost.peak}


def _blocks(graph: Graph) -> Sequence[str]:
    """Patterns of the blocks of the outermost lists and sequences inside the model."""
    held: defaultdict[str, int] = defaultdict(int)
    for module in graph.modules:
        parent, _, name = module.path.rpartition(".")
        held[parent] += bool(parent) and name.isdigit()
    lists = [path for path, blocks in held.items() if blocks > 1]
    return [f"{p}.*" for p in lists if not any(p.startswith(f"{other}.") for other in lists)]
