"""Attributes: the numbers of a call that its rule needs, a small frozen class a rule.

A traced node carries one of these (:attr:`sed_torch.graph.Node.attrs`). It is a mapping too, of what the call stated,
so that a graph written by another version reads back as it was; code reads it by name through
:meth:`sed_torch.graph.Node.of`, which types the values and says which are missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

__all__ = [
    "KINDS",
    "AdaptivePool",
    "Attention",
    "Attributes",
    "Conv",
    "Cut",
    "Embedding",
    "Expand",
    "Item",
    "Join",
    "Linear",
    "MadeOf",
    "Matmul",
    "MultiHead",
    "Norm",
    "Permute",
    "Pixel",
    "Pool",
    "Recurrent",
    "Reduce",
    "Slice",
    "Sliding",
    "Unfold",
    "Write",
]

A = TypeVar("A", bound="Attributes")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attributes(Mapping[str, Any]):
    """Of a rule that needs no numbers, and what every rule may carry.

    As a mapping it has an entry for each attribute without a default, and for each other one that differs from its
    default: what a call did not state is not there.

    Attributes:
        stale: nodes that read, by its old name, a value that this call overwrote.
    """

    stale: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        default = _defaults(type(self))[name]
        value = getattr(self, name)
        if value is default or value == default:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self.stated()])

    def __len__(self) -> int:
        return len(self.stated())

    def stated(self) -> list[tuple[str, Any]]:
        """The entries at once, which is quicker than one by one."""
        found = [(n, getattr(self, n), default) for n, default in _defaults(type(self)).items()]
        return [(n, v) for n, v, default in found if v is not default and v != default]

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    @classmethod
    def read(cls: type[A], values: Mapping[str, Any], *, whole: bool = True) -> A:
        """The same numbers with their types, lists as tuples.

        Args:
            values: by name.
            whole: whether there may be no others than these.

        Raises:
            ValueError: one is missing, unknown, or a number where there must be several.
        """
        known = _defaults(cls)
        unknown = [n for n in values if whole and n not in known]
        missing = [n for n, default in known.items() if default is dataclasses.MISSING and n not in values]
        if unknown or missing:
            takes = ", ".join(n for n in known if n != "stale") or "no attributes"
            what = f"there is no {unknown[0]!r}" if unknown else f"{missing[0]!r} is missing"
            raise ValueError(f"{what}: expected {takes}")
        given = {n: _plain(v) for n, v in values.items() if n in known}
        several = [n for n, v in given.items() if n in _several(cls) and not isinstance(v, tuple)]
        if several:
            raise ValueError(
                f"{several[0]} is {given[several[0]]!r}: expected several numbers, such as (3, 3)"
            )
        return cls(**given)


def _plain(value: Any) -> Any:
    return tuple(_plain(v) for v in value) if isinstance(value, (list, tuple)) else value


@cache
def _defaults(kind: type[Attributes]) -> Mapping[str, Any]:
    """Names in the order they are shown, with their defaults: those of all rules come last."""
    fields = dataclasses.fields(kind)
    shared = len(dataclasses.fields(Attributes))
    return {f.name: f.default for f in (*fields[shared:], *fields[:shared])}


@cache
def _several(kind: type[Attributes]) -> frozenset[str]:
    return frozenset(
        f.name
        for f in dataclasses.fields(kind)
        if str(f.type).startswith("tuple[") and "None" not in str(f.type)
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sliding(Attributes):
    """Of a window that slides over a map: its sizes, its steps and the gaps in it, per axis, in positions."""

    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conv(Sliding):
    """Of a convolution, transposed or not.

    Attributes:
        window, stride, dilation: per axis, in positions.
        c_in: input channels a group.
        c_out: output channels, of all groups.
        groups: groups of channels.
        transposed: whether it spreads its input over the positions instead of reading windows of it.
    """

    c_in: int
    c_out: int
    groups: int
    transposed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear(Attributes):
    """Of a linear layer: channels that it reads (``c_in``) and makes (``c_out``)."""

    c_in: int
    c_out: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool(Sliding):
    """Of a pool: window, stride and dilation per axis, in positions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdaptivePool(Attributes):
    """Of a pool to a given size: how many axes it pools."""

    axes: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reduce(Attributes):
    """Of a mean, sum or maximum: the dimensions that it reduces; None for all."""

    dims: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Join(Attributes):
    """Of ``cat`` and ``stack``: the dimension along which the operands lie in the result."""

    dim: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Permute(Attributes):
    """Of a transposition: for each dimension of the result, the one of the operand."""

    order: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slice(Attributes):
    """Of an index: for each dimension of the result, (dimension of the operand or -1 for a new one, step).

    None where the result has another order, as of a mask.
    """

    dims: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Write(Attributes):
    """Of ``x[index] = y``: for each dimension of ``x[index]``, the one of ``x`` that it goes along; None if unknown."""

    dims: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expand(Attributes):
    """Of ``repeat_interleave``: each entry of ``dim`` stands ``repeats`` times in a row; both None elsewhere."""

    repeats: int | None = None
    dim: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unfold(Attributes):
    """Of ``F.unfold``: window, dilation, padding and stride per axis, in positions."""

    window: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut(Attributes):
    """Of ``Tensor.unfold``: windows of ``size`` positions of dimension ``dim``, one every ``step``."""

    dim: int
    size: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pixel(Attributes):
    """Of a pixel shuffle or its inverse: positions of the finer map for one of the coarser, along each axis."""

    factor: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matmul(Attributes):
    """Of a product of tensors.

    Attributes:
        added: whether the first operand is added to the product; None where the call cannot.
        equation: as ``torch.einsum`` writes it, where the shapes do not tell.
        path: of more than two operands, pairs of places in the order in which they are multiplied.
    """

    added: bool | None = None
    equation: str | None = None
    path: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MultiHead(Attributes):
    """Of ``nn.MultiheadAttention``.

    Attributes:
        extra: keys that it adds to those it is given: a learned bias, a zero.
        embed: channels of the query, and of attention inside.
        k_in, v_in: channels of key and value.
        out: channels of the result.
        heads: heads, where a rule of a user's own tells them.
    """

    extra: int = 0
    embed: int
    k_in: int
    v_in: int
    out: int
    heads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attention(Attributes):
    """Of scaled dot-product attention: heads, where a rule of a user's own tells them."""

    heads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Norm(Attributes):
    """Of a normalisation: groups of channels, where a rule of a user's own tells them."""

    groups: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recurrent(Attributes):
    """Of a recurrent layer or cell.

    Attributes:
        gates: gates of a cell: 4 of an LSTM, 3 of a GRU, else 1.
        hidden: channels of the state.
        layers: (channels read, channels of the state, channels of the projection or 0) of each layer and direction.
        time: the dimension that it walks along; None of a cell and of a packed sequence.
    """

    gates: int
    hidden: int
    layers: tuple[tuple[int, int, int], ...]
    time: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding(Attributes):
    """Of a look-up in a table: whether it sums or averages the rows of a bag."""

    bag: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MadeOf(Attributes):
    """Of a constant: the nodes that it was made of, and no longer depends on."""

    of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Item(Attributes):
    """Of one of several results: its place among them."""

    index: int


KINDS: Mapping[str, type[Attributes]] = {
    "conv": Conv,
    "conv_transpose": Conv,
    "linear": Linear,
    "pool": Pool,
    "adaptive_pool": AdaptivePool,
    "reduce": Reduce,
    "cat": Join,
    "stack": Join,
    "permute": Permute,
    "slice": Slice,
    "write": Write,
    "expand": Expand,
    "unfold": Unfold,
    "pixel_shuffle": Pixel,
    "pixel_unshuffle": Pixel,
    "matmul": Matmul,
    "attention": Attention,
    "multi_head_attention": MultiHead,
    "norm": Norm,
    "recurrent": Recurrent,
    "embedding": Embedding,
    "zero": MadeOf,
    "item": Item,
}
"""What a rule needs; the other rules need no numbers."""
