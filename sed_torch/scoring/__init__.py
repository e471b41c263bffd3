"""From a topology to a number, and from a module to a result.

:mod:`~sed_torch.scoring.formula` runs the calculus over a topology: no model, no torch.
Numbers about a topology that accuracies are foretold from are in :mod:`~sed_torch.scoring.features`.
:mod:`~sed_torch.scoring.result` is what a score returns. :mod:`~sed_torch.scoring.model` walks the road from a
module to a result; ``sed_torch.score`` is its function.
"""

from __future__ import annotations

from sed_torch.scoring.definitions import DEFAULT_DEFINITION, DEFINITIONS, Definition, definition_of
from sed_torch.scoring.formula import (
    EFFECTS,
    NO_OPERATOR,
    NO_PATH,
    Evaluation,
    Term,
    evaluate,
    log_sum,
    sed,
    share_out,
)

__all__ = [
    "DEFAULT_DEFINITION",
    "DEFINITIONS",
    "EFFECTS",
    "NO_OPERATOR",
    "NO_PATH",
    "Definition",
    "Evaluation",
    "Term",
    "definition_of",
    "evaluate",
    "log_sum",
    "sed",
    "share_out",
]
