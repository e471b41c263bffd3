"""Random networks as specifications, in several spellings, and what is compared of their scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings, strategies as st
from torch import Tensor, nn

import sed_torch
from sed_torch import Score, Topology, TopologyBuilder
from sed_torch.building import Value

Spec = tuple[Any, ...]


SIZE, CHANNELS = 12, 4

laws = settings(
    derandomize=True,
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


few = settings(laws, max_examples=6)


def _conv(strides: list[int], widths: list[int | None]) -> st.SearchStrategy[Spec]:
    return st.tuples(
        st.just("conv"),
        st.sampled_from([1, 3, 5]),
        st.sampled_from(strides),
        st.sampled_from([1, 2]),
        st.sampled_from([1, 2, 0]),  # groups; 0: depthwise
        st.sampled_from(widths),
    )


def _pool(strides: list[int]) -> st.SearchStrategy[Spec]:
    return st.tuples(st.just("pool"), st.sampled_from(["avg", "max"]), st.sampled_from(strides))


_plain = st.one_of(
    st.just(("norm",)), st.tuples(st.just("act"), st.sampled_from(["relu", "gelu"])), st.just(("se",))
)


def _branch(widths: list[int | None]) -> st.SearchStrategy[tuple[Spec, ...]]:
    """Size stays; channels do too when ``widths`` is [None]."""
    return st.lists(st.one_of(_conv([1], widths), _pool([1]), _plain), max_size=3).map(tuple)


_add = st.tuples(st.just("add"), st.lists(_branch([None]), min_size=2, max_size=3).map(tuple))


_cat = st.tuples(st.just("cat"), st.lists(_branch([None, 6]), min_size=2, max_size=3).map(tuple))


_body = st.lists(
    st.one_of(_conv([1, 2], [None, 4, 8]), _pool([1, 2]), _plain, _add, _cat, st.just(("up",))),
    min_size=1,
    max_size=5,
).map(tuple)


networks = _body.map(lambda body: (*body, ("conv", 3, 1, 1, 1, 8), ("head",)))


without_gates = networks.filter(lambda spec: "'se'" not in repr(spec) and "'up'" not in repr(spec))


class Merge(nn.Module):
    def __init__(self, kind: str, branches: list[nn.Module], reverse: bool) -> None:
        super().__init__()
        self.kind, self.branches = kind, nn.ModuleList(branches[::-1] if reverse else branches)

    def forward(self, x: Tensor) -> Tensor:
        values = [b(x) for b in self.branches]
        if self.kind == "cat":
            return torch.cat(values, 1)
        total = values[0]
        for v in values[1:]:
            total = total + v
        return total


class SqueezeExcite(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(c, 2, 1), nn.Conv2d(2, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class Head(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.fc = nn.Linear(c, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Guise:
    """How the same network is written."""

    identities: bool = False
    names: str = ""
    nested: bool = False
    reverse: bool = False


def _channels(op: Spec, c: int) -> tuple[int, int]:
    """(output channels, groups) of a conv."""
    groups, width = op[4], op[5]
    c_out = c if width is None or groups == 0 else width
    groups = c if groups == 0 else groups
    return c_out, groups if c % groups == 0 and c_out % groups == 0 else 1


def _module(op: Spec, c: int, guise: Guise) -> tuple[nn.Module, int]:
    kind = op[0]
    if kind == "conv":
        _, k, stride, dilation, *_ = op
        c_out, groups = _channels(op, c)
        pad = dilation * (k - 1) // 2
        return nn.Conv2d(c, c_out, k, stride, pad, dilation, groups, bias=False), c_out
    if kind == "pool":
        pool = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}[op[1]]
        return pool(3, op[2], 1), c
    if kind == "act":
        return {"relu": nn.ReLU(), "gelu": nn.GELU()}[op[1]], c
    if kind in ("add", "cat"):
        built = [_network(branch, c, guise) for branch in op[1]]
        c_out = sum(n for _, n in built) if kind == "cat" else c
        return Merge(kind, [m for m, _ in built], guise.reverse), c_out
    if kind == "head":
        return Head(c), 10
    simple: dict[str, Callable[[], nn.Module]] = {
        "norm": lambda: nn.BatchNorm2d(c),
        "se": lambda: SqueezeExcite(c),
        "up": lambda: nn.Upsample(scale_factor=2, mode="nearest"),
    }
    return simple[kind](), c


def _network(ops: tuple[Spec, ...], c: int, guise: Guise) -> tuple[nn.Module, int]:
    net = nn.Sequential()
    for i, op in enumerate(ops):
        module, c = _module(op, c, guise)
        if guise.nested:
            module = nn.Sequential(nn.Sequential(module))
        if guise.identities:
            module = nn.Sequential(nn.Identity(), module, nn.Dropout(0.5))
        net.add_module(f"{guise.names}{i}", module)
    return net, c


def build(spec: tuple[Spec, ...], guise: Guise | None = None) -> nn.Module:
    with torch.device("meta"):
        return _network(spec, CHANNELS, guise or Guise())[0]


def write_down(spec: tuple[Spec, ...]) -> Topology:
    """The same network by hand."""
    b = TopologyBuilder()

    def run(ops: tuple[Spec, ...], x: Value) -> Value:
        for op in ops:
            x = step(op, x)
        return x

    def step(op: Spec, x: Value) -> Value:
        if op[0] == "conv":
            _, k, stride, dilation, *_ = op
            c_out, groups = _channels(op, x.channels)
            pad = dilation * (k - 1) // 2
            return b.conv(x, c_out, k, stride=stride, padding=pad, dilation=dilation, groups=groups)
        if op[0] == "pool":
            # a pool that leaves one position averages over all of them, as the tracer sees it
            if max(x.size) > 1 and all((n - 1) // op[2] == 0 for n in x.size):
                size = b.global_pool(x)
                return Value(size.index, x.channels, (1, 1))
            return b.pool(x, 3, stride=op[2], padding=1)
        if op[0] == "norm":
            return b.norm(x)
        if op[0] == "act":
            return x
        if op[0] == "head":
            return b.linear(b.global_pool(x), 10)
        merged = [run(branch, x) for branch in op[1]]
        return b.add(*merged) if op[0] == "add" else b.cat(*merged)

    return b.finish(run(spec, b.input(CHANNELS, (SIZE, SIZE))))


def score(model: nn.Module, batch: int = 1, **options: Any) -> Score:
    return sed_torch.score(model, input_size=(batch, CHANNELS, SIZE, SIZE), **options)


def numbers(s: Score) -> list[float | None]:
    return [s.total, s.conv, s.pool, s.skip, s.suppression, float(s.params), s.macs]


def assert_same(a: Score, b: Score, *, skips: bool = True) -> None:
    left, right = numbers(a), numbers(b)
    if not skips:
        left[3] = right[3] = 0.0
    assert left == pytest.approx(right, rel=1e-9, abs=1e-9)


GUISES = {
    "identities": Guise(identities=True),
    "names": Guise(names="layer_"),
    "nesting": Guise(nested=True),
    "order of branches": Guise(reverse=True),
    "all": Guise(True, "x", True, True),
}


def _pooled_before(spec: tuple[Spec, ...]) -> Iterator[tuple[Spec, ...]]:
    """The network with one more 3×3 mean, at each convolution of more than one tap in turn."""
    for i, op in enumerate(spec):
        if op[0] == "conv" and op[1] > 1:
            yield (*spec[:i], ("pool", "avg", 1), *spec[i:])
        elif op[0] in ("add", "cat"):
            for j, branch in enumerate(op[1]):
                for changed in _pooled_before(branch):
                    yield (*spec[:i], (op[0], (*op[1][:j], changed, *op[1][j + 1 :])), *spec[i + 1 :])
