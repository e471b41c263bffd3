"""timm, torchvision and transformers, looked up only when a reference asks for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from sed_torch.zoo.catalogue import Catalogue, import_zoo
from sed_torch.zoo.hf import HuggingFace
from sed_torch.zoo.references import ZOOS, Reference

__all__ = ["CATALOGUES", "Catalogue", "family_of"]


class _Timm(Catalogue):
    name = "timm"

    def __init__(self) -> None:
        self._timm = import_zoo("timm", "timm")

    def names(self) -> list[str]:
        return list(self._timm.list_models())

    def known(self, name: str) -> bool:
        # A tag of weights may follow the architecture, as in resnet50.a1_in1k.
        return bool(self._timm.is_model(name))

    def create(self, reference: Reference) -> Any:
        return self._timm.create_model(reference.name, **{**reference.kwargs, "pretrained": False})

    def family(self, name: str) -> str:
        return str(self._timm.models.model_entrypoint(name).__module__).rsplit(".", 1)[-1]


class _Torchvision(Catalogue):
    name = "torchvision"

    def __init__(self) -> None:
        self._models = import_zoo("torchvision", "test").models

    def names(self) -> list[str]:
        return list(self._models.list_models())

    def create(self, reference: Reference) -> Any:
        builder = self._models.get_model_builder(reference.name)
        # Without a word, segmentation and detection models would download their backbone's weights.
        given = {"weights": None, "weights_backbone": None}
        taken = {k: v for k, v in given.items() if k in inspect.signature(builder).parameters}
        return builder(**{**reference.kwargs, **taken})

    def family(self, name: str) -> str:
        module = str(self._models.get_model_builder(name).__module__)
        return module.removeprefix("torchvision.models.")


CATALOGUES: dict[str, Callable[[], Catalogue]] = {
    "timm": _Timm,
    "torchvision": _Torchvision,
    "hf": HuggingFace,
}
"""By the word before the colon."""


def family_of(ref: str) -> str | None:
    """The family of a reference to a zoo, without building it; None for other or unknown ones."""
    zoo, _, rest = ref.partition(":")
    if zoo not in ZOOS:
        return None
    known, name = CATALOGUES[zoo](), rest.partition("(")[0].strip()
    return known.family(name) if known.known(name) else None
