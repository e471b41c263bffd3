"""Score any ``nn.Module`` before training, from its computational graph alone.

>>> import sed_torch, torchvision                                    # doctest: +SKIP
>>> print(sed_torch.score(torchvision.models.resnet50()))            # doctest: +SKIP

The score is SED (Suppression of local Entropy Decrease), in the form this project derived from the published
claims of arXiv 2411.06236.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sed_torch._moved import lead_on
from sed_torch.api import register_rule, score, topology, unregister_rule
from sed_torch.errors import SedTorchError
from sed_torch.graph import Graph
from sed_torch.results import Score
from sed_torch.searching import search
from sed_torch.topology import Topology, TopologyBuilder
from sed_torch.tracing import trace

if TYPE_CHECKING:
    from sed_torch.comparison import Comparison, Sensitivity, compare, sensitivity
    from sed_torch.diagnostics import CheckReport, Finding, check, explain
    from sed_torch.ranking import Ranking, rank
    from sed_torch.report import draw
    from sed_torch.training import counterparts

__version__ = "0.1.0"

lead_on()

__all__ = [
    "CheckReport",
    "Comparison",
    "Finding",
    "Graph",
    "Ranking",
    "Score",
    "SedTorchError",
    "Sensitivity",
    "Topology",
    "TopologyBuilder",
    "__version__",
    "check",
    "compare",
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

_LATER = {
    **dict.fromkeys(["CheckReport", "Finding", "check", "explain"], "sed_torch.diagnostics"),
    **dict.fromkeys(["Comparison", "Sensitivity", "compare", "sensitivity"], "sed_torch.comparison"),
    **dict.fromkeys(["Ranking", "rank"], "sed_torch.ranking"),
    "counterparts": "sed_torch.training",
    "draw": "sed_torch.report",
}
"""Names whose modules need more than torch and numpy, or time to import."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
