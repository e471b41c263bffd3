"""torch's own tables of modules and operators, walked: each is read in full, with the shapes and MACs of a real run.

The default suite takes a sample; ``-m slow`` takes all of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.counting import flops_counted
from torch import Tensor, nn
from torch.utils import _pytree as tree

import sed_torch
from sed_torch.errors import SedTorchError
from sed_torch.ops import lookup

# Operators of torch's table without a row, by what they are. In a forward they show in the coverage.
LEFT_OUT = frozenset(
    (
        # read values or have no shape without them
        *("allclose", "equal"),
        *("histogram", "histogramdd", "hash_tensor", "broadcast_shapes", "unravel_index"),
        # make tensors, or change the memory under one
        *(
            "rand",
            "randn",
            "randint",
            "resize_",
            "resize_as_",
            "as_strided_copy",
        ),
        *("as_strided_scatter", "unfold_copy", "sum_to_size"),
        # backward passes, kernels, and what only torch itself calls
        *("_chunk_cat", "_segment_reduce", "_softmax_backward_data", "_unsafe_masked_index"),
        *(
            "_unsafe_masked_index_put_accumulate",
            "max_pool2d_with_indices_backward",
            "native_dropout_backward",
        ),
        *("torch._scaled_mm_v2", "torch.ops.aten._efficient_attention_forward"),
        "torch.ops.aten._flash_attention_forward",
        # numerical algebra that no network was seen to use
        *("dist", "geqrf", "ormqr", "linalg.ldl_factor", "linalg.ldl_factor_ex", "linalg.ldl_solve"),
        *("linalg.matrix_sqrth", "nn.functional.pdist"),
    )
)
FAMILIES_LEFT_OUT = ("jiterator_", "signal.windows.", "special.")

pytest.importorskip("expecttest", reason="torch's tables need it")


def _tables() -> tuple[list[Any], list[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
        from torch.testing._internal.common_modules import module_db
    return op_db, module_db


pytestmark = pytest.mark.filterwarnings("ignore")


def _module_calls(info: Any) -> Iterator[tuple[nn.Module, tuple[Any, ...], dict[str, Any]]]:
    inputs = info.module_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=False, training=False
    )
    for given in inputs:
        if given.forward_input is None:
            continue
        built = info.module_cls(*given.constructor_input.args, **given.constructor_input.kwargs).eval()
        yield built, given.forward_input.args, given.forward_input.kwargs


class Calls(nn.Module):
    """A module as the part of a larger one, so that its inputs are named."""

    def __init__(self, inner: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.inner = inner
        self.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        self.names = [n for n, a in kwargs.items() if isinstance(a, Tensor)]
        self.args, self.kwargs = args, kwargs

    def forward(self, *tensors: Tensor) -> Any:
        args, kwargs = list(self.args), dict(self.kwargs)
        for place, t in zip(self.places, tensors, strict=False):
            args[place] = t
        for name, t in zip(self.names, tensors[len(self.places) :], strict=False):
            kwargs[name] = t
        return self.inner(*args, **kwargs)


def _fault(inner: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """What is wrong with a call that runs in torch; None if nothing is, or if torch itself refuses it."""
    tensors = tuple(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor))
    if not tensors:
        return None
    model = Calls(inner, args, kwargs)
    try:
        flops = flops_counted(model, *tensors)
    except Exception:  # torch refuses its own sample, as for a module that is meant to fail
        return None
    try:
        s = sed_torch.score(model, input_data=tensors, frontend="fx")
        batch = sed_torch.trace(model, input_data=tensors, frontend="fx").batch
    except SedTorchError as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"
    if s.unknown:
        return f"unknown: {[u.target for u in s.unknown]}"
    torchs, ours = flops / 2, s.macs
    if torchs and not any(abs(ours * samples - torchs) <= 0.01 * torchs for samples in (1, batch)):
        return f"MACs {ours} (batch {batch}), torch counts {torchs}"
    return None


def _module_faults(every: int) -> tuple[int, list[str]]:
    tried, faults = 0, []
    for info in _tables()[1]:
        for k, (module, args, kwargs) in enumerate(_module_calls(info)):
            if k % every:
                continue
            tried += 1
            fault = _fault(module, args, kwargs)
            if fault is not None:
                faults.append(f"{info.name} #{k}: {fault}")
    return tried, faults


def test_a_sample_of_torchs_modules_is_read_as_torch_runs_them() -> None:
    tried, faults = _module_faults(31)
    assert tried > 60
    assert faults == []


@pytest.mark.slow
def test_torchs_modules_are_read_as_torch_runs_them() -> None:
    """98 of 100 calls at least, each other one with its cause in the message."""
    tried, faults = _module_faults(1)
    assert tried > 1500
    assert len(faults) <= 0.02 * tried, faults


class Operator(nn.Module):
    """One call of torch's table, whose tensors are the inputs."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.function = function
        self.flat, self.spec = tree.tree_flatten((args, kwargs))
        self.places = [i for i, a in enumerate(self.flat) if isinstance(a, Tensor)]

    def forward(self, *tensors: Tensor) -> Any:
        flat = list(self.flat)
        for place, t in zip(self.places, tensors, strict=True):
            flat[place] = t
        args, kwargs = tree.tree_unflatten(flat, self.spec)
        return self.function(*args, **kwargs)


# Another operator of its last name has a row.
NAMED_ALIKE = frozenset(["linalg.polar"])


def _operator_faults(every: int, most: int) -> tuple[int, int, list[str]]:
    """Calls that run in torch, those that are refused with a reason, and what is wrong with others."""
    tried, refused, faults = 0, 0, []
    for info in _tables()[0][::every]:
        try:
            samples = list(info.sample_inputs("cpu", torch.float32, requires_grad=False))
        except Exception:  # operators of whole or complex numbers alone
            continue
        for k, sample in list(enumerate(samples))[:: max(1, len(samples) // most)]:
            model = Operator(info.op, (sample.input, *sample.args), sample.kwargs)
            tensors = tuple(model.flat[i] for i in model.places)
            if not tensors or not all(t.numel() for t in tensors):
                continue
            try:
                flops = flops_counted(model, *(t.clone() for t in tensors))
            except Exception:  # torch refuses its own sample
                continue
            tried += 1
            try:
                s = sed_torch.score(model, input_data=tensors, frontend="fx")
                batch = sed_torch.trace(model, input_data=tensors, frontend="fx").batch
            except SedTorchError:
                refused += 1
                continue
            near = any(abs(s.macs * n - flops / 2) <= 0.005 * flops for n in (1, batch))
            one_of_all = any(
                "pairs the batch" in words for words in s.assumed
            )  # the samples met: one is read
            if flops and not near and not s.unknown and not one_of_all:
                faults.append(f"{info.name} #{k}: MACs {s.macs} (batch {batch}), torch counts {flops / 2}")
            if s.unknown and not (
                info.name in LEFT_OUT | NAMED_ALIKE or info.name.startswith(FAMILIES_LEFT_OUT)
            ):
                faults.append(f"{info.name} #{k}: {[u.target for u in s.unknown]} unknown")
    return tried, refused, faults


def test_a_sample_of_torchs_operators_is_read_as_torch_runs_them() -> None:
    tried, refused, faults = _operator_faults(8, 3)
    assert tried > 150
    assert refused <= 0.05 * tried
    assert faults == []


@pytest.mark.slow
def test_torchs_operators_are_read_as_torch_runs_them() -> None:
    tried, refused, faults = _operator_faults(1, 12)
    assert tried > 3000
    assert refused <= 0.03 * tried
    assert faults == []


def _has_row(name: str) -> bool:
    return any(lookup(n) for n in (name.replace(".", "_"), name, name.rsplit(".", 1)[-1]))


def test_torchs_operators_have_a_row_or_are_left_out_by_name() -> None:
    names = {info.name for info in _tables()[0]}
    without = {n for n in names if not _has_row(n) and not n.startswith(FAMILIES_LEFT_OUT)}
    assert without - LEFT_OUT == set()
    assert not {n for n in LEFT_OUT & names if _has_row(n)}, "these have a row now: take them from the list"
