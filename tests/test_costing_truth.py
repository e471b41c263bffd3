"""Memory of the kinds of code where it is easily miscounted, held against torch's autograd and its allocations."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st
from support.memory import really_held, really_kept
from support.networks import few
from torch import Tensor, nn

import sed_torch
from sed_torch.costing import cost
from sed_torch.costing.modes import resting
from sed_torch.costing.storage import Storages
from sed_torch.costing.timeline import inference_timeline
from sed_torch.errors import TraceError
from sed_torch.graph import Graph
from sed_torch.tracing.asking import switched_by_mode
from sed_torch.tracing.watching import mode_reads


class Lambda(nn.Module):
    """A weight of 16×16 and what a function makes of it and the input."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.function = nn.Linear(16, 16), nn.Linear(16, 16), function
        self.drop, self.table = nn.Dropout(0.2), nn.Parameter(torch.zeros(16, 40))
        self.gain = nn.Parameter(torch.ones(16))
        self.register_buffer("basis", torch.randn(16, 16))
        self.register_buffer("places", torch.arange(64).reshape(8, 8) % 40)
        self.cache: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def heads(x: Tensor) -> Tensor:
    n, length, _ = x.shape
    return x.view(n, length, 4, 4).transpose(1, 2)


def einsum_of_strided(m: Any, x: Tensor) -> Tensor:
    return torch.einsum("bhqd,bhkd->bhqk", heads(m.a(x)), heads(m.b(x))).softmax(-1)


def einsum_in_place_order(m: Any, x: Tensor) -> Tensor:
    return torch.einsum("bld,de->ble", m.a(x), m.b.weight)


def einsum_of_swapped(m: Any, x: Tensor) -> Tensor:
    return torch.einsum("bdl,bed->ble", m.a(x).transpose(1, 2), m.b(x))


def linear_on_swapped(m: Any, x: Tensor) -> Tensor:
    return m.b(m.a(x.transpose(1, 2)[..., :1].expand(-1, -1, 16)).transpose(1, 2))


def product_with_a_fixed_matrix(m: Any, x: Tensor) -> Tensor:
    return m.b(m.a(x).transpose(1, 2).contiguous().transpose(1, 2) @ m.basis)


def spread_over_heads(m: Any, x: Tensor) -> Tensor:
    return (heads(m.a(x)) @ m.b(x).view(x.shape[0], 1, 4, -1)).sum(1)


def attention_of_strided(m: Any, x: Tensor) -> Tensor:
    q = m.a(x).view(x.shape[0], 4, 4, -1).transpose(2, 3)
    return F.scaled_dot_product_attention(q, q, m.b(x).view(x.shape[0], 4, -1, 4))


def attention_of_narrow_keys(m: Any, x: Tensor) -> Tensor:
    q = heads(m.a(x))
    return F.scaled_dot_product_attention(q, q, torch.cat([q, q], -1))


def attention_of_three_dimensions(m: Any, x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(m.a(x), m.b(x), m.b(x))


def attention_of_grouped_queries(m: Any, x: Tensor) -> Tensor:
    q, k = heads(m.a(x)), heads(m.b(x))[:, :2]
    y = F.scaled_dot_product_attention(q, k, k, is_causal=True, enable_gqa=True)
    return m.a(y.transpose(1, 2).contiguous().flatten(2))


def attention_of_laid_out_queries(m: Any, x: Tensor) -> Tensor:
    """The result lies as the queries do, so that joining heads is a copy."""
    q, k = heads(m.a(x)), heads(m.b(x))
    q = torch.cat([q[..., :2], q[..., 2:].neg()], -1)
    return m.a(F.scaled_dot_product_attention(q, k, k).transpose(1, 2).flatten(2))


def attention_of_one_head_that_drops(m: Any, x: Tensor) -> Tensor:
    """Operator by operator, with the keys and values of one head copied for all."""
    q, k = heads(m.a(x)), heads(m.b(x))[:, :1]
    y = F.scaled_dot_product_attention(q, k, k, dropout_p=0.2, enable_gqa=True)
    return m.a(y.transpose(1, 2).flatten(2))


def root_mean_square(m: Any, x: Tensor) -> Tensor:
    y = F.rms_norm(m.a(x), (16,), m.gain)
    return m.b(F.rms_norm(y.tanh(), (16,)))


def convolved_with_channels_last(m: Any, x: Tensor) -> Tensor:
    """The rows of a map are its positions; they stay so, and need no copy after it."""
    y = F.conv2d(m.a(x).mT.view(-1, 16, 2, 4), m.table[:, :9].reshape(16, 1, 3, 3), padding=1, groups=16)
    return m.b(F.gelu(y.flatten(2).mT))


def product_by_groups(m: Any, x: Tensor) -> Tensor:
    """Which autocast leaves alone."""
    rows = m.a(x).reshape(-1, 16).float()
    ends = torch.tensor([8, 16], dtype=torch.int32, device=x.device)
    weights = torch.stack([m.a.weight, m.b.weight])
    return F.grouped_mm(rows, weights, offs=ends).sigmoid()


def index_of_its_own(m: Any, x: Tensor) -> Tensor:
    bias = m.table[:, m.places[: x.shape[1], : x.shape[1]].reshape(-1)]
    return m.a(x) + bias.mean(1)


def noise_of_the_same_dtype(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    keep = torch.empty(y.shape[0], 1, 1, dtype=y.dtype, device=y.device).bernoulli_(0.9)
    return F.layer_norm(m.b(y) * keep, (16,)) * 2


def cast_by_another(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    return (y.float().pow(2).add(1).rsqrt().to(y.dtype) * y).sigmoid() * m.b(y)


def without_autocast(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    with torch.autocast(device_type=x.device.type, enabled=False):
        y = m.b(y.float())
    return m.a(y.exp())


def zeros_like_it(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    return torch.cat([y, torch.zeros_like(y), y.new_ones(y.shape)], -1).tanh() @ m.table.new_zeros(48, 2).to(
        y.dtype
    )


def rows_gathered(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    return y[:, torch.tensor([0, 2, 2])] * m.b(x)[:, :3]


KINDS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    f.__name__: f
    for f in (
        einsum_of_strided, einsum_in_place_order, einsum_of_swapped, linear_on_swapped,
        product_with_a_fixed_matrix, spread_over_heads, attention_of_strided, attention_of_narrow_keys,
        attention_of_three_dimensions, attention_of_grouped_queries,
        attention_of_laid_out_queries, attention_of_one_head_that_drops, root_mean_square, product_by_groups,
        convolved_with_channels_last, index_of_its_own,
        noise_of_the_same_dtype, cast_by_another, without_autocast, zeros_like_it, rows_gathered,
    )
}  # fmt: skip


@pytest.mark.parametrize("amp", [None, "bf16"])
@pytest.mark.parametrize("name", KINDS)
def test_what_is_kept(name: str, amp: str | None) -> None:
    model = Lambda(KINDS[name])
    x = torch.randn(2, 8, 16)
    found = cost(model, input_size=(2, 8, 16), kernels="cpu", amp=amp)
    assert found.activations == really_kept(model, x, amp=amp is not None)
    assert found.unknown == ()


class Crossed(nn.Module):
    """Two maps of which layers that count samples first read turned views, one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.MultiheadAttention(16, 4, batch_first=True) for _ in range(2))
        self.start = nn.Linear(16, 16)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x, y = self.start(x), self.start(y)
        for layer in self.layers:
            x = x + layer(x, y, y, need_weights=False)[0]
        return x if torch.is_autocast_enabled("cpu") else x + self.layers[0](x, y, x)[0]


@pytest.mark.parametrize("amp", [None, "bf16"])
@pytest.mark.parametrize("samples", [1, 5])
def test_heads_copy_what_does_not_lie_in_rows(samples: int, amp: str | None) -> None:
    sizes = [(samples, 8, 16), (samples, 8, 16)]
    model = Crossed()
    found = cost(model, input_size=sizes, kernels="cpu", amp=amp)
    assert found.activations == really_kept(model, *map(torch.randn, sizes), amp=amp is not None)


# -- how long the forward holds --------------------------------------------------------------------------------


def rebound(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    y = y.transpose(1, 2)
    y = y.reshape(-1, 16, 4)  # a copy: what it was made of is let go
    return y.repeat(1, 1, 6)


def rows_taken(m: Any, x: Tensor) -> Tensor:
    y = torch.cat([m.a(x)] * 8, -1)[:, torch.tensor([1, 3])]  # of the large map nothing is left
    return y.repeat(1, 3, 1)


def cached(m: Any, x: Tensor) -> Tensor:
    if "bias" not in m.cache:
        m.cache["bias"] = m.table[:, m.places.reshape(-1)].repeat(1, 4)
    return (m.a(x).repeat(1, 1, 4) + m.cache["bias"].mean()).exp()


def copied_for_a_product(m: Any, x: Tensor) -> Tensor:
    y = heads(torch.cat([x] * 1, -1))
    return (y @ y.transpose(2, 3)).sum((1, 2, 3))


HELD = {f.__name__: f for f in (rebound, rows_taken, cached, copied_for_a_product)}


@pytest.mark.parametrize("name", HELD)
def test_what_inference_holds(name: str) -> None:
    found = cost(Lambda(HELD[name]), input_size=(2, 8, 16), kernels="cpu")
    ours = found.inference_peak - found.parameters - found.buffers
    assert ours == pytest.approx(really_held(Lambda(HELD[name]), torch.randn(2, 8, 16)), abs=16)


class Reading(nn.Module):
    """Two maps that attend to another one: their projections are read apart from each other."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.MultiheadAttention(64, 4, batch_first=True) for _ in range(4))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x, y, y, need_weights=False)[0]
        return x.repeat(1, 40, 1)  # all copies that are kept are there by now


def test_copies_of_weights_that_are_split_first_are_not_kept() -> None:
    sizes = [(1, 8, 64), (1, 6, 64)]
    found = cost(Reading(), input_size=sizes, kernels="cpu", amp="bf16")
    ours = found.inference_peak - found.parameters - found.buffers
    assert ours == pytest.approx(really_held(Reading(), *map(torch.randn, sizes), amp=True), rel=0.01)


# -- one forward for both modes --------------------------------------------------------------------------------


class Path(nn.Module):
    """Drops whole samples, as stochastic depth does."""

    def __init__(self, like: bool) -> None:
        super().__init__()
        self.like = like

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        if self.like:
            keep = x.new_empty((x.shape[0], 1, 1)).bernoulli_(0.8)
        else:
            keep = torch.empty(x.shape[0], 1, 1, dtype=x.dtype, device=x.device).bernoulli_(0.8)
        keep.div_(0.8)
        return x * keep


class Block(nn.Module):
    def __init__(self, like: bool, always: bool) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 64), nn.Linear(64, 16)
        self.drop, self.path, self.always = nn.Dropout(0.1), Path(like), always

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(F.gelu(self.up(self.norm(x))))
        if self.always:
            y = F.dropout(y, 0.1, True)
        return x + self.path(self.drop(self.down(y)))


def rested(model: nn.Module, size: tuple[int, ...]) -> Graph | None:
    """The graph of evaluation mode as that of training tells it."""
    with mode_reads() as reads:
        trained = sed_torch.trace(model, input_size=size, training=True)
    switched = switched_by_mode(model, reads)
    return resting(trained, model, switched) if switched is not None else None


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("like", [False, True])
def test_evaluation_is_training_without_its_noise(
    like: bool, always: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(Block(like, always), nn.BatchNorm1d(8), Block(like, always))
    size = (4, 8, 16)
    rest, plain = rested(model, size), sed_torch.trace(model, input_size=size)
    assert rest is not None
    levels = [
        max(m.activations for m in inference_timeline(Storages(g, {n.name: n.dtype for n in g.nodes}), {}))
        for g in (rest, plain)
    ]
    assert levels[0] == levels[1]
    calls = []
    monkeypatch.setattr(
        "sed_torch.costing.modes.trace", lambda *a, **k: calls.append(k) or sed_torch.trace(*a, **k)
    )
    found = cost(model, input_size=size, kernels="cpu")
    assert len(calls) == 1
    assert found.inference_peak == levels[1] + found.parameters + found.buffers
    assert found.activations == really_kept(model, torch.randn(size))


class Rescaled(nn.Module):
    """Stochastic depth that makes up for what it drops on the data, not on the noise."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.a = how, nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if self.how == "always":
            y = y / 0.8
        if self.how == "divided":
            return x + divided(y, self.training)
        if self.how == "multiplied":
            return x + multiplied(y, self.training)
        return x + dropped(y, self.training)


def divided(x: Tensor, training: bool) -> Tensor:
    if not training:
        return x
    return x.div(0.9) * torch.floor(0.9 + torch.rand(len(x), 1))


def multiplied(x: Tensor, training: bool) -> Tensor:
    if not training:
        return x
    return x * (1 / 0.9) * (torch.rand(len(x), 1) < 0.9)


def dropped(x: Tensor, training: bool) -> Tensor:
    if not training:
        return x
    return x * torch.floor(0.9 + torch.rand(len(x), 1))


@pytest.mark.parametrize(("how", "traces"), [("divided", 1), ("multiplied", 1), ("always", 1)])
def test_what_makes_up_for_noise_rests_with_it(
    how: str, traces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Rescaled(how)
    plain = sed_torch.trace(model, input_size=(4, 16))
    calls = []
    monkeypatch.setattr(
        "sed_torch.costing.modes.trace", lambda *a, **k: calls.append(k) or sed_torch.trace(*a, **k)
    )
    found = cost(model, input_size=(4, 16), kernels="cpu")
    assert len(calls) == traces
    timeline = inference_timeline(Storages(plain, {n.name: n.dtype for n in plain.nodes}), {})
    assert found.inference_peak == max(m.activations for m in timeline) + found.parameters


class Varied(nn.Module):
    """A mode that changes what is computed: both are followed."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.aux = nn.Linear(16, 16), nn.Linear(16, 64)

    def forward(self, x: Tensor) -> Any:
        y = self.a(x)
        return (y, self.aux(y)) if self.training else y


def test_a_mode_that_matters_is_followed() -> None:
    found = cost(Varied(), input_size=(8, 16))
    assert found.inference_peak == found.parameters + 4 * 8 * (16 + 16)
    assert any(m.path == "aux" for m in found.training)


# -- converted to another dtype --------------------------------------------------------------------------------


class Casting(nn.Module):
    """Squares in float32 whatever it is given, as many norms do; a look-up; a buffer of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.up, self.down = nn.Parameter(torch.ones(16)), nn.Linear(16, 32), nn.Linear(32, 16)
        self.norm, self.words = nn.BatchNorm1d(8), nn.Embedding(7, 16)
        self.register_buffer("places", torch.arange(8) % 7)

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)
        y = self.norm(y.to(self.gain.dtype) * self.gain + self.words(self.places))
        return self.down(F.silu(self.up(y)))


@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float64", "float32"])
def test_a_dtype_is_what_a_converted_model_takes(dtype: str, data: bool) -> None:
    model, x = Casting(), torch.randn(4, 8, 16)
    given = {"input_data": x} if data else {"input_size": (4, 8, 16)}
    found = cost(model, dtype=dtype, kernels="cpu", **given)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    really = copy.deepcopy(model).to(getattr(torch, dtype))
    x = x.to(getattr(torch, dtype))
    assert found.activations == really_kept(really, x)
    assert found.inference_peak - found.parameters - found.buffers == really_held(really, x)
    assert found.parameters == sum(p.nbytes for p in really.parameters())
    assert found.buffers == sum(b.nbytes for b in really.buffers())
    assert (found.dtype, found.name) == (dtype, "Casting")


def test_a_model_that_cannot_be_copied_says_how_it_was_converted() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    model.lock = threading.Lock()  # type: ignore[assignment]
    found = cost(model, input_size=(2, 16), dtype="bfloat16")
    assert any("could not be copied" in a for a in found.assumed)
    assert found.activations == 2 * 2 * (16 + 16)


# -- recurrent layers ------------------------------------------------------------------------------------------

by_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
LAYERS: tuple[dict[str, Any], ...] = (
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 3, "bidirectional": True, "batch_first": True},
    {"batch_first": True},
)


@by_onednn
@pytest.mark.parametrize("samples", [1, 6])
@pytest.mark.parametrize("options", LAYERS, ids=str)
@pytest.mark.parametrize(
    ("kind", "amp"), [(nn.LSTM, None), (nn.GRU, None), (nn.GRU, "bf16"), (nn.RNN, None), (nn.RNN, "bf16")]
)
def test_recurrent_layers_to_the_byte(
    kind: type[nn.RNNBase], amp: str | None, options: dict[str, Any], samples: int
) -> None:
    layer = kind(20, 36, **options)
    size = (samples, 25, 20) if options.get("batch_first") else (25, samples, 20)
    found = cost(layer, input_size=size, kernels="cpu", amp=amp)
    assert found.activations == really_kept(layer, torch.randn(size), amp=amp is not None)
    held = found.inference_peak - found.parameters - found.buffers
    assert held == really_held(layer, torch.randn(size), amp=amp is not None)


@by_onednn
@pytest.mark.parametrize("hidden", [16, 64, 100, 128])
@pytest.mark.parametrize("read", [8, 64, 200])
def test_the_work_space_of_onednn_in_pages(read: int, hidden: int) -> None:
    layer = nn.LSTM(read, hidden)
    for size in ((1, 1, read), (7, 4, read)):
        found = cost(layer, input_size=size, kernels="cpu")
        assert found.activations == really_kept(layer, torch.randn(size))


# -- any network -----------------------------------------------------------------------------------------------

STEPS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "linear": lambda m, x: m.a(x),
    "residual": lambda m, x: x + m.b(x),
    "norm": lambda m, x: F.layer_norm(x, (16,)),
    "gelu": lambda m, x: F.gelu(x),
    "gate": lambda m, x: x * m.b(x).sigmoid(),
    "swap": lambda m, x: m.a(x.transpose(0, 1)).transpose(0, 1),
    "upcast": lambda m, x: x.float().square().to(x.dtype) + x,
    "drop": lambda m, x: m.drop(x),
    "heads": lambda m, x: (heads(x) @ heads(m.a(x)).transpose(2, 3)).softmax(-1).mean(1) @ x,
    "einsum": lambda m, x: torch.einsum("bld,bmd->blm", x, m.b(x)).softmax(-1) @ x,
    "fused": lambda m, x: F.scaled_dot_product_attention(heads(x), heads(m.a(x)), heads(x)).transpose(1, 2).flatten(2),
    "in place": lambda m, x: m.a(x).relu_(),
    "rows": lambda m, x: x[:, torch.tensor([7, 6, 5, 4, 3, 2, 1, 0])],
    "scale": lambda m, x: x * x.mean(-1, keepdim=True).exp() + 1,
}  # fmt: skip


@few
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6), st.booleans())
def test_what_is_kept_of_any_network(names: list[str], amp: bool) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        for name in names:
            x = STEPS[name](m, x)
        return m.a(x)

    model = Lambda(forward)
    found = cost(model, input_size=(2, 8, 16), kernels="cpu", amp="bf16" if amp else None)
    assert found.activations == really_kept(model, torch.randn(2, 8, 16), amp=amp), names


class Looked(nn.Module):
    """A table whose dtype alone others read: no gradient flows by that."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Parameter(torch.zeros(2, 40, 8)), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(((x > 0).to(self.table) @ self.table) * (x < 0).type_as(self.table).mean())
        return y


@pytest.mark.parametrize("batch", [1, 3])
def test_an_operand_read_for_its_dtype_gets_no_gradient(batch: int) -> None:
    x = torch.randn(batch, 2, 4, 40)
    assert cost(Looked(), input_data=x, kernels="cpu").activations == really_kept(Looked(), x)


class KeepsInput(torch.autograd.Function):
    """A spike, whose gradient is made of what came in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad / (1 + x.abs()) ** 2


class KeepsResult(torch.autograd.Function):
    """Says afterwards what it keeps, as functions of :mod:`torch.func` do."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return (2 * x).tanh()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return grad * 2 * (1 - y * y)


class KeepsNothing(torch.autograd.Function):
    """A straight-through estimator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class KeepsInside(torch.autograd.Function):
    """Keeps two maps of its own, the last one made after it said so."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        e = x.exp()
        ctx.save_for_backward(e, w)
        return e @ w.t()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        e, w = ctx.saved_tensors
        return grad @ w * e, grad.t() @ e


class Functions(nn.Module):
    def __init__(self, *functions: Any) -> None:
        super().__init__()
        self.functions = functions
        self.a, self.b, self.w = nn.Linear(8, 8), nn.Linear(8, 8), nn.Parameter(torch.randn(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x) - 1
        for f in self.functions:
            x = f.apply(x, self.w) if f is KeepsInside else f.apply(x)
        return torch.sigmoid(self.b(torch.relu(x)))


@pytest.mark.parametrize(
    "functions",
    [
        (KeepsInput,),
        (KeepsResult,),
        (KeepsNothing,),
        (KeepsInside,),
        (KeepsInput, KeepsResult, KeepsNothing, KeepsInside, KeepsInput),
        (KeepsNothing, KeepsInput),
    ],
    ids=lambda fs: " ".join(f.__name__ for f in fs),
)
def test_functions_of_the_models_own_keep_what_they_say(functions: tuple[Any, ...]) -> None:
    model, x = Functions(*functions), torch.randn(4, 8)
    assert cost(model, input_data=x, kernels="cpu").activations == really_kept(model, x)
    for p in (model.a.weight, model.a.bias):
        p.requires_grad_(False)
    assert cost(model, input_data=x, kernels="cpu").activations == really_kept(model, x)


class KeepsAsAttribute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_non_differentiable(x > 0)
        y = x.sin()
        ctx.slope = [x.cos()]
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * ctx.slope[0]


def test_what_a_function_keeps_as_an_attribute_is_held_as_well() -> None:
    """Torch's hooks do not see it, memory does."""
    model, x = Functions(KeepsAsAttribute), torch.randn(4, 8)
    found = cost(model, input_data=x, kernels="cpu")
    assert found.activations == really_kept(model, x) + x.numel() * x.element_size()


class KeepsTwice(torch.autograd.Function):
    """Calls itself once, and fails where it is told to."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, deep: bool, fails: bool = False) -> Tensor:
        y = KeepsTwice.apply(x, False, fails) if deep else x.exp()
        if fails:
            raise ValueError("as told")
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (y,) = ctx.saved_tensors
        return grad * y, None, None


class Calling(nn.Module):
    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.a, self.fails = nn.Linear(8, 8), fails

    def forward(self, x: Tensor) -> Tensor:
        return KeepsTwice.apply(self.a(x), True, self.fails)  # type: ignore[no-any-return]


@pytest.mark.parametrize("fails", [False, True])
def test_functions_are_as_before_once_nobody_follows(fails: bool) -> None:
    before = vars(torch.autograd.Function)["apply"]
    if fails:
        with pytest.raises(TraceError, match="as told"):
            cost(Calling(True), input_size=(2, 8))
    else:
        assert cost(Calling(False), input_size=(2, 8), kernels="cpu").activations > 0
    assert vars(torch.autograd.Function)["apply"] is before
    assert "__setattr__" not in vars(KeepsTwice._backward_cls)  # type: ignore[attr-defined]
    x = torch.ones(3, requires_grad=True)
    KeepsTwice.apply(x, False).sum().backward()
    assert x.grad is not None
