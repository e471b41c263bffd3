"""A report as machines read it: SARIF 2.1.0, GitHub's workflow commands, and a line a finding as linters write it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from sed_torch.diagnostics.finding import Finding
from sed_torch.diagnostics.registry import RULES, Rule

__all__ = ["Reported", "split_source", "to_concise", "to_github", "to_sarif"]


class Reported(Protocol):
    """What these formats read of a :class:`sed_torch.CheckReport`, which stands above them."""

    @property
    def name(self) -> str: ...
    @property
    def findings(self) -> Sequence[Finding]: ...
    @property
    def known(self) -> Sequence[Finding]: ...
    @property
    def gone(self) -> Sequence[str]: ...
    @property
    def sed_before(self) -> float | None: ...
    @property
    def failed(self) -> bool: ...
    def headline(self) -> str: ...
    def to_dict(self) -> dict[str, Any]: ...


_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVEL = {"error": "error", "warning": "warning", "info": "note"}
_COMMAND = {"error": "error", "warning": "warning", "info": "notice"}


def to_sarif(report: Reported, *, root: str | os.PathLike[str] | None = None) -> str:
    """The report as SARIF 2.1.0 (OASIS), one run, forgiven findings as ``unchanged``.

    Args:
        report: what was found.
        root: folder that file names are relative to; the working directory when None.
    """
    from sed_torch._version import __version__

    codes = sorted(RULES)
    new = "new" if report.known or report.gone or report.sed_before is not None else None
    marked = [*((f, new) for f in report.findings), *((f, "unchanged") for f in report.known)]
    base = Path.cwd() if root is None else Path(root).resolve()
    run = {
        "tool": {
            "driver": {
                "name": "sed-torch",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_rule(RULES[c]) for c in codes],
            }
        },
        "columnKind": "utf16CodeUnits",
        "results": [_result(f, codes.index(f.code), state, base) for f, state in marked],
        "properties": {"model": report.name, "sed": report.to_dict()["sed"], "failed": report.failed},
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, default=str)


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": "".join(part.capitalize() for part in rule.name.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.page.split("\n\nTriggers", 1)[0]},
        "help": {"text": rule.page},
        "defaultConfiguration": {"level": _LEVEL[rule.severity]},
    }


def _result(finding: Finding, index: int, state: str | None, base: Path) -> dict[str, Any]:
    location: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": finding.path or "(root)", "kind": "module"}]
    }
    file, line = split_source(finding.source)
    if file:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": _uri(file, base)},
            "region": {"startLine": line},
        }
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _LEVEL[finding.severity],
        "message": {"text": f"{finding.path or '(root)'}: {finding.message}. {_sentence(finding.advice)}"},
        "locations": [location],
        "partialFingerprints": {"sedTorch/v1": hashlib.sha256(finding.key.encode()).hexdigest()[:32]},
        "properties": _plain(finding.to_dict()["evidence"]),
    }
    if state is not None:
        result["baselineState"] = state
    return result


def _plain(evidence: Mapping[str, Any]) -> dict[str, Any]:
    return {str(k): v for k, v in evidence.items()}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def split_source(source: str | None) -> tuple[str | None, int]:
    """``file:line`` taken apart; (None, 1) for none."""
    if not source:
        return None, 1
    file, _, line = source.rpartition(":")
    return (file, max(1, int(line))) if file and line.isdigit() else (source, 1)


def _uri(file: str, base: Path) -> str:
    path = Path(file)
    try:
        return path.resolve().relative_to(base).as_posix()
    except ValueError:
        return path.resolve().as_uri()


def to_github(report: Reported, *, root: str | os.PathLike[str] | None = None) -> str:
    """The report as workflow commands, which GitHub shows as annotations on the lines of a pull request."""
    base = Path.cwd() if root is None else Path(root).resolve()
    lines = [_command(f, base) for f in report.findings]
    return "\n".join([*lines, report.headline()])


def to_concise(report: Reported, *, root: str | os.PathLike[str] | None = None) -> str:
    """The report as ``file:line: CODE severity [module] message``, which editors jump to; the verdict last."""
    base = Path.cwd() if root is None else Path(root).resolve()
    lines = []
    for f in report.findings:
        file, line = split_source(f.source)
        place = f"{_relative(file, base)}:{line}" if file else report.name
        lines.append(f"{place}: {f.code} {f.severity} [{f.path or '(root)'}] {f.message}")
    return "\n".join([*lines, report.headline()])


def _command(finding: Finding, base: Path) -> str:
    file, line = split_source(finding.source)
    properties = {"title": f"{finding.code} {RULES[finding.code].name}"}
    if file:
        properties = {"file": _relative(file, base), "line": str(line), **properties}
    shown = ",".join(f"{k}={_escaped(v, ':,')}" for k, v in properties.items())
    text = f"{finding.path or '(root)'}: {finding.message}\n{_sentence(finding.advice)}"
    return f"::{_COMMAND[finding.severity]} {shown}::{_escaped(text)}"


def _relative(file: str, base: Path) -> str:
    path = Path(file).resolve()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)


def _escaped(text: str, more: Sequence[str] = "") -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    for c in more:
        text = text.replace(c, f"%{ord(c):02X}")
    return text
