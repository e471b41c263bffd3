"""Everything that a call must leave as it found it, as flat names and comparable values."""

from __future__ import annotations

import hashlib
import logging
import random
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch._dynamo  # torch.export brings it, and its import wraps torch.manual_seed
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as nn_module

Fingerprint = dict[str, Any]

_TABLES: dict[str, Any] = {
    "torch": torch,
    "Tensor": torch.Tensor,
    "F": F,
    "torch._C._nn": torch._C._nn,
    "torch.fft": torch.fft,
    "torch.linalg": torch.linalg,
    "nn.init": nn.init,
    "nn.Module": nn.Module,
    "nn.Conv2d": nn.Conv2d,
    "nn.Linear": nn.Linear,
    "nn.BatchNorm2d": nn.BatchNorm2d,
    "nn.MultiheadAttention": nn.MultiheadAttention,
    "fx.Tracer": torch.fx.Tracer,
    "fx.Graph": torch.fx.Graph,
    "fx.Proxy": torch.fx.Proxy,
}
# fixed at import: torch adds names of its own when it is first used
_NAMES = {
    table: tuple(n for n, v in vars(owner).items() if callable(v) and not isinstance(v, type))
    for table, owner in _TABLES.items()
}
_MODULE_HOOKS = tuple(n for n in vars(nn_module) if n.startswith("_global_") and "hook" in n)


def fingerprint(*models: nn.Module) -> Fingerprint:
    """Of models, with their weights bit for bit, and of the process they live in."""
    found = process()
    for i, model in enumerate(models):
        found |= {f"model{i}.{name}": value for name, value in of_model(model).items()}
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs, each with both values."""
    missing = "nothing"
    return [
        f"{name}: {before.get(name, missing)!r} -> {after.get(name, missing)!r}"
        for name in sorted({*before, *after})
        if before.get(name, missing) != after.get(name, missing)
    ]


def of_model(model: nn.Module) -> Fingerprint:
    """Modules with all their attributes and hooks, tensors with their bytes."""
    found: Fingerprint = {}
    for path, module in model.named_modules():
        found[f"{path}:type"] = (id(module), type(module), id(type(module).forward))
        for name, value in module.__dict__.items():
            found[f"{path}:{name}"] = _frozen(value)
    for name, tensor in model.state_dict(keep_vars=True).items():
        found[f"{name}:state"] = _value(tensor)
    return found


def _value(value: Any) -> Any:
    """Without who it is: quantised modules unpack their weights anew each time."""
    if isinstance(value, Tensor):
        return _tensor(value)[1:]
    return [_value(v) for v in value] if isinstance(value, tuple) else _frozen(value)


def process() -> Fingerprint:
    """Random numbers, function tables, modes, hooks, defaults, warnings, logging."""
    state = np.random.get_state(legacy=True)
    found: Fingerprint = {
        "rng.torch": _digest(torch.get_rng_state()),
        "rng.numpy": (state[0], hashlib.sha256(state[1].tobytes()).hexdigest(), *state[2:]),
        "rng.random": hash(random.getstate()),
        "modes.function": [id(m) for m in torch.overrides._get_current_function_mode_stack()],
        "modes.dispatch": torch._C._len_torch_dispatch_stack(),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
        "defaults": (torch.get_default_dtype(), str(torch.get_default_device()), torch.get_num_threads()),
        "fx": (
            # torch 2.5 made a function of the flag
            getattr(
                torch.fx._symbolic_trace, "is_fx_symbolic_tracing", torch.fx._symbolic_trace.is_fx_tracing
            )(),
            sorted(map(str, torch.fx._symbolic_trace._wrapped_fns_to_patch)),
            sorted(map(str, torch.fx._symbolic_trace._wrapped_methods_to_patch)),
        ),
        "streams": (id(sys.stdout), id(sys.stderr)),
        "warnings": [str(f) for f in warnings.filters],
        "logging": [(id(h), len(h.filters), h.level) for h in logging.getLogger("torch").handlers],
        "recursion": sys.getrecursionlimit(),
    }
    for name in _MODULE_HOOKS:
        found[f"hooks.{name}"] = _frozen(getattr(nn_module, name))
    for table, names in _NAMES.items():
        owner = vars(_TABLES[table])
        found |= {f"{table}.{name}": _function(owner[name]) for name in names}
    return found


def _function(value: Callable[..., Any]) -> tuple[int, int]:
    """Who it is and what it runs: a function may be patched from within."""
    return id(value), id(getattr(value, "__code__", None))


def _frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, nn.Module):
        return ("module", id(value))
    if isinstance(value, Mapping):
        return (type(value), id(value), [(_frozen(k), _frozen(v)) for k, v in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value), [_frozen(v) for v in value])
    if isinstance(value, (set, frozenset)):
        return (type(value), sorted(repr(_frozen(v)) for v in value))
    if isinstance(value, (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device)):
        return (type(value), value if value == value else "nan")
    if isinstance(value, types.MethodType):
        return ("method", id(value.__self__), id(value.__func__), _frozen(value.__self__))
    if isinstance(value, np.ndarray):
        return (type(value), id(value), value.tobytes())
    return (type(value), id(value), _content_of(value))


def _content_of(value: Any) -> Any:
    """Of closures and of plain objects, one level deep: what a forward may write to without the module."""
    if isinstance(value, types.FunctionType):
        cells = value.__closure__ or ()
        return [
            _frozen(c.cell_contents) for c in cells if not isinstance(c.cell_contents, types.FunctionType)
        ]
    if type(value).__module__ in ("models", "test_hygiene"):
        return {k: repr(v) for k, v in vars(value).items()}
    return None


def _tensor(t: Tensor) -> tuple[Any, ...]:
    if torch.nn.parameter.is_lazy(t):
        return (id(t), type(t), t.dtype, t.device, t.requires_grad)
    return (
        id(t),
        (type(t), t.dtype, t.device, tuple(t.shape), t.layout),
        (t.requires_grad, t.is_leaf, t._version, id(t.grad) if t.is_leaf and t.grad is not None else None),
        _digest(t),
        sorted(t.__dict__),
    )


def _digest(t: Tensor) -> str:
    if t.device.type == "meta":
        return "no values"
    with torch.no_grad():
        plain = t.detach().cpu()
        plain = plain.int_repr() if plain.is_quantized else plain.to_dense() if plain.is_sparse else plain
        plain = torch.view_as_real(plain.resolve_conj()) if plain.is_complex() else plain
        return hashlib.sha256(plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
