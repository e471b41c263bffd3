"""How strong the gradient is at each layer, relative to the last one, for the weights the model holds now.

The same closed form as :mod:`.signal`, followed from the end: E[(∂L/∂x)²] of an entry, with pre-activations taken as
Gaussian and weights as independent of the gradient.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import torch

from sed_torch.diagnostics.signal import (
    ACTIVATIONS,
    LARGEST,
    Signal,
    eps_of,
    gaussian,
    moment_of,
    normalised_by_hand,
    parameter,
    share_passed,
    slope_of,
)
from sed_torch.diagnostics.subject import Subject
from sed_torch.graph import Node
from sed_torch.ops import OPS

__all__ = ["gradients"]


def gradients(subject: Subject, signals: Mapping[str, Signal]) -> dict[str, float]:
    """E[(∂L/∂x)²] at an entry of each value before the last layer, if it is 1 at an entry of what that one leaves.

    Args:
        subject: a traced model.
        signals: the strength of each value, as :func:`sed_torch.diagnostics.signal.signals` gives it.

    Returns:
        Node → mean square; without the nodes whose gradient passes a layer whose weights have no values.
    """
    layers = [n for n in subject.live if n.op in ("conv", "linear")]
    found: dict[str, float] = {layers[-1].name: 1.0} if layers else {}
    lost: set[str] = set()
    for node in reversed(subject.live):
        if node.name in lost:
            found.pop(node.name, None)
            lost.update(node.inputs)
        elif node.name in found:
            _to_inputs(subject, node, signals, found, lost)
    return found


def _to_inputs(
    subject: Subject, node: Node, signals: Mapping[str, Signal], found: dict[str, float], lost: set[str]
) -> None:
    inputs = subject.data_inputs(node)
    for x in inputs:
        factor = _factor(subject, node, x, signals, [i for i in inputs if i is not x])
        if factor is None:
            lost.add(x.name)
        else:
            found[x.name] = min(found.get(x.name, 0.0) + found[node.name] * factor, LARGEST)


def _factor(
    subject: Subject, node: Node, x: Node, signals: Mapping[str, Signal], others: list[Node]
) -> float | None:
    """By what the mean square of a gradient is multiplied on its way from a result to an operand."""
    before = signals.get(x.name, Signal(1.0, 1.0))
    if node.op in ("conv", "linear"):
        return _spread(subject, node)
    if node.op in ACTIVATIONS:
        return _sloped(node.op, slope_of(subject, node), float(f"{before.moment:.6g}"))
    if node.op in OPS.having("normalises"):
        scale = parameter(subject, node, 3 if node.op == "batch_norm" else 1)
        moment = moment_of(subject, scale) if scale is not None else 1.0
        of = before.between if node.op == "batch_norm" else before.moment
        return min((moment if moment is not None else 1.0) / (of + eps_of(node)), LARGEST)
    if node.op in OPS.ruled("pool", "adaptive_pool"):
        return _gathered(node, x, signals.get(subject.data_inputs(x)[0].name, before) if x.inputs else before)
    normalised = normalised_by_hand(subject, node)
    if normalised is not None:  # the statistic takes away what of the gradient is common to all entries
        return min(1.0 / max(before.moment, 1e-30), LARGEST) if x is normalised else 0.0
    scalar = node.facts.get("scalar")
    if node.op in ("mul", "div"):
        if isinstance(scalar, (int, float)) and scalar:
            squared = float(scalar) * float(scalar)
            return squared if node.op == "mul" else 1.0 / squared
        if node.op == "mul" and others:
            return math.prod(signals[o.name].moment for o in others if o.name in signals)
    return 1.0


def _gathered(node: Node, x: Node, before: Signal) -> float:
    """What a pool gives an entry: a maximum gives all to one under its window, a mean a share to each.

    The largest under a window passes the rectifier before it more often than every second time.
    """
    outputs = min(node.numel / max(x.numel, 1), 1.0) if node.shape is not None else 1.0
    taps = math.prod(node.window) if node.window else round(1.0 / max(outputs, 1e-9))
    if "max" in node.op:
        return outputs * (2.0 * share_passed(before, taps) if x.op in ("relu", "relu6") else 1.0)
    return outputs / taps


def _spread(subject: Subject, node: Node) -> float | None:
    """fan_out · E[w²]: how many entries of the result read an entry of the operand, and how strongly."""
    weight = parameter(subject, node, 1)
    moment = moment_of(subject, weight) if weight is not None else None
    if weight is None or moment is None:
        return None
    groups, stride = int(node.attrs.get("groups", 1)), int(math.prod(node.attrs.get("stride", ())))
    share: float = weight.numel() / weight.shape[1] / groups / stride
    return share * moment


@functools.lru_cache(maxsize=4096)
def _sloped(name: str, slope: float, moment: float) -> float:
    """E[f'(u)²] for a Gaussian of this variance."""
    grid, weight = gaussian(241)
    u = (grid * math.sqrt(min(moment, LARGEST))).requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(ACTIVATIONS[name](u, slope).sum(), u)
    return float((gradient.square() * weight).sum())
