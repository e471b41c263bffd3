"""What-ifs of a cost, held against what torch does where they are really done."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.memory import really_kept
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
        if path in patterns or (path.count(".") == 1 and f"{path.partition('.')[0]}.*" in patterns):
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
