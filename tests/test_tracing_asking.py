"""Whether the mode changes a forward: what acts in disguise is never missed, what is harmless costs no trace."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sed_torch import trace
from sed_torch.tracing.asking import mode_matters
from sed_torch.tracing.watching import mode_reads


class Net(nn.Module):
    """Two layers; subclasses say what the mode does."""

    gradient_checkpointing = False

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.deep = False
        self.config = SimpleNamespace(deep=True)


def twice(model: Net, x: Tensor) -> Tensor:
    return model.b(model.b(x))  # type: ignore[no-any-return]


# -- the mode matters ------------------------------------------------------------------------------------------


class AuxiliaryHead(Net):
    def forward(self, x: Tensor) -> Any:
        x = self.a(x)
        if self.training and not self.deep:
            return x, self.b(x)
        return x


class FlagInTrain(Net):
    def train(self, mode: bool = True) -> FlagInTrain:
        super().train(mode)
        self.deep = mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        return twice(self, x) if self.deep else self.b(self.a(x))


class TableInTrain(Net):
    """The flag is an entry of a dictionary, and of an object."""

    def __init__(self) -> None:
        super().__init__()
        self.table = {"deep": False}

    def train(self, mode: bool = True) -> TableInTrain:
        self.table["deep"] = mode
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return twice(self, x) if self.table["deep"] else self.b(self.a(x))


class SetterInTrain(Net):
    def train(self, mode: bool = True) -> SetterInTrain:
        super().train(mode)
        setattr(self, "deep", mode)  # noqa: B010
        return self

    def forward(self, x: Tensor) -> Tensor:
        return twice(self, x) if self.deep else self.b(self.a(x))


class FrozenInTrain(Net):
    """A part stays in evaluation mode, and asks for its own."""

    def __init__(self) -> None:
        super().__init__()
        self.part = AuxiliaryHead()

    def train(self, mode: bool = True) -> FrozenInTrain:
        super().train(mode)
        self.part.eval()
        return self

    def forward(self, x: Tensor) -> Any:
        return self.part(x)


class ByProperty(Net):
    @property
    def learning(self) -> bool:
        return self.training

    def forward(self, x: Tensor) -> Tensor:
        return twice(self, x) if self.learning else self.b(self.a(x))


class StoredFirst(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.mode = self.training
        return twice(self, x) if self.mode else self.b(self.a(x))


class ByHelper(Net):
    def forward(self, x: Tensor) -> Tensor:
        return deeper(self, x)


def deeper(model: Net, x: Tensor) -> Tensor:
    if model.training:
        return twice(model, x)
    return model.b(x)  # type: ignore[no-any-return]


class ByGetter(Net):
    read = staticmethod(attrgetter("training"))

    def forward(self, x: Tensor) -> Tensor:
        return twice(self, x) if self.read(self) else self.b(self.a(x))


class ByTable(Net):
    def forward(self, x: Tensor) -> Tensor:
        return {True: self.a, False: self.b}[self.training](x)  # type: ignore[no-any-return]


class ByChild(Net):
    def forward(self, x: Tensor) -> Tensor:
        return twice(self, x) if self.a.training else self.b(x)


class ByLambda(Net):
    def forward(self, x: Tensor) -> Tensor:
        learning = lambda: self.training  # noqa: E731
        return twice(self, x) if learning() else self.b(x)


class ByNumber(Net):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(1 + self.training):
            x = self.a(x)
        return x


def in_training_twice(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(forward)
    def wrapper(self: Net, x: Tensor) -> Tensor:
        x = forward(self, x)
        return forward(self, x) if self.training else x

    return wrapper


class Decorated(Net):
    @in_training_twice
    def forward(self, x: Tensor) -> Tensor:
        return self.a(x)  # type: ignore[no-any-return]


class CheckpointingOn(Net):
    gradient_checkpointing = True

    def forward(self, x: Tensor) -> Tensor:
        if self.gradient_checkpointing and self.training:
            return checkpoint(self.a, x, use_reentrant=False)  # type: ignore[no-any-return]
        return self.a(x)  # type: ignore[no-any-return]


class SwitchBehind(Net):
    """The mode is asked first, and the switch is on."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.config.deep:
            return twice(self, x)
        return self.a(x)  # type: ignore[no-any-return]


class RateOfOne(Net):
    def __init__(self) -> None:
        super().__init__()
        self.layerdrop, self.patch_drop = 1.0, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.layerdrop > 0.0:
            return x
        return self.b(self.a(x))  # type: ignore[no-any-return]


class ZeroIsNotNone(Net):
    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.rounds is not None:
            return x
        return self.b(self.a(x))  # type: ignore[no-any-return]


class BelowZero(Net):
    def __init__(self) -> None:
        super().__init__()
        self.least = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.least > -1:
            return x
        return self.b(self.a(x))  # type: ignore[no-any-return]


class InComprehension(Net):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(t) if self.training else self.b(self.a(t)) for t in x.chunk(2)])


class OnePartIsOn(Net):
    """A switch that is off in one module of a class and on in another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Switched(), Switched()
        self.second.deep = True

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))  # type: ignore[no-any-return]


class Switched(Net):
    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.deep:
            return twice(self, x)
        return self.a(x)  # type: ignore[no-any-return]


class LastOfMany(Net):
    """The one of a hundred that is switched on."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Sequential(*(Switched() for _ in range(100)))
        self.parts[-1].deep = True

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x)  # type: ignore[no-any-return]


class ClassAttribute(Net):
    training = False  # what a class says stands behind what its instances hold, but may be a property as well

    def forward(self, x: Tensor) -> Tensor:
        return twice(self, x) if self.training else self.b(x)


class InHook(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a.register_forward_hook(lambda module, given, out: out * 2 if module.training else self.b(out))

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x)  # type: ignore[no-any-return]


class ScriptedPart(Net):
    def __init__(self) -> None:
        super().__init__()
        self.part = torch.jit.script(Deep())

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x)  # type: ignore[no-any-return]


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = self.a(x)
        return self.a(x)  # type: ignore[no-any-return]


MATTERS = [
    *(
        AuxiliaryHead,
        FlagInTrain,
        TableInTrain,
        SetterInTrain,
        FrozenInTrain,
        ByProperty,
        StoredFirst,
        ByHelper,
    ),
    *(ByGetter, ByTable, ByChild, ByLambda, ByNumber, Decorated, CheckpointingOn, SwitchBehind, OnePartIsOn),
    *(LastOfMany, ClassAttribute, InHook, RateOfOne, ZeroIsNotNone, BelowZero, InComprehension),
]

# -- it does not -----------------------------------------------------------------------------------------------


class SwitchedOff(Net):
    """As the classes of transformers have it: a switch of the class, asked for in three ways."""

    def forward(self, x: Tensor) -> Tensor:
        if self.gradient_checkpointing and self.training:
            x = x.detach()
        if self.training and getattr(self, "gradient_checkpointing", False):
            x = x.detach()
        if self.training and getattr(self, "never_heard_of", False):
            x = x.detach()
        if self.training and self.deep:
            x = x.detach()
        return self.b(self.a(x))  # type: ignore[no-any-return]


class SwitchedOffByValue(Net):
    """A rate of zero, and a part that is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.layerdrop, self.patch_drop = 0.0, None

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.layerdrop > 0.0:
            return x
        if self.training and self.patch_drop is not None:
            x = self.patch_drop(x)
        return self.b(self.a(x))  # type: ignore[no-any-return]


class InLine(Net):
    """In a comprehension, which has a frame of its own in some versions of Python; names in an index hold no data."""

    def forward(self, x: Tensor) -> Tensor:
        kept: dict[int, Tensor] = {}
        kept[self.a.in_features] = x
        parts = [F.dropout(t, p=0.0 if not self.training else 0.1) for t in x.chunk(2)]
        rate = self.b.out_features / 40 if self.training else 0.0
        return self.b(F.dropout(torch.cat(parts), rate))  # type: ignore[no-any-return]


class PlainTrain(Net):
    """Its ``train`` does no more than torch's, as one switch is off."""

    @property
    def kernels(self) -> bool:
        """A switch that is held under another name."""
        return getattr(self, "_kernels", False)

    def train(self, mode: bool = True) -> PlainTrain:
        """As torch's."""
        changed = self.training != mode
        out = super().train(mode)
        if self.kernels and changed:
            self.deep = mode
        return out

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.a(x), 0.1, self.training)


class KernelsOn(PlainTrain):
    """The same with its switch on."""

    def __init__(self) -> None:
        super().__init__()
        self._kernels = True

    def forward(self, x: Tensor) -> Tensor:
        return twice(self, x) if self.deep else self.b(self.a(x))


class AllOff(Net):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Sequential(*(Switched() for _ in range(100)))

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x)  # type: ignore[no-any-return]


def with_a_rate(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(forward)
    def wrapper(self: Net, x: Tensor) -> Tensor:
        if self.training and getattr(self, "gradient_checkpointing", False):
            x = x.detach()
        return forward(self, x)

    return wrapper


class HarmlessWrapper(Net):
    @with_a_rate
    def forward(self, x: Tensor) -> Tensor:
        p = 0.1 if self.training else 0.0
        return F.dropout(self.b(self.a(x)), p)


def never_called(model: Net, x: Tensor) -> Tensor:
    return model.a(x) if model.training else model.b(x)  # type: ignore[no-any-return]


class NamesAHelper(Net):
    """What a class could run, but does not with these settings, is no matter."""

    def forward(self, x: Tensor) -> Tensor:
        return never_called(self, x) if self.deep else self.b(self.a(x))


HARMLESS = [SwitchedOff, SwitchedOffByValue, InLine, PlainTrain, AllOff, HarmlessWrapper, NamesAHelper]


def seen(model: nn.Module, *, training: bool) -> bool:
    with mode_reads() as reads:
        trace(model, input_size=(2, 4), training=training)
    return mode_matters(model, reads)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", [*MATTERS, KernelsOn])
def test_what_acts_in_disguise_is_seen(kind: type[nn.Module], training: bool) -> None:
    assert seen(kind(), training=training)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.parametrize("training", [False, True])
def test_a_script_that_asks_for_its_mode_is_seen(training: bool) -> None:
    assert seen(ScriptedPart(), training=training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", HARMLESS)
def test_what_is_harmless_is_known_so(kind: type[nn.Module], training: bool) -> None:
    assert not seen(kind(), training=training)


def test_the_attribute_is_as_before_once_nobody_watches() -> None:
    model = Net()
    with mode_reads() as outer, mode_reads() as inner:
        assert model.training is True
        model.eval()
        assert model.training is False
        assert not hasattr(nn.Module, "training")
    assert outer.sites.keys() == inner.sites.keys()
    assert "training" not in vars(nn.Module)
    assert model.training is False
    assert vars(model)["training"] is False


def test_nobody_watches_after_an_error() -> None:
    with pytest.raises(RuntimeError), mode_reads():
        raise RuntimeError
    assert "training" not in vars(nn.Module)


class LetsGo(Net):
    """Rebinds a name behind each read of the mode, so that the map before it is let go of."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = F.dropout(x, 0.1, self.training).relu()
        x = self.b(x).sigmoid()
        x = self.b(F.dropout(x, 0.1, self.training))
        return x.tanh()


@pytest.mark.parametrize("training", [False, True])
def test_watching_holds_no_maps(training: bool) -> None:
    with mode_reads():
        watched = trace(LetsGo(), input_size=(2, 4), training=training)
    assert watched.nodes == trace(LetsGo(), input_size=(2, 4), training=training).nodes
