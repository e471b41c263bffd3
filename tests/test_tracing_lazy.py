"""Lazy layers get their first shapes on a copy; the model keeps them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

import sed_torch


class _Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c, self.n, self.f = nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.LazyLinear(5)
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(1)
        y: Tensor = self.n(self.c(x)) + torch.zeros(4, 1, 1)
        return self.f(y.flatten(1))


MODELS = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(4)),
    "convolution": lambda: nn.Sequential(
        nn.LazyConv2d(8, 3), nn.LazyConvTranspose2d(4, 2), nn.Conv2d(4, 2, 1)
    ),
    "own forward": _Own,
}


@pytest.mark.parametrize("name", MODELS)
def test_lazy_layers_are_read_as_after_a_first_call_and_stay_lazy(name: str) -> None:
    model = MODELS[name]()
    found = sed_torch.score(model, input_size=(2, 3, 8, 8))
    assert any(is_lazy(p) for p in model.parameters())
    assert all(m.training for m in model.modules())
    assert getattr(model, "seen", []) == []
    model(torch.randn(2, 3, 8, 8))
    settled = sed_torch.score(model, input_size=(2, 3, 8, 8))
    assert (found.total, found.macs, found.params) == (settled.total, settled.macs, settled.params)
    assert found.frontend == "fx"
