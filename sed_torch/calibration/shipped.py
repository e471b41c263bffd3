"""Which calibrations answer when nobody names one: a folder of the user's own, else the one that is shipped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sed_torch.calibration.files import read_calibration
from sed_torch.calibration.result import Calibration, Estimate
from sed_torch.errors import DataError, InputError
from sed_torch.scoring.result import Score

__all__ = ["FOLDER", "calibrations", "foretell", "imagenet", "with_expected"]

FOLDER = "SED_TORCH_CALIBRATIONS"
"""Environment variable with a folder of calibrations, which replaces the shipped one."""

_SHIPPED = Path(__file__).with_name("imagenet.json")


@lru_cache(maxsize=1)
def imagenet() -> Calibration:
    """The calibration that is shipped: ImageNet top-1 of networks as trained by published recipes.

    Made by ``examples/imagenet_calibration.py`` from the results that timm publishes.

    Raises:
        DataError: the package's file is missing or damaged.
    """
    return read_calibration(_SHIPPED)


def calibrations(place: str | os.PathLike[str] | None = None) -> tuple[Calibration, ...]:
    """The calibrations of a file or folder; of the folder in ``SED_TORCH_CALIBRATIONS``; else the shipped one.

    Raises:
        DataError: the folder holds none, or a file is not a calibration.
    """
    given = place if place is not None else os.environ.get(FOLDER)
    if not given:
        return (imagenet(),)
    path = Path(given)
    if not path.is_dir():
        return (read_calibration(path),)
    files = sorted(path.glob("*.json"))
    if not files:
        raise DataError(f"{path}: no calibration (*.json) in this folder; 'sed-torch calibrate -o' makes one")
    return tuple(read_calibration(f) for f in files)


def foretell(row: Any, among: Sequence[Calibration]) -> tuple[Calibration, Estimate]:
    """What a calibration says of a model that it knows; of several, the one whose interval is narrowest for it.

    A calibration that reads another definition of the score, or other features, knows none.

    Args:
        row: a :class:`~sed_torch.Score`, or a row of a ranking.
        among: one or more.
    """
    found = []
    for calibration in among:
        try:
            (estimate,) = calibration.predict([row])
        except InputError as error:
            estimate = Estimate(row.name, None, None, None, False, str(error), calibration.unit)
        found.append((calibration, estimate))

    def width(pair: tuple[Calibration, Estimate]) -> tuple[bool, float]:
        calibration, e = pair
        if e.low is None or e.high is None:
            return True, 0.0
        return False, (e.high - e.low) / max(calibration.held_out[0].width, 1e-9)

    return min(found, key=width)


def with_expected(score: Score, among: Sequence[Calibration] | None = None) -> Score:
    """The score with what a calibration foretells in :attr:`~sed_torch.Score.expected`, so that its views say so.

    Args:
        score: of one model.
        among: calibrations, of which the one that knows it best answers; :func:`calibrations` when None.
    """
    calibration, estimate = foretell(score, calibrations() if among is None else among)
    return replace(score, expected=calibration.told(estimate))
