"""``Calibration``: from a score and features to an accuracy with an interval, or to a plain "outside"."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sed_torch import tables
from sed_torch._frozen import FrozenMapping
from sed_torch.calibration.networks import candidates_of, measured_of, numbers_of
from sed_torch.calibration.parsing import SIZES, TEXTS, fields_of
from sed_torch.calibration.process import Mixture, Points
from sed_torch.calibration.scales import DIGITS, Scale
from sed_torch.calibration.seen import Domain, Wiring
from sed_torch.calibration.validating import Foretold, held_against
from sed_torch.errors import DataError, InputError
from sed_torch.evidence import ValidationReport
from sed_torch.scoring.features import FEATURES
from sed_torch.scoring.result import Score
from sed_torch.scoring.wiring import BUCKETS

__all__ = ["LEVEL", "Calibration", "Estimate", "HeldOut"]

Array = NDArray[np.float64]

LEVEL = 0.9
"""Of every interval."""

_QUANTILE = 1.6448536269514722  # of a normal distribution, for LEVEL on two sides


@dataclass(frozen=True, slots=True)
class Estimate:
    """What networks like this one reach.

    Attributes:
        name: the model's.
        accuracy: expected, in ``unit``; None outside what the calibration has seen.
        low, high: ends of the 90 % interval, or None.
        inside: whether the calibration has seen networks like it.
        reason: why not, or None.
        unit: of the accuracy.
    """

    name: str
    accuracy: float | None
    low: float | None
    high: float | None
    inside: bool
    reason: str | None = None
    unit: str = "%"

    @property
    def verdict(self) -> str:
        """``"inside"`` or ``"outside what it has seen"``."""
        return "inside" if self.inside else "outside what it has seen"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"verdict": self.verdict}

    def __str__(self) -> str:
        if self.accuracy is None or self.low is None or self.high is None:
            return f"outside what the calibration has seen: {self.reason}"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.accuracy:.1f}{unit} (90 %: {self.low:.1f} to {self.high:.1f})"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How well networks were foretold that were left out, in the accuracy's unit.

    Attributes:
        left_out: what was left out in turn, such as ``"each network"`` or ``"each family"``.
        parts: how many times.
        error: mean absolute error.
        median_error: median of it.
        spearman: ρ of what was foretold and what was measured.
        score_spearman: ρ of the score alone on the same networks.
        covered: share of networks inside their 90 % interval.
        width: median width of the interval.
    """

    left_out: str
    parts: int
    error: float
    median_error: float
    spearman: float | None
    score_spearman: float | None
    covered: float
    width: float


@dataclass(frozen=True)
class Calibration(tables.Tabular):
    """What trained networks say about untrained ones. Made by :func:`sed_torch.calibrate`; predicts with numpy alone.

    Attributes:
        title: what is foretold, such as ``"ImageNet top-1"``.
        unit: of it.
        note: what the numbers hold for, such as ``"as trained by published recipes"``.
        source: where the accuracies come from.
        date: when it was made, ISO 8601.
        definition: form of the score that it reads.
        networks: trained networks it was fitted to.
        candidates: networks seen in all, trained or not.
        features: names of the features it reads, in order.
        domain: what it has seen.
        score_scale, target_scale: between what is measured and the normal scale.
        mixture: the process.
        widening: factor on standard deviations, by which held-out networks are covered as often as they should be.
        held_out: figures for left-out networks, and for left-out groups where there were several.
        versions: of the packages that made it.
    """

    schema: ClassVar = "sed_torch.calibration/1"
    kind: ClassVar = "a calibration"

    title: str
    unit: str
    note: str
    source: str
    date: str
    definition: str
    networks: int
    candidates: int
    features: tuple[str, ...]
    domain: Domain = field(repr=False)
    score_scale: Scale = field(repr=False)
    target_scale: Scale = field(repr=False)
    mixture: Mixture = field(repr=False)
    widening: float
    held_out: tuple[HeldOut, ...]
    versions: Mapping[str, str] = field(default_factory=FrozenMapping)

    @property
    def decided_by(self) -> Mapping[str, float]:
        """How much the score, the features and neither decide: shares of the variance, adding up to 1."""
        return FrozenMapping(dict(zip(("score", "features", "neither"), self.mixture.shares, strict=True)))

    # -- predictions -------------------------------------------------------------------------------------

    def predict(self, models: Any) -> tuple[Estimate, ...]:
        """The expected accuracy of each model, its 90 % interval, and whether the calibration knows such models.

        Args:
            models: a :class:`~sed_torch.Score` or several; a :class:`~sed_torch.ranking.Ranking`; or a mapping
                from names to scores.

        Raises:
            InputError: something else, or a score of another definition than the calibration's.
        """
        names, sed, features, reasons = _read(models, self)
        found = self._estimates(names, sed, features)
        return tuple(
            e if why is None else Estimate(e.name, None, None, None, False, why, self.unit)
            for e, why in zip(found, reasons, strict=True)
        )

    def validate(
        self, models: Any, accuracies: Any, *, n_bootstrap: int = 1000, seed: int = 0
    ) -> ValidationReport:
        """Hold what is foretold against networks that were trained, with the score, params and MACs as rivals.

        Only networks like those that the calibration has seen take part; the report's notes tell how many do, how far
        off it is, and how many accuracies lie in their intervals.

        Args:
            models: a ranking, scores, or a search space; see :func:`sed_torch.calibrate`.
            accuracies: of some or all of them, as :func:`sed_torch.calibrate` takes them; they should not be those that
                the calibration was fitted to.
            n_bootstrap: resamples for the intervals; 0 leaves them out.
            seed: of the resampling.

        Raises:
            InputError: scores of another definition, or no network with an accuracy that the calibration knows.
        """
        nets = candidates_of(models)
        measured = measured_of(accuracies, nets.names)
        if nets.definition != self.definition:
            raise InputError(
                f"the scores are {nets.definition}, the calibration reads {self.definition}: calibrate anew"
            )
        self._must_fit_version()
        inside = np.array([r is None for r in self._outside(nets.features)])
        foretold = Foretold(self.title, self.unit, inside, *self.intervals(nets.sed, nets.features))
        return held_against(foretold, nets, measured, n_bootstrap=n_bootstrap, seed=seed)

    def accuracies(self, sed: Array, features: Array) -> Array:
        """Expected accuracies of many networks, inside or not; NaN for those without a live operator.

        Args:
            sed: their scores, shape (n,).
            features: as :func:`sed_torch.scoring.features.feature_matrix` gives them.
        """
        return self.intervals(sed, features)[0]

    def accuracies_inside(self, sed: Array, features: Array) -> Array:
        """As :meth:`accuracies`, but NaN for networks unlike those that the calibration has seen."""
        inside = [r is None for r in self._outside(features)]
        return np.where(inside, self.accuracies(sed, features), np.nan)

    def _outside(self, features: Array) -> list[str | None]:
        """Why networks are unlike those that the calibration has seen; None for those that are like them."""
        return self.domain.outside(features, self.mixture.inputs, self.features)

    def _must_fit_version(self) -> None:
        if self.features != tuple(FEATURES):
            raise InputError(
                f"the calibration {self.title!r} reads other features than this version of sed_torch has "
                f"({_difference(self.features)}): calibrate anew"
            )

    def intervals(self, sed: Array, features: Array) -> tuple[Array, Array, Array]:
        """Expected accuracies and both ends of their intervals; arguments as for :meth:`accuracies`."""
        known = np.isfinite(sed) & self.domain.known(features)
        out = np.full((3, len(sed)), np.nan)
        if known.any():
            mean, variance = self.mixture.predict(*self._normal(sed[known], features[known]))
            half = _QUANTILE * self.widening * np.sqrt(variance)
            for row, z in enumerate((mean, mean - half, mean + half)):
                out[row, known] = self.target_scale.from_normal(z)
        return out[0], out[1], out[2]

    def _normal(self, sed: Array, features: Array) -> tuple[Points, Array]:
        return self.domain.inputs(features), self.score_scale.to_normal(sed)

    def _estimates(self, names: Sequence[str], sed: Array, features: Array) -> list[Estimate]:
        if not len(names):
            return []
        reasons = self._outside(features)
        middle, low, high = self.intervals(sed, features)
        found = []
        for name, reason, a, b, c in zip(
            names, reasons, middle.tolist(), low.tolist(), high.tolist(), strict=True
        ):
            if reason is None and not math.isfinite(a):
                reason = "it has no score"
            if reason is None:
                found.append(Estimate(name, a, b, c, True, None, self.unit))
            else:
                found.append(Estimate(name, None, None, None, False, reason, self.unit))
        return found

    # -- views -------------------------------------------------------------------------------------------

    def sentence(self, estimate: Estimate) -> str:
        """One line for people."""
        if not estimate.inside:
            return f"expected {self.title}: unknown, {estimate}"
        note = f", {self.note}" if self.note else ""
        return f"comparable networks reach {estimate} {self.title}{note}"

    def told(self, estimate: Estimate) -> Mapping[str, Any]:
        """The estimate as plain data, with the sentence; what :attr:`sed_torch.Score.expected` holds."""
        about = {"title": self.title, "note": self.note, "definition": self.definition}
        return FrozenMapping({"sentence": self.sentence(estimate), **about, **estimate.to_dict()})

    def to_dict(self) -> dict[str, Any]:
        """What :func:`sed_torch.calibration.read_calibration` reads back: numbers and names only.

        Features of the trained networks are kept to five digits, coefficients to seven.
        """
        domain, mixture = self.domain, self.mixture
        return {
            "schema": self.schema,
            **{name: getattr(self, name) for name in (*TEXTS, *SIZES)},
            "versions": dict(self.versions),
            "features": list(self.features),
            "domain": {
                **{n: _short(getattr(domain, n), 7) for n in ("centre", "scale", "low", "high")},
                "reach": domain.reach,
                **({} if domain.curves is None else {"curves": [_scale_data(c) for c in domain.curves]}),
                **({} if domain.wiring is None else {"wiring": _wiring_data(domain.wiring)}),
            },
            "score_scale": _scale_data(self.score_scale),
            "target_scale": _scale_data(self.target_scale),
            "widening": self.widening,
            "held_out": [asdict(h) for h in self.held_out],
            "inputs": [_short(row, 5) for row in mixture.inputs.features],
            **(
                {} if domain.wiring is None else {"wiring": [_short(row, 5) for row in mixture.inputs.wiring]}
            ),
            "noise": _short(mixture.noise, 5) if mixture.noise.any() else [],
            "components": [
                {
                    **part.setting._asdict(),
                    "probability": part.probability,
                    "coefficients": _short(part.coefficients, 7),
                }
                for part in mixture.components
            ],
        }

    @classmethod
    def from_dict(cls, data: Any, where: str = "the calibration") -> Calibration:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: something is missing, or not what it should be; ``where`` names the file.
        """
        if not isinstance(data, dict) or data.get("schema") != cls.schema:
            found = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise DataError(f"{where} is no calibration: expected the schema {cls.schema!r}, found {found!r}")
        try:
            fields = fields_of(data)
            held_out = tuple(HeldOut(**h) for h in fields.pop("held_out"))
            return cls(**fields, held_out=held_out)
        except KeyError as error:
            raise DataError(f"{where} is no whole calibration: {error.args[0]} is missing") from error
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(f"{where} is no whole calibration: {error}") from error

    def records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """The held-out figures, one row each way of leaving out."""
        return [asdict(h) for h in self.held_out], tuple(HeldOut.__dataclass_fields__)

    def view(self) -> tables.View:
        """The calibration's own report: how well it foretold what was left out."""
        return tables.View(self._headline(), (), (tables.Grid(_COLUMNS, tuple(self._rows())),), self._notes())

    def _headline(self) -> str:
        unit = f", {self.unit}" if self.unit else ""
        return f"Calibration of {self.definition} to {self.title}{unit}: {self.networks} trained networks"

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "left out in turn": f"{h.left_out} ({h.parts})",
                "mean error": h.error,
                "median": h.median_error,
                "ρ": h.spearman,
                "ρ of the score alone": h.score_spearman,
                "90 % intervals cover": f"{h.covered:.0%}",
                "median width": h.width,
            }
            for h in self.held_out
        ]

    def _notes(self) -> tuple[str, ...]:
        parts = self.decided_by
        lines = [
            f"decided by the score {parts['score']:.0%}, by {len(self.features)} features of the topology"
            f"{' and its wiring' if self.domain.wiring is not None else ''} "
            f"{parts['features']:.0%}, by neither {parts['neither']:.0%} (shares of the variance)",
            f"{self.candidates} networks seen in all; intervals widened by {self.widening:.2f} so that they cover "
            "what was left out",
        ]
        if self.note:
            lines.append(f"accuracies are {self.note}")
        if self.source:
            lines.append(f"source: {self.source}")
        return tuple(lines)

    def __repr__(self) -> str:
        return f"Calibration({self.title!r}, {self.networks} networks, definition={self.definition!r})"


_COLUMNS = (
    "left out in turn",
    "mean error",
    "median",
    "ρ",
    "ρ of the score alone",
    "90 % intervals cover",
    "median width",
)


def _read(models: Any, calibration: Calibration) -> tuple[list[str], Array, Array, list[str | None]]:
    """(names, scores, features, reasons why a model cannot be foretold)."""
    if isinstance(models, Score):
        models = [models]
    elif isinstance(models, Mapping):
        models = [_named(s, n) for n, s in models.items()]
    rows = list(models) if isinstance(models, Iterable) else None
    if rows is None or not all(hasattr(r, "sed") or isinstance(r, Score) for r in rows):
        raise InputError(
            f"cannot foretell a {type(models).__name__}: expected scores (sed_torch.score) or a ranking "
            "(sed_torch.rank)"
        )
    names, sed, features, reasons = [], [], [], []
    width = len(FEATURES) + BUCKETS
    for row in rows:
        score = row.total if isinstance(row, Score) else row.sed
        numbers = numbers_of(row)
        reason = _unread(row, score, numbers, calibration)
        names.append(row.name)
        sed.append(math.nan if score is None else score)
        features.append((math.nan,) * width if reason is not None or numbers is None else tuple(numbers))
        reasons.append(reason)
    return (
        names,
        np.array(sed, dtype=np.float64),
        np.array(features, dtype=np.float64).reshape(len(names), width),
        reasons,
    )


def _named(score: Score, name: str) -> Score:
    from dataclasses import replace

    return replace(score, name=name)


def _unread(row: Any, score: float | None, numbers: Any, calibration: Calibration) -> str | None:
    """Why a model cannot be held against the calibration at all, or None."""
    if score is None:
        return str(getattr(row, "reason", None) or "it has no score")
    if row.definition != calibration.definition:
        raise InputError(
            f"{row.name}: its score is {row.definition}, the calibration reads {calibration.definition}; score it with "
            f"definition={calibration.definition!r}, or calibrate anew"
        )
    if numbers is None:
        return "its row has no features: it was made by an earlier version, rank it anew"
    if calibration.domain.wiring is not None and not all(map(math.isfinite, numbers)):
        return "its row has no wiring: it was made by a version before 0.4, rank it anew"
    calibration._must_fit_version()
    coverage = row.coverage
    if coverage is not None and coverage < 1.0:
        return f"{1.0 - coverage:.1%} of its parameters are under operators that have no rule"
    return None


def _difference(names: Sequence[str]) -> str:
    odd = sorted(set(names) ^ set(FEATURES))
    return ", ".join(odd[:4]) or "in another order"


def _scale_data(scale: Scale) -> dict[str, Any]:
    return {
        "knots": _short(np.array(scale.knots), DIGITS),
        "normal": _short(np.array(scale.normal), DIGITS),
        "ceiling": scale.ceiling,
        "clip": scale.clip,
    }


def _wiring_data(wiring: Wiring) -> dict[str, Any]:
    return {"centre": wiring.centre.tolist(), "scale": wiring.scale}


def _short(values: Array, digits: int) -> list[float]:
    return [float(f"{v:.{digits}g}") for v in np.asarray(values, dtype=np.float64).tolist()]
