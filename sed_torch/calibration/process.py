"""The Gaussian process: what trained networks say about another one. Needs numpy only.

Everything here is on a normal scale: targets z have mean 0 and variance 1 (:mod:`sed_torch.calibration.scales`), s is
the score on such a scale, and x are features, as clipped z-scores over √d, or √(1 - v) of them beside √v of a sketch
of the wiring (:mod:`sed_torch.scoring.wiring`), which then tells networks apart that have the same features. One
component of the mixture holds

    z = w·s + g(x) + e,    cov g(x), g(y) = a·x·y + b·m(|x - y|/ℓ),    Var e = c

with Matérn's m(r) = (1 + √3 r)·exp(-√3 r). So w says how much the score decides, a and b how much the features do, and
c what neither explains. Components differ in these numbers, and each counts by its marginal likelihood: where the
features tell nothing, the components with a = b = 0 take all the weight, and the prediction is the score itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Component", "Fold", "Mixture", "Points", "Setting", "covariance", "matrix", "moments"]

Array = NDArray[np.float64]

_JITTER = 1e-9


class Setting(NamedTuple):
    """What one component assumes.

    Attributes:
        weight: w, of the score.
        linear: a, variance that is linear in the features.
        radial: b, variance that changes with them in any smooth way.
        length: ℓ, in standard deviations of a feature, over which it changes.
        rest: c, variance that neither explains.
        wiring: v, share of the wiring in the distance of two networks; the rest is the features'.
    """

    weight: float
    linear: float
    radial: float
    length: float
    rest: float
    wiring: float = 0.0


@dataclass(frozen=True)
class Points:
    """What a process reads of networks.

    Attributes:
        features: shape (n, d).
        wiring: shape (n, w); w is 0 where a calibration reads none.
    """

    features: Array
    wiring: Array

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: Any) -> Points:
        return Points(self.features[rows], self.wiring[rows])

    def mixed(self, share: float) -> Array:
        """x for a share of the wiring, shape (n, d), or (n, d + w) where the wiring has a part."""
        if share == 0.0:
            return self.features
        return np.hstack([np.sqrt(1.0 - share) * self.features, np.sqrt(share) * self.wiring])


@dataclass(frozen=True)
class Component:
    """A setting, how much it counts, and its coefficients.

    Attributes:
        setting: what it assumes.
        probability: its part of the mixture; those of all components add up to 1.
        coefficients: K⁻¹(z - w·s), one a trained network.
    """

    setting: Setting
    probability: float
    coefficients: Array = field(repr=False)


class Fold(NamedTuple):
    """What a process says of its own networks without having seen some of them.

    Attributes:
        mean, variance: on the normal scale, one a network.
    """

    mean: Array
    variance: Array


def covariance(first: Points, second: Points, setting: Setting) -> Array:
    """Covariance of g at n networks and at m others, shape (n, m)."""
    x, y = first.mixed(setting.wiring), second.mixed(setting.wiring)
    dot = x @ y.T
    squares = np.sum(x * x, axis=1)[:, None] + np.sum(y * y, axis=1)[None, :] - 2.0 * dot
    far = np.sqrt(3.0 * np.maximum(squares, 0.0)) / setting.length
    return np.asarray(setting.linear * dot + setting.radial * (1.0 + far) * np.exp(-far))


@dataclass(frozen=True)
class Mixture:
    """Gaussian processes on the same networks, each weighed by its marginal likelihood.

    Attributes:
        inputs: of the n trained networks.
        noise: known variance of each network's z, shape (n,); 0 where it is not known.
        components: at least one.
    """

    inputs: Points
    noise: Array
    components: tuple[Component, ...]

    @cached_property
    def _factors(self) -> tuple[Array, ...]:
        """Inverse of the Cholesky factor of each component's K, for variances."""
        return tuple(
            np.linalg.inv(np.linalg.cholesky(matrix(self.inputs, self.noise, c.setting)))
            for c in self.components
        )

    def predict(self, inputs: Points, s: Array) -> tuple[Array, Array]:
        """Mean and variance of z, of m networks with scores s, shape (m,).

        The variance is that of a network's true z: noise of measuring it is not in it.
        """
        means, variances = [], []
        for component, factor in zip(self.components, self._factors, strict=True):
            setting = component.setting
            to_trained, x = covariance(inputs, self.inputs, setting), inputs.mixed(setting.wiring)
            own = setting.linear * np.sum(x * x, axis=1) + setting.radial + setting.rest
            means.append(setting.weight * s + to_trained @ component.coefficients)
            variances.append(np.maximum(own - np.sum((to_trained @ factor.T) ** 2, axis=1), 1e-9))
        return moments([c.probability for c in self.components], means, variances)

    @property
    def shares(self) -> tuple[float, float, float]:
        """How much of the variance the score, the features and neither explain, averaged over the components."""
        parts = np.zeros(3)
        for c in self.components:
            squares = np.sum(self.inputs.mixed(c.setting.wiring) ** 2, axis=1)
            spread = c.setting.linear * float(np.mean(squares)) + c.setting.radial
            own = np.array([c.setting.weight**2, spread, c.setting.rest])
            parts += c.probability * own / own.sum()
        score, features, rest = parts.tolist()
        return score, features, rest


def matrix(x: Points, noise: Array, setting: Setting) -> Array:
    """K of trained networks: what they share, what is left to each, and the noise that is known."""
    return np.asarray(covariance(x, x, setting) + np.diag(setting.rest + noise + _JITTER))


def moments(
    weights: Sequence[float], means: Sequence[Array], variances: Sequence[Array]
) -> tuple[Array, Array]:
    """Mean and variance of a mixture, element by element; weights may be arrays too."""
    total = sum(w * m for w, m in zip(weights, means, strict=True))
    second = sum(w * (v + m * m) for w, m, v in zip(weights, means, variances, strict=True))
    mean = np.asarray(total, dtype=np.float64)
    return mean, np.maximum(np.asarray(second, dtype=np.float64) - mean * mean, 1e-9)
