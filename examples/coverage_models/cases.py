"""How a configuration is written down: a package is an object, a configuration is a row of it.

    VIT = Package("vit-pytorch", "1.26.11", "vit_pytorch")
    VIT.row("ViT", image(64), image_size=64, patch_size=8, num_classes=10, dim=64, depth=2, heads=4, mlp_dim=128)

Nothing here imports a package before its rows are asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["PACKAGES", "Case", "Given", "Made", "Package", "floats", "ids", "image", "made", "tokens"]


@dataclass(frozen=True)
class Given:
    """An input that is made when it is needed.

    Attributes:
        shape: with batch dimension.
        dtype: floats are drawn from a normal distribution, or between 0 and 1 where ``high`` is 1.
        high: whole numbers are drawn below it.
        ones: ones instead (masks, lengths).
    """

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    high: int = 0
    ones: bool = False

    def tensor(self) -> Tensor:
        generator = torch.Generator().manual_seed(len(self.shape) + sum(self.shape))
        if self.ones:
            return torch.ones(self.shape, dtype=self.dtype)
        if self.dtype.is_floating_point or self.dtype.is_complex:
            draw = torch.rand if self.high == 1 else torch.randn
            return draw(self.shape, dtype=self.dtype, generator=generator)
        return torch.randint(0, self.high or 2, self.shape, generator=generator).to(self.dtype)


def floats(*shape: int, high: int = 0) -> Given:
    return Given(shape, high=high)


def image(side: int, channels: int = 3, batch: int = 1) -> Given:
    return Given((batch, channels, side, side))


def ids(*shape: int, high: int = 2) -> Given:
    """Whole numbers below ``high``."""
    return Given(shape, torch.int64, high)


def tokens(length: int, high: int = 100) -> Given:
    """One sentence."""
    return ids(1, length, high=high)


def ones(*shape: int, dtype: torch.dtype = torch.int64) -> Given:
    return Given(shape, dtype, ones=True)


@dataclass(frozen=True)
class Made:
    """An argument that is itself made by a constructor of the package, when the model is made."""

    target: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


def made(target: str, *args: Any, **kwargs: Any) -> Made:
    return Made(target, args, kwargs)


@dataclass(frozen=True)
class Case:
    """One configuration: its name, how to make it, and its inputs (None: they are left to be inferred)."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Any = None


PACKAGES: dict[str, Package] = {}
"""Every package, by the name that pip knows."""


class Package:
    """A package that pip installs, and configurations of its models.

    Args:
        dist: the name that pip knows.
        version: the one that was tried.
        module: what is imported; names of rows are looked up there.
        needs: what its models need beyond what pip installs with it.
        alone: install it without what it asks for (which pins old versions, or is large and not needed here).
    """

    def __init__(
        self, dist: str, version: str, module: str = "", needs: tuple[str, ...] = (), alone: bool = False
    ) -> None:
        self.dist, self.version, self.module = dist, version, module or dist.replace("-", "_")
        self.needs, self.alone = needs, alone
        self._sources: list[Callable[[], Iterator[Case]]] = []
        PACKAGES[dist] = self

    def row(self, target: str, inputs: Any, *args: Any, label: str = "", **kwargs: Any) -> None:
        """A configuration: what is called (``Class``, ``module.Class`` below the package's module, or
        ``other.package:factory``), its inputs, and what it is called with.
        """
        name = f"{self.dist}:{target}" + (f" {label}" if label else "")
        case = Case(name, lambda: self._call(made(target, *args, **kwargs)), inputs)
        self._sources.append(lambda: iter([case]))

    def rows(self, source: Callable[[], Iterator[Case]]) -> Callable[[], Iterator[Case]]:
        """Decorates a function that gives many, after the package's import."""
        self._sources.append(source)
        return source

    def cases(self) -> Iterator[Case]:
        """All of them; the same name twice is numbered."""
        seen: dict[str, int] = {}
        for source in self._sources:
            for case in source():
                seen[case.name] = count = seen.get(case.name, 0) + 1
                yield case if count == 1 else Case(f"{case.name} #{count}", case.make, case.inputs)

    def _call(self, what: Made) -> Any:
        def settled(value: Any) -> Any:
            if isinstance(value, Made):
                return self._call(value)
            if isinstance(value, Given):
                return value.tensor()
            if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
                return type(value)(settled(v) for v in value)
            if isinstance(value, dict):
                return {k: settled(v) for k, v in value.items()}
            return value

        return self.found(what.target)(*settled(what.args), **settled(what.kwargs))

    def found(self, target: str) -> Any:
        """What a row's name stands for."""
        source, colon, name = target.rpartition(":")
        if colon:
            return _attribute(importlib.import_module(source), name)
        module = importlib.import_module(self.module)
        try:
            return _attribute(module, target)
        except AttributeError:
            inner, _, last = target.rpartition(".")
            if not inner:
                raise
            return getattr(importlib.import_module(f"{self.module}.{inner}"), last)


def _attribute(found: Any, path: str) -> Any:
    for part in path.split("."):
        found = getattr(found, part)
    return found
