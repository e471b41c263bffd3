"""Search for networks with a high score under limits of size: no data, no training, about a second.

>>> import sed_torch
>>> result = sed_torch.search("nasbench201", constraints={"params": 1e6}, seed=0)
>>> result.best.params <= 1e6
True
"""

from __future__ import annotations

from sed_torch.searching.limits import OBJECTIVES, parse_quantity
from sed_torch.searching.result import Candidate, Improvement, SearchResult
from sed_torch.searching.running import STRATEGIES, SearchProgress, search
from sed_torch.searching.sources import CallableSpace
from sed_torch.searching.trials import optuna_objective

__all__ = [
    "OBJECTIVES",
    "STRATEGIES",
    "CallableSpace",
    "Candidate",
    "Improvement",
    "SearchProgress",
    "SearchResult",
    "optuna_objective",
    "parse_quantity",
    "search",
]
