"""The space of Accel-NASBench."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.spaces import check_scores, published, samples

from sed_torch.errors import SpaceError
from sed_torch.spaces import get_space

SPACE = get_space("mnasnet")
SMALLEST = "1111111-3333333-1111111-0000000"
TEXT = "6466611-3535533-1233222-0100001"


def test_the_smallest_by_hand() -> None:
    widths, strides = (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 2, 1, 2, 1)
    side, before, total, params = 112, 32, 112**2 * 32 * math.sqrt(27), 3 * 9 * 32 + 64
    for width, stride in zip(widths, strides, strict=True):
        side //= stride
        total += side**2 * (before * 3 + width * math.sqrt(before))  # depthwise 3×3, projection
        params += 9 * before + 2 * before + before * width + 2 * width
        before = width
    total += 49 * 1280 * math.sqrt(320) + 1000 * math.sqrt(1280)
    params += 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    assert SPACE.score_many([SMALLEST], definition="sed/1")[0] == pytest.approx(math.log(total), abs=1e-12)
    assert SPACE.params(SMALLEST) == params


def test_spellings() -> None:
    columns = "6|4|6|6|6|1|1,3|5|3|5|5|3|3,1|2|3|3|2|2|2,0|1|0|0|0|0|1"
    assert SPACE.parse(columns) == SPACE.parse(TEXT)
    assert SPACE.format(SPACE.parse(columns)) == TEXT
    assert SPACE.size == 36**6 * 48


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("6466611-3535533-1233222", "expected expansions-kernels-layers-squeeze of 7 digits each"),
        ("2466611-3535533-1233222-0000000", r"block 1 is .*expansion=2.*: expected expansion \[1, 4, 6\]"),
        ("6466611-3535533-1234222-0000000", r"block 4 is .*layers=4.*layers \[1, 2, 3\]"),
        ("6466611-3535533-1233252-0000000", r"block 6 is .*layers=5.*layers \[1, 2, 3, 4\]"),
    ],
)
def test_what_is_not_of_the_space(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SPACE.parse(text)


def test_other_sizes() -> None:
    check_scores(SPACE, samples(SPACE, 1, 6), image_size=96, num_classes=7)
    check_scores(SPACE, samples(SPACE, 1, 3), image_size=75)


def test_published_parameters() -> None:
    rows = published("accel_nasbench.csv.gz", "exp", "kernel", "layers", "se", "params")
    archs = [",".join(row[:4]) for row in rows]
    assert len(archs) == 5138
    expected = [round(float(row[4]) * 1e6) for row in rows]
    np.testing.assert_array_equal(SPACE.count_many(archs, ["params"])["params"], expected)
