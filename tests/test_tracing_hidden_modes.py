"""A forward that learns its mode by another way than the attribute: it is seen too."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn import functional as F

from sed_torch import trace
from sed_torch.tracing.asking import mode_matters
from sed_torch.tracing.watching import mode_reads


class Two(nn.Module):
    """Two layers; subclasses say what the mode does."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def twice(self, x: Tensor) -> Tensor:
        return self.b(self.b(x))  # type: ignore[no-any-return]


class InItsTable(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.twice(x) if self.__dict__["training"] else self.b(x)


def mode_in_table(model: nn.Module) -> Any:
    return vars(model).get("training")


class InItsTableByHelper(Two):
    def forward(self, x: Tensor) -> Tensor:
        return self.twice(x) if mode_in_table(self) else self.b(x)


class WantsGradient(Two):
    """It knows the mode by what training would need, and asks for the mode beside, for a dropout."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.a(x), 0.1, self.training)
        return self.twice(x) if x.requires_grad else x


class PowerSteps(Two):
    """Torch's own, that does more in training than to switch noise."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.utils.parametrizations.spectral_norm(self.a)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x)  # type: ignore[no-any-return]


class AskedOfAll(Two):
    """By a function that torch runs for each part."""

    def forward(self, x: Tensor) -> Tensor:
        found: list[bool] = []
        self.apply(lambda part: found.append(part.training))
        return self.twice(x) if found[0] else self.b(x)


class WeightWantsGradient(Two):
    """A weight wants its gradient in both modes, so the mode hangs on nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) if self.a.weight.requires_grad else self.twice(x)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("kind", "matters"),
    [
        *((k, True) for k in (InItsTable, InItsTableByHelper, WantsGradient, PowerSteps, AskedOfAll)),
        (WeightWantsGradient, False),
    ],
)
def test_what_tells_the_modes_apart_is_seen(kind: type[nn.Module], matters: bool, training: bool) -> None:
    model = kind()
    with mode_reads() as reads:
        trace(model, input_size=(2, 4), training=training)
    assert mode_matters(model, reads) is matters
