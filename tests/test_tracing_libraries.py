"""What models of other libraries do in their forward, each reproduced in a small module of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sed_torch
from sed_torch.errors import DataDependentError, InputError, UnsupportedOpError
from sed_torch.scoring.model import topology
from sed_torch.tracing import trace

# -- inputs that a configuration tells ---------------------------------------------------------------------------


class Configured(nn.Module):
    """As transformers' models: a config, the name of the main input, all arguments optional."""

    def __init__(self, main: str, c_in: int, **config: Any) -> None:
        super().__init__()
        self.config, self.main_input_name = SimpleNamespace(**config), main
        self.mix = nn.Linear(c_in, 4)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        input_features: Tensor | None = None,
        input_values: Tensor | None = None,
        past_values: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
    ) -> Tensor:
        given = (pixel_values, input_features, input_values, past_values, input_ids, decoder_input_ids)
        return sum(self.mix(x.float()).sum() for x in given if x is not None)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("main", "config", "size"),
    [
        ("pixel_values", {"image_size": 32}, (1, 3, 32, 32)),
        ("pixel_values", {"image_size": {"height": 8, "width": 16}, "num_channels": 1}, (1, 1, 8, 16)),
        ("pixel_values", {"image_size": 32, "num_frames": 4}, (1, 4, 3, 32, 32)),
        ("input_features", {"num_mel_bins": 80, "max_source_positions": 1500}, (1, 80, 3000)),
        ("input_features", {"input_feat_per_channel": 80}, (1, 128, 80)),
        ("input_values", {}, (1, 16000)),
        ("input_values", {"max_length": 1024, "num_mel_bins": 128}, (1, 1024, 128)),
        ("past_values", {"context_length": 32, "num_input_channels": 7}, (1, 32, 7)),
    ],
)
def test_the_main_input_of_a_configured_model(
    main: str, config: dict[str, Any], size: tuple[int, ...]
) -> None:
    s = sed_torch.score(Configured(main, size[-1], **config))
    assert s.inputs == (size,)
    assert s.assumed == (f"{main} {'×'.join(map(str, size))}, from the model's config",)


def test_a_length_without_a_limit_and_sizes_that_are_none() -> None:
    s = sed_torch.score(Configured("input_ids", 128, max_position_embeddings=-1))  # as XLNet says it
    assert s.inputs == ((1, 128),)
    with pytest.raises(InputError, match="Configured gives pixel_values the size 1×3×0×0: give input_size"):
        sed_torch.score(Configured("pixel_values", 8, image_size=(0, 0)))


def test_two_towers_get_text_and_images() -> None:
    model = Configured(
        "input_ids", 32, max_position_embeddings=32, vision_config=SimpleNamespace(image_size=32)
    )
    model.text_model, model.vision_model = nn.Identity(), nn.Identity()
    s = sed_torch.score(model)
    assert s.inputs == ((1, 32), (1, 3, 32, 32))
    assert s.assumed == ("input_ids 1×32, pixel_values 1×3×32×32, from the model's config",)


def test_a_decoder_gets_tokens_of_its_own_beside_sound() -> None:
    config = {"num_mel_bins": 16, "max_source_positions": 64, "is_encoder_decoder": True}
    s = sed_torch.score(Configured("input_features", 128, **config))
    assert s.inputs == ((1, 16, 128), (1, 128))


def test_features_of_unknown_width_are_asked_for() -> None:
    with pytest.raises(
        InputError, match=r"does not say what input_features look like: give input_size as a map"
    ):
        sed_torch.score(Configured("input_features", 8))


class Sound(nn.Module):
    """As encoders of sound in transformers: a layer over each frame, and a mask of frames that it may ask for."""

    main_input_name = "input_features"

    def __init__(self, width: int, **config: Any) -> None:
        super().__init__()
        self.config, self.mix = SimpleNamespace(**config), nn.Linear(width, 4)

    def forward(self, input_features: Tensor, input_features_mask: Tensor | None = None) -> Tensor:
        return self.mix(input_features)


class Masked(Sound):
    def forward(self, input_features: Tensor, input_features_mask: Tensor) -> Tensor:
        return self.mix(input_features) * input_features_mask[..., None]


class MaskedBesides(Sound):
    def forward(self, input_features: Tensor, input_features_mask: Tensor | None = None) -> Tensor:
        return self.mix(input_features)[:, : int(input_features_mask.sum(-1).max())]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("config", "width"),
    [
        ({"encoder_config": SimpleNamespace(num_mel_bins=80)}, 80),
        (
            {
                "audio_config": SimpleNamespace(input_feat_size=24),
                "text_config": SimpleNamespace(input_dim=7),
            },
            24,
        ),
        ({"head_config": SimpleNamespace(audio_config=SimpleNamespace(num_mel_bins=16))}, 16),
        ({"num_mel_bins": 80}, 320),  # four frames at once: the layer says how many numbers
    ],
)
def test_frames_of_sound_as_a_config_inside_or_the_first_layer_says(
    config: dict[str, Any], width: int
) -> None:
    s = sed_torch.score(Sound(width, **config))
    assert (s.inputs, s.macs) == (((1, 128, width),), 128 * width * 4)
    assert s.assumed == (f"input_features 1×128×{width}, from the model's config",)


@pytest.mark.parametrize("model", [Masked(80, num_mel_bins=80), MaskedBesides(80, num_mel_bins=80)])
def test_a_mask_of_frames_goes_along_where_it_is_needed(model: nn.Module) -> None:
    s = sed_torch.score(model, frontend="fx", strict=True)
    assert (s.inputs, s.macs) == (((1, 128, 80), (1, 128)), 128 * 80 * 4)
    assert s.assumed[1] == "input_features_mask of ones"


class Tower(nn.Module):
    """As vision towers in transformers: the patches of images one after the other, and how many there are."""

    main_input_name = "input_ids"  # of the model that it is a part of

    def __init__(self, mix: nn.Module, **config: Any) -> None:
        super().__init__()
        self.config, self.mix = SimpleNamespace(**config), mix

    def forward(self, hidden_states: Tensor, grid_thw: Tensor, **kwargs: Any) -> Tensor:
        images = torch.split(self.mix(hidden_states).flatten(1), [t * h * w for t, h, w in grid_thw.tolist()])
        return torch.stack([image.mean(0) for image in images])


@pytest.mark.parametrize(
    ("tower", "patches", "macs"),
    [
        (Tower(nn.Linear(96, 5), patch_size=4, temporal_patch_size=2, image_size=32), (64, 96), 64 * 96 * 5),
        (Tower(nn.Linear(96, 5), patch_size=4, image_size=16), (16, 96), 16 * 96 * 5),
        (
            Tower(nn.Conv2d(3, 5, 4), patch_size=4, spatial_merge_size=3, image_size=32),
            (36, 3, 4, 4),
            36 * 48 * 5,
        ),
    ],
    ids=["by the config", "by the first layer", "small images, merged"],
)
def test_a_tower_gets_the_patches_of_one_image(tower: nn.Module, patches: tuple[int, ...], macs: int) -> None:
    s = sed_torch.score(tower, frontend="fx", strict=True)
    batch = trace(tower).batch  # of patches that do not meet, each is a sample
    assert (s.inputs, s.macs * batch) == ((patches, (1, 3)), macs)
    side = round(patches[0] ** 0.5)
    shape = "×".join(map(str, patches))
    assert (
        s.assumed[0]
        == f"hidden_states {shape}, the patches of grid_thw 1×{side}×{side}, from the model's config"
    )


def test_several_main_inputs_and_hidden_states_are_as_wide_as_the_config_says() -> None:
    class Tasks(nn.Module):
        main_input_name = ("pixel_values", "task_inputs")

        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(image_size=16, task_seq_len=7, hidden_size=5)
            self.a, self.b, self.c = nn.Conv2d(3, 4, 3), nn.Linear(7, 4), nn.Linear(5, 4)

        def forward(self, pixel_values: Tensor, task_inputs: Tensor, context_hidden_states: Tensor) -> Tensor:
            image = self.a(pixel_values).mean((2, 3))
            return image + self.b(task_inputs) + self.c(context_hidden_states).mean(1)

    assert sed_torch.score(Tasks(), strict=True).inputs == ((1, 3, 16, 16), (1, 7), (1, 128, 5))


# -- what forwards do --------------------------------------------------------------------------------------------


class Warns(nn.Module):
    """Looks at the values of its input for the sake of a warning, as transformers' models do."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8)

    def warn_if_padding_and_no_attention_mask(self, input_ids: Tensor) -> None:
        if 0 in input_ids[:, [-1, 0]]:
            raise AssertionError("nothing is warned of while a graph is read")

    def forward(self, input_ids: Tensor) -> Tensor:
        self.warn_if_padding_and_no_attention_mask(input_ids)
        return self.embedding(input_ids)


def test_a_method_that_only_warns_is_not_followed() -> None:
    model = Warns()
    assert sed_torch.score(model, input_size=(1, 16)).frontend == "fx"
    assert "warn_if_padding_and_no_attention_mask" not in vars(model)


class Chunks(nn.Module):
    """Sizes that come out of a division of tensors, as in Longformer."""

    def forward(self, x: Tensor) -> Tensor:
        n = torch.div(x.size(1), 4, rounding_mode="trunc")
        y = x.view(x.size(0), n, 4, x.size(2))
        width = torch.tensor(2)
        return y.as_strided((1, 2, width, 8), (32, 32, 8, 1)).expand(torch.tensor(3), -1, -1, -1)


def test_sizes_may_be_tensors_of_the_forwards_own_making() -> None:
    model = nn.Sequential(nn.Linear(8, 8), Chunks())
    s = sed_torch.score(model, input_size=(1, 8, 8), frontend="fx")
    assert (s.coverage, s.node_coverage) == (1.0, 1.0)


grouped_mm = getattr(nn.functional, "grouped_mm", None) or getattr(torch, "_grouped_mm", None)


class Experts(nn.Module):
    """Tokens sorted by expert, each group through a matrix of its own."""

    def __init__(self, experts: int = 4, c_in: int = 16, c_out: int = 32) -> None:
        super().__init__()
        self.router = nn.Linear(c_in, experts)
        self.weight = nn.Parameter(torch.empty(experts, c_in, c_out))

    def forward(self, x: Tensor) -> Tensor:
        expert = self.router(x).argmax(-1)
        order = expert.argsort()
        ends = torch.histc(expert.float(), bins=len(self.weight), min=0, max=len(self.weight) - 1).cumsum(0)
        return grouped_mm(x[order], self.weight, offs=ends.int())  # type: ignore[misc]


@pytest.mark.skipif(grouped_mm is None, reason="this torch has no grouped_mm")
def test_a_mixture_of_experts_costs_one_expert_a_token() -> None:
    s = sed_torch.score(Experts(), input_size=(64, 16))
    assert (s.frontend, s.coverage, s.node_coverage, s.unknown) == ("fx", 1.0, 1.0, ())
    assert s.params == 4 * 16 * 32 + 16 * 4 + 4
    # a batch of 64 rows, so these are multiplications a row: router and one expert
    assert s.macs == 16 * 4 + 16 * 32
    mixes = {
        step.op: (step.c_in, step.c_out)
        for step in topology(Experts(), input_size=(64, 16)).steps
        if step.kind == "mix"
    }
    assert mixes == {"linear": (16, 4), "grouped_mm": (16, 32)}


# -- what only data can tell -------------------------------------------------------------------------------------


class Detector(nn.Module):
    """Boxes from every position; those that score enough are looked at once more."""

    def __init__(self, second: bool = True) -> None:
        super().__init__()
        self.body, self.boxes = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 5, 1)
        self.again = nn.Linear(5, 100) if second else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        boxes = self.boxes(torch.relu(self.body(x))).flatten(2).transpose(1, 2)[0]
        return self.again(boxes[boxes[:, 0] > 0.5])


def test_a_detector_is_read_with_all_boxes_that_may_be_chosen() -> None:
    with pytest.raises(
        DataDependentError, match=r"has no shape without data.*test_tracing_libraries.py:\d+: how many"
    ):
        sed_torch.score(Detector(), input_size=(1, 3, 16, 16), frontend="fx")
    s = sed_torch.score(Detector(), input_size=(1, 3, 16, 16))
    assert (s.frontend, s.coverage, s.unused_params) == ("fx+bound", 1, 0)
    assert s.macs == 256 * (8 * 27 + 5 * 8 + 100 * 5)  # all 256 boxes, which a network may keep
    assert [u.target for u in s.unknown] == ["what data choose"]
    (bound,) = s.assumed
    assert bound.startswith("an upper bound: all entries are taken among which data choose (test_tracing_lib")
    with pytest.raises(UnsupportedOpError, match="what data choose"):
        sed_torch.score(Detector(), input_size=(1, 3, 16, 16), strict=True)


def test_what_has_no_bound_is_cut() -> None:
    class Crops(Detector):
        def forward(self, x: Tensor) -> Tensor:
            boxes = self.boxes(torch.relu(self.body(x))).flatten(2).transpose(1, 2)[0]
            kept = boxes[boxes[:, 0] > 0.5]
            return self.again(kept[: int(kept.sum())])

    s = sed_torch.score(Crops(), input_size=(1, 3, 16, 16))
    before, after = 3 * 8 * 9 + 8 + 8 * 5 + 5, 5 * 100 + 100
    assert s.frontend == "fx+cut"
    assert s.coverage == pytest.approx(before / (before + after))
    (rest,) = s.unknown
    assert (rest.target, rest.params) == ("what follows a choice", after)
    assert rest.source is not None
    assert "test_tracing_libraries.py:" in rest.source


def test_of_two_ways_one_is_followed_and_the_other_is_not_covered() -> None:
    class Branches(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            y = self[0](x)
            return self[1](y) if y.sum() > 0 else self[2](y)

    wide = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 4))
    for ways, words in (((wide, nn.Linear(4, 4)), "first"), ((nn.Linear(4, 4), wide), "second")):
        s = sed_torch.score(Branches(nn.Linear(4, 4), *ways), input_size=(2, 4))
        assert (s.frontend, s.macs) == ("fx+bound", 16 + 128)
        assert s.coverage == pytest.approx(1 - 20 / s.params)
        assert any(f"of two ways between which data choose the {words} is followed" in a for a in s.assumed)
        with pytest.raises(UnsupportedOpError, match="what data choose"):
            sed_torch.score(Branches(nn.Linear(4, 4), *ways), input_size=(2, 4), strict=True)


def test_how_often_a_loop_runs_is_not_guessed_and_without_layers_nothing_is_read() -> None:
    class Halts(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(9):
                x = self[0](x)
                if x.norm() < 1e-3:
                    break
            return x

    with pytest.raises(DataDependentError, match=r"bool\(tensor\)"):
        sed_torch.score(Halts(nn.Linear(4, 4)), input_size=(2, 4))

    class Empty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[x > 0]

    with pytest.raises(DataDependentError, match="has no shape without data"):
        sed_torch.score(Empty(), input_size=(2, 4))


class _Points(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        self.head, self.describe = nn.Conv2d(8, 1, 1), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        y = self.body(x)
        scores = self.head(y).sigmoid()
        at = scores[:, 0].nonzero()
        return scores, self.describe(y.movedim(1, -1)[at[:, 0], at[:, 1], at[:, 2]])


def test_what_is_read_at_the_chosen_places_is_bounded() -> None:
    s = sed_torch.score(_Points(), input_size=(1, 1, 16, 16), frontend="auto")
    assert s.frontend in ("export", "fx+bound")
    if s.frontend == "fx+bound":
        assert s.macs == 14 * 14 * 72 + 12 * 12 * 8 * 73 + 144 * 8 * 4
        assert s.coverage == 1


class OldKinds(nn.Module):
    """Kinds of tensors named by their old classes, as code from before ``dtype`` does."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.mix, self.kind = nn.Linear(4, 4), kind

    def forward(self, x: Tensor) -> Tensor:
        assert x.type() == "torch.FloatTensor"
        chosen = (x > 0).type(self.kind)
        return self.mix(chosen.type(x.type()) + torch.ones(4).type(x.type()))


@pytest.mark.parametrize(
    "kind",
    [torch.LongTensor, "torch.LongTensor", "torch.cuda.HalfTensor", torch.cuda.DoubleTensor, torch.int32],
)
def test_old_classes_of_tensors_stand_for_their_dtype(kind: Any) -> None:
    s = sed_torch.score(OldKinds(kind), input_size=(1, 4))
    assert (s.frontend, s.coverage, s.node_coverage, s.macs) == ("fx", 1.0, 1.0, 16)


def test_a_layer_on_no_rows_costs_nothing_and_stops_nothing() -> None:
    """As one layer for each degree of a node in a graph, most of which no node has."""

    class Degrees(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 4) for _ in range(5))

        def forward(self, x: Tensor, degree: Tensor) -> Tensor:
            out = x.new_empty(len(x), 4)
            for i, layer in enumerate(self.layers):
                rows = (degree == i).nonzero().view(-1)
                out.index_copy_(0, rows, layer(x.index_select(0, rows)))
            return out

    degree = torch.tensor([0, 3, 3, 0, 3, 3])
    s = sed_torch.score(Degrees(), input_data=(torch.zeros(6, 8), degree), frontend="fx")
    assert s.total is not None
    assert s.macs == 8 * 4  # a node


@pytest.mark.parametrize("wrap", [np.asarray, list, torch.as_tensor], ids=["array", "list", "tensor"])
def test_places_in_arrays_of_numpy_are_places(wrap: Any) -> None:
    """As triangular weights are filled: ``lower[rows, columns] = numbers``."""

    class Triangular(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.numbers = nn.Linear(4, 4), nn.Parameter(torch.randn(6))
            self.rows, self.columns = (wrap(i) for i in np.tril_indices(4, k=-1))

        def forward(self, x: Tensor) -> Tensor:
            lower = x.new_zeros(4, 4)
            lower[self.rows, self.columns] = self.numbers
            lower[np.arange(4), np.arange(4)] = 1.0
            y = self.mix(x) @ lower
            return y[:, np.int64(1)] + y[:, np.array([2, 0])].sum(1)

    s = sed_torch.score(Triangular(), input_size=(2, 4), frontend="fx", strict=True)
    assert (s.macs, s.coverage) == (4 * 4 + 4 * 4, 1)
