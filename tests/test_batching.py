"""The batch axis is found by what a network does, and nothing of a score depends on how many samples it is given."""

# ruff: noqa: E501 (a table)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import sed_torch
from sed_torch.batching import find_batch
from sed_torch.tracing import trace

# -- a forward that is a function ------------------------------------------------------------------------------


class Net(nn.Module):
    """Layers by name, and a function that uses them."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.run = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


def _ints(*size: int) -> Tensor:
    return torch.zeros(size, dtype=torch.int64)


def _attend(m: Any, x: Tensor) -> Tensor:
    q, k, v = m.a(x).chunk(3, -1)
    return m.b(F.scaled_dot_product_attention(q, k, v))


def _kernel_a_channel(m: Any, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    kernels = m.a(x.mean((2, 3))).view(n * c, 1, 3, 3)
    return m.b(F.conv2d(x.reshape(1, n * c, h, w), kernels, groups=n * c, padding=1).view(n, c, h, w))


def _on_a_diagonal(m: Any, x: Tensor) -> Tensor:
    out = torch.zeros(x.shape[0], 6, 6)
    out.diagonal(dim1=1, dim2=2).copy_(m.a(x))
    return m.b(out)


def _folded_across(m: Any, x: Tensor) -> Tensor:
    return m.b(m.a(x).view(x.shape[0], 50, 4))  # of 8×5×5


def _choosing_by_bytes(m: Any, x: Tensor) -> Tensor:
    seen, y = torch.ones(5, 5).tril().byte(), m.a(x)
    return m.b(torch.where(seen, y @ y.transpose(1, 2), torch.tensor(-1e9)).softmax(-1) @ y)


def _heads(m: Any, x: Tensor) -> Tensor:
    n, t, c = x.shape
    q, k, v = m.a(x).reshape(n, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
    weights = (q @ k.transpose(-2, -1)).softmax(-1)
    return m.b((weights @ v).transpose(1, 2).reshape(n, t, c))


def _windows(m: Any, x: Tensor) -> Tensor:
    n, h, w, c = x.shape
    y = x.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
    return _attend(m, y).view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)


def _packed(batch_first: bool) -> Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor]]:
    def forward(m: Any, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
        packed = nn.utils.rnn.PackedSequence(m.a(packed.data), *packed[1:])
        y, state = m.r(packed)
        y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first)
        return m.b(y), state[0]

    return forward


def _batched(m: Any, images: list[Tensor]) -> Tensor:
    padded = images[0].new_zeros(len(images), 3, 16, 16)
    for row, image in zip(padded, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]].copy_(image)
    return m.c(padded)


def _edges(m: Any, x: Tensor, edges: Tensor) -> Tensor:
    messages = m.a(torch.cat([x[edges[0]], x[edges[1]]], -1))
    return m.b(x.new_zeros(x.shape[0], 8).index_add(0, edges[1], messages))


def _summed(like: Tensor, index: Tensor, messages: Tensor) -> Tensor:
    """The messages of the edges, added up at the nodes of ``like``."""
    index = index.view(-1, 1).expand_as(messages)
    return like.new_zeros(like.shape[0], messages.shape[1]).scatter_add_(0, index, messages)


def _edges_added(m: Any, x: Tensor, edges: Tensor, attributes: Tensor) -> Tensor:
    messages = (x.index_select(0, edges[0]) + m.a(attributes)).relu()
    return m.b(x + _summed(x, edges[1], messages))


def _edges_as_rows(m: Any, attributes: Tensor, edges: Tensor, x: Tensor) -> Tensor:
    messages = torch.cat([x[edges[:, 0]], x[edges[:, 1]], attributes], -1)
    return x + x.new_zeros(x.shape).index_add(0, edges[:, 1], m.a(messages))


def _edges_only(m: Any, x: Tensor, edges: Tensor, attributes: Tensor) -> Tensor:
    return m.b(x.new_zeros(x.shape[0], 6).index_add(0, edges[1], m.a(attributes)) + m.c(x))


def _edges_of_kinds(m: Any, x: Tensor, edges: Tensor, kinds: Tensor) -> Tensor:
    weights = m.a.weight.view(3, 5, 5)[kinds]
    return m.b(x) + _summed(x, edges[1], torch.bmm(x[edges[0]].unsqueeze(1), weights).squeeze(1))


def _edges_attended(m: Any, x: Tensor, edges: Tensor, attributes: Tensor) -> Tensor:
    added = m.a(attributes)
    scores = (m.q(x)[edges[1]] * (m.k(x)[edges[0]] + added)).sum(-1, keepdim=True)
    most = x.new_zeros(x.shape[0], 1).scatter_reduce(0, edges[1][:, None], scores, "amax")
    weights = (scores - most[edges[1]]).exp()
    return m.b(_summed(x, edges[1], weights / _summed(x, edges[1], weights)[edges[1]] * added))


def _edges_gated(m: Any, x: Tensor, edges: Tensor, attributes: Tensor) -> Tensor:
    return m.b(torch.cat([m.a(x)[edges[0]], m.a(x)[edges[1]], m.c(attributes)], -1))


def _several_graphs(
    m: Any, whole: Tensor, x: Tensor, edges: Tensor, attributes: Tensor, graph: Tensor
) -> Tensor:
    x = _edges_added(m, x + m.w(whole)[graph], edges, attributes)
    return m.d(_summed(whole, graph, x))


def _pooled(m: Any, x: Tensor, edges: Tensor, attributes: Tensor, graph: Tensor) -> Tensor:
    y = _edges_added(m, x, edges, attributes)
    return m.d(y.new_zeros(2, y.shape[1]).index_add(0, graph, y))


def _two_kinds(m: Any, users: Tensor, items: Tensor, edges: Tensor) -> Tensor:
    return m.c(_summed(items, edges[1], m.a(users)[edges[0]]) + m.b(items))


def _edges_and_attention(m: Any, x: Tensor, edges: Tensor, attributes: Tensor) -> Tensor:
    return _edges_added(m, x, edges, attributes) + _attend(m.t, x[None])[0]


def _edges_and_attention_on_a_padded_batch(
    m: Any, x: Tensor, edges: Tensor, attributes: Tensor, place: Tensor
) -> Tensor:
    padded = x.new_zeros(12, 5)
    padded[place] = x
    return _edges_added(m, x, edges, attributes) + _attend(m.t, padded[None])[0][place]


def _where_masked(m: Any, x: Tensor, mask: Tensor) -> Tensor:
    y = torch.zeros(*x.shape[:2], 6)
    y[mask] = m.a(x[mask])
    return m.b(y)


def _added_through_a_view(m: Any, x: Tensor) -> Tensor:
    out = torch.zeros(x.shape[0], 6)
    view = out.view(-1, 2, 3)
    view += m.a(x).view(-1, 2, 3)
    return m.b(out)


def _spectra(m: Any, x: Tensor) -> Tensor:
    spectrum = torch.stft(x, 16, window=torch.hann_window(16), return_complex=True)
    return m.c(torch.view_as_real(spectrum).permute(0, 3, 1, 2))


def _timed(m: Any, t: Tensor, x: Tensor) -> Tensor:
    return m.c(x) + m.t(t[:, None].float())[..., None, None]


def _loop(m: Any, x: Tensor) -> Tensor:
    pad = torch.zeros(x.shape[0], 3, 10, 10)
    for image, row in zip(x, pad, strict=True):
        row[:, :8, :8].copy_(image)
    return m.c(pad)


def _slices_written(m: Any, x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for i in range(x.shape[0]):
        out[i : i + 1] = m.c(x[i : i + 1])
    return out


def _restacked(m: Any, x: Tensor) -> Tensor:
    return m.d(torch.stack([m.c(image) for image in x]).flatten(1))


def _grouped_samples(m: Any, x: Tensor) -> Tensor:
    """A kernel a sample: dynamic convolution, which folds the samples into groups."""
    n, c, h, w = x.shape
    kernels = m.a(x.mean((2, 3))).view(n * 2, c, 3, 1)
    return F.conv2d(x.reshape(1, n * c, h, w), kernels, groups=n).view(n, 2, h - 2, w)


def _modulated(m: Any, z: Tensor) -> Tensor:
    """A learned map under kernels that data make, a set of them a sample."""
    n = z.shape[0]
    kernels = (m.w.weight[None] * m.a(z).view(n, 4, 1, 1, 1)).view(n * 4, 3, 3, 3)
    x = m.start.weight.view(1, 3, 4, 4).repeat(n, 1, 1, 1)
    x = F.conv2d(x.reshape(1, n * 3, 4, 4), kernels, groups=n).view(n, 4, 2, 2)
    return m.d(x + torch.randn(n, 1, 2, 2))


def _beams(m: Any, h: Tensor) -> Tensor:
    """Several ways to go on for each sample, side by side with the samples."""
    n, k = h.shape[0], 3
    h, ids = h.repeat_interleave(k, 0), torch.ones(n * k, dtype=torch.long)
    for _ in range(2):
        h = m.r(m.e(ids), h)
        scores, places = m.d(h).view(n, -1).topk(k, -1)
        h = h.view(n, k, -1).gather(1, (places // 9)[..., None].expand(-1, -1, 5)).reshape(n * k, -1)
        ids = (places % 9).view(-1)
    return scores


def _guided(m: Any, x: Tensor) -> Tensor:
    a, b = m.c(torch.cat([x, x])).chunk(2)
    return a + 2 * (b - a)


def _decoded(self: Any, x: Tensor) -> Tensor:
    """A sequence is read, and another one written from zeros and from the state that was left."""
    _, (h, c) = self.e(x)
    h, c, y, out = h[0], c[0], x.new_zeros(x.shape[0], 3), []
    for _ in range(4):
        h, c = self.r(y, (h, c))
        y = self.d(h)
        out.append(y)
    return torch.stack(out, 1)


def _decoded_from_zeros(self: Any, x: Tensor) -> Tensor:
    h = torch.zeros(x.shape[0], 4)
    for _ in range(3):
        h = self.r(x, h)
        x = self.d(h)
    return x


def _steps(m: Any, x: Tensor) -> Tensor:
    h = torch.zeros(x.shape[0], 5)
    for t in range(x.shape[1]):
        h = m.r(x[:, t], h)
    return m.d(h)


def _class_token(m: Any, x: Tensor) -> Tensor:
    tokens = m.c(x).flatten(2).transpose(1, 2)
    return m.e(torch.cat([m.d.weight[:1, None].expand(x.shape[0], -1, -1), tokens], 1))[:, 0]


def _graph(m: Any, edges: Tensor, x: Tensor) -> Tensor:
    h = m.a(x)
    return m.b(torch.zeros_like(h).index_add_(0, edges[1], h[edges[0]]))


def _minibatch_deviation(m: Any, x: Tensor) -> Tensor:
    y = m.c(x)
    return m.d(torch.cat([y, y.std(0, keepdim=True).mean().expand(y.shape[0], 1, *y.shape[2:])], 1))


def _contrast(m: Any, x: Tensor) -> Tensor:
    y = F.normalize(m.a(x), dim=-1)
    return y @ y.t()


def _seq_first(m: Any, x: Tensor) -> Tensor:
    return m.d(m.r(x.transpose(0, 1))[0][-1])


def _patches(m: Any, x: Tensor) -> Tensor:
    y = F.unfold(x, 2, stride=2).transpose(1, 2)
    return m.d(y).mean(1)


_ADDED = {"a": nn.Linear(4, 5), "b": nn.Linear(5, 2)}


def _graph_of(nodes: int, edges: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.zeros(nodes, 5), _ints(2, edges), torch.zeros(edges, 4)


def _given_packed(n: int) -> Any:
    return nn.utils.rnn.pack_sequence([torch.zeros(6, 4)] * n)


def _after_a_layer(m: Any, p: Any) -> Tensor:
    p = nn.utils.rnn.PackedSequence(F.relu(m.a(p.data)), p.batch_sizes, p.sorted_indices, p.unsorted_indices)
    return m.b(nn.utils.rnn.pad_packed_sequence(m.r(p)[0])[0])  # type: ignore[no-any-return]


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Any]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 4)), lambda n: torch.zeros(n, 6)),
    "conv": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)),
        lambda n: torch.zeros(n, 3, 8, 8),
    ),
    "conv1d": (lambda: nn.Conv1d(2, 4, 3, groups=2), lambda n: torch.zeros(n, 2, 9)),
    "conv3d": (lambda: nn.Conv3d(2, 4, 3), lambda n: torch.zeros(n, 2, 5, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 2, stride=2), lambda n: torch.zeros(n, 3, 4, 4)),
    "ids": (lambda: nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 3)), lambda n: _ints(n, 7)),
    "id": (lambda: nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 3)), lambda n: _ints(n)),
    "recommender": (
        lambda: Net(lambda m, u, i: m.d(torch.cat([m.u(u), m.i(i)], 1)), u=nn.Embedding(9, 3), i=nn.Embedding(9, 3), d=nn.Linear(6, 1)),
        lambda n: (_ints(n), _ints(n)),
    ),
    "bag": (lambda: nn.Sequential(nn.EmbeddingBag(9, 6), nn.Linear(6, 3)), lambda n: _ints(n, 4)),
    "lstm": (lambda: Net(lambda m, x: m.d(m.r(x)[0][:, -1]), r=nn.LSTM(6, 5, batch_first=True), d=nn.Linear(5, 2)), lambda n: torch.zeros(n, 7, 6)),
    "state": (lambda: Net(lambda m, x: m.d(m.r(x)[1][-1]), r=nn.GRU(6, 5, batch_first=True), d=nn.Linear(5, 2)), lambda n: torch.zeros(n, 7, 6)),
    "lstm sequence first": (lambda: Net(lambda m, x: m.d(m.r(x)[0]), r=nn.LSTM(6, 5), d=nn.Linear(5, 2)), lambda n: torch.zeros(7, n, 6)),
    "turned inside": (lambda: Net(_seq_first, r=nn.GRU(6, 5), d=nn.Linear(5, 2)), lambda n: torch.zeros(n, 7, 6)),
    "fed the wrong way": (lambda: Net(lambda m, x: m.d(m.r(x)[0].mean(1)), r=nn.GRU(6, 5), d=nn.Linear(5, 2)), lambda n: torch.zeros(n, 7, 6)),
    "a decoder of cells that begins with zeros": (
        lambda: Net(_decoded, e=nn.LSTM(3, 4, batch_first=True), r=nn.LSTMCell(3, 4), d=nn.Linear(4, 3)),
        lambda n: torch.zeros(n, 6, 3),
    ),
    "a decoder of cells from zero states": (
        lambda: Net(_decoded_from_zeros, r=nn.GRUCell(3, 4), d=nn.Linear(4, 3)),
        lambda n: torch.zeros(n, 3),
    ),
    "cells": (lambda: Net(_steps, r=nn.GRUCell(6, 5), d=nn.Linear(5, 2)), lambda n: torch.zeros(n, 4, 6)),
    "attention": (lambda: Net(_attend, a=nn.Linear(6, 18), b=nn.Linear(6, 6)), lambda n: torch.zeros(n, 5, 6)),
    "heads": (lambda: Net(_heads, a=nn.Linear(6, 18), b=nn.Linear(6, 6)), lambda n: torch.zeros(n, 5, 6)),
    "kernel a channel": (lambda: Net(_kernel_a_channel, a=nn.Linear(3, 27), b=nn.Conv2d(3, 2, 1)), lambda n: torch.zeros(n, 3, 8, 8)),
    "on a diagonal": (lambda: Net(_on_a_diagonal, a=nn.Linear(6, 6), b=nn.Linear(6, 6)), lambda n: torch.zeros(n, 6)),
    "folded across": (lambda: Net(_folded_across, a=nn.Conv2d(1, 8, 9, 4), b=nn.Linear(4, 4)), lambda n: torch.zeros(n, 1, 28, 28)),
    "choosing by bytes": (lambda: Net(_choosing_by_bytes, a=nn.Linear(6, 6), b=nn.Linear(6, 6)), lambda n: torch.zeros(n, 5, 6)),
    "windows": (lambda: Net(_windows, a=nn.Linear(6, 18), b=nn.Linear(6, 6)), lambda n: torch.zeros(n, 4, 4, 6)),
    "encoder": (lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), lambda n: torch.zeros(n, 5, 6)),
    "encoder sequence first": (lambda: nn.TransformerEncoderLayer(6, 2, 8), lambda n: torch.zeros(5, n, 6)),
    "decoder": (lambda: nn.TransformerDecoderLayer(6, 2, 8, batch_first=True), lambda n: (torch.zeros(n, 5, 6), torch.zeros(n, 4, 6))),
    "token": (lambda: Net(_class_token, c=nn.Conv2d(3, 6, 2, 2), d=nn.Linear(6, 6), e=nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)), lambda n: torch.zeros(n, 3, 6, 6)),
    "time first": (lambda: Net(_timed, c=nn.Conv2d(3, 4, 3), t=nn.Linear(1, 4)), lambda n: (torch.zeros(n), torch.zeros(n, 3, 8, 8))),
    "one time for all": (lambda: Net(_timed, c=nn.Conv2d(3, 4, 3), t=nn.Linear(1, 4)), lambda n: (torch.zeros(1), torch.zeros(n, 3, 8, 8))),
    "filled by rows": (lambda: Net(_loop, c=nn.Conv2d(3, 4, 3)), lambda n: torch.zeros(n, 3, 8, 8)),
    "image by image": (lambda: Net(_restacked, c=nn.Conv2d(3, 4, 3), d=nn.Linear(144, 2)), lambda n: torch.zeros(n, 3, 8, 8)),
    "slices of one sample": (lambda: Net(lambda m, x: torch.cat([m.c(x[i : i + 1]) for i in range(len(x))]), c=nn.Conv2d(3, 4, 3)), lambda n: torch.zeros(n, 3, 8, 8)),
    "split into samples": (lambda: Net(lambda m, x: torch.cat([m.c(image) for image in x.split(1)]), c=nn.Conv2d(3, 4, 3)), lambda n: torch.zeros(n, 3, 8, 8)),
    "sequences first, then one by one": (lambda: Net(lambda m, x: torch.stack([m.d(y) for y in m.r(x)[0].sum(0)]), r=nn.GRU(6, 5), d=nn.Linear(5, 2)), lambda n: torch.zeros(7, n, 6)),
    "one by one, then across channels": (lambda: Net(lambda m, x: m.d(torch.stack([m.c(y) for y in x]).view(-1, 2, 2, 64).transpose(1, 2).reshape(-1, 4, 8, 8)), c=nn.Conv2d(3, 4, 3, padding=1), d=nn.Conv2d(4, 2, 3)), lambda n: torch.zeros(n, 3, 8, 8)),
    "statistics of the batch": (lambda: Net(lambda m, x: m.a(x) * m.b(x.max(0, keepdim=True)[0] - torch.std_mean(x, 0, keepdim=True)[1]).mean(), a=nn.Linear(6, 4), b=nn.Linear(6, 5)), lambda n: torch.zeros(n, 6)),
    "unpooled": (lambda: Net(lambda m, x: m.d(F.max_unpool1d(*F.max_pool1d(m.c(x), 2, return_indices=True), 2)), c=nn.Conv1d(3, 6, 1), d=nn.Conv1d(6, 5, 1)), lambda n: torch.zeros(n, 3, 6)),
    "an operator without a row": (lambda: Net(lambda m, x: m.b(m.a(x) / torch.linalg.matrix_norm(m.a(x))[:, None, None]), a=nn.Linear(6, 6), b=nn.Linear(6, 5)), lambda n: torch.zeros(n, 4, 6)),
    "an operator without a row that changes sizes": (lambda: Net(lambda m, x: m.b(torch.linalg.lu(m.a(x))[2]), a=nn.Linear(6, 6), b=nn.Linear(6, 5)), lambda n: torch.zeros(n, 4, 6)),
    **{
        f"{f.__name__} along tokens": (lambda f=f: Net(lambda m, x: m.b(f(m.a(x), 1)[0]), a=nn.Linear(6, 6), b=nn.Linear(6, 5)), lambda n: torch.zeros(n, 4, 6))
        for f in (torch.max, torch.min, torch.median, torch.nanmedian, torch.mode, torch.var_mean, torch.std_mean)
    },
    "values of a reduction over two": (lambda: Net(lambda m, x: m.b(torch.var_mean(m.a(x).view(-1, 4, 1, 6), (1, 2))[1]), a=nn.Linear(6, 6), b=nn.Linear(6, 5)), lambda n: torch.zeros(n, 4, 6)),
    "slices written": (lambda: Net(_slices_written, c=nn.Conv2d(3, 3, 1)), lambda n: torch.zeros(n, 3, 8, 8)),
    "weights as square as a batch": (lambda: Net(lambda m, x: m.b(x @ m.a.weight.t()), a=nn.Linear(5, 5, bias=False), b=nn.Linear(5, 3)), lambda n: torch.zeros(n, 5)),
    "samples as groups": (lambda: Net(_grouped_samples, a=nn.Linear(3, 18)), lambda n: torch.zeros(n, 3, 6, 6)),
    "modulated": (lambda: Net(_modulated, a=nn.Linear(6, 4), w=nn.Conv2d(3, 4, 3), start=nn.Linear(6, 8), d=nn.Conv2d(4, 2, 1)), lambda n: torch.zeros(n, 6)),
    "beams": (lambda: Net(_beams, e=nn.Embedding(9, 6), r=nn.GRUCell(6, 5), d=nn.Linear(5, 9)), lambda n: torch.zeros(n, 5)),
    "guidance": (lambda: Net(_guided, c=nn.Conv2d(3, 4, 3)), lambda n: torch.zeros(n, 3, 8, 8)),
    "patches": (lambda: Net(_patches, d=nn.Linear(12, 5)), lambda n: torch.zeros(n, 3, 8, 8)),
    "contrast": (lambda: Net(_contrast, a=nn.Linear(6, 4)), lambda n: torch.zeros(n, 6)),
    "deviation": (lambda: Net(_minibatch_deviation, c=nn.Conv2d(3, 4, 3), d=nn.Conv2d(5, 4, 1)), lambda n: torch.zeros(n, 3, 8, 8)),
    "siamese": (lambda: Net(lambda m, a, b: (m.c(a).flatten(1) - m.c(b).flatten(1)).abs(), c=nn.Conv2d(1, 2, 3)), lambda n: (torch.zeros(n, 1, 5, 5), torch.zeros(n, 1, 5, 5))),
    "einsum": (lambda: Net(lambda m, x: torch.einsum("btc,dc->bdt", x, m.a.weight), a=nn.Linear(6, 4)), lambda n: torch.zeros(n, 5, 6)),
    "video": (lambda: Net(lambda m, x: m.c(x.flatten(0, 1)).view(*x.shape[:2], -1).mean(1), c=nn.Conv2d(3, 4, 3)), lambda n: torch.zeros(n, 2, 3, 5, 5)),
    "loss": (lambda: Net(lambda m, x, y: F.cross_entropy(m.a(x), y), a=nn.Linear(6, 4)), lambda n: (torch.zeros(n, 6), _ints(n))),
    "bilinear": (lambda: nn.Bilinear(3, 4, 5), lambda n: (torch.zeros(n, 3), torch.zeros(n, 4))),
    "upsampled": (lambda: Net(lambda m, x: m.c(F.interpolate(x, scale_factor=2)), c=nn.Conv2d(3, 4, 3)), lambda n: torch.zeros(n, 3, 4, 4)),
    "shuffled": (lambda: Net(lambda m, x: m.c(F.pixel_shuffle(x, 2)), c=nn.Conv2d(1, 4, 3)), lambda n: torch.zeros(n, 4, 4, 4)),
    "packed": (lambda: Net(_packed(True), r=nn.LSTM(4, 5, 2, batch_first=True), a=nn.Linear(4, 4), b=nn.Linear(5, 2)), lambda n: (torch.zeros(n, 6, 4), _ints(n) + 6)),
    "packed time first": (lambda: Net(_packed(False), r=nn.GRU(4, 5, bidirectional=True), a=nn.Linear(4, 4), b=nn.Linear(10, 2)), lambda n: (torch.zeros(6, n, 4), _ints(n) + 6)),
    "given packed": (lambda: Net(lambda m, p: m.b(m.r(p)[1][0][-1]), r=nn.LSTM(4, 5, 2, batch_first=True), b=nn.Linear(5, 2)), lambda n: (_given_packed(n),)),
    "given packed, a layer first": (lambda: Net(_after_a_layer, a=nn.Linear(4, 4), r=nn.GRU(4, 5, bidirectional=True), b=nn.Linear(10, 2)), lambda n: (_given_packed(n),)),
    "given packed with targets": (lambda: Net(lambda m, p, y: F.cross_entropy(m.b(m.r(p)[1][0]), y), r=nn.GRU(4, 5), b=nn.Linear(5, 2)), lambda n: (_given_packed(n), _ints(n))),
    "a list of images": (lambda: Net(lambda m, xs: [m.c(x[None]) for x in xs], c=nn.Conv2d(3, 4, 3)), lambda n: ([torch.zeros(3, 8, 8) for _ in range(n)],)),
    "a list, stacked": (lambda: Net(lambda m, xs: m.c(torch.stack(xs)).mean((2, 3)), c=nn.Conv2d(3, 4, 3)), lambda n: ([torch.zeros(3, 8, 8) for _ in range(n)],)),
    "a list of sequences": (lambda: Net(lambda m, xs: m.b(m.r(m.a(nn.utils.rnn.pad_sequence(xs)))[0]), a=nn.Linear(6, 5), r=nn.GRU(5, 4), b=nn.Linear(4, 2)), lambda n: ([torch.zeros(7, 6) for _ in range(n)],)),
    "a list, padded": (lambda: Net(_batched, c=nn.Conv2d(3, 4, 3)), lambda n: ([torch.zeros(3, 8, 8) for _ in range(n)],)),
    "edges": (lambda: Net(_edges, a=nn.Linear(10, 8), b=nn.Linear(8, 2)), lambda n: (torch.zeros(3 * n, 5), _ints(2, 6 * n))),
    "edges' attributes": (lambda: Net(_edges_added, **_ADDED), lambda n: _graph_of(3 * n, 6 * n)),
    "edges' attributes first": (lambda: Net(_edges_as_rows, a=nn.Linear(14, 5)), lambda n: (torch.zeros(6 * n, 4), _ints(6 * n, 2), torch.zeros(3 * n, 5))),
    "edges' attributes alone": (lambda: Net(_edges_only, a=nn.Linear(4, 6), b=nn.Linear(6, 2), c=nn.Linear(5, 6)), lambda n: _graph_of(3 * n, 6 * n)),
    "edges of kinds": (lambda: Net(_edges_of_kinds, a=nn.Linear(5, 15), b=nn.Linear(5, 5)), lambda n: (torch.zeros(3 * n, 5), _ints(2, 6 * n), _ints(6 * n))),
    "edges attended": (lambda: Net(_edges_attended, a=nn.Linear(4, 6), q=nn.Linear(5, 6), k=nn.Linear(5, 6), b=nn.Linear(6, 2)), lambda n: _graph_of(3 * n, 6 * n)),
    "edges' gates": (lambda: Net(_edges_gated, a=nn.Linear(5, 6), b=nn.Linear(15, 2), c=nn.Linear(4, 3)), lambda n: _graph_of(3 * n, 6 * n)),
    "edges of atoms": (lambda: Net(lambda m, z, e, a: _edges_added(m, m.z(z), e, a), z=nn.Embedding(9, 5), **_ADDED), lambda n: (_ints(3 * n), *_graph_of(3 * n, 6 * n)[1:])),
    "several graphs": (lambda: Net(_several_graphs, w=nn.Linear(3, 5), d=nn.Linear(2, 4), **_ADDED), lambda n: (torch.zeros(2 * n, 3), *_graph_of(6 * n, 10 * n), _ints(6 * n))),
    "a table to look up in": (lambda: Net(lambda m, i, x, table: m.a(table[i]) + m.b(x), a=nn.Linear(5, 3), b=nn.Linear(4, 3)), lambda n: (_ints(n), torch.zeros(n, 4), torch.zeros(7, 5))),
    "computed where a mask says": (lambda: Net(_where_masked, a=nn.Linear(4, 6), b=nn.Linear(6, 2)), lambda n: (torch.zeros(n, 5, 4), torch.ones(n, 5, dtype=torch.bool))),
    "written through a view": (lambda: Net(_added_through_a_view, a=nn.Linear(4, 6), b=nn.Linear(6, 2)), lambda n: torch.zeros(n, 4)),
    "spectra": (lambda: Net(_spectra, c=nn.Conv2d(2, 3, 3)), lambda n: torch.zeros(n, 64)),
    "texts with images": (lambda: Net(lambda m, t, i: m.a(t) @ m.b(i).T, a=nn.Linear(4, 6), b=nn.Linear(5, 6)), lambda n: (torch.zeros(n, 4), torch.zeros(n, 5))),
    "a cache that is empty yet": (lambda: Net(lambda m, x: m.b(torch.cat([x.new_zeros(0), m.a(x)], -1)), a=nn.Linear(6, 4), b=nn.Linear(4, 3)), lambda n: torch.zeros(n, 5, 6)),
    "cut to nothing": (lambda: Net(lambda m, x: m.a(torch.cat([x[:, :0], x], 1)), a=nn.Linear(6, 4)), lambda n: torch.zeros(n, 5, 6)),
    "gate": (lambda: Net(lambda m, x: m.c(x) * m.a(x.mean((2, 3))).sigmoid()[..., None, None], c=nn.Conv2d(3, 4, 3), a=nn.Linear(3, 4)), lambda n: torch.zeros(n, 3, 6, 6)),
}  # fmt: skip


def _numbers(model: nn.Module, data: Any) -> tuple[float, float, float]:
    score = sed_torch.score(model, input_data=data, frontend="fx")
    return score.macs, score.coverage, score.total if score.total is not None else -1.0


@pytest.mark.parametrize("name", CASES)
def test_nothing_depends_on_the_batch_size(name: str) -> None:
    build, data = CASES[name]
    model = build().eval()
    expected = _numbers(model, data(1))
    for n in (2, 3, 5, 8):
        assert _numbers(model, data(n)) == pytest.approx(expected, rel=1e-9), n


def test_sequences_of_several_lengths_are_the_samples() -> None:
    """Nothing but a layer at each step: of a list whose entries differ in length, the entries are what there is."""
    model = Net(lambda m, xs: m.a(nn.utils.rnn.pad_sequence(xs, batch_first=True)), a=nn.Linear(6, 5))
    for lengths in ((4, 3), (4, 2, 1), (3, 4, 4, 2)):
        score = sed_torch.score(model, input_data=([torch.zeros(k, 6) for k in lengths],), frontend="fx")
        assert score.macs == 4 * 6 * 5
        assert any(
            f"the samples are the {len(lengths)} entries of the list" in words for words in score.assumed
        )


@pytest.mark.parametrize("entries", [1, 2, 3])
@pytest.mark.parametrize(
    "body",
    [
        lambda m, xs: [m.a(m.e(x)).mean(0) for x in xs],
        lambda m, xs: m.a(m.e(nn.utils.rnn.pad_sequence(xs, batch_first=True))).mean(1),
        lambda m, xs: torch.stack([m.a(m.e(x)).amax(0) for x in xs]),
    ],
)
def test_sequences_of_tokens_that_end_in_one_number_each_are_the_samples(body: Any, entries: int) -> None:
    model = Net(body, e=nn.Embedding(9, 4), a=nn.Linear(4, 5))
    score = sed_torch.score(model, input_data=([_ints(7) for _ in range(entries)],))
    assert score.macs == 7 * 4 * 5
    assert score.assumed


def test_a_list_of_features_holds_the_samples_in_each() -> None:
    """As recommenders are given them: all that begins with a sample a row ends with one."""
    model = Net(
        lambda m, xs: m.a(torch.cat([m.e(x) for x in xs], 1)), e=nn.Embedding(9, 4), a=nn.Linear(12, 5)
    )
    for n in (1, 4):
        assert sed_torch.score(model, input_data=([_ints(n) for _ in range(3)],)).macs == 12 * 5


# -- where it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "batch", "dims"),
    [
        ("conv", 5, {"x0": 0}),
        ("id", 5, {"x0": 0}),
        ("encoder sequence first", 5, {"x0": 1}),
        ("time first", 5, {"x0": 0, "x1": 0}),
        ("one time for all", 5, {"x0": None, "x1": 0}),
        ("video", 5, {"x0": 0}),
    ],
)
def test_it_is_told_for_each_input(name: str, batch: int, dims: dict[str, int | None]) -> None:
    build, data = CASES[name]
    graph = trace(build(), input_data=data(5))
    assert (graph.batch, dict(graph.batch_dims)) == (batch, dims)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (nn.Conv2d(3, 4, 3), (3, 8, 8)),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3)), (3, 12, 12)),
        (nn.Conv1d(8, 4, 3), (8, 20)),
        (nn.Linear(6, 4), (6,)),
        (nn.GRU(6, 5), (7, 6)),
        (Net(lambda m, x: m.c(x.permute(2, 0, 1)[None]), c=nn.Conv2d(3, 4, 3)), (8, 8, 3)),
        (Net(lambda m, x: m.c(x[None]).mean((2, 3)), c=nn.Conv2d(3, 4, 3)), (3, 8, 8)),
    ],
)
def test_an_input_without_a_batch_is_one_sample(model: nn.Module, size: tuple[int, ...]) -> None:
    score = sed_torch.score(model, input_data=torch.zeros(size))
    batched = trace(model, input_data=torch.zeros(size))
    assert batched.batch == 1
    assert any("no batch dimension" in words for words in score.assumed)


def test_an_unbatched_image_costs_what_a_batch_of_one_does() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    alone = sed_torch.score(model, input_data=torch.zeros(3, 8, 8))
    one = sed_torch.score(model, input_size=(1, 3, 8, 8))
    assert alone.macs == one.macs == 36 * 108 + 16 * 72
    assert float(alone) == pytest.approx(float(one))


def test_edges_before_nodes_do_not_pass_for_a_batch() -> None:
    model = Net(_graph, a=nn.Linear(6, 8), b=nn.Linear(8, 3)).eval()
    edges, x = torch.zeros(2, 20, dtype=torch.int64), torch.zeros(7, 6)
    score = sed_torch.score(model, input_data=(edges, x))
    assert score.macs == 6 * 8 + 8 * 3  # a node
    assert any("dimension 0 of x1" in words for words in score.assumed)


@pytest.mark.parametrize("nodes", [7, 2, 20])
@pytest.mark.parametrize(
    "name",
    ["edges' attributes", "edges' attributes alone", "edges attended", "edges' gates", "edges of kinds"],
)
def test_what_edges_cost_is_shared_out_among_the_nodes(name: str, nodes: int) -> None:
    model = CASES[name][0]()
    x, edges, attributes = _graph_of(nodes, 20)
    data = (x, edges, _ints(20) if name == "edges of kinds" else attributes)
    with FlopCounterMode(display=False) as counter:
        model(*data)
    score = sed_torch.score(model, input_data=data)
    assert score.macs * nodes == pytest.approx(counter.get_total_flops() / 2)
    if nodes != 20:
        assert any(
            f"dimension 0 of x0 ({nodes}), as the nodes of a graph" in words for words in score.assumed
        )


def test_nodes_pooled_into_graphs_are_still_counted_once() -> None:
    model = Net(_pooled, d=nn.Linear(2, 4, bias=False), **_ADDED)
    score = sed_torch.score(model, input_data=(*_graph_of(7, 20), _ints(7)))
    assert score.macs * 7 == pytest.approx(20 * 4 * 5 + 7 * 5 * 2 + 2 * 2 * 4)


@pytest.mark.parametrize(
    ("model", "data", "macs"),
    [
        (
            Net(_two_kinds, a=nn.Linear(5, 6), b=nn.Linear(4, 6), c=nn.Linear(6, 2)),
            (torch.zeros(7, 5), torch.zeros(9, 4), _ints(2, 20)),
            7 * 5 * 6 + 9 * 4 * 6 + 9 * 6 * 2,
        ),
        (
            Net(_edges_and_attention, t=Net(_attend, a=nn.Linear(5, 15), b=nn.Linear(5, 2)), **_ADDED),
            _graph_of(7, 20),
            20 * 4 * 5 + 7 * 5 * 2 + 7 * (5 * 15 + 5 * 2) + 2 * 7 * 7 * 5,
        ),
        (
            Net(_edges_and_attention_on_a_padded_batch, t=Net(_attend, a=nn.Linear(5, 15), b=nn.Linear(5, 2)), **_ADDED),
            (*_graph_of(7, 20), _ints(7)),
            20 * 4 * 5 + 7 * 5 * 2 + 12 * (5 * 15 + 5 * 2) + 2 * 12 * 12 * 5,
        ),
    ],
    ids=["two kinds of nodes", "attention among nodes", "attention among padded nodes"],
)  # fmt: skip
def test_a_graph_whose_nodes_are_no_samples_is_one(model: nn.Module, data: Any, macs: int) -> None:
    score = sed_torch.score(model, input_data=data)
    assert score.macs == macs
    assert any("is one sample" in words for words in score.assumed)


def _propagate(product: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any, Tensor, Tensor], Tensor]:
    return lambda m, x, adjacency: m.b(product(adjacency, m.a(x)))


@pytest.mark.parametrize(
    "product",
    [torch.mm, torch.sparse.mm, torch.spmm, torch.matmul, lambda a, x: torch.einsum("ij,jf->if", a, x)],
)
@pytest.mark.parametrize("layout", [torch.strided, torch.sparse_coo])
def test_the_nodes_that_a_matrix_of_neighbours_joins_are_the_samples(product: Any, layout: Any) -> None:
    model = Net(_propagate(product), a=nn.Linear(6, 8, bias=False), b=nn.Linear(8, 3, bias=False))
    for n in (5, 6, 9):
        neighbours = torch.zeros(n, n) if layout is torch.strided else torch.zeros(n, n).to_sparse()
        score = sed_torch.score(model, input_data=(torch.zeros(n, 6), neighbours))
        assert score.macs == 6 * 8 + n * 8 + 8 * 3  # a node
        assert any("passes messages along" in words for words in score.assumed)
        assert any("as if it were dense" in words for words in score.assumed) == (layout != torch.strided)


def test_a_square_batch_times_weights_that_are_given_is_no_graph() -> None:
    model = Net(lambda m, x, w: m.a(x @ w), a=nn.Linear(4, 3, bias=False))
    for n in (2, 8):
        score = sed_torch.score(model, input_data=(torch.zeros(n, 8), torch.zeros(8, 4)))
        assert score.macs == 8 * 4 + 4 * 3


def test_samples_that_are_mixed_are_read_one_by_one_and_that_is_said() -> None:
    build, data = CASES["fed the wrong way"]
    score = sed_torch.score(build(), input_data=data(4))
    assert any("one sample of 4 was read" in words for words in score.assumed)


def test_where_the_samples_lie_in_every_tensor() -> None:
    graph = trace(CASES["heads"][0](), input_data=torch.zeros(4, 5, 6))
    axes = find_batch(graph)
    weights = next(n for n in graph if n.op == "softmax")
    split = next(n for n in graph if n.op == "permute")
    assert (axes.dims(weights.name), axes.dims(split.name)) == ((0,), (1,))
    assert axes.mixing == ()


def test_what_mixes_samples_is_named() -> None:
    model = Net(lambda m, x: m.a(x).softmax(0), a=nn.Linear(6, 4))
    assert find_batch(trace(model, input_data=torch.zeros(4, 6))).batch == 1  # one sample was read
    [mixing] = find_batch(trace(model, input_size=(1, 6), batch=4)).mixing
    assert (mixing.how, mixing.strong) == ("takes a softmax over", True)
    graph = trace(Net(lambda m, x: m.a(x).sum(0), a=nn.Linear(6, 4)), input_data=torch.zeros(4, 6))
    assert [m.how for m in find_batch(graph).mixing] == ["reduces"]


class LoopsLeftOut(nn.Module):
    """Messages along edges, of which those from a node to itself are replaced; perhaps attention between all nodes."""

    def __init__(self, attends: bool) -> None:
        super().__init__()
        self.mix, self.attends = nn.Linear(8, 4), attends

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        edges = edge_index[:, edge_index[0] != edge_index[1]]
        edges = torch.cat([edges, torch.arange(len(x)).repeat(2, 1)], 1)
        y = self.mix(x)
        y = torch.zeros_like(y).index_add(0, edges[1], y[edges[0]])
        return (y @ y.T).softmax(-1) @ y if self.attends else y


@pytest.mark.parametrize("attends", [False, True])
def test_edges_that_a_known_mask_chooses_are_still_edges(attends: bool) -> None:
    edge_index = torch.randint(0, 20, (2, 60), generator=torch.Generator().manual_seed(0))
    edge_index[:, 0] = 3  # one loop at least
    graph = trace(LoopsLeftOut(attends), input_data=(torch.zeros(20, 8), edge_index), frontend="fx")
    assert graph.batch_dims["x1"] is None
    assert graph.batch == (1 if attends else 20)
