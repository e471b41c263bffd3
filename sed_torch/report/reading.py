"""Results from files: whatever wrote its JSON is read back by the schema that it names, and can then be reported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from sed_torch.errors import DataError
from sed_torch.evidence.reading import read_json

__all__ = ["RESULTS", "read_result"]

RESULTS: Mapping[str, str] = {
    "sed_torch.accuracies/1": "evidence.accuracies:Accuracies",
    "sed_torch.benchmark_table/1": "evidence.benchmarks.table:BenchmarkTable",
    "sed_torch.benchmarks/1": "benchmarking.report:BenchmarkReport",
    "sed_torch.calibration/1": "calibration.result:Calibration",
    "sed_torch.check/1": "diagnostics.report:CheckReport",
    "sed_torch.comparison/1": "comparing:Comparison",
    "sed_torch.cost/1": "costing.result:Cost",
    "sed_torch.joined/1": "evidence.joining:Joined",
    "sed_torch.layers/1": "scoring.layers:LayerTable",
    "sed_torch.proxies/1": "proxies.registry:ProxyResult",
    "sed_torch.ranking/1": "ranking.result:Ranking",
    "sed_torch.runs/1": "training.results:Counterparts",
    "sed_torch.score/1": "scoring.result:Score",
    "sed_torch.search/1": "searching.result:SearchResult",
    "sed_torch.sensitivity/1": "sensitivity:Sensitivity",
    "sed_torch.validation/1": "evidence.validation:ValidationReport",
}
"""Schema → the class that writes it and reads it back, below ``sed_torch``; imported when asked for."""


def read_result(path: str | os.PathLike[str]) -> Any:
    """The result that a JSON file holds: a score, a check, a cost, a search, a calibration, …

    Args:
        path: what ``to_json()`` of a result, or a command with ``-o x.json``, wrote.

    Raises:
        DataError: there is no such file, it is no JSON, or of no kind that is known; or it is damaged.
    """
    file = Path(path)
    data = read_json(file)
    schema = str(data.get("schema"))
    if schema not in RESULTS:
        known = ", ".join(sorted(k.removeprefix("sed_torch.").partition("/")[0] for k in RESULTS))
        raise DataError(
            f"{file} holds no result of this version of sed_torch: its schema is {schema!r}, expected one of {known}"
        )
    module, _, name = RESULTS[schema].partition(":")
    kind = getattr(import_module(f"sed_torch.{module}"), name)
    try:
        return kind.from_dict(data)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
