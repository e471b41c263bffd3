"""Sizes that nobody gave, where a linear layer behind a flatten states them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import TraceError


def _net(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


class Flattened(nn.Module):
    """By hand, with an odd side."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.d, self.f = nn.Conv2d(2, 4, 3, 2), nn.Conv2d(4, 8, 3), nn.Linear(8 * 15 * 15, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.d(self.c(x)))
        return self.f(x.view(x.size(0), -1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (_net(nn.Conv1d(22, 8, 5), nn.Flatten(), nn.Linear(8 * 996, 3)), (1, 22, 1000)),
        (_net(nn.Conv1d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 44098, 2)), (1, 1, 44100)),
        (_net(nn.Embedding(100, 8), nn.Flatten(), nn.Linear(8 * 12, 2)), (1, 12)),
        (_net(nn.Embedding(100, 8), nn.Flatten(), nn.Linear(8 * 300, 2)), (1, 300)),
        (_net(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 18**3, 2)), (1, 1, 20, 20, 20)),
        (_net(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2 * 300 * 300, 2)), (1, 3, 300, 300)),
    ],
)
def test_the_side_that_fits_is_found(model: nn.Module, size: tuple[int, ...]) -> None:
    found = sed_torch.score(model)
    assert found.assumed == (f"input {'×'.join(map(str, size))}, which the linear layer behind it states",)
    data = torch.zeros(size, dtype=torch.int64 if len(size) == 2 else torch.float32)
    model(data)
    assert found.macs == sed_torch.score(model, input_data=data).macs


def test_any_side_that_the_windows_leave_alike_will_do() -> None:
    """A stride of two leaves as much of 35 as of 36."""
    model = Flattened()
    assert sed_torch.score(model).macs == sed_torch.score(model, (1, 2, 35, 35)).macs


@pytest.mark.parametrize(
    "model",
    [
        _net(nn.Conv2d(1, 8, (1, 64)), nn.Conv2d(8, 16, (22, 1)), nn.Flatten(), nn.Linear(16 * 234, 4)),
        _net(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 26 * 27, 4)),
        _net(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 4)),
    ],
)
def test_what_no_square_fits_is_refused_with_the_guess(model: nn.Module) -> None:
    with pytest.raises(TraceError, match="no input was given for Sequential"):
        sed_torch.score(model)


def test_a_size_that_was_given_is_not_replaced() -> None:
    model = _net(nn.Conv1d(22, 8, 5), nn.Flatten(), nn.Linear(8 * 996, 3))
    with pytest.raises(TraceError, match="linear"):
        sed_torch.score(model, (1, 22, 900))
