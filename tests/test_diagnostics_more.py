"""Still further members of the kinds of fault that the check finds, each beside what is right."""

from __future__ import annotations

import copy
import dataclasses
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.checked import Encoder, loud, made
from torch import Tensor, nn
from torch.autograd import Variable

from sed_torch.diagnostics import check

Forward = Callable[[Any, Tensor], Any]


def two(**parts: Any) -> dict[str, Any]:
    return {"a": nn.Linear(8, 8), "b": nn.Linear(8, 2), **parts}


# -- gradients ----------------------------------------------------------------------------------------------


class AsParameter(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(nn.Parameter(torch.relu(self.a(x))))  # type: ignore[no-any-return]


class AsVariable(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        h = Variable(torch.relu(self.a(x)).data, requires_grad=True)
        return self.b(h)  # type: ignore[no-any-return]


class InputAsVariable(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(Variable(x))))  # type: ignore[no-any-return]


class ThroughALists(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        h = torch.tensor(h.tolist())
        return self.b(h)  # type: ignore[no-any-return]


class ThroughNumpyOnItsDevice(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        h = torch.from_numpy(h.detach().cpu().numpy()).to(x.device)
        return self.b(h)  # type: ignore[no-any-return]


class NotesAList(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        self.seen = h.mean(0).detach().tolist()
        return self.b(h)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (AsParameter, True),
        (AsVariable, True),
        (ThroughALists, True),
        (ThroughNumpyOnItsDevice, True),
        (InputAsVariable, False),
        (NotesAList, False),
    ],
)
def test_what_wraps_a_tensor_anew_cuts_its_gradient(kind: type[nn.Module], found: bool) -> None:
    """Held against a backward pass."""
    assert ("SED005" in loud(kind(), input_size=(4, 8))) is found
    model = kind()
    model(torch.randn(4, 8)).sum().backward()
    assert (model.a.weight.grad is None) is found  # type: ignore[union-attr]


def test_torch_is_left_as_it_was() -> None:
    before = nn.Parameter.__new__
    check(AsVariable(), input_size=(4, 8))
    assert nn.Parameter.__new__ is before
    assert "__call__" not in vars(type(Variable))
    assert isinstance(nn.Parameter(torch.ones(2)), nn.Parameter)


class Holds(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.w, self.head = weight, nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(x @ self.w))  # type: ignore[no-any-return]


def _cosines(n: int) -> Tensor:
    i = torch.arange(n)
    return torch.cos(math.pi / n * (i[None] + 0.5) * i[:, None])


@pytest.mark.parametrize(
    ("weight", "found"),
    [
        (torch.randn(8, 8), True),
        (nn.Parameter(torch.randn(8, 8)), False),
        (torch.eye(8), False),
        (torch.linspace(0, 1, 64).reshape(8, 8), False),
        (torch.hann_window(64).reshape(8, 8), False),
    ],
)
def test_a_plain_tensor_of_random_numbers_is_a_weight_that_nobody_trains(weight: Tensor, found: bool) -> None:
    assert loud(Holds(weight), input_size=(4, 8)) == (["SED007"] if found else [])


# -- the batch axis -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1])
def test_sums_that_run_along_the_samples(dim: int) -> None:
    model = made(lambda s, x: s.b(torch.relu(s.a(x).cumsum(dim)).mean(1)), **two())
    assert loud(model, input_size=(4, 6, 8)) == (["SED316"] if dim == 0 else [])


@pytest.mark.parametrize("counted", [True, False])
def test_samples_that_are_taken_one_by_one(counted: bool) -> None:
    def forward(s: Any, x: Tensor) -> Any:
        return torch.stack([s.b(torch.relu(s.a(x[i]))) for i in range(4 if counted else len(x))])

    assert loud(made(forward, **two()), input_size=(4, 8)) == (["SED317"] if counted else [])


@pytest.mark.parametrize("right", [False, True])
def test_a_recurrent_layer_behind_a_convolution(right: bool) -> None:
    """(N, C, T) as (T, N, C) for a layer that reads (N, T, C)."""

    def forward(s: Any, x: Tensor) -> Any:
        x = torch.relu(s.conv(x))
        return s.b(s.rnn(x.permute(0, 2, 1) if right else x.permute(2, 0, 1))[0][:, -1])

    conv, rnn = nn.Conv1d(8, 8, 3, padding=1), nn.GRU(8, 8, batch_first=True)
    model = made(forward, conv=conv, rnn=rnn, b=nn.Linear(8, 1))
    assert ("SED316" in loud(model, input_size=(4, 8, 12))) is not right


@pytest.mark.parametrize("dim", [0, 1])
def test_a_mean_over_the_samples_of_maps(dim: int) -> None:
    def forward(s: Any, x: Tensor) -> Any:
        return s.b(torch.relu(s.conv(x)).transpose(1, 2).mean(dim))

    model = made(forward, conv=nn.Conv1d(8, 8, 3, padding=1), b=nn.Linear(8, 2))
    assert loud(model, input_size=(4, 8, 12)) == (["SED316"] if dim == 0 else [])


# -- dropout ------------------------------------------------------------------------------------------------


def kept_rows(x: Tensor) -> Tensor:
    return x * x.new_empty(x.shape[0], 1).bernoulli_(0.8) / 0.8


def kept_floor(x: Tensor) -> Tensor:
    return x.div(0.8) * (0.8 + torch.rand(x.shape[0], 1)).floor_()


def kept_above(x: Tensor) -> Tensor:
    return x * (torch.rand(x.shape) > 0.5).float() * 2


def noise(x: Tensor) -> Tensor:
    return x * (1 + 0.1 * torch.randn_like(x))


@pytest.mark.parametrize("drop", [kept_rows, kept_floor, kept_above, noise])
@pytest.mark.parametrize("always", [True, False])
def test_dropout_by_hand(drop: Callable[[Tensor], Tensor], always: bool) -> None:
    def forward(s: Any, x: Tensor) -> Any:
        h = torch.relu(s.a(x))
        return s.b(drop(h) if always or s.training else h)

    expected = ["SED310"] if always and drop is not noise else []
    assert loud(made(forward, **two()), input_size=(4, 8)) == expected


# -- ends and losses ----------------------------------------------------------------------------------------


class Smoothed(nn.Module):
    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        p = F.log_softmax(x, -1)
        return -(0.9 * p.gather(1, target[:, None]) + 0.1 * p.mean(-1, keepdim=True)).mean()


class OfProbabilities(nn.Module):
    def forward(self, p: Tensor, target: Tensor) -> Tensor:
        return -(target * torch.log(p + 1e-8)).mean()


def focal(x: Tensor, target: Tensor) -> Tensor:
    plain = F.binary_cross_entropy_with_logits(x, target, reduction="none")
    return ((1 - torch.exp(-plain)) ** 2 * plain).mean()


def squashed_first(x: Tensor, target: Tensor) -> Tensor:
    x = torch.sigmoid(x)
    return F.binary_cross_entropy(x, target)


def overlap(p: Tensor, target: Tensor) -> Tensor:
    return 1 - 2 * (p * target).sum() / (p.sum() + target.sum() + 1)


@pytest.mark.parametrize(
    ("loss", "fits", "misfits"),
    [
        (Smoothed(), None, nn.Softmax(1)),
        (focal, None, nn.Sigmoid()),
        (squashed_first, None, nn.Sigmoid()),
        (OfProbabilities(), nn.Softmax(1), None),
        (overlap, nn.Sigmoid(), ...),
    ],
)
def test_what_a_loss_of_ones_own_does_first(loss: Any, fits: Any, misfits: Any) -> None:
    def ends_in(end: nn.Module | None) -> nn.Module:
        return nn.Sequential(
            nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3), *([end] if end is not None else [])
        )

    assert loud(ends_in(fits), input_size=(4, 8), loss=loss) == []
    if misfits is not ...:
        assert loud(ends_in(misfits), input_size=(4, 8), loss=loss) == ["SED303"]


class Step(nn.Module):
    def __init__(self, *end: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 3), *end)
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


class Functional(Step):
    def training_step(self, batch: Any, index: int) -> Tensor:
        x, y = batch
        found = self(x)
        return F.cross_entropy(found, y)


class Held(Step):
    def training_step(self, batch: Any, index: int) -> Tensor:
        x, y = batch
        return self.criterion(self.forward(x), y)  # type: ignore[no-any-return]


class OfAnother(Step):
    """The step reads the logits, the forward gives probabilities for use."""

    def training_step(self, batch: Any, index: int) -> Tensor:
        x, y = batch
        return self.criterion(self.net[0](x), y)  # type: ignore[no-any-return]


class Logged(Step):
    def training_step(self, batch: Any, index: int) -> Tensor:
        x, y = batch
        found = self(x)
        return F.nll_loss(torch.log(found + 1e-8), y)

    def __init__(self, *end: nn.Module) -> None:
        super().__init__(*end)
        del self.criterion


@pytest.mark.parametrize(
    ("kind", "found"), [(Step, True), (Functional, True), (Held, True), (OfAnother, False), (Logged, False)]
)
def test_the_loss_that_a_step_applies(kind: type[Step], found: bool) -> None:
    assert loud(kind(nn.Softmax(-1)), input_size=(4, 8)) == (["SED303"] if found else [])
    if found:
        assert loud(kind(), input_size=(4, 8)) == []


# -- attention over heads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_attention_over_the_heads_of_a_token(moved: bool, fused: bool) -> None:
    def forward(s: Any, x: Tensor) -> Any:
        n, length, width = x.shape
        q, k, v = (y.view(n, length, 4, width // 4) for y in s.qkv(x).chunk(3, -1))
        if moved:
            q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        if fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = torch.softmax(q @ k.transpose(-2, -1) / 8**0.5, -1) @ v
        return s.out((y.transpose(1, 2) if moved else y).reshape(n, length, width))

    model = made(forward, qkv=nn.Linear(32, 96), out=nn.Linear(32, 32))
    assert loud(model, input_size=(2, 10, 32)) == ([] if moved else ["SED207"])


# -- sharing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["dict", "shallow", "deep"])
def test_copies_that_are_none(how: str) -> None:
    layer = nn.Linear(8, 8)
    entries: list[nn.Module] = {
        "dict": [layer] * 3,
        "shallow": [copy.copy(layer) for _ in range(3)],
        "deep": [copy.deepcopy(layer) for _ in range(3)],
    }[how]
    layers = nn.ModuleDict({str(i): entry for i, entry in enumerate(entries)})

    def forward(s: Any, x: Tensor) -> Any:
        for entry in s.layers.values():
            x = torch.relu(entry(x))
        return s.head(x)

    assert loud(made(forward, layers=layers, head=nn.Linear(8, 2)), input_size=(4, 8)) == (
        [] if how == "deep" else ["SED206"]
    )


# -- nothing left, and nothing divided by -------------------------------------------------------------------


def signs(s: Any, x: Tensor) -> Any:
    return s.b(x * F.normalize(s.gate(x), dim=1))


def centred(s: Any, x: Tensor) -> Any:
    y = s.gate(x)
    return s.b(x * (1 + (y - y.mean(-1, keepdim=True))))


def direction(s: Any, x: Tensor) -> Any:
    return s.b(F.normalize(s.gate(x) * x, dim=1))


@pytest.mark.parametrize(("forward", "found"), [(signs, True), (centred, True), (direction, False)])
def test_a_normalisation_over_one_entry(forward: Forward, found: bool) -> None:
    model = made(forward, gate=nn.Linear(8, 1), b=nn.Linear(8, 2))
    assert loud(model, input_size=(4, 8)) == (["SED301"] if found else [])


@pytest.mark.parametrize(
    ("apply", "width", "found"),
    [
        (lambda h: h.log(), 8, True),
        (lambda h: (h + 1).log(), 8, False),
        (lambda h: h / h.sum(1, keepdim=True), 8, True),
        (lambda h: h / h.norm(dim=1, keepdim=True), 8, True),
        (lambda h: h / (h.sum(1, keepdim=True) + 1e-6), 8, False),
        (lambda h: h / h.sum(1, keepdim=True), 256, False),
    ],
)
def test_what_a_rectifier_leaves_as_divisor(
    apply: Callable[[Tensor], Tensor], width: int, found: bool
) -> None:
    """Held against a pass: with eight entries some inputs give a NaN, with 256 none does."""
    model = made(lambda s, x: s.b(apply(torch.relu(s.a(x)))), a=nn.Linear(8, width), b=nn.Linear(width, 2))
    assert loud(model, input_size=(4, 8)) == (["SED321"] if found else [])
    torch.manual_seed(0)
    finite = bool(torch.isfinite(model(torch.randn(20_000, 8))).all())
    assert finite is not found


# -- directions, tables, skips ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (lambda y: y[:, 0], True),
        (lambda y: y[:, -1, :8], True),
        (lambda y: torch.cat([y[:, -1, :8], y[:, 0, 8:]], -1), False),
        (lambda y: torch.cat([y[:, 0], y[:, -1]], -1), False),
    ],
)
def test_directions_that_are_half_read(read: Callable[[Tensor], Tensor], found: bool) -> None:
    rnn = nn.GRU(8, 8, batch_first=True, bidirectional=True)
    model = made(lambda s, x: s.head(read(s.rnn(x)[0])), rnn=rnn, head=nn.LazyLinear(2))
    model(torch.zeros(4, 10, 8))
    assert loud(model, input_size=(4, 10, 8)) == (["SED208"] if found else [])


class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.randn(1, 10, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table  # type: ignore[no-any-return]


@pytest.mark.parametrize("used", [True, False])
def test_positions_that_are_computed_and_dropped(used: bool) -> None:
    def forward(s: Any, x: Tensor) -> Any:
        y = s.positions(x)
        return s.head(y if used else x)

    model = made(forward, positions=Positions(), head=nn.Linear(8, 2))
    assert loud(model, input_size=(2, 10, 8)) == ([] if used else ["SED008"])


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_sums_with_skips_that_multiply(scale: float) -> None:
    """Weights of variance one in twelve blocks: measured on inputs, E[x²] passes 10⁶ as it is said to."""

    def forward(s: Any, x: Tensor) -> Any:
        for layer in s.layers:
            x = x + torch.relu(layer(x))
        return s.head(x)

    layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(12))
    for layer in layers:
        nn.init.normal_(layer.weight, std=scale)  # type: ignore[arg-type]
    model = made(forward, layers=layers, head=nn.Linear(64, 2))
    assert loud(model, input_size=(4, 64)) == (["SED309"] if scale == 1.0 else [])
    x = torch.randn(256, 64)
    for layer in layers:
        x = (x + torch.relu(layer(x))).detach()
    assert (float(x.square().mean()) > 1e6) is (scale == 1.0)


# -- what is right ------------------------------------------------------------------------------------------


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone().mul_(2).sign()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


def test_a_function_with_a_backward_of_its_own_cuts_nothing() -> None:
    model = made(lambda s, x: s.b(StraightThrough.apply(s.a(x))), **two())  # type: ignore[no-untyped-call]
    assert loud(model, input_size=(4, 8)) == []
    model(torch.randn(4, 8)).sum().backward()
    assert model.a.weight.grad is not None  # type: ignore[union-attr]


@pytest.mark.parametrize("moved", [True, False])
def test_channels_that_are_shared_out_to_anchors(moved: bool) -> None:
    """A map of 4 × 4 with 2 · 4 channels: (N, H, W, A · C) as (N, H · W · A, C) has the sizes of a map's tokens."""

    def forward(s: Any, x: Tensor) -> Any:
        y = s.conv(x)
        return (y.permute(0, 2, 3, 1) if moved else y).reshape(len(x), -1, 4 if moved else 8)

    model = made(forward, conv=nn.Conv2d(3, 8, 8, 8))
    assert loud(model, input_size=(2, 3, 32, 32)) == ([] if moved else ["SED207"])


@pytest.mark.parametrize("squash", [torch.sigmoid, torch.relu, torch.tanh])
def test_log_softmax_of_what_is_squashed(squash: Callable[[Tensor], Tensor]) -> None:
    model = made(lambda s, x: F.log_softmax(squash(s.a(x)), 1), a=nn.Linear(8, 4))
    assert loud(model, input_size=(4, 8)) == ([] if squash is torch.tanh else ["SED303"])


# -- how it is shown ----------------------------------------------------------------------------------------


def test_a_line_a_finding() -> None:
    report = check(nn.Sequential(nn.Linear(8, 3), nn.Softmax(-1)), input_size=(4, 8), loss="cross_entropy")
    line, verdict = report.to_concise().splitlines()
    assert line.startswith("Sequential: SED303 error [1] the network ends in softmax before cross_entropy")
    assert verdict == report.headline()
    (found,) = report.findings
    located = dataclasses.replace(report, findings=(dataclasses.replace(found, source=f"{__file__}:3"),))
    assert located.to_concise(root=Path(__file__).parent).startswith(
        "test_diagnostics_more.py:3: SED303 error [1] "
    )


@pytest.mark.parametrize("width", [40, 80])
def test_long_lines_go_on_below_where_they_began(width: int) -> None:
    rich = pytest.importorskip("rich.console")
    report = check(nn.Sequential(nn.Linear(8, 3), nn.Softmax(-1)), input_size=(4, 8), loss="cross_entropy")
    console = rich.Console(width=width, record=True, file=io.StringIO())
    console.print(report)
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert max(map(len, lines)) <= width
    (first,) = (i for i, line in enumerate(lines) if line.startswith("    the network ends in"))
    assert lines[first + 1].startswith("      ")
    assert " ".join(" ".join(lines).split()) == " ".join(report.to_text().split())
