"""Short cuts to a result's shape say what torch says, or leave it to torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from support.versions import OLD
from torch import Tensor, nn

import sed_torch
from sed_torch.tracing.fast_shapes import FAST_SHAPES, fast_shape

Call = tuple[tuple[Any, ...], dict[str, Any]]
often = settings(derandomize=True, max_examples=120, deadline=None, database=None)

sizes = st.integers(1, 5)
dtypes = st.sampled_from([torch.float32, torch.float16, torch.int64])


@st.composite
def tensors(draw: st.DrawFn, shape: tuple[int, ...] | None = None) -> Tensor:
    """Contiguous, channels last or transposed."""
    if shape is None:
        shape = tuple(draw(st.lists(sizes, max_size=5)))
    dtype = draw(dtypes) if draw(st.integers(0, 5)) == 0 else torch.float32
    t = torch.empty(shape, dtype=dtype, device="meta")
    kind = draw(st.sampled_from(["plain", "plain", "channels last", "transposed"]))
    if kind == "channels last" and t.dim() == 4:
        return t.contiguous(memory_format=torch.channels_last)
    if kind == "transposed" and t.dim() > 1:
        return torch.empty(shape[::-1], dtype=dtype, device="meta").permute(*range(t.dim())[::-1])
    return t


@st.composite
def pairs(draw: st.DrawFn, turn: bool = True) -> Call:
    """Two maps that mostly broadcast, or a map and a number."""
    shape = draw(st.lists(sizes, max_size=4))
    if draw(st.integers(0, 3)) == 0:
        number: Any = draw(st.sampled_from([2, 0.5, True, 1j]))
        operands: list[Any] = [draw(tensors(tuple(shape))), number]
        return tuple(operands[:: draw(st.sampled_from([1, -1])) if turn else 1]), {}
    other = [draw(st.sampled_from([n, n, 1, n + 1])) for n in shape[draw(st.integers(0, len(shape))) :]]
    both = [draw(tensors(tuple(shape))), draw(tensors(tuple(other)))]
    return tuple(both[:: draw(st.sampled_from([1, -1]))]), {}


@st.composite
def means(draw: st.DrawFn) -> Call:
    x = draw(tensors())
    place = st.integers(-x.dim(), x.dim())  # one too far at times
    dims: Any = draw(st.one_of(place, st.lists(place, max_size=3, unique=True), st.none()))
    return (x, dims), {"keepdim": draw(st.booleans())}


@st.composite
def attentions(draw: st.DrawFn) -> Call:
    lead, q, k, e, v = draw(st.lists(sizes, max_size=3)), *(draw(sizes) for _ in range(4))
    wrong = draw(st.sampled_from([0, 0, 0, 1]))
    v = draw(st.sampled_from([e, e, v]))  # most often as wide as the keys, as fused kernels have it
    x = [draw(tensors((*lead, q, e + wrong))), draw(tensors((*lead, k, e))), draw(tensors((*lead, k, v)))]
    mask_shape = draw(st.sampled_from([(q, k), (1, k), (*lead, q, k), (q + 1, k), (k,)]))
    options: dict[str, Any] = {"is_causal": draw(st.booleans())} if draw(st.booleans()) else {}
    if draw(st.booleans()):
        dtype = draw(st.sampled_from([torch.bool, torch.float32, torch.float64]))
        options["attn_mask"] = torch.empty(mask_shape, dtype=dtype, device="meta")
    return tuple(x), options


@st.composite
def convolutions(draw: st.DrawFn, n: int) -> Call:
    groups = draw(st.integers(1, 3))
    c = draw(sizes) * groups + draw(st.sampled_from([0, 0, 0, 1]))
    k = [draw(st.integers(1, 3)) for _ in range(n)]
    x = draw(tensors((draw(sizes), c, *(draw(st.integers(1, 9)) for _ in range(n)))))
    weight = draw(tensors((draw(sizes) * groups, max(c // groups, 1), *k)))
    stride = draw(
        st.one_of(st.integers(1, 3), st.lists(st.integers(1, 3), min_size=n, max_size=n).map(tuple))
    )
    padding: Any = draw(st.sampled_from([0, 1, (1,) * n, "same", "valid", (0, 1)]))
    return (x, weight), {"stride": stride, "padding": padding, "dilation": draw(sizes), "groups": groups}


@st.composite
def linears(draw: st.DrawFn) -> Call:
    x = draw(tensors())
    c = x.shape[-1] if x.dim() else 1
    return (x, draw(tensors((draw(sizes), c + draw(st.sampled_from([0, 0, 1])))))), {}


@st.composite
def norms(draw: st.DrawFn, kind: str = "layer") -> Call:
    x = draw(tensors())
    c = x.shape[1] if x.dim() > 1 else 1
    c += draw(st.sampled_from([0, 0, 1]))
    if kind == "batch":
        return (x, torch.empty(c, device="meta"), torch.empty(c, device="meta")), {"training": False}
    if kind == "group":
        return (x, draw(st.sampled_from([1, 1, 2, c]))), {}
    return (x, tuple(x.shape[draw(st.integers(0, 3)) :])), {}


@st.composite
def matrices(draw: st.DrawFn) -> Call:
    lead, n, k, m = draw(st.lists(sizes, max_size=2)), *(draw(sizes) for _ in range(3))
    wrong = draw(st.sampled_from([0, 0, 0, 1]))
    other = draw(st.sampled_from([(), tuple(lead), tuple(lead[:1])]))
    return (draw(tensors((*lead, n, k + wrong))), draw(tensors((*other, k, m)))), {}


@st.composite
def places(draw: st.DrawFn) -> Call:
    x, shape = draw(tensors()), tuple(draw(st.lists(sizes, min_size=0, max_size=2)))
    dtype = draw(st.sampled_from([torch.int64, torch.int64, torch.int32, torch.bool]))
    rows = [
        torch.empty(shape, dtype=dtype, device="meta") for _ in range(draw(st.integers(1, max(x.dim(), 1))))
    ]
    return (x, rows[0] if len(rows) == 1 else tuple(rows)), {}


@st.composite
def parts(draw: st.DrawFn) -> Call:
    """A time step of a map with another map, in either order."""
    shape = draw(st.lists(sizes, min_size=3, max_size=4))
    part = draw(tensors(tuple(shape)))[:, :, draw(st.integers(0, shape[2] - 1))]
    both = [part, draw(tensors(tuple(part.shape[draw(st.integers(0, 1)) :])))]
    return tuple(both[:: draw(st.sampled_from([1, -1]))]), {}


def _binary(name: str) -> Callable[..., Any]:
    return getattr(Tensor, name) if name.startswith("__") else getattr(torch, name)  # type: ignore[no-any-return]


CASES: dict[str, tuple[Callable[..., Any], st.SearchStrategy[Call]]] = {
    **{n: (_binary(n), pairs()) for n in ("add", "sub", "mul", "div", "true_divide")},
    **{n: (_binary(n), pairs(turn=False)) for n in ("__add__", "__rsub__", "__rdiv__")},
    **{n: (_binary(n), parts()) for n in ("multiply", "subtract", "maximum", "minimum", "__mul__")},
    **{n: (_binary(n), pairs(turn=False)) for n in ("pow", "__pow__")},
    **{n: (_binary(n), matrices()) for n in ("matmul", "__matmul__")},
    "__getitem__": (Tensor.__getitem__, places()),
    **{
        n: (_binary(n), tensors().map(lambda x: ((x,), {})))
        for n in ("exp", "log", "sqrt", "rsqrt", "neg", "__neg__", "sin", "cos")
    },
    "softplus": (F.softplus, tensors().map(lambda x: ((x,), {}))),
    **{n: (getattr(F, n), tensors().map(lambda x: ((x,), {}))) for n in ("relu", "gelu", "sigmoid", "mish")},
    "softmax": (F.softmax, tensors().map(lambda x: ((x, -1), {}))),
    "mean": (torch.mean, means()),
    "scaled_dot_product_attention": (F.scaled_dot_product_attention, attentions()),
    **{f"conv{n}d": (getattr(F, f"conv{n}d"), convolutions(n)) for n in (1, 2, 3)},
    "linear": (F.linear, linears()),
    "layer_norm": (F.layer_norm, norms()),
    "group_norm": (F.group_norm, norms("group")),
    "batch_norm": (F.batch_norm, norms("batch")),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_what_is_said_fast_is_what_torch_says(name: str) -> None:
    function, calls = CASES[name]
    said = 0

    @often
    @given(calls)
    def check(call: Call) -> None:
        nonlocal said
        args, kwargs = call
        fast = fast_shape(name, args, kwargs)
        if fast is NotImplemented:
            return
        said += 1
        try:
            slow = function(*args, **kwargs)
        except ValueError as error:  # of statistics over a batch of one, which a larger batch would have
            assert str(error).startswith("Expected more than 1 value per channel")  # noqa: PT017
            return
        assert (fast.shape, fast.dtype, fast.device) == (slow.shape, slow.dtype, slow.device)
        if OLD and name == "conv2d":  # takes 1×1 maps for channels last
            return
        layouts = {slow.stride()}
        if name == "conv2d":  # on `meta` torch does not keep channels last, as it does where it computes
            layouts.add(function(*(torch.ones_like(a, device="cpu") for a in args), **kwargs).stride())
        assert fast.stride() in layouts or 1 in (*slow.shape, *args[0].shape)

    check()
    assert said > 4, "the short cut is hardly ever taken"


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((k, o) for k in ("lstm", "gru", "rnn_tanh", "rnn_relu") for o in ({}, {"bidirectional": True})),
        *((k, {"num_layers": 2}) for k in ("lstm", "gru", "rnn_tanh", "rnn_relu")),
        ("lstm", {"proj_size": 2, "bidirectional": True}),
    ],
)
def test_recurrent_layers_need_not_be_gone_through_step_by_step(
    kind: str, batch_first: bool, options: dict[str, Any]
) -> None:
    classes = {"lstm": nn.LSTM, "gru": nn.GRU}
    extra = {} if kind in classes else {"nonlinearity": kind[4:]}
    layer = classes.get(kind, nn.RNN)(3, 5, batch_first=batch_first, device="meta", **options, **extra)
    said: list[Any] = []

    def both(*args: Any) -> Any:
        slow = original(*args)
        said.append(fast_shape(kind, args, {}))
        assert [(t.shape, t.dtype, t.stride()) for t in said[-1]] == [
            (t.shape, t.dtype, t.stride()) for t in slow
        ]
        narrow = (args[0][..., :2], *args[1:])
        assert fast_shape(kind, narrow, {}) is NotImplemented
        few = tuple(t[:, :1] for t in args[1]) if kind == "lstm" else args[1][:, :1]
        assert fast_shape(kind, (args[0], few, *args[2:]), {}) is NotImplemented
        return slow

    original = getattr(torch._VF, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch._VF, kind, both)
        if kind in ("rnn_tanh", "rnn_relu"):
            patch.setitem(nn.modules.rnn._rnn_impls, f"RNN_{kind[4:].upper()}", both)
        layer(torch.empty(4, 2, 3, device="meta"))
    assert len(said) == 1


class Spelled(nn.Module):
    """The same network with arguments by place or by name."""

    def __init__(self, by_name: bool) -> None:
        super().__init__()
        self.conv, self.fc, self.norm = nn.Conv2d(3, 4, 3), nn.Linear(4, 5), nn.BatchNorm2d(4)
        self.by_name = by_name

    def forward(self, x: Tensor) -> Tensor:
        w, fc, n = self.conv.weight, self.fc.weight, self.norm
        if not self.by_name:
            y = F.relu(F.batch_norm(F.conv2d(x, w), n.running_mean, n.running_var, n.weight, n.bias))
            y = F.max_pool2d(F.avg_pool2d(y, 2), 2, 1)
            return F.softmax(F.linear(torch.mean(torch.add(y, y), (2, 3)), fc), -1)
        y = F.conv2d(weight=w, input=x)
        y = F.batch_norm(
            weight=n.weight, bias=n.bias, input=y, running_mean=n.running_mean, running_var=n.running_var
        )
        y = F.max_pool2d(kernel_size=2, stride=1, input=F.avg_pool2d(input=F.relu(input=y), kernel_size=2))
        y = torch.mean(dim=(2, 3), input=torch.add(other=y, input=y))
        return F.softmax(dim=-1, input=F.linear(weight=fc, input=y))


def test_arguments_may_be_given_by_name() -> None:
    a, b = (sed_torch.score(Spelled(by_name), input_size=(1, 3, 12, 12)) for by_name in (False, True))
    assert a.total is not None
    assert (a.total, a.pool, a.macs, a.suppression) == (b.total, b.pool, b.macs, b.suppression)
    assert b.coverage == b.node_coverage == 1.0


def test_every_short_cut_is_a_function_of_torch() -> None:
    known = {n for owner in (torch, F, Tensor) for n, v in inspect.getmembers(owner) if callable(v)}
    missing = [n for n in FAST_SHAPES if n not in known and not n.startswith("__")]
    newer = [] if hasattr(F, "grouped_mm") else [n for n in missing if "grouped_mm" in n]
    assert sorted({*missing} - {*newer}) == ["truediv"]
