"""Why a call could not be followed, in words that name it, its place and what to do."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sed_torch.errors import DataDependentError, ShapeError, TraceError
from sed_torch.tables import shape_text
from sed_torch.tracing.names import SELECTS
from sed_torch.tracing.places import describe
from sed_torch.tracing.tensors import tensors_of

__all__ = ["asks_for_values", "failed_call"]

_SPELLED = {"__bool__": "bool(tensor)", "__int__": "int(tensor)", "__float__": "float(tensor)"}


def asks_for_values(name: str, path: str, source: str | None) -> DataDependentError:
    """The forward wants the value of a tensor that has none."""
    spelled = _SPELLED.get(name, f"tensor.{name}()")
    return DataDependentError(
        f"data-dependent code: {spelled} asks for the values of a tensor in {describe(path, source)}. "
        "SED reads the graph without data, so control flow and shapes may depend on shapes only.",
        module_path=path,
        source=source,
    )


def failed_call(
    error: Exception, name: str, args: tuple[Any, ...], path: str, source: str | None
) -> TraceError:
    """A torch function raised on ``meta`` tensors."""
    text = str(error).strip().split("\n")[0]
    text = text.partition(" This could be because")[
        0
    ]  # torch goes on with all the places it knows a kernel for
    where = describe(path, source)
    if isinstance(error, NotImplementedError) or "meta tensor" in text.lower() or "data-dependent" in text:
        if name in SELECTS:
            text = "how many entries there are depends on their values"
        return DataDependentError(
            f"data-dependent code: {name} has no shape without data, in {where}: {text}",
            module_path=path,
            source=source,
        )
    if name == "__getitem__" and len(args) > 1 and isinstance(args[1], str):
        return TraceError(
            f"{args[1]!r} is looked up in a tensor, in {where}: the forward expects a mapping there. Give it as "
            f"input_data=({{{args[1]!r}: tensor}},)",
            module_path=path,
            source=source,
        )
    tensors = tensors_of(args, {})
    shapes = ", ".join(shape_text(t.shape, "scalar") for t in tensors)
    text = _read_and_given(name, tensors, args) or text
    return ShapeError(
        f"shapes do not fit: {name}({shapes}) in {where}: {text}", module_path=path, source=source
    )


def _read_and_given(name: str, tensors: list[Tensor], args: tuple[Any, ...]) -> str:
    """Of a convolution that is given another number of channels than it reads: both numbers; else nothing."""
    if len(tensors) < 2 or name not in ("conv1d", "conv2d", "conv3d"):
        return ""
    given, weight = tensors[0], tensors[1]
    groups = args[6] if len(args) > 6 and isinstance(args[6], int) else 1
    reads = weight.shape[1] * groups
    if given.dim() != weight.dim() or given.shape[1] == reads:
        return ""
    return f"the convolution reads {reads} channels and is given {given.shape[1]} (dimension 1 of its input)"
