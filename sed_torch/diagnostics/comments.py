"""``# sed: ignore[SED105]`` in the user's code: what is said on the line of a finding is left out."""

from __future__ import annotations

import fnmatch
import linecache
import os
import re
from collections.abc import Callable, Mapping, Sequence

from sed_torch.diagnostics.finding import Finding

__all__ = ["parted", "parted_by_path"]

_COMMENT = re.compile(r"#\s*sed:\s*ignore(?:\[([^\]]*)\])?")


def parted(
    findings: Sequence[Finding], assigned: Callable[[str], str | None]
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """(findings that stay, findings that a comment leaves out).

    Args:
        findings: what was found.
        assigned: ``file:line`` where the module of a path is made; a comment there counts as one on the line of the
            finding itself.
    """
    stay: list[Finding] = []
    out: list[Finding] = []
    for f in findings:
        places = [f.source] if f.source else []
        if places and _mentions_any(places[0]):
            places.append(assigned(f.path) or "")
        elif not places or f.path:
            place = assigned(f.path) if f.path else None
            places += [place] if place and _mentions_any(place) else []
        (out if any(_ignores(p, f.code) for p in places) else stay).append(f)
    return tuple(stay), tuple(out)


def _split(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return file, int(line) if line.isdigit() else 0


def _mentions_any(place: str) -> bool:
    return any("sed:" in line for line in linecache.getlines(_split(place)[0]))


def _ignores(place: str, code: str) -> bool:
    file, line = _split(place)
    found = _COMMENT.search(linecache.getline(file, line)) if line else None
    if found is None:
        return False
    codes = [c.strip().upper() for c in (found[1] or "").split(",") if c.strip()]
    return not codes or any(code.startswith(c) for c in codes)


def parted_by_path(
    findings: Sequence[Finding], ignored: Mapping[str, Sequence[str]]
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """(findings that stay, findings left out) by patterns of module paths or files, each with codes."""
    out = [f for f in findings if any(_matches(f, p, codes) for p, codes in ignored.items())]
    return tuple(f for f in findings if f not in out), tuple(out)


def _matches(finding: Finding, pattern: str, codes: Sequence[str]) -> bool:
    file = _split(finding.source)[0] if finding.source else ""
    names = [finding.path, file, os.path.relpath(file) if file else ""]
    return any(finding.code.startswith(c.upper()) for c in codes) and any(
        fnmatch.fnmatchcase(n, pattern) for n in names if n
    )
