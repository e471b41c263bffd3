from __future__ import annotations

import math

import pytest
from support.spaces import check_scores

from sed_torch.errors import SpaceError
from sed_torch.spaces import get_space
from sed_torch.spaces.nats_size import Widths

SPACE = get_space("nats_size")


def test_equal_widths_by_hand() -> None:
    # five convolutions and a skip a cell, white maps throughout; equal widths make every skip an identity
    def conv(a: int, n: int) -> float:
        return a**2 * 8 * math.sqrt(8 * n)

    stem = 32**2 * 8 * math.sqrt(27)
    cells = 5 * (conv(32, 9) + conv(16, 9) + conv(8, 9))
    reductions = sum(2 * conv(a, 9) + conv(a, 1) for a in (16, 8))
    expected = math.log(stem + cells + reductions + 10 * math.sqrt(8))
    assert SPACE.score_many(["8:8:8:8:8"], definition="sed/1")[0] == pytest.approx(expected, abs=1e-12)


def test_parameters_by_hand() -> None:
    conv, norm = 9 * 64 * 64, 2 * 64
    stem, head = 27 * 64 + norm, norm + 64 * 10 + 10
    reduction = 2 * (conv + norm) + 64 * 64
    assert SPACE.params("64:64:64:64:64") == stem + 3 * 5 * (conv + norm) + 2 * reduction + head


def test_a_skip_between_widths_is_a_convolution() -> None:
    wider = SPACE.topology("8:8:16:8:8")
    assert [s.path for s in wider.steps if "edge_0_3" in s.path and s.kind == "mix"] == [
        "cells.2.edge_0_3.conv"
    ]
    check_scores(SPACE, ["8:64:16:8:24", "64:8:8:8:64"])


@pytest.mark.parametrize("text", ["8:16:24:32", "8:16:24:32:72", "8:16:24:32:12", "0:8:8:8:8"])
def test_alien_widths(text: str) -> None:
    with pytest.raises(SpaceError, match="expected 5 widths of"):
        SPACE.parse(text)
    with pytest.raises(SpaceError, match="expected 5 widths of"):
        SPACE.topology(Widths(tuple(map(int, text.split(":")))))


def test_order_of_all() -> None:
    scores = SPACE.score_many(list(SPACE))
    assert scores.argmin() == 0
    assert scores.argmax() == SPACE.size - 1
