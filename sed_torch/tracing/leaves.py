"""Submodules that are recorded as one node: those a user registered a rule for, and those that cannot be entered.

Only the shadow's own ``forward`` is replaced, on the instance: nothing global, nothing of the model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sed_torch.errors import TraceError
from sed_torch.ops import OPS, Op

if TYPE_CHECKING:
    from sed_torch.tracing.recorder import Recorder

__all__ = ["MODULE_RULES", "leaf_modules"]

ModuleRule = tuple[Op, Callable[[nn.Module], Mapping[str, Any]] | None]

MODULE_RULES: dict[type[nn.Module], ModuleRule] = {}
"""Module classes with a rule of the user's own, see :func:`sed_torch.register_rule`."""


@contextlib.contextmanager
def leaf_modules(recorder: Recorder, opaque: Sequence[str]) -> Iterator[None]:
    """While open, calls of the leaf modules in the recorder's shadow make one node each."""
    modules = {
        path: m for m, path in ((m, recorder.shadow.paths[id(m)]) for m in recorder.shadow.root.modules())
    }
    for path, module in modules.items():
        rule = MODULE_RULES.get(type(module))
        if path in opaque:
            module.__dict__["forward"] = _Leaf(recorder, module, path, OPS["opaque"], None)
        elif rule is not None:
            module.__dict__["forward"] = _Leaf(recorder, module, path, *rule)
    yield


class _Leaf:
    """Stands in for a module's forward: finds the result's shape in silence, records one node."""

    def __init__(
        self,
        recorder: Recorder,
        module: nn.Module,
        path: str,
        op: Op,
        attrs: Callable[[nn.Module], Mapping[str, Any]] | None,
    ) -> None:
        self.recorder, self.module, self.path, self.op = recorder, module, path, op
        self.attrs = attrs
        self.forward = type(module).forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        mark = self.recorder.graph_mark()
        try:
            result = self.forward(self.module, *args, **kwargs)
        except TraceError as error:
            result = self._same_as_input(args, error)
        self.recorder.rewind(mark)
        return self.recorder.record_leaf(
            self.op,
            type(self.module).__name__,
            self.path,
            self.module,
            args,
            kwargs,
            result,
            dict(self.attrs(self.module)) if self.attrs is not None else {},
        )

    def _same_as_input(self, args: tuple[Any, ...], error: TraceError) -> Tensor:
        """A module that cannot be followed at all is taken to keep its input's shape, if it has one input."""
        tensors = [a for a in args if isinstance(a, Tensor)]
        if len(tensors) != 1:
            raise error
        return torch.empty_like(tensors[0], device="meta")
