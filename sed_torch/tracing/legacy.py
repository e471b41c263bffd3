"""``Tensor.type`` speaks of kinds of tensors by their old class, which names the device as well: on ``meta`` there are
none, so that names are given as on the CPU, and only the dtype of what is asked for is taken.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

__all__ = ["of_old_class", "old_class"]


def old_class(tensor: Tensor) -> str:
    """What ``tensor.type()`` is on the CPU, such as ``"torch.FloatTensor"``."""
    return str(torch.empty(0, dtype=tensor.dtype, device="cpu").type())


def of_old_class(kind: Any) -> Any:
    """The dtype that ``torch.LongTensor`` or its name stands for; anything else as it is."""
    if isinstance(kind, str):
        module, _, name = kind.rpartition(".")
        kind = getattr(sys.modules.get(module), name, kind)
    dtype = getattr(kind, "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) and not isinstance(kind, Tensor) else kind
