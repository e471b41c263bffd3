"""Drawings of a network's graph: blocks as boxes, as SVG, DOT, Mermaid or a networkx graph."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from sed_torch._files import write_text
from sed_torch._plain import checked_schema, from_text, revived
from sed_torch.errors import InputError, MissingDependencyError, SedTorchError
from sed_torch.report.blocks import BlockEdge, BlockNode, blocks_of
from sed_torch.report.captions import captions_of, cut, details_of
from sed_torch.report.layout import Box, Layout, arrange
from sed_torch.report.style import Theme, ThemeName, theme_of
from sed_torch.scoring.model import score as compute_score
from sed_torch.scoring.result import Score

if TYPE_CHECKING:
    import networkx

__all__ = ["SCHEMA", "Color", "Drawing", "Engine", "draw"]

SCHEMA = "sed_torch.drawing/1"

Color = Literal["share", "suppression"]
Engine = Literal["builtin", "graphviz"]

_STRONGEST = 0.6  # of the fill; text stays readable on it, on light paper and on dark


@dataclass(frozen=True)
class Drawing:
    """The graph of a network at the depth of blocks, ready to be drawn from left to right.

    Boxes are modules, and operators of the root's own forward; what leaves a map as it is for the calculus, such as
    an activation, has none. Blocks that repeat one after the other are one box with their count. A box says its share
    of the total amplitude exp(SED), which is also the length of its bar, and its suppression (effective taps over
    taps, in (0, 1], higher is better). Dead parts are hatched, identity skips dashed.

    Attributes:
        name: the model's.
        nodes: boxes in order of execution.
        edges: what flows between them.
        color: what the fill shows: ``"share"``, or ``"suppression"`` (the fuller, the more is lost).
        depth: names of the module path that make a block.
    """

    name: str
    nodes: tuple[BlockNode, ...]
    edges: tuple[BlockEdge, ...]
    color: Color
    depth: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version; :meth:`from_dict` reads it back."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "color": self.color,
            "depth": self.depth,
            "nodes": [asdict(n) for n in self.nodes],
            "edges": [asdict(e) for e in self.edges],
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as strict JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Drawing:
        """Inverse of :meth:`to_dict`; a file of 0.3 or before has no colour and shows shares.

        Raises:
            DataError: for data of another kind, or damaged.
        """
        checked_schema(data, SCHEMA, "drawing")
        return revived(cls, {"color": "share", **data}, "drawing")

    @classmethod
    def from_json(cls, text: str) -> Drawing:
        """Inverse of :meth:`to_json`; errors as in :meth:`from_dict`."""
        return cls.from_dict(from_text(text, "drawing"))

    def to_networkx(self) -> networkx.DiGraph[str]:
        """A ``networkx.DiGraph`` with the fields of boxes and edges as attributes.

        Raises:
            MissingDependencyError: without networkx.
        """
        try:
            import networkx
        except ModuleNotFoundError:
            raise MissingDependencyError("networkx", "graph", "to_networkx()") from None
        graph: networkx.DiGraph[str] = networkx.DiGraph(name=self.name)
        for node in self.nodes:
            graph.add_node(node.id, **{k: v for k, v in asdict(node).items() if k != "id"})
        for edge in self.edges:
            graph.add_edge(edge.source, edge.target, skip=edge.skip, live=edge.live, back=edge.back)
        return graph

    def to_dot(self) -> str:
        """The graph in Graphviz's DOT language."""
        lines = [
            f"digraph {_dot(self.name)} {{",
            '  rankdir=LR; node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=11];',
            '  edge [color="#57606a", arrowsize=0.7];',
        ]
        lines += [f"  {n.id} [{self._dot_node(n)}];" for n in self.nodes]
        lines += [f"  {e.source} -> {e.target}{_dot_edge(e)};" for e in self.edges]
        return "\n".join([*lines, "}"])

    def _dot_node(self, node: BlockNode) -> str:
        label = _dot("\n".join(captions_of(node)))
        if not node.live:
            return (
                f'label={label}, style="striped,dashed", fillcolor="#ffffff:#d0d7de:#ffffff:#d0d7de:#ffffff"'
            )
        return f'label={label}, fillcolor="{_mixed(self._hue(), self._strength(node))}"'

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart, for Markdown pages that show them."""
        lines = ["flowchart LR"]
        for n in self.nodes:
            left, right = ('["', '"]') if n.kind == "block" else ('(["', '"])')
            lines.append(f"  {n.id}{left}{'<br/>'.join(_mermaid(c) for c in captions_of(n))}{right}")
            dead = ",stroke-dasharray:4 3" if not n.live else ""
            fill = "#eaeef2" if not n.live else _mixed(self._hue(), self._strength(n))
            lines.append(f"  style {n.id} fill:{fill},stroke:#57606a,color:#1b1f24{dead}")
        for e in self.edges:
            lines.append(f"  {e.source} {'-.->' if e.skip or not e.live else '-->'} {e.target}")
        return "\n".join(lines)

    def to_svg(self, *, engine: Engine = "builtin", theme: ThemeName = "light") -> str:
        """The drawing as an ``<svg>`` element.

        Args:
            engine: ``"builtin"``, which needs nothing, or ``"graphviz"``, whose layout is better for graphs
                with many branches.
            theme: ``"light"`` or ``"dark"``; ``"css"`` takes the colours of the page it is put in.

        Raises:
            MissingDependencyError: engine ``"graphviz"`` without the package graphviz.
            SedTorchError: engine ``"graphviz"`` without Graphviz's program ``dot``.
            InputError: an unknown engine or theme.
        """
        if engine == "graphviz":
            return _graphviz(self.to_dot())
        if engine != "builtin":
            raise InputError(f"unknown engine {engine!r}: expected 'builtin' or 'graphviz'")
        return _svg(self, theme_of(theme))

    def save(
        self, path: str | os.PathLike[str], *, engine: Engine = "builtin", theme: ThemeName = "light"
    ) -> None:
        """Write ``.svg``, ``.dot`` (``.gv``), ``.mmd`` or ``.json``, by the suffix.

        Raises:
            InputError: another suffix.
        """
        suffix = Path(path).suffix.lower()
        views: dict[str, Callable[[], str]] = {
            ".svg": lambda: self.to_svg(engine=engine, theme=theme),
            ".dot": self.to_dot,
            ".gv": self.to_dot,
            ".mmd": self.to_mermaid,
            ".json": self.to_json,
        }
        if suffix not in views:
            raise InputError(
                f"cannot save a drawing as {str(path)!r}: expected a name that ends in {', '.join(views)}"
            )
        write_text(path, views[suffix]() + "\n")

    def __str__(self) -> str:
        labels = {n.id: n.label for n in self.nodes}
        reads: dict[str, list[str]] = {}
        for e in self.edges:
            reads.setdefault(e.target, []).append(labels[e.source] + (" (skip)" if e.skip else ""))
        lines = [f"{self.name}: {len(self.nodes)} boxes, {len(self.edges)} edges"]
        lines += [f"  {'  '.join(captions_of(n))} ← {', '.join(reads.get(n.id, ['–']))}" for n in self.nodes]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Drawing({self.name}: {len(self.nodes)} boxes, {len(self.edges)} edges, depth={self.depth})"

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x:auto">{self.to_svg()}</div>'

    def _strength(self, node: BlockNode) -> float:
        """0 for an empty box, 1 for the fullest."""
        most = max(map(self._amount, self.nodes), default=0.0)
        return self._amount(node) / most if most else 0.0

    def _amount(self, node: BlockNode) -> float:
        if self.color == "share":
            return node.share
        # a millionth lost is the calculus' own rounding, not a colour
        lost = 0.0 if node.suppression is None else 1.0 - node.suppression
        return lost if lost > 1e-6 else 0.0

    def _hue(self) -> str:
        return theme_of("light").hues[6 if self.color == "suppression" else 0]


def draw(
    model: nn.Module | Score,
    *,
    depth: int | None = None,
    color: Color = "share",
    input_size: Any = None,
    input_data: Any = None,
) -> Drawing:
    """Draw the graph of a module, or of one that was scored already.

    Args:
        model: the module, or its score.
        depth: names of the module path that make a block; chosen to give a few boxes when None.
        color: what fills the boxes: their ``"share"`` of the score, or their ``"suppression"``.
        input_size: as for :func:`sed_torch.score`, for a module.
        input_data: likewise.

    Returns:
        A :class:`Drawing`; ``to_svg()``, ``to_dot()``, ``to_mermaid()``, ``to_networkx()``, ``save(path)``.

    Raises:
        InputError: ``color`` or ``depth`` is none that is known.
        SedTorchError: as :func:`sed_torch.score`.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3))
        >>> print(draw(net, input_size=(1, 3, 16, 16)).to_mermaid().splitlines()[0])
        flowchart LR
    """
    if color not in ("share", "suppression"):
        raise InputError(f"color={color!r}: expected 'share' or 'suppression'")
    scored = (
        model
        if isinstance(model, Score)
        else compute_score(model, input_size=input_size, input_data=input_data)
    )
    depth = scored.depth if depth is None else depth
    nodes, edges = blocks_of(scored, depth)
    return Drawing(scored.name, nodes, edges, color, depth)


# -- DOT and Mermaid -------------------------------------------------------------------------------------


def _dot(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", "\\n")
    return f'"{escaped}"'


def _dot_edge(edge: BlockEdge) -> str:
    attributes = []
    if edge.skip:
        attributes.append("style=dashed")
    if not edge.live:
        attributes.append('style=dotted, color="#b0b7bf"')
    if edge.back:
        attributes.append("constraint=false")
    return f" [{', '.join(attributes)}]" if attributes else ""


def _mermaid(text: str) -> str:
    """Mermaid's own entities: everything but plain characters becomes a number."""
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._-–×·%,:/+"
    return "".join(c if c in plain else f"#{ord(c)};" for c in text)


def _mixed(hue: str, strength: float) -> str:
    """White with a part of a hue, as ``#rrggbb``."""
    part = _STRONGEST * max(0.0, min(1.0, strength))
    channels = (int(hue[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + part * (c - 255)):02x}" for c in channels)


def _graphviz(dot: str) -> str:
    try:
        import graphviz
    except ModuleNotFoundError:
        raise MissingDependencyError("graphviz", "graph", "a drawing by Graphviz") from None
    try:
        svg = graphviz.Source(dot).pipe("svg", encoding="utf-8")
    except graphviz.ExecutableNotFound:
        raise SedTorchError(
            "Graphviz's program 'dot' is not on the PATH: install Graphviz, or take engine='builtin'"
        ) from None
    return str(svg[svg.index("<svg") :]).strip()


# -- SVG -------------------------------------------------------------------------------------------------

_MARGIN, _FOOT, _CHARACTER, _TALL = 14.0, 26.0, 7.0, 58.0
_WIDEST = 30  # characters


def _size(node: BlockNode) -> tuple[float, float]:
    captions = captions_of(node)
    width = max(min(len(c), _WIDEST) for c in captions) * _CHARACTER + 22
    if node.kind == "block":
        return max(width, 96.0), _TALL if node.live and node.operators else 16.0 + 16.0 * len(captions)
    return max(width, 52.0), 30.0 + 14.0 * (len(captions) - 1)


def _svg(drawing: Drawing, theme: Theme) -> str:
    """Boxes and edges; ids carry the text's digest, so that drawings can share a page."""
    import hashlib

    sizes = {n.id: _size(n) for n in drawing.nodes}
    layout = arrange(sizes, [(e.source, e.target) for e in drawing.edges])
    content = {
        k: v for k, v in drawing.to_dict().items() if k != "color"
    }  # all colours share their definitions
    key = "d" + hashlib.sha256(json.dumps(content, indent=2).encode()).hexdigest()[:8]
    colours = _colours(theme)
    width = max(layout.width + 2 * _MARGIN, 420.0)
    height = layout.height + 2 * _MARGIN + _FOOT
    label = html.escape(f"Graph of {drawing.name}: {len(drawing.nodes)} boxes", quote=True)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{label}" font-family="system-ui, Helvetica, Arial, sans-serif" '
        f'font-size="12">',
        _definitions(key, colours),
    ]
    if theme.name != "css":
        parts.append(f'<rect width="100%" height="100%" fill="{theme.paper}"/>')
    parts.append(f'<g transform="translate({_MARGIN:.0f} {_MARGIN:.0f})">')
    parts += _svg_edges(drawing, layout, key, colours)
    parts += [_svg_node(n, layout.boxes[n.id], drawing, key, colours) for n in drawing.nodes]
    parts.append("</g>")
    parts.append(_legend(drawing, height, colours))
    return "".join([*parts, "</svg>"])


def _colours(theme: Theme) -> Mapping[str, str]:
    if theme.name == "css":
        return {name: f"var(--{name})" for name in ("ink", "muted", "faint", "paper")}
    return {"ink": theme.ink, "muted": theme.muted, "faint": theme.faint, "paper": theme.paper}


def _definitions(key: str, colours: Mapping[str, str]) -> str:
    return (
        f'<defs><marker id="{key}-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0.5L7.5 4L0 7.5z" fill="{colours["muted"]}"/></marker>'
        f'<pattern id="{key}-dead" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="2" height="7" fill="{colours["muted"]}" fill-opacity="0.45"/></pattern></defs>'
    )


def _svg_edges(drawing: Drawing, layout: Layout, key: str, colours: Mapping[str, str]) -> list[str]:
    lines = []
    for edge, route in zip(drawing.edges, layout.routes, strict=True):
        dash = (
            ' stroke-dasharray="1.5 3"' if not edge.live else (' stroke-dasharray="5 3"' if edge.skip else "")
        )
        lines.append(
            f'<path d="{route.path}" fill="none" stroke="{colours["muted"]}" stroke-width="1.3"{dash} '
            f'marker-end="url(#{key}-tip)"/>'
        )
    return lines


def _svg_node(node: BlockNode, box: Box, drawing: Drawing, key: str, colours: Mapping[str, str]) -> str:
    corner = 6 if node.kind == "block" else min(box.height / 2, 15)
    place = (
        f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="{corner:g}"'
    )
    parts = [
        f"<g><title>{html.escape(details_of(node))}</title>",
        f'<rect {place} fill="{colours["paper"]}"/>',
    ]
    strength = drawing._strength(node) if node.kind in ("block", "op") else 0.0
    if strength > 0 and node.live:
        parts.append(f'<rect {place} fill="{drawing._hue()}" fill-opacity="{_STRONGEST * strength:.3f}"/>')
    if not node.live:
        parts.append(f'<rect {place} fill="url(#{key}-dead)"/>')
    if node.count > 1:  # a second outline behind: a stack
        shifted = f'x="{box.x + 3:.1f}" y="{box.y - 3:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
        outline = (
            f'<rect {shifted} rx="{corner:g}" fill="none" stroke="{colours["muted"]}" stroke-width="1"/>'
        )
        parts.insert(1, outline)
    dash = ' stroke-dasharray="4 3"' if not node.live else ""
    parts.append(f'<rect {place} fill="none" stroke="{colours["muted"]}" stroke-width="1.2"{dash}/>')
    parts += _svg_text(node, box, colours)
    if box.height == _TALL:
        long = (box.width - 16) * min(1.0, node.share / (max(n.share for n in drawing.nodes) or 1.0))
        bar = f'x="{box.x + 8:.1f}" y="{box.y + box.height - 11:.1f}" height="4" rx="2"'
        parts.append(f'<rect {bar} width="{box.width - 16:.1f}" fill="{colours["faint"]}"/>')
        parts.append(f'<rect {bar} width="{max(long, 1):.1f}" fill="{colours["ink"]}"/>')
    return "".join([*parts, "</g>"])


def _svg_text(node: BlockNode, box: Box, colours: Mapping[str, str]) -> list[str]:
    captions = captions_of(node)
    x = box.x + box.width / 2
    room = box.height - (12 if box.height == _TALL else 0)  # above the bar
    y = box.y + room / 2 + 4 - 7.5 * (len(captions) - 1)
    lines = []
    for k, caption in enumerate(captions):
        weight = ' font-weight="600"' if k == 0 and node.kind == "block" else ""
        lines.append(
            f'<text x="{x:.1f}" y="{y + 15 * k:.1f}" text-anchor="middle" fill="{colours["ink"]}"{weight}>'
            f"{html.escape(cut(caption, _WIDEST))}</text>"
        )
    return lines


def _legend(drawing: Drawing, height: float, colours: Mapping[str, str]) -> str:
    fill = "share of exp(SED)" if drawing.color == "share" else "local entropy lost (1 − kept)"
    notes = [f"fill: {fill}", "bar and %: share of exp(SED)", "kept: effective taps / taps"]
    if any(e.skip for e in drawing.edges):
        notes.append("dashed: identity skip")
    if not all(n.live for n in drawing.nodes):
        notes.append("hatched: dead")
    text = html.escape("  ·  ".join(notes))
    return f'<text x="{_MARGIN:.0f}" y="{height - 12:.0f}" font-size="10.5" fill="{colours["muted"]}">{text}</text>'
