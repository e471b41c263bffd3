"""What a package of named models answers, and how it is imported."""

from __future__ import annotations

import fnmatch
import importlib
import warnings
from typing import Any

from sed_torch.errors import MissingDependencyError, ModelReferenceError
from sed_torch.zoo.failing import did_you_mean
from sed_torch.zoo.references import ZOOS, Reference

__all__ = ["Catalogue", "import_zoo"]


class Catalogue:
    """A package of named models: what all have in common."""

    name = ""
    classes: str | None = "num_classes"
    """The argument that sets how many classes are told apart; None where models give back no plain logits."""

    def names(self) -> list[str]:
        """Names of all models."""
        raise NotImplementedError

    def matching(self, pattern: str) -> list[str]:
        """Names that a glob matches, such as ``resnet*``."""
        return [n for n in self.names() if fnmatch.fnmatchcase(n, pattern)]

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


def import_zoo(name: str, extra: str) -> Any:
    """The package of a zoo, without the warnings of its import.

    Raises:
        MissingDependencyError: it is not installed.
    """
    package = ZOOS[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingDependencyError(package, extra, f"a reference '{name}:NAME'") from None
