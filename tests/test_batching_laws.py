"""The batch is found in random programs: nothing that is told of a sample depends on how many there are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from support.batched import STARTS, STEPS, Program, Recipe, given_to, programs
from support.counting import flops_counted
from support.networks import laws

import sed_torch


def _told(model: Program, recipe: Recipe, n: int) -> tuple[float, float, float]:
    score = sed_torch.score(model, input_data=given_to(recipe, n), frontend="fx")
    return score.macs, score.coverage, score.total if score.total is not None else -1.0


def _holds(recipe: Recipe) -> None:
    torch.manual_seed(0)
    model = Program(recipe).eval()
    expected = _told(model, recipe, 4)
    assert expected[1] == 1.0
    for n in (2, 5, 6):  # of which 5 and 6 are also lengths and widths
        assert _told(model, recipe, n) == pytest.approx(expected, rel=1e-9), n
    if not model.recurrent:  # torch's counter does not see inside recurrent layers
        assert expected[0] == pytest.approx(flops_counted(model, *given_to(recipe, 4)) / 2 / 4)


@laws
@given(programs())
def test_nothing_depends_on_the_batch_size(recipe: Recipe) -> None:
    _holds(recipe)


@pytest.mark.slow
@settings(laws, max_examples=400)
@given(programs())
def test_nothing_depends_on_it_in_hundreds(recipe: Recipe) -> None:
    _holds(recipe)


def test_every_step_can_be_reached() -> None:
    kinds = {s.step.makes for s in STARTS.values()} | {s.makes for s in STEPS.values()}
    assert {s.reads for s in STEPS.values()} <= kinds
