"""``package.module:function`` and its like → a real object; :mod:`sed_torch.zoo` knows how to read and find them.

:func:`sed_torch.zoo.load` builds on ``meta``, where there are no weights to train; here they are real.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from sed_torch import zoo
from sed_torch.errors import ModelReferenceError

__all__ = ["call", "call_function", "network"]


def call(function: Callable[..., Any], num_classes: int, *args: Any, **kwargs: Any) -> Any:
    """The function's result; it is told the number of classes if it has a parameter of that name to fill."""
    try:
        named = "num_classes" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C, say
        named = False
    if named and not args:
        kwargs.setdefault("num_classes", num_classes)
    return function(*args, **kwargs)


def call_function(ref: str) -> Any:
    """What the function of a reference to a module or file returns.

    Raises:
        ModelReferenceError: the reference is malformed, names nothing, or names no function. What the function
            raises is passed on.
    """
    reference = zoo.parse_reference(ref)
    with zoo.importing(reference):
        found = zoo.resolve(reference)
        if not callable(found):
            raise ModelReferenceError(f"{ref} is a {type(found).__name__}, expected a function")
        return found(*reference.args, **reference.kwargs)


def network(ref: str, num_classes: int) -> nn.Module:
    """The network of a reference with fresh weights, drawn from torch's global generator.

    Raises:
        ModelReferenceError: as :func:`sed_torch.zoo.load`. What the network's code raises is passed on.
    """
    reference = zoo.parse_reference(ref)
    if reference.kind in zoo.ZOOS:
        family = zoo.CATALOGUES[reference.kind]()
        family.check(reference)
        if family.classes is None:
            raise ModelReferenceError(
                f"{ref} gives back no plain logits to train: refer to a function in a file of yours that makes a "
                "module which does"
            )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # what a zoo says of its pretrained weights concerns no fresh ones
            return _module(family.create(_with(reference, {family.classes: num_classes})), ref)
    with zoo.importing(reference):
        found = zoo.resolve(reference)
        if isinstance(found, nn.Module):
            raise ModelReferenceError(
                f"{ref} is a module, whose weights are made already; name a class or function that makes one"
            )
        return _module(call(found, num_classes, *reference.args, **reference.kwargs), ref)


def _with(reference: zoo.Reference, defaults: Mapping[str, Any]) -> zoo.Reference:
    from dataclasses import replace

    return replace(reference, kwargs={**defaults, **reference.kwargs})


def _module(made: Any, ref: str) -> nn.Module:
    if not isinstance(made, nn.Module):
        raise ModelReferenceError(f"{ref} made a {type(made).__name__}, expected an nn.Module")
    return made
