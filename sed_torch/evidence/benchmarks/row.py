"""What there is to say of a benchmark, in one row; its source states it, nothing else repeats it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sed_torch._frozen import FrozenMapping
from sed_torch.evidence.benchmarks.table import BenchmarkTable

__all__ = ["NASLIB_INPUTS", "NASLIB_NOTES", "Benchmark", "Reader"]

Reader = Callable[[Path, "Benchmark", str, int], BenchmarkTable]
"""(file, benchmark, dataset, limit of its size) → its table."""


@dataclass(frozen=True)
class Benchmark:
    """A public benchmark of trained networks.

    Attributes:
        name: of the benchmark.
        datasets: datasets or tasks, the default first.
        files: names under which its file is looked for in the data folder, first come first.
        read: reads a CSV of this project's layout.
        space: name of the search space that its architectures are of, or None for published models.
        zoo: whose references its names are (``"timm"``), or None.
        aliases: other names.
        inputs: dataset → (image size, classes) of the trained networks, where they are not the space's own.
        units: dataset → unit of the accuracy, where it is not %.
        json_datasets: further datasets, which NASLib's JSON has and no CSV.
        json_key: (key of NASLib's JSON, where it stands) → the string that the space reads; as it is when None.
        json_names: dataset → its name in NASLib's JSON, where it is another.
        notes: dataset → what to say of its figures wherever they are shown.
    """

    name: str
    datasets: tuple[str, ...]
    files: tuple[str, ...]
    read: Reader
    space: str | None = None
    zoo: str | None = None
    aliases: tuple[str, ...] = ()
    inputs: Mapping[str, tuple[int, int]] = field(default_factory=FrozenMapping)
    units: Mapping[str, str] = field(default_factory=FrozenMapping)
    json_datasets: tuple[str, ...] = ()
    json_key: Callable[[str, str], str] | None = None
    json_names: Mapping[str, str] = field(default_factory=FrozenMapping)
    notes: Mapping[str, str] = field(default_factory=FrozenMapping)

    def unit(self, dataset: str) -> str:
        """Of the accuracies on a dataset."""
        return self.units.get(dataset, "%")


NASLIB_INPUTS: Mapping[str, tuple[int, int]] = FrozenMapping(
    {"svhn": (32, 10), "scifar100": (60, 100), "ninapro": (28, 18)}
)
"""(image size, classes) of the further datasets of NAS-Bench-Suite-Zero."""

NASLIB_NOTES: Mapping[str, str] = FrozenMapping(
    {
        "scifar100": "CIFAR-100 projected onto a sphere, no natural images",
        "ninapro": "gestures from muscle signals, no natural images; networks read 16×52 positions and one channel, "
        "and are scored at 28×28 and three",
    }
)
"""What to say of them."""
