"""Scores and checks → sections of a page; nothing is computed but what is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sed_torch import tables
from sed_torch.costing import cost_of_score
from sed_torch.diagnostics import CheckReport, Finding
from sed_torch.report import plots
from sed_torch.report.costs import memory_figure
from sed_torch.report.drawing import draw
from sed_torch.report.parts import (
    Card,
    Column,
    Facts,
    Figure,
    Findings,
    Notes,
    Part,
    Section,
    TablePart,
    table_of,
)
from sed_torch.report.style import inline_svg
from sed_torch.report.words import NATS, number, quantity, sentence, shape, signed
from sed_torch.scoring import log_sum
from sed_torch.scoring.result import Block, Score
from sed_torch.scoring.standing import Standing, read_reference

__all__ = ["compared", "scored", "unscored"]


def scored(
    score: Score, check: CheckReport | None, key: str, *, depth: int | None = None, folded: bool = False
) -> Section:
    """A model: its number, parts, findings, figures and blocks."""
    drawn = draw(score, depth=depth)
    parts: list[Part] = [_card(score), Notes(_glance(score, check), "At a glance")]
    warnings = _warnings(score)
    if warnings:
        parts.append(Notes(warnings, "Read with care", "warning"))
    if check is not None:
        parts.append(_findings(check))
    parts.append(_facts(score))
    if score.evaluation.terms:
        parts += _figures(score, key, depth)
    parts.append(
        Figure(
            drawn.to_svg(theme="css"),
            "Graph",
            "Blocks from left to right; repeated ones are one box with their count. Point at a box for its numbers.",
        )
    )
    cost = cost_of_score(score)
    if cost is not None and cost.training:
        parts.append(memory_figure(cost, key))
    parts += [_block_table(score, key, depth), _op_table(score, key)]
    return Section(f"{key}-model", score.name, tuple(parts), folded, _short_score(score))


def _glance(score: Score, check: CheckReport | None) -> tuple[str, ...]:
    """What a person asks first: standing, cost, findings, what to change, what accuracy to expect."""
    size = f"{tables.quantity(score.params)} parameters ({tables.mebibytes(score.params * 4)} in float32)"
    lines = [f"size: {size}, {tables.quantity(score.macs)} MACs a sample at input {shape(score.inputs)}"]
    if score.total is not None and math.isfinite(score.total):
        lines.append(f"standing: {score.standing()}")
        lines.append(f"shape: {score.shape_note}")
        among, _ = read_reference().standing(score)
        lines += [] if among is None else [_standing(among)]
    if check is not None:
        lines.append(f"findings: {check.headline()}")
    lines += score.advice
    if score.expected is not None:
        lines.append(f"expected: {score.expected['sentence']}")
    return tuple(lines)


def _short_score(score: Score) -> str:
    return "SED undefined" if score.total is None else f"SED {number(score.total)}"


def _card(score: Score) -> Card:
    notes = [] if score.reason is None else [sentence(score.reason)]
    standing, why = read_reference().standing(score)
    if standing is None:
        return Card("SED", number(score.total), NATS, (*notes, f"No percentile: {why}."))
    return Card(
        "SED",
        number(score.total),
        NATS,
        tuple(notes),
        standing.percentile,
        f"percentile {standing.percentile:.0f} of {standing.of} torchvision classification models",
    )


def _standing(s: Standing) -> str:
    near = [f"{r.name} ({r.sed:.2f})" for r in (s.below, s.above) if r is not None]
    return (
        f"Of {s.of} torchvision classification models at this input size, {s.sed} score lower, {s.params} have fewer "
        f"parameters and {s.macs} fewer MACs. Next to it: {' and '.join(near)}."
    )


def _facts(score: Score) -> Facts:
    rows = [
        ("conv part", number(score.conv), "the score as if no local entropy were lost, nats"),
        ("pool part", signed(score.pool), "what pooling costs, nats"),
        (
            "skip part",
            signed(score.skip),
            "what identity skips change, nats; above 0 they suppress a decrease",
        ),
        ("suppression", number(score.suppression, 3), "effective taps over taps, 0 to 1, higher is better"),
        ("parameters", tables.quantity(score.params), ""),
        ("MACs", tables.quantity(score.macs), "multiply-accumulates a sample"),
        ("input", shape(score.inputs), "; ".join(score.assumed)),
        ("coverage", f"{score.coverage:.1%}", f"of parameters; {score.node_coverage:.1%} of operators"),
        ("scope", score.scope, "the theory is about convolutional networks"),
    ]
    return Facts(tuple(rows))


def _warnings(score: Score) -> tuple[str, ...]:
    lines = [
        f"No rule for the operator {u.target} ×{u.count} in {u.path or 'the root'}"
        + (f" ({u.source})" if u.source else "")
        + ": the score leaves it out."
        for u in score.unknown[:8]
    ]
    if len(score.unknown) > 8:
        lines.append(f"… and {len(score.unknown) - 8} more operators without a rule.")
    if score.unused_params:
        lines.append(f"{tables.quantity(score.unused_params)} parameters are never read by the forward.")
    if score.scope == "extrapolated":
        lines.append("Attention, MLP or recurrent parts: beyond what the theory was made for.")
    return tuple(lines)


def _findings(check: CheckReport) -> Findings:
    return Findings(check.headline(), tuple(_finding(run) for run in _runs(check.findings)))


def _runs(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings that differ in a block's number only stand together."""
    runs: dict[tuple[str, str], list[Finding]] = {}
    for f in findings:
        outline = ".".join("#" if name.isdigit() else name for name in f.path.split("."))
        runs.setdefault((f.code, outline), []).append(f)
    return list(runs.values())


def _finding(run: Sequence[Finding]) -> tuple[str, str, str, str, str, str]:
    first = run[0]
    where = first.path or "(root)"
    if len(run) > 1:
        where += f" … {run[-1].path} ×{len(run)}"
    if first.source:
        where += f", {first.source}"
    evidence = ", ".join(f"{k} {_evidence(v)}" for k, v in first.evidence.items())
    return first.code, first.severity, where, first.message, first.advice, evidence


def _evidence(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_evidence, value[:6])) + (", …]" if len(value) > 6 else "]")
    return str(value)


def _figures(score: Score, key: str, depth: int | None) -> list[Part]:
    profile = plots.profile(score, depth=depth, theme="css")
    waterfall = plots.waterfall(score, depth=depth, theme="css")
    return [
        Figure(
            inline_svg(
                profile, f"{key}-profile", f"Entropy profile of {score.name}; the block table has the numbers"
            ),
            "Entropy profile",
            "Above: the local entropy of the map that each convolution and linear layer reads. Middle: its taps, and "
            "how many of them are effective. Below: the quotient. Bands are blocks.",
        ),
        Figure(
            inline_svg(waterfall, f"{key}-fall", f"Parts of the score of {score.name} by block"),
            "Where the score comes from",
            "Left: the share of the total amplitude that each block adds. Right: from the score as it would be without "
            "any loss of local entropy down to the score as it is, and in which block it is lost.",
        ),
    ]


_BLOCK_COLUMNS = (
    Column("block", "block", "module path", number=False),
    Column("share", "share", "share of the total amplitude exp(SED)", bar=True),
    Column("sed", "SED part", "log of its amplitude, nats"),
    Column("taps", "taps", "sum over its operators"),
    Column("effective", "effective", "effective taps, sum over its operators"),
    Column("suppression", "suppression", "effective taps over taps; higher is better"),
    Column("h_in", "h in", "local entropy per tap of the map it reads, nats; 1.419 is white"),
    Column("h_out", "h out", "of the map it leaves"),
    Column("pool", "pool", "what pooling costs within it, nats"),
    Column("skip", "skip", "what identity skips change within it, nats"),
    Column("params", "params"),
    Column("macs", "MACs"),
    Column("operators", "operators", "live convolutions and linear layers"),
    Column("live", "live", "whether it is on a path from an input to an output", number=False),
)


def _block_table(score: Score, key: str, depth: int | None) -> TablePart:
    rows = [_block_row(b) for b in score.by_block(depth)]
    return table_of(f"{key}-blocks", "Blocks", _BLOCK_COLUMNS, rows, pale="dead", filter=True)


def _block_row(b: Block) -> dict[str, Any]:
    return {
        "block": b.path or "(root)",
        "share": (f"{b.share:.1%}", b.share),
        "sed": log_sum([b.amplitude]) if b.amplitude else None,
        "taps": quantity(b.taps or None),
        "effective": quantity(b.effective_taps if b.taps else None),
        "suppression": b.suppression,
        "h_in": b.entropy_in,
        "h_out": b.entropy_out,
        "pool": (None if b.pool is None else signed(b.pool), b.pool),
        "skip": (None if b.skip is None else signed(b.skip), b.skip),
        "params": quantity(b.params),
        "macs": quantity(b.macs),
        "operators": b.operators,
        "live": "yes" if b.live else "dead",
        "dead": not b.live,
    }


def _op_table(score: Score, key: str) -> TablePart:
    columns = (
        Column("op", "operator", number=False),
        Column("count", "count"),
        Column("share", "share", "share of the total amplitude exp(SED)", bar=True),
        Column("taps", "taps"),
        Column("effective", "effective", "effective taps"),
        Column("params", "params"),
        Column("macs", "MACs"),
    )
    rows = [
        {
            "op": o.op,
            "count": o.count,
            "share": (f"{o.share:.1%}", o.share),
            "taps": quantity(o.taps),
            "effective": quantity(o.effective_taps),
            "params": quantity(o.params),
            "macs": quantity(o.macs),
        }
        for o in score.by_op()
    ]
    return table_of(f"{key}-ops", "Operators", columns, rows, filter=False)


def unscored(check: CheckReport, key: str) -> Section:
    """A check of a model that could not be scored."""
    return Section(f"{key}-check", check.name, (_findings(check),))


# -- several models --------------------------------------------------------------------------------------

_COMPARED = (
    Column("name", "model", number=False),
    Column("sed", "SED", NATS),
    Column("conv", "conv", "the score as if no local entropy were lost, nats"),
    Column("pool", "pool", "what pooling costs, nats"),
    Column("skip", "skip", "what identity skips change, nats"),
    Column("suppression", "suppression", "effective taps over taps; higher is better"),
    Column("params", "params"),
    Column("macs", "MACs"),
    Column("input", "input", number=False),
    Column("coverage", "coverage", "share of parameters under a known rule"),
    Column("findings", "findings", "errors and warnings of the check"),
    Column("note", "note", number=False),
)


def compared(models: Sequence[tuple[Score, CheckReport | None]]) -> Section:
    """Several models side by side, best first."""
    order = sorted(models, key=lambda m: (m[0].total is None, -(m[0].total or 0.0), m[0].name))
    rows = [_compared_row(score, check) for score, check in order]
    best = order[0][0]
    parts: list[Part] = [
        Card("highest SED", best.name, f"{number(best.total)} {NATS}"),
        table_of("compared", "Side by side", _COMPARED, rows),
    ]
    if len({s.inputs for s, _ in models}) > 1:
        parts.insert(
            1,
            Notes(("The input sizes differ: scores compare at one size only.",), "Read with care", "warning"),
        )
    return Section("comparison", f"{len(models)} models compared", tuple(parts))


def _compared_row(score: Score, check: CheckReport | None) -> dict[str, Any]:
    total = score.total if score.total is not None and math.isfinite(score.total) else None
    return {
        "name": score.name,
        "sed": (number(score.total), total),
        "conv": score.conv,
        "pool": (signed(score.pool), score.pool),
        "skip": (signed(score.skip), score.skip),
        "suppression": score.suppression,
        "params": quantity(score.params),
        "macs": quantity(score.macs),
        "input": shape(score.inputs),
        "coverage": (f"{score.coverage:.1%}", score.coverage),
        "findings": None if check is None else len(check.errors) + len(check.warnings),
        "note": score.reason or score.scope,
    }
