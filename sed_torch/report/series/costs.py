"""The numbers behind the time line of a training step: what is held at each operator, by what it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from sed_torch.costing import Cost

__all__ = ["Timeline", "timeline_of"]


@dataclass(frozen=True)
class Timeline:
    """Memory over the operators of a training step, in bytes.

    Attributes:
        name: of the model.
        batch: samples a step.
        resident: parameters, buffers and the optimiser's state, there all the time.
        gradients: of parameters, at each operator; at the last moment also what the optimiser's step holds.
        activations: kept for the backward pass or in use, and their gradients, at each operator.
        phases: (phase, first place, last place), in order.
        peak: place of the fullest moment.
        where: what runs there.
        limit: memory of the device, None where none was named.
    """

    name: str
    batch: int
    resident: int
    gradients: tuple[int, ...]
    activations: tuple[int, ...]
    phases: tuple[tuple[str, int, int], ...]
    peak: int
    where: str
    limit: int | None

    def total(self, place: int) -> int:
        """All that is held at a place."""
        return self.resident + self.gradients[place] + self.activations[place]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def timeline_of(cost: Cost) -> Timeline:
    """The moments of a step, in order."""
    moments = cost.training
    phases: list[tuple[str, int, int]] = []
    for phase, group in groupby(range(len(moments)), key=lambda i: moments[i].phase):
        places = list(group)
        phases.append((phase, places[0], places[-1]))
    top = cost.peak_moment
    return Timeline(
        name=cost.name,
        batch=cost.batch,
        resident=cost.resident,
        gradients=tuple(m.gradients for m in moments),
        activations=tuple(m.activations for m in moments),
        phases=tuple(phases),
        peak=moments.index(top),
        where=cost.place_of_peak,
        limit=cost.device.memory if cost.device else None,
    )
