"""What the tracer keeps while it follows a forward: as little as a run, and still all it has to know."""

from __future__ import annotations

import queue
import weakref

import torch
from torch import Tensor, nn

import sed_torch

# A queue, as a trace leaves lists as it found them, a model's as well as a file's.
_MOST_ALIVE: queue.SimpleQueue[int] = queue.SimpleQueue()


class _Watched(nn.Module):
    """Lets go of each result at once and counts how many of them live."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        seen: list[weakref.ref[Tensor]] = []
        for layer in self.layers:
            x = torch.relu(layer(x))
            seen.append(weakref.ref(x))
            _MOST_ALIVE.put(sum(ref() is not None for ref in seen))
        return x


def test_results_that_the_forward_lets_go_of_are_freed() -> None:
    assert len(sed_torch.trace(_Watched(6), input_size=(2, 8))) == 25
    assert [_MOST_ALIVE.get_nowait() for _ in range(6)] == [1] * 6


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = x @ self.weight
        return x


def test_a_parameter_read_again_is_the_same_node() -> None:
    graph = sed_torch.trace(_Tied(), input_size=(2, 4))
    weights = [n.name for n in graph if n.op == "parameter"]
    assert len(weights) == 1
    assert sum(weights[0] in n.inputs for n in graph) == 3


class _WritesItsWeight(nn.Module):
    """Writes over its weight by ``mul_``, lets go of every name of it, and reads it again."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        self.weight.mul_(x.mean())
        return x @ self.weight


def test_a_parameter_written_over_keeps_what_was_written() -> None:
    model = _WritesItsWeight()
    before = model.weight.clone()
    graph = sed_torch.trace(model, input_size=(2, 4))
    product = next(n for n in graph if n.op == "matmul")
    assert graph[product.inputs[1]].op == "mul", str(graph)
    assert torch.equal(model.weight, before)


class _HooksOne(nn.Module):
    """Registers a hook on one of two equal layers, in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        def double(_: nn.Module, __: object, result: Tensor) -> Tensor:
            return torch.tanh(result)

        self.one.register_forward_hook(double, always_call=True)
        self.one.register_full_backward_hook(lambda *_: None)
        return self.other(self.one(x))


def test_a_hook_of_one_module_is_not_another_s() -> None:
    model = _HooksOne()
    graph = sed_torch.trace(model, input_size=(2, 4))
    assert [n.op for n in graph if n.op not in ("input", "parameter")] == ["linear", "tanh", "linear"]
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_hooks_always_called
        assert not module._backward_hooks


class _Described(nn.Module):
    """Its class has a setter under the name of an attribute that an old pickle left in its state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.__dict__["scale"] = 3

    @property
    def scale(self) -> int:
        return int(self.__dict__["scale"])

    @scale.setter
    def scale(self, value: int) -> None:
        raise AssertionError("making the shadow must not run the model's setters")

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.scale


def test_setters_of_the_model_s_class_are_not_run() -> None:
    assert "mul" in [n.op for n in sed_torch.trace(_Described(), input_size=(2, 4))]
