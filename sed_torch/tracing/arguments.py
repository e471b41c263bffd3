"""What the arguments of a torch call say: what it writes into, whether it names a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sed_torch.tracing.names import in_place
from sed_torch.tracing.tensors import meta_like

__all__ = ["counted", "formatted", "is_device", "on_meta", "written_by"]


def formatted(func: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """A tensor as text, printed or in an f-string; a number without a value has no digits to show."""
    try:
        return str(func(*args, **kwargs))
    except TypeError:
        return "…"


def written_by(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The tensor that a call writes into, if any."""
    written = kwargs.get("out") if kwargs else None
    if written is None and args and (in_place(name) or (kwargs and kwargs.get("inplace"))):
        written = args[0]
    return written if isinstance(written, Tensor) else None


def on_meta(value: Any) -> Any:
    """A result with its tensors as ``meta`` ones."""
    if isinstance(value, Tensor):
        return meta_like(value)
    return tuple(map(on_meta, value)) if isinstance(value, (tuple, list)) else value


def is_device(value: Any) -> bool:
    """A device, or the name of one."""
    if isinstance(value, str):
        value = value.split(":")[0]
        return value in ("cpu", "cuda", "mps", "meta", "xpu")
    return isinstance(value, torch.device)


def counted(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """What ``bincount`` gives where no number reaches ``minlength``; None without one."""
    size = args[2] if len(args) > 2 else kwargs.get("minlength", 0)
    weights = args[1] if len(args) > 1 else kwargs.get("weights")
    dtype = weights.dtype if isinstance(weights, Tensor) else torch.int64
    return torch.empty(size, dtype=dtype, device="meta") if isinstance(size, int) and size > 0 else None
