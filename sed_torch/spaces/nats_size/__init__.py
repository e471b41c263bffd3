"""The size space of NATS-Bench: five widths of one fixed cell."""

from __future__ import annotations

from sed_torch.spaces.nats_size.architecture import OPS, WIDTHS, Widths
from sed_torch.spaces.nats_size.space import NATSSize

__all__ = ["OPS", "WIDTHS", "NATSSize", "Widths"]
