"""Rankings ⋈ accuracies, by name."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from sed_torch import tables
from sed_torch._plain import checked_schema, finite, revived
from sed_torch.errors import DataError
from sed_torch.evidence.accuracies import SHOWN, Accuracies, read_accuracies
from sed_torch.evidence.reading import Table, read_table
from sed_torch.evidence.statistics import defined
from sed_torch.evidence.validating import validate
from sed_torch.evidence.validation import ValidationReport

if TYPE_CHECKING:
    from sed_torch.ranking import Ranking

__all__ = ["Joined", "join"]

FloatArray = npt.NDArray[np.float64]

_PREFIXES = ("timm:", "torchvision:")


@dataclass(frozen=True, eq=False, repr=False)
class Joined(tables.Tabular):
    """Networks that have both a score and an accuracy, row-aligned.

    Attributes:
        names: as in the accuracies.
        scores: shape (n,), higher is better.
        accuracy: shape (n,), higher is better.
        params, macs: shape (n,), NaN where missing, or None where the ranking has no such column.
        groups: the family of each, None where it has none, or None where the ranking has no such column.
        left_out: (name, reason) of ranked networks without a score or without an accuracy, then of networks
            with an accuracy that were not ranked.
        unit, source, metric, reduction: of the accuracies.
        cautions: what makes these scores hard to compare, such as several input sizes; a validation repeats it.
    """

    schema: ClassVar = "sed_torch.joined/1"
    kind: ClassVar = "a join of scores with accuracies"

    names: tuple[str, ...]
    scores: FloatArray
    accuracy: FloatArray
    params: FloatArray | None
    macs: FloatArray | None
    groups: tuple[str | None, ...] | None
    left_out: tuple[tuple[str, str], ...]
    unit: str | None
    source: str
    metric: str
    reduction: str
    cautions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def validate(
        self, *, k: int = 10, seed: int = 0, n_bootstrap: int = 1000, score_name: str = "SED"
    ) -> ValidationReport:
        """:func:`validate` on these rows; what was left out in joining is listed in the report."""
        report = validate(
            self.scores,
            self.accuracy,
            names=self.names,
            params=self.params,
            macs=self.macs,
            groups=self.groups,
            k=k,
            seed=seed,
            n_bootstrap=n_bootstrap,
            score_name=score_name,
            title=f"{score_name} against {self.metric}",
            unit=self.unit,
            source=self.source,
            notes=(f"accuracies: {self.reduction}", *self.cautions),
        )
        return replace(report, left_out=(*self.left_out, *report.left_out))

    def rows(self) -> list[dict[str, Any]]:
        """One row a network: name, score, accuracy, and params, macs and group where the ranking has such columns."""
        columns = {"score": self.scores, "accuracy": self.accuracy, "params": self.params, "macs": self.macs}
        numbers = {k: [defined(n) for n in v.tolist()] for k, v in columns.items() if v is not None}
        listed = {"name": self.names, **numbers, **({} if self.groups is None else {"group": self.groups})}
        return [dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version."""
        said = {k: getattr(self, k) for k in ("unit", "source", "metric", "reduction")}
        left_out = [list(pair) for pair in self.left_out]
        networks = [{k: finite(v) if isinstance(v, float) else v for k, v in r.items()} for r in self.rows()]
        cautions = list(self.cautions)
        return {
            "schema": self.schema,
            **said,
            "networks": networks,
            "left_out": left_out,
            "cautions": cautions,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Joined:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: for data of another kind, or damaged.
        """
        checked_schema(data, cls.schema, cls.kind)
        read = revived(_Saved, data, cls.kind)
        rows = read.networks

        def column(name: str) -> FloatArray | None:
            if rows and name not in rows[0]:
                return None
            return np.asarray([math.nan if (v := r.get(name)) is None else float(v) for r in rows])

        scores, accuracy = column("score"), column("accuracy")
        if scores is None or accuracy is None or not all("name" in r for r in rows):
            raise DataError(f"{cls.kind}: every network needs a name, a score and an accuracy")
        groups = tuple(r.get("group") for r in rows) if rows and "group" in rows[0] else None
        names = tuple(str(r["name"]) for r in rows)
        return cls(
            names,
            scores,
            accuracy,
            column("params"),
            column("macs"),
            groups,
            read.left_out,
            read.unit,
            read.source,
            read.metric,
            read.reduction,
            read.cautions,
        )

    def records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """One row a network."""
        rows = self.rows()
        return rows, tables.columns_of(rows) or ("name", "score", "accuracy")

    def view(self) -> tables.View:
        """How many networks have both, and those with the highest scores."""
        head = f"{len(self)} networks with a score and {self.metric} of {self.source}; {len(self.left_out)} left out"
        rows, columns = self.records()
        ranked = sorted(rows, key=lambda r: -math.inf if r["score"] is None else -r["score"])
        shown, rest = tables.first_of(ranked, SHOWN)
        grid = tables.Grid(tuple(columns), shown, "The highest scores", spared=tuple(columns[:2:-1]))
        return tables.View(head, (), (grid,), (*rest, *self.cautions))


@dataclass(frozen=True)
class _Saved:
    """What the JSON of a :class:`Joined` holds."""

    networks: tuple[Mapping[str, Any], ...]
    left_out: tuple[tuple[str, str], ...]
    unit: str | None
    source: str
    metric: str
    reduction: str
    cautions: tuple[str, ...] = ()


def join(
    ranking: str | os.PathLike[str] | Ranking,
    accuracies: str | os.PathLike[str] | Accuracies,
    *,
    name_column: str = "name",
    score_column: str = "sed",
) -> Joined:
    """Join a ranking, or the CSV of one (``Ranking.to_csv``), with accuracies by name.

    A name matches as it is, or without the ``timm:`` or ``torchvision:`` before it; where both zoos have it, the
    reference of the accuracies' own zoo does. The columns family, params, macs, status and reason are taken
    where the ranking has them.

    Args:
        ranking: a :class:`~sed_torch.Ranking`, or a CSV with at least a name and a score.
        accuracies: an :class:`~sed_torch.evidence.Accuracies`, or a CSV for
            :func:`~sed_torch.evidence.read_accuracies`.
        name_column: of the ranking.
        score_column: of the ranking, higher is better.

    Raises:
        DataError: a file is not what it should be, a network is ranked twice, nothing matches, or the scores are of
            several definitions.
    """
    known = accuracies if isinstance(accuracies, Accuracies) else read_accuracies(accuracies)
    if isinstance(ranking, (str, os.PathLike)):
        table = read_table(ranking, required=(name_column, score_column))
    else:
        table = _table_of(ranking)
        table.require(name_column, score_column)
    scores = table.numbers(score_column)
    trained = dict(zip(known.names, known.values.tolist(), strict=True))
    keys, passed_over = _match(table, table.text(name_column), trained, known.zoo)
    why = {**_why_no_accuracy(known), **passed_over}
    left_out = _unmatched(table, table.text(name_column), keys, scores, why)
    rows = [i for i, key in enumerate(keys) if key is not None and not math.isnan(scores[i])]
    if not rows:
        raise DataError(
            f"{table.path}: none of its {len(table)} networks has both a score and one of the {len(known)} "
            f"accuracies of {known.source}; the ranking has {_first(table.text(name_column))}, "
            f"the accuracies {_first(known.names)}"
        )
    _one_definition(table, rows)
    ranked = {key for key in keys if key is not None}
    names = tuple(str(keys[i]) for i in rows)
    return Joined(
        names,
        scores[rows],
        np.asarray([trained[n] for n in names], dtype=np.float64),
        _numbers(table, "params", rows),
        _numbers(table, "macs", rows),
        tuple(table.text("family")[i] or None for i in rows) if "family" in table.columns else None,
        (*left_out, *((n, "not in the ranking") for n in known.names if n not in ranked)),
        known.unit,
        known.source,
        known.metric,
        known.reduction,
        _cautions(table, rows) if score_column == "sed" else (),
    )


def _kinds(table: Table, column: str, rows: Sequence[int]) -> list[str]:
    """The values of a column in some rows, the most frequent first; none where there is no such column."""
    if column not in table.columns:
        return []
    cells = table.text(column)
    return [v for v, _ in Counter(cells[i] for i in rows if cells[i]).most_common()]


def _one_definition(table: Table, rows: Sequence[int]) -> None:
    found = _kinds(table, "definition", rows)
    if len(found) > 1:
        raise DataError(
            f"{table.path}: scores of {' and '.join(sorted(found))}, which do not compare: rank all models anew"
        )


def _cautions(table: Table, rows: Sequence[int]) -> tuple[str, ...]:
    sizes = {v.partition("x")[2] for v in _kinds(table, "input", rows)}
    if len(sizes) < 2:
        return ()
    return (
        f"the networks were scored at {len(sizes)} inputs, and a larger input lifts the score as a larger network does",
    )


def _table_of(ranking: Ranking) -> Table:
    """The same cells that its CSV has; a line is a place in the ranking."""
    from sed_torch.ranking import (
        RankRow,  # loaded already where there is a ranking; else torch is not needed here
    )

    columns = tuple(f.name for f in fields(RankRow))
    cells = tuple(
        tuple(
            "" if v is None else v if isinstance(v, str) else repr(v)
            for v in (getattr(r, c) for c in columns)
        )
        for r in ranking.rows
    )
    return Table(Path("ranking"), columns, cells, tuple(range(1, len(cells) + 1)))


def _match(
    table: Table, names: Sequence[str], trained: Mapping[str, float], zoo: str | None
) -> tuple[list[str | None], dict[str, str]]:
    """The name in the accuracies of each row, and why a name gave its place to another."""
    keys: list[str | None] = []
    seen: dict[str, int] = {}
    passed_over: dict[str, str] = {}
    for i, name in enumerate(names):
        key = name if name in trained else _bare(name)
        first = seen.setdefault(key, i)
        if first != i and key in trained:
            own = [j for j in (first, i) if zoo and names[j] == f"{zoo}:{key}"]
            if len(own) != 1:
                raise DataError(
                    f"{table.path}, line {table.lines[i]}: {key!r} is ranked on line {table.lines[first]} already; "
                    "rank one of them only, or name one in full in the accuracies (timm:NAME)"
                )
            other = first if own[0] == i else i
            passed_over[names[other]] = f"ranked from {zoo} too"
            seen[key] = own[0]
        keys.append(key if key in trained else None)
    return [None if n in passed_over else k for n, k in zip(names, keys, strict=True)], passed_over


def _why_no_accuracy(known: Accuracies) -> dict[str, str]:
    """Of networks all of whose recipes were left out: the reasons, the most frequent first."""
    reasons: dict[str, dict[str, int]] = {}
    for name, reason in known.left_out:
        counts = reasons.setdefault(name.partition(".")[0], {})
        counts[reason] = counts.get(reason, 0) + 1
    return {
        name: "no accuracy: " + "; ".join(sorted(counts, key=lambda r: -counts[r]))
        for name, counts in reasons.items()
    }


def _bare(name: str) -> str:
    return next((name[len(p) :] for p in _PREFIXES if name.startswith(p)), name)


def _unmatched(
    table: Table,
    names: Sequence[str],
    keys: Sequence[str | None],
    scores: FloatArray,
    why: Mapping[str, str],
) -> list[tuple[str, str]]:
    reasons = table.text("reason") if "reason" in table.columns else [""] * len(table)
    found = []
    for name, key, score, reason in zip(names, keys, scores, reasons, strict=True):
        if math.isnan(score):
            found.append((name, f"no score: {reason}" if reason else "no score"))
        elif key is None:
            found.append((name, why.get(name) or why.get(_bare(name), "no accuracy")))
    return found


def _numbers(table: Table, name: str, rows: Sequence[int]) -> FloatArray | None:
    return table.numbers(name)[rows] if name in table.columns else None


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
