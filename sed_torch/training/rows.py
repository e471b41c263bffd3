"""One row a network × seed × epoch, and its cells in a CSV file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError
from sed_torch.proxies import PROXIES
from sed_torch.training.loop import RunStatus

__all__ = ["KEY", "STATIC", "RunRow", "cells", "columns", "proxies_of", "row_of"]

KEY = ("network", "seed", "epoch")
STATIC = ("sed", "params", "macs")
_BEFORE = (*KEY, "status", "reason", "lr", "train_loss", "test_loss", "test_accuracy", "seconds", *STATIC)
_AFTER = ("missing", "space", "dataset", "recipe", "device", "software", "features")
_AFTER_0_1 = _AFTER[:-1]
_TEXTS = {"network", "status", "reason", *_AFTER}
_WHOLE = {"seed", "epoch", "params"}


@dataclass(frozen=True, slots=True)
class RunRow:
    """An epoch of a network with a seed, and what is known of the network without training it.

    Attributes:
        network: its string, reference or name.
        seed: of its weights, of the order of images, and of crops and flips.
        epoch: counted from 1; 0 for a run that failed before its first.
        status: ``"running"``, and on the last row how the run ended: ``"ok"``, ``"stopped"`` (early, by the
            recipe's patience), ``"diverged"``, ``"timeout"`` or ``"failed"``.
        reason: why it is not ok, or None.
        lr: learning rate at the epoch's first step.
        train_loss: mean smoothed cross-entropy of its steps, in nats.
        test_loss: mean cross-entropy on the test images after it, in nats.
        test_accuracy: on the test images after it, in per cent.
        seconds: wall-clock since the training began.
        sed: score of the network in nats, higher is better.
        params: parameters.
        macs: multiply-accumulates an image.
        proxies: rival proxies with the weights that this seed drew, higher is better.
        missing: which of the predictors are missing and why, or None.
        space: the search space, and how its network was reduced; None for other networks.
        dataset: name of the data.
        recipe: what :class:`~sed_torch.training.Recipe` spells.
        device: it ran on.
        software: versions.
        features: numbers about the topology, as :func:`sed_torch.scoring.features.pack_features` spells them;
            calibrations read them. None in files of version 0.1.
    """

    network: str
    seed: int
    epoch: int = 0
    status: RunStatus = "failed"
    reason: str | None = None
    lr: float | None = None
    train_loss: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    seconds: float | None = None
    sed: float | None = None
    params: int | None = None
    macs: float | None = None
    proxies: Mapping[str, float | None] = field(default_factory=FrozenMapping)
    missing: str | None = None
    space: str | None = None
    dataset: str | None = None
    recipe: str | None = None
    device: str | None = None
    software: str | None = None
    features: str | None = None

    @property
    def final(self) -> bool:
        """Whether the run ended with this row."""
        return self.status != "running"

    @property
    def trained(self) -> bool:
        """Whether its accuracy is that of the whole recipe."""
        return self.status in ("ok", "stopped") and self.test_accuracy is not None

    def predictor(self, name: str) -> float | None:
        """``sed``, ``params``, ``macs`` or a proxy, by name."""
        value = getattr(self, name) if name in STATIC else self.proxies.get(name)
        return None if value is None else float(value)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON, one key a column; a score of -inf is the string ``"-inf"``."""
        data = {name: getattr(self, name) for name in (*_BEFORE, *_AFTER)}
        if self.sed == -math.inf:
            data["sed"] = "-inf"
        return {**{n: data[n] for n in _BEFORE}, **self.proxies, **{n: data[n] for n in _AFTER}}


def columns(proxies: Sequence[str]) -> tuple[str, ...]:
    """Header of a file whose rows have these proxies."""
    return (*_BEFORE, *proxies, *_AFTER)


def proxies_of(header: Sequence[str]) -> tuple[str, ...] | None:
    """The proxies that a header has columns for; None where it is no header of runs."""
    for after in (_AFTER, _AFTER_0_1):
        found = tuple(header[len(_BEFORE) : -len(after)])
        if (*_BEFORE, *found, *after) == tuple(header) and set(found) <= set(PROXIES):
            return found
    return None


def cells(row: RunRow, header: Sequence[str]) -> list[str]:
    """Cells of a row in the order of the header: full precision, empty where missing, never a line break."""
    data = row.to_dict()
    return ["" if data.get(c) is None else " ".join(str(data[c]).split()) for c in header]


def row_of(header: Sequence[str], values: Sequence[str], where: str) -> RunRow:
    """The row of a line.

    Raises:
        DataError: it has another number of cells, or one that cannot be read; ``where`` names the line.
    """
    if len(values) != len(header):
        raise DataError(f"{where}: expected {len(header)} cells as in the header, found {len(values)}")
    data = {c: _read(c, v, where) for c, v in zip(header, values, strict=True) if v.strip()}
    absent = [k for k in (*KEY, "status") if k not in data]
    if absent:
        raise DataError(f"{where}: no {', '.join(absent)}")
    if data["status"] not in get_args(RunStatus):
        raise DataError(
            f"{where}: unknown status {data['status']!r}, expected {', '.join(get_args(RunStatus))}"
        )
    own = {f.name for f in fields(RunRow)} - {"proxies"}
    rivals = {c: data.pop(c, None) for c in header if c not in own}
    return RunRow(**data, proxies=FrozenMapping(rivals))


def _read(column: str, text: str, where: str) -> Any:
    if column in _TEXTS:
        return text
    try:
        return int(text) if column in _WHOLE else float(text)
    except ValueError:
        kind = "a whole number" if column in _WHOLE else "a number"
        raise DataError(f"{where}, column {column!r}: expected {kind}, found {text!r}") from None
