"""A safe place to run a network: a disposable copy, seeded inputs, a global state that is put back."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from sed_torch.errors import InputError, ModelError
from sed_torch.tracing.inputs import Inputs, resolve_inputs

__all__ = [
    "MIXING",
    "Batch",
    "Trial",
    "UndefinedError",
    "cast",
    "copied",
    "forward",
    "guarded",
    "mixing_weights",
    "new_trial",
]

MIXING = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)


class UndefinedError(Exception):
    """A proxy has no value on this network; the message is the reason. Never reaches the caller."""


@dataclass(frozen=True)
class Batch:
    """Arguments of one forward, as real tensors."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def floating(self) -> list[Tensor]:
        """The floating-point tensors among the arguments, in order."""
        return [t for t in (*self.args, *self.kwargs.values()) if _is_floating(t)]


@dataclass(frozen=True)
class Trial:
    """What a proxy is given: a network that it may spoil, and inputs drawn from a seed.

    Attributes:
        model: the model asked about. Proxies read it and never run it.
        inputs: shapes and dtypes of the forward's arguments.
        batch_size: samples in a batch.
        num_classes: classes that targets are drawn from; None takes the width of the output.
        seed: of inputs, targets and re-initialised weights.
    """

    model: nn.Module
    inputs: Inputs
    batch_size: int
    num_classes: int | None
    seed: int

    @property
    def device(self) -> torch.device:
        """Of the first parameter or buffer; the CPU for a model without either."""
        return next((t.device for t in _tensors(self.model)), torch.device("cpu"))

    def network(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """A fresh copy with every weight a trainable leaf of ``dtype``.

        Batch normalisation uses the statistics of its batch, as at the first step of training; everything
        else is in eval mode, so dropout and auxiliary heads are off.
        """
        if self.device.type == "meta":
            raise UndefinedError("the model is on the meta device: it has no weights to run with")
        net = copied(self.model).eval()
        _bake_weights(net)
        cast(net, dtype)
        for module in net.modules():
            if isinstance(module, _BatchNorm):
                module.train()
            if isinstance(getattr(module, "inplace", None), bool):  # gradients need what it would overwrite
                module.inplace = False  # type: ignore[assignment]
        for p in net.parameters():
            p.grad = None
            p.requires_grad_(p.is_floating_point() or p.is_complex())
        return net

    def batch(self, size: int | None = None, *, dtype: torch.dtype = torch.float32, stream: int = 0) -> Batch:
        """Standard normal inputs (token ids uniform, masks True). Equal on every device for equal seeds."""
        generator = torch.Generator().manual_seed(self.seed + stream)
        vocabulary = next((m.num_embeddings for m in self.model.modules() if isinstance(m, nn.Embedding)), 2)
        n = self.batch_size if size is None else size

        def real(spec: Any) -> Any:
            if not isinstance(spec, Tensor):
                return spec
            shape = (n, *spec.shape[1:]) if spec.dim() else spec.shape
            if spec.is_complex():
                return torch.randn(shape, generator=generator, dtype=torch.complex64).to(self.device)
            if spec.is_floating_point():
                return torch.randn(shape, generator=generator).to(self.device, dtype)
            if spec.dtype == torch.bool:
                return torch.ones(shape, dtype=torch.bool, device=self.device)
            ids = torch.randint(vocabulary, tuple(shape), generator=generator)
            return ids.to(self.device, spec.dtype)

        args = tuple(real(a) for a in self.inputs.args)
        return Batch(args, {k: real(v) for k, v in self.inputs.kwargs.items()})

    def loss(self, net: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy of the output against uniformly drawn targets, mean over samples and positions.

        Classes are the second axis of the output, or the last one where the output has three (tokens).
        """
        logits = forward(net, batch)
        if logits.dim() == 3:
            logits = logits.transpose(1, 2)
        if logits.dim() < 2 or logits.shape[1] < 2:
            raise UndefinedError(
                f"output {tuple(logits.shape)} has fewer than two classes: its loss is constant"
            )
        classes = self._classes(logits.shape[1])
        generator = torch.Generator().manual_seed(self.seed + 1)
        shape = (logits.shape[0], *logits.shape[2:])
        targets = torch.randint(classes, shape, generator=generator).to(logits.device)
        return F.cross_entropy(logits, targets)

    def _classes(self, width: int) -> int:
        if self.num_classes is None:
            return width
        if self.num_classes > width:
            raise InputError(f"num_classes is {self.num_classes}, but the model's output has only {width}")
        return self.num_classes


def new_trial(
    model: nn.Module, input_size: Any, batch_size: int, num_classes: int | None, seed: int
) -> Trial:
    """A trial for ``model``, its arguments checked.

    Raises:
        ModelError: for something other than an ``nn.Module``, or one with lazy parameters.
        InputError: for a batch of fewer than two samples, fewer than two classes, or an unusable input size.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"proxies run an nn.Module, found {type(model).__name__}")
    compiled = getattr(model, "_orig_mod", None)  # torch.compile: measure the network, not the compiler
    model = compiled if isinstance(compiled, nn.Module) else model
    if any(is_lazy(t) for t in (*model.parameters(), *model.buffers())):
        raise ModelError(f"{type(model).__name__} has lazy parameters: run one forward to give them shapes")
    if batch_size < 2:
        raise InputError(f"batch_size must be 2 or more (scores compare samples), found {batch_size}")
    if num_classes is not None and num_classes < 2:
        raise InputError(f"num_classes must be 2 or more, found {num_classes}")
    return Trial(model, resolve_inputs(model, input_size), batch_size, num_classes, seed)


@contextlib.contextmanager
def guarded(trial: Trial) -> Iterator[None]:
    """Gradients on, autocast off, generators seeded; every global generator is put back, also on error."""
    cuda = sorted({t.device.index or 0 for t in _tensors(trial.model) if t.device.type == "cuda"})
    state, legacy = random.getstate(), np.random.get_state()
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(
            False
        )  # one opaque operator hides ReLUs and multiply-accumulates
        with (
            torch.random.fork_rng(devices=cuda),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(trial.device.type if cuda else "cpu", enabled=False),
        ):
            torch.default_generator.manual_seed(trial.seed)
            for index in cuda:
                torch.cuda.default_generators[index].manual_seed(trial.seed)
            random.seed(trial.seed)
            np.random.seed(trial.seed % 2**32)
            yield
    finally:
        random.setstate(state)
        np.random.set_state(legacy)
        torch.backends.mha.set_fastpath_enabled(fused)


def forward(net: nn.Module, batch: Batch) -> Tensor:
    """The output tensor: ``logits`` or ``out`` where there is one, else the first floating-point tensor."""
    output = net(*batch.args, **batch.kwargs)
    found = _first_floating(output)
    if found is None:
        raise UndefinedError(f"the forward returned no floating-point tensor, but {type(output).__name__}")
    return found


def cast(net: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Floating-point tensors to ``dtype``; complex ones stay, which ``Module.to`` would strip."""
    return net._apply(  # type: ignore[no-untyped-call,no-any-return]
        lambda t: t.to(dtype) if t.is_floating_point() else t
    )


def mixing_weights(net: nn.Module) -> list[nn.Parameter]:
    """Weights of convolutions, linear layers and attention projections, each once.

    Raises:
        UndefinedError: if there is none.
    """
    found: dict[int, nn.Parameter] = {}
    for module in net.modules():
        names: Sequence[str] = ("weight",) if isinstance(module, MIXING) else ()
        if isinstance(module, nn.MultiheadAttention):  # its projections are bare parameters
            names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        for name in names:
            weight = getattr(module, name, None)
            if isinstance(weight, nn.Parameter) and weight.is_floating_point():
                found[id(weight)] = weight
    if not found:
        raise UndefinedError("the model has no convolution or linear layer")
    return list(found.values())


def _first_floating(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output if _is_floating(output) else None
    for name in ("logits", "out"):
        value = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if _is_floating(value):
            return value
    values = output.values() if isinstance(output, Mapping) else output
    if not isinstance(output, (Mapping, tuple, list)):
        return None
    return next((t for t in map(_first_floating, values) if t is not None), None)


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def copied(model: nn.Module) -> nn.Module:
    """A deep copy; tensors cached with their history, which cannot be deep-copied, are copied without it."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for tensor in _cached(module.__dict__):
            if not tensor.is_leaf:
                memo[id(tensor)] = tensor.detach().clone()
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {error}); "
            "proxies run a copy, so that the model stays as it is. Make it work with copy.deepcopy."
        ) from error


def _cached(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _cached(item)


def _bake_weights(net: nn.Module) -> None:
    """Parametrised, normalised and pruned weights become plain ones: a score asks for the weight itself."""
    for module in list(net.modules()):
        if parametrize.is_parametrized(module):
            _unparametrize(module)
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, (WeightNorm, SpectralNorm, BasePruningMethod)):
                hook.remove(module)
                del module._forward_pre_hooks[key]


def _unparametrize(module: nn.Module) -> None:
    """By hand: a copy shares its class with the original, and torch's own removal edits that class."""
    names = list(module.parametrizations)  # type: ignore[arg-type]
    with torch.no_grad():
        plain = {name: getattr(module, name).detach().clone() for name in names}
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, tensor in plain.items():
        module.register_parameter(name, nn.Parameter(tensor, requires_grad=tensor.is_floating_point()))
