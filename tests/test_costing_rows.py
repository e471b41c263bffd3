"""What autograd keeps of one call, operator by operator, against torch's own hooks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.memory import really_held, really_kept
from torch import Tensor, nn
from torch.nn import functional as F

from sed_torch import check, cost

Call = Callable[[Tensor], Tensor]


def _classes(x: Tensor) -> Tensor:
    return x.detach().argmax(-1).flatten()


ROWS: dict[str, Call] = {
    "gather": lambda x: x.gather(1, x.argsort(1)),
    "gather by the indices of a maximum": lambda x: x.gather(1, x.max(1, keepdim=True)[1]).squeeze(1),
    "gather the best": lambda x: x.gather(1, x.norm(dim=-1).topk(2)[1][..., None].expand(-1, -1, 6)),
    "take_along_dim": lambda x: torch.take_along_dim(x, x.argmax(1, keepdim=True), 1),
    "take": lambda x: x.take(torch.arange(x.numel())).view_as(x),
    "masked_select": lambda x: x.masked_select(x.new_ones(4, 6, dtype=torch.bool)).view(-1, 4, 6),
    "index_add": lambda x: torch.zeros_like(x).index_add(1, torch.arange(4), x),
    "index_copy": lambda x: torch.zeros(len(x), 9, 6).index_copy(1, torch.tensor([0, 3, 4, 5]), x),
    "scatter_reduce": lambda x: torch.zeros_like(x).scatter_reduce(1, x.argsort(1), x, "amax"),
    "cummax": lambda x: x.cummax(1).values,
    "max": lambda x: x.max(1)[0],
    "median, both results": lambda x: x.median(1)[0] + x.median(1)[1],
    "power of a tensor": lambda x: x.abs() ** x.sin(),
    "power of a number": lambda x: x.abs() ** 2.5,
    "reciprocal": lambda x: 1 / (x + 9),
    "divided by a number": lambda x: x / 3,
    "softsign": F.softsign,
    "tanhshrink": F.tanhshrink,
    "logsigmoid": F.logsigmoid,
    "rrelu": lambda x: F.rrelu(x, training=True),
    "sign": lambda x: x.sign() * x,
    "rounded": lambda x: x.round().sin(),
    "straight through": lambda x: x + (x.round() - x).detach(),
    "pairwise_distance": lambda x: x * F.pairwise_distance(x, x.sin())[..., None],
    "lerp by a number": lambda x: torch.lerp(x, x.roll(1, 1), 0.5),
    "lerp by a tensor": lambda x: torch.lerp(x, x.roll(1, 1), torch.full((4, 6), 0.5)),
    "reflected": lambda x: F.pad(x.transpose(1, 2), (1, 1), "reflect").transpose(1, 2),
    "replicated": lambda x: F.pad(x.transpose(1, 2), (1, 1), "replicate").transpose(1, 2),
    "padded": lambda x: F.pad(x, (0, 0, 1, 1)),
    "gumbel_softmax": lambda x: F.gumbel_softmax(x, dim=-1),
    "gumbel_softmax, hard": lambda x: F.gumbel_softmax(x, dim=-1, hard=True),
    "dropout of channels": lambda x: F.dropout1d(x, 0.2),
    "dropout2d": lambda x: F.dropout2d(x[..., None], 0.2)[..., 0],
    "alpha dropout of features": lambda x: F.feature_alpha_dropout(x, 0.2, True),
    "layer norm over two": lambda x: F.layer_norm(x, (4, 6)),
    "normalised over two": lambda x: F.normalize(x, dim=(1, 2)),
    "normalised over rows": lambda x: F.normalize(x, dim=1),
    "cross": lambda x: torch.linalg.cross(*x.reshape(-1, 4, 2, 3).unbind(2)).repeat(1, 1, 2),
    "unpooled": lambda x: F.max_unpool1d(*F.max_pool1d(x, 2, return_indices=True), 2),
    "broadcast": lambda x: torch.broadcast_tensors(x, x[:, :1])[1],
    "averaged to a place": lambda x: F.adaptive_avg_pool2d(x[..., None], 1)[..., 0] * x,
    "averaged over time": lambda x: F.adaptive_avg_pool1d(x, 1) * x,
    "averaged but for frames": lambda x: (
        F.adaptive_avg_pool3d(x.view(-1, 2, 2, 2, 3), (None, 1, 1))
        .flatten(1)[:, None]
        .repeat(1, 4, 2)[..., :6]
    ),
    "cross_entropy": lambda x: x * F.cross_entropy(x.flatten(0, 1), _classes(x)),
    "cross_entropy of what is needed nowhere else": lambda x: F.cross_entropy(
        (2 * x).flatten(0, 1), _classes(x)
    ),
    "cross_entropy of probabilities": lambda x: F.cross_entropy(
        x.flatten(0, 1), x.detach().softmax(-1).flatten(0, 1)
    ),
    "poisson_nll_loss": lambda x: x * F.poisson_nll_loss(x, x.detach().exp()),
    "gaussian_nll_loss": lambda x: x * F.gaussian_nll_loss(x, x.detach(), x.exp()),
}


class Between(nn.Module):
    """A call between two layers, so that its operand and its result need a gradient."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call, self.a, self.b = call, nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.call(self.a(x))
        return self.b(y) if y.dim() else y


@pytest.mark.parametrize("name", ROWS)
def test_a_call_keeps_what_torch_keeps(name: str) -> None:
    torch.manual_seed(0)
    model, x = Between(ROWS[name]), torch.randn(16, 4, 6)
    kept = really_kept(model, x.clone())
    # beside maps torch keeps a few numbers, such as the sum of the classes' weights
    assert cost(model, input_data=x, kernels="cpu").activations == pytest.approx(kept, abs=16)


class Biased(nn.Module):
    """Attention that no fused kernel takes: a mask of three dimensions, or queries of five."""

    def __init__(self, windows: bool) -> None:
        super().__init__()
        self.windows, self.qkv = windows, nn.Linear(16, 48)
        self.bias = nn.Parameter(torch.zeros(2, 64, 64))

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        if self.windows:
            q, k, v = self.qkv(x).reshape(b, 4, n // 4, 3, 2, 8).permute(3, 0, 4, 1, 2, 5).unbind(0)
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 3).reshape(b, n, 16)
        q, k, v = self.qkv(x).view(b, n, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(q, k, v, self.bias).transpose(1, 2).reshape(b, n, 16)


@pytest.mark.parametrize("windows", [False, True])
def test_attention_operator_by_operator_holds_its_scores(windows: bool) -> None:
    model, x = Biased(windows).eval(), torch.randn(4, 64, 16)
    found = cost(model, input_data=x, kernels="cpu")
    held = found.inference_peak - found.parameters - found.buffers
    # of windows the queries are laid out anew too, as these lie in memory: one map of 9
    assert held == pytest.approx(really_held(model, x), rel=0.11 if windows else 0.001)
    assert cost(model, input_data=x).inference_peak < found.inference_peak  # a GPU has a kernel for it


class Packed(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU], layers: int) -> None:
        super().__init__()
        self.r, self.o = kind(16, 32, layers, batch_first=True), nn.Linear(32, 3)

    def forward(self, x: Tensor, lengths: list[int]) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return self.o(nn.utils.rnn.pad_packed_sequence(self.r(packed)[0], batch_first=True)[0])  # type: ignore[no-any-return]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_packed_sequences_keep_their_steps(kind: type[nn.LSTM | nn.GRU], layers: int) -> None:
    model, x, lengths = Packed(kind, layers), torch.randn(8, 20, 16), [20, 20, 17, 15, 15, 9, 8, 3]
    found = cost(model, input_data=(x, lengths), kernels="cpu")
    assert found.activations == pytest.approx(really_kept(model, x, lengths), rel=0.01)


def test_a_list_of_lengths_holds_for_the_batch_given() -> None:
    """No other batch size can be looked at, so none is said to fail."""
    model, data = Packed(nn.LSTM, 1), (torch.randn(3, 9, 16), [9, 7, 4])
    report = check(model, input_data=data)
    assert not [f for f in report.findings if f.severity == "error"]
    assert "scaled up" in cost(model, input_data=data, batch_size=8).assumed[0]


@pytest.mark.parametrize("padded", [False, True])
def test_a_causal_mask_that_the_kernel_is_told_of_is_not_kept(padded: bool) -> None:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True, norm_first=True)
            self.e, self.l = nn.Linear(16, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

        def forward(self, x: Tensor) -> Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            padding = torch.zeros(x.shape[:2]) if padded else None
            return self.l(self.e(x), mask=mask, src_key_padding_mask=padding, is_causal=True)  # type: ignore[no-any-return]

    model, x = Decoder(), torch.randn(8, 12, 16)
    assert cost(model, input_data=x, kernels="cpu").activations == really_kept(model, x)
