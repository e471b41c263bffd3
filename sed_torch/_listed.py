"""Results that are also lists of something: findings, candidates, blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar, overload

__all__ = ["Listed"]

Item = TypeVar("Item")


class Listed(ABC, Generic[Item]):
    """A result that is also a list of something: ``len()``, ``for``, ``[0]`` and ``[:3]`` give these.

    It is true even where the list is empty: a check that finds nothing is still a check.
    """

    __slots__ = ()

    @abstractmethod
    def _items(self) -> Sequence[Item]:
        """What the list holds."""

    def __len__(self) -> int:
        return len(self._items())

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items())

    @overload
    def __getitem__(self, which: int) -> Item: ...
    @overload
    def __getitem__(self, which: slice) -> tuple[Item, ...]: ...
    def __getitem__(self, which: int | slice) -> Item | tuple[Item, ...]:
        items = self._items()
        return tuple(items[which]) if isinstance(which, slice) else items[which]
