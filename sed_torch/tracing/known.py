"""Values that are known while a forward is followed: what rests on the model's own tensors and on given integers.

Nothing is computed ahead of a question. A forward that asks for a value (``if mask.all()``, ``n.item()``,
``sizes.tolist()``, ``nonzero``) gets one where the recorded calls behind it start from buffers, parameters,
constants or the whole-number tensors of ``input_data`` alone: these calls are then made for real, on copies.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

from sed_torch.tracing.choosing import CHOSEN, choice_of
from sed_torch.tracing.gates import open_gates
from sed_torch.tracing.names import CALL, ITEM, SHAPED_LIKE
from sed_torch.tracing.tensors import nodes_in

__all__ = ["UNKNOWN", "Call", "Known", "shaped_by_values"]

UNKNOWN: Any = object()
"""The answer where a value depends on data."""

_MOST_ENTRIES = 1 << 24  # of one tensor on the way: what decides control flow is far smaller
_RANDOM = "random numbers"


class Known:
    """The real values behind fx nodes, where there are any.

    Attributes:
        read: names of the inputs and parameters whose values were asked for, in that order.
    """

    def __init__(self) -> None:
        self._rests_on: dict[
            torch.fx.Node, frozenset[str]
        ] = {}  # names of inputs and parameters behind a value
        self._held: dict[
            torch.fx.Node, Tensor
        ] = {}  # given at the start: the model's, the caller's, constants
        self._draws: dict[torch.fx.Node, Callable[[], Any]] = {}
        self._values: dict[torch.fx.Node, Any] = {}
        self._versions: dict[
            torch.fx.Node, int
        ] = {}  # a held tensor that was written to since is held no more
        self._unknown: set[torch.fx.Node] = set()
        self._kinds: dict[str, str] = {}
        self._turns = Counter[str]()
        self.read: dict[str, str] = {}

    def hold(self, node: torch.fx.Node, value: Tensor) -> None:
        """``node`` stands for ``value``; it is not read until something asks."""
        if not value.is_meta and value.layout is torch.strided and not value.is_quantized:
            self._held[node] = value
            self._versions[node] = _version(value)

    def draw(self, node: torch.fx.Node, draw: Callable[[], Any]) -> None:
        """``node`` stands for random numbers, drawn when something asks."""
        self._held.pop(node, None)
        self._draws[node] = draw
        node.meta["facts"] = {**(node.meta.get("facts") or {}), "drawn": True}

    def result(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        writes: bool = False,
    ) -> Any:
        """What a call gives whose tensors are nodes here; :data:`UNKNOWN` where one depends on data."""
        nodes = [*nodes_in((args, kwargs))]
        if not all(map(self._settle, nodes)) or not self._one_kind(nodes):
            return self._which(function, args, kwargs)
        result = self._call(function, args, kwargs, writes=writes)
        if result is not UNKNOWN:
            self._note_read(nodes)
        return result

    def _which(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Which entries are not zero, where choices alone tell."""
        named = {"nonzero", "where", "argwhere"}
        if getattr(function, "__name__", "") not in named or len(args) != 1:
            return UNKNOWN
        asked = args[0].graph.create_node("call_function", function, args, {})
        asked.meta["spelling"] = "nonzero"
        found = self._values[asked] if self._opened(asked) else UNKNOWN
        asked.graph.erase_node(asked)
        if found is UNKNOWN:
            return UNKNOWN
        self._note_read([asked])
        self._values.pop(asked)
        apart = function.__name__ == "where" or kwargs.get("as_tuple")
        return tuple(found.unbind(-1)) if apart else found

    def value(self, node: torch.fx.Node) -> Any:
        """The value of one node, or :data:`UNKNOWN`."""
        if not self._settle(node):
            return UNKNOWN
        self._note_read([node])
        return self._values[node]

    def chosen(self, nodes: Iterable[torch.fx.Node]) -> bool:
        """Whether values are known only because choices of the data are taken in turn."""
        found = [n for n in nodes if self._settle(n)]
        return CHOSEN in {self._kinds[name] for n in found for name in self._rests_on.get(n, ())}

    def drop_questions(self, graph: torch.fx.Graph) -> None:
        """Take calls out of the graph that nothing but the forward's own question read."""
        for node in reversed(graph.nodes):
            if node in self._values and not node.users and node.op in ("call_function", "get_attr"):
                graph.erase_node(node)

    def _one_kind(self, nodes: Iterable[torch.fx.Node]) -> bool:
        """What takes both the caller's values and weights is a computation of the network: data-dependent."""
        kinds = {self._kinds[name] for n in nodes for name in self._rests_on.get(n, ())}
        return len(kinds - {CHOSEN}) < 2

    def _note_read(self, nodes: Iterable[torch.fx.Node]) -> None:
        for node in nodes:
            self.read.update((name, self._kinds[name]) for name in sorted(self._rests_on.get(node, ())))

    def _settle(self, node: torch.fx.Node) -> bool:
        """Compute a node's value if that is possible without data. Iterative: a time loop makes deep chains."""
        if node in self._values:
            return True
        path = [node]  # each is an operand of the one before
        while path:
            top = path[-1]
            if top in self._values:
                path.pop()
                continue
            operands = () if top in self._held else _read_by(top)
            missing = next((n for n in operands if n not in self._values), None)
            if top in self._unknown or not self._may_be_known(top) or missing in self._unknown:
                if not self._chosen(path):
                    return False
            elif missing is not None:
                path.append(missing)
            elif not self._evaluate(top) and not self._chosen(path):
                return False
        return True

    def _evaluate(self, node: torch.fx.Node) -> bool:
        """Compute the value of a node whose operands have theirs."""
        value = self._first_value(node) if self._one_kind(node.all_input_nodes) else UNKNOWN
        if value is UNKNOWN:
            return False
        self._values[node] = value
        if node not in self._held and node not in self._draws:
            behind = [self._rests_on.get(n, frozenset()) for n in _read_by(node)]
            self._rests_on[node] = frozenset().union(*behind)
        return True

    def _chosen(self, path: list[torch.fx.Node]) -> bool:
        """The last of ``path`` is unknown, and so is all before it up to a choice that may be taken in turn."""
        while path:
            node = path.pop()
            choice = choice_of(node)
            if choice is not None:
                told, where = str(choice), str(node.meta.get("path"))
                self._values[node] = choice.indices(self._turns[where])
                self._turns[where] += 1
                self._kinds[told], self._rests_on[node] = CHOSEN, frozenset([told])
                return True
            if self._opened(node):
                return True
            self._unknown.add(node)
        return False

    def _opened(self, node: torch.fx.Node) -> bool:
        """Whether a node asks which gates are open, and choices answer it."""
        read: set[str] = set()

        def value(of: torch.fx.Node) -> Any:
            if not self._settle(of):
                return None
            read.update(self._rests_on.get(of, ()))
            return self._values[of]

        found = open_gates(node, value)
        if found is None or CHOSEN not in {self._kinds[name] for name in read}:
            return False
        self._values[node], self._rests_on[node] = found, frozenset(read)
        return True

    def _may_be_known(self, node: torch.fx.Node) -> bool:
        shape = node.meta.get("shape")
        size = 1
        for n in shape or ():
            size *= n
        if size > _MOST_ENTRIES:
            return False
        if node.meta.get("spelling") == "setitem" and CALL not in node.meta:
            return node.args[1] is not None  # which entries a view wrote to
        return (
            node in self._held
            or node in self._draws
            or CALL in node.meta
            or node.meta.get("spelling") == ITEM
        )

    def _first_value(self, node: torch.fx.Node) -> Any:
        if node in self._draws:
            try:
                value = self._draws[node]()
            except (RuntimeError, TypeError, NotImplementedError):  # drawn with what depends on data
                return UNKNOWN
            told = _told(self._draws[node], value)
            self._kinds[told] = _RANDOM
            self._rests_on[node] = frozenset([told])
            return value
        held = self._held.get(node)
        if held is not None:
            if _version(held) != self._versions[node]:
                return UNKNOWN
            given = node.op == "placeholder"
            if given and held.dtype.is_floating_point and not _is_mask_of(held, str(node.target)):
                return UNKNOWN
            kind = "input" if given else "parameter" if isinstance(held, nn.Parameter) else ""
            if kind:
                self._kinds[str(node.target)] = kind
                self._rests_on[node] = frozenset([str(node.target)])
            return held.detach().cpu()
        if CALL not in node.meta and node.meta["spelling"] == "setitem":  # a write through a view
            return self._call(operator.setitem, node.args, {}, writes=True)
        if CALL not in node.meta:  # one of several results
            several, place = node.args
            found = self._values[several]  # type: ignore[index]
            one = isinstance(found, (tuple, list)) and isinstance(place, int) and place < len(found)
            return found[place] if one and isinstance(found[place], Tensor) else UNKNOWN
        function, writes = node.meta[CALL]
        args = node.args
        if node.meta.get("spelling") in SHAPED_LIKE and isinstance(args[0], torch.fx.Node):
            like = args[0].meta
            args = (torch.empty(like["shape"], dtype=like["dtype"], device="cpu"), *args[1:])
        return self._call(function, args, node.kwargs, writes=writes)

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, writes: bool
    ) -> Any:
        real_args = [self._real(a) for a in args]
        real_kwargs = {k: self._real(v) for k, v in kwargs.items()}
        if writes and real_args and isinstance(real_args[0], Tensor):
            real_args[0] = real_args[0].clone()
        try:
            with torch.no_grad(), torch.device("cpu"):
                result = function(*real_args, **real_kwargs)
        except Exception:  # the forward then learns that the value is not to be had
            return UNKNOWN
        return real_args[0] if writes and result is None else result

    def _real(self, value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            return self._values[value]
        if isinstance(value, list):  # fx keeps a kind of list of its own
            return [*map(self._real, value)]
        if isinstance(value, tuple):
            return tuple(map(self._real, value))
        if isinstance(value, dict):
            return {k: self._real(v) for k, v in value.items()}
        if isinstance(value, slice):
            return slice(self._real(value.start), self._real(value.stop), self._real(value.step))
        return torch.device("cpu") if isinstance(value, torch.device) else value

    def words(self) -> tuple[str, ...]:
        """What was read, for ``Graph.assumed``: an answer that rests on values should say so."""
        kinds: dict[str, list[str]] = {}
        for name, kind in self.read.items():
            kinds.setdefault(kind, []).append(name)
        return tuple(
            "; ".join(names)
            if kind == CHOSEN
            else f"followed as one draw of its random numbers decides: {'; '.join(names)}"
            if kind == _RANDOM
            else f"followed as the values of {kind}{'s' if len(names) > 1 else ''} {', '.join(names)} decide"
            for kind, names in kinds.items()
        )


def _read_by(node: torch.fx.Node) -> list[torch.fx.Node]:
    """The nodes whose values a call reads: of some operands only the shape counts."""
    args = node.args[1:] if node.meta.get("spelling") in SHAPED_LIKE else node.args
    return [*dict.fromkeys(nodes_in((args, node.kwargs)))]


def _told(draw: Callable[[], Any], value: Any) -> str:
    """A draw in words: of one number what it was, so that it is known which way a forward went."""
    one = isinstance(value, Tensor) and value.numel() == 1
    return f"{draw} gave {value.item():.4g}" if one else str(draw)


def _is_mask_of(value: Tensor, name: str) -> bool:
    """Numbers of an input are data, but for those that are added to scores to hide them."""
    return "mask" in name or bool((value <= torch.finfo(value.dtype).min).any())


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


Call = tuple[tuple[Any, ...], dict[str, Any], Any]
"""Arguments of a call by place and by name, and its result."""


def shaped_by_values(
    function: Callable[..., Any],
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    values: Mapping[int, Tensor],
    constant: Callable[[Tensor], Tensor],
) -> Call | None:
    """A call on ``meta`` whose result's shape hangs on values that are known, although its content is not.

    Bounds and sizes become numbers, masks that select become places, repeats are added up.

    Args:
        function: of the call that failed on shapes alone.
        name: of the function.
        args: positional arguments of the call.
        kwargs: keyword arguments of the call.
        values: id of a ``meta`` tensor → what is known of it.
        constant: makes a ``meta`` stand-in of a real tensor.

    Returns:
        The arguments to write down instead and the ``meta`` result; None where the values do not help.
    """
    if not values:
        return None
    kwargs = dict(kwargs)
    if name == "masked_select" and len(args) == 2 and id(args[1]) in values:
        each = values[id(args[1])] & torch.ones(1, dtype=torch.bool).expand(args[0].shape)
        count = int(each.sum())
        return args, kwargs, torch.empty(count, dtype=args[0].dtype, device="meta")
    if name == "repeat_interleave" and len(args) > 1 and id(args[1]) in values:
        kwargs["output_size"] = int(values[id(args[1])].sum())
    elif name == "_pack_padded_sequence" and id(args[1]) in values:
        return _packed(function, args, kwargs, values[id(args[1])])
    elif name == "_pad_packed_sequence" and id(args[1]) in values:
        return _padded(function, args, kwargs, values[id(args[1])])
    else:
        indexing = name in ("__getitem__", "__setitem__")
        args = (args[0], *(_plain(a, values, constant if indexing else None) for a in args[1:]))
        kwargs = {k: _plain(v, values, None) for k, v in kwargs.items()}
    try:
        return args, kwargs, function(*args, **kwargs)
    except Exception:  # the first error is the one to tell
        return None


def _plain(value: Any, values: Mapping[int, Tensor], place: Callable[[Tensor], Tensor] | None) -> Any:
    """Known tensors as numbers or lists of numbers; within an index masks become places, the rest stays."""
    if isinstance(value, slice):
        return slice(*(_plain(v, values, None) for v in (value.start, value.stop, value.step)))
    if isinstance(value, tuple) and place is not None:
        flat: list[Any] = []
        for v in value:
            found = _plain(v, values, place)
            flat.extend(found) if _is_mask(v, values) else flat.append(found)
        return tuple(flat)
    if isinstance(value, (tuple, list)):
        return type(value)(_plain(v, values, place) for v in value)
    known = values.get(id(value)) if isinstance(value, Tensor) else None
    if known is None:
        return value
    if _is_mask(value, values) and place is not None:
        return tuple(place(at) for at in known.nonzero(as_tuple=True))
    whole = known.dim() < 2 and not known.dtype.is_floating_point and not known.dtype.is_complex
    number = known.dim() == 0 and known.dtype is not torch.bool  # as an index it is a place
    return known.tolist() if whole and (place is None or number) else value


def _is_mask(value: Any, values: Mapping[int, Tensor]) -> bool:
    return isinstance(value, Tensor) and value.dtype is torch.bool and value.dim() > 0 and id(value) in values


def _packed(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    lengths: Tensor,
) -> Call | None:
    """Packing a padded batch: as many rows as the lengths add up to; how many a step stays a real tensor."""
    padded, _, *others = args
    try:
        rows, batch_sizes = function(torch.zeros(*padded.shape[:2], 1), lengths, *others, **kwargs)
    except RuntimeError:
        return None
    data = torch.empty((rows.shape[0], *padded.shape[2:]), dtype=padded.dtype, device="meta")
    return args, kwargs, (data, batch_sizes)


def _padded(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], steps: Tensor
) -> Call | None:
    """The way back from a packed batch: to the longest of its sequences."""
    rows, _, *others = args
    try:
        padded, lengths = function(torch.zeros(rows.shape[0], 1), steps, *others, **kwargs)
    except RuntimeError:
        return None
    return (
        args,
        kwargs,
        (torch.empty((*padded.shape[:2], *rows.shape[1:]), dtype=rows.dtype, device="meta"), lengths),
    )
