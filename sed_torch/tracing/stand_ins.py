"""What stands for a tensor that no recorded call made: a parameter, a buffer, a constant of the forward's own.

Constants that the forward makes itself (``torch.zeros``) are real, so that their values may be used, until
something that depends on the input is written into them: from then on they, and every view of them, are part of
the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sed_torch.tracing.known import Known
from sed_torch.tracing.names import label_of, target
from sed_torch.tracing.regions import index_of, region_of
from sed_torch.tracing.shadow import Shadow
from sed_torch.tracing.signals import LostValueError, Signal
from sed_torch.tracing.tape import Tape
from sed_torch.tracing.tensors import PLAIN, meta_like, storage_of
from sed_torch.tracing.values import Held

__all__ = ["StandIns"]


class StandIns:
    """Tensors of the model and constants → ``meta`` tensors with a node."""

    def __init__(self, tape: Tape, shadow: Shadow) -> None:
        self._tape, self._shadow = tape, shadow
        self.known = Known()
        self._known: dict[int, Held] = {}
        self._kept: list[Tensor] = []
        self._kept_in: dict[int, list[Tensor]] = {}  # those of them that are real, by their memory
        self._fresh: dict[int, Tensor] = {}  # kept, as their ids must stay theirs
        self._draws: dict[int, Callable[[], Any]] = {}
        self._own_storages: set[int] = set()
        self._filled: dict[
            int, Tensor
        ] = {}  # memory that came to depend on the input → the tensor of all of it

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._known

    # -- constants that the forward makes ----------------------------------------------------------------

    def made(self, result: Any, tensors: Iterable[Tensor] = ()) -> Any:
        """Remember a constant that the forward made itself; a view of another is none."""
        if not isinstance(result, Tensor):
            return result
        if result.device.type == "meta":
            self._fresh[id(result)] = result
        elif (storage := storage_of(result)) not in map(storage_of, tensors):
            self._own_storages.add(storage)
        return result

    def drawn(self, result: Any, draw: Callable[[], Any]) -> Any:
        """Remember random numbers, which are drawn should anything ask for them."""
        if isinstance(result, Tensor):
            self._draws[id(result)] = draw
        return self.made(result)

    def is_own(self, tensor: Tensor) -> bool:
        """Made by the forward, not older than this trace."""
        return storage_of(tensor) in self._own_storages

    def is_filled(self, tensor: Tensor) -> bool:
        """A constant no longer: something that depends on the input was written into its memory."""
        return bool(self._filled) and not tensor.is_meta and storage_of(tensor) in self._filled

    def fill(self, tensor: Tensor) -> None:
        """From now on the memory of a constant depends on the input."""
        storage = storage_of(tensor)
        if not storage or storage in self._filled or tensor.device.type == "meta":
            return
        base = tensor._base if tensor._base is not None else tensor
        self._filled[storage] = base
        self._keep(base)
        for other in self._kept_in[storage]:  # what was read of it so far was read as a constant
            if other is not base:
                self._known.pop(id(other), None)

    def _keep(self, tensor: Tensor) -> None:
        """A real tensor is kept, so that its id stays its own."""
        self._kept.append(tensor)
        if not tensor.is_meta:
            self._kept_in.setdefault(storage_of(tensor), []).append(tensor)

    # -- stand-ins ---------------------------------------------------------------------------------------

    def to_meta(self, value: Any) -> Any:
        """Arguments with their tensors replaced by what stands for them."""
        if isinstance(value, Tensor):
            return self.of(value)
        kind = type(value)
        if kind is tuple or kind is list:
            found = [v if type(v) in PLAIN else self.to_meta(v) for v in value]
            return found if kind is list else tuple(found)
        if kind is dict:
            return {k: self.to_meta(v) for k, v in value.items()}
        if kind is slice:
            return slice(self.to_meta(value.start), self.to_meta(value.stop), self.to_meta(value.step))
        return value

    def of(self, tensor: Tensor) -> Tensor:
        """What stands for ``tensor``: itself, where a recorded call made it."""
        known = self._known.get(id(tensor))
        if known is not None:
            alive = known()
            return alive if alive is not None else self._again(tensor, known)
        if tensor in self._tape.values:
            return tensor
        name = self._shadow.tensors.get(id(tensor))
        if name is None:
            if self._made_elsewhere(tensor):
                return tensor
            if self.is_filled(tensor) and self._filled[storage_of(tensor)] is not tensor:
                return self._view_of_filled(tensor)
        return self._new(tensor, name)

    def _made_elsewhere(self, tensor: Tensor) -> bool:
        """Whether a tensor that the model does not name is another object for one that is known.

        Raises:
            Signal: where nothing tells what it is.
        """
        if isinstance(tensor, nn.Parameter) or not tensor.is_meta or self._is_fresh(tensor):
            return False
        if self._is_alias(tensor):
            return True
        shape = tuple(tensor.shape)
        raise Signal(
            LostValueError(
                f"the fx front-end lost track: a tensor of shape {shape} appeared that no recorded call produced"
            )
        )

    def _new(self, tensor: Tensor, name: str | None) -> Tensor:
        """A stand-in, with its node."""
        meta = meta_like(tensor)
        label = label_of(name) if name is not None else None
        node = self._tape.graph.create_node("get_attr", name or "constant", (), {}, label)
        is_parameter = isinstance(tensor, nn.Parameter)
        node.meta["parameter"] = name if is_parameter else None
        if name is None:
            node.meta["facts"] = self._shadow.unregistered(tensor)
        if id(tensor) in self._draws:
            self.known.draw(node, self._draws[id(tensor)])
        else:
            self.known.hold(node, tensor)
        self._tape.bind(meta, node, path=name.rpartition(".")[0] if name else "", source=None)
        self._known[id(tensor)] = self._tape.values.held(meta)
        if name is None or not is_parameter:  # the model's parameters the shadow keeps
            self._keep(tensor)
            self._kept.append(meta)
        return meta

    def _is_alias(self, tensor: Tensor) -> bool:
        """Another object for what a tensor that is known looks at (``as_subclass``): it gets the same node."""
        if tensor.layout is not torch.strided:
            return False
        storage, region = storage_of(tensor), region_of(tensor)
        for known in self._tape.values.alive():
            if known.layout is torch.strided and storage_of(known) == storage and region_of(known) == region:
                self._tape.values[tensor] = self._tape.node(known)
                return True
        return False

    def _view_of_filled(self, view: Tensor) -> Tensor:
        """A view that was taken while its base was a constant."""
        base = self._filled[storage_of(view)]
        meta_base = self.of(base)
        meta = torch.as_strided(meta_base, view.shape, view.stride(), view.storage_offset())
        index = index_of(view, base)
        whole = view.numel() == base.numel() and view.is_contiguous()
        name, args = (
            ("reshape", (tuple(view.shape),))
            if whole
            else ("__getitem__", (index,))
            if index is not None
            else ("as_strided", (tuple(view.shape), tuple(view.stride()), view.storage_offset()))
        )
        node = self._tape.graph.create_node(
            "call_function", target(name), (self._tape.node(meta_base), *args), {}
        )
        node.meta["spelling"] = name
        self._tape.bind(meta, node, path="", source=None)
        self._tape.is_view(meta, meta_base, node)
        self._known[id(view)] = self._tape.values.held(meta)
        self._keep(view)
        self._kept.append(meta)
        return meta

    def _again(self, parameter: Tensor, known: Held) -> Tensor:
        """Few parameters are read twice: the stand-in is freed after a call and made anew for the next."""
        meta = meta_like(parameter)
        shape = known.node.meta["shape"]
        if meta.shape != shape:  # written over in place, by a call that changed it
            meta = torch.empty(shape, dtype=meta.dtype, device="meta")
        self._known[id(parameter)] = self._tape.values.revive(known, meta)
        return meta

    def _is_fresh(self, tensor: Tensor) -> bool:
        """A ``meta`` tensor that a factory made, or that the model holds, is a constant like any other."""
        return id(tensor) in self._fresh or id(tensor) in self._shadow.constants
