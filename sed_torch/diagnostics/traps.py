"""SED3xx: what will go wrong, or go unnoticed, in training."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.parameter import is_lazy

from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import NOT_DATA, Subject, common_path
from sed_torch.graph import Node
from sed_torch.ops import OPS


def _norm_after(subject: Subject, node: Node) -> Node | None:
    """The first normalisation on a way forward from ``node`` that meets no other, if it is a batch one."""
    seen, todo = {node.name}, [node]
    while todo:
        for reader in subject.needed_readers(todo.pop(0)):
            if reader.op in OPS.having("normalises"):
                if subject.is_batch_norm(reader):
                    return reader
            elif reader.name not in seen:
                seen.add(reader.name)
                todo.append(reader)
    return None


SLIGHT = 0.05
"""Dropout below this rate shifts the variance by so little that no pass measures it."""


@rule("SED302", "dropout-before-batch-norm", "warning")
def dropout_before_batch_norm(subject: Subject) -> Iterator[Hit]:
    """Dropout before a batch normalisation.

    Dropout with rate p makes the variance of a zero-mean value 1/(1-p) times larger in training than in
    evaluation, where batch normalisation uses the variance it met in training.

    Why it matters: the shift between the two modes costs accuracy, often more than the dropout gains.

    What to do: put dropout after the last batch normalisation. Below a rate of 0.05 the shift is slight: info.

    Reference: Li et al. (2019), arXiv 1801.05134, "Understanding the disharmony between dropout and batch
    normalization by variance shift".

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(0.5), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
        size = (1, 3, 32, 32)
        path = "1"

    Near miss::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.Conv2d(8, 8, 3))
        size = (1, 3, 32, 32)
    """
    for node in subject.live:
        rate = subject.dropout_rate(node) if node.op == "dropout" else 0.0
        norm = _norm_after(subject, node) if 0.0 < rate < 1.0 else None
        if norm is not None:
            yield Hit(
                node.path,
                f"dropout of {rate:g} before the batch normalisation {norm.path or 'in the root'}",
                "put dropout after the last batch normalisation",
                {"p": rate, "variance_ratio": 1.0 / (1.0 - rate), "norm_path": norm.path},
                node.source,
                None if rate >= SLIGHT else "info",
            )


def _layers(subject: Subject) -> list[Node]:
    """Layers that mix channels by a parameter; a table that is added is none."""
    weighted = OPS.having("weighted")
    return [n for n in subject.live if n.op in weighted and subject.weight(n) is not None]


def _frozen_between(subject: Subject) -> list[Node]:
    """Layers with a frozen weight that have trainable layers on both sides."""
    mixes = _layers(subject)
    before = subject.trained
    after: set[str] = set()
    for node in reversed(subject.graph.nodes):
        weight = subject.weight(node) if node.op not in NOT_DATA else None
        if node.name in after or (
            weight is not None and weight.trainable and node.name in subject.graph.live
        ):
            after.update(node.inputs)
    return [
        n
        for n in mixes
        if not _trainable(subject, n)
        and n.inputs[0] in before
        and n.name in after
        and n.inputs[0] in subject.reached
    ]


def _trainable(subject: Subject, node: Node) -> bool:
    weight = subject.weight(node)
    return weight is not None and weight.trainable


@rule("SED306", "frozen-in-the-middle", "warning")
def frozen_in_the_middle(subject: Subject) -> Iterator[Hit]:
    """A frozen layer with trainable layers before and behind it.

    Why it matters: the gradient is computed through it and changes what comes before, so the usual saving of a
    frozen backbone is not had, and what lies before is trained to suit a layer that cannot follow. Mostly one
    ``requires_grad_(False)`` too many or too few. Where most layers are frozen (adapters), it is info.

    What to do: freeze everything before it as well, or unfreeze it.

    Reference: none; it is a question of intent.

    Triggers::

        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        model[2].requires_grad_(False)
        size = (1, 4)
        path = "2"

    Near miss (a frozen beginning)::

        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        model[0].requires_grad_(False)
        size = (1, 4)
    """
    frozen = _frozen_between(subject)
    if not frozen:
        return
    mixes = _layers(subject)
    most = sum(not _trainable(subject, n) for n in mixes) > len(mixes) / 2
    paths = tuple(n.path for n in frozen)
    yield Hit(
        common_path(paths),
        f"{len(frozen)} frozen layer{'s' if len(frozen) > 1 else ''} with trainable layers before and behind",
        "freeze everything before as well, or unfreeze it",
        {"layers": paths},
        frozen[0].source,
        "info" if most else None,
    )


@rule("SED307", "float16-parameters", "warning")
def float16_parameters(subject: Subject) -> Iterator[Hit]:
    """Trainable parameters in float16.

    Why it matters: float16 holds nothing below 6·10⁻⁸; gradients underflow to zero and updates smaller than
    a 2000th of a weight are lost. A gradient scaler works with float32 parameters only: it refuses to
    unscale float16 gradients.

    What to do: keep the parameters in float32 and use ``torch.autocast`` with a scaler, or use bfloat16.

    Reference: Micikevicius et al. (2018), arXiv 1710.03740, section 3.1, "FP32 master copy of weights".

    Triggers::

        model = nn.Sequential(nn.Linear(4, 4)).half()
        size = (1, 4)

    Near miss::

        model = nn.Sequential(nn.Linear(4, 4)).bfloat16()
        size = (1, 4)
    """
    half = [p for p in subject.graph.parameters if p.dtype == "float16" and p.trainable]
    if half:
        yield Hit(
            common_path([p.name.rpartition(".")[0] for p in half]),
            f"{len(half)} trainable parameters are in float16",
            "keep them in float32 and use torch.autocast with a scaler, or use bfloat16",
            {"parameters": len(half), "entries": sum(p.numel for p in half)},
        )


@rule("SED308", "uninitialised-lazy", "error")
def uninitialised_lazy(subject: Subject) -> Iterator[Hit]:
    """A lazy layer has no parameters yet.

    Why it matters: an optimizer built now would not hold them, ``DistributedDataParallel`` and
    ``torch.compile`` refuse them, and the network cannot be traced, so nothing else can be checked.

    What to do: run one forward on a dummy input before building the optimizer.

    Reference: documentation of torch.nn.modules.lazy.LazyModuleMixin.

    Triggers::

        model = nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU())
        size = (1, 3, 32, 32)
        path = "0"

    Near miss::

        model = nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU())
        model(torch.zeros(1, 3, 32, 32))
        size = (1, 3, 32, 32)
    """
    yield from lazy_hits(subject.model)


def lazy_hits(model: nn.Module) -> Iterator[Hit]:
    """Findings of SED308; a model that has any cannot be traced."""
    for path, module in model.named_modules():
        names = [n for n, p in (*module._parameters.items(), *module._buffers.items()) if is_lazy(p)]
        if names:
            yield Hit(
                path,
                f"{type(module).__name__} is lazy and has not met an input: {', '.join(names)} have no shape",
                "run one forward on a dummy input before building the optimizer",
                {"parameters": tuple(names)},
            )
