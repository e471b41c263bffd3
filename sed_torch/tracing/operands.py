"""Arguments of a recorded call, as both front-ends write them.

Tensors are ``fx.Node`` s, which carry their shape in ``node.meta["shape"]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.fx

__all__ = ["Args", "Kwargs", "arg", "shape_of"]

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


def shape_of(value: Any) -> tuple[int, ...]:
    """Shape of the tensor behind an argument."""
    return tuple(value.meta["shape"]) if isinstance(value, torch.fx.Node) else ()


def arg(args: Args, kwargs: Kwargs, place: int, name: str, default: Any = None) -> Any:
    """An argument by its place or its name."""
    if len(args) > place:
        return args[place]
    return kwargs.get(name, default)
