"""What the mode does in a function, by its text: the least of what changes a graph matters, noise and rates do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed_torch import trace
from sed_torch.costing.modes import resting
from sed_torch.graph import Graph
from sed_torch.tracing.asking import switched_by_mode
from sed_torch.tracing.switching import Switched
from sed_torch.tracing.watching import mode_reads


class Two(nn.Module):
    """Two layers; subclasses say what the mode does."""

    rate = 0.0
    tracked = True

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.gain = nn.Parameter(torch.ones(4))
        self.count = 0


# -- the mode matters ------------------------------------------------------------------------------------------


class Turns(Two):
    def forward(self, x: Tensor) -> Tensor:
        turns = 3 if self.training else 1
        for _ in range(turns):
            x = self.a(x)
        return x


class Groups(Two):
    """As detectors do that train several groups of queries at once."""

    def forward(self, x: Tensor) -> Tensor:
        groups = self.gain.numel() // 2 if self.training else 1
        return self.a(x) * self.gain[:groups].sum()  # type: ignore[no-any-return]


class Copies(Two):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x)] * (2 if self.training else 1))


class Narrowed(Two):
    """The mode goes into a function of torch, but is no rate there."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.narrow(self.a(x), 1, 0, 2 if self.training else 1)


class KeepsADim(Two):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sum(self.a(x), 0, self.training)


class CountsOwn(Two):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count += 1
        return self.b(self.b(x)) if self.count else self.a(x)  # type: ignore[no-any-return]


class CountsLocal(Two):
    def forward(self, x: Tensor) -> Tensor:
        turns = 1
        if self.training:
            turns += 1
        for _ in range(turns):
            x = self.a(x)
        return x


class Appends(Two):
    def forward(self, x: Tensor) -> Tensor:
        parts = [self.a]
        if self.training:
            parts.append(self.b)
        for part in parts:
            x = part(x)
        return x


class LargerBatch(Two):
    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        if self.training:
            n = n * 2
        return self.a(torch.zeros(n, 4) + x[:1])  # type: ignore[no-any-return]


class AddsAnother(Two):
    """No noise: another map."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(x)
        x = self.a(x)
        if self.training:
            x = x + y
        return x


class LearnedNoise(Two):
    """Noise whose strength is learned: a parameter has an effect in training alone."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if self.training:
            x = x + self.gain * torch.randn_like(x)
        return self.b(x)  # type: ignore[no-any-return]


class NoiseThroughALayer(Two):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if self.training:
            noise = self.b(torch.randn(2, 4))
            x = x + noise
        return x


class OtherShape(Two):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if not self.training:
            return x
        return x.reshape(-1, 2)


class ReturnsInTraining(Two):
    """The noise is of evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if self.training:
            return x
        return x * torch.rand_like(x)


class Mixes(Two):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = 0.5 * x + 0.5 * x[torch.randperm(2)]
        return self.a(x)  # type: ignore[no-any-return]


class FromAnother(Two):
    def forward(self, x: Tensor) -> Tensor:
        y, z = self.a(x), self.b(x)
        out = y
        if self.training:
            out = z * 1.0
        return out


def deeper_at_a_rate(model: Two, x: Tensor, dropout: float = 0.0) -> Tensor:
    return model.b(x) if dropout > 0 else x  # type: ignore[no-any-return]


class NamedAsARate(Two):
    """It is called a rate of dropout, and the function that takes it does otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        return self.a(deeper_at_a_rate(self, x, dropout=0.1 if self.training else 0.0))  # type: ignore[no-any-return]


def unless_training(x: Tensor, resting: bool) -> Tensor:
    if not resting:
        return x
    return x * torch.rand_like(x)


class NoneBehind(Two):
    """As a switch that is off, but None is not what the mode itself is."""

    deep = None

    def forward(self, x: Tensor) -> Tensor:
        deep = self.training and self.deep
        return self.b(self.a(x)) if deep is None else self.a(x)  # type: ignore[no-any-return]


class TurnedRound(Two):
    """A helper that is told the contrary of the mode."""

    def forward(self, x: Tensor) -> Tensor:
        return unless_training(self.a(x), not self.training)


MATTERS = [
    *(Turns, Groups, Copies, Narrowed, KeepsADim, CountsOwn, CountsLocal, Appends, LargerBatch, AddsAnother),
    *(LearnedNoise, NoiseThroughALayer, OtherShape, ReturnsInTraining, Mixes, FromAnother, NamedAsARate),
    *(NoneBehind, TurnedRound),
]

# -- noise and rates -------------------------------------------------------------------------------------------


class Additive(Two):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if self.training:
            x = x + 0.1 * torch.randn_like(x)
        return self.b(x)  # type: ignore[no-any-return]


class InPlace(Two):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if self.training:
            mask = torch.rand(x.shape[0], 1)
            x.mul_(mask)
        return self.b(x)  # type: ignore[no-any-return]


class AlwaysNoisy(Two):
    """Noise of both modes, in a module that asks for its mode beside."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.a(x), 0.1, self.training)
        return self.b(x * torch.rand_like(x))  # type: ignore[no-any-return]


class AlwaysScaled(Two):
    """Noise with a learned strength, in both modes."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.a(x), 0.1, self.training)
        return self.b(x + torch.randn_like(x) * self.gain)  # type: ignore[no-any-return]


class AlwaysDropping(Two):
    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.a(x), 0.1, True)
        return F.dropout(self.b(x), 0.1, self.training)


def path_dropped(x: Tensor, rate, training):  # type: ignore[no-untyped-def]  # as it is often written
    if rate == 0.0 or not training:
        return x
    keep = 1 - rate
    shape = (x.shape[0],) + (1,) * (x.ndim - 1)
    mask = keep + torch.rand(shape, dtype=x.dtype, device=x.device)
    mask.floor_()
    return x.div(keep) * mask


class Paths(Two):
    def forward(self, x: Tensor) -> Tensor:
        return x + path_dropped(self.b(self.a(x)), 0.1, self.training)  # type: ignore[no-any-return]


class Normed(Two):
    """Batch normalisation as timm and others write it anew."""

    def __init__(self) -> None:
        super().__init__()
        self.momentum = 0.1
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("deviation", torch.ones(4))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.tracked:  # noqa: SIM102  # as it is written there
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
                if self.momentum is None:  # noqa: SIM108
                    factor = 1.0 / float(self.num_batches_tracked)
                else:
                    factor = self.momentum
        if self.training:  # noqa: SIM108
            own = True
        else:
            own = self.mean is None
        mean = self.mean if not self.training or self.tracked else None
        return self.b(F.batch_norm(self.a(x), mean, self.deviation, None, None, own, factor))  # type: ignore[no-any-return]


class SwitchedOn(Two):
    """A switch that is on decides in both modes."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.tracked:
            x = self.a(x)
        return self.b(x)  # type: ignore[no-any-return]


def deeper(model: Two, x: Tensor, deep: bool) -> Tensor:
    return model.b(model.a(x)) if deep else model.a(x)  # type: ignore[no-any-return]


class OffBehind(Two):
    """A switch that is off is asked after the mode, and the two are handed on."""

    deep = False

    def forward(self, x: Tensor) -> Tensor:
        return deeper(self, x, self.training and self.deep)


class Asserts(Two):
    def forward(self, x: Tensor) -> Tensor:
        assert self.training in (True, False)
        return self.b(self.a(x))  # type: ignore[no-any-return]


HARMLESS = [
    Additive,
    InPlace,
    AlwaysNoisy,
    AlwaysScaled,
    AlwaysDropping,
    Paths,
    Normed,
    SwitchedOn,
    OffBehind,
    Asserts,
]


def switched(model: nn.Module, *, training: bool) -> tuple[Graph, Switched | None]:
    with mode_reads() as reads:
        graph = trace(model, input_size=(2, 4), training=training)
    return graph, switched_by_mode(model, reads)


def told(graph: Graph) -> list[Any]:
    """Its operators, which read what, and whether they drop, without those that hand on and without counters."""
    place: dict[str, Any] = {}
    rows: list[Any] = []
    for node in graph.nodes:
        if node.op in ("parameter", "constant"):
            place[node.name] = node.target
        elif node.op == "alias":
            place[node.name] = place[node.inputs[0]]
        elif node.inputs and all(isinstance(place[i], str) for i in node.inputs) and node.op == "add":
            place[node.name] = "counter"
        else:
            drops = bool(node.facts.get("training")) and node.op == "dropout"
            rows.append((node.op, tuple(place[i] for i in node.inputs), node.shape, drops))
            place[node.name] = len(rows)
    return [rows, [place[o] for o in graph.outputs]]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", MATTERS)
def test_a_mode_that_changes_the_graph_matters(kind: type[nn.Module], training: bool) -> None:
    graph, found = switched(kind(), training=training)
    assert told(graph) != told(trace(kind(), input_size=(2, 4), training=not training))  # it does
    assert found is None


@pytest.mark.parametrize("kind", HARMLESS)
def test_evaluation_is_told_by_training(kind: type[nn.Module]) -> None:
    model = kind()
    trained, found = switched(model, training=True)
    plain, same = switched(model, training=False)
    assert found is not None
    assert same is not None
    rest = resting(trained, model, found)
    assert rest is not None
    assert told(rest) == told(plain)
