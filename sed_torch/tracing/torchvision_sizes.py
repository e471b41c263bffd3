"""Input sizes of torchvision's models, from what torchvision publishes with their weights. Imports nothing of it."""

from __future__ import annotations

import enum
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from sed_torch.tables import shape_text

__all__ = ["KnownSizes", "torchvision_sizes"]

_CLIP = 16  # frames that the video models were trained on, where their weights do not say


@dataclass(frozen=True)
class KnownSizes:
    """Sizes of the positional arguments, a list of sizes for a list of images, and where they come from."""

    sizes: tuple[Any, ...]
    why: str


def torchvision_sizes(model: nn.Module) -> KnownSizes | None:
    """None for a model that is not torchvision's, or of which torchvision says nothing."""
    if not type(model).__module__.startswith("torchvision.models."):
        return None
    return _of_detector(model) or _of_weights(model)


def _of_detector(model: nn.Module) -> KnownSizes | None:
    """Detectors take a list of images and resize them themselves."""
    transform = getattr(model, "transform", None)
    smallest = getattr(transform, "min_size", None)
    if not isinstance(smallest, (tuple, list)):
        return None
    width, height = getattr(transform, "fixed_size", None) or (smallest[-1], smallest[-1])
    image = (3, int(height), int(width))
    return KnownSizes(([image],), f"input [{shape_text(image)}], from the model's {type(transform).__name__}")


def _of_weights(model: nn.Module) -> KnownSizes | None:
    weights = _nearest_weights(model)
    if weights is None:
        return None
    meta: Mapping[str, Any] = weights.meta
    transforms = weights.transforms()
    sides = getattr(transforms, "crop_size", None) or getattr(transforms, "resize_size", None)
    why = f"from the transforms of torchvision's {type(weights).__name__}"
    if sides is None:
        shape = (1, 3, *meta["min_size"])
        return (
            KnownSizes((shape, shape), f"inputs {shape_text(shape)} twice, {why}")
            if _is_flow(transforms)
            else None
        )
    channels, axes = _first_convolution(model)
    height, width = sides[0], sides[-1]
    own = getattr(model, "image_size", None)  # ViT, which may have been made for another size
    if isinstance(own, int):
        height = width = own
    frames = (meta.get("min_temporal_size", _CLIP),) if axes == 3 else ()
    frames = tuple(max(n, _CLIP) for n in frames)
    shape = (1, channels, *frames, height, width)
    return KnownSizes((shape,), f"input {shape_text(shape)}, {why}")


def _nearest_weights(model: nn.Module) -> Any:
    """Of the weights that the model's file defines, those nearest in their number of parameters."""
    file = type(model).__module__
    enums = [
        v
        for v in vars(sys.modules[file]).values()
        if isinstance(v, enum.EnumMeta) and v.__name__.endswith("Weights") and v.__module__ == file
    ]
    defaults = [getattr(e, "DEFAULT", None) for e in enums]
    count = sum(p.numel() for p in model.parameters())
    known = [w for w in defaults if w is not None]
    return min(known, key=lambda w: abs(w.meta.get("num_params", 0) - count), default=None)


def _is_flow(transforms: Any) -> bool:
    return type(transforms).__name__ == "OpticalFlow"


def _first_convolution(model: nn.Module) -> tuple[int, int]:
    """(input channels, axes)."""
    first = next((m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))), None)
    return (first.in_channels, len(first.kernel_size)) if first is not None else (3, 2)
