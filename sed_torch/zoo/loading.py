"""From a reference to a model."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from sed_torch.errors import ModelReferenceError
from sed_torch.zoo.archives import read_program
from sed_torch.zoo.catalogues import CATALOGUES
from sed_torch.zoo.constructing import construct
from sed_torch.zoo.failing import did_you_mean
from sed_torch.zoo.importing import importing, package_of, resolve
from sed_torch.zoo.references import ZOOS, parse_reference

__all__ = ["LoadedModel", "build", "load"]


@dataclass(frozen=True)
class LoadedModel:
    """A model and how it came to be.

    Attributes:
        ref: the reference, or a name for a model that came without one.
        model: the module.
        built_on: ``"meta"`` when its parameters take no memory, else ``"cpu"``.
        family: timm's model file, torchvision's module, transformers' model type, else the model's class.
        reason: why it was not built on ``meta`` entirely; None when it was.
    """

    ref: str
    model: nn.Module
    built_on: Literal["meta", "cpu"]
    family: str
    reason: str | None = None


def load(ref: str) -> LoadedModel:
    """Build the model that a reference names, on ``meta`` where its constructor allows.

    Args:
        ref: ``timm:NAME``, ``torchvision:NAME``, ``hf:NAME``, ``pkg.mod:factory``, ``file.py:Class``,
            ``file.py:fn(width=32)`` or ``program.pt2``; see :mod:`sed_torch.zoo`. Modules and files
            are looked up from the working directory.

    Raises:
        ModelReferenceError: the reference is malformed, names nothing (the message lists close matches), or
            what it names cannot be built.
        MissingDependencyError: the package of a zoo is needed and not installed.
    """
    reference = parse_reference(ref)
    if reference.kind in ZOOS:
        zoo = CATALOGUES[reference.kind]()
        zoo.check(reference)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a zoo says of its own weights concerns no graph
            model, built_on, reason = construct(lambda: zoo.create(reference), ref)
        return LoadedModel(ref, model, built_on, zoo.family(reference.name), reason)
    if reference.kind == "program":
        program = read_program(ref)
        return LoadedModel(
            ref, program, "meta", type(program).__name__, "the weights of the file are not read"
        )
    with importing(reference), torch.random.fork_rng(devices=[]):
        return build(resolve(reference), ref, reference.args, reference.kwargs, called=reference.called)


def build(
    target: Any,
    ref: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    called: bool = False,
) -> LoadedModel:
    """A module as it is, or the one that a class or factory makes.

    Raises:
        ModelReferenceError: ``target`` is neither, or makes something else, or fails.
    """
    if isinstance(target, nn.Module) and not called:
        devices = {p.device.type for p in target.parameters()}
        built_on: Literal["meta", "cpu"] = "meta" if devices == {"meta"} else "cpu"
        return LoadedModel(ref, target, built_on, type(target).__name__, "given as a module, not built here")
    if not callable(target):
        raise ModelReferenceError(
            f"{ref} is a {type(target).__name__}: expected an nn.Module, a class or a function that makes one"
        )
    _check_arguments(target, ref, args, kwargs or {})
    model, built_on, reason = construct(lambda: target(*args, **(kwargs or {})), ref)
    return LoadedModel(ref, model, built_on, type(model).__name__, reason)


def _refuse_unknown(signature: inspect.Signature, plain: str, ref: str, kwargs: Mapping[str, Any]) -> None:
    """A misspelt keyword, with what is near and what there is."""
    taken = [
        n for n, p in signature.parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    for name in kwargs:
        if name not in taken:
            there = f"it takes {', '.join(taken)}" if taken else "it takes no arguments"
            raise ModelReferenceError(
                f"{ref} could not be built: {plain} takes no {name!r}{did_you_mean(name, taken) or f'; {there}'}"
            )


def _check_arguments(target: Any, ref: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Arguments that are missing or too many, before anything is run."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        plain = ref.partition("(")[0]
        source, _, name = plain.rpartition(":")
        needed = [
            p.name
            for p in signature.parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY, p.KEYWORD_ONLY)
        ]
        example = ", ".join(f"{n}=…" for n in needed)
        _refuse_unknown(signature, plain, ref, kwargs)
        module = package_of(Path(source).resolve())[1] if source.endswith(".py") else source
        raise ModelReferenceError(
            f"{ref} could not be built: {type(error).__name__}: {error}. "
            f"Write {plain}({example}) with Python literals; where it takes an "
            f"object, such as a config, refer to a function in a file of yours:\n"
            f"    from {module} import {name.partition('.')[0]}\n"
            f"    def make():\n"
            f"        return {name}({example})"
        ) from error
