"""``calibrate``: from scores and the accuracies of some trained networks to a :class:`Calibration`."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sed_torch._frozen import FrozenMapping
from sed_torch._version import __version__
from sed_torch.calibration.fitting import fit, folds
from sed_torch.calibration.networks import (
    Candidates,
    Measured,
    candidates_in,
    candidates_of,
    measured_in,
    measured_of,
)
from sed_torch.calibration.process import Fold
from sed_torch.calibration.result import LEVEL, Calibration, HeldOut
from sed_torch.calibration.scales import Scale, by_error, by_ranks, linear
from sed_torch.calibration.seen import domain_of
from sed_torch.errors import DataError, InputError
from sed_torch.evidence.correlation import spearman
from sed_torch.ranking import Ranking, read_ranking
from sed_torch.scoring.features import FEATURES
from sed_torch.spaces import ALIASES, SPACES
from sed_torch.training import Counterparts, is_runs_file, read_runs

__all__ = ["LEAST", "calibrate", "calibrated"]

Array = NDArray[np.float64]

LEAST = 5
"""Trained networks that a calibration needs at least."""

_MANY = 100
_QUANTILE = 1.6448536269514722


def calibrate(
    models: Any,
    accuracies: Any = None,
    *,
    unit: str = "%",
    groups: str | Mapping[str, Hashable] | Sequence[Hashable] | None = "family",
    noise: float | Literal["seeds", "learned"] = "seeds",
    scale: Literal["auto", "ranks", "error"] = "auto",
    title: str = "accuracy",
    note: str = "",
    source: str | None = None,
) -> Calibration:
    """Learn from a few trained networks what accuracy the others would have.

    A Gaussian process on closed-form features of the topology, with the score as its mean
    (:mod:`sed_torch.calibration.process`). How much the score decides and how much the features do is weighed by
    the evidence, so that few networks or features without use leave the score's own order. Twenty trained networks
    of a space are a good beginning.

    Args:
        models: all candidates, trained or not: a :class:`~sed_torch.ranking.Ranking`, scores in a sequence or by
            name, a search space or its name. Or the file of a ranking (``rank -o``) or of
            :func:`sed_torch.counterparts`, which holds its accuracies.
        accuracies: name → accuracy, or several, one a seed; a sequence beside the candidates, with None for those
            that were not trained; a CSV file; or :class:`~sed_torch.evidence.accuracies.Accuracies`. Higher is better.
        unit: of the accuracies; ``"%"`` means that none is above 100.
        groups: what is left out together when the calibration is put to the test: ``"family"`` of the ranking, a
            group of each candidate by name or in order, or None.
        noise: standard deviation of an accuracy, in its unit; ``"seeds"`` takes it from networks with several
            seeds where there are some; ``"learned"``, or no seeds, leaves it to the process.
        scale: of the accuracies: ``"ranks"``, which no outlier can bend; ``"error"``, the logarithm of what is
            missing to 100 %; ``"auto"``, the second for a hundred networks and more in per cent.
        title: what is foretold, for display.
        note: what the numbers hold for, for display.
        source: where the accuracies come from, for display.

    Returns:
        A :class:`Calibration`: predictions, its own held-out figures, and a file.

    Raises:
        InputError: an argument is none of the above, or fewer than 5 trained networks have a score.
        DataError: a file is not what it should be.
        MissingDependencyError: scikit-learn is not installed.
    """
    models, accuracies = _opened(models, accuracies)
    measured = measured_of(accuracies, _names(models))
    candidates = candidates_of(models, measured.values)
    return calibrated(
        candidates,
        measured,
        unit=unit,
        groups=_groups(groups, candidates),
        noise=noise,
        scale=scale,
        title=title,
        note=note,
        source=measured.source if source is None else source,
    )


def calibrated(
    candidates: Candidates,
    measured: Measured,
    *,
    unit: str,
    groups: Sequence[Hashable] | None,
    noise: float | Literal["seeds", "learned"],
    scale: str,
    title: str,
    note: str,
    source: str,
) -> Calibration:
    """:func:`calibrate` with everything read; ``groups`` has one a candidate."""
    known = candidates.known()
    rows = np.array(
        [i for i, n in enumerate(candidates.names) if known[i] and n in measured.values], dtype=np.int64
    )
    if len(rows) < LEAST:
        raise InputError(
            f"{len(rows)} of {len(measured.values)} trained networks are among the {int(known.sum())} candidates with "
            f"a score: expected {LEAST} or more. Names must be the same in both"
        )
    accuracy = np.array([measured.values[candidates.names[i]] for i in rows])
    if np.ptp(accuracy) <= 0.0:
        raise InputError("all trained networks have the same accuracy: there is nothing to learn from")
    labels = list(range(len(rows))) if groups is None else [groups[i] for i in rows]
    score_scale, target_scale = _scales(candidates.sed[known], accuracy, unit, scale)
    pool, trained = candidates.features[known], candidates.features[rows]
    few = target_scale.clip is None and score_scale.clip is None  # by ranks, as for few networks
    domain = domain_of(pool, trained, labels, ranked=few)
    x = domain.inputs(trained)
    s, z = score_scale.to_normal(candidates.sed[rows]), target_scale.to_normal(accuracy)
    variances = (
        _noise(noise, measured, [candidates.names[i] for i in rows]) * target_scale.slope(accuracy) ** 2
    )
    mixture = fit(x, s, z, variances)
    ways = {"each network": folds(mixture, s, z)}
    if groups is not None and 1 < len(set(labels)) < len(labels):
        ways[f"each group of {len(set(labels))}"] = folds(mixture, s, z, labels)
    widening = _widening(list(ways.values())[-1], z)
    score = candidates.sed[rows]
    parts = [len(labels), len(set(labels))]
    return Calibration(
        title=title,
        unit=unit,
        note=note,
        source=source,
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        definition=candidates.definition,
        networks=len(rows),
        candidates=int(known.sum()),
        features=tuple(FEATURES),
        domain=domain,
        score_scale=score_scale,
        target_scale=target_scale,
        mixture=mixture,
        widening=widening,
        held_out=tuple(
            held_out(
                "each network" if i == 0 else "each group",
                parts[i],
                fold,
                accuracy,
                score,
                target_scale,
                widening,
            )
            for i, fold in enumerate(ways.values())
        ),
        versions=_versions(),
    )


def held_out(
    what: str, parts: int, fold: Fold, accuracy: Array, score: Array, scale: Scale, widening: float
) -> HeldOut:
    """Figures of predictions for networks that were left out."""
    half = _QUANTILE * widening * np.sqrt(fold.variance)
    middle, low, high = (scale.from_normal(v) for v in (fold.mean, fold.mean - half, fold.mean + half))
    off = np.abs(middle - accuracy)
    return HeldOut(
        left_out=what,
        parts=parts,
        error=float(off.mean()),
        median_error=float(np.median(off)),
        spearman=spearman(middle, accuracy),
        score_spearman=spearman(score, accuracy),
        covered=float(np.mean((low <= accuracy) & (accuracy <= high))),
        width=float(np.median(high - low)),
    )


def _opened(models: Any, accuracies: Any) -> tuple[Any, Any]:
    """Files and runs as what they hold."""
    if isinstance(models, os.PathLike) or (isinstance(models, str) and models not in (*SPACES, *ALIASES)):
        models = read_runs(models) if is_runs_file(models) else read_ranking(models)
    if isinstance(models, Counterparts):
        own = None if accuracies is not None else measured_in(models)
        return candidates_in(models), own or accuracies
    if accuracies is None:
        raise InputError("no accuracies: give a mapping from names, a sequence, or a CSV file (--accuracies)")
    return models, accuracies


def _names(models: Any) -> list[str]:
    """Of candidates that stand in an order, for accuracies in the same."""
    if isinstance(models, Candidates):
        return list(models.names)
    return [getattr(m, "name", "") for m in models] if isinstance(models, (Ranking, list, tuple)) else []


def _groups(groups: Any, candidates: Candidates) -> Sequence[Hashable] | None:
    if groups is None:
        return None
    if isinstance(groups, str):
        if groups != "family":
            raise InputError(
                f"groups: expected 'family', groups of the candidates, or None, found {groups!r}"
            )
        return candidates.families
    if isinstance(groups, Mapping):
        absent = [n for n in candidates.names if n not in groups]
        if absent:
            raise InputError(f"groups: no group of {absent[0]!r} ({len(absent)} candidates have none)")
        return [groups[n] for n in candidates.names]
    if len(groups) != len(candidates.names):
        raise InputError(f"groups: expected one a candidate ({len(candidates.names)}), found {len(groups)}")
    return list(groups)


def _scales(sed: Array, accuracy: Array, unit: str, scale: str) -> tuple[Scale, Scale]:
    ceiling = 100.0 if unit == "%" else None
    if ceiling is not None and (accuracy.max() > ceiling or accuracy.min() < 0.0):
        raise DataError(
            f"accuracies in per cent must lie in 0 to 100, found {accuracy.min():g} to {accuracy.max():g}; "
            "name another unit"
        )
    if scale not in ("auto", "ranks", "error"):
        raise InputError(f"scale must be one of auto, ranks, error, found {scale!r}")
    if scale == "error" and ceiling is None:
        raise InputError("scale 'error' goes with unit '%' only")
    below = ceiling is not None and float(accuracy.max()) < ceiling
    if scale == "error" or (scale == "auto" and below and len(accuracy) >= _MANY):
        return linear(sed), by_error(accuracy, 100.0)
    return by_ranks(sed) if np.ptp(sed) > 0 else linear(sed), by_ranks(accuracy, ceiling)


def _noise(noise: Any, measured: Measured, names: Sequence[str]) -> Array:
    """Known variance of each trained network's accuracy, in its unit squared."""
    if isinstance(noise, str):
        if noise not in ("seeds", "learned"):
            raise InputError(f"noise must be a number, 'seeds' or 'learned', found {noise!r}")
        single = measured.noise if noise == "seeds" and measured.noise is not None else 0.0
    else:
        if not noise >= 0:
            raise InputError(f"noise must be 0 or more, found {noise!r}")
        single = float(noise) ** 2
    return single / np.array([measured.seeds[n] for n in names], dtype=np.float64)


def _widening(fold: Fold, z: Array) -> float:
    """Factor on standard deviations by which the share :data:`LEVEL` of what was left out is covered."""
    off = np.sort(np.abs(fold.mean - z) / np.sqrt(fold.variance))
    place = min(int(np.ceil(LEVEL * (len(off) + 1))) - 1, len(off) - 1)
    return max(float(off[place]) / _QUANTILE, 0.5)


def _versions() -> Mapping[str, str]:
    from importlib import metadata

    return FrozenMapping(
        {"sed_torch": __version__, **{n: metadata.version(n) for n in ("numpy", "scikit-learn")}}
    )
