"""Quantised layers, followed as the float layers that they stand for.

Their weights are packed into objects that only quantised kernels read; in the graph they are constants of the
shapes that the layer names. Observers and (de)quantisation keep the map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["float_forward"]

_CONVOLUTIONS = {
    (1, False): F.conv1d,
    (2, False): F.conv2d,
    (3, False): F.conv3d,
    (1, True): F.conv_transpose1d,
    (2, True): F.conv_transpose2d,
    (3, True): F.conv_transpose3d,
}


def float_forward(module: nn.Module) -> Callable[..., Any] | None:
    """The forward of the float layer for a module of torch.ao's; None for any other module."""
    home = type(module).__module__
    if not home.startswith("torch.ao."):
        return None
    if home.startswith("torch.ao.quantization") or type(module).__name__ in ("Quantize", "DeQuantize"):
        return lambda x: x
    if "quantized" not in home:
        return None
    m: Any = module
    if hasattr(m, "in_features"):
        return lambda x: F.linear(x, _weight(x, m.out_features, m.in_features))
    if hasattr(m, "kernel_size") and hasattr(m, "in_channels"):
        return _convolution(m)
    if hasattr(m, "hidden_size") and hasattr(m, "num_layers"):
        return _recurrent(m)
    return None


def _weight(x: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=x.dtype, device="meta")


def _convolution(m: Any) -> Callable[..., Any]:
    transposed = bool(getattr(m, "transposed", False))
    function: Any = _CONVOLUTIONS[len(m.kernel_size), transposed]
    ends = (m.in_channels, m.out_channels) if transposed else (m.out_channels, m.in_channels)
    shape = (ends[0], ends[1] // m.groups, *m.kernel_size)
    numbers = {n: getattr(m, n) for n in ("stride", "padding", "dilation", "groups")}
    if transposed:
        numbers["output_padding"] = m.output_padding
    return lambda x: function(x, _weight(x, *shape), **numbers)


def _recurrent(m: Any) -> Callable[..., Any]:
    kind: Any = getattr(nn, type(m).__name__)
    names = ("bias", "batch_first", "bidirectional")
    with torch.device("meta"):
        layer = kind(m.input_size, m.hidden_size, m.num_layers, **{n: getattr(m, n) for n in names})
    return lambda x, state=None: layer(x, state)
