"""What is done once for a whole model: its modules listed, garbage left alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.fx
from torch import Tensor, nn

import sed_torch
from sed_torch.tracing.modules import named_modules, tree_of
from sed_torch.tracing.names import label_of


class Shared(nn.Module):
    """One module under two names, one that is None, modules in modules."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 4)))
        self.again, self.none = self.body[1], None
        self.register_module("nothing", None)
        self.head = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.ModuleList([nn.Identity()])})

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head["a"](self.again(self.body(x)))
        return out


class Renamed(Shared):
    """Tells other names than those of its attributes."""

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        for path, module in super().named_modules(*args, **kwargs):
            yield path.replace("body", "trunk"), module


def test_a_tree_is_listed_as_torch_lists_it() -> None:
    model = Shared()
    assert tree_of(model) == list(model.named_modules())
    assert named_modules(model) == list(model.named_modules())


@pytest.mark.parametrize("outer", [False, True])
def test_names_of_a_models_own_are_kept(outer: bool) -> None:
    model: nn.Module = nn.Sequential(Renamed()) if outer else Renamed()
    assert named_modules(model) == list(model.named_modules())
    paths = [m.path for m in sed_torch.trace(model, input_size=(1, 4)).modules]
    assert paths == [path for path, _ in model.named_modules()]


@pytest.fixture
def thresholds() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)


def test_a_score_leaves_the_collector_as_it_was(
    thresholds: tuple[int, int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    class Asks(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            print(gc.get_threshold()[0])  # a list would be put back as it was
            return super().forward(x)

    model = Asks(4, 4)
    for mine in (thresholds[0], 50_000, 0):
        gc.set_threshold(mine, *thresholds[1:])
        sed_torch.score(model, input_size=(1, 4))
        assert gc.get_threshold() == (mine, *thresholds[1:])
    assert capsys.readouterr().out.split() == ["20000", "50000", "0"]
    gc.set_threshold(*thresholds)
    with pytest.raises(sed_torch.SedTorchError):
        sed_torch.score(model, input_size=(1, 5))
    assert gc.get_threshold() == thresholds


def test_a_threshold_that_a_forward_sets_stays(thresholds: tuple[int, int, int]) -> None:
    class Sets(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            gc.set_threshold(1234, 5, 6)
            return super().forward(x)

    sed_torch.score(Sets(4, 4), input_size=(1, 4))
    assert gc.get_threshold() == (1234, 5, 6)


@pytest.mark.parametrize(
    "name",
    [
        "0.weight",
        "a.b_1",
        "a.B.w",
        "Layer1.w",
        "__w__",
        "a..b",
        "a.-b",
        "é.w",
        "w",
        "9",
        "_",
        "a.weight_2.b",
        "print",
        "x-y",
    ],
)
def test_nodes_of_parameters_are_called_as_fx_calls_them(name: str) -> None:
    ours, theirs = torch.fx.Graph(), torch.fx.Graph()
    for _ in range(3):
        mine = ours.create_node("get_attr", name, (), {}, label_of(name))
        assert mine.name == theirs.create_node("get_attr", name, (), {}).name
