"""Counts from tables equal those of each topology."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sed_torch.errors import SpaceError
from sed_torch.spaces import COUNTS, SPACES, NASBench201, Space, count_many

SPECIAL = {
    "nasbench201": ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"],
    "nasbench101": ["1:", "111:3", "011:p"],
    "transnas_micro": ["64-41414-0_00_000", "64-41414-1_11_111", "64-41414-3_03_003"],
    "transnas_macro": ["64-4111-basic", "64-344132-basic"],
    "nats_size": ["8:8:8:8:8", "64:8:64:8:64"],
}


@pytest.mark.parametrize("name", SPACES)
def test_counts_equal_those_of_the_topology(name: str) -> None:
    space: Space[Any] = SPACES[name]
    rng = np.random.default_rng(0)
    archs = [*(space.parse(a) for a in SPECIAL.get(name, [])), *(space.sample(rng) for _ in range(40))]
    found = count_many(space, archs)
    whole = [space.topology(a, keep_dead=True) for a in archs]
    assert found["params"].tolist() == [t.params for t in whole]
    assert found["macs"] == pytest.approx([t.macs for t in whole], rel=1e-12)
    assert found["depth"].tolist() == [space.topology(a).depth for a in archs]
    assert len({*found["params"].tolist()}) > 10


def test_strings_some_counts_and_none() -> None:
    space = SPACES["nasbench201"]
    cell = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    assert list(count_many(space, [cell], ["macs"])) == ["macs"]
    assert all(v.shape == (0,) for v in count_many(space, []).values())
    for other in SPACES.values():
        assert [v.shape for v in count_many(other, []).values()] == [(0,)] * len(COUNTS)
    with pytest.raises(SpaceError, match=r"no count named 'flops': expected some of params, macs, depth"):
        count_many(space, [cell], ["flops"])
    with pytest.raises(SpaceError, match="not a cell of nasbench201"):
        count_many(space, ["x"])


def test_another_network_of_a_known_space_is_not_counted_from_its_table() -> None:
    class Coarser(NASBench201):
        image_size = 16

    archs = [Coarser().sample(np.random.default_rng(1))]
    assert count_many(Coarser(), archs)["macs"][0] < count_many(NASBench201(), archs)["macs"][0] / 2
