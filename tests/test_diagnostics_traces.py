"""When a check traces a second time: where the batch axis is in doubt, and where training changes the forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sed_torch import trace
from sed_torch.batching.doubts import batch_in_doubt
from sed_torch.diagnostics.code import Sizes
from sed_torch.diagnostics.traces import Aligned, Traces
from sed_torch.tracing.asking import mode_matters
from sed_torch.tracing.watching import mode_reads
from sed_torch.zoo import load

REAL = [
    "torchvision:efficientnet_b0",
    "torchvision:swin_t",
    "timm:vit_tiny_patch16_224",
    "timm:convnext_atto",
    "timm:mixer_s16_224",
]


@pytest.mark.parametrize("ref", REAL)
def test_what_is_spared_would_have_told_nothing_new(ref: str) -> None:
    """No doubt, and no second trace: it has the same parameters with an effect, and the batch stays in front."""
    model = load(ref).model
    with mode_reads() as reads:
        graph = trace(model, input_size=(2, 3, 224, 224))
    traces = Traces(model, graph, reads, (2, 3, 224, 224))
    assert traces.doubtful is None
    assert traces.training is graph
    trained = trace(model, input_size=(2, 3, 224, 224), training=True)
    assert {n.target for n in trained.nodes if n.op == "parameter" and n.name in trained.needed} == {
        n.target for n in graph.nodes if n.op == "parameter" and n.name in graph.needed
    }
    other = Traces(model, graph, reads, (2, 3, 224, 224)).other
    assert isinstance(other, Aligned)
    for name in graph.outputs:
        assert (other.shapes[name] or ())[0] == other.batch


def seen_to_matter(model: nn.Module, *, training: bool = False) -> bool:
    with mode_reads() as reads:
        trace(model, input_size=(2, 4), training=training)
    return mode_matters(model, reads)


def drop_path(x: Tensor, p: float = 0.0, training: bool = False) -> Tensor:
    if p == 0.0 or not training:
        return x
    mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - p)
    return x * mask


def straight_through(x: Tensor, training: bool) -> Tensor:
    if not training:
        return x
    return x + (x.round() - x).detach()


def net(forward: Callable[[Any, Tensor], Any], **plain: Any) -> nn.Module:
    """Two linear layers and a forward of one's own."""

    def init(self: Any) -> None:
        nn.Module.__init__(self)
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        for name, value in plain.items():
            setattr(self, name, value)

    return type("Net", (nn.Module,), {"__init__": init, "forward": forward})()  # type: ignore[no-any-return]


def noise_in_line(self: Any, x: Tensor) -> Tensor:
    x = self.a(x)
    if self.training:
        x = x + torch.randn_like(x)
    return self.b(x)


def noise_by_a_helper(self: Any, x: Tensor) -> Tensor:
    return self.b(drop_path(self.a(x), 0.1, self.training))


def functional_dropout(self: Any, x: Tensor) -> Tensor:
    return self.b(F.dropout(self.a(x), 0.5, self.training))


def a_rate_by_mode(self: Any, x: Tensor) -> Tensor:
    return self.b(F.dropout(self.a(x), 0.5 if self.training else 0.0))


def a_switch_that_is_off(self: Any, x: Tensor) -> Tensor:
    if self.checkpointing and self.training:
        return self.b(self.a(x).detach())
    return self.b(self.a(x))


def an_auxiliary_head(self: Any, x: Tensor) -> Any:
    return (self.a(x), self.b(x)) if self.training else self.a(x)


def an_argmax_in_evaluation(self: Any, x: Tensor) -> Tensor:
    x = self.b(self.a(x))
    return x if self.training else x.argmax(1)


def a_cut_in_training(self: Any, x: Tensor) -> Tensor:
    x = self.a(x)
    if self.training:
        x = x.detach()
    return self.b(x)


def a_flag_that_selects(self: Any, x: Tensor) -> Any:
    flag = self.training
    y = self.a(x)
    if flag:
        return y, self.b(x)
    return y


def a_helper_that_rounds(self: Any, x: Tensor) -> Tensor:
    return self.b(straight_through(self.a(x), self.training))


def a_layer_in_training_alone(self: Any, x: Tensor) -> Tensor:
    x = self.a(x)
    if self.training:
        x = x + self.b(x)
    return x


def by_name(self: Any, x: Tensor) -> Tensor:
    return self.a(x) if getattr(self, "training") else self.b(x)  # noqa: B009


@pytest.mark.parametrize(
    ("forward", "plain", "matters"),
    [
        (noise_in_line, {}, False),
        (noise_by_a_helper, {}, False),
        (functional_dropout, {}, False),
        (a_rate_by_mode, {}, False),
        (a_switch_that_is_off, {"checkpointing": False}, False),
        (a_switch_that_is_off, {"checkpointing": True}, True),
        (an_auxiliary_head, {}, True),
        (an_argmax_in_evaluation, {}, True),
        (a_cut_in_training, {}, True),
        (a_flag_that_selects, {}, True),
        (a_helper_that_rounds, {}, True),
        (a_layer_in_training_alone, {}, True),
        (by_name, {}, True),
    ],
)
def test_whether_the_mode_matters(forward: Any, plain: dict[str, Any], matters: bool) -> None:
    model = net(forward, **plain)
    assert {seen_to_matter(model, training=t) for t in (False, True)} == {matters}


def rows_by_shape(self: Any, x: Tensor) -> Tensor:
    n, length, width = x.shape
    return self.b(self.a(x).reshape(n, length * width)[:, :4])


def rows_by_minus_one(self: Any, x: Tensor) -> Tensor:
    return self.b(self.a(x).view(-1, 3 * 4)[:, :4])


def rows_by_a_number(self: Any, x: Tensor) -> Tensor:
    return self.b(self.a(x).view(2, 12)[:, :4])


def rows_by_an_attribute(self: Any, x: Tensor) -> Tensor:
    return self.b(self.a(x).reshape(self.rows, 12)[:, :4])


def softmax_over_samples(self: Any, x: Tensor) -> Tensor:
    return self.b((torch.softmax(self.a(x), 0) * x).sum(1))


def softmax_over_tokens(self: Any, x: Tensor) -> Tensor:
    return self.b((torch.softmax(self.a(x), 1) * x).sum(1))


def squeezes(self: Any, x: Tensor) -> Tensor:
    return self.b(self.a(x).mean(1, keepdim=True).squeeze())


def squeezes_by_name(self: Any, x: Tensor) -> Tensor:
    return self.b(self.a(x).mean(1, keepdim=True).squeeze(1))


def heads(self: Any, x: Tensor) -> Tensor:
    n, length, _ = x.shape
    q = self.a(x).reshape(n, length, 2, 2).permute(0, 2, 1, 3)
    return self.b(F.scaled_dot_product_attention(q, q, q).transpose(1, 2).reshape(n, length, 4))


def means_over_samples(self: Any, x: Tensor) -> Tensor:
    return self.b(x - self.a(x).mean(0))


@pytest.mark.parametrize(
    ("forward", "plain", "doubt"),
    [
        (rows_by_shape, {}, False),
        (rows_by_minus_one, {}, False),
        (softmax_over_tokens, {}, False),
        (squeezes_by_name, {}, False),
        (heads, {}, False),
        (rows_by_a_number, {}, True),
        (rows_by_an_attribute, {"rows": 2}, True),
        (softmax_over_samples, {}, True),
        (squeezes, {}, True),
        (means_over_samples, {}, True),
    ],
)
def test_whether_the_batch_is_in_doubt(forward: Any, plain: dict[str, Any], doubt: bool) -> None:
    model = net(forward, **plain)
    assert batch_in_doubt(trace(model, input_size=(2, 3, 4)), 2, Sizes(model).follow) is doubt


def filled(x: Tensor, part: Any, value: Any) -> Tensor:
    out = torch.zeros_like(x)
    out[part] = value
    return out


PLAIN = {
    "samples kept in a slice": lambda self, x: self.b(self.a(x)[:, 0]),
    "items of a split": lambda self, x: self.b(torch.cat(self.a(x).chunk(2, dim=2), 2)),
    "items of an unbind": lambda self, x: self.b(self.a(x).unbind(1)[0]),
    "stacked behind": lambda self, x: self.b(torch.stack([self.a(x), x], 1).sum(1)),
    "stacked before": lambda self, x: self.b(torch.stack([self.a(x), x], 0).sum(0)),
    "joined along tokens": lambda self, x: self.b(torch.cat([self.a(x), x], 1)),
    "a new dimension": lambda self, x: self.b(self.a(x).unsqueeze(0).squeeze(0)),
    "an outer sum": lambda self, x: torch.einsum("bij,bkj->bik", self.a(x), self.b(x)),
    "a product of stacks": lambda self, x: self.a(x) @ self.b(x).transpose(1, 2),
    "a recurrence from a learned state": lambda self, x: self.b(self.rnn(self.a(x), self.state)[0]),
    "its last state": lambda self, x: self.b(self.rnn(self.a(x), self.state)[1][0]),
    "tokens first": lambda self, x: self.b(self.heads(*[self.a(x).transpose(0, 1)] * 3)[0].transpose(0, 1)),
}
DOUBTFUL = {
    "half of the samples": lambda self, x: self.b(self.a(x)[:1]),
    "a sample": lambda self, x: self.b(self.a(x)[0]),
    "samples joined": lambda self, x: self.b(torch.cat([self.a(x), x], 0)),
    "a running sum of samples": lambda self, x: self.b(self.a(x).cumsum(0)),
    "samples apart": lambda self, x: self.b(sum(self.a(x).unbind(0))),
    "samples against samples": lambda self, x: self.a(x.mean(1)) @ self.b(x.mean(1)).T,
    "a sum over samples": lambda self, x: torch.einsum("bij,bkj->ik", self.a(x), self.b(x)),
    "letters left out": lambda self, x: torch.einsum("...ij,...kj->...ik", self.a(x), self.b(x)),
    "samples as time": lambda self, x: self.b(self.rnn(self.a(x).transpose(0, 1))[0]),
    "samples as tokens": lambda self, x: self.b(self.heads(*[self.a(x)] * 3)[0]),
    "two places of the batch": lambda self, x: self.b(
        torch.cat([self.a(x), x.transpose(0, 1)[:2, :, :][:, :2]], 1)
    ),
    "repeated samples": lambda self, x: self.b(self.a(x).repeat(2, 1, 1)),
    "filled": lambda self, x: self.b(filled(x, slice(None), self.a(x))),
    "written to a sample": lambda self, x: self.b(filled(x, 0, self.a(x)[0])),
    "a state for two samples": lambda self, x: self.b(self.rnn(self.a(x), torch.zeros(1, 2, 4))[0]),
    "zeros that might be for two": lambda self, x: self.b(self.rnn(self.a(x))[0]),
    "sorted samples": lambda self, x: self.b(self.a(x).sort(0).values),
}


@pytest.mark.parametrize("name", [*PLAIN, *DOUBTFUL])
def test_what_calls_do_to_the_batch(name: str) -> None:
    layers = {"rnn": nn.GRU(4, 4, batch_first=True), "heads": nn.MultiheadAttention(4, 2)}
    model = net((PLAIN | DOUBTFUL)[name], state=nn.Parameter(torch.zeros(1, 2, 4)), **layers)
    graph = trace(model, input_size=(2, 3, 4))
    assert batch_in_doubt(graph, 2, Sizes(model).follow) is (name in DOUBTFUL)


class ByAnotherName(nn.Module):
    """``self`` may be called otherwise."""

    def __init__(this) -> None:  # noqa: N805
        super().__init__()
        this.a, this.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(this, x: Tensor) -> Tensor:  # noqa: N805
        x = this.a(x)
        if not this.training:
            x = this.b(x)
        return x


class SoftmaxInLine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if not self.training:
            x = F.softmax(x, 1)
        return x


@pytest.mark.parametrize("kind", [ByAnotherName, SoftmaxInLine])
def test_a_branch_that_does_more_than_noise_matters(kind: type[nn.Module]) -> None:
    assert seen_to_matter(kind())
