"""A module that cannot be followed costs itself: the rest of the network is read as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import DataDependentError


class Chooses(nn.Module):
    """Data decide whether its second layer runs."""

    def __init__(self, several: bool = False, wide: int = 8) -> None:
        super().__init__()
        self.p, self.q, self.several = nn.Linear(8, wide), nn.Linear(wide, wide), several
        self.seen = 0

    def forward(self, x: Tensor) -> Any:
        self.seen += 1
        y = self.p(x)
        if y.mean() > 0:
            y = self.q(y)
        return (y, y.sum()) if self.several else y


class Net(nn.Module):
    def __init__(self, part: nn.Module, join: Any, wide: int = 8) -> None:
        super().__init__()
        self.a, self.part, self.h, self.join = nn.Linear(8, 8), part, nn.Linear(wide, 8), join

    def forward(self, x: Tensor) -> Any:
        return self.join(self, self.a(x))


def chain(m: Any, y: Tensor) -> Tensor:
    return m.h(m.part(y))


def unpacked(m: Any, y: Tensor) -> Any:
    first, second = m.part(y)
    return m.h(first), second


def beside(m: Any, y: Tensor) -> Tensor:
    return m.h(torch.cat([m.part(y), y], 1))


def then_chooses(m: Any, y: Tensor) -> Tensor:
    z = m.h(m.part(y))
    return z[z[:, 0] > 0]


@pytest.mark.parametrize(
    ("part", "join", "wide", "frontend"),
    [
        (Chooses, chain, 8, "fx+leaf"),
        (lambda: Chooses(wide=12), chain, 12, "fx+leaf"),
        (lambda: Chooses(several=True), unpacked, 8, "fx+leaf"),
        (Chooses, beside, 16, "fx+leaf"),
    ],
)
def test_what_surrounds_it_is_counted_whatever_the_batch(
    part: Any, join: Any, wide: int, frontend: str
) -> None:
    for batch in (1, 2, 3):
        model = Net(part(), join, wide)
        score = sed_torch.score(model, input_size=(batch, 8))
        assert (score.frontend, score.macs) == (frontend, 64 + 8 * wide)
        assert [u.target for u in score.unknown][:1] == ["Chooses"]
        assert model.part.seen == 0


def test_how_many_results_it_has_is_not_guessed() -> None:
    class Locked(Chooses):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("it holds a lock")

    with pytest.raises(DataDependentError):
        sed_torch.score(Net(Locked(several=True), unpacked), input_size=(2, 8), frontend="fx")
    entered = sed_torch.score(Net(Locked(several=True), unpacked), input_size=(2, 8))
    assert (entered.frontend, entered.macs, entered.coverage) == ("fx+bound", 4 * 64, 1)


def test_what_comes_after_a_choice_is_followed_to_its_bound() -> None:
    for batch in (1, 2, 3):
        score = sed_torch.score(Net(Chooses(), then_chooses), input_size=(batch, 8))
        assert (score.frontend, score.macs, score.coverage) == ("fx+bound", 4 * 64, 1)
        assert [u.target for u in score.unknown] == ["what data choose"]


class Picks(nn.Module):
    """A head for the rows that data choose, as a detector has it behind its proposals."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        kept = x[torch.where(x.sum(1) > 0)[0]]
        out: Tensor = self.head(self.hidden(kept).relu())
        return out


class Repeats(nn.Module):
    """How often its loop runs is in the data."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        turns = 0
        while x.sum() > turns and turns < 3:
            x, turns = self.layer(x), turns + 1
        return x


def test_a_bound_is_better_than_a_leaf() -> None:
    net = nn.Sequential(nn.Linear(4, 4), Picks())
    s = sed_torch.score(net, input_size=(5, 4))
    assert (s.coverage, s.macs) == (1.0, 16 + 32 + 24)


def test_a_cost_names_what_could_not_be_entered() -> None:
    net = nn.Sequential(nn.Linear(4, 4), Repeats(), nn.Linear(4, 2))
    assert sed_torch.score(net, input_size=(5, 4)).frontend == "fx+leaf"
    notes = sed_torch.cost(net, input_size=(5, 4)).assumed
    assert any("1 could not be entered: what they compute and keep is NOT counted" in n for n in notes), notes
