"""``torch.export(strict=False)`` on ``meta`` tensors, brought to the form that the recorder writes."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import torch
import torch.fx
from torch import Tensor, nn

from sed_torch.errors import DataDependentError, TraceError
from sed_torch.ops import canonical
from sed_torch.tracing.inputs import Inputs
from sed_torch.tracing.programs import path_of, source_of
from sed_torch.tracing.shadow import Shadow
from sed_torch.tracing.signals import Signal
from sed_torch.tracing.surroundings import surroundings_kept
from sed_torch.tracing.turns import alone

__all__ = ["export_graph"]


def export_graph(model: nn.Module, inputs: Inputs) -> torch.fx.Graph:
    """The graph that ``torch.export`` sees, with ``meta["shape" | "path" | "source" | "spelling"]``.

    Raises:
        TraceError: with the reason that ``torch.export`` gives.
    """
    shadow = Shadow(model)
    root = shadow.root
    _to_meta(root)
    try:
        with (
            surroundings_kept(model, shadow.passed_on),
            alone(),
            _quietly(),
            _registration_hooks(),
            torch.no_grad(),
        ):
            program = torch.export.export(root, inputs.args, dict(inputs.kwargs), strict=False)
    except (Exception, Signal) as error:
        if "data-dependent" in str(error).lower():  # torch's own words are of symbols and guards
            raise DataDependentError(
                f"torch.export gave up on {type(model).__name__}: it needs the value of a tensor as well"
            ) from error
        text = str(error).strip().split("\n")[0]
        raise TraceError(
            f"torch.export gave up on {type(model).__name__}: {type(error).__name__}: {text}"
        ) from error
    finally:
        shadow.disarm()
    graph: torch.fx.Graph = program.graph
    transformed = next(
        (n for n in graph.nodes if "_functorch" in str(getattr(n.target, "__module__", ""))), None
    )
    if transformed is not None:
        raise TraceError(
            f"torch.export gave up on {type(model).__name__}: what torch.func transforms is left as it stands "
            f"({getattr(transformed.target, '__name__', transformed.target)}), with shapes of its own"
        )
    _annotate(program, shadow, type(model).__name__)
    return graph


class _Others:
    """A stream that passes on what other threads write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self._thread else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _quietly() -> Iterator[None]:
    """``torch.export`` prints the graph up to a failure, and warns; the reason is in our error instead."""
    thread = threading.get_ident()
    before, handlers = sys.stderr, list(logging.getLogger("torch").handlers)

    def from_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    for handler in handlers:
        handler.addFilter(from_others)
    ours: Any = _Others(before)
    sys.stderr = ours
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if sys.stderr is ours:
            sys.stderr = before
        for handler in handlers:
            handler.removeFilter(from_others)


@contextmanager
def _registration_hooks() -> Iterator[None]:
    """A ``torch.export`` that fails leaves its own hooks on every module's registrations behind (seen in 2.7)."""
    registry = vars(nn.modules.module)
    tables = [registry[f"_global_{what}_registration_hooks"] for what in ("buffer", "module", "parameter")]
    before = [set(table) for table in tables]
    try:
        yield
    finally:
        for table, known in zip(tables, before, strict=True):
            for key in set(table) - known:
                if table[key].__module__.startswith("torch."):  # another thread may register hooks meanwhile
                    del table[key]


def _to_meta(root: nn.Module) -> None:
    """Parameters and buffers of the shadow become ``meta`` stand-ins; shared ones stay shared."""
    known: dict[int, Any] = {}

    def stand_in(t: Tensor | None) -> Any:
        if t is None:
            return None
        if id(t) not in known:
            dtype = torch.float32 if t.is_quantized else t.dtype
            meta = torch.empty_strided(t.size(), t.stride(), dtype=dtype, device="meta")
            grad = t.requires_grad and (dtype.is_floating_point or dtype.is_complex)
            known[id(t)] = nn.Parameter(meta, requires_grad=grad) if isinstance(t, nn.Parameter) else meta
        return known[id(t)]

    for module in root.modules():
        for table in (module._parameters, module._buffers):
            for name, t in table.items():
                table[name] = stand_in(t)
        for name, value in list(module.__dict__.items()):
            if isinstance(value, Tensor):
                module.__dict__[name] = stand_in(value)


def _annotate(program: Any, shadow: Shadow, model: str) -> None:
    signature = program.graph_signature
    parameters = signature.inputs_to_parameters
    buffers = {**signature.inputs_to_buffers, **getattr(signature, "inputs_to_lifted_tensor_constants", {})}
    user_outputs = set(signature.user_outputs)
    first_names = _first_names(shadow.root)
    held: dict[str, torch.fx.Node] = {}
    for node in list(program.graph.nodes):
        node.meta["path"], node.meta["source"] = path_of(node), source_of(node)
        node.meta["shape"] = _shape(node, model)
        value = node.meta.get("val")
        node.meta["dtype"] = value.dtype if isinstance(value, Tensor) else None
        if node.op == "placeholder" and node.name in {**parameters, **buffers}:
            is_parameter = node.name in parameters
            name = parameters.get(node.name) or buffers[node.name]
            name = first_names.get(name, name)
            if name in held:  # torch 2.4 gives a shared tensor once for each of its names
                node.replace_all_uses_with(held[name])
                program.graph.erase_node(node)
                continue
            held[name] = node
            node.op, node.target = "get_attr", name
            node.meta["parameter"] = name if is_parameter else None
            node.meta["path"] = name.rpartition(".")[0]
        elif node.op == "call_function":
            node.meta["spelling"] = _spelling(node)
        elif node.op == "output":
            node.args = (tuple(a for a in node.args[0] if getattr(a, "name", None) in user_outputs),)


def _first_names(root: nn.Module) -> dict[str, str]:
    """Name of a parameter or buffer → the first of the names that the same tensor goes by."""
    tensors = (
        *root.named_parameters(remove_duplicate=False),
        *root.named_buffers(remove_duplicate=False),
    )
    first: dict[int, str] = {}
    return {name: first.setdefault(id(t), name) for name, t in tensors}


def _shape(node: torch.fx.Node, model: str) -> tuple[int, ...] | None:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None
    if any(not isinstance(n, int) for n in value.shape):
        where = node.meta["source"] or node.meta["path"] or "the root"
        raise DataDependentError(
            f"torch.export read {model}, but the shape of {node.name} ({where}) depends on the values of a tensor"
        )
    return tuple(value.shape)


def _spelling(node: torch.fx.Node) -> str:
    target: Any = node.target
    schema = getattr(target, "_schema", None)
    if schema is not None:
        name = canonical(schema.name)
        return "_local_scalar_dense" if name == "item" else name  # "item" is one of several results
    name = getattr(target, "__name__", str(target))
    return "item" if name == "getitem" and not isinstance(node.args[0], Tensor) else name
