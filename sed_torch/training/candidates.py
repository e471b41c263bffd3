"""What is trained: architectures of a space, models of a ranking, references or factories."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from sed_torch.errors import InputError, ModelError, SpaceError
from sed_torch.ranking import Ranking
from sed_torch.spaces import ALIASES, SPACES, Space, get_space
from sed_torch.training import networks
from sed_torch.training.references import call, network
from sed_torch.zoo import expand

__all__ = ["Networks", "Trainee", "candidates"]

Networks = str | Space[Any] | Ranking | Callable[[], nn.Module] | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Trainee:
    """A network to train.

    Attributes:
        name: for its rows.
        make: number of classes → the network, with weights drawn from torch's global generator.
    """

    name: str
    make: Callable[[int], nn.Module]


@dataclass(frozen=True)
class _OfSpace:
    space: str
    arch: str
    width: int | None
    cells: int | None

    def __call__(self, num_classes: int) -> nn.Module:
        return networks.space_network(self.space, self.arch, num_classes, self.width, self.cells)


@dataclass(frozen=True)
class _OfReference:
    ref: str

    def __call__(self, num_classes: int) -> nn.Module:
        return network(self.ref, num_classes)


@dataclass(frozen=True)
class _OfFactory:
    name: str
    factory: Callable[..., Any]

    def __call__(self, num_classes: int) -> nn.Module:
        made = call(self.factory, num_classes)
        if not isinstance(made, nn.Module):
            raise ModelError(f"{self.name} made a {type(made).__name__}, expected an nn.Module")
        return made


def candidates(
    source: Networks,
    n: int | None = None,
    *,
    archs: Sequence[str] | None = None,
    sample_seed: int = 0,
    width: int | None = None,
    cells: int | None = None,
) -> list[Trainee]:
    """The networks of a call, each with a name of its own; see :func:`sed_torch.counterparts`.

    Raises:
        ModelReferenceError: a name or pattern matches no model.
        SpaceError: an architecture is not of the space, or the space has fewer than ``n``.
        ModelError: a module instead of a factory.
        InputError: ``n`` < 1, or an argument that goes with a space only.
    """
    if n is not None and n < 1:
        raise InputError(f"n must be 1 or more, found {n}")
    if isinstance(source, str) and source in (*SPACES, *ALIASES):
        source = get_space(source)
    if isinstance(source, Space):
        networks.check_reduced(source.name, width, cells)
        names = (
            _sampled(source, 24 if n is None else n, sample_seed)
            if archs is None
            else _given(source, archs, n)
        )
        return [Trainee(a, _OfSpace(source.name, a, width, cells)) for a in names]
    for name, value in (("archs", archs), ("width", width), ("cells", cells)):
        if value is not None:
            raise InputError(f"{name} goes with a space only")
    found = _ranked(source) if isinstance(source, Ranking) else _listed(source)
    return found if n is None else found[:n]


def _given(space: Space[Any], archs: Sequence[str], n: int | None) -> list[str]:
    return list(dict.fromkeys(space.format(space.resolve(a)) for a in archs))[:n]


def _sampled(space: Space[Any], n: int, seed: int) -> list[str]:
    """Distinct architectures, uniformly drawn; those for a smaller ``n`` come first."""
    if n > space.size:
        raise SpaceError(f"{space.name} has {space.size:,} architectures, asked for {n:,}")
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < n:
        found[space.format(space.sample(rng))] = None
    return list(found)


def _ranked(ranking: Ranking) -> list[Trainee]:
    if not ranking.scored:
        raise ModelError("the ranking has no row with a score: there is nothing to train")
    return [Trainee(row.name, _OfReference(row.name)) for row in ranking.scored]


def _listed(source: Any) -> list[Trainee]:
    if isinstance(source, Mapping):
        return [_candidate(target, str(name)) for name, target in source.items()]
    if isinstance(source, (str, os.PathLike)) or callable(source):
        source = [source]
    found: list[Trainee] = []
    for target in source:
        if isinstance(target, str):
            found += [_candidate(ref, ref) for ref in expand(target)]
        else:
            found.append(_candidate(target, getattr(target, "__name__", type(target).__name__)))
    return _unique(found)


def _candidate(target: Any, name: str) -> Trainee:
    if isinstance(target, str):
        return Trainee(name, _OfReference(target))
    if isinstance(target, nn.Module):
        raise ModelError(
            f"{name} is a module, whose weights are made already, so that no seed can draw them; give a class or "
            "function that makes one"
        )
    if not callable(target):
        raise ModelError(f"cannot train a {type(target).__name__}: expected references, factories or a space")
    return Trainee(name, _OfFactory(name, target))


def _unique(found: list[Trainee]) -> list[Trainee]:
    """``make``, ``make#2``: two factories of one name are two networks; the same reference twice is one."""
    out: dict[str, Trainee] = {}
    for candidate in found:
        name, count = candidate.name, 1
        while name in out and out[name].make != candidate.make:
            count += 1
            name = f"{candidate.name}#{count}"
        out[name] = Trainee(name, candidate.make)
    return list(out.values())
