"""Sums of products over named dimensions: ``einsum`` and everything that is one (matmul, dot, tensordot, …).

An equation such as ``"bmk,bkn->bmn"`` names the dimensions of each operand and of the result. More than two
operands are contracted in pairs, as torch does it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sed_torch.attributes import Matmul
from sed_torch.graph import Node

__all__ = ["Contraction", "Product", "contraction_of"]

_SPARE = "αβγδεζηθικλμ"  # no letter that an equation may use


@dataclass(frozen=True, slots=True)
class Product:
    """One product of two operands of a contraction.

    Attributes:
        left, right: places in the list of operands; each product's result is appended to it.
        out: dimensions of the result.
        summed: dimensions of both that are summed over, in order.
    """

    left: int
    right: int
    out: str
    summed: str


@dataclass(frozen=True, slots=True)
class Contraction:
    """A sum of products, pair by pair.

    Attributes:
        letters: dimensions of each operand.
        out: dimensions of the result.
        sizes: entries of each dimension.
        products: the pairs in order; none for one operand.
    """

    letters: tuple[str, ...]
    out: str
    sizes: Mapping[str, int]
    products: tuple[Product, ...]

    def entries(self, letters: str) -> int:
        """Entries of a tensor with these dimensions."""
        return math.prod(self.sizes[c] for c in letters)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all products; one that sums over nothing multiplies only, and counts none."""
        return sum(self.entries(p.out) * self.entries(p.summed) for p in self.products if p.summed)


def contraction_of(node: Node, shapes: Sequence[tuple[int, ...]]) -> Contraction | None:
    """The contraction that a node of the rule ``matmul`` computes of operands with ``shapes``; None if unknown."""
    a = node.of(Matmul)
    equation = a.equation
    if equation is None:
        if len(shapes) != 2:
            return None
        equation = _matmul_equation(*map(len, shapes))
    letters, out = _parsed(equation, shapes)
    if len(letters) != len(shapes) or any(len(t) != len(s) for t, s in zip(letters, shapes, strict=True)):
        return None
    sizes: dict[str, int] = {}
    for names, shape in zip(letters, shapes, strict=True):
        for c, n in zip(names, shape, strict=True):
            sizes[c] = max(n, sizes.get(c, 1))
    if any(c not in sizes for c in out):
        return None
    products = tuple(_pairs(letters, out, a.path))
    return Contraction(letters, out, sizes, products)


def _pairs(letters: Sequence[str], out: str, path: Sequence[tuple[int, ...]] | None) -> list[Product]:
    """From left to right; with a ``path``, as ``opt_einsum`` gives it: places among what is still there."""
    operands, there, products = list(letters), list(range(len(letters))), []
    for step in range(len(letters) - 1):
        i, j = sorted(path[step]) if path is not None else (0, 1)
        right, left = there.pop(j), there.pop(i)
        a, b = operands[left], operands[right]
        later = set(out).union(*(operands[k] for k in there))
        kept = "".join(dict.fromkeys(c for c in a + b if c in later)) if there else out
        summed = "".join(dict.fromkeys(c for c in a if c in b and c not in later))
        products.append(Product(left, right, kept, summed))
        operands.append(kept)
        # torch puts a result in front when it goes from left to right, opt_einsum at the end
        there.insert(0 if path is None else len(there), len(operands) - 1)
    return products


def _matmul_equation(rank_a: int, rank_b: int) -> str:
    if rank_a == 1 and rank_b == 1:
        return "k,k->"
    batch = "abcdefgh"[: max(rank_a, rank_b) - 2]
    left = batch[len(batch) - max(rank_a - 2, 0) :] + ("mk" if rank_a > 1 else "k")
    right = batch[len(batch) - max(rank_b - 2, 0) :] + ("kn" if rank_b > 1 else "k")
    out = batch + ("m" if rank_a > 1 else "") + ("n" if rank_b > 1 else "")
    return f"{left},{right}->{out}"


def _parsed(equation: str, shapes: Sequence[tuple[int, ...]]) -> tuple[tuple[str, ...], str]:
    """Dimensions of each operand and of the result, ``...`` and a missing ``->`` written out."""
    left, arrow, out = equation.partition("->")
    given = left.split(",")
    hidden = [len(s) - len(t) + 3 if "..." in t else 0 for s, t in zip(shapes, given, strict=False)]
    longest = max(hidden, default=0)
    letters = tuple(
        t.replace("...", _SPARE[longest - n : longest]) for t, n in zip(given, hidden, strict=False)
    )
    if arrow:
        return letters, out.replace("...", _SPARE[:longest])
    named = "".join(given).replace(".", "")
    return letters, _SPARE[:longest] + "".join(sorted(c for c in set(named) if named.count(c) == 1))
