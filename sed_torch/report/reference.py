"""Making the table of known networks that scores are held against, see :mod:`sed_torch.scoring.standing`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sed_torch._files import write_text
from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError
from sed_torch.scoring.standing import INPUT, SIDES, ReferenceRow, ReferenceSet

if TYPE_CHECKING:
    from sed_torch.ranking import Ranking

__all__ = ["make_reference", "write_reference"]


def make_reference(patterns: str | Sequence[str] = "torchvision:*", *, jobs: int = 1) -> ReferenceSet:
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
    # vision transformers and the like read images of one size only
    elsewhere = {s: _rows(rank(names, jobs=jobs, input_size=(*INPUT[:2], s, s))) for s in SIDES}
    return ReferenceSet(DEFAULT_DEFINITION, _rows(ranking), dict(ranking.versions), FrozenMapping(elsewhere))


def _rows(ranking: Ranking) -> tuple[ReferenceRow, ...]:
    return tuple(
        ReferenceRow(r.name.partition(":")[2], round(r.sed, 6), r.params, r.macs)
        for r in ranking.rows
        if r.sed is not None and r.params is not None and r.macs is not None
    )


def write_reference(reference: ReferenceSet, path: str | os.PathLike[str]) -> None:
    """Write the table, one row a line."""
    data = reference.to_dict()
    rows = ",\n".join(f"  {json.dumps(r)}" for r in data.pop("rows"))
    elsewhere = ",\n".join(f'  "{side}": {json.dumps(r)}' for side, r in data.pop("elsewhere").items())
    head = json.dumps(data, indent=1)[:-2]
    write_text(path, f'{head},\n "rows": [\n{rows}\n ],\n "elsewhere": {{\n{elsewhere}\n }}\n}}\n')
