"""Memory as torch really uses it: what autograd keeps of a forward, and what is alive at its fullest moment."""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Allocated", "really_allocated", "really_held", "really_kept", "really_stepped"]


def really_kept(model: nn.Module, *inputs: Tensor, amp: bool = False) -> int:
    """Bytes of the storages that a training forward on the CPU keeps, parameters and buffers left out."""
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            kept[storage] = tensor
        return tensor

    model.train()
    cast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), cast:
        model(*inputs)
    return sum(t.untyped_storage().nbytes() for t in kept.values())


class Allocated(TorchDispatchMode):
    """The most bytes of new storages that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            storage = tensor.untyped_storage() if isinstance(tensor, Tensor) else None
            if storage is not None and storage._cdata not in known | self.live.keys():
                self.live[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.live.pop, storage._cdata)
        self.most = max(self.most, sum(self.live.values()))
        return result


def really_held(model: nn.Module, *inputs: Tensor, amp: bool = False) -> int:
    """Bytes of inputs and activations at the fullest moment of a forward without gradients on the CPU."""
    model.eval()
    cast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp)
    with torch.no_grad(), cast, Allocated() as seen:
        model(*inputs)
    return seen.most + sum(x.untyped_storage().nbytes() for x in inputs)


def _step(model: nn.Module, inputs: tuple[Tensor, ...], watch: AbstractContextManager[Any]) -> int:
    """A watched step of plain SGD that holds its output; bytes of what is there all the time: weights and inputs.

    The loss keeps nothing, and the gradient that it gives is a map of its own, as that of a loss in use is.
    """
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, foreach=False)
    with watch:
        out = model(*inputs)
        out.register_hook(Tensor.contiguous)
        out.sum().backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    own = {t.untyped_storage()._cdata: t.nbytes for t in (*model.parameters(), *model.buffers(), *inputs)}
    return sum(own.values())


def really_stepped(model: nn.Module, *inputs: Tensor) -> int:
    """Bytes of all that is there at the fullest moment of a step of plain SGD on the CPU: weights, inputs, the rest."""
    seen = Allocated()
    own = _step(model, inputs, seen)
    return own + seen.most


def really_allocated(model: nn.Module, *inputs: Tensor) -> int:
    """As :func:`really_stepped`, from what torch's profiler notes of the allocator.

    Under a dispatch mode autograd adds gradients up in new maps, where otherwise it adds them in place.
    """
    seen = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
    own = _step(model, inputs, seen)
    events = seen.profiler.kineto_results.events()  # type: ignore[union-attr]
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return own + most
