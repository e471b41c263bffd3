"""Score any ``nn.Module`` before training, from its computational graph alone.

>>> import sed_torch, torchvision                                    # doctest: +SKIP
>>> print(sed_torch.score(torchvision.models.resnet50()))            # doctest: +SKIP

The score is SED (Suppression of local Entropy Decrease), in the form this project derived from the published
claims of arXiv 2411.06236.

Importing the package loads neither torch nor anything else: every name is looked up where it is first used.

**The road from a module to a number.** Each room reads only from those above it (a test holds it):

========================  ========================================================================================
``tracing``               ``nn.Module`` → :class:`Graph`: one node an operator, on meta tensors, no weights read
``graph``                 what a trace found, frozen; ``attributes``: the numbers of a call, a class a rule
``ops``                   the operator table: a row an operator, with its rule and its traits
``batching``              where the samples of a batch lie in each tensor
``lowering``              :class:`Graph` → :class:`Topology`: a function a rule says what becomes of the field
``entropy``               the calculus on a map's autocovariance
``topology``              steps of the calculus, free of torch, each with the map that it leaves; ``building`` writes
                          them by hand, and for search spaces
``scoring``               topology → number (``formula``), result (``result``), the whole road (``model``)
``diagnostics``           what is wrong with a model, a rule each, read off the same graph
``costing``               memory and time of a training step, from the graph
``comparing``             two networks block by block; ``sensitivity``: one network and its variations
``spaces``                search spaces: architectures, their topologies and networks, scored in batches
``proxies``               other training-free scores, for comparison
``zoo``                   references such as ``timm:resnet50`` or ``net.py:Net`` → ``nn.Module``
``jobs``, ``ranking``     many models at once, cached and resumable; ``searching`` looks for the best of a space
``evidence``              published accuracies, and how well scores agree with them
``training``              training candidates for real; ``calibration``: from a score to an accuracy
``benchmarking``          the report on public benchmarks
``tables``, ``report``    results as text, Markdown, CSV, JSON, figures, HTML; ``cli`` is the command line
``integrations``          the check inside pytest, Lightning, transformers and experiment trackers
========================  ========================================================================================

**Words.**

field, Γ
    What is followed through the network: the autocovariance Γ(d) of a feature map, by the displacement d between
    two of its positions. White noise has Γ(0) = 1 and Γ(d) = 0 elsewhere; a constant map has the same Γ(d) for
    every d.
lag
    A displacement d at which Γ is kept.
taps n, effective taps n_eff
    The positions that a kernel reads (9 for a 3×3 kernel), and how many independent ones they are worth:
    n·det(R)^(1/n), with R the correlations among them. White map: n. Nearly constant map: nearly 0.
mixing operator
    A convolution or linear layer: what sums over channels with weights, and therefore scores.
amplitude
    What a mixing operator adds to the sum inside the score's logarithm.
level
    Operators with equally many output positions, i.e. of one resolution.
suppression
    Σ n_eff / Σ n: the share of the possible local entropy that the topology keeps. 1 is the best there is.
live
    On a path from an input to an output. What is not live does not score.
learned
    Computed from parameters and constants alone: its work is counted, and it does not score.

**How to add …**

- *a spelling, or an operator under a rule that exists*: one line in ``ops/rows.py``; with the trait ``activation`` it
  is elementwise, non-linear and whatever else follows, everywhere at once.
- *an operator with a rule of its own* (4 files): a rule name in ``ops/row.py``, the line in ``ops/rows.py``, a function
  in a file of ``lowering/``, entered in ``lowering/rules.py``. Where it needs numbers of the call, a class in
  ``attributes.py`` and its reader in ``tracing/calls.py``; its multiply-accumulates are counted in
  ``lowering/work.py``; where it moves samples, a rule in ``batching/``. Tests walk the table and ask for each.
- *a diagnostic* (1 file): a function with ``@rule`` in a file of ``diagnostics/``; its docstring holds the page, a
  model that triggers it and one that nearly does, and both are run as tests.
- *a search space* (a package and a line): a package in ``spaces/`` with a class derived from ``Space``, and its line
  in the list there. Public accuracies of it are a file in ``evidence/benchmarks/`` and a line there.
- *a proxy* (2 files): a function in a file of ``proxies/``, and its row in ``proxies/registry.py``.
- *a format of reports* (2 files): a method of ``tables.Tabular``, which every result then has, and its name in
  ``cli/output.py``. A result of a new kind derives from ``Tabular`` and states its rows.
- *a page or figure of a result*: a section in ``report/``, numbers in ``report/series``, drawing in ``report/plots``.
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
    from sed_torch.building import TopologyBuilder
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
    from sed_torch.topology import Topology
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
    "Topology": "sed_torch.topology",
    "TopologyBuilder": "sed_torch.building",
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

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        """By its name: what sends functions that use it to other processes knows plain modules only."""
        return import_module, (self.__name__,)

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
