"""Known networks to hold a score against: torchvision's classification models, scored by this project.

The table ships as ``sed_torch/reference.json``. It is made anew, after a change of the score, by

    python -m sed_torch.report sed_torch/reference.json
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from sed_torch._files import write_text
from sed_torch.errors import DataError
from sed_torch.scoring.result import Score

__all__ = [
    "INPUT",
    "SCHEMA",
    "Reference",
    "ReferenceRow",
    "Standing",
    "make_reference",
    "read_reference",
    "write_reference",
]

SCHEMA = "sed_torch.reference/1"
INPUT = (1, 3, 224, 224)
"""Scores compare at one input size only; this is theirs."""


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
    """

    of: int
    sed: int
    params: int
    macs: int
    below: ReferenceRow | None
    above: ReferenceRow | None

    @property
    def percentile(self) -> float:
        """Share of the reference networks with a lower score, in percent."""
        return 100.0 * self.sed / self.of


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

    def standing(self, score: Score) -> tuple[Standing | None, str | None]:
        """Where a score stands, or why that cannot be said."""
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
        lower = [r for r in self.rows if r.sed < score.total]
        higher = [r for r in self.rows if r.sed > score.total]
        return (
            Standing(
                of=len(self.rows),
                sed=len(lower),
                params=sum(r.params < score.params for r in self.rows),
                macs=sum(r.macs < score.macs for r in self.rows),
                below=max(lower, key=lambda r: r.sed, default=None),
                above=min(higher, key=lambda r: r.sed, default=None),
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


@cache
def read_reference() -> Reference:
    """The table that ships with the package."""
    text = (resources.files("sed_torch") / "reference.json").read_text(encoding="utf-8")
    return Reference.from_dict(json.loads(text))


def make_reference(patterns: str | Sequence[str] = "torchvision:*", *, jobs: int = 1) -> Reference:
    """Score the reference networks anew: all of torchvision's that classify images.

    Raises:
        DataError: one of them has no score.
        MissingDependencyError: torchvision or joblib is not installed.
    """
    from sed_torch.ranking import rank
    from sed_torch.scoring import DEFAULT_DEFINITION
    from sed_torch.zoo import expand, family_of

    # torchvision keeps detection, segmentation, video and quantized models in subpackages.
    names = [r for r in expand(patterns) if "." not in (family_of(r) or "")]
    ranking = rank(names, jobs=jobs, input_size=INPUT)
    if ranking.failures:
        raise DataError("; ".join(f"{r.name}: {r.status}: {r.reason}" for r in ranking.failures))
    rows = [
        ReferenceRow(r.name.partition(":")[2], round(r.sed, 6), r.params, r.macs)
        for r in ranking.rows
        if r.sed is not None and r.params is not None and r.macs is not None
    ]
    return Reference(DEFAULT_DEFINITION, tuple(rows), dict(ranking.versions))


def write_reference(reference: Reference, path: str | os.PathLike[str]) -> None:
    """Write the table, one row a line."""
    data = reference.to_dict()
    rows = ",\n".join(f"  {json.dumps(r)}" for r in data.pop("rows"))
    head = json.dumps(data, indent=1)[:-2]
    write_text(path, f'{head},\n "rows": [\n{rows}\n ]\n}}\n')
