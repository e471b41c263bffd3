"""Proxies made of weights and their gradients: synflow, snip, grasp, fisher, grad_norm, l2_norm, plain.

Sums run over the weights of convolutions, linear layers and attention projections, biases and normalisation
left out, as in the zero-cost-proxy literature. The loss is cross-entropy on random inputs and random targets.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from sed_torch.proxies.trial import MIXING, Batch, Trial, UndefinedError, forward, mixing_weights

__all__ = ["fisher", "grad_norm", "grasp", "l2_norm", "plain", "snip", "synflow"]

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
_NORM_NAME = re.compile(r"(Batch|Layer|Group|Instance|RMS)Norm")  # those that libraries write themselves


def synflow(trial: Trial) -> float:
    """ln Σ |θ ⊙ ∂R/∂θ|, R the summed output on an input of ones with every weight replaced by its modulus.

    Tanaka et al., *Pruning neural networks without any data by iteratively conserving synaptic flow*, NeurIPS
    2020 (arXiv 2006.05467); as a score: Abdelfattah et al., ICLR 2021 (arXiv 2101.08134). Higher is better.
    Normalisation layers pass their input on, and the arithmetic is double. The logarithm keeps the order of
    networks and the sum in range. One forward, one backward, batch of one; no data, no loss.
    """
    net = trial.network(torch.float64)
    for module in net.modules():
        if isinstance(module, _NORMS) or _NORM_NAME.search(type(module).__name__):
            act = getattr(module, "act", None)  # fused norm-activation layers keep the activation
            # Set past nn.Module, which would file a module under this name as a child and never call it.
            vars(module)["forward"] = act.forward if isinstance(act, nn.Module) else _pass_on
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.is_floating_point():
                tensor.abs_()
    batch = trial.batch(1, dtype=torch.float64)
    ones = batch.floating()
    if not ones:
        raise UndefinedError("the model takes no floating-point input to set to ones")
    for tensor in ones:
        tensor.fill_(1.0)
    total = sum(float((w * g).abs().sum()) for w, g in _weights_and_gradients(net, forward(net, batch).sum()))
    if total == 0.0:
        raise UndefinedError("no weight has a path from input to output: ln 0")
    if not math.isfinite(total):
        raise UndefinedError("the flow is beyond double precision")
    return math.log(total)


def snip(trial: Trial) -> float:
    """Σ |θ ⊙ ∂L/∂θ|: the loss that removing a weight would cost, to first order. Higher is better.

    Lee et al., *SNIP: single-shot network pruning based on connection sensitivity*, ICLR 2019 (arXiv
    1810.02340). One forward, one backward.
    """
    return math.fsum(float((w * g).abs().double().sum()) for w, g in _loss_gradients(trial))


def plain(trial: Trial) -> float:
    """Σ θ ⊙ ∂L/∂θ, signed: a baseline of Abdelfattah et al., ICLR 2021 (arXiv 2101.08134).

    Higher is better by convention; in practice its sign varies with the draw. One forward, one backward.
    """
    return math.fsum(float((w * g).double().sum()) for w, g in _loss_gradients(trial))


def grad_norm(trial: Trial) -> float:
    """Σ over layers of ‖∂L/∂W‖₂. Higher is better.

    A baseline of Abdelfattah et al., ICLR 2021 (arXiv 2101.08134). One forward, one backward.
    """
    return math.fsum(float(g.norm()) for _, g in _loss_gradients(trial))


def l2_norm(trial: Trial) -> float:
    """Σ over layers of ‖W‖₂. Higher is better; no forward.

    A baseline of Abdelfattah et al., ICLR 2021 (arXiv 2101.08134).
    """
    with torch.no_grad():
        return math.fsum(float(w.norm()) for w in mixing_weights(trial.network()))


def grasp(trial: Trial) -> float:
    """−Σ θ ⊙ Hg, with g = ∂L/∂θ and H the Hessian: the change of gradient flow by a weight. Higher is better.

    Wang et al., *Picking winning tickets before training by preserving gradient flow*, ICLR 2020 (arXiv
    2002.07376), with the sign of Abdelfattah et al., ICLR 2021. One forward, two backwards.
    """
    net = trial.network()
    weights = mixing_weights(net)
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        loss = trial.loss(net, trial.batch())
        found = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
        pairs = [(w, g) for w, g in zip(weights, found, strict=True) if g is not None]
        squared = torch.stack([(g.detach() * g).sum() for _, g in pairs]).sum()
        live = [w for w, _ in pairs]
        curvature = torch.autograd.grad(squared, live, allow_unused=True)
    with torch.no_grad():
        products = [(w * h).double().sum() for w, h in zip(live, curvature, strict=True) if h is not None]
    return -math.fsum(float(v) for v in products)


def fisher(trial: Trial) -> float:
    """Σ over weights of the Fisher information of the channel they make. Higher is better.

    A channel's information is ½·E[(Σ_positions a·∂L/∂a)²], a the layer's output before anything follows.
    Theis et al., *Faster gaze prediction with dense networks and Fisher pruning* (arXiv 1801.05787); on
    channels: Turner et al., *BlockSwap*, ICLR 2020 (arXiv 1906.04113). Counting a channel once a weight is
    the convention of the public score tables. One forward, one backward.
    """
    net = trial.network()
    mixing_weights(net)
    parts: list[float] = []

    def watch(module: nn.Module, args: object, output: Tensor) -> None:
        if not output.requires_grad:
            return
        channels = output.shape[-1] if isinstance(module, nn.Linear) else output.shape[1]
        weights = module.weight.numel() / channels  # type: ignore[operator]
        kept = output.detach().clone()  # an in-place activation may follow

        def collect(gradient: Tensor) -> None:
            a_channel = _fisher_information(kept * gradient, channels_last=isinstance(module, nn.Linear))
            parts.append(a_channel * weights)

        output.register_hook(collect)  # type: ignore[no-untyped-call]

    for module in net.modules():
        if isinstance(module, MIXING):
            module.register_forward_hook(watch)
    _backward(trial.loss(net, trial.batch()))
    return math.fsum(parts)


def _fisher_information(product: Tensor, *, channels_last: bool) -> float:
    positions = range(1, product.dim() - 1) if channels_last else range(2, product.dim())
    a_sample = product.sum(tuple(positions)) if positions else product
    return float(a_sample.square().double().mean(0).sum()) / 2


def _loss_gradients(trial: Trial) -> list[tuple[Tensor, Tensor]]:
    net = trial.network()
    mixing_weights(net)  # says so before the forward is paid for
    batch: Batch = trial.batch()
    return _weights_and_gradients(net, trial.loss(net, batch))


def _weights_and_gradients(net: nn.Module, scalar: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weights that the scalar depends on, each with its gradient."""
    weights = mixing_weights(net)
    _backward(scalar)
    return [(w.detach(), w.grad) for w in weights if w.grad is not None]


def _backward(scalar: Tensor) -> None:
    if not scalar.requires_grad:
        raise UndefinedError("the output does not depend on any weight")
    scalar.backward()  # type: ignore[no-untyped-call]


def _pass_on(x: Tensor, *args: object, **kwargs: object) -> Tensor:
    return x
