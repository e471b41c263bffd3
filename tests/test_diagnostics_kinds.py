"""Each kind of fault by several members, and what looks like it and is right."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sed_torch.diagnostics import CheckReport, check

CASES: dict[str, tuple[str | None, Any, dict[str, Any]]] = {}
"""Name → (code expected at warning or above, None for nothing there; how to build; options of the check)."""


def case(code: str | None, **options: Any) -> Any:
    def add(build: Any) -> Any:
        CASES[build.__name__] = (code, build, options)
        return build

    return add


def made(forward: Any, **parts: Any) -> nn.Module:
    """A module with these parts, some of which nobody registers, and this forward."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, part in parts.items():
                if name.startswith("buffer_"):
                    self.register_buffer(name, part)
                else:
                    setattr(self, name, part)

        def forward(self, *args: Any) -> Any:
            return forward(self, *args)

    return Net()


# -- weights nobody registered -------------------------------------------------------------------------------


@case("SED007", input_size=(4, 8))
def layers_in_a_dict() -> nn.Module:
    return made(lambda s, x: s.head(s.d["a"](x)), d={"a": nn.Linear(8, 8)}, head=nn.Linear(8, 2))


@case("SED007", input_size=(4, 8))
def a_tuple_of_module_lists() -> nn.Module:
    return made(
        lambda s, x: s.head(s.t[0][0](x)), t=(nn.ModuleList([nn.Linear(8, 8)]),), head=nn.Linear(8, 2)
    )


@case("SED007", input_size=(4, 8))
def a_tensor_that_requires_grad() -> nn.Module:
    return made(lambda s, x: s.head(x @ s.w), w=torch.randn(8, 8, requires_grad=True), head=nn.Linear(8, 2))


@case("SED007", input_size=(4, 8))
def a_parameter_in_another_dtype() -> nn.Module:
    return made(
        lambda s, x: s.head(x + s.b), b=nn.Parameter(torch.ones(8).double()).float(), head=nn.Linear(8, 2)
    )


@case("SED007", input_size=(4, 8))
def a_layer_in_a_closure() -> nn.Module:
    hidden = nn.Linear(8, 8)
    return made(lambda s, x: s.head(torch.relu(hidden(x))), head=nn.Linear(8, 2))


@case("SED007", input_size=(2, 3, 8, 8))
def a_convolution_made_in_forward() -> nn.Module:
    return made(lambda s, x: nn.Conv2d(8, 2, 1)(torch.relu(s.a(x))), a=nn.Conv2d(3, 8, 3))


@case(None, input_size=(4, 8))
def a_hidden_teacher_under_no_grad() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Any:
        with torch.no_grad():
            target = s.hidden[0](x)
        return s.a(x), target

    return made(forward, hidden=[nn.Linear(8, 8)], a=nn.Linear(8, 8))


@case(None, input_size=(4, 8))
def a_list_of_registered_layers() -> nn.Module:
    layer = nn.Linear(8, 8)
    return made(lambda s, x: s.again[0](x), layer=layer, again=[layer])


# -- gradients that do not flow ------------------------------------------------------------------------------


@case("SED005", input_size=(4, 8))
def torch_tensor_of_a_tensor() -> nn.Module:
    return made(lambda s, x: s.b(torch.tensor(s.a(x))), a=nn.Linear(8, 8), b=nn.Linear(8, 2))


@case("SED005", input_size=(4, 8))
def inference_mode_as_a_decorator() -> nn.Module:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(8, 8)

        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.a(x))

    return nn.Sequential(Encoder(), nn.Linear(8, 2))


@case("SED005", input_size=(4, 8))
def everything_under_no_grad() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(8, 2)

        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return self.a(x)

    return Net()


@case("SED005", input_size=(4, 8))
def set_grad_enabled_off() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(False):
            x = s.a(x)
        return s.b(x)  # type: ignore[no-any-return]

    return made(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 2))


@case("SED005", input_size=(4, 8))
def a_threshold_in_the_middle() -> nn.Module:
    return made(lambda s, x: s.b((s.a(x) > 0).float()), a=nn.Linear(8, 8), b=nn.Linear(8, 2))


@case(None, input_size=(4, 8))
def in_place_under_no_grad_cuts_nothing() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        x = s.a(x)
        with torch.no_grad():
            x += 1.0
        return s.b(torch.tanh(x))  # type: ignore[no-any-return]

    return made(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 2))


@case(None, input_size=(4, 8))
def detached_only_in_evaluation() -> nn.Module:
    return made(lambda s, x: s.a(x) if s.training else s.a(x).argmax(1), a=nn.Linear(8, 8))


# -- the batch axis ------------------------------------------------------------------------------------------


@case("SED316", input_size=(4, 10, 8))
def softmax_without_a_dimension() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        return s.b((F.softmax(s.a(x), _stacklevel=5) * x).sum(1))  # type: ignore[no-any-return]

    return made(forward, a=nn.Linear(8, 1), b=nn.Linear(8, 2))


@case("SED316", input_size=(4, 10, 8))
def a_recurrent_layer_without_batch_first() -> nn.Module:
    return made(lambda s, x: s.b(s.a(x)[0][:, -1]), a=nn.GRU(8, 16), b=nn.Linear(16, 2))


@case("SED316", input_size=(4, 10, 8))
def attention_without_batch_first() -> nn.Module:
    return made(lambda s, x: s.b(s.a(x, x, x)[0].mean(1)), a=nn.MultiheadAttention(8, 2), b=nn.Linear(8, 2))


@case("SED316", input_size=(4, 8))
def a_row_minus_a_column() -> nn.Module:
    return made(lambda s, x: s.b(x) * x.mean(1), b=nn.Linear(8, 1))


@case(None, input_size=(10, 4, 8))
def sequences_first_on_purpose() -> nn.Module:
    return made(lambda s, x: s.b(s.a(x)[0][-1]), a=nn.LSTM(8, 16), b=nn.Linear(16, 2))


@case(None, input_size=(4, 8))
def all_pairs_on_purpose() -> nn.Module:
    return made(
        lambda s, x: F.normalize(s.a(x)) @ F.normalize(s.b(x)).T, a=nn.Linear(8, 4), b=nn.Linear(8, 4)
    )


@case("SED317", input_size=(8, 3, 8, 8))
def a_batch_size_in_view() -> nn.Module:
    return made(lambda s, x: s.b(s.a(x).view(8, 4 * 36)), a=nn.Conv2d(3, 4, 3), b=nn.Linear(144, 2))


@case("SED317", input_size=(8, 10, 4))
def a_state_of_a_fixed_batch_size() -> nn.Module:
    return made(
        lambda s, x: s.b(s.a(x, torch.zeros(1, 8, 6))[0][:, -1]),
        a=nn.GRU(4, 6, batch_first=True),
        b=nn.Linear(6, 2),
    )


@case("SED317", input_size=(4, 3, 8, 8))
def rows_of_part_of_a_sample() -> nn.Module:
    return made(lambda s, x: s.b(s.a(x).view(-1, 72)), a=nn.Conv2d(3, 4, 3), b=nn.Linear(72, 2))


@case("SED317", input_size=(4, 8))
def squeeze_of_the_output() -> nn.Module:
    return made(lambda s, x: torch.squeeze(s.a(x)), a=nn.Linear(8, 1))


@case(None, input_size=(4, 6, 8))
def squeeze_of_what_a_view_brings_back() -> nn.Module:
    return made(
        lambda s, x: s.a(x) * s.b(x).mean(1, keepdim=True).squeeze().view(-1, 1, 1),
        a=nn.Linear(8, 8),
        b=nn.Linear(8, 1),
    )


@case(None, input_size=(4, 6, 8))
def tokens_as_rows() -> nn.Module:
    return made(lambda s, x: s.a(x).view(-1, 5), a=nn.Linear(8, 5))


@case(None, input_size=(4, 8))
def squeeze_of_a_named_axis() -> nn.Module:
    return made(lambda s, x: s.a(x).squeeze(1), a=nn.Linear(8, 1))


@case(None, input_size=(4, 8))
def pairs_of_samples() -> nn.Module:
    return made(lambda s, x: s.a(x).chunk(2)[0] - s.a(x).chunk(2)[1], a=nn.Linear(8, 3))


# -- modes ---------------------------------------------------------------------------------------------------


@case("SED310", input_size=(4, 8))
def a_dropout_layer_made_in_forward() -> nn.Module:
    return made(lambda s, x: s.a(nn.Dropout(0.2)(x)), a=nn.Linear(8, 8))


@case("SED310", input_size=(4, 2, 10, 8))
def attention_that_always_drops() -> nn.Module:
    return made(lambda s, x: F.scaled_dot_product_attention(s.a(x), x, x, dropout_p=0.1), a=nn.Linear(8, 8))


@case("SED310", input_size=(2, 3, 8, 8))
def spatial_dropout_always_on() -> nn.Module:
    return made(lambda s, x: s.a(F.dropout2d(x, 0.1)), a=nn.Conv2d(3, 4, 3))


@case(None, input_size=(4, 2, 10, 8))
def attention_that_drops_in_training() -> nn.Module:
    return made(
        lambda s, x: F.scaled_dot_product_attention(s.a(x), x, x, dropout_p=0.1 if s.training else 0.0),
        a=nn.Linear(8, 8),
    )


@case("SED311", input_size=(2, 3, 8, 8))
def only_the_norms_are_frozen() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
    )
    model[1].requires_grad_(False)
    return model


@case("SED312", input_size=(2, 3, 8, 8))
def a_norm_of_two_branches() -> nn.Module:
    norm = nn.BatchNorm2d(4)
    return made(
        lambda s, x: torch.cat([s.n(s.a(x)), s.n(s.b(x))], 1),
        n=norm,
        a=nn.Conv2d(3, 4, 3),
        b=nn.Conv2d(3, 4, 3),
    )


@case("SED206", input_size=(2, 8))
def a_repeated_layer_in_a_sequence() -> nn.Module:
    return nn.Sequential(*[nn.Sequential(nn.Linear(8, 8), nn.ReLU())] * 3)


@case("SED313", input_size=(2, 3, 8, 8))
def the_momentum_of_another_library() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, momentum=0.99), nn.ReLU())


# -- ends and losses -----------------------------------------------------------------------------------------


class Focal(nn.CrossEntropyLoss):
    pass


def smoothed(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target) + 0.1 * output.square().mean()


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.BCEWithLogitsLoss()


def mlp(*end: nn.Module, classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, classes), *end)


LOSSES: list[tuple[str, nn.Module, Any, str | None]] = [
    ("nll on softmax", mlp(nn.Softmax(-1)), nn.NLLLoss(), "error"),
    ("nll on logits", mlp(), nn.NLLLoss(), "error"),
    ("tanh before ce", mlp(nn.Tanh()), nn.CrossEntropyLoss(), "warning"),
    ("clamp before ce", mlp(nn.Hardtanh()), nn.CrossEntropyLoss(), "warning"),
    ("relu before bce", mlp(nn.ReLU()), nn.BCEWithLogitsLoss(), "warning"),
    ("partial", mlp(nn.Softmax(-1)), functools.partial(F.cross_entropy, label_smoothing=0.1), "error"),
    ("subclass", mlp(nn.Softmax(-1)), Focal(), "error"),
    ("class", mlp(nn.Softmax(-1)), nn.CrossEntropyLoss, "error"),
    ("wrapped", mlp(nn.Sigmoid()), Wrapped(), "error"),
    ("kl on softmax", mlp(nn.Softmax(-1)), nn.KLDivLoss(), "error"),
    ("bce on logits", mlp(), nn.BCELoss(), "error"),
    ("bce on tanh", mlp(nn.Tanh()), nn.BCELoss(), "error"),
    ("one class", mlp(classes=1), nn.CrossEntropyLoss(), "error"),
    ("softmax and dropout", mlp(nn.Softmax(-1), nn.Dropout(0.1)), nn.CrossEntropyLoss(), "error"),
    ("a function of one's own", mlp(nn.Softmax(-1)), smoothed, "error"),
    ("fits", mlp(), nn.CrossEntropyLoss(), None),
    ("fits too", mlp(nn.LogSoftmax(-1)), nn.NLLLoss(), None),
    ("fits as well", mlp(nn.Sigmoid()), nn.BCELoss(), None),
    ("another loss", mlp(nn.Softmax(-1)), nn.MSELoss(), None),
]


@pytest.mark.parametrize(("model", "loss", "severity"), [t[1:] for t in LOSSES], ids=[t[0] for t in LOSSES])
def test_ends(model: nn.Module, loss: Any, severity: str | None) -> None:
    found = check(model, input_size=(4, 8), loss=loss, select=["SED303"]).findings
    assert [f.severity for f in found] == ([severity] if severity else [])


def test_a_loss_for_each_output() -> None:
    model = made(
        lambda s, x: {"classes": s.a(x).softmax(-1), "flag": s.b(x), "logits": s.c(x)},
        a=nn.Linear(8, 3),
        b=nn.Linear(8, 1),
        c=nn.Linear(8, 3),
    )
    both = {"classes": nn.CrossEntropyLoss(), "flag": nn.BCEWithLogitsLoss()}
    (finding,) = check(model, input_size=(4, 8), loss=both, select=["SED303"]).findings
    assert finding.evidence["output"] == "classes"
    assert not check(model, input_size=(4, 8), loss=nn.CrossEntropyLoss(), select=["SED303"]).findings
    with pytest.raises(Exception, match="loss names the outputs"):
        check(model, input_size=(4, 8), loss={"none": nn.MSELoss()})


# -- reshapes, directions, overlaps --------------------------------------------------------------------------


@case("SED207", input_size=(2, 3, 16, 16))
def a_map_viewed_as_tokens() -> nn.Module:
    return made(
        lambda s, x: s.b(s.a(x).reshape(x.size(0), 49, 12)), a=nn.Conv2d(3, 12, 4, 2), b=nn.Linear(12, 2)
    )


@case("SED207", input_size=(2, 49, 12))
def tokens_viewed_as_a_map() -> nn.Module:
    return made(lambda s, x: s.a(x.view(-1, 12, 7, 7)), a=nn.Conv2d(12, 4, 3))


@case("SED207", input_size=(4, 10, 8))
def view_to_put_time_first() -> nn.Module:
    return made(lambda s, x: s.a(x.view(x.size(1), x.size(0), -1))[0][-1], a=nn.LSTM(8, 6))


@case(None, input_size=(2, 12, 6, 6))
def a_shuffle_of_channels() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return s.a(x.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w))  # type: ignore[no-any-return]

    return made(forward, a=nn.Conv2d(12, 12, 3))


@case("SED208", input_size=(4, 10, 8))
def the_last_state_of_one_direction() -> nn.Module:
    return made(
        lambda s, x: s.b(s.a(x)[1][-1]),
        a=nn.GRU(8, 6, batch_first=True, bidirectional=True),
        b=nn.Linear(6, 2),
    )


@case(None, input_size=(4, 10, 8))
def the_mean_of_both_directions() -> nn.Module:
    return made(
        lambda s, x: s.b(s.a(x)[0].mean(1)),
        a=nn.GRU(8, 6, batch_first=True, bidirectional=True),
        b=nn.Linear(12, 2),
    )


@case("SED209", input_size=(2, 4, 10))
def an_uneven_overlap_in_one_dimension() -> nn.Module:
    return nn.Sequential(nn.ConvTranspose1d(4, 4, 5, stride=3))


# -- nothing left to learn -----------------------------------------------------------------------------------


@case("SED318", input_size=(4, 8))
def a_softmax_of_one_logit() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 1), nn.Softmax(dim=1))


@case("SED301", input_size=(4, 3, 8, 8))
def a_channel_a_group_on_one_position() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 8), nn.GroupNorm(8, 8), nn.Flatten(), nn.Linear(8, 2))


@case("SED319", input_size=(4, 8))
def a_gate_of_zero_and_a_branch_of_zero() -> nn.Module:
    branch = nn.Linear(8, 8)
    nn.init.zeros_(branch.weight)
    nn.init.zeros_(branch.bias)
    return made(lambda s, x: x + s.gate * s.branch(x), gate=nn.Parameter(torch.zeros(8)), branch=branch)


@case(None, input_size=(4, 8))
def a_gate_of_zero() -> nn.Module:
    return made(
        lambda s, x: x + s.gate * s.branch(x), gate=nn.Parameter(torch.zeros(8)), branch=nn.Linear(8, 8)
    )


@case("SED320", input_size=(2, 10, 8))
def a_mask_of_the_forwards_own() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        mask = torch.triu(torch.ones(10, 10), 0).bool()
        return torch.softmax((s.a(x) @ x.mT).masked_fill(mask, -math.inf), -1) @ x

    return made(forward, a=nn.Linear(8, 8))


@case("SED320", input_size=(2, 10, 8))
def true_means_seen_in_one_and_blocked_in_the_other() -> nn.Module:
    mask = torch.triu(torch.ones(10, 10), 1).bool()  # True is blocked, where sdpa reads True as seen
    return made(
        lambda s, x: F.scaled_dot_product_attention(s.a(x), x, x, attn_mask=s.buffer_mask),
        a=nn.Linear(8, 8),
        buffer_mask=mask,
    )


@case("SED320", input_size=(2, 10, 8))
def an_additive_mask() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        return torch.softmax(s.a(x) @ x.mT + s.buffer_mask, -1) @ x

    return made(forward, a=nn.Linear(8, 8), buffer_mask=torch.full((10, 10), -math.inf).triu(0))


@case(None, input_size=(2, 10, 8))
def a_causal_mask() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        mask = torch.triu(torch.full((10, 10), -math.inf), 1)
        return torch.softmax(s.a(x) @ x.mT + mask, -1) @ x

    return made(forward, a=nn.Linear(8, 8))


@case("SED321", input_size=(4, 8))
def a_root_of_a_clamp() -> nn.Module:
    return made(lambda s, x: s.a(x).clamp(min=0).sqrt(), a=nn.Linear(8, 8))


@case("SED314", input_size=(4, 8))
def a_logarithm_of_a_sigmoid() -> nn.Module:
    return made(lambda s, x: torch.sigmoid(s.a(x)).log(), a=nn.Linear(8, 8))


@case("SED309", input_size=(4, 64))
def a_deep_stack_of_tanh() -> nn.Module:
    return nn.Sequential(*[m for _ in range(24) for m in (nn.Linear(64, 64), nn.Tanh())], nn.Linear(64, 3))


@case("SED309", input_size=(4, 3, 16, 16))
def a_deep_plain_convolution() -> nn.Module:
    layers = [m for i in range(14) for m in (nn.Conv2d(3 if i == 0 else 16, 16, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*layers, nn.Conv2d(16, 3, 1))


@case("SED008", input_size=(2, 10, 8))
def a_table_nobody_calls() -> nn.Module:
    return made(
        lambda s, x: s.a(x),
        table=made(lambda s, x: x + s.buffer_t, buffer_t=torch.randn(10, 8)),
        a=nn.Linear(8, 2),
    )


@case("SED314", input_size=(4, 8))
def a_guarded_logarithm_of_a_softmax() -> nn.Module:
    return made(lambda s, x: (s.a(x).softmax(-1) + 1e-8).log(), a=nn.Linear(8, 8))


@case(None, input_size=(4, 8))
def a_logarithm_of_one_and_a_softmax() -> nn.Module:
    return made(lambda s, x: (s.a(x).softmax(-1) + 1.0).log(), a=nn.Linear(8, 8))


@case("SED315", input_size=(4, 8))
def a_sigmoid_of_relu6() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 4), nn.ReLU6(), nn.Sigmoid())


@case("SED321", input_size=(4, 10, 8))
def distances_of_each_to_each() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        z = s.a(x)
        return ((z.unsqueeze(2) - z[:, None]) ** 2).sum(-1).sqrt()

    return made(forward, a=nn.Linear(8, 8))


@case(None, input_size=(4, 10, 8))
def distances_that_are_never_zero() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        z = s.a(x)
        return (((z.unsqueeze(2) - z[:, None]) ** 2).sum(-1) + 1e-8).sqrt()

    return made(forward, a=nn.Linear(8, 8))


@case(None, input_size=(4, 10, 8))
def distances_to_what_comes_before() -> nn.Module:
    return made(lambda s, x: ((s.a(x) - s.b(x)) ** 2).sum(-1).sqrt(), a=nn.Linear(8, 8), b=nn.Linear(8, 8))


@case("SED207", input_size=(4, 10, 8))
def heads_split_and_moved_by_one_view() -> nn.Module:
    return made(lambda s, x: s.a(x).reshape(len(x), 2, 10, 4).softmax(-1), a=nn.Linear(8, 8))


@case("SED207", input_size=(4, 10, 8))
def heads_joined_without_a_transpose() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        q = s.a(x).view(len(x), 10, 2, 4).transpose(1, 2)
        return F.scaled_dot_product_attention(q, q, q).reshape(len(x), 10, 8)

    return made(forward, a=nn.Linear(8, 8))


@case(None, input_size=(4, 64, 8))
def tokens_viewed_as_a_square_of_the_same_width() -> nn.Module:
    return made(lambda s, x: s.a(x).reshape(len(x), 8, 8, 8).sum(2), a=nn.Linear(8, 8))


@case(None, input_size=(4, 10, 8))
def heads_split_and_joined() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        q = s.a(x).view(len(x), 10, 2, 4).transpose(1, 2)
        return F.scaled_dot_product_attention(q, q, q).transpose(1, 2).reshape(len(x), 10, 8)

    return made(forward, a=nn.Linear(8, 8))


@case("SED008", input_size=(4, 10, 8))
def a_table_of_positions_of_its_own() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return made(lambda s, x: s.a(x), a=layer, buffer_positions=torch.randn(1, 50, 8))


@case(None, input_size=(4, 10, 8))
def a_table_that_is_added() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return made(
        lambda s, x: s.a(x + s.buffer_positions[:, : x.shape[1]]),
        a=layer,
        buffer_positions=torch.randn(1, 50, 8),
    )


@case("SED312", input_size=(4, 8, 16, 16))
def a_norm_behind_two_sums() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        x = torch.relu(s.norm(x + s.a(x)))
        return torch.relu(s.norm(x + s.b(x)))

    convs = [nn.Conv2d(8, 8, 3, padding=1, bias=False) for _ in range(2)]
    return made(forward, norm=nn.BatchNorm2d(8), a=convs[0], b=convs[1])


@case(None, input_size=(4, 3, 16, 16))
def an_unrolled_network() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        x = s.stem(x)
        for _ in range(3):
            x = torch.relu(s.norm(x + s.a(x)))
        return x

    stem, conv = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1, bias=False)
    return made(forward, norm=nn.BatchNorm2d(8), a=conv, stem=stem)


@case(None, input_size=(4, 8))
def a_weight_renewed_through_data() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        s.a.weight.data = s.a.weight.data / s.a.weight.data.norm(dim=1, keepdim=True)
        return s.a(x)

    return made(forward, a=nn.Linear(8, 8))


@case(None, input_size=(4, 8), loss=nn.CrossEntropyLoss())
def a_softmax_in_evaluation_alone() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.end = nn.Linear(8, 3), nn.Softmax(1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            if not self.training:
                x = self.end(x)
            return x

    return Net()


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
@pytest.mark.parametrize("name", sorted(CASES))
def test_kinds(name: str) -> None:
    code, build, options = CASES[name]
    torch.manual_seed(0)
    report: CheckReport = check(build(), **options)
    loud = {f.code for f in report.findings if f.severity != "info"}
    if code is None:
        assert not loud, report
    else:
        assert code in loud, report


class TestBatches:
    """``check(model, batch, loss)`` takes what a loader gives."""

    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))

    @pytest.mark.parametrize(
        "batch",
        [
            torch.randn(4, 8),
            (torch.randn(4, 8), torch.zeros(4, dtype=torch.long)),
            [torch.randn(4, 8), torch.zeros(4)],
            {"image": torch.randn(4, 8), "label": torch.zeros(4)},
            ({"x": torch.randn(4, 8)}, torch.zeros(4)),
        ],
    )
    def test_the_inputs_are_found(self, batch: Any) -> None:
        report = check(self.model, batch, nn.CrossEntropyLoss())
        assert report
        assert report.score is not None
        assert report.score.inputs == ((4, 8),)
        assert report.assumed[-1].startswith("input: ")

    def test_a_forward_with_names_takes_what_it_names(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a = nn.Linear(8, 3)

            def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
                return self.a(features if mask is None else features * mask)  # type: ignore[no-any-return]

        batch = {"features": torch.randn(4, 8), "mask": torch.ones(4, 8), "target": torch.zeros(4)}
        report = check(Net(), batch)
        assert report.score is not None
        assert len(report.score.inputs) == 2

    def test_two_inputs_are_one_too_many(self) -> None:
        with pytest.raises(ValueError, match="one of them"):
            check(self.model, torch.randn(4, 8), input_size=(4, 8))
        with pytest.raises(ValueError, match="give input_data"):
            check(self.model, {"label": 3})


def test_many_infos_of_a_kind_are_one_line() -> None:
    block = (nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    model = nn.Sequential(*[m for _ in range(9) for m in (nn.Conv2d(4, 4, 3, padding=1), *block[1:])])
    text = check(model, input_size=(2, 4, 16, 16), select=["SED201"]).to_text()
    assert "SED201 info 0 … 24 ×9: " in text
    assert text.count("SED201") == 1
    assert "read 100 % of the parameters" in text.splitlines()[0]
