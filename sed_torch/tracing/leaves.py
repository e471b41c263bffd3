"""Submodules that are recorded as one node: those a user registered a rule for, and those that cannot be entered.

Only the shadow's own ``forward`` is replaced, on the instance: nothing global, nothing of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sed_torch.attributes import KINDS, Attributes
from sed_torch.errors import RuleError
from sed_torch.ops import OPS, Op
from sed_torch.tracing.signals import Signal, explained
from sed_torch.tracing.tensors import tensors_in

if TYPE_CHECKING:
    from sed_torch.tracing.recorder import Recorder

__all__ = ["install_leaves"]


def install_leaves(recorder: Recorder, opaque: Sequence[str]) -> None:
    """From now on, calls of the leaf modules in the recorder's shadow make one node each."""
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
            result = self._same_as_input(inputs, signal)
            self.recorder.signalled = None
        except Exception as error:
            if explained(error) is None:
                raise
            result = self._same_as_input(inputs, error)
        self.recorder.rewind(mark)
        attrs = _attributes(self.op, self.module)
        self.recorder.record_leaf(self.op, self.module, self.path, inputs, tensors_in(result), attrs)
        return result

    def _same_as_input(self, inputs: list[Tensor], error: BaseException) -> Tensor:
        """A module that cannot be followed at all is taken to keep its input's shape, if it has one input."""
        if len(inputs) != 1:
            raise error
        return torch.empty_strided(inputs[0].size(), inputs[0].stride(), dtype=inputs[0].dtype, device="meta")


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
