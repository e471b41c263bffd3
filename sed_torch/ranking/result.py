"""A ranking: rows in order, and what must be said of them at once."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, overload

from sed_torch import tables
from sed_torch._frozen import FrozenMapping
from sed_torch._plain import checked_schema
from sed_torch.errors import DataError, InputError
from sed_torch.ranking.rows import (
    BASELINES,
    COLUMNS,
    FamilyRow,
    RankRow,
    check_baselines,
    check_sort,
    families_of,
    ranked,
    sorted_rows,
)
from sed_torch.ranking.showing import (
    RESIDUAL_NOTE,
    SHAPE_NOTE,
    SHOWN,
    SPARED,
    SPELLED,
    described,
    display,
    listed,
    modality,
    sample_size,
    task,
)

__all__ = ["SCHEMA", "Ranking", "check_sizes"]

SCHEMA = "sed_torch.ranking/1"


@dataclass(frozen=True)
class Ranking(tables.Tabular):
    """Models in order, as data. ``ranking[0]`` is the first row, ``ranking["timm:resnet50"]`` that model's.

    Attributes:
        rows: in the order of ``sort``; rows without the value come last.
        sort: the column sorted by.
        baselines: the counts whose influence the residual is free of.
        versions: of the packages involved.
        elapsed: wall seconds of the run.
        cached: rows that came from the cache.
        whole: rows of the ranking that these are the top of; None where they are all.
        limits: largest params and MACs that were asked for, by name.
        beyond: models that were left out because they are larger.
        expects: what ``expected`` is, for display; None where no calibration was asked.
    """

    schema: ClassVar = SCHEMA
    kind: ClassVar = "a ranking"

    rows: tuple[RankRow, ...]
    sort: str = "sed"
    baselines: tuple[str, ...] = BASELINES
    versions: dict[str, str] = field(default_factory=dict)
    elapsed: float = 0.0
    cached: int = 0
    whole: int | None = None
    limits: Mapping[str, float] = field(default_factory=FrozenMapping)
    beyond: int = 0
    expects: str | None = None

    @classmethod
    def of(
        cls,
        rows: Iterable[RankRow],
        *,
        sort: str = "sed",
        baselines: Sequence[str] = BASELINES,
        versions: Mapping[str, str] | None = None,
        elapsed: float = 0.0,
        cached: int = 0,
        limits: Mapping[str, float | str] | None = None,
    ) -> Ranking:
        """Give rows their ranks and residuals, and sort them.

        Args:
            rows: of the models.
            sort: column to sort by.
            baselines: what the size-controlled rank is free of.
            versions: of the packages involved.
            elapsed: wall seconds of the run.
            cached: rows that came from the cache.
            limits: largest ``"params"``, ``"macs"`` and ``"memory"`` (bytes), as for :func:`sed_torch.rank`;
                larger models are left out and counted.
                Models whose size is not known stay, with the reason in their row.

        Raises:
            InputError: ``sort``, a baseline or a limit is unknown.
        """
        check_sort(sort)
        check_baselines(baselines)
        known = check_sizes(limits or {})
        every = list(rows)
        kept = [r for r in every if all((getattr(r, n) or 0) <= most for n, most in known.items())]
        return cls(
            sorted_rows(ranked(kept, baselines), sort),
            sort,
            tuple(baselines),
            dict(versions or {}),
            elapsed,
            cached,
            limits=FrozenMapping(known),
            beyond=len(every) - len(kept),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[RankRow]:
        return iter(self.rows)

    @overload
    def __getitem__(self, which: int | str) -> RankRow: ...
    @overload
    def __getitem__(self, which: slice) -> Ranking: ...
    def __getitem__(self, which: int | str | slice) -> RankRow | Ranking:
        """The row at a place (0 is the first), the row of a model by its name, or some rows as a ranking.

        Raises:
            IndexError: there is no such place.
            KeyError: no row has that name.
        """
        if isinstance(which, slice):
            return replace(self, rows=self.rows[which], whole=self.whole or len(self.rows))
        if isinstance(which, int):
            return self.rows[which]
        for row in self.rows:
            if row.name == which:
                return row
        near = difflib.get_close_matches(which, [r.name for r in self.rows], n=3)
        raise KeyError(
            f"no model {which!r} in the ranking" + (f"; did you mean {' or '.join(near)}?" if near else "")
        )

    def __contains__(self, which: object) -> bool:
        return any(which == row.name or which == row for row in self.rows)

    @property
    def scored(self) -> tuple[RankRow, ...]:
        """Rows with a score."""
        return tuple(r for r in self.rows if r.sed is not None)

    @property
    def failures(self) -> tuple[RankRow, ...]:
        """Rows whose status is not ok, each with its reason."""
        return tuple(r for r in self.rows if r.status != "ok")

    @property
    def best(self) -> RankRow | None:
        """The row with the highest score, or where the ranking is by expected accuracy the highest of that."""
        known = [r for r in self.scored if r.expected is not None] if self.sort == "expected" else []
        if known:
            return max(known, key=lambda r: (r.expected or -math.inf, r.name))
        return max(self.scored, key=lambda r: (r.sed or -math.inf, r.name), default=None)

    @property
    def limits_text(self) -> str:
        """``params ≤ 10.00 M and MACs ≤ 2.00 G``, or nothing where no limit was asked for."""
        return " and ".join(f"{SPELLED[n]} ≤ {_size(n, v)}" for n, v in self.limits.items())

    @property
    def front_in_short(self) -> tuple[RankRow, ...]:
        """Up to five of the front: smallest, largest and some between."""
        front = self.front
        return (*front[: -1 : max(1, -(-len(front) // 4))], *front[-1:])

    @property
    def front(self) -> tuple[RankRow, ...]:
        """The Pareto front: no other model has a score as high with as few params and MACs. Smallest first."""
        return tuple(sorted((r for r in self.rows if r.pareto), key=lambda r: (r.params or 0, r.name)))

    def front_of(self, cost: str = "params", by: str = "expected") -> Ranking:
        """The Pareto front of two columns: rows than which no other has as much of ``by`` at no more ``cost``.

        Args:
            cost: ``"params"`` or ``"macs"``.
            by: ``"expected"`` or ``"sed"``.

        Returns:
            The rows, cheapest first.

        Raises:
            InputError: another column.
        """
        if cost not in BASELINES or by not in ("expected", "sed"):
            raise InputError(
                f"a front is of expected or sed against params or macs, found {by!r} and {cost!r}"
            )
        rows = [r for r in self.rows if getattr(r, by) is not None and getattr(r, cost) is not None]
        best, kept = -math.inf, []
        for row in sorted(rows, key=lambda r: (getattr(r, cost), -getattr(r, by), r.name)):
            if getattr(row, by) > best:
                best = getattr(row, by)
                kept.append(row)
        return replace(self, rows=tuple(kept), sort=cost, whole=self.whole or len(self.rows))

    def in_order(self, sort: str) -> Ranking:
        """The same rows in the order of another column.

        Raises:
            InputError: ``sort`` is unknown.
        """
        check_sort(sort)
        return replace(self, rows=sorted_rows(self.rows, sort), sort=sort)

    def top(self, n: int) -> Ranking:
        """The first ``n`` rows, with the ranks they have here."""
        return self[: max(n, 0)]

    def within(self, family: str) -> Ranking:
        """One family, ranked for itself.

        Raises:
            KeyError: there is no such family.
        """
        rows = [r for r in self.rows if r.family == family]
        if not rows:
            raise KeyError(f"no family {family!r} in the ranking")
        return Ranking.of(rows, sort=self.sort, baselines=self.baselines, versions=self.versions)

    @property
    def families(self) -> tuple[FamilyRow, ...]:
        """Across families: one row each, best median score first."""
        return families_of(self.rows)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes these scores hard to compare: several input sizes, kinds of input or kinds of output."""
        lines = []
        sizes = self._counted(lambda r: sample_size(r.input))
        if len(sizes) > 1:
            lines.append(
                f"scores compare at one input size only, and these have {len(sizes)}: {listed(sizes)}. "
                "Score all at one with --input-size (input_size=), or rank them apart; shape, which compares networks "
                "of like size, hardly moves with the input"
            )
        for what, kinds in (
            ("read different kinds of input", self._counted(lambda r: modality(r.input))),
            ("do different tasks, by what they return", self._counted(lambda r: task(r.output))),
        ):
            if len(kinds) > 1:
                lines.append(f"these models {what}: {listed(kinds)}; their scores do not compare")
        definitions = self._counted(lambda r: r.definition)
        if len(definitions) > 1:
            lines.append(f"scores of different definitions do not compare: {listed(definitions)}")
        return tuple(lines)

    def _counted(self, kind: Any) -> dict[str, list[str]]:
        """Names of scored models by kind, the most frequent kind first."""
        found: dict[str, list[str]] = {}
        for row in self.scored:
            value = kind(row)
            if value is not None:
                found.setdefault(value, []).append(row.name)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    # -- views -------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version; :meth:`from_dict` reads it back."""
        return {
            "schema": SCHEMA,
            "sort": self.sort,
            "baselines": list(self.baselines),
            "residual": RESIDUAL_NOTE.format(self._baseline_text()),
            "models": len(self.rows),
            "failed": len(self.failures),
            "cached": self.cached,
            "elapsed": self.elapsed,
            "versions": dict(self.versions),
            "limits": dict(self.limits),
            "beyond": self.beyond,
            "whole": self.whole,
            "warnings": list(self.warnings),
            "expects": self.expects,
            "rows": [r.to_dict() for r in self.rows],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Ranking:
        """Inverse of :meth:`to_dict`; what 0.1.0 wrote is read as well.

        Raises:
            DataError: for data of another kind.
        """
        checked_schema(data, SCHEMA, "a ranking")
        try:
            return cls(
                tuple(RankRow.from_dict(r) for r in data["rows"]),
                data["sort"],
                tuple(data["baselines"]),
                dict(data["versions"]),
                float(data["elapsed"]),
                int(data.get("cached", 0)),
                data.get("whole"),
                FrozenMapping(check_sizes(data.get("limits", {}))),
                int(data.get("beyond", 0)),
                data.get("expects"),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"a ranking: {type(error).__name__}: {error}") from error

    def records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """All columns of every row."""
        return [asdict(r) for r in self.rows], COLUMNS

    def headline(self) -> str:
        """The best within the limits that were asked for, else the Pareto front: the largest model is no answer."""
        best = self.best
        if best is None and self.limits:
            return f"No model within {self.limits_text} has a score"
        if best is None:
            return f"None of {len(self.rows)} models has a score" if self.rows else "No models"
        if self.limits:
            return f"Best within {self.limits_text}: {described(best)}"
        if len(self.scored) == 1:
            return described(best)
        front, some = self.front, self.front_in_short
        return (
            f"{len(front)} of {len(self.scored)} scored models are on the Pareto front of score, params and MACs"
            + (", among them " if len(some) < len(front) else ": ")
            + "; ".join(map(described, some))
        )

    def view(self) -> tables.View:
        """The main columns of every row, with what must be said of them."""
        shown = tuple(display(r) for r in self.rows)
        pale = frozenset(i for i, r in enumerate(self.rows) if r.status != "ok")
        warned = tuple(f"Careful: {w}." for w in self.warnings)
        unknown = {"expected"} if self.expects is None else set()
        if all(r.shape is None for r in self.rows):
            unknown.add("shape")
        columns = tuple(c for c in SHOWN if c not in unknown)
        grid = tables.Grid(columns, shown, spared=SPARED, pale=pale)
        return tables.View(self.headline(), warned, (grid,), tuple(self._notes()))

    def _baseline_text(self) -> str:
        return " and ".join(SPELLED[b] for b in self.baselines)

    def _notes(self) -> list[str]:
        if self.whole is None:
            of = f"{len(self.rows)} model{'s' * (len(self.rows) != 1)}, {self.cached} from the cache"
        else:
            of = f"the first {len(self.rows)} of {self.whole} models"
        lines = [
            f"{of}, {len(self.scored)} scored, {len(self.failures)} not ok; SED in nats, higher is better"
        ]
        if self.expects is not None:
            lines.append(
                f"expected: {self.expects}; outside: no networks like it were seen, so nothing is said"
            )
        if self.beyond:
            lines.append(f"{self.beyond} larger model{'s are' if self.beyond != 1 else ' is'} left out")
        if any(r.shape is not None for r in self.rows):
            lines.append(SHAPE_NOTE)
        if self.baselines:
            lines.append(
                f"given size: place among models of like {self._baseline_text()}, 1 is the best for its size "
                f"({RESIDUAL_NOTE.format(self._baseline_text())})"
            )
        if any(r.pareto for r in self.rows):
            lines.append("front: no other model here has a score as high with as few params and MACs")
        extrapolated = sum(r.scope == "extrapolated" for r in self.rows)
        if extrapolated:
            lines.append(f"{extrapolated} of these networks (~): beyond what the theory was made for")
        if any(r.sed is None or r.residual_rank is None for r in self.rows):
            lines.append(
                "–: not known: the model has no score (why is said below), or there are too few models to tell"
            )
        lines += [f"{r.name}: {r.status}: {r.reason}" for r in self.failures[:20]]
        if len(self.failures) > 20:
            lines.append(f"… and {len(self.failures) - 20} more")
        return lines

    def __repr__(self) -> str:
        return f"Ranking({len(self.rows)} models, {len(self.failures)} not ok, sort={self.sort!r})"


def _size(name: str, value: float) -> str:
    return tables.mebibytes(value) if name == "memory" else tables.quantity(value)


def check_sizes(limits: Mapping[str, float | str]) -> dict[str, float]:
    """The limits as numbers; raise InputError for one that is unknown or not positive."""
    found = {}
    for name, most in limits.items():
        if name not in SPELLED:
            raise InputError(f"cannot limit {name!r}: expected params, macs or memory")
        try:
            found[name] = float(tables.bytes_of(most)) if name == "memory" else tables.count_of(most)
        except InputError as error:
            raise InputError(f"cannot limit {name} to {most!r}: {error}") from None
    return found
