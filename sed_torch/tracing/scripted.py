"""Functions and modules under ``torch.jit.script`` or ``trace``: their graphs are followed, call by call.

TorchScript runs its own interpreter, which a :class:`~torch.overrides.TorchFunctionMode` does not see. So its graphs
are walked here: each of their operators is called from Python, on the recorder's tensors. A function whose Python
original is at hand is called as that.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sed_torch.errors import TraceError
from sed_torch.tracing.signals import Signal

__all__ = ["Scripted", "scripts_followed"]

_lock = threading.Lock()
_following = 0
_call: Any = None


@contextmanager
def scripts_followed(mode: type[TorchFunctionMode]) -> Iterator[None]:
    """While a recorder (``mode``) runs in a thread, scripted functions called there are followed."""
    global _following, _call
    kind: Any = torch.jit.ScriptFunction
    with _lock:
        _following += 1
        if _following == 1:
            _call = kind.__call__
            kind.__call__ = _dispatching(_call, mode)
    try:
        yield
    finally:
        with _lock:
            _following -= 1
            if _following == 0:
                kind.__call__ = _call


def _dispatching(original: Callable[..., Any], mode: type[TorchFunctionMode]) -> Callable[..., Any]:
    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(torch.overrides._get_current_function_mode(), mode):  # type: ignore[no-untyped-call]
            return original(function, *args, **kwargs)
        python = getattr(function, "_torchdynamo_inline", None)
        if python is not None:
            return python(*args, **kwargs)
        return _Walk(function.name).run(function.inlined_graph, _bound(function.schema, args, kwargs))

    return call


class _Held:
    """Keeps a module from being taken for a part of the shadow."""

    __slots__ = ("module",)

    def __init__(self, module: nn.Module) -> None:
        self.module = module


class Scripted(nn.Module):
    """Stands for a ``ScriptModule`` in the shadow: its forward walks the graph.

    Args:
        module: the scripted module.
        training: the mode that its graph is told.
    """

    def __init__(self, module: torch.jit.ScriptModule, training: bool) -> None:
        super().__init__()
        self.__dict__["original"] = _Held(module)
        self.train(training)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Those of the scripted module."""
        module: nn.Module = self.__dict__["original"].module
        return module.parameters(recurse)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        original: Any = self.__dict__["original"].module
        if not original._c._has_method("forward"):
            path = self.__dict__.get("_sed_torch_path", "")
            raise Signal(
                TraceError(
                    f"module {path!r} is TorchScript ({original.original_name}) without one forward: pass the "
                    "nn.Module from before torch.jit.script",
                    module_path=path,
                )
            )
        values = _bound(original._c._get_method("forward").schema, (original, *args), kwargs)
        return _Walk(type(original).__name__, training=self.training).run(original.inlined_graph, values)


def _bound(schema: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """Arguments in the order of a schema, its defaults filled in."""
    values = list(args)
    for argument in schema.arguments[len(args) :]:
        values.append(kwargs.get(argument.name, argument.default_value))
    return values


class _Walk:
    """Runs a TorchScript graph in Python."""

    def __init__(self, name: str, training: bool = False) -> None:
        self._name, self._training = name, training
        self._values: dict[int, Any] = {}

    def run(self, graph: Any, args: list[Any]) -> Any:
        inputs = list(graph.inputs())
        for value, arg in zip(inputs, args, strict=False):
            self._values[value.unique()] = arg
        self._block(graph)
        results = [self._values[v.unique()] for v in graph.outputs()]
        return results[0] if len(results) == 1 else tuple(results)

    def _block(self, block: Any) -> None:
        for node in block.nodes():
            self._node(node)

    def _of(self, node: Any) -> list[Any]:
        return [self._values[v.unique()] for v in node.inputs()]

    def _give(self, node: Any, results: Any) -> None:
        outputs = list(node.outputs())
        if len(outputs) == 1:
            self._values[outputs[0].unique()] = results
        elif outputs:
            for value, result in zip(outputs, results, strict=True):
                self._values[value.unique()] = result

    def _node(self, node: Any) -> None:
        kind = node.kind()
        if kind == "prim::If":
            self._if(node)
        elif kind == "prim::Loop":
            self._loop(node)
        elif kind == "prim::GetAttr":
            self._give(node, self._attribute(self._of(node)[0], node.s("name")))
        elif kind in _PRIMITIVES:
            self._give(node, _PRIMITIVES[kind](node, self._of(node)))
        elif kind.startswith("prim::"):
            raise self._unknown(kind)
        else:
            self._give(node, self._operator(node, kind))

    def _attribute(self, owner: Any, name: str) -> Any:
        return self._training if name == "training" else getattr(owner, name)

    def _if(self, node: Any) -> None:
        then, otherwise = node.blocks()
        block = then if self._of(node)[0] else otherwise
        self._block(block)
        results = [self._values[v.unique()] for v in block.outputs()]
        self._give(node, results[0] if len(results) == 1 else results)

    def _loop(self, node: Any) -> None:
        most, going, *carried = self._of(node)
        [body] = node.blocks()
        inputs = list(body.inputs())
        step = 0
        while going and step < most:
            for value, now in zip(inputs, [step, *carried], strict=True):
                self._values[value.unique()] = now
            self._block(body)
            going, *carried = (self._values[v.unique()] for v in body.outputs())
            step += 1
        self._give(node, carried[0] if len(carried) == 1 else carried)

    def _operator(self, node: Any, kind: str) -> Any:
        args = self._of(node)
        space, _, name = kind.partition("::")
        plain = _SCALARS.get(name)
        of_containers = bool(args) and isinstance(args[0], (list, dict, tuple, str))
        numbers = not any(isinstance(a, torch.Tensor) for a in args)
        fits = numbers or name in _OF_ANYTHING or (of_containers and name in _OF_CONTAINERS)
        if space == "aten" and plain is not None and fits:
            return plain(*args)
        packet = getattr(getattr(torch.ops, space), name, None)
        if packet is None:
            raise self._unknown(kind)
        overload = node.schema().split("(")[0].partition(".")[2] or "default"
        function = getattr(packet, overload, packet)
        arguments = getattr(getattr(function, "_schema", None), "arguments", ())
        named = {a.name: v for a, v in zip(arguments, args, strict=False) if a.kwarg_only}
        return function(*args[: len(args) - len(named)], **named)

    def _unknown(self, kind: str) -> Signal:
        return Signal(
            TraceError(f"{self._name} is TorchScript, and its operator {kind} could not be followed")
        )


def _constant(node: Any, _: list[Any]) -> Any:
    output = next(iter(node.outputs()))
    return output.toIValue() if node.hasAttribute("value") else None


def _raise(_: Any, values: list[Any]) -> Any:
    raise RuntimeError(str(values[0]) if values else "TorchScript raised")


def _unpacked(_: Any, values: list[Any]) -> Any:
    items = list(values[0])
    return items[0] if len(items) == 1 else items


_PRIMITIVES: Mapping[str, Callable[[Any, list[Any]], Any]] = {
    "prim::Constant": _constant,
    "prim::ListConstruct": lambda _, v: list(v),
    "prim::TupleConstruct": lambda _, v: tuple(v),
    "prim::DictConstruct": lambda _, v: dict(zip(v[::2], v[1::2], strict=True)),
    "prim::ListUnpack": _unpacked,
    "prim::TupleUnpack": _unpacked,
    "prim::TupleIndex": lambda _, v: v[0][v[1]],
    "prim::NumToTensor": lambda _, v: v[0],
    "prim::unchecked_cast": lambda _, v: v[0],
    "prim::unchecked_unwrap_optional": lambda _, v: v[0],
    "prim::Uninitialized": lambda _, v: None,
    "prim::RaiseException": _raise,
    "prim::dtype": lambda _, v: v[0].dtype,
    "prim::device": lambda _, v: v[0].device,
    "prim::layout": lambda _, v: v[0].layout,
    "prim::is_cuda": lambda _, v: False,
    "prim::is_cpu": lambda _, v: True,
    "prim::min": lambda _, v: min(*v) if len(v) > 1 else min(v[0]),
    "prim::max": lambda _, v: max(*v) if len(v) > 1 else max(v[0]),
    "prim::Print": lambda _, v: None,
    "prim::data": lambda _, v: v[0],
    "prim::requires_grad": lambda _, v: False,
    "prim::shape": lambda _, v: list(v[0].shape),
}

_OF_ANYTHING = frozenset(["__is__", "__isnot__"])
_OF_CONTAINERS = frozenset(
    ["append", "len", "list", "__getitem__", "slice", "_set_item", "add", "format", "items"]
)

_SCALARS: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b, alpha=1: a + b,
    "sub": lambda a, b, alpha=1: a - b,
    "mul": operator.mul,
    "div": operator.truediv,
    "floordiv": operator.floordiv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "pow": operator.pow,
    "neg": operator.neg,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "__and__": lambda a, b: a and b,
    "__or__": lambda a, b: a or b,
    "__not__": operator.not_,
    "__is__": operator.is_,
    "__isnot__": operator.is_not,
    "__contains__": lambda a, b: b in a,
    "__getitem__": operator.getitem,
    "__range_length": lambda low, high, step: len(range(low, high, step)),
    "__derive_index": lambda i, low, step: low + i * step,
    "_set_item": operator.setitem,
    "append": lambda a, b: (a.append(b), a)[1],
    "len": len,
    "list": list,
    "slice": lambda a, low=None, high=None, step=1: a[low:high:step],
    "Int": int,
    "Float": float,
    "Bool": bool,
    "ScalarImplicit": lambda a: a,
    "IntImplicit": int,
    "FloatImplicit": float,
    "floor": lambda a: a.__floor__(),
    "ceil": lambda a: a.__ceil__(),
    "sqrt": lambda a: a**0.5,
    "format": lambda text, *values: text.format(*values),
    "str": str,
    "warn": lambda *_: None,
    "keys": lambda a: list(a.keys()),
    "values": lambda a: list(a.values()),
    "items": lambda a: list(a.items()),
    "is_scripting": lambda: True,
    "unsqueeze": lambda a, _: a,
}
