"""What is searched: one of the package's spaces, or a user's own as callables."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sed_torch.errors import SearchError
from sed_torch.scoring import DEFAULT_DEFINITION, sed
from sed_torch.scoring.features import scores_and_features
from sed_torch.spaces import Space, get_space
from sed_torch.topology import Topology

__all__ = ["CallableSpace", "Foreteller", "Searchable", "Source", "foretelling", "source_of"]

A = TypeVar("A")
Floats = NDArray[np.float64]


@runtime_checkable
class Searchable(Protocol):
    """What an object needs to be searched; ``mutate(arch, rng)`` and ``format(arch)`` are used where it has them."""

    def sample(self, rng: np.random.Generator, /) -> Any:
        """A random architecture."""

    def topology(self, arch: Any, /) -> Topology:
        """Its topology."""


@dataclass(frozen=True)
class CallableSpace(Generic[A]):
    """A search space of your own.

    Attributes:
        sample: a random architecture, drawn with the given generator.
        topology: an architecture's topology; for a module, ``lambda a: sed_torch.topology(build(a), input_size=…)``.
        mutate: a neighbour of an architecture; without it only random search is possible.
        format: text of an architecture, different for different ones.
        name: for display.
        suggest: an Optuna trial → an architecture, for a study as the strategy.
    """

    sample: Callable[[np.random.Generator], A]
    topology: Callable[[A], Topology]
    mutate: Callable[[A, np.random.Generator], A] | None = None
    format: Callable[[A], str] = str
    name: str = "custom"
    suggest: Callable[[Any], A] | None = None


@dataclass(frozen=True)
class Source:
    """A space as the strategies see it.

    Attributes:
        name: for display.
        space: the space's own object.
        sample: a random architecture.
        mutate: a neighbour, or None where the space has none.
        format: text of an architecture.
        key: a hashable value, equal for equal architectures.
        topology: an architecture's topology.
        measure: (architectures, names) → an array of each, of ``"sed"`` and counts.
        first: architectures to begin with; several where they are scored side by side.
        archs: all architectures, or None where there are too many or nobody knows them.
        size: how many there are, or None.
    """

    name: str
    space: Any
    sample: Callable[[np.random.Generator], Any]
    mutate: Callable[[Any, np.random.Generator], Any] | None
    format: Callable[[Any], str]
    key: Callable[[Any], Hashable]
    topology: Callable[[Any], Topology]
    measure: Callable[[Sequence[Any], Sequence[str]], dict[str, Floats]]
    archs: Callable[[], Iterable[Any]] | None
    size: int | None
    first: int


def source_of(space: Any) -> Source:
    """A space's name, a :class:`~sed_torch.spaces.Space`, or anything with ``sample`` and ``topology``.

    Raises:
        SpaceError: no space of that name.
        SearchError: neither of these.
    """
    if isinstance(space, str):
        space = get_space(space)
    if isinstance(space, Space):
        return _from_space(space)
    if isinstance(space, Searchable) and not isinstance(space, type):
        return _from_callables(space)
    what = f"the class {space.__name__}" if isinstance(space, type) else type(space).__name__
    raise SearchError(
        f"cannot search {what}: expected a space, its name, or an object with sample(rng) and "
        "topology(arch), such as a CallableSpace"
    )


def _from_space(space: Space[Any]) -> Source:
    def measure(archs: Sequence[Any], names: Sequence[str]) -> dict[str, Floats]:
        columns = {"sed": space.score_many(archs)} if "sed" in names else {}
        return columns | space.count_many(archs, [n for n in names if n != "sed"])

    return Source(
        space.name,
        space,
        space.sample,
        space.mutate,
        space.format,
        lambda arch: arch,
        space.topology,
        measure,
        (lambda: space) if space.enumerable else None,
        space.size,
        64,
    )


def _from_callables(space: Any) -> Source:
    def measure(archs: Sequence[Any], names: Sequence[str]) -> dict[str, Floats]:
        found = [_topology(space, a) for a in archs]
        return {n: np.array([_value(t, n) for t in found], dtype=np.float64) for n in names}

    text = getattr(space, "format", None) or str
    name = str(getattr(space, "name", type(space).__name__))
    mutate = getattr(space, "mutate", None)

    def topology(arch: Any) -> Topology:
        return _topology(space, arch)

    return Source(name, space, space.sample, mutate, text, text, topology, measure, None, None, 1)


class Foreteller(Protocol):
    """What a search needs of a :class:`~sed_torch.calibration.Calibration`."""

    @property
    def title(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def definition(self) -> str: ...

    def accuracies_inside(self, sed: Floats, features: Floats) -> Floats:
        """Expected accuracies; NaN for networks unlike those it has seen."""


def foretelling(source: Source, calibration: Foreteller) -> Source:
    """The source with a column ``"expected"``: -inf for networks that the calibration does not know.

    Raises:
        SearchError: the calibration reads another definition of the score.
    """
    if calibration.definition != DEFAULT_DEFINITION:
        raise SearchError(
            f"the calibration {calibration.title!r} reads {calibration.definition}, searches score by "
            f"{DEFAULT_DEFINITION}: calibrate anew"
        )

    def measure(archs: Sequence[Any], names: Sequence[str]) -> dict[str, Floats]:
        if "expected" not in names:
            return source.measure(archs, names)
        scores, features = scores_and_features(source.topology(a) for a in archs)
        found = calibration.accuracies_inside(scores, features)
        rest = [n for n in names if n not in ("sed", "expected")]
        sed = np.where(np.isnan(scores), -np.inf, scores)
        return {
            "sed": sed,
            "expected": np.where(np.isnan(found), -np.inf, found),
            **source.measure(archs, rest),
        }

    return replace(source, measure=measure, first=min(source.first, 16))


def _value(topology: Topology, name: str) -> float:
    return sed(topology) if name == "sed" else float(getattr(topology, name))


def _topology(space: Any, arch: Any) -> Topology:
    found = space.topology(arch)
    if not isinstance(found, Topology):
        raise SearchError(
            f"topology({arch!r:.60}) gave {type(found).__name__}, expected a Topology; of a module it is "
            "sed_torch.topology(module, input_size=(1, 3, 32, 32))"
        )
    return found
