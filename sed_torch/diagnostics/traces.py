"""The further traces that a check makes: in training mode, and at another batch size; one pass where it can."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from sed_torch.errors import DataDependentError, SedTorchError, TraceError
from sed_torch.graph import Graph, Node
from sed_torch.ops import OPS
from sed_torch.tracing import trace

__all__ = ["Aligned", "Traces", "scaled_dims"]


class Traces:
    """Traces of one model beside the one that was scored, each made when it is first asked for.

    Args:
        model: the module.
        graph: the trace that was scored, in evaluation mode.
        input_size, input_data: as the caller gave them.
    """

    def __init__(
        self, model: nn.Module, graph: Graph, input_size: Any = None, input_data: Any = None
    ) -> None:
        self._model, self._graph = model, graph
        self._inputs = {"input_size": input_size, "input_data": input_data}

    @property
    def batch(self) -> int:
        """The other batch size."""
        return self.samples + 1 if self.samples > 1 else 3

    @cached_property
    def samples(self) -> int:
        """With what all inputs begin, which by convention is the batch; 0 where they differ."""
        sizes = {n.shape[0] for n in self._graph.nodes if n.op == "input" and n.shape}
        return sizes.pop() if len(sizes) == 1 else 0

    def _trace(self, **options: Any) -> Graph | SedTorchError:
        try:
            return trace(self._model, **self._inputs, **options)
        except SedTorchError as error:
            return error

    @cached_property
    def _trained(self) -> Graph | SedTorchError:
        """In training mode, at the other batch size if the inputs can be brought to it."""
        return self._trace(training=True, batch=self.batch) if self._resizable else self._plain_training

    @cached_property
    def _plain_training(self) -> Graph | SedTorchError:
        return self._trace(training=True)

    @property
    def _resizable(self) -> bool:
        """Whether all inputs begin with the batch, as far as their sizes tell."""
        return self._graph.frontend == "fx" and self.samples > 0

    @cached_property
    def training(self) -> Graph | None:
        """In training mode; None when it cannot be followed (some forwards take targets there).

        Where no code of the model's own asks for the mode, the graph that was scored is that of training too.
        """
        if self._graph.frontend == "fx" and not _asks_for_mode(self._model):
            return self._graph
        found = self._trained if isinstance(self._trained, Graph) else self._plain_training
        return found if isinstance(found, Graph) else None

    @cached_property
    def modes(self) -> Graph | None:
        """As :attr:`training`, but followed in any case: with the flags that each operator has in training."""
        found = self._trained if isinstance(self._trained, Graph) else self._plain_training
        return found if isinstance(found, Graph) else None

    @cached_property
    def other(self) -> Aligned | TraceError | None:
        """At the other batch size, operator for operator as the graph that was scored.

        None where that cannot be had or nothing could touch the batch axis, and the error where shapes do not fit
        at any batch size but the given one.
        """
        if not self._resizable or not any(
            _may_touch_batch(self._graph, n, self.samples) for n in self._graph.nodes
        ):
            return None
        if _asks_for_mode(self._model) and isinstance(self._trained, Graph):
            same = self._aligned(self._trained)
            if same is not None:
                return same
        found = self._trace(batch=self.batch)
        if isinstance(found, Graph):
            return self._aligned(found)
        if not isinstance(found, TraceError) or isinstance(found, DataDependentError):
            return None
        if isinstance(self._trace(batch=2 * self.samples), Graph):
            return None  # pairs and other multiples are fine
        return found

    def _aligned(self, other: Graph) -> Aligned | None:
        shapes = _shapes(self._graph, other)
        return Aligned(self.samples, self.batch, shapes) if shapes is not None else None


def _asks_for_mode(model: nn.Module) -> bool:
    """Whether a class of the model's own asks whether it is in training, or changes what train() does."""
    return any(_reads_mode(kind) for kind in {type(m) for m in model.modules()})  # type: ignore[arg-type]


@functools.lru_cache(maxsize=1024)
def _reads_mode(kind: type) -> bool:
    own = [k for k in kind.__mro__ if not k.__module__.startswith("torch.") and k is not object]
    functions = [f for k in own for v in vars(k).values() if (f := inspect.unwrap(v) if callable(v) else v)]
    return any("train" in vars(k) for k in own) or any(_mentions(f, _DEEPEST) for f in functions)


_DEEPEST = 2
"""How many calls deep a helper is looked into for the mode of the module it is given."""


def _mentions(function: Any, depth: int) -> bool:
    """Whether a function, or one that it names or encloses, reads an attribute called ``training``."""
    if not isinstance(function, types.FunctionType):
        return False
    code = function.__code__
    if _in_code(code):
        return True
    named = (function.__globals__.get(n) for n in code.co_names)
    enclosed = (c.cell_contents for c in function.__closure__ or () if c != types.CellType())
    helpers = [f for f in (*named, *enclosed) if isinstance(f, types.FunctionType)]
    own = (f for f in helpers if not str(f.__module__).startswith("torch.") and f is not function)
    return depth > 0 and any(_mentions(f, depth - 1) for f in own)


def _in_code(code: types.CodeType) -> bool:
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return "training" in code.co_names or "training" in code.co_consts or any(map(_in_code, inner))


def _may_touch_batch(graph: Graph, node: Node, batch: int) -> bool:
    """Whether an operator may change, drop or mix the first axis."""
    if node.op in OPS.ruled("reshape"):
        return node.op != "flatten" or (node.shape or ())[:1] != (batch,)
    if node.op in OPS.having("attends", "recurrent") or node.op in ("expand", "unknown", "normalize"):
        return True
    if node.op in OPS.having("squashes"):
        return node.facts.get("dim") in (None, 0, -len(node.shape or ()))
    if node.op in OPS.having("arithmetic") and len(node.inputs) == 2:
        return len({len(graph[i].shape or ()) for i in node.inputs}) > 1
    return False


@dataclass(frozen=True)
class Aligned:
    """Two graphs of one model that have the same operators where an output depends on them.

    Attributes:
        samples: the batch size of the first.
        batch: that of the second.
        shapes: of each node of the first, the shape it has in the second.
    """

    samples: int
    batch: int
    shapes: Mapping[str, tuple[int, ...] | None]


def _shapes(a: Graph, b: Graph) -> dict[str, tuple[int, ...] | None] | None:
    """The shape of each needed node of ``a`` in ``b``; None where they are not alike."""
    ours, theirs = ([n for n in g.nodes if n.name in g.needed] for g in (a, b))
    if len(ours) != len(theirs):
        return None
    place = [{n.name: i for i, n in enumerate(nodes)} for nodes in (ours, theirs)]
    for x, y in zip(ours, theirs, strict=True):
        if x.op != y.op or [place[0][i] for i in x.inputs] != [place[1][i] for i in y.inputs]:
            return None
    return {x.name: y.shape for x, y in zip(ours, theirs, strict=True)}


def scaled_dims(graph: Graph, other: Aligned) -> Mapping[str, tuple[int, ...]]:
    """Dimensions of each node's result that grow with the batch, by two graphs that are alike."""
    return {
        node.name: _scaled(node.shape, other.shapes.get(node.name), other.samples, other.batch)
        for node in graph.nodes
    }


def _scaled(a: tuple[int, ...] | None, b: tuple[int, ...] | None, batch: int, other: int) -> tuple[int, ...]:
    if a is None or b is None or len(a) != len(b):
        return ()
    return tuple(i for i, (n, m) in enumerate(zip(a, b, strict=True)) if n != m and n * other == m * batch)
