"""What recurrent layers keep for their backward pass, and need while they run.

On the CPU a GRU, a plain RNN and whatever reads packed sequences run step by step, and an LSTM in oneDNN, whose work
space is made of pieces of whole pages, found by its sizes over 360 layers. On a GPU cuDNN keeps a reserve of a size
that it does not publish: the figure here is an **estimate** by the gates and states of each step, and
``Cost.assumed`` says so.
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
        turned: whether its input does not lie in memory as the steps are taken.
        packed: whether its input is a packed sequence: all positions of all samples, one after another.
    """

    kind: str
    passes: tuple[tuple[int, int, int], ...]
    directions: int
    steps: int
    samples: float
    drops: bool
    cell: bool
    turned: bool = False
    packed: bool = False

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
            attrs.time == 1 and samples > 1,
            attrs.time is None and not cell,
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
                cast = (
                    self.kind == "gru" and size < 4
                )  # its states are in float32: each direction casts for itself
                found[f"input {layer}"] = between * (self.directions if cast else 1)
                if self.drops:
                    found[f"mask {layer}"] = between
            if self.kind == "lstm" and not self.cell:
                found[f"ends {place}"] = 2 * state * size
                last = layer == (len(self.passes) - 1) // self.directions
                if self.directions > 1 or ((self.drops or self.packed) and not last):
                    found[f"output {place}"] = self.steps * state * size
        return found

    def _steps(self, device: str, state: float, projected: float, wide: int, size: float) -> float:
        """What the steps of one layer in one direction leave; ``state`` are entries of a hidden state."""
        if self.kind == "lstm":
            if device == "cpu" and not projected and not self.cell and not self.packed:
                return self._pages(state, wide, size)
            return self.steps * ((5 if self.cell and device == "cpu" else 6) * state + projected) * size
        if self.kind == "gru":
            if device == "cpu":  # six of each step, and the state that it starts from, which stays in float32
                return (self.steps * (6 * size + max(size, 4)) - size) * state
            return self.steps * 5 * state * size
        return self.steps * state * size

    def _pages(self, state: float, wide: int, size: float) -> float:
        """oneDNN's work space, each piece in whole pages: gates and hidden states of the steps, and for every step and
        the one before, forward and back: what a layer reads, two states that it hands on, and two of the cell.
        """
        hidden = state / max(self.samples, 1e-9)

        def pages(rows: float, columns: float) -> float:
            """Of a table whose lines begin at multiples of 64 bytes, and not all at the same place of the cache."""
            line = math.ceil(columns * size / 64) * 64
            line += 64 if line / size % 256 == 0 else 0
            return math.ceil(rows * line / _PAGE) * _PAGE

        rows, states = self.steps * self.samples, 2 * (self.steps + 1) * self.samples
        cell = math.ceil(states * hidden * 4 / _PAGE) * _PAGE
        of_steps = pages(rows, 4 * hidden) + pages(rows, hidden)
        return of_steps + 3 * pages(states, max(wide, hidden)) + 2 * cell

    def running(self, size: float) -> float:
        """Bytes held for a moment while it runs without gradients, by torch's kernels on the CPU.

        Both directions of a layer hold what they leave until it is put together.
        """
        if self.cell:
            return self._layer(0, size)
        return max(self._layer(layer, size) for layer in range(len(self.passes) // self.directions))

    def _layer(self, layer: int, size: float) -> float:
        """While one layer runs: what it reads, where that is another's, what it holds, and what it leaves."""
        wide, hidden, projected = self.passes[layer * self.directions]
        positions, both = self.steps * self.samples, self.directions > 1
        held = max(size, 4) if self.kind == "gru" else size  # a GRU's states are in float32
        left = positions * (projected or hidden) * held
        state = self.samples * hidden * held * self.directions
        read = positions * wide * held if layer else 0.0
        if (
            self.kind == "lstm" and not projected and not self.cell
        ):  # in one kernel, whose input is laid out first
            turned = positions * self.passes[0][0] * size if self.turned else 0.0
            ends = 2 * state * (2 if len(self.passes) == self.directions else layer + 1)
            return turned + read + left * (4 if both else 1) + ends
        gates = positions * hidden * size * {"lstm": 4, "gru": 3}.get(self.kind, 1)
        stepping = gates + left * (
            6 if both else 2
        )  # the states of the steps, these stacked, and both side by side
        biased = gates * 2 if self.turned and not layer else gates  # the bias is added apart from the product
        projecting = biased + (gates + 2 * left if both else 0.0)
        return read + max(stepping, projecting) + layer * state
