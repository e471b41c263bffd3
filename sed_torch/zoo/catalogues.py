"""timm and torchvision, looked up only when a reference asks for them."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable
from typing import Any

from sed_torch.errors import MissingDependencyError, ModelReferenceError
from sed_torch.zoo.failing import did_you_mean
from sed_torch.zoo.references import ZOOS, Reference

__all__ = ["CATALOGUES", "Catalogue", "family_of"]


class Catalogue:
    """A package of named models: what the two have in common."""

    name = ""

    def names(self) -> list[str]:
        """Names of all models."""
        raise NotImplementedError

    def known(self, name: str) -> bool:
        """Whether a name is that of a model."""
        return name in self.names()

    def create(self, reference: Reference) -> Any:
        """The model, without trained weights."""
        raise NotImplementedError

    def family(self, name: str) -> str:
        """The file that the model comes from."""
        raise NotImplementedError

    def check(self, reference: Reference) -> None:
        """Raise ModelReferenceError where there is no such model, or where it cannot be called so."""
        if not self.known(reference.name):
            hint = did_you_mean(reference.name, self.names())
            raise ModelReferenceError(f"{self.name} has no model {reference.name!r}{hint}")
        if reference.args:
            raise ModelReferenceError(f"{reference.text}: arguments of {self.name} models go by keyword")


class _Timm(Catalogue):
    name = "timm"

    def __init__(self) -> None:
        self._timm = _import_zoo("timm", "timm")

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
        self._models = _import_zoo("torchvision", "test").models

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


def _import_zoo(package: str, extra: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingDependencyError(package, extra, f"a reference '{package}:NAME'") from None


CATALOGUES: dict[str, Callable[[], Catalogue]] = {"timm": _Timm, "torchvision": _Torchvision}
"""By the word before the colon."""


def family_of(ref: str) -> str | None:
    """The family of a timm or torchvision reference, without building it; None for other or unknown ones."""
    zoo, _, rest = ref.partition(":")
    if zoo not in ZOOS:
        return None
    known, name = CATALOGUES[zoo](), rest.partition("(")[0]
    return known.family(name) if known.known(name) else None
