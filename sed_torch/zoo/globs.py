"""Several references at once: globs, lists and exclusions."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from sed_torch.errors import ModelReferenceError
from sed_torch.zoo.catalogues import CATALOGUES
from sed_torch.zoo.failing import did_you_mean
from sed_torch.zoo.importing import modules_matching
from sed_torch.zoo.references import FORMS, ZOOS, parse_reference

__all__ = ["expand"]

_GLOBBED = ", ".join(f"{zoo}:…" for zoo in ZOOS)


def expand(patterns: str | Sequence[str]) -> list[str]:
    """References from patterns: ``timm:resnet*``, ``timm:regnety_*,!*_gn``, ``torchvision:*``, ``net.py:*``.

    A comma separates patterns; one without a prefix inherits the one before it. ``!`` excludes, from all that
    was found, what matches the rest as a name or as a reference. Order is that of the patterns and, within a
    glob, the zoo's or the file's; each reference comes once. Names of a zoo are checked, others are not; a glob on
    a file or module imports it, and finds the modules that can be made without arguments.

    Raises:
        ModelReferenceError: a pattern is malformed or matches nothing.
        MissingDependencyError: the package of a zoo is needed and not installed.
    """
    found: dict[str, None] = {}
    excluded: list[str] = []
    for argument in [patterns] if isinstance(patterns, str) else patterns:
        prefix = ""
        for part in _split(argument):
            if part.startswith("!"):
                excluded.append(part[1:])
                continue
            zoo, colon, _ = part.partition(":")
            if colon:
                prefix = zoo if zoo in ZOOS else ""
            elif prefix:
                part = f"{prefix}:{part}"
            found.update(dict.fromkeys(_matches(part)))
    kept = [r for r in found if not any(_excludes(e, r) for e in excluded)]
    if not kept:
        raise ModelReferenceError(
            f"no model is left of {_split_back(patterns)!r}: expected {FORMS}, or a glob"
        )
    return kept


def _split(text: str) -> list[str]:
    """At commas outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'" and depth:
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "," and depth <= 0:
            parts.append(text[start:i])
            start = i + 1
    return [p.strip() for p in (*parts, text[start:]) if p.strip()]


def _split_back(patterns: str | Sequence[str]) -> str:
    return patterns if isinstance(patterns, str) else " ".join(patterns)


def _is_glob(text: str) -> bool:
    return any(c in text.partition("(")[0] for c in "*?[")


def _matches(pattern: str) -> list[str]:
    zoo, _, rest = pattern.partition(":")
    if zoo not in ZOOS:
        if _is_glob(pattern):
            return _modules_of(pattern)
        return [parse_reference(pattern).text]
    known = CATALOGUES[zoo]()
    if not _is_glob(rest):
        known.check(parse_reference(pattern))
        return [pattern]
    names = known.matching(rest)
    if not names:
        hint = did_you_mean(rest.strip("*?"), known.names())
        raise ModelReferenceError(
            f"{pattern!r} matches none of the {len(known.names())} models of {zoo}{hint}"
        )
    return [f"{zoo}:{n}" for n in names]


def _modules_of(pattern: str) -> list[str]:
    """``net.py:*`` or ``package.module:Res*``: the modules defined there that can be made without arguments."""
    source, colon, names = pattern.rpartition(":")
    if not colon or _is_glob(source):
        raise ModelReferenceError(
            f"{pattern!r}: globs work on {_GLOBBED} and on the names in one file or module"
        )
    found = modules_matching(source, names)
    if not found:
        raise ModelReferenceError(f"{source} has no module that can be made without arguments for {names!r}")
    return [f"{source}:{n}" for n in found]


def _excludes(pattern: str, ref: str) -> bool:
    return fnmatch.fnmatchcase(ref, pattern) or fnmatch.fnmatchcase(ref.partition(":")[2], pattern)
