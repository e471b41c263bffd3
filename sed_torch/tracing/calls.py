"""From a recorded call to the numbers that its rule needs.

Both front-ends (torch functions, ATen operators) arrive here; where their signatures differ it is said.
Arguments that are ``fx.Node`` s carry their shape in ``node.meta["shape"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.fx

from sed_torch.attributes import (
    AdaptivePool,
    Attributes,
    Conv,
    Cut,
    Embedding,
    Expand,
    Join,
    Linear,
    MultiHead,
    Permute,
    Pixel,
    Pool,
    Recurrent,
    Reduce,
    Slice,
    Unfold,
    Write,
)
from sed_torch.ops import Op
from sed_torch.tracing.operands import Args, Kwargs, arg, shape_of
from sed_torch.tracing.products import read_product

__all__ = ["READERS", "read_attrs"]

_NONE = Attributes()


def read_attrs(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Attributes:
    """The numbers of one call, as its rule needs them."""
    reader = READERS.get(op.rule)
    return reader(op, spelling, args, kwargs) if reader is not None else _NONE


def _tensor(args: Args, kwargs: Kwargs, place: int = 0, names: Sequence[str] = ("input", "self", "x")) -> Any:
    if len(args) > place:
        return args[place]
    return next((kwargs[n] for n in names if n in kwargs), None)


def _ints(value: Any, n: int) -> tuple[int, ...]:
    if isinstance(value, (tuple, list)):
        values = tuple(int(v) for v in value)
        return (
            values * n
            if len(values) == 1
            else values[:n]
            if len(values) >= n
            else values + (1,) * (n - len(values))
        )
    return (int(value),) * n


def _conv(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Conv:
    if op.name == "deform_conv":
        return _deform(args, kwargs, shape_of(args[0]))
    weight = shape_of(arg(args, kwargs, 1, "weight"))
    n = len(weight) - 2
    general = spelling in ("convolution", "_convolution")
    stride = _ints(arg(args, kwargs, 3, "stride", 1), n)
    dilation = _ints(arg(args, kwargs, 5, "dilation", 1), n)
    groups = int(arg(args, kwargs, 8 if general else 6, "groups", 1))
    if general and arg(args, kwargs, 6, "transposed", False):
        return _transposed(weight, stride, dilation, groups)
    return _plain_conv(weight, stride, dilation, groups)


def _deform(args: Args, kwargs: Kwargs, x: tuple[int, ...]) -> Conv:
    """torchvision.ops: (input, weight, offset, mask, bias, stride_h, stride_w, pad, pad, dil_h, dil_w, groups, …)."""
    weight = shape_of(args[1])
    numbers = [a for a in args if isinstance(a, int) and not isinstance(a, bool)]
    stride = tuple(numbers[0:2]) if len(numbers) >= 2 else (1, 1)
    dilation = tuple(numbers[4:6]) if len(numbers) >= 6 else (1, 1)
    return _plain_conv(weight, stride, dilation, max(1, x[1] // weight[1]))


def _plain_conv(
    weight: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], groups: int
) -> Conv:
    return Conv(
        window=weight[2:],
        stride=stride,
        dilation=dilation,
        c_in=weight[1],
        c_out=weight[0],
        groups=groups,
    )


def _conv_transpose(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Conv:
    weight = shape_of(arg(args, kwargs, 1, "weight"))
    n = len(weight) - 2
    stride = _ints(arg(args, kwargs, 3, "stride", 1), n)
    groups = int(arg(args, kwargs, 6, "groups", 1))
    return _transposed(weight, stride, _ints(arg(args, kwargs, 7, "dilation", 1), n), groups)


def _transposed(
    weight: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], groups: int
) -> Conv:
    return Conv(
        window=weight[2:],
        stride=stride,
        dilation=dilation,
        c_in=weight[0] // groups,
        c_out=weight[1] * groups,
        groups=groups,
        transposed=True,
    )


def _linear(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Linear:
    if op.name == "bilinear":
        weight = shape_of(arg(args, kwargs, 2, "weight"))
        return Linear(c_in=weight[1] * weight[2], c_out=weight[0])
    weight = shape_of(arg(args, kwargs, 1, "weight"))
    return Linear(c_in=weight[-1], c_out=weight[0] if len(weight) > 1 else 1)


def _pool(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Pool:
    digits = [c for c in spelling if c.isdigit()]
    n = int(digits[0]) if digits else 2
    first = 2 if op.name == "lp_pool" else 1
    kernel = _ints(arg(args, kwargs, first, "kernel_size"), n)
    stride = arg(args, kwargs, first + 1, "stride")
    stride = kernel if stride in (None, (), []) else _ints(stride, n)
    dilation = _ints(arg(args, kwargs, 4, "dilation", 1), n) if op.name == "max_pool" else (1,) * n
    return Pool(window=kernel, stride=stride, dilation=dilation)


def _adaptive(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> AdaptivePool:
    digits = [c for c in spelling if c.isdigit()]
    return AdaptivePool(axes=int(digits[0]) if digits else 2)


def _reduce(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Reduce:
    rank = len(shape_of(_tensor(args, kwargs)))
    if op.name == "pairwise_distance":  # (x1, x2, p, eps, keepdim)
        return Reduce(dims=(max(rank - 1, 0),))
    place = op.dim_at
    names = ("dim", "axis", "dims")
    dim = args[place] if len(args) > place else next((kwargs[n] for n in names if n in kwargs), None)
    if isinstance(dim, (bool, torch.fx.Node)):
        dim = None
    if op.name == "cosine_similarity" and dim is None:
        dim = 1
    if spelling == "linalg_matrix_norm" and dim is None:
        dim = (-2, -1)
    if isinstance(dim, int):
        dim = (dim,)
    dims = tuple(range(rank)) if not dim else tuple(sorted({int(d) % max(rank, 1) for d in dim}))
    return Reduce(dims=dims)


def _cat(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Join:
    tensors = arg(args, kwargs, 0, "tensors") or ()
    rank = max((len(shape_of(t)) for t in tensors), default=1)
    fixed = {"hstack": 1 if rank > 1 else 0, "vstack": 0, "dstack": 2}
    default = kwargs.get("axis", 0)
    dim = fixed[op.name] if op.name in fixed else int(arg(args, kwargs, 1, "dim", default))
    return Join(dim=dim % (rank + (op.name == "stack")))


def _permute(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Permute:
    rank = len(shape_of(_tensor(args, kwargs)))
    order = list(range(rank))
    if not rank:
        return Permute(order=())
    if spelling in ("T", "t", "H", "numpy_T"):
        order.reverse()
    elif spelling in ("mT", "mH", "adjoint", "matrix_H"):
        order[-1], order[-2] = order[-2], order[-1]
    elif op.name == "transpose":
        a = int(arg(args, kwargs, 1, "dim0", kwargs.get("axis0", 0))) % rank
        b = int(arg(args, kwargs, 2, "dim1", kwargs.get("axis1", 1))) % rank
        order[a], order[b] = order[b], order[a]
    elif spelling in ("movedim", "moveaxis"):
        order = _moved(rank, arg(args, kwargs, 1, "source"), arg(args, kwargs, 2, "destination"))
    else:
        dims = arg(args, kwargs, 1, "dims")
        dims = dims if isinstance(dims, (tuple, list)) else args[1:]
        order = [int(d) % rank for d in dims]
    return Permute(order=tuple(order))


def _moved(rank: int, source: Any, destination: Any) -> list[int]:
    sources = [int(s) % rank for s in (source if isinstance(source, (tuple, list)) else (source,))]
    places = [
        int(d) % rank for d in (destination if isinstance(destination, (tuple, list)) else (destination,))
    ]
    rest = iter(d for d in range(rank) if d not in sources)
    at = dict(zip(places, sources, strict=True))
    return [at[i] if i in at else next(rest) for i in range(rank)]


def _slice(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Slice:
    """``dims``: for each result dimension, (source dimension or -1 for a new one, step)."""
    x = _tensor(args, kwargs)
    rank = len(shape_of(x))
    whole = [(d, 1) for d in range(rank)]
    if spelling == "__getitem__":
        return Slice(dims=_indexed(rank, args[1], shape_of(x)))
    if spelling == "index":
        return Slice(
            dims=_indexed(rank, tuple(slice(None) if i is None else i for i in args[1]), shape_of(x))
        )
    if spelling == "slice":
        dim = int(arg(args, kwargs, 1, "dim", 0)) % rank
        whole[dim] = (dim, int(arg(args, kwargs, 4, "step", 1)))
    elif op.name in ("select", "unbind"):
        dim = int(arg(args, kwargs, 1, "dim", 0)) % max(rank, 1)
        whole = [w for w in whole if w[0] != dim]
    elif op.name in ("diagonal", "take", "masked_select", "roi"):
        return Slice()
    return Slice(dims=tuple(whole))


def _write(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Write:
    """``dims`` of ``x[index] = y``: for each dimension of ``x[index]``, the one of ``x`` that it goes along."""
    if spelling not in ("setitem", "__setitem__") or len(args) < 2 or args[1] is None:
        return Write()
    shape = shape_of(args[0])
    return Write(dims=tuple(d for d, _ in _indexed(len(shape), args[1], shape)) if shape else None)


def _indexed(rank: int, index: Any, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    items = list(index) if isinstance(index, (tuple, list)) else [index]
    if isinstance(index, list) and all(isinstance(i, (int, bool)) for i in index):
        items = [index]  # x[[0, 2, 1]] is one advanced index
    consumed = sum(1 for i in items if i is not None and i is not Ellipsis and not isinstance(i, bool))
    dims: list[tuple[int, int]] = []
    source, advanced = 0, False
    if not any(i is Ellipsis for i in items):  # by identity: an array of numpy compares entry by entry
        items.append(Ellipsis)
    for item in items:
        if item is None or isinstance(item, bool):
            dims.append((-1, 1))
        elif item is Ellipsis:
            dims.extend((d, 1) for d in range(source, source + rank - consumed))
            source += rank - consumed
        elif isinstance(item, int) or getattr(item, "ndim", 1) == 0:
            source += 1
        elif isinstance(item, slice):
            dims.append((source, int(item.step) if isinstance(item.step, int) else 1))
            source += 1
        else:
            index_rank = (
                len(shape_of(item)) if isinstance(item, torch.fx.Node) else int(getattr(item, "ndim", 1))
            )
            if not advanced:
                dims.extend([(source, 1)] + [(-1, 1)] * (index_rank - 1) if index_rank else [])
            advanced = True
            source += 1
    return tuple(dims)


def _expand(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Expand:
    """``repeat_interleave`` along one dimension: each entry ``repeats`` times in a row."""
    if spelling != "repeat_interleave":
        return Expand()
    repeats, dim = arg(args, kwargs, 1, "repeats"), arg(args, kwargs, 2, "dim")
    if not isinstance(repeats, int) or dim is None:
        return Expand()
    return Expand(repeats=repeats, dim=int(dim) % len(shape_of(_tensor(args, kwargs))))


def _unfold(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Cut | Unfold:
    """``F.unfold`` (im2col): window and stride. ``Tensor.unfold``: the dimension it cuts as well."""
    if spelling == "unfold":
        dim = int(arg(args, kwargs, 1, "dimension")) % max(len(shape_of(args[0])), 1)
        size, step = int(arg(args, kwargs, 2, "size")), int(arg(args, kwargs, 3, "step"))
        return Cut(dim=dim, size=size, step=step)
    return Unfold(
        window=_ints(arg(args, kwargs, 1, "kernel_size"), 2),
        dilation=_ints(arg(args, kwargs, 2, "dilation", 1), 2),
        padding=_ints(arg(args, kwargs, 3, "padding", 0), 2),
        stride=_ints(arg(args, kwargs, 4, "stride", 1), 2),
    )


def _pixel(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Pixel:
    for name in ("upscale_factor", "downscale_factor"):
        if name in kwargs:
            return Pixel(factor=int(kwargs[name]))
    return Pixel(factor=int(args[1]))


def _multi_head(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> MultiHead:
    out_proj = next((a for a in (arg(args, kwargs, 11, "out_proj_weight"),) if a is not None), None)
    embed = shape_of(args[0])[-1]
    # a learned key and a zero that attention may add to those it is given
    extra = (arg(args, kwargs, 7, "bias_k") is not None) + bool(arg(args, kwargs, 9, "add_zero_attn", False))
    return MultiHead(
        extra=extra if spelling == "multi_head_attention_forward" else 0,
        embed=embed,
        k_in=shape_of(arg(args, kwargs, 1, "key"))[-1],
        v_in=shape_of(arg(args, kwargs, 2, "value"))[-1],
        out=shape_of(out_proj)[0] if out_proj is not None else embed,
    )


def _recurrent(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Recurrent:
    """``layers``: (inputs, state, projection or 0) of each layer and direction, in order."""
    gates = {"lstm": 4, "gru": 3}.get(op.name.split("_")[0], 1)
    if op.name.endswith("_cell"):
        w_ih, w_hh = shape_of(args[2]), shape_of(args[3])
        return Recurrent(gates=gates, hidden=w_hh[1], layers=((w_ih[1], w_hh[1], 0),), time=None)
    weights = [shape_of(w) for w in next((a for a in args[2:] if _is_weights(a)), ())]
    matrices = [w for w in weights if len(w) == 2]
    per = 3 if _projected(matrices) else 2
    layers = tuple(
        (matrices[i][1], matrices[i + 1][1], matrices[i + 2][0] if per == 3 else 0)
        for i in range(0, len(matrices) - 1, per)
    )
    flags = [
        a for a in args if isinstance(a, bool)
    ]  # bias, training, bidirectional and, unless packed, batch_first
    return Recurrent(
        gates=gates,
        hidden=matrices[0][0] // gates if matrices else 0,
        layers=layers,
        time=(1 if flags[3] else 0) if len(flags) > 3 else None,
    )


def _is_weights(value: Any) -> bool:
    """A list of tensors, some of them matrices, as opposed to the pair of states."""
    return isinstance(value, (tuple, list)) and any(len(shape_of(v)) == 2 for v in value)


def _projected(matrices: Sequence[tuple[int, ...]]) -> bool:
    """LSTM with projections: every third matrix maps hidden to a smaller output."""
    return len(matrices) >= 3 and matrices[2][0] < matrices[0][0] and matrices[2][0] == matrices[1][1]


def _embedding(op: Op, spelling: str, args: Args, kwargs: Kwargs) -> Embedding:
    return Embedding(bag=op.name == "embedding_bag")


READERS: dict[str, Callable[[Op, str, Args, Kwargs], Attributes]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "linear": _linear,
    "pool": _pool,
    "adaptive_pool": _adaptive,
    "reduce": _reduce,
    "cat": _cat,
    "stack": _cat,
    "permute": _permute,
    "slice": _slice,
    "expand": _expand,
    "unfold": _unfold,
    "write": _write,
    "pixel_shuffle": _pixel,
    "pixel_unshuffle": _pixel,
    "matmul": read_product,
    "multi_head_attention": _multi_head,
    "recurrent": _recurrent,
    "embedding": _embedding,
}
