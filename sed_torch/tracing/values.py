"""Which fx node a tensor of the forward holds the result of, for as long as the tensor lives.

The forward decides how long that is: a tensor it lets go of is freed here as in a run, so that the memory of
a trace is that of its widest place and not of its whole length.
"""

from __future__ import annotations

import weakref

import torch.fx
from torch import Tensor

from sed_torch.tracing.regions import Region

__all__ = ["Held", "Values"]


class Held(weakref.ref[Tensor]):
    """A tensor, the node it holds, the tensor it is a view of, and the call that wrote over it by another name.

    What it knows outlives the tensor, see :meth:`Values.revive`.

    Attributes:
        view: the node that made a view of ``base``.
        writes: the regions of this tensor that were written to, in order.
        seen: how many of the writes to ``base`` the node knows of.
    """

    __slots__ = ("base", "key", "node", "overwritten", "seen", "view", "writes")
    key: int
    node: torch.fx.Node
    base: Tensor | None
    overwritten: torch.fx.Node | None
    view: torch.fx.Node | None
    writes: list[Region] | None
    seen: int


class Values:
    """Tensor → node; by identity, as two tensors with equal entries are two values."""

    def __init__(self) -> None:
        held: dict[int, Held] = {}
        latest: list[torch.fx.Node] = []

        def forget(gone: weakref.ref[Tensor]) -> None:  # its id may be another tensor's from now on
            if isinstance(gone, Held) and held.get(gone.key) is gone:
                del held[gone.key]
                if latest:
                    gone.node.meta["until"] = latest[0]

        self._held, self._forget, self._latest = held, forget, latest

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._held

    def __getitem__(self, tensor: Tensor) -> torch.fx.Node:
        return self._held[id(tensor)].node

    def __setitem__(self, tensor: Tensor, node: torch.fx.Node) -> None:
        """From now on ``tensor`` holds the result of ``node``; it stays a view of what it was a view of."""
        self._latest[:] = [node]
        known = self._held.get(id(tensor))
        if known is not None:
            known.node.meta["until"] = node  # what it held is overwritten now
            known.node = node
        else:
            self._add(tensor, node, None, None)

    def _add(
        self, tensor: Tensor, node: torch.fx.Node, base: Tensor | None, overwritten: torch.fx.Node | None
    ) -> Held:
        new = Held(tensor, self._forget)
        new.key, new.node, new.base, new.overwritten = id(tensor), node, base, overwritten
        new.view, new.writes, new.seen = None, None, 0
        self._held[new.key] = new
        return new

    def held(self, tensor: Tensor) -> Held:
        """All that is known of ``tensor``."""
        return self._held[id(tensor)]

    def revive(self, gone: Held, tensor: Tensor) -> Held:
        """``tensor`` takes the place of one that was freed."""
        return self._add(tensor, gone.node, gone.base, gone.overwritten)

    def alive(self) -> list[Tensor]:
        """The tensors that the forward still holds, the latest first."""
        return [t for held in reversed([*self._held.values()]) if (t := held()) is not None]
