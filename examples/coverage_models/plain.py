"""Networks in plain torch: recurrent, one-dimensional and three-dimensional, spectra, graphs, text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coverage_models.cases import Case, Package, floats, ids

TORCH = Package("torch", "2.14.1", "torch")


class M5(nn.Module):
    """Raw-audio classifier: strided one-dimensional convolutions and pools."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 32, 64, 64)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv1d(a, b, 80 if i == 0 else 3, stride=16 if i == 0 else 1),
                    nn.BatchNorm1d(b),
                    nn.ReLU(),
                    nn.MaxPool1d(4),
                )
                for i, (a, b) in enumerate(itertools.pairwise(widths))
            )
        )
        self.head = nn.Linear(64, 35)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.head(self.layers(x).mean(-1)), dim=-1)


class WaveNet(nn.Module):
    """Gated dilated causal convolutions with residual and skip sums."""

    def __init__(self, width: int = 32, depth: int = 10) -> None:
        super().__init__()
        self.inlet = nn.Conv1d(1, width, 1)
        self.gates = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**i) for i in range(depth))
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(depth))
        self.outlet = nn.Conv1d(width, 256, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.inlet(x), 0
        for i, (gate, skip) in enumerate(zip(self.gates, self.skips, strict=True)):
            a, b = gate(F.pad(x, (2**i, 0))).chunk(2, dim=1)
            y = skip(torch.tanh(a) * torch.sigmoid(b))
            x, total = x + y, total + y
        return self.outlet(F.relu(total))


class ConvTasNet(nn.Module):
    """Learned filter bank, masks by a dilated separable network, transposed convolution back."""

    def __init__(self, filters: int = 128, speakers: int = 2) -> None:
        super().__init__()
        self.speakers = speakers
        self.encoder = nn.Conv1d(1, filters, 16, stride=8, bias=False)
        self.norm = nn.GroupNorm(1, filters)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(filters, 256, 1),
                nn.PReLU(),
                nn.Conv1d(256, 256, 3, padding=2**i, dilation=2**i, groups=256),
                nn.PReLU(),
                nn.Conv1d(256, filters, 1),
            )
            for i in range(6)
        )
        self.mask = nn.Conv1d(filters, filters * speakers, 1)
        self.decoder = nn.ConvTranspose1d(filters, 1, 16, stride=8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        code = self.encoder(x)
        y = self.norm(code)
        for block in self.blocks:
            y = y + block(y)
        masks = torch.sigmoid(self.mask(y)).view(x.shape[0], self.speakers, -1, code.shape[-1])
        each = (masks * code.unsqueeze(1)).flatten(0, 1)
        return self.decoder(each).view(x.shape[0], self.speakers, -1)


class Spectral(nn.Module):
    """A spectrogram inside the network, two-dimensional convolutions on it, a recurrent layer over time."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d((2, 1)))
        self.rnn = nn.GRU(16 * 100, 64, batch_first=True, bidirectional=True)
        self.head = nn.Linear(128, 29)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.stft(
            x, 400, 160, window=torch.hann_window(400, device=x.device), return_complex=True
        )
        y = self.convs(spectrum.abs().log1p()[:, None])
        y = y.permute(0, 3, 1, 2).flatten(2)
        return self.head(self.rnn(y[..., : 16 * 100])[0])


class UNet3D(nn.Module):
    """Encoder and decoder over volumes, with concatenating skips."""

    def __init__(self, width: int = 16, levels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(levels)]
        self.down = nn.ModuleList(self.block(a, b) for a, b in zip([1, *widths], widths, strict=False))
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in zip(widths[-2::-1], widths[::-1], strict=False)
        )
        self.merge = nn.ModuleList(self.block(2 * a, a) for a in widths[-2::-1])
        self.head = nn.Conv3d(width, 2, 1)

    @staticmethod
    def block(a: int, b: int) -> nn.Module:
        return nn.Sequential(nn.Conv3d(a, b, 3, padding=1), nn.InstanceNorm3d(b), nn.LeakyReLU(0.01))

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for i, down in enumerate(self.down):
            x = down(F.max_pool3d(x, 2) if i else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat([up(x), skip], dim=1))
        return self.head(x)


class GraphLayer(nn.Module):
    """Mean of neighbours by ``index_add``, then a linear layer: what graph libraries do, in plain torch."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.own, self.others = nn.Linear(c_in, c_out), nn.Linear(c_in, c_out, bias=False)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        source, target = edges
        total = torch.zeros_like(x).index_add(0, target, x[source])
        degree = torch.zeros(len(x), device=x.device).index_add(0, target, torch.ones(len(source)))
        return F.relu(self.own(x) + self.others(total / degree.clamp(min=1)[:, None]))


class TextCNN(nn.Module):
    """Embeddings, convolutions of several widths, maxima over time."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20000, 128)
        self.convs = nn.ModuleList(nn.Conv1d(128, 100, k) for k in (3, 4, 5))
        self.head = nn.Linear(300, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens).transpose(1, 2)
        return self.head(torch.cat([F.relu(c(x)).amax(-1) for c in self.convs], dim=1))


@TORCH.rows
def of_torch() -> Iterator[Case]:
    tokens = floats(1, 50, 64)
    yield Case("torch:LSTM", lambda: nn.LSTM(64, 128, num_layers=2, batch_first=True), tokens)
    yield Case(
        "torch:LSTM bidirectional", lambda: nn.LSTM(64, 128, bidirectional=True, batch_first=True), tokens
    )
    yield Case("torch:LSTM projected", lambda: nn.LSTM(64, 128, proj_size=32, batch_first=True), tokens)
    yield Case("torch:GRU", lambda: nn.GRU(64, 128, batch_first=True), tokens)
    yield Case("torch:RNN", lambda: nn.RNN(64, 128, batch_first=True), tokens)
    yield Case("torch:LSTMCell", lambda: nn.LSTMCell(64, 128), floats(1, 64))
    yield Case(
        "torch:Transformer",
        lambda: nn.Transformer(batch_first=True),
        (floats(1, 32, 512), floats(1, 20, 512)),
    )
    layer = lambda kind: getattr(nn, f"Transformer{kind}Layer")(64, 4, batch_first=True)  # noqa: E731
    yield Case("torch:TransformerEncoder", lambda: nn.TransformerEncoder(layer("Encoder"), 6), tokens)
    yield Case(
        "torch:TransformerDecoder", lambda: nn.TransformerDecoder(layer("Decoder"), 6), (tokens, tokens)
    )
    yield Case(
        "torch:MultiheadAttention", lambda: nn.MultiheadAttention(64, 4, batch_first=True), (tokens,) * 3
    )
    yield Case("torch:M5", M5, floats(1, 1, 16000))
    yield Case("torch:WaveNet", WaveNet, floats(1, 1, 8000))
    yield Case("torch:Conv-TasNet", ConvTasNet, floats(1, 1, 16000))
    yield Case("torch:spectral, recurrent", Spectral, floats(1, 16000))
    yield Case("torch:UNet3D", UNet3D, floats(1, 1, 64, 64, 64))
    yield Case("torch:graph by index_add", lambda: GraphLayer(16, 32), (floats(100, 16), ids(2, 400)))
    yield Case("torch:TextCNN", TextCNN, ids(1, 64))
