"""Search spaces as topologies: each encodes, decodes, samples, builds and scores without running a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sed_torch.errors import SpaceError
from sed_torch.spaces.base import Scores, Space, SpaceBuilder
from sed_torch.spaces.batch import score_many
from sed_torch.spaces.darts import DARTS, Genotype
from sed_torch.spaces.nasbench101 import Cell101, NASBench101
from sed_torch.spaces.nasbench201 import Cell201, NASBench201
from sed_torch.spaces.nats_size import NATSSize, Widths
from sed_torch.spaces.transnas import MacroArch, MicroArch, TransNASMacro, TransNASMicro

__all__ = [
    "ALIASES",
    "DARTS",
    "SPACES",
    "Cell101",
    "Cell201",
    "Genotype",
    "MacroArch",
    "MicroArch",
    "NASBench101",
    "NASBench201",
    "NATSSize",
    "Scores",
    "Space",
    "SpaceBuilder",
    "TransNASMacro",
    "TransNASMicro",
    "Widths",
    "get_space",
    "score_many",
]

SPACES: Mapping[str, Space[Any]] = {
    space.name: space
    for space in (NASBench201(), NASBench101(), DARTS(), TransNASMicro(), TransNASMacro(), NATSSize())
}
"""The spaces by name."""

ALIASES: Mapping[str, str] = {
    "nats_topology": "nasbench201",
    "nats_tss": "nasbench201",
    "nats_sss": "nats_size",
    "nasbench301": "darts",
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
