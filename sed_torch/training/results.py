"""``Counterparts``: runs as data, and the score held against them."""

from __future__ import annotations

import math
import os
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from sed_torch import tables
from sed_torch._plain import checked_schema, revived
from sed_torch.errors import DataError
from sed_torch.evidence import ValidationReport, validate
from sed_torch.evidence.correlation import correlate
from sed_torch.training.files import read_rows
from sed_torch.training.rows import STATIC, RunRow, columns

if TYPE_CHECKING:
    pass

__all__ = ["Counterparts", "read_runs"]

SCHEMA = "sed_torch.runs/1"
_SPELLED = {"sed": "SED"}
_DEFINITION = re.compile(r"\((sed/[^)]+)\)")


@dataclass(frozen=True, repr=False)
class Counterparts(tables.Tabular):
    """Networks trained under one recipe with one or more seeds.

    Attributes:
        rows: every epoch of every run, in the order of the file.
        proxies: rivals that the rows have.
        path: the file, or None.
        resumed: runs that were there already.
    """

    schema: ClassVar = SCHEMA
    kind: ClassVar = "runs"

    rows: tuple[RunRow, ...]
    proxies: tuple[str, ...] = ()
    path: str | None = None
    resumed: int = 0

    def __len__(self) -> int:
        """Number of networks."""
        return len(self.networks)

    @property
    def networks(self) -> tuple[str, ...]:
        """Names, in the order in which they came."""
        return tuple(dict.fromkeys(r.network for r in self.rows))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, ascending."""
        return tuple(sorted({r.seed for r in self.rows}))

    @property
    def definitions(self) -> tuple[str, ...]:
        """Names of the forms that the scores are of, sorted: more than one where a later version went on."""
        found = (_DEFINITION.search(r.software or "") for r in self.rows if r.sed is not None)
        return tuple(sorted({m[1] for m in found if m}))

    @property
    def finals(self) -> tuple[RunRow, ...]:
        """The last row of every run that ended."""
        return tuple(r for r in self.rows if r.final)

    @property
    def failures(self) -> tuple[RunRow, ...]:
        """The last row of every run whose accuracy is not that of the whole recipe."""
        return tuple(r for r in self.finals if not r.trained)

    def accuracy(self, network: str) -> float | None:
        """Mean test accuracy after the last epoch over the seeds, in per cent; None if no run was finished."""
        found = [r.test_accuracy for r in self.finals if r.network == network and r.trained]
        return statistics.fmean(a for a in found if a is not None) if found else None

    def validate(
        self, score: str = "sed", *, k: int = 10, seed: int = 0, n_bootstrap: int = 1000
    ) -> ValidationReport:
        """Hold a predictor against mean accuracy over seeds, rivals on the same networks.

        The noise ceiling is one seed's accuracies against another's. Intervals are of the networks' choice; the
        report's notes tell ρ seed by seed.

        Args:
            score: ``"sed"``, ``"params"``, ``"macs"`` or one of :attr:`proxies`; the others are its rivals.
            k: for nDCG and regret.
            seed: of the resampling.
            n_bootstrap: resamples; 0 leaves the intervals out.

        Raises:
            DataError: there is no such predictor, no run was finished, or the scores are of several definitions.
            MissingDependencyError: scipy is not installed.
        """
        known = (*STATIC, *self.proxies)
        if score not in known:
            raise DataError(f"no predictor {score!r} in these runs: expected one of {', '.join(known)}")
        if len(self.definitions) > 1:
            raise DataError(
                f"{self.path or 'these runs'}: scores of {' and '.join(self.definitions)}, which do not compare: rank "
                "the networks anew, and hold that ranking against these runs"
            )
        by_seed = {s: self._accuracies(s) for s in self.seeds}
        if all(np.isnan(a).all() for a in by_seed.values()):
            raise DataError(f"{self.path or 'these runs'}: no run was finished, there is nothing to validate")
        x = self._predictions(score)
        rivals = {
            _SPELLED.get(p, p): self._predictions(p) for p in known if p not in (score, "params", "macs")
        }
        counts: dict[str, Any] = {p: self._predictions(p) for p in ("params", "macs") if p != score}
        name = _SPELLED.get(score, score)
        report = validate(
            x,
            [math.nan if (a := self.accuracy(n)) is None else a for n in self.networks],
            names=self.networks,
            rivals=rivals,
            seeds={f"seed {s}": a for s, a in by_seed.items()} if len(by_seed) > 1 else None,
            k=k,
            seed=seed,
            n_bootstrap=n_bootstrap,
            score_name=name,
            title=f"{name} on {len(self)} trained networks, {self._one('dataset')}",
            unit="%",
            source=f"training under {self._one('recipe')}, {self._one('device')}",
            notes=[*self._notes(x), *_seed_by_seed(x, by_seed, name, n_bootstrap, seed)],
            **counts,
        )
        return replace(report, left_out=self._left_out(report.left_out))

    def _accuracies(self, seed: int) -> npt.NDArray[np.float64]:
        found = {r.network: r.test_accuracy for r in self.finals if r.seed == seed and r.trained}
        return _column(found.get(n) for n in self.networks)

    def _predictions(self, name: str) -> npt.NDArray[np.float64]:
        """Mean over the seeds, whose weights differ; as :meth:`accuracy`, of finished runs where there are any."""
        found: dict[str, list[float]] = {n: [] for n in self.networks}
        for row in self.finals:
            value = row.predictor(name)
            if value is not None and (row.trained or self.accuracy(row.network) is None):
                found[row.network].append(value)
        return _column(statistics.fmean(v) if v else None for v in found.values())

    def _one(self, name: str) -> str:
        """The value of all rows, or all values."""
        return " and ".join(dict.fromkeys(str(getattr(r, name)) for r in self.rows if getattr(r, name)))

    def _notes(self, x: npt.NDArray[np.float64]) -> list[str]:
        accuracies = [a for n in self.networks if (a := self.accuracy(n)) is not None]
        notes = [
            f"accuracy: test images after the last epoch, mean over {len(self.seeds)} seeds; from "
            f"{min(accuracies):.2f} % to {max(accuracies):.2f} %, median {statistics.median(accuracies):.2f} %"
        ]
        if self._one("space"):
            notes.append(f"networks of {self._one('space')}, uniformly drawn unless named")
        notes += [f"score: {d}" for d in self.definitions]
        dead = int(np.isneginf(x).sum())
        if dead:
            notes.append(
                f"{dead} networks score -inf: no path leads from input to output; they were trained as well"
            )
        early = sum(r.status == "stopped" for r in self.finals)
        if early:
            notes.append(f"{early} runs were stopped early, as the recipe says")
        partly = {r.network for r in self.failures} & {r.network for r in self.finals if r.trained}
        if partly:
            notes.append(
                f"{len(partly)} networks have a mean over fewer seeds, the other runs not being finished"
            )
        return notes

    def _left_out(self, left_out: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """With the reason of the run instead of "no accuracy"."""
        why = {r.network: f"{r.status}: {r.reason}" for r in self.failures}
        missing = {r.network: f"no score: {r.missing}" for r in self.finals if r.sed is None and r.missing}
        return tuple(
            (n, why.get(n, reason) if "accuracy" in reason else missing.get(n, reason))
            for n, reason in left_out
        )

    # -- views -------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version."""
        return {"schema": SCHEMA, "proxies": list(self.proxies), "rows": [r.to_dict() for r in self.rows]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Counterparts:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: for data of another kind.
        """
        checked_schema(data, SCHEMA, "runs")
        proxies = tuple(str(p) for p in data.get("proxies", ()))
        rows = [
            revived(RunRow, {**row, "proxies": {p: row.get(p) for p in proxies}}, f"run {i}")
            for i, row in enumerate(data.get("rows", ()))
        ]
        return cls(tuple(rows), proxies)

    def records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """One row a network × seed × epoch."""
        rows = [{**r.to_dict(), "sed": r.sed} for r in self.rows]
        return rows, list(rows[0]) if rows else list(columns(self.proxies))

    def summary(self) -> list[dict[str, Any]]:
        """One row a network, most accurate first: seeds, accuracy in per cent with its spread, predictors, reason."""
        rows = [self._summed(n) for n in self.networks]
        return sorted(rows, key=lambda r: -math.inf if r["accuracy"] is None else r["accuracy"], reverse=True)

    def _summed(self, network: str) -> dict[str, Any]:
        runs = [r for r in self.finals if r.network == network]
        found = [r.test_accuracy for r in runs if r.trained and r.test_accuracy is not None]
        predicted = {p: next((r.predictor(p) for r in runs), None) for p in (*STATIC, *self.proxies)}
        return {
            "network": network,
            "seeds": len(found),
            "accuracy": statistics.fmean(found) if found else None,
            "sd": statistics.stdev(found) if len(found) > 1 else None,
            **predicted,
            "reason": "; ".join(dict.fromkeys(f"{r.status}: {r.reason}" for r in runs if r.reason)) or None,
        }

    def _shown(self) -> tuple[list[dict[str, Any]], list[str]]:
        rows = self.summary()
        for row in rows:
            row["params"] = tables.quantity(row["params"])
            row["macs"] = tables.quantity(row["macs"])
        names = ["network", "seeds", "accuracy", "sd", *STATIC, *self.proxies]
        return rows, [*names, "reason"] if any(r["reason"] for r in rows) else names

    def view(self) -> tables.View:
        """One row a network, most accurate first."""
        trained = sum(r.trained for r in self.finals)
        head = (
            f"{len(self)} networks × {len(self.seeds)} seeds on {self._one('dataset')}: {trained} runs trained, "
            f"{len(self.failures)} not, {self.resumed} were there already"
        )
        rows, names = self._shown()
        grid = tables.Grid(tuple(names), tuple(rows), spared=(*self.proxies[::-1], "macs", "sd", "seeds"))
        return tables.View(head, grids=(grid,))


def read_runs(path: str | os.PathLike[str]) -> Counterparts:
    """The runs in a file of ``sed-torch train-counterparts``, complete or not; a torn last line is overlooked.

    Raises:
        DataError: the file is missing or something else.
    """
    proxies, rows = read_rows(path)
    return Counterparts(tuple(rows), proxies, os.fspath(path))


def _column(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    return np.asarray([math.nan if v is None else v for v in values], dtype=np.float64)


def _seed_by_seed(
    x: npt.NDArray[np.float64],
    by_seed: dict[int, npt.NDArray[np.float64]],
    name: str,
    n_bootstrap: int,
    seed: int,
) -> list[str]:
    if len(by_seed) < 2:
        return ["one seed: no noise ceiling, and the intervals hold for these very runs"]
    lines = []
    for number, accuracy in by_seed.items():
        found = correlate(x, accuracy, n_bootstrap=n_bootstrap, seed=seed)
        if found.spearman is not None:
            interval = found.intervals.get("spearman")
            lines.append(f"{number}: {found.spearman:.3f}" + (f" {interval}" if interval else ""))
    return (
        [f"Spearman ρ of {name} with the accuracies of one seed alone: {'; '.join(lines)}"] if lines else []
    )
