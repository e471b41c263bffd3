"""Baseline files: what was found, and what was scored, when someone last agreed to it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sed_torch._files import write_text
from sed_torch.diagnostics.finding import Finding
from sed_torch.diagnostics.registry import Hit, rule
from sed_torch.diagnostics.report import CheckReport
from sed_torch.errors import DataError
from sed_torch.scoring.result import Score

if TYPE_CHECKING:
    from sed_torch.diagnostics.subject import Subject

__all__ = ["DROP", "SCHEMA", "Baseline", "apply_baseline"]

SCHEMA = "sed_torch.baseline/1"

DROP = 0.01
"""Nats by which the score may fall below the baseline's: a change of one percent in total amplitude."""


@dataclass(frozen=True)
class Baseline:
    """Models by name, each with its score and the keys (code and path) of its findings.

    Attributes:
        models: name → ``{"sed": …, "definition": …, "findings": [key, …], "blocks": {path: …}}``; SED in nats,
            of a block the log of its amplitude. Files without blocks are read as well.
    """

    models: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, source: str | os.PathLike[str] | Mapping[str, Any] | CheckReport) -> Baseline:
        """From a file, its content, or an earlier report.

        Raises:
            DataError: the file is missing or is no baseline.
        """
        if isinstance(source, CheckReport):
            return cls({}).with_report(source)
        if isinstance(source, Mapping):
            return cls._checked(source, "the baseline")
        path = Path(source)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"there is no baseline {path}; write one with --update-baseline") from None
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"baseline {path} cannot be read: {error}") from error
        return cls._checked(data, str(path))

    @classmethod
    def _checked(cls, data: Any, where: str) -> Baseline:
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else type(data).__name__
            raise DataError(f"{where} is no baseline: expected schema {SCHEMA!r}, found {found!r}")
        models = data.get("models")
        if not isinstance(models, Mapping) or not all(
            isinstance(m, Mapping)
            and isinstance(m.get("findings"), list)
            and isinstance(m.get("blocks", {}), Mapping)
            for m in models.values()
        ):
            raise DataError(f"{where} is malformed: expected models, each with a list of findings")
        return cls(models)

    def with_report(self, report: CheckReport) -> Baseline:
        """This baseline with a report's findings, forgiven ones included, and score."""
        score = report.score
        total = score.total if score is not None else None
        entry = {
            "sed": total if total is not None and math.isfinite(total) else None,
            "definition": score.definition if score is not None else None,
            "findings": sorted({f.key for f in (*report.findings, *report.known) if f.code != "SED401"}),
            "blocks": _blocks(score),
        }
        return Baseline({**self.models, report.name: entry})

    def write(self, path: str | os.PathLike[str]) -> None:
        """To a file, whole or not at all; models and findings sorted, so that a diff shows what changed."""
        models = {name: dict(self.models[name]) for name in sorted(self.models)}
        write_text(path, json.dumps({"schema": SCHEMA, "models": models}, indent=2) + "\n")


def apply_baseline(report: CheckReport, baseline: Baseline, max_drop: float) -> CheckReport:
    """The report with what the baseline knows set apart, and with a finding if the score fell."""
    entry = baseline.models.get(report.name)
    if entry is None:
        return report
    keys = set(entry["findings"])
    known = tuple(f for f in report.findings if f.key in keys)
    new = tuple(f for f in report.findings if f.key not in keys)
    uncompared = _uncompared(report.score, entry)
    before = entry.get("sed") if uncompared is None else None
    changes = _changes(report.score, entry)
    drop = tuple(_drop(report, entry, max_drop, changes)) if isinstance(before, (int, float)) else ()
    return dataclasses.replace(
        report,
        findings=(*drop, *new),
        known=known,
        gone=tuple(sorted(keys - {f.key for f in report.findings})),
        sed_before=float(before) if isinstance(before, (int, float)) else None,
        changes=changes,
        uncompared=uncompared,
    )


def _uncompared(score: Score | None, entry: Mapping[str, Any]) -> str | None:
    """Why the scores cannot be held against each other: numbers of two definitions never are."""
    was = entry.get("definition")
    if score is None or was in (None, score.definition) or entry.get("sed") is None:
        return None
    return (
        f"the baseline's score is of {was}, this one of {score.definition}: they are not compared, and a drop "
        "would go unseen; write the baseline anew with --update-baseline"
    )


def _blocks(score: Score | None) -> dict[str, float]:
    """The log of each block's amplitude, in order of execution; of those that have one."""
    if score is None or score.total is None or not math.isfinite(score.total):
        return {}
    return {b.path: round(math.log(b.amplitude), 6) for b in score.by_block() if b.amplitude > 0}


_ROUNDING = 1e-5
"""Nats; what six digits of a block leave open is no change."""


def _changes(score: Score | None, entry: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """Each block's share of the change of the score, in nats, as :mod:`sed_torch.comparing` shares it out."""
    after, before = _blocks(score), entry.get("blocks", {})
    if not after or not before or score is None or entry.get("definition") != score.definition:
        return ()
    a, b = ({p: math.exp(v) for p, v in blocks.items()} for blocks in (before, after))
    s, t = sum(a.values()), sum(b.values())
    mean = s if math.isclose(s, t, rel_tol=1e-9) else (t - s) / math.log(t / s)
    shares = {p: (b.get(p, 0.0) - a.get(p, 0.0)) / mean for p in {**a, **b}}
    return tuple((p, v) for p, v in shares.items() if abs(v) > _ROUNDING)


def _drop(
    report: CheckReport, entry: Mapping[str, Any], max_drop: float, changes: Sequence[tuple[str, float]]
) -> Iterator[Finding]:
    if report.score is None or report.score.total is None:
        return
    if entry.get("definition") != report.score.definition:
        return  # numbers of two definitions cannot be compared
    before, after = float(entry["sed"]), report.score.total
    if before - after > max_drop:
        path, most = min(changes, key=lambda c: c[1], default=("", 0.0))
        where = f", most of it in {path or '(root)'} ({most:+.4f})" if most < 0 else ""
        yield Finding(
            "SED401",
            "error",
            "",
            f"SED fell from {before:.4f} to {after:.4f} nats, by {before - after:.4f} (allowed: {max_drop:g}){where}",
            "see what changed with sed-torch compare, or accept it with --update-baseline",
            {"before": before, "after": after, "drop": before - after, "allowed": max_drop},
        )


@rule("SED401", "score-below-baseline", "error")
def score_below_baseline(subject: Subject) -> Iterator[Hit]:
    """The score is lower than the baseline's by more than is allowed.

    Looked at only with ``check(..., baseline=...)``. Both scores must be of the same definition.

    Why it matters: a change that was not meant to touch the architecture did.

    What to do: ``sed-torch compare OLD NEW`` shows which blocks lost; ``--update-baseline`` accepts it.

    Reference: SED ranks architectures of one task and input size; see the README for how well.

    Triggers::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        size = (1, 3, 32, 32)
        options = dict(baseline={"schema": "sed_torch.baseline/1", "models": {
            "Sequential": {"sed": 6.0, "definition": "sed/2", "findings": []}}})

    Near miss::

        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        size = (1, 3, 32, 32)
        options = dict(baseline={"schema": "sed_torch.baseline/1", "models": {
            "Sequential": {"sed": 4.0, "definition": "sed/2", "findings": []}}})
    """
    return iter(())
