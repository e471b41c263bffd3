"""Model references → models.

A reference is ``timm:NAME``, ``torchvision:NAME``, ``hf:NAME``, ``pkg.mod:factory``, ``file.py:Class`` or
``file.py:fn(width=32)``. What stands in parentheses are Python *literals*; nothing is evaluated. A reference
to a file or module does run that file, as importing it would.

``hf:`` is of transformers: a model type with the defaults of its config (``hf:bert``), a model class with those
of its own (``hf:LlamaForCausalLM``), or a local config.json or a folder with one (``hf:./folder``). Keywords are
fields of the config, as in ``hf:bert(num_hidden_layers=2)``.

``program.pt2`` is a file of ``torch.export.save``. Its graph is read as what it is, JSON; nothing is unpickled.

The only importer of timm, torchvision and transformers' models, and only when a reference asks for them. Models are
built on ``meta``: no weights are made, downloaded or read.
"""

from __future__ import annotations

from sed_torch.zoo.catalogues import CATALOGUES, family_of
from sed_torch.zoo.globs import expand
from sed_torch.zoo.hf import is_local
from sed_torch.zoo.importing import importing, modules_matching, resolve
from sed_torch.zoo.loading import LoadedModel, build, load
from sed_torch.zoo.references import ZOOS, Reference, parse_reference

__all__ = [
    "CATALOGUES",
    "ZOOS",
    "LoadedModel",
    "Reference",
    "build",
    "expand",
    "family_of",
    "importing",
    "is_local",
    "load",
    "modules_matching",
    "parse_reference",
    "resolve",
]
