"""Functions and modules under torch.jit are followed, or named as what could not be."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sed_torch

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*")


def gated(x: Tensor, w: Tensor) -> Tensor:
    y = F.linear(x, w)
    for _ in range(2):
        y = torch.relu(y)
    if y.size(0) > 100:
        y = y * 2
    return y


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    a, b = x.chunk(2, -1)
    return a, torch.sigmoid(b)


def quiet(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


class Calls(nn.Module):
    def __init__(self, function: Callable[..., Any], glue: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function, self.glue = function, glue
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)
        self.w = nn.Parameter(torch.ones(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.glue(self.function, self.first(x), self.w))
        return out


def with_weight(f: Any, x: Tensor, w: Tensor) -> Tensor:
    return f(x, w)


def with_halves(f: Any, x: Tensor, w: Tensor) -> Tensor:
    a, b = f(F.linear(x, torch.cat([w, w])))
    return a * b


@pytest.mark.parametrize(
    ("function", "glue", "example"),
    [
        (gated, with_weight, (torch.zeros(2, 8), torch.zeros(8, 8))),
        (halves, with_halves, (torch.zeros(2, 16),)),
    ],
)
def test_a_function_counts_as_its_original(function: Any, glue: Any, example: tuple[Tensor, ...]) -> None:
    plain = sed_torch.score(Calls(function, glue), input_size=(2, 8))
    for made in (lambda: torch.jit.script(function), lambda: torch.jit.trace(function, example)):
        score = sed_torch.score(Calls(quiet(made), glue), input_size=(2, 8), strict=True)
        assert (score.frontend, score.macs, score.params) == ("fx", plain.macs, plain.params)
        assert float(score) == pytest.approx(float(plain))


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: list[Tensor] = []
        for i in range(x.size(1)):
            if i % 2 == 0:
                out.append(self.l(x[:, i]))
        return torch.stack(out, 1)


def _block() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout())


@pytest.mark.parametrize(
    ("build", "size"),
    [(lambda: nn.Sequential(_block(), nn.Flatten()), (2, 3, 8, 8)), (Loop, (2, 5, 8))],
)
def test_a_module_counts_as_its_original(build: Callable[[], nn.Module], size: tuple[int, ...]) -> None:
    model = build().eval()
    plain = sed_torch.score(model, input_size=size)
    for made in (lambda: torch.jit.script(model), lambda: torch.jit.trace(model, torch.zeros(size))):
        for whole in (quiet(made), nn.Sequential(nn.Identity(), quiet(made))):
            score = sed_torch.score(whole, input_size=size, strict=True)
            assert (score.frontend, score.macs, score.params) == ("fx", plain.macs, plain.params)
            assert float(score) == pytest.approx(float(plain))


def test_what_cannot_be_followed_is_a_leaf_that_owns_its_parameters() -> None:
    model = nn.Sequential(nn.Linear(8, 8), quiet(lambda: torch.jit.script(nn.LSTM(8, 8, batch_first=True))))
    score = sed_torch.score(model, input_size=(2, 5, 8))
    assert (score.frontend, [u.target for u in score.unknown]) == ("fx+leaf", ["Scripted"])
    assert score.coverage == pytest.approx(72 / score.params)


def test_torchs_own_call_is_as_before() -> None:
    before = torch.jit.ScriptFunction.__call__
    sed_torch.score(Calls(quiet(lambda: torch.jit.script(gated)), with_weight), input_size=(2, 8))
    assert torch.jit.ScriptFunction.__call__ is before
