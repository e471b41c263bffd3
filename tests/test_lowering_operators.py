"""Operators and layers as real code spells them, each with totals, parameters and MACs derived by hand.

The calculus: ``total = ln Σ A·C_out·√(C_in/g·n_eff)``, the form sed/1, which is easily written by hand; white maps
have ``n_eff = n``, the number of taps.
"""

from __future__ import annotations

import doctest
import functools
import importlib
import math
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.models import Hooked, Shared
from support.versions import NO_EXPORT, OLD
from torch import Tensor, nn

import sed_torch
from sed_torch import Score

score = functools.partial(sed_torch.score, definition="sed/1")
"""The form whose sum is easily written by hand: what is tried here is what reaches it, not the form."""

not_on_old_torch = pytest.mark.skipif(OLD, reason=NO_EXPORT)
"""For ``frontend="export"`` only: the fx front-end, which comes first, takes these on every torch."""
BOTH = ["fx", pytest.param("export", marks=not_on_old_torch)]


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
    return score(model, input_size=size)


@pytest.mark.parametrize("module", ["sed_torch.scoring.model", "sed_torch.building"])
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
    a = score(Then(one, reader, smooth), input_size=size, frontend=frontend)
    b = score(Then(other, reader, smooth), input_size=size)
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
        s = score(Model(), input_size=(5, 6), frontend=frontend)  # type: ignore[arg-type]
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

    s = score(Model(), input_size=(1, 3, 8, 8), frontend=frontend)
    amplitude = 64 * 3 * math.sqrt(3 * 9)  # two convolutions of a white map; the other one is dead
    assert s.total == pytest.approx(math.log(2 * amplitude))
    assert s.suppression == pytest.approx(1.0)


# -- what real code does, with values by hand ----------------------------------------------------------------


def amplitude(positions: float, c_out: int, reads: float) -> float:
    """A·C_out·√(C_in/g·n) of one operator on a white map."""
    return positions * c_out * math.sqrt(reads)


def check(
    model: nn.Module,
    amplitudes: list[float],
    *,
    macs: float,
    params: int,
    size: Any = (1, 3, 8, 8),
    **options: Any,
) -> Score:
    """Total, MACs and parameters; everything known, nothing opaque."""
    s = score(model, input_size=size, **options)
    assert (s.unknown, s.coverage, s.node_coverage) == ((), 1.0, 1.0)
    assert s.frontend == options.get("frontend", "fx")
    assert s.total == pytest.approx(math.log(sum(amplitudes)), abs=1e-9)
    assert s.macs == pytest.approx(macs)
    assert s.params == params
    return s


class Holds(nn.Module):
    """Modules by name and a forward from outside: ``f(self, x)``."""

    def __init__(self, f: Callable[..., Any], **modules: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.f = f

    def forward(self, *x: Tensor) -> Any:
        return self.f(self, *x)


def conv(c_in: int = 3, c_out: int = 4, k: int = 3, **kwargs: Any) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, k, padding=k // 2, **kwargs)


CONV = amplitude(64, 4, 3 * 9)
"""3 → 4 channels, 3 × 3, on 8 × 8 positions."""
NEXT = amplitude(64, 4, 4 * 9)
"""The same from 4 channels."""


@pytest.mark.parametrize("frontend", ["fx", "export"])
def test_weight_standardisation(frontend: str) -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            w = self.weight
            mean, var = w.mean((1, 2, 3), keepdim=True), w.var((1, 2, 3), keepdim=True, unbiased=False)
            return self._conv_forward(x, (w - mean) / (var + 1e-5).sqrt(), self.bias)

    check(Standardised(3, 4, 3, padding=1), [CONV], macs=64 * 108, params=112, frontend=frontend)
    std = pytest.importorskip("timm.layers").ScaledStdConv2d(3, 4, 3, padding=1)
    check(std, [CONV], macs=64 * 108, params=108 + 4 + 4, frontend=frontend)


@pytest.mark.parametrize("frontend", ["fx", "export"])
def test_shared_modules_and_tied_weights(frontend: str) -> None:
    s = check(
        Shared(),
        [amplitude(64, 4, 3), *[NEXT] * 4],
        macs=64 * 12 + 4 * 64 * 144,
        params=12 + 4 + 144 + 4 + 4,
        frontend=frontend,
    )
    # every use of a weight counts, and its parameters once
    assert sum(r.params for r in s.by_op()) == s.params


@pytest.mark.parametrize("frontend", ["fx", "export"])
def test_methods_that_were_replaced_on_instances(frontend: str) -> None:
    def doubled(self: nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, self.weight, padding=1)[:, :3], self.weight, padding=1)

    model = nn.Sequential(conv(bias=False), nn.ReLU())
    model[0].forward = types.MethodType(doubled, model[0])  # type: ignore[method-assign]
    check(model, [CONV, CONV], macs=2 * 64 * 108, params=108, frontend=frontend)

    model = nn.Sequential(conv(bias=False), nn.ReLU())
    inner = model[0].forward
    model[0].forward = lambda x: inner(x) + 1  # type: ignore[method-assign]
    model.forward = model[0].forward  # type: ignore[method-assign]
    check(model, [CONV], macs=64 * 108, params=108, frontend=frontend)


@pytest.mark.parametrize("frontend", BOTH)
def test_hooks_take_part(frontend: str) -> None:
    """Pre-hook ×2, the hook of the last layer pools 6 × 6 to 3 × 3: two convolutions of white maps."""
    amplitudes = [CONV, amplitude(36, 4, 36)]
    check(
        Hooked(), amplitudes, macs=64 * 108 + 36 * 144, params=112 + 148, size=(1, 3, 8, 8), frontend=frontend
    )

    model = nn.Sequential(conv(), conv(4))
    model[0].register_forward_hook(lambda m, args, y: F.max_pool2d(y, 2))
    s = score(model, input_size=(1, 3, 8, 8), frontend=frontend)  # type: ignore[arg-type]
    assert s.macs == 64 * 108 + 16 * 144


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("frontend", BOTH)
@pytest.mark.parametrize(
    ("norm", "more", "work"),
    [
        # u·(W v) of a 4×27 matrix; the Cayley map's product of 4·3 matrices of 3×3 (torch counts it too)
        (nn.utils.spectral_norm, 0, 4 * 27 + 4),
        (nn.utils.parametrizations.spectral_norm, 0, 4 * 27 + 4),
        (nn.utils.weight_norm, 4, 0),
        (nn.utils.parametrizations.weight_norm, 4, 0),
        (nn.utils.parametrizations.orthogonal, 0, 12 * 27),
    ],
    ids=["old spectral", "spectral", "old weight", "weight", "orthogonal"],
)
def test_reparametrised_weights(norm: Any, more: int, work: int, frontend: str) -> None:
    """What is done to a weight adds its work and nothing to the score: the convolution alone scores."""
    s = check(norm(conv()), [CONV], macs=64 * 108 + work, params=112 + more, frontend=frontend)
    assert s.evaluation.topology.independent_macs == work


@pytest.mark.parametrize(
    "factory", ["rand_like", "randn", "empty_like.normal_", "bernoulli", "dropout", "randperm"]
)
def test_random_tensors_are_made_without_a_draw(factory: str) -> None:
    makers: dict[str, Callable[[Tensor], Tensor]] = {
        "rand_like": lambda y: y + torch.rand_like(y),
        "randn": lambda y: y + torch.randn(y.shape, device=y.device, dtype=y.dtype),
        "empty_like.normal_": lambda y: y + torch.empty_like(y).normal_(),
        "bernoulli": lambda y: y * torch.bernoulli(torch.full(y.shape, 0.5)),
        "dropout": lambda y: F.dropout(y, 0.5, training=True) + F.dropout(torch.ones(y.shape), 0.5, True),
        "randperm": lambda y: y[:, torch.randperm(y.shape[1])],
    }
    model = Holds(lambda m, x: m.b(makers[factory](m.a(x))), a=conv(), b=conv(4))
    before = torch.get_rng_state()
    check(model, [CONV, NEXT], macs=64 * (108 + 144), params=112 + 148)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning")
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_blocks(reentrant: bool) -> None:
    from torch.utils.checkpoint import checkpoint, checkpoint_sequential

    model = Holds(lambda m, x: checkpoint(m.b, m.a(x), use_reentrant=reentrant), a=conv(), b=conv(4))
    s = check(model, [CONV, NEXT], macs=64 * (108 + 144), params=112 + 148)
    assert {r.path for r in s.by_block(1) if r.params} == {"a", "b"}
    model = Holds(
        lambda m, x: checkpoint_sequential(m.s, 2, x, use_reentrant=reentrant),
        s=nn.Sequential(conv(), conv(4)),
    )
    check(model, [CONV, NEXT], macs=64 * (108 + 144), params=112 + 148)


def test_autograd_functions_are_followed() -> None:
    class Straight(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
            ctx.save_for_backward(x, w)
            return F.conv2d(x, w.sign(), padding=1)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Any:
            raise NotImplementedError

    class Passes(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.mark_dirty()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Any:
            raise NotImplementedError

    model = Holds(
        lambda m, x: m.b(Passes.apply(Straight.apply(x, m.a.weight))), a=conv(bias=False), b=conv(4)
    )
    check(model, [CONV, NEXT], macs=64 * (108 + 144), params=108 + 148)


# -- attention, recurrence, sequences --------------------------------------------------------------------------

PROJECTION = 5 * 8 * 8
"""MACs of a linear layer 8 → 8 at five tokens."""


def sequence(batch_first: bool) -> tuple[int, int, int]:
    return (1, 5, 8) if batch_first else (5, 1, 8)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("weights", [True, False])
def test_multi_head_attention(batch_first: bool, weights: bool) -> None:
    """Four projections at five tokens, and the products QKᵀ and PV of 5 × 5 × 8 each."""
    model = Holds(
        lambda m, x: m.a(x, x, x, need_weights=weights)[0],
        a=nn.MultiheadAttention(8, 2, batch_first=batch_first),
    )
    check(
        model,
        [amplitude(5, 8, 8)] * 4,
        macs=4 * PROJECTION + 2 * 5 * 5 * 8,
        params=3 * 64 + 24 + 64 + 8,
        size=sequence(batch_first),
    )


def test_attention_between_sequences_of_different_widths() -> None:
    model = Holds(
        lambda m, q, k, v: m.a(q, k, v)[0], a=nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)
    )
    check(
        model,
        [amplitude(5, 8, 8), amplitude(7, 8, 6), amplitude(7, 8, 4), amplitude(5, 8, 8)],
        macs=5 * 64 + 7 * 48 + 7 * 32 + 5 * 64 + 2 * 5 * 7 * 8,
        params=64 + 48 + 32 + 24 + 64 + 8,
        size=[(1, 5, 8), (1, 7, 6), (1, 7, 4)],
    )


@pytest.mark.parametrize("frontend", ["fx", "export"])
def test_attention_in_three_spellings(frontend: str) -> None:
    def by_hand(m: Any, x: Tensor) -> Tensor:
        q, k, v = m.qkv(x).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        p = (q @ k.transpose(-2, -1) * 0.5).softmax(-1)
        return m.out((p @ v).transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]

    def fused(m: Any, x: Tensor) -> Tensor:
        q, k, v = m.qkv(x).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        return m.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def summed(m: Any, x: Tensor) -> Tensor:
        q, k, v = m.qkv(x).view(*x.shape[:2], 3, 2, 4).unbind(2)
        p = torch.einsum("bqhd,bkhd->bhqk", q, k).softmax(-1)
        return m.out(torch.einsum("bhqk,bkhd->bqhd", p, v).flatten(2))  # type: ignore[no-any-return]

    for forward in (by_hand, fused, summed):
        check(
            Holds(forward, qkv=nn.Linear(8, 24), out=nn.Linear(8, 8)),
            [amplitude(5, 24, 8), amplitude(5, 8, 8)],
            macs=4 * PROJECTION + 2 * 5 * 5 * 8,
            params=3 * 64 + 24 + 64 + 8,
            size=(1, 5, 8),
            frontend=frontend,
        )


ENCODER = [amplitude(5, 8, 8)] * 4 + [amplitude(5, 16, 8), amplitude(5, 8, 16)]
ENCODER_MACS = 4 * PROJECTION + 2 * 5 * 5 * 8 + 2 * 5 * 8 * 16
ENCODER_PARAMS = (3 * 64 + 24 + 64 + 8) + (8 * 16 + 16) + (16 * 8 + 8) + 2 * 16


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_transformer_encoder(batch_first: bool, norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, norm_first=norm_first)
    check(layer, ENCODER, macs=ENCODER_MACS, params=ENCODER_PARAMS, size=sequence(batch_first))
    stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    check(stack, ENCODER * 2, macs=2 * ENCODER_MACS, params=2 * ENCODER_PARAMS, size=sequence(batch_first))


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.parametrize("batch_first", [True, False])
def test_transformer(batch_first: bool) -> None:
    """An encoder layer; a decoder layer attends twice; both ends have a norm."""
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=batch_first)
    attention = 4 * PROJECTION + 2 * 5 * 5 * 8
    check(
        model,
        [*ENCODER, *[amplitude(5, 8, 8)] * 4, *ENCODER],
        macs=ENCODER_MACS + attention + ENCODER_MACS,
        params=ENCODER_PARAMS * 2 + (4 * 64 + 32) + 16 + 2 * 16,
        size=[sequence(batch_first)] * 2,
    )


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(kind: Any, gates: int, batch_first: bool) -> None:
    """Two layers, both directions, five steps: each mixes its input and its state into the gates."""
    g = gates * 6
    model = Holds(lambda m, x: m.r(x)[0], r=kind(8, 6, 2, bidirectional=True, batch_first=batch_first))
    first, second = [amplitude(5, g, 8), amplitude(5, g, 6)], [amplitude(5, g, 12), amplitude(5, g, 6)]
    check(
        model,
        first * 2 + second * 2,
        macs=2 * 5 * g * (8 + 6) + 2 * 5 * g * (12 + 6),
        params=2 * g * (8 + 6 + 2) + 2 * g * (12 + 6 + 2),
        size=sequence(batch_first),
    )


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
def test_recurrent_cells(kind: Any, gates: int) -> None:
    g = gates * 6

    def unrolled(m: Any, x: Tensor) -> Tensor:
        state: Any = None
        for t in range(x.shape[1]):
            state = m.cell(x[:, t], state)
        return state[0] if isinstance(state, tuple) else state  # type: ignore[no-any-return]

    check(
        Holds(unrolled, cell=kind(8, 6)),
        [amplitude(1, g, 8), amplitude(1, g, 6)] * 3,
        macs=3 * g * (8 + 6),
        params=g * (8 + 6 + 2),
        size=(1, 3, 8),
    )


def test_lstm_with_projections() -> None:
    """Hidden 6, projected to 2: the state that is read is the projection, made by a product of its own."""
    model = Holds(lambda m, x: m.r(x)[0], r=nn.LSTM(8, 6, proj_size=2, batch_first=True))
    s = score(model, input_size=(1, 5, 8))
    assert s.params == 24 * (8 + 2 + 2) + 2 * 6
    assert s.unknown == ()
    assert s.macs == 5 * 24 * (8 + 2) + 5 * 2 * 6


def test_sequences_without_a_batch() -> None:
    lstm = Holds(lambda m, x: m.r(x)[0], r=nn.LSTM(8, 6))
    check(lstm, [amplitude(5, 24, 8), amplitude(5, 24, 6)], macs=5 * 24 * 14, params=24 * 16, size=(5, 8))
    attention = Holds(lambda m, x: m.a(x, x, x)[0], a=nn.MultiheadAttention(8, 2))
    check(attention, [amplitude(5, 8, 8)] * 4, macs=4 * PROJECTION + 400, params=288, size=(5, 8))


def test_tokens_with_the_batch_second() -> None:
    """As in word language models: (tokens, batch) through an embedding into a sequence-first LSTM."""
    model = Holds(
        lambda m, x: m.out(m.r(m.e(x))[0]), e=nn.Embedding(9, 8), r=nn.LSTM(8, 6), out=nn.Linear(6, 9)
    )
    amplitudes = [amplitude(5, 24, 8), amplitude(5, 24, 6), amplitude(5, 9, 6)]
    for batch in (1, 3):
        check(
            model,
            amplitudes,
            macs=5 * 24 * 14 + 5 * 54,
            params=72 + 24 * 16 + 63,
            size=(5, batch),
        )


def test_a_state_keeps_its_encoder_alive() -> None:
    """Sequence to sequence: the decoder reads the encoder through its initial state alone."""

    def translate(m: Any, x: Tensor, y: Tensor) -> Tensor:
        return m.decode(y, m.encode(x)[1])[0]  # type: ignore[no-any-return]

    model = Holds(translate, encode=nn.GRU(8, 6, batch_first=True), decode=nn.GRU(4, 6, batch_first=True))
    check(
        model,
        [amplitude(7, 18, 8), amplitude(7, 18, 6), amplitude(5, 18, 4), amplitude(5, 18, 6)],
        macs=7 * 18 * 14 + 5 * 18 * 10,
        params=18 * 16 + 18 * 12,
        size=[(1, 7, 8), (1, 5, 4)],
    )


def test_what_steers_an_operator_is_alive() -> None:
    """Weights, grids, masks and indices that are computed from the input lie on a path to the output."""
    steered: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "weights": lambda m, x: F.conv2d(
            x, m.s(x).mean((2, 3)).view(1, 3, 1, 1).expand(4, 3, 3, 3), padding=1
        ),
        "a grid": lambda m, x: F.conv2d(
            F.grid_sample(x, m.s(x)[:, :2].permute(0, 2, 3, 1), align_corners=False),
            torch.ones(4, 3, 3, 3),
            padding=1,
        ),
        "a mask": lambda m, x: F.conv2d(x.masked_fill(m.s(x) > 0, 0.0), torch.ones(4, 3, 3, 3), padding=1),
        "an index": lambda m, x: F.conv2d(
            x[:, m.s(x).mean((0, 2, 3)).argsort()], torch.ones(4, 3, 3, 3), padding=1
        ),
    }
    for steer in steered.values():
        model = Holds(steer, s=conv(3, 3))
        s = score(model, input_size=(1, 3, 8, 8))
        assert s.total == pytest.approx(math.log(CONV + amplitude(64, 3, 27))), steer
        assert s.macs == 64 * (108 + 81)


# -- contractions, windows, resampling --------------------------------------------------------------------------


@pytest.mark.parametrize("frontend", ["fx", "export"])
def test_contractions_with_weights_are_linear_layers(frontend: str) -> None:
    """A 1 × 1 convolution 4 → 6 in seven spellings."""
    spellings: dict[str, Callable[..., Tensor]] = {
        "einsum": lambda m, x: torch.einsum("bchw,dc->bdhw", x, m.w),
        "einsum with dots": lambda m, x: torch.einsum("bc...,dc->bd...", x, m.w),
        "tensordot": lambda m, x: torch.tensordot(m.w, x, ([1], [1])),
        "matmul": lambda m, x: m.w @ x.flatten(2),
        "bmm": lambda m, x: torch.bmm(m.w.expand(x.shape[0], -1, -1), x.flatten(2)),
        "linear": lambda m, x: F.linear(x.permute(0, 2, 3, 1), m.w),
        "matmul of channels last": lambda m, x: x.movedim(1, -1) @ m.w.t(),
    }
    for spelling in spellings.values():
        check(
            Holds(
                lambda m, x, spelling=spelling: spelling(m, m.a(x)),
                a=conv(),
                w=nn.Parameter(torch.ones(6, 4)),
            ),
            [CONV, amplitude(64, 6, 4)],
            macs=64 * 108 + 64 * 24,
            params=112 + 24,
            frontend=frontend,
        )


@pytest.mark.parametrize("frontend", ["fx", "export"])
def test_unfold_and_fold(frontend: str) -> None:
    """A 3 × 3 convolution by hand: 27 entries of a patch, four outputs at 64 places."""
    columns = lambda m, x: (m.w @ F.unfold(x, 3, padding=1)).view(-1, 4, 8, 8)  # noqa: E731
    weight = nn.Parameter(torch.ones(4, 27))
    check(Holds(columns, w=weight), [CONV], macs=64 * 108, params=108, frontend=frontend)
    # out of the map and back, by patches: what comes back is a map
    fold = lambda m, x: m.b(F.fold(F.unfold(m.a(x), 2, stride=2), 8, 2, stride=2))  # noqa: E731
    check(Holds(fold, a=conv(), b=conv(4)), [CONV, NEXT], macs=64 * 252, params=112 + 148, frontend=frontend)


@pytest.mark.parametrize("frontend", ["fx", "export"])
def test_transposed_convolutions(frontend: str) -> None:
    """Kernel 4, stride 2: each output reads 2 × 2 taps. Kernel 3, stride 2: four phases of 4, 2, 2 and 1 taps."""
    four = nn.ConvTranspose2d(3, 4, 4, 2, 1)
    check(four, [amplitude(256, 4, 3 * 4)], macs=64 * 3 * 4 * 16, params=3 * 4 * 16 + 4, frontend=frontend)
    three = nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1)
    phases = [amplitude(64, 4, 3 * n) for n in (4, 2, 2, 1)]
    check(three, phases, macs=64 * 3 * 4 * 9, params=3 * 4 * 9 + 4, frontend=frontend)
    grouped = nn.Sequential(conv(), nn.ConvTranspose2d(4, 4, 2, 2, groups=2))
    check(
        grouped,
        [CONV, amplitude(256, 4, 2)],
        macs=64 * 108 + 64 * 2 * 4 * 4,
        params=112 + 4 * 2 * 4 + 4,
        frontend=frontend,
    )


def test_resampling_in_its_spellings() -> None:
    smooth = nn.Sequential(conv(), nn.Upsample(scale_factor=2), conv(4))
    expected = scored(smooth, 1, 3, 8, 8)
    assert 0 < (expected.suppression or 0) < 1
    for up in (
        nn.UpsamplingNearest2d(scale_factor=2),
        nn.Upsample(size=(16, 16), mode="nearest-exact"),
        Holds(lambda m, x: F.interpolate(x, size=(16, 16))),
        Holds(lambda m, x: F.interpolate(x, scale_factor=2.0, mode="nearest", recompute_scale_factor=True)),
        Holds(lambda m, x: x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(1, 4, 16, 16)),
    ):
        s = scored(nn.Sequential(conv(), up, conv(4)), 1, 3, 8, 8)
        assert s.total == pytest.approx(expected.total, abs=1e-9), up
        assert s.macs == 64 * 108 + 256 * 144
    shuffled = nn.Sequential(conv(3, 16), nn.PixelShuffle(2), conv(4))
    # neighbours come from different channels: white
    check(
        shuffled,
        [amplitude(64, 16, 27), amplitude(256, 4, 36)],
        macs=64 * 432 + 256 * 144,
        params=16 * 28 + 148,
    )
    back = nn.Sequential(conv(), nn.PixelUnshuffle(2), conv(16))
    check(back, [CONV, amplitude(16, 4, 144)], macs=64 * 108 + 16 * 576, params=112 + 580)


def test_deformable_convolution() -> None:
    ops = pytest.importorskip("torchvision.ops")
    model = Holds(
        lambda m, x: m.d(x, m.offset(x)), offset=conv(3, 18), d=ops.DeformConv2d(3, 4, 3, padding=1)
    )
    check(
        model,
        [amplitude(64, 18, 27), CONV],
        macs=64 * 18 * 27 + 64 * 108,
        params=18 * 28 + 112,
    )


@pytest.mark.parametrize("frontend", BOTH)
def test_fourier_transforms_keep_the_map(frontend: str) -> None:
    mixed = Holds(lambda m, x: m.b(torch.fft.fft2(m.a(x)).real), a=conv(), b=conv(4))
    check(mixed, [CONV, NEXT], macs=64 * 252, params=112 + 148, frontend=frontend)


# -- MACs against torch's own counter -----------------------------------------------------------------------------

COUNTED = [
    "resnet50",
    "vit_base_patch16_224",
    "convnext_tiny",
    "swin_tiny_patch4_window7_224",
    "efficientnet_b0",
    "mobilevit_s",
    "maxvit_tiny_rw_224",
    "xcit_nano_12_p16_224",  # with products of positions that no input reaches, which only torch counts
    "lambda_resnet26t",
]


@pytest.mark.parametrize("name", COUNTED)
def test_macs_are_half_the_flops_of_torchs_counter(name: str) -> None:
    timm = pytest.importorskip("timm")
    from torch.utils.flop_counter import FlopCounterMode

    model = timm.create_model(name).eval().to("meta")
    s = score(model)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(s.inputs[0], device="meta"))
    assert s.macs == pytest.approx(counter.get_total_flops() / 2, rel=0.01)


@pytest.mark.parametrize("batch_first", [True, False])
def test_macs_of_torchs_own_layers(batch_first: bool) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(32, 4, 64, batch_first=batch_first), 2, enable_nested_tensor=False
    )
    x = torch.zeros((1, 17, 32) if batch_first else (17, 1, 32))
    with FlopCounterMode(display=False) as counter:
        model.train()(x)
    assert scored(model, *x.shape).macs == pytest.approx(counter.get_total_flops() / 2)
