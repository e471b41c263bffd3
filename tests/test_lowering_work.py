"""Multiply-accumulates of every kind of product, of what reads parameters alone, and of losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import sed_torch

N, K, M = 3, 8, 5


class Applies(nn.Module):
    """A function of the input, of the module's own weight, and of another input."""

    def __init__(self, f: Callable[..., Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.f = f
        self.w = nn.ParameterList([nn.Parameter(torch.randn(s)) for s in shapes])

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x, *self.w)


def counted(model: nn.Module, x: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops() / 2


# What torch's counter counts too. One sample, so that a sample's share is everything.
COUNTED: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], tuple[tuple[int, ...], ...]]] = {
    "einsum of three": (lambda x, a, b: torch.einsum("bnk,km,mj->bnj", x, a, b), (1, N, K), ((K, M), (M, 7))),
    "einsum of four, a map twice": (
        lambda x, a, b: torch.einsum("bnk,km,bnm,mj->bnj", x, a, x @ a, b),
        (1, N, K),
        ((K, M), (M, 7)),
    ),
    "einsum with dots": (lambda x, a: torch.einsum("...k,km->...m", x, a), (1, N, 4, K), ((K, M),)),
    "einsum by lists": (lambda x, a: torch.einsum(x, [0, 1, 2], a, [2, 3], [0, 1, 3]), (1, N, K), ((K, M),)),
    "einsum over a lone dimension": (lambda x, a: torch.einsum("bnk,mj->bmj", x, a), (1, N, K), ((K, M),)),
    "bmm of maps": (lambda x: torch.bmm(x, x.transpose(1, 2)), (1, N, K), ()),
    "inner": (lambda x, a: torch.inner(x, a), (1, N, K), ((M, K),)),
    "tensordot": (lambda x, a: torch.tensordot(x, a, ([2], [0])), (1, N, K), ((K, M),)),
    "multi_dot": (lambda x, a, b: torch.linalg.multi_dot([x[0], a, b]), (1, 40, K), ((K, 30), (30, 2))),
    "weights times weights": (lambda x, a, b, c: F.linear(x, a + b @ c), (1, N, K), ((M, K), (M, 2), (2, K))),
    "a layer of parameters": (lambda x, q, w: x + F.linear(q, w), (1, N, M), ((N, K), (M, K))),
    "a convolution of a constant": (
        lambda x, c, w: x[:, :, None, None] * F.conv2d(c, w),
        (1, M),
        ((1, K, 6, 6), (M, K, 3, 3)),
    ),
    "a first step of zeros": (
        lambda x, w, u: F.linear(x, w) + F.linear(torch.zeros(1, M), u),
        (1, K),
        ((M, K), (M, M)),
    ),
    "sources folded into the batch": (
        lambda x, w: F.conv_transpose1d(x.reshape(2, K, -1), w, stride=2),
        (1, 2 * K, 11),
        ((K, M, 4),),
    ),
    "linear and cross_entropy in one": (
        lambda x, w: F.linear_cross_entropy(x, w, torch.zeros(x.shape[0], dtype=torch.long, device=x.device)),
        (4, K),
        ((M, K),),
    ),
}


@pytest.mark.parametrize("case", COUNTED)
def test_products_count_as_torch_counts_them(case: str) -> None:
    f, size, shapes = COUNTED[case]
    if "linear_cross" in case.replace(" ", "_") and not hasattr(F, "linear_cross_entropy"):
        pytest.skip("newer than this torch")
    model = Applies(f, *shapes)
    s = sed_torch.score(model, input_size=size)
    assert (s.unknown, s.node_coverage) == ((), 1.0)
    assert s.macs * (4 if size[0] == 4 else 1) == counted(model, torch.randn(size))


# What its counter leaves out, by hand.
BY_HAND: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], tuple[tuple[int, ...], ...], float]] = {
    "outer": (lambda x, a: torch.outer(x[0], a), (1, K), ((M,),), K * M),
    "addr": (lambda x, c, a: torch.addr(c, x[0], a), (1, K), ((K, M), (M,)), K * M),
    "addbmm": (lambda x, a, c: torch.addbmm(c, x, a), (1, N, K), ((1, K, M), (N, M)), N * K * M),
    "addmv": (lambda x, c, a: torch.addmv(c, x[0], a), (1, N, K), ((N,), (K,)), N * K),
    "mv": (lambda x, a: x[0] @ a, (1, N, K), ((K,),), N * K),
    "dot": (lambda x, a: torch.dot(x[0], a), (1, K), ((K,),), K),
    "vecdot": (lambda x, a: torch.linalg.vecdot(x, a), (1, N, K), ((K,),), N * K),
    "cdist": (lambda x, a: torch.cdist(x, a), (1, N, K), ((M, K),), N * M * K),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_products_that_torch_leaves_out(case: str) -> None:
    f, size, shapes, macs = BY_HAND[case]
    s = sed_torch.score(Applies(f, *shapes), input_size=size)
    assert (s.unknown, s.node_coverage) == ((), 1.0)
    assert s.macs == macs


def test_what_reads_parameters_alone_is_marked_and_adds_nothing_to_the_score() -> None:
    plain = Applies(lambda x, w: F.linear(x, w), (M, K))
    lora = Applies(lambda x, w, a, b: F.linear(x, w + a @ b), (M, K), (M, 2), (2, K))
    for batch in (1, 2, 5):
        s, t = (sed_torch.score(m, input_size=(batch, K)) for m in (plain, lora))
        assert t.total == s.total
        assert t.macs == s.macs + 2 * M * K
        assert t.evaluation.topology.independent_macs == 2 * M * K


@pytest.mark.parametrize(
    ("bias_kv", "zero"), [(False, False), (True, False), (False, True), (True, True)], ids=str
)
def test_attention_over_keys_of_its_own(bias_kv: bool, zero: bool) -> None:
    model = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=bias_kv, add_zero_attn=zero)
    s = sed_torch.score(model, input_size=[(3, 5, 8)] * 3)
    assert s.macs == 4 * 5 * 64 + 2 * 5 * (5 + bias_kv + zero) * 8


# -- learned constants, and normalisation by hand --------------------------------------------------------------


class Styled(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.const = how, nn.Parameter(torch.randn(1, 8, 6, 6))
        self.fc, self.conv = nn.Linear(5, 8), nn.Conv2d(8, 4, 3)

    def forward(self, z: Tensor) -> Tensor:
        style = self.fc(z)[:, :, None, None]
        if self.how == "weight":
            return F.conv2d(self.const, self.conv.weight * style[0])
        if self.how == "repeat":
            return self.conv(self.const.repeat(z.shape[0], 1, 1, 1) * style)
        if self.how == "add":
            return self.conv(self.const + style.expand(-1, -1, 6, 6))
        return self.conv(self.const * style if self.how == "mul" else style.expand(-1, -1, 6, 6))


def test_a_learned_constant_is_a_map_and_not_one_value() -> None:
    taps = {
        how: sed_torch.score(Styled(how), input_size=(1, 5)).evaluation.terms[-1].effective_taps
        for how in ("mul", "repeat", "weight", "add", "none")
    }
    assert taps["mul"] == taps["repeat"] == taps["weight"] == pytest.approx(9.0)
    # half of each entry is common to all: R = (I + J)/2, and 9·det(R)^(1/9) = 9·(10/2⁹)^(1/9)
    assert taps["add"] == pytest.approx(9 * (10 / 2**9) ** (1 / 9))
    assert taps["none"] < 1e-3


def _by_root(x: Tensor) -> Tensor:
    d = x - x.mean(1, keepdim=True)
    return d / torch.sqrt(d.pow(2).mean(1, keepdim=True) + 1e-6)


def _by_rsqrt(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6)


def _by_reciprocal(x: Tensor) -> Tensor:
    return x * (x.abs().mean(1, keepdim=True) + 1).reciprocal()


@pytest.mark.parametrize("norm", [_by_root, _by_rsqrt, _by_reciprocal])
def test_a_normalisation_by_hand_is_one(norm: Callable[[Tensor], Tensor]) -> None:
    class Net(nn.Module):
        def __init__(self, norm: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), norm
            self.body = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(14))

        def forward(self, x: Tensor) -> Tensor:
            x = F.avg_pool2d(self.stem(x), 3, 1, 1)
            for c in self.body:
                x = x + self.norm(x)
                x = x + c(self.norm(x))
            return x

    size = (1, 3, 12, 12)
    ours = sed_torch.score(Net(norm), input_size=size).total
    assert ours is not None
    assert math.isfinite(ours)
    layer_norm = sed_torch.score(Net(lambda x: F.layer_norm(x, x.shape[1:])), input_size=size).total
    assert ours == pytest.approx(layer_norm, rel=1e-12)


def test_a_quotient_of_two_maps_is_a_product() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) / self.b(x)

    kinds = [s.kind for s in sed_torch.topology(Net(), input_size=(1, 3, 5, 5)).steps]
    assert "mul" in kinds
    assert "norm" not in kinds


# -- losses ----------------------------------------------------------------------------------------------------

LOSSES: list[tuple[Callable[..., Tensor], Any]] = [
    (F.cross_entropy, "classes"),
    (F.nll_loss, "classes"),
    (F.multi_margin_loss, "classes"),
    (F.mse_loss, "same"),
    (F.l1_loss, "same"),
    (F.smooth_l1_loss, "same"),
    (F.huber_loss, "same"),
    (F.binary_cross_entropy_with_logits, "same"),
    (F.kl_div, "same"),
    (F.poisson_nll_loss, "same"),
    (F.soft_margin_loss, "same"),
    (F.multilabel_soft_margin_loss, "same"),
]


@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
@pytest.mark.parametrize(("loss", "target"), LOSSES, ids=lambda v: getattr(v, "__name__", v))
@pytest.mark.parametrize("frontend", ["fx", "export"])
def test_a_loss_in_the_forward_changes_nothing(loss: Any, target: str, frontend: Any) -> None:
    class Net(nn.Module):
        def __init__(self, loss: Any) -> None:
            super().__init__()
            self.fc, self.loss = nn.Linear(6, 4), loss

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            z = self.fc(x)
            return z if self.loss is None else self.loss(z, y)

    y = torch.zeros(3, dtype=torch.long) if target == "classes" else torch.zeros(3, 4)
    s, plain = (
        sed_torch.score(Net(f), input_data=(torch.zeros(3, 6), y), frontend=frontend) for f in (loss, None)
    )
    assert (s.unknown, s.total, s.macs) == ((), plain.total, plain.macs)


def test_pairwise_distance_reads_p_where_it_is() -> None:
    class Siamese(nn.Module):
        def __init__(self, f: Any) -> None:
            super().__init__()
            self.fc, self.f = nn.Linear(8, 8), f

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.f(self.fc(a), self.fc(b))

    x = torch.zeros(2, 8)
    totals = {
        sed_torch.score(Siamese(f), input_data=(x, x)).total
        for f in (
            nn.PairwiseDistance(),
            nn.PairwiseDistance(1),
            lambda a, b: F.pairwise_distance(a, b, p=2.0),
        )
    }
    assert len(totals) == 1
