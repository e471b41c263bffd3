"""Accuracies that torchvision publishes with its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from sed_torch.errors import InputError, MissingDependencyError
from sed_torch.evidence.accuracies import Accuracies, AccuracyRow

__all__ = ["torchvision_accuracies"]


def torchvision_accuracies(recipe: Literal["best", "V1", "V2"] = "best") -> Accuracies:
    """ImageNet-1K top-1 of torchvision's published weights, one row an architecture; downloads nothing.

    Args:
        recipe: ``"V1"`` (the original recipes) or ``"V2"`` (the improved ones) takes weights of that name alone,
            ``"best"`` the better of both. Weights pretrained on more data (SWAG) and without a published
            ImageNet-1K figure are left out, and listed.

    Raises:
        MissingDependencyError: torchvision is not installed.
        InputError: another recipe.
    """
    wanted = {"best": ("IMAGENET1K_V1", "IMAGENET1K_V2"), "V1": ("IMAGENET1K_V1",), "V2": ("IMAGENET1K_V2",)}
    if recipe not in wanted:
        raise InputError(f"recipe must be one of {', '.join(wanted)}, found {recipe!r}")
    try:
        import torchvision
        from torchvision import models
    except ImportError as error:
        raise MissingDependencyError("torchvision", "test", "torchvision_accuracies") from error
    rows, left_out = [], []
    for name in models.list_models(module=models):
        found = []
        for weights in models.get_model_weights(name):
            accuracy = weights.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
            reason = _torchvision_reason(weights.name, accuracy, wanted[recipe])
            if reason is None:
                found.append(_torchvision_row(name, weights, float(accuracy)))
            else:
                left_out.append((f"{name}.{weights.name}", reason))
        if found:
            best = max(found, key=lambda r: r.accuracy)
            rows.append(
                AccuracyRow(
                    name, best.accuracy, best.recipe, len(found), best.img_size, best.params, best.macs
                )
            )
    reduction = "best of V1 and V2 an architecture" if recipe == "best" else f"{wanted[recipe][0]} alone"
    source = f"torchvision {torchvision.__version__} weights metadata"
    without = tuple(left_out)
    return Accuracies(tuple(rows), "ImageNet-1K top-1", "%", source, reduction, without, zoo="torchvision")


def _torchvision_reason(weights: str, accuracy: float | None, wanted: Sequence[str]) -> str | None:
    if "SWAG" in weights:
        return "pretrained on more data than ImageNet-1K"
    if accuracy is None or not math.isfinite(accuracy):
        return "no ImageNet-1K accuracy is published"
    return None if weights in wanted else f"not {' or '.join(wanted)}"


def _torchvision_row(name: str, weights: Any, accuracy: float) -> AccuracyRow:
    crop = getattr(weights.transforms, "keywords", {}).get("crop_size")
    ops = weights.meta.get("_ops")  # GFLOPS in torchvision's counting: one multiply-accumulate is one
    return AccuracyRow(
        name,
        accuracy,
        recipe=weights.name,
        img_size=crop if isinstance(crop, int) else None,
        params=weights.meta.get("num_params"),
        macs=None if ops is None else float(ops) * 1e9,
    )
