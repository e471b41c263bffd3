"""The graph being written: a node for each call, and which tensor holds which node's result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.fx
from torch import Tensor

from sed_torch.tracing.autocasting import Autocast
from sed_torch.tracing.fast_shapes import fast_shape
from sed_torch.tracing.names import CALL, ITEM, RANDOM, VIEWS, in_place, target
from sed_torch.tracing.places import Places
from sed_torch.tracing.regions import overlap, region_of
from sed_torch.tracing.sharing import copied_by, fusable, shared_by
from sed_torch.tracing.tensors import PLAIN, storage_of, tensors_of
from sed_torch.tracing.values import Held, Values

__all__ = ["Tape"]


class Tape:
    """Writes calls down as nodes of an fx graph.

    A view knows what it is a view of: writing into it writes into that, and who reads another view of the same
    entries later reads what was written.
    """

    def __init__(self, places: Places, autocast: Autocast | None = None) -> None:
        self._places, self._autocast = places, autocast
        self.graph = torch.fx.Graph()
        self.values = Values()
        self._labels: dict[str, str] = {}  # what names of nodes begin with, by the name of what is called
        self._overwrites = False  # whether any call wrote over what another name still reads
        self._written = False  # whether any view or base of a view was written to
        self._shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._in_function: torch.fx.Node | None = None  # the last call in a function of the model's own
        self._to_keep: list[torch.fx.Node] = []  # what such a function keeps, not noted yet
        self._again: dict[tuple[torch.fx.Node, torch.fx.Node], torch.fx.Node] = {}

    # -- tensors to nodes --------------------------------------------------------------------------------

    def node(self, tensor: Tensor) -> torch.fx.Node:
        """The node whose result ``tensor`` holds now."""
        held = self.values.held(tensor)
        if self._written and held.base is not None:
            self._look_again(tensor, held)
        return held.node

    def nodes(self, value: Any) -> Any:
        """Arguments with their tensors as nodes."""
        if isinstance(value, Tensor):
            return self.node(value)
        if isinstance(value, list):  # x[[0, 1]] is not x[0, 1]
            return [v if type(v) in PLAIN else self.nodes(v) for v in value]
        if isinstance(value, tuple):
            return tuple([v if type(v) in PLAIN else self.nodes(v) for v in value])
        if type(value) is dict:
            return {k: self.nodes(v) for k, v in value.items()}
        if type(value) is slice:
            return slice(self.nodes(value.start), self.nodes(value.stop), self.nodes(value.step))
        return value

    def bind(self, value: Tensor, node: torch.fx.Node, path: str, source: str | None) -> None:
        """From now on ``value`` holds the result of ``node``."""
        shape = tuple(value.shape)
        shape = self._shapes.setdefault(shape, shape)  # one object a shape, however many tensors have it
        node.meta.update(shape=shape, dtype=value.dtype, path=path, source=source)
        self.values[value] = node

    # -- calls -------------------------------------------------------------------------------------------

    def call(
        self,
        function: Callable[..., Any],
        name: str,
        args: Any,
        kwargs: Any,
        result: Any,
        path: str,
        source: str | None,
    ) -> Any:
        """Write down one call on tensors that have nodes already."""
        called = target(name)
        label = self._labels.get(name)
        if label is None:
            label = self._labels[name] = self.graph._target_to_str(called)
        read, named = self.nodes(args), self.nodes(kwargs) if kwargs else None
        if named and "out" in named:  # written to, not read
            named = {k: v for k, v in named.items() if k != "out"}
        # arguments are given afterwards: fx looks through those of a new node for symbolic numbers, which none are
        node = self.graph.create_node("call_function", called, (), {}, label)
        torch.fx.Node.args.__set__(node, read)  # type: ignore[attr-defined]  # as ``node.args = …`` does
        if named:
            torch.fx.Node.kwargs.__set__(node, named)  # type: ignore[attr-defined]
        node.meta["spelling"] = name
        if name not in RANDOM or kwargs.get("training") is False:
            writes = in_place(name) or bool(kwargs and kwargs.get("inplace"))
            node.meta[CALL] = function, writes  # so that its value can be found, should anything ask
        if not torch.is_grad_enabled():
            self._without_gradient(node)
        if self._to_keep:
            self.note_kept()
        taken = self._autocast.of(name) if self._autocast is not None else None
        if taken is not None:
            node.meta["facts"] = {**node.meta.get("facts", {}), "taken": taken}
        for tensor in tensors_of(args, kwargs) if self._overwrites else ():
            writer = self.values.held(tensor).overwritten
            if writer is not None:
                writer.meta.setdefault("stale", []).append(node.name)
        copied = copied_by(name, args, self._is_constant)
        if copied:
            node.meta["copied"] = tuple(map(self.node, copied))
        if not isinstance(result, Tensor):
            node.meta.update(path=path, source=source)
            return self._bind_items(result, node, path, source, args[0] if args else None, name)
        shared = shared_by(name, result, args, kwargs)
        if shared is not None:
            node.meta["shares"] = self.node(shared)
        if name == "scaled_dot_product_attention" and not fusable(args, kwargs):
            node.meta["facts"] = {**node.meta.get("facts", {}), "fusable": False}
        self.bind(result, node, path, source)
        if in_place(name) or (kwargs and result is kwargs.get("out")):
            self.tell_bases(result, node, path, source)
        elif name in VIEWS and shared is not None:  # one that had to copy is no view
            self.is_view(result, args[0], node)
        return result

    def _without_gradient(self, node: torch.fx.Node) -> None:
        """Under ``no_grad``, or in a function of the model's own, which says itself what it keeps."""
        inside = self._places.in_own_function()
        node.meta["facts"] = {"grad": "function" if inside else False}
        if inside:
            self._in_function = node

    def keep(self, tensors: Iterable[Tensor]) -> None:
        """A function of the model's own keeps ``tensors``: to be noted at one of its calls."""
        self._to_keep += [self.node(t) for t in tensors if t in self.values]

    def note_kept(self) -> None:
        """What is kept so far is kept by the last call of a function."""
        if self._in_function is not None:
            meta = self._in_function.meta
            meta["kept"] = (*meta.get("kept", ()), *self._to_keep)
            self._to_keep = []

    def _is_constant(self, tensor: Tensor) -> bool:
        """Whether a tensor is one that the model or the forward holds and that is no parameter."""
        node = self.node(tensor)
        return node.op == "get_attr" and node.meta.get("parameter") is None

    def shaped(self, func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        """What a call returns on shapes alone, its operands in the dtypes that autocast gives them."""
        if self._autocast is not None:
            args, kwargs = self._autocast.cast(name, args, kwargs)
        # an ATen operator has its arguments in another order; what is written to ``out`` is that very tensor
        own = isinstance(func, torch._ops.OpOverload) or (kwargs and kwargs.get("out") is not None)
        result = NotImplemented if own else fast_shape(name, args, kwargs)
        return func(*args, **kwargs) if result is NotImplemented else result

    def _bind_items(
        self, result: Any, node: torch.fx.Node, path: str, source: str | None, base: Any, name: str
    ) -> Any:
        shared = (
            self.node(base) if isinstance(base, Tensor) else None
        )  # before a result may be the very same tensor
        for i, part in enumerate(result):
            if isinstance(part, Tensor):
                item = self.item(part, node, i, path, source)
                if isinstance(base, Tensor) and storage_of(part) == storage_of(base):
                    item.meta["shares"] = shared
                    if name in VIEWS:
                        self.is_view(part, base, item)
            elif isinstance(part, (tuple, list)):
                self._bind_items(part, node, path, source, base, name)
        return result

    def item(self, part: Tensor, of: torch.fx.Node, i: int, path: str, source: str | None) -> torch.fx.Node:
        """One of several results of a call."""
        item = self.graph.create_node("call_function", target("item_of"), (of, i), {})
        item.meta["spelling"] = ITEM
        self.bind(part, item, path, source)
        return item

    # -- views and writes --------------------------------------------------------------------------------

    def is_view(self, view: Tensor, base: Tensor, node: torch.fx.Node) -> None:
        """``view`` looks at entries of ``base``."""
        held = self.values.held(view)
        held.base, held.view = base, node
        held.seen = len(self.values.held(base).writes or ())

    def overwrite(self, old: Tensor, new: Tensor, path: str, source: str | None) -> None:
        """``F.relu(old, inplace=True)``: from now on ``old`` holds the result too. Who reads it so is noted."""
        node = self.node(new)
        node.meta["spelling"] += "_"
        if new is not old:
            node.meta["shares"] = self.node(old)
        self.values[old] = node
        if new is not old:
            self.values.held(old).overwritten = node
            self._overwrites = True
        self.tell_bases(old, node, path, source)

    def tell_bases(self, value: Tensor, node: torch.fx.Node, path: str, source: str | None) -> None:
        """Writing into a view also changes what it is a view of."""
        region = region_of(value) if value.layout is torch.strided else None
        held = self.values.held(value)
        self._log(held, region)
        while held.base is not None:
            base = held.base
            index = _index(held.view)
            old = self.values.held(base)
            written = self.graph.create_node(
                "call_function", target("setitem"), (self.node(base), index, node), {}
            )
            written.meta.update(spelling="setitem", shares=self.node(base))
            self.bind(base, written, path, source)
            self._log(old, region)
            held.seen = len(old.writes or ())
            node, held = written, old

    def _log(self, held: Held, region: Any) -> None:
        if region is None:
            return
        self._written = True
        if held.writes is None:
            held.writes = []
        held.writes.append(region)

    def _look_again(self, tensor: Tensor, held: Held) -> None:
        """Take a view anew from a base whose entries were written to since."""
        base = held.base
        assert base is not None
        node = self.node(base)
        writes = self.values.held(base).writes or []
        new, held.seen = writes[held.seen :], len(writes)
        if not new or held.view is None:
            return
        region = region_of(tensor)
        hit = [w for w in new if overlap(w, region)]
        if not hit:
            return
        for write in hit:
            self._log(held, write)
        held.view = self._view_of(held.view, node)
        self.bind(tensor, held.view, held.view.meta["path"], held.view.meta["source"])

    def _view_of(self, view: torch.fx.Node, base: torch.fx.Node) -> torch.fx.Node:
        """The node ``view`` once more, on another state of its base."""
        known = self._again.get((view, base))
        if known is not None:
            return known
        first = self._view_of(view.args[0], base) if view.meta["spelling"] == ITEM else base  # type: ignore[arg-type]
        again = self.graph.create_node(
            "call_function", view.target, (first, *view.args[1:]), dict(view.kwargs)
        )
        again.meta.update(view.meta)
        again.meta.pop("stale", None)
        self._again[view, base] = again
        return again


def _index(view: torch.fx.Node | None) -> Any:
    """The index of ``base[index]`` that a view is, where it is one."""
    if view is None:
        return None
    args, spelling = view.args, view.meta.get("spelling")
    if spelling == "__getitem__":
        return args[1]
    if spelling == ITEM and isinstance(args[0], torch.fx.Node) and args[0].meta["spelling"] == "unbind":
        dim = args[0].args[1] if len(args[0].args) > 1 else args[0].kwargs.get("dim", 0)
        return _at(dim, args[1])
    if spelling == "select" and len(args) == 3:
        return _at(args[1], args[2])
    if spelling == "narrow" and len(args) == 4 and all(isinstance(a, int) for a in args[1:]):
        return _at(args[1], slice(args[2], args[2] + args[3]))  # type: ignore[operator]
    return None


def _at(dim: Any, place: Any) -> Any:
    return (*(slice(None),) * dim, place) if isinstance(dim, int) and dim >= 0 else None
