"""The report of a check: its findings, the score of the same trace, and how they are shown."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from sed_torch import tables
from sed_torch._frozen import FrozenMapping
from sed_torch._listed import Listed
from sed_torch._plain import checked_schema, finite, revived
from sed_torch.diagnostics.finding import FailOn, Finding, Severity, at_least, checked_level
from sed_torch.diagnostics.formats import to_concise, to_github, to_sarif
from sed_torch.errors import InputError
from sed_torch.scoring.result import Score

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from sed_torch.sensitivity import Sensitivity

__all__ = ["SCHEMA", "CheckReport", "FailOn", "Finding", "Severity", "at_least", "checked_level"]

SCHEMA = "sed_torch.check/1"


@dataclass(frozen=True, repr=False)
class CheckReport(tables.Tabular, Listed[Finding]):
    """What :func:`sed_torch.check` found; ``len()``, ``for`` and ``[0]`` give its findings, worst first.

    Attributes:
        name: the model's name.
        findings: what was found and not forgiven, errors first, then in order of execution.
        score: the score from the same trace; None when the model could not be traced.
        fail_on: the least severity that makes the check fail.
        known: findings that the baseline forgives.
        gone: keys (code and path) of the baseline that were not found any more.
        sed_before: the baseline's score in nats, or None.
        uncompared: why the baseline's score is not held against this one, or None.
        changes: blocks whose part of the score changed since the baseline, each with its share of the change in
            nats; they add up to it. Empty when the baseline holds no blocks.
        assumed: what was not given and had to be assumed, in words.
        elapsed: seconds, trace and score included.
        told: of a report that was read back, what it says of its score, which is not at hand: ``sed``,
            ``definition`` and ``coverage``.
        ignored: findings left out by ``# sed: ignore[…]`` on their line, or by settings for a path.
    """

    schema: ClassVar = SCHEMA
    kind: ClassVar = "a report of a check"

    name: str
    findings: tuple[Finding, ...]
    score: Score | None = field(default=None, repr=False, compare=False)
    fail_on: FailOn = "error"
    known: tuple[Finding, ...] = ()
    gone: tuple[str, ...] = ()
    sed_before: float | None = None
    changes: tuple[tuple[str, float], ...] = ()
    assumed: tuple[str, ...] = ()
    elapsed: float = 0.0
    ignored: tuple[Finding, ...] = ()
    uncompared: str | None = None
    told: Mapping[str, Any] = field(default_factory=FrozenMapping, repr=False, compare=False)

    def _items(self) -> tuple[Finding, ...]:
        return self.findings

    @property
    def failed(self) -> bool:
        """Whether a finding reaches ``fail_on``."""
        return any(at_least(f.severity, self.fail_on) for f in self.findings)

    def __bool__(self) -> bool:
        """True when the check passes."""
        return not self.failed

    def at_least(self, level: FailOn) -> tuple[Finding, ...]:
        """Findings of a severity or above."""
        return tuple(f for f in self.findings if at_least(f.severity, level))

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings of severity error."""
        return self.at_least("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings of severity warning."""
        return tuple(f for f in self.findings if f.severity == "warning")

    def codes(self) -> tuple[str, ...]:
        """Codes found, each once, sorted."""
        return tuple(sorted({f.code for f in self.findings}))

    def sensitivity(self, depth: int | None = None) -> Sensitivity:
        """For each block, what a small change to it would do to the score, see :func:`sed_torch.sensitivity`.

        Raises:
            InputError: there is no finite score that could change.
        """
        from sed_torch.sensitivity import sensitivity

        if self.score is None:
            raise InputError(f"{self.name} could not be traced: there is no score that could change")
        return sensitivity(self.score, depth=depth)

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version; :meth:`from_dict` reads it back, but for the score itself."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "failed": self.failed,
            "fail_on": self.fail_on,
            "findings": [f.to_dict() for f in self.findings],
            "known": [f.to_dict() for f in self.known],
            "gone": list(self.gone),
            "ignored": [f.to_dict() for f in self.ignored],
            "sed": finite(self.sed),
            "sed_before": self.sed_before,
            "uncompared": self.uncompared,
            "changes": dict(self.changes),
            "definition": self.definition,
            "assumed": list(self.assumed),
            "coverage": self.coverage,
            "elapsed": self.elapsed,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CheckReport:
        """Inverse of :meth:`to_dict`; what is known of the score is in ``told``.

        Raises:
            DataError: for data of another kind, or damaged.
        """
        checked_schema(data, cls.schema, cls.kind)
        told = FrozenMapping({n: data.get(n) for n in ("definition", "coverage")})
        sed = data.get("sed")
        changes = [[path, share] for path, share in (data.get("changes") or {}).items()]
        known = {**data, "score": None, "changes": changes, "told": {}}
        read = revived(cls, known, cls.kind)
        return replace(read, told=FrozenMapping({**told, "sed": None if sed is None else float(sed)}))

    def to_json(self, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as strict JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, default=str)

    def to_sarif(self) -> str:
        """SARIF 2.1.0, file names relative to the working directory."""
        return to_sarif(self)

    def to_concise(self, *, root: str | os.PathLike[str] | None = None) -> str:
        """The report as a line a finding, ``file:line: CODE severity [module] message``.

        Args:
            root: folder that file names are relative to; the working directory when None.
        """
        return to_concise(self, root=root)

    def to_github(self) -> str:
        """Workflow commands of GitHub Actions: annotations on a pull request's lines."""
        return to_github(self)

    def records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """One row a finding."""
        rows = [f.to_dict() for f in self.findings]
        return [{**r, "evidence": json.dumps(r["evidence"], default=str)} for r in rows], _FIELDS

    def view(self) -> tables.View:
        """The verdict, and one row a finding."""
        rows = tuple({**f.to_dict(), "path": f.path or "(root)"} for f in self.findings)
        grids = (tables.Grid(_SHOWN, rows, spared=("source", "advice")),) if rows else ()
        return tables.View(self.headline(), grids=grids, notes=tuple(f"assumed: {a}" for a in self.assumed))

    def headline(self) -> str:
        """Name, verdict and counts on one line."""
        counts = {s: sum(f.severity == s for f in self.findings) for s in ("error", "warning", "info")}
        parts = [f"{n} {s if s == 'info' else _plural(s, n)}" for s, n in counts.items() if n]
        found = ", ".join(parts) or "nothing found"
        sed = f"; SED {self.sed:.4f}" if self.sed else ""
        read = f"; read {share_read(self.coverage)}" if self.coverage is not None else ""
        return f"{self.name}: {'FAILED' if self.failed else 'ok'}: {found}{sed}{read}"

    @property
    def coverage(self) -> float | None:
        """Share of the parameters that the check could read, in [0, 1]; None where there was no trace."""
        return self.score.coverage if self.score is not None else self.told.get("coverage")

    @property
    def sed(self) -> float | None:
        """The score in nats; None where there is none."""
        return self.score.total if self.score is not None else self.told.get("sed")

    @property
    def definition(self) -> str | None:
        """Name of the score's form; None where there is no score."""
        return self.score.definition if self.score is not None else self.told.get("definition")

    def to_text(self, *, width: int | None = None) -> str:
        """The report as plain text; findings that differ in a block's number only are folded."""
        lines = [self.headline()]
        for run in folded(self.findings):
            lines += _lines(run)
        lines += _counted(self.findings)
        if self.sed_before is not None and self.sed is not None:
            change = self.sed - self.sed_before
            lines.append(f"SED {self.sed_before:.4f} → {self.sed:.4f} ({change:+.4f} nats)")
            lines += [
                f"  {share:+.4f}  {path or '(root)'}" for path, share in self.changes if abs(share) >= 5e-5
            ]
        if self.uncompared is not None:
            lines.append(f"Careful: {self.uncompared}")
        if self.ignored:
            lines.append(f"{len(self.ignored)} ignored by a comment or a setting")
        if self.known:
            lines.append(f"{len(self.known)} known from the baseline")
        lines += [f"gone since the baseline: {key}" for key in self.gone]
        lines += [f"assumed: {a}" for a in self.assumed]
        return "\n".join(part for line in lines for part in tables.wrapped(line, width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """On a terminal, lines that are too long go on below where they began."""
        from rich.text import Text

        colour = {"error": "bold red", "warning": "yellow", "info": "dim"}
        for line in self.to_text().splitlines():
            level = next((s for s in colour if f" {s} " in line), None)
            for part in _hanging(line, options.max_width):
                yield Text(part, style=colour[level] if level else "")


def _hanging(line: str, width: int) -> list[str]:
    """A line as several of a width, each but the first two further in than the first."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line.strip(), width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    ) or [line]


_FIELDS = ("code", "severity", "path", "message", "advice", "evidence", "source")
_SHOWN = ("code", "severity", "path", "message", "advice", "source")


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"


_MANY = 4
"""So many infos of one code are one line with their count."""


def _crowds(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Infos by code, where there are many."""
    by_code: dict[str, list[Finding]] = {}
    for f in findings:
        if f.severity == "info":
            by_code.setdefault(f.code, []).append(f)
    return {code: found for code, found in by_code.items() if len(found) >= _MANY}


def _counted(findings: Sequence[Finding]) -> list[str]:
    """One line for each code with many infos."""
    return [
        f"  {code} info {found[0].path or '(root)'} … {found[-1].path or '(root)'} ×{len(found)}: {found[0].message}"
        for code, found in _crowds(findings).items()
    ]


def share_read(coverage: float) -> str:
    """How much of the parameters was read, in words: only all of them are 100 %."""
    percent = coverage * 100
    shown = f"{percent:.0f}" if percent in (0.0, 100.0) or 1.0 <= percent <= 99.0 else f"{percent:.1f}"
    return f"{'99.9' if shown == '100.0' and percent < 100.0 else shown} % of the parameters"


def folded(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings of one code whose paths are alike but for numbers stand together."""
    runs: dict[tuple[str, str, str], list[Finding]] = {}
    crowds = _crowds(findings)
    for f in findings:
        if f.severity == "info" and f.code in crowds:
            continue
        outline = ".".join("#" if name.isdigit() else name for name in f.path.split("."))
        runs.setdefault((f.code, f.severity, outline), []).append(f)
    return list(runs.values())


def _lines(run: list[Finding]) -> list[str]:
    first = run[0]
    paths = first.path or "(root)"
    if len(run) > 1:
        paths += f" … {run[-1].path} ×{len(run)}"
    where = f"    at {first.source}" if first.source else None
    evidence = ", ".join(f"{k} {_short(v)}" for k, v in first.evidence.items())
    return [
        f"  {first.code} {first.severity} {paths}",
        f"    {first.message}",
        *([f"    {evidence}"] if evidence else []),
        *([where] if where else []),
        f"    → {first.advice}",
    ]


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (tuple, list)):
        shown = [_short(v) for v in value[:6]]
        return "[" + ", ".join(shown) + (", …" if len(value) > 6 else "") + "]"
    if isinstance(value, Mapping):
        return "[" + ", ".join(f"{k}: {_short(v)}" for k, v in value.items()) + "]"
    return str(value)
