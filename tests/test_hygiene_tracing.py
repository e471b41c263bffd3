"""The state law: a trace leaves the model as found, and all that its forward can reach."""

from __future__ import annotations

import functools
import gc
import os
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import SedTorchError

CACHE: dict[Any, Any] = {}
SEEN: list[Any] = []
TABLE: Tensor | None = None
COUNT = 0


@functools.lru_cache(None)
def _unbounded(n: int) -> Tensor:
    return torch.arange(n) * torch.ones(n)


@functools.lru_cache(8)
def _bounded(n: int, dtype: torch.dtype) -> Tensor:
    return torch.zeros(n, dtype=dtype) + torch.rand(n)


def _with_default(x: Tensor, kept: list[Any] = []) -> None:  # noqa: B006 a cache that people do write
    kept.append(x)


def _closure() -> Callable[[Tensor], Tensor]:
    last: dict[str, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        return last.setdefault("x", x)

    return keep


_kept_in_closure = _closure()


class _Rope:
    made: Any = None
    tables: dict[int, Tensor] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.table: Tensor | None = None
        self.inner = types.SimpleNamespace(table=None)

    def get(self, x: Tensor) -> Tensor:
        self.table = x.cos() if self.table is None else self.table
        self.inner.table = self.table
        type(self).made = self.table
        self.tables[len(self.tables)] = self.table
        return self.table


ROPE = _Rope()


class _Slotted:
    __slots__ = ("table",)


class _Of(nn.Module):
    shared: dict[str, Any] = {}  # noqa: RUF012
    calls = 0

    def __init__(self, ways: tuple[str, ...]) -> None:
        super().__init__()
        self.f = nn.Linear(4, 4)
        self.ways = ways
        self.log: list[Any] = []
        self.helper = _Rope()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.f(x)
        for way in self.ways:
            WAYS[way](self, y)
        return y


def _global_name(m: _Of, y: Tensor) -> None:
    global TABLE, COUNT
    TABLE = y if TABLE is None else TABLE
    COUNT += 1


def _global_dict(m: _Of, y: Tensor) -> None:
    CACHE[y.shape] = y
    CACHE.setdefault("nested", {"list": []})["list"].append(y)


def _global_switches(m: _Of, y: Tensor) -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    os.environ["SED_TORCH_TEST_OF_STATE"] = "set"
    warnings.filterwarnings("ignore", "no such warning of a test of state")


def _class_attributes(m: _Of, y: Tensor) -> None:
    type(m).calls += 1
    _Of.shared["y"] = y


def _module_attributes(m: _Of, y: Tensor) -> None:
    m.log.append(y)
    m.last = y
    m.seen.add_(1)
    m.helper.get(y)


WAYS: dict[str, Callable[[_Of, Tensor], Any]] = {
    "a global name": _global_name,
    "a global dict": _global_dict,
    "a global list": lambda m, y: SEEN.append(y),
    "switches": _global_switches,
    "class attributes": _class_attributes,
    "a module's attributes": _module_attributes,
    "a global object": lambda m, y: ROPE.get(y),
    "lru_cache": lambda m, y: (_unbounded(y.shape[-1]), _bounded(y.shape[-1], torch.float32)),
    "a default argument": lambda m, y: _with_default(y),
    "a closure": lambda m, y: _kept_in_closure(y),
    "a function's attribute": lambda m, y: _closure.__dict__.update(y=y),
    "a hook added": lambda m, y: m.f.register_forward_hook(lambda *_: None),
    "a layer added": lambda m, y: m.add_module("more", nn.Linear(2, 2)),
    "a parameter replaced": lambda m, y: setattr(m.f, "bias", None),
}


def _state(model: _Of) -> Any:
    """Identities of all that is kept anywhere, and the process's switches."""
    functions = (_with_default.__defaults__, _kept_in_closure.__closure__, _closure.__dict__)
    caches = [_unbounded(4).device, _bounded(4, torch.float32).device]  # constants of the forward may stay
    held = (
        TABLE, COUNT, CACHE, SEEN, _Of.shared, _Of.calls, _Rope.made, _Rope.tables, vars(ROPE), functions,
        model.log, vars(model.helper), caches,
    )  # fmt: skip
    tensors = {k: (id(v), v._version) for k, v in model.state_dict(keep_vars=True).items()}
    switches = (
        torch.get_default_dtype(), torch.get_num_threads(), torch.backends.cudnn.benchmark, torch.get_rng_state(),
        dict(os.environ), list(warnings.filters),
    )  # fmt: skip
    names = [(n, sorted(m.__dict__), len(m._forward_hooks)) for n, m in model.named_modules()]
    return repr((held, tensors, switches, names))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(WAYS)), min_size=1, max_size=5, unique=True).map(tuple),
    st.booleans(),
)
def test_a_trace_leaves_everything_in_reach_as_found(ways: tuple[str, ...], fails: bool) -> None:
    model = _Of(ways)
    if fails:
        model.f.register_forward_pre_hook(lambda *_: torch.zeros(2, 3))
    before = _state(model)
    try:
        sed_torch.trace(model, input_size=(2, 4), frontend="fx")
    except SedTorchError:
        assert fails or "a parameter replaced" in ways
    assert _state(model) == before


@pytest.mark.parametrize("frontend", ["fx", "export"])
def test_export_leaves_them_too(frontend: Any) -> None:
    model = _Of(("a global dict", "class attributes", "a global object"))
    before = _state(model)
    sed_torch.trace(model, input_size=(2, 4), frontend=frontend)
    assert _state(model) == before
    assert model(torch.randn(2, 4)).device.type == "cpu"
    for kept in (CACHE, _Of.shared, _Rope.tables):
        kept.clear()
    ROPE.__init__()  # type: ignore[misc]
    _Rope.made, _Of.calls = None, 0


def test_a_hook_s_own_lists_are_left_also_those_of_global_hooks() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model[0].register_forward_hook(lambda m, i, o: SEEN.append(o))
    handle = nn.modules.module.register_module_forward_hook(lambda m, i, o: SEEN.append(o))
    try:
        sed_torch.score(model, input_size=(2, 4))
    finally:
        handle.remove()
    assert SEEN == []


def test_the_end_of_a_copy_ends_nothing_of_the_model_s() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enc = nn.Linear(4, 4)
            self.kept: dict[str, Tensor] = {}
            self.handles = [self.enc.register_forward_hook(lambda m, i, o: self.kept.update(s=o))]

        def forward(self, x: Tensor) -> Tensor:
            return self.enc(x) + self.kept["s"]

        def __del__(self) -> None:
            for handle in self.handles:
                handle.remove()

    model = Skips()
    sed_torch.score(model, input_size=(2, 4))
    gc.collect()
    assert len(model.enc._forward_hooks) == 1


def test_a_cache_handed_in_keeps_its_length_and_device() -> None:
    class Cache:
        def __init__(self) -> None:
            self.keys: list[Tensor] = [torch.randn(2, 3, 4)]
            self.slots = _Slotted()
            self.slots.table = None  # type: ignore[attr-defined]

        def __del__(self) -> None:
            SEEN.append("closed")

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = nn.Linear(4, 4)

        def forward(self, x: Tensor, cache: Cache) -> Tensor:
            cache.keys[0] = torch.cat([cache.keys[0], self.f(x)], 1)
            cache.slots.table = cache.keys[0]  # type: ignore[attr-defined]
            return cache.keys[0]

    cache = Cache()
    old = cache.keys[0]
    found = sed_torch.score(Decoder(), input_data=(torch.randn(2, 1, 4), cache))
    gc.collect()
    assert found.inputs == ((2, 1, 4), (2, 3, 4))
    assert cache.keys[0] is old
    assert cache.slots.table is None  # type: ignore[attr-defined]
    assert SEEN == []


def test_deterministic_algorithms_refuse_nothing_here_and_stay_on() -> None:
    class Histogram(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.f(x)
            return y + y.median(1, keepdim=True)[0]

    torch.use_deterministic_algorithms(True)
    try:
        assert sed_torch.trace(Histogram(), input_size=(2, 4)).frontend == "fx"
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_modules_that_name_each_other_in_circles_are_passed_once() -> None:
    """As packages are, whose parts import the whole: each of them is an attribute of the other."""
    first, second = types.ModuleType("a_circle"), types.ModuleType("a_circle.part")
    first.second, second.first = second, first  # type: ignore[attr-defined]
    code = (
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.mix = nn.Linear(4, 4)\n"
        "    def forward(self, x):\n        return self.mix(x) if second.first.second else first.second\n"
    )
    space = vars(first)
    exec(code, space)  # the forward's globals are those of the first module
    vars(second)["second"] = second
    net = space["Net"]()
    assert sed_torch.score(net, input_size=(1, 4)).macs == 16
