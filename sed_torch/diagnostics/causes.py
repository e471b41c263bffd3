"""One finding a cause: a fault in a class that the network uses many times is one line to mend."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from sed_torch.diagnostics.finding import Finding

__all__ = ["one_a_cause"]


def one_a_cause(findings: Sequence[Finding], modules: Mapping[str, nn.Module]) -> list[Finding]:
    """The findings, with the warnings about one line of one class put together.

    Instances of a class share its code: what is wrong in a line of it is wrong wherever the class is used, and mended
    once. The first place stands for all, and the evidence names them. Errors and infos stay as they are: an error
    lists the parameters of its place, and infos are counted where they are shown.

    Args:
        findings: of one model.
        modules: its modules by path.
    """
    found: list[Finding] = []
    places: dict[tuple[object, ...], list[Finding]] = {}
    times = Counter((f.code, f.source) for f in findings if f.severity == "warning")
    for f in findings:
        cause = _cause(f, modules) if f.severity == "warning" and times[f.code, f.source] > 1 else None
        if cause is None:
            found.append(f)
            continue
        if cause not in places:
            found.append(f)
        places.setdefault(cause, []).append(f)
    together = {id(alike[0]): alike for alike in places.values() if len(alike) > 1}
    return [_joined(together[id(f)]) if id(f) in together else f for f in found]


def _joined(alike: Sequence[Finding]) -> Finding:
    first = alike[0]
    return dataclasses.replace(
        first,
        message=f"{first.message} (and at {len(alike) - 1} more places of the same class)",
        evidence={**first.evidence, "places": tuple(f.path for f in alike)},
    )


def _cause(finding: Finding, modules: Mapping[str, nn.Module]) -> tuple[object, ...] | None:
    """The line, the class that holds it, and the place within an instance; None where no class holds the line."""
    if finding.source is None:
        return None
    file, _, line = finding.source.rpartition(":")
    parts = finding.path.split(".") if finding.path else []
    for n in range(len(parts), 0, -1):
        holder = modules.get(".".join(parts[:n]))
        if holder is not None and line.isdigit() and _holds(type(holder), file, int(line)):
            return finding.code, finding.source, type(holder), ".".join(parts[n:])
    return None


def _holds(kind: type, file: str, line: int) -> bool:
    """Whether the code of a class, or of one it derives from, has this line."""
    return any(
        span is not None and span[0] == file and span[1] <= line < span[2]
        for k in kind.__mro__
        if k is not nn.Module and k is not object and (span := _span(k))
    )


@functools.cache
def _span(kind: Any) -> tuple[str, int, int] | None:
    """(file, first line, line after the last) of a class."""
    try:
        lines, first = inspect.getsourcelines(kind)
        return inspect.getsourcefile(kind) or "", first, first + len(lines)
    except (OSError, TypeError):
        return None
