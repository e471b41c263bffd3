"""Which dimension of a tensor holds which positions of the feature map.

Tensors are reshaped, permuted and cut into windows on their way; the field of :mod:`sed_torch.entropy` lives on
spatial axes. A :data:`Layout` gives each dimension as a product of :class:`Atom` s, outermost first, so that
tokens of a grid remain a grid and a window remains a piece of its map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sed_torch.entropy import EQUAL, INDEPENDENT, AxisRead

__all__ = [
    "BATCH",
    "CHANNEL",
    "EQUAL_ATOM",
    "Atom",
    "Layout",
    "axes_in",
    "broadcast",
    "canonical_layout",
    "input_layout",
    "is_identity",
    "map_of",
    "permuted",
    "read_axes",
    "reshaped",
    "resized",
    "within",
    "without_axes",
]

CHANNEL, BATCH, EQUAL_ATOM = -1, -2, -3


@dataclass(frozen=True, slots=True)
class Atom:
    """A factor of a dimension.

    Attributes:
        axis: spatial axis of the field (≥ 0), or CHANNEL (independent entries), BATCH, or EQUAL_ATOM
            (entries that repeat the same value).
        size: entries.
        step: positions of the axis from one entry to the next.
        parts: for a dimension whose size is not the product of what it came from (tokens plus a class
            token), the atoms it came from; else empty.
    """

    axis: int
    size: int
    step: int = 1
    parts: tuple[Atom, ...] = ()


Dim = tuple[Atom, ...]
Layout = tuple[Dim, ...]


def input_layout(shape: Sequence[int], batch: int | None = 0) -> Layout:
    """Of a network input: dimension ``batch`` is the batch, every other one an axis (all are white as yet)."""
    axes = iter(range(len(shape)))
    dims = (
        (Atom(BATCH if i == batch else next(axes), n),) if n > 1 or i != batch else ()
        for i, n in enumerate(shape)
    )
    return tuple(d if d and d[0].size > 1 else () for d in dims)


def canonical_layout(shape: Sequence[int], spatial: int, batch: Dim = ()) -> Layout:
    """(N, C, *positions), what a convolution or pooling leaves; the last ``spatial`` dimensions are axes."""
    lead = len(shape) - spatial
    dims: list[Dim] = []
    for i, n in enumerate(shape):
        if i < lead - 1:
            dims.append(tuple(_plain(a) for a in batch) if i == 0 else ((Atom(BATCH, n),) if n > 1 else ()))
        elif i == lead - 1:
            dims.append((Atom(CHANNEL, n),) if n > 1 else ())
        else:
            dims.append((Atom(i - lead, n),) if n > 1 else ())
    return tuple(dims)


def _plain(atom: Atom) -> Atom:
    return Atom(BATCH, atom.size)


def permuted(layout: Layout, order: Sequence[int]) -> Layout:
    """After ``permute(order)``."""
    return tuple(layout[i] for i in order)


def resized(dim: Dim, size: int, step: int = 1) -> Dim:
    """The same dimension with another number of entries (cut, padded, concatenated), every ``step``-th kept."""
    if size <= 1:
        return ()
    if not dim:
        return (Atom(EQUAL_ATOM, size),)
    if len(dim) == 1:
        atom = dim[0]
        if atom.parts and math.prod(a.size for a in atom.parts) == size:
            return atom.parts
        return (Atom(atom.axis, size, atom.step * step, atom.parts),)
    if math.prod(a.size for a in dim) == size:
        return dim
    inner = dim[-1]
    return (Atom(inner.axis, size, inner.step, dim),)


def reshaped(layout: Layout, new_shape: Sequence[int]) -> Layout:
    """After ``reshape(new_shape)``: atoms are split and joined in row-major order.

    Where sizes do not divide (a ragged dimension is cut apart), the new dimension takes the kind of the atom
    it is cut from.
    """
    pool = [a for dim in layout for a in dim][::-1]
    dims: list[Dim] = []
    for size in new_shape:
        dim: list[Atom] = []
        have = 1
        while have < size and pool:
            atom = pool.pop()
            need = size // have
            if size % have == 0 and need % atom.size == 0:
                dim.append(atom)
                have *= atom.size
            elif size % have == 0 and atom.size % need == 0:
                outer, inner = _split(atom, need)
                dim.append(outer)
                pool.append(inner)
                have *= need
            else:
                dim, rest = [Atom(atom.axis, size, atom.step)], have * atom.size // size
                if rest > 1:
                    pool.append(Atom(atom.axis, rest, atom.step))
                have = size
        dims.append(_joined(dim))
    return tuple(dims)


def _split(atom: Atom, outer: int) -> tuple[Atom, Atom]:
    inner = atom.size // outer
    return Atom(atom.axis, outer, atom.step * inner), Atom(atom.axis, inner, atom.step)


def _joined(dim: Sequence[Atom]) -> Dim:
    """Neighbouring atoms of one axis that continue each other become one again."""
    joined: list[Atom] = []
    for atom in dim:
        last = joined[-1] if joined else None
        if last is not None and _continues(last, atom):
            joined[-1] = Atom(atom.axis, last.size * atom.size, atom.step)
        else:
            joined.append(atom)
    return tuple(joined)


def _continues(outer: Atom, inner: Atom) -> bool:
    same = outer.axis == inner.axis and not outer.parts and not inner.parts
    return same and (inner.axis < 0 or outer.step == inner.step * inner.size)


def broadcast(layouts: Sequence[Layout], shape: Sequence[int]) -> Layout:
    """Of an elementwise result: each dimension from the first operand that has positions there."""
    dims: list[Dim] = []
    for i, size in enumerate(shape):
        choices = [lay[i - len(shape) + len(lay)] for lay in layouts if i - len(shape) + len(lay) >= 0]
        choices = [d for d in choices if d]
        spatial = next((d for d in choices if any(a.axis >= 0 for a in d)), None)
        dim = spatial if spatial is not None else (choices[0] if choices else ())
        dims.append(dim if size > 1 else ())
    return tuple(dims)


def axes_in(dim: Dim) -> frozenset[int]:
    """Spatial axes that run along a dimension."""
    return frozenset(a.axis for atom in dim for a in (atom.parts or (atom,)) if a.axis >= 0)


def map_of(layout: Layout, ndim: int) -> tuple[int, tuple[int, ...]]:
    """Channels, and positions along each of ``ndim`` axes, of the map that a tensor holds. Of a dimension that holds
    more than a map's positions (a class token before those of the patches), those of the map.
    """
    channels, size = 1, [1] * ndim
    for dim in layout:
        for atom in dim:
            for a in atom.parts or (atom,):
                if a.axis == CHANNEL or a.axis >= ndim:
                    channels *= a.size
                elif a.axis >= 0:
                    size[a.axis] *= a.size
    return channels, tuple(size)


def without_axes(layout: Layout, axes: frozenset[int]) -> Layout:
    """The same layout after ``axes`` were averaged over: what is left along them repeats one value."""
    return tuple(
        tuple(
            Atom(EQUAL_ATOM, a.size) if a.axis in axes or (a.parts and axes_in((a,)) & axes) else a
            for a in dim
        )
        for dim in layout
    )


def within(layout: Layout, ndim: int) -> Layout:
    """The same layout with axes that a field of ``ndim`` axes lacks as independent entries."""

    def atom(a: Atom) -> Atom:
        axis = CHANNEL if a.axis >= ndim else a.axis
        return Atom(axis, a.size, a.step, tuple(atom(p) for p in a.parts))

    return tuple(tuple(atom(a) for a in dim) for dim in layout)


def read_axes(layout: Layout, dims: Sequence[int]) -> tuple[AxisRead, ...]:
    """How an operator that slides along ``dims`` meets the field: its axes, from the innermost atoms."""
    return tuple(_read(layout[d]) for d in dims)


def _read(dim: Dim) -> AxisRead:
    if not dim:
        return INDEPENDENT
    atoms = dim[-1].parts or dim
    dilation = 1
    for atom in reversed(atoms):
        if atom.axis >= 0:
            return (atom.axis, atom.step, dilation)
        if atom.axis == EQUAL_ATOM:
            return EQUAL
        dilation *= atom.size
    return INDEPENDENT


def is_identity(axes: Sequence[AxisRead], ndim: int) -> bool:
    """True when reading along ``axes`` sees the field as it is."""
    return len(axes) == ndim and all(a == (i, 1, 1) for i, a in enumerate(axes))
