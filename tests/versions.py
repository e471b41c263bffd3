"""What an old torch cannot do; the project supports it all the same."""

from __future__ import annotations

import pytest
import torch

OLD = tuple(int(p) for p in torch.__version__.split(".")[:2]) < (2, 5)
NO_EXPORT = "torch.export of 2.4 fails on this"


def skip_export_of_old_torch(frontend: str) -> None:
    """The front-end ``fx``, which is tried first, reads what that export does not."""
    if OLD and frontend == "export":
        pytest.skip(NO_EXPORT)
