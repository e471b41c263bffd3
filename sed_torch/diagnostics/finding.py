"""What a check finds: one finding with a stable code, and how grave it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sed_torch.errors import InputError

__all__ = ["FailOn", "Finding", "Severity", "at_least", "checked_level"]

Severity = Literal["info", "warning", "error"]
FailOn = Literal["info", "warning", "error", "never"]

_RANK: Mapping[str, int] = {"info": 0, "warning": 1, "error": 2, "never": 3}


def at_least(severity: Severity, level: FailOn) -> bool:
    """Whether a severity reaches a level; nothing reaches ``"never"``."""
    return _RANK[severity] >= _RANK[level]


def checked_level(name: str, level: str) -> FailOn:
    """``level`` itself.

    Raises:
        InputError: it is none of info, warning, error, never.
    """
    if level not in _RANK:
        raise InputError(f"{name} must be one of {', '.join(get_args(FailOn))}, found {level!r}")
    return level  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a check found.

    Attributes:
        code: stable code, such as ``"SED104"``; :func:`sed_torch.explain` has its page.
        severity: ``"error"`` will fail or certainly wastes parameters; ``"warning"`` is likely a mistake;
            ``"info"`` is worth knowing.
        path: dotted path of the module it is about, ``""`` for the root.
        message: what was found, one sentence.
        advice: what to do, one sentence.
        evidence: the numbers behind it.
        source: ``file:line`` in the user's code, or None.
    """

    code: str
    severity: Severity
    path: str
    message: str
    advice: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None

    @property
    def key(self) -> str:
        """Code and path: what a baseline remembers."""
        return f"{self.code} {self.path}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "code": self.code,
            "severity": self.severity,
            "path": self.path,
            "message": self.message,
            "advice": self.advice,
            "evidence": {k: list(v) if isinstance(v, tuple) else v for k, v in self.evidence.items()},
            "source": self.source,
        }

    def __str__(self) -> str:
        where = f"{self.source}: " if self.source else ""
        return f"{where}{self.code} {self.severity} [{self.path or '(root)'}] {self.message}"
