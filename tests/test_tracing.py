"""The tracer: real models, both front-ends, hygiene, and messages where it cannot go on."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sed_torch
from sed_torch import Graph
from sed_torch.errors import DataDependentError, InputError, ModelError, ShapeError, UnsupportedOpError
from sed_torch.zoo import load

MACS = {"resnet50": 4.089e9, "vit_base_patch16_224": 17.564e9}
MODELS = [
    "resnet50",
    "vit_base_patch16_224",
    "convnext_tiny",
    "swin_tiny_patch4_window7_224",
    "efficientnet_b0",
    "maxvit_tiny_rw_224",
    "densenet121",
    "regnety_032",
    "mobilevit_s",
    "mixer_b16_224",
    "convit_tiny",
    "edgenext_small",
    "hiera_tiny_224",
]


def on_meta(name: str) -> nn.Module:
    return load(f"timm:{name}").model


@pytest.mark.parametrize("name", MODELS)
def test_real_models_are_covered(name: str) -> None:
    s = sed_torch.score(on_meta(name))
    assert s.total is not None
    assert 8 < s.total < 14
    assert (s.coverage, s.node_coverage, s.frontend, s.unknown) == (1.0, 1.0, "fx", ())
    if name in MACS:
        assert s.macs == pytest.approx(MACS[name], rel=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "mobilevit_s", "mixer_s16_224"])
def test_front_ends_agree(name: str) -> None:
    model = on_meta(name)
    fx, export = (sed_torch.score(model, frontend=f) for f in ("fx", "export"))
    assert fx.total == pytest.approx(export.total, abs=1e-9)
    assert (fx.params, fx.macs) == (export.params, pytest.approx(export.macs))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_front_ends_agree_on_large_models(name: str) -> None:
    model = on_meta(name)
    fx, export = (sed_torch.score(model, frontend=f) for f in ("fx", "export"))
    assert fx.total == pytest.approx(export.total, abs=1e-9)


@pytest.mark.parametrize("frontend", ["fx", "export"])
def test_sources_lie_in_the_model_s_code_also_in_packages_called_like_torch(frontend: str) -> None:
    from torchvision.models import squeezenet1_1

    with torch.device("meta"):
        graph = sed_torch.trace(squeezenet1_1(), input_size=(1, 3, 64, 64), frontend=frontend)
    nodes = [n for n in graph.nodes if n.op in ("conv", "cat")]
    assert {str(n.source).rpartition(":")[0].rpartition("/")[2] for n in nodes} == {"squeezenet.py"}


class Branching(nn.Module):
    """Control flow on shapes, item assignment, in-place operators, modules in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.plain = list(self.convs)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if x.shape[-1] > 4:
            x = F.avg_pool2d(x, 2)
        out = torch.zeros(x.shape, device=x.device)
        for i, conv in enumerate(self.plain):
            out[:, :, i] = conv(x)[:, :, i]
        out.relu_()
        return out.add_(x) if isinstance(out, Tensor) and len(out) else out


def fingerprint(model: nn.Module) -> Any:
    return (
        {n: (id(m), m.training, sorted(m.__dict__), len(m._forward_hooks)) for n, m in model.named_modules()},
        {
            n: (id(p), p.device, p.dtype, p.requires_grad, p._version)
            for n, p in model.state_dict(keep_vars=True).items()
        },
        torch.get_rng_state().tolist(),
        (nn.Module.__call__, F.linear, torch.conv2d, Tensor.add),
        getattr(model, "calls", None),
    )


def test_control_flow_on_shapes_and_nothing_left_behind() -> None:
    model = Branching().train()
    before = fingerprint(model)
    s = sed_torch.score(model, input_size=(2, 4, 8, 8))
    assert fingerprint(model) == before
    assert s.coverage == 1.0
    assert s.total is not None
    assert s.macs == pytest.approx(2 * 16 * 4 * 36)


def test_mode_dtype_device_batch_and_weights_do_not_matter() -> None:
    model = timm.create_model("resnet18")
    expected = float(sed_torch.score(model))
    assert float(sed_torch.score(model.train())) == expected
    assert float(sed_torch.score(model.half())) == expected
    assert float(sed_torch.score(model, input_size=(4, 3, 224, 224))) == pytest.approx(expected, abs=1e-12)
    with torch.no_grad():
        model.conv1.weight.fill_(float("nan"))
    assert float(sed_torch.score(model)) == expected
    assert float(sed_torch.score(model.to("meta"))) == expected


def test_eight_threads_do_not_disturb_each_other() -> None:
    model = timm.create_model("resnet18")
    before, found = fingerprint(model), []
    threads = [threading.Thread(target=lambda: found.append(float(sed_torch.score(model)))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert fingerprint(model) == before


def test_shape_error_names_module_line_and_table() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(9, 4, 3))
    before = fingerprint(model)
    with pytest.raises(ShapeError, match=r"shapes do not fit: conv2d\(.*in module '1'") as caught:
        sed_torch.score(model, input_size=(1, 3, 8, 8))
    assert "conv" in caught.value.table
    assert fingerprint(model) == before


def test_data_dependent_code_is_named() -> None:
    class Depends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y if y.sum() > 0 else -y

    with pytest.raises(DataDependentError, match=r"bool\(tensor\).*test_tracing.py:\d+"):
        sed_torch.score(Depends(), input_size=(1, 3, 8, 8), frontend="fx")


def test_a_model_that_raises_is_reported_with_its_line() -> None:
    class Raises(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no such luck")

    with pytest.raises(
        sed_torch.SedTorchError, match=r"raised ValueError at .*test_tracing.py:\d+: no such luck"
    ):
        sed_torch.score(Raises(), input_size=(1, 3))


def test_modules_that_cannot_be_read() -> None:
    with pytest.raises(ModelError, match="Did you pass the class"):
        sed_torch.score(nn.Conv2d)  # type: ignore[arg-type]


def test_wrappers_are_looked_through() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    expected = float(sed_torch.score(plain, input_size=(1, 3, 8, 8)))
    assert float(sed_torch.score(nn.DataParallel(plain), input_size=(1, 3, 8, 8))) == expected
    assert float(sed_torch.score(torch.compile(plain), input_size=(1, 3, 8, 8))) == expected  # type: ignore[arg-type]


class Strange(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return (
            self.conv(x)
            + torch.linalg.ldl_factor(self.weight.sum() * x.mean((2, 3)).T @ x.mean((2, 3)))[0][0, 0]
        )


def test_unknown_operators_are_counted_or_refused() -> None:
    s = sed_torch.score(Strange(), input_size=(1, 3, 8, 8))
    assert [u.target for u in s.unknown] == ["linalg_ldl_factor"]
    assert s.node_coverage < 1.0
    with pytest.raises(UnsupportedOpError, match="linalg_ldl_factor"):
        sed_torch.score(Strange(), input_size=(1, 3, 8, 8), strict=True)


def test_own_module_with_a_rule() -> None:
    class Mine(nn.Conv2d):
        pass

    same = float(sed_torch.score(nn.Sequential(nn.Conv2d(3, 4, 3)), input_size=(1, 3, 8, 8)))
    sed_torch.register_rule(
        Mine,
        "conv",
        attrs=lambda m: {
            "window": m.kernel_size,
            "stride": m.stride,
            "dilation": m.dilation,
            "c_in": m.in_channels // m.groups,
            "c_out": m.out_channels,
            "groups": m.groups,
        },
    )
    try:
        assert float(sed_torch.score(nn.Sequential(Mine(3, 4, 3)), input_size=(1, 3, 8, 8))) == same
    finally:
        sed_torch.unregister_rule(Mine)


@pytest.mark.parametrize(
    ("size", "message"),
    [((3, 8, 8), "no batch dimension"), ((1, 0, 8, 8), "positive integers"), ("big", "must be a tuple")],
)
def test_wrong_sizes(size: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sed_torch.score(nn.Sequential(nn.Conv2d(3, 4, 3)), input_size=size)


def test_recurrent_attention_and_tokens() -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(50, 16)
            self.lstm = nn.LSTM(16, 12, batch_first=True)
            self.attend = nn.MultiheadAttention(12, 3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.lstm(self.embed(x))
            return self.attend(y, y, y)[0]

    s = sed_torch.score(Text(), input_size=(1, 7))
    assert s.scope == "extrapolated"
    assert s.coverage == 1.0
    assert s.total is not None
    assert {r.op for r in s.by_op()} == {"lstm", "multi_head_attention_forward"}


def test_graph_round_trip() -> None:
    graph = sed_torch.trace(on_meta("resnet18"))
    again = Graph.from_dict(graph.to_dict())
    assert again.fingerprint == graph.fingerprint
    assert "conv" in str(graph)
    with pytest.raises(sed_torch.SedTorchError, match="expected schema"):
        Graph.from_dict({"schema": "other"})
