"""The forms of the score: what one operator adds, and what a network's sums come to.

A definition is two functions over arrays, so that one place serves a single network (:mod:`sed_torch.scoring.formula`)
and many side by side (:mod:`sed_torch.spaces`). Takes no model, needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed_torch.errors import SedTorchError

__all__ = ["DEFAULT_DEFINITION", "DEFINITIONS", "Definition", "definition_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Definition:
    """A named, versioned form of the score, so that a number can be traced to what computed it.

    Attributes:
        name: such as ``"sed/1"``; results carry it.
        formula: one line.
        source: where it comes from.
        addend: (A, C_in/g, C_out, √n_eff) → what an operator adds to the sum of its map size: output positions, input
            channels a group, output channels and the root of the effective taps; numbers or arrays of any shape
            that broadcast.
        total: (sums, A) → the scores in nats, higher is better, of shape (networks,). ``sums`` is (networks, L): of
            each network, the sum of its operators' addends for each of the L map sizes; ``A`` is (L,), the distinct
            numbers of positions, in any order. -inf for a network whose sums are all 0.
    """

    name: str
    formula: str
    source: str
    addend: Callable[[Any, Any, Any, Any], Any]
    total: Callable[[Array, Array], Array]


def _amplitude(positions: Any, c_in: Any, c_out: Any, root_taps: Any) -> Any:
    return positions * c_out * np.sqrt(c_in) * root_taps


def _log_of_sum(sums: Array, positions: Array) -> Array:
    whole = sums.sum(axis=1)
    return np.asarray(np.log(whole, out=np.full(len(whole), -np.inf), where=whole > 0.0))


DEFINITIONS: Mapping[str, Definition] = {
    "sed/1": Definition(
        "sed/1",
        "ln Σ_v A_v · C_out,v · √((C_in,v / g_v) · n_eff,v)  [nats, higher is better]",
        "this project's, derived from the published claims of arXiv 2411.06236; not the authors' formula",
        _amplitude,
        _log_of_sum,
    )
}
"""The definitions by name."""

DEFAULT_DEFINITION = "sed/1"


def definition_of(name: str) -> Definition:
    """The definition of a name.

    Raises:
        SedTorchError: there is none.
    """
    if name not in DEFINITIONS:
        raise SedTorchError(f"unknown definition {name!r}: expected one of {', '.join(DEFINITIONS)}")
    return DEFINITIONS[name]
