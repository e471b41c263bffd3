"""The version, where a command line and a build can read it without importing anything else."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.4.0"
