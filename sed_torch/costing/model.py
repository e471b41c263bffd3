"""``sed_torch.cost``: from a module to what a training step of it takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import nn

from sed_torch._collecting import collected_rarely
from sed_torch.costing.checkpoints import boundary, calls_of, recomputed, several_calls
from sed_torch.costing.converting import converted, converted_inputs
from sed_torch.costing.devices import Device, device
from sed_torch.costing.modes import both_modes, dropping
from sed_torch.costing.optimizers import state_entries, step_entries
from sed_torch.costing.precision import AMP_DTYPES, autocast, precision
from sed_torch.costing.result import Cost, blocks_of
from sed_torch.costing.roofline import works
from sed_torch.costing.saving import (
    Saved,
    attention_kernel,
    once,
    pieces_kept,
    runs_apart,
    saved_for_backward,
)
from sed_torch.costing.storage import Storages, itemsize
from sed_torch.costing.timeline import inference_timeline, training_timeline
from sed_torch.errors import InputError, SedTorchError, TraceError
from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS
from sed_torch.scoring.result import Score
from sed_torch.tables import listed
from sed_torch.tracing import Autocast
from sed_torch.tracing.shadow import unwrap

__all__ = [
    "cost",
    "cost_of_graphs",
    "cost_of_score",
    "dropping",
    "kept_for_backward",
    "step_memory",
    "with_memory",
]

Kernels = Literal["cuda", "cpu"]
_DTYPES = ("float64", "float32", "bfloat16", "float16")


def cost(
    model: nn.Module,
    *,
    input_size: Any = None,
    input_data: Any = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    amp: str | None = None,
    optimizer: str = "adamw",
    checkpointing: Sequence[str] = (),
    gpu: str | Device | None = None,
    kernels: Kernels = "cuda",
    name: str | None = None,
) -> Cost:
    """Memory of a training step and of inference, and the least time of a step: before the first step.

    The model is not run and its weights are not read; it is left exactly as found. Memory is counted operator by
    operator: what torch's autograd keeps for the backward pass, when it is let go of, which results are views.

    Args:
        model: the module, on any device.
        input_size: as for :func:`sed_torch.score`, with batch dimension; inferred when not given.
        input_data: tensors instead; only shapes and dtypes are used.
        batch_size: samples a step; the batch of the input when None. Memory that grows with the batch is scaled.
        dtype: as if ``model.to(dtype)`` had been called and floating inputs were converted too (``"bfloat16"``);
            as found when None. Gradients and the optimizer's state follow the parameters; whole numbers stay, and so
            does what the forward itself casts (``x.float()``). The model is not touched: a copy is followed.
        amp: ``"bf16"`` or ``"fp16"`` for autocast, None without.
        optimizer: one of :data:`sed_torch.costing.OPTIMIZERS`.
        checkpointing: module paths, or patterns such as ``"blocks.*"``, whose calls are checkpointed
            (``torch.utils.checkpoint`` with ``use_reentrant=False``): only what they read is kept, and the rest is
            computed again, up to the last that is needed. An argument that no operator reads is not seen.
        gpu: a device of :data:`sed_torch.costing.DEVICES`, by name, for the largest batch and the roofline.
        kernels: whose kernels decide what is kept where they differ: ``"cuda"`` (dropout keeps a mask of one byte
            an entry) or ``"cpu"`` (a map of factors).
        name: for display; the class name when None.

    Raises:
        InputError: for an unknown option, or an input that is missing or malformed.
        TraceError: the forward could not be followed in training or in evaluation mode.

    Example:
        >>> import torch
        >>> c = cost(torch.nn.Linear(1000, 1000), input_size=(8, 1000), optimizer="sgd")
        >>> c.parameters, c.gradients, c.activations
        (4004000, 4004000, 32000)
    """
    lower_dtype = _checked(dtype, amp, kernels, batch_size)
    buffers = sum(_entry(b.dtype, dtype) * b.numel() for b in model.buffers())
    followed = converted(model, dtype) if dtype is not None else model
    name = name or type(unwrap(model)).__name__
    if followed is not None and dtype is not None:
        model, input_data, dtype = followed, converted_inputs(input_data, dtype), None
    with collected_rarely():
        training, evaluation, assumed = _followed(
            model,
            {"input_size": input_size, "input_data": input_data},
            batch_size,
            autocast(lower_dtype, device=kernels) if lower_dtype and dtype is None else None,
        )
        if dtype is not None:
            assumed += (
                f"the model could not be copied to be converted: all floating results are taken for {dtype}",
            )
        return cost_of_graphs(
            training,
            evaluation,
            buffers=round(buffers),
            batch_size=batch_size,
            dtype=dtype,
            amp=amp,
            optimizer=optimizer,
            checkpointing=checkpointing,
            gpu=gpu,
            kernels=kernels,
            name=name,
            assumed=assumed,
        )


def _followed(
    model: nn.Module, given: Mapping[str, Any], batch: int | None, under: Autocast | None
) -> tuple[Graph, Graph, tuple[str, ...]]:
    """The graphs of both modes, under autocast where the forward can be followed so, and what was assumed."""
    try:
        return both_modes(model, {**given, "autocast": under}, batch)
    except TraceError:
        if under is None:
            raise
        training, evaluation, assumed = both_modes(model, given, batch)
    words = "the forward could not be followed under autocast: dtypes by the lists of its operators"
    return training, evaluation, (*assumed, words)


def cost_of_graphs(
    training: Graph,
    evaluation: Graph,
    *,
    buffers: int = 0,
    batch_size: int | None = None,
    dtype: str | None = None,
    amp: str | None = None,
    optimizer: str = "adamw",
    checkpointing: Sequence[str] = (),
    gpu: str | Device | None = None,
    kernels: Kernels = "cuda",
    name: str | None = None,
    assumed: tuple[str, ...] = (),
) -> Cost:
    """The cost of graphs that were traced already, in training and in evaluation mode. Arguments as in :func:`cost`.

    Raises:
        InputError: for an unknown option.
    """
    lower_dtype = _checked(dtype, amp, kernels, batch_size)
    chosen = device(gpu) if isinstance(gpu, str) else gpu
    used = precision(training, dtype=dtype, amp=lower_dtype, device=kernels)
    batch = batch_size or training.batch
    times = batch / training.batch
    storages = Storages(training, used.dtypes, times)
    pieces = list(pieces_kept(storages, used, device=kernels))
    paths = blocks_of([m.path for m in training.modules], checkpointing)
    calls = calls_of(training, paths)
    saved = once(pieces, calls)
    outside = [s for s in saved if s.by not in calls]
    outside += boundary(storages, saved, calls)
    there = {s.storage for s in outside}
    again = [s for s in saved if s.by in calls and s.storage not in there]
    at_rest = precision(evaluation, dtype=dtype, amp=lower_dtype, device=kernels)
    result = Cost(
        name=name or training.name,
        batch=batch,
        optimizer=optimizer,
        dtype=dtype or _held_dtype(training),
        amp=lower_dtype,
        kernels=kernels,
        parameters=_parameter_bytes(training, dtype, trainable=False),
        trainable=_parameter_bytes(training, dtype, trainable=True),
        buffers=buffers,
        optimizer_state=_state_bytes(training, dtype, optimizer),
        saved=tuple(outside),
        training=training_timeline(
            storages, outside, _step_bytes(training, dtype, optimizer, kernels), again, calls
        ),
        inference=inference_timeline(
            Storages(evaluation, at_rest.dtypes, batch / evaluation.batch), at_rest.casts, device=kernels
        ),
        work=works(storages),
        recomputed=recomputed(training, pieces, calls, storages.differentiable) / training.batch,
        params=_params_by_module(training),
        attention={n.name: attention_kernel(storages, n, kernels) for n in _attending(training)},
        unknown=tuple(dict.fromkeys(n.target for n in training.nodes if n.inputs and n.op not in OPS)),
        assumed=(
            *training.assumed,
            *assumed,
            *several_calls(training, paths),
            *_attention(training, kernels),
            *_reserve(training, kernels),
            *_cut(training),
        ),
        device=chosen,
    )
    return result


def step_memory(graph: Graph, *, optimizer: str = "adamw", kernels: Kernels = "cuda") -> int:
    """Bytes at the fullest moment of a training step with one sample, from one graph: the quick answer of a ranking.

    What a graph in evaluation mode does not show is left out: masks of dropout, heads that only training has.
    """
    used = precision(graph, device=kernels)
    storages = Storages(graph, used.dtypes, 1 / graph.batch)
    saved = saved_for_backward(storages, used, device=kernels)
    moments = training_timeline(storages, saved, _step_bytes(graph, None, optimizer, kernels))
    held = _parameter_bytes(graph, None, trainable=False) + _state_bytes(graph, None, optimizer)
    return round(held + max(m.bytes() for m in moments))


def cost_of_score(score: Score) -> Cost | None:
    """The cost of a step of one sample with AdamW, as far as the graph in evaluation mode that was scored tells it.

    None where the graph behind the score is gone, or its memory cannot be counted.
    """
    graph = score.structure.graph if score.structure is not None else None
    if graph is None:
        return None
    words = ("as in evaluation mode: masks of dropout and buffers are not counted",)
    try:
        return cost_of_graphs(graph, graph, batch_size=1, name=score.name, assumed=words)
    except SedTorchError:
        return None


def with_memory(score: Score) -> Score:
    """A score that says what a training step of one sample takes; as it is where the graph behind it is gone."""
    graph = score.structure.graph if score.structure is not None else None
    return replace(score, memory=step_memory(graph)) if graph is not None else score


def kept_for_backward(graph: Graph, *, kernels: Kernels = "cuda") -> tuple[Saved, ...]:
    """What autograd keeps of one graph at the batch it was traced with, its dropouts at work; each memory once."""
    trained = dropping(graph)
    used = precision(trained, device=kernels)
    return saved_for_backward(Storages(trained, used.dtypes, 1.0), used, device=kernels)


def _attending(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if n.op in OPS and OPS[n.op].rule == "attention"]


def _attention(graph: Graph, kernels: Kernels) -> tuple[str, ...]:
    """Which attention is taken to run fused, and which operator by operator: torch chooses by device and operands."""
    calls = _attending(graph)
    if not calls:
        return ()
    apart = dict.fromkeys(n.path or "(root)" for n in calls if runs_apart(n, kernels))
    words = "by a fused kernel (flash or memory-efficient), which keeps no attention weights"
    if not apart:
        return (f"attention is done {words}",)
    return (f"attention is done {words}, but operator by operator in {listed(tuple(apart), 3)}",)


def _reserve(graph: Graph, kernels: Kernels) -> tuple[str, ...]:
    """That what cuDNN keeps for recurrent layers is estimated: it does not publish the size of its reserve."""
    recurrent = OPS.having("recurrent")
    paths = list(
        dict.fromkeys(
            n.path or "(root)" for n in graph.nodes if n.op in recurrent and not n.op.endswith("_cell")
        )
    )
    if kernels != "cuda" or not paths:
        return ()
    named = listed(paths, 3)
    return (f"what cuDNN keeps for the backward pass of {named} is an estimate by gates and states",)


def _cut(graph: Graph) -> tuple[str, ...]:
    """That a graph ends where data would choose: the rest of the model has a cost too, which is not counted."""
    bounds = tuple(words for words in graph.assumed if "data choose" in words)
    closed = tuple(dict.fromkeys(n.path for n in graph.nodes if n.op == "opaque" and n.path))
    if closed:
        bounds = (
            f"{listed(closed, 3)} could not be entered: what they compute and keep is NOT counted",
            *bounds,
        )
    if graph.frontend != "fx+cut":
        return bounds
    end = next((n for n in reversed(graph.nodes) if n.target.startswith("what follows")), None)
    where = f" ({end.source})" if end is not None and end.source else ""
    return (
        f"read up to where the values of data decide what is computed{where}: what follows is NOT counted",
        *bounds,
    )


def _checked(dtype: str | None, amp: str | None, kernels: str, batch: int | None) -> str | None:
    """The dtype of autocast."""
    if dtype is not None and dtype not in _DTYPES:
        raise InputError(f"dtype must be one of {', '.join(_DTYPES)}, found {dtype!r}")
    if amp is not None and amp not in (*AMP_DTYPES, *AMP_DTYPES.values()):
        raise InputError(f"amp must be one of {', '.join(AMP_DTYPES)} or None, found {amp!r}")
    if kernels not in ("cuda", "cpu"):
        raise InputError(f"kernels must be 'cuda' or 'cpu', found {kernels!r}")
    if batch is not None and batch < 1:
        raise InputError(f"batch_size must be at least 1, found {batch}")
    return AMP_DTYPES.get(amp, amp) if amp is not None else None


def _held_dtype(graph: Graph) -> str:
    counts: defaultdict[str, int] = defaultdict(int)
    for p in graph.parameters:
        counts[p.dtype] += p.numel
    return max(counts, key=lambda d: counts[d], default="float32")


def _entry(held: Any, dtype: str | None) -> float:
    """Bytes of one entry of what is held in some dtype, and converted where it is a float."""
    found = str(held).removeprefix("torch.")
    return itemsize(dtype if dtype and found in _DTYPES else found)


def _parameter_bytes(graph: Graph, dtype: str | None, *, trainable: bool) -> int:
    return round(
        sum(p.numel * _entry(p.dtype, dtype) for p in graph.parameters if p.trainable or not trainable)
    )


def _state_bytes(graph: Graph, dtype: str | None, optimizer: str) -> int:
    trained = [p for p in graph.parameters if p.trainable]
    return round(sum(state_entries(optimizer, p.shape) * _entry(p.dtype, dtype) for p in trained))


def _step_bytes(graph: Graph, dtype: str | None, optimizer: str, kernels: Kernels) -> int:
    """Held for a moment by the optimiser's step, which takes all parameters at once on a GPU."""
    trained = [p for p in graph.parameters if p.trainable]
    each = max((_entry(p.dtype, dtype) for p in trained), default=0.0)
    return round(each * step_entries(optimizer, [p.numel for p in trained], together=kernels == "cuda"))


def _params_by_module(graph: Graph) -> Mapping[str, int]:
    found: defaultdict[str, int] = defaultdict(int)
    for p in graph.parameters:
        found[p.name.rpartition(".")[0]] += p.numel
    return dict(found)
