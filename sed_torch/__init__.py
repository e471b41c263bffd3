"""Score any ``nn.Module`` before training, from its computational graph alone.

>>> import sed_torch, torchvision                                    # doctest: +SKIP
>>> print(sed_torch.score(torchvision.models.resnet50()))            # doctest: +SKIP

The score is SED (Suppression of local Entropy Decrease), in the form this project derived from the published
claims of arXiv 2411.06236.

Importing the package loads neither torch nor anything else: every name is looked up where it is first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sed_torch._moved import MOVED, lead_on
from sed_torch._version import __version__

if TYPE_CHECKING:
    from sed_torch import (
        calibration as calibration,
        costing as costing,
        diagnostics as diagnostics,
        evidence as evidence,
        integrations as integrations,
        proxies as proxies,
        ranking as ranking,
        report as report,
        searching as searching,
        spaces as spaces,
        training as training,
        zoo as zoo,
    )
    from sed_torch.calibration import Calibration, calibrate
    from sed_torch.comparing import Comparison, compare
    from sed_torch.costing import Cost, cost
    from sed_torch.diagnostics import CheckReport, Finding, check, explain
    from sed_torch.errors import SedTorchError
    from sed_torch.graph import Graph
    from sed_torch.ranking import Ranking, rank
    from sed_torch.report import draw
    from sed_torch.scoring.model import register_rule, score, topology, unregister_rule
    from sed_torch.scoring.result import Score
    from sed_torch.searching import search
    from sed_torch.sensitivity import Sensitivity, sensitivity
    from sed_torch.topology import Topology, TopologyBuilder
    from sed_torch.tracing import trace
    from sed_torch.training import counterparts

__all__ = [
    "Calibration",
    "CheckReport",
    "Comparison",
    "Cost",
    "Finding",
    "Graph",
    "Ranking",
    "Score",
    "SedTorchError",
    "Sensitivity",
    "Topology",
    "TopologyBuilder",
    "__version__",
    "calibrate",
    "check",
    "compare",
    "cost",
    "counterparts",
    "draw",
    "explain",
    "rank",
    "register_rule",
    "score",
    "search",
    "sensitivity",
    "topology",
    "trace",
    "unregister_rule",
]

_HOMES = {
    **dict.fromkeys(["register_rule", "score", "topology", "unregister_rule"], "sed_torch.scoring.model"),
    **dict.fromkeys(["Comparison", "compare"], "sed_torch.comparing"),
    **dict.fromkeys(["Sensitivity", "sensitivity"], "sed_torch.sensitivity"),
    **dict.fromkeys(["CheckReport", "Finding", "check", "explain"], "sed_torch.diagnostics"),
    **dict.fromkeys(["Ranking", "rank"], "sed_torch.ranking"),
    **dict.fromkeys(["Topology", "TopologyBuilder"], "sed_torch.topology"),
    **dict.fromkeys(["Cost", "cost"], "sed_torch.costing"),
    **dict.fromkeys(["Calibration", "calibrate"], "sed_torch.calibration"),
    "Graph": "sed_torch.graph",
    "Score": "sed_torch.scoring.result",
    "SedTorchError": "sed_torch.errors",
    "counterparts": "sed_torch.training",
    "draw": "sed_torch.report",
    "search": "sed_torch.searching",
    "trace": "sed_torch.tracing",
}
"""Where each public name is defined."""

_ROOMS = frozenset(
    {
        *(
            "calibration",
            "costing",
            "diagnostics",
            "evidence",
            "integrations",
            "proxies",
            "ranking",
            "report",
            "searching",
            "spaces",
            "training",
        ),
        "zoo",
    }
)
"""Modules of which users call functions, as in ``sed_torch.report.to_html``; they need no import of their own."""


lead_on()


class _Package(ModuleType):
    """The package, in which a function and a module may have the same name, ``topology``: the function is meant."""

    def __getattr__(self, name: str) -> Any:
        if name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        elif name in _ROOMS or f"sed_torch.{name}" in MOVED:
            value = import_module(f"sed_torch.{name}")
        else:
            raise AttributeError(f"module 'sed_torch' has no attribute {name!r}")
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # Importing a module also sets it on its package.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *__all__, *_ROOMS})


sys.modules[__name__].__class__ = _Package
