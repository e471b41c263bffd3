"""Values that a forward only checks or reports do not stop it; its own ``except`` does not swallow what stops us."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import types
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import DataDependentError, TraceError


class Net(nn.Module):
    """A layer, something done to its result, another layer."""

    def __init__(self, between: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 8)
        self.between = between

    def forward(self, x: Tensor) -> Any:
        y = self.a(x)
        return self.b(self.between(self, y))


def asserted(_: Any, y: Tensor) -> Tensor:
    assert not torch.isnan(y).any(), "NaN"
    return y


def asserted_range(_: Any, y: Tensor) -> Tensor:
    assert y.min() >= -10
    assert not (y > 10).any()
    return y


def raised(_: Any, y: Tensor) -> Tensor:
    if not torch.isfinite(y).all():
        raise FloatingPointError("inf")
    return y


def asserted_false(_: Any, y: Tensor) -> Tensor:
    broken = y <= -100
    if broken.any():
        where = broken.nonzero()[0]
        torch._assert(False, f"broken at {where.tolist()}")
    return y


def raised_otherwise(_: Any, y: Tensor) -> Tensor:
    if y.abs().max() < 1e4:
        z = y
    else:
        raise ValueError("too large")
    return z


def warned(_: Any, y: Tensor) -> Tensor:
    if y.std() < 1e-6:
        warnings.warn("collapsed", stacklevel=1)
    return y


def repaired(_: Any, y: Tensor) -> Tensor:
    if torch.isinf(y).any() or torch.isnan(y).any():
        y = torch.clamp(y, -1e4, 1e4)
    return y


def counted(_: Any, y: Tensor) -> Tensor:
    if torch.isnan(y).sum() > 0:
        y = torch.nan_to_num(y)
    return y


def rescaled(_: Any, y: Tensor) -> Tensor:
    if y.max() > 1:
        y = y / 255
    return y


def logged(m: Any, y: Tensor) -> Tensor:
    m.last = float(y.abs().mean())
    mean = y.mean().item()
    logging.getLogger("test").debug("mean %s", mean)
    return y


def formatted(_: Any, y: Tensor) -> Tensor:
    text = f"{y.mean():.3f} {y.max().item():.2f}"
    logging.getLogger("test").debug(text)
    return y


def printed(m: Any, y: Tensor) -> Tensor:
    print("y", y, y.shape, y.mean(), [y[0]], {"weight": m.a.weight})
    logging.getLogger("test").warning("%s %r", y, f"{y!r} {y} {y.sum()!s}")
    return y


def torch_asserted(_: Any, y: Tensor) -> Tensor:
    torch._assert((y == y).all(), "nan")
    return y


def validated(_: Any, y: Tensor) -> Tensor:
    return torch.distributions.Normal(y, torch.ones_like(y), validate_args=True).mean


def far_from_overflow(_: Any, y: Tensor) -> Tensor:
    limit = torch.finfo(y.dtype).max / 18
    lowest, highest = torch.aminmax(y.detach())
    fits = not (-limit <= lowest.item() and highest.item() <= limit)
    return y.clamp(-limit, limit) if fits else y


def overflowing(m: Any, y: Tensor) -> Tensor:
    if y.abs().max() > torch.finfo(y.dtype).max - 1000:
        y = m.c(y)
    return y


def _one_hot(places: Tensor, largest: Tensor, n: int) -> Tensor:
    found = nn.functional.one_hot(places, max(n, largest))
    return found[..., :n]


def cut_to_a_known_size(_: Any, y: Tensor) -> Tensor:
    places, n = y.argmax(-1), y.shape[-1]
    y = y * nn.functional.one_hot(places, max(y.abs().sum().long() + 2, n))[..., :n]
    return y + _one_hot(places, y.abs().sum().long(), n)


def counted_to_divide(_: Any, y: Tensor) -> Tensor:
    chosen = y > 0
    many = chosen.sum().item()
    return y / max(1, many) + y / max(chosen.sum(), 1) + y / chosen.sum().item()


CHECKS = [
    counted_to_divide,
    cut_to_a_known_size,
    far_from_overflow,
    overflowing,
    *(
        asserted,
        asserted_range,
        asserted_false,
        raised,
        raised_otherwise,
        warned,
        repaired,
        counted,
        rescaled,
    ),
    *(logged, formatted, printed, torch_asserted, validated),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda f: f.__name__)
def test_a_check_of_values_is_no_part_of_the_network(check: Callable[[Any, Tensor], Tensor]) -> None:
    plain = sed_torch.score(Net(lambda _, y: y), input_size=(2, 8))
    score = sed_torch.score(Net(check), input_size=(2, 8), frontend="fx")
    assert (score.macs, score.params) == (plain.macs, plain.params)
    assert float(score) == pytest.approx(float(plain))
    if check not in (formatted, printed):
        assert score.assumed, "what was taken for granted is said"


def early(m: Any, y: Tensor) -> Tensor:
    return y if y.max() > 1 else m.c(y)


def another_layer(m: Any, y: Tensor) -> Tensor:
    if y.mean() > 0:
        y = m.c(y)
    return y


def halting(m: Any, y: Tensor) -> Tensor:
    while y.sum() > 0:
        y = m.c(y)
    return y


def threshold(m: Any, y: Tensor) -> Tensor:
    level = float(y.mean())
    if level > 0:
        y = m.c(y)
    return y


def compared(m: Any, y: Tensor) -> Tensor:
    level = 3.0
    choose = -level <= y.min().item() <= 2 * level
    return m.c(y) if choose else y


def a_size_of_two(m: Any, y: Tensor) -> Tensor:
    size = max(y.abs().sum().long() + 2, y.shape[-1])
    return m.c(nn.functional.pad(y, (0, size - y.shape[-1]))[:, :8])


def a_count_as_size(m: Any, y: Tensor) -> Tensor:
    many = max(1, (y > 0).sum())
    return m.c(y.new_zeros(many, 8) / many)


def steps(m: Any, y: Tensor) -> Tensor:
    for _ in range(int(y.abs().sum())):
        y = m.c(y)
    return y


@pytest.mark.parametrize(
    "choice",
    [early, another_layer, halting, threshold, compared, a_size_of_two, a_count_as_size, steps],
    ids=lambda f: f.__name__,
)
def test_what_decides_which_layers_run_is_not_guessed(choice: Callable[[Any, Tensor], Tensor]) -> None:
    with pytest.raises(
        DataDependentError, match=r"asks for the values of a tensor|has no shape without data"
    ):
        sed_torch.score(Net(choice), input_size=(2, 8), frontend="fx")


def test_what_a_mask_reads_and_writes_in_one_statement_stays_in_place() -> None:
    def farthest(m: Any, y: Tensor) -> Tensor:
        near = torch.full((2, 8), 1e9)
        for _ in range(3):
            far = m.c(y)
            closer = far < near
            near[closer] = far[closer]
        return near

    score = sed_torch.score(Net(farthest), input_size=(2, 8), frontend="fx")
    assert (score.macs, score.coverage, score.node_coverage) == (64 + 3 * 64 + 32, 1, 1)


# -- a forward that catches --------------------------------------------------------------------------------------


def by_exception(m: Any, y: Tensor) -> Tensor:
    try:
        return another_layer(m, y)
    except Exception:
        return y


def by_nothing(m: Any, y: Tensor) -> Tensor:
    try:
        y = another_layer(m, y)
    except:  # noqa: E722
        y = y + 0
    return y


def by_suppress(m: Any, y: Tensor) -> Tensor:
    with contextlib.suppress(BaseException):
        y = another_layer(m, y)
    return y


def by_finally(m: Any, y: Tensor) -> Tensor:
    try:
        y = another_layer(m, y)
    finally:
        return y  # noqa: B012


@pytest.mark.parametrize("frontend", ["fx", "auto"])
@pytest.mark.parametrize(
    "catch", [by_exception, by_nothing, by_suppress, by_finally], ids=lambda f: f.__name__
)
@pytest.mark.filterwarnings("ignore:'return' in a 'finally':SyntaxWarning")
def test_a_swallowed_signal_is_noticed(catch: Callable[[Any, Tensor], Tensor], frontend: Any) -> None:
    with pytest.raises(DataDependentError, match="asks for the values of a tensor"):
        sed_torch.score(Net(catch), input_size=(2, 8), frontend=frontend)


def too_many_rows(m: Any, y: Tensor) -> Tensor:
    return torch.vmap(m.c)(y.expand(600, 2, 8)).mean(0)  # type: ignore[no-any-return]


def never_over(m: Any, y: Tensor) -> Tensor:
    while True:
        if torch.isnan(y).any():
            return y
        y = m.c(y)


@pytest.mark.parametrize("frontend", ["fx", "auto"])
@pytest.mark.parametrize("what", [too_many_rows, never_over], ids=lambda f: f.__name__)
def test_whatever_cannot_be_followed_is_noticed(what: Callable[[Any, Tensor], Tensor], frontend: Any) -> None:
    """Not only values that are asked for: each kind of signal."""

    def swallowing(m: Any, y: Tensor) -> Tensor:
        try:
            y = what(m, y)
        except:  # noqa: E722
            y = y + 0
        return y

    with pytest.raises(TraceError, match=r"vmap over 600 rows|would go on for ever"):
        sed_torch.score(Net(swallowing), input_size=(2, 8), frontend=frontend)


def by_infinity(m: Any, y: Tensor) -> Tensor:
    while not torch.isinf(y).any():
        y = m.c(y)
    return y


@pytest.mark.parametrize("loop", [never_over, by_infinity], ids=lambda f: f.__name__)
def test_a_loop_that_only_a_sick_run_leaves_is_refused_with_its_line(
    loop: Callable[[Any, Tensor], Tensor],
) -> None:
    with pytest.raises(TraceError, match=r"the loop at .*test_tracing_healthy.py:\d+ would go on for ever"):
        sed_torch.score(Net(loop), input_size=(2, 8))


def test_checks_in_a_long_loop_are_no_endless_loop() -> None:
    def checked(m: Any, y: Tensor) -> Tensor:
        for _ in range(6000):
            if torch.isnan(y).any():
                break
            y = y + 1
        return y

    assert sed_torch.score(Net(checked), input_size=(2, 8)).coverage == 1


def test_what_a_run_would_catch_is_caught() -> None:
    def view_or_reshape(_: Any, y: Tensor) -> Tensor:
        try:
            return y.transpose(1, 2).view(2, -1)
        except RuntimeError:
            return y.transpose(1, 2).reshape(2, 8, 3).transpose(1, 2)

    score = sed_torch.score(Net(view_or_reshape), input_size=(2, 3, 8), frontend="fx")
    assert score.macs == 3 * (8 * 8 + 8 * 4)


# -- hooks -------------------------------------------------------------------------------------------------------


class Watch:
    """A hook that is an object."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, module: nn.Module, args: Any, y: Tensor) -> None:
        self.seen.append((int(y.abs().max() > 0), y.mean().item()))


@pytest.mark.parametrize(
    "hook",
    [
        lambda m, args, y: m.count.append(int((y > 0).sum())),
        lambda m, args, y: m.count.append({"mean": float(y.mean()), "share": (y > 0).float().mean().item()}),
        Watch(),
    ],
)
def test_what_a_hook_notes_decides_nothing(hook: Any) -> None:
    model = Net(lambda m, y: y)
    model.a.count = []
    model.a.register_forward_hook(hook)
    found = sed_torch.score(model, input_size=(2, 8), frontend="fx")
    assert found.macs == 8 * 8 + 8 * 4
    assert any("noted by a hook" in words for words in found.assumed)
    assert model.a.count == []


def test_a_wrapped_forward_is_no_hook() -> None:
    model = Net(lambda m, y: y)
    inner = model.a.forward
    model.a.forward = lambda x: inner(x) if int(x.sum()) else x
    with pytest.raises(DataDependentError, match="asks for the values"):
        sed_torch.score(model, input_size=(2, 8), frontend="fx")


# -- objects -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Result:
    y: Any
    more: Any = None


class Pair(NamedTuple):
    a: Any
    b: Any


class Slotted:
    __slots__ = ("y",)

    def __init__(self, y: Any) -> None:
        self.y = y


@pytest.mark.parametrize(
    "wrap",
    [
        Result,
        lambda y: Result(None, [Result(y)]),
        lambda y: Pair(y, y),
        Slotted,
        lambda y: types.SimpleNamespace(out={"y": y}),
        lambda y: (t for t in [y]),
        lambda y: torch.distributions.Categorical(logits=y),
        lambda y: torch.distributions.Independent(torch.distributions.Normal(y, y.exp()), 1),
        lambda y: nn.utils.rnn.PackedSequence(y, torch.tensor([2])),
    ],
)
def test_tensors_in_objects_that_are_returned_are_found(wrap: Callable[[Tensor], Any]) -> None:
    class Wraps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Any:
            return wrap(self.a(x))

    score = sed_torch.score(Wraps(), input_size=(2, 8), frontend="fx")
    assert score.macs == 32
    assert float(score) == pytest.approx(float(sed_torch.score(nn.Linear(8, 4), input_size=(2, 8))))
