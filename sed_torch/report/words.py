"""How numbers and sentences read on a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sed_torch import tables

__all__ = ["NATS", "apart", "number", "quantity", "sentence", "shape", "signed"]

NATS = "nats, higher is better"


def shape(sizes: Iterable[Sequence[int]]) -> str:
    """Sizes of tensors: ``1×3×224×224``."""
    return ", ".join(tables.shape_text(s) for s in sizes)


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many decimals, a dash for none."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if math.isfinite(value) else ("-inf" if value < 0 else "inf")


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def signed(value: float | None) -> str:
    """With its sign, a dash for none."""
    return "–" if value is None else f"{value:+.4f}"


def quantity(value: float | None) -> tuple[str | None, float | None]:
    """Shown with a unit, sorted by its value."""
    return (None, None) if value is None else (tables.quantity(round(value, 2)), value)


def apart(line: str) -> str:
    """A line whose parts stand apart by spaces, as text has them, with points between: pages fold spaces."""
    return " · ".join(part for part in line.split("   ") if part)
