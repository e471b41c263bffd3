"""Making the table of known networks that scores are held against, see :mod:`sed_torch.scoring.standing`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from sed_torch._files import write_text
from sed_torch.errors import DataError
from sed_torch.scoring.standing import INPUT, Reference, ReferenceRow

__all__ = ["make_reference", "write_reference"]


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
