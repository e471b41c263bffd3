"""Functions of torch that stand for several calls: they are followed as these, so that each has its row.

Sparse and nested tensors are followed as dense ones, padded to the longest: an upper bound, which is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["COMPOSED", "composed", "padded_stack"]


def _padded(
    sequences: Sequence[Tensor], batch_first: bool = False, value: float = 0.0, side: str = "right"
) -> Tensor:
    """``pad_sequence``: sequences padded to the longest and laid side by side."""
    longest = max(s.shape[0] for s in sequences)
    rows = []
    for sequence in sequences:
        more = longest - sequence.shape[0]
        ends = (0, more) if side == "right" else (more, 0)
        around = (*(0, 0) * (sequence.dim() - 1), *ends)
        rows.append(torch.nn.functional.pad(sequence, around, value=value) if more else sequence)
    return torch.stack(rows, 0 if batch_first else 1)


def padded_stack(parts: Sequence[Tensor]) -> Tensor:
    """Tensors of one rank, padded at the end of every dimension to the longest, one after the other."""
    sizes = tuple(map(max, zip(*(p.shape for p in parts), strict=True)))
    return torch.stack([_padded_to(p, sizes) for p in parts])


def _padded_to(x: Tensor, sizes: Sequence[int]) -> Tensor:
    around = [
        n for size, have in zip(sizes[::-1], tuple(x.shape)[::-1], strict=True) for n in (0, size - have)
    ]
    return torch.nn.functional.pad(x, around) if any(around) else x


def _unnested(x: Tensor, _: float = 0.0, output_size: Sequence[int] | None = None, **__: Any) -> Any:
    """``to_padded_tensor`` of what is padded to its longest already."""
    if x.is_nested:
        return NotImplemented
    return x if output_size is None else _padded_to(x, output_size)


def _covariance(
    x: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """``torch.cov``: rows are variables, columns observations."""
    rows = x if x.dim() == 2 else x.reshape(1, -1)
    weights = fweights if aweights is None else aweights if fweights is None else fweights * aweights
    if weights is None:
        away = rows - rows.mean(1, keepdim=True)
        found = away @ away.mH / max(rows.shape[1] - correction, 1)
    else:
        total = weights.sum()
        away = rows - (rows * weights).sum(1, keepdim=True) / total
        found = (away * weights) @ away.mH / total
    return found if x.dim() == 2 else found.reshape(())


def _correlation(x: Tensor) -> Tensor:
    """``torch.corrcoef``: the covariance over both deviations."""
    found = _covariance(x)
    if not found.dim():
        return found / found
    deviations = found.diagonal().sqrt()
    return found / deviations[:, None] / deviations[None, :]


def _power(x: Tensor, n: int) -> Tensor:
    """``matrix_power`` by squares, as torch computes it."""
    if n == 0:
        return x * 0 + torch.eye(x.shape[-1])
    square, left = (torch.linalg.inv(x), -n) if n < 0 else (x, n)
    found: Tensor | None = None
    while True:
        if left % 2:
            found = square if found is None else found @ square
        left //= 2
        if not left:
            return found if found is not None else square
        square = square @ square


def _from_places(indices: Any, values: Any, size: Any = None, **_: Any) -> Any:
    """``sparse_coo_tensor``; how large it is without a size only its values tell."""
    if size is None or not isinstance(values, Tensor):
        return NotImplemented
    places = tuple(torch.as_tensor(indices).unbind(0))
    return torch.zeros(tuple(size), dtype=values.dtype).index_put(places, values, accumulate=True)


def _from_rows(*args: Any, **kwargs: Any) -> Any:
    """``sparse_csr_tensor`` and its transposed kin: which row an entry is in does not matter to the graph."""
    places = args[1] if len(args) > 1 else kwargs.get("col_indices", kwargs.get("row_indices"))
    values = args[2] if len(args) > 2 else kwargs.get("values")
    size = args[3] if len(args) > 3 else kwargs.get("size")
    if size is None or places is None or not isinstance(values, Tensor) or len(size) != 2:
        return NotImplemented
    at = torch.as_tensor(places)
    return torch.zeros(tuple(size), dtype=values.dtype).index_put((at, at), values, accumulate=True)


def _as_it_is(x: Tensor, *_: Any, **__: Any) -> Any:
    """A change of layout, of what is followed as dense."""
    return x if x.layout is torch.strided else NotImplemented


def _product(a: Tensor, b: Tensor, *_: Any) -> Any:
    """``torch.sparse.mm``, of what is followed as dense; by which number a row's entries are reduced is no matter."""
    return torch.mm(a, b) if _dense(a, b) else NotImplemented


def _added_product(x: Tensor, a: Tensor, b: Tensor, **kwargs: Any) -> Any:
    return torch.addmm(x, a, b, **kwargs) if _dense(x, a, b) else NotImplemented


def _dense(*operands: Tensor) -> bool:
    return all(t.layout is torch.strided for t in operands)


def _windows(x: Any, *_: Any, **__: Any) -> Any:
    """``unfold`` of a number: it alone."""
    return x.reshape(1) if isinstance(x, Tensor) and not x.dim() else NotImplemented


def _behind(x: Any, y: Any) -> Any:
    """``x.__rmatmul__(y)``."""
    return torch.matmul(y, x)


COMPOSED: dict[str, Callable[..., Any]] = {
    "pad_sequence": _padded,
    "cov": _covariance,
    "corrcoef": _correlation,
    "matrix_power": _power,
    "linalg_matrix_power": _power,
    "__rmatmul__": _behind,
    "unfold": _windows,
    "to_padded_tensor": _unnested,
    "nested_to_padded_tensor": _unnested,
    "sparse_coo_tensor": _from_places,
    "sparse_csr_tensor": _from_rows,
    "sparse_csc_tensor": _from_rows,
    "to_sparse": _as_it_is,
    "to_sparse_csr": _as_it_is,
    "to_sparse_csc": _as_it_is,
    "coalesce": _as_it_is,
    "to_dense": _as_it_is,
    "_sparse_mm": _product,
    "smm": _product,
    "_sparse_addmm": _added_product,
}
"""Name of a torch function → the same as calls that have rows; ``NotImplemented`` where it is no such case."""
_DENSE = "a sparse tensor is followed as a dense one: products with it are counted in full"


def composed(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], assumed: list[str]) -> Any:
    """A function of :data:`COMPOSED` as its calls, which run where they are recorded; NotImplemented where it has none.

    Args:
        name: of the function.
        args: its arguments.
        kwargs: its named arguments.
        assumed: what is taken for granted, in words, which is added to.
    """
    found = COMPOSED[name](*args, **kwargs)
    if found is not NotImplemented and name.startswith(("sparse_", "to_sparse")) and _DENSE not in assumed:
        assumed.append(_DENSE)
    return found
