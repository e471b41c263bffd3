"""Random numbers that a forward draws outside of torch's functions must not show afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from sed_torch.tracing.turns import others_run

__all__ = ["random_state_kept"]


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Put back the generators of ``random``, numpy and torch (CPU) where the block has moved them.

    Draws of torch functions are not made while tracing; ``random.random()`` and ``torch.manual_seed(0)`` in a
    forward are. While other threads run, nothing is put back: it would undo what *they* have drawn.
    """
    python, numpy, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        if not others_run():
            if random.getstate() != python:
                random.setstate(python)
            if not torch.equal(torch.get_rng_state(), tensors):
                torch.set_rng_state(tensors)
            np.random.set_state(numpy)
