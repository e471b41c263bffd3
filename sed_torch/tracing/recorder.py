"""Follow a forward on ``meta`` tensors and write it down as a ``torch.fx.Graph``.

Values are real tensors on the ``meta`` device, so that Python control flow on shapes, ``isinstance`` checks,
iteration and item assignment work as they do in a run, and nothing is computed. A thread-local
``TorchFunctionMode`` sees every call to a torch function, whoever makes it, and records one fx node for it;
no global table is patched. Parameters are represented by ``meta`` stand-ins and are never read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from types import CodeType, FrameType
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from sed_torch.errors import DataDependentError, ShapeError, TraceError
from sed_torch.ops import OPS, Op, lookup
from sed_torch.tracing.fast_shapes import fast_shape
from sed_torch.tracing.shadow import Shadow
from sed_torch.tracing.values import Held, Values

__all__ = ["LostValueError", "Recorder", "is_user_code"]

_CPU = torch.device("cpu")
_IM2COL = F.unfold
_CALL_CODE = nn.Module._wrapped_call_impl.__code__
_TORCH_DIR = torch.__path__[0] + os.sep  # torchvision is a user's package
_OWN_DIR = os.path.dirname(os.path.abspath(__file__)) + os.sep
_ENTRANCE = os.path.join(_OWN_DIR, "__init__.py")  # whoever called us is not the model

# Asking these must not make a node.
_SILENT = frozenset(
    [
        "size",
        "dim",
        "numel",
        "stride",
        "__len__",
        "ndimension",
        "nelement",
        "element_size",
        "storage_offset",
        "get_device",
        "data_ptr",
        "__repr__",
        "__format__",
        "__hash__",
        "is_floating_point",
        "is_complex",
        "is_contiguous",
        "is_same_size",
        "is_signed",
        "is_inference",
        "is_pinned",
        "is_shared",
        "is_tensor",
        "is_storage",
        "_is_view",
        "is_set_to",
        "is_conj",
        "is_neg",
        "__dir__",
        "__deepcopy__",
        "untyped_storage",
        "_version",
        "has_names",
        "result_type",
        "can_cast",
        "promote_types",
    ]
)
_INPUT_IS_NOT_FIRST = frozenset(["where", "searchsorted"])
_OF_AUTOGRAD = frozenset(["requires_grad_", "register_hook", "retain_grad"])
_RANDOM_OF_TENSORS = frozenset(
    [
        "bernoulli",
        "multinomial",
        "poisson",
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "alpha_dropout",
        "feature_dropout",
        "feature_alpha_dropout",
        "native_dropout",
        "rrelu",
    ]
)
_RANDOM = _RANDOM_OF_TENSORS | frozenset(
    [
        "rand",
        "randn",
        "randint",
        "randperm",
        "normal",
        "rand_like",
        "randn_like",
        "randint_like",
        "uniform_",
        "normal_",
        "bernoulli_",
        "exponential_",
        "random_",
        "log_normal_",
        "cauchy_",
        "geometric_",
    ]
)
# These keep some entries of a map, as a detector keeps boxes. A forward that asks for their places instead
# (nonzero, unique) may do anything with them.
_SELECTS = frozenset(["__getitem__", "where", "masked_select"])
_NEEDS_VALUES = frozenset(
    [
        "item",
        "tolist",
        "__bool__",
        "__int__",
        "__float__",
        "__index__",
        "__complex__",
        "__contains__",
        "numpy",
        "__array__",
        "nonzero",
        "argwhere",
        "masked_select",
        "unique",
        "_unique2",
        "unique_consecutive",
        "equal",
        "allclose",
        "is_nonzero",
        "bincount",
    ]
)
# What these take besides a tensor are sizes, which a model may compute as a tensor of its own making.
_SIZED = frozenset(
    [
        "view",
        "reshape",
        "expand",
        "repeat",
        "unflatten",
        "narrow",
        "as_strided",
        "split",
        "chunk",
        "new_zeros",
        "new_ones",
        "new_empty",
        "new_full",
    ]
)
_FOLDING = frozenset(["matmul", "__matmul__", "linear"])
_VIEWS = frozenset(
    [
        "__getitem__",
        "view",
        "reshape",
        "view_as",
        "permute",
        "transpose",
        "t",
        "select",
        "narrow",
        "unsqueeze",
        "squeeze",
        "expand",
        "flatten",
        "unflatten",
        "chunk",
        "split",
        "unbind",
        "T",
        "mT",
        "movedim",
        "swapaxes",
        "diagonal",
        "detach",
    ]
)


def is_user_code(code: CodeType) -> bool:
    """Neither torch's code nor the tracer's own."""
    return not code.co_filename.startswith((_TORCH_DIR, _OWN_DIR, "<"))


class LostValueError(Exception):
    """A tensor appeared that no recorded call produced (a scripted function, a vmap, …)."""


class Recorder(TorchFunctionMode):
    """Records torch calls into :attr:`graph`.

    Args:
        shadow: the modules that will be called.
    """

    def __init__(self, shadow: Shadow) -> None:
        super().__init__()
        self.graph = torch.fx.Graph()
        self.shadow = shadow
        self.opaque = 0
        self.was_cut = False
        self._selecting: str | None = None
        self._stand_ins: dict[int, Held] = {}
        self._kept: list[Tensor] = []
        self._values = Values()
        self._overwrites = False  # whether any call wrote over what another name still reads
        self._fresh: dict[int, Tensor] = {}  # kept, as their ids must stay theirs
        self._own_storages: set[int] = set()
        self._user_code: dict[CodeType, bool] = {}
        self._shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._functions: set[CodeType] | None = None
        self._lines: dict[tuple[CodeType, int], str] = {}

    # -- inputs and outputs ------------------------------------------------------------------------------

    def placeholder(self, value: Tensor, name: str) -> Tensor:
        """A ``meta`` tensor that stands for an input."""
        meta = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="meta")
        node = self.graph.placeholder(name)
        self._bind(meta, node, path="", source=None)
        return meta

    def output(self, values: Iterable[Tensor]) -> None:
        """Close the graph with what the forward returned."""
        self.graph.output(tuple(self._node(self._stand_in(v)) for v in values))

    # -- the mode ----------------------------------------------------------------------------------------

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._attribute(func, args)
        if name in _SILENT:
            return func(*args, **kwargs)
        if name in _OF_AUTOGRAD:  # there is no gradient here, and the tensor may be the model's own
            return RemovableHandle({}) if name == "register_hook" else args[0]
        if name == "__set__":
            return self._set_attribute(func, *args)
        if not args and "input" in kwargs and name not in _INPUT_IS_NOT_FIRST:
            args, kwargs = (kwargs["input"],), {k: v for k, v in kwargs.items() if k != "input"}
        if name == "__iter__":
            return iter(self.__torch_function__(torch.unbind, types, args))
        tensors = _tensors(args, kwargs)
        if not self._depends(tensors):
            if not self._writes_to_what_was_there(name, args, kwargs):
                return self._constant(func, name, args, kwargs, tensors)
            self._node(self._stand_in(tensors[0]))  # from here on its values are unknown
        if name in _NEEDS_VALUES:
            raise self._data_dependent(name)
        return self._record(func, name, args, kwargs)

    def _attribute(self, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        name = getattr(getattr(func, "__self__", None), "__name__", "")
        tensor = args[0]
        if name == "device":
            return _CPU
        if name in ("T", "mT", "H", "mH", "real", "imag", "data"):
            if not self._depends([tensor]):
                return func(tensor)
            return self._record(func, name, args, {})
        if name == "grad":
            return None
        return func(tensor)

    def _set_attribute(self, func: Callable[..., Any], tensor: Tensor, value: Any) -> None:
        """``tensor.data = value`` gives the tensor another content from here on; the rest concerns autograd."""
        if getattr(getattr(func, "__self__", None), "__name__", "") == "data" and isinstance(value, Tensor):
            self._values[self._stand_in(tensor)] = self._node(self._stand_in(value))

    def _depends(self, tensors: list[Tensor]) -> bool:
        """True when a call must be recorded: it touches an input, a parameter or what came from one."""
        return any(
            t.device.type == "meta" or id(t) in self._stand_ins or id(t) in self.shadow.tensors or _opaque(t)
            for t in tensors
        )

    def _writes_to_what_was_there(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """True for an in-place call on a tensor that is older than this trace: the model's or the caller's."""
        target = kwargs.get("out")
        if target is None and args and (_in_place(name) or kwargs.get("inplace")):
            target = args[0]
        return isinstance(target, Tensor) and _storage(target) not in self._own_storages

    def _made_here(self, result: Any, tensors: Iterable[Tensor] = ()) -> Any:
        """Remember a constant that the forward made itself; a view of another is none."""
        if not isinstance(result, Tensor):
            return result
        if result.device.type == "meta":
            self._fresh[id(result)] = result
        elif (storage := _storage(result)) not in map(_storage, tensors):
            self._own_storages.add(storage)
        return result

    def _constant(
        self,
        func: Callable[..., Any],
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Tensor],
    ) -> Any:
        """A call on constants of the forward's own making runs for real, so that their values may be used."""
        if name in _RANDOM:
            return self._random(func, name, args, kwargs)
        if name == "_set_grad_enabled":
            return func(*args)
        if "device" in kwargs and kwargs["device"] is not None:
            kind = torch.device(kwargs["device"]).type
            kwargs = {**kwargs, "device": "meta" if kind == "meta" else "cpu"}
        if name in ("cuda", "xpu", "mps", "pin_memory", "share_memory_"):
            return args[0]
        if name == "to":
            args = tuple(_CPU if _is_device(a) else a for a in args)
        with torch.no_grad():  # the forward's own mode is noted, no gradient is kept
            return self._made_here(func(*args, **kwargs), tensors)

    def _random(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Random numbers have a shape but no value here: the generator is not drawn from."""
        if name.endswith("_"):  # in place on a constant: from now on its values are unknown
            self._node(self._stand_in(args[0]))
            return args[0]
        kwargs = {k: v for k, v in kwargs.items() if k != "generator"} | {"device": "meta"}
        if name in _RANDOM_OF_TENSORS:
            kwargs.pop("device")
            args = tuple(a.to("meta") if isinstance(a, Tensor) else a for a in args)
        return self._made_here(func(*args, **kwargs))

    # -- recording ---------------------------------------------------------------------------------------

    def _record(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if name in _SIZED:
            args = (*args[:1], *map(self._size, args[1:]))
            kwargs = {k: self._size(v) for k, v in kwargs.items()}
        meta_args = self._to_meta(args)
        meta_kwargs = self._to_meta(kwargs) if kwargs else kwargs
        if "device" in meta_kwargs:
            meta_kwargs = {k: v for k, v in meta_kwargs.items() if k != "device"}
        if name == "to":
            meta_args = (meta_args[0], *(a for a in meta_args[1:] if not _is_device(a)))
            if len(meta_args) == 1 and not meta_kwargs:
                return args[0]
        elif name in ("cuda", "cpu", "xpu", "pin_memory"):
            return args[0]
        if func is _IM2COL:  # Tensor.unfold is another operator of the same name
            name = "im2col"
        path, source = self._where()
        try:
            result = fast_shape(name, meta_args, meta_kwargs)
            if result is NotImplemented:
                result = func(*meta_args, **meta_kwargs)
        except (LostValueError, TraceError, RecursionError, MemoryError):
            raise
        except Exception as error:
            raise self._explain(error, name, meta_args, path, source) from error
        if name == "__setitem__":
            result = meta_args[0]
        elif not _has_tensor(result):
            return result
        overwrites = bool(kwargs.get("inplace"))
        found = isinstance(result, Tensor) and any(result is a for a in meta_args)
        if found and not (_in_place(name) or overwrites):
            return result  # contiguous(), to() and the like found nothing to do
        written = self._write_down(name, meta_args, meta_kwargs, result, path, source)
        if overwrites and meta_args and isinstance(written, Tensor):
            self._overwrite(meta_args[0], written, path, source)
        return None if name == "__setitem__" else written

    def _overwrite(self, old: Tensor, new: Tensor, path: str, source: str | None) -> None:
        """``F.relu(old, inplace=True)``: from now on ``old`` holds the result too. Who reads it so is noted."""
        node = self._node(new)
        node.meta["spelling"] += "_"
        self._values[old] = node
        if new is not old:
            self._values.held(old).overwritten = node
            self._overwrites = True
        self._tell_bases(old, node, path, source)

    def _write_down(
        self, name: str, args: Any, kwargs: Any, result: Any, path: str, source: str | None
    ) -> Any:
        node_args = self._to_nodes(args)
        node_kwargs = self._to_nodes(kwargs) if kwargs else {}
        node = self.graph.create_node("call_function", _target(name), node_args, node_kwargs)
        node.meta["spelling"] = name
        if not torch.is_grad_enabled():
            node.meta["facts"] = {"grad": "function" if self._in_own_function() else False}
        for tensor in _tensors(args, kwargs) if self._overwrites else ():
            writer = self._values.held(tensor).overwritten
            if writer is not None:
                writer.meta.setdefault("stale", []).append(node.name)
        if isinstance(result, Tensor):
            shared = args[0] if _idle_dropout(name, args, kwargs) else _shared(result, args)
            if shared is not None:
                node.meta["shares"] = self._node(shared)
            if name in _FOLDING:
                node.meta["copied"] = tuple(
                    self._node(a) for a in args[:2] if isinstance(a, Tensor) and not _folds(a)
                )
            self._bind(result, node, path, source)
            if _in_place(name):
                self._tell_bases(result, node, path, source)
            elif name in _VIEWS and args:
                self._values.held(result).base = args[0]
            return result
        node.meta.update(path=path, source=source)
        return self._bind_items(result, node, path, source, args[0] if args else None, name)

    def _bind_items(
        self, result: Any, node: torch.fx.Node, path: str, source: str | None, base: Any, name: str
    ) -> Any:
        for i, part in enumerate(result):
            if isinstance(part, Tensor):
                item = self.graph.create_node("call_function", _target("item_of"), (node, i), {})
                item.meta["spelling"] = "item"
                if isinstance(base, Tensor) and _storage(part) == _storage(base):
                    item.meta["shares"] = self._node(base)
                self._bind(part, item, path, source)
                if name in _VIEWS and isinstance(base, Tensor):
                    self._values.held(part).base = base
            elif isinstance(part, (tuple, list)):
                self._bind_items(part, node, path, source, base, name)
        return result

    def _bind(self, value: Tensor, node: torch.fx.Node, path: str, source: str | None) -> None:
        shape = tuple(value.shape)
        shape = self._shapes.setdefault(shape, shape)  # one object a shape, however many tensors have it
        node.meta.update(shape=shape, dtype=value.dtype, path=path, source=source)
        self._values[value] = node

    def _tell_bases(self, value: Tensor, node: torch.fx.Node, path: str, source: str | None) -> None:
        """Writing into a view also changes what it is a view of."""
        base = self._values.held(value).base
        while base is not None:
            written = self.graph.create_node(
                "call_function", _target("setitem"), (self._node(base), None, node), {}
            )
            written.meta["spelling"] = "setitem"
            self._bind(base, written, path, source)
            node, base = written, self._values.held(base).base

    # -- leaves ------------------------------------------------------------------------------------------

    def mark(self) -> int:
        """How many nodes there are: :meth:`rewind` takes back the calls recorded since."""
        return len(self.graph.nodes)

    def rewind(self, mark: int) -> None:
        """Forget the calls recorded since ``mark``; parameters and constants met since then stay known."""
        for node in reversed(list(self.graph.nodes)[mark:]):
            if node.op == "call_function":
                self.graph.erase_node(node)

    def record_leaf(
        self,
        op: Op,
        module: nn.Module,
        path: str,
        inputs: list[Tensor],
        results: list[Tensor],
        attrs: dict[str, Any],
    ) -> None:
        """One node for a whole module, reading its inputs and owning its parameters."""
        read = [self._node(self._stand_in(t)) for t in (*inputs, *module.parameters())]
        self.opaque += op.rule == "opaque"
        _, source = self._where()
        name = type(module).__name__
        node = self.graph.create_node("call_function", _target(name), tuple(read), {})
        node.meta.update(spelling=name, op=op, attrs=attrs, path=path, source=source)
        if len(results) == 1:
            self._bind(results[0], node, path, source)
            return
        for i, part in enumerate(results):
            item = self.graph.create_node("call_function", _target("item_of"), (node, i), {})
            item.meta["spelling"] = "item"
            self._bind(part, item, path, source)

    def cut_short(self, error: TraceError) -> bool:
        """End the graph where the data would choose among entries: what follows becomes one opaque node.

        False where that is not why the forward could not be followed, or where no parameter was read yet.
        """
        ends = [n for n in self.graph.nodes if n.op == "call_function" and not n.users]
        read = {n.meta.get("parameter") for n in self.graph.nodes} - {None}
        if self._selecting is None or not read or not ends:
            return False
        rest = [p for name, p in self.shadow.original.named_parameters() if name not in read]
        name = f"what follows {self._selecting}"
        nodes = (*ends, *(self._node(self._stand_in(p)) for p in rest))
        node = self.graph.create_node("call_function", _target("what_follows"), nodes, {})
        node.meta.update(spelling=name, op=OPS["opaque"], attrs={}, path=error.module_path or "")
        node.meta.update(source=error.source, shape=None)
        self.graph.output((node,))
        self.opaque, self.was_cut = self.opaque + 1, True
        return True

    # -- tensors and nodes -------------------------------------------------------------------------------

    def _to_meta(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._stand_in(value)
        kind = type(value)
        if kind is tuple or kind is list:
            return kind(self._to_meta(v) for v in value)
        if kind is dict:
            return {k: self._to_meta(v) for k, v in value.items()}
        if kind is slice:
            return slice(self._to_meta(value.start), self._to_meta(value.stop), self._to_meta(value.step))
        return value

    def _size(self, value: Any) -> Any:
        """A whole number that the forward computed as a constant tensor, as a number."""
        if isinstance(value, (tuple, list)):
            return type(value)(map(self._size, value))
        whole = isinstance(value, Tensor) and value.dim() == 0 and not value.dtype.is_floating_point
        return int(value) if whole and not self._depends([value]) else value

    def _stand_in(self, tensor: Tensor) -> Tensor:
        known = self._stand_ins.get(id(tensor))
        if known is not None:
            alive = known()
            return alive if alive is not None else self._stand_in_again(tensor, known)
        if tensor in self._values:
            return tensor
        name = self.shadow.tensors.get(id(tensor))
        made = isinstance(tensor, nn.Parameter) or tensor.device.type != "meta" or self._is_fresh(tensor)
        if name is None and not made:
            shape = tuple(tensor.shape)
            raise LostValueError(f"a tensor of shape {shape} appeared that no recorded call produced")
        meta = _meta_like(tensor)
        node = self.graph.create_node("get_attr", name or "constant")
        node.meta["parameter"] = name if isinstance(tensor, nn.Parameter) else None
        if name is None:
            node.meta["facts"] = self.shadow.unregistered(tensor)
        self._bind(meta, node, path=_owner(name), source=None)
        self._stand_ins[id(tensor)] = self._values.held(meta)
        if name is None or not isinstance(tensor, nn.Parameter):  # the model's parameters the shadow keeps
            self._kept += [tensor, meta]
        return meta

    def _stand_in_again(self, parameter: Tensor, known: Held) -> Tensor:
        """Few parameters are read twice: the stand-in is freed after a call and made anew for the next."""
        meta = _meta_like(parameter)
        shape = known.node.meta["shape"]
        if meta.shape != shape:  # written over in place, by a call that changed it
            meta = torch.empty(shape, dtype=meta.dtype, device="meta")
        self._stand_ins[id(parameter)] = self._values.revive(known, meta)
        return meta

    def _is_fresh(self, tensor: Tensor) -> bool:
        """A ``meta`` tensor that a factory made, or that the model holds, is a constant like any other."""
        return id(tensor) in self._fresh or id(tensor) in self.shadow.constants

    def _node(self, tensor: Tensor) -> torch.fx.Node:
        return self._values[tensor]

    def _to_nodes(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._node(value)
        if isinstance(value, (tuple, list)):
            return tuple(self._to_nodes(v) for v in value)
        if type(value) is dict:
            return {k: self._to_nodes(v) for k, v in value.items()}
        if type(value) is slice:
            return slice(self._to_nodes(value.start), self._to_nodes(value.stop), self._to_nodes(value.step))
        return value

    # -- where are we ------------------------------------------------------------------------------------

    def _where(self) -> tuple[str, str | None]:
        """Path of the innermost module being called, and ``file:line`` of the user's code."""
        source: str | None = None
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename != _ENTRANCE:
            code = frame.f_code
            if code is _CALL_CODE:
                path = self.shadow.path_of(frame.f_locals["self"])
                if path is not None:
                    return path, source or self._user_line(frame)
            elif source is None and self._is_user_code(code):
                source = self._line(frame)
            frame = frame.f_back
        return "", source

    def _in_own_function(self) -> bool:
        """Whether the call was made by the forward of an ``autograd.Function``, which brings its own gradient."""
        if self._functions is None:
            self._functions = _forwards_of(torch.autograd.Function)
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code is not _CALL_CODE:
            if frame.f_code in self._functions:
                return True
            frame = frame.f_back
        return False

    def _user_line(self, frame: FrameType | None) -> str | None:
        while frame is not None and frame.f_code.co_filename != _ENTRANCE:
            if self._is_user_code(frame.f_code):
                return self._line(frame)
            frame = frame.f_back
        return None

    def _line(self, frame: FrameType) -> str:
        """``file:line``, one string for all calls of a line."""
        place = frame.f_code, frame.f_lineno
        known = self._lines.get(place)
        if known is None:
            known = self._lines[place] = f"{place[0].co_filename}:{place[1]}"
        return known

    def _is_user_code(self, code: CodeType) -> bool:
        known = self._user_code.get(code)
        if known is None:
            known = is_user_code(code)
            self._user_code[code] = known
        return known

    # -- errors ------------------------------------------------------------------------------------------

    def _data_dependent(self, name: str) -> DataDependentError:
        self._selecting = name if name in _SELECTS else None
        path, source = self._where()
        spelled = {"__bool__": "bool(tensor)", "__int__": "int(tensor)", "__float__": "float(tensor)"}.get(
            name, f"tensor.{name}()"
        )
        return DataDependentError(
            f"data-dependent code: {spelled} asks for the values of a tensor in {_place(path, source)}. "
            "SED reads the graph without data, so control flow and shapes may depend on shapes only.",
            module_path=path,
            source=source,
        )

    def _explain(
        self, error: Exception, name: str, args: tuple[Any, ...], path: str, source: str | None
    ) -> TraceError:
        text = str(error).strip().split("\n")[0]
        where = _place(path, source)
        if (
            isinstance(error, NotImplementedError)
            or "meta tensor" in text.lower()
            or "data-dependent" in text
        ):
            self._selecting = name if name in _SELECTS else None
            if self._selecting:
                text = "how many entries there are depends on their values"
            return DataDependentError(
                f"data-dependent code: {name} has no shape without data, in {where}: {text}",
                module_path=path,
                source=source,
            )
        shapes = ", ".join("×".join(map(str, t.shape)) or "scalar" for t in _tensors(args, {}))
        return ShapeError(
            f"shapes do not fit: {name}({shapes}) in {where}: {text}", module_path=path, source=source
        )


def _forwards_of(kind: Any) -> set[CodeType]:
    """The code of ``forward`` in every class derived from ``kind``."""
    code = getattr(getattr(kind, "forward", None), "__code__", None)
    found = {code} if isinstance(code, CodeType) else set()
    return found.union(*map(_forwards_of, kind.__subclasses__()))


def _place(path: str, source: str | None) -> str:
    return (f"module {path!r}" if path else "the root module") + (f", {source}" if source else "")


def _storage(tensor: Tensor) -> int:
    """Which memory a tensor looks at; 0 where it has none of the ordinary kind."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else 0


def _shared(result: Tensor, args: Any) -> Tensor | None:
    """The argument whose memory a result looks at: of a view, and of a call that wrote in place."""
    if not args or not isinstance(args[0], Tensor):
        return None
    return args[0] if result is args[0] or _storage(result) == _storage(args[0]) else None


def _idle_dropout(name: str, args: Any, kwargs: Any) -> bool:
    """A dropout that drops nothing hands back the tensor that it was given."""
    row = lookup(name)
    if row is None or row.name != "dropout" or not args:
        return False
    p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    training = args[2] if len(args) > 2 else kwargs.get("training", kwargs.get("train", True))
    return not training or p == 0


def _folds(operand: Tensor) -> bool:
    """Whether a product can take all but the last two dimensions as one without a copy of the operand."""
    if operand.dim() < 3 or operand.is_contiguous():
        return True
    try:
        operand.view(-1, *operand.shape[-2:])
    except RuntimeError:
        return False
    return True


def _owner(name: str | None) -> str:
    return name.rpartition(".")[0] if name else ""


def _opaque(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter)


def _is_device(value: Any) -> bool:
    if isinstance(value, str):
        value = value.split(":")[0]
        return value in ("cpu", "cuda", "mps", "meta", "xpu")
    return isinstance(value, torch.device)


def _in_place(name: str) -> bool:
    return (name.endswith("_") and not name.endswith("__")) or name.startswith("__i") or name == "__setitem__"


def _meta_like(tensor: Tensor) -> Tensor:
    dtype = tensor.dtype
    if tensor.is_quantized:
        dtype = torch.float32
    if tensor.layout is not torch.strided:
        return torch.empty(tensor.size(), dtype=dtype, device="meta")
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=dtype, device="meta")


def _tensors(args: Any, kwargs: Any) -> list[Tensor]:
    found: list[Tensor] = []
    stack: list[Any] = [*reversed(list(kwargs.values())), *reversed(args)] if kwargs else [*reversed(args)]
    while stack:
        value = stack.pop()
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            stack.extend(reversed(value))
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif type(value) is slice:
            stack.extend((value.start, value.stop, value.step))
    return found


def _has_tensor(value: Any) -> bool:
    if isinstance(value, Tensor):
        return True
    return isinstance(value, (tuple, list)) and any(_has_tensor(v) for v in value)


_TARGETS: dict[str, Callable[..., Any]] = {}


def _target(name: str) -> Callable[..., Any]:
    """A callable to stand as fx target: fx wants one with a name; the graph is read, not run."""
    target = _TARGETS.get(name)
    if target is None:

        def target(*_: Any, **__: Any) -> None:
            raise NotImplementedError("a recorded graph describes a model; it cannot be run")

        target.__name__ = target.__qualname__ = name
        _TARGETS[name] = target
    return target
