"""Places for boxes and ways for edges: layers from left to right. Knows nothing of what the boxes mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Box", "Layout", "Route", "arrange"]

GAP_X, GAP_Y, LANE = 46.0, 18.0, 11.0


@dataclass(frozen=True, slots=True)
class Box:
    """Top left corner and size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Route:
    """An edge as an SVG path."""

    source: str
    target: str
    path: str


@dataclass(frozen=True)
class Layout:
    """Boxes by id, edges in the order given, and the size of it all."""

    boxes: Mapping[str, Box]
    routes: tuple[Route, ...]
    width: float
    height: float


def arrange(sizes: Mapping[str, tuple[float, float]], edges: Sequence[tuple[str, str]]) -> Layout:
    """Lay boxes out in layers, from left to right.

    A box stands in the layer after the last one it reads; neighbouring layers are joined by curves, longer
    edges run above the boxes, those of one box in a lane of its own, and edges that lead back below them.

    Args:
        sizes: (width, height) by id, in an order in which most edges lead forward.
        edges: (source, target).
    """
    order = {name: k for k, name in enumerate(sizes)}
    forward = [(a, b) for a, b in edges if order[a] < order[b]]
    layer = _layers(sizes, forward)
    columns = _columns(sizes, forward, layer)
    spans = {(a, b): (layer[a], layer[b]) for a, b in edges}
    above = _lanes([e for e in edges if spans[e][1] - spans[e][0] > 1], spans)
    below = _lanes([e for e in edges if spans[e][1] <= spans[e][0]], spans)
    top = LANE * (max(above.values(), default=-1) + 1) + (GAP_Y if above else 0.0)
    boxes, width, body = _placed(columns, sizes, top)
    columns_of = {
        n: (min(boxes[m].x for m in c), max(boxes[m].x + boxes[m].width for m in c))
        for c in columns
        for n in c
    }
    routes = tuple(
        Route(a, b, _way(boxes[a], boxes[b], (columns_of[a][1], columns_of[b][0]), lane))
        for a, b in edges
        for lane in [_height((a, b), above, below, top, top + body)]
    )
    foot = LANE * (max(below.values(), default=-1) + 1) + (GAP_Y if below else 0.0)
    return Layout(boxes, routes, width, top + body + foot)


def _layers(names: Mapping[str, object], forward: Sequence[tuple[str, str]]) -> dict[str, int]:
    before: dict[str, list[str]] = {name: [] for name in names}
    for a, b in forward:
        before[b].append(a)
    layer: dict[str, int] = {}
    for name in names:
        layer[name] = max((layer[a] + 1 for a in before[name]), default=0)
    return layer


def _columns(
    names: Mapping[str, object], forward: Sequence[tuple[str, str]], layer: Mapping[str, int]
) -> list[list[str]]:
    """Ids by layer; within one, by the mean place of what they read, so that few edges cross."""
    columns: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name in names:
        columns[layer[name]].append(name)
    row: dict[str, float] = {}
    before: dict[str, list[str]] = {}
    for a, b in forward:
        before.setdefault(b, []).append(a)
    for column in columns:
        middle = (len(column) - 1) / 2
        at = {n: k - middle for k, n in enumerate(column)}
        reads = {n: before.get(n, []) for n in column}
        column.sort(
            key=lambda n: (sum(row[a] for a in reads[n]) / len(reads[n]) if reads[n] else at[n], at[n])
        )
        row.update({n: k - middle for k, n in enumerate(column)})
    return columns


def _lanes(
    edges: Sequence[tuple[str, str]], spans: Mapping[tuple[str, str], tuple[int, int]]
) -> dict[tuple[str, str], int]:
    """The lowest lane in which an edge meets none of another source; edges of one source share theirs.

    Short ones come first, as they fit below long ones.
    """
    reach: dict[str, tuple[int, int]] = {}
    for edge in edges:
        low, high = sorted(spans[edge])
        before = reach.get(edge[0], (low, high))
        reach[edge[0]] = (min(low, before[0]), max(high, before[1]))
    taken: list[list[tuple[int, int]]] = []
    lanes: dict[str, int] = {}
    for source, (low, high) in sorted(reach.items(), key=lambda item: (item[1][1] - item[1][0], item[1])):
        lane = next((k for k, t in enumerate(taken) if all(high <= a or b <= low for a, b in t)), len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((low, high))
        lanes[source] = lane
    return {edge: lanes[edge[0]] for edge in edges}


def _placed(
    columns: Sequence[Sequence[str]], sizes: Mapping[str, tuple[float, float]], top: float
) -> tuple[dict[str, Box], float, float]:
    heights = [sum(sizes[n][1] + GAP_Y for n in c) - GAP_Y for c in columns]
    body = max(heights, default=0.0)
    boxes: dict[str, Box] = {}
    x = 0.0
    for column, height in zip(columns, heights, strict=True):
        wide = max(sizes[n][0] for n in column)
        y = top + (body - height) / 2
        for name in column:
            w, h = sizes[name]
            boxes[name] = Box(x + (wide - w) / 2, y, w, h)
            y += h + GAP_Y
        x += wide + GAP_X
    return boxes, max(x - GAP_X, 0.0), body


def _height(
    edge: tuple[str, str],
    above: Mapping[tuple[str, str], int],
    below: Mapping[tuple[str, str], int],
    top: float,
    bottom: float,
) -> float | None:
    """Of the lane an edge runs in, or None where it goes straight to the next column."""
    if edge in above:
        return top - GAP_Y - LANE * above[edge]
    return bottom + GAP_Y + LANE * below[edge] if edge in below else None


def _way(a: Box, b: Box, gap: tuple[float, float], lane: float | None) -> str:
    """From the right side of ``a`` to the left side of ``b``; it bends outside of both columns only."""
    x1, y1 = a.x + a.width, a.y + a.height / 2
    x2, y2 = b.x, b.y + b.height / 2
    right, left = gap
    head, tail = f"M{x1:.1f} {y1:.1f}H{right:.1f}", f"H{x2:.1f}"
    if lane is None:
        middle = (right + left) / 2
        return f"{head}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {left:.1f} {y2:.1f}{tail}"
    step = GAP_X * 0.45
    up, down = right + step, left - step
    return (
        f"{head}C{up:.1f} {y1:.1f} {right + step * 0.2:.1f} {lane:.1f} {up:.1f} {lane:.1f}H{down:.1f}"
        f"C{left - step * 0.2:.1f} {lane:.1f} {down:.1f} {y2:.1f} {left:.1f} {y2:.1f}{tail}"
    )
