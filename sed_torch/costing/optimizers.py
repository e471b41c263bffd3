"""What an optimiser keeps beside each trainable parameter, and what it needs while it steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from sed_torch.errors import InputError

__all__ = ["OPTIMIZERS", "Optimizer", "optimizer_named", "state_entries", "step_entries"]


class Optimizer(NamedTuple):
    """Memory of an optimiser, in entries for each entry of a trainable parameter.

    Attributes:
        state: kept from step to step, in the parameter's own dtype; in units of float32 for 8-bit states.
        about: what it is.
        together: held during a step where all parameters are updated at once (``foreach=True``, torch's default on a
            GPU); the fused variants (``fused=True``) hold nothing.
        alone: held during a step where they are updated one by one (torch's default on a CPU), in entries of the
            parameter before, whose last temporary is not let go of yet, and of the parameter in turn.
    """

    state: float
    about: str
    together: float = 0.0
    alone: tuple[float, float] = (0.0, 0.0)


_FACTORED = -1.0
"""State of rows and columns, whose size depends on the shape of the parameter."""

OPTIMIZERS: Mapping[str, Optimizer] = {
    "none": Optimizer(0.0, "no optimiser: gradients only"),
    "sgd": Optimizer(0.0, "torch.optim.SGD without momentum"),
    "sgd-momentum": Optimizer(1.0, "torch.optim.SGD with momentum and weight decay: one buffer", 1, (0, 1)),
    "adam": Optimizer(2.0, "torch.optim.Adam: first and second moments", 1, (1, 2)),
    "adamw": Optimizer(2.0, "torch.optim.AdamW: first and second moments", 1, (1, 2)),
    "amsgrad": Optimizer(3.0, "Adam or AdamW with amsgrad: a maximum beside the two moments", 1, (1, 2)),
    "nadam": Optimizer(2.0, "torch.optim.NAdam", 1, (1, 2)),
    "radam": Optimizer(2.0, "torch.optim.RAdam", 1, (0, 2)),
    "adamax": Optimizer(2.0, "torch.optim.Adamax", 1, (0, 1)),
    "rmsprop": Optimizer(1.0, "torch.optim.RMSprop without momentum and centring", 1, (1, 1)),
    "adagrad": Optimizer(1.0, "torch.optim.Adagrad", 2, (1, 1)),
    "adadelta": Optimizer(2.0, "torch.optim.Adadelta", 2, (1, 2)),
    "adafactor": Optimizer(
        _FACTORED,
        "torch.optim.Adafactor (arXiv 1804.04235): a mean a row and a column of each matrix",
        1,
        (1, 1),
    ),
    "lion": Optimizer(1.0, "Lion (arXiv 2302.06675): one momentum", 1, (0, 1)),
    "lamb": Optimizer(2.0, "LAMB (arXiv 1904.00962): the moments of Adam", 1, (1, 2)),
    "adamw-8bit": Optimizer(
        0.5, "AdamW with both moments in 8 bits (arXiv 2110.02861), block constants left out, fused"
    ),
}
"""Name → what it keeps. The figures of torch's own are counted in real steps by the tests."""


def state_entries(optimizer: str, shape: Sequence[int]) -> float:
    """Entries that an optimiser keeps for a trainable parameter of some shape.

    Raises:
        InputError: for an optimiser that is not in :data:`OPTIMIZERS`.
    """
    each = optimizer_named(optimizer).state
    if each != _FACTORED:
        return each * math.prod(shape)
    if len(shape) < 2:
        return math.prod(shape)
    return math.prod(shape[:-1]) + math.prod(shape[:-2]) * shape[-1]


def step_entries(optimizer: str, entries: Sequence[int], *, together: bool) -> float:
    """Entries held for a moment while an optimiser steps over trainable parameters of so many entries.

    Args:
        optimizer: name.
        entries: of the parameters, in order.
        together: whether all are updated at once.

    Raises:
        InputError: for an optimiser that is not in :data:`OPTIMIZERS`.
    """
    row = optimizer_named(optimizer)
    if together:
        return row.together * sum(entries)
    before, now = row.alone
    return max((before * a + now * b for a, b in pairwise((0, *entries))), default=0)


def optimizer_named(optimizer: str) -> Optimizer:
    """The row of an optimiser.

    Raises:
        InputError: for one that is not in :data:`OPTIMIZERS`.
    """
    if optimizer not in OPTIMIZERS:
        raise InputError(
            f"unknown optimizer {optimizer!r}: expected one of {', '.join(OPTIMIZERS)}. "
            "For another one take the entry with as many buffers a parameter."
        )
    return OPTIMIZERS[optimizer]
