"""Random networks of many operators: laws of the score, and the calculus against white noise sent through them.

A network is drawn as nested plain tuples (:mod:`test_laws` has the frame; more operators join here). What broke a
law once is kept in ``regressions/networks.json`` and tried first, always. Draws are the same in every run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from support.networks import GUISES, Guise, Spec, _module as plain_module, assert_same, few, laws
from torch import Tensor, nn

import sed_torch
from sed_torch import Score

REGRESSIONS = Path(__file__).parent / "regressions" / "networks.json"
SIZES = {1: 12, 2: 12, 3: 6}
CHANNELS = 4
Network = tuple[Spec, ...]


# -- more operators ----------------------------------------------------------------------------------------------


class Do(nn.Module):
    """A function of the map and of layers that may be called more than once."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


class Product(nn.Module):
    def __init__(self, branches: list[nn.Module], reverse: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches[::-1] if reverse else branches)

    def forward(self, x: Tensor) -> Tensor:
        product = self.branches[0](x)
        for branch in list(self.branches)[1:]:
            product = product * branch(x)
        return product


def _tokens(x: Tensor, attend: nn.Module) -> Tensor:
    t = x.flatten(2).transpose(1, 2)
    t = attend(t, t, t, need_weights=False)[0]
    return t.transpose(1, 2).reshape(x.shape)


def _by_hand(x: Tensor, qkv: nn.Module) -> Tensor:
    q, k, v = qkv(x.flatten(2).transpose(1, 2)).chunk(3, -1)
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(x.shape)


def _windows(x: Tensor, mix: nn.Module) -> Tensor:
    """Window partition of two by two, as in Swin; maps of odd size are left alone."""
    n, c, h, w = x.shape
    if h % 2 or w % 2:
        return x
    t = x.roll((1, 1), (2, 3)).view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1)
    t = mix(t.reshape(-1, 4, c)).view(n, h // 2, w // 2, 2, 2, c)
    return t.permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w).roll((-1, -1), (2, 3))


def _rows(x: Tensor, lstm: nn.Module) -> Tensor:
    n, c, h, w = x.shape
    rows = lstm(x.permute(0, 2, 3, 1).reshape(n * h, w, c))[0]
    return rows.reshape(n, h, w, -1).permute(0, 3, 1, 2)


def _half_way(x: Tensor, conv: nn.Module) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.cat([conv(a), b], 1)


def _channels_last(x: Tensor, norm: nn.Module, fc: nn.Module) -> Tensor:
    return x + F.gelu(fc(norm(x.movedim(1, -1)))).movedim(-1, 1)


def _fold(x: Tensor) -> Tensor:
    return F.pixel_unshuffle(x, 2) if x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0 else x.repeat(1, 4, 1, 1)


ACTIVATIONS = ["ReLU", "GELU", "SiLU", "Mish", "ELU", "Hardswish", "Tanh", "LeakyReLU", "PReLU", "Softplus"]
MORE: dict[str, Callable[[Spec, int], tuple[nn.Module, int]]] = {
    "oblong": lambda op, c: (nn.Conv2d(c, c, (op[1], op[2]), padding=(op[1] // 2, op[2] // 2)), c),
    "transposed": lambda op, c: (nn.ConvTranspose2d(c, 4, op[1], op[2], 1, bias=False), 4),
    "same": lambda op, c: (nn.Conv2d(c, 6, op[1], padding="same", padding_mode="circular"), 6),
    "shuffle": lambda op, c: (nn.Sequential(nn.Conv2d(c, 16, 1), nn.PixelShuffle(2)), 4),
    "fold": lambda op, c: (Do(_fold), 4 * c),
    "adaptive": lambda op, c: (getattr(nn, f"Adaptive{op[1]}Pool2d")(op[2]), c),
    "lp": lambda op, c: (nn.LPPool2d(2, 2, 1), c),
    "oblong pool": lambda op, c: (nn.AvgPool2d((op[1], op[2]), 1, (op[1] // 2, op[2] // 2)), c),
    "group norm": lambda op, c: (nn.GroupNorm(1, c), c),
    "instance norm": lambda op, c: (nn.InstanceNorm2d(c, affine=True), c),
    "activation": lambda op, c: (getattr(nn, op[1])(), c),
    "attention": lambda op, c: (Do(_tokens, nn.MultiheadAttention(c, 1, batch_first=True)), c),
    "attention by hand": lambda op, c: (Do(_by_hand, nn.Linear(c, 3 * c)), c),
    "windows": lambda op, c: (Do(_windows, nn.Linear(c, c)), c),
    "rows": lambda op, c: (Do(_rows, nn.LSTM(c, 3, bidirectional=True, batch_first=True)), 6),
    "half way": lambda op, c: (
        (Do(_half_way, nn.Conv2d(c // 2, c // 2, 3, padding=1)), c) if c % 2 == 0 else (nn.Identity(), c)
    ),
    "channels last": lambda op, c: (Do(_channels_last, nn.LayerNorm(c), nn.Linear(c, c)), c),
    "twice": lambda op, c: (Do(lambda x, f: f(F.relu(f(x))), nn.Conv2d(c, c, op[1], padding=op[1] // 2)), c),
    "turn": lambda op, c: (Do(lambda x: x.transpose(2, 3).flip(3)), c),
    "every other": lambda op, c: (Do(lambda x: x[..., ::2] if x.shape[-1] > 1 else x), c),
    "clamp": lambda op, c: (Do(lambda x: (x.clamp(-3, 3).abs() + 1).sqrt() - x.mean() * 2), c),
    "resize": lambda op, c: (Do(lambda x: F.interpolate(x, scale_factor=op[1], mode="bilinear")), c),
    "in place": lambda op, c: (Do(lambda x: x.clone().mul_(2).add_(1)), c),
    "stacked": lambda op, c: (Do(lambda x: torch.stack([x, x], 1).mean(1)), c),
    "einsum": lambda op, c: (
        Do(lambda x, f: torch.einsum("nchw,dc->ndhw", x, f.weight), nn.Linear(c, 5, False)),
        5,
    ),
}

_ks = st.sampled_from([1, 2, 3, 5])
_odd = st.sampled_from([1, 3, 5])
_alone: dict[str, list[st.SearchStrategy[Any]]] = {
    "oblong": [_odd, _odd],
    "transposed": [st.sampled_from([3, 4]), st.sampled_from([1, 2])],
    "same": [_ks],
    "adaptive": [st.sampled_from(["Avg", "Max"]), st.sampled_from([1, 2, 3, 5, 7])],
    "oblong pool": [_odd, _odd],
    "activation": [st.sampled_from(ACTIVATIONS)],
    "twice": [_odd],
    "resize": [st.sampled_from([2.0, 1.5])],
}
_wide_op: st.SearchStrategy[Spec] = st.sampled_from(list(MORE)).flatmap(
    lambda kind: st.tuples(st.just(kind), *_alone.get(kind, []))
)
_conv = st.tuples(
    st.just("conv"),
    _odd,
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2, 0]),
    st.sampled_from([None, 4, 8]),
)
_pool = st.tuples(st.just("pool"), st.sampled_from(["avg", "max"]), st.sampled_from([1, 2]))
_simple = st.one_of(_conv, _pool, st.just(("norm",)), st.just(("act", "relu")), st.just(("se",)))
_kept = st.one_of(  # size and channels stay
    st.tuples(st.just("conv"), _odd, st.just(1), st.just(1), st.sampled_from([1, 2, 0]), st.none()),
    st.tuples(st.just("pool"), st.sampled_from(["avg", "max"]), st.just(1)),
    st.sampled_from([("norm",), ("se",), ("group norm",), ("attention",), ("channels last",), ("half way",)]),
    st.sampled_from([("windows",), ("attention by hand",), ("twice", 3), ("in place",), ("clamp",)]),
)
_branches = st.lists(st.lists(_kept, max_size=3).map(tuple), min_size=2, max_size=3).map(tuple)
_merge = st.tuples(st.sampled_from(["add", "cat", "times"]), _branches)
wide: st.SearchStrategy[Network] = st.lists(
    st.one_of(_wide_op, _wide_op, _simple, _merge), min_size=1, max_size=6
).map(lambda body: (*body, ("conv", 3, 1, 1, 1, 8), ("head",)))
other_ranks: st.SearchStrategy[tuple[int, Network]] = st.tuples(
    st.sampled_from([1, 3]),
    st.lists(
        st.one_of(
            _simple,
            st.tuples(
                st.sampled_from(["add", "cat"]),
                _plain_branches := st.lists(
                    st.lists(
                        st.one_of(_kept.filter(lambda op: op[0] in ("conv", "pool", "norm"))), max_size=2
                    ).map(tuple),
                    min_size=2,
                    max_size=3,
                ).map(tuple),
            ),
        ),
        min_size=1,
        max_size=4,
    ).map(lambda body: (*body, ("conv", 3, 1, 1, 1, 8), ("head",))),
)


# -- building ----------------------------------------------------------------------------------------------------


def _of_rank(op: Spec, c: int, rank: int) -> tuple[nn.Module, int] | None:
    """The layers of :mod:`test_laws` in one or three dimensions."""
    if op[0] == "conv":
        built, c_out = plain_module(op, c, Guise())
        assert isinstance(built, nn.Conv2d)
        numbers = (built.kernel_size[0], built.stride[0], built.padding[0], built.dilation[0], built.groups)  # type: ignore[index]
        return getattr(nn, f"Conv{rank}d")(c, c_out, *numbers, bias=False), c_out
    if op[0] == "pool":
        return getattr(nn, {"avg": "AvgPool", "max": "MaxPool"}[op[1]] + f"{rank}d")(3, op[2], 1), c
    if op[0] == "norm":
        return getattr(nn, f"BatchNorm{rank}d")(c), c
    if op[0] == "se":
        gate = Do(
            lambda x, f: x * f(x.flatten(2).mean(2)).sigmoid().view(*x.shape[:2], *[1] * rank),
            nn.Linear(c, c),
        )
        return gate, c
    if op[0] == "head":
        return Do(lambda x, f: f(x.flatten(2).mean(2)), nn.Linear(c, 10)), 10
    return None


def _layer(op: Spec, c: int, guise: Guise, rank: int) -> tuple[nn.Module, int]:
    if op[0] in ("add", "cat", "times"):
        built = [_network(branch, c, guise, rank) for branch in op[1]]
        modules = [m for m, _ in built]
        if op[0] == "times":
            return Product(modules, guise.reverse), c
        merge, c_out = plain_module((op[0], ()), c, guise)
        merge.branches = nn.ModuleList(modules[::-1] if guise.reverse else modules)
        return merge, sum(n for _, n in built) if op[0] == "cat" else c_out
    if op[0] in MORE:
        return MORE[op[0]](op, c)
    other = _of_rank(op, c, rank) if rank != 2 else None
    return other if other is not None else plain_module(op, c, guise)


def _network(ops: Network, c: int, guise: Guise, rank: int = 2) -> tuple[nn.Module, int]:
    net = nn.Sequential()
    for i, op in enumerate(ops):
        module, c = _layer(op, c, guise, rank)
        if guise.nested:
            module = nn.Sequential(nn.Sequential(module))
        if guise.identities:
            module = nn.Sequential(nn.Identity(), module, nn.Dropout(0.5))
        net.add_module(f"{guise.names}{i}", module)
    return net, c


def build(spec: Network, guise: Guise | None = None, rank: int = 2, device: str = "meta") -> nn.Module:
    with torch.device(device):
        return _network(spec, CHANNELS, guise or Guise(), rank)[0]


def score(model: nn.Module, batch: int = 1, rank: int = 2, **options: Any) -> Score:
    return sed_torch.score(model, input_size=(batch, CHANNELS, *[SIZES[rank]] * rank), **options)


# -- laws --------------------------------------------------------------------------------------------------------


def law_of_guises(spec: Network, rank: int = 2) -> None:
    expected = score(build(spec, rank=rank), rank=rank)
    assert expected.total is not None
    assert math.isfinite(expected.total)
    assert (expected.coverage, expected.unknown) == (1.0, ())
    for guise in GUISES.values():
        # (x + x) + f(x) hides from its second sum that x is a skip; x + f(x) + x does not. The total is the same.
        in_order = not guise.reverse or "'add'" not in repr(spec)
        assert_same(score(build(spec, guise, rank), rank=rank), expected, skips=in_order)


def law_of_states(spec: Network, rank: int = 2) -> None:
    expected = score(build(spec, rank=rank), rank=rank)
    assert_same(score(build(spec, rank=rank).train(), rank=rank), expected)
    assert_same(score(build(spec, rank=rank).eval(), rank=rank), expected)
    assert_same(score(build(spec, rank=rank).half(), rank=rank), expected)
    assert_same(score(build(spec, rank=rank).to_empty(device="cpu"), rank=rank), expected)
    assert_same(score(build(spec, rank=rank), batch=3, rank=rank), expected)


def law_of_front_ends(spec: Network, rank: int = 2) -> None:
    a, b = (score(build(spec, rank=rank), rank=rank, frontend=f) for f in ("fx", "export"))
    assert (a.frontend, b.frontend) == ("fx", "export")
    assert_same(a, b)


LAWS = {"guises": law_of_guises, "states": law_of_states, "front ends": law_of_front_ends}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def regressions() -> list[Any]:
    """Networks that broke a law once."""
    rows = json.loads(REGRESSIONS.read_text(encoding="utf-8"))
    return [pytest.param(_frozen(row["network"]), row["rank"], id=row["what"]) for row in rows]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("network", "rank"), regressions())
def test_what_broke_a_law_once_keeps_it(law: str, network: Network, rank: int) -> None:
    LAWS[law](network, rank)


@pytest.mark.slow
@laws
@given(wide)
def test_networks_of_all_operators_score_the_same_in_any_guise(spec: Network) -> None:
    law_of_guises(spec)


@pytest.mark.slow
@laws
@given(wide)
def test_networks_of_all_operators_score_the_same_in_any_state(spec: Network) -> None:
    law_of_states(spec)


@pytest.mark.slow
@few
@given(wide)
def test_front_ends_agree_on_all_operators(spec: Network) -> None:
    law_of_front_ends(spec)


@few
@given(other_ranks)
def test_laws_hold_in_one_and_three_dimensions(drawn: tuple[int, Network]) -> None:
    rank, spec = drawn
    law_of_guises(spec, rank)
    law_of_states(spec, rank)
