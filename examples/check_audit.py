"""Audit the check on real, well-trained models: what it finds, and what a person made of each grave finding.

python examples/check_audit.py [--timm 150] [--seed 0] [--jobs 2] [-o examples/results/check-audit.md]

Runs ``sed_torch.check`` over all classification models of torchvision and as many of timm, drawn with a seed, built
as ``sed-torch check`` builds them. As a second opinion it trains each model's graph for one backward pass in training
mode, on ``meta`` tensors (shapes only), and asks which parameters got no gradient. Every finding of severity error or
warning must have a verdict in ``check_audit_verdicts.csv``, written by hand after reading the model's source; the
command exits with 1 when one has none.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import fnmatch
import os
import platform
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import torch
from torch import Tensor, nn

from sed_torch import tables
from sed_torch.diagnostics import RULES, Finding, check
from sed_torch.zoo import load

HERE = Path(__file__).resolve().parent
SEVERITIES = ("error", "warning", "info")
UNUSED = ("SED001", "SED002", "SED003", "SED005")
"""Codes of parameters that the output does not depend on, or not in a way that has a gradient."""


@dataclass(frozen=True)
class Row:
    """A model.

    Attributes:
        ref: its reference.
        findings: of the check.
        reason: why it could not be checked.
        idle: trainable parameters without a gradient after a real backward pass; None where there was none.
        no_backward: why there was none.
        seconds: CPU time of the check.
    """

    ref: str
    findings: tuple[Finding, ...] = ()
    reason: str | None = None
    idle: tuple[str, ...] | None = None
    no_backward: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What a person made of findings: ``true`` or ``false``, and why; patterns as in a shell."""

    model: str
    code: str
    path: str
    verdict: str
    why: str

    def covers(self, ref: str, finding: Finding) -> bool:
        """Whether it is about a finding."""
        return (
            finding.code == self.code
            and fnmatch.fnmatchcase(ref, self.model)
            and fnmatch.fnmatchcase(finding.path or "(root)", self.path)
        )


@dataclass
class Audit:
    """All rows and verdicts, and how they were made."""

    rows: Sequence[Row]
    verdicts: Sequence[Verdict]
    command: str
    used: set[Verdict] = field(default_factory=set)

    def found(self, severity: str) -> Iterator[tuple[Row, Finding]]:
        """Findings of a severity with their models."""
        return ((r, f) for r in self.rows for f in r.findings if f.severity == severity)

    def verdict(self, ref: str, finding: Finding) -> Verdict | None:
        """The first verdict about a finding."""
        for v in self.verdicts:
            if v.covers(ref, finding):
                self.used.add(v)
                return v
        return None


# -- looking at models ---------------------------------------------------------------------------------------


def drawn(timm_models: int, seed: int) -> list[str]:
    """References: all classification models of torchvision, and some of timm."""
    import timm
    from torchvision import models

    names = sorted(timm.list_models())
    sample = random.Random(seed).sample(names, min(timm_models, len(names)))
    return [
        *(f"torchvision:{n}" for n in models.list_models(module=models)),
        *(f"timm:{n}" for n in sorted(sample)),
    ]


def audited(ref: str) -> Row:
    """One model, checked and trained for a step."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    start = time.process_time()
    try:
        model = load(ref).model
        report = check(model, name=ref)
    except Exception as error:
        return Row(ref, reason=f"{type(error).__name__}: {str(error).splitlines()[0]}")
    seconds = time.process_time() - start
    try:
        assert report.score is not None
        idle = without_gradient(model, report.score.inputs)
    except Exception as error:
        return Row(
            ref,
            report.findings,
            no_backward=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            seconds=seconds,
        )
    return Row(ref, report.findings, idle=idle, seconds=seconds)


def without_gradient(model: nn.Module, shapes: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """Names of the trainable parameters that a backward pass from every output leaves without a gradient."""
    model = model.to("meta").train()
    inputs = [torch.zeros((2, *shape[1:]), device="meta") for shape in shapes]
    outputs = [t for t in tensors(model(*inputs)) if t.requires_grad]
    torch.stack([t.sum() for t in outputs]).sum().backward()
    return tuple(n for n, p in model.named_parameters() if p.requires_grad and p.grad is None)


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in what a model returned."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from tensors(each)


# -- writing it down -----------------------------------------------------------------------------------------


def to_markdown(audit: Audit) -> str:
    """The audit as a document."""
    checked = [r for r in audit.rows if r.reason is None]
    sections = [_head(audit, checked), _counts(audit, checked)]
    for severity in ("error", "warning"):
        sections.append(_judged(audit, severity))
    sections += [_second_opinion(checked), _failures(audit.rows)]
    return "\n\n".join(s for s in sections if s) + "\n"


def _head(audit: Audit, checked: Sequence[Row]) -> str:
    versions = ", ".join(f"{p} {version(p)}" for p in ("sed-torch", "torch", "torchvision", "timm"))
    zoos = Counter(r.ref.partition(":")[0] for r in audit.rows)
    return (
        "# The check on real, well-trained models\n\n"
        f"Made by `{audit.command}` on {datetime.date.today().isoformat()} with {versions}, "
        f"Python {platform.python_version()}.\n\n"
        f"{len(audit.rows)} models: {zoos['torchvision']} classification models of torchvision (all) and "
        f"{zoos['timm']} of timm (drawn); {len(checked)} were checked, in {_cpu(checked):.2f} s of CPU time each "
        "on average, building included."
    )


def _cpu(rows: Sequence[Row]) -> float:
    return sum(r.seconds for r in rows) / max(len(rows), 1)


def _counts(audit: Audit, checked: Sequence[Row]) -> str:
    counts = Counter((f.code, f.severity) for r in checked for f in r.findings)
    models = Counter(key for r in checked for key in {(f.code, f.severity) for f in r.findings})
    rows = [
        {"code": c, "name": RULES[c].name, "severity": s, "findings": counts[c, s], "models": models[c, s]}
        for s in SEVERITIES
        for c in sorted(RULES)
        if counts[c, s]
    ]
    means = ", ".join(
        f"{sum(f.severity == s for r in checked for f in r.findings) / max(len(checked), 1):.2f} {s}"
        for s in SEVERITIES
    )
    return (
        "## Findings by code\n\n"
        + tables.to_markdown(rows, ("code", "name", "severity", "findings", "models"))
        + f"\n\nA model on average: {means}."
    )


def _judged(audit: Audit, severity: str) -> str:
    rows = []
    for row, finding in audit.found(severity):
        verdict = audit.verdict(row.ref, finding)
        rows.append(
            {
                "model": row.ref,
                "code": finding.code,
                "path": finding.path or "(root)",
                "evidence": finding.message,
                "verdict by hand": verdict.verdict if verdict else "MISSING",
                "why": verdict.why if verdict else "",
            }
        )
    title = f"## Every finding of severity {severity}\n\n"
    if not rows:
        return f"{title}None."
    false = sum(r["verdict by hand"] == "false" for r in rows)
    return (
        f"{title}{len(rows)} findings, {false} false. The verdicts were written by hand, from the model's source.\n\n"
        + tables.to_markdown(rows, ("model", "code", "path", "evidence", "verdict by hand", "why"))
    )


def disagreements(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Parameters about which the check and a real backward pass say different things."""
    found = []
    for row in rows:
        if row.idle is None:
            continue
        named = {
            p
            for f in row.findings
            if f.code in UNUSED
            for p in f.evidence.get("parameters", ())
            if f.severity != "info"
        }
        for what, names in (
            ("no gradient, not found", set(row.idle) - named),
            ("found, has a gradient", named - set(row.idle)),
        ):
            if names:
                found.append({"model": row.ref, "what": what, "parameters": ", ".join(sorted(names)[:4])})
    return found


def _second_opinion(rows: Sequence[Row]) -> str:
    asked = [r for r in rows if r.idle is not None]
    skipped = [{"model": r.ref, "reason": r.no_backward} for r in rows if r.idle is None]
    differ = disagreements(rows)
    text = (
        "## Second opinion: a backward pass\n\n"
        f"{len(asked)} models ran forward and backward once in training mode on `meta` tensors; "
        f"{sum(bool(r.idle) for r in asked)} of them have trainable parameters that got no gradient. "
        f"The check ({', '.join(UNUSED)}) says otherwise of parameters of "
        f"{len({d['model'] for d in differ})} models."
    )
    if differ:
        text += "\n\n" + tables.to_markdown(differ, ("model", "what", "parameters"))
    if skipped:
        text += "\n\nNo backward pass:\n\n" + tables.to_markdown(skipped, ("model", "reason"))
    return text


def _failures(rows: Sequence[Row]) -> str:
    failed = [{"model": r.ref, "reason": r.reason} for r in rows if r.reason is not None]
    if not failed:
        return ""
    return "## Not checked\n\n" + tables.to_markdown(failed, ("model", "reason"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--timm", type=int, default=150, help="how many models of timm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--output", default=os.fspath(HERE / "results" / "check-audit.md"))
    args = parser.parse_args()
    with open(HERE / "check_audit_verdicts.csv", encoding="utf-8", newline="") as file:
        verdicts = [Verdict(**row) for row in csv.DictReader(file)]
    rows = joblib.Parallel(n_jobs=args.jobs)(joblib.delayed(audited)(r) for r in drawn(args.timm, args.seed))
    audit = Audit(rows, verdicts, f"python examples/check_audit.py --timm {args.timm} --seed {args.seed}")
    text = to_markdown(audit)
    Path(args.output).write_text(text, encoding="utf-8")
    print(f"wrote {args.output}")
    missing = text.count("| MISSING |")
    unused = [v for v in verdicts if v not in audit.used]
    for v in unused:
        print(f"a verdict about nothing found here: {v.model} {v.code} {v.path}")
    if missing:
        sys.exit(
            f"{missing} findings have no verdict in check_audit_verdicts.csv: read the models, and add them"
        )


if __name__ == "__main__":  # worker processes import this file
    main()
