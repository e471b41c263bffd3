"""Result shapes of the commonest operators, without torch's Python ``meta`` kernels.

A ``meta`` kernel written in Python (convolution, batch norm, …) takes 0.1 to 0.3 ms, which is most of a trace.
A function here returns the ``meta`` result, or ``NotImplemented`` to leave the case to torch, which also
words the error where shapes do not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

__all__ = ["FAST_SHAPES", "fast_shape"]


def fast_shape(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The ``meta`` result of a call; ``NotImplemented`` where torch has to say, also of other keywords."""
    function = FAST_SHAPES.get(name)
    if function is None:
        return NotImplemented
    try:
        return function(*args, **kwargs)
    except (TypeError, AttributeError, ZeroDivisionError):
        return NotImplemented


def _like(x: Tensor) -> Tensor:
    # torch.empty_like on `meta` is a Python function; for the usual contiguous case this is ten times faster
    if x.is_contiguous():
        return torch.empty(x.shape, dtype=x.dtype, device="meta")
    return torch.empty_like(x)


def _like_first(x: Any, *_: Any, inplace: bool = False, out: Any = None, **__: Any) -> Any:
    if not isinstance(x, Tensor) or out is not None or not x.is_floating_point():
        return NotImplemented
    return _like(x)


def _softmax(x: Any, dim: Any = None, *others: Any, dtype: Any = None, **__: Any) -> Any:
    if not isinstance(x, Tensor) or dtype is not None or any(isinstance(o, torch.dtype) for o in others):
        return NotImplemented
    return torch.empty(x.shape, dtype=x.dtype, device="meta") if x.is_floating_point() else NotImplemented


def _batch_norm(x: Tensor, running_mean: Any = None, *args: Any, **kwargs: Any) -> Any:
    weight = kwargs.get("weight", args[1] if len(args) > 1 else None)
    for t in (running_mean, weight):
        if t is not None and (x.dim() < 2 or t.shape[0] != x.shape[1]):
            return NotImplemented
    return _like(x) if x.is_floating_point() else NotImplemented


def _layer_norm(x: Tensor, normalized_shape: Any, *args: Any, **kwargs: Any) -> Any:
    shape = tuple(normalized_shape)
    if not shape or not x.is_floating_point() or tuple(x.shape[x.dim() - len(shape) :]) != shape:
        return NotImplemented
    return torch.empty(x.shape, dtype=x.dtype, device="meta")


def _group_norm(x: Tensor, num_groups: int, *args: Any, **kwargs: Any) -> Any:
    known = x.dim() > 1 and x.shape[1] % num_groups == 0 and x.is_floating_point() and x.is_contiguous()
    return _like(x) if known else NotImplemented


def _pair(value: Any, n: int) -> tuple[int, ...] | None:
    if isinstance(value, int):
        return (value,) * n
    if isinstance(value, (tuple, list)) and all(isinstance(v, int) for v in value):
        return tuple(value) * n if len(value) == 1 else tuple(value) if len(value) == n else None
    return None


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    n = weight.dim() - 2
    if x.dim() != n + 2 or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        return NotImplemented
    if x.dtype != weight.dtype or isinstance(padding, str):
        return NotImplemented
    s, p, d = _pair(stride, n), _pair(padding, n), _pair(dilation, n)
    if s is None or p is None or d is None:
        return NotImplemented
    size = [(x.shape[i + 2] + 2 * p[i] - d[i] * (weight.shape[i + 2] - 1) - 1) // s[i] + 1 for i in range(n)]
    if min(size, default=1) < 1:
        return NotImplemented
    result = torch.empty((x.shape[0], weight.shape[0], *size), dtype=x.dtype, device="meta")
    last = n == 2 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return result.contiguous(memory_format=torch.channels_last) if last else result  # channels last stay last


def _linear(x: Tensor, weight: Tensor, bias: Any = None) -> Any:
    if weight.dim() != 2 or x.dim() < 1 or x.shape[-1] != weight.shape[1] or x.dtype != weight.dtype:
        return NotImplemented
    return torch.empty((*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device="meta")


def _elementwise(a: Any, b: Any, *, out: Any = None, **_: Any) -> Any:
    """Two maps of one floating type, one of which has the result's shape; or a map and a number."""
    if isinstance(b, Tensor) and not isinstance(a, Tensor):
        a, b = b, a
    if out is not None or not isinstance(a, Tensor) or not a.is_floating_point():
        return NotImplemented
    if not isinstance(b, Tensor):
        return _like(a) if isinstance(b, (int, float)) else NotImplemented
    if a.dtype != b.dtype:
        return NotImplemented
    shape, plain = a.shape, a.is_contiguous() and b.is_contiguous()
    if shape == b.shape or _fits(b.shape, shape):  # the first operand's order of dimensions is the result's
        plain = plain or _in_order(a)
    elif _fits(shape, b.shape):
        shape = b.shape
    else:
        plain = False
    return torch.empty(shape, dtype=a.dtype, device="meta") if plain else NotImplemented


def _two_maps(a: Any, b: Any, **others: Any) -> Any:
    return _elementwise(a, b, **others) if isinstance(a, Tensor) and isinstance(b, Tensor) else NotImplemented


def _in_order(x: Tensor) -> bool:
    """Its dimensions lie in memory from the outermost to the innermost, perhaps with gaps: a part of a plain map."""
    strides = x.stride()
    return all(a > b for a, b in pairwise(strides)) and (not strides or strides[-1] > 0)


def _matmul(a: Any, b: Any, *, out: Any = None) -> Any:
    """A map and a matrix, or as many matrices on either side."""
    if out is not None or not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return NotImplemented
    if a.dtype != b.dtype or not a.is_floating_point() or a.dim() < 2 or a.dim() < b.dim() or b.dim() < 2:
        return NotImplemented
    if a.shape[-1] != b.shape[-2] or (b.dim() > 2 and a.shape[:-2] != b.shape[:-2]) or 0 in a.shape:
        return NotImplemented
    return torch.empty((*a.shape[:-1], b.shape[-1]), dtype=a.dtype, device="meta")


def _rows(x: Any, index: Any) -> Any:
    """``x[rows]``: entries of a plain map that whole numbers choose along its first dimensions."""
    indices = index if isinstance(index, tuple) else (index,)
    if not isinstance(x, Tensor) or not indices or x.dim() < len(indices) or not x.is_contiguous():
        return NotImplemented
    for i in indices:
        whole = isinstance(i, Tensor) and i.dtype == torch.int64 and i.dim() > 0
        if not whole or i.shape != indices[0].shape or not i.is_meta:
            return NotImplemented
    shape = (*indices[0].shape, *x.shape[len(indices) :])
    return (
        torch.empty(shape, dtype=x.dtype, device="meta")
        if x.numel() and indices[0].numel()
        else NotImplemented
    )


def _fits(small: Sequence[int], large: Sequence[int]) -> bool:
    """Broadcasting ``small`` with ``large`` gives ``large``."""
    lead = len(large) - len(small)
    return lead >= 0 and all(n in (1, m) for n, m in zip(small, large[lead:], strict=True))


def _mean(x: Any, dim: Any = None, keepdim: bool = False, **others: Any) -> Any:
    dims = (dim,) if isinstance(dim, int) else dim
    if (
        others
        or not isinstance(x, Tensor)
        or not x.is_floating_point()
        or not isinstance(dims, (tuple, list))
    ):
        return NotImplemented
    rank = x.dim()
    if not dims or not all(type(d) is int and -rank <= d < rank for d in dims):
        return NotImplemented
    gone = {d % rank for d in dims}
    if len(gone) != len(dims) or not x.is_contiguous():
        return NotImplemented
    size = [1 if i in gone else n for i, n in enumerate(x.shape) if keepdim or i not in gone]
    return torch.empty(size, dtype=x.dtype, device="meta")


def _attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Where nothing is broadcast but keys to groups of queries; a mask is checked against the scores."""
    causal = kwargs.get("is_causal") or any(a is True for a in args)
    if causal and attn_mask is not None:
        return NotImplemented
    if q.dim() < 3 or not q.dtype == k.dtype == v.dtype or not q.is_floating_point():
        return NotImplemented
    if k.shape[:-1] != v.shape[:-1] or q.shape[-1] != k.shape[-1]:
        return NotImplemented
    grouped = kwargs.get("enable_gqa") and q.dim() == k.dim() == 4 and q.shape[0] == k.shape[0]
    if q.shape[:-2] != k.shape[:-2] and not (grouped and q.shape[1] % k.shape[1] == 0):
        return NotImplemented
    if v.shape[-1] != q.shape[-1] or any(t.stride(-1) != 1 for t in (q, k, v)):
        return NotImplemented  # not fused
    if attn_mask is not None:
        scores = (*q.shape[:-1], k.shape[-2])
        if attn_mask.dtype not in (torch.bool, q.dtype) or not _fits(attn_mask.shape, scores):
            return NotImplemented
    if (
        q.dim() == 4
    ):  # as the fused kernels leave it, in the order of the queries; most often joining heads is a view
        n, heads, length, _ = q.shape
        of_samples, of_heads, of_places, _ = q.stride()
        if not (of_samples >= of_places >= of_heads or 1 in (heads, length)):
            return torch.empty_like(q)
        return torch.empty((n, length, heads, v.shape[-1]), dtype=q.dtype, device="meta").transpose(1, 2)
    return torch.empty((*q.shape[:-1], v.shape[-1]), dtype=q.dtype, device="meta")


def _lstm(x: Tensor, states: Any, weights: Any, *rest: Any) -> Any:
    if isinstance(states, Tensor):  # how many sequences go on at each step; the states come after
        return _packed(4, x, tuple(weights), *rest)
    return _recurrent(4, x, tuple(states), weights, *rest)


def _gru(x: Tensor, state: Tensor, weights: Any, *rest: Any) -> Any:
    if isinstance(weights, Tensor):
        return _packed(3, x, (weights,), *rest)
    return _recurrent(3, x, (state,), weights, *rest)


def _rnn(x: Tensor, state: Tensor, weights: Any, *rest: Any) -> Any:
    if isinstance(weights, Tensor):
        return _packed(1, x, (weights,), *rest)
    return _recurrent(1, x, (state,), weights, *rest)


def _packed(
    gates: int,
    x: Tensor,
    states: tuple[Tensor, ...],
    weights: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
) -> Any:
    """The steps of all sequences in one axis, as ``pack_padded_sequence`` puts them."""
    directions = 2 if bidirectional else 1
    fits = (
        x.dim() == 2
        and all(t.dtype == x.dtype for t in (*states, *weights))
        and all(t.dim() == 3 and t.shape[0] == num_layers * directions for t in states)
        and weights[0].shape == (gates * states[-1].shape[-1], x.shape[-1])
    )
    if not fits:
        return NotImplemented
    y = torch.empty((x.shape[0], directions * states[0].shape[-1]), dtype=x.dtype, device="meta")
    return (y, *(torch.empty(t.shape, dtype=x.dtype, device="meta") for t in states))


def _recurrent(
    gates: int,
    x: Tensor,
    states: tuple[Tensor, ...],
    weights: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Any:
    """torch goes through the sequence step by step, also on ``meta``. Packed sequences are left to it."""
    if x.dim() != 3 or not x.is_floating_point() or min(x.shape) < 1:
        return NotImplemented
    batch, time = (x.shape[0], x.shape[1]) if batch_first else (x.shape[1], x.shape[0])
    directions = 2 if bidirectional else 1
    fits = (
        all(t.dtype == x.dtype for t in (*states, *weights))
        and all(t.dim() == 3 and tuple(t.shape[:2]) == (num_layers * directions, batch) for t in states)
        and weights[0].shape == (gates * states[-1].shape[-1], x.shape[-1])
        and weights[1].shape[-1] == states[0].shape[-1]
        and len(weights) % (num_layers * directions) == 0
    )
    if not fits:
        return NotImplemented
    y = torch.empty((time, batch, directions * states[0].shape[-1]), dtype=x.dtype, device="meta")
    last = (torch.empty(t.shape, dtype=x.dtype, device="meta") for t in states)
    return (y.transpose(0, 1) if batch_first else y, *last)


_ARITHMETIC = ("add", "sub", "mul", "multiply", "subtract", "div", "divide", "true_divide", "truediv")


def _grouped_mm(a: Tensor, b: Tensor, *args: Any, offs: Any = None, **kwargs: Any) -> Any:
    # torch's own insists on bfloat16 on `meta`, where the kernels do not
    if a.dim() != 2 or b.dim() != 3 or a.shape[1] != b.shape[1] or a.dtype != b.dtype:
        return NotImplemented
    return torch.empty((a.shape[0], b.shape[2]), dtype=a.dtype, device="meta")


def _ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """One number, or one a sample of (time, batch, classes); torch itself looks at the lengths."""
    shape = log_probs.shape[1:2] if reduction == "none" and log_probs.ndim == 3 else ()
    return torch.empty(shape, dtype=log_probs.dtype, device="meta")


def _gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """One number, or one an entry; torch itself looks for negative variances."""
    # a variance has the shape of the input, or one entry a sample
    shape = input.shape if reduction == "none" else ()
    return torch.empty(shape, dtype=input.dtype, device="meta")


FAST_SHAPES: Mapping[str, Callable[..., Any]] = {
    "ctc_loss": _ctc_loss,
    "gaussian_nll_loss": _gaussian_nll_loss,
    **dict.fromkeys(
        [
            "relu",
            "relu6",
            "gelu",
            "silu",
            "mish",
            "hardswish",
            "hardsigmoid",
            "leaky_relu",
            "elu",
            "sigmoid",
            "tanh",
            "exp",
            "log",
            "sqrt",
            "rsqrt",
            "neg",
            "__neg__",
            "sin",
            "cos",
            "softplus",
            "dropout",
            "dropout1d",
            "dropout2d",
            "dropout3d",
        ],
        _like_first,
    ),
    "softmax": _softmax,
    "log_softmax": _softmax,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "conv1d": _conv,
    "conv2d": _conv,
    "conv3d": _conv,
    "linear": _linear,
    "mean": _mean,
    "scaled_dot_product_attention": _attention,
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": _rnn,
    "rnn_relu": _rnn,
    **dict.fromkeys([n for name in _ARITHMETIC for n in (name, f"__{name}__", f"__r{name}__")], _elementwise),
    **dict.fromkeys(["pow", "__pow__"], _elementwise),
    **dict.fromkeys(["maximum", "minimum"], _two_maps),
    **dict.fromkeys(["matmul", "__matmul__"], _matmul),
    "__getitem__": _rows,
    "grouped_mm": _grouped_mm,
    "_grouped_mm": _grouped_mm,
}
