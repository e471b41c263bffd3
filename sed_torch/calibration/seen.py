"""Which networks a calibration knows about: those that lie among the ones it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sed_torch.calibration.process import Points
from sed_torch.calibration.scales import CLIP, Scale, by_ranks
from sed_torch.scoring.features import FEATURES
from sed_torch.tables import quantity

__all__ = ["Domain", "Wiring", "domain_of"]

Array = NDArray[np.float64]

_MARGIN = 0.5
_LEAST = 1e-5
_QUANTILE = 0.98
_ENDS = (0.005, 0.995)


@dataclass(frozen=True)
class Wiring:
    """How sketches of the wiring were spread over the networks seen.

    Attributes:
        centre: mean of each bucket, shape (w,).
        scale: root of the mean squared distance to the centre.
    """

    centre: Array
    scale: float

    def inputs(self, sketches: Array) -> Array:
        """Sketches as the process reads them, shape (n, w): a network is 1 away from the centre on average."""
        return np.asarray(np.round((sketches - self.centre) / self.scale, 5))


@dataclass(frozen=True)
class Domain:
    """What features looked like where the calibration was made.

    A network is inside where each of its features lies in the range of the networks seen, with half a standard
    deviation to spare, and one of the trained networks is as near as unseen ones usually are. A feature that never
    varied, such as the input's resolution within a space, has to be the same.

    Attributes:
        centre, scale: mean and standard deviation of each feature, shape (d,); scale 0 where it never varied.
        low, high: range of each feature but for half a per cent of the networks at either end, shape (d,).
        reach: largest distance to the nearest trained network, in standard deviations of a feature.
        curves: of each feature, its way to the normal scale by the ranks of the networks seen; None where the process
            reads plain z-scores. A feature that never varied has a curve that is not used.
        wiring: of their wiring; None where the calibration does not read it.
    """

    centre: Array
    scale: Array
    low: Array
    high: Array
    reach: float
    curves: tuple[Scale, ...] | None = None
    wiring: Wiring | None = None

    def known(self, features: Array) -> NDArray[np.bool_]:
        """Which networks have all the numbers that are read, shape (n,)."""
        read = features if self.wiring is not None else features[:, : len(self.centre)]
        return np.asarray(np.isfinite(read).all(axis=1))

    def inputs(self, features: Array) -> Points:
        """What the process reads of networks.

        Args:
            features: as :func:`~sed_torch.scoring.features.feature_matrix` gives them.
        """
        d = len(self.centre)
        wiring = features[:, d:d] if self.wiring is None else self.wiring.inputs(features[:, d:])
        return Points(self._normal(features[:, :d]), wiring)

    def _normal(self, features: Array) -> Array:
        """Features on the normal scale, shape (n, d): clipped z-scores, or normal scores of the ranks, over the
        root of how many there are; 0 where one never varied.

        Rounded as files keep them, so that a calibration that was read says what the one that was made does.
        """
        if self.curves is not None:
            columns = [c.to_normal(v) for c, v in zip(self.curves, features.T, strict=True)]
            normal = np.clip(np.stack(columns, axis=1), -CLIP, CLIP)
            varied = self.scale > 0
            return np.asarray(np.round(np.where(varied, normal, 0.0) / np.sqrt(max(varied.sum(), 1)), 5))
        scale = np.where(self.scale > 0, self.scale, np.inf)
        clipped = np.clip((features - self.centre) / scale, -CLIP, CLIP)
        return np.asarray(np.round(clipped / np.sqrt(features.shape[1]), 5))

    def outside(self, features: Array, trained: Points, names: Sequence[str]) -> list[str | None]:
        """Why each network is outside, or None.

        Args:
            features: as for :meth:`inputs`.
            trained: of the trained networks, as :meth:`inputs` gives them.
            names: of the features, for the reason.
        """
        features = features[:, : len(self.centre)]
        spare = _MARGIN * self.scale + _LEAST
        beyond = np.maximum(self.low - spare - features, features - self.high - spare)
        far = nearest(self._normal(features), trained.features)
        return [
            self._reason(row, values, distance, names)
            for row, values, distance in zip(beyond, features, far, strict=True)
        ]

    def _reason(self, beyond: Array, values: Array, distance: float, names: Sequence[str]) -> str | None:
        if not np.isfinite(values).all():
            return "it has no live operator"
        if (beyond > 0).any():
            worst = int(np.argmax(beyond / (self.scale + _LEAST)))
            found, low, high = _told(names[worst], values[worst], self.low[worst], self.high[worst])
            return f"{found}, seen were {low} to {high}"
        if distance > self.reach + _LEAST:
            return f"no network like it was seen: the nearest is {distance / max(self.reach, _LEAST):.1f} times too far"
        return None


def _told(name: str, value: float, low: float, high: float) -> tuple[str, str, str]:
    """A feature with its value, and the ends of what was seen; logarithms are taken back to what people count."""
    meaning = FEATURES.get(name, name)
    if not meaning.startswith("ln of "):
        return f"{name} ({meaning}) is {value:.4g}", f"{low:.4g}", f"{high:.4g}"
    counted = meaning.removeprefix("ln of ").removeprefix("the ").rpartition(": ")[2]
    there, least, most = (quantity(float(f"{np.exp(v):.4g}")) for v in (value, low, high))
    return f"{counted}: {there}", least, most


def nearest(x: Array, trained: Array) -> Array:
    """Distance of each row to the nearest row of ``trained``."""
    squares = (
        np.sum(x * x, axis=1)[:, None] + np.sum(trained * trained, axis=1)[None, :] - 2.0 * x @ trained.T
    )
    return np.asarray(np.sqrt(np.maximum(squares.min(axis=1), 0.0)))


_KNOTS = 17
_FLAT = Scale((0.0, 1.0), (0.0, 1.0))


def domain_of(seen: Array, trained: Array, groups: Sequence[object], *, ranked: bool = False) -> Domain:
    """The domain of all networks seen, trained or not.

    Args:
        seen: features of all, as :func:`~sed_torch.scoring.features.feature_matrix` has them, or some of the columns.
        trained: of the trained ones, likewise.
        groups: of each trained network; how far another group's nearest network is, is how far one may be.
        ranked: read features by their ranks among the networks seen, so that no odd one bends a scale.
    """
    wiring = _wiring(seen[:, len(FEATURES) :])
    seen, trained = seen[:, : len(FEATURES)], trained[:, : len(FEATURES)]
    scale = seen.std(axis=0)
    scale = np.where(scale > _LEAST, scale, 0.0)
    low, high = np.quantile(seen, _ENDS, axis=0, method="nearest")
    curves = None
    if ranked:
        columns = zip(seen.T, scale.tolist(), strict=True)
        curves = tuple(by_ranks(v, knots=_KNOTS) if varied else _FLAT for v, varied in columns)
    bare = Domain(seen.mean(axis=0), scale, low, high, 0.0, curves, wiring if ranked else None)
    x, everything = bare._normal(trained), bare._normal(seen)
    labels = np.array([hash(g) for g in groups])
    apart = [nearest(x[[i]], x[labels != labels[i]])[0] for i in range(len(x)) if (labels != labels[i]).any()]
    reach = max(
        float(np.quantile(apart, _QUANTILE)) if apart else 0.0,
        float(nearest(everything, x).max()) if len(seen) > len(trained) else 0.0,
    )
    return replace(bare, reach=reach)


def _wiring(sketches: Array) -> Wiring | None:
    """None where a network has no sketch, or all have the same."""
    if not sketches.size or not np.isfinite(sketches).all():
        return None
    centre = np.round(sketches.mean(axis=0), 6)  # as files keep it
    scale = float(np.sqrt(np.mean(np.sum((sketches - centre) ** 2, axis=1))))
    return Wiring(centre, scale) if scale > _LEAST else None
