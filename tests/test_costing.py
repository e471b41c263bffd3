"""What a step costs, held against what torch's autograd really keeps and against numbers counted by hand."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given
from support.commands import run
from support.memory import Allocated, really_kept
from support.networks import CHANNELS, SIZE, Spec, build, few, networks
from torch import Tensor, nn

import sed_torch
from sed_torch.costing import DEVICES, OPTIMIZERS, Cost, cost, step_memory, with_memory
from sed_torch.costing.optimizers import state_entries, step_entries
from sed_torch.costing.precision import precision
from sed_torch.costing.storage import itemsize
from sed_torch.errors import InputError
from sed_torch.ops import OPS

GiB = 2**30


class Attention(nn.Module):
    """One block of a transformer, by hand."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, length, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q * 8**-0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        return x + self.out(y.transpose(1, 2).reshape(n, length, 32))


class Masked(nn.Module):
    """Attention whose mask is of bools, with entries dropped or not."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.qkv, self.p = nn.Linear(32, 96), p

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, 4, 8).permute(2, 0, 3, 1, 4)
        mask = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=self.p if self.training else 0.0)
        return y.transpose(1, 2).flatten(2)


class Recurrent(nn.Module):
    """The states of a recurrent layer, read by a linear one."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.words, self.states = nn.Linear(16, 32), kind(32, 48, **options)
        self.head = nn.Linear(96 if options.get("bidirectional") else 48, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.states(self.words(x))[0])
        return y


class Gated(nn.Module):
    """Products, quotients, squares, a frozen part, a dropout at work, a second reader of one map."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.frozen = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.frozen.requires_grad_(False)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        z = self.drop(self.b(self.frozen(x)))
        return y * torch.sigmoid(z) + (y / (1 + z.square())).exp() - F.softplus(z)


class Cube(torch.autograd.Function):
    """x³ by a function of one's own, which keeps its input alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 3 * x * x * gradients[0]


class Odd(nn.Module):
    """A map written over by a product and read again, a function of one's own, a teacher without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.teacher = nn.Linear(16, 16), nn.Sequential(nn.Linear(16, 16), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).softmax(-1) + 1
        y /= y.sum(-1, keepdim=True)
        with torch.no_grad():
            wanted = self.teacher(x)
        z: Tensor = Cube.apply(y @ y.T)
        return z @ wanted


MODELS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, groups=8), nn.GroupNorm(2, 8), nn.GELU(), nn.AvgPool2d(2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
        ),
        (2, 3, 20, 20),
    ),
    "activations": (
        lambda: nn.Sequential(
            nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 16), nn.Hardswish(), nn.Linear(16, 16), nn.ELU(),
            nn.Linear(16, 16), nn.LeakyReLU(0.1), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Mish(),
            nn.Linear(16, 16), nn.Softmax(-1), nn.LayerNorm(16),
        ),
        (4, 16),
    ),
    "fused attention": (lambda: Attention(True), (2, 10, 32)),
    "attention by hand": (lambda: Attention(False), (2, 10, 32)),
    "attention under a mask": (lambda: Masked(0.0), (2, 10, 32)),
    "attention that drops": (lambda: Masked(0.2), (2, 10, 32)),
    "transformer": (lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), (2, 10, 32)),
    "decoder": (lambda: nn.TransformerDecoderLayer(32, 4, 64), [(6, 2, 32), (4, 2, 32)]),
    "gru": (lambda: Recurrent(nn.GRU, num_layers=2, dropout=0.2), (9, 2, 16)),
    "rnn, both ways": (lambda: Recurrent(nn.RNN, bidirectional=True), (9, 2, 16)),
    "groups": (lambda: nn.Sequential(nn.Conv2d(3, 64, 1), nn.GroupNorm(64, 64)), (2, 3, 2, 2)),
    "gated": (Gated, (8, 16)),
    "odd": (Odd, (8, 16)),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 6, 4, 2, 1), nn.InstanceNorm2d(6), nn.ReLU6(),
                              nn.Upsample(scale_factor=2), nn.Conv2d(6, 3, 1)),
        (2, 3, 8, 8),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch", [1, 4])
def test_what_autograd_keeps(name: str, batch: int) -> None:
    make, size = MODELS[name]
    sizes = size if isinstance(size, list) else [size]
    along = 1 if name in ("decoder", "gru", "rnn, both ways") else 0  # where samples are counted
    sizes = [(*s[:along], batch, *s[along + 1 :]) for s in sizes]
    model = make()
    found = cost(model, input_size=sizes, kernels="cpu")
    assert found.activations == pytest.approx(really_kept(model, *map(torch.randn, sizes)), rel=0.01)
    assert found.unknown == ()


def test_the_reserve_of_cudnn_is_said_to_be_an_estimate() -> None:
    on = {d: cost(Recurrent(nn.LSTM), input_size=(6, 4, 16), kernels=d).assumed for d in ("cuda", "cpu")}  # type: ignore[arg-type]
    assert any("cuDNN" in a and "estimate" in a for a in on["cuda"])
    assert not any("cuDNN" in a for a in on["cpu"])


@pytest.mark.parametrize(
    "name", ["convolutions", "fused attention", "activations", "transformer", "attention that drops"]
)
def test_what_autograd_keeps_under_autocast(name: str) -> None:
    make, size = MODELS[name]
    model = make()
    found = cost(model, input_size=size, kernels="cpu", amp="bf16")
    assert found.activations == pytest.approx(really_kept(model, torch.randn(size), amp=True), rel=0.03)


@few
@given(networks)
def test_what_autograd_keeps_of_any_network(spec: tuple[Spec, ...]) -> None:
    size = (2, CHANNELS, SIZE, SIZE)
    model = build(spec).to_empty(device="cpu")
    for p in model.parameters():
        nn.init.normal_(p, std=0.1)
    found = cost(model, input_size=size, kernels="cpu")
    assert found.activations == pytest.approx(really_kept(model, torch.randn(size)), rel=0.02)


def test_by_hand() -> None:
    """Linear(100, 50) keeps its input, ReLU its result, Linear(50, 10) reads that result: the same memory."""
    model = nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))
    found = cost(model, input_size=(8, 100), optimizer="adamw")
    weights = 4 * (100 * 50 + 50 + 50 * 10 + 10)
    assert found.parameters == found.gradients == weights
    assert found.optimizer_state == 2 * weights
    assert found.activations == 4 * 8 * (100 + 50)
    assert found.inference_peak == weights + 4 * 8 * (
        100 + 50 + 50
    )  # relu reads one map and writes the other
    assert found.flops == 2 * 8 * (100 * 50 + 50 * 10) + 8 * 50


def test_frozen_parameters_have_no_gradient_and_no_state() -> None:
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10))
    model[0].requires_grad_(False)
    found = cost(model, input_size=(2, 10), optimizer="sgd-momentum")
    assert found.gradients == found.optimizer_state == 4 * 110
    assert found.activations == 4 * 2 * 10  # what the second layer reads; nothing flows to the first


def test_the_largest_batch_is_the_largest() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.LazyLinear(10)
    )
    model(torch.zeros(1, 3, 32, 32))
    one = cost(model, input_size=(1, 3, 32, 32))
    for memory in (10**7, 10**8, 10**9):
        most = one.largest_batch(memory)
        assert one.peak_at(most) <= memory < one.peak_at(most + 1)
    many = cost(model, input_size=(32, 3, 32, 32))
    assert many.peak == one.peak_at(32)
    assert many.largest_batch(10**8) == one.largest_batch(10**8)
    assert one.largest_batch(1000) == 0


def test_batch_size_is_that_of_the_step() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert (
        cost(model, input_size=(1, 3, 8, 8), batch_size=6).peak == cost(model, input_size=(6, 3, 8, 8)).peak
    )


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)) for _ in range(6)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


def test_checkpointing_keeps_what_blocks_read_and_computes_them_again() -> None:
    plain = cost(Deep(), input_size=(2048, 64))
    spared = cost(Deep(), input_size=(2048, 64), checkpointing=["blocks.*"])
    assert (
        spared.activations == 6 * 4 * 2048 * 64
    )  # the input of each block, which the residual sum keeps too
    assert spared.activations < plain.activations / 4
    assert plain.resident < spared.peak < plain.peak
    assert spared.recomputed == 6 * 64 * 256  # the second product of a block only needs its operand again
    assert plain.recomputed == 0


def test_amp_and_dtype() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))
    full, half = (cost(model, input_size=(128, 64), dtype=d) for d in ("float32", "bfloat16"))
    assert half.parameters == full.parameters / 2
    assert half.activations == full.activations / 2
    mixed = cost(model, input_size=(128, 64), amp="bf16")
    assert mixed.parameters == full.parameters
    # casts of the input and of the second weight (nothing flows to the input, so the first is not needed again),
    # gelu's input and its result: all of two bytes
    assert mixed.activations == 2 * (64 * 64 + 3 * 128 * 64)


def test_a_roofline_is_the_slower_of_two_peaks() -> None:
    found = cost(nn.Linear(512, 512, bias=False), input_size=(64, 512), gpu="A100 80GB")
    device = DEVICES["A100 80GB"]
    flops, moved = 2 * 64 * 512 * 512, 4 * (512 * 512 + 2 * 64 * 512)
    assert found.seconds(training=False) == max(flops / device.flops["float32"], moved / device.bandwidth)
    assert found.seconds() == 3 * found.seconds(training=False)
    assert found.work[0].bound(device) == "compute"
    assert cost(nn.Linear(4, 4), input_size=(1, 4)).seconds() is None


def test_layers_of_many_operators_do_work() -> None:
    """nn.MultiheadAttention leaves two results, an LSTM three: what they compute counts all the same."""
    layers = {"heads": nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), "states": Recurrent(nn.LSTM)}
    for layer, size in ((layers["heads"], (2, 10, 32)), (layers["states"], (9, 2, 16))):
        found = cost(layer, input_size=size)
        macs = (sed_torch.score(layer, size).macs or 0.0) * found.batch
        assert 2 * macs <= found.flops < 2.2 * macs


@pytest.mark.parametrize("name", DEVICES)
def test_devices_are_found_by_name(name: str) -> None:
    device = sed_torch.costing.devices.device(name)
    assert device.name == name
    assert device.memory > 10 * GiB
    assert device.flops["float32"] < device.flops["float16"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamx"}, "unknown optimizer 'adamx': expected one of none, sgd"),
        ({"amp": "fp8"}, "amp must be one of bf16, fp16 or None, found 'fp8'"),
        ({"dtype": "int8"}, "dtype must be one of float64"),
        ({"gpu": "A100"}, "GPU 'A100' fits A100 40GB and A100 80GB"),
        ({"gpu": "Voodoo"}, "GPU 'Voodoo' is not in the table"),
        ({"kernels": "tpu"}, "kernels must be 'cuda' or 'cpu'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"checkpointing": ["layers.*"]}, "checkpointing names 'layers.\\*', which is no module"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cost(nn.Linear(4, 4), input_size=(1, 4), **options)


TORCHS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {}), "sgd-momentum": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    "adam": (torch.optim.Adam, {}), "adamw": (torch.optim.AdamW, {}), "nadam": (torch.optim.NAdam, {}),
    "amsgrad": (torch.optim.AdamW, {"amsgrad": True}), "radam": (torch.optim.RAdam, {}),
    "adamax": (torch.optim.Adamax, {}), "rmsprop": (torch.optim.RMSprop, {}),
    "adagrad": (torch.optim.Adagrad, {}), "adadelta": (torch.optim.Adadelta, {}),
    "adafactor": (getattr(torch.optim, "Adafactor", torch.optim.SGD), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCHS)
@pytest.mark.parametrize("together", [True, False])
def test_optimizers_by_what_torch_keeps(name: str, together: bool) -> None:
    """State a parameter, and what a step holds for a moment, counted in torch's own optimisers."""
    kind, options = TORCHS[name]
    if name == "adafactor" and kind is torch.optim.SGD:
        pytest.skip("this torch has no Adafactor")
    shapes = [(100, 50), (80, 80), (30,), (120, 30)]
    parameters = [nn.Parameter(torch.zeros(s)) for s in shapes]
    optimizer = kind(parameters, lr=0.1, foreach=together, **options)  # type: ignore[call-arg]
    for _ in range(2):
        for p in parameters:
            p.grad = torch.ones_like(p)
        with Allocated() as seen:
            optimizer.step()
    states = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor) and v.dim()]
    assert sum(v.numel() for v in states) == sum(state_entries(name, s) for s in shapes)
    held = step_entries(name, [p.numel() for p in parameters], together=together)
    assert seen.most / 4 == pytest.approx(held, rel=0.03, abs=200)


def test_a_step_holds_what_the_optimizer_holds() -> None:
    """On a GPU AdamW takes all parameters at once, with a map beside each; plain SGD holds nothing."""
    model = nn.Linear(100, 100)
    weights = 4 * (100 * 100 + 100)
    batch_and_output = 4 * 2 * 100
    assert cost(model, input_size=(1, 100), optimizer="adamw").peak == 5 * weights + batch_and_output
    assert cost(model, input_size=(1, 100), optimizer="sgd").peak == pytest.approx(2 * weights, rel=0.05)
    assert set(OPTIMIZERS) >= set(TORCHS)


def test_a_ranking_counts_the_same_memory() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)
    )
    graph = sed_torch.trace(model, input_size=(4, 3, 8, 8))
    found = cost(model, input_size=(1, 3, 8, 8))
    assert step_memory(graph) == pytest.approx(found.peak - found.buffers, rel=1e-3)


def test_a_ranking_leaves_out_what_does_not_fit() -> None:
    models = {"small": lambda: nn.Linear(8, 8), "large": lambda: nn.Linear(800, 8)}
    ranking = sed_torch.rank(models, input_size=None, max_memory=4000, cache=None)
    assert [(r.name, r.memory) for r in ranking.rows] == [
        ("small", step_memory(sed_torch.trace(nn.Linear(8, 8), input_size=(1, 8))))
    ]
    assert ranking.beyond == 1
    assert "memory ≤ 3.9 KiB" in str(ranking)


def test_a_score_says_what_a_step_takes() -> None:
    score = sed_torch.score(Deep(), input_size=(4, 64))
    assert score.memory is None
    told = with_memory(score)
    assert told.memory == cost(Deep(), input_size=(1, 64)).peak
    assert "a training step of one sample, AdamW" in str(told)
    again = type(told).from_json(told.to_json())
    assert again.memory == told.memory
    assert with_memory(dataclasses.replace(score, structure=None)).memory is None


def test_which_attention_runs_fused_is_said() -> None:
    for kernels, apart in (("cuda", False), ("cpu", True)):
        found = cost(Masked(0.2), input_size=(2, 10, 32), kernels=kernels)  # type: ignore[arg-type]
        words = [a for a in found.assumed if a.startswith("attention is done by a fused kernel")]
        assert len(words) == 1
        assert ("operator by operator in (root)" in words[0]) is apart
    assert not any("attention" in a for a in cost(Deep(), input_size=(2, 64)).assumed)


class Choosing(nn.Module):
    """A head for what stands out, as detectors have it: the data choose what it reads."""

    def __init__(self, counts: bool = False) -> None:
        super().__init__()
        self.body, self.head, self.counts = nn.Linear(8, 8), nn.Linear(8, 2), counts

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y = y[torch.where(y[:, 0] > 0)[0]]
        z: Tensor = self.head(y[: int(y.sum())] if self.counts else y)
        return z


def test_what_is_not_read_is_said() -> None:
    found = cost(Choosing(counts=True), input_size=(4, 8))
    assert any("what follows is NOT counted" in words for words in found.assumed)
    found = cost(Choosing(), input_size=(4, 8))
    assert any("an upper bound: all entries are taken" in words for words in found.assumed)


class Supervised(nn.Module):
    """Asks for targets in training, as detectors do, so that only evaluation mode can be followed."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.drop, self.b = nn.Linear(16, 16), nn.Dropout(0.5), nn.Linear(16, 16)

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        if self.training and targets is None:
            raise ValueError("targets are needed")
        y: Tensor = self.b(self.drop(self.a(x)))
        return y


def test_dropout_is_at_work_where_only_evaluation_mode_can_be_followed() -> None:
    found = cost(Supervised(), input_size=(8, 16), kernels="cpu")
    assert "evaluation mode was read, with its dropouts at work" in found.assumed[0]
    assert found.activations == 3 * 4 * 8 * 16  # the input, the mask of factors, what is left


def test_views_agree() -> None:
    found = cost(Deep(), input_size=(4, 64), gpu="T4")
    rows = found.by_block(2)
    assert sum(r["saved MiB"] for r in rows) * 2**20 == pytest.approx(found.activations)
    assert sum(r["saved MiB"] for r in found.by_operator()) * 2**20 == pytest.approx(found.activations)
    assert sum(r["params"] for r in rows) == sum(p.numel() for p in Deep().parameters())
    assert json.loads(found.to_json())["bytes"]["peak"] == found.peak
    for text in (str(found), found.to_markdown(), found._repr_html_()):
        assert "blocks" in text
    assert "at the peak of a training step" in str(found)
    assert "lower bound, no forecast" in str(found)


def test_every_row_says_at_least_nothing_of_what_it_saves() -> None:
    """Traits that begin with ``saves_`` are those the count knows."""
    known = {"input", "other", "factors", "result", "mask", "indices", "statistics", "logsumexp", "state"}
    known |= {"map", "maps", "map_on_cpu"}
    assert {t.removeprefix("saves_") for op in OPS for t in op.saves} == known


def test_dtypes_have_sizes() -> None:
    for name in ("float32", "float16", "bfloat16", "int64", "bool", "float64", "complex64", "uint8"):
        assert itemsize(name) == torch.empty((), dtype=getattr(torch, name)).element_size()


def test_precision_without_autocast_is_as_traced() -> None:
    graph = sed_torch.trace(Gated(), input_size=(2, 16))
    assert precision(graph, device="cuda").dtypes == {n.name: n.dtype for n in graph.nodes}


def test_the_model_is_left_as_found() -> None:
    model = Gated()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert isinstance(sed_torch.cost(model, input_size=(2, 16)), Cost)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["torchvision:squeezenet1_1", "--batch", "16", "--amp", "bf16", "--gpu", "T4", "--memory", "1M"]
    status, out, err = run(capsys, "cost", *words)
    assert status == 1
    assert "at the peak of a training step (batch 16, float32, autocast bfloat16, adamw)" in " ".join(
        out.split()
    )
    assert "do not fit in 1.0 MiB; not even one sample does: a step with it takes" in err


def test_operators_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["torchvision:squeezenet1_1", "--by", "operator", "--format"]
    status, out, _ = run(capsys, "cost", *words, "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0
    assert {"conv", "relu"} <= {r["operator"] for r in rows}
    found = sed_torch.cost(torchvision.models.squeezenet1_1(), input_size=(1, 3, 224, 224))
    assert sum(float(r["saved MiB"]) for r in rows) * 2**20 == pytest.approx(found.activations)
    assert Cost.from_json(run(capsys, "cost", *words, "json")[1]).by == "operator"
    with pytest.raises(InputError, match="by must be one of block, operator, found 'layer'"):
        dataclasses.replace(found, by="layer")
