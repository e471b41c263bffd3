"""``sed-torch ops`` and ``sed-torch doctor``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import click

from sed_torch.cli.helping import Helped
from sed_torch.cli.options import output_options
from sed_torch.cli.output import FINDINGS, emit
from sed_torch.tables import Grid, Tabular, View


@dataclass(frozen=True, repr=False)
class Listing(Tabular):
    """Rows of plain text, which a command lists; it has all forms."""

    schema: ClassVar = "sed_torch.listing/1"
    kind: ClassVar = "a listing"

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    title: str
    shown: tuple[Mapping[str, Any], ...] = ()

    def view(self) -> View:
        """The rows, shortened where a short form was given."""
        return View(self.title, (), (Grid(self.columns, self.shown or self.rows),))

    def records(self) -> tuple[Sequence[Mapping[str, Any]], Sequence[str]]:
        """All rows, whole."""
        return self.rows, self.columns

    def to_dict(self) -> dict[str, Any]:
        """Columns and rows."""
        return {"schema": self.schema, **asdict(self)}

    def to_json(self, *, indent: int | None = 2) -> str:
        """The rows alone."""
        return json.dumps(list(map(dict, self.rows)), indent=indent)


@click.command(cls=Helped)
@output_options
def ops(form: str | None, output: str | None) -> None:
    """List the operators that have a rule, with their spellings."""
    from sed_torch.ops import table

    rows: list[dict[str, Any]] = [dict(r) for r in table()]
    columns = ("op", "rule", "spellings")
    short = tuple({**r, "spellings": _cut(r["spellings"], 60)} for r in rows)
    emit(Listing(columns, tuple(rows), "Operators that have a rule", short), form, output)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: text.rfind(",", 0, width - 2) + 1] + " …"


_PACKAGES = {
    "torch": "required",
    "numpy": "required",
    "click": "required",
    "rich": "required",
    "timm": "references timm:NAME",
    "torchvision": "references torchvision:NAME",
    "joblib": "rank",
    "platformdirs": "cache",
    "psutil": "memory limit of rank",
    "distributed": "rank on a Dask cluster",
    "ray": "rank on a Ray cluster",
    "scipy": "validate",
    "scikit-learn": "the dataset digits",
    "optuna": "search with an Optuna study",
    "pandas": "to_dataframe()",
    "pyarrow": "to_parquet()",
    "matplotlib": "plots, HTML reports",
    "jinja2": "HTML reports",
    "graphviz": "graph --engine graphviz",
    "networkx": "to_networkx()",
    "transformers": "references hf:NAME, SedCheckCallback of integrations.hf",
    "lightning": "SedCheck of integrations.lightning",
    "pooch": "downloading benchmark results",
}


@click.command(cls=Helped)
@output_options
def doctor(form: str | None, output: str | None) -> int:
    """Show the environment: versions, optional packages, devices; no paths, no names, no settings."""
    rows = (*_environment(), *_package_rows(), *_device_rows())
    emit(Listing(("item", "found", "for"), rows, "The environment"), form, output)
    return FINDINGS if any(r["found"] is None and r["for"] == "required" for r in rows) else 0


def _environment() -> list[dict[str, Any]]:
    import platform

    from sed_torch._version import __version__
    from sed_torch.scoring import DEFAULT_DEFINITION

    return [
        {"item": "sed-torch", "found": __version__, "for": f"definition {DEFAULT_DEFINITION}"},
        {"item": "python", "found": platform.python_version(), "for": platform.python_implementation()},
        {"item": "platform", "found": platform.system(), "for": platform.machine()},
    ]


def _package_rows() -> list[dict[str, Any]]:
    from importlib import metadata

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return [{"item": name, "found": version(name), "for": use} for name, use in _PACKAGES.items()]


def _device_rows() -> list[dict[str, Any]]:
    import torch

    rows: list[dict[str, Any]] = [{"item": "cpu", "found": f"{os.cpu_count()} cores", "for": "device"}]
    if torch.cuda.is_available():
        rows += [
            {"item": f"cuda:{i}", "found": torch.cuda.get_device_name(i), "for": "device"}
            for i in range(torch.cuda.device_count())
        ]
    if torch.backends.mps.is_available():
        rows.append({"item": "mps", "found": "available", "for": "device"})
    return rows
