"""Function transforms, higher-order operators and operators without a meta kernel inside a forward."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.overrides import TorchFunctionMode

import sed_torch
import sed_torch.errors
from sed_torch.tracing import trace


class Net(nn.Module):
    def __init__(self, run: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


def ensemble(m: Any, x: Tensor) -> Tensor:
    states = stack_module_state(list(m.nets))
    return vmap(lambda p, b: functional_call(m.nets[0], (p, b), (x,)))(*states).mean(0)


def rows(m: Any, x: Tensor) -> Tensor:
    return vmap(m.a, in_dims=1, out_dims=1)(x)


def masked(m: Any, x: Tensor) -> Tensor:
    i = torch.arange(x.shape[1])
    mask = vmap(vmap(lambda a, b: a >= b, (None, 0)), (0, None))(i, i)
    y = m.a(x)
    return (y @ y.transpose(1, 2)).masked_fill(~mask, -1e9).softmax(-1) @ y


def force(m: Any, x: Tensor) -> Tensor:
    x = x.requires_grad_(True)
    return torch.autograd.grad(m.a(x).sum(), x, create_graph=True)[0]


def functional_force(m: Any, x: Tensor) -> Tensor:
    return grad(lambda t: m.a(t).sum())(x)


def tangent(m: Any, x: Tensor) -> Tensor:
    y, t = torch.func.jvp(m.a, (x,), (torch.ones_like(x),))
    return y + t


def tangent_of_two(m: Any, x: Tensor) -> Tensor:
    moved = torch.func.jvp(lambda s, t: m.a(s) + m.b(t), (x, x), (x, x))
    return moved[1] + moved[0]


def pulled_back(m: Any, x: Tensor) -> Tensor:
    y, back = torch.func.vjp(m.a, x)
    return back(y)[0]


def by_rows_of_outputs(m: Any, x: Tensor) -> Tensor:
    return torch.func.jacrev(m.a)(x[0])


def by_rows_of_inputs(m: Any, x: Tensor) -> Tensor:
    return torch.func.jacfwd(m.a)(x[0])


def curvature(m: Any, x: Tensor) -> Tensor:
    return torch.func.hessian(lambda t: m.a(t).tanh().sum())(x[0])


def with_weights_made(m: Any, x: Tensor) -> Tensor:
    return functional_call(m.a, {k: v * 2 for k, v in m.a.named_parameters()}, (x,))


@pytest.mark.parametrize(
    ("run", "layers", "macs", "said"),
    [
        (tangent, {"a": nn.Linear(4, 5)}, 20 + 20, "jvp"),
        (tangent_of_two, {"a": nn.Linear(4, 5), "b": nn.Linear(4, 5)}, 2 * (20 + 20), "jvp"),
        (pulled_back, {"a": _mlp()}, 36, "backward pass"),
        (by_rows_of_outputs, {"a": _mlp()}, 36, "backward pass"),
        (by_rows_of_inputs, {"a": nn.Linear(4, 5)}, 20 + 4 * 20, "jvp"),
        (curvature, {"a": nn.Linear(4, 5)}, 20 + 4 * 20, "jvp"),
        (with_weights_made, {"a": nn.Linear(4, 5)}, 20, ""),
    ],
)
def test_derivatives_are_followed_and_what_is_left_out_is_said(
    run: Callable[..., Any], layers: dict[str, nn.Module], macs: int, said: str
) -> None:
    score = sed_torch.score(Net(run, **layers), input_size=(1, 4), frontend="fx", strict=True)
    assert (score.macs, score.coverage, score.node_coverage) == (macs, 1, 1)
    assert any(said in words for words in score.assumed) or not said


@pytest.mark.parametrize(
    ("run", "layers", "size", "macs"),
    [
        (ensemble, {"nets": nn.ModuleList(_mlp() for _ in range(3))}, (5, 4), 3 * 36),
        (rows, {"a": nn.Linear(4, 2)}, (5, 3, 4), 3 * 8),
        (masked, {"a": nn.Linear(4, 4)}, (2, 5, 4), 5 * 16 + 2 * 25 * 4),
        (force, {"a": _mlp()}, (5, 4), 36),
        (functional_force, {"a": _mlp()}, (5, 4), 36),
    ],
)
def test_transforms_are_followed(
    run: Callable[..., Any], layers: dict[str, nn.Module], size: tuple[int, ...], macs: int
) -> None:
    model = Net(run, **layers)
    state = copy.deepcopy(model.state_dict())
    score = sed_torch.score(model, input_size=size, frontend="fx", strict=True)
    assert (score.macs, score.coverage, score.node_coverage) == (macs, 1, 1)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_a_mode_that_the_forward_enters_does_not_hide_the_recorder() -> None:
    class Passing(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            return func(*args, **(kwargs or {}))

    def within(m: Any, x: Tensor) -> Tensor:
        with Passing():  # as transformers builds its masks
            return masked(m, x)

    def closing_over(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        with Passing():
            steps = vmap(lambda i: y.index_select(1, i.reshape(1)).squeeze(1) * i)
            return steps(torch.arange(x.shape[1])).mean(0)

    for run, macs in ((within, 5 * 16 + 2 * 25 * 4), (closing_over, 5 * 16)):
        score = sed_torch.score(Net(run, a=nn.Linear(4, 4)), input_size=(2, 5, 4), frontend="fx", strict=True)
        assert (score.macs, score.coverage) == (macs, 1)
    assert not torch.overrides._get_current_function_mode_stack()


def test_of_cond_one_branch_is_followed_and_that_is_said() -> None:
    def choose(m: Any, x: Tensor) -> Tensor:
        return m.c(torch.cond(x.sum() > 0, lambda t: m.a(t), lambda t: m.b(t).relu(), (x,)))

    model = Net(choose, a=nn.Linear(4, 4), b=nn.Linear(4, 4), c=nn.Linear(4, 2))
    score = sed_torch.score(model, input_size=(2, 4), frontend="fx")
    assert (score.macs, score.unused_params) == (16 + 8, 20)
    assert any("torch.cond" in words for words in score.assumed)


def _counted(m: Any, x: Tensor) -> Tensor:
    from torch._higher_order_ops.while_loop import while_loop

    return while_loop(lambda i, h: i < 3, lambda i, h: (i + 1, m.a(h).tanh()), (torch.tensor(0), x))[1]


def _ended_by_data(m: Any, x: Tensor) -> Tensor:
    from torch._higher_order_ops.while_loop import while_loop

    return while_loop(lambda h: h.norm() > 1, lambda h: (m.a(h).tanh(),), (x,))[0]


def _scanned(m: Any, x: Tensor) -> Tensor:
    from torch._higher_order_ops.scan import scan

    def step(state: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        new = torch.tanh(m.a(now) + state)
        return new, new.clone()

    steps = x.unsqueeze(1).expand(-1, 5, -1)
    return scan(step, torch.zeros(x.shape[0], 4), steps, dim=1)[1]


def _mapped(m: Any, x: Tensor) -> Tensor:
    from torch._higher_order_ops.map import map as map_rows

    return map_rows(lambda row: m.a(row).relu(), x)


def _combined(m: Any, x: Tensor) -> Tensor:
    from torch._higher_order_ops.associative_scan import associative_scan

    steps = m.a(x).unsqueeze(1).expand(-1, 5, -1)
    return associative_scan(lambda a, b: a * b, steps, dim=1, combine_mode="generic")


@pytest.mark.parametrize(
    ("run", "times", "said"),
    [
        (_counted, 3, False),
        (_ended_by_data, 1, True),
        (_scanned, 5, False),
        (_mapped, 1, False),
        (_combined, 1, False),
    ],
)
def test_loops_that_are_operators_are_followed(run: Callable[..., Any], times: int, said: bool) -> None:
    pytest.importorskip("torch", minversion="2.9")
    for batch in (2, 3):
        score = sed_torch.score(Net(run, a=nn.Linear(4, 4)), input_size=(batch, 4), frontend="fx")
        assert (score.macs, score.coverage) == (16 * times, 1)
        assert any("while_loop" in words for words in score.assumed) == said


def test_a_branch_that_a_buffer_chooses_is_known() -> None:
    def choose(m: Any, x: Tensor) -> Tensor:
        return torch.cond(m.flag, lambda t: m.a(t), lambda t: m.b(t), (x,))

    model = Net(choose, a=nn.Linear(4, 4), b=nn.Linear(4, 6))
    model.register_buffer("flag", torch.tensor(False))
    score = sed_torch.score(model, input_size=(2, 4), frontend="fx")
    assert (score.macs, score.assumed) == (24, ())


def test_flex_attention_counts_as_attention() -> None:
    from torch.nn.attention.flex_attention import flex_attention

    def attend(m: Any, x: Tensor) -> Tensor:
        q, k, v = m.a(x).view(*x.shape[:2], 3, 2, 8).permute(2, 0, 3, 1, 4)
        return m.b(flex_attention(q, k, v).transpose(1, 2).flatten(2))

    model = Net(attend, a=nn.Linear(16, 48), b=nn.Linear(16, 16))
    assert sed_torch.score(model, input_size=(2, 6, 16), frontend="fx").macs == 6 * 64 * 16 + 2 * 36 * 16


def test_torchs_own_functions_are_as_before() -> None:
    import torch._functorch.apis as apis

    before = apis.vmap_impl, torch.compiler.is_dynamo_compiling
    sed_torch.score(Net(rows, a=nn.Linear(4, 2)), input_size=(5, 3, 4))
    with pytest.raises(sed_torch.errors.TraceError, match="raised ZeroDivisionError"):
        sed_torch.score(Net(lambda m, x: m.a(x) / (1 // 0), a=nn.Linear(4, 2)), input_size=(5, 3, 4))
    assert before == (apis.vmap_impl, torch.compiler.is_dynamo_compiling)
    x = torch.arange(6.0).view(3, 2)
    assert torch.equal(vmap(torch.sum)(x), x.sum(1))


@pytest.mark.parametrize(
    ("run", "shape"),
    [
        (lambda m, x: torch.cov(m.a(x).T), (2, 2)),
        (lambda m, x: torch.linalg.lstsq(m.a(x), m.a(x)).solution, (2, 2)),
        (lambda m, x: m.a(x).new_full((2, 5), m.a(x).mean()), (2, 5)),
        (lambda m, x: torch.where((x[:, :1] > 0).to(torch.uint8), m.a(x), x[:, 1:2]), (3, 2)),
    ],
)
def test_a_shape_without_a_meta_kernel_comes_from_a_run(
    run: Callable[..., Any], shape: tuple[int, ...]
) -> None:
    graph = trace(Net(run, a=nn.Linear(4, 2)), input_data=torch.zeros(3, 4), frontend="fx")
    assert graph[graph.outputs[0]].shape == shape
