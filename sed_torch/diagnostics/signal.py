"""How strong the signal is after each layer, for the weights the model holds now.

Two numbers are followed for inputs of unit variance: E[x²], and the variance between inputs, E[(x - x')²]/2 for two
of them. Pre-activations are taken as Gaussian (wide layers), weights as independent with mean zero.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sed_torch.diagnostics.subject import Subject
from sed_torch.graph import Node
from sed_torch.ops import OPS

_SAMPLE = 4096
LARGEST = 1e30


@dataclass(frozen=True, slots=True)
class Signal:
    """A value's strength.

    Attributes:
        moment: E[x²].
        between: variance between inputs, at most ``moment``.
    """

    moment: float
    between: float


_UNIT = Signal(1.0, 1.0)


def second_moment(tensor: Tensor) -> float | None:
    """Mean square of (a sample of) the entries; None on ``meta``, where there are no values."""
    if tensor.device.type == "meta" or not tensor.is_floating_point() or not tensor.numel():
        return None
    flat = tensor.detach().reshape(-1)
    sample = flat[:: max(1, flat.numel() // _SAMPLE)].to(torch.float32)
    return float(sample.square().mean())


def moment_of(subject: Subject, tensor: Tensor) -> float | None:
    """:func:`second_moment` of one of the model's tensors, looked at once."""
    known: dict[int, float | None] = subject.once("second moments", lambda _: {})
    if id(tensor) not in known:
        known[id(tensor)] = second_moment(tensor)
    return known[id(tensor)]


ACTIVATIONS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "relu": lambda x, _: x.clamp(min=0),
    "relu6": lambda x, _: x.clamp(0, 6),
    "leaky_relu": lambda x, slope: torch.where(x > 0, x, slope * x),
    "prelu": lambda x, slope: torch.where(x > 0, x, slope * x),
    "gelu": lambda x, _: functional.gelu(x),
    "silu": lambda x, _: functional.silu(x),
    "hardswish": lambda x, _: functional.hardswish(x),
    "hardsigmoid": lambda x, _: functional.hardsigmoid(x),
    "elu": lambda x, _: functional.elu(x),
    "selu": lambda x, _: functional.selu(x),
    "tanh": lambda x, _: torch.tanh(x),
    "sigmoid": lambda x, _: torch.sigmoid(x),
    "mish": lambda x, _: functional.mish(x),
    "softplus": lambda x, _: functional.softplus(x),
}


_PASSED: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "": lambda x, _: x,
    "above zero": lambda x, _: (x > 0).to(x.dtype),
}
"""What is asked of the largest of some values, beside their activations."""


def gaussian(points: int) -> tuple[Tensor, Tensor]:
    grid = torch.linspace(-6.0, 6.0, points, dtype=torch.float64)
    weight = torch.exp(-0.5 * grid**2)
    return grid, weight / weight.sum()


@functools.lru_cache(maxsize=4096)
def _activated(name: str, slope: float, moment: float, between: float) -> Signal:
    """E[f(u)²] and ½E[(f(u) - f(u'))²] for two Gaussians of this variance and half squared distance."""
    f = ACTIVATIONS[name]
    grid, weight = gaussian(121)
    after = float((f(grid * math.sqrt(moment), slope) ** 2 * weight).sum())
    half = math.sqrt(between / 2)
    middle, away = gaussian(121)[0] * math.sqrt(max(moment - between / 2, 0.0)), gaussian(25)
    spread = f(middle[:, None] + half * away[0], slope) - f(middle[:, None] - half * away[0], slope)
    apart = float((spread**2 * weight[:, None] * away[1]).sum()) / 2
    return Signal(after, min(apart, after))


@functools.lru_cache(maxsize=4096)
def _largest_of(name: str, slope: float, moment: float, between: float, taps: int) -> Signal:
    """As :func:`_activated`, of the largest of some Gaussians whose common part differs between units alone.

    The largest of n has the density n·φ(z)·Φ(z)ⁿ⁻¹; a rectifier before or behind a maximum leaves the same.
    """
    f = _PASSED.get(name) or ACTIVATIONS[name]
    grid, weight = gaussian(241)
    below = torch.cumsum(weight, 0) - weight / 2
    largest = weight * below ** (taps - 1)
    largest = largest / largest.sum()
    common = grid * math.sqrt(max(moment - between, 0.0))
    value = f(common[:, None] + math.sqrt(between) * grid, slope)
    square, mean = (value**2 * largest).sum(1), (value * largest).sum(1)
    after = float((square * weight).sum())
    return Signal(after, min(float(((square - mean**2) * weight).sum()), after))


def share_passed(x: Signal, taps: int) -> float:
    """How often the largest of some entries is above zero."""
    digits = (float(f"{v:.6g}") for v in (x.moment, min(x.between, x.moment)))
    return _largest_of("above zero", 0.0, *digits, min(taps, _MOST_TAPS)).moment


def _pooled(subject: Subject, node: Node, x: Signal, found: Mapping[str, Signal]) -> Signal:
    """The largest of the positions under a window, which differ as inputs do."""
    source = subject.data_inputs(node)[0] if subject.data_inputs(node) else node
    name, slope, before = "", 0.0, x
    if source.op in ("relu", "relu6", "leaky_relu") and subject.data_inputs(source):
        name, slope = source.op, slope_of(subject, source)
        before = found.get(subject.data_inputs(source)[0].name, x)
    taps = math.prod(node.window) if node.window else round(source.numel / max(node.numel, 1))
    if not 0 < before.moment < LARGEST or taps < 2:
        return x
    digits = (float(f"{v:.6g}") for v in (before.moment, min(before.between, before.moment)))
    return _largest_of(name, slope, *digits, min(taps, _MOST_TAPS))


_MOST_TAPS = 4096


def slope_of(subject: Subject, node: Node) -> float:
    """The slope below zero of a leaky rectifier, as the graph or the parameter has it."""
    slope = node.facts.get("slope", 0.0)
    if node.op == "prelu":
        weight = parameter(subject, node, 1)
        known = weight is not None and weight.device.type != "meta"
        slope = float(weight.detach().mean()) if weight is not None and known else 0.25
    return float(slope) if isinstance(slope, (int, float)) else 0.01


def _activate(subject: Subject, node: Node, x: Signal) -> Signal:
    slope = slope_of(subject, node)
    if not 0 < x.moment < LARGEST:
        return x
    digits = (
        float(f"{v:.6g}") for v in (x.moment, min(x.between, x.moment))
    )  # so that equal layers are cached
    return _activated(node.op, slope, *digits)


def _mixed(subject: Subject, node: Node, x: Signal) -> Signal | None:
    """E[y²] = fan_in · E[w²] · E[x²] + E[b²] for independent zero-mean weights; a bias is equal for all inputs."""
    weight, bias = parameter(subject, node, 1), parameter(subject, node, 2)
    moment = moment_of(subject, weight) if weight is not None else None
    if weight is None or moment is None:
        return None
    gain = weight.numel() / weight.shape[0] * moment
    shift = moment_of(subject, bias) if bias is not None else 0.0
    return Signal(gain * x.moment + (shift or 0.0), gain * x.between)


def parameter(subject: Subject, node: Node, place: int) -> Tensor | None:
    if len(node.inputs) <= place or subject.graph[node.inputs[place]].op != "parameter":
        return None
    return subject.tensors.get(subject.graph[node.inputs[place]].target)


def _given(subject: Subject, node: Node) -> list[float]:
    """Second moments of the parameters that a node reads, as far as they have values."""
    tensors = [
        subject.tensors.get(subject.graph[i].target)
        for i in node.inputs
        if subject.graph[i].op == "parameter"
    ]
    found = [moment_of(subject, t) for t in tensors if t is not None]
    return [m for m in found if m is not None]


def _normed(subject: Subject, node: Node, x: Signal) -> Signal:
    """E[y²] = E[γ²]·v / (v + ε) + E[β²] behind a normalisation with scale γ and shift β.

    Of batch normalisation v is the variance between inputs, of the others E[x²] of each input.
    """
    given = _given(subject, node)
    scale, shift = (given[0] if given else 1.0), (given[1] if len(given) > 1 else 0.0)
    eps = eps_of(node)
    power = x.between if node.op == "batch_norm" else x.moment
    kept = min(x.between / (power + eps), 1.0)
    return Signal(scale * power / (power + eps) + shift, scale * kept)


_TO_STATISTIC = (
    "sqrt",
    "rsqrt",
    "reciprocal",
    "clamp",
    "pow",
    "expand",
    "add",
    "mean",
    "sum",
    "to",
    "unsqueeze",
)


def eps_of(node: Node) -> float:
    """What a normalisation adds to a variance."""
    eps = node.facts.get("eps")
    return float(eps) if isinstance(eps, (int, float)) else 1e-5


def _is_scale(subject: Subject, name: str, steps: int = 8) -> bool:
    """Whether a value is a standard deviation, norm or its inverse, as a normalisation written by hand has it."""
    node = subject.graph[name]
    if node.op in ("std", "var", "norm"):
        return True
    if not steps or node.op not in (*_TO_STATISTIC, "square", "mul"):
        return False
    inputs = subject.data_inputs(node)
    if node.op == "square" or (node.op == "pow" and node.facts.get("scalar") == 2):
        return True
    if node.op == "mul":
        return len(node.inputs) == 2 and node.inputs[0] == node.inputs[1]
    return len(inputs) == 1 and _is_scale(subject, inputs[0].name, steps - 1)


def normalised_by_hand(subject: Subject, node: Node) -> Node | None:
    """What x · rsqrt(mean x²) or x / std normalises; None where a node is no such product."""
    inputs = subject.data_inputs(node)
    if node.op not in ("mul", "div") or len(inputs) != 2:
        return None
    for x, other in (inputs, inputs[::-1]):
        inverse = node.op == "div" and x is inputs[0]
        inverse = inverse or other.op in ("rsqrt", "reciprocal", "pow", "div")
        if inverse and other.op != "square" and _is_scale(subject, other.name):
            return x
    return None


def _by_hand(subject: Subject, node: Node, signals: list[Signal]) -> Signal | None:
    """The strength behind a normalisation that is written by hand."""
    x = normalised_by_hand(subject, node) if len(signals) == 2 else None
    if x is None:
        return None
    mine = signals[0 if x is subject.data_inputs(node)[0] else 1]
    return Signal(1.0, min(1.0, mine.between / max(mine.moment, 1e-30)))


def signals(subject: Subject) -> dict[str, Signal]:
    """The strength of each live node for inputs of unit variance. What has no rule is taken as it comes in.

    Layers whose weights have no values (``meta``) or are computed are taken to leave unit variance.
    """
    found: dict[str, Signal] = {}
    for node in subject.graph.nodes:
        if node.op == "input":
            found[node.name] = _UNIT
        elif node.name in subject.graph.live:
            inputs = [found[i] for i in node.inputs if i in found]
            found[node.name] = _capped(_after(subject, node, inputs or [_UNIT], found))
    return found


def moments(subject: Subject) -> dict[str, float]:
    """E[x²] of each live node, see :func:`signals`."""
    return {name: signal.moment for name, signal in signals(subject).items()}


def _capped(x: Signal) -> Signal:
    return Signal(min(x.moment, LARGEST), min(x.between, x.moment, LARGEST))


def _after(subject: Subject, node: Node, inputs: list[Signal], found: Mapping[str, Signal]) -> Signal:
    x = inputs[0]
    if node.op in ("max_pool", "adaptive_max_pool"):
        return _pooled(subject, node, x, found)
    if node.op in ("conv", "linear"):
        return _mixed(subject, node, x) or _UNIT
    if node.op in ("conv_transpose", "matmul", "embedding", "opaque", "unknown", "softmax"):
        return _UNIT
    if node.op in OPS.having("normalises"):
        return _normed(subject, node, x)
    if node.op in ACTIVATIONS:
        return _activate(subject, node, x)
    if node.op in ("add", "sub", "mul", "div"):
        return _combined(subject, node, inputs)
    if node.op == "addcmul":  # shift + scale · x
        given = _given(subject, node)
        shift, scale = given if len(given) == 2 else (0.0, 1.0)
        return Signal(shift + scale * inputs[-1].moment, scale * inputs[-1].between)
    return max(inputs, key=lambda s: s.moment)


def _combined(subject: Subject, node: Node, inputs: list[Signal]) -> Signal:
    scalar = node.facts.get("scalar")
    squared = float(scalar) ** 2 if isinstance(scalar, (int, float)) else None
    given = _given(subject, node)
    x = inputs[0]
    if node.op in ("add", "sub"):
        constant = (squared or 0.0) + math.fsum(given)
        return Signal(math.fsum(s.moment for s in inputs) + constant, math.fsum(s.between for s in inputs))
    normed = _by_hand(subject, node, inputs)
    if normed is not None:
        return normed
    if node.op == "div":
        factor = 1.0 / squared if squared and len(inputs) == 1 else 1.0
        return (
            Signal(x.moment * factor, x.between * factor)
            if len(inputs) == 1
            else max(inputs, key=lambda s: s.moment)
        )
    factor = math.prod([*given, squared if squared is not None else 1.0])
    moment, equal = math.prod(s.moment for s in inputs), math.prod(s.moment - s.between for s in inputs)
    return Signal(min(moment * factor, LARGEST), max(0.0, min((moment - equal) * factor, LARGEST)))
