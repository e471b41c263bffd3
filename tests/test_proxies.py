from __future__ import annotations

import csv
import gzip
import hashlib
import json
import math
import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from sed_torch.errors import InputError, ModelError
from sed_torch.proxies import PROXIES, ProxyResult, compute
from sed_torch.proxies.trial import Batch, Trial, new_trial

N = 8


def one(model: nn.Module, name: str, *size: int, **kwargs: Any) -> float | None:
    return compute(model, [name], input_size=(1, *size), **{"batch_size": N, **kwargs})[name]


def value(model: nn.Module, name: str, *size: int, **kwargs: Any) -> float:
    found = one(model, name, *size, **kwargs)
    assert found is not None
    return found


def reason(model: nn.Module, name: str, *size: int) -> str:
    result = compute(model, [name], input_size=(1, *size), batch_size=N)
    assert result[name] is None
    return result.reasons[name]


def linear(*rows: list[float]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows)
    return layer


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


class Functional(nn.Module):
    def __init__(self, layer: nn.Module, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.act = layer, act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.layer(x))


# -- counts ----------------------------------------------------------------------------------------------


def test_counts_by_hand() -> None:
    # 3×3: 4·3·9 = 108 weights + BN 8 + 6·4·9 + 6 = 222 + 35; 8×8 then 4×4 positions.
    result = compute(small(), ["params", "macs", "depth"], input_size=(1, 3, 8, 8))
    assert dict(result.values) == {"params": 373.0, "macs": 108 * 64 + 216 * 16 + 30, "depth": 3.0}


def test_depth_is_the_longest_path_and_not_the_number_of_layers() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).relu()) + self.c(x)

    assert value(Branches(), "depth", 4) == 2
    assert value(torchvision.models.resnet18(), "depth", 3, 32, 32) == 18
    assert value(nn.ReLU(), "depth", 4) == 0


def test_counts_need_no_weights_and_the_rest_say_so() -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet18()
    result = compute(model, input_size=(1, 3, 224, 224))
    assert result["params"] == 11_689_512
    assert result["macs"] == 1_814_073_344
    assert result["depth"] == 18
    assert set(result.reasons) == set(PROXIES) - {"params", "macs", "depth"}
    assert "meta device" in result.reasons["synflow"]


def test_attention_costs_the_same_on_every_device() -> None:
    # Head size 2, 3 tokens: in 3·16·3, QKᵀ 2·9·2, AV the same, out 16·3.
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).view(len(x), 3, 3, 2, 2).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            return self.out(y)  # type: ignore[no-any-return]

    for device in ("cpu", "meta"):
        assert value(Attention().to(device), "macs", 3, 4) == 144 + 36 + 36 + 48


# -- weights and gradients -------------------------------------------------------------------------------


def test_synflow_by_hand() -> None:
    # |W| = [[1, 2], [3, 4]] then [1, 1]: R = 3 + 7 = 10, and each layer's Σ θ ∂R/∂θ is R.
    assert value(nn.Sequential(linear([1.0, -2.0], [3.0, 4.0]), linear([1.0, -1.0])), "synflow", 2) == (
        pytest.approx(math.log(20))
    )


def test_synflow_passes_over_normalisation() -> None:
    first, last = linear([1.0, -2.0], [3.0, 4.0]), linear([1.0, -1.0])
    for norm in (nn.BatchNorm1d(2), nn.LayerNorm(2), nn.GroupNorm(1, 2)):
        assert value(nn.Sequential(first, norm, last), "synflow", 2) == pytest.approx(math.log(20))


def test_synflow_keeps_the_activation_that_is_fused_with_a_normalisation() -> None:
    class Clipped(nn.BatchNorm1d):
        def __init__(self) -> None:
            super().__init__(2)
            self.act = nn.Hardtanh(-5.0, 5.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.act(super().forward(x))  # type: ignore[no-any-return]

    # The second unit, 7, is clipped: R = 3 + 5, and the first layer's flow is 3, the last one's 8.
    model = nn.Sequential(linear([1.0, -2.0], [3.0, 4.0]), Clipped(), linear([1.0, -1.0]))
    assert value(model, "synflow", 2) == pytest.approx(math.log(11))


@given(scale=st.floats(1e-3, 1e3), layer=st.sampled_from([0, 3]))
@settings(max_examples=10, deadline=None)
def test_synflow_gains_ln_c_where_a_layer_is_scaled_by_c(scale: float, layer: int) -> None:
    model = small()
    for m in model:
        if isinstance(m, (nn.Conv2d, nn.Linear)) and m.bias is not None:
            nn.init.zeros_(m.bias)
    before = value(model, "synflow", 3, 8, 8)
    model[layer].weight.data *= scale  # type: ignore[index]
    assert value(model, "synflow", 3, 8, 8) == pytest.approx(before + math.log(scale), abs=1e-5)


def test_l2_norm_by_hand() -> None:
    assert value(nn.Sequential(linear([3.0, 4.0], [0.0, 0.0]), linear([6.0, 8.0])), "l2_norm", 2) == 15.0


def differences(trial: Trial, weights: list[Tensor], loss: Callable[[], Tensor]) -> list[Tensor]:
    """Central differences: a second opinion that knows nothing of autograd."""
    found = []
    for w in weights:
        flat, grad = w.data.view(-1), torch.zeros(w.numel(), dtype=torch.float64)
        for i in range(w.numel()):
            old = float(flat[i])
            flat[i] = old + 1e-6
            high = float(loss())
            flat[i] = old - 1e-6
            grad[i] = (high - float(loss())) / 2e-6
            flat[i] = old
        found.append(grad.view_as(w))
    return found


@pytest.fixture(scope="module")
def slopes() -> list[tuple[Tensor, Tensor]]:
    trial = new_trial(small(), (1, 3, 6, 6), N, None, 0)
    net, batch = trial.network(torch.float64), trial.batch(dtype=torch.float64)
    weights = [m.weight for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        return list(zip(weights, differences(trial, weights, lambda: trial.loss(net, batch)), strict=True))


def test_snip_plain_and_grad_norm_against_finite_differences(slopes: list[tuple[Tensor, Tensor]]) -> None:
    result = compute(small(), ["snip", "plain", "grad_norm"], input_size=(1, 3, 6, 6), batch_size=N)
    with torch.no_grad():
        assert result["snip"] == pytest.approx(sum(float((w * g).abs().sum()) for w, g in slopes), rel=1e-3)
        assert result["plain"] == pytest.approx(sum(float((w * g).sum()) for w, g in slopes), rel=1e-3)
        assert result["grad_norm"] == pytest.approx(sum(float(g.norm()) for _, g in slopes), rel=1e-3)


def test_grasp_against_a_directional_difference(slopes: list[tuple[Tensor, Tensor]]) -> None:
    # Hg ≈ (∇L(θ + εg) − ∇L(θ − εg)) / 2ε
    trial = new_trial(small(), (1, 3, 6, 6), N, None, 0)

    def gradient(step: float) -> list[Tensor]:
        net, batch = trial.network(torch.float64), trial.batch(dtype=torch.float64)
        weights = [m.weight for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        for w, (_, g) in zip(weights, slopes, strict=True):
            w.data += step * g
        return list(torch.autograd.grad(trial.loss(net, batch), weights))

    curvature = [(a - b) / 2e-4 for a, b in zip(gradient(1e-4), gradient(-1e-4), strict=True)]
    expected = -sum(float((w.detach() * h).sum()) for (w, _), h in zip(slopes, curvature, strict=True))
    assert value(small(), "grasp", 3, 6, 6) == pytest.approx(expected, rel=1e-2)


def test_fisher_by_hand() -> None:
    # One linear layer: ∂L/∂a = (softmax(a) − y)/N, and a channel has one weight per input.
    model = linear([0.3, -0.2, 0.5], [0.1, 0.4, -0.6])
    trial = new_trial(model, (1, 3), N, None, 0)
    x = trial.batch().args[0].double()
    y = F.one_hot(torch.randint(2, (N,), generator=torch.Generator().manual_seed(1)), 2)
    a = x @ model.weight.detach().double().T
    product = a * (a.softmax(1) - y) / N
    assert value(model, "fisher", 3) == pytest.approx(float(product.square().mean(0).sum()) / 2 * 3, rel=1e-5)


def test_fisher_reads_the_layer_and_not_what_overwrites_it() -> None:
    torch.manual_seed(0)
    body = nn.Conv2d(3, 4, 3, bias=False)
    apart, over = (
        Functional(body, f) for f in (lambda t: (t * 2).mean((2, 3)), lambda t: t.mul_(2).mean((2, 3)))
    )
    expected = value(apart, "fisher", 3, 6, 6)
    assert expected > 0
    assert value(over, "fisher", 3, 6, 6) == pytest.approx(expected, rel=1e-5)


# -- activations -----------------------------------------------------------------------------------------


def test_naswot_is_the_log_determinant_of_agreements() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 40)
    x = new_trial(layer, (1, 5), N, None, 0).batch().args[0]
    codes = (layer(x) > 0).numpy()
    kernel = [[float((a == b).sum()) for b in codes] for a in codes]
    expected = float(np.linalg.slogdet(np.array(kernel))[1])
    spellings = [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.LeakyReLU(),
        nn.PReLU(),
        nn.ReLU6(),
        F.relu,
        torch.relu_,
    ]
    for act in (*spellings, lambda t: t.clamp(min=0)):
        assert value(Functional(layer, act), "naswot", 5) == pytest.approx(expected, rel=1e-9)


def test_naswot_is_undefined_without_relu_and_with_equal_codes() -> None:
    layer = nn.Linear(5, 40)
    for act in (nn.GELU(), nn.Hardtanh(), lambda t: t.clamp(min=-1)):
        assert "runs no ReLU" in reason(Functional(layer, act), "naswot", 5)
    assert "same code" in reason(Functional(layer, lambda t: (t * 0 + 1).relu()), "naswot", 5)


def test_jacov_of_equal_gradients_by_hand() -> None:
    # A linear map has one gradient for all samples: eigenvalues N, 0, …, 0.
    def term(v: float) -> float:
        return math.log(v + 1e-5) + 1 / (v + 1e-5)

    torch.manual_seed(0)
    found = value(nn.Linear(6, 3), "jacov", 6)
    assert found == pytest.approx(-(term(N) + (N - 1) * term(0.0)), rel=1e-6)
    assert value(small(), "jacov", 3, 8, 8) > found  # the more the samples differ, the higher


def test_jacov_is_undefined_for_tokens_and_constant_gradients() -> None:
    tokens = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 3))
    assert "floating-point input" in reason(tokens, "jacov", 3)
    assert "constant" in reason(linear([1.0, 1.0], [2.0, 2.0]), "jacov", 2)


def test_zen_reads_the_features_before_global_pooling() -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    expected = value(body, "zen", 3, 8, 8)
    heads = [
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        nn.Sequential(Functional(nn.Identity(), lambda t: t.mean((2, 3))), nn.Linear(4, 2)),
        nn.Sequential(Functional(nn.Identity(), lambda t: F.adaptive_max_pool2d(t, 1)), nn.Flatten()),
        nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(4, 2)),
        nn.Sequential(nn.MaxPool2d(4), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 2)),
    ]
    for head in heads:
        assert value(nn.Sequential(body, head), "zen", 3, 8, 8) == pytest.approx(expected, rel=1e-6)
    squeeze = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1))  # moves the features
    assert value(squeeze, "zen", 3, 8, 8) == pytest.approx(expected, rel=1e-6)


def test_zen_takes_neither_a_gate_nor_a_normalisation_for_global_pooling() -> None:
    def gate(x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True).sigmoid()

    body = nn.Sequential(Functional(nn.Conv2d(3, 4, 3), gate), nn.Conv2d(4, 4, 3))
    flat = value(nn.Sequential(body, nn.Flatten(), nn.Linear(64, 2)), "zen", 3, 8, 8)
    assert flat == pytest.approx(value(nn.Sequential(body, nn.AdaptiveAvgPool2d(1)), "zen", 3, 8, 8))

    def rms(x: Tensor) -> Tensor:
        return x * x.square().mean(-1, keepdim=True).rsqrt()

    def pool(x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x.transpose(1, 2).unsqueeze(-1), 1).flatten(1)

    for norm in (nn.RMSNorm(8, eps=0.0, elementwise_affine=False), Functional(nn.Identity(), rms)):
        tokens = nn.Sequential(nn.Linear(4, 8), norm)
        found = value(nn.Sequential(tokens, nn.Linear(8, 3)), "zen", 5, 4)
        pooled = value(nn.Sequential(tokens, Functional(nn.Identity(), pool)), "zen", 5, 4)
        assert found == pytest.approx(pooled)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(1), nn.BatchNorm2d(1, momentum=0.5, track_running_stats=False)]
)
def test_zen_gives_back_the_scale_that_batch_normalisation_takes(norm: nn.Module) -> None:
    # One channel of variance σ² = ‖w‖² is divided by σ; the running variance goes from 1 to 0.81 + 0.19σ².
    conv = nn.Conv2d(3, 1, 3, bias=False)
    variance = float(torch.randn(1, 3, 3, 3, generator=torch.Generator().manual_seed(3)).square().sum())
    shift = math.log((0.81 + 0.19 * variance) / variance) / 2
    without, found = (
        value(model, "zen", 3, 12, 12, batch_size=64) for model in (conv, nn.Sequential(conv, norm))
    )
    assert shift < -0.5
    assert found == pytest.approx(without + shift, abs=0.02)


def test_zen_draws_its_own_weights() -> None:
    assert value(small(0), "zen", 3, 8, 8) == value(small(1), "zen", 3, 8, 8)
    assert value(small(0), "zen", 3, 8, 8) != value(small(0), "zen", 3, 8, 8, seed=1)


# -- the call --------------------------------------------------------------------------------------------


def test_every_proxy_has_a_value_on_a_real_network() -> None:
    result = compute(torchvision.models.resnet18(num_classes=10), input_size=(1, 3, 32, 32), batch_size=N)
    assert not result.reasons
    assert set(result.values) == set(PROXIES) == set(result.seconds)
    assert all(v is not None and math.isfinite(v) for v in result.values.values())
    assert all(s > 0 for s in result.seconds.values())
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["values"] == dict(result.values)


def test_a_transformer_and_a_token_model() -> None:
    vit = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=4)
    nn.init.normal_(vit.heads.head.weight)  # torchvision starts it at zero
    result = compute(vit, input_size=(1, 3, 32, 32), batch_size=N)
    assert set(result.reasons) == {"naswot"}

    encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    tokens = nn.Sequential(nn.Embedding(11, 16), encoder, nn.Linear(16, 11))
    result = compute(tokens, input_size=(1, 7), batch_size=N)
    assert set(result.reasons) == {"synflow", "jacov", "zen"}


def test_one_seed_one_value_whatever_the_global_generators_hold() -> None:
    model = nn.Sequential(small(), nn.Dropout(0.5))
    first = compute(model, input_size=(1, 3, 8, 8), batch_size=N)
    torch.manual_seed(99)
    second = compute(model, input_size=(1, 3, 8, 8), batch_size=N)
    other = compute(model, input_size=(1, 3, 8, 8), batch_size=N, seed=1)
    assert first.values == second.values
    assert first["snip"] != other["snip"]
    assert first["synflow"] == other["synflow"]


def test_grad_mode_autocast_and_half_weights_change_nothing() -> None:
    model = small().bfloat16().float()
    first = compute(model, ["snip", "jacov"], input_size=(1, 3, 8, 8), batch_size=N)
    with torch.no_grad():
        assert compute(model, ["snip", "jacov"], input_size=(1, 3, 8, 8), batch_size=N).values == first.values
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert compute(model, ["snip", "jacov"], input_size=(1, 3, 8, 8), batch_size=N).values == first.values
    half = compute(model.bfloat16(), ["snip", "jacov"], input_size=(1, 3, 8, 8), batch_size=N)
    assert half.values == first.values


def test_frozen_models_score_like_trainable_ones() -> None:
    model = small()
    before = compute(model, ["snip", "grasp", "fisher"], input_size=(1, 3, 8, 8), batch_size=N)
    model.requires_grad_(False)
    after = compute(model, ["snip", "grasp", "fisher"], input_size=(1, 3, 8, 8), batch_size=N)
    assert before.values == after.values


def pruned(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", 0.5)  # type: ignore[no-any-return, no-untyped-call]


@pytest.mark.parametrize(
    "norm",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        torch.nn.utils.weight_norm,
        torch.nn.utils.spectral_norm,
        pruned,
    ],
    ids=["weight", "spectral", "weight hook", "spectral hook", "pruned"],
)
def test_a_weight_that_is_made_of_others_counts_as_what_it_is(norm: Callable[[nn.Module], Any]) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the older spellings are deprecated, and in use
        normed = norm(nn.Linear(6, 3)).eval()
        normed(torch.zeros(1, 6))
    flat = nn.Linear(6, 3)
    flat.weight.data, flat.bias.data = normed.weight.detach().clone(), normed.bias.detach().clone()
    names = ["snip", "l2_norm", "synflow"]
    a = compute(normed, names, input_size=(1, 6), batch_size=N)
    b = compute(flat, names, input_size=(1, 6), batch_size=N)
    for name in names:
        assert a[name] == pytest.approx(b[name], rel=1e-5)
    assert torch.equal(normed.weight, flat.weight)  # the original still makes its weight


def test_outputs_in_containers() -> None:
    class Wrapped(nn.Module):
        def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
            super().__init__()
            self.net, self.wrap = small(), wrap

        def forward(self, x: Tensor) -> Any:
            return self.wrap(self.net(x))

    expected = value(small(), "snip", 3, 8, 8)
    wraps: list[Callable[[Tensor], Any]] = [
        lambda y: (y, y * 0),
        lambda y: {"aux": y * 0, "logits": y},
        lambda y: [torch.zeros(1, dtype=torch.int64), y],
    ]
    for wrap in wraps:
        assert value(Wrapped(wrap), "snip", 3, 8, 8) == pytest.approx(expected, rel=1e-6)
    assert "no floating-point tensor" in reason(Wrapped(lambda y: y.argmax(1)), "snip", 3, 8, 8)


def test_dense_outputs_have_a_loss() -> None:
    assert value(nn.Conv2d(3, 5, 3), "snip", 3, 8, 8) > 0
    assert "fewer than two classes" in reason(nn.Linear(4, 1), "snip", 4)


def test_fewer_classes_than_outputs() -> None:
    assert value(small(), "snip", 3, 8, 8, num_classes=2) != value(small(), "snip", 3, 8, 8)


def test_reasons_for_what_is_undefined() -> None:
    dead = nn.Sequential(Functional(nn.Linear(4, 4), lambda t: t * 0), nn.Linear(4, 4, bias=False))
    assert "no weight has a path" in reason(dead, "synflow", 4)
    assert "do not depend on the input" in reason(dead, "zen", 4)
    assert "no convolution or linear layer" in reason(nn.ReLU(), "snip", 4)
    assert "not finite" in reason(Functional(nn.Linear(4, 4), lambda t: t * math.nan), "snip", 4)
    deep = nn.Sequential(*(linear(*[[1e30, 1e30]] * 2) for _ in range(12)))
    assert "double precision" in reason(deep, "synflow", 2)


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"unknown proxy 'swap': choose from params, macs"):
        compute(small(), ["swap"], input_size=(1, 3, 8, 8))
    with pytest.raises(InputError, match="batch_size must be 2 or more"):
        compute(small(), input_size=(1, 3, 8, 8), batch_size=1)
    with pytest.raises(InputError, match="num_classes must be 2 or more"):
        compute(small(), input_size=(1, 3, 8, 8), num_classes=1)
    with pytest.raises(InputError, match=r"num_classes is 9, but .* only 5"):
        compute(small(), ["snip"], input_size=(1, 3, 8, 8), num_classes=9)
    with pytest.raises(ModelError, match="found int"):
        compute(3, input_size=(1, 3, 8, 8))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="lazy parameters"):
        compute(nn.LazyLinear(3), input_size=(1, 3))
    unique = small()
    unique.generator = (i for i in range(3))  # type: ignore[assignment]
    with pytest.raises(ModelError, match="Sequential cannot be copied"):
        compute(unique, ["snip"], input_size=(1, 3, 8, 8))


def test_views_and_the_table() -> None:
    result = compute(nn.Linear(4, 2), ["params", "naswot"], input_size=(1, 4), batch_size=N)
    assert isinstance(result, ProxyResult)
    assert result.inputs == ((N, 4),)
    assert "naswot" in str(result)
    assert "runs no ReLU" in str(result)
    assert "<table>" in result._repr_html_()
    frame = result.to_dataframe()
    assert list(frame["proxy"]) == ["params", "naswot"]
    with pytest.raises(TypeError, match="does not support item assignment"):
        result.values["params"] = 0.0  # type: ignore[index]
    with pytest.raises(TypeError, match="does not support item assignment"):
        PROXIES["mine"] = PROXIES["params"]  # type: ignore[index]
    for name, proxy in PROXIES.items():
        assert proxy.name == name == proxy.function.__name__
        assert proxy.function.__doc__
        assert proxy.direction == "higher"


def test_what_a_proxy_says_it_needs_is_what_it_uses() -> None:
    calls: list[bool] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small()

        def forward(self, x: Tensor) -> Tensor:
            calls.append(torch.is_grad_enabled())
            return self.net(x)  # type: ignore[no-any-return]

    for name, proxy in PROXIES.items():
        calls.clear()
        value(Watched(), name, 3, 8, 8)
        assert bool(calls) == proxy.needs_forward, name
        if name != "depth":  # reads the graph that autograd keeps, and takes no gradient
            assert any(calls) == proxy.needs_backward, name


# -- the model is left as found ---------------------------------------------------------------------------


def digest(t: Tensor | None) -> str:
    if t is None:
        return "none"
    raw = (
        t.detach().cpu().contiguous().view(torch.uint8)
        if t.dim()
        else t.detach().cpu().reshape(1).view(torch.uint8)
    )
    return f"{t.dtype}{tuple(t.shape)}{t.device}{hashlib.sha256(raw.numpy().tobytes()).hexdigest()}"


def fingerprint(model: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {
        "torch": digest(torch.get_rng_state()),
        "numpy": str(np.random.get_state()[1:3]),
        "python": random.getstate(),
        "switches": (torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled()),
    }
    for name, p in model.named_parameters():
        state[f"parameter {name}"] = (
            id(p),
            p._version,
            p.requires_grad,
            digest(p),
            digest(p.grad),
            id(p.grad),
        )
    for name, b in model.named_buffers():
        state[f"buffer {name}"] = (id(b), b._version, digest(b))
    for name, m in model.named_modules():
        hooks = {k: [(i, id(h)) for i, h in v.items()] for k, v in vars(m).items() if k.endswith("_hooks")}
        plain = {k: repr(v) for k, v in vars(m).items() if isinstance(v, (int, float, str, list, bool))}
        state[f"module {name}"] = (
            id(m),
            type(m),
            sorted({*vars(type(m))} - {"__slotnames__"}),
            m.training,
            hooks,
            sorted(vars(m)),
            plain,
        )
    return state


class Lived(nn.Module):
    """Has every kind of state, changes it in its forward, and fails half-way on request."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.net = small()
        self.old = parametrizations.weight_norm(nn.Linear(5, 5))
        self.fails, self.calls, self.seen = fails, 0, [0]
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.net[0].weight.requires_grad_(False)  # type: ignore[union-attr]
        self.net[1].eval()
        self.train(self.training)
        self.net[3].eval()
        self.net.register_forward_hook(lambda m, a, o: o * 2)
        self.net[7].weight.grad = torch.ones(5, 6)  # type: ignore[union-attr]
        self.cached = self.net(torch.ones(2, 3, 8, 8))  # a tensor with its history

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(self.calls)
        self.count += 1  # type: ignore[operator]
        torch.rand(3), np.random.rand(3), random.random()
        y = self.old(F.dropout(self.net(x)))
        self.cached = y
        if self.fails:
            raise RuntimeError("half-way")
        return y  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_generators_are_left_as_found(name: str, fails: bool) -> None:
    model = Lived(fails)
    before = fingerprint(model)
    result = compute(model, [name], input_size=(1, 3, 8, 8), batch_size=N)
    assert fingerprint(model) == before
    if fails and PROXIES[name].needs_forward:
        assert result.reasons[name] == "RuntimeError: half-way"
    else:
        assert result[name] is not None, result.reasons


def test_the_fingerprint_sees_a_forward() -> None:
    model = Lived(False)
    before = fingerprint(model)
    model(torch.ones(2, 3, 8, 8))
    changed = {k for k, v in fingerprint(model).items() if before[k] != v}
    assert changed == {"torch", "numpy", "python", "buffer count", "module ", *_statistics()}


def _statistics() -> set[str]:
    return {f"buffer net.1.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_values_of_the_cpu_and_keeps_its_generator() -> None:
    model = small()
    expected = compute(model, input_size=(1, 3, 8, 8), batch_size=N)
    state = torch.cuda.get_rng_state()
    found = compute(model.cuda(), input_size=(1, 3, 8, 8), batch_size=N)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    for name in PROXIES:
        assert found[name] == pytest.approx(expected[name], rel=1e-2), name


# -- the public scores ------------------------------------------------------------------------------------

DATA = Path(os.environ.get("SED_TORCH_DATA", Path(__file__).parents[2] / "shared" / "data"))


class Cell(nn.Module):
    def __init__(self, arch: str, channels: int) -> None:
        super().__init__()
        self.edges: list[tuple[int, int]] = []
        self.ops = nn.ModuleList()
        for node, part in enumerate(arch.split("|+|"), 1):
            for edge in part.strip("|").split("|"):
                name, source = edge.split("~")
                if name != "none":
                    self.edges.append((int(source), node))
                    self.ops.append(edge_op(name, channels))

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x, *(torch.zeros_like(x) for _ in range(3))]
        for (source, node), op in zip(self.edges, self.ops, strict=True):
            nodes[node] = nodes[node] + op(nodes[source])
        return nodes[3]


def edge_op(name: str, channels: int) -> nn.Module:
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return relu_conv_bn(channels, channels, 3 if name == "nor_conv_3x3" else 1)


def relu_conv_bn(inp: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inp, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(out))


class Reduction(nn.Module):
    def __init__(self, inp: int, out: int) -> None:
        super().__init__()
        self.main = nn.Sequential(relu_conv_bn(inp, out, 3, 2), relu_conv_bn(out, out, 3))
        self.skip = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(inp, out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x) + self.skip(x)  # type: ignore[no-any-return]


def nasbench201(arch: str) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)]
    for channels in (16, 32, 64):
        if channels > 16:
            layers.append(Reduction(channels // 2, channels))
        layers += [Cell(arch, channels) for _ in range(5)]
    head = [nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers, *head)


def public_rows(n: int) -> list[dict[str, str]]:
    path = DATA / "nb201.csv.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here: set SED_TORCH_DATA to the folder of public benchmark tables")
    with gzip.open(path, "rt", newline="") as file:
        valid = [row for row in csv.DictReader(file) if row["zc_valid"] == "1"]
    return random.Random(0).sample(valid, n)


COLUMNS = {
    "params": "params_M",
    "macs": "cifar10_flops_M",
    "synflow": "cifar10_synflow",
    "snip": "cifar10_snip",
    "zen": "cifar10_zen",
}


@pytest.mark.slow
def test_ranks_of_200_networks_agree_with_the_public_scores() -> None:
    stats = pytest.importorskip("scipy.stats")
    rows = public_rows(200)
    torch.manual_seed(0)
    names = ["params", "macs", "synflow", "l2_norm", "zen", "snip"]
    found = [compute(nasbench201(r["arch"]), names, input_size=(1, 3, 32, 32), batch_size=4) for r in rows]
    rho = {
        name: float(stats.spearmanr([f[name] for f in found], [float(r[c]) for r in rows]).statistic)
        for name, c in COLUMNS.items()
    }
    print(rho)
    assert rho["params"] > 0.9999
    assert rho["synflow"] > 0.99
    assert min(rho.values()) > 0.95, rho
    # ‖W‖ depends on the numbers of 1×1 and 3×3 convolutions alone: 28 classes, within which the rank is the
    # draw's. So values are what can be compared.
    for f, r in zip(found, rows, strict=True):
        assert f["l2_norm"] == pytest.approx(float(r["cifar10_l2_norm"]), rel=0.01)


def image_like(x: Tensor) -> Tensor:
    """White noise → the 1/f spectrum and the correlated colours of photographs."""
    f = torch.fft.fftfreq(x.shape[-1])
    radius = (f[:, None] ** 2 + f[None] ** 2).sqrt()
    radius[0, 0] = 1 / x.shape[-1]
    y = torch.fft.ifft2(torch.fft.fft2(x) / radius).real
    y = 0.9 * math.sqrt(3) * y.mean(1, keepdim=True) + 0.3 * y
    return (y - y.mean()) / y.std()


@pytest.mark.slow
def test_naswot_ranks_as_the_public_scores_on_inputs_like_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    # The public scores are of CIFAR-10 images, 64 at a time; samples of white noise differ too evenly.
    stats = pytest.importorskip("scipy.stats")
    rows, plain_batch = public_rows(40), Trial.batch

    def batch(self: Trial, *args: Any, **kwargs: Any) -> Batch:
        white = plain_batch(self, *args, **kwargs)
        return Batch(tuple(image_like(a) for a in white.args), white.kwargs)

    monkeypatch.setattr(Trial, "batch", batch)
    torch.manual_seed(0)
    found = [one(nasbench201(r["arch"]), "naswot", 3, 32, 32, batch_size=32) for r in rows]
    rho = float(stats.spearmanr(found, [float(r["cifar10_nwot"]) for r in rows]).statistic)
    print(rho)
    assert rho > 0.95
