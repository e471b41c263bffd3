"""The words of a drawing: what a box says, and what its tooltip says."""

from __future__ import annotations

from sed_torch import tables
from sed_torch.report.blocks import BlockNode

__all__ = ["captions_of", "cut", "details_of"]


def captions_of(node: BlockNode) -> list[str]:
    """Lines in a box: its name, then its numbers."""
    title = node.label if node.count == 1 else f"{_range(node.label, node.last)} ×{node.count}"
    if node.kind in ("input", "output"):
        return [title]
    if not node.live:
        return [title, "dead"]
    if not node.operators:
        return [title]
    kept = "" if node.suppression is None else f" · kept {node.suppression:.2f}"
    return [title, f"{node.share:.1%}{kept}"]


def _range(first: str, last: str) -> str:
    """``blocks.0``, ``blocks.11`` → ``blocks.0–11``."""
    a, b = first.rsplit(".", 1), last.rsplit(".", 1)
    return f"{first}–{b[-1]}" if a[:-1] == b[:-1] else f"{first} – {last}"


def details_of(node: BlockNode) -> str:
    """What a tooltip says."""
    parts = [_range(node.label, node.last) if node.last else node.label]
    if node.operators:
        parts += [
            f"{node.share:.1%} of exp(SED)",
            f"suppression {tables.cell(node.suppression)}",
            f"{node.operators} convolutions and linear layers",
        ]
    if node.pools:
        parts.append(f"{node.pools} pools")
    if node.kind in ("block", "op"):
        parts.append(f"{tables.quantity(node.params)} params, {tables.quantity(node.macs)} MACs")
    return "; ".join(parts if node.live else [*parts, "dead: on no path from an input to an output"])


def cut(text: str, width: int) -> str:
    """The end of a text that is too long, behind an ellipsis."""
    return text if len(text) <= width else f"…{text[1 - width :]}"
