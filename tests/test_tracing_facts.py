"""What a trace notes for the check alone: modes, literal arguments, tensors that nobody registered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sed_torch.errors import InputError
from sed_torch.graph import Graph, Node
from sed_torch.tracing import trace


def only(graph: Graph, op: str) -> Node:
    (node,) = (n for n in graph.nodes if n.op == op)
    return node


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = torch.tanh(x)
        return self.norm(nn.functional.dropout(x, 0.3))

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.norm.eval()
        self.norm.weight.requires_grad = False
        return self


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.tanh(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


class Held(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = {"a": [nn.Linear(4, 4)]}

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = Doubled.apply(self.layers["a"][0](x))
        return out


def test_modes_and_literals() -> None:
    model = Frozen()
    graph = trace(model, input_size=(2, 4))
    assert only(graph, "tanh").facts == {"grad": False}
    assert only(graph, "dropout").facts == {"p": 0.3, "training": True}
    assert only(graph, "batch_norm").facts["training"] is False
    assert Graph.from_dict(graph.to_dict()) == graph


def test_training_is_what_the_models_own_train_leaves() -> None:
    model = Frozen()
    graph = trace(model, input_size=(2, 4), training=True, batch=5)
    norm = only(graph, "batch_norm")
    assert norm.facts["training"] is False
    assert norm.shape == (5, 4)
    assert model.norm.training
    assert model.norm.weight.requires_grad


def test_what_nobody_registered_is_named() -> None:
    graph = trace(Held(), input_size=(2, 4))
    held = [n.facts for n in graph.nodes if n.op == "constant"]
    assert [f["held"] for f in held] == ["layers['a'][0].weight", "layers['a'][0].bias"]
    assert all(f["requires_grad"] and f["parameter"] for f in held)
    assert only(graph, "tanh").facts == {"grad": "function"}


def test_facts_change_no_fingerprint() -> None:
    with_grad, without = nn.Sequential(nn.Dropout(0.1)), nn.Sequential(nn.Dropout(0.9))
    assert trace(with_grad, input_size=(2, 4)).fingerprint == trace(without, input_size=(2, 4)).fingerprint


def test_inputs_of_two_batch_sizes_cannot_be_resized() -> None:
    with pytest.raises(InputError, match="expected one batch size to change"):
        trace(nn.Bilinear(4, 4, 4), input_size=[(2, 4), (3, 4)], batch=5)
