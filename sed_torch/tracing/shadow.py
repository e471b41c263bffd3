"""A shadow of the model: its module tree without its weights, to be called in the model's place.

The forward may set attributes, count calls, run hooks or branch on ``self.training``. It does all that on the
shadow: fresh module objects that share the parameters and carry one ``training`` flag. The model itself is not
touched, not even for a moment, so that threads can score or train it at the same time.
"""

from __future__ import annotations

import copy
import functools
import types
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sed_torch.errors import ModelError

__all__ = ["Shadow", "unwrap"]

_WRAPPERS = ("DataParallel", "DistributedDataParallel")
_CONTAINERS = (list, tuple, dict, set)


def unwrap(model: object) -> nn.Module:
    """The plain module inside DataParallel, DDP and ``torch.compile`` wrappers.

    Raises:
        ModelError: if ``model`` is not an ``nn.Module``, or one whose graph cannot be read.
    """
    if not isinstance(model, nn.Module):
        hint = " Did you pass the class instead of an instance?" if isinstance(model, type) else ""
        raise ModelError(f"expected an nn.Module, found {type(model).__name__}.{hint}")
    while True:
        if type(model).__name__ in _WRAPPERS and isinstance(getattr(model, "module", None), nn.Module):
            model = model.module
        elif isinstance(model.__dict__.get("_modules", {}).get("_orig_mod"), nn.Module):
            model = model._modules["_orig_mod"]
        else:
            break
        assert isinstance(model, nn.Module)
    _refuse_unreadable(model)
    return model


def _refuse_unreadable(model: nn.Module) -> None:
    for path, module in model.named_modules():
        where = f"module {path!r}" if path else "the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                f"{where} is a ScriptModule ({type(module).__name__}): its Python forward is gone. "
                "Pass the nn.Module from before torch.jit.script / torch.jit.trace."
            )
        if type(module).__name__ == "FullyShardedDataParallel":
            raise ModelError(
                f"{where} is wrapped in FullyShardedDataParallel, which flattens and shards parameters. "
                "Call sed_torch on the module before wrapping it."
            )
        for name, p in (*module._parameters.items(), *module._buffers.items()):
            if is_lazy(p):
                raise ModelError(
                    f"{where} ({type(module).__name__}) is lazy: {name!r} has no shape yet. "
                    "Run one forward on a dummy input (or give the layer its input size) and call again."
                )
            if p is not None and type(p).__name__ == "DTensor":
                raise ModelError(
                    f"{where}: {name!r} is a DTensor. Call sed_torch on the module before sharding it."
                )


class Shadow:
    """Shadow modules of a model, with the way back to the model's own paths.

    Attributes:
        root: the shadow to call.
        paths: id of a shadow module (or of the original) → dotted path.
        tensors: id of a parameter or buffer → dotted name.
        parameters: the model's parameters by name.
        constants: ids of tensors held as plain attributes.
    """

    def __init__(self, model: nn.Module, *, training: bool = False) -> None:
        self.original = model
        self._training = training
        self._clones: dict[int, nn.Module] = {}
        self._keep: list[object] = []  # ids must stay valid while we map them
        self.paths: dict[int, str] = {}
        self.tensors: dict[int, str] = {}
        self.parameters: dict[str, nn.Parameter] = {}
        self.root = self._clone(model)
        for path, module in model.named_modules():
            self.paths[id(module)] = path
            clone = self._clones.get(id(module))
            if clone is not None:
                self.paths.setdefault(id(clone), path)
        for name, p in model.named_parameters():
            self.tensors.setdefault(id(p), name)
            self.parameters[name] = p
        for name, b in model.named_buffers():
            self.tensors.setdefault(id(b), name)
        self.constants: set[int] = set()
        for clone in self._clones.values():
            self._rebind(clone)
            self.constants.update(id(t) for t in _tensors_in(clone.__dict__))

    def _clone(self, module: nn.Module) -> nn.Module:
        known = self._clones.get(id(module))
        if known is not None:
            return known
        compiled = module._modules.get("_orig_mod")
        if isinstance(compiled, nn.Module):  # a compiled submodule: enter what it compiled
            clone = self._clone(compiled)
            self._clones[id(module)] = clone
            return clone
        clone = object.__new__(type(module))
        self._clones[id(module)] = clone
        state = dict(module.__dict__)
        state["training"] = self._training
        state["_compiled_call_impl"] = None
        for name in ("_parameters", "_buffers"):
            state[name] = dict(state[name])
        for name, value in state.items():
            if name.endswith("_hooks") and value is not None:
                state[name] = copy.copy(value)
        state["_modules"] = {
            n: self._clone(m) if isinstance(m, nn.Module) else m for n, m in state["_modules"].items()
        }
        clone.__dict__.update(state)
        return clone

    def _rebind(self, clone: nn.Module) -> None:
        """Attributes that hold modules, their methods or containers of them point into the shadow."""
        for name, value in clone.__dict__.items():
            if name.startswith("_") and name in _MODULE_STATE:
                continue
            if isinstance(value, (nn.Module, types.MethodType, functools.partial, *_CONTAINERS)):
                clone.__dict__[name] = self._mirror(value)

    def _mirror(self, value: Any) -> Any:
        if isinstance(value, nn.Module):
            return self._clones.get(id(value), value)
        if isinstance(value, types.MethodType):
            owner = self._clones.get(id(value.__self__))
            return types.MethodType(value.__func__, owner) if owner is not None else value
        if isinstance(value, functools.partial):
            return functools.partial(self._mirror(value.func), *value.args, **value.keywords)
        if type(value) in (list, tuple, set):
            return type(value)(self._mirror(v) for v in value)
        if isinstance(value, dict):
            mirrored = copy.copy(value)
            for key, v in value.items():
                mirrored[key] = self._mirror(v)
            return mirrored
        return value


def _tensors_in(value: Any) -> list[torch.Tensor]:
    """Tensors that a module holds as plain attributes, also inside containers."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for k, v in value.items() if k not in _MODULE_STATE for t in _tensors_in(v)]
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in _tensors_in(v)]
    return []


_MODULE_STATE = frozenset(nn.Module().__dict__)
