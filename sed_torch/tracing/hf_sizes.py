"""Input sizes of models of transformers: from the config, the forward's signature and the feature extractor beside.

Imports nothing of transformers but the file of a model's own feature extractor, which lies in the model's folder.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sed_torch.errors import InputError
from sed_torch.tables import shape_text

__all__ = ["Reading", "hf_readings"]

TOKENS, SIDE, SECOND = 128, 224, 16000
"""Tokens or frames, pixels and samples of a wave where the config gives none."""

_PARTS = ("text", "vision", "audio")
_WIDTHS = (
    "input_size",
    "feature_projection_input_dim",
    "input_feat_per_channel",
    "input_feat_size",
    "num_mel_bins",
    "input_dim",
    "feature_size",
)
"""What configs call the numbers a frame of sound has."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """One way to call the model.

    Attributes:
        named: keyword arguments: size and kind of number.
        values: those of them that are whole numbers with a meaning: masks of ones, as a tokenizer or feature
            extractor gives for one sample, and how many patches an image has along each axis.
        why: what is assumed, in words.
    """

    named: Mapping[str, tuple[Shape, torch.dtype]]
    values: Mapping[str, Tensor]
    why: tuple[str, ...]


def hf_readings(model: nn.Module, dtype: torch.dtype) -> list[Reading]:
    """The likeliest first, then what else is tried where it does not fit; nothing for a model without such a config.

    Args:
        model: the module that will be called.
        dtype: of the inputs that are not whole numbers.

    Raises:
        InputError: the config gives a size that cannot be, or does not say what a frame of sound holds.
    """
    config, main = getattr(model, "config", None), getattr(model, "main_input_name", None)
    mains = (main,) if isinstance(main, str) else main
    if config is None or not isinstance(mains, (tuple, list)) or not mains:
        return []
    required = _required(model)
    taken = [
        m for m in mains if m in _parameters(model) or not required
    ]  # towers name the whole model's input
    names = list(dict.fromkeys([*(_names(model, config, taken) if taken else ()), *required]))
    if any(n in _GRIDS for n in names):
        return list(_of_patches(names, config, _first_mixing(model), dtype))
    if not names or any(_kind(n, config) is None and not n.endswith("_mask") for n in names):
        return []
    likeliest = {n: kind(model, config) for n in names if (kind := _kind(n, config)) is not None}
    for name, shape in likeliest.items():
        if min(shape) < 1:
            raise InputError(
                f"the config of {type(model).__name__} gives {name} the size {shape_text(shape)}: give input_size as a "
                f"mapping with positive sizes, such as {{{name!r}: ...}}, or input_data."
            )
    masks = [n for n in names if n not in likeliest]
    return [
        _reading(model, sizes, tried, dtype)
        for tried in dict.fromkeys([tuple(masks), *_masks_beside(model, names[0], masks)])
        for sizes in [likeliest, *_otherwise(model, likeliest)]
    ]


def _reading(
    model: nn.Module, sizes: Mapping[str, Shape], masks: Sequence[str], dtype: torch.dtype
) -> Reading:
    by_shape: dict[str, list[str]] = {}
    for name, shape in sizes.items():
        by_shape.setdefault(shape_text(shape), []).append(name)
    listed = ", ".join(f"{', '.join(names)} {text}" for text, names in by_shape.items())
    named = {n: (s, torch.int64 if n.endswith("_ids") else dtype) for n, s in sizes.items()}
    why = [f"{listed}, from the model's config"]
    for name in masks:
        frames = _frames(next(iter(sizes.values())), model)
        named[name] = ((1, frames), torch.bool if _is_bool(model, name) else torch.int64)
    ones = tuple(n for n in masks if n.endswith(("attention_mask", "features_mask")))
    others = [n for n in masks if n not in ones]
    why += [f"{', '.join(ones)} of ones"] if ones else []
    why += [f"{', '.join(others)} of one entry a frame"] if others else []
    values = {n: torch.ones((), dtype=named[n][1]).expand(named[n][0]) for n in ones}
    return Reading(named, values, tuple(why))


_GRIDS = ("grid_thw", "image_grid_thw")
"""Frames, rows and columns of patches for each image, whose patches come one after the other."""


def _of_patches(
    names: Sequence[str], config: Any, first: nn.Module | None, dtype: torch.dtype
) -> Iterator[Reading]:
    """A vision tower that reads the patches of one image in a row: as numbers, or as small images of their own."""
    patch = getattr(config, "patch_size", None)
    patches = next((n for n in names if n in ("hidden_states", "pixel_values")), None)
    if not isinstance(patch, int) or patches is None or len(names) != 2:
        return
    merged = int(getattr(config, "spatial_merge_size", None) or 1)
    image = getattr(config, "image_size", None)
    side = max((image if isinstance(image, int) else SIDE) // (patch * merged), 1) * merged
    found = (getattr(config, name, None) for name in ("in_channels", "num_channels", "in_chans"))
    channels = next((n for n in found if isinstance(n, int)), 3)
    numbers = channels * patch**2 * int(getattr(config, "temporal_patch_size", None) or 1)
    grid = torch.tensor([[1, side, side]])
    sizes = [
        (numbers,),
        (first.in_features,) if isinstance(first, nn.Linear) else (),
        (channels, patch, patch),
    ]
    for size in dict.fromkeys(s for s in sizes if s):
        shape = (side * side, *size)
        named = {n: (shape, dtype) if n == patches else ((1, 3), torch.int64) for n in names}
        (name,) = (n for n in names if n in _GRIDS)
        why = f"{patches} {shape_text(shape)}, the patches of {name} 1×{side}×{side}, from the model's config"
        yield Reading(named, {name: grid}, (why,))


# -- which arguments ---------------------------------------------------------------------------------------------


def _names(model: nn.Module, config: Any, mains: Sequence[str]) -> Iterator[str]:
    yield from mains
    if all(isinstance(getattr(model, f"{part}_model", None), nn.Module) for part in _PARTS[:2]):
        yield from ("input_ids", "pixel_values")  # as CLIP
    if mains[0] != "pixel_values" and getattr(config, "is_encoder_decoder", False):
        yield "decoder_input_ids"


def _parameters(model: nn.Module) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(model.forward).parameters
    except (TypeError, ValueError):
        return {}


def _required(model: nn.Module) -> list[str]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in _parameters(model).values() if p.default is p.empty and p.kind not in kinds]


def _masks_beside(model: nn.Module, main: str, masks: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The mask that the feature extractor gives along with its features, where the forward would take it."""
    beside = [n for n in (f"{main}_mask", "attention_mask") if n in _parameters(model) and n not in masks]
    if _is_features(main) and beside:
        yield (*masks, beside[0])


def _is_bool(model: nn.Module, name: str) -> bool:
    parameter = _parameters(model).get(name)
    return parameter is not None and "Bool" in str(parameter.annotation)


# -- how large they are ------------------------------------------------------------------------------------------


def _kind(name: str, config: Any) -> Callable[[nn.Module, Any], Shape] | None:
    found = _SHAPES.get(name)
    if found is not None:
        return found
    if name.endswith(("_embeds", "hidden_states")) and isinstance(getattr(config, "hidden_size", None), int):
        return lambda model, config: (*_tokens(model, config), int(config.hidden_size))
    length = getattr(
        config, f"{name.removesuffix('_inputs')}_seq_len", None
    )  # ids of a sentence padded to that
    if name.endswith("_inputs") and isinstance(length, int):
        return lambda model, config: (1, length)
    return None


def _is_features(name: str) -> bool:
    return _SHAPES.get(name) is _features


def _tokens(model: nn.Module, config: Any) -> Shape:
    text = getattr(config, "text_config", None) or config
    longest = int(getattr(text, "max_position_embeddings", None) or TOKENS)
    return (1, min(TOKENS, longest) if longest > 0 else TOKENS)  # -1: without a limit


def _pixels(model: nn.Module, config: Any) -> Shape:
    """Images; frames of them for a video model, before the channels."""
    config = getattr(config, "vision_config", None) or config
    size = getattr(config, "image_size", None) or SIDE
    if isinstance(size, Mapping):
        size = (size.get("height", SIDE), size.get("width", SIDE))
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    image = (int(getattr(config, "num_channels", 3)), int(height), int(width))
    frames = getattr(config, "num_frames", None)
    return (1, int(frames), *image) if isinstance(frames, int) else (1, *image)


def _features(model: nn.Module, config: Any) -> Shape:
    """Spectra: (mel bins, frames) for Whisper, whose length is fixed, (frames, numbers) for others."""
    if hasattr(config, "max_source_positions") and hasattr(config, "num_mel_bins"):
        return (1, int(config.num_mel_bins), 2 * int(config.max_source_positions))
    width = _width(config) or _extracted(model)
    if width is None:
        raise InputError(
            f"the config of {type(model).__name__} does not say what input_features look like: give input_size as a "
            "mapping, such as {'input_features': (1, 80, 3000)}, or input_data."
        )
    return (1, TOKENS, width)


def _frames(shape: Shape, model: nn.Module) -> int:
    """How many frames or tokens a size holds: along the last axis where the config fixes their number."""
    fixed = 2 * int(getattr(model.config, "max_source_positions", 0) or 0)
    return shape[-1] if len(shape) == 3 and shape[-1] in (fixed, TOKENS) else shape[1]


def _width(config: Any, depth: int = 3) -> int | None:
    """Numbers of a frame of sound, by the config or those inside it: an encoder's, then of sound, then others."""
    for name in _WIDTHS:
        width = getattr(config, name, None)
        if isinstance(width, int) and not isinstance(width, bool):
            return width
    inside = [
        (n, c) for n, c in vars(config).items() if depth and n.endswith("_config") and hasattr(c, "__dict__")
    ]
    rank = {"encoder_config": 0, "audio_config": 1}
    widths = (_width(c, depth - 1) for n, c in sorted(inside, key=lambda pair: rank.get(pair[0], 2)))
    return next((w for w in widths if w is not None), None)


def _extracted(model: nn.Module) -> int | None:
    """Numbers of a frame as the model's own feature extractor makes them when nothing else is asked of it."""
    package, _, file = type(model).__module__.rpartition(".")
    if not package.startswith("transformers.models.") or not file.startswith("modeling_"):
        return None
    with contextlib.suppress(Exception):  # its packages need not be here
        module = importlib.import_module(f"{package}.{file.replace('modeling_', 'feature_extraction_', 1)}")
        made = next(
            v
            for n, v in vars(module).items()
            if n.endswith("FeatureExtractor") and v.__module__ == module.__name__
        )
        width = made().feature_size
        return int(width) if isinstance(width, int) else None
    return None


def _otherwise(model: nn.Module, sizes: Mapping[str, Shape]) -> Iterator[dict[str, Shape]]:
    """Frames as the feature extractor makes them, or as the first layer takes them, where the config's do not fit."""
    main = next((n for n in sizes if _is_features(n)), None)
    if main is None:
        return
    first = _first_mixing(model)
    widths = [_extracted(model), first.in_features if isinstance(first, nn.Linear) else None]
    shapes = [(1, TOKENS, w) for w in widths if w]
    if isinstance(first, nn.Conv1d):
        shapes.append((1, first.in_channels, TOKENS))
    for shape in dict.fromkeys(shapes):
        if shape != sizes[main]:
            yield {**sizes, main: shape}


def _first_mixing(model: nn.Module) -> nn.Module | None:
    return next((m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv1d))), None)


def _values(model: nn.Module, config: Any) -> Shape:
    """A wave of one second, or (frames, mel bins) where the config fixes both."""
    if hasattr(config, "max_length") and hasattr(config, "num_mel_bins"):
        return (1, int(config.max_length), int(config.num_mel_bins))
    return (1, int(getattr(config, "sampling_rate", None) or SECOND))


def _series(model: nn.Module, config: Any) -> Shape:
    length = getattr(config, "context_length", None) or TOKENS
    return (1, int(length), int(getattr(config, "num_input_channels", 1)))


_SHAPES: Mapping[str, Callable[[nn.Module, Any], Shape]] = {
    "input_ids": _tokens,
    "decoder_input_ids": _tokens,
    "pixel_values": _pixels,
    "input_features": _features,
    "audio_mel": _features,
    "input_values": _values,
    "past_values": _series,
}
