"""SED2xx: parts that another part makes superfluous."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import nn

from sed_torch.attributes import Conv, Linear, Permute, Pool
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject
from sed_torch.graph import Node
from sed_torch.ops import OPS

_MIXES = ("conv", "linear")


def _is_linear_step(subject: Subject, node: Node) -> bool:
    # Batch normalisation is linear once its statistics are fixed; dropout is, in evaluation.
    if node.op in OPS.having("linear") - OPS.having("no_gradient", "weighted"):
        return len(subject.data_inputs(node)) == 1
    # a scale or shift by parameters: linear as long as only one operand is data
    return (
        node.op in OPS.having("arithmetic")
        and len(subject.data_inputs(node)) == 1
        and _first_is_data(subject, node)
    )


def _first_is_data(subject: Subject, node: Node) -> bool:
    """1 / x is not linear in x; x / 1 is."""
    return node.op != "div" or node.inputs[0] in subject.reached


@rule("SED201", "bias-before-norm", "info")
def bias_before_norm(subject: Subject) -> Iterator[Hit]:
    """A bias directly before a normalisation that subtracts its mean.

    Batch normalisation, and instance normalisation, subtract each channel's mean, the bias with it.

    Why it matters: the parameter has no effect and its gradient is zero; it costs memory and a kernel.

    What to do: ``bias=False`` in the convolution or linear layer.

    Reference: Ioffe, Szegedy (2015), arXiv 1502.03167, section 3.2.

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        size = (1, 3, 32, 32)
        path = "0"

    Near miss (layer normalisation takes one mean over all channels, not one a channel)::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(1, 8), nn.ReLU())
        size = (1, 3, 32, 32)
    """
    for node in subject.live:
        if node.op not in _MIXES or len(node.inputs) < 3 or subject.graph[node.inputs[2]].op != "parameter":
            continue
        after = next(subject.forward_alone(node), None)
        if after is None or after.op not in ("batch_norm", "instance_norm"):
            continue
        if after.op == "batch_norm" and not subject.is_batch_norm(after):
            continue  # frozen statistics do not subtract the bias
        bias = subject.graph[node.inputs[2]]
        yield Hit(
            node.path,
            f"the bias is subtracted again by the {after.op.replace('_', ' ')} after it",
            "set bias=False",
            {"bias": bias.target, "entries": bias.numel, "norm_path": after.path},
            node.source,
        )


def _is_linear_map(subject: Subject, node: Node) -> bool:
    """A convolution or linear layer of data; one whose weight depends on the data as well is no linear map."""
    return (
        node.op in _MIXES
        and node.inputs[0] in subject.reached
        and not any(i in subject.reached for i in node.inputs[1:])
    )


def _pair_after(subject: Subject, first: Node) -> tuple[Node, bool] | None:
    """The linear map that reads ``first`` through linear operators alone, and whether it mixes another axis."""
    axis = _mixed_axis(first)
    for node in subject.forward_alone(first):
        if node.op in _MIXES:
            return (node, axis not in (None, _mixed_axis(node))) if _is_linear_map(subject, node) else None
        if not _is_linear_step(subject, node):
            return None
        order = node.of(Permute).order if node.op in OPS.ruled("permute") else ()
        if axis in order:
            axis = order.index(axis)
        elif node.op in OPS.ruled("reshape", "permute") or len(node.shape or ()) != len(first.shape or ()):
            axis = None  # it may stand anywhere now
    return None


def _mixed_axis(node: Node) -> int | None:
    """The axis of channels in what a convolution or linear layer leaves; a layer keeps its place."""
    if node.shape is None:
        return None
    return len(node.shape) - (1 if node.op == "linear" else 1 + len(_taps(node)))


def _groups(node: Node) -> int:
    """Groups of a convolution; 1 of a linear layer."""
    return 1 if node.op in OPS.ruled("linear") else node.of(Conv).groups


def _made(node: Node) -> int:
    """Output channels of a convolution or linear layer."""
    return node.of(Linear).c_out


def _total_in(node: Node) -> int:
    return node.of(Linear).c_in * _groups(node)


def _taps(node: Node) -> tuple[int, ...]:
    return node.window


def _factorises(first: Node, second: Node) -> str | None:
    """Why two linear maps in a row are worth more than one, if they are."""
    if _groups(first) != _groups(second):
        return "a grouped and a dense layer: a factorised convolution"
    if _made(first) < min(_total_in(first), _made(second)):
        return "narrower between than at both ends: a low-rank factorisation"
    a, b = _taps(first), _taps(second)
    both_slide = len(a) == len(b) and max(a, default=1) > 1 and max(b, default=1) > 1
    if both_slide and all(x == 1 or y == 1 for x, y in zip(a, b, strict=True)):
        return "kernels along different axes: a separable convolution"
    return None


def _fixed(subject: Subject, first: Node, second: Node) -> str | None:
    trained = all(any(i in subject.trained for i in n.inputs[1:2]) for n in (first, second))
    return None if trained else "a fixed transform"


def _composed(first: Node, second: Node) -> int:
    """Weights of the single layer that computes the same."""
    a, b = _taps(first), _taps(second)
    n = max(len(a), len(b))
    a, b = a or (1,) * n, b or (1,) * n
    taps = math.prod(x + (y - 1) for x, y in zip(a, b, strict=True)) if len(a) == len(b) else math.prod(a)
    return _total_in(first) * _made(second) * taps // _groups(first)


def _weights(subject: Subject, node: Node) -> int:
    weight = subject.weight(node)
    return weight.numel if weight is not None else 0


@rule("SED202", "linear-after-linear", "warning")
def linear_after_linear(subject: Subject) -> Iterator[Hit]:
    """Two linear maps with no nonlinearity between them.

    Convolutions and linear layers, with nothing between but batch normalisation, pooling by mean, dropout or
    a change of shape, compute what one of them could. Where the pair is a factorisation that saves weights
    (low rank, depthwise then pointwise, 1×k then k×1, one axis then another) or a fixed transform (a buffer or
    frozen) it is info, for that is done on purpose.

    Why it matters: depth without nonlinearity adds parameters and cost, no functions. Usually an activation
    was forgotten.

    What to do: put an activation between, or merge the two.

    Reference: the composition of two linear maps is linear; for deliberate linear bottlenecks, Sandler et al.
    (2018), arXiv 1801.04381.

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.ReLU())
        size = (1, 3, 32, 32)
        path = "2"

    Near miss::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        size = (1, 3, 32, 32)
    """
    for first in subject.live:
        pair = _pair_after(subject, first) if _is_linear_map(subject, first) else None
        if pair is None:
            continue
        second, apart = pair
        why = "along different axes: a separable map" if apart else None
        why = why or _factorises(first, second) or _fixed(subject, first, second)
        evidence: dict[str, Any] = {
            "first": first.path,
            "weights": _weights(subject, first) + _weights(subject, second),
            "weights_of_one": _composed(first, second),
        }
        yield Hit(
            second.path,
            f"no nonlinearity between {first.path or first.name} and this layer"
            + (f" ({why})" if why else ""),
            "nothing, if it is meant" if why else "put an activation between, or merge the two",
            evidence,
            second.source,
            "info" if why else None,
        )


def _no_effect(subject: Subject, node: Node) -> str | None:
    """Why an operator returns what it reads, if it does."""
    inputs = subject.data_inputs(node)
    if len(inputs) != 1:
        return None
    before = inputs[0]
    if node.op == before.op and node.op in OPS.having("idempotent"):
        return f"{node.op} of {before.op} is the same {node.op}"
    if node.op == "relu" and before.op in OPS.having("nonnegative"):
        return f"what {before.op} leaves is not negative already"
    if node.op in ("max_pool", "avg_pool") and math.prod((*node.window, *node.of(Pool).stride)) == 1:
        return "a pool of one position with stride 1"
    if node.op == "adaptive_avg_pool" and node.shape == before.shape:
        return f"the map has the wanted {'×'.join(map(str, (node.shape or ())[2:]))} positions already"
    if node.op == "batch_norm" and before.op == "batch_norm":
        return "a batch normalisation of a batch normalisation"
    return None


def _identity_runs(subject: Subject) -> Iterator[list[str]]:
    """Runs of nn.Identity in an nn.Sequential."""
    for path, module in subject.modules.items():
        if type(module) is not nn.Sequential:
            continue
        run: list[str] = []
        for name, child in [*module.named_children(), ("", None)]:
            if isinstance(child, nn.Identity):
                run.append(f"{path}.{name}" if path else name)
            else:
                if len(run) > 1:
                    yield run
                run = []


@rule("SED203", "no-effect", "info")
def no_effect(subject: Subject) -> Iterator[Hit]:
    """An operator that returns what it reads: ReLU of ReLU, a 1×1 pool, Identity after Identity.

    Why it matters: it costs a kernel launch and says something other than the author meant.

    What to do: remove it. An adaptive pool without effect at this input size may matter at another.

    Reference: max(0, max(0, x)) = max(0, x).

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ReLU())
        size = (1, 3, 32, 32)
        path = "2"

    Near miss::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Identity())
        size = (1, 3, 32, 32)
    """
    for node in subject.live:
        why = _no_effect(subject, node)
        if why:
            yield Hit(
                node.path,
                f"{node.op} changes nothing: {why}",
                "remove it",
                {"operator": node.op},
                node.source,
            )
    for run in _identity_runs(subject):
        yield Hit(
            run[0],
            f"{len(run)} Identity modules in a row",
            "remove them",
            {"paths": tuple(run)},
            subject.assigned(run[0]),
        )


def _grouped(node: Node) -> bool:
    return node.op == "conv" and _groups(node) > 1


def _unmixed_before(subject: Subject, node: Node) -> Node | None:
    """The grouped convolution whose groups still stand apart where ``node`` reads."""
    before = subject.back_through(node, OPS.having("keeps_channels"))
    if before is node or not _grouped(before):
        return None
    return before if math.gcd(_groups(before), _groups(node)) > 1 else None


def _mixed_after(subject: Subject, node: Node) -> bool:
    """Whether something mixes the channels of what ``node`` computed, some time later."""
    seen, todo = {node.name}, [node]
    while todo:
        current = todo.pop()
        for reader in subject.needed_readers(current):
            if (
                reader.op in OPS.having("keeps_channels")
                or _grouped(reader)
                or reader.op in ("add", "mul", "mean")
            ):
                if reader.name not in seen:
                    seen.add(reader.name)
                    todo.append(reader)
            else:
                return True
    return False


@rule("SED204", "groups-never-mixed", "info")
def groups_never_mixed(subject: Subject) -> Iterator[Hit]:
    """A grouped convolution reads another one with no channel mixing between.

    The groups are separate networks until something mixes them: a dense layer, a shuffle. It is a warning when
    nothing ever does.

    Why it matters: a channel can learn from its own group only.

    What to do: put a 1×1 convolution or a channel shuffle between.

    Reference: Zhang et al. (2018), arXiv 1707.01083, section 3.1 (ShuffleNet).

    Triggers::

        model = nn.Sequential(
            nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4),
            nn.ReLU(), nn.Conv2d(8, 8, 1),
        )
        size = (1, 4, 32, 32)
        path = "4"

    Near miss (a shuffle)::

        model = nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=4), nn.ReLU(), nn.ChannelShuffle(4), nn.Conv2d(8, 8, 3, groups=4)
        )
        size = (1, 4, 32, 32)
    """
    for node in subject.live:
        before = _unmixed_before(subject, node) if _grouped(node) else None
        if before is None:
            continue
        mixed = _mixed_after(subject, node)
        groups = math.gcd(_groups(before), _groups(node))
        yield Hit(
            node.path,
            f"{groups} groups of channels stay apart from {before.path or before.name} to here"
            + ("" if mixed else " and to the output"),
            "put a 1×1 convolution or a channel shuffle between",
            {"groups": groups, "first": before.path, "mixed_later": mixed},
            node.source,
            None if mixed else "warning",
        )
