"""SED309: how strong the signal is after each layer, for the weights the model holds now."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from sed_torch.diagnostics.reach import cuts
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject
from sed_torch.graph import Node
from sed_torch.ops import OPS

LOW, HIGH = 1e-3, 1e3
"""Limits of the second moment E[x²] at a layer, for an input of unit variance."""

CHAIN = 3
"""Layers without a normalisation that make a chain."""

_SAMPLE = 4096


def _second_moment(tensor: Tensor) -> float | None:
    """Mean square of (a sample of) the entries; None on ``meta``, where there are no values."""
    if tensor.device.type == "meta" or not tensor.is_floating_point() or not tensor.numel():
        return None
    flat = tensor.detach().reshape(-1)
    sample = flat[:: max(1, flat.numel() // _SAMPLE)].to(torch.float32)
    return float(sample.square().mean())


def _gaussian_moment(f: Callable[[Tensor], Tensor]) -> Callable[[float], float]:
    """E[f(x)²] for x ~ N(0, q), by quadrature."""
    grid = torch.linspace(-8.0, 8.0, 801)
    weight = torch.exp(-0.5 * grid**2)
    weight = weight / weight.sum()

    def moment(q: float) -> float:
        return float((f(grid * math.sqrt(q)) ** 2 * weight).sum())

    return moment


_ACTIVATIONS: Mapping[str, Callable[[float], float]] = {
    "relu": lambda q: q / 2,
    "relu6": _gaussian_moment(lambda x: x.clamp(0, 6)),
    "leaky_relu": lambda q: q * (1 + 0.01**2) / 2,
    "gelu": _gaussian_moment(torch.nn.functional.gelu),
    "silu": _gaussian_moment(torch.nn.functional.silu),
    "hardswish": _gaussian_moment(torch.nn.functional.hardswish),
    "elu": _gaussian_moment(torch.nn.functional.elu),
    "selu": _gaussian_moment(torch.nn.functional.selu),
    "tanh": _gaussian_moment(torch.tanh),
    "sigmoid": _gaussian_moment(torch.sigmoid),
    "mish": _gaussian_moment(torch.nn.functional.mish),
}


def _mixed(subject: Subject, node: Node, q: float) -> float | None:
    """E[y²] = fan_in · E[w²] · E[x²] + E[b²] for independent zero-mean weights."""
    weight, bias = _parameter(subject, node, 1), _parameter(subject, node, 2)
    moment = _second_moment(weight) if weight is not None else None
    if weight is None or moment is None:
        return None
    fan_in = weight.numel() / weight.shape[0]
    shift = _second_moment(bias) if bias is not None else 0.0
    return fan_in * moment * q + (shift or 0.0)


def _parameter(subject: Subject, node: Node, place: int) -> Tensor | None:
    if len(node.inputs) <= place or subject.graph[node.inputs[place]].op != "parameter":
        return None
    name = subject.graph[node.inputs[place]].target
    found = subject.tensors.get(name)
    return found


def _given(subject: Subject, node: Node) -> list[float]:
    """Second moments of the parameters that a node reads, as far as they have values."""
    tensors = [
        subject.tensors.get(subject.graph[i].target)
        for i in node.inputs
        if subject.graph[i].op == "parameter"
    ]
    found = [_second_moment(t) for t in tensors if t is not None]
    return [m for m in found if m is not None]


def _normed(subject: Subject, node: Node) -> float:
    """E[y²] = E[γ²] + E[β²] behind a normalisation with scale γ and shift β."""
    given = _given(subject, node)
    return given[0] + (given[1] if len(given) > 1 else 0.0) if given else 1.0


def moments(subject: Subject) -> dict[str, float]:
    """E[x²] of each live node, for an input of unit variance. What has no rule here is taken as it comes in.

    Layers whose weights have no values (``meta``) or are computed are taken to leave unit variance.
    """
    found: dict[str, float] = {}
    for node in subject.graph.nodes:
        if node.op == "input":
            found[node.name] = 1.0
        elif node.name in subject.graph.live:
            inputs = [found[i] for i in node.inputs if i in found]
            found[node.name] = _moment(subject, node, inputs or [1.0])
    return found


def _moment(subject: Subject, node: Node, inputs: list[float]) -> float:
    if node.op in ("conv", "linear"):
        mixed = _mixed(subject, node, inputs[0])
        return 1.0 if mixed is None else mixed
    if node.op in ("conv_transpose", "matmul", "embedding", "opaque", "unknown"):
        return 1.0
    if node.op in OPS.having("normalises"):
        return _normed(subject, node)
    if node.op in _ACTIVATIONS:
        return _ACTIVATIONS[node.op](inputs[0])
    if node.op in ("add", "sub"):
        return math.fsum(inputs)
    if node.op == "mul":
        return min(math.prod([*inputs, *_given(subject, node)]), 1e30)
    if node.op == "addcmul":  # shift + scale · x
        given = _given(subject, node)
        return given[0] + given[1] * inputs[-1] if len(given) == 2 else inputs[-1]
    if node.op == "softmax":
        return 1.0
    return max(inputs)


def _depths(subject: Subject) -> dict[str, int]:
    """Layers since the last normalisation, or since the input, along the longest way."""
    found: dict[str, int] = {}
    for node in subject.live:
        before = max((found.get(i, 0) for i in node.inputs), default=0)
        found[node.name] = (
            0 if node.op in OPS.having("normalises") else before + (node.op in ("conv", "linear"))
        )
    return found


@rule("SED309", "signal-out-of-range", "warning")
def signal_out_of_range(subject: Subject) -> Iterator[Hit]:
    """The signal fades or grows out of [10⁻³, 10³] in a chain of layers without normalisation.

    E[x²] is followed from layer to layer for an input of unit variance, with the second moments of the weights
    that the model holds now (a sample of each; nothing is run). PyTorch's default initialisation gives
    Var(w) = 1/(3·fan_in), which with ReLU divides the signal by six at every layer. Models on ``meta`` have no
    weights and are passed over; so are branches that a skip goes around, and the last layer.

    Why it matters: gradients fade or grow at the same rate; deep networks of this kind do not start to learn.

    What to do: add normalisation, or initialise for the activation (``nn.init.kaiming_normal_``).

    Reference: He et al. (2015), arXiv 1502.01852, section 2.2.

    Triggers::

        model = nn.Sequential(*[m for _ in range(8) for m in (nn.Linear(256, 256), nn.ReLU())])
        for p in model.parameters():
            p.data.mul_(0.5 if p.dim() > 1 else 0.0)
        size = (1, 256)

    Near miss::

        model = nn.Sequential(*[m for _ in range(8) for m in (nn.Linear(256, 256), nn.ReLU())])
        for m in model:
            if isinstance(m, nn.Linear):
                nn.init.kaiming_normal_(m.weight)
        size = (1, 256)
    """
    found = moments(subject)
    layers = [n for n in subject.live if n.op in ("conv", "linear")]
    depths = _depths(subject)
    # a value that a skip goes around may be as small as its author likes, and so may the logits
    for node in [n for n in cuts(subject) if n in layers and n is not layers[-1]]:
        q = found[node.name]
        if LOW <= q <= HIGH or q == 0.0 or depths[node.name] < CHAIN:
            continue
        yield Hit(
            node.path,
            f"E[x²] is {q:.2g} after this layer for an input of unit variance: it has "
            f"{'faded' if q < LOW else 'grown'} layer by layer",
            "add normalisation, or initialise for the activation (kaiming)",
            {
                "second_moment": q,
                "limits": (LOW, HIGH),
                "layer": layers.index(node) + 1,
                "layers": len(layers),
            },
            node.source,
        )
        return  # what follows is a consequence
