"""What a check asks of a call and the score does not: rates, flags and literal arguments, as plain data.

They stand in :attr:`sed_torch.graph.Node.facts`, apart from the numbers of a node's rule, so that no score and no
fingerprint depends on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

__all__ = ["facts_of", "held_names", "output_facts", "output_names", "rows_of", "wants_gradient"]

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]
Facts = dict[str, Any]


def facts_of(op: str, args: Args, kwargs: Kwargs) -> Facts:
    """The facts of one call by the canonical name of its operator; empty where no rule of the check asks."""
    reader = _READERS.get(op)
    return reader(args, kwargs) if reader is not None else {}


def _literal(args: Args, kwargs: Kwargs, place: int, name: str, default: Any = None) -> Any:
    value = args[place] if len(args) > place else kwargs.get(name, default)
    return _plain(value)


def _plain(value: Any) -> Any:
    """Numbers, words and tuples of them; ``"tensor"`` for what the forward computed."""
    if isinstance(value, torch.fx.Node):
        return "tensor"
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    if isinstance(value, slice):
        return ("slice", _plain(value.start), _plain(value.stop), _plain(value.step))
    if value is Ellipsis:
        return "..."
    return value if isinstance(value, (bool, int, float, str, type(None))) else "other"


def _named(**places: tuple[int, str, Any]) -> Callable[[Args, Kwargs], Facts]:
    """A reader of arguments: fact = (place, keyword, default)."""
    return lambda args, kwargs: {
        fact: _literal(args, kwargs, place, name, default) for fact, (place, name, default) in places.items()
    }


def _recurrent(args: Args, kwargs: Kwargs) -> Facts:
    """lstm(input, state, weights, bias, layers, p, training, bidirectional, batch_first); packed ones begin
    with (data, batch_sizes) and have no batch_first."""
    flags = [a for a in args if isinstance(a, bool)]
    rates = [a for a in args if isinstance(a, float)]
    if len(flags) < 3:
        return {}
    return {"p": rates[0] if rates else 0.0, "training": flags[1], "bidirectional": flags[2]}


def _scalar(args: Args, kwargs: Kwargs) -> Facts:
    """The literal operand of a sum, product or power; none between two tensors."""
    numbers = [a for a in args[:2] if isinstance(a, (int, float)) and not isinstance(a, bool)]
    return {"scalar": numbers[0]} if numbers else {}


def _bounds(args: Args, kwargs: Kwargs) -> Facts:
    found = _named(low=(1, "min", None), high=(2, "max", None))(args, kwargs)
    return found


def _softmax(args: Args, kwargs: Kwargs) -> Facts:
    return {"dim": _literal(args, kwargs, 1, "dim")}


_DROPOUT = _named(p=(1, "p", 0.5), training=(2, "training", True))
_BATCH_NORM = _named(training=(5, "training", False), momentum=(6, "momentum", 0.1), eps=(7, "eps", 1e-5))

_READERS: dict[str, Callable[[Args, Kwargs], Facts]] = {
    "dropout": _DROPOUT,
    "rrelu": _named(training=(3, "training", False)),
    "scaled_dot_product_attention": _named(p=(4, "dropout_p", 0.0), mask=(3, "attn_mask", None)),
    "multi_head_attention_forward": _named(
        p=(10, "dropout_p", 0.0),
        training=(13, "training", True),
        mask=(16, "attn_mask", None),
        heads=(4, "num_heads", 1),
        weights=(15, "need_weights", True),
        padding=(14, "key_padding_mask", None),
        causal=(24, "is_causal", False),
    ),
    "lstm": _recurrent,
    "gru": _recurrent,
    "_pack_padded_sequence": _named(batch_first=(2, "batch_first", False)),
    "_pad_packed_sequence": _named(batch_first=(2, "batch_first", False)),
    "rnn": _recurrent,
    "batch_norm": _BATCH_NORM,
    "instance_norm": _named(training=(5, "use_input_stats", True), eps=(7, "eps", 1e-5)),
    "layer_norm": _named(normalized=(1, "normalized_shape", ()), eps=(4, "eps", 1e-5)),
    "rms_norm": _named(normalized=(1, "normalized_shape", ()), eps=(3, "eps", 1e-5)),
    "group_norm": _named(groups=(1, "num_groups", 1), eps=(4, "eps", 1e-5)),
    "softmax": _softmax,
    "log_softmax": _softmax,
    "softmin": _softmax,
    "cumsum": _softmax,
    "cumprod": _softmax,
    "logcumsumexp": _softmax,
    "cummax": _softmax,
    "cummin": _softmax,
    "sort": _named(dim=(1, "dim", -1)),
    "normalize": _named(dim=(2, "dim", 1)),
    "gumbel_softmax": _named(hard=(2, "hard", False), dim=(4, "dim", -1)),
    "pad": _named(mode=(2, "mode", "constant")),
    "squeeze": _named(dim=(1, "dim", None)),
    "unsqueeze": _named(dim=(1, "dim", None)),
    "getitem": _named(index=(1, "idx", None)),
    "select": _named(dim=(1, "dim", 0), at=(2, "index", 0)),
    "where": _named(value=(1, "input", None), other=(2, "other", None)),
    "masked_fill": _named(value=(2, "value", None)),
    "tril": _named(diagonal=(1, "diagonal", 0)),
    "triu": _named(diagonal=(1, "diagonal", 0)),
    "clamp": _bounds,
    "leaky_relu": _named(slope=(1, "negative_slope", 0.01)),
    "hardtanh": _named(low=(1, "min_val", -1.0), high=(2, "max_val", 1.0)),
    "pow": _scalar,
    "eq": _scalar,
    **dict.fromkeys(("add", "sub", "mul", "div"), _scalar),
}


_DEEPEST = 6
"""How deep in lists and dicts of a module's attributes a tensor is looked for."""


def held_names(model: nn.Module) -> dict[int, str]:
    """Where a model holds tensors that it has not registered: id → such as ``"blocks.0.layers[1].weight"``."""
    found: dict[int, str] = {}
    own = set(map(id, model.modules()))
    for path, module in model.named_modules():
        for name, value in list(module.__dict__.items()):
            if name not in _OF_TORCH:
                _hold(value, f"{path}.{name}" if path else name, found, own, _DEEPEST)
    return found


_OF_TORCH = frozenset(nn.Module().__dict__)


def _hold(value: Any, name: str, found: dict[int, str], own: set[int], depth: int) -> None:
    if isinstance(value, Tensor):
        found.setdefault(id(value), name)
    elif isinstance(value, nn.Module):
        if id(value) not in own:
            for inner, tensor in (*value.named_parameters(), *value.named_buffers()):
                found.setdefault(id(tensor), f"{name}.{inner}")
    elif depth and isinstance(value, (list, tuple)):
        for i, v in enumerate(value):
            _hold(v, f"{name}[{i}]", found, own, depth - 1)
    elif depth and isinstance(value, dict):
        for k, v in list(value.items()):
            _hold(v, f"{name}[{k!r}]", found, own, depth - 1)


def output_names(result: Any) -> dict[int, tuple[str, ...]]:
    """Under which names a forward returns each tensor: id → keys, fields or places; none for a tensor alone."""
    found: dict[int, tuple[str, ...]] = {}
    if not isinstance(result, Tensor):
        _name_outputs(result, "", found)
    return found


def output_facts(names: tuple[str, ...]) -> dict[str, Any]:
    """What a node says of the names under which its value is returned."""
    return {"output": names[0], **({"output_again": names[1:]} if len(names) > 1 else {})}


def _name_outputs(value: Any, name: str, found: dict[int, tuple[str, ...]]) -> None:
    if isinstance(value, Tensor):
        found[id(value)] = (*found.get(id(value), ()), name)
        return
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, (tuple, list)):
        parts = zip(getattr(value, "_fields", range(len(value))), value, strict=False)
    elif hasattr(value, "__dataclass_fields__"):
        parts = ((field, getattr(value, field)) for field in value.__dataclass_fields__)
    for key, part in parts:
        _name_outputs(part, f"{name}.{key}" if name else str(key), found)


_LARGEST = 1 << 22


def rows_of(tensor: Tensor) -> dict[str, int] | None:
    """How many rows of a constant are True or -inf throughout, and how many False; None for what is no mask."""
    boolean = tensor.dtype is torch.bool
    if tensor.dim() < 2 or tensor.numel() > _LARGEST or tensor.device.type == "meta":
        return None
    if not (boolean or tensor.dtype.is_floating_point) or tensor.requires_grad:
        return None
    blocked = tensor if boolean else tensor == -math.inf
    empty = int((~tensor).all(-1).sum()) if boolean else 0
    return {"full": int(blocked.all(-1).sum()), "empty": empty}


def wants_gradient(node: torch.fx.Node, model: nn.Module) -> bool:
    """Whether the value of a node depends on a trainable parameter by calls that record a gradient."""
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    seen, todo = {node}, [node]
    while todo:
        current = todo.pop()
        dtype = current.meta.get("dtype")
        floating = dtype is None or dtype.is_floating_point or dtype.is_complex
        if current.meta.get("parameter") in trainable:
            return True
        if not floating or (current.meta.get("facts") or {}).get("grad") is False:
            continue
        fresh = [n for n in current.all_input_nodes if n not in seen]
        seen.update(fresh)
        todo += fresh
    return False
