"""Objectives, limits, and which of many candidates no other one beats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import InputError, SearchError
from sed_torch.tables import count_of

__all__ = [
    "LIMITED",
    "OBJECTIVES",
    "Limit",
    "check_objectives",
    "costs",
    "front",
    "limits_of",
    "parse_quantity",
    "violation",
]

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]

OBJECTIVES: Mapping[str, str] = FrozenMapping(
    {"sed": "max", "expected": "max", "params": "min", "macs": "min", "depth": "min"}
)
"""What can be searched for, and which way: score and expected accuracy up, counts down."""

LIMITED = ("params", "macs", "depth")
"""What can be limited from above."""


def parse_quantity(text: str) -> float:
    """``"1.5M"`` → 1,500,000; units are k, M, G (or B) and T, powers of 1000.

    Raises:
        SearchError: for anything else.
    """
    try:
        return count_of(text)
    except InputError as error:
        raise SearchError(str(error)) from error


Limit = float | str | None
"""A maximum: a number, text such as ``"1.0M"``, or None for none."""


def limits_of(constraints: Mapping[str, float | str] | None, **maxima: Limit) -> Mapping[str, float]:
    """Maxima by name.

    Args:
        constraints: name → maximum.
        maxima: the same, spelled ``max_params``, ``max_macs``, ``max_depth``; None sets none.

    Raises:
        SearchError: an unknown name, a limit that is no positive number, or one given twice.
    """
    known = dict(constraints or {})
    for spelled, value in maxima.items():
        if value is not None:
            name = spelled.removeprefix("max_")
            if name in known:
                raise SearchError(
                    f"{name} is limited twice, by {spelled} and by constraints: give one of them"
                )
            known[name] = value
    limits = {}
    for name, given in known.items():
        if name not in LIMITED:
            raise SearchError(f"cannot limit {name!r}: expected some of {', '.join(LIMITED)}, each a maximum")
        limit = parse_quantity(given) if isinstance(given, str) else float(given)
        if not limit > 0 or math.isinf(limit):
            raise SearchError(f"the limit of {name} must be a positive number, found {given!r}")
        limits[name] = limit
    return FrozenMapping(limits)


def check_objectives(objectives: Sequence[str] | None, calibrated: bool = False) -> tuple[str, ...]:
    """The objectives as a tuple: what is given, else the first of all and the parameters.

    Raises:
        SearchError: none, an unknown one, one twice, or the expected accuracy without a calibration.
    """
    if objectives is None:
        return ("expected" if calibrated else "sed", "params")
    names = (objectives,) if isinstance(objectives, str) else tuple(objectives)
    unknown = [n for n in names if n not in OBJECTIVES]
    if not names or unknown or len(set(names)) != len(names):
        raise SearchError(f"objectives {names}: expected one or more of {', '.join(OBJECTIVES)}, each once")
    if "expected" in names and not calibrated:
        raise SearchError("the expected accuracy needs a calibration (calibration=, --calibration FILE)")
    if calibrated and "expected" not in names:
        raise SearchError(f"a calibration is given, and no objective reads it: add 'expected' to {names}")
    return names


def violation(columns: Columns, limits: Mapping[str, float]) -> Floats:
    """How far each candidate is above its limits: Σ max(0, value/limit − 1); 0 within all of them."""
    total = np.zeros(len(columns["sed"]))
    for name, limit in limits.items():
        total += np.maximum(columns[name] / limit - 1.0, 0.0)
    return total


def costs(columns: Columns, objectives: Sequence[str]) -> Floats:
    """(n, objectives), each the smaller the better."""
    return np.stack([columns[o] * (-1.0 if OBJECTIVES[o] == "max" else 1.0) for o in objectives], axis=1)


def front(points: Floats) -> NDArray[np.int64]:
    """Rows that no other row is at least as good as in all columns (smaller is better), best first column first.

    Of equal rows the first is kept.
    """
    order = np.lexsort(points.T[::-1])
    left, found = order, []
    while left.size:
        best = left[0]
        found.append(int(best))
        # sorted by the first column: nothing that is left can beat what was found
        left = left[(points[left] < points[best]).any(axis=1)]
    return np.asarray(found, dtype=np.int64)
