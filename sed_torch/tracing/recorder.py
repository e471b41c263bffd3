"""Follow a forward on ``meta`` tensors and write it down as a ``torch.fx.Graph``.

Values are real tensors on the ``meta`` device, so that Python control flow on shapes, ``isinstance`` checks,
iteration and item assignment work as they do in a run, and nothing is computed. A thread-local
``TorchFunctionMode`` sees every call to a torch function, whoever makes it, and records one fx node for it;
no global table is patched. Parameters are represented by ``meta`` stand-ins and are never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from sed_torch.attributes import Attributes
from sed_torch.errors import DataDependentError, TraceError
from sed_torch.ops import Op
from sed_torch.tracing.arguments import counted, is_device, written_by
from sed_torch.tracing.autocasting import Autocast
from sed_torch.tracing.bounding import Bounds
from sed_torch.tracing.composed import COMPOSED, composed
from sed_torch.tracing.explaining import asks_for_values, failed_call
from sed_torch.tracing.facts import output_facts, wants_gradient
from sed_torch.tracing.fast_shapes import FAST_SHAPES
from sed_torch.tracing.higher_order import CONTROL_FLOW
from sed_torch.tracing.kernels import as_elsewhere, lacks_meta_kernel, shaped_by_a_run
from sed_torch.tracing.known import UNKNOWN
from sed_torch.tracing.legacy import of_old_class, old_class
from sed_torch.tracing.names import (
    CHOOSES,
    INPUT_IS_NOT_FIRST,
    NEEDS_VALUES,
    OF_AUTOGRAD,
    PRINTS,
    RANDOM,
    RANDOM_OF_TENSORS,
    SELECTS,
    SILENT,
    SIZED,
    in_place,
    target,
)
from sed_torch.tracing.places import Places
from sed_torch.tracing.questions import Questions
from sed_torch.tracing.randomness import Draw
from sed_torch.tracing.shadow import Shadow
from sed_torch.tracing.signals import Signal, with_explanation
from sed_torch.tracing.stand_ins import StandIns
from sed_torch.tracing.statements import is_guarded
from sed_torch.tracing.tape import Tape
from sed_torch.tracing.tensors import has_tensor, tensors_of
from sed_torch.tracing.watching import note_hint_of_mode

__all__ = ["Recorder"]

_CPU = torch.device("cpu")
_IM2COL = F.unfold


class Recorder(TorchFunctionMode):
    """Records torch calls into :attr:`graph`.

    Args:
        shadow: the modules that will be called.
        single: name of an input's node → the dimension of it that is read with one entry only.
        autocast: the autocast under which the forward is followed.
        takes: where set, choices of the data are answered as :mod:`.bounding` says: of two ways the first, or not.

    Attributes:
        opaque: how many modules were recorded as one node.
        guessed: results of such modules whose number and shape are a guess.
        was_cut: whether the graph ends where the data would choose.
        selecting: name of the call by which data would choose entries, once one stopped the trace.
        signalled: why the forward could not be followed, even if the forward caught it.
        assumed: what had to be assumed on the way, in words.
        known: the values that can be told without data.
        bounds: what answers choices of the data, if anything does.
    """

    def __init__(
        self,
        shadow: Shadow,
        single: Mapping[str, int] | None = None,
        autocast: Autocast | None = None,
        takes: bool | None = None,
    ) -> None:
        super().__init__()
        self._single = single or {}
        self.shadow = shadow
        self.opaque = 0
        self.guessed: list[Tensor] = []
        self.was_cut = False
        self.signalled: TraceError | None = None
        self.assumed: list[str] = []
        self.selecting: str | None = None
        self._draws = 0
        self._places = Places(shadow)
        self._tape = Tape(self._places, autocast)
        self._stand_ins = StandIns(self._tape, shadow)
        self.known = self._stand_ins.known
        self.bounds = (
            Bounds(takes, lambda: self._places.here()[1] or "the forward") if takes is not None else None
        )
        self._questions = Questions(
            self._tape, self._stand_ins, self._depends, self.assumed, self._places, self.bounds
        )

    @property
    def graph(self) -> torch.fx.Graph:
        """What was recorded so far."""
        return self._tape.graph

    # -- inputs and outputs ------------------------------------------------------------------------------

    def placeholder(self, value: Tensor, name: str, known: Tensor | None = None) -> Tensor:
        """A ``meta`` tensor that stands for an input, whose values may be ``known``."""
        node = self.graph.placeholder(name)
        if node.name in self._single:
            dim = self._single[node.name]
            value = value.narrow(dim, 0, 1).contiguous()
            known = known.narrow(dim, 0, 1) if known is not None else None
        meta = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="meta")
        vars(meta).update(vars(value))
        if known is not None:
            self.known.hold(node, known)
        self._tape.bind(meta, node, path="", source=None)
        return meta

    def output(self, values: Iterable[Tensor], names: Mapping[int, tuple[str, ...]] | None = None) -> None:
        """Close the graph with what the forward returned; ``names`` by a tensor's id say under which names."""
        nodes = []
        for value in values:
            node = self._tape.node(self._stand_ins.of(value))
            if names and id(value) in names:
                node.meta["facts"] = {**(node.meta.get("facts") or {}), **output_facts(names[id(value)])}
            nodes.append(node)
        self._tape.note_kept()
        self.graph.output(tuple(nodes))

    def holds(self, tensor: Tensor) -> bool:
        """Whether a recorded call, an input or a weight made a tensor."""
        return tensor in self._tape.values

    def same(self, tensor: Tensor, as_this: Tensor) -> None:
        """From now on ``tensor`` holds what another one holds."""
        self._tape.values[tensor] = self._tape.node(as_this)

    def kept(self, tensors: list[Tensor]) -> None:
        """A function of the model's own keeps these tensors for its backward pass."""
        self._tape.keep(tensors)

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
        if "." in name:  # an ATen operator: its overload says no more than its arguments
            name = name.partition(".")[0]
        if name == "__get__":
            return self._attribute(func, args)
        if name in FAST_SHAPES and args and not self.guessed:  # the commonest: none of what follows
            return self._called(func, name, args, kwargs)
        if name in SILENT:
            return self._questions.printed(func, args, kwargs) if name in PRINTS else func(*args, **kwargs)
        if name in OF_AUTOGRAD:  # there is no gradient here, and the tensor may be the model's own
            return RemovableHandle({}) if name == "register_hook" else args[0]
        if name == "__set__":
            return self._set_attribute(func, *args)
        if not args and "input" in kwargs and name not in INPUT_IS_NOT_FIRST:
            args, kwargs = (kwargs["input"],), {k: v for k, v in kwargs.items() if k != "input"}
        if name == "_nested_tensor_from_mask_left_aligned":
            return False  # asked for the sake of a faster kernel, which computes the same
        if self.guessed and name in ("__iter__", "unbind") and any(args[0] is g for g in self.guessed):
            raise self._signal(self._asked(name))  # it may be several results that were meant
        if name == "__iter__":
            return iter(self.__torch_function__(torch.unbind, types, args))
        if name in CONTROL_FLOW and isinstance(func, HigherOrderOperator):
            with self:
                return CONTROL_FLOW[name](self._questions, *args, **kwargs)
        if name in COMPOSED and "out" not in kwargs and self._depends(tensors_of(args, kwargs)):
            with self:
                found = composed(name, args, kwargs, self.assumed)
            if found is not NotImplemented:
                return found
        if func is torch.autograd.grad:
            return self._gradients(*args, **kwargs)
        if name == "type":
            if len(args) == 1 and not kwargs:
                return old_class(args[0])
            args, kwargs = tuple(map(of_old_class, args)), {k: of_old_class(v) for k, v in kwargs.items()}
        return self._called(func, name, args, kwargs)

    def _called(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A call that computes: recorded, or run for real where it rests on constants alone."""
        tensors = tensors_of(args, kwargs)
        written = written_by(name, args, kwargs)
        if not self._depends(tensors):
            if written is None or self._stand_ins.is_own(written):
                return self._constant(func, name, args, kwargs, tensors)
            # older than this trace, the model's or the caller's: from here on its values are unknown
            self._stand_ins.fill(written)
        elif written is not None:
            self._stand_ins.fill(written)
        if name in NEEDS_VALUES:
            found = self._questions.value(func, args, kwargs)
            if found is UNKNOWN:
                found = self._questions.healthy(name, args)
            if found is UNKNOWN and name == "bincount" and (counts := counted(args, kwargs)) is not None:
                self.assumed.append("bincount counts no number beyond its minlength")
                meta = self._stand_ins.to_meta((args[0],))
                return self._tape.call(func, name, meta, {}, counts, *self._places.here())
            if found is UNKNOWN and (bound := self._questions.bound(name, args, kwargs)) is not UNKNOWN:
                if not has_tensor(bound):
                    return bound
                called = "nonzero" if name == "argwhere" else name
                return self._tape.call(
                    func, called, self._stand_ins.to_meta(args), {}, bound, *self._places.here()
                )
            if found is UNKNOWN:
                raise self._signal(self._asked(name))
            if not has_tensor(found):
                return found
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
        if name == "requires_grad" and tensor in self._tape.values:
            wanted = torch.is_grad_enabled() and wants_gradient(self._tape.node(tensor), self.shadow.original)
            if wanted != func(tensor):
                note_hint_of_mode()
            return wanted if self.shadow.training else func(tensor)
        return func(tensor)

    def _set_attribute(self, func: Callable[..., Any], tensor: Tensor, value: Any) -> None:
        """``tensor.data = value`` gives the tensor another content from here on; the rest concerns autograd."""
        if getattr(getattr(func, "__self__", None), "__name__", "") == "data" and isinstance(value, Tensor):
            stand_in = self._stand_ins.of(tensor)
            self._tape.node(stand_in).meta["facts"] = {"replaced": True}
            self._tape.values[stand_in] = self._tape.node(self._stand_ins.of(value))

    def _depends(self, tensors: list[Tensor]) -> bool:
        """True when a call must be recorded: it touches an input, a parameter or what came from one."""
        for t in tensors:
            if t.is_meta or id(t) in self.shadow.tensors or t in self._stand_ins:
                return True
            if isinstance(t, nn.Parameter) or self._stand_ins.is_filled(t):
                return True
        return False

    def _gradients(self, outputs: Any, inputs: Any, *_: Any, **__: Any) -> tuple[Tensor, ...]:
        """``torch.autograd.grad``: tensors like the inputs, which depend on all that was computed."""
        path, source = self._places.here()
        given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        of = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        if "the backward pass inside the forward is not counted" not in self.assumed:
            self.assumed.append("the backward pass inside the forward is not counted")
        results = []
        for tensor in given:
            args = (*map(self._stand_ins.of, of), self._stand_ins.of(tensor))
            result = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
            results.append(self._tape.call(_IM2COL, "autograd_grad", args, {}, result, path, source))
        return tuple(results)

    # -- constants ---------------------------------------------------------------------------------------

    def _constant(
        self,
        func: Callable[..., Any],
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Tensor],
    ) -> Any:
        """A call on constants of the forward's own making runs for real, so that their values may be used."""
        if name in RANDOM:
            return self._random(func, name, args, kwargs)
        if "device" in kwargs and kwargs["device"] is not None:
            kind = torch.device(kwargs["device"]).type
            kwargs = {**kwargs, "device": "meta" if kind == "meta" else "cpu"}
        if name in ("cuda", "xpu", "mps", "pin_memory", "share_memory_"):
            return args[0]
        if name == "to":
            args = tuple(_CPU if is_device(a) else a for a in args)
        if name == "_set_grad_enabled":
            return func(*args)
        with torch.no_grad():  # the forward's own mode is noted, no gradient is kept
            return self._stand_ins.made(func(*args, **kwargs), tensors)

    def _random(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Random numbers have a shape and no value, unless something asks: then they are drawn, from a generator of
        their own.
        """
        draw = Draw(func, args, kwargs, self._draws, self._places.here()[1])
        self._draws += 1
        if name.endswith("_"):  # in place on a constant
            self.known.draw(self._tape.node(self._stand_ins.of(args[0])), draw)
            return args[0]
        kwargs = {k: v for k, v in kwargs.items() if k != "generator"} | {"device": "meta"}
        if name in RANDOM_OF_TENSORS:
            kwargs.pop("device")
            args = tuple(a.to("meta") if isinstance(a, Tensor) else a for a in args)
        return self._stand_ins.drawn(func(*args, **kwargs), draw)

    # -- recording ---------------------------------------------------------------------------------------

    def _record(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if name in SIZED:
            args = (*args[:1], *map(self._questions.size, args[1:]))
            kwargs = {k: self._questions.size(v) for k, v in kwargs.items()}
        meta_args = self._stand_ins.to_meta(args)
        meta_kwargs = self._stand_ins.to_meta(kwargs) if kwargs else kwargs
        if "device" in meta_kwargs:
            meta_kwargs = {k: v for k, v in meta_kwargs.items() if k != "device"}
        if name == "to":
            meta_args = (meta_args[0], *(a for a in meta_args[1:] if not is_device(a)))
            if all(a is None or isinstance(a, bool) for a in meta_args[1:]) and not meta_kwargs:
                return args[0]
        elif name in ("cuda", "cpu", "xpu", "pin_memory"):
            return args[0]
        if name == "new_tensor" and has_tensor(args[1:]):  # the first gives its kind alone
            func, name, meta_args = torch.tensor, "tensor", meta_args[1:]
        if func is _IM2COL:  # Tensor.unfold is another operator of the same name
            name = "im2col"
        path, source = self._places.here()
        try:
            result = self._tape.shaped(func, name, meta_args, meta_kwargs)
        except (TraceError, RecursionError, MemoryError):
            raise
        except Exception as error:
            again = self._questions.with_values(func, name, meta_args, meta_kwargs)
            if again is None:
                again = self._questions.with_bounds(func, name, meta_args, meta_kwargs)
            selects = name in SELECTS and not (name == "where" and len(args) == 3)
            if again is None and not selects and lacks_meta_kernel(error):
                shaped = shaped_by_a_run(func, meta_args, meta_kwargs)
                again = (meta_args, meta_kwargs, shaped) if shaped is not None else None
            if again is None and (shaped := as_elsewhere(func, name, meta_args)) is not None:
                again = (meta_args, meta_kwargs, shaped)
            if again is None:
                raise self._failed(error, name, meta_args, path, source) from error
            meta_args, meta_kwargs, result = again
        if name == "__setitem__":
            result = meta_args[0]
        elif not has_tensor(result):
            return result
        overwrites = bool(kwargs.get("inplace"))
        found = isinstance(result, Tensor) and any(result is a for a in meta_args)
        if found and not (in_place(name) or overwrites):
            return result  # contiguous(), to() and the like found nothing to do
        if name == "flex_attention" and isinstance(result, tuple):  # statistics of the softmax come along
            first = self._tape.call(func, name, meta_args[:3], {}, result[0], path, source)
            return (first, *map(self._stand_ins.made, result[1:]))
        called = "nonzero" if name == "where" and len(meta_args) == 1 else name
        written = self._tape.call(func, called, meta_args, meta_kwargs, result, path, source)
        for part in written if isinstance(written, tuple) else ():
            if isinstance(part, Tensor) and part.device.type != "meta":  # how many steps a packed batch has
                self.known.hold(self._tape.node(part), part)
        if overwrites and meta_args and isinstance(written, Tensor):
            self._tape.overwrite(meta_args[0], written, path, source)
        return None if name == "__setitem__" else written

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
        attrs: Attributes,
    ) -> None:
        """One node for a whole module, reading its inputs and owning its parameters."""
        read = [self._tape.node(self._stand_ins.of(t)) for t in (*inputs, *module.parameters())]
        self.opaque += op.rule == "opaque"
        _, source = self._places.here()
        name = type(module).__name__
        node = self.graph.create_node("call_function", target(name), tuple(read), {})
        node.meta.update(spelling=name, op=op, attrs=attrs, path=path, source=source)
        if len(results) == 1:
            self._tape.bind(results[0], node, path, source)
            return
        for i, part in enumerate(results):
            self._tape.item(part, node, i, path, source)

    def node_of(self, tensor: Tensor) -> torch.fx.Node:
        """The node of a tensor, the model's or one that was recorded."""
        return self._tape.node(self._stand_ins.of(tensor))

    # -- errors ------------------------------------------------------------------------------------------

    def _signal(self, error: TraceError) -> Signal:
        """An error of ours as the forward may not catch it; if it does so nevertheless, it is remembered."""
        self.signalled = error
        error.guarded = is_guarded()
        if isinstance(error, DataDependentError):
            error.chooses = self.selecting in SELECTS
        return Signal(error)

    def _asked(self, name: str) -> TraceError:
        self.selecting = name if name in CHOOSES else None
        return asks_for_values(name, *self._places.here())

    def _failed(
        self, error: Exception, name: str, args: tuple[Any, ...], path: str, source: str | None
    ) -> BaseException:
        """What to raise for a call that failed on ``meta``: a run's own error, or a signal that it is ours."""
        explanation = failed_call(error, name, args, path, source)
        if not isinstance(explanation, DataDependentError) and not lacks_meta_kernel(error):
            return with_explanation(error, explanation)
        self.selecting = name if name in CHOOSES else None
        return self._signal(explanation)
