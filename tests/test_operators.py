"""Operators and layers as real code spells them, each with totals, parameters and MACs derived by hand.

The calculus: ``total = ln Σ A·C_out·√(C_in/g·n_eff)``; white maps have ``n_eff = n``, the number of taps.
"""

from __future__ import annotations

import doctest
import importlib
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sed_torch
from sed_torch import Score


class Then(nn.Module):
    """A convolution, a function of its result, and whoever reads that."""

    def __init__(
        self, function: Callable[[Tensor], Tensor], reader: nn.Module, first: nn.Module | None = None
    ):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1) if first is None else first
        self.function, self.reader = function, reader

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(self.function(self.first(x)))  # type: ignore[no-any-return]


def scored(model: nn.Module, *size: int) -> Score:
    return sed_torch.score(model, input_size=size)


@pytest.mark.parametrize("module", ["sed_torch.api", "sed_torch.topology"])
def test_examples_in_docstrings_are_right(module: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert (failed, tried > 0) == (0, True)


# -- one function, several spellings ---------------------------------------------------------------------------

SPELLINGS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], nn.Module]] = {
    "repeat_interleave along both axes is nearest upsampling": (
        lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, dim=-1),
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        nn.Conv2d(4, 5, 3),
    ),
    "torch.repeat_interleave along one": (
        lambda x: torch.repeat_interleave(x, 3, dim=3),
        lambda x: F.interpolate(x, scale_factor=(1, 3), mode="nearest"),
        nn.Conv2d(4, 5, 3),
    ),
    "repeat_interleave of channels changes no position": (
        lambda x: x.repeat_interleave(2, 1),
        lambda x: torch.cat([x, x], 1),
        nn.Conv2d(8, 5, 3),
    ),
    "Tensor.unfold into whole windows is space to depth": (
        lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 1, 4, 5, 2, 3).flatten(1, 3),
        lambda x: F.pixel_unshuffle(x, 2),
        nn.Conv2d(16, 5, 3),
    ),
    "F.unfold with whole windows as well": (
        lambda x: F.unfold(x, 2, 1, 0, 2).unflatten(2, (4, 4)),
        lambda x: F.pixel_unshuffle(x, 2),
        nn.Conv2d(16, 5, 3),
    ),
    "Tensor.unfold with step 1 keeps neighbours neighbours": (
        lambda x: x.unfold(3, 3, 1)[..., 1],
        lambda x: x[..., 1:-1],
        nn.Conv2d(4, 5, 3),
    ),
}


@pytest.mark.parametrize("frontend", ["fx", "export"])
@pytest.mark.parametrize("case", SPELLINGS)
def test_spellings_of_one_function_score_alike(case: str, frontend: sed_torch.tracing.Frontend) -> None:
    one, other, reader = SPELLINGS[case]
    smooth = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d((2, 3), 1))
    size = (1, 3, 9, 10)  # 8 × 8 after the pool
    a = sed_torch.score(Then(one, reader, smooth), input_size=size, frontend=frontend)
    b = sed_torch.score(Then(other, reader, smooth), input_size=size)
    assert a.total == pytest.approx(b.total, abs=1e-9)
    assert a.suppression == pytest.approx(b.suppression, abs=1e-9)
    assert 0.1 < (a.suppression or 0) < 0.999  # the readers do meet a correlated map


def test_a_transposed_matrix_is_known_to_both_front_ends() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x).T

    for frontend in ("fx", "export"):
        s = sed_torch.score(Model(), input_size=(5, 6), frontend=frontend)  # type: ignore[arg-type]
        assert s.unknown == ()
        # a batch of 5: one position, 4 outputs of 6 inputs
        assert s.total == pytest.approx(math.log(4 * math.sqrt(6)))


GIVERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "type_as": lambda x, other: x.type_as(other),
    "expand_as": lambda x, other: x.expand_as(other),
    "view_as": lambda x, other: x.view_as(other),
    "reshape_as": lambda x, other: x.reshape_as(other),
}


@pytest.mark.parametrize("frontend", ["fx", "export"])
@pytest.mark.parametrize("giver", GIVERS)
def test_who_gives_a_shape_or_a_dtype_gives_no_field(
    giver: str, frontend: sed_torch.tracing.Frontend
) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.reader = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.reader(GIVERS[giver](self.one(x), self.other(F.avg_pool2d(x, 3, 1, 1))))

    s = sed_torch.score(Model(), input_size=(1, 3, 8, 8), frontend=frontend)
    amplitude = 64 * 3 * math.sqrt(3 * 9)  # two convolutions of a white map; the other one is dead
    assert s.total == pytest.approx(math.log(2 * amplitude))
    assert s.suppression == pytest.approx(1.0)
