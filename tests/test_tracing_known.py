"""Values that rest on buffers, parameters, constants or given whole numbers are followed; others are not."""

from __future__ import annotations

import collections
import copy
import dataclasses
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import DataDependentError
from sed_torch.graph import Graph


def _shape_out(graph: Graph) -> tuple[int, ...] | None:
    return next(n.shape for n in graph.nodes if n.name == graph.outputs[0])


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 6, 3)
        self.gain = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("ready", torch.tensor(True))
        self.register_buffer("sizes", torch.tensor([2, 4]))
        self.register_buffer("kept", torch.tensor([True, False, True, True, False, True]))
        self.register_buffer("times", torch.linspace(0, 1, 4))
        self.register_buffer("book", torch.randn(5, 6))


def _asks(body: Any) -> nn.Module:
    class Asks(_Net):
        def forward(self, x: Tensor) -> Any:
            return body(self, self.c(x))

    return Asks()


def _read_then_written(m: Any, y: Tensor) -> Tensor:
    if m.ready.item():
        m.ready.fill_(False)
    return y if m.ready else y.relu()


FROM_THE_MODEL = {
    "flag": lambda m, y: y.relu() if m.ready else y.flatten(1),
    "not flag": lambda m, y: y.flatten(1) if not m.ready else y.relu(),
    "split sizes": lambda m, y: y.split(m.sizes.tolist(), 1)[1],
    "slice bound": lambda m, y: y[:, : m.sizes[0]],
    "slice of arithmetic": lambda m, y: y[:, m.sizes[1] - m.sizes[0] : m.sizes.sum() - 1],
    "mask": lambda m, y: y[:, m.kept],
    "masked columns": lambda m, y: y[:, m.kept, :2],
    "masked_select": lambda m, y: y.masked_select(m.kept[:, None, None]).mean(),
    "nonzero": lambda m, y: y[:, m.kept.nonzero()[:, 0]],
    "repeats": lambda m, y: y.repeat_interleave(m.sizes[:1].expand(6), dim=1),
    "time grid": lambda m, y: sum(
        (float(b - a) * y for a, b in zip(m.times[:-1], m.times[1:], strict=True)), start=y
    ),
    "parameter": lambda m, y: y * m.gain.exp().item(),
    "norm of a book": lambda m, y: y.relu() if (m.book.norm(dim=1) > 0).all() else None,
    "narrow": lambda m, y: y.narrow(1, int(m.sizes[0]), m.sizes[1]),
    "constant bound": lambda m, y: y[..., : torch.tensor([1, 2]).sum()],
    "written flag": _read_then_written,
    "list of places": lambda m, y: y[:, [0, 1]] if bool(m.book[[0, 1]].shape[0] == 2) else y,
}


@pytest.mark.parametrize("how", FROM_THE_MODEL)
def test_the_model_s_own_values_decide_by_fx(how: str) -> None:
    model = _asks(FROM_THE_MODEL[how]).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    graph = sed_torch.trace(model, input_size=(2, 3, 6, 6), frontend="fx")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    shape = tuple(copy.deepcopy(model)(torch.randn(2, 3, 6, 6)).shape)
    assert _shape_out(graph) == shape
    assert any("gain" in words for words in graph.assumed) == (how == "parameter")


@pytest.mark.parametrize(
    "body",
    [
        lambda m, y: y if y.mean() > 0 else -y,
        lambda m, y: y if m.c.weight.sum() * y.sum() > 0 else -y,
        lambda m, y: y[:, : y.argmax()],
    ],
)
def test_what_rests_on_data_stays_data_dependent(body: Any) -> None:
    model = _asks(body)
    with pytest.raises(DataDependentError, match=r"values|without data"):
        sed_torch.trace(model, input_data=torch.zeros(2, 3, 6, 6), frontend="fx")


def test_words_and_weights_together_are_data() -> None:
    """Ids are given, but what the network makes of them is no value to decide by: nothing is run."""

    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.e = nn.Embedding(9, 4)

        def forward(self, ids: Tensor) -> Tensor:
            y: Tensor = self.e(ids)
            return y if y.sum() > 0 else -y

    with pytest.raises(DataDependentError, match=r"bool\(tensor\)"):
        sed_torch.trace(Gate(), input_data=torch.zeros(2, 5, dtype=torch.long), frontend="fx")


def test_values_of_a_model_on_meta_are_not_to_be_had() -> None:
    model = _asks(FROM_THE_MODEL["flag"]).to("meta")
    with pytest.raises(DataDependentError, match=r"bool\(tensor\)"):
        sed_torch.trace(model, input_size=(2, 3, 6, 6), frontend="fx")


class _Packed(nn.Module):
    def __init__(self, kind: type[nn.Module] = nn.LSTM, both: bool = False) -> None:
        super().__init__()
        self.r: Any = kind(4, 8, batch_first=True, bidirectional=both)

    def forward(self, x: Tensor, n: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, n.cpu(), batch_first=True, enforce_sorted=False)
        y, _ = nn.utils.rnn.pad_packed_sequence(self.r(packed)[0], batch_first=True)
        return y[:, : int(n.max())]


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize("both", [False, True])
def test_packed_sequences_count_the_steps_that_are_there(
    kind: type[nn.Module], gates: int, both: bool
) -> None:
    lengths = torch.tensor([6, 3])
    graph = sed_torch.trace(_Packed(kind, both), input_data=(torch.randn(2, 6, 4), lengths))
    assert graph.frontend == "fx"
    assert _shape_out(graph) == (2, 6, 16 if both else 8)
    assert any("input x1" in words for words in graph.assumed)
    assert any(n.shape == (9, 16 if both else 8) for n in graph.nodes)


def test_masks_of_a_transformer_keep_their_values() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    x, pad = torch.randn(2, 5, 16), torch.tensor([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]).bool()
    plain = sed_torch.score(model, input_data=x)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    for more in ({"src_key_padding_mask": pad}, {"mask": causal}, {"mask": causal, "is_causal": True}):
        masked = sed_torch.score(model, input_data={"src": x, **more})
        assert (masked.frontend, masked.macs) == ("fx", plain.macs)


# -- what the caller hands in is left as found ------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Batch:
    x: Tensor
    n: int = 3


_Pair = collections.namedtuple("_Pair", "x mask")


class _Slots:
    __slots__ = ("seen", "x")

    def __init__(self, x: Tensor) -> None:
        self.x, self.seen = x, []


class _Takes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(4, 2)

    def forward(self, given: Any) -> Tensor:
        x: Tensor = given["x"] if isinstance(given, dict) else given.x
        y: Tensor = self.f(x)
        if isinstance(given, dict):
            given["y"] = y
            given["log"].append(y)
        elif not isinstance(given, (_Batch, tuple)):
            given.seen.append(y)
            given.x = y
        return y


@pytest.mark.parametrize("kind", ["dataclass", "namedtuple", "slots", "namespace", "dict"])
def test_objects_of_the_caller_are_followed_and_left_as_found(kind: str) -> None:
    x = torch.randn(2, 4)
    given: Any = {
        "dataclass": lambda: _Batch(x),
        "namedtuple": lambda: _Pair(x, None),
        "slots": lambda: _Slots(x),
        "namespace": lambda: SimpleNamespace(x=x, seen=[]),
        "dict": lambda: {"x": x, "log": []},
    }[kind]()
    found = sed_torch.score(_Takes(), input_data=(given,))
    assert (found.macs, found.frontend, found.inputs) == (8, "fx", ((2, 4),))
    if isinstance(given, dict):
        assert given["x"] is x
        assert len(given) == 2
        assert given["log"] == []
    else:
        assert given.x is x
        assert getattr(given, "seen", []) == []


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_read_at_their_longest(layout: torch.layout) -> None:
    nested = torch.nested.nested_tensor([torch.zeros(2, 4), torch.zeros(3, 4)], layout=layout)
    found = sed_torch.score(nn.Linear(4, 2), input_data=nested)
    assert found.macs == 3 * 8
    assert found.inputs == ((2, 3, 4),)
    assert any("x0 is nested" in words for words in found.assumed)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_input_is_read_as_the_float_it_stands_for() -> None:
    x = torch.quantize_per_tensor(torch.randn(2, 4), 0.1, 0, torch.qint8)
    assert sed_torch.score(nn.Linear(4, 2), input_data=x).macs == 8


def test_dropout_in_training_is_no_known_value() -> None:
    class Draws(_Net):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.c(x)
            return y if F.dropout(self.book, 0.5, training=True).sum() > 0 else -y

    with pytest.raises(DataDependentError, match=r"bool\(tensor\)"):
        sed_torch.trace(Draws(), input_size=(1, 3, 6, 6), frontend="fx")


# -- random numbers --------------------------------------------------------------------------------------------


class _Drops(nn.Module):
    def __init__(self, keep: Any) -> None:
        super().__init__()
        self.layers, self.keep = nn.ModuleList(nn.Linear(8, 8) for _ in range(3)), keep

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x) if self.keep() else x
        return x


@pytest.mark.parametrize(
    ("keep", "layers"),
    [
        (lambda: torch.rand(()) < 1.0, 3),
        (lambda: torch.rand(()) < 0.0, 0),
        (lambda: torch.empty(1).uniform_(0, 1).item() < 1.0, 3),
        (lambda: bool(torch.bernoulli(torch.tensor(1.0))), 3),
        (lambda: torch.zeros(1).uniform_(2, 3)[0] < 1.0, 0),  # what was there before is gone
        (lambda: int(torch.randint(1, 2, (1,))), 3),
        (lambda: torch.randperm(4).tolist()[0] < 4, 3),
        (lambda: torch.distributions.Bernoulli(1.0).sample() > 0, 3),
        (lambda: torch.rand_like(torch.zeros(3)).max() < 1.0, 3),
    ],
)
def test_where_random_numbers_decide_one_is_drawn_and_that_is_said(keep: Any, layers: int) -> None:
    model = _Drops(keep)
    state = torch.get_rng_state()
    found = sed_torch.score(model, input_size=(2, 8), frontend="fx")
    assert torch.equal(torch.get_rng_state(), state)
    assert found.macs == 64 * layers
    assert any("one draw of its random numbers" in words for words in found.assumed)


def test_the_number_that_was_drawn_is_told_with_its_line() -> None:
    found = sed_torch.score(_Drops(lambda: torch.rand(1) < 2.0), input_size=(2, 8), frontend="fx")
    assert any(
        re.search(r"decides: rand\(\) in .*test_tracing_known\.py:\d+ gave 0\.\d+", a) for a in found.assumed
    )


def test_a_loop_until_chance_ends_it_ends() -> None:
    class Loop(_Drops):
        def forward(self, x: Tensor) -> Tensor:
            while torch.rand(1) < 0.7:
                x = self.layers[0](x)
            return x

    assert sed_torch.score(Loop(None), input_size=(2, 8)).macs >= 0


def test_random_numbers_that_meet_data_stay_data() -> None:
    class Meets(_Drops):
        def forward(self, x: Tensor) -> Tensor:
            return self.layers[0](x) if torch.rand(()) < x.mean() else x

    with pytest.raises(DataDependentError, match="asks for the values"):
        sed_torch.score(Meets(None), input_size=(2, 8), frontend="fx")


def test_counts_up_to_a_minimum_are_followed() -> None:
    class Codes(_Drops):
        def forward(self, x: Tensor) -> Any:  # type: ignore[override]
            codes = self.layers[0](x).argmax(-1)
            return self.layers[1](x), torch.bincount(codes, minlength=8) / len(codes)

    found = sed_torch.score(Codes(None), input_size=(2, 8))
    assert (found.frontend, found.macs) == ("fx", 128)
    assert any("what argmax chooses is spread evenly over its 8" in words for words in found.assumed)


def test_what_comes_before_numpy_is_read() -> None:
    class Leaves(_Drops):
        def forward(self, x: Tensor) -> Any:
            y = self.layers[0](x)
            return y, (self.layers[1](y) > 0).cpu().numpy()

    found = sed_torch.score(Leaves(None), input_size=(2, 8))
    assert (found.frontend, found.macs) == ("fx+cut", 128)
