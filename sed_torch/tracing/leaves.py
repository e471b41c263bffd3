"""Submodules that are recorded as one node: those a user registered a rule for, and those that cannot be entered.

Only the shadow's own ``forward`` is replaced, on the instance: nothing global, nothing of the model.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sed_torch.attributes import KINDS, Attributes
from sed_torch.errors import RuleError
from sed_torch.ops import OPS, Op
from sed_torch.tracing.kernels import shaped_by_a_run
from sed_torch.tracing.randomness import random_state_kept
from sed_torch.tracing.signals import Signal, explained
from sed_torch.tracing.tensors import tensors_in

if TYPE_CHECKING:
    from sed_torch.tracing.recorder import Recorder

__all__ = ["install_leaves"]


def install_leaves(recorder: Recorder, opaque: Sequence[str]) -> None:
    """From now on, calls of the leaf modules in the recorder's shadow make one node each."""
    if not opaque and not OPS.has_modules:
        return
    for module in recorder.shadow.root.modules():
        path = recorder.shadow.path_of(module) or ""
        op = OPS.by_module(type(module))
        if path in opaque:
            module.__dict__["forward"] = _Leaf(recorder, module, path, OPS["opaque"])
        elif op is not None:
            module.__dict__["forward"] = _Leaf(recorder, module, path, op)


class _Leaf:
    """Stands in for a module's forward: finds the result's shape in silence, records one node."""

    def __init__(self, recorder: Recorder, module: nn.Module, path: str, op: Op) -> None:
        self.recorder, self.module, self.path, self.op = recorder, module, path, op

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        inputs = tensors_in((args, kwargs))
        mark = self.recorder.mark()
        try:
            result = type(self.module).forward(self.module, *args, **kwargs)
        except Signal as signal:
            result = self._unfollowed(args, kwargs, signal)
            self.recorder.signalled = None
            signal.settled()
        except Exception as error:
            if explained(error) is None:
                raise
            result = self._unfollowed(args, kwargs, error)
        self.recorder.rewind(mark)
        attrs = _attributes(self.op, self.module)
        self.recorder.record_leaf(self.op, self.module, self.path, inputs, tensors_in(result), attrs)
        return result

    def _unfollowed(self, args: Any, kwargs: Any, error: BaseException) -> Any:
        """What a module that cannot be followed gives: as a run on made-up numbers does, or else as its one input."""
        copied = _copy_of(self.module)
        if copied is not None:
            with torch._C.DisableTorchFunction(), random_state_kept():
                found = shaped_by_a_run(copied, args, kwargs)
            if found is not None:
                return found
        inputs = tensors_in((args, kwargs))
        if len(inputs) != 1:
            raise error
        same = inputs[0]
        result = torch.empty_strided(same.size(), same.stride(), dtype=same.dtype, device="meta")
        self.recorder.guessed.append(result)
        return result


def _copy_of(module: nn.Module) -> nn.Module | None:
    """A copy to run in the module's place; None of one that is too large, or cannot be copied."""
    if sum(p.numel() for p in module.parameters()) > _MOST_PARAMETERS:
        return None
    own = {
        id(m.__dict__["forward"]) for m in module.modules() if isinstance(m.__dict__.get("forward"), _Leaf)
    }
    try:
        with torch._C.DisableTorchFunction():
            copied = copy.deepcopy(module, dict.fromkeys(own))
    except Exception:  # locks, files, tensors with a history
        return None
    for part in copied.modules():
        part.__dict__.pop("forward", None) if part.__dict__.get("forward", part) is None else None
    return copied


_MOST_PARAMETERS = 1 << 24


def _attributes(op: Op, module: nn.Module) -> Attributes:
    """What the rule of a user's module needs to know of it.

    Raises:
        RuleError: the function given with the rule tells something else, or there is none.
    """
    told = op.attrs(module) if op.attrs is not None else {}
    try:
        return KINDS.get(op.rule, Attributes).read(told)
    except ValueError as error:
        raise RuleError(f"attrs of {op.name!r}, for its rule {op.rule!r}: {error}") from error
