"""How a ranking is shown: columns, cells, and models in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sed_torch import tables
from sed_torch.ranking.rows import RankRow

__all__ = [
    "RESIDUAL_NOTE",
    "SHAPE_NOTE",
    "SHOWN",
    "SPARED",
    "SPELLED",
    "described",
    "display",
    "listed",
    "modality",
    "sample_size",
    "task",
]

RESIDUAL_NOTE = "rank of the residual of ordinary least squares of SED's ranks on the ranks of {}"

SHAPE_NOTE = (
    "shape: nats of SED beyond what params, MACs and input size predict on torchvision's classifiers; it hardly moves "
    "with the input"
)

SPELLED = {"params": "params", "macs": "MACs", "memory": "memory"}

SHOWN = (
    *(
        "#",
        "model",
        "family",
        "SED",
        "shape",
        "expected",
        "in family",
        "given size",
        "front",
        "params",
        "MACs",
        "memory",
    ),
    *("input", "suppression", "coverage", "status"),
)
SPARED = (
    "memory",
    *("in family", "coverage", "suppression", "family", "front", "input", "MACs", "status", "given size"),
    *("#", "params", "shape"),
)


def display(r: RankRow) -> dict[str, Any]:
    """A row as the table shows it, by column."""
    return {
        "#": r.rank,
        "model": r.name,
        "family": r.family,
        "SED": None if r.sed is None else f"{r.sed:.3f}{'~' if r.scope == 'extrapolated' else ''}",
        "shape": None if r.shape is None else f"{r.shape:+.2f}",
        "expected": _interval(r),
        "in family": r.family_rank,
        "given size": r.residual_rank,
        "front": "yes" if r.pareto else "",
        "params": tables.quantity(r.params),
        "MACs": tables.quantity(r.macs),
        "memory": None if r.memory is None else tables.mebibytes(r.memory),
        "input": r.input,
        "suppression": r.suppression,
        "coverage": None if r.coverage is None else f"{r.coverage:.1%}",
        "status": r.status,
    }


def described(r: RankRow) -> str:
    """A model in a sentence: its name, score and size."""
    sizes = f"{tables.quantity(r.params)} params, {tables.quantity(r.macs)} MACs"
    expected = "" if r.expected is None else f"expected {_interval(r)}, "
    return f"{r.name} ({expected}SED {tables.cell(r.sed)}, {sizes})"


def _interval(r: RankRow) -> str | None:
    if r.expected is None or r.expected_low is None or r.expected_high is None:
        return None if r.unexpected is None else "outside"
    return f"{r.expected:.1f} ({r.expected_low:.1f} to {r.expected_high:.1f})"


def listed(kinds: Mapping[str, Sequence[str]]) -> str:
    """``12 at 3x224x224, 1 at 3x300x300 (ssd300)``: counts, and names where they are few."""
    parts = []
    for i, (kind, names) in enumerate(kinds.items()):
        named = f" ({', '.join(names)})" if i and len(names) <= 3 else ""
        parts.append(f"{len(names)} × {kind}{named}")
    return tables.listed(parts, 6)


_MODALITIES = {2: "tokens or vectors", 3: "sequences or signals", 4: "images", 5: "video or volumes"}


def modality(shapes: str | None) -> str | None:
    """What a model reads, by the shapes of its inputs."""
    if not shapes:
        return None
    kinds = Counter(
        _MODALITIES.get(s.count("x") + 1, "other tensors") for s in map(_batched, shapes.split(" + "))
    )
    return " and ".join(sorted(kinds))


def sample_size(shapes: str | None) -> str | None:
    """``3x224x224``: the shapes of one sample's inputs."""
    if not shapes:
        return None
    return " + ".join(_batched(s).partition("x")[2] for s in shapes.split(" + "))


def _batched(shape: str) -> str:
    """The shape with a batch axis: detectors read a list of images, each without one."""
    sizes = shape.split("x")
    is_image = len(sizes) == 3 and sizes[0] in ("3", "4") and min(map(int, sizes[1:])) >= _LEAST_SIDE
    return f"1x{shape}" if is_image else shape


_LEAST_SIDE = 32  # three signals of so many channels and so few steps are not what anybody scores


def task(shapes: str | None) -> str | None:
    """What a model does, by the shapes of its outputs."""
    if not shapes:
        return None
    parts = shapes.split(" + ")
    if "?" in parts:
        return "what the data decide (detectors, say)"
    if len(parts) > 1:
        return "several outputs (detectors, say)"
    return "one row of numbers (classifiers)" if parts[0].count("x") == 1 else "maps or sequences"
