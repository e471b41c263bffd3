"""Functions that stand for several calls, sparse and nested tensors of the forward's own, and ``out=``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import SedTorchError


class Net(nn.Module):
    def __init__(self, run: Callable[..., Any]) -> None:
        super().__init__()
        self.run = run
        self.a = nn.Linear(4, 4)
        self.values = nn.Parameter(torch.rand(5))
        self.register_buffer("places", torch.tensor([[0, 0, 1, 2, 3], [1, 2, 3, 0, 0]]))
        self.register_buffer("pointers", torch.tensor([0, 2, 3, 4, 5]))

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


LAYER = 3 * 16
"""MACs of the layer on three rows."""


@pytest.mark.parametrize(
    ("run", "macs"),
    [
        (lambda m, x: torch.cov(m.a(x[0]).T), LAYER + 4 * 4 * 3),
        (lambda m, x: torch.cov(m.a(x[0]).T, aweights=x[0, :, 0].abs()), LAYER + 4 * 4 * 3),
        (lambda m, x: torch.corrcoef(m.a(x[0]).T), LAYER + 4 * 4 * 3),
        (lambda m, x: torch.linalg.matrix_power(m.a.weight, 2) @ m.a(x[0]).T, LAYER + 64 + 4 * 4 * 3),
        (lambda m, x: torch.matrix_power(m.a.weight, 3) @ m.a(x[0]).T, LAYER + 2 * 64 + 4 * 4 * 3),
        (lambda m, x: torch.matrix_power(m.a.weight, 8) @ m.a(x[0]).T, LAYER + 3 * 64 + 4 * 4 * 3),
        (lambda m, x: m.values[:3].__rmatmul__(m.a(x[0]).T), LAYER + 4 * 3),
        (lambda m, x: m.a(x[0]).__rmatmul__(x[0, :2, :3]), LAYER + 2 * 3 * 4),
    ],
)
def test_what_stands_for_products_counts_them(run: Callable[..., Any], macs: int) -> None:
    score = sed_torch.score(Net(run), input_size=(1, 3, 4), frontend="fx")
    assert (score.macs, score.unknown) == (macs, ())


def _product_into(m: Any, x: Tensor) -> Tensor:
    y = torch.empty(3, 4)
    torch.mm(x[0], m.a.weight, out=y)
    return y.relu()


def _sum_into(m: Any, x: Tensor) -> Tensor:
    y = m.a(x[0])
    torch.add(y, y, out=y)
    return y.relu()


def _batched_into(m: Any, x: Tensor) -> Tensor:
    y = x.new_empty(1, 3, 4)
    torch.matmul(x, m.a.weight, out=y)
    return y


@pytest.mark.parametrize("run", [_product_into, _sum_into, _batched_into])
def test_what_is_written_to_out_counts(run: Callable[..., Any]) -> None:
    assert sed_torch.score(Net(run), input_size=(1, 3, 4), frontend="fx").macs == LAYER


def _coo(m: Any) -> Tensor:
    return torch.sparse_coo_tensor(m.places, m.values, (4, 4))


def _csr(m: Any) -> Tensor:
    return torch.sparse_csr_tensor(m.pointers, m.places[1], m.values, (4, 4))


@pytest.mark.parametrize(
    "run",
    [
        lambda m, x: torch.sparse.mm(_coo(m), m.a(x[0])),
        lambda m, x: torch.sparse.mm(_coo(m).coalesce(), m.a(x[0])),
        lambda m, x: _coo(m) @ m.a(x[0]),
        lambda m, x: _csr(m) @ m.a(x[0]),
        lambda m, x: torch.sparse.addmm(m.a(x[0]), _coo(m), x[0]),
        lambda m, x: _coo(m).to_dense() @ m.a(x[0]),
        lambda m, x: torch.sparse.mm((m.a.weight * (m.values[:4] > 0.5)).to_sparse(), m.a(x[0])),
    ],
)
def test_a_sparse_tensor_of_weights_is_followed_as_a_dense_one(run: Callable[..., Any]) -> None:
    score = sed_torch.score(Net(run), input_size=(1, 4, 4), frontend="fx")
    assert (score.macs, score.unknown) == (64 + 64, ())
    assert any("sparse" in words for words in score.assumed)


def _attends(m: Any, x: Tensor) -> Tensor:
    n = torch.nested.nested_tensor([x[0, :2], x[0]], layout=torch.jagged)
    q = m.a(n).unsqueeze(1)
    return F.scaled_dot_product_attention(q, q, q).squeeze(1)


@pytest.mark.parametrize(
    ("run", "macs"),
    [
        (lambda m, x: m.a(torch.nested.nested_tensor([x[0, :2], x[0]])).to_padded_tensor(0.0), 2 * LAYER),
        (
            lambda m, x: torch.nested.to_padded_tensor(
                m.a(torch.nested.as_nested_tensor([x[0, :2], x[0]])), 0.0
            ),
            2 * LAYER,
        ),
        (
            lambda m, x: (
                torch.nested.to_padded_tensor(torch.nested.as_nested_tensor([x[0, :2], x[0]]), 0.0, (2, 5, 4))
                @ m.a.weight
            ),
            2 * 5 * 16,
        ),
        (_attends, 2 * LAYER + 2 * 2 * 9 * 4),
    ],
)
def test_a_nested_tensor_is_read_as_long_as_its_longest_part(run: Callable[..., Any], macs: int) -> None:
    score = sed_torch.score(Net(run), input_size=(1, 3, 4), frontend="fx")
    assert (score.macs, score.unknown) == (macs, ())
    assert any("nested" in words for words in score.assumed)


def test_a_jagged_tensor_of_offsets_is_refused_with_what_to_do() -> None:
    def run(m: Any, x: Tensor) -> Any:
        return m.a(torch.nested.nested_tensor_from_jagged(x[0], torch.tensor([0, 2, 3])))

    with pytest.raises(SedTorchError, match=r"nested_tensor\(\[a, b\]\)"):
        sed_torch.score(Net(run), input_size=(1, 3, 4), frontend="fx")


def test_torchs_own_functions_come_back() -> None:
    before = torch.nested.nested_tensor, torch.nested.as_nested_tensor
    sed_torch.score(Net(_attends), input_size=(1, 3, 4))
    assert before == (torch.nested.nested_tensor, torch.nested.as_nested_tensor)
    assert torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged).is_nested


@pytest.mark.parametrize("named", [False, True])
def test_a_sparse_matrix_may_be_made_by_names(named: bool) -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))
            self.a = nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            starts, places = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 2, 1])
            given = {"crow_indices": starts, "col_indices": places, "values": self.w, "size": (3, 3)}
            sparse = torch.sparse_csr_tensor(**given) if named else torch.sparse_csr_tensor(*given.values())
            return self.a(sparse @ x)  # type: ignore[no-any-return]

    found = sed_torch.score(Rows(), input_size=(3, 4))
    assert found.coverage == 1
    assert any("sparse tensor is followed as a dense one" in words for words in found.assumed)
