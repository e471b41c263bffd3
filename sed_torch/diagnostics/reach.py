"""SED107 to SED109: how far the network sees, and where it is narrow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject
from sed_torch.graph import Node
from sed_torch.ops import OPS
from sed_torch.topology import Step

TOO_SMALL = 0.5
"""Receptive field over input extent below which the network cannot see most of its input at once."""

TOO_LARGE = 8.0
"""Receptive field over input extent beyond which late kernels mostly see the whole image again."""

NARROW = 1 / 16
"""Width × positions at a bottleneck, as a share of what comes before it and of what is computed after it."""


@dataclass(frozen=True, slots=True)
class _Reach:
    """Receptive field and jump, in input positions per axis; ``everywhere`` after a global mean or attention."""

    field: tuple[float, ...]
    jump: tuple[float, ...]
    everywhere: bool = False


def _after(step: Step, x: _Reach) -> _Reach:
    if step.kind in ("mix", "pool") and len(step.window) == len(x.field):
        field = tuple(
            f + (k - 1) * d * j
            for f, k, d, j in zip(x.field, step.window, step.dilation, x.jump, strict=True)
        )
        jump = tuple(j * s for j, s in zip(x.jump, step.stride, strict=True))
        return _Reach(field, jump, x.everywhere)
    if step.kind in ("average", "attend") and any(step.counts):
        return _Reach(x.field, x.jump, True)
    if step.kind in ("upsample", "dilate") and len(step.factor) == len(x.field):
        return _Reach(x.field, tuple(j / f for j, f in zip(x.jump, step.factor, strict=True)), x.everywhere)
    if step.kind == "view":
        field = tuple(x.field[a] if 0 <= a < len(x.field) else 1.0 for a, _, _ in step.axes)
        jump = tuple(x.jump[a] * s if 0 <= a < len(x.jump) else 1.0 for a, s, _ in step.axes)
        return _Reach(field, jump, x.everywhere)
    return x


def _merged(reaches: list[_Reach]) -> _Reach:
    n = max(len(r.field) for r in reaches)
    full = [r for r in reaches if len(r.field) == n]
    return _Reach(
        tuple(max(r.field[i] for r in full) for i in range(n)),
        tuple(max(r.jump[i] for r in full) for i in range(n)),
        any(r.everywhere for r in reaches),
    )


def _reaches(subject: Subject) -> dict[int, _Reach]:
    """Reach of what each live step leaves, computed once a subject."""
    reaches: dict[int, _Reach] = subject.once("reaches", _follow)
    return reaches


def _follow(subject: Subject) -> dict[int, _Reach]:
    found: dict[int, _Reach] = {}
    for i, step in enumerate(subject.topology.steps):
        if i not in subject.topology.live:
            continue
        if step.kind == "input":
            found[i] = _Reach((1.0,) * step.ndim, (1.0,) * step.ndim)
            continue
        inputs = [found[j] for j in step.inputs if j in found]
        if step.kind == "same":
            inputs = inputs[:1]  # the others are gates: they scale what the first one sees
        if inputs:
            found[i] = _after(step, _merged(inputs))
    return found


def _image(subject: Subject) -> tuple[int, ...]:
    """Spatial sizes of the only input, when it is a map; else ()."""
    inputs = [n for n in subject.graph.nodes if n.op == "input" and n.shape]
    if len(inputs) != 1 or subject.score.scope != "convolutional":
        return ()
    return tuple((inputs[0].shape or ())[2:])


def _widest(subject: Subject, image: tuple[int, ...]) -> tuple[Step, _Reach] | None:
    """The convolution that sees the largest share of the input on the axis where it sees least.

    Of those alike, the one that sees most in all; None when one slides over a map that saw everything.
    """
    found = _reaches(subject)
    steps = subject.topology.steps
    convs = [(steps[i], r) for i, r in found.items() if steps[i].kind == "mix" and steps[i].op == "conv"]
    if any(r.everywhere and math.prod(s.window) > 1 for s, r in convs):
        return None
    local = [(s, r) for s, r in convs if not r.everywhere and len(r.field) == len(image)]

    def seen(pair: tuple[Step, _Reach]) -> tuple[float, float]:
        shares = [f / n for f, n in zip(pair[1].field, image, strict=True)]
        return min(shares, default=0.0), math.prod(shares)

    return max(local, key=seen, default=None)


@rule("SED107", "receptive-field-small", "warning")
def receptive_field_small(subject: Subject) -> Iterator[Hit]:
    """No position before the final pooling sees more than a part of the input.

    The receptive field of the last convolutions is under half of the input on some axis. Between half and all of it
    it is info, and where there is a single convolution, whose own line says what it sees. Networks with attention or
    other global reads on the way are left out.

    Why it matters: the network can only vote over local patches; structure larger than its receptive field
    is invisible to it.

    What to do: add strides, depth, dilation or larger kernels.

    Reference: Brendel, Bethge (2019), arXiv 1904.00760, on what bags of local features can and cannot see.

    Triggers::

        model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
        )
        size = (1, 3, 64, 64)

    Near miss::

        model = nn.Sequential(
            nn.Conv2d(3, 8, 7, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 7),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
        )
        size = (1, 3, 64, 64)
    """
    image = _image(subject)
    widest = _widest(subject, image)
    if not image or widest is None or not _reads_all(subject):
        return
    step, reach = widest
    ratio = min(f / n for f, n in zip(reach.field, image, strict=True))
    if ratio < 1.0:
        field = "×".join(f"{f:g}" for f in reach.field)
        yield Hit(
            step.path,
            f"the receptive field before the final pooling is {field}, {ratio:.0%} of the input",
            "add strides, depth, dilation or larger kernels",
            {"receptive_field": reach.field, "input": image, "ratio": ratio},
            step.source,
            None if ratio < TOO_SMALL and _spatial_layers(subject) > 1 else "info",
        )


def _spatial_layers(subject: Subject) -> int:
    """Convolutions and pools of more than one tap."""
    steps = (subject.topology.steps[i] for i in _reaches(subject))
    return sum(s.kind in ("mix", "pool") and math.prod(s.window) > 1 for s in steps)


def _reads_all(subject: Subject) -> bool:
    """Whether an output stands for the whole input: it comes from a global pool, not from one position."""
    found = _reaches(subject)
    return any(found[o].everywhere for o in subject.topology.outputs if o in found)


@rule("SED108", "receptive-field-large", "info")
def receptive_field_large(subject: Subject) -> Iterator[Hit]:
    """The receptive field is many times the input.

    Why it matters: layers that come after the receptive field has passed the input integrate nothing new in
    space; at small inputs they can often be cut, or the early stride reduced, without loss.

    What to do: reduce early strides for small inputs, or use a network made for this size.

    Reference: Richter et al. (2021), arXiv 2106.12307, "(Input) size matters for CNN classifiers".

    Triggers::

        model = nn.Sequential(*[nn.Sequential(nn.Conv2d(3 if i == 0 else 8, 8, 3, 1 + (i < 2), padding=1), nn.ReLU())
                                for i in range(40)])
        size = (1, 3, 32, 32)

    Near miss::

        model = nn.Sequential(*[nn.Sequential(nn.Conv2d(3 if i == 0 else 8, 8, 3, stride=2, padding=1), nn.ReLU())
                                for i in range(4)])
        size = (1, 3, 32, 32)
    """
    image = _image(subject)
    widest = _widest(subject, image)
    if not image or widest is None:
        return
    step, reach = widest
    ratio = min(f / n for f, n in zip(reach.field, image, strict=True))
    if ratio > TOO_LARGE:
        field = "×".join(f"{f:g}" for f in reach.field)
        yield Hit(
            step.path,
            f"the receptive field grows to {field}, {ratio:.1f} times the input",
            "for this input size, fewer strides or fewer late layers would do",
            {"receptive_field": reach.field, "input": image, "ratio": ratio},
            step.source,
        )


def cuts(subject: Subject) -> list[Node]:
    """Values through which every path from an input to an output goes, in order."""
    graph = subject.graph
    last: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        for name in node.inputs:
            if node.name in graph.live:
                last[name] = i
    found, furthest = [], -1
    for i, node in enumerate(graph.nodes):
        if node.name not in graph.live:
            continue
        if furthest <= i:
            found.append(node)
        reach = len(graph.nodes) if node.name in graph.outputs else last.get(node.name, i)
        furthest = max(furthest, reach)
    return found


@rule("SED109", "bottleneck", "warning")
def bottleneck(subject: Subject) -> Iterator[Hit]:
    """All information passes a value whose width × positions is far below what later stages compute with.

    The value has under a sixteenth of the entries of everything every path passed before it, and of some
    layer after it. When the output is about as large as the input (an autoencoder), it is info: there the
    bottleneck is the point.

    Why it matters: what was lost there cannot be brought back; the later width has nothing to work on.

    What to do: widen the bottleneck, reduce its stride, or let a skip go around it.

    Reference: Szegedy et al. (2016), arXiv 1512.00567, principle 1, "avoid representational bottlenecks".

    Triggers::

        model = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 4, stride=4), nn.ReLU(),
            nn.Conv2d(1, 256, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10),
        )
        size = (1, 3, 32, 32)
        path = "2"

    Near miss::

        model = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 4, stride=4), nn.ReLU(),
            nn.Conv2d(64, 256, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10),
        )
        size = (1, 3, 32, 32)
    """
    passed = [c for c in cuts(subject) if c.shape is not None]
    if len(passed) < 3:
        return
    widest_after = _widest_after(subject)
    first = subject.numel(passed[0])
    final = sum(subject.numel(subject.graph[o]) for o in subject.graph.outputs)
    narrowest_before = math.inf
    worst: tuple[float, Node] | None = None
    for cut in passed:
        size = subject.numel(cut)
        later = widest_after.get(cut.name, 0.0)
        if cut.op != "input" and size and size < NARROW * min(narrowest_before, later):
            ratio = size / later
            worst = min(worst or (math.inf, cut), (ratio, cut), key=lambda pair: pair[0])
        narrowest_before = min(narrowest_before, size)
    if worst is not None:
        ratio, node = worst
        yield Hit(
            node.path,
            f"everything passes {subject.numel(node):g} entries here, {ratio:.1%} of what a later layer computes",
            "widen it, reduce the stride, or let a skip go around it",
            {"entries": subject.numel(node), "later": widest_after[node.name], "ratio": ratio},
            node.source,
            "info" if final >= 0.5 * first else None,
        )


def _widest_after(subject: Subject) -> dict[str, float]:
    """For each node, the entries of the largest layer after it that another layer reads (not the logits)."""
    graph = subject.graph
    read_by_layer: set[str] = set()
    found: dict[str, float] = {}
    largest = 0.0
    for node in reversed(graph.nodes):
        found[node.name] = largest
        if node.name not in graph.live:
            continue
        layer = node.op in OPS.having("weighted")
        if layer and node.name in read_by_layer:
            largest = max(largest, subject.numel(node))
        if layer or node.name in read_by_layer:
            read_by_layer.update(node.inputs)
    return found
