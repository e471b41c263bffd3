"""The benchmark report: what it holds, and what it shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sed_torch import tables
from sed_torch._plain import checked_schema, revived
from sed_torch.benchmarking.picks import SearchRow
from sed_torch.benchmarking.result import DatasetResult, grouped
from sed_torch.benchmarking.sections import (
    grid_of,
    other_statistics,
    picks_of,
    picks_summary,
    quality,
    rivals,
    searches_of,
    size_held_fixed,
    summary,
    times,
)
from sed_torch.benchmarking.timing import NetworkTimes, SearchTime, SpaceTimes
from sed_torch.evidence.validation import frame_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SCHEMA", "BenchmarkReport"]

SCHEMA = "sed_torch.benchmarks/1"


@dataclass(frozen=True, repr=False)
class BenchmarkReport(tables.Tabular):
    """Quality, picks and times, with what is needed to repeat them.

    Attributes:
        date: UTC, ISO 8601.
        versions: of the packages involved.
        machine: what it was run on.
        files: (benchmark, file name, SHA-256) of the data.
        absent: (benchmark, reason) of what was not run.
        results: one a benchmark and dataset.
        searches: of NAS-Bench-201 and DARTS, by what they pick.
        found: what a second's search finds in each space; empty where nothing was timed.
        space_times, network_times: None where nothing was timed.
        definition: name of the score's form.
        seed, n_bootstrap: of the intervals.
    """

    schema: ClassVar = SCHEMA
    kind: ClassVar = "a benchmark report"

    date: str
    versions: Mapping[str, str]
    machine: str
    files: tuple[tuple[str, str, str], ...]
    absent: tuple[tuple[str, str], ...]
    results: tuple[DatasetResult, ...]
    searches: tuple[SearchRow, ...]
    found: tuple[SearchTime, ...]
    space_times: SpaceTimes | None
    network_times: NetworkTimes | None
    definition: str
    seed: int
    n_bootstrap: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version."""
        return {
            "schema": SCHEMA,
            "date": self.date,
            "versions": dict(self.versions),
            "machine": self.machine,
            "files": [{"benchmark": b, "file": f, "sha256": h} for b, f, h in self.files],
            "absent": [{"benchmark": b, "reason": r} for b, r in self.absent],
            "results": [r.to_dict() for r in self.results],
            "searches": [s.to_dict() for s in self.searches],
            "found": [f.to_dict() for f in self.found],
            "space_times": self.space_times and self.space_times.to_dict(),
            "network_times": self.network_times and self.network_times.to_dict(),
            "definition": self.definition,
            "seed": self.seed,
            "n_bootstrap": self.n_bootstrap,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BenchmarkReport:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: for data of another kind, or damaged.
        """
        checked_schema(data, SCHEMA, cls.kind)
        files = [[f.get("benchmark"), f.get("file"), f.get("sha256")] for f in data.get("files", ())]
        absent = [[a.get("benchmark"), a.get("reason")] for a in data.get("absent", ())]
        return revived(cls, {**data, "files": files, "absent": absent}, cls.kind)

    def records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """The summary of quality, one row a benchmark and dataset."""
        rows = summary(self.results)
        return rows, tables.columns_of(rows) or ("benchmark", "dataset")

    def to_dataframe(self) -> pd.DataFrame:
        """One row a benchmark, dataset and predictor, as :meth:`ValidationReport.to_dataframe` has them.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return tables.to_dataframe(
            [
                {"benchmark": r.benchmark, "dataset": r.dataset, **row}
                for r in self.results
                for row in frame_rows(r.validation)
            ]
        )

    def to_markdown(self) -> str:
        """The whole report as a page."""
        return super().to_markdown() + "\n"

    def __repr__(self) -> str:
        return f"BenchmarkReport({self.date}, {len(self.results)} datasets)"

    def view(self) -> tables.View:
        """The whole report."""
        return tables.View(
            "SED on public benchmarks", chapters=tuple(c for c in self._chapters() if c is not None)
        )

    def _chapters(self) -> Iterator[tables.Chapter | None]:
        yield tables.Chapter(paragraphs=(_head(self),))
        yield quality(self.results)
        yield size_held_fixed(self.results)
        yield other_statistics(self.results)
        yield from (rivals(name, rows) for name, rows in grouped(self.results))
        yield from searches_of(self.searches, self.found)
        yield picks_summary(self.results)
        yield from (picks_of(name, rows) for name, rows in grouped(self.results))
        yield times(self.space_times, self.network_times)
        rows = [{"benchmark": b, "file": f, "SHA-256": h} for b, f, h in self.files]
        yield tables.Chapter("Data", ("Not part of this project.",), (grid_of(rows),))


def _head(report: BenchmarkReport) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in report.versions.items())
    intervals = (
        f"Intervals are 95 % percentile bootstrap intervals over networks ({report.n_bootstrap:,} resamples, fewer "
        f"for slow statistics, seed {report.seed})."
        if report.n_bootstrap
        else "Intervals were left out."
    )
    missing = (
        "\nPublished models (timm, torchvision, pycls) have names and no space: `sed-torch rank`, then `sed-torch "
        "validate`."
    )
    missing += "".join(f"\nNot run: {name} ({reason})." for name, reason in report.absent)
    return (
        f"Made by `sed-torch benchmark` on {report.date} with {versions}; {report.machine}.\n"
        f"Score: definition `{report.definition}`, this project's form, derived from the published claims of arXiv "
        f"2411.06236.\n{intervals}\nρ is Spearman's, τ Kendall's τ-b; higher is better everywhere.{missing}"
    )
