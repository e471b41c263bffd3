"""Whether the forward can be called with what is given, and what else could be meant.

A call that does not fit the forward's signature is told before anything is followed, with the call that would fit.
Guesses, on the other hand, are tried: they are taken back where they do not fit.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sed_torch.errors import InputError, TraceError
from sed_torch.graph import Graph
from sed_torch.tables import shape_text
from sed_torch.tracing.inputs import Inputs

__all__ = ["fitted", "guessed_wrong", "multiplies_ids", "other_readings", "refuse_unbatched"]

_MOST_ARGUMENTS = 3
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def fitted(model: nn.Module, inputs: Inputs) -> Inputs:
    """``inputs`` as the forward takes them.

    A batch ``(x, y)`` of a loader is taken as ``x`` where the forward has one argument; ``((a, b), {"c": c})``
    as positional and keyword arguments where a tuple and a dict do not fit as they are.

    Raises:
        InputError: the forward takes other arguments; the message names ``input_data`` and shows the call.
        TraceError: there is no forward.
    """
    if getattr(model.forward, "__name__", "") == "_forward_unimplemented":
        raise TraceError(
            f"the forward of {type(model).__name__} raised NotImplementedError: it has none. "
            "Give the module that calls its layers, or write one."
        )
    if model._forward_pre_hooks:  # which may change what is passed
        return inputs
    try:
        signature = inspect.signature(model.forward)
        signature.bind(*inputs.args, **inputs.kwargs)
        return inputs
    except ValueError:  # a forward without a signature
        return inputs
    except TypeError as error:
        other = _other_call(signature, inputs)
        if other is not None:
            return other
        raise InputError(_words(model, signature, inputs, str(error))) from error


def _other_call(signature: inspect.Signature, inputs: Inputs) -> Inputs | None:
    args = inputs.args
    if len(args) != 2 or inputs.kwargs:
        return None
    if (
        isinstance(args[0], (tuple, list))
        and isinstance(args[1], dict)
        and all(isinstance(k, str) for k in args[1])
    ):
        both = dataclasses.replace(inputs, args=tuple(args[0]), kwargs=args[1])
        return both if _binds(signature, both) else None
    first = dataclasses.replace(
        inputs, args=args[:1], assumed=(*inputs.assumed, "of the two things given, the first is the input")
    )
    return first if isinstance(args[1], Tensor) and _binds(signature, first) else None


def _binds(signature: inspect.Signature, inputs: Inputs) -> bool:
    try:
        signature.bind(*inputs.args, **inputs.kwargs)
    except TypeError:
        return False
    return True


def _words(model: nn.Module, signature: inspect.Signature, inputs: Inputs, why: str) -> str:
    takes = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    needed = [p.name for p in takes if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    names = needed or [p.name for p in takes]
    text = f"{type(model).__name__}.forward({', '.join(p.name for p in takes)}) cannot be called so: {why}. "
    if inputs.kwargs and not inputs.args and len(names) == 1 and takes[0].kind in _POSITIONAL:
        return text + (
            "A dict as input_data gives keyword arguments; to give it as the one argument, put it into a tuple: "
            f"input_data=({names[0]},)"
        )
    only = [p.name for p in takes if p.kind is p.KEYWORD_ONLY and p.name in names]
    if only and any(p.kind in (*_POSITIONAL, p.VAR_POSITIONAL) for p in takes):
        places = [p.name for p in takes if p.kind in _POSITIONAL and p.name in names]
        places += [f"*{p.name}" for p in takes if p.kind is p.VAR_POSITIONAL]
        named = ", ".join(f"{n!r}: {n}" for n in only)
        return text + f"Give input_data=(({', '.join(places)},), {{{named}}})"
    listed = ", ".join(names)
    named = ", ".join(f"{n!r}: {n}" for n in names)
    return text + f"Give input_data=({listed},) or, by name, input_data={{{named}}}"


def refuse_unbatched(graph: Graph, inputs: Inputs) -> None:
    """A size without a batch that reached a convolution as it was.

    Raises:
        InputError: with the size to write instead.
    """
    if inputs.hint and any(
        n.op == "conv" and n.inputs and len(graph[n.inputs[0]].shape or ()) == inputs.unbatched
        for n in graph.nodes
    ):
        raise InputError(inputs.hint)


def multiplies_ids(graph: Graph) -> bool:
    """Whether whole numbers meet weights: they were a wrong guess, which shapes alone do not tell."""
    products = [n for n in graph.nodes if n.op in ("linear", "conv") and n.inputs]
    return any(graph[n.inputs[0]].dtype == "int64" for n in products)


def other_readings(model: nn.Module, inputs: Inputs) -> Iterator[Inputs]:
    """What else could be meant by sizes, or guessed where none were given."""
    yield from inputs.others
    if not inputs.from_sizes or not any(
        isinstance(m, (nn.Embedding, nn.EmbeddingBag)) for m in model.modules()
    ):
        return
    places: list[Any] = [*range(len(inputs.args)), *inputs.kwargs]
    if len(places) > _MOST_ARGUMENTS:
        return
    for place in places:
        old = inputs.args[place] if isinstance(place, int) else inputs.kwargs[place]
        if isinstance(old, Tensor):
            to = torch.int64 if old.dtype.is_floating_point else torch.get_default_dtype()
            name = f"x{place}" if isinstance(place, int) else place
            yield _with(
                inputs, place, torch.empty(old.shape, dtype=to, device="meta"), f"{name} read as {_name(to)}"
            )


def _with(inputs: Inputs, place: Any, value: Tensor, words: str) -> Inputs:
    assumed = (*inputs.assumed, f"{words}, as the other kind of number did not fit")
    if isinstance(place, int):
        args = tuple(value if i == place else a for i, a in enumerate(inputs.args))
        return dataclasses.replace(inputs, args=args, assumed=assumed)
    kwargs: Mapping[str, Any] = {**inputs.kwargs, place: value}
    return dataclasses.replace(inputs, kwargs=kwargs, assumed=assumed)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def guessed_wrong(model: nn.Module, inputs: Inputs, error: Exception) -> str:
    """The message of an error, after the guess that led to it."""
    shapes = [shape_text(a.shape) for a in inputs.args if isinstance(a, Tensor)]
    shape = next((tuple(a.shape) for a in inputs.args if isinstance(a, Tensor)), (1, 3, 224, 224))
    written = ",".join(map(str, shape))
    return (
        f"no input was given for {type(model).__name__}; {', '.join(inputs.assumed) or 'input ' + ', '.join(shapes)}, "
        f"was tried and does not fit. Give the real one, such as input_size={shape} "
        f"(on the command line --input-size {written}), or input_data. What was met: {error}"
    )
