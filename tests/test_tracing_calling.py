"""What the model is called with: guesses are tried and taken back; calls that do not fit are told what does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import InputError, ModelError, ShapeError, TraceError


class _Adds(nn.Module):
    """Networks of signals that add the axis of channels themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(1, 4, (1, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(x[:, None])


class _Wide(nn.Module):
    """One matrix of floats whose first column are ids."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.w = nn.Embedding(10, 1), nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.e(x[:, 0].long()) + self.w(x[:, 1:])


class _Late(nn.Module):
    """The first layer is no embedding, yet ids are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.e = nn.Linear(8, 3), nn.Embedding(10, 8)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.e(ids))


def _net(side: int) -> nn.Module:
    left = (side - 2) // 2
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * left * left, 10)
    )


def test_a_size_is_tried_before_it_is_said_to_lack_a_batch() -> None:
    for batch in (1, 2):
        found = sed_torch.score(_Adds(), input_size=(batch, 22, 30))
        assert (found.macs, found.assumed) == (22 * 26 * 4 * 5, ())
    with pytest.raises(InputError, match=r"write \(1, 3, 8, 8\)"):
        sed_torch.score(nn.Conv2d(3, 4, 3), input_size=(3, 8, 8))
    with pytest.raises(InputError, match=r"write \(1, 3, 18, 18\)"):
        sed_torch.score(_net(18), input_size=(3, 18, 18))


@pytest.mark.parametrize("side", [28, 32, 64, 224])
def test_without_a_size_the_first_usual_one_that_fits_is_read(side: int) -> None:
    found = sed_torch.score(_net(side))
    assert found.inputs == ((1, 3, side, side),)
    assert any("usual size" in words for words in found.assumed) == (side != 224)


def test_a_guess_that_does_not_fit_is_told_first() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 37 * 38, 2)
    )  # of no square
    with pytest.raises(ShapeError, match=r"^no input was given .*--input-size 1,3,224,224") as caught:
        sed_torch.score(model)
    assert "linear(" in str(caught.value)
    with pytest.raises(ShapeError, match=r"^shapes do not fit"):
        sed_torch.score(_net(37), input_size=(1, 3, 32, 32))


def test_a_generator_starts_from_a_point() -> None:
    model = nn.Sequential(nn.ConvTranspose2d(100, 8, 4), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1))
    assert sed_torch.score(model).inputs == ((1, 100, 1, 1),)


@pytest.mark.parametrize(
    ("model", "size", "dtype"), [(_Wide(), (2, 3), "float32"), (_Late(), (2, 6), "int64")]
)
def test_the_kind_of_number_is_found_by_trying_and_said(model: nn.Module, size: Any, dtype: str) -> None:
    found = sed_torch.score(model, size)  # as in torchinfo
    assert found.assumed[0].startswith(f"x0 read as {dtype}")
    assert found.inputs == (size,)


def test_a_mask_given_as_a_size_is_of_ones() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.e = nn.Embedding(9, 4)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            y: Tensor = self.e(input_ids)
            return y if attention_mask.all() else y * attention_mask[..., None]

    found = sed_torch.score(Masked(), input_size={"input_ids": (2, 5), "attention_mask": (2, 5)})
    assert found.frontend == "fx"
    assert "attention_mask of ones" in found.assumed


class _Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(4, 2)

    def forward(self, image: Tensor, meta: Tensor) -> Tensor:
        return self.f(image) + meta


class _Of(_Two):
    def forward(self, features: Any) -> Tensor:  # type: ignore[override]
        return self.f(features["x"] if isinstance(features, dict) else features)


class _Scaled(_Two):
    def forward(self, a: Tensor, *more: Tensor, scale: Tensor) -> Tensor:  # type: ignore[override]
        return self.f(a) * scale + sum(self.f(m) for m in more)


X = torch.zeros(2, 4)


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        (_Two(), {"input_size": (2, 4)}, r"input_data=\(image, meta,\).*\{'image': image, 'meta': meta\}"),
        (_Two(), {"input_data": {"image": X, "mata": X}}, r"mata|meta"),
        (_Of(), {"input_data": {"x": X}}, r"put it into a tuple: input_data=\(features,\)"),
        (_Of(), {"input_size": X}, r"found a tensor: give it as input_data"),
        (_Of(), {"input_size": [X]}, r"found a tensor: give it as input_data"),
        (_Scaled(), {"input_data": (X, X)}, r"'scale'.*input_data=\(\(a, \*more,\), \{'scale': scale\}\)"),
    ],
)
def test_a_call_that_does_not_fit_is_told_with_the_one_that_does(
    model: nn.Module, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        sed_torch.score(model, **given)


def test_calls_that_are_understood() -> None:
    assert sed_torch.score(_Of(), input_data=({"x": X},)).macs == 8
    batch = sed_torch.score(_Of(), input_data=[X, torch.tensor([0, 1])])
    assert (batch.macs, batch.assumed) == (8, ("of the two things given, the first is the input",))
    assert sed_torch.score(_Scaled(), input_data=((X, X), {"scale": torch.ones(2, 2)})).macs == 16


def test_a_module_without_a_forward_is_one_sentence() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = nn.Linear(2, 2)

    with pytest.raises(TraceError, match=r"^the forward of Bare [^\n]*$"):
        sed_torch.score(Bare())


def test_an_empty_batch_is_read_as_one_sample() -> None:
    found = sed_torch.score(_net(8), input_data=torch.zeros(0, 3, 8, 8))
    assert (found.macs, found.inputs) == (sed_torch.score(_net(8), (1, 3, 8, 8)).macs, ((1, 3, 8, 8),))
    assert found.assumed == ("one sample in place of none in x0",)


@pytest.mark.parametrize("name", ["modules", "parameters", "named_buffers"])
@pytest.mark.parametrize("run", [sed_torch.score, sed_torch.check])
def test_an_attribute_that_hides_a_method_is_named(name: str, run: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.Identity())
    setattr(model[1], name, [1])
    with pytest.raises(ModelError, match=f"Identity keeps .* {name!r}, which is a method.*Rename"):
        run(model, input_size=(2, 4))


class _Scheduled(nn.Module):
    """Rates computed as the forward runs."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        for rate in torch.linspace(0, 0.5, 3).tolist():
            x = x + (1 - rate) * self.c(x)
        return x


def test_the_default_device_is_set_aside() -> None:
    with torch.device("meta"):
        model = _Scheduled()
        found = sed_torch.score(model, input_size=(2, 4), frontend="fx")
        assert sed_torch.check(model, input_size=(2, 4)).score is not None
        assert torch.empty(1).is_meta
    assert found.macs == 3 * 16
