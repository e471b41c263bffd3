"""What every search space offers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sed_torch.building import Value
from sed_torch.errors import SearchError, SpaceError
from sed_torch.scoring import DEFAULT_DEFINITION, sed
from sed_torch.spaces.writing import SpaceBuilder
from sed_torch.topology import Topology

if TYPE_CHECKING:
    from torch import nn

__all__ = ["COUNTS", "Counts", "Scores", "Space", "not_enumerable", "other_than"]

A = TypeVar("A", bound=Hashable)

Scores = NDArray[np.float64]
"""One score an architecture, in nats, higher is better."""

Counts = NDArray[np.float64]
"""One count an architecture."""

COUNTS = ("params", "macs", "depth")
"""What is counted: parameters, multiply-accumulates a sample (both with dead edges, as published), and the longest
chain of live convolutions and linear layers."""


class Space(ABC, Generic[A]):
    """A search space: encodes, decodes, samples, builds and scores its architectures.

    Architectures are immutable values of a type of the space's own; wherever one is taken, its string in the
    community's encoding is taken as well.

    A space of your own needs the abstract methods only. Where the sums behind the scores and counts can be had from
    tables, it may also define :meth:`_score_batch` and :meth:`_count_batch`; these serve the class that defines
    them, not its subclasses, for a subclass may write another network.

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

    def suggest(self, trial: Any) -> A:
        """An architecture from the choices of an Optuna trial.

        Raises:
            SpaceError: the choices make no architecture of the space.
            SearchError: the space does not say how a trial makes an architecture.
        """
        raise SearchError(
            f"{self.name} does not say how an Optuna trial makes an architecture: pass suggest=, or give the "
            "space a method suggest(trial)"
        )

    def check(self, arch: A) -> A:
        """The architecture in the space's own form, once it is known to be of :attr:`arch_type`.

        Raises:
            SpaceError: if it breaks a rule of the space.
        """
        return arch

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
        return self.check(cast(A, arch))

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
        b = SpaceBuilder(self.format(known), keep_dead=keep_dead)
        out = self._write(b, known, b.input(3, (edge, edge)), self._classes(num_classes))
        return b.finish() if out is None else b.finish(out)

    def _classes(self, given: int | None) -> int:
        return self.num_classes if given is None else given

    # --- many at once ----------------------------------------------------------------------------------------

    def score_many(
        self,
        archs: Sequence[A | str],
        *,
        image_size: int | None = None,
        num_classes: int | None = None,
        definition: str = DEFAULT_DEFINITION,
    ) -> Scores:
        """SED of many architectures in nats, higher is better; -inf for those without a live path.

        Equal to ``sed(self.topology(arch))`` to rounding (1e-9), and much faster where the space allows.

        Args:
            archs: architectures or their strings.
            image_size: height and width of the input; the space's own when None.
            num_classes: outputs of the classifier; the space's own when None.
            definition: form of the score, of :data:`sed_torch.scoring.DEFINITIONS`.

        Returns:
            Shape (n,).

        Raises:
            SpaceError: if an architecture is not of this space.
            SedTorchError: for an unknown definition.
        """
        size = self.image_size if image_size is None else image_size
        score = self._score_batch if self._defines("_score_batch") else self._score_each
        return score(archs, size, self._classes(num_classes), definition)

    def count_many(self, archs: Sequence[A | str], what: Iterable[str] = COUNTS) -> dict[str, Counts]:
        """Counts of many architectures at the space's own input and classifier.

        Args:
            archs: architectures or their strings.
            what: some of :data:`COUNTS`.

        Returns:
            One array of shape (n,) each; equal to ``params``, ``macs`` and ``topology(arch).depth`` of each.

        Raises:
            SpaceError: if an architecture is not of the space, or a count is unknown.
        """
        names = tuple(what)
        unknown = [n for n in names if n not in COUNTS]
        if unknown:
            raise SpaceError(f"no count named {unknown[0]!r}: expected some of {', '.join(COUNTS)}")
        known = [self.resolve(a) for a in archs]
        count = self._count_batch if self._defines("_count_batch") else self._count_each
        return {n: np.asarray(count(known, n), dtype=np.float64).reshape(len(known)) for n in names}

    def params(self, arch: A | str, *, num_classes: int | None = None) -> int:
        """Parameters of the network as published, dead edges included."""
        if num_classes is None:
            return int(self.count_many([arch], ["params"])["params"][0])
        return self.topology(arch, num_classes=num_classes, keep_dead=True).params

    def macs(self, arch: A | str, *, image_size: int | None = None, num_classes: int | None = None) -> float:
        """Multiply-accumulates a sample of convolutions and linear layers, dead edges included."""
        if image_size is None and num_classes is None:
            return float(self.count_many([arch], ["macs"])["macs"][0])
        whole = self.topology(arch, image_size=image_size, num_classes=num_classes, keep_dead=True)
        return whole.macs

    def _defines(self, method: str) -> bool:
        """Whether this very class has the method: tables of a class say nothing of a subclass's networks."""
        return method in vars(type(self))

    def _score_batch(
        self, archs: Sequence[A | str], image_size: int, num_classes: int, definition: str
    ) -> Scores:
        """Scores of architectures side by side."""
        return self._score_each(archs, image_size, num_classes, definition)

    def _score_each(
        self, archs: Sequence[A | str], image_size: int, num_classes: int, definition: str
    ) -> Scores:
        """One after the other, each distinct architecture once: works for any space that writes topologies."""
        known: dict[A, float] = {}
        scores = np.empty(len(archs))
        for i, item in enumerate(archs):
            arch = self.resolve(item)
            if arch not in known:
                topology = self.topology(arch, image_size=image_size, num_classes=num_classes)
                known[arch] = sed(topology, definition=definition)
            scores[i] = known[arch]
        return scores

    def _count_batch(self, archs: Sequence[A], what: str) -> Sequence[float] | Counts:
        """One of :data:`COUNTS` of architectures side by side."""
        return self._count_each(archs, what)

    def _count_each(self, archs: Sequence[A], what: str) -> list[float]:
        dead = what != "depth"
        return [float(getattr(self.topology(a, keep_dead=dead), what)) for a in archs]


def other_than(current: int, count: int, rng: np.random.Generator) -> int:
    """A uniformly random number below ``count`` other than ``current``."""
    return int((current + 1 + rng.integers(count - 1)) % count)


def not_enumerable(space: Space[Any]) -> SpaceError:
    """The error of a space too large to iterate over."""
    magnitude = math.floor(math.log10(space.size))
    return SpaceError(
        f"{space.name}: about 10^{magnitude} architectures cannot be enumerated here; use sample(rng) and mutate(...)"
    )
