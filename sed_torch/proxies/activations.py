"""Proxies that compare what the network does to different inputs: naswot, jacov, zen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from sed_torch.proxies.trial import Batch, Trial, UndefinedError, forward, mixing_weights

__all__ = ["jacov", "naswot", "zen"]

_EPSILON = 1e-5  # the published constant of the Jacobian score
_MIXUP = 1e-2  # the published perturbation of the Zen score
_MOMENTUM = 0.1  # of the Zen score's running variances

aten = torch.ops.aten
_RELUS = {
    aten.relu,
    aten.relu_,
    aten.leaky_relu,
    aten.leaky_relu_,
    aten._prelu_kernel,
}
_RECTIFYING_FROM = {aten.hardtanh, aten.hardtanh_, aten.clamp_min, aten.clamp_min_, aten.clamp}
_POOLS = {
    aten._adaptive_avg_pool2d,
    aten._adaptive_avg_pool3d,
    aten.adaptive_max_pool2d,
    aten.adaptive_max_pool3d,
}
_WINDOWS = {
    aten.avg_pool2d,
    aten.avg_pool3d,
    aten.max_pool2d_with_indices,
    aten.max_pool3d_with_indices,
}
_REDUCTIONS = {aten.mean, aten.amax}


def naswot(trial: Trial) -> float:
    """ln |det K|, K[i, j] the number of ReLU units that agree on samples i and j. Higher is better.

    Mellor et al., *Neural architecture search without training*, ICML 2021 (arXiv 2006.04647). Every ReLU
    that runs counts, module or functional (ReLU6, leaky and parametric ones too); undefined without any,
    and where two samples have one code. One forward. Values compare at one batch size.
    """
    net = trial.network()
    codes = _Codes(trial.batch_size)
    with torch.no_grad(), codes:
        forward(net, trial.batch())
    if codes.kernel is None:
        raise UndefinedError("the forward runs no ReLU, so samples have no binary codes")
    sign, value = torch.linalg.slogdet(codes.kernel)
    if float(sign) == 0.0:
        raise UndefinedError("the kernel is singular: some samples have the same code")
    return float(value)


def jacov(trial: Trial) -> float:
    """−Σ ln(λ + ε) + 1/(λ + ε), λ the eigenvalues of the correlation of input gradients, ε = 1e-5.

    The first version of Mellor et al. (arXiv 2006.04647v1); a sample's gradient is of its summed output.
    Higher is better. One forward, one backward. Values compare at one batch size.
    """
    net, batch = trial.network(), trial.batch()
    inputs = batch.floating()
    if not inputs:
        raise UndefinedError("the model takes no floating-point input to differentiate by")
    for tensor in inputs:
        tensor.requires_grad_(True)
    output = forward(net, batch)
    if not output.requires_grad:
        raise UndefinedError("the output does not depend on the input")
    found = torch.autograd.grad(output.sum(), inputs, allow_unused=True)
    rows = [g.flatten(1).double() for g in found if g is not None]
    if not rows:
        raise UndefinedError("the output does not depend on the input")
    correlation = torch.corrcoef(torch.cat(rows, 1))
    if not bool(correlation.isfinite().all()):
        raise UndefinedError("some sample has a constant or unbounded input gradient")
    shifted = torch.linalg.eigvalsh(correlation).clamp_min(0.0) + _EPSILON
    return -float((shifted.log() + 1.0 / shifted).sum())


def zen(trial: Trial) -> float:
    """ln E‖f(x) − f(x + 0.01·z)‖₁ + Σ ln √(mean σ²), f the features before global pooling. Higher is better.

    Lin et al., *Zen-NAS: a zero-shot NAS for high-performance image recognition*, ICCV 2021 (arXiv
    2102.01063). Weights are drawn from N(0, 1) with biases 0. σ² are the running variances of every batch
    normalisation after the two forwards, from 1 and with momentum 0.1: the convention of the public score
    tables. Features are the input of the last adaptive or global pooling, else of the last linear layer, else
    the output. Two forwards.
    """
    net, clean = trial.network(), trial.batch()
    if not clean.floating():
        raise UndefinedError("the model takes no floating-point input to perturb")
    _gaussian(net, trial.seed)
    norms = _fresh_statistics(net)
    with torch.no_grad():
        moved = _features(net, clean) - _features(net, _mixed(clean, trial.batch(stream=2)))
        distance = float(moved.abs().flatten(1).double().sum(1).mean())
        scales = [float(m.running_var.mean()) for m in norms if m.running_var is not None]
    if distance == 0.0:
        raise UndefinedError("the features do not depend on the input: ln 0")
    return math.log(distance) + math.fsum(math.log(v) / 2 for v in scales)


class _Codes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up, over every ReLU that runs, how many units agree on each pair of samples."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._batch_size = batch_size
        self.kernel: Tensor | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if _is_relu(func, args):
            self._add(args[0])
        return func(*args, **(kwargs or {}))

    def _add(self, x: Tensor) -> None:
        if x.dim() == 0 or x.shape[0] % self._batch_size:
            return  # not a map of the batch
        code = (x.reshape(self._batch_size, -1) > 0).float()
        agreements = (code @ code.T + (1 - code) @ (1 - code).T).double()
        self.kernel = agreements if self.kernel is None else self.kernel + agreements


def _is_relu(func: Any, args: Sequence[Any]) -> bool:
    packet = getattr(func, "overloadpacket", None)
    return packet in _RELUS or (packet in _RECTIFYING_FROM and len(args) > 1 and args[1] == 0)


class _Pools(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the input of the last adaptive or global pooling that no convolution over positions follows.

    What such a convolution follows is no head: it is a gate, such as squeeze-and-excitation, inside the body.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.last: Tensor | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        packet = getattr(func, "overloadpacket", None)
        if packet is aten.convolution and _positions(args[0]) > 1:
            self.last = None
        elif _pools(packet, args, output):
            self.last = args[0]
        return output


def _pools(packet: Any, args: Sequence[Any], output: Any) -> bool:
    if packet in _WINDOWS:
        return _is_global(args[0], output)
    if packet in _REDUCTIONS:
        return len(args) > 1 and _over_positions(*args[:3])
    return packet in _POOLS


def _positions(x: Tensor) -> int:
    return math.prod(x.shape[2:])


def _is_global(x: Tensor, output: Any) -> bool:
    pooled = output if isinstance(output, Tensor) else output[0]
    return _positions(pooled) == 1 < _positions(x)


def _over_positions(x: Tensor, dims: Any, keepdim: bool = False) -> bool:
    """Whether ``dims`` are all positions of a map, channels first or last."""
    if not isinstance(dims, (list, tuple)) or x.dim() < 3:
        return False
    if x.dim() == 3 and keepdim:
        return False  # the mean of a layer or RMS normalisation of tokens
    reduced = {d % x.dim() for d in dims}
    return reduced in ({*range(2, x.dim())}, {*range(1, x.dim() - 1)})


def _features(net: nn.Module, batch: Batch) -> Tensor:
    read: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        read[:] = args[:1]

    handles = [m.register_forward_pre_hook(keep) for m in net.modules() if isinstance(m, nn.Linear)]
    pools = _Pools()
    with pools:
        output = forward(net, batch)
    for handle in handles:
        handle.remove()
    if pools.last is not None:
        return pools.last
    return read[0] if read else output


def _fresh_statistics(net: nn.Module) -> list[_BatchNorm]:
    """Every batch normalisation, its running statistics on and as at construction."""
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm)]
    for m in norms:
        device = next(chain(m.parameters(), m.buffers(), net.parameters())).device
        m.track_running_stats, m.momentum = True, _MOMENTUM
        m.running_mean = torch.zeros(m.num_features, device=device)
        m.running_var = torch.ones(m.num_features, device=device)
        m.num_batches_tracked = torch.zeros((), dtype=torch.int64, device=device)
    return norms


def _mixed(clean: Batch, noise: Batch) -> Batch:
    def mix(a: Any, b: Any) -> Any:
        return a + _MIXUP * b if isinstance(a, Tensor) and a.is_floating_point() else a

    args = tuple(mix(a, b) for a, b in zip(clean.args, noise.args, strict=True))
    return Batch(args, {k: mix(v, noise.kwargs[k]) for k, v in clean.kwargs.items()})


def _gaussian(net: nn.Module, seed: int) -> None:
    """Weights from N(0, 1), biases 0, normalisation scales 1; drawn on the CPU: equal on every device."""
    generator = torch.Generator().manual_seed(seed + 3)
    with torch.no_grad():
        for weight in mixing_weights(net):
            weight.copy_(torch.randn(weight.shape, generator=generator))
        for module in net.modules():
            bias = getattr(module, "bias", None)
            if isinstance(bias, nn.Parameter):
                bias.zero_()
            if isinstance(module, _BatchNorm) and isinstance(module.weight, nn.Parameter):
                module.weight.fill_(1.0)
