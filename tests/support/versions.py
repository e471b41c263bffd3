"""What an old torch cannot do; the project supports it all the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

OLD = tuple(int(p) for p in torch.__version__.split(".")[:2]) < (2, 10)
NO_EXPORT = "torch.export of 2.4 to 2.9 fails on this"


def skip_export_of_old_torch(frontend: str) -> None:
    """The front-end ``fx``, which is tried first, reads what that export does not."""
    if OLD and frontend == "export":
        pytest.skip(NO_EXPORT)


def transformers_with_torch() -> Any:
    """transformers, where it is there and takes this torch: its newest asks for a newer one than the project does."""
    transformers = pytest.importorskip("transformers")
    if not transformers.is_torch_available():
        pytest.skip(f"transformers {transformers.__version__} takes no torch {torch.__version__}")
    return transformers
