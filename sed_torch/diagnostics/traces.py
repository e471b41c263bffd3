"""The further traces that a check makes: in training mode, and at another batch size; one pass where it can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from sed_torch.batching.doubts import batch_in_doubt
from sed_torch.diagnostics.code import Sizes
from sed_torch.errors import DataDependentError, SedTorchError, TraceError
from sed_torch.graph import Graph
from sed_torch.tracing import trace
from sed_torch.tracing.asking import mode_matters
from sed_torch.tracing.watching import ModeReads

__all__ = ["Aligned", "Traces", "scaled_dims"]


class Traces:
    """Traces of one model beside the one that was scored, each made when it is first asked for.

    Args:
        model: the module.
        graph: the trace that was scored, in evaluation mode.
        reads: who read the mode while it was made.
        input_size, input_data: as the caller gave them.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: Graph,
        reads: ModeReads,
        input_size: Any = None,
        input_data: Any = None,
    ) -> None:
        self._model, self._graph, self._reads = model, graph, reads
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
    def _mode_matters(self) -> bool:
        seen = self._graph.frontend in ("fx", "fx+cut", "fx+bound")
        return not seen or mode_matters(self._model, self._reads)

    @cached_property
    def training(self) -> Graph | None:
        """In training mode; None when it cannot be followed (some forwards take targets there).

        Where the mode does no more than switch noise and statistics, the graph that was scored is that of training too.
        """
        return self.modes if self._mode_matters else self._graph

    @cached_property
    def modes(self) -> Graph | None:
        """As :attr:`training`, but followed in any case: with the flags that each operator has in training."""
        found = self._trained if isinstance(self._trained, Graph) else self._plain_training
        return found if isinstance(found, Graph) else None

    @cached_property
    def doubtful(self) -> Aligned | TraceError | None:
        """As :attr:`other`, and None too where the first trace and the code leave no doubt about the batch axis."""
        follows = Sizes(self._model).follow
        if not self._resizable or not batch_in_doubt(self._graph, self.samples, follows):
            return None
        return self.other

    @cached_property
    def other(self) -> Aligned | TraceError | None:
        """At the other batch size, operator for operator as the graph that was scored.

        None where that cannot be had, and the error where shapes do not fit at any batch size but the given one.
        """
        if not self._resizable:
            return None
        if self._mode_matters and isinstance(self._trained, Graph):
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

    @cached_property
    def one_sample_works(self) -> bool:
        """Whether a batch of one gives outputs of the usual number of dimensions; asked for only in doubt."""
        many, size = self._graph, self.samples
        if size == 1:
            several = self._trace(batch=self.batch)
            if not isinstance(several, Graph):
                return False
            many, size = several, self.batch
        found = self._graph if self.samples == 1 else self._trace(batch=1)
        if not isinstance(found, Graph) or len(found.outputs) != len(many.outputs):
            return False
        ours, theirs = ([g[o].shape or () for o in g.outputs] for g in (many, found))
        return all(
            len(a) == len(b) and (not a or b[0] * size == a[0]) for a, b in zip(ours, theirs, strict=True)
        )

    def _aligned(self, other: Graph) -> Aligned | None:
        shapes = _shapes(self._graph, other)
        return Aligned(self.samples, self.batch, shapes) if shapes is not None else None


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
