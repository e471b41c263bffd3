"""Which fields there are: a file each."""

from __future__ import annotations

import importlib

FIELDS = (
    "plain",
    "transformers_models",
    "diffusion",
    "images",
    "pytorchcv_models",
    "volumes",
    "sound",
    "language",
    "series",
    "tables_models",
    "graphs",
    "flows",
    "science",
)


def load() -> None:
    """Let every field enter its packages."""
    for name in FIELDS:
        importlib.import_module(f"coverage_models.{name}")
