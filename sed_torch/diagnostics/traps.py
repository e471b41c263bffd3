"""SED3xx: what will go wrong, or go unnoticed, in training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import NOT_DATA, Subject, common_path
from sed_torch.graph import Node
from sed_torch.ops import OPS


@rule("SED301", "norm-over-one-value", "warning")
def norm_over_one_value(subject: Subject) -> Iterator[Hit]:
    """Batch normalisation over a single value a channel.

    At the given batch size there is one sample with one position: its variance is zero.

    Why it matters: PyTorch raises "Expected more than 1 value per channel when training". It also happens in the
    last batch of an epoch when one sample is left. Where the batch size was assumed, it is info.

    What to do: train with two samples or more (``drop_last=True``), or use group normalisation there.

    Reference: torch.nn.functional.batch_norm, which checks for it.

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        size = (1, 3, 32, 32)
        path = "3"

    Near miss (two samples)::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        size = (2, 3, 32, 32)
    """
    for node in subject.live:
        if node.shape is None or len(node.shape) < 2 or not subject.is_batch_norm(node):
            continue
        values = node.numel // max(node.shape[1], 1)
        if values == 1:
            yield Hit(
                node.path,
                f"batch normalisation over one value a channel at batch size {subject.graph.batch}",
                "train with two samples or more (drop_last=True), or use group normalisation here",
                {"values": values, "batch": subject.graph.batch, "shape": node.shape},
                node.source,
                None if subject.batch_given else "info",
            )


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


@rule("SED302", "dropout-before-batch-norm", "warning")
def dropout_before_batch_norm(subject: Subject) -> Iterator[Hit]:
    """Dropout before a batch normalisation.

    Dropout with rate p makes the variance of a zero-mean value 1/(1-p) times larger in training than in
    evaluation, where batch normalisation uses the variance it met in training.

    Why it matters: the shift between the two modes costs accuracy, often more than the dropout gains.

    What to do: put dropout after the last batch normalisation.

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
            )


# What a loss applies to the network's output by itself.
_LOSS_APPLIES = {
    "CrossEntropyLoss": "log_softmax",
    "cross_entropy": "log_softmax",
    "BCEWithLogitsLoss": "sigmoid",
    "binary_cross_entropy_with_logits": "sigmoid",
    "MultiLabelSoftMarginLoss": "sigmoid",
    "multilabel_soft_margin_loss": "sigmoid",
}
_LOSS_WANTS = {
    "NLLLoss": "log_softmax",
    "nll_loss": "log_softmax",
    "BCELoss": "sigmoid",
    "binary_cross_entropy": "sigmoid",
}


def _final(subject: Subject) -> list[Node]:
    """The operators that make the outputs, behind changes of shape."""
    found = []
    reshaping = OPS.ruled("reshape", "permute") | OPS.having("identity")
    for name in subject.graph.outputs:
        node = subject.graph[name]
        if node.op in reshaping and subject.data_inputs(node):
            node = subject.back_through(node, reshaping)
        found.append(node)
    return found


def _loss_name(loss: Any) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)


@rule("SED303", "activation-and-loss", "error")
def activation_and_loss(subject: Subject) -> Iterator[Hit]:
    """The network ends in an activation that the loss applies again, or lacks one that it expects.

    Looked at only when ``check(..., loss=...)`` names the loss. ``CrossEntropyLoss`` applies log-softmax,
    ``BCEWithLogitsLoss`` a sigmoid; ``NLLLoss`` expects log-probabilities, ``BCELoss`` probabilities.

    Why it matters: softmax of softmax has nearly uniform probabilities and a tiny gradient; training looks
    as if it worked, slowly. (log-softmax before ``CrossEntropyLoss`` changes nothing: info.)

    What to do: return logits, or use the loss that takes what you return.

    Reference: documentation of torch.nn.CrossEntropyLoss: "the input is expected to contain the unnormalized
    logits".

    Triggers::

        model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))
        size = (2, 4)
        options = dict(loss=nn.CrossEntropyLoss())

    Near miss::

        model = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(-1))
        size = (2, 4)
        options = dict(loss=nn.NLLLoss())
    """
    if subject.loss is None:
        return
    loss = _loss_name(subject.loss)
    applies, wants = _LOSS_APPLIES.get(loss), _LOSS_WANTS.get(loss)
    for node in _final(subject):
        if applies and node.op in OPS.having("squashes"):
            harmless = node.op == applies == "log_softmax"
            yield Hit(
                node.path,
                f"the network ends in {node.op} and {loss} applies {applies} itself",
                "return the logits",
                {"ends_in": node.op, "loss": loss},
                node.source,
                "info" if harmless else None,
            )
        elif wants and node.op in ("linear", "conv", "batch_norm", "add"):
            yield Hit(
                node.path,
                f"{loss} expects what {wants} leaves, and the network ends in {node.op}",
                f"end in {wants}, or use the loss that takes logits",
                {"ends_in": node.op, "loss": loss},
                node.source,
            )


def _frozen_between(subject: Subject) -> list[Node]:
    """Layers with a frozen weight that have trainable layers on both sides."""
    mixes = [n for n in subject.live if subject.weight(n) is not None]
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
    mixes = [n for n in subject.live if subject.weight(n) is not None]
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
