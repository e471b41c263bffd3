"""Models of transformers, made from configs that are here: nothing is downloaded, no code of a repository is run."""

from __future__ import annotations

import contextlib
import fnmatch
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sed_torch.errors import ModelReferenceError
from sed_torch.zoo.catalogue import Catalogue, import_zoo
from sed_torch.zoo.failing import did_you_mean
from sed_torch.zoo.references import Reference

__all__ = ["HuggingFace", "is_local"]


class HuggingFace(Catalogue):
    """Model types (``bert``), model classes (``BertModel``), and folders or files with a config of one."""

    name = "hf"
    classes = None

    def __init__(self) -> None:
        self._package = import_zoo("hf", "hf")
        auto = importlib.import_module("transformers.models.auto.modeling_auto")
        self._types = list(auto.MODEL_MAPPING_NAMES)
        self._heads: dict[str, list[str]] = {}  # classes that transformers' Auto classes make, by model type
        for mapping in (v for k, v in vars(auto).items() if k.endswith("_MAPPING_NAMES")):
            for kind, classes in mapping.items():
                listed = [classes] if isinstance(classes, str) else classes
                self._heads.setdefault(kind, []).extend(c for c in listed if isinstance(c, str))

    def names(self) -> list[str]:
        return [*self._types, *self._classes()]

    def matching(self, pattern: str) -> list[str]:
        """Model types; where none matches, classes, as in ``Bert*``: a type is made as one of the classes."""
        for names in (self._types, self._classes()):
            found = [n for n in names if fnmatch.fnmatchcase(n, pattern)]
            if found:
                return found
        return []

    def known(self, name: str) -> bool:
        return name in self._types or self._class(name) is not None or is_local(name)

    def check(self, reference: Reference) -> None:
        name = reference.name
        if not self.known(name):
            raise ModelReferenceError(self._unknown(name))
        super().check(reference)
        config = self._config(reference, {})
        for field in reference.kwargs:
            if not hasattr(config, field):
                hint = did_you_mean(field, list(config.to_dict()))
                raise ModelReferenceError(
                    f"{reference.text}: {type(config).__name__} has no field {field!r}{hint}"
                )
        config = self._config(reference, reference.kwargs)
        if getattr(config, "quantization_config", None) is not None:
            raise ModelReferenceError(
                f"{reference.text}: the config quantizes the weights, which happens as they are loaded, and none are "
                f"loaded here. Write hf:{reference.name}(quantization_config=None) for the model before that"
            )
        self._named_class(reference, config)

    def create(self, reference: Reference) -> Any:
        config = self._config(reference, reference.kwargs)
        _leave_weights_out(config)
        kind = self._named_class(reference, config)
        with _offline():
            if kind is None:
                return self._package.AutoModel.from_config(config, trust_remote_code=False)
            return kind._from_config(config)  # takes the config's dtype, as AutoModel.from_config

    def family(self, name: str) -> str:
        if name in self._types:
            return name
        kind = self._class(name)
        config = (
            self._config(Reference(f"hf:{name}", "hf", "hf", name), {}) if kind is None else kind.config_class
        )
        return str(config.model_type)

    def _classes(self) -> list[str]:
        return sorted({c for classes in self._heads.values() for c in classes if self._class_name(c)})

    @staticmethod
    def _class_name(name: str) -> bool:
        return not name.endswith(("Config", "Processor", "Tokenizer"))

    def _class(self, name: str) -> Any:
        """The model class of this name that transformers has, else None."""
        if not name.isidentifier() or name.startswith("_"):
            return None
        found = getattr(self._package, name, None)
        base = self._package.PreTrainedModel
        if isinstance(found, type) and issubclass(found, base) and getattr(found, "config_class", None):
            return found
        return None

    def _config(self, reference: Reference, fields: Any) -> Any:
        """The config that a reference to something known names, with some fields set."""
        name = reference.name
        try:
            with _offline():
                if name in self._types:
                    return self._package.AutoConfig.for_model(name, **fields)
                kind = self._class(name)
                if kind is not None:
                    return kind.config_class(**fields)
                return self._read(Path(name).expanduser(), fields)
        except ModelReferenceError:
            raise
        except Exception as error:  # a config's own code may raise anything
            said = " ".join(str(error).split())
            raise ModelReferenceError(f"{reference.text}: the config cannot be made: {said}") from error

    def _read(self, path: Path, fields: Any) -> Any:
        file = path / "config.json" if path.is_dir() else path
        if not file.is_file():
            raise ModelReferenceError(f"hf:{path}: the folder has no config.json")
        only_here = {"local_files_only": True, "trust_remote_code": False}
        config = self._package.AutoConfig.from_pretrained(os.fspath(file), **only_here)
        if not fields:
            return config
        # Made anew rather than set afterwards, since a config derives fields from others.
        kind = type(config)
        data = kind.get_config_dict(os.fspath(file), local_files_only=True)[0]
        aliases = kind.attribute_map
        return kind.from_dict({**data, **{aliases.get(k, k): v for k, v in fields.items()}})

    def _named_class(self, reference: Reference, config: Any) -> Any:
        """The class to make: that of the reference, or the first of the config's architectures; None for AutoModel."""
        if reference.name in self._types:
            return None
        kind = self._class(reference.name)
        architecture = next(iter(getattr(config, "architectures", None) or ()), None)
        if kind is not None or architecture is None:
            return kind
        kind = self._class(architecture)
        if kind is None:
            raise ModelReferenceError(
                f"{reference.text}: the config names the architecture {architecture!r}, which transformers "
                f"{self._package.__version__} does not have, and code beside a config is not run. Write "
                f"hf:{reference.name}(architectures=None) for the bare model of the type {config.model_type!r}"
            )
        return kind

    def _unknown(self, name: str) -> str:
        local = "a local config.json, or a folder with one, as in hf:./folder"
        if "/" in name or "\\" in name or name.endswith(".json"):
            return (
                f"hf:{name}: there is no such file or folder here, and nothing is downloaded from a hub. Give {local}; "
                "a model's config.json is small and can be fetched by hand"
            )
        heads = [f"hf:{c}" for c in dict.fromkeys(self._heads.get(name, ())) if self._class(c)]
        if heads:
            return f"transformers has no bare model of the type {name!r}; name a class, {' or '.join(heads)}"
        return (
            f"transformers has no model {name!r}{did_you_mean(name, self.names()) or '.'} Nothing is downloaded from a "
            f"hub: give a model type such as hf:bert, a class such as hf:BertModel, or {local}"
        )


def is_local(name: str) -> bool:
    """Whether a name is that of a folder or file which is here."""
    return Path(name).expanduser().exists()


def _leave_weights_out(config: Any) -> None:
    """A backbone inside a model would bring trained weights along."""
    if getattr(config, "use_pretrained_backbone", False):
        config.use_pretrained_backbone = False
    for name in getattr(config, "sub_configs", None) or ():
        if (part := getattr(config, name, None)) is not None:
            _leave_weights_out(part)


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Whatever asks the hub for something in the meantime fails at once."""
    constants: Any = importlib.import_module("huggingface_hub.constants")
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
