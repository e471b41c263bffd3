"""A calibration held against networks that were trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sed_torch.calibration.networks import candidates_of, measured_of
from sed_torch.errors import InputError
from sed_torch.evidence import ValidationReport, validate
from sed_torch.scoring.features import FEATURES

if TYPE_CHECKING:
    from sed_torch.calibration.result import Calibration

__all__ = ["validate_calibration"]


def validate_calibration(
    calibration: Calibration, models: Any, accuracies: Any, *, n_bootstrap: int = 1000, seed: int = 0
) -> ValidationReport:
    """Hold what a calibration foretells against accuracies that it was not fitted to; see :meth:`Calibration.validate`.

    Raises:
        InputError: scores of another definition, other features, or no network that the calibration knows.
    """
    nets = candidates_of(models)
    measured = measured_of(accuracies, nets.names)
    if nets.definition != calibration.definition:
        raise InputError(
            f"the scores are {nets.definition}, the calibration reads {calibration.definition}: calibrate anew"
        )
    if calibration.features != tuple(FEATURES):
        raise InputError(
            f"the calibration {calibration.title!r} reads other features than this version has: calibrate anew"
        )
    reasons = calibration.domain.outside(nets.features, calibration.mixture.inputs, calibration.features)
    middle, low, high = calibration.intervals(nets.sed, nets.features)
    inside = np.array([r is None for r in reasons]) & np.isfinite(middle)
    accuracy = np.array([measured.values.get(n, np.nan) for n in nets.names])
    both = inside & np.isfinite(accuracy)
    if not both.any():
        raise InputError(
            f"none of {len(nets.names)} networks has an accuracy and is like those that the calibration has seen"
        )
    off = middle[both] - accuracy[both]
    covered = np.mean((low[both] <= accuracy[both]) & (accuracy[both] <= high[both]))
    unit = f" {calibration.unit}" if calibration.unit else ""
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
        title=f"{calibration.title} foretold for {int(both.sum())} trained networks",
        unit=calibration.unit or None,
        source=measured.source,
        notes=(
            f"mean error {np.mean(np.abs(off)):.2f}{unit}, median {np.median(np.abs(off)):.2f}; foretold minus "
            f"measured {np.mean(off):+.2f} on average: other recipes shift the level",
            f"{covered:.0%} of the measured accuracies lie in their 90 % interval",
            f"{int((~inside).sum())} of {len(inside)} networks are outside what the calibration has seen and left out",
            "networks that the calibration was fitted to flatter it: leave them out, or read its own held-out figures",
        ),
    )
