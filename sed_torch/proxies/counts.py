"""Proxies that count: parameters, multiply-accumulates, depth."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sed_torch.proxies.trial import Trial, cast, copied, forward

__all__ = ["depth", "macs", "params"]

_WEIGHTED = re.compile(r"\w*[Cc]onv\w*Backward|(Addmm|Mm|Linear|MkldnnLinear)Backward")


def params(trial: Trial) -> float:
    """Parameters of the model, shared ones once, frozen ones included. Needs no forward. More is better."""
    return float(sum(p.numel() for p in trial.model.parameters()))


def macs(trial: Trial) -> float:
    """Multiply-accumulates of one sample in convolutions and matrix products. One forward. More is better.

    Counted by ``torch.utils.flop_counter``, two flops a multiply-accumulate; biases, normalisation,
    activations and pooling are left out. Every device counts alike, the meta device too.
    """
    net, batch = _quiet(trial), trial.batch(1)
    # The counter has no formula for the CPU's fused attention; spelt out, it is two matrix products anywhere.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(*batch.args, **batch.kwargs)
    return float(counter.get_total_flops()) / 2


def depth(trial: Trial) -> float:
    """Convolutions and linear layers on the longest path from input to output. One forward. More is better.

    Read off autograd's graph, so functional calls count and parallel branches do not add up. Products of two
    activations (attention) are not layers. Works on the meta device.
    """
    net = _quiet(trial)
    for p in net.parameters():
        p.requires_grad_(p.is_floating_point() or p.is_complex())
    output = forward(net, trial.batch(1))
    return float(_longest_path(output.grad_fn)) if output.grad_fn is not None else 0.0


def _quiet(trial: Trial) -> nn.Module:
    """A copy in eval mode and float32: counting needs no batch statistics."""
    return cast(copied(trial.model), torch.float32).eval()


def _longest_path(root: Any) -> int:
    """Longest path by weight in the autograd graph, iterative: such graphs are deeper than Python's stack."""
    longest: dict[Any, int] = {}
    stack = [root]
    while stack:
        node = stack[-1]
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        waiting = [parent for parent in parents if parent not in longest]
        if node not in longest and waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        own = 1 if _WEIGHTED.match(type(node).__name__) else 0
        longest[node] = own + max((longest[p] for p in parents), default=0)
    return longest[root]
