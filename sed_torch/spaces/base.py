"""What every search space offers, and the builder that its topologies are written with."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sed_torch.errors import SpaceError
from sed_torch.topology import Step, Topology, TopologyBuilder, Value

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Scores", "Space", "SpaceBuilder"]

A = TypeVar("A", bound=Hashable)

Scores = NDArray[np.float64]
"""One score an architecture, in nats, higher is better."""


class SpaceBuilder(TopologyBuilder):
    """A :class:`~sed_torch.TopologyBuilder` that knows zeros.

    Args:
        name: the topology's name.
        keep_dead: write operators that read zeros down as well. They have no part in the score, but own
            parameters and cost multiply-accumulates in the network as published.
    """

    def __init__(self, name: str = "", *, keep_dead: bool = False) -> None:
        super().__init__(name)
        self.keep_dead = keep_dead

    def zeros(self, channels: int, size: tuple[int, ...], path: str = "") -> Value | None:
        """What the operation "none" leaves: nothing, or (``keep_dead``) a map that no input reaches."""
        if not self.keep_dead:
            return None
        step = Step(self._unique(path or "zeros"), "same", path=path, op="zeros", ndim=len(size))
        return self._append(step, channels, size)

    def add_live(self, values: Iterable[Value | None], path: str = "") -> Value | None:
        """Sum of the values that are there; None when none is."""
        there = [v for v in values if v is not None]
        return self.add(*there, path=path) if there else None


class Space(ABC, Generic[A]):
    """A search space: encodes, decodes, samples, builds and scores its architectures.

    Architectures are immutable values of a type of the space's own; wherever one is taken, its string in the
    community's encoding is taken as well.

    Attributes:
        name: key in :data:`sed_torch.spaces.SPACES`.
        title: the space's full name.
        source: where it was published.
        arch_type: type of its architectures.
        size: number of architectures that differ in encoding.
        image_size: height and width of the (square, 3-channel) input it was trained at.
        num_classes: outputs of the classifier it was trained with.
        enumerable: whether iterating over all of it is feasible.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    arch_type: ClassVar[type[Any]]
    size: ClassVar[int]
    image_size: ClassVar[int] = 32
    num_classes: ClassVar[int] = 10
    enumerable: ClassVar[bool] = True

    @abstractmethod
    def parse(self, text: str) -> A:
        """Architecture from its string.

        Raises:
            SpaceError: if the string is not of this space.
        """

    @abstractmethod
    def format(self, arch: A) -> str:
        """String of an architecture; :meth:`parse` reads it back."""

    @abstractmethod
    def __iter__(self) -> Iterator[A]:
        """All architectures, in a fixed order.

        Raises:
            SpaceError: if the space is not :attr:`enumerable`.
        """

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> A:
        """A random architecture."""

    @abstractmethod
    def mutate(self, arch: A | str, rng: np.random.Generator) -> A:
        """A valid neighbour of an architecture, never the same one."""

    @abstractmethod
    def build(self, arch: A | str, *, num_classes: int | None = None) -> nn.Module:
        """The network as published, with fresh weights; dead edges are there."""

    @abstractmethod
    def _write(self, b: SpaceBuilder, arch: A, image: Value, num_classes: int) -> Value | None:
        """Write the network onto ``b``; returns its output, None when zeros are all that reaches it."""

    @property
    def input_size(self) -> tuple[int, int, int, int]:
        """Input of the network with batch dimension, as :func:`sed_torch.score` takes it."""
        return (1, 3, self.image_size, self.image_size)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, size={self.size:,})"

    def __contains__(self, arch: object) -> bool:
        try:
            self.resolve(arch)  # type: ignore[arg-type]
        except SpaceError:
            return False
        return True

    def resolve(self, arch: A | str) -> A:
        """An architecture from itself or its string.

        Raises:
            SpaceError: for anything else, or a string that is not of this space.
        """
        if isinstance(arch, str):
            return self.parse(arch)
        if not isinstance(arch, self.arch_type):
            raise SpaceError(
                f"{self.name}: expected a string or {self.arch_type.__name__}, found {type(arch).__name__}"
            )
        return cast(A, arch)

    def topology(
        self,
        arch: A | str,
        *,
        image_size: int | None = None,
        num_classes: int | None = None,
        keep_dead: bool = False,
    ) -> Topology:
        """Topology of the network, written without torch.

        Args:
            arch: the architecture or its string.
            image_size: height and width of the input; the space's own when None.
            num_classes: outputs of the classifier; the space's own when None.
            keep_dead: also write operators that only read zeros. The score is the same, while ``params`` and
                ``macs`` become those of the whole network.

        Raises:
            SpaceError: if the architecture is not of this space.
            GraphError: if the image is too small for the network.
        """
        known = self.resolve(arch)
        edge = self.image_size if image_size is None else image_size
        classes = self.num_classes if num_classes is None else num_classes
        b = SpaceBuilder(self.format(known), keep_dead=keep_dead)
        out = self._write(b, known, b.input(3, (edge, edge)), classes)
        return b.finish() if out is None else b.finish(out)

    def score_many(
        self,
        archs: Sequence[A | str],
        *,
        image_size: int | None = None,
        num_classes: int | None = None,
    ) -> Scores:
        """SED of many architectures in nats, higher is better; -inf for those without a live path.

        Equal to ``sed(self.topology(arch))`` to rounding (1e-9), and much faster where the space allows.

        Raises:
            SpaceError: if an architecture is not of this space.
        """
        from sed_torch.spaces.batch import score_each

        return score_each(self, archs, image_size=image_size, num_classes=num_classes)

    def params(self, arch: A | str, *, num_classes: int | None = None) -> int:
        """Parameters of the network as published, dead edges included."""
        return self.topology(arch, num_classes=num_classes, keep_dead=True).params

    def macs(self, arch: A | str, *, image_size: int | None = None, num_classes: int | None = None) -> float:
        """Multiply-accumulates a sample of convolutions and linear layers, dead edges included."""
        whole = self.topology(arch, image_size=image_size, num_classes=num_classes, keep_dead=True)
        return whole.macs


def other_than(current: int, count: int, rng: np.random.Generator) -> int:
    """A uniformly random number below ``count`` other than ``current``."""
    return int((current + 1 + rng.integers(count - 1)) % count)


def not_enumerable(space: Space[Any]) -> SpaceError:
    """The error of a space too large to iterate over."""
    magnitude = math.floor(math.log10(space.size))
    return SpaceError(
        f"{space.name}: about 10^{magnitude} architectures cannot be enumerated here; use sample(rng) and mutate(...)"
    )
