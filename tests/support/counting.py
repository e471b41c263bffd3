"""A second opinion on operations: torch's own counter."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["flops_counted"]


def flops_counted(model: nn.Module, *args: Any, **kwargs: Any) -> int:
    """Operations of a call, two a product, with the fused kernels off that the counter has no rows for."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(*args, **kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops()
