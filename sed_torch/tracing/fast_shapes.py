"""Result shapes of the commonest operators, without torch's Python ``meta`` kernels.

A ``meta`` kernel written in Python (convolution, batch norm, …) takes 0.1 to 0.3 ms, which is most of a trace.
A function here returns the ``meta`` result, or ``NotImplemented`` to leave the case to torch, which also
words the error where shapes do not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["FAST_SHAPES"]


def _like(x: Tensor) -> Tensor:
    # torch.empty_like on `meta` is a Python function; for the usual contiguous case this is ten times faster
    if x.is_contiguous():
        return torch.empty(x.shape, dtype=x.dtype, device="meta")
    return torch.empty_like(x)


def _like_first(x: Any, *_: Any, inplace: bool = False, out: Any = None, **__: Any) -> Any:
    if not isinstance(x, Tensor) or out is not None:
        return NotImplemented
    return _like(x)


def _batch_norm(x: Tensor, running_mean: Any = None, *args: Any, **kwargs: Any) -> Any:
    weight = kwargs.get("weight", args[1] if len(args) > 1 else None)
    for t in (running_mean, weight):
        if t is not None and (x.dim() < 2 or t.shape[0] != x.shape[1]):
            return NotImplemented
    return _like(x)


def _layer_norm(x: Tensor, normalized_shape: Any, *args: Any, **kwargs: Any) -> Any:
    shape = tuple(normalized_shape)
    if tuple(x.shape[x.dim() - len(shape) :]) != shape:
        return NotImplemented
    return torch.empty(x.shape, dtype=x.dtype, device="meta")


def _group_norm(x: Tensor, num_groups: int, *args: Any, **kwargs: Any) -> Any:
    return _like(x) if x.dim() > 1 and x.shape[1] % num_groups == 0 else NotImplemented


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
    return torch.empty((x.shape[0], weight.shape[0], *size), dtype=x.dtype, device="meta")


def _linear(x: Tensor, weight: Tensor, bias: Any = None) -> Any:
    if weight.dim() != 2 or x.dim() < 1 or x.shape[-1] != weight.shape[1] or x.dtype != weight.dtype:
        return NotImplemented
    return torch.empty((*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device="meta")


FAST_SHAPES: Mapping[str, Callable[..., Any]] = {
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
            "dropout",
            "dropout1d",
            "dropout2d",
            "dropout3d",
            "softmax",
            "log_softmax",
        ],
        _like_first,
    ),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "conv1d": _conv,
    "conv2d": _conv,
    "conv3d": _conv,
    "linear": _linear,
}
