"""Check a network in two lines before training it, in plain PyTorch.

python examples/train_plain.py                 a network that passes
python examples/train_plain.py --forget        one whose auxiliary branch was forgotten: the check stops it
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

import sed_torch


class Net(nn.Module):
    """A small residual network; ``forget`` registers a branch that the forward never calls."""

    def __init__(self, width: int = 16, classes: int = 4, *, forget: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
        )
        self.head = nn.Linear(2 * width, classes)
        if forget:
            self.branch = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.block(x))
        return self.head(self.last(self.pool(x)).mean((2, 3)))


def batch(size: int = 8) -> tuple[Tensor, Tensor]:
    """Noise whose mean colour tells its class."""
    y = torch.randint(0, 4, (size,))
    return torch.randn(size, 3, 16, 16) + y.float().view(-1, 1, 1, 1), y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forget", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = Net(forget=args.forget)
    loss = nn.CrossEntropyLoss()

    report = sed_torch.check(model, input_size=(8, 3, 16, 16), loss=loss, raise_on="error")
    print(report)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(args.steps):
        x, y = batch()
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        print(f"step {step}: loss {value.item():.3f}")


if __name__ == "__main__":
    main()
