"""What the model is called with: shapes given, or inferred and said to be assumed."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sed_torch.errors import InputError
from sed_torch.tables import shape_text
from sed_torch.tracing.given import tensors_replaced
from sed_torch.tracing.hf_sizes import hf_readings
from sed_torch.tracing.programs import inputs_of
from sed_torch.tracing.torchvision_sizes import torchvision_sizes

__all__ = ["Inputs", "resolve_inputs"]

_DEFAULT_SIZE = {1: 16000, 2: 224, 3: 32}  # positions an axis: one second of audio, ImageNet, a small volume
_DEFAULT_TOKENS = 128
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FIRST = (
    *_TRANSPOSED,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.Linear,
    nn.Embedding,
    nn.LSTM,
    nn.GRU,
    nn.RNN,
    nn.MultiheadAttention,
)


@dataclass(frozen=True)
class Inputs:
    """Arguments for the forward, as ``meta`` tensors inside their containers.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        assumed: what was not given, in words.
        values: id of a ``meta`` tensor among them → the tensor of the caller's that it stands for.
        others: what to try where a guess does not fit.
        from_sizes: given as sizes, so that the kind of number is a guess.
        guessed: not given at all.
        hint: how to write a size that seems to lack its batch dimension.
        unbatched: how many dimensions it would have where it does lack it.
        resized: whether another batch size was asked for than the inputs have, to see what it changes.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    assumed: tuple[str, ...] = ()
    values: Mapping[int, Tensor] = field(default_factory=dict)
    others: tuple[Inputs, ...] = ()
    from_sizes: bool = False
    guessed: bool = False
    hint: str = ""
    unbatched: int = 0
    resized: bool = False


_MOST_DIMENSIONS, _MOST_ENTRIES = 64, 10**15


def resolve_inputs(model: nn.Module, input_size: Any = None, input_data: Any = None) -> Inputs:
    """Inputs from ``input_data``, else ``input_size``, else inferred from the model.

    Args:
        model: the module that will be called.
        input_size: a size with batch dimension, such as ``(1, 3, 224, 224)``, or a sequence of sizes, one an
            argument; a mapping gives keyword arguments.
        input_data: a tensor, a tuple of arguments, or a dict of keyword arguments. Only shapes and dtypes count.

    Raises:
        InputError: if neither is usable and none can be inferred.
    """
    if input_data is not None:
        if input_size is not None:
            raise InputError("give input_size or input_data, not both")
        return _from_data(input_data)
    if input_size is not None:
        return _from_size(model, input_size)
    return _inferred(model)


def _meta(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype, device="meta")


def _from_data(data: Any) -> Inputs:
    stand_ins = _StandIns()
    if isinstance(data, Tensor) or hasattr(data, "__array_interface__"):
        return stand_ins.inputs((data,), {})
    if isinstance(data, Mapping) and all(isinstance(k, str) for k in data):
        return stand_ins.inputs((), dict(data))
    if isinstance(data, (tuple, list)) and not hasattr(data, "_fields"):
        return stand_ins.inputs(tuple(data), {})
    if not isinstance(data, (str, bytes, int, float)):
        return stand_ins.inputs((data,), {})  # an object of the caller's own: the one argument
    raise InputError(f"input_data must be a tensor, a tuple or a dict, found {type(data).__name__}")


class _StandIns:
    """``meta`` tensors for those of ``input_data``, whose values may be asked for (:mod:`.known` says which)."""

    def __init__(self) -> None:
        self._values: dict[int, Tensor] = {}
        self._empty: list[str] = []
        self._words: list[str] = []

    def inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
        new_args, new_kwargs = tensors_replaced(args, kwargs, self._of)
        words = (f"one sample in place of none in {', '.join(self._empty)}",) if self._empty else ()
        return Inputs(new_args, new_kwargs, (*words, *self._words), values=self._values)

    def _of(self, value: Any, name: str) -> Tensor:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value)
        if tensor.is_nested:
            self._words.append(f"{name} is nested: all its samples are read as long as the longest")
            return _meta(_padded_shape(tensor), tensor.dtype)
        if tensor.layout is not torch.strided:
            self._words.append(f"{name} is sparse: products with it are counted as if it were dense")
            return _meta(tensor.shape, tensor.dtype)
        dtype = torch.float32 if tensor.is_quantized else tensor.dtype
        if tensor.dim() and not tensor.shape[0]:
            self._empty.append(name)
            return _meta((1, *tensor.shape[1:]), dtype)
        meta = _meta(tensor.shape, dtype)
        if not tensor.is_quantized and tensor.device.type != "meta":
            self._values[id(meta)] = tensor
        if type(tensor) is not Tensor:  # what a subclass knows besides its numbers
            vars(meta).update(vars(tensor))
        return meta


def _padded_shape(nested: Tensor) -> tuple[int, ...]:
    """The size of a nested tensor were its samples padded to the longest."""
    samples = [tuple(sample.shape) for sample in nested.unbind()]
    return (len(samples), *map(max, zip(*samples, strict=True)))


def _from_size(model: nn.Module, size: Any) -> Inputs:
    if isinstance(size, Tensor) or (
        isinstance(size, (tuple, list)) and any(isinstance(s, Tensor) for s in size)
    ):
        raise InputError(
            "input_size takes sizes, such as (1, 3, 224, 224), found a tensor: give it as input_data=…"
        )
    dtype = _float_dtype(model)
    if isinstance(size, Mapping):
        named = {
            k: _meta(_checked(v), _named_dtype(k) or _dtype_for(model, v, dtype)) for k, v in size.items()
        }
        masks = {k: t for k, t in named.items() if k.endswith("attention_mask")}
        seen = {id(t): torch.ones((), dtype=t.dtype).expand(t.shape) for t in masks.values()}
        assumed = (f"{', '.join(masks)} of ones",) if masks else ()
        return Inputs((), named, assumed, values=seen, from_sizes=True)
    if (
        isinstance(size, (tuple, list, torch.Size))
        and size
        and all(isinstance(v, (tuple, list, torch.Size)) for v in size)
    ):
        sizes = tuple(_meta(_checked(v), _dtype_for(model, v, dtype)) for v in size)
        return Inputs(sizes, {}, from_sizes=True)
    shape = _checked(size)
    hint = _hint_missing_batch(model, shape)
    given = _meta(shape, _dtype_for(model, size, dtype))
    return Inputs((given,), {}, hint=hint, unbatched=len(shape), from_sizes=True)


def _checked(size: Any) -> tuple[int, ...]:
    if isinstance(size, int):
        size = (size,)
    if not isinstance(size, (tuple, list, torch.Size)) or not size:
        raise InputError(
            f"input_size must be a tuple of positive integers with batch dimension, found {size!r}"
        )
    if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in size):
        raise InputError(f"input_size must hold positive integers only, found {tuple(size)!r}")
    if len(size) > _MOST_DIMENSIONS or math.prod(size) > _MOST_ENTRIES:
        raise InputError(
            f"input_size is beyond what torch can hold ({_MOST_DIMENSIONS} dimensions, {_MOST_ENTRIES:.0e} "
            f"entries): found {len(size)} dimensions, the largest {max(size):.3g}"
        )
    return tuple(size)


def _hint_missing_batch(model: nn.Module, shape: tuple[int, ...]) -> str:
    """What to write where the size lacks a batch; whether it does, only following the network tells."""
    first = _first_layer(model)
    if not isinstance(first, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return ""
    rank = len(first.kernel_size) + 2
    if len(shape) == rank - 1 and shape[0] == first.in_channels:
        return (
            f"input_size {shape} has no batch dimension: write {(1, *shape)} "
            f"({type(first).__name__} reads {rank} dimensions)"
        )
    return ""


def _named_dtype(name: str) -> torch.dtype | None:
    """What goes by these names is whole numbers everywhere."""
    return torch.int64 if name.endswith(("input_ids", "attention_mask", "token_type_ids", "labels")) else None


def _dtype_for(model: nn.Module, shape: Any, dtype: torch.dtype) -> torch.dtype:
    named = getattr(shape, "dtype", None)  # written as 35,20:int64 on the command line
    if isinstance(named, str):
        found = getattr(torch, named, None)
        if not isinstance(found, torch.dtype):
            raise InputError(f"{named!r} is no dtype of torch; expected one such as int64 or float32")
        return found
    first = _first_layer(model)
    return torch.int64 if isinstance(first, nn.Embedding) and len(tuple(shape)) <= 2 else dtype


def _float_dtype(model: nn.Module) -> torch.dtype:
    """The dtype of the first floating-point parameter, so that half and double models get their own kind."""
    for p in model.parameters():
        if p.dtype.is_floating_point:
            return p.dtype
        if p.dtype.is_complex:
            return {torch.complex128: torch.float64, torch.complex32: torch.float16}.get(
                p.dtype, torch.float32
            )
    return torch.get_default_dtype()


def _first_layer(model: nn.Module) -> nn.Module | None:
    return next((m for m in model.modules() if isinstance(m, _FIRST)), None)


def _inferred(model: nn.Module) -> Inputs:
    exported = inputs_of(model)
    if exported is not None:
        return Inputs(*exported, ("input as the program was exported",))
    dtype = _float_dtype(model)
    found = _from_timm(model)
    if found is not None:
        shape, why = found
        return Inputs((_meta(shape, dtype),), {}, (why,))
    named = _from_hf(model)
    if named is not None:
        return named
    known = torchvision_sizes(model)
    if known is not None:
        return Inputs(tuple(_placed(s, dtype) for s in known.sizes), {}, (known.why,))
    _needs_one_input(model)
    first = _first_layer(model)
    if first is None:
        raise InputError(
            f"no input size for {type(model).__name__}: it has no layer to infer one from. "
            "Give input_size with batch dimension, such as (1, 3, 224, 224), or input_data."
        )
    shape, dtype = _shape_for(model, first, dtype)
    why = f"from the first {type(first).__name__}"
    return Inputs(
        (_meta(shape, dtype),),
        {},
        (f"input {shape_text(shape)}, {why}",),
        others=tuple(
            Inputs(
                (_meta(s, dtype),), {}, (f"input {shape_text(s)}, {why} and the first usual size that fits",)
            )
            for s in _usual(shape, first)
        ),
        guessed=True,
    )


_USUAL = {
    1: (1024, 128, 4096, 512, 256, 100, 8000, 64, 32),
    2: (32, 28, 64, 96, 128, 256, 299, 227, 48, 84, 512),
    3: (16, 64, 112, 8),
}


def _usual(shape: tuple[int, ...], first: nn.Module) -> list[tuple[int, ...]]:
    """Sizes to try after the default: a network that ends in a Linear behind a flatten takes one of them only."""
    if isinstance(first, _TRANSPOSED):
        return [(*shape[:2], *(side,) * (len(shape) - 2)) for side in (4, 7, 8)]
    if isinstance(first, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        n = len(shape) - 2
        return [(*shape[:2], *(side,) * n) for side in _USUAL[n] if side != shape[-1]]
    if isinstance(first, nn.Embedding):
        return [(1, n) for n in (64, 32, 16)]
    return []


def _placed(size: Any, dtype: torch.dtype) -> Any:
    return [_meta(s, dtype) for s in size] if isinstance(size, list) else _meta(size, dtype)


def _from_timm(model: nn.Module) -> tuple[Any, str] | None:
    for name in ("pretrained_cfg", "default_cfg"):
        cfg = getattr(model, name, None)
        if not isinstance(cfg, Mapping):
            continue
        size = cfg.get("input_size")
        if size is not None:
            shape = (1, *size)
            embed = getattr(model, "patch_embed", None)
            actual = getattr(embed, "img_size", None)
            if isinstance(actual, (tuple, list)) and len(actual) == 2 and len(shape) == 4:
                shape = (1, shape[1], *map(int, actual))
            channels = _channels_of(model, cfg.get("first_conv"))
            # create_model(..., in_chans=1) leaves the cfg at 3; a multiple of it is a space-to-depth stem
            if channels is not None and len(shape) == 4 and channels % shape[1]:
                shape = (1, channels, *shape[2:])
            return shape, f"input {shape_text(shape)}, from timm's {name}"
    return None


def _channels_of(model: nn.Module, path: Any) -> int | None:
    """Input channels of the convolution that timm names as the first."""
    if isinstance(path, (tuple, list)):
        path = path[0] if len(path) == 1 else None
    layer = dict(model.named_modules()).get(path) if isinstance(path, str) else None
    return layer.in_channels if isinstance(layer, nn.Conv2d) else None


def _from_hf(model: nn.Module) -> Inputs | None:
    """transformers: the config says what the main input looks like, and which others go with it."""
    made = []
    for reading in hf_readings(model, _float_dtype(model)):
        named = {k: _meta(shape, dtype) for k, (shape, dtype) in reading.named.items()}
        seen = {id(named[k]): value for k, value in reading.values.items()}
        made.append(Inputs((), named, reading.why, values=seen))
    return dataclasses.replace(made[0], others=tuple(made[1:])) if made else None


def _needs_one_input(model: nn.Module) -> None:
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return
    required = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if len(required) > 1:
        raise InputError(
            f"{type(model).__name__}.forward takes {len(required)} inputs ({', '.join(required)}): "
            "give input_size as a sequence of sizes or a mapping by name, or input_data."
        )


def _shape_for(model: nn.Module, first: nn.Module, dtype: torch.dtype) -> tuple[tuple[int, ...], torch.dtype]:
    if isinstance(first, nn.Embedding):
        return (1, _DEFAULT_TOKENS), torch.int64
    if isinstance(first, nn.Linear):
        return (1, first.in_features), dtype
    if isinstance(first, (nn.LSTM, nn.GRU, nn.RNN)):
        shape = (1, _DEFAULT_TOKENS, first.input_size)
        return shape if first.batch_first else (_DEFAULT_TOKENS, 1, first.input_size), dtype
    if isinstance(first, nn.MultiheadAttention):
        shape = (1, _DEFAULT_TOKENS, first.embed_dim)
        return shape if first.batch_first else (_DEFAULT_TOKENS, 1, first.embed_dim), dtype
    if isinstance(first, _TRANSPOSED):  # a generator: a point that grows
        return (1, first.in_channels, *(1,) * len(first.kernel_size)), dtype
    assert isinstance(first, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    n = len(first.kernel_size)
    side = getattr(model, "image_size", None)
    side = int(side) if isinstance(side, int) else _DEFAULT_SIZE[n]
    return (1, first.in_channels, *(side,) * n), dtype
