"""Where a call keeps its window, for every sliding layer of torch; and which windows slide."""

from __future__ import annotations

from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

import sed_torch
from sed_torch.ops import OPS

# kernel 3, stride 2, told apart from every other number of the call
LAYERS: dict[str, list[tuple[Any, int]]] = {
    "conv": [(nn.Conv1d(4, 6, 3, 2), 1), (nn.Conv2d(4, 6, 3, 2), 2), (nn.Conv3d(4, 6, 3, 2), 3)],
    "max_pool": [(nn.MaxPool1d(3, 2), 1), (nn.MaxPool2d(3, 2), 2), (nn.MaxPool3d(3, 2), 3)],
    "avg_pool": [(nn.AvgPool1d(3, 2), 1), (nn.AvgPool2d(3, 2), 2), (nn.AvgPool3d(3, 2), 3)],
    "lp_pool": [
        *((nn.LPPool1d(4, 3, 2), 1), (nn.LPPool2d(4, 3, 2), 2), (nn.LPPool3d(4, 3, 2), 3)),
        (lambda x: F.lp_pool2d(x, norm_type=4, kernel_size=3, stride=2), 2),
    ],
}


class Around(nn.Module):
    def __init__(self, f: Any) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


def test_every_sliding_operator_is_tried() -> None:
    assert set(LAYERS) == OPS.having("sliding")


@pytest.mark.parametrize("name", LAYERS)
def test_windows_and_strides_are_read_where_they_stand(name: str) -> None:
    for layer, n in LAYERS[name]:
        graph = sed_torch.trace(Around(layer), input_size=(1, 4, *[9] * n), frontend="fx")
        (node,) = (node for node in graph.nodes if node.op == name)
        assert (node.attrs["window"], node.attrs["stride"]) == ((3,) * n, (2,) * n)
        (step,) = (
            s for s in sed_torch.topology(Around(layer), input_size=(1, 4, *[9] * n)).steps if s.window
        )
        assert (step.window, step.stride) == ((3,) * n, (2,) * n)


@pytest.mark.parametrize(
    ("kernel", "stride", "scope"),
    [(3, 1, "convolutional"), (3, 2, "convolutional"), (3, 3, "extrapolated"), (1, 1, "extrapolated")],
)
def test_a_window_slides_when_it_is_wider_than_its_stride(kernel: int, stride: int, scope: str) -> None:
    """Patches side by side share nothing: that is a linear layer on patches, and no convolution of the theory."""
    model = nn.Sequential(nn.Conv2d(3, 4, kernel, stride), nn.ReLU(), nn.Conv2d(4, 4, 1))
    assert sed_torch.score(model, input_size=(1, 3, 12, 12)).scope == scope
