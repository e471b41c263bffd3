"""The rows of the page of ``public_code.py``, and the page."""

from __future__ import annotations

import csv
import datetime
import fnmatch
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import sed_torch
from sed_torch import tables
from sed_torch.diagnostics import RULES

GRAVE = ("error", "warning")
VERIFIED = 3
"""How many findings of one code in one network are verified, most like the first."""


@dataclass(frozen=True)
class Network:
    """A row of ``public_code.csv``.

    Attributes:
        repository: ``owner/name`` on GitHub.
        commit: 40 hex digits.
        file: where the network is defined.
        build: an expression in the file's names that makes it.
        input: an expression in ``torch`` that makes what its forward takes: a tensor or a tuple.
        loss: an expression in ``torch.nn``; empty where the repository's loss is its own code.
    """

    repository: str
    commit: str
    file: str
    build: str
    input: str
    loss: str = ""

    @property
    def title(self) -> str:
        """The expression, its options left out where they are many: the last table has them."""
        name, _, options = self.build.partition("(")
        short = self.build if len(options) <= 40 else f"{name}(…)"
        return f"{Path(self.file).stem}.{short}" if name == "Model" else short


@dataclass(frozen=True)
class Verdict:
    """A row of ``public_code_verdicts.csv``; patterns as in a shell. An empty pass means that none can tell."""

    repository: str
    build: str
    code: str
    path: str
    verdict: str
    verify: str
    why: str

    def covers(self, network: Network, code: str, path: str) -> bool:
        """Whether it is about a finding."""
        return (
            code == self.code
            and fnmatch.fnmatchcase(network.repository, self.repository)
            and fnmatch.fnmatchcase(network.build, self.build)
            and fnmatch.fnmatchcase(path or "(root)", self.path)
        )


@dataclass
class Found:
    """A finding in a network, and what became of it."""

    code: str
    severity: str
    path: str
    message: str
    source: str
    holds: bool | None = None
    measured: str = ""
    verdict: str = ""
    why: str = ""


@dataclass
class Result:
    """A network with all that was found, or why it could not be checked."""

    network: Network
    score: float | None = None
    coverage: float | None = None
    reason: str = ""
    found: list[Found] = field(default_factory=list)

    @property
    def grave(self) -> list[Found]:
        """Findings of severity warning and error."""
        return [f for f in self.found if f.severity in GRAVE]


def read_rows(path: Path, kind: type[Any]) -> list[Any]:
    """The rows of a CSV file as dataclasses."""
    with path.open(encoding="utf-8", newline="") as file:
        return [kind(**row) for row in csv.DictReader(file)]


def parsed(line: str) -> Result:
    """A result from the JSON that :func:`dataclasses.asdict` of it makes."""
    raw = json.loads(line)
    return Result(
        **{**raw, "network": Network(**raw["network"]), "found": [Found(**f) for f in raw["found"]]}
    )


# -- the page ------------------------------------------------------------------------------------------------


def commands(networks: Sequence[Network]) -> list[str]:
    """The git commands that make the folder of clones."""
    commits = {n.repository: n.commit for n in networks}
    return [
        f"git clone https://github.com/{name} FOLDER/{name} && git -C FOLDER/{name} checkout --quiet {commit}"
        for name, commit in commits.items()
    ]


def _lines(found: Sequence[Found], network: Network) -> str:
    places = list(dict.fromkeys(f.source for f in found if f.source))
    shown = ", ".join(f"`{p}`" for p in places[:2])
    return shown + (f" and {len(places) - 2} more" if len(places) > 2 else "") or f"`{network.file}`"


def _row(result: Result, code: str, found: Sequence[Found]) -> dict[str, Any]:
    first = found[0]
    confirmed, tried = sum(bool(f.holds) for f in found), sum(f.holds is not None for f in found)
    measured = first.measured + (f" (so for {confirmed} of {tried} tried)" if tried > 1 else "")
    return {
        "repository": result.network.repository,
        "network": f"`{result.network.title}`",
        "where": _lines(found, result.network),
        "code": f"{code} {RULES[code].name}",
        "findings": len(found),
        "says": f"{first.path or '(root)'}: {first.message}",
        "measured": measured,
        "why": first.why,
    }


def _grouped(results: Sequence[Result], verdict: str) -> list[dict[str, Any]]:
    rows = []
    for result in results:
        for code in dict.fromkeys(f.code for f in result.grave):
            those = [f for f in result.grave if f.code == code and (f.verdict or "MISSING") == verdict]
            if those:
                rows.append(_row(result, code, those))
    return rows


def settle(results: Sequence[Result], verdicts: Sequence[Verdict]) -> None:
    """Give each finding its verdict: by hand, else by its pass, else that which all of its code and network share.

    The last is for what was not run, the fourth and later finding of a code in a network.
    """
    for result in results:
        for f in result.grave:
            verdict = next((v for v in verdicts if v.covers(result.network, f.code, f.path)), None)
            if verdict is not None:
                f.verdict, f.why = verdict.verdict, verdict.why
            elif f.holds:
                f.verdict = "true"
        for code in {f.code for f in result.grave}:
            mine = [f for f in result.grave if f.code == code]
            given = {f.verdict for f in mine[:VERIFIED]}
            if len(given) == 1:
                for f in mine[VERIFIED:]:
                    f.verdict = f.verdict or next(iter(given))


def to_markdown(results: Sequence[Result], verdicts: Sequence[Verdict], command: str) -> str:
    """The page."""
    settle(results, verdicts)
    ran = [r for r in results if not r.reason]
    names = {r.network.repository for r in ran}
    true = [r for r in ran if any(f.verdict == "true" for f in r.grave)]
    with_true = {r.network.repository for r in true}
    clean = [r for r in ran if not r.grave]
    grave = [f for r in ran for f in r.grave]
    counts = {
        v: sum((f.verdict or "MISSING") == v for f in grave) for v in ("true", "arguable", "false", "MISSING")
    }
    versions = (
        f"sed-torch {sed_torch.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    )
    parts = [
        "# The check on public training code",
        f"Made by `{command}` on {datetime.date.today()} with {versions}.",
        f"{len(results)} networks of public repositories were tried; {len(results) - len(ran)} could not be built or "
        "followed (the last table says why). "
        f"{len(ran)} networks in {len(names)} repositories were checked, each with the loss its repository "
        f"trains it with where that is one of torch's. **{len(with_true)} repositories have at least one true finding "
        f"of severity warning or error**, in {len(true)} networks; {len(clean)} networks have none. "
        f"Of {len(grave)} such findings {counts['true']} are true, {counts['arguable']} arguable and "
        f"{counts['false']} false"
        + (f"; {counts['MISSING']} have no verdict yet" if counts["MISSING"] else "")
        + ". True means that a real forward or backward pass, which knows nothing of the check, measured it: the "
        "column *measured*. Arguable means that the fact is so but the authors may want it, or that no pass can tell. "
        "Facts about the code are given, none of the code. That something is found does not mean that a network "
        "trains badly, and most of these are good repositories.",
        "## True findings",
        _table(
            _grouped(ran, "true"), ("repository", "network", "where", "code", "findings", "says", "measured")
        ),
        "## False findings",
        _table(
            _grouped(ran, "false"),
            ("repository", "network", "where", "code", "findings", "says", "measured", "why"),
        ),
        "## Arguable findings",
        _table(
            _grouped(ran, "arguable"),
            ("repository", "network", "where", "code", "findings", "says", "measured", "why"),
        ),
    ]
    if counts["MISSING"]:
        columns = ("repository", "network", "where", "code", "findings", "says", "measured")
        parts += ["## Without a verdict", _table(_grouped(ran, "MISSING"), columns)]
    parts += [
        "## All networks",
        _table([_summary(r) for r in results], tuple(_summary(results[0]))) if results else "",
    ]
    return "\n\n".join(parts) + "\n"


def _summary(result: Result) -> dict[str, Any]:
    n = result.network
    url = f"https://github.com/{n.repository}/blob/{n.commit}/{n.file}"
    return {
        "repository": f"[{n.repository}@{n.commit[:10]}]({url})",
        "network": f"`{n.build}`",
        "loss": f"`{n.loss}`" if n.loss else "its own",
        "score": result.score,
        "coverage": None if result.coverage is None else f"{result.coverage:.0%}",
        "true": sum(f.verdict == "true" for f in result.grave),
        "arguable": sum(f.verdict == "arguable" for f in result.grave),
        "false": sum(f.verdict == "false" for f in result.grave),
        "not checked": result.reason,
    }


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    return tables.to_markdown(rows, columns) if rows else "None."
