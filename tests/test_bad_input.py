"""What cannot be scored says why; what only looks odd gets the right answer. Either way nothing changes."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.fingerprint import changed, fingerprint
from support.models import CONTAINERS, AsksForValues, Returns, TwoInputs
from support.versions import skip_export_of_old_torch
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import (
    DataDependentError,
    InputError,
    ModelError,
    SedTorchError,
    ShapeError,
    TraceError,
    UnsupportedOpError,
)

score = functools.partial(sed_torch.score, definition="sed/1")
"""The form whose sum is easily written by hand: what is tried here is what reaches it, not the form."""

SIZE = (1, 3, 8, 8)


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3, bias=False))


PLAIN = math.log(36 * 4 * math.sqrt(3 * 9) + 16 * 5 * math.sqrt(4 * 9))
"""By hand: a convolution on 6 × 6 positions from 3 to 4 channels, one on 4 × 4 from 4 to 5, both of white maps."""


def refused(kind: type[SedTorchError], match: str, model: Any, **kwargs: Any) -> SedTorchError:
    """The error, after checking that the failure left nothing behind."""
    before = fingerprint(model)
    with pytest.raises(kind, match=match) as caught:
        score(model, **kwargs)
    assert changed(before, fingerprint(model)) == []
    assert caught.type is kind
    return caught.value


def total(model: nn.Module, **kwargs: Any) -> float | None:
    before = fingerprint(model)
    s = score(model, **{"input_size": SIZE, **kwargs})
    assert changed(before, fingerprint(model)) == []
    return s.total


# -- dtypes, devices, values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("frontend", ["fx", "export"])
def test_dtype_and_device_do_not_matter(dtype: torch.dtype, device: str, frontend: str) -> None:
    model = plain().to(device=device, dtype=dtype)
    assert total(model, frontend=frontend) == pytest.approx(PLAIN)
    mixed = plain().to(device)
    mixed[2].to(dtype)
    mixed.insert(2, _Cast(dtype))
    assert total(mixed, frontend=frontend) == pytest.approx(PLAIN)


class _Cast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_values_of_weights_do_not_matter(value: float) -> None:
    model = plain()
    for p in model.parameters():
        nn.init.constant_(p, value)
    assert total(model) == pytest.approx(PLAIN)


def test_complex_weights() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, dtype=torch.complex64), nn.Conv2d(4, 5, 3, bias=False, dtype=torch.complex64)
    )
    data = torch.zeros(SIZE, dtype=torch.complex64)
    assert total(model, input_size=None, input_data=data) == pytest.approx(PLAIN)


def test_a_spectral_layer_with_complex_weights() -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 8, 5, dtype=torch.complex64))
            self.stem, self.reader = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            f = torch.fft.rfft2(self.stem(x), norm="ortho")
            return self.reader(torch.fft.irfft2(f * self.weight, s=x.shape[2:], norm="ortho"))

    s = score(Spectral(), input_size=SIZE)
    assert (s.coverage, s.unknown) == (1.0, ())
    assert s.params == 4 * 8 * 5 + 4 * 4 + 5 * 5
    assert s.total == pytest.approx(math.log(64 * 4 * math.sqrt(3) + 64 * 5 * math.sqrt(4)))


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(10, 6), nn.LSTM(6, 5, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.embed(x))[0])  # type: ignore[no-any-return]


def static(model: nn.Module) -> nn.Module:
    """Observed, calibrated and converted."""
    model = nn.Sequential(
        torch.ao.quantization.QuantStub(), model, torch.ao.quantization.DeQuantStub()
    ).eval()
    model.qconfig = torch.ao.quantization.get_default_qconfig("x86")  # type: ignore[assignment]
    observed = torch.ao.quantization.prepare(model)
    observed(torch.randn(SIZE))
    return torch.ao.quantization.convert(observed)  # type: ignore[no-any-return]


def dynamic(model: nn.Module) -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear, nn.LSTM})  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions.*:UserWarning")
@pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max:UserWarning")
@pytest.mark.filterwarnings("ignore:must run observer before calling calculate_qparams:UserWarning")
@pytest.mark.filterwarnings("ignore:.*reduce_range will be deprecated:UserWarning")
@pytest.mark.parametrize("frontend", ["fx", "export"])
@pytest.mark.parametrize("case", ["static conv", "dynamic linear", "dynamic lstm", "prepared"])
def test_quantised_layers_score_as_the_float_layers_they_stand_for(case: str, frontend: str) -> None:
    if case in ("static conv", "prepared"):
        skip_export_of_old_torch(frontend)
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))
    model, quantise, size = {
        "static conv": (plain(), static, SIZE),
        "dynamic linear": (flat, dynamic, SIZE),
        "dynamic lstm": (Text(), dynamic, (1, 7)),
        "prepared": (plain(), lambda m: torch.ao.quantization.prepare_qat(_with_qconfig(m)), SIZE),
    }[case]
    expected = score(model, input_size=size)
    quantised = quantise(model)
    before = fingerprint(quantised)
    s = score(quantised, input_size=size, frontend=frontend)  # type: ignore[arg-type]
    assert changed(before, fingerprint(quantised)) == []
    assert (s.total, s.macs) == (pytest.approx(expected.total), pytest.approx(expected.macs))
    assert s.unknown == ()


def _with_qconfig(model: nn.Module) -> nn.Module:
    model.qconfig = torch.ao.quantization.get_default_qat_qconfig("x86")  # type: ignore[assignment]
    return model.train()


# -- wrappers --------------------------------------------------------------------------------------------------


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("this torch has no gloo")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_distributed_data_parallel() -> None:
    model = nn.parallel.DistributedDataParallel(plain())
    assert score(model, input_size=SIZE).total == pytest.approx(PLAIN)
    assert score(model, input_size=SIZE).params == score(plain(), input_size=SIZE).params


def test_wrappers_within_wrappers() -> None:
    model: Any = nn.DataParallel(torch.compile(plain()))  # type: ignore[arg-type]
    assert score(model, input_size=SIZE).total == pytest.approx(PLAIN)


def test_a_compiled_submodule_is_entered() -> None:
    model = plain()
    model[0] = torch.compile(model[0])  # type: ignore[assignment]
    model[2].compile()
    s = score(model, input_size=SIZE)
    assert s.total == pytest.approx(PLAIN)
    assert (s.coverage, s.frontend, s.params) == (1.0, "fx", 4 * 27 + 4 + 5 * 36)


def test_fully_sharded() -> None:
    class FullyShardedDataParallel(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    message = "FullyShardedDataParallel, which flattens and shards.*on the module before wrapping it"
    refused(ModelError, "the model is wrapped in " + message, FullyShardedDataParallel(plain()))
    nested = nn.Sequential(nn.Identity(), FullyShardedDataParallel(plain()))
    refused(ModelError, "module '1' is wrapped in " + message, nested)


def test_lazy_modules() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 7), nn.LazyLinear(3))
    message = r"module '3' \(LazyLinear\) is lazy: 'weight' has no shape yet.*Run one forward.*failed"
    refused(ModelError, message, model, input_size=SIZE)
    unreached = nn.Conv2d(3, 4, 3)
    unreached.late = nn.LazyLinear(3)
    refused(ModelError, "'late'.*is lazy.*does not reach it", unreached, input_size=SIZE)


@pytest.mark.parametrize(
    ("thing", "told"),
    [
        (None, "NoneType"),
        (3, "int"),
        (torch.zeros(3), "Tensor"),
        ("timm:resnet50", r"the text .* by sed_torch.zoo.load\('timm:resnet50'\).model"),
        (lambda x: x, "the function <lambda>. Call it"),
        (nn.ReLU, r"the class ReLU. Did you pass the class instead of an instance\? Call it: ReLU\(\)"),
    ],
    ids=lambda t: type(t).__name__,
)
def test_what_is_no_module(thing: Any, told: str) -> None:
    with pytest.raises(ModelError, match=f"expected an nn.Module, found {told}"):
        score(thing)


# -- models that raise, or ask for data --------------------------------------------------------------------------

ASKS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "if": (lambda y: y if y.sum() > 0 else -y, r"bool\(tensor\)"),
    "while": (lambda y: _until(y), r"bool\(tensor\)"),
    "if any": (lambda y: y if (y > 0).any() else -y, r"bool\(tensor\)"),
    "float": (lambda y: y * float(y.max()), r"float\(tensor\)"),
    "int": (lambda y: y[:, : int(y.argmax()) + 1], r"int\(tensor\)"),
    "range": (lambda y: [y for _ in range(y.argmax())], r"tensor.__index__\(\)"),
    "tolist": (lambda y: y * y.flatten().tolist()[0], r"tensor.tolist\(\)"),
    "numpy": (lambda y: y.detach().numpy(), r"tensor.numpy\(\)"),
    "nonzero": (lambda y: y.flatten()[y.flatten().nonzero().squeeze(1)], r"tensor.nonzero\(\)"),
    "mask": (lambda y: y[y > 0].sum(), "__getitem__ has no shape without data"),
    "where": (lambda y: torch.where(y > 0)[0], "where has no shape without data"),
    "unique": (lambda y: torch.unique(y), r"tensor.(_unique2|unique)\(\)"),
    "in": (lambda y: y if 1.0 in y else -y, r"tensor.__contains__\(\)"),
    "equal": (lambda y: y if torch.equal(y, y + 1) else -y, r"tensor.equal\(\)"),
}


def _until(y: Tensor) -> Tensor:
    while y.abs().max() > 1:
        y = y / 2
    return y


@pytest.mark.parametrize("ask", ASKS)
def test_data_dependent_code_is_named_with_its_line(ask: str) -> None:
    function, message = ASKS[ask]
    line = r"the root module, .*test_bad_input\.py:\d+"
    error = refused(DataDependentError, message, AsksForValues(function), input_size=SIZE, frontend="fx")
    assert isinstance(error, TraceError)
    assert "data-dependent code" in str(error)
    assert error.source is not None
    name, _, number = error.source.rpartition(":")
    assert os.path.basename(name) == "test_bad_input.py"
    text = Path(__file__).read_text(encoding="utf-8").splitlines()[int(number) - 1]
    assert "y" in text
    with pytest.raises(DataDependentError, match=line):
        score(AsksForValues(function), input_size=SIZE, frontend="fx")
    assert "conv2d" in error.table


def test_values_that_scale_but_do_not_decide_go_through_export() -> None:
    """``y * y.max().item()`` has all its shapes; torch.export can follow what fx cannot."""
    model = AsksForValues(lambda y: y * y.max().item())
    refused(DataDependentError, r"tensor.item\(\)", model, input_size=SIZE, frontend="fx")
    s = score(model, input_size=SIZE)
    assert s.frontend == "export"
    assert s.total == pytest.approx(math.log(36 * 4 * math.sqrt(27)))


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """torch.export prints half a graph when it gives up."""
    refused(DataDependentError, "Other front-ends", AsksForValues(ASKS["while"][0]), input_size=SIZE)
    assert capfd.readouterr() == ("", "")


def test_a_shape_that_depends_on_values_is_told_by_every_front_end() -> None:
    """``torch.export`` reads it and leaves a size without a number; an upper bound is read without being asked."""
    model = AsksForValues(lambda x: x[x.nonzero()[:, 0]])
    refused(
        DataDependentError, r"tensor.nonzero\(\) asks for the values", model, input_size=SIZE, frontend="fx"
    )
    refused(UnsupportedOpError, "what data choose", model, input_size=SIZE, strict=True)
    bound = score(model, input_size=SIZE)
    assert bound.frontend == "fx+bound"
    assert [u.target for u in bound.unknown] == ["what data choose"]
    alone = refused(DataDependentError, "torch.export read", model, input_size=SIZE, frontend="export")
    assert "models.py:" in str(alone)


def test_a_submodule_that_cannot_be_entered_is_one_leaf() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale if x.mean() > 0 else x

    model = plain()
    model.insert(1, Gate())
    s = score(model, input_size=SIZE)
    assert s.frontend == "fx+leaf"
    assert s.total == pytest.approx(PLAIN)
    params = 4 * 27 + 4 + 5 * 36 + 4
    assert s.params == params
    assert s.coverage == pytest.approx(1 - 4 / params)
    assert [(u.target, u.path, u.params) for u in s.unknown] == [("Gate", "1", 4)]
    refused(
        UnsupportedOpError, r"no rule for 1 operator\(s\): Gate ×1 in 1", model, input_size=SIZE, strict=True
    )
    # a user who knows says so from the start
    assert score(model, input_size=SIZE, ignore_modules=["1"]).total == pytest.approx(PLAIN)
    refused(InputError, "ignore_modules names '9'", model, input_size=SIZE, ignore_modules=["9"])


def test_a_forward_that_raises() -> None:
    class Raises(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(3, 4, 3))

        def forward(self, x: Tensor) -> Tensor:
            x = self.inner(x)
            return {}["missing"]  # type: ignore[no-any-return]

    error = refused(
        TraceError,
        r"forward of Raises raised KeyError at .*test_bad_input.py:\d+: 'missing'",
        Raises(),
        input_size=SIZE,
    )
    assert isinstance(error, TraceError)
    assert "conv2d" in error.table
    assert isinstance(error.__cause__, Exception)


def test_a_forward_without_end() -> None:
    class Endless(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return self.forward(x + 1)

    refused(TraceError, "forward of Endless recurses too deeply", Endless(), input_size=SIZE, frontend="fx")


def test_a_module_without_a_forward() -> None:
    class Bare(nn.Module):
        pass

    refused(TraceError, "forward of Bare raised NotImplementedError", Bare(), input_size=SIZE)


def test_channels_that_do_not_fit() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(6, 4, 3)))
    error = refused(ShapeError, r"conv2d\(1×8×6×6, 4×6×3×3, 4\) in module '1.1'", model, input_size=SIZE)
    assert isinstance(error, TraceError)
    assert error.module_path == "1.1"
    assert error.source is None  # no line of a user's code is between two of torch's modules
    assert "batch_norm" in error.table

    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)  # type: ignore[no-any-return]

    error = refused(ShapeError, r"in module 'body.1.1', .*test_bad_input.py:\d+", Mine(), input_size=SIZE)
    assert "The last operators that were followed" in str(error)


# -- odd models --------------------------------------------------------------------------------------------------


def test_without_parameters() -> None:
    s = score(nn.Sequential(nn.MaxPool2d(2), nn.ReLU()), input_size=SIZE)
    assert (s.total, s.params, s.coverage) == (None, 0, 1.0)
    assert s.reason is not None
    assert "operator" in s.reason
    refused(InputError, "has no layer to infer one from.*Give input_size", nn.Sequential(nn.ReLU()))
    s = score(nn.Sequential(), input_size=SIZE)
    assert (s.total, s.params) == (None, 0)
    # mixing without parameters of its own is mixing
    assert score(_Fixed(), input_size=SIZE).total == pytest.approx(math.log(36 * 4 * math.sqrt(27)))


class _Fixed(nn.Module):
    """Weights that are a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(4, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight)


def test_no_path_from_input_to_output() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = plain()

        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros_like(self.body(x))

    s = score(Cut(), input_size=SIZE)
    assert s.total == -math.inf
    assert s.reason is not None
    assert "path" in s.reason


# -- inputs and outputs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frontend", ["fx", "export"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_outputs_in_any_container(container: str, frontend: str) -> None:
    if container == "nested":
        skip_export_of_old_torch(frontend)
    model = Returns(CONTAINERS[container])
    if (container, frontend) == ("dataclass", "export"):
        refused(TraceError, "torch.export gave up on Returns", model, input_size=SIZE, frontend=frontend)
        return
    assert total(model, frontend=frontend) == pytest.approx(PLAIN)


def test_several_inputs() -> None:
    image, tokens = torch.zeros(SIZE), torch.zeros(1, 7, dtype=torch.int64)
    expected = math.log(36 * 4 * math.sqrt(27))
    for given in (
        {"input_data": (image, tokens)},
        {"input_data": {"image": image, "tokens": tokens, "scale": 2.0}},
        {"input_data": image},
        {"input_data": image.numpy()},
        {"input_size": SIZE},
        {"input_size": [SIZE]},
        {"input_size": {"image": SIZE}},
    ):
        assert score(TwoInputs(), **given).total == pytest.approx(expected)
    s = score(TwoInputs(), input_data={"image": image, "tokens": tokens})
    assert s.inputs == (SIZE, (1, 7))


def test_inputs_that_are_missing_or_malformed() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, image: Tensor, other: Tensor, flag: bool = False) -> Tensor:
            return self.conv(image + other)

    refused(InputError, r"Two.forward takes 2 inputs \(image, other\): give input_size as a sequence", Two())
    assert total(Two(), input_size=[SIZE, SIZE]) == pytest.approx(math.log(36 * 4 * math.sqrt(27)))
    refused(
        InputError,
        "give input_size or input_data, not both",
        Two(),
        input_size=SIZE,
        input_data=torch.zeros(1),
    )
    refused(
        InputError,
        "must be a tensor, a tuple or a dict, found int",
        Two(),
        input_data=3,
    )
    refused(InputError, "positive integers only, found", plain(), input_size=(1, 3, -8, 8))
    refused(InputError, "positive integers only, found", plain(), input_size=(1, 3, 8.0, 8))
    refused(InputError, "must be a tuple of positive integers", plain(), input_size=())
    refused(InputError, r"has no batch dimension: write \(1, 3, 8, 8\)", plain(), input_size=(3, 8, 8))
    refused(InputError, "frontend must be 'auto', 'fx' or 'export', found 'jit'", plain(), frontend="jit")
    refused(InputError, "cannot be called so: missing a required argument: 'other'", Two(), input_size=SIZE)


def test_what_was_assumed_is_said() -> None:
    s = score(plain())
    assert s.inputs == ((1, 3, 224, 224),)
    assert s.assumed == ("input 1×3×224×224, from the first Conv2d",)
    assert score(plain(), input_size=SIZE).assumed == ()
    s = score(nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2)))
    assert s.inputs == ((1, 128),)
    assert s.assumed == ("input 1×128, from the first Embedding",)


def test_one_position_is_enough() -> None:
    """A map of one position and a batch of one: no dimension is above 1."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(1, 1))
    assert total(model, input_size=(1, 1, 1, 1)) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("layer", "size", "reads", "given"),
    [
        (nn.Conv2d(3, 8, 3), (1, 1, 9, 9), 3, 1),
        (nn.Conv1d(22, 8, 3), (2, 1000, 22), 22, 1000),
        (nn.Conv2d(8, 8, 3, groups=4), (1, 6, 9, 9), 8, 6),
        (nn.Conv3d(1, 2, 1), (1, 3, 4, 4, 4), 1, 3),
    ],
)
def test_a_wrong_number_of_channels_is_told_with_both(
    layer: nn.Module, size: tuple[int, ...], reads: int, given: int
) -> None:
    with pytest.raises(ShapeError, match=rf"reads {reads} channels and is given {given} \(dimension 1"):
        sed_torch.score(nn.Sequential(layer), size)


def test_weights_are_no_model() -> None:
    with pytest.raises(ModelError, match=r"a dictionary of weights.*load_state_dict"):
        sed_torch.score(nn.Linear(2, 2).state_dict())  # type: ignore[arg-type]
