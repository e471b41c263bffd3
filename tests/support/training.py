"""Tiny data and networks to train."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from sed_torch.training import Data, Recipe

FAST = Recipe(epochs=2, batch_size=16, lr=0.05, crop=1)


def stripes(n: int = 64, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images of 3 × 4 × 4 whose bright column is their class, under some noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    images = 0.1 * torch.randn(n, 3, 4, 4, generator=generator)
    images[torch.arange(n), :, :, labels] += 2.0
    return images, labels


def tiny(name: str = "stripes") -> Data:
    train, test = (TensorDataset(*stripes(seed=s)) for s in (0, 1))
    return Data(name, train, test, 4, (1, 3, 4, 4), "test")


def linear(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, num_classes))


def broken() -> nn.Module:
    raise RuntimeError("no such luck")
