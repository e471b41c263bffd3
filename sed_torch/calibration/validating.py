"""A calibration held against networks that were trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sed_torch.calibration.networks import Candidates, Measured
from sed_torch.errors import InputError
from sed_torch.evidence import ValidationReport, validate
from sed_torch.scoring.features import FEATURES

__all__ = ["Foretold", "held_against"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Foretold:
    """What a calibration says of networks.

    Attributes:
        title: what is foretold.
        unit: of it.
        inside: of each network, whether the calibration has seen such.
        middle, low, high: the accuracy expected, and the ends of its 90 % interval.
    """

    title: str
    unit: str
    inside: NDArray[np.bool_]
    middle: Array
    low: Array
    high: Array


def held_against(
    foretold: Foretold, nets: Candidates, measured: Measured, *, n_bootstrap: int = 1000, seed: int = 0
) -> ValidationReport:
    """Hold what a calibration foretells against accuracies that it was not fitted to.

    Raises:
        InputError: no network that the calibration knows.
    """
    middle, low, high = foretold.middle, foretold.low, foretold.high
    inside = foretold.inside & np.isfinite(middle)
    accuracy = np.array([measured.values.get(n, np.nan) for n in nets.names])
    both = inside & np.isfinite(accuracy)
    if not both.any():
        raise InputError(
            f"none of {len(nets.names)} networks has an accuracy and is like those that the calibration has seen"
        )
    off = middle[both] - accuracy[both]
    covered = np.mean((low[both] <= accuracy[both]) & (accuracy[both] <= high[both]))
    unit = f" {foretold.unit}" if foretold.unit else ""
    columns = {n: np.exp(nets.features[:, list(FEATURES).index(n)]) for n in ("params", "macs")}
    return validate(
        np.where(inside, middle, np.nan),
        accuracy,
        names=nets.names,
        rivals={"SED": np.where(inside, nets.sed, np.nan)},
        params=columns["params"],
        macs=columns["macs"],
        groups=None if nets.families is None else [None if f is None else str(f) for f in nets.families],
        n_bootstrap=n_bootstrap,
        seed=seed,
        score_name="expected",
        title=f"{foretold.title} foretold for {int(both.sum())} trained networks",
        unit=foretold.unit or None,
        source=measured.source,
        notes=(
            f"mean error {np.mean(np.abs(off)):.2f}{unit}, median {np.median(np.abs(off)):.2f}; foretold minus "
            f"measured {np.mean(off):+.2f} on average: other recipes shift the level",
            f"{covered:.0%} of the measured accuracies lie in their 90 % interval",
            f"{int((~inside).sum())} of {len(inside)} networks are outside what the calibration has seen and left out",
            "networks that the calibration was fitted to flatter it: leave them out, or read its own held-out figures",
        ),
    )
