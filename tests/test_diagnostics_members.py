"""Further members of the kinds of fault that the check finds, each beside what is right."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.checked import Encoder, loud, made
from torch import Tensor, nn

from sed_torch.diagnostics import check

Forward = Callable[[Any, Tensor], Any]


def state_as_rows(s: Any, x: Tensor) -> Any:
    return s.head(s.rnn(x)[1][0].view(x.size(0), -1))


def state_transposed(s: Any, x: Tensor) -> Any:
    return s.head(s.rnn(x)[1][0].transpose(0, 1).reshape(x.size(0), -1))


def state_split(s: Any, x: Tensor) -> Any:
    h = s.rnn(x)[1][0].view(1, 2, x.size(0), 16)
    return s.head(torch.cat([h[-1, 0], h[-1, 1]], 1))


@pytest.mark.parametrize(
    ("forward", "found"), [(state_as_rows, True), (state_transposed, False), (state_split, False)]
)
def test_the_state_of_a_recurrent_layer_is_not_its_rows(forward: Forward, found: bool) -> None:
    rnn = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
    assert ("SED207" in loud(made(forward, rnn=rnn, head=nn.Linear(32, 2)), input_size=(4, 10, 8))) is found


@pytest.mark.parametrize("permuted", [False, True])
def test_axes_that_are_merged_in_another_order(permuted: bool) -> None:
    """(N, T, V, D) as (N · V, T, D)."""

    def forward(s: Any, x: Tensor) -> Any:
        n, t, v, d = x.shape
        x = torch.relu(s.a(x))
        x = x.permute(0, 2, 1, 3).reshape(n * v, t, d) if permuted else x.reshape(n * v, t, d)
        return s.rnn(x)[0][:, -1].view(n, v, d)

    model = made(forward, a=nn.Linear(6, 6), rnn=nn.GRU(6, 6, batch_first=True))
    assert loud(model, input_size=(2, 12, 5, 6)) == ([] if permuted else ["SED207"])


def test_sizes_that_are_alike_at_one_batch_size_alone() -> None:
    """4 samples of 6 tokens as 8 rows of 3: 8 = 2 · 4 at this batch size only."""
    model = made(lambda s, x: s.b(torch.relu(s.a(x)).view(-1, 24)), a=nn.Linear(8, 8), b=nn.Linear(24, 2))
    assert "SED207" not in loud(model, input_size=(4, 6, 8))


@pytest.mark.parametrize(
    "make",
    [lambda: nn.BatchNorm1d(8), lambda: nn.LayerNorm(8), lambda: nn.PReLU(8), lambda: nn.Linear(8, 8)],
    ids=["batch norm", "layer norm", "prelu", "linear"],
)
def test_layers_made_in_forward_are_found_however_they_start(make: Callable[[], nn.Module]) -> None:
    model = made(lambda s, x: s.b(make()(torch.relu(s.a(x)))), a=nn.Linear(8, 8), b=nn.Linear(8, 2))
    assert "SED007" in loud(model, input_size=(4, 8))


def test_an_embedding_made_in_forward() -> None:
    def forward(s: Any, x: Tensor) -> Any:
        return s.b((s.e(x) + nn.Embedding(30, 8)(torch.arange(x.shape[1]))).mean(1))

    model = made(forward, e=nn.Embedding(20, 8), b=nn.Linear(8, 2))
    assert "SED007" in loud(model, input_data=torch.zeros(4, 6, dtype=torch.long))


@pytest.mark.filterwarnings("ignore:To copy construct")
def test_a_copy_by_new_tensor_depends_on_what_it_copies() -> None:
    model = made(lambda s, x: s.b(x.new_tensor(s.a(x))), a=nn.Linear(8, 8), b=nn.Linear(8, 2))
    assert loud(model, input_size=(4, 8)) == ["SED005"]


class TestStatisticsOverTheBatch:
    @pytest.mark.parametrize("dim", [0, -1])
    def test_standardised(self, dim: int) -> None:
        def forward(s: Any, x: Tensor) -> Any:
            h = s.a(x)
            return s.b(torch.relu((h - h.mean(dim, keepdim=True)) / (h.std(dim, keepdim=True) + 1e-5)))

        model = made(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 2))
        assert loud(model, input_size=(4, 8)) == (["SED316"] if dim == 0 else [])

    @pytest.mark.parametrize("dim", [0, 1])
    def test_a_gate_of_the_mean(self, dim: int) -> None:
        def forward(s: Any, x: Tensor) -> Any:
            h = s.a(x)
            return s.b((h * torch.sigmoid(s.gate(h.mean(dim, keepdim=True)))).mean(1))

        model = made(forward, a=nn.Linear(8, 8), gate=nn.Linear(8, 8), b=nn.Linear(8, 2))
        assert loud(model, input_size=(4, 6, 8)) == (["SED316"] if dim == 0 else [])

    def test_a_statistic_that_is_only_returned(self) -> None:
        def forward(s: Any, x: Tensor) -> Any:
            h = s.a(x)
            return h, h.std(0).mean(), (h.mean(0) * h.mean(0)).sum()

        assert loud(made(forward, a=nn.Linear(8, 4)), input_size=(4, 8)) == []

    def test_nodes_of_a_graph(self) -> None:
        def forward(s: Any, x: Tensor, adjacency: Tensor) -> Any:
            h = adjacency @ s.a(x)
            return s.b(torch.relu(h - h.mean(0, keepdim=True)))

        model = made(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 2))
        assert loud(model, input_size=[(6, 8), (6, 6)]) == []


class TestTablesOfPairs:
    @pytest.mark.filterwarnings("ignore:Using a target size")
    @pytest.mark.parametrize("loss", [F.mse_loss, F.smooth_l1_loss, F.l1_loss])
    @pytest.mark.parametrize("squeezed", [False, True])
    def test_a_column_and_a_row_in_a_loss(self, loss: Any, squeezed: bool) -> None:
        model = made(lambda s, x, y: loss(s.a(x).squeeze(1) if squeezed else s.a(x), y), a=nn.Linear(8, 1))
        data = (torch.zeros(4, 8), torch.zeros(4))
        assert loud(model, input_data=data) == ([] if squeezed else ["SED316"])

    def test_distances_of_all_pairs(self) -> None:
        def forward(s: Any, x: Tensor, y: Tensor) -> Any:
            a, b = s.a(x), s.a(y)
            return -(a.pow(2).sum(1, keepdim=True) + b.pow(2).sum(1) - 2 * a @ b.t())

        assert loud(made(forward, a=nn.Linear(8, 4)), input_size=[(4, 8), (4, 8)]) == []

    def test_cross_entropy_over_the_batch_has_no_one_class(self) -> None:
        def forward(s: Any, x: Tensor, y: Tensor) -> Any:
            logits = F.normalize(s.a(x), dim=-1) @ F.normalize(s.b(y), dim=-1).t() * 10
            return F.cross_entropy(logits, torch.arange(len(x)))

        model = made(forward, a=nn.Linear(8, 4), b=nn.Linear(8, 4))
        assert loud(model, input_data=(torch.zeros(4, 8), torch.zeros(4, 8))) == []


def test_nodes_of_a_graph_are_no_batch() -> None:
    model = made(lambda s, x, a: a @ s.b(torch.relu(a @ s.a(x))), a=nn.Linear(8, 8), b=nn.Linear(8, 2))
    assert loud(model, input_size=[(6, 8), (6, 6)]) == []


@pytest.mark.parametrize("batch", [1, 4])
def test_a_squeezed_output_at_any_batch_size_given(batch: int) -> None:
    model = made(lambda s, x: s.b(torch.relu(s.a(x))).squeeze(), a=nn.Linear(8, 8), b=nn.Linear(8, 1))
    assert loud(model, input_size=(batch, 8)) == ["SED317"]


class TestEnds:
    def test_a_value_that_is_returned_twice(self) -> None:
        def both(s: Any, x: Tensor) -> Any:
            y = s.a(x)
            return {"kind": y, "size": y}

        losses = {"kind": nn.CrossEntropyLoss(), "size": nn.MSELoss()}
        assert loud(made(both, a=nn.Linear(8, 3)), input_size=(4, 8), loss=losses) == []
        losses["size"] = nn.BCELoss()
        assert loud(made(both, a=nn.Linear(8, 3)), input_size=(4, 8), loss=losses) == ["SED303"]

        def pair(s: Any, x: Tensor) -> Any:
            y = s.a(x)
            return y, y

        one_each = (nn.CrossEntropyLoss(), nn.BCELoss())
        assert loud(made(pair, a=nn.Linear(8, 3)), input_size=(4, 8), loss=one_each) == ["SED303"]

    def test_a_function_that_takes_the_logarithm_itself(self) -> None:
        def loss(p: Tensor, t: Tensor) -> Tensor:
            return F.nll_loss(F.log_softmax(p, 1), t)

        softmax = made(lambda s, x: torch.softmax(s.a(x), 1), a=nn.Linear(8, 3))
        assert loud(softmax, input_size=(4, 8), loss=loss) == ["SED303"]
        assert loud(nn.Linear(8, 3), input_size=(4, 8), loss=loss) == []


@pytest.mark.parametrize(("layers", "which"), [(1, "direction is"), (2, "direction of its last layer is")])
def test_the_direction_that_is_half_read_is_that_of_the_last_layer(layers: int, which: str) -> None:
    """Measured: of two layers, only the weights of the last one's backward direction read a single step."""
    rnn = nn.GRU(8, 6, layers, batch_first=True, bidirectional=True)
    model = made(lambda s, x: s.head(s.rnn(x)[0][:, -1]), rnn=rnn, head=nn.Linear(12, 2))
    (found,) = check(model, input_size=(4, 10, 8), select=["SED208"]).findings
    assert f"the backward {which} read after its first step only" in found.message
    below = torch.randn(4, 10, 8, requires_grad=True)
    rnn(below)[0][:, -1, 6:].sum().backward()  # type: ignore[no-untyped-call]
    assert below.grad is not None
    assert bool(below.grad[:, :-1].any()) is (layers > 1)


@pytest.mark.parametrize("tokens", [1, 6])
def test_attention_over_one_key(tokens: int) -> None:
    model = made(
        lambda s, x: s.b(s.a(x[:, :tokens], x[:, :tokens], x[:, :tokens])[0].mean(1)),
        a=nn.MultiheadAttention(8, 2, batch_first=True),
        b=nn.Linear(8, 2),
    )
    assert loud(model, input_size=(4, 6, 8)) == (["SED318"] if tokens == 1 else [])


@pytest.mark.parametrize("strictly", [True, False])
def test_a_mask_by_where_and_a_constant(strictly: bool) -> None:
    def forward(s: Any, x: Tensor) -> Any:
        i = torch.arange(x.shape[1])
        seen = i[:, None] > i[None] if strictly else i[:, None] >= i[None]
        score = torch.where(seen, s.a(x) @ x.transpose(1, 2), torch.tensor(-math.inf))
        return (score.softmax(-1) @ x).mean(1)

    assert loud(made(forward, a=nn.Linear(8, 8)), input_size=(4, 6, 8)) == (["SED320"] if strictly else [])


@pytest.mark.parametrize("inverse", [True, False])
def test_the_gradient_passes_normalisations_by_hand(inverse: bool) -> None:
    """Measured: with weights of standard deviation 0.02 the signal is brought to one after each layer."""

    def forward(s: Any, x: Tensor) -> Any:
        for layer in s.layers:
            x = torch.relu(layer(x))
            mean_square = x.pow(2).mean(-1, keepdim=True) + 1e-6
            x = x * torch.rsqrt(mean_square) if inverse else x / mean_square.sqrt()
        return s.head(x)

    layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(16))
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.02)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    model = made(forward, layers=layers, head=nn.Linear(64, 2))
    assert loud(model, input_size=(4, 64)) == []
    x = torch.randn(256, 64)
    model(x).square().mean().backward()
    first, last = (layers[i].weight.grad.square().mean() for i in (0, -1))  # type: ignore[union-attr,operator]
    assert 1e-5 < first / last < 1e5  # 1e-8 and less was said of it


def test_a_pyramid_of_pools_on_a_small_map() -> None:
    def forward(s: Any, x: Tensor) -> Any:
        x = F.silu(s.a(x))
        once = s.pool(x)
        return s.b(torch.cat([x, once, s.pool(once)], 1))

    model = made(forward, a=nn.Conv2d(3, 8, 4, 4), pool=nn.MaxPool2d(5, 1, 2), b=nn.Conv2d(24, 8, 1))
    assert loud(model, input_size=(2, 3, 28, 28)) == []


class TestOneFindingACause:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.mix = nn.LayerNorm(1), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(x) * self.norm(x.mean(-1, keepdim=True))  # type: ignore[no-any-return]

    def test_a_line_of_a_class_that_is_used_three_times(self) -> None:
        model = nn.Sequential(*(self.Block() for _ in range(3)), nn.Linear(8, 2))
        (found,) = (f for f in check(model, input_size=(4, 8)).findings if f.code == "SED301")
        assert found.path == "0.norm"
        assert found.evidence["places"] == ("0.norm", "1.norm", "2.norm")
        assert "2 more places of the same class" in found.message

    def test_lines_of_one_instance_stay_apart(self) -> None:
        model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        paths = [f.path for f in check(model, input_size=(4, 8)).findings if f.code == "SED202"]
        assert paths == ["1", "2"]

    def test_two_places_of_a_class_stay_apart(self) -> None:
        class Two(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b, self.mix = nn.LayerNorm(1), nn.LayerNorm(1), nn.Linear(8, 8)

            def forward(self, x: Tensor) -> Tensor:
                y = x.mean(-1, keepdim=True)
                return self.mix(x) * self.a(y) * self.b(y)  # type: ignore[no-any-return]

        model = nn.Sequential(Two(), nn.Linear(8, 2))
        found = [f for f in check(model, input_size=(4, 8)).findings if f.code == "SED301"]
        assert [f.path for f in found] == ["0.a", "0.b"]


def test_a_mode_that_decides_whether_gradients_flow() -> None:
    def forward(s: Any, x: Tensor) -> Any:
        with torch.set_grad_enabled(s.training):
            return s.b(torch.relu(s.a(x)))

    assert loud(made(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 2)), input_size=(4, 8)) == []


class Quantised(nn.Module):
    """A linear layer with its quantised copy and the range of its results, which training reads neither of."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.range = nn.Linear(8, 8), nn.Module()
        self.inner.register_buffer("weight_integer", torch.zeros(8, 8))
        self.range.register_buffer("least", torch.zeros(1))
        self.attention, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.inner(x))
        return x + self.attention(x, x, x)[0]  # type: ignore[no-any-return]


def test_copies_of_weights_and_single_numbers_are_no_tables_of_positions() -> None:
    assert loud(Quantised(), input_size=(2, 6, 8)) == []
    model = Quantised()
    model.register_buffer("positions", torch.zeros(8, 8))
    assert loud(model, input_size=(2, 6, 8)) == ["SED008"]


def test_tensors_beside_a_mode_that_is_asked_for() -> None:
    """As a detector holds its anchors: plain tensors, which are neither on nor off."""

    def forward(s: Any, x: Tensor) -> Any:
        y = s.a(x)
        return y if s.training else (y * s.strides).softmax(-1)

    model = made(forward, a=nn.Linear(8, 3), strides=torch.tensor([8.0, 16.0, 32.0]))
    assert loud(model, input_size=(4, 8), loss=nn.CrossEntropyLoss()) == []


def test_samples_that_attend_to_each_other_may_be_a_set() -> None:
    def forward(s: Any, x: Tensor) -> Any:
        return s.b(torch.softmax(s.q(x) @ s.k(x).T, -1) @ x)

    model = made(forward, q=nn.Linear(8, 8), k=nn.Linear(8, 8), b=nn.Linear(8, 2))
    (found,) = check(model, input_size=(4, 8), select=["SED316"]).findings
    assert found.severity == "info"


class ThroughNumpy(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x)).detach().cpu().numpy()
        return self.b(torch.from_numpy(h))  # type: ignore[no-any-return]


class IndexedByNumpy(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        order = h.detach().numpy().argsort(0)
        return self.b(h[torch.from_numpy(order)[:, 0]])  # type: ignore[no-any-return]


class NumpyInALoop(Encoder):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        for _ in range(2):
            v = h.detach().numpy()
            h = h + torch.from_numpy(v)
        return self.b(h)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "codes"), [(ThroughNumpy, ["SED005"]), (IndexedByNumpy, []), (NumpyInALoop, [])]
)
def test_a_round_trip_through_numpy(kind: type[nn.Module], codes: list[str]) -> None:
    """Held against a backward pass: ``a`` gets no gradient in the first alone."""
    assert [c for c in loud(kind(), input_size=(4, 8)) if c != "SED009"] == codes
    model = kind()
    model(torch.randn(4, 8)).sum().backward()
    assert (model.a.weight.grad is None) is bool(codes)  # type: ignore[union-attr]


@pytest.mark.parametrize("layers", [1, 2])
def test_a_single_convolution_says_itself_what_it_sees(layers: int) -> None:
    convs = [m for i in range(layers) for m in (nn.Conv2d(8 if i else 3, 8, 3), nn.ReLU())]
    model = nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    assert loud(model, input_size=(2, 3, 32, 32)) == (["SED107"] if layers > 1 else [])
