"""``sed_torch.check``: one trace, its score, and the rules over both."""

from __future__ import annotations

import dataclasses
import difflib
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from sed_torch._collecting import collected_rarely
from sed_torch.costing import optimizer_named
from sed_torch.diagnostics import (
    batch,
    buffers,
    constants,
    dead,
    fading,
    gradient,
    inplace,
    local,
    losses,
    memory,
    modes,
    reach,
    redundancy,
    roots,
    shapes,
    sharing,
    traps,
)
from sed_torch.diagnostics.baseline import DROP, Baseline, apply_baseline
from sed_torch.diagnostics.causes import one_a_cause
from sed_torch.diagnostics.comments import parted
from sed_torch.diagnostics.finding import FailOn, Finding, at_least, checked_level
from sed_torch.diagnostics.loading import model_inputs
from sed_torch.diagnostics.memory import uncounted
from sed_torch.diagnostics.registry import RULES, Rule, selected
from sed_torch.diagnostics.report import CheckReport
from sed_torch.diagnostics.subject import Subject
from sed_torch.diagnostics.traces import Traces
from sed_torch.errors import CheckFailedError, InputError, ModelError, ShapeError
from sed_torch.scoring.model import score_graph
from sed_torch.tables import bytes_of
from sed_torch.tracing import trace
from sed_torch.tracing.shadow import unwrap
from sed_torch.tracing.surroundings import default_device_set_aside
from sed_torch.tracing.watching import mode_reads

__all__ = ["check"]

_THEMES = (
    *(batch, buffers, constants, dead, fading, gradient, inplace, local, losses),
    *(memory, modes, reach, redundancy, roots, shapes, sharing, traps),
)  # importing them fills RULES


def check(
    model: nn.Module,
    batch: Any = None,
    loss: Any = None,
    *,
    input_size: Any = None,
    input_data: Any = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    fail_on: FailOn = "error",
    raise_on: FailOn | None = None,
    baseline: str | os.PathLike[str] | Mapping[str, Any] | CheckReport | None = None,
    max_drop: float = DROP,
    memory: str | float | None = None,
    optimizer: str = "adamw",
    name: str | None = None,
) -> CheckReport:
    """Look for what is wrong with an architecture before it is trained.

    Findings come from the graph, its shapes, the local-entropy calculus, and the flags of the parameters; the
    model is not run on data and is left as found. Graph and score come from one trace; a second one, in training
    mode, is made only when something seems unused, for auxiliary heads are called in training alone, or when
    ``memory`` is given.

    Args:
        model: the module.
        batch: a batch as a data loader gives it, targets and all; what the forward takes is chosen from it.
        loss: the loss that will be applied to the output, for SED303: an instance, a class, a function, a partial, or
            a name of ``torch.nn`` or ``torch.nn.functional``; for several outputs a sequence or a mapping of them.
        input_size: with batch dimension, as for :func:`sed_torch.score`; inferred when not given.
        input_data: a tensor, tuple or dict instead.
        select: codes, names or beginnings of codes to look for, such as ``["SED1"]``; all when empty.
        ignore: the same, to leave out.
        fail_on: the least severity with which ``report.failed`` is true: info, warning, error or never.
        raise_on: raise from this severity on; None never raises for a finding.
        baseline: a file that ``sed-torch check --update-baseline`` wrote, its content, or an earlier report.
            What it lists is forgiven; a lower score is a finding (SED401).
        max_drop: by how much the score may fall below the baseline's, in nats.
        memory: what a training step may take, such as ``"24GB"`` or bytes, for SED322; not looked at when None.
            The graph in training mode is then traced as well, for the masks of dropout and heads that only it has.
        optimizer: of that step, one of :data:`sed_torch.costing.OPTIMIZERS`.
        name: for display and in baselines; the class name when None.

    Returns:
        A :class:`CheckReport`, true when the check passes.

    Raises:
        CheckFailedError: with ``raise_on``; it carries the report.
        InputError: the input is missing or malformed, or a code, a loss, an optimiser or an amount of memory
            means nothing.
        ModelError: the module cannot be read as it is.
        TraceError: the forward could not be followed.
        DataError: the baseline cannot be read.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        >>> check(net, input_size=(1, 3, 32, 32)).codes()
        ('SED201',)
    """
    start = time.perf_counter()
    checked_level("fail_on", fail_on)
    if raise_on is not None:
        checked_level("raise_on", raise_on)
    rules = selected(select, ignore)
    _known_loss(loss)
    room = bytes_of(memory) if memory is not None else None
    optimizer_named(optimizer)
    known = Baseline.read(baseline) if baseline is not None else None
    chosen = ""
    if batch is not None:
        if input_size is not None or input_data is not None:
            raise InputError("give a batch, input_size or input_data, one of them")
        input_data, chosen = model_inputs(unwrap(model), batch)
    with default_device_set_aside(), collected_rarely():
        report = _report(model, input_size, input_data, rules, loss, name, room, optimizer)
    if chosen:
        report = dataclasses.replace(report, assumed=(*report.assumed, f"input: {chosen}"))
    if known is not None:
        wanted = any(r.code == "SED401" for r in rules)
        report = apply_baseline(report, known, max_drop if wanted else float("inf"))
    report = dataclasses.replace(report, fail_on=fail_on, elapsed=time.perf_counter() - start)
    if raise_on is not None and report.at_least(raise_on):
        raise CheckFailedError(_failure(report, raise_on), report)
    return report


def _known_loss(loss: Any) -> None:
    """A name with a slip of the pen would turn its check off without a word."""
    if isinstance(loss, str) and not (hasattr(nn, loss) or hasattr(nn.functional, loss)):
        close = difflib.get_close_matches(loss, [n for n in (*dir(nn), *dir(nn.functional)) if "oss" in n], 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"loss names {loss!r}, which is none of torch.nn or torch.nn.functional{hint}")


def _report(
    model: nn.Module,
    input_size: Any,
    input_data: Any,
    rules: Sequence[Rule],
    loss: Any,
    name: str | None,
    memory: int | None,
    optimizer: str,
) -> CheckReport:
    plain = unwrap(model)
    lazy = _lazy(plain)
    if lazy:
        title = name or type(plain).__name__
        return CheckReport(title, lazy if any(r.code == "SED308" for r in rules) else ())
    try:
        with mode_reads() as reads:
            graph = trace(plain, input_size=input_size, input_data=input_data)
    except ShapeError as error:
        if "Expected more than 1" in str(error) and any(r.code == "SED301" for r in rules):
            return CheckReport(name or type(plain).__name__, (_norm_that_raises(error),))
        raise
    score = score_graph(graph, name=name)
    subject = Subject(
        plain,
        graph,
        score,
        batch_given=input_size is not None or input_data is not None,
        loss=loss,
        memory=memory,
        optimizer=optimizer,
        traces=Traces(plain, graph, reads, input_size, input_data),
    )
    found = [f for r in rules for f in r.run(subject)]
    stay, ignored = parted(_ordered(one_a_cause(found, subject.modules)), subject.assigned)
    assumed = graph.assumed
    if any(r.code == "SED322" for r in rules):
        assumed = (*assumed, *uncounted(subject))
    return CheckReport(score.name, stay, score, assumed=assumed, ignored=ignored)


def _lazy(model: nn.Module) -> tuple[Finding, ...]:
    if not isinstance(model, nn.Module):
        raise ModelError(f"expected an nn.Module, found {type(model).__name__}")
    rule = RULES["SED308"]
    return tuple(
        Finding(rule.code, rule.severity, h.path, h.message, h.advice, h.evidence)
        for h in traps.lazy_hits(model)
    )


def _norm_that_raises(error: ShapeError) -> Finding:
    """A normalisation over one value that torch itself refuses: nothing behind it can be read."""
    return Finding(
        "SED301",
        "error",
        error.module_path or "",
        "a normalisation over one value, which raises: " + str(error).split("\n", 1)[0].rpartition(": ")[2],
        "normalise over more than one value; for pooled maps over the channels (layer or group normalisation)",
        {"values": 1},
        error.source,
    )


def _ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Errors first, then by code; within a code in order of execution, as found."""
    rank = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(findings, key=lambda f: (rank[f.severity], f.code)))


def _failure(report: CheckReport, level: FailOn) -> str:
    grave = [f for f in report.findings if at_least(f.severity, level)]
    lines = "\n".join(f"  {f}\n    → {f.advice}" for f in grave[:8])
    more = f"\n  … and {len(grave) - 8} more" if len(grave) > 8 else ""
    return (
        f"{report.name}: {len(grave)} finding(s) of severity {level} or above:\n{lines}{more}\n"
        "sed_torch.explain(code) tells more; check(..., ignore=[code]) leaves one out."
    )
