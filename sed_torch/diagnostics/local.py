"""SED1xx: where local entropy is lost, and where positions of a map are wasted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sed_torch.attributes import Sliding
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.subject import Subject, share
from sed_torch.graph import Node
from sed_torch.ops import OPS
from sed_torch.tables import shape_text

DEGRADED = 0.1
"""Effective taps below this fraction of the taps: the patch is nearly constant."""

COVERED = 0.5
"""A pooling window over more than this share of its map, that still leaves several positions."""

UNREAD = 0.2
"""Positions that nobody reads, as a share of the map; borders cut by a stride stay below it."""

PADDED = 0.3
"""Taps that only ever see padding, as a share of the kernel."""


def _unpooled(subject: Subject) -> frozenset[str]:
    """Names of the nodes that read a max-unpooled map, directly or through others.

    The calculus takes unpooling for a smooth enlargement. It puts each value where its maximum was, zeros around it,
    so that neighbours do not resemble each other and no map behind it can be called constant.
    """
    behind: set[str] = set()
    for node in subject.graph:
        if node.op == "max_unpool" or any(i.name in behind for i in subject.data_inputs(node)):
            behind.add(node.name)
    return frozenset(behind)


@rule("SED101", "degraded-map", "warning")
def degraded_map(subject: Subject) -> Iterator[Hit]:
    """A convolution works on a map whose neighbours are nearly equal: its kernel acts as a single tap.

    The effective taps n·det(R)^(1/n) of the patch it reads are below a tenth of its n taps, by the same
    calculus as the score. Large pools with a small stride, pools in a row and strong upsampling cause it. Maps that
    were max-unpooled are passed over: they are mostly zeros, not constant.

    Why it matters: a map without local entropy acts as a bias on its reader; the k×k weights and their
    multiplications buy what a 1×1 convolution gives.

    What to do: shrink the pooling window, pool with a stride, or put a convolution before the pool.

    Reference: arXiv 2411.06236 on the decrease of local entropy; the measure is this project's.

    Triggers::

        model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.AvgPool2d(9, stride=1), nn.AvgPool2d(9, stride=1), nn.Conv2d(8, 8, 3)
        )
        size = (1, 3, 64, 64)
        path = "3"

    Near miss (the usual pool)::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(3, stride=2), nn.Conv2d(8, 8, 3))
        size = (1, 3, 64, 64)
    """
    sparse = _unpooled(subject)
    for name, term in subject.terms.items():
        node = subject.graph[name]
        ratio = share(term.effective_taps, term.taps)
        if node.op != "conv" or term.taps <= 1 or ratio >= DEGRADED or name in sparse:
            continue
        up = subject.back_through(node, _carriers()).op == "interpolate"
        yield Hit(
            node.path,
            f"the {shape_text(node.window)} kernel reads a nearly constant map: "
            f"{term.effective_taps:.2g} effective of {term.taps:g} taps",
            "read the map before it is upsampled"
            if up
            else "shrink the pools before it or give them a stride",
            {"taps": term.taps, "effective_taps": term.effective_taps, "ratio": ratio},
            node.source,
            # attention leaves a constant behind; what that means for a convolution is beyond the theory
            "info" if up or subject.score.scope == "extrapolated" else None,
        )


def _carriers() -> frozenset[str]:
    """Operators that leave the map as it is, but for its scale and its signs."""
    return OPS.having("activation", "normalises", "identity")


@rule("SED102", "pool-covers-map", "warning")
def pool_covers_map(subject: Subject) -> Iterator[Hit]:
    """A pooling window covers most of its map, and still leaves several positions.

    Why it matters: neighbouring outputs average almost the same positions, so they are almost equal: local
    entropy is gone, at more cost than a global pool. Where the map itself is read beside the pool (pyramids of pools)
    it is info, for nothing is lost.

    What to do: pool globally, or use a smaller window.

    Reference: overlap of two windows of width p one step apart is (p-1)/p of their positions.

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AvgPool2d(7, stride=1), nn.Conv2d(8, 8, 1))
        size = (1, 3, 8, 8)
        path = "1"

    Near miss (a global pool)::

        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AvgPool2d(8), nn.Conv2d(8, 8, 1))
        size = (1, 3, 8, 8)
    """
    for node in subject.live:
        if node.op not in OPS.ruled("pool"):
            continue
        extent, out = subject.extent(node), subject.out_extent(node)
        window = tuple(min(k, n) for k, n in zip(node.window, extent, strict=False))
        covered = share(math.prod(window), math.prod(extent))
        if math.prod(out) > 1 and covered > COVERED:
            yield Hit(
                node.path,
                f"the {shape_text(node.window)} pool covers {covered:.0%} of its {shape_text(extent)} map "
                f"and leaves {shape_text(out)} nearly equal positions",
                "pool globally or use a smaller window",
                {"window": node.window, "map": extent, "covered": covered},
                node.source,
                "info" if subject.read_again(subject.graph[node.inputs[0]]) else None,
            )


@rule("SED103", "pool-after-pool", "warning")
def pool_after_pool(subject: Subject) -> Iterator[Hit]:
    """A pool reads a pool, with nothing between them that mixes channels.

    Why it matters: two pools in a row are one larger pool (a mean of means, a maximum of maxima); the second
    reads a map whose neighbours overlap already.

    What to do: use one pool of the combined window, or put a convolution between.

    Reference: a maximum of maxima is a maximum; a mean of equal-sized means is a mean.

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 1))
        size = (1, 3, 32, 32)
        path = "3"

    Near miss::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.MaxPool2d(2))
        size = (1, 3, 32, 32)
    """
    for node in subject.live:
        if node.op not in OPS.ruled("pool") or math.prod(node.window) <= 1:
            continue
        if math.prod(subject.out_extent(node)) <= 1:
            continue  # the global pool at the end
        before = subject.back_through(node, _carriers() | {"item", "pad"})
        if subject.read_again(before):
            continue  # a pyramid, each level of which is read
        if before.op in OPS.ruled("pool") and math.prod(before.window) > 1:
            first, second = before.window, node.window
            inner, outer = shape_text(first), shape_text(second)
            yield Hit(
                node.path,
                f"a {outer} {node.op} directly after the {inner} {before.op} {before.path}".rstrip(),
                "use one pool, or put a convolution between them",
                {"first": tuple(first), "second": tuple(second), "first_path": before.path},
                node.source,
            )


def _seen(
    node: Node, extent: Sequence[int], padding: Sequence[int], out: Sequence[int]
) -> list[NDArray[np.bool_]]:
    """For each axis, which positions of the map fall under some tap."""
    masks = []
    a = node.of(Sliding)
    for n, p, o, k, s, d in zip(extent, padding, out, a.window, a.stride, a.dilation, strict=True):
        where = (np.arange(o)[:, None] * s - p + np.arange(k)[None, :] * d).ravel()
        mask = np.zeros(n, dtype=bool)
        mask[where[(where >= 0) & (where < n)]] = True
        masks.append(mask)
    return masks


def _unread_share(subject: Subject, readers: Sequence[Node], extent: Sequence[int]) -> float:
    read = np.zeros(tuple(extent), dtype=bool)
    for node in readers:
        region = np.ones((1,) * len(extent), dtype=bool)
        masks = _seen(node, extent, subject.padding(node), subject.out_extent(node))
        for axis, mask in enumerate(masks):
            region = region & mask.reshape((-1,) + (1,) * (len(extent) - axis - 1))
        read |= region
    return 1.0 - float(read.mean())


def _passed_on() -> frozenset[str]:
    """Operators that read each position at its own place."""
    return OPS.having("elementwise", "squashes", "normalises")


def _sliding_readers(subject: Subject, value: Node) -> list[Node]:
    """Convolutions and pools that read a map, through activations and norms; [] when something reads all of it."""
    found, todo = [], [value]
    while todo:
        current = todo.pop(0)
        for reader in subject.needed_readers(current):
            if reader.op in OPS.having("sliding") and reader.inputs[0] == current.name:
                found.append(reader)
            elif reader.op in _passed_on() and len(subject.data_inputs(reader)) == 1:
                if reader.name in subject.graph.outputs:
                    return []
                todo.append(reader)
            else:
                return []
    return found


def _is_copy(subject: Subject, value: Node) -> bool:
    """Whether a padded or cut map stands beside other readers of its original, which may read the rest."""
    while value.op in ("pad", "getitem", *_passed_on()):
        inputs = subject.data_inputs(value)
        if len(inputs) != 1:  # a sum or a product of maps is a map of its own
            return value.op not in _passed_on()
        value = inputs[0]
        if subject.read_again(value):
            return True
    return False


def _reads_all(node: Node) -> bool:
    a = node.of(Sliding)
    dense = all(d == 1 for d in a.dilation)
    return dense and all(s <= k for s, k in zip(a.stride, a.window, strict=True))


@rule("SED104", "unread-positions", "warning")
def unread_positions(subject: Subject) -> Iterator[Hit]:
    """Positions of a map that nobody reads: every reader's stride is larger than its kernel.

    All readers of the map are counted together, also those behind a normalisation of their own: a strided 1×1
    shortcut beside a 3×3 convolution is fine, for the 3×3 reads what the shortcut skips. A dilation that shares a
    factor with the stride skips positions too.

    Why it matters: what was computed for the skipped positions is thrown away (three quarters of it for a 1×1
    convolution with stride 2).

    What to do: move the stride to a layer whose kernel covers it, or pool first.

    Reference: He et al. (2019), arXiv 1812.01187, section 4 (ResNet-B and ResNet-D).

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 1, stride=2))
        size = (1, 3, 32, 32)
        path = "2"

    Near miss (another reader takes the rest)::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem = nn.Conv2d(3, 8, 3, padding=1)
                self.conv = nn.Conv2d(8, 16, 3, stride=2, padding=1)
                self.skip = nn.Conv2d(8, 16, 1, stride=2)
            def forward(self, x):
                x = self.stem(x)
                return self.conv(x) + self.skip(x)
        model = Net()
        size = (1, 3, 32, 32)
    """
    for value in (*(n for n in subject.graph.nodes if n.op == "input"), *subject.live):
        handed_on = value.op in _passed_on() and len(subject.data_inputs(value)) == 1
        if handed_on or value.name in subject.graph.outputs or _is_copy(subject, value):
            continue
        readers = _sliding_readers(subject, value)
        if not readers or all(_reads_all(r) for r in readers):
            continue
        extent = subject.extent(readers[0])
        if not extent or any(subject.extent(r) != extent for r in readers):
            continue
        lost = _unread_share(subject, readers, extent)
        if lost > UNREAD:
            first = readers[0]
            stride = shape_text(first.of(Sliding).stride)
            yield Hit(
                first.path,
                f"{lost:.0%} of the {shape_text(extent)} map is never read: stride {stride} "
                f"with a {shape_text(first.window)} kernel",
                "move the stride to a layer whose kernel covers it, or pool first",
                {
                    "unread": lost,
                    "map": extent,
                    "window": first.window,
                    "stride": first.of(Sliding).stride,
                    "readers": tuple(r.path for r in readers),
                },
                first.source,
            )


def _padded_taps(subject: Subject, node: Node) -> float:
    """Share of a convolution's taps that fall on padding at every position."""
    extent, pad = subject.before_padding(node)
    used = 1
    a = node.of(Sliding)
    for n, p, o, k, s, d in zip(
        extent, pad, subject.out_extent(node), a.window, a.stride, a.dilation, strict=True
    ):
        where = np.arange(o)[:, None] * s - p + np.arange(k)[None, :] * d
        used *= int(((where >= 0) & (where < n)).any(axis=0).sum())
    return 1.0 - float(used / math.prod(a.window))


def _on_one_position(subject: Subject, node: Node) -> bool:
    return math.prod(subject.before_padding(node)[0]) == 1


def _spatial_convs(subject: Subject) -> list[Node]:
    return [n for n in subject.live if n.op == "conv" and math.prod(n.window) > 1]


@rule("SED105", "taps-on-padding", "warning")
def taps_on_padding(subject: Subject) -> Iterator[Hit]:
    """Taps of a kernel that only ever see padding.

    On a map smaller than the kernel, some taps fall outside at every position. With zero padding their weights
    never have an effect and never get a gradient.

    Why it matters: a 3×3 kernel on a 1×1 map uses one of its nine taps.

    What to do: reduce the total stride, or use a kernel that fits the map.

    Reference: the gradient of a tap is a sum over the positions it sees; here all of them are zero.

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2))
        size = (1, 3, 8, 8)
        path = "2"

    Near miss (each tap sees some position)::

        model = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        size = (1, 3, 8, 8)
    """
    exhausted = set(_exhausted(subject))
    for node in _spatial_convs(subject):
        lost = _padded_taps(subject, node)
        if lost > PADDED and node.name not in exhausted:
            extent = subject.before_padding(node)[0]
            yield Hit(
                node.path,
                f"{lost:.0%} of the {shape_text(node.window)} kernel's taps only see padding: "
                f"the map is {shape_text(extent)}",
                "reduce the total stride before it, or use a smaller kernel",
                {"unused": lost, "window": node.window, "map": extent},
                node.source,
            )


_EXHAUSTED_FROM = 2


def _exhausted(subject: Subject) -> list[str]:
    """Convolutions on a single position, when there are several."""
    names = [
        n.name
        for n in _spatial_convs(subject)
        if _on_one_position(subject, n) and _padded_taps(subject, n) > 0
    ]
    return names if len(names) >= _EXHAUSTED_FROM else []


@rule("SED106", "extent-exhausted", "warning")
def extent_exhausted(subject: Subject) -> Iterator[Hit]:
    """The map is down to one position before the last stage: several spatial convolutions see nothing else.

    Why it matters: they compute what 1×1 convolutions would, with k² times the weights, of which all but the
    centre never get a gradient.

    What to do: use fewer strides, or a larger input.

    Reference: as for SED105.

    Triggers::

        model = nn.Sequential(
            nn.Conv2d(3, 8, 8, stride=8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
        )
        size = (1, 3, 8, 8)
        path = "2"

    Near miss::

        model = nn.Sequential(
            nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
        )
        size = (1, 3, 8, 8)
    """
    names = _exhausted(subject)
    if not names:
        return
    first = subject.graph[names[0]]
    yield Hit(
        first.path,
        f"the map is down to one position: {len(names)} convolutions from here on use one tap of their kernels",
        "use fewer strides or a larger input",
        {"convolutions": len(names), "paths": tuple(subject.graph[n].path for n in names)},
        first.source,
    )
