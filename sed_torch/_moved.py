"""Modules that stand elsewhere now: their old names lead there until 1.0, with a ``DeprecationWarning``.

``import sed_torch.results`` gives the module that holds what was in it.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["MOVED", "MOVED_NAMES", "lead_on", "moved_name"]

MOVED: Mapping[str, str] = {
    "sed_torch.api": "sed_torch.scoring.model",
    "sed_torch.comparison": "sed_torch.comparing",
    "sed_torch.layout": "sed_torch.lowering.axes",
    "sed_torch.results": "sed_torch.scoring.result",
    "sed_torch.diagnostics.doubts": "sed_torch.batching.doubts",
    "sed_torch.diagnostics.findings": "sed_torch.diagnostics.report",
    "sed_torch.accuracies": "sed_torch.evidence",
    "sed_torch.benchmark_data": "sed_torch.evidence.benchmarks",
    "sed_torch.correlation": "sed_torch.evidence.correlation",
    "sed_torch.validation": "sed_torch.evidence",
    "sed_torch.spaces.batch": "sed_torch.spaces",
    "sed_torch.spaces.counting": "sed_torch.spaces",
}
"""Old dotted name of a module → where its content stands."""

MOVED_NAMES: Mapping[str, str] = {
    "sed_torch.benchmarking.SPACES": "sed_torch.benchmarking.REPORTED",
    "sed_torch.comparing.Sensitivity": "sed_torch.sensitivity.Sensitivity",
    "sed_torch.comparing.Variation": "sed_torch.sensitivity.Variation",
    "sed_torch.comparing.sensitivity": "sed_torch.sensitivity.sensitivity",
    "sed_torch.topology.TopologyBuilder": "sed_torch.building.TopologyBuilder",
    "sed_torch.topology.Value": "sed_torch.building.Value",
}
"""Old dotted name of what stands in a module → its dotted name now."""


def moved_name(module: str, name: str) -> Any:
    """What a module's ``__getattr__`` gives for a name that it does not have.

    Raises:
        AttributeError: it never had it.
    """
    new = MOVED_NAMES.get(f"{module}.{name}")
    if new is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    home, _, now = new.rpartition(".")
    warnings.warn(f"{module}.{name} is now {new}", DeprecationWarning, stacklevel=3)
    return getattr(importlib.import_module(home), now)


class _Signpost(MetaPathFinder, Loader):
    """Finds the old names, and loads what stands under the new ones."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        old, new = module.__name__, MOVED[module.__name__]
        warnings.warn(f"{old} is now {new}; the old name goes with 1.0", DeprecationWarning, stacklevel=2)
        sys.modules[old] = importlib.import_module(new)


def lead_on() -> None:
    """Let the old names be imported; calling it again changes nothing."""
    if not any(isinstance(finder, _Signpost) for finder in sys.meta_path):
        sys.meta_path.append(_Signpost())
