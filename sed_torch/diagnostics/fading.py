"""SED309: signals and gradients that fade or grow from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from sed_torch.diagnostics.backwards import gradients
from sed_torch.diagnostics.reach import cuts
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.signal import Signal, signals
from sed_torch.diagnostics.subject import Subject
from sed_torch.graph import Node
from sed_torch.ops import OPS

LOW, HIGH = 1e-3, 1e3
"""Limits of the second moment E[x²] at a layer, for an input of unit variance."""

FADED = 1e-8
"""Variance between inputs, or share of the gradient's mean square, below which nothing of it is left in float32."""

CHAIN = 3
"""Layers without a normalisation that make a chain."""


def _depths(subject: Subject) -> dict[str, int]:
    """Layers since the last normalisation, or since the input, along the longest way."""
    norms = OPS.having("normalises")
    found: dict[str, int] = {}
    for node in subject.live:
        before = max((found.get(i, 0) for i in node.inputs), default=0)
        found[node.name] = 0 if node.op in norms else before + (node.op in ("conv", "linear"))
    return found


@rule("SED309", "signal-out-of-range", "warning")
def signal_out_of_range(subject: Subject) -> Iterator[Hit]:
    """The signal fades or grows out of [10⁻³, 10³] in a chain of layers without normalisation.

    E[x²] is followed from layer to layer for an input of unit variance, with the second moments of the weights
    that the model holds now (a sample of each; nothing is run). PyTorch's default initialisation gives
    Var(w) = 1/(3·fan_in), which with ReLU divides the signal by six at every layer. Models on ``meta`` have no
    weights and are passed over; so are branches that a skip goes around, and the last layer. Of sums with a skip it is
    said where E[x²] passes 10⁶ after three of them or more.

    The variance between inputs, what of E[x²] depends on which input it was, is followed as well: a bias keeps
    E[x²] up while the difference between two inputs is gone. Below 10⁻⁸ float32 hardly tells two inputs apart and
    the gradient has faded as much; that is twelve default layers with ReLU, or five with sigmoids. Where a signal is
    small and stays above that it is info: AlexNet has 7·10⁻⁴ at its first linear layer, and trains. Behind a max
    pool the largest of the values under the window is followed.

    The gradient is followed in the same way from the last layer to the first; where it is below 10⁻⁸ or above 10⁸ of
    what it was, that is said too: saturated tanh keeps the signal and lets the gradient grow.

    Why it matters: gradients fade or grow at the same rate; deep networks of this kind do not start to learn.

    What to do: add normalisation, or initialise for the activation (``nn.init.kaiming_normal_``).

    Reference: He et al. (2015), arXiv 1502.01852, section 2.2.

    Triggers::

        model = nn.Sequential(*[m for _ in range(8) for m in (nn.Linear(256, 256), nn.ReLU())])
        for p in model.parameters():
            p.data.mul_(0.5 if p.dim() > 1 else 0.0)
        size = (1, 256)

    Near miss::

        model = nn.Sequential(*[m for _ in range(8) for m in (nn.Linear(256, 256), nn.ReLU())])
        for m in model:
            if isinstance(m, nn.Linear):
                nn.init.kaiming_normal_(m.weight)
        size = (1, 256)
    """
    found = signals(subject)
    layers = [n for n in subject.live if n.op in ("conv", "linear")]
    depths = _depths(subject)
    # a value that a skip goes around may be as small as its author likes, and so may the logits
    through = cuts(subject)
    yield from _piled_up(subject, found, through)
    passed = [n for n in through if n in layers and n is not layers[-1]]
    least = min((min(found[n.name].moment, found[n.name].between) for n in passed), default=1.0)
    for node in passed:
        signal = found[node.name]
        q, v = signal.moment, signal.between
        if q == 0.0 or depths[node.name] < CHAIN:
            continue
        if LOW <= q <= HIGH and v >= FADED:
            continue
        hidden = LOW <= q <= HIGH
        yield Hit(
            node.path,
            f"the variance between inputs is {v:.2g} after this layer: biases are all that is left of E[x²] = {q:.2g}"
            if hidden
            else f"E[x²] is {q:.2g} after this layer for an input of unit variance: it has "
            f"{'faded' if q < LOW else 'grown'} layer by layer",
            "add normalisation, or initialise for the activation (kaiming)",
            {
                "second_moment": q,
                "between_inputs": v,
                "limits": (LOW, HIGH),
                "layer": layers.index(node) + 1,
                "layers": len(layers),
            },
            node.source,
            None if q > HIGH or least < FADED else "info",
        )
        return  # what follows is a consequence
    yield from _gradient(subject, found, layers)


PILED_UP = 1e6
"""E[x²] of a sum above which it has grown by more than a sum a block."""


def _piled_up(subject: Subject, found: Mapping[str, Signal], through: Sequence[Node]) -> Iterator[Hit]:
    """The first sum of a skip and its block that has grown beyond what sums alone explain."""
    sums = [n for n in through if n.op == "add" and len(subject.data_inputs(n)) > 1]
    for place, node in enumerate(sums):
        q = found[node.name].moment
        if q > PILED_UP and place + 1 >= CHAIN:
            yield Hit(
                node.path,
                f"E[x²] is {q:.2g} after {place + 1} sums with skips for an input of unit variance: "
                "each multiplies it",
                "normalise in the block, or let its last layer start small",
                {"second_moment": q, "limits": (LOW, PILED_UP), "blocks": place + 1},
                node.source,
            )
            return


def positions(node: Node) -> int:
    """Positions of the map that a layer leaves; one for a vector."""
    return math.prod((node.shape or ())[2:]) if node.op == "conv" else 1


def _gradient(subject: Subject, found: Mapping[str, Signal], layers: Sequence[Node]) -> Iterator[Hit]:
    """The first layer whose gradient has faded or grown on its way from the last one."""
    if any("data choose" in words for words in subject.graph.assumed):
        return  # all entries that may be chosen send one back, where few do
    back = gradients(subject, found)
    for node in [n for n in cuts(subject) if n in layers[:-1] and n.name in back]:
        g, behind = back[node.name], len(layers) - 1 - layers.index(node)
        # a weight gathers the gradient of all positions, so that what a stride deals out is not lost
        gathered = g * positions(node) / positions(layers[-1])
        if FADED <= gathered <= 1 / FADED or behind < CHAIN:
            continue
        yield Hit(
            node.path,
            f"the mean square of the gradient is {g:.2g} here if it is 1 at the last layer: it "
            f"{'fades' if g < FADED else 'grows'} layer by layer",
            "add normalisation or skips, or initialise for the activation",
            {
                "gradient": g,
                "limits": (FADED, 1 / FADED),
                "layer": layers.index(node) + 1,
                "layers": len(layers),
            },
            node.source,
        )
        return
