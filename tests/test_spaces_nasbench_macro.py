"""NAS-Bench-Macro."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.spaces import check_scores, published, samples

from sed_torch.spaces import get_space

SPACE = get_space("nasbench_macro")


def test_identities_by_hand() -> None:
    total = 1024 * 32 * math.sqrt(27)
    total += 256 * 64 * math.sqrt(32) + 64 * 128 * math.sqrt(64) + 16 * 256 * math.sqrt(128)
    total += 16 * 1280 * math.sqrt(256) + 10 * math.sqrt(1280)
    assert SPACE.score_many(["00000000"], definition="sed/1")[0] == pytest.approx(math.log(total), abs=1e-12)


def test_the_last_maps_are_narrower_than_a_5x5_kernel() -> None:
    # on a map of 4×4 it reads 16 taps
    wide, plain = (SPACE.topology(f"000000{d}0") for d in "20")
    added = {s.path for s in wide.steps} - {s.path for s in plain.steps}
    depthwise = next(s for s in wide.steps if s.path == "layers.6.depthwise.conv")
    assert depthwise.path in added
    assert depthwise.taps == 16
    assert depthwise.params == 25 * 6 * 256


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("00001000", "00010000"),
        ("01000001", "01000010"),
        ("12102021", "12120021"),
        ("01022022", "01022022"),  # an identity that halves the map keeps its place
    ],
)
def test_an_identity_is_no_layer_wherever_it_stands(text: str, same: str) -> None:
    assert SPACE.format(SPACE.parse(text)) == same
    assert SPACE.score_many([text])[0] == SPACE.score_many([same])[0]


def test_other_sizes() -> None:
    check_scores(SPACE, samples(SPACE, 1, 6), image_size=64, num_classes=7)
    check_scores(SPACE, samples(SPACE, 1, 3), image_size=37)


def test_published_counts_and_codes() -> None:
    rows = published("nasbench_macro.csv.gz", "arch", "params", "flops")
    archs = [row[0] for row in rows]
    assert sorted(archs) == [SPACE.format(a) for a in SPACE]
    found = SPACE.count_many(archs, ["params", "macs"])
    np.testing.assert_array_equal(found["params"], [int(row[1]) for row in rows])
    np.testing.assert_array_equal(found["macs"], [int(row[2]) for row in rows])
