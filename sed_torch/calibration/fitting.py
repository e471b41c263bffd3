"""Fit the process to networks that were trained, and see how well it foretells those it was not shown.

Every setting of a coarse grid is weighed by its marginal likelihood; with many networks the optimiser of scikit-learn's
``GaussianProcessRegressor`` refines the best one. Nothing is tuned on the networks to be foretold.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed_torch.calibration.process import Component, Fold, Mixture, Points, Setting, matrix, moments
from sed_torch.errors import MissingDependencyError

__all__ = ["GRID", "fit", "folds"]

Array = NDArray[np.float64]

WEIGHTS, SHARES, LENGTHS = (0.3, 0.6, 0.85, 0.95), (0.5, 0.8, 0.95), (1.0, 2.0, 4.0)


def _setting(weight: float, share: float, length: float, wiring: float = 0.0) -> Setting:
    """Of what the score leaves, ``share`` is the features', half of it linear."""
    rest = 1.0 - weight**2
    return Setting(weight, rest * share / 2, rest * share / 2, length, rest * (1.0 - share), wiring)


WIRINGS = (0.0, 0.5)

GRID: tuple[Setting, ...] = (
    *(_setting(w, 0.0, 2.0) for w in WEIGHTS),
    *(_setting(*values) for values in itertools.product(WEIGHTS, SHARES, LENGTHS, WIRINGS)),
)
"""Settings that are weighed. Those without features hold a quarter of the prior: features earn their part."""

_REFINED_FROM = 150
_LEAST = 1e-3


def _grid(wired: bool) -> tuple[list[Setting], Array]:
    """Settings for networks with or without a sketch of their wiring, and the logarithm of their prior."""
    chosen = [g for g in GRID if wired or not g.wiring]
    alike = len(WIRINGS) if wired else 1
    return chosen, np.log([len(LENGTHS) if g.radial == 0.0 else 1.0 / alike for g in chosen])


def fit(x: Points, s: Array, z: Array, noise: Array) -> Mixture:
    """The mixture for trained networks.

    Args:
        x: features and wiring on the normal scale, of n networks.
        s: scores on the normal scale, shape (n,).
        z: targets on the normal scale, shape (n,).
        noise: known variances of z, shape (n,); zeros where it is to be learned.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    chosen, prior = _grid(x.wiring.shape[1] > 0)
    evidence = prior + [log_likelihood(x, s, z, noise, g) for g in chosen]
    if len(z) >= _REFINED_FROM:
        refined = _refined(x, s, z, noise, chosen[int(np.argmax(evidence))])
        chosen.append(refined)
        evidence = np.append(evidence, log_likelihood(x, s, z, noise, refined))
    weights = np.exp(evidence - evidence.max())
    keep = [i for i in np.argsort(-weights) if weights[i] > _LEAST * weights.sum()]
    weights = weights[keep] / weights[keep].sum()
    components = []
    for i, probability in zip(keep, weights.tolist(), strict=True):
        setting = chosen[i]
        solved = np.linalg.solve(matrix(x, noise, setting), z - setting.weight * s)
        components.append(Component(setting, probability, np.asarray(solved)))
    return Mixture(x, noise, tuple(components))


def folds(mixture: Mixture, s: Array, z: Array, groups: Sequence[Hashable] | None = None) -> Fold:
    """What the mixture says of each of its networks with that one left out, or with all of its group.

    Exact for fixed settings (Rasmussen & Williams 2006, eq. 5.12, by blocks). The settings are weighed without the
    part that is left out: its own likelihood is taken out of the evidence.

    Args:
        mixture: as fitted.
        s: scores on the normal scale that it was fitted to.
        z: targets on the normal scale that it was fitted to.
        groups: of each network; None leaves out one at a time.
    """
    labels = list(range(len(z))) if groups is None else list(groups)
    blocks = [np.array([i for i, g in enumerate(labels) if g == name]) for name in dict.fromkeys(labels)]
    means, variances, weights = [], [], []
    for component in mixture.components:
        inverse = np.linalg.inv(matrix(mixture.inputs, mixture.noise, component.setting))
        mean, variance, without = np.zeros(len(z)), np.zeros(len(z)), np.zeros(len(z))
        for rows in blocks:
            block = np.linalg.inv(inverse[np.ix_(rows, rows)])
            off = block @ component.coefficients[rows]  # z minus what is foretold
            mean[rows] = z[rows] - off
            variance[rows] = np.diag(block)
            likelihood = -0.5 * (off @ component.coefficients[rows] + np.linalg.slogdet(block)[1])
            without[rows] = math.log(component.probability) - likelihood
        means.append(mean)
        variances.append(variance)
        weights.append(without)
    odds = np.exp(np.array(weights) - np.max(weights, axis=0))
    return Fold(*moments(list(odds / odds.sum(axis=0)), means, variances))


def _gaussian_process(kernel: Any, noise: Array, **options: Any) -> Any:
    try:
        from sklearn.gaussian_process import GaussianProcessRegressor
    except ModuleNotFoundError:
        raise MissingDependencyError("scikit-learn", "calibrate", "calibrate()") from None
    return GaussianProcessRegressor(kernel, alpha=noise + 1e-9, **options)


def _kernel(setting: Setting, bounds: Any = "fixed") -> Any:
    """The same as :func:`~sed_torch.calibration.process.covariance`, as scikit-learn spells it, and the rest."""
    try:
        from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel
    except ModuleNotFoundError:
        raise MissingDependencyError("scikit-learn", "calibrate", "calibrate()") from None
    white = WhiteKernel(setting.rest, bounds)
    if not setting.radial:
        return white
    linear = ConstantKernel(setting.linear, bounds) * DotProduct(0.0, "fixed")
    return linear + ConstantKernel(setting.radial, bounds) * Matern(setting.length, bounds, nu=1.5) + white


def log_likelihood(x: Points, s: Array, z: Array, noise: Array, setting: Setting) -> float:
    """Marginal likelihood of the targets under a setting, its logarithm."""
    factor = np.linalg.cholesky(matrix(x, noise, setting))
    white = np.linalg.solve(factor, z - setting.weight * s)
    return float(-0.5 * (white @ white + len(z) * math.log(2 * math.pi)) - np.sum(np.log(np.diag(factor))))


def _refined(x: Points, s: Array, z: Array, noise: Array, start: Setting) -> Setting:
    """The setting that scikit-learn's optimiser finds from a grid's best one, the score's weight as it is."""
    begin = start if start.radial else _setting(start.weight, 0.5, 2.0)
    process = _gaussian_process(_kernel(begin, (1e-5, 1e3)), noise)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a parameter at its bound is no news
        process.fit(x.mixed(begin.wiring), z - begin.weight * s)
    linear, radial, length, rest = (float(v) for v in np.exp(process.kernel_.theta))
    return Setting(begin.weight, linear, radial, length, rest, begin.wiring)
