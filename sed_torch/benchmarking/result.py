"""What was found on one dataset of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sed_torch._plain import revived
from sed_torch.benchmarking.picks import Pick
from sed_torch.evidence.validation import ValidationReport

__all__ = ["DatasetResult", "grouped"]


@dataclass(frozen=True)
class DatasetResult:
    """One benchmark and dataset.

    Attributes:
        benchmark, dataset: names.
        unit: of the accuracy.
        validation: SED and the public rivals against trained accuracy.
        picks: what each picks of all networks.
        limit: half the parameters of the largest network, or None.
        limited: what each picks within the limit.
        left_out: how many networks the validation left out, where it was read back and names none of them.
    """

    benchmark: str
    dataset: str
    unit: str
    validation: ValidationReport
    picks: tuple[Pick, ...]
    limit: float | None
    limited: tuple[Pick, ...]
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data; of the validation what concerns the score, and no list of each network left out."""
        validation = self.validation.to_dict()
        validation["left_out"] = self.left_out or len(self.validation.left_out)
        validation.pop("source")
        return {
            "benchmark": self.benchmark,
            "dataset": self.dataset,
            "unit": self.unit,
            "validation": validation,
            "picks": [p.to_dict() for p in self.picks],
            "limit": self.limit,
            "limited": [p.to_dict() for p in self.limited],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DatasetResult:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: for data of another kind, or damaged.
        """
        validation = dict(data.get("validation", {}))
        left_out = validation.pop("left_out", 0)
        values = {**data, "validation": {**validation, "left_out": []}, "left_out": left_out}
        return revived(cls, values, "a benchmark's results")


def grouped(results: Sequence[DatasetResult]) -> Iterable[tuple[str, list[DatasetResult]]]:
    """Results by benchmark, in the order in which they come."""
    groups: dict[str, list[DatasetResult]] = {}
    for result in results:
        groups.setdefault(result.benchmark, []).append(result)
    return groups.items()
