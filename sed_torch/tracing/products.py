"""Products of tensors: what is summed over, as an equation where the shapes do not tell, and in which order."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.fx

from sed_torch.attributes import Matmul
from sed_torch.ops import Op
from sed_torch.tracing.operands import Args, Kwargs, arg, shape_of

__all__ = ["read_product"]


def read_product(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Matmul:
    """The numbers of a call of the rule ``matmul``."""
    ranks = [len(shape_of(a)) for a in args]
    if op.name == "einsum":
        return _einsum(args, kwargs)
    if op.name == "multi_dot":
        return _chain([shape_of(a) for a in (args[0] if isinstance(args[0], (tuple, list)) else args)])
    if op.name == "grouped_mm":  # experts: each row meets the matrix of its group, no row meets another's
        equation = {"2,3": "mk,ekn->mn", "3,2": "emk,kn->mn"}.get(f"{ranks[0]},{ranks[1]}")
        return Matmul(equation=equation)
    if op.name == "tensordot":
        # ATen gives the dimensions of each operand as an argument of its own
        dims = args[2:4] if len(args) > 3 else arg(args, kwargs, 2, "dims", 2)
        if isinstance(dims, int):
            a_dims, b_dims = list(range(ranks[0] - dims, ranks[0])), list(range(dims))
        else:
            a_dims, b_dims = ([d % r for d in ds] for ds, r in zip(dims, ranks, strict=False))
        return Matmul(equation=_dot_equation(ranks[0], ranks[1], a_dims, b_dims))
    if op.name == "dot" and ranks[:2] != [1, 1]:
        if spelling == "inner" and 0 in ranks[:2]:  # a number times a tensor
            return Matmul(equation=_dot_equation(ranks[0], ranks[1], [], []))
        if spelling == "inner":
            return Matmul(equation=_dot_equation(ranks[0], ranks[1], [ranks[0] - 1], [ranks[1] - 1]))
        return Matmul(equation="...k,...k->...")
    if op.name == "outer":
        return Matmul(added=spelling == "addr", equation="m,n->mn")
    if spelling == "addbmm":
        return Matmul(added=True, equation="bmk,bkn->mn")
    return Matmul(added=op.name in ("addmm", "baddbmm"))


def _einsum(args: Args, kwargs: Kwargs) -> Matmul:
    """``einsum(equation, *operands)``, operands as one list too, or operands and their dimensions in turn."""
    equation = next((a for a in (*args, *kwargs.values()) if isinstance(a, str)), None)
    if equation is None:
        equation, operands = _written_out(args)
    else:
        equation = equation.replace(" ", "")
        tensors = [a for a in (*args, *kwargs.values()) if not isinstance(a, str)]
        flat = tensors[0] if tensors and isinstance(tensors[0], (tuple, list)) else tensors
        operands = [a for a in flat if isinstance(a, torch.fx.Node)]
    if len(operands) < 3:
        return Matmul(equation=equation)
    return Matmul(equation=equation, path=_einsum_path(equation, [shape_of(a) for a in operands]) or None)


def _written_out(args: Args) -> tuple[str, list[Any]]:
    """``einsum(x, [0, 1], y, [1, 2], [0, 2])`` with an equation in place of the lists."""

    def letters(dims: Sequence[Any]) -> str:
        return "".join(
            "..." if d is Ellipsis else chr(ord("a") + d) if d < 26 else chr(ord("A") + d - 26) for d in dims
        )

    operands, lists = list(args[0 : len(args) // 2 * 2 : 2]), [letters(d) for d in args[1::2]]
    return ",".join(lists) + (f"->{letters(args[-1])}" if len(args) % 2 else ""), operands


def _einsum_path(equation: str, shapes: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...] | None:
    """The pairs in which torch contracts, by opt_einsum where that is installed; else from left to right."""
    backend = torch.backends.opt_einsum
    if not backend.is_available() or not backend.enabled:
        return None
    found = backend.get_opt_einsum().contract_path(
        equation, *shapes, shapes=True, optimize=backend.strategy or "auto"
    )
    return tuple(tuple(int(i) for i in pair) for pair in found[0])


def _chain(shapes: Sequence[tuple[int, ...]]) -> Matmul:
    """Matrices in a row, in the cheapest order (``linalg.multi_dot``); the ends may be vectors."""
    n = len(shapes)
    names = [chr(ord("a") + i) for i in range(n + 1)]
    left, right = len(shapes[0]) > 1, len(shapes[-1]) > 1
    letters = [names[i] + names[i + 1] for i in range(n)]
    letters[0] = letters[0] if left else names[1]
    letters[-1] = letters[-1] if right else names[n - 1]
    out = (names[0] if left else "") + (names[n] if right else "")
    sizes = [shapes[0][0] if left else 1, *(s[0] for s in shapes[1:]), shapes[-1][-1] if right else 1]

    @functools.cache
    def best(i: int, j: int) -> tuple[int, int]:
        """(cost, place to cut) of the product of matrices i … j-1."""
        cuts = ((best(i, k)[0] + best(k, j)[0] + sizes[i] * sizes[k] * sizes[j], k) for k in range(i + 1, j))
        return min(cuts, default=(0, i))

    there: list[tuple[int, int]] = [(i, i + 1) for i in range(n)]
    path: list[tuple[int, int]] = []

    def contract(i: int, j: int) -> None:
        if j - i > 1:
            cut = best(i, j)[1]
            contract(i, cut)
            contract(cut, j)
            path.append((there.index((i, cut)), there.index((cut, j))))
            there[:] = [*(t for t in there if t not in ((i, cut), (cut, j))), (i, j)]

    contract(0, n)
    return Matmul(equation=f"{','.join(letters)}->{out}", path=tuple(path))


def _dot_equation(rank_a: int, rank_b: int, a_dims: list[int], b_dims: list[int]) -> str:
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    a = [next(letters) for _ in range(rank_a)]
    b = [a[a_dims[b_dims.index(i)]] if i in b_dims else next(letters) for i in range(rank_b)]
    shared = {a[i] for i in a_dims}
    return f"{''.join(a)},{''.join(b)}->{''.join(c for c in a + b if c not in shared)}"
