"""Known networks to hold a score against: torchvision's classification models, scored by this project.

The table ships as ``sed_torch/scoring/reference.json``. It is made anew, after a change of the score, by

    python -m sed_torch.report sed_torch/scoring/reference.json
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Protocol

from sed_torch import tables
from sed_torch.errors import DataError

__all__ = ["ALIKE", "INPUT", "SCHEMA", "Reference", "ReferenceRow", "Scored", "Standing", "read_reference"]

SCHEMA = "sed_torch.reference/1"
INPUT = (1, 3, 224, 224)
"""Scores compare at one input size only; this is theirs."""

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
class Reference:
    """The table.

    Attributes:
        definition: name of the form of the scores in it.
        rows: by score, best first.
        versions: of the packages that made it.
    """

    definition: str
    rows: tuple[ReferenceRow, ...]
    versions: dict[str, str]

    def standing(self, score: Scored) -> tuple[Standing | None, str | None]:
        """Where a score stands, or why that cannot be said. The network itself is never among those it is held to."""
        if score.total is None or not math.isfinite(score.total):
            return None, "the model has no finite score"
        if score.definition != self.definition:
            return (
                None,
                f"the reference networks were scored as {self.definition}, this one as {score.definition}",
            )
        if [s[1:] for s in score.inputs] != [INPUT[1:]]:
            shape = "×".join(map(str, INPUT[1:]))
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
            "rows": [[r.name, r.sed, r.params, r.macs] for r in self.rows],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Reference:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: another schema, or malformed content.
        """
        if data.get("schema") != SCHEMA:
            raise DataError(f"expected a reference table of schema {SCHEMA!r}, found {data.get('schema')!r}")
        try:
            rows = tuple(ReferenceRow(str(n), float(s), int(p), float(m)) for n, s, p, m in data["rows"])
            return cls(str(data["definition"]), rows, dict(data["versions"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"malformed reference table: {error!r}") from error


class Scored(Protocol):
    """What of a score its standing depends on."""

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


def _is(row: ReferenceRow, score: Scored) -> bool:
    """Whether they are the same network, under whatever name: same size to the last count, and same score."""
    return (
        row.params == score.params
        and row.macs == score.macs
        and score.total is not None
        and math.isclose(row.sed, score.total, abs_tol=1e-5)
    )


@cache
def read_reference() -> Reference:
    """The table that ships with the package."""
    text = (resources.files("sed_torch") / "scoring" / "reference.json").read_text(encoding="utf-8")
    return Reference.from_dict(json.loads(text))
