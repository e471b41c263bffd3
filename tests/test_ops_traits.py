"""Traits of the operator table against torch itself: what autograd really keeps, and what the values really do."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sed_torch.ops import OPS, Op

# Operators that take one tensor and nothing else; the rest need arguments and are tried below.
_ARGUMENTS: dict[str, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    "clamp": lambda f: lambda x: f(x, -0.5, 0.5),
    "pow": lambda f: lambda x: f(x, 3),
    "remainder": lambda f: lambda x: f(x, 0.7),
    "threshold": lambda f: lambda x: f(x, 0.1, 0.0),
    "softmax": lambda f: lambda x: f(x, -1),
    "log_softmax": lambda f: lambda x: f(x, -1),
    "softmin": lambda f: lambda x: f(x, -1),
    "cumsum": lambda f: lambda x: f(x, -1),
    "cumprod": lambda f: lambda x: f(x, -1),
    "logcumsumexp": lambda f: lambda x: f(x, -1),
    "flip": lambda f: lambda x: f(x, (-1,)),
    "roll": lambda f: lambda x: f(x, 1, -1),
    "glu": lambda f: lambda x: f(x, -1),
    "gumbel_softmax": lambda f: lambda x: f(x),
    "renorm": lambda f: lambda x: f(x, 2, 0, 1.0),
    "amax": lambda f: lambda x: f(x, -1),
    "amin": lambda f: lambda x: f(x, -1),
    "logsumexp": lambda f: lambda x: f(x, -1),
    "eq": lambda f: lambda x: f(x, 0.0),
    "logit": lambda f: lambda x: f(x, 1e-3),
    "logical_not": lambda f: lambda x: f(x),
    "dropout": lambda f: lambda x: f(x, 0.5, True),
    "channel_shuffle": lambda f: lambda x: f(x, 2),
    "local_response_norm": lambda f: lambda x: f(x, 3),
    "pad": lambda f: lambda x: f(x, (1, 1)),
}


def _function(op: Op) -> Callable[[Tensor], Tensor] | None:
    """The operator as a function of one tensor, if it is one."""
    if op.has("random") or op.rule not in ("keep", "gate", "reduce", "norm"):
        return None
    f = getattr(torch, op.name, None) or getattr(F, op.name, None)
    if f is None:
        return None
    call: Callable[[Tensor], Tensor] = _ARGUMENTS.get(op.name, lambda g: g)(f)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.lu is deprecated
            result = call(_x())
    except (TypeError, RuntimeError, ValueError):
        return None
    return call if isinstance(result, Tensor) else None


def _x(*, grad: bool = False) -> Tensor:
    x = torch.rand(2, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    return x.requires_grad_(grad)


def _signed() -> Tensor:
    return torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(1))


UNARY = {op.name: f for op in OPS if (f := _function(op)) is not None}


def test_most_rows_of_one_operand_are_tried() -> None:
    assert len(UNARY) >= 85


def _saved(y: Tensor) -> set[str]:
    """Names of tensors the last operator keeps."""
    kept = set()
    for name in dir(y.grad_fn):
        if name.startswith("_saved_"):
            value = getattr(y.grad_fn, name)
            kept |= {name.removeprefix("_saved_")} if isinstance(value, Tensor) else set()
    return kept


# Composites of torch: their last step alone tells nothing of the whole.
_COMPOSITE = frozenset(
    {"softsign", "tanhshrink", "softmin", "normalize", "local_response_norm", "selu", "norm"}
)


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
@pytest.mark.parametrize("name", sorted(UNARY.keys() - _COMPOSITE))
def test_rows_save_what_autograd_saves(name: str) -> None:
    op = OPS[name]
    y = UNARY[name](_x(grad=True))
    if not y.requires_grad:
        assert op.has("no_gradient")
        return
    kept = _saved(y)
    # torch may name its first operand by what it is
    first = kept & {"self", "input", "self_or_result"}
    result = kept & {"result", "out", "values"}
    if name not in ("max", "min", "median"):  # over all dimensions they keep what they do not over one
        assert bool(first) == op.has("saves_input"), kept
        assert bool(result) == op.has("saves_result"), kept


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
@pytest.mark.parametrize("name", sorted(UNARY))
def test_traits_of_values_hold(name: str) -> None:
    op, f = OPS[name], UNARY[name]
    for x in (_x(), _signed()):
        y = f(x)
        if op.has("elementwise"):
            other = x.clone()
            other[1] += 0.01
            torch.testing.assert_close(f(other)[0], y[0], equal_nan=True)
            other = x.clone()
            other[..., 1:] += 0.01
            torch.testing.assert_close(f(other)[..., 0], y[..., 0], equal_nan=True)
        if op.has("nonnegative"):
            assert not (y < 0).any()
        if op.has("idempotent"):
            assert torch.equal(f(y), y)
        if op.has("identity"):
            assert torch.equal(y, x)
        if op.has("linear") and y.is_floating_point():
            torch.testing.assert_close(f(3 * x) - f(0 * x), 3 * (f(x) - f(0 * x)))
        if op.has("no_gradient"):
            leaf = x.clone().requires_grad_()
            moved = f(leaf)
            assert not moved.requires_grad or not torch.autograd.grad(moved.sum(), leaf)[0].any()
        if op.has("saturates"):
            far = torch.linspace(-1e3, 1e3, 50)
            assert f(far).abs().nan_to_num().max() < 10
        if op.has("keeps_channels") and y.shape == x.shape:
            other = x.clone()
            other[:, 0] += 0.01
            torch.testing.assert_close(f(other)[:, 1:], y[:, 1:], equal_nan=True)


@pytest.mark.parametrize("name", sorted(OPS.having("activation")))
def test_an_activation_is_more_than_affine(name: str) -> None:
    f = UNARY.get(name)
    if f is None:
        pytest.skip("takes further arguments")
    x = torch.linspace(-4, 4, 33)
    assert not torch.allclose(f(x)[2:] - 2 * f(x)[1:-1] + f(x)[:-2], torch.zeros(31), atol=1e-4)


def test_asking_the_table_follows_its_rows() -> None:
    assert "relu" in OPS.having("activation")
    assert "relu" not in OPS.having("saves_input")
    own = Op("own_activation", "keep", ("own_activation",), frozenset({"activation"}))
    OPS.register(own)
    try:
        assert own.name in OPS.having("activation", "loss") & OPS.having("elementwise") & OPS.ruled("keep")
    finally:
        OPS.unregister(own.name)
    assert own.name not in OPS.having("activation")
