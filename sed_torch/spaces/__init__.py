"""Search spaces as topologies: each encodes, decodes, samples, builds and scores without running a network.

A space is a package: ``architecture`` (its values and their strings) < ``topology`` (the network, written down once) <
``nets`` (the module), ``batch`` (many side by side) < ``space`` (the :class:`Space`). To add one, write such a package
and enter it in :data:`SPACES`; every space is then held to the same tests. ``batch`` may be left out: then networks are
scored and counted one by one from their topologies. What packages share lies beside them: ``writing`` (the builder),
``modules``, ``cells`` (live vertices and edges), ``lines`` and ``patch`` (fields of stages), ``tally`` (sums of a
definition's addends), ``white`` (spaces in which nothing pools).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from sed_torch.errors import SpaceError
from sed_torch.scoring import DEFAULT_DEFINITION, sed
from sed_torch.spaces.base import COUNTS, Counts, Scores, Space
from sed_torch.spaces.darts import DARTS, Genotype
from sed_torch.spaces.mnasnet import MnasArch, MnasNet
from sed_torch.spaces.nasbench101 import Cell101, NASBench101
from sed_torch.spaces.nasbench201 import Cell201, NASBench201
from sed_torch.spaces.nasbench_macro import MacroLayers, NASBenchMacro
from sed_torch.spaces.nats_size import NATSSize, Widths
from sed_torch.spaces.transnas import MacroArch, MicroArch, TransNASMacro, TransNASMicro
from sed_torch.spaces.writing import SpaceBuilder

__all__ = [
    "ALIASES",
    "COUNTS",
    "DARTS",
    "SPACES",
    "Cell101",
    "Cell201",
    "Counts",
    "Genotype",
    "MacroArch",
    "MacroLayers",
    "MicroArch",
    "MnasArch",
    "MnasNet",
    "NASBench101",
    "NASBench201",
    "NASBenchMacro",
    "NATSSize",
    "Scores",
    "Space",
    "SpaceBuilder",
    "TransNASMacro",
    "TransNASMicro",
    "Widths",
    "count_many",
    "get_space",
    "score_each",
    "score_many",
]

A = TypeVar("A", bound=Hashable)

SPACES: Mapping[str, Space[Any]] = {
    space.name: space
    for space in (
        NASBench201(),
        NASBench101(),
        DARTS(),
        TransNASMicro(),
        TransNASMacro(),
        NATSSize(),
        MnasNet(),
        NASBenchMacro(),
    )
}
"""The spaces by name."""

ALIASES: Mapping[str, str] = {
    "nats_topology": "nasbench201",
    "nats_tss": "nasbench201",
    "nats_sss": "nats_size",
    "nasbench301": "darts",
    "accel_nasbench": "mnasnet",
}
"""Other names under which :func:`get_space` finds a space."""


def get_space(name: str) -> Space[Any]:
    """The space of a name or alias.

    Raises:
        SpaceError: if there is none.
    """
    known = ALIASES.get(name, name)
    if known not in SPACES:
        raise SpaceError(f"unknown search space {name!r}: expected one of {', '.join((*SPACES, *ALIASES))}")
    return SPACES[known]


def score_many(
    space: Space[A] | str,
    archs: Sequence[A | str],
    *,
    image_size: int | None = None,
    num_classes: int | None = None,
    definition: str = DEFAULT_DEFINITION,
) -> Scores:
    """SED of many architectures of a space: :meth:`Space.score_many`, of a space or its name."""
    known: Space[Any] = get_space(space) if isinstance(space, str) else space
    return known.score_many(archs, image_size=image_size, num_classes=num_classes, definition=definition)


def score_each(
    space: Space[A] | str,
    archs: Sequence[A | str],
    *,
    image_size: int | None = None,
    num_classes: int | None = None,
    definition: str = DEFAULT_DEFINITION,
) -> Scores:
    """The scores of :func:`score_many`, one topology after the other, without a space's tables."""
    known: Space[Any] = get_space(space) if isinstance(space, str) else space
    topologies = (known.topology(a, image_size=image_size, num_classes=num_classes) for a in archs)
    return np.array([sed(t, definition=definition) for t in topologies], dtype=np.float64)


def count_many(
    space: Space[A] | str, archs: Sequence[A | str], what: Iterable[str] = COUNTS
) -> dict[str, Counts]:
    """Counts of many architectures of a space: :meth:`Space.count_many`, of a space or its name."""
    known: Space[Any] = get_space(space) if isinstance(space, str) else space
    return known.count_many(archs, what)
