"""The table of rules: code → what it looks for, how bad that is, and its page."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sed_torch.diagnostics.finding import Finding, Severity
from sed_torch.errors import InputError, RuleError

if TYPE_CHECKING:
    from sed_torch.diagnostics.subject import Subject

__all__ = ["RULES", "Hit", "Rule", "explain", "rule", "selected"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing a rule found; the registry adds code and severity.

    Attributes:
        path: module path.
        message, advice: one sentence each.
        evidence: numbers.
        source: ``file:line`` or None.
        severity: other than the rule's own, where the case is milder or graver.
    """

    path: str
    message: str
    advice: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    severity: Severity | None = None


Find = Callable[["Subject"], Iterable[Hit]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table.

    Attributes:
        code: such as ``"SED104"``; codes never change their meaning.
        name: the same as a word, such as ``"unread-positions"``.
        severity: the usual one.
        find: yields what it finds.
    """

    code: str
    name: str
    severity: Severity
    find: Find

    @property
    def page(self) -> str:
        """What ``explain`` prints: what it is, why it matters, what to do, a trigger and a near miss."""
        return inspect.cleandoc(self.find.__doc__ or "")

    @property
    def title(self) -> str:
        """First line of the page."""
        return self.page.split("\n", 1)[0].rstrip(".")

    def run(self, subject: Subject) -> Iterator[Finding]:
        """Findings of this rule."""
        for hit in self.find(subject):
            yield Finding(
                code=self.code,
                severity=hit.severity or self.severity,
                path=hit.path,
                message=hit.message,
                advice=hit.advice,
                evidence=hit.evidence,
                source=hit.source,
            )


RULES: dict[str, Rule] = {}
"""The rules in force, by code."""


def rule(code: str, name: str, severity: Severity) -> Callable[[Find], Find]:
    """Register a function as a rule.

    Raises:
        RuleError: the code or name is taken, or the code is not of the form SED104.
    """

    def add(find: Find) -> Find:
        if not re.fullmatch(r"SED\d{3}", code):
            raise RuleError(f"rule code {code!r}: expected SED and three digits")
        if code in RULES or any(r.name == name for r in RULES.values()):
            raise RuleError(f"rule {code} ({name}) is registered already")
        RULES[code] = Rule(code, name, severity, find)
        return find

    return add


def selected(select: Sequence[str], ignore: Sequence[str]) -> list[Rule]:
    """Rules that ``select`` names (all when empty) and ``ignore`` does not, by code.

    Args:
        select: codes, names, or the beginning of codes such as ``"SED1"``.
        ignore: the same.

    Raises:
        InputError: one of them matches no rule.
    """
    chosen = {code for text in select for code in _matching(text)} if select else set(RULES)
    chosen -= {code for text in ignore for code in _matching(text)}
    return [RULES[code] for code in sorted(chosen)]


def _matching(text: str) -> list[str]:
    codes = [r.code for r in RULES.values() if r.name == text.lower() or r.code.startswith(text.upper())]
    if not codes or not text:
        raise InputError(f"no check is called {text!r}{_hint(text)}")
    return codes


def _hint(text: str) -> str:
    names = [*RULES, *(r.name for r in RULES.values())]
    close = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else "; sed-torch explain lists them"


def explain(code: str | None = None) -> str:
    """The page of a code: what it is, why it matters, what to do, a model that triggers it, a near miss.

    Args:
        code: such as ``"SED104"`` or its name; None lists all.

    Raises:
        InputError: there is no such code.

    Example:
        >>> print(explain("SED004").splitlines()[0])
        SED004 no-path (error)
    """
    if code is None:
        return "\n".join(
            f"{r.code}  {r.name:<24} {r.severity:<8} {r.title}" for _, r in sorted(RULES.items())
        )
    found = [r for r in RULES.values() if code.upper() == r.code or code.lower() == r.name]
    if not found:
        raise InputError(f"no check is called {code!r}{_hint(code)}")
    return f"{found[0].code} {found[0].name} ({found[0].severity})\n\n{found[0].page}"
