"""The operator table: every spelling exists, none is claimed twice, every rule lowers; users may add rows."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sed_torch
from sed_torch.attributes import KINDS, Conv, Linear
from sed_torch.errors import GraphError, RuleError, UnsupportedOpError
from sed_torch.graph import Graph, Node
from sed_torch.lowering import LOWERINGS
from sed_torch.ops import OPS, Op, Registry, RuleName, canonical, lookup, table
from sed_torch.tracing import calls

FAMILIES = {
    # rows of several dimensions, named after what they have in common
    *("conv", "deform_conv", "conv_transpose", "max_pool", "avg_pool", "lp_pool", "max_unpool", "roi"),
    *("adaptive_avg_pool", "adaptive_max_pool", "fractional_max_pool", "rnn", "rnn_cell"),
    # Tensor.__getitem__ and __setitem__, and what the tracer itself records
    *("getitem", "setitem", "opaque", "autograd_grad"),
}
ELSEWHERE = {
    "weight_norm": "torch.nn.utils.weight_norm",
    "flex_attention": "torch.nn.attention.flex_attention",
    "refine_names": "Tensor.refine_names until torch 2.13",
    "rename": "Tensor.rename until torch 2.13",
}
SINCE = {
    # what the oldest torch that is supported does not have
    "_safe_softmax": "2.5",
    "_fused_rms_norm": "2.8",
    "grouped_mm": "2.10",
    "_grouped_mm": "2.8",
}


def _exists(spelling: str) -> bool:
    spaces: list[Any] = [torch, F, torch.Tensor, torch.fft, torch.linalg, torch.ops.aten]
    try:
        import torchvision.ops
    except ModuleNotFoundError:
        pass
    else:
        spaces += [torch.ops.torchvision, torchvision.ops]
    # in-place operators are looked up without their underscore
    return any(hasattr(space, name) for space in spaces for name in (spelling, f"{spelling}_"))


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")[:2]))


# -- the table -----------------------------------------------------------------------------------------------


def test_every_spelling_names_something() -> None:
    pytest.importorskip("torchvision")
    to_come = {s for s, version in SINCE.items() if _version(torch.__version__) < _version(version)}
    known = FAMILIES | set(ELSEWHERE) | to_come
    invented = [s for op in OPS for s in op.spellings if s not in known and not _exists(s)]
    assert invented == []


def test_the_exceptions_are_in_the_table() -> None:
    spellings = {s for op in OPS for s in op.spellings}
    assert spellings >= FAMILIES | set(ELSEWHERE)


def test_no_spelling_is_claimed_twice() -> None:
    spellings = [s for op in OPS for s in op.spellings]
    assert len(spellings) == len(set(spellings))
    assert all(op.name == op.spellings[0] for op in OPS)


def test_every_rule_lowers() -> None:
    used = {op.rule for op in OPS}
    # a constant leaves no node that reads its input, so there is nothing to lower
    assert used - set(LOWERINGS) == {"zero"}
    assert used <= set(get_args(RuleName))
    assert set(LOWERINGS) <= set(get_args(RuleName))


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("add", "add"),
        ("Tensor.add_", "add"),
        ("aten::add_", "add"),
        ("torch.nn.functional.relu", "relu"),
        ("__add__", "__add__"),
        ("aten::_softmax", "_softmax"),
    ],
)
def test_qualified_and_in_place_names_become_plain(spelling: str, name: str) -> None:
    assert canonical(spelling) == name


@pytest.mark.parametrize(
    ("spellings", "name", "rule"),
    [
        (("relu", "relu_", "Tensor.relu_", "aten::relu"), "relu", "keep"),
        (("__add__", "__radd__", "add", "aten::add_"), "add", "add"),
        (("conv2d", "conv1d", "convolution", "_convolution"), "conv", "conv"),
        (("batch_norm", "_native_batch_norm_legit_no_training"), "batch_norm", "norm"),
        (("softmax", "_softmax"), "softmax", "gate"),
        (("view", "_unsafe_view", "reshape", "view_copy"), "reshape", "reshape"),
    ],
)
def test_spellings_of_one_operator_are_one_row(spellings: tuple[str, ...], name: str, rule: str) -> None:
    found = {lookup(s) for s in spellings}
    assert [(op.name, op.rule) for op in found if op is not None] == [(name, rule)]
    assert None not in found


def test_unknown_spellings_have_no_row() -> None:
    for spelling in ("sparsemax", "swiglu", "my.op", "normal_fill", ""):
        assert lookup(spelling) is None


def test_the_printed_table_has_every_row() -> None:
    rows = table()
    assert len(rows) == len(OPS)
    assert {"op": "unfold", "rule": "unfold", "spellings": "unfold, im2col"} in rows


def test_registry_refuses_what_is_taken() -> None:
    registry = Registry()
    registry.register(Op("relu", "keep", ("relu", "relu6")))
    with pytest.raises(RuleError, match=r"op 'relu' is registered already \(rule 'keep'\)"):
        registry.register(Op("relu", "norm", ("other",)))
    with pytest.raises(RuleError, match="spelling 'relu6' belongs to op 'relu' already"):
        registry.register(Op("clipped", "keep", ("fresh", "relu6")))
    with pytest.raises(RuleError, match="op 'x': no rule named 'nothing'; expected one of keep, gate"):
        registry.register(Op("x", "nothing", ("x",)))  # type: ignore[arg-type]
    # a refused row leaves nothing behind
    assert registry.by_spelling("fresh") is None
    assert "clipped" not in registry
    registry.unregister("relu")
    registry.unregister("never there")
    assert len(registry) == 0
    assert registry.by_spelling("relu6") is None


# -- rules of the user's own ---------------------------------------------------------------------------------


class OwnConv(nn.Module):
    """A convolution written in a way that the table cannot know."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(c_out, c_in, kernel, kernel, device="meta"))
        self.bias = nn.Parameter(torch.empty(c_out, device="meta"))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(torch.special.bessel_j0(x), self.weight, self.bias, self.stride)


def numbers(module: OwnConv) -> dict[str, Any]:
    c_out, c_in, *kernel = module.weight.shape
    return {
        "window": tuple(kernel),
        "stride": (module.stride,) * 2,
        "dilation": (1, 1),
        "c_in": c_in,
        "c_out": c_out,
        "groups": 1,
    }


@pytest.fixture
def forget() -> Iterator[Callable[[Any], None]]:
    """Takes rules back whatever happens."""
    targets: list[Any] = []
    before = len(OPS)
    yield targets.append
    for target in targets:
        sed_torch.unregister_rule(target)
    assert len(OPS) == before


def network(conv: Callable[..., nn.Module]) -> nn.Module:
    return nn.Sequential(conv(3, 4, 3), nn.AvgPool2d(3, 1), conv(4, 6, 3, 2), nn.ReLU(), conv(6, 2, 1))


def test_a_module_with_a_conv_rule_scores_as_a_convolution(forget: Callable[[Any], None]) -> None:
    size = (1, 3, 16, 16)
    assert sed_torch.score(network(OwnConv), input_size=size).unknown != ()
    forget(OwnConv)
    sed_torch.register_rule(OwnConv, "conv", attrs=numbers)
    own = sed_torch.score(network(OwnConv), input_size=size, strict=True)
    plain = sed_torch.score(network(nn.Conv2d), input_size=size)
    for name in (
        "total",
        "conv",
        "pool",
        "skip",
        "suppression",
        "params",
        "macs",
        "coverage",
        "node_coverage",
    ):
        assert getattr(own, name) == pytest.approx(getattr(plain, name), rel=1e-12), name
    assert own.suppression is not None
    assert own.suppression < 1
    sed_torch.unregister_rule(OwnConv)
    assert sed_torch.score(network(OwnConv), input_size=size).unknown != ()


def test_a_module_with_a_keep_rule_is_one_node(forget: Callable[[Any], None]) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(x)

    model = nn.Sequential(nn.AvgPool2d(3, 1), Odd(), nn.Conv2d(3, 4, 3))
    with pytest.raises(UnsupportedOpError, match=r"no rule for 1 operator.*special_bessel_j0 ×1 in 1"):
        sed_torch.score(model, input_size=(1, 3, 9, 9), strict=True)
    forget(Odd)
    sed_torch.register_rule(Odd, "keep")
    score = sed_torch.score(model, input_size=(1, 3, 9, 9), strict=True)
    plain = nn.Sequential(nn.AvgPool2d(3, 1), nn.Conv2d(3, 4, 3))
    assert score.total == pytest.approx(sed_torch.score(plain, input_size=(1, 3, 9, 9)).total)


@pytest.mark.parametrize("target", ["special_bessel_j0", torch.special.bessel_j0])
def test_a_function_gets_a_rule_by_name(target: Any, forget: Callable[[Any], None]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(self.conv(x))

    forget(target)
    sed_torch.register_rule(target, "keep")
    for frontend in ("fx", "export"):
        score = sed_torch.score(Net(), input_size=(1, 3, 9, 9), strict=True, frontend=frontend)
        assert score.node_coverage == 1.0
    sed_torch.unregister_rule(target)
    assert sed_torch.score(Net(), input_size=(1, 3, 9, 9)).node_coverage == 0.5


@pytest.mark.parametrize(
    ("rule", "told", "wrong"),
    [
        ("conv", {"window": (3, 3)}, r"'stride' is missing: expected window, stride, dilation, c_in, c_out"),
        ("linear", {"c_in": 3, "c_out": 4, "bias": True}, r"there is no 'bias': expected c_in, c_out"),
        ("pool", {"window": 3, "stride": (1,), "dilation": (1,)}, r"window is 3: expected several numbers"),
        ("keep", {"slope": 0.1}, r"there is no 'slope': expected no attributes"),
    ],
)
def test_numbers_that_a_rule_cannot_use_are_refused(
    rule: Any, told: dict[str, Any], wrong: str, forget: Callable[[Any], None]
) -> None:
    forget(OwnConv)
    sed_torch.register_rule(OwnConv, rule, attrs=lambda module: told)
    with pytest.raises(RuleError, match=rf"attrs of '.*OwnConv', for its rule '{rule}': {wrong}"):
        sed_torch.score(network(OwnConv), input_size=(1, 3, 16, 16))


def test_every_rule_has_its_kind_of_attributes() -> None:
    """A rule that reads numbers has a class of them, and its reader makes one of that class."""
    assert set(KINDS) <= set(get_args(RuleName))
    for rule, read in calls.READERS.items():
        made = {t.strip() for t in str(read.__annotations__["return"]).split("|")}
        of = KINDS[rule]
        assert made <= {of.__name__, "Cut"}, rule


def test_attributes_are_frozen_typed_and_a_mapping_of_what_was_stated() -> None:
    graph = sed_torch.trace(network(nn.Conv2d), input_size=(1, 3, 16, 16))
    conv = next(n for n in graph if n.op == "conv")
    assert list(conv.attrs) == ["window", "stride", "dilation", "c_in", "c_out", "groups"]
    assert conv.of(Conv).c_out == conv.attrs["c_out"] == 4
    assert {**conv.attrs} == conv.attrs == Conv.read(dict(conv.attrs))
    with pytest.raises(FrozenInstanceError, match="cannot assign to field"):
        conv.attrs.c_out = 5  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="does not support item assignment"):
        conv.attrs["c_out"] = 5  # type: ignore[index]
    again = Graph.from_dict(graph.to_dict())
    assert again.fingerprint == graph.fingerprint
    assert [n.attrs for n in again] == [n.attrs for n in graph]
    assert again[conv.name].of(Conv).window == (3, 3)
    assert pickle.loads(pickle.dumps(graph)) == graph
    with pytest.raises(GraphError, match=r"attributes of node 'x' \(linear\): 'c_out' is missing"):
        Node("x", "linear", attrs={"c_in": 3}).of(Linear)


def test_rules_that_cannot_be_are_refused(forget: Callable[[Any], None]) -> None:
    forget(OwnConv)
    sed_torch.register_rule(OwnConv, "conv", attrs=numbers)
    with pytest.raises(RuleError, match=r"module 'OwnConv' has a rule already \('conv'\)"):
        sed_torch.register_rule(OwnConv, "keep")
    with pytest.raises(RuleError, match="op 'relu' is registered already"):
        sed_torch.register_rule("relu", "norm")
    with pytest.raises(RuleError, match="spelling 'conv2d' belongs to op 'conv' already"):
        sed_torch.register_rule(F.conv2d, "keep")
    with pytest.raises(
        RuleError, match=r"attrs goes with an nn\.Module class; 'special_bessel_j0' is a function"
    ):
        sed_torch.register_rule("special_bessel_j0", "conv", attrs=numbers)
    with pytest.raises(
        RuleError, match=r"takes an nn\.Module class, a function or a name, found class 'dict'"
    ):
        sed_torch.register_rule(dict, "keep")
    with pytest.raises(RuleError, match="no rule named 'blur'"):
        sed_torch.register_rule("special_bessel_j0", "blur")  # type: ignore[arg-type]


def test_special_functions_are_the_usual_ones_unless_they_have_a_row_of_their_own() -> None:
    assert [canonical(f"special_{n}") for n in ("erf", "log_softmax", "round")] == [
        "erf",
        "log_softmax",
        "round",
    ]
    found = lookup("special_expit")
    assert found is not None
    assert (found.name, canonical("special_ndtr")) == ("sigmoid", "special_ndtr")
