"""What recurrent layers keep for their backward pass, and need while they run.

On the CPU a GRU and a plain RNN run step by step, and an LSTM in oneDNN, whose work space is made of pieces of whole
pages. On a GPU cuDNN keeps a reserve of a size that it does not publish: the figure here is an **estimate** by the
gates and states of each step, and ``Cost.assumed`` says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sed_torch.attributes import Recurrent
from sed_torch.graph import Node

__all__ = ["Recurrence"]

_PAGE = 4096


@dataclass(frozen=True)
class Recurrence:
    """The sizes of one call of a recurrent layer or cell.

    Attributes:
        kind: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        passes: (features in, hidden, projection or 0) of each layer and direction.
        directions: 1 or 2.
        steps: positions of the sequence; 1 for a cell.
        samples: sequences, at the batch looked at.
        drops: whether entries are dropped between layers.
        cell: whether it is a cell, called for one step.
    """

    kind: str
    passes: tuple[tuple[int, int, int], ...]
    directions: int
    steps: int
    samples: float
    drops: bool
    cell: bool

    @classmethod
    def of(cls, node: Node, shape: tuple[int, ...], times: float) -> Recurrence:
        """That of a node whose first operand has some shape, with the batch so many times as large."""
        attrs, cell = node.of(Recurrent), node.op.endswith("_cell")
        steps = 1 if cell else shape[attrs.time or 0] if shape else 1
        samples = math.prod(shape[:-1]) / max(steps, 1) * times
        facts = node.facts
        return cls(
            node.op.split("_", 1)[0],
            attrs.layers,
            2 if facts.get("bidirectional") else 1,
            steps,
            samples,
            bool(facts.get("p")) and bool(facts.get("training", True)),
            cell,
        )

    def kept(self, device: str, size: float) -> Mapping[str, float]:
        """Bytes kept beside operands and the last layer's output, by what they are; ``size`` is of an entry."""
        found: dict[str, float] = {}
        for place, (wide, hidden, projected) in enumerate(self.passes):
            layer, direction = divmod(place, self.directions)
            state = self.samples * hidden
            found[f"steps {place}"] = self._steps(device, state, projected * self.samples, wide, size)
            if layer and not direction:
                between = self.steps * self.samples * wide * size
                found[f"input {layer}"] = between
                if self.drops:
                    found[f"mask {layer}"] = between
            if self.kind == "lstm" and not self.cell:
                found[f"ends {place}"] = 2 * state * size
                last = layer == (len(self.passes) - 1) // self.directions
                if self.directions > 1 or (self.drops and not last):
                    found[f"output {place}"] = self.steps * state * size
        return found

    def _steps(self, device: str, state: float, projected: float, wide: int, size: float) -> float:
        """What the steps of one layer in one direction leave; ``state`` are entries of a hidden state."""
        if self.kind == "lstm":
            if device == "cpu" and not projected and not self.cell:
                return self._pages(state, wide, size)
            return self.steps * ((5 if self.cell and device == "cpu" else 6) * state + projected) * size
        if self.kind == "gru":
            if device == "cpu":  # six of each step, and the state that it starts from, which stays in float32
                return (self.steps * (6 * size + max(size, 4)) - size) * state
            return self.steps * 5 * state * size
        return self.steps * state * size

    def _pages(self, state: float, wide: int, size: float) -> float:
        """oneDNN's work space, counted in its allocations: gates twice, states in and out, those of the cell."""
        hidden = state / max(self.samples, 1e-9)

        def piece(rows: float, columns: float, entry: float = size, pad: bool = True) -> float:
            line = math.ceil(columns * entry / 64) * 64 if pad else columns * entry
            if pad and line / entry % 256 == 0:
                line += 64
            return math.ceil(rows * line / _PAGE) * _PAGE

        rows, states = self.steps * self.samples, (self.steps + 1) * self.samples
        gates = piece(rows, 4 * hidden) + piece(rows, 4 * hidden, 4, pad=False)
        return gates + 3 * piece(2 * states, max(wide, hidden)) + piece(states, hidden, 4) + 2 * _PAGE

    def running(self, size: float) -> float:
        """Bytes held for a moment while it runs without gradients, by torch's kernels on the CPU.

        A GRU and an RNN hold what they project, the states of the steps and these stacked; an LSTM its input and
        output.
        """
        positions = self.steps * self.samples * size
        most = max(hidden for _, hidden, _ in self.passes) * positions
        if self.kind == "lstm":
            return most + self.passes[0][0] * positions
        return most * {"gru": 6, "rnn": 3}[self.kind]
