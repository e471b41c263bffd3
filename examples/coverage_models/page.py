"""Rows → the page."""

from __future__ import annotations

import datetime
import fnmatch
import platform
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch

import sed_torch
from coverage_models.cases import PACKAGES
from coverage_models.explained import DIFFERENCES, FAILURES

__all__ = ["failed", "line", "page"]

NEAR = 0.01
"""Counts of multiply-accumulates that differ by less than this part of torch's agree."""

Row = Mapping[str, Any]


def is_read(row: Row) -> bool:
    return not row.get("error")


def runs(row: Row) -> bool:
    return row.get("truth") is not None


def by_fx(row: Row) -> bool:
    """Read by fx in full, or up to where the data chooses; not by torch.export, and no module left opaque."""
    return is_read(row) and row["frontend"] == "fx"


def work(row: Row) -> float:
    """Multiply-accumulates of all samples."""
    return row["macs"] * row.get("samples", 1)


def agrees(row: Row) -> bool:
    return abs(work(row) - row["truth"]) <= NEAR * row["truth"] + 1e-9


def counts(row: Row) -> bool:
    """Whether it is a model at all: what does not run in torch with these inputs either says nothing of reading it."""
    return is_read(row) or runs(row) or not row.get("runs", "").startswith(("does not run", "not built"))


def failed(row: Row) -> bool:
    """What a run after a change looks at anew."""
    if "done" in row:
        return False
    if "skipped" in row or not is_read(row) or row["frontend"] != "fx":
        return True
    return (runs(row) and not agrees(row)) or row["state"] != "kept" or row["params"] != row["numel"]


def line(row: Row) -> str:
    """For the terminal."""
    if not is_read(row):
        runs_too = "" if runs(row) else f" [{row.get('runs', '')[:60]}]"
        return f"✗ {row['name']}: {first(row['error'])[:170]}{runs_too}"
    ratio = f"{work(row) / row['truth']:.4f}" if row["truth"] else ("–" if row["truth"] is None else "0/0")
    state = "" if row["state"] == "kept" else f" {row['state']}"
    more = f" {first(row['note'])}" if row["note"] else ""
    why = f" [{row['runs']}]" if row["truth"] is None else ""
    return f"✓ {row['name']} {row['frontend']} {row['seconds']:.1f} s, MACs {ratio}{state}{more}{why}"


def first(text: str) -> str:
    """The first line, without the part of paths that differs from machine to machine."""
    text = next(iter(text.strip().splitlines()), "")
    text = re.sub(r"[^\s(\"']*/(?:site-packages|examples)/", "", text)
    text = re.sub(r"(?<![\w./])/(?:[^\s/()\"']+/)+", "", text)  # other folders, and paths that were cut short
    return re.sub(r"0x[0-9a-f]{6,}", "0x…", text)[:300]


def _cell(text: str) -> str:
    return first(text).replace("|", "\\|").replace("\n", " ")


def _part(n: int, of: int) -> str:
    return f"{n} of {of} ({n / max(of, 1):.1%})"


def _told(table: Mapping[str, str], name: str) -> str:
    return next((why for glob, why in table.items() if fnmatch.fnmatchcase(name, glob)), "")


def page(rows: Mapping[str, Row], whole: bool) -> str:
    """The page, of all rows of packages that are still listed."""
    listed = [r for r in rows.values() if r["package"] in PACKAGES and not r.keys() & {"skipped", "done"}]
    order = {name: i for i, name in enumerate(PACKAGES)}
    listed.sort(key=lambda r: order[r["package"]])
    models = [r for r in listed if counts(r)]
    sections = [
        _head(models, whole),
        _kinds(models),
        _failures(models),
        _elsewhere(models),
        _differing(models),
        _states(models),
        _left_out(listed, rows),
        _all(models),
    ]
    return "\n".join(section for section in sections if section).rstrip() + "\n"


def _head(models: list[Row], whole: bool) -> str:
    read = [r for r in models if is_read(r)]
    compared = [r for r in read if runs(r)]
    same = [r for r in compared if agrees(r)]
    told = [_told(DIFFERENCES, r["name"]) for r in compared if not agrees(r)]
    explained = [why for why in told if why and not why.startswith("not looked into")]
    exact = [r for r in read if r["params"] == r["numel"]]
    state = [r for r in models if r.get("state") == "kept"]
    stated = [r for r in models if r.get("state")]
    dates = sorted({r["date"] for r in models})
    slow = [r for r in read if by_fx(r) and r["seconds"] > 10]
    lines = [
        "# Read: models of packages that pip installs",
        "",
        f"Made by `python examples/coverage.py` on {datetime.date.today()} (rows of {' to '.join(dates[:: len(dates) - 1 or 1])}): "
        f"sed_torch {sed_torch.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()} CPU. The versions of the packages stand in the first table."
        + _states_of_sources(models)
        + ("" if whole else " The run was not over: these are the rows so far."),
        "",
        f"**{len(models)} configurations of {len({r['package'] for r in models})} packages: "
        f"{_part(len(read), len(models))} read, {_part(sum(map(by_fx, models)), len(models))} by fx in full.**",
        "",
        f"- Multiply-accumulates within {NEAR:.0%} of `FlopCounterMode`: {_part(len(same), len(compared))} of those "
        f"that are read and run in torch; {len(explained)} of the other {len(compared) - len(same)} are explained below.",
        f"- Parameters exact: {_part(len(exact), len(read))}.",
        f"- State kept (weights, buffers, hooks, flags and other attributes of all modules, inputs, random state): "
        f"{_part(len(state), len(stated))}.",
        f"- Every operator and parameter under a rule: "
        f"{_part(sum(r['covered'] == r['nodes'] == 1 for r in read), len(read))}.",
        f"- Above 10 CPU seconds among those that fx reads: {len(slow)}"
        + (f" ({', '.join(r['name'] for r in slow[:6])})." if slow else "."),
        "",
        "Models are built from their configuration, with no weights downloaded; those of up to 20 million parameters "
        "with random weights, others on `meta`. What does not run in torch either with the inputs given is listed as "
        "left out and not counted. Seconds are CPU seconds of the score.",
        "",
    ]
    return "\n".join(lines)


def _states_of_sources(models: list[Row]) -> str:
    """Rows that a run after a change made anew are of other sources than the rest, which is said."""
    states = Counter(r.get("sources", "unknown") for r in models)
    if len(states) == 1:
        return " All rows are of one state of the sources."
    counts = ", ".join(f"{n} of {name}" for name, n in states.most_common())
    return f" Rows are of {len(states)} states of the sources ({counts})."


def _kinds(models: list[Row]) -> str:
    groups: dict[str, list[Row]] = defaultdict(list)
    for r in models:
        groups[r["package"]].append(r)
    lines = [
        "## Packages",
        "",
        "| package | version | configurations | read | by fx | MACs agree | of | state kept |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, group in groups.items():
        compared = [r for r in group if is_read(r) and runs(r)]
        lines.append(
            f"| {name} | {group[0]['version']} | {len(group)} | {sum(map(is_read, group))} | {sum(map(by_fx, group))} "
            f"| {sum(map(agrees, compared))} | {len(compared)} | {sum(r.get('state') == 'kept' for r in group)} |"
        )
    return "\n".join([*lines, ""])


def _table(title: str, text: str, heads: Iterable[str], rows: list[str]) -> str:
    heads = list(heads)
    if not rows:
        return ""
    rule = "|" + "---|" * len(heads)
    return "\n".join(
        [f"## {title}", "", *([text, ""] if text else []), "| " + " | ".join(heads) + " |", rule, *rows, ""]
    )


def _failures(models: list[Row]) -> str:
    rows = [
        f"| {r['name']} | {_cell(r['error'])} | {_told(FAILURES, r['name'])} |"
        for r in models
        if not is_read(r)
    ]
    return _table("Not read", "", ("model", "what is said", "cause"), rows)


def _elsewhere(models: list[Row]) -> str:
    rows = [
        f"| {r['name']} | {r['frontend']} | {r['covered']:.1%} | {_cell(r['note'] or r['assumed'])} |"
        for r in models
        if is_read(r) and not by_fx(r)
    ]
    text = "Read by a fallback: up to where the data chooses, with a module left opaque, or by torch.export."
    return _table("Not by fx in full", text, ("model", "front-end", "of parameters", "where"), rows)


def _differing(models: list[Row]) -> str:
    rows = [
        f"| {r['name']} | {work(r):.6g} | {r['truth']:.6g} | {_ratio(r)} | {_told(DIFFERENCES, r['name'])} |"
        for r in models
        if is_read(r) and runs(r) and not agrees(r)
    ]
    heads = ("model", "sed_torch", "FlopCounterMode / 2", "ratio", "who is right")
    return _table("Multiply-accumulates that differ", "", heads, rows)


def _ratio(r: Row) -> str:
    return f"{work(r) / r['truth']:.3f}" if r["truth"] else "–"


def _states(models: list[Row]) -> str:
    rows = [
        f"| {r['name']} | {_cell(r['state'])} |" for r in models if r.get("state") not in ("kept", "", None)
    ]
    return _table("State not kept", "", ("model", "what changed"), rows)


def _left_out(listed: list[Row], rows: Mapping[str, Row]) -> str:
    present = {r["package"] for r in listed}
    skipped = [
        f"| {r['package']} | {_cell(r['skipped'])} |"
        for r in rows.values()
        if "skipped" in r and r["package"] not in present
    ]
    out = [f"| {r['name']} | {_cell(r.get('runs') or r.get('error', ''))} |" for r in listed if not counts(r)]
    return _table(
        "Left out",
        "Packages that cannot be imported here, and configurations that torch cannot run.",
        ("what", "why"),
        skipped + out,
    )


def _all(models: list[Row]) -> str:
    causes = Counter(r["package"] for r in models)
    lines = [
        "## All",
        "",
        "| model | front-end | params, M | of parameters | of operators | SED | GMACs | torch's | s |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    assert sum(causes.values()) == len(models)
    for r in models:
        if not is_read(r):
            lines.append(f"| {r['name']} | not read | {r.get('numel', 0) / 1e6:.2f} | | | | | | |")
            continue
        total = "–" if r["total"] is None else f"{r['total']:.3f}"
        truth = "–" if r["truth"] is None else f"{r['truth'] / 1e9:.4g}"
        lines.append(
            f"| {r['name']} | {r['frontend']} | {r['params'] / 1e6:.2f} | {r['covered']:.1%} | {r['nodes']:.1%} "
            f"| {total} | {work(r) / 1e9:.4g} | {truth} | {r['seconds']:.1f} |"
        )
    return "\n".join([*lines, ""])
