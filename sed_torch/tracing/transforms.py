"""``vmap`` and ``grad`` inside a forward: function transforms, which wrap tensors where no recorder can see them.

While a recorder runs, ``vmap`` calls its function once for each row, on the recorder's tensors, and ``grad`` follows
the function forward; compiled functions run as they are written. Nothing changes for other threads.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as tree

from sed_torch.errors import TraceError
from sed_torch.tracing.composed import padded_stack
from sed_torch.tracing.signals import Signal

__all__ = ["transforms_followed"]

_MOST_ROWS = 512
_rows = threading.local()
_lock = threading.Lock()
_following = 0
_originals: dict[Any, Any] = {}


@contextmanager
def transforms_followed(mode: type[TorchFunctionMode]) -> Iterator[None]:
    """While a recorder (``mode``) runs in a thread, the transforms called there are followed."""
    global _following
    compiler: Any = torch.compiler
    with _lock:
        _following += 1
        if _following == 1:
            _originals["compiling"] = compiler.is_dynamo_compiling
            compiler.is_dynamo_compiling = _as_if_compiling(compiler.is_dynamo_compiling, mode)
            for (module, name), ours in _followed().items():
                original = getattr(sys.modules.get(module), name, None)
                if original is not None:
                    _originals[module, name] = original
                    setattr(sys.modules[module], name, _dispatching(original, ours, mode))
    try:
        with ExitStack() as stack:
            if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield
    finally:
        with _lock:
            _following -= 1
            if _following == 0:
                compiler.is_dynamo_compiling = _originals.pop("compiling")
                for module, name in [*_originals]:
                    setattr(sys.modules[module], name, _originals.pop((module, name)))


def _followed() -> dict[tuple[str, str], Callable[..., Any]]:
    """What is called in place of a function of torch, by its module and name."""
    eager = "torch._functorch.eager_transforms"
    return {
        ("torch._functorch.apis", "vmap_impl"): _by_rows,
        (eager, "grad_impl"): _forward_only,
        (eager, "_vjp_with_argnums"): _pulled_back,
        (eager, "_jvp_with_argnums"): _pushed_forward,
        ("torch.nested", "nested_tensor"): _nested_as_padded,
        ("torch.nested", "as_nested_tensor"): _nested_as_padded,
        ("torch.nested", "nested_tensor_from_jagged"): _jagged,
    }


def _dispatching(
    original: Callable[..., Any], ours: Callable[..., Any], mode: type[TorchFunctionMode]
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if not _within(mode):
            return original(*args, **kwargs)
        return ours(_aside(original, mode), *args, **kwargs)

    return call


def _within(mode: type[TorchFunctionMode]) -> bool:
    """Whether a recorder runs, be it below modes that the forward enters itself."""
    stack: list[Any] = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return any(isinstance(m, mode) for m in stack)


def _aside(function: Callable[..., Any], mode: type[TorchFunctionMode]) -> Callable[..., Any]:
    """``function``, called as without the recorder; modes that the forward entered above it stay."""
    overrides: Any = torch.overrides

    def call(*args: Any, **kwargs: Any) -> Any:
        above = []
        while not isinstance(ours := overrides._pop_mode(), mode):
            above.append(ours)
        for m in reversed(above):
            overrides._push_mode(m)
        try:
            return function(*args, **kwargs)
        finally:
            for _ in above:
                overrides._pop_mode()
            for m in (ours, *reversed(above)):
                overrides._push_mode(m)

    return call


_HIGHER_ORDER = tuple(
    os.path.join(torch.__path__[0], *place) for place in (("_higher_order_ops",), ("nn", "attention"))
)


def _as_if_compiling(original: Callable[[], bool], mode: type[TorchFunctionMode]) -> Callable[[], bool]:
    """``torch.cond``, ``flex_attention`` and their kin compile themselves, unless they are being compiled."""

    def is_dynamo_compiling() -> bool:
        asking = sys._getframe(1).f_code.co_filename
        return (_within(mode) and asking.startswith(_HIGHER_ORDER)) or original()

    return is_dynamo_compiling


def _by_rows(
    original: Callable[..., Any],
    function: Callable[..., Any],
    in_dims: Any,
    out_dims: Any,
    randomness: Any,
    chunk_size: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """``vmap`` as a loop. Of constants alone (a mask from positions) it is computed as it stands, unless the function
    reads other tensors besides.
    """
    from torch._functorch.vmap import _process_batched_inputs

    tensors = [t for t in tree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    if all(not t.is_meta and not isinstance(t, torch.nn.Parameter) for t in tensors):
        with suppress(RuntimeError):  # of torch, where the function reads what is followed besides
            found = original(function, in_dims, out_dims, randomness, chunk_size, *args, **kwargs)
            if not any(isinstance(t, Tensor) and t.is_meta for t in tree.tree_leaves(found)):
                return found
    rows, dims, flat, spec = _process_batched_inputs(in_dims, args, function)
    if rows > _MOST_ROWS:
        raise Signal(TraceError(f"vmap over {rows} rows is not followed (at most {_MOST_ROWS})"))
    if rows == 0:  # of nothing: the shapes alone are asked for
        row = [
            v if d is None else torch.zeros_like(v.movedim(d, 0).sum(0))
            for v, d in zip(flat, dims, strict=True)
        ]
        found = function(*tree.tree_unflatten(row, spec), **kwargs)
        return tree.tree_map(lambda t: t.new_zeros((0, *t.shape)), found)
    results, shape = [], None
    outside, _rows.known = getattr(_rows, "known", None), {}
    try:
        for i in range(rows):
            row = [v if d is None else v.select(d, i) for v, d in zip(flat, dims, strict=True)]
            named = {k: v.select(0, i) if isinstance(v, Tensor) else v for k, v in kwargs.items()}
            leaves, shape = tree.tree_flatten(function(*tree.tree_unflatten(row, spec), **named))
            results.append(leaves)
    finally:
        _rows.known = outside
    assert shape is not None
    places = tree._broadcast_to_and_flatten(out_dims, shape) or [0] * len(results[0])
    stacked = [
        leaves[0] if d is None else torch.stack(list(leaves), d)
        for leaves, d in zip(zip(*results, strict=True), places, strict=True)
    ]
    return tree.tree_unflatten(stacked, shape)


def _forward_only(
    _: Callable[..., Any], function: Callable[..., Any], argnums: Any, has_aux: bool, args: Any, kwargs: Any
) -> Any:
    """``torch.func.grad``: a tensor like the argument, which depends on what the function computes."""
    result = function(*args, **kwargs)
    value, aux = result if has_aux else (result, None)
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    given = [tree.tree_flatten(args[n]) for n in numbers]
    found = [tree.tree_unflatten(torch.autograd.grad(value, leaves), spec) for leaves, spec in given]
    grads = tuple(found) if isinstance(argnums, tuple) else found[0]
    return (grads, aux) if has_aux else grads


def _pulled_back(
    _: Callable[..., Any],
    function: Callable[..., Any],
    *primals: Any,
    argnums: Any = None,
    has_aux: bool = False,
) -> Any:
    """``torch.func.vjp``, also inside ``jacrev``: the function forward, then gradients like its arguments."""
    result = function(*primals)
    value, aux = result if has_aux else (result, None)
    of = [t for t in tree.tree_leaves(value) if isinstance(t, Tensor)]
    read = primals if argnums is None else _chosen(primals, argnums)

    def back(*_: Any, **__: Any) -> Any:
        leaves, spec = tree.tree_flatten(read)
        return tree.tree_unflatten(list(torch.autograd.grad(of, leaves)), spec)

    return (value, back, aux) if has_aux else (value, back)


def _pushed_forward(
    _: Callable[..., Any],
    function: Callable[..., Any],
    primals: Any,
    tangents: Any,
    argnums: Any = None,
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> Any:
    """``torch.func.jvp``, also inside ``jacfwd``: the tangents pass through the function as its arguments do."""
    _say("the derivative that jvp takes on the way forward is counted as one more run of its function")
    result = _once(function, primals)
    value, aux = result if has_aux else (result, None)
    moved = list(primals)
    places = range(len(moved)) if argnums is None else argnums if isinstance(argnums, tuple) else (argnums,)
    given = tangents if isinstance(tangents, tuple) else (tangents,)
    for place, tangent in zip(places, given, strict=True):
        moved[place] = tangent
    again = function(*moved)
    tangent = again[0] if has_aux else again
    return (value, tangent, aux) if has_aux else (value, tangent)


def _once(function: Callable[..., Any], args: Any) -> Any:
    """What a function returns; of the rows that ``jacfwd`` goes through, all but the first take what the first got."""
    known = getattr(_rows, "known", None)
    if known is None:
        return function(*args)
    key = id(function), *map(id, tree.tree_leaves(args))
    if key not in known:
        known[key] = function(*args), function, args  # held, so that no other gets their number
    return known[key][0]


def _chosen(args: tuple[Any, ...], argnums: Any) -> Any:
    return tuple(args[n] for n in argnums) if isinstance(argnums, tuple) else args[argnums]


def _nested_as_padded(original: Callable[..., Any], parts: Any, *args: Any, **kwargs: Any) -> Any:
    """A nested tensor, read as long as its longest part, as nested inputs are."""
    if isinstance(parts, Tensor):
        return original(parts, *args, **kwargs) if parts.is_nested else parts
    tensors = [p if isinstance(p, Tensor) else torch.as_tensor(p) for p in parts]
    if not tensors:
        return original(parts, *args, **kwargs)
    if len({p.shape for p in tensors}) > 1:
        _say("a nested tensor is read with all its parts as long as the longest: an upper bound")
    return padded_stack(tensors)


def _jagged(_: Callable[..., Any], *__: Any, **___: Any) -> Any:
    raise Signal(
        TraceError(
            "nested_tensor_from_jagged takes the lengths of its parts from the values of offsets, which are not "
            "known without data. Make the nested tensor of a list of tensors, torch.nested.nested_tensor([a, b]), "
            "or score the layers behind it on a padded batch"
        )
    )


def _say(words: str) -> None:
    """Tell the recorder that runs what is taken for granted."""
    stack: list[Any] = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    for mode in stack:
        assumed = getattr(mode, "assumed", None)
        if assumed is not None and words not in assumed:
            assumed.append(words)
