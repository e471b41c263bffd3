"""How often Python looks for rings of objects that nothing else refers to, while a network is read."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collected_rarely"]

_MANY = 20_000


@contextmanager
def collected_rarely() -> Iterator[None]:
    """Within the block, garbage is looked for after 20,000 new objects rather than 700.

    What reading a network makes is kept until it is read; looking through it again and again, and now and then through
    all that torch loaded, is a tenth of the time and finds next to nothing. Whoever set a higher threshold, or turned
    the collector off, keeps that; a threshold that the block itself changes stays.
    """
    before = gc.get_threshold()
    if not 0 < before[0] < _MANY:
        yield
        return
    gc.set_threshold(_MANY, *before[1:])
    try:
        yield
    finally:
        if gc.get_threshold()[0] == _MANY:
            gc.set_threshold(*before)
