"""Random programs that carry a batch through all that people do with it, and keep its samples apart.

A program is an input and a list of steps. A step reads a value of one kind and makes one of another:

- ``"image"``: (batch, channels, height, width)
- ``"rows"``: (batch, length, width)
- ``"columns"``: the same with the length first, (length, batch, width)
- ``"vector"``: (batch, width)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

__all__ = ["STARTS", "STEPS", "Program", "given_to", "programs"]

Shape = tuple[int, ...]
"""Of one sample."""
Body = Callable[[Any, Tensor], Tensor]
"""(the step's layers, the value) → the next value."""


@dataclass(frozen=True)
class Step:
    """What a step reads and makes, and how it is built for the shape of a sample."""

    reads: str
    makes: str
    build: Callable[[Shape], tuple[Mapping[str, nn.Module | nn.Parameter], Shape]]
    body: Body
    recurrent: bool = False


def _plain(shape: Shape) -> tuple[Mapping[str, nn.Module | nn.Parameter], Shape]:
    return {}, shape


def _to(shape_of: Callable[[Shape], Shape]) -> Any:
    return lambda shape: ({}, shape_of(shape))


def _weights(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.full(shape, 0.1))


# -- images ----------------------------------------------------------------------------------------------------


def _channel_by_channel(m: Any, x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    y: Tensor = m.c(x.reshape(b * c, 1, h, w))
    return y.view(b, c * 2, h, w)


def _shuffled(m: Any, x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


def _windows(m: Any, x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    y = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, c)
    y = m.a(y)
    return y.view(b, h // 2, w // 2, 2, 2, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)


def _one_by_one(m: Any, x: Tensor) -> Tensor:
    return torch.stack([m.c(image.unsqueeze(0)).squeeze(0) for image in x.unbind(0)])


def _filled(m: Any, x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for i in range(x.shape[0]):
        out[i] = m.c(x[i : i + 1])[0]
    return out


def _shifted(m: Any, x: Tensor) -> Tensor:
    return torch.roll(F.pad(m.c(x), (1, 0, 0, 1))[:, :, 1:, :-1], (1, 1), (2, 3))


IMAGES = {
    "convolution": Step("image", "image", lambda s: ({"c": nn.Conv2d(s[0], 4, 3, padding=1)}, (4, *s[1:])), lambda m, x: m.c(x)),
    "normalised": Step("image", "image", lambda s: ({"n": nn.GroupNorm(2, s[0])}, s), lambda m, x: F.relu(m.n(x))),
    "a channel at a time": Step("image", "image", lambda s: ({"c": nn.Conv2d(1, 2, 3, padding=1)}, (2 * s[0], *s[1:])), _channel_by_channel),
    "channels shuffled": Step("image", "image", _plain, _shuffled),
    "channels last": Step("image", "image", lambda s: ({"a": nn.Linear(s[0], 6)}, (6, *s[1:])), lambda m, x: m.a(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
    "windows": Step("image", "image", lambda s: ({"a": nn.Linear(s[0], s[0])}, s), _windows),
    "one by one": Step("image", "image", lambda s: ({"c": nn.Conv2d(s[0], s[0], 3, padding=1)}, s), _one_by_one),
    "rows filled": Step("image", "image", lambda s: ({"c": nn.Conv2d(s[0], s[0], 1)}, s), _filled),
    "rolled": Step("image", "image", lambda s: ({"c": nn.Conv2d(s[0], s[0], 1)}, s), _shifted),
    "gated": Step("image", "image", lambda s: ({"a": nn.Linear(s[0], s[0])}, s), lambda m, x: x * m.a(x.mean((2, 3))).sigmoid()[:, :, None, None]),
    "unfolded": Step("image", "rows", lambda s: ({"a": nn.Linear(4 * s[0], 6)}, (s[1] * s[2] // 4, 6)), lambda m, x: m.a(F.unfold(x, 2, stride=2).transpose(1, 2))),
    "tokens": Step("image", "rows", _to(lambda s: (s[1] * s[2], s[0])), lambda m, x: x.flatten(2).transpose(1, 2)),
    "tokens first": Step("image", "columns", _to(lambda s: (s[1] * s[2], s[0])), lambda m, x: x.flatten(2).permute(2, 0, 1)),
    "pooled": Step("image", "vector", _to(lambda s: s[:1]), lambda m, x: F.adaptive_avg_pool2d(x, 1).flatten(1)),
    "strongest": Step("image", "vector", _to(lambda s: s[:1]), lambda m, x: x.flatten(2).max(-1)[0]),
    "unpooled": Step("image", "image", _plain, lambda m, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)),
    "turned": Step("image", "image", _to(lambda s: (s[0], s[2], s[1])), lambda m, x: x.rot90(1, (2, 3)).flip(3)),
    "resampled": Step("image", "image", _plain, lambda m, x: F.grid_sample(x, F.affine_grid(x.new_zeros(len(x), 2, 3), x.shape, align_corners=False), align_corners=False)),
    "spectrum": Step("image", "image", lambda s: ({"c": nn.Conv2d(2 * s[0], s[0], 1)}, (s[0], s[1], s[2] // 2 + 1)), lambda m, x: m.c(torch.cat([(f := torch.fft.rfft2(x)).real, f.imag], 1))),
}  # fmt: skip


# -- sequences -------------------------------------------------------------------------------------------------


def _attention(m: Any, x: Tensor) -> Tensor:
    b, t, d = x.shape
    q, k, v = m.a(x).reshape(b, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
    mask = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
    weights = (q @ k.transpose(-2, -1)).masked_fill(~mask, -1e9).softmax(-1)
    return x + (weights @ v).transpose(1, 2).reshape(b, t, d)


def _heads_in_the_batch(m: Any, x: Tensor) -> Tensor:
    b, t, d = x.shape
    h = m.a(x).view(b, t, 2, d // 2).transpose(1, 2).reshape(b * 2, t, d // 2)
    weights = torch.bmm(h, h.transpose(1, 2)).softmax(-1)
    return torch.bmm(weights, h).view(b, 2, t, d // 2).transpose(1, 2).reshape(b, t, d)


def _with_a_token(m: Any, x: Tensor) -> Tensor:
    return torch.cat([m.token.expand(x.shape[0], -1, -1), x], 1)


def _recurrence(m: Any, x: Tensor) -> Tensor:
    state, out = x.new_zeros(x.shape[0], x.shape[2]), []
    for t in range(x.shape[1]):
        state = torch.tanh(m.a(x[:, t]) + m.b(state))
        out.append(state)
    return torch.stack(out, 1)


def _experts(m: Any, x: Tensor) -> Tensor:
    gates = m.g(x).softmax(-1)
    return torch.einsum("bte,btde->btd", gates, torch.einsum("btc,cde->btde", x, m.w))


def _one_hot(m: Any, x: Tensor) -> Tensor:
    return torch.matmul(x.cumsum(1), m.w)


def _rows_flat(m: Any, x: Tensor) -> Tensor:
    b, t, d = x.shape
    return F.gelu(m.a(x.reshape(-1, d))).reshape(b, t, -1)


def _cross(m: Any, x: Tensor) -> Tensor:
    queries = m.q.unsqueeze(0).repeat(x.shape[0], 1, 1)
    return F.scaled_dot_product_attention(queries, m.a(x), x)


ROWS = {
    "attention": Step("rows", "rows", lambda s: ({"a": nn.Linear(s[1], 3 * s[1])}, s), _attention),
    "heads in the batch": Step("rows", "rows", lambda s: ({"a": nn.Linear(s[1], s[1])}, s), _heads_in_the_batch),
    "a token": Step("rows", "rows", lambda s: ({"token": _weights(1, 1, s[1])}, (s[0] + 1, s[1])), _with_a_token),
    "recurrence": Step("rows", "rows", lambda s: ({"a": nn.Linear(s[1], s[1]), "b": nn.Linear(s[1], s[1])}, s), _recurrence, recurrent=True),
    "lstm": Step("rows", "rows", lambda s: ({"r": nn.LSTM(s[1], s[1], batch_first=True)}, s), lambda m, x: m.r(x)[0], recurrent=True),
    "state of a gru": Step("rows", "vector", lambda s: ({"r": nn.GRU(s[1], 6, batch_first=True)}, (6,)), lambda m, x: m.r(x)[1][-1], recurrent=True),
    "experts": Step("rows", "rows", lambda s: ({"g": nn.Linear(s[1], 3), "w": _weights(s[1], s[1], 3)}, s), _experts),
    "all before": Step("rows", "rows", lambda s: ({"w": _weights(s[1], s[1])}, s), _one_hot),
    "rows flat": Step("rows", "rows", lambda s: ({"a": nn.Linear(s[1], 8)}, (s[0], 8)), _rows_flat),
    "queries": Step("rows", "rows", lambda s: ({"q": _weights(3, s[1]), "a": nn.Linear(s[1], s[1])}, (3, s[1])), _cross),
    "positions": Step("rows", "rows", lambda s: ({"e": nn.Embedding(64, s[1])}, s), lambda m, x: x + m.e(torch.arange(x.shape[1], device=x.device))),
    "mixed along": Step("rows", "rows", lambda s: ({"a": nn.Linear(s[0], s[0])}, s), lambda m, x: x + m.a(x.transpose(1, 2)).transpose(1, 2)),
    "convolved": Step("rows", "rows", lambda s: ({"c": nn.Conv1d(s[1], s[1], 3, padding=1)}, s), lambda m, x: m.c(x.mT).mT),
    "encoder": Step("rows", "rows", lambda s: ({"e": nn.TransformerEncoderLayer(s[1], 2, 8, dropout=0.0, batch_first=True)}, s), lambda m, x: m.e(x)),
    "length first": Step("rows", "columns", _plain, lambda m, x: x.transpose(0, 1)),
    "averaged": Step("rows", "vector", _to(lambda s: s[1:]), lambda m, x: x.mean(1)),
    "first": Step("rows", "vector", _to(lambda s: s[1:]), lambda m, x: x[:, 0]),
    "gathered": Step("rows", "vector", _to(lambda s: s[1:]), lambda m, x: x[torch.arange(x.shape[0]), x.shape[1] - 1]),
    "flattened": Step("rows", "vector", lambda s: ({"a": nn.Linear(s[0] * s[1], 6)}, (6,)), lambda m, x: m.a(x.flatten(1))),
    "greatest": Step("rows", "vector", _to(lambda s: s[1:]), lambda m, x: x.max(1).values),
    "in the middle": Step("rows", "vector", _to(lambda s: s[1:]), lambda m, x: torch.median(x, dim=-2)[0]),
    "spread": Step("rows", "vector", _to(lambda s: s[1:]), lambda m, x: torch.sub(*torch.var_mean(x, 1))),
    "sorted": Step("rows", "rows", _plain, lambda m, x: x.sort(1, descending=True)[0]),
    "best two": Step("rows", "rows", _to(lambda s: (2, s[1])), lambda m, x: x.gather(1, x.norm(dim=-1).topk(2)[1].unsqueeze(-1).expand(-1, -1, x.shape[-1]))),
    "in another order": Step("rows", "rows", _plain, lambda m, x: x[torch.arange(len(x))[:, None], x.sum(-1).argsort(1)]),
    "turned square": Step("rows", "rows", _to(lambda s: (s[1], s[1])), lambda m, x: torch.linalg.eigh(x.mT @ x)[1]),
    "scaled by a norm": Step("rows", "rows", _plain, lambda m, x: x / torch.linalg.matrix_norm(x)[:, None, None]),
    "prepared once a sample": Step("rows", "rows", lambda s: ({"a": nn.Linear(s[1], s[1])}, s), lambda m, x: nn.utils.rnn.pad_sequence([m.a(y) for y in x], batch_first=True)),
    "added where told": Step("rows", "rows", _plain, lambda m, x: torch.zeros_like(x).scatter_add(1, x.argsort(1), x)),
    "folded": Step("rows", "image", _to(lambda s: (s[1], 1, s[0])), lambda m, x: x.transpose(1, 2).unsqueeze(2)),
}  # fmt: skip


COLUMNS = {
    "gru": Step("columns", "columns", lambda s: ({"r": nn.GRU(s[1], s[1])}, s), lambda m, x: m.r(x)[0], recurrent=True),
    "multi-head": Step("columns", "columns", lambda s: ({"a": nn.MultiheadAttention(s[1], 2)}, s), lambda m, x: m.a(x, x, x, need_weights=False)[0]),
    "layer": Step("columns", "columns", lambda s: ({"a": nn.Linear(s[1], 6)}, (s[0], 6)), lambda m, x: F.relu(m.a(x))),
    "batch first": Step("columns", "rows", _plain, lambda m, x: x.transpose(0, 1)),
    "last": Step("columns", "vector", _to(lambda s: s[1:]), lambda m, x: x[-1]),
    "summed": Step("columns", "vector", _to(lambda s: s[1:]), lambda m, x: x.sum(0)),
}  # fmt: skip


def _hyper(m: Any, x: Tensor) -> Tensor:
    d = x.shape[1]
    weights = m.a(x).view(-1, d, d)
    return torch.bmm(x.unsqueeze(1), weights).squeeze(1)


VECTORS = {
    "perceptron": Step("vector", "vector", lambda s: ({"a": nn.Linear(s[0], 8), "b": nn.Linear(8, 6)}, (6,)), lambda m, x: m.b(F.relu(m.a(x)))),
    "outer product": Step("vector", "rows", _to(lambda s: (s[0], s[0])), lambda m, x: torch.einsum("bi,bj->bij", x, x)),
    "crossed": Step("vector", "vector", lambda s: ({"a": nn.Linear(s[0] * s[0], 6)}, (6,)), lambda m, x: m.a((x[:, :, None] * x[:, None]).flatten(1))),
    "weights of its own": Step("vector", "vector", lambda s: ({"a": nn.Linear(s[0], s[0] * s[0])}, s), _hyper),
    "repeated": Step("vector", "rows", lambda s: ({"p": _weights(4, s[0])}, (4, s[0])), lambda m, x: x.unsqueeze(1).repeat(1, 4, 1) + m.p),
    "repeated along": Step("vector", "columns", _to(lambda s: (3, s[0])), lambda m, x: x.expand(3, -1, -1)),
    "interleaved": Step("vector", "vector", lambda s: ({"a": nn.Linear(s[0], 6)}, (6,)), lambda m, x: m.a(x.repeat_interleave(2, 0)).view(x.shape[0], 2, -1).mean(1)),
    "both signs": Step("vector", "vector", lambda s: ({"a": nn.Linear(s[0], 6)}, (6,)), lambda m, x: torch.sub(*m.a(torch.cat([x, -x])).chunk(2))),
    "a generator": Step("vector", "image", lambda s: ({"a": nn.Linear(s[0], 4 * 4), "c": nn.ConvTranspose2d(4, 4, 2, 2)}, (4, 4, 4)), lambda m, x: m.c(m.a(x).view(-1, 4, 2, 2))),
    "prototypes": Step("vector", "vector", lambda s: ({"p": _weights(6, s[0])}, (6,)), lambda m, x: x @ m.p.t() - (m.p**2).sum(1)),
}  # fmt: skip

STEPS = {**IMAGES, **ROWS, **COLUMNS, **VECTORS}


# -- inputs ----------------------------------------------------------------------------------------------------


def _ids(*shape: int) -> Tensor:
    return torch.arange(math.prod(shape)).reshape(shape) % 7


def _looked_up(width: int) -> Any:
    return lambda _: ({"e": nn.Embedding(9, width)}, (5, width))


@dataclass(frozen=True)
class Start:
    """What is given for so many samples, and the step that reads it."""

    give: Callable[[int], Any]
    step: Step


STARTS = {
    "images": Start(lambda n: (torch.ones(n, 2, 4, 4),), Step("", "image", lambda _: ({}, (2, 4, 4)), lambda m, x: x)),
    "rows": Start(lambda n: (torch.ones(n, 5, 6),), Step("", "rows", lambda _: ({}, (5, 6)), lambda m, x: x)),
    "columns": Start(lambda n: (torch.ones(5, n, 6),), Step("", "columns", lambda _: ({"r": nn.GRU(6, 6)}, (5, 6)), lambda m, x: m.r(x)[0], recurrent=True)),
    "tokens": Start(lambda n: (_ids(n, 5),), Step("", "rows", _looked_up(6), lambda m, x: m.e(x))),
    "an id": Start(lambda n: (_ids(n),), Step("", "vector", lambda _: ({"e": nn.Embedding(9, 6)}, (6,)), lambda m, x: m.e(x))),
    "vectors": Start(lambda n: (torch.ones(n, 6),), Step("", "vector", lambda _: ({}, (6,)), lambda m, x: x)),
}  # fmt: skip


class _Part(nn.Module):
    def __init__(self, step: Step, shape: Shape) -> None:
        super().__init__()
        layers, self.makes = step.build(shape)
        self.body = step.body
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


Recipe = tuple[str, tuple[str, ...], str]
"""Start, steps, and where a time stands beside the input: ``"none"``, ``"before"`` or ``"after"``."""


class Program(nn.Module):
    """The network of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        start, steps, self.time = recipe
        chosen = [STARTS[start].step, *(STEPS[s] for s in steps)]
        self.recurrent = any(s.recurrent for s in chosen)
        shape: Shape = ()
        self.parts = nn.ModuleList()
        for step in chosen:
            part = _Part(step, shape)
            self.parts.append(part)
            shape = part.makes
        self.clock = nn.Linear(1, 4) if self.time != "none" else None
        self.head = nn.Linear(shape[0] if chosen[-1].makes == "image" else shape[-1], 3)

    def forward(self, *given: Tensor) -> Tensor:
        x, t = (given[1], given[0]) if self.time == "before" else (given[0], given[-1])
        for part in self.parts:
            x = part(x)
        x = x.movedim(1, -1) if x.dim() == 4 else x
        if self.clock is not None:
            return self.head(x).flatten(1).mean(1, keepdim=True) + self.clock(t[:, None])  # type: ignore[no-any-return]
        return self.head(x)  # type: ignore[no-any-return]


def given_to(recipe: Recipe, n: int) -> tuple[Tensor, ...]:
    """Inputs of so many samples."""
    data = STARTS[recipe[0]].give(n)
    time = {"none": ((), ()), "before": ((torch.ones(n),), ()), "after": ((), (torch.ones(n),))}[recipe[2]]
    return (*time[0], *data, *time[1])


@st.composite
def programs(draw: Any) -> Recipe:
    """A start and up to five steps that fit on each other."""
    start = draw(st.sampled_from(sorted(STARTS)))
    kind, shape, steps = STARTS[start].step.makes, STARTS[start].step.build(())[1], []
    for _ in range(draw(st.integers(1, 5))):
        name = draw(st.sampled_from([n for n, s in STEPS.items() if s.reads == kind and _fits(n, shape)]))
        steps.append(name)
        kind, shape = STEPS[name].makes, STEPS[name].build(shape)[1]
    time = draw(st.sampled_from(["none", "none", "before", "after"])) if kind != "columns" else "none"
    return start, tuple(steps), time


def _fits(name: str, shape: Shape) -> bool:
    """Even channels for halves, even sides for windows, and nothing that grows without end."""
    if math.prod(shape) > 400 and name in (
        "a channel at a time",
        "outer product",
        "crossed",
        "weights of its own",
    ):
        return False
    if name == "best two":
        return shape[0] >= 2
    if name in ("windows", "unfolded", "unpooled"):
        return shape[1] % 2 == 0 and shape[2] % 2 == 0
    if name in ("channels shuffled", "normalised"):
        return shape[0] % 2 == 0
    if name in ("attention", "heads in the batch", "encoder", "multi-head"):
        return shape[1] % 2 == 0
    return True
