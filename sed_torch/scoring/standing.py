"""Known networks to hold a score against: torchvision's classification models, scored by this project.

The table ships as ``sed_torch/scoring/reference.json``. It is made anew, after a change of the score, by

    python -m sed_torch.report sed_torch/scoring/reference.json
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from typing import Any, Protocol

from sed_torch import tables
from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError
from sed_torch.scoring.shape import Shape, Sized, SizeLaw, image_positions

__all__ = [
    "ALIKE",
    "INPUT",
    "SCHEMA",
    "SIDES",
    "ReferenceRow",
    "ReferenceSet",
    "Scored",
    "Standing",
    "read_reference",
]

SCHEMA = "sed_torch.reference/1"
INPUT = (1, 3, 224, 224)
"""Scores compare at one input size only; this is theirs."""

SIDES = (96, 128, 160, 192, 256, 320, 384, 448, 512, 640)
"""Other sides of square images at which those of them that read such were scored, for the law of size."""

ALIKE = 1.5
"""Networks with at most so many times more or fewer parameters are of like size."""


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """A network of the table: its name, SED in nats, parameters, multiply-accumulates a sample."""

    name: str
    sed: float
    params: int
    macs: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a score stands among the reference networks.

    Attributes:
        of: how many there are.
        sed, params, macs: how many of them have a lower score, fewer parameters, fewer multiply-accumulates.
        below, above: the networks with the next lower and the next higher score, or None.
        peers: networks of like size, at most :data:`ALIKE` times smaller or larger in parameters, lowest score first.
        peers_below: how many of them have a lower score.
    """

    of: int
    sed: int
    params: int
    macs: int
    below: ReferenceRow | None
    above: ReferenceRow | None
    peers: tuple[ReferenceRow, ...] = ()
    peers_below: int = 0

    @property
    def percentile(self) -> float:
        """Share of the reference networks with a lower score, in percent."""
        return 100.0 * self.sed / self.of if self.of else math.nan

    def sentence(self) -> str:
        """Where it stands among named networks of its size, in words."""
        if not self.peers:
            return f"none of {self.of} torchvision networks is of like size"
        n, below = len(self.peers), self.peers_below
        nearest = [("next below", self.peers[below - 1])] if below else []
        nearest += [("next above", self.peers[below])] if below < n else []
        named = "; ".join(f"{where} {r.name} ({r.sed:.4f})" for where, r in nearest)
        least, most = (f(r.params for r in self.peers) for f in (min, max))
        sizes = f"{tables.quantity(least)} to {tables.quantity(most)} params"
        return f"above {below} of {n} torchvision networks of like size ({sizes}); {named}"


@dataclass(frozen=True)
class ReferenceSet:
    """The table.

    Attributes:
        definition: name of the form of the scores in it.
        rows: by score, best first.
        versions: of the packages that made it.
        elsewhere: at other sides of the input, the networks that read such images.
    """

    definition: str
    rows: tuple[ReferenceRow, ...]
    versions: dict[str, str]
    elsewhere: Mapping[int, tuple[ReferenceRow, ...]] = field(default_factory=FrozenMapping)

    @cached_property
    def law(self) -> SizeLaw:
        """How SED goes with size over these networks."""
        sides = {INPUT[-1]: self.rows, **self.elsewhere}
        return SizeLaw(tuple(Sized(*_numbers(r), s * s) for s, rows in sides.items() for r in rows))

    def shape(self, score: Scored) -> tuple[Shape | None, str | None]:
        """What is left of a score at equal size (:mod:`sed_torch.scoring.shape`), or why that cannot be said."""
        unfit = self._unfit(score)
        if unfit is not None or score.total is None:
            return None, unfit
        if not self.elsewhere:
            return None, "the reference networks were scored at one input only"
        if score.coverage < 1.0:
            return None, "some operators have no rule, so that the score is not of all the parameters"
        positions = image_positions(score.inputs)
        if positions is None or not score.params or not score.macs:
            return None, "the reference networks read one batch of images"
        low, high = self.law.positions
        if not low <= positions <= high:
            sides = " to ".join(f"{math.sqrt(v):.0f}×{math.sqrt(v):.0f}" for v in (low, high))
            return None, f"the reference networks were scored at inputs of {sides}"
        if self.law.leverage(score.params, score.macs, positions) > 1.0 + 1e-9:
            sizes = f"{tables.quantity(score.params)} params, {tables.quantity(score.macs)} MACs"
            return None, f"no reference network is of such a size ({sizes})"
        nats = self.law.nats(score.total, score.params, score.macs, positions)
        others = [
            self.law.nats(r.sed, r.params, r.macs, INPUT[-2] * INPUT[-1])
            for r in self.rows
            if not _is(r, score)
        ]
        return Shape(nats, sum(v < nats - 1e-9 for v in others), len(others)), None

    def _unfit(self, score: Scored) -> str | None:
        """Why a score cannot be held against these networks at all, or None."""
        if score.total is None or not math.isfinite(score.total):
            return "the model has no finite score"
        if score.definition != self.definition:
            return f"the reference networks were scored as {self.definition}, this one as {score.definition}"
        return None

    def standing(self, score: Scored) -> tuple[Standing | None, str | None]:
        """Where a score stands, or why that cannot be said. The network itself is never among those it is held to."""
        unfit = self._unfit(score)
        if unfit is not None or score.total is None:
            return None, unfit
        if [s[1:] for s in score.inputs] != [INPUT[1:]]:
            shape = tables.shape_text(INPUT[1:])
            return (
                None,
                f"the reference networks were scored at an input of {shape}; scores compare at one size only",
            )
        others = [r for r in self.rows if not _is(r, score)]
        peers = [r for r in others if score.params / ALIKE <= r.params <= score.params * ALIKE]
        lower = [r for r in others if r.sed < score.total]
        higher = [r for r in others if r.sed > score.total]
        return (
            Standing(
                of=len(others),
                sed=len(lower),
                params=sum(r.params < score.params for r in others),
                macs=sum(r.macs < score.macs for r in others),
                below=max(lower, key=lambda r: r.sed, default=None),
                above=min(higher, key=lambda r: r.sed, default=None),
                peers=tuple(sorted(peers, key=lambda r: r.sed)),
                peers_below=sum(r.sed < score.total for r in peers),
            ),
            None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version."""
        return {
            "schema": SCHEMA,
            "definition": self.definition,
            "input": list(INPUT),
            "versions": self.versions,
            "columns": ["name", "sed", "params", "macs"],
            "rows": [list(_numbers(r)) for r in self.rows],
            "elsewhere": {str(s): [list(_numbers(r)) for r in rows] for s, rows in self.elsewhere.items()},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ReferenceSet:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: another schema, or malformed content.
        """
        if data.get("schema") != SCHEMA:
            raise DataError(f"expected a reference table of schema {SCHEMA!r}, found {data.get('schema')!r}")
        try:
            elsewhere = {int(s): _rows(rows) for s, rows in data.get("elsewhere", {}).items()}
            return cls(
                str(data["definition"]),
                _rows(data["rows"]),
                dict(data["versions"]),
                FrozenMapping(elsewhere),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"malformed reference table: {error!r}") from error


def _numbers(row: ReferenceRow) -> tuple[str, float, int, float]:
    return row.name, row.sed, row.params, row.macs


def _rows(data: Iterable[Any]) -> tuple[ReferenceRow, ...]:
    return tuple(ReferenceRow(str(n), float(s), int(p), float(m)) for n, s, p, m in data)


class Scored(Protocol):
    """What of a score its standing and its shape depend on."""

    @property
    def total(self) -> float | None: ...
    @property
    def definition(self) -> str: ...
    @property
    def inputs(self) -> tuple[tuple[int, ...], ...]: ...
    @property
    def params(self) -> int: ...
    @property
    def macs(self) -> float: ...
    @property
    def coverage(self) -> float: ...


def _is(row: ReferenceRow, score: Scored) -> bool:
    """Whether they are the same network, under whatever name: same size to the last count, and same score."""
    return (
        row.params == score.params
        and row.macs == score.macs
        and score.total is not None
        and math.isclose(row.sed, score.total, abs_tol=1e-5)
    )


@cache
def read_reference() -> ReferenceSet:
    """The table that ships with the package."""
    text = (resources.files("sed_torch") / "scoring" / "reference.json").read_text(encoding="utf-8")
    return ReferenceSet.from_dict(json.loads(text))
