"""Train the networks that SED ranks, and see whether the score was right.

>>> import sed_torch                                                                      # doctest: +SKIP
>>> runs = sed_torch.counterparts("nasbench201", "runs.csv", width=8, cells=1)            # doctest: +SKIP
>>> print(runs.validate())                                                                # doctest: +SKIP
"""

from __future__ import annotations

from sed_torch.training.data import Data, load_data
from sed_torch.training.files import is_runs_file
from sed_torch.training.recipe import Recipe
from sed_torch.training.results import Counterparts, read_runs
from sed_torch.training.rows import RunRow
from sed_torch.training.running import counterparts

__all__ = [
    "Counterparts",
    "Data",
    "Recipe",
    "RunRow",
    "counterparts",
    "is_runs_file",
    "load_data",
    "read_runs",
]
