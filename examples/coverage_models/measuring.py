"""What is found out about one configuration, and the second opinions it is held against."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

import sed_torch
from coverage_models.cases import Case, Given
from sed_torch import zoo
from sed_torch.errors import ModelReferenceError, SedTorchError
from sed_torch.tracing import trace
from sed_torch.tracing.given import tensors_replaced
from sed_torch.tracing.inputs import resolve_inputs

__all__ = ["Row", "measured"]

MOST_WEIGHTS = 20e6
"""Models up to this many parameters get real weights, so that values can be seen to stay."""

MOST_WORK = 0.5e9
"""Multiply-accumulates up to which a model with real weights is run on the CPU; else it is run on ``meta``."""


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


FUSED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
"""The kernel of the CPU, which torch's counter has its formula for but does not know by name."""


@dataclass(frozen=True)
class Row:
    """What came of it.

    Attributes:
        runs: whether the model runs in torch with these inputs: ``"cpu"``, ``"meta"`` or the error.
        truth: multiply-accumulates by torch's counter, None where it does not run.
        samples: how many samples the inputs are taken to hold (the nodes of a graph), which ``macs`` is for one of.
        numel: parameters by torch.
        state: ``"kept"``, or what is no longer as it was.
        error: why it could not be read.
    """

    name: str
    package: str
    version: str
    frontend: str = ""
    params: int = 0
    numel: int = 0
    covered: float = 0.0
    nodes: float = 0.0
    total: float | None = None
    macs: float = 0.0
    truth: float | None = None
    samples: int = 1
    runs: str = ""
    state: str = ""
    seconds: float = 0.0
    note: str = ""
    error: str = ""
    assumed: str = ""


def measured(case: Case, package: str, version: str) -> Row:
    """Build, score, look whether all is as before, and run it under torch's counter."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return _measured(case, package, version)


def _measured(case: Case, package: str, version: str) -> Row:
    known: dict[str, Any] = {"name": case.name, "package": package, "version": version}
    try:
        loaded = zoo.build(case.make, case.name)
    except (SedTorchError, ImportError) as error:
        return Row(**known, error=_text(error), runs=f"not built: {_line(error)}")
    light = loaded.model
    light.eval()  # gives itself back, unless a model's own train() does not
    known["numel"] = sum(p.numel() for p in light.parameters() if not _is_lazy(p))
    inputs = _real(case.inputs)
    heavy = _with_weights(case) if known["numel"] <= MOST_WEIGHTS else None
    subject = heavy if heavy is not None else light
    before, given = picture(subject), _sums(inputs)
    random = torch.random.get_rng_state()
    start = time.process_time()
    s = None
    try:
        s = sed_torch.score(subject, input_data=inputs)
        unknown = ", ".join(f"{u.target} ×{u.count} ({u.source or u.path})" for u in s.unknown)
        known |= {
            "frontend": s.frontend,
            "params": s.params,
            "covered": s.coverage,
            "nodes": s.node_coverage,
            "total": s.total,
            "macs": s.macs,
            "note": f"not under a rule: {unknown}" if unknown else s.reason or "",
            "assumed": "; ".join(s.assumed),
        }
    except SedTorchError as error:
        known["error"] = _text(error)
    except Exception as error:  # a traceback is a fault of ours, whatever the model is
        known["error"] = f"not told as an error of ours: {_text(error)}"
    known["seconds"] = time.process_time() - start
    changed = differences(before, picture(subject))
    if _sums(inputs) != given:
        changed.append("the inputs")
    if not torch.equal(random, torch.random.get_rng_state()):
        changed.append("the random state")
    if inputs is None:
        with contextlib.suppress(SedTorchError):
            guess = resolve_inputs(light)
            args, kwargs = tensors_replaced(
                guess.args, dict(guess.kwargs), lambda t, _: guess.values.get(id(t), t)
            )
            inputs = _real((*args, kwargs)) if args or kwargs else None
    runs, truth = _second_opinion(case, light, heavy, inputs, s.macs if s is not None else 0.0)
    if runs.startswith("after the score "):
        changed.append(runs)
        runs = "cpu"
    if s is not None and truth and abs(s.macs - truth) > 0.001 * truth:
        with contextlib.suppress(Exception):
            known["samples"] = trace(light, input_data=inputs).batch
    state = "kept" if not changed else "changed: " + ", ".join(changed[:4])
    return Row(**known, state=state, runs=runs, truth=truth)


# -- inputs ----------------------------------------------------------------------------------------------------


def _real(value: Any) -> Any:
    """Inputs with values, where tensors are wanted."""
    if isinstance(value, Given):
        return value.tensor()
    if isinstance(value, Tensor) and value.is_meta:
        high = 2 if not value.dtype.is_floating_point else 0
        return Given(tuple(value.shape), value.dtype, high).tensor()
    if isinstance(value, Mapping):
        return {k: _real(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(_real(v) for v in value)
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for v in value.values():
            yield from _tensors(v)
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from _tensors(v)


def _on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, Mapping):
        return {k: _on_meta(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(_on_meta(v) for v in value)
    return value


# -- models ----------------------------------------------------------------------------------------------------


def _with_weights(case: Case) -> nn.Module | None:
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = case.make()
            model.eval()
            return model
    except Exception:
        return None


def _is_lazy(p: Any) -> bool:
    return isinstance(p, (nn.UninitializedParameter, nn.UninitializedBuffer))


# -- torch's own count -----------------------------------------------------------------------------------------


def _second_opinion(
    case: Case, light: nn.Module, heavy: nn.Module | None, inputs: Any, macs: float
) -> tuple[str, float | None]:
    """(where it runs or why not, multiply-accumulates)."""
    if inputs is None:
        return "no inputs known", None
    tries = []
    if heavy is not None:
        tries.append(("cpu", heavy))
    if all(p.is_meta for p in light.parameters()):
        tries.insert(1 if macs <= MOST_WORK else 0, ("meta", light))
    elif heavy is None:
        tries.append(("cpu", light))
    error = ""
    for place, model in tries:
        found, failure = _tried(model, inputs, place)
        if found is not None:
            return place, found
        if model is heavy and (fresh := _with_weights(case)) is not None:
            found, _ = _tried(fresh, inputs, "cpu")
            if found is not None:
                return f"after the score the model fails: {failure}", found
        error = error or failure
    return f"does not run: {error}", None


def _tried(model: nn.Module, inputs: Any, place: str) -> tuple[float | None, str]:
    """(multiply-accumulates or None, why not). Weights are frozen: the counter's hooks fail on views of weights that
    learn; where the forward itself takes gradients, they are not.
    """
    learn = [p for p in model.parameters() if p.requires_grad]
    try:
        for p in learn:
            p.requires_grad_(False)
        return _counted(model, inputs, place), ""
    except Exception as error:
        text = _line(error)
    finally:
        for p in learn:
            p.requires_grad_(True)
    with contextlib.suppress(Exception), torch.enable_grad():
        return _counted(model, inputs, place, frozen=False), ""
    return None, text


def _counted(model: nn.Module, inputs: Any, place: str, frozen: bool = True) -> float:
    """Half of what :class:`FlopCounterMode` counts, with fused kernels taken apart so that it sees the products."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    inputs = _on_meta(inputs) if place == "meta" else _copied(inputs)
    args, kwargs = _arguments(inputs)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.set_grad_enabled(not frozen),
            torch.random.fork_rng(devices=[]),
            torch.device(place),
            torch.backends.mkldnn.flags(enabled=False),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False, custom_mapping=FUSED) as counter,
        ):
            model(*args, **kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() / 2


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Mapping):
        return {k: _copied(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(_copied(v) for v in value)
    return value


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, dict):
        return (), inputs
    if isinstance(inputs, (tuple, list)):
        if inputs and isinstance(inputs[-1], dict) and all(isinstance(k, str) for k in inputs[-1]):
            return tuple(inputs[:-1]), inputs[-1]
        return tuple(inputs), {}
    return (inputs,), {}


# -- whether all is as before ----------------------------------------------------------------------------------


def _sum(t: Tensor) -> Any:
    """A checksum of the values, with all that goes with a tensor but them."""
    if _is_lazy(t):
        return "lazy"
    about = (tuple(t.shape), str(t.dtype), str(t.device), t.requires_grad, t.grad is None if t.is_leaf else 0)
    if t.is_meta or t.layout is not torch.strided or t.is_quantized:
        return about
    flat = t.detach().contiguous().flatten()
    return (*about, zlib.crc32(flat.view(torch.uint8).numpy()) if flat.numel() else 0)


def _sums(value: Any) -> list[Any]:
    return [_sum(t) for t in _tensors(value)]


def picture(model: nn.Module) -> dict[str, Any]:
    """What a module is made of: flags, hooks, parameters, buffers, and what else its attributes hold."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            key = f"{path}.{name}".lstrip(".")
            if name in ("_parameters", "_buffers"):
                for inner, t in value.items():
                    found[f"{key}[{inner}]"] = None if t is None else (id(t), _sum(t))
            elif name == "_modules":
                found[key] = [(n, id(m), type(m)) for n, m in value.items()]
            elif name.endswith("_hooks") and isinstance(value, dict):
                found[key] = [(k, id(v)) for k, v in value.items()]
            else:
                found[key] = _plain(value)
    return found


def _plain(value: Any, depth: int = 3) -> Any:
    if isinstance(value, Tensor):
        return _sum(value)
    if isinstance(value, (int, float, str, bool, type(None), torch.Size)):
        return repr(value)
    if depth and isinstance(value, (list, tuple)):
        return [_plain(v, depth - 1) for v in value]
    if depth and isinstance(value, dict):
        return [(repr(k), _plain(v, depth - 1)) for k, v in value.items()]
    return type(value).__name__


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of what differs."""
    return [k for k in (*before, *(k for k in after if k not in before)) if before.get(k) != after.get(k)]


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if not isinstance(error, ModelReferenceError) else str(error)
