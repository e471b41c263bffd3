"""What every search space is held to."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sed_torch
from sed_torch.scoring import sed
from sed_torch.spaces import SPACES, Space
from sed_torch.topology import Topology

DATA = Path(os.environ.get("SED_TORCH_DATA", Path(__file__).parents[3] / "shared" / "data"))


every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def published(file: str, *columns: str) -> list[tuple[str, ...]]:
    """Rows of a public benchmark table in which none of the columns is empty."""
    path = DATA / file
    if not path.exists():
        pytest.skip(f"{path} is not here: set SED_TORCH_DATA to the folder of public benchmark tables")
    with gzip.open(path, "rt", newline="") as stream:
        rows = [tuple(row[c] for c in columns) for row in csv.DictReader(stream)]
    return [row for row in rows if all(row)]


def to_digits(value: float) -> float:
    """To the six significant digits that the tables print."""
    return float(f"{value:.6g}")


def samples(space: Space[Any], seed: int, count: int) -> list[Hashable]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def check_scores(space: Space[Any], archs: Sequence[Any], **sizes: int) -> None:
    """``score_many`` is the calculus over each topology."""
    expected = [sed(space.topology(a, **sizes)) for a in archs]
    np.testing.assert_allclose(space.score_many(archs, **sizes), expected, rtol=0, atol=1e-9)


def check_traced(space: Space[Any], archs: Sequence[Any]) -> None:
    """The topology written by hand is the one traced from the module: score, parameters, paths."""
    for arch in archs:
        module, hand = space.build(arch), space.topology(arch)
        score = sed_torch.score(module, input_size=space.input_size)
        assert score.total == pytest.approx(sed(hand), abs=1e-9), space.format(arch)
        params = sum(p.numel() for p in module.parameters())
        assert space.params(arch) == params == space.topology(arch, keep_dead=True).params
        assert operators(score.evaluation.topology) == operators(hand), space.format(arch)


def operators(topology: Topology) -> list[tuple[str, str]]:
    """Kind and path of the live operators that mix or pool."""
    steps = [topology.steps[i] for i in topology.live]
    return sorted((s.kind, s.path) for s in steps if s.kind in ("mix", "pool"))
