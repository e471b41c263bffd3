"""What-ifs of a cost, held against what torch does where they are really done."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.memory import really_allocated, really_kept, really_stepped
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from sed_torch.costing import cost


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))


def rectified() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 16), nn.ReLU())


def dropping() -> nn.Module:
    return nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 16))


def attending() -> nn.Module:
    return nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)


class Bounded(nn.Module):
    """Its last result is kept by itself and by who reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.inner, self.last = nn.LayerNorm(16), mlp(), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x + self.inner(self.norm(x)))


class Chain(nn.Module):
    def __init__(self, block: Callable[[], nn.Module], skips: bool = False) -> None:
        super().__init__()
        self.blocks, self.tail = nn.ModuleList(block() for _ in range(3)), nn.Linear(16, 16)
        self.skips = skips

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x) if self.skips else block(x)
        return self.tail(x)


class Shared(nn.Module):
    """One module, called over and over: each call is checkpointed for itself."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.block, self.tail, self.apart = mlp(), nn.Linear(16, 16), apart

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.block(x) + 1 if self.apart else self.block(x)
        return self.tail(x)


class Part(nn.Module):
    """A block that reads half of a map keeps all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.block, self.tail = nn.Linear(16, 32), mlp(), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.a(x).chunk(2, -1)
        return self.tail(torch.cat([y, self.block(z)], -1))


class Stages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
            for c in (3, 8, 8)
        )
        self.tail = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.tail(x.mean((2, 3)))


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "chain": lambda: Chain(mlp), "skips": lambda: Chain(mlp, skips=True),
    "kept by its reader": lambda: Chain(rectified),
    "dropout": lambda: Chain(dropping), "attention": lambda: Chain(attending), "bounded": lambda: Chain(Bounded),
    "one called over and over": lambda: Shared(apart=False), "and between": lambda: Shared(apart=True),
    "a part": Part, "convolutions": Stages,
}  # fmt: skip


def checkpointed(model: nn.Module, patterns: list[str]) -> nn.Module:
    """A copy whose blocks are really checkpointed."""
    model = copy.deepcopy(model)
    for path, module in model.named_modules():
        if any(fnmatch(path, p) and path.count(".") == p.count(".") for p in patterns):
            module.forward = _again(module.forward)
    return model


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: checkpoint(forward, *args, use_reentrant=False, **kwargs)


def flops(model: nn.Module, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", BLOCKS)
def test_checkpointing_by_what_torch_keeps_and_computes_again(name: str) -> None:
    model = BLOCKS[name]()
    size = (4, 3, 8, 8) if isinstance(model, Stages) else (4, 8, 16)
    patterns, x = ["blocks.*"] if hasattr(model, "blocks") else ["block"], torch.randn(size)
    really = checkpointed(model, patterns)
    for amp in (False, True):
        found = cost(
            model, input_size=size, kernels="cpu", checkpointing=patterns, amp="bf16" if amp else None
        )
        assert found.activations == really_kept(really, x, amp=amp)
    more = flops(really, x) - flops(copy.deepcopy(model).train(), x)
    assert found.recomputed == more / 2 / size[0]


@pytest.mark.parametrize("apart", [False, True])
def test_how_often_a_checkpointed_module_is_called_is_said(apart: bool) -> None:
    found = cost(Shared(apart), input_size=(4, 8, 16), checkpointing=["block"])
    assert any("block (3 times)" in a for a in found.assumed)
    assert not any(
        "times)" in a for a in cost(Chain(mlp), input_size=(4, 16), checkpointing=["blocks.*"]).assumed
    )


def test_the_outermost_of_nested_blocks_is_checkpointed() -> None:
    both = cost(Chain(mlp), input_size=(4, 16), checkpointing=["blocks.*", "blocks.*.*"])
    outer = cost(Chain(mlp), input_size=(4, 16), checkpointing=["blocks.*"])
    assert (both.activations, both.recomputed) == (outer.activations, outer.recomputed)


# -- other inputs, other dtypes --------------------------------------------------------------------------------


def pictures() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32),
        nn.Hardswish(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


class Causal(nn.Module):
    """Learned positions up to a length, a mask made anew of each length, weights that grow with its square."""

    def __init__(self, way: str = "apart") -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(50, 16), nn.Parameter(torch.zeros(1, 64, 16))
        self.qkv, self.out, self.head = nn.Linear(16, 48), nn.Linear(16, 16), nn.Linear(16, 50)
        self.way = way

    def forward(self, ids: Tensor) -> Tensor:
        n, length = ids.shape
        x = self.words(ids) + self.places[:, :length]
        q, k, v = self.qkv(x).view(n, length, 3, 4, 4).permute(2, 0, 3, 1, 4)
        later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        if self.way == "apart":
            w = (q @ k.transpose(-1, -2) / 2).masked_fill(later, float("-inf")).softmax(-1)
            y = w @ v
        else:
            mask, p = None if self.way == "fused" else ~later, 0.1 if self.way == "drops" else 0.0
            y = F.scaled_dot_product_attention(q, k, v, mask, p if self.training else 0.0)
        return self.head(self.out(y.transpose(1, 2).flatten(2)))


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 64), (160, 160)])
def test_image_sizes(size: tuple[int, int], amp: bool) -> None:
    model, x = pictures(), torch.randn(2, 3, *size)
    found = cost(model, input_size=(2, 3, *size), kernels="cpu", amp="bf16" if amp else None)
    assert found.activations == really_kept(model, x, amp=amp)


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("length", [1, 5, 16, 64])
def test_lengths_of_sequences(length: int, amp: bool) -> None:
    model, ids = Causal(), torch.randint(0, 50, (3, length))
    found = cost(model, input_data=ids, kernels="cpu", amp="bf16" if amp else None)
    assert found.activations == really_kept(model, ids, amp=amp)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_dtypes(dtype: str) -> None:
    held = getattr(torch, dtype)
    x, ids = torch.randn(2, 3, 32, 32), torch.randint(0, 50, (3, 16))
    for model, given in ((pictures(), x), (Causal(), ids)):
        found = cost(model, input_data=given, dtype=dtype, kernels="cpu")
        really = given.to(held) if given.is_floating_point() else given
        assert found.activations == really_kept(model.to(held), really)


# -- the largest batch -----------------------------------------------------------------------------------------

FITTED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[str]]] = {
    "pictures": (pictures, (3, 32, 32), []),
    "bounded": (lambda: Averaged(Chain(Bounded)), (8, 16), []),
    "attention": (lambda: Averaged(Chain(attending)), (24, 16), []),
    "convolutions": (Stages, (3, 16, 16), []),
    "checkpointed": (lambda: Averaged(Chain(mlp)), (64, 16), ["0.blocks.*"]),
    "large outputs": (lambda: Chain(mlp), (64, 16), []),
    "large outputs, checkpointed": (lambda: Chain(mlp), (64, 16), ["blocks.*"]),
    "large outputs of convolutions": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 64, 3)),
        (3, 16, 16),
        [],
    ),
    "outputs from early on": (lambda: Forked(), (64, 16), []),
    "outputs that a checkpointed block keeps": (
        lambda: nn.Sequential(
            *(nn.Linear(16, 256), nn.Tanh(), nn.Linear(256, 16)),
            nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 256), nn.Tanh()),
        ),
        (16,),
        ["3"],
    ),
}


class Forked(nn.Module):
    """Whose output is mostly what its first layer makes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.wide, self.narrow = nn.Linear(16, 16), nn.Linear(16, 64), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return torch.cat([h, self.narrow(torch.relu(self.wide(h)))], -1)


class Scanned(nn.Module):
    """Takes one step after the other out of a wide map, as a scan does."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.out = nn.Linear(4, 256), nn.Linear(256, 2)

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.tanh(self.wide(x))
        state = steps[:, 0]
        for i in range(1, 8):
            state = state * steps[:, i]
        y: Tensor = self.out(state)
        return y


class Averaged(nn.Sequential):
    """One row a sample, so that what a loss makes of it weighs little."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x).mean(1)
        return y


@pytest.mark.parametrize("name", FITTED)
def test_the_largest_batch_fits_and_one_more_does_not(name: str) -> None:
    """In memory for half a sample more than a real step of that many takes."""
    make, size, patterns = FITTED[name]
    model = make()
    really = checkpointed(model, patterns)
    one = cost(model, input_size=(2, *size), optimizer="sgd", kernels="cpu", checkpointing=patterns)
    for batch in (3, 8):
        fits, beyond = (really_stepped(really, torch.randn(n, *size)) for n in (batch, batch + 1))
        memory = (fits + beyond) / 2
        assert one.largest_batch(memory) == batch


def test_each_part_taken_of_a_map_gives_back_a_gradient_of_the_whole() -> None:
    model = Scanned()
    one = cost(model, input_size=(2, 8, 4), optimizer="sgd", kernels="cpu")
    for batch in (1, 8):
        assert (
            really_allocated(model, torch.randn(batch, 8, 4)) - one.peak_at(batch) == 8
        )  # loss and its gradient


# -- the ways of attention -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "kernels", "amp", "said"),
    [
        ("fused", "cpu", None, "flash"), ("masked", "cpu", None, "flash"), ("drops", "cpu", None, "math"),
        ("fused", "cuda", None, "efficient"), ("fused", "cuda", "bf16", "flash"),
        ("masked", "cuda", "bf16", "efficient"),
    ],
)  # fmt: skip
def test_operators_tell_how_attention_is_done(way: str, kernels: Any, amp: str | None, said: str) -> None:
    ids = torch.zeros(3, 16, dtype=torch.int64)
    found = cost(Causal(way), input_data=ids, kernels=kernels, amp=amp)
    rows = {r["operator"]: r for r in found.by_operator()}
    row = rows[f"scaled_dot_product_attention ({said})"]
    assert row["GFLOPs"] * 1e9 == 2 * (
        2 * 3 * 4 * 16 * 16 * 4
    )  # both products: queries by keys, weights by values
    assert "scaled_dot_product_attention" not in rows
    assert json.loads(found.to_json())["operators"] == found.by_operator()
    assert type(found).from_json(found.to_json()).by_operator() == found.by_operator()
    assert sum(r["saved MiB"] for r in rows.values()) * 2**20 == pytest.approx(found.activations)
