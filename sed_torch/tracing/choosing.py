"""Which entries a network chooses, where nothing but how many it chooses matters: an even load.

A router sends each token to the best k of n experts, and the forward then asks which tokens are whose (``nonzero``,
``where``, ``bincount``). Which experts a token gets depends on data; how many rows the experts read together does
not. Each chooser is given its choices in turn, so that all are taken equally often, as far as the numbers allow.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.fx
from torch import Tensor

from sed_torch.tracing.names import ITEM

__all__ = ["CHOSEN", "Choice", "choice_of", "chose"]

CHOSEN = "choices of data, taken in turn"
"""The kind of value that :class:`Choice` gives."""

_SPREAD = "is spread evenly over its"
_PLACE = {"topk": 1, "sort": 1, "max": 1, "min": 1, "argmax": None, "argmin": None, "argsort": None}
_ONE_OF_MANY = frozenset(["argmax", "argmin", "max", "min"])
_MOST = 4096


class Choice:
    """Indices along a dimension of ``among`` entries, as evenly spread as can be."""

    def __init__(self, how: str, among: int, dim: int, shape: tuple[int, ...], source: str | None) -> None:
        self._how, self._among, self._dim, self._shape = how, among, dim, shape
        self._source = source

    def __str__(self) -> str:
        where = f" ({os.path.basename(self._source)})" if self._source else ""
        return f"what {self._how} chooses {_SPREAD} {self._among}{where}"

    def indices(self, turn: int = 0) -> Tensor:
        """The indices; another ``turn`` begins elsewhere, as a second choice of the same tokens is another one."""
        shape, dim, n = self._shape, self._dim, self._among
        chosen = shape[dim] if dim < len(shape) else 1
        choosers = math.prod(shape) // max(chosen, 1)
        first = torch.arange(choosers, device="cpu") * chosen
        first = (
            first + first // math.lcm(chosen, n) + turn
        )  # where they share a divisor, begin one further on
        at = (first[:, None] + torch.arange(chosen, device="cpu")) % n
        if dim >= len(shape):
            return at.reshape(shape)
        others = [s for i, s in enumerate(shape) if i != dim]
        return at.reshape(*others, chosen).movedim(-1, dim)


def chose(assumed: Iterable[str]) -> bool:
    """Whether a trace assumed a choice of data: then what it did not come by may be chosen another time."""
    return any(_SPREAD in text for text in assumed)


def choice_of(node: torch.fx.Node) -> Choice | None:
    """The choice that a node makes, if it is one whose turns may be told; None otherwise."""
    call, place = node, None
    if node.meta.get("spelling") == ITEM and isinstance(node.args[0], torch.fx.Node):
        call, place = node.args[0], node.args[1]
    how = str(call.meta.get("spelling"))
    if how not in _PLACE or _PLACE[how] != place or not call.args:
        return None
    scores, shape = call.args[0], node.meta.get("shape")
    if not isinstance(scores, torch.fx.Node) or shape is None:
        return None
    scored = scores.meta.get("shape") or ()
    dim = _dim_of(call, how)
    if dim is None or not -len(scored) <= dim < len(scored):
        return None
    dim %= len(scored)
    gone = len(shape) < len(scored)
    among, choosers = scored[dim], math.prod(shape)
    if not 1 < among <= _MOST or (how in _ONE_OF_MANY and choosers < 2):
        return None  # one pick out of a vocabulary, at the end of which a forward stops, is no load
    return Choice(how, among, len(shape) if gone else dim, tuple(shape), call.meta.get("source"))


def _dim_of(call: torch.fx.Node, how: str) -> int | None:
    place = 2 if how == "topk" else 1
    found: Any = call.args[place] if len(call.args) > place else call.kwargs.get("dim")
    if found is None and how in ("topk", "sort", "argsort"):
        return -1
    return found if isinstance(found, int) and not isinstance(found, bool) else None
