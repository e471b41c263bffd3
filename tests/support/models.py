"""Small networks for tests, each with what makes it awkward in its docstring."""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = (2, 3, 8, 8)
"""An input size that all networks of :data:`AWKWARD` take."""


class Busy(nn.Module):
    """Writes attributes, counts calls, fills buffers, draws random numbers, works in place, branches on mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 5)
        self.register_buffer("seen", torch.zeros(()))
        self.calls = 0
        self.cache: dict[str, Any] = {}
        self.log: list[str] = []
        self.last: Tensor | None = None
        self.plain = [self.conv, self.norm]
        self.bound = self.head.forward
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.log.append("called")
        self.cache["shape"] = x.shape
        y = self.plain[1](self.plain[0](x))
        self.seen.add_(1)
        y = F.relu(y, inplace=True) + 0.1 * torch.randn_like(y)
        y.mul_(self.frozen.view(1, -1, 1, 1))
        if self.training:
            y = self.drop(y)
        y[:, :2] = y[:, 2:] * 2
        self.last = y.mean((2, 3))
        return self.bound(self.last)


class Hooked(nn.Module):
    """Forward hooks and pre-hooks that count, one that changes the result."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3))
        self.fired: list[str] = []
        self.body[0].register_forward_hook(self.count)
        self.body[0].register_forward_pre_hook(lambda module, args: (args[0] * 2,))
        self.body[2].register_forward_hook(lambda module, args, result: F.max_pool2d(result, 2))

    def count(self, module: nn.Module, args: Any, result: Any) -> None:
        self.fired.append(type(module).__name__)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)  # type: ignore[no-any-return]


class Tally:
    """A plain object that a forward writes to."""

    def __init__(self) -> None:
        self.calls = 0
        self.shapes: list[torch.Size] = []

    def hook(self, module: nn.Module, args: Any, result: Tensor) -> None:
        self.calls += 1
        self.shapes.append(result.shape)


class Careless(nn.Module):
    """Writes to whatever it can reach: objects, closures, tensors that are no buffers, autograd, generators."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3)
        self.tally = Tally()
        self.a.register_forward_hook(self.tally.hook)
        self.total = torch.zeros(3)
        self.array = np.zeros(2)
        self.steps: list[int] = []
        self.a.shared = self.steps
        steps, conv, calls = self.steps, self.b, 0

        def closure(x: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            steps.append(calls)
            return conv(x)  # type: ignore[no-any-return]

        self.closure = closure
        self.default = lambda x, conv=self.b: conv(x)

    def forward(self, x: Tensor) -> Tensor:
        self.total += 1
        self.total[1:].mul_(2)
        torch.add(self.total, 1, out=self.total)
        self.a.weight.requires_grad_(False)
        self.b.bias.data = self.b.bias.data * 0
        self.b.weight.data.clamp_(-1, 1)
        self.b.weight.grad = None
        x = self.a(x * random.random() * np.random.rand())
        assert len(self.a.shared) == len(self.steps), "what two modules hold in common must stay in common"
        x = self.closure(x)
        assert len(self.a.shared) == len(self.steps) > 0
        x.register_hook(print) if x.requires_grad else None
        return self.default(x)  # type: ignore[no-any-return]


class Shared(nn.Module):
    """One module under two names and called three times, one parameter in two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.again = self.one
        self.tied = nn.Conv2d(4, 4, 3, padding=1)
        self.tied.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.tied(self.again(self.one(self.one(x))))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """Positions as tokens through attention, with a learned class token and parametrised weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 2, 2)
        self.cls = nn.Parameter(torch.zeros(1, 1, 8))
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1)
        x = x + self.attend(x, x, x, need_weights=False)[0]
        return self.head(x[:, 0])  # type: ignore[no-any-return]


class OldNorms(nn.Module):
    """The hooks of torch.nn.utils.weight_norm and spectral_norm, which write the weight at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3, padding=1))
        self.b = nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))  # type: ignore[no-any-return]


AWKWARD: dict[str, type[nn.Module]] = {
    c.__name__: c for c in (Busy, Hooked, Careless, Shared, Tokens, OldNorms)
}


# -- networks that cannot be followed -----------------------------------------------------------------------


class AsksForValues(nn.Module):
    """Calls ``ask`` on a map, as data-dependent code does."""

    def __init__(self, ask: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.ask = ask

    def forward(self, x: Tensor) -> Tensor:
        return self.ask(self.conv(x))  # type: ignore[no-any-return]


# -- unusual inputs and outputs -----------------------------------------------------------------------------


@dataclass
class Out:
    """As the outputs of transformers."""

    logits: Tensor
    hidden: tuple[Tensor, ...] = ()
    loss: Tensor | None = None


class Returns(nn.Module):
    """The same two maps in the container that ``wrap`` makes."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        a = self.a(x)
        return self.wrap(a, self.b(a))


CONTAINERS: dict[str, Any] = {
    "tuple": lambda a, b: (a, b),
    "list": lambda a, b: [a, [b]],
    "dict": lambda a, b: {"a": a, "b": b},
    "ordered dict": lambda a, b: OrderedDict(out=b, aux=a),
    "nested": lambda a, b: {"scales": [(a, 1), (b, None)], "name": "x"},
    "dataclass": lambda a, b: Out(b, (a,)),
}


class TwoInputs(nn.Module):
    """An image and tokens, the second by keyword with a default."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.embed = nn.Embedding(10, 4)

    def forward(self, image: Tensor, tokens: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
        x = self.conv(image) * scale
        return x if tokens is None else x + self.embed(tokens).mean(1)[:, :, None, None]
