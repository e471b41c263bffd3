"""A shadow of the model: its module tree without its weights, to be called in the model's place.

The forward may set attributes, count calls, run hooks or branch on ``self.training``. It does all that on the
shadow: fresh module objects that share the parameters and carry one ``training`` flag. The model itself is not
touched, not even for a moment, so that threads can score or train it at the same time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from sed_torch.errors import ModelError
from sed_torch.tracing.facts import held_names, rows_of
from sed_torch.tracing.mirror import Mirror
from sed_torch.tracing.modules import named_modules, tree_of
from sed_torch.tracing.programs import module_of
from sed_torch.tracing.quantised import float_forward
from sed_torch.tracing.scripted import Scripted

__all__ = ["Shadow", "unwrap"]

_PATH = "_sed_torch_path"  # a shadow module's own path, as an attribute of it
_WRAPPERS = ("DataParallel", "DistributedDataParallel")
# Methods of transformers that look at values for the sake of a warning and give nothing back.
_WARNERS = ("warn_if_padding_and_no_attention_mask",)
_SIMPLE = frozenset([bool, int, float, str, type(None)])
_PLAIN = (bool, int, float, str, type(None), torch.Tensor, torch.dtype, torch.device)


def _what(model: object) -> str:
    """What was given instead of a module, and how to come by one."""
    if isinstance(model, type):
        return f"the class {model.__name__}. Did you pass the class instead of an instance? Call it: {model.__name__}()"
    if isinstance(model, str):
        return f"the text {model!r}. A reference is made into a module by sed_torch.zoo.load({model!r}).model"
    if isinstance(model, dict) and model and all(isinstance(v, torch.Tensor) for v in model.values()):
        return "a dictionary of weights. Build the model they are of, and load them: model.load_state_dict(weights)"
    if callable(model):
        return f"the function {getattr(model, '__name__', type(model).__name__)}. Call it"
    return f"{type(model).__name__}."


def unwrap(model: object) -> nn.Module:
    """The plain module inside DataParallel, DDP and ``torch.compile`` wrappers, and that of an exported program.

    Raises:
        ModelError: if ``model`` is not an ``nn.Module``, or one whose graph cannot be read.
    """
    model = module_of(model)
    if not isinstance(model, nn.Module):
        raise ModelError(f"expected an nn.Module, found {_what(model)}")
    while not isinstance(model, torch.jit.ScriptModule):
        if type(model).__name__ in _WRAPPERS and isinstance(getattr(model, "module", None), nn.Module):
            model = model.module
        elif isinstance(model.__dict__.get("_modules", {}).get("_orig_mod"), nn.Module):
            model = model._modules["_orig_mod"]
        else:
            break
        assert isinstance(model, nn.Module)
    _refuse_unreadable(model)
    return model


_METHODS = frozenset(
    name for name in vars(nn.Module) if name.removeprefix("named_") in ("modules", "parameters", "buffers")
)


def _refuse_unreadable(model: nn.Module) -> None:
    for path, module in tree_of(model):
        hidden = [name for name in _METHODS if name in module.__dict__]
        if hidden:
            name = min(hidden)
            raise ModelError(
                f"{type(module).__name__} keeps something of its own under the name {name!r}, which is a method of "
                f"nn.Module: no layer can be found. Rename the attribute (self.{name} = …)."
            )
        where = f"module {path!r}" if path else "the model"
        if type(module).__name__ == "FullyShardedDataParallel":
            raise ModelError(
                f"{where} is wrapped in FullyShardedDataParallel, which flattens and shards parameters. "
                "Call sed_torch on the module before wrapping it."
            )
        for name, p in (*module._parameters.items(), *module._buffers.items()):
            if p is not None and type(p).__name__ == "DTensor":
                raise ModelError(
                    f"{where}: {name!r} is a DTensor. Call sed_torch on the module before sharding it."
                )


class Shadow:
    """Shadow modules of a model, with the way back to the model's own paths.

    Attributes:
        root: the shadow to call.
        tensors: id of a parameter or buffer → dotted name.
        original: the model, never called.
        constants: ids of tensors held as plain attributes.
        passed_on: objects other than modules and tensors that are the model's own, not copies.
    """

    def __init__(self, model: nn.Module, *, training: bool = False) -> None:
        self.original = model
        self._training = training
        self._clones: dict[int, nn.Module] = {}
        self._empty: dict[str, Any] = {}
        self._warners: dict[type, list[str]] = {}
        self._paths_of_originals: dict[int, str] | None = None
        self._held: dict[int, str] | None = None
        self.tensors: dict[int, str] = {}
        self.root = self._clone(model)
        modules = named_modules(model)
        for path, module in modules:
            clone = self._clones.get(id(module))
            if clone is not None:
                clone.__dict__.setdefault(_PATH, path)
        for name, tensor in (*_named(model, modules, "_parameters"), *_named(model, modules, "_buffers")):
            self.tensors.setdefault(id(tensor), name)
        self.constants: set[int] = set()
        mirror = Mirror(self._clones)
        for clone in self._clones.values():
            self._rebind(clone, mirror)
            forward = float_forward(clone)
            if forward is not None:
                clone.__dict__.update(forward=forward, _modules={}, _parameters={}, _buffers={})
                clone.__dict__.pop("_packed_params", None)
        self.passed_on = mirror.passed_on
        # user code that ends a module's life may take the model's own hooks and files with it
        self._mortal = [m for m in self._clones.values() if hasattr(type(m), "__del__")]
        self._clones.clear()

    @property
    def training(self) -> bool:
        """Whether the forward is followed as in training."""
        return self._training

    def disarm(self) -> None:
        """After the last call: no ``__del__`` of the user's runs when a shadow module is thrown away."""
        for clone in self._mortal:
            with contextlib.suppress(TypeError):  # laid out in memory in a way of its own
                object.__setattr__(clone, "__class__", nn.Module)

    def path_of(self, module: nn.Module) -> str | None:
        """Dotted path of a shadow module, or of an original that the forward came by; None for another's."""
        path: str | None = module.__dict__.get(_PATH)
        if path is not None:
            return path
        if self._paths_of_originals is None:  # few forwards come by one
            self._paths_of_originals = {id(m): p for p, m in self.original.named_modules()}
        return self._paths_of_originals.get(id(module))

    def train(self) -> None:
        """What the model's own ``train()`` does, which may leave frozen parts in evaluation; all else is in
        training mode already."""
        if any("train" in vars(kind) for m in self.root.modules() for kind in _own_kinds(type(m))):
            with contextlib.suppress(Exception):  # one that cannot be called so changes nothing
                self.root.train()

    def unregistered(self, tensor: torch.Tensor) -> dict[str, Any]:
        """What is known of a tensor that is neither parameter nor buffer: under which attribute the model held
        it, whether it wants a gradient, whether it is an ``nn.Parameter`` all the same."""
        if self._held is None:  # few forwards read one
            self._held = held_names(self.original)
        return {
            "held": self._held.get(id(tensor)),
            "requires_grad": tensor.requires_grad,
            "parameter": isinstance(tensor, nn.Parameter),
            "rows": rows_of(tensor),
            **({"number": float(tensor)} if _is_number(tensor) else {}),
        }

    def _clone(self, module: nn.Module) -> nn.Module:
        known = self._clones.get(id(module))
        if known is not None:
            return known
        if isinstance(module, torch.jit.ScriptModule):
            scripted = Scripted(module, self._training)
            self._clones[id(module)] = scripted
            return scripted
        compiled = module._modules.get("_orig_mod")
        if isinstance(compiled, nn.Module):  # a compiled submodule: enter what it compiled
            clone = self._clone(compiled)
            self._clones[id(module)] = clone
            return clone
        kind = type(module)
        clone = object.__new__(kind)
        self._clones[id(module)] = clone
        names, empty = clone.__dict__, self._empty
        for name, value in dict(module.__dict__).items():
            # set one by one, not by update(): so the instances of a class share one table of names
            if type(value) in _SIMPLE and name != "training":
                names[name] = value
            elif name in empty and not value:  # the commonest by far
                names[name] = empty[name]
            else:
                names[name] = self._state(name, value)
        warners = self._warners.get(kind)
        if warners is None:
            warners = self._warners[kind] = [name for name in _WARNERS if hasattr(kind, name)]
        for name in warners:
            names[name] = _nothing
        return clone

    def _state(self, name: str, value: Any) -> Any:
        """A module's attribute as its shadow starts with it."""
        if name == "training":
            return self._training
        if name == "_compiled_call_impl":
            return None
        if name == "_modules":
            return {n: self._clone(m) if isinstance(m, nn.Module) else m for n, m in value.items()}
        if name in _SHARED_TABLES and not value:
            return self._empty.setdefault(name, type(value)())
        if name in _TABLES:
            return value.copy() if value else type(value)()
        return value

    def _rebind(self, clone: nn.Module, mirror: Mirror) -> None:
        """Attributes and hooks point into the shadow, so that what they change is the shadow's."""
        names = clone.__dict__
        for name, value in names.items():
            kind = type(value)
            if kind in _SIMPLE or (kind is tuple and _SIMPLE.issuperset(map(type, value))):
                continue  # nothing in it can change or is a tensor
            if name in _MODULE_STATE:
                if name in _HOOKS and value:
                    names[name] = mirror(value)
                continue
            if not isinstance(value, _PLAIN):
                names[name] = mirror(value)
            self.constants.update(id(t) for t in _tensors_in(names[name]))


def _is_number(tensor: torch.Tensor) -> bool:
    """Whether a constant is a single number whose value is at hand."""
    return tensor.dim() == 0 and tensor.dtype.is_floating_point and tensor.device.type == "cpu"


def _named(
    model: nn.Module, modules: list[tuple[str, nn.Module]], table: str
) -> Iterator[tuple[str, torch.Tensor]]:
    """As ``named_parameters`` or ``named_buffers`` of a model, whose modules are known already."""
    method = f"named{table}"
    if getattr(type(model), method) is not getattr(nn.Module, method) or method in vars(model):
        yield from getattr(model, method)()  # names of its own
        return
    for path, module in modules:
        for name, tensor in getattr(module, table).items():
            if tensor is not None:
                yield f"{path}.{name}" if path else name, tensor


def _own_kinds(kind: type) -> tuple[type, ...]:
    """The classes of a module before :class:`torch.nn.Module`."""
    return kind.__mro__[: kind.__mro__.index(nn.Module)]


def _nothing(*_: Any, **__: Any) -> None:
    """Stands in for a method that only warns."""


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
# parameters, buffers, hooks: what a forward may add to or take from
_TABLES = frozenset(
    n for n, v in nn.Module().__dict__.items() if isinstance(v, (dict, set)) and n != "_modules"
)
_HOOKS = frozenset(name for name in _TABLES if name.endswith("_hooks"))
# Empty in nearly all of the thousands of modules of a deep model, and harmless when common to them: flags of
# hooks are looked up by a hook's id, nothing goes backward here, the rest concerns saving and loading.
_SHARED_TABLES = _TABLES & {
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
    "_non_persistent_buffers_set",
}
