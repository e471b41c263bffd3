"""Score any ``nn.Module`` before training, from its computational graph alone."""

from __future__ import annotations

__version__ = "0.1.0"
