"""Results → sections of a page. One function a kind of result; nothing is computed but what is shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sed_torch import tables
from sed_torch.diagnostics import CheckReport, Finding
from sed_torch.evidence import MIN_GROUP, ValidationReport, Within
from sed_torch.evidence.correlation import Correlation, Interval
from sed_torch.ranking import Ranking, RankRow
from sed_torch.ranking.result import RESIDUAL_NOTE
from sed_torch.report import plots
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
    Table,
    table_of,
)
from sed_torch.report.series import Against
from sed_torch.report.style import inline_svg
from sed_torch.scoring import DEFINITIONS, log_sum
from sed_torch.scoring.result import Block, Score
from sed_torch.scoring.standing import Standing, read_reference
from sed_torch.searching.result import Candidate, SearchResult

__all__ = ["about", "compared", "ranked", "scored", "searched", "unscored", "validated"]

_NATS = "nats, higher is better"
_MEANING = (
    "SED is the log of the total amplitude over all output units of the network: how much independent input its "
    "convolutions and linear layers sum up, given the local entropy that its topology leaves on the maps they read."
)
LIMITS = (
    "It compares architectures for the same task at the same input size, and says nothing of data, recipe, weights "
    "or numerical trouble.",
    "It was made for convolutional networks. Attention, MLP and recurrent networks are scored by the same rules, and "
    "marked as extrapolated.",
    "Size is the count to beat: look at parameters and MACs beside it. Near the top of a benchmark it separates "
    "little.",
    "Coverage below 100 % means that part of the model has no rule and was left out of the score.",
)


def _shape(sizes: Iterable[Sequence[int]]) -> str:
    return ", ".join("×".join(map(str, s)) for s in sizes)


def _number(value: float | None, digits: int = 4) -> str:
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if math.isfinite(value) else ("-inf" if value < 0 else "inf")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


# -- one model -------------------------------------------------------------------------------------------


def scored(
    score: Score, check: CheckReport | None, key: str, *, depth: int | None = None, folded: bool = False
) -> Section:
    """A model: its number, parts, findings, figures and blocks."""
    drawn = draw(score, depth=depth)
    parts: list[Part] = [_card(score), _facts(score)]
    warnings = _warnings(score)
    if warnings:
        parts.append(Notes(warnings, "Read with care", "warning"))
    if check is not None:
        parts.append(_findings(check))
    if score.evaluation.terms:
        parts += _figures(score, key, depth)
    parts.append(
        Figure(
            drawn.to_svg(theme="css"),
            "Graph",
            "Blocks from left to right; repeated ones are one box with their count. Point at a box for its numbers.",
        )
    )
    parts += [_block_table(score, key, depth), _op_table(score, key)]
    return Section(f"{key}-model", score.name, tuple(parts), folded, _short_score(score))


def _short_score(score: Score) -> str:
    return "SED undefined" if score.total is None else f"SED {_number(score.total)}"


def _card(score: Score) -> Card:
    notes = [_MEANING] if score.reason is None else [_sentence(score.reason)]
    standing, why = read_reference().standing(score)
    if standing is None:
        return Card("SED", _number(score.total), _NATS, (*notes, f"No percentile: {why}."))
    return Card(
        "SED",
        _number(score.total),
        _NATS,
        (*notes, _standing(standing)),
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
        ("conv part", _number(score.conv), "the score had no local entropy decreased, nats"),
        ("pool part", _signed(score.pool), "what pooling costs, nats"),
        (
            "skip part",
            _signed(score.skip),
            "what identity skips change, nats; above 0 they suppress a decrease",
        ),
        ("suppression", _number(score.suppression, 3), "effective taps over taps, 0 to 1, higher is better"),
        ("parameters", tables.quantity(score.params), ""),
        ("MACs", tables.quantity(score.macs), "multiply-accumulates a sample"),
        ("input", _shape(score.inputs), "; ".join(score.assumed)),
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
            "Left: the share of the total amplitude that each block adds. Right: from the score had nothing "
            "decreased down to the score as it is, and the block where it is lost.",
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


def _block_table(score: Score, key: str, depth: int | None) -> Table:
    rows = [_block_row(b) for b in score.by_block(depth)]
    return table_of(f"{key}-blocks", "Blocks", _BLOCK_COLUMNS, rows, pale="dead", filter=True)


def _block_row(b: Block) -> dict[str, Any]:
    return {
        "block": b.path or "(root)",
        "share": (f"{b.share:.1%}", b.share),
        "sed": log_sum([b.amplitude]) if b.amplitude else None,
        "taps": _quantity(b.taps or None),
        "effective": _quantity(b.effective_taps if b.taps else None),
        "suppression": b.suppression,
        "h_in": b.entropy_in,
        "h_out": b.entropy_out,
        "pool": (None if b.pool is None else _signed(b.pool), b.pool),
        "skip": (None if b.skip is None else _signed(b.skip), b.skip),
        "params": _quantity(b.params),
        "macs": _quantity(b.macs),
        "operators": b.operators,
        "live": "yes" if b.live else "dead",
        "dead": not b.live,
    }


def _quantity(value: float | None) -> tuple[str | None, float | None]:
    return (None, None) if value is None else (tables.quantity(round(value, 2)), value)


def _op_table(score: Score, key: str) -> Table:
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
            "taps": _quantity(o.taps),
            "effective": _quantity(o.effective_taps),
            "params": _quantity(o.params),
            "macs": _quantity(o.macs),
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
    Column("sed", "SED", _NATS),
    Column("conv", "conv", "the score had nothing decreased, nats"),
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
        Card("highest SED", best.name, f"{_number(best.total)} {_NATS}"),
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
        "sed": (_number(score.total), total),
        "conv": score.conv,
        "pool": (_signed(score.pool), score.pool),
        "skip": (_signed(score.skip), score.skip),
        "suppression": score.suppression,
        "params": _quantity(score.params),
        "macs": _quantity(score.macs),
        "input": _shape(score.inputs),
        "coverage": (f"{score.coverage:.1%}", score.coverage),
        "findings": None if check is None else len(check.errors) + len(check.warnings),
        "note": score.reason or score.scope,
    }


# -- a ranking -------------------------------------------------------------------------------------------

_RANKED = (
    Column("name", "model", number=False),
    Column("rank", "#", "place by SED"),
    Column("family", "family", number=False),
    Column("sed", "SED", f"{_NATS}; ~ marks networks beyond what the theory was made for"),
    Column("in_family", "in family", "place by SED within the family"),
    Column("given", "given size", "place by the residual of SED's ranks on those of the baselines"),
    Column("params", "params"),
    Column("macs", "MACs"),
    Column("suppression", "suppression", "effective taps over taps; higher is better"),
    Column("coverage", "coverage", "share of parameters under a known rule"),
    Column("status", "status", number=False),
)


def ranked(ranking: Ranking, key: str) -> Section:
    """A ranking: figures over size, all rows, families, and what failed."""
    best = max(ranking.scored, key=lambda r: -math.inf if r.sed is None else r.sed, default=None)
    parts: list[Part] = []
    if best is not None:
        parts.append(Card("highest SED", best.name, f"{_number(best.sed)} {_NATS}"))
    parts.append(_ranking_facts(ranking))
    parts += _ranking_figures(ranking, key)
    parts.append(
        table_of(f"{key}-rows", "Models", _RANKED, map(_ranked_row, ranking.rows), pale="pale", filter=True)
    )
    if ranking.failures:
        parts.append(_failure_table(ranking, key))
    if len(ranking.families) > 1:
        parts.append(_family_table(ranking, key))
    return Section(f"{key}-ranking", f"Ranking of {len(ranking):,} models", tuple(parts))


def _ranking_facts(ranking: Ranking) -> Facts:
    spelled = " and ".join({"params": "params", "macs": "MACs"}[b] for b in ranking.baselines)
    extrapolated = sum(r.scope == "extrapolated" for r in ranking)
    rows = [
        ("models", f"{len(ranking):,}", ""),
        ("scored", f"{len(ranking.scored):,}", ""),
        ("not ok", f"{len(ranking.failures):,}", "each with its reason below"),
        ("extrapolated", f"{extrapolated:,}", "networks beyond what the theory was made for, marked ~"),
        ("sorted by", ranking.sort.replace("_", " "), ""),
    ]
    if spelled:
        rows.append(("given size", spelled, RESIDUAL_NOTE.format(spelled)))
    return Facts(tuple(rows))


def _ranking_figures(ranking: Ranking, key: str) -> list[Part]:
    words: Mapping[Against, str] = {"macs": "MACs", "params": "parameters"}
    caption = (
        "A step of the line is a model that scores higher than all models at most its size. Names mark those farthest "
        "from what their size lets expect; # is the place by SED."
    )
    found: list[Part] = []
    for against in words:
        if sum(bool(r.sed is not None and getattr(r, against)) for r in ranking) > 1:
            figure = plots.scatter(ranking, against=against, theme="css")
            svg = inline_svg(
                figure, f"{key}-{against}", f"SED over {words[against]}; the table has the numbers"
            )
            found.append(Figure(svg, f"SED over {words[against]}", caption))
    return found


def _ranked_row(r: RankRow) -> dict[str, Any]:
    finite = r.sed is not None and math.isfinite(r.sed)
    return {
        "name": r.name,
        "rank": r.rank,
        "family": r.family,
        "sed": (None, None)
        if r.sed is None
        else (f"{_number(r.sed, 3)}{'~' if r.scope == 'extrapolated' else ''}", r.sed if finite else -1e308),
        "in_family": r.family_rank,
        "given": r.residual_rank,
        "params": _quantity(r.params),
        "macs": _quantity(r.macs),
        "suppression": r.suppression,
        "coverage": (None, None) if r.coverage is None else (f"{r.coverage:.1%}", r.coverage),
        "status": r.status,
        "pale": r.status != "ok",
    }


def _failure_table(ranking: Ranking, key: str) -> Table:
    columns = (
        Column("name", "model", number=False),
        Column("status", "status", number=False),
        Column("reason", "reason", number=False),
    )
    rows = [{"name": r.name, "status": r.status, "reason": r.reason} for r in ranking.failures]
    return table_of(f"{key}-failures", "Not ok", columns, rows)


def _family_table(ranking: Ranking, key: str) -> Table:
    columns = (
        Column("family", "family", number=False),
        Column("models", "models", "with a score"),
        Column("failed", "failed"),
        Column("best", "best", number=False),
        Column("best_sed", "its SED", _NATS),
        Column("median_sed", "median SED", _NATS),
        Column("median_residual", "median given size", "in ranks; above 0 is better than size predicts"),
    )
    rows = [{c.key: getattr(f, c.key) for c in columns} for f in ranking.families]
    return table_of(f"{key}-families", "Families", columns, rows)


# -- a validation ----------------------------------------------------------------------------------------


def validated(report: ValidationReport, key: str) -> Section:
    """A validation: the score's correlation, its rivals, size held fixed, groups, and who was left out."""
    c = report.overall
    interval = c.intervals.get("spearman")
    notes = [f"{c.n:,} networks with a score and an accuracy; {len(report.left_out):,} left out."]
    notes += [_sentence(n) for n in report.notes if n]
    if c.reason:
        notes.insert(0, f"Undefined: {c.reason}.")
    figure = inline_svg(
        plots.correlations(report, theme="css"), f"{key}-rho", f"{report.title}; the tables have the numbers"
    )
    unit = f"Spearman's ρ with accuracy, higher is better{f'; 95 % interval {interval}' if interval else ''}"
    parts: list[Part] = [
        Card(report.score_name, _number(c.spearman, 3), unit, tuple(notes)),
        Figure(
            figure,
            "The score and its rivals",
            "Dots are Spearman's ρ with accuracy, lines 95 % intervals; hollow diamonds are the score on the rival's "
            "rows. On the right, ρ among the networks with the best accuracy, where it is hardest to be right.",
        ),
        _overall_table(report, key),
    ]
    parts += _rival_tables(report, key)
    if report.source:
        parts.append(Notes((f"Accuracies from {report.source}.",), "Source"))
    return Section(f"{key}-validation", report.title, tuple(parts))


def _with(value: float | None, interval: Interval | None) -> tuple[str | None, float | None]:
    if value is None:
        return None, None
    return f"{value:.3f}" + (f" {interval}" if interval else ""), value


_STATISTICS = (
    ("spearman", "Spearman's ρ"),
    ("kendall", "Kendall's τ-b"),
    ("weighted_tau", "weighted τ"),
    ("ndcg", "nDCG@k"),
    ("regret", "regret@k"),
)


def _overall_table(report: ValidationReport, key: str) -> Table:
    columns = (
        Column("rows", "rows", number=False),
        Column("n", "n"),
        *(Column(name, label) for name, label in _STATISTICS),
        Column("k", "k"),
    )

    def row(label: str, c: Correlation) -> dict[str, Any]:
        values = {name: _with(getattr(c, name), c.intervals.get(name)) for name, _ in _STATISTICS}
        return {"rows": label, "n": c.n, "k": c.k, **values}

    found = [row("all", report.overall)]
    if report.overall.top is not None:
        found.append(row("best 10 % by accuracy", report.overall.top))
    title = "The score" + (f" (regret in {report.unit})" if report.unit else "")
    return table_of(f"{key}-overall", title, columns, found, filter=False)


def _rival_tables(report: ValidationReport, key: str) -> Iterable[Part]:
    if report.rivals:
        yield _rival_table(report, key)
    if report.partial:
        columns: tuple[Column, ...] = (
            Column("given", "held fixed", number=False),
            Column("n", "n"),
            Column("rho", f"{report.score_name} ρ"),
        )
        rows = [
            {"given": " and ".join(p.covariates), "n": p.n, "rho": _with(p.value, p.interval)}
            for p in report.partial
        ]
        yield table_of(f"{key}-partial", "With size held fixed", columns, rows)
    if report.within is not None and report.within.rows:
        yield _within_table(report.within, key)
    if report.ceiling:
        columns = (
            Column("runs", "runs", number=False),
            Column("n", "n"),
            Column("rho", "ρ"),
            Column("tau", "τ-b"),
        )
        rows = [{"runs": k, "n": c.n, "rho": c.spearman, "tau": c.kendall} for k, c in report.ceiling.items()]
        yield table_of(f"{key}-ceiling", "Noise ceiling: one training run against another", columns, rows)
    if report.left_out:
        columns = (Column("name", "network", number=False), Column("reason", "reason", number=False))
        shown = [{"name": n, "reason": r} for n, r in report.left_out[:_LEFT_OUT]]
        more = f", the first {_LEFT_OUT}" if len(report.left_out) > _LEFT_OUT else ""
        yield table_of(f"{key}-left", f"{len(report.left_out):,} left out{more}", columns, shown, open=False)


_LEFT_OUT = 500


def _rival_table(report: ValidationReport, key: str) -> Table:
    columns = (
        Column("rival", "rival", number=False),
        Column("n", "n", "rows that have both"),
        Column("rho", "its ρ"),
        Column("ours", f"{report.score_name} ρ", "on the same rows"),
        Column("difference", "difference", "above 0 the score is better; paired 95 % interval"),
        Column("top", "difference, best 10 %"),
    )
    rows = [
        {
            "rival": c.rival,
            "n": c.n,
            "rho": _with(c.rival_correlation.spearman, c.difference.second_interval),
            "ours": _with(c.score_correlation.spearman, c.difference.first_interval),
            "difference": _with(c.difference.value, c.difference.interval),
            "top": _with(c.top_difference.value, c.top_difference.interval),
        }
        for c in report.rivals
    ]
    return table_of(f"{key}-rivals", "Rivals on the same rows", columns, rows)


def _within_table(within: Within, key: str) -> Table:
    names = list(within.mean)
    columns = (
        Column("group", "group", number=False),
        Column("n", "n"),
        *(Column(f"p.{n}", n) for n in names),
    )

    def row(group: str, n: int | None, rho: Mapping[str, float | None]) -> dict[str, Any]:
        return {"group": group, "n": n, **{f"p.{name}": rho[name] for name in names}}

    rows = [row(f"(mean of {within.groups})", None, within.mean)]
    rows += [row(r.group, r.n, r.spearman) for r in within.rows]
    return table_of(f"{key}-within", f"Within groups of {MIN_GROUP} or more (Spearman's ρ)", columns, rows)


# -- a search --------------------------------------------------------------------------------------------


def searched(result: SearchResult, key: str) -> Section:
    """A search: the best, how it was found, and the Pareto front."""
    limits = ", ".join(f"{n} ≤ {tables.quantity(v)}" for n, v in result.constraints.items())
    best = result.best
    seen = f"{result.looks:,} architectures looked at in {result.seconds:.2f} s, {result.feasible:,} within the limits."
    figure = inline_svg(
        plots.search_trace(result, theme="css"), f"{key}-trace", "The best so far, and the Pareto front"
    )
    parts: list[Part] = [
        Card("best SED", _number(best.sed), _NATS, (f"Architecture: {best.arch}", seen)),
        Facts(
            (
                ("parameters", tables.quantity(best.params), ""),
                ("MACs", tables.quantity(best.macs), "multiply-accumulates a sample"),
                ("depth", str(best.depth), "convolutions and linear layers one after the other"),
                ("limits", limits or "none", ""),
                ("strategy", result.strategy, f"seed {result.seed}"),
                ("stopped", result.stop.replace("_", " "), ""),
            )
        ),
        Figure(
            figure,
            "How it went",
            "Left: the best so far. Right: what no other network beats in all objectives.",
        ),
        _front_table(result, key),
    ]
    return Section(f"{key}-search", f"Search of {result.space}", tuple(parts))


def _front_table(result: SearchResult, key: str) -> Table:
    columns = (
        Column("arch", "architecture", number=False),
        Column("sed", "SED", _NATS),
        Column("params", "params"),
        Column("macs", "MACs"),
        Column("depth", "depth"),
    )

    def row(c: Candidate) -> dict[str, Any]:
        return {
            "arch": c.arch,
            "sed": c.sed,
            "params": _quantity(c.params),
            "macs": _quantity(c.macs),
            "depth": c.depth,
        }

    return table_of(
        f"{key}-front", f"Pareto front of {', '.join(result.objectives)}", columns, map(row, result.front)
    )


# -- what it is ------------------------------------------------------------------------------------------


def about(definitions: Iterable[str], versions: Mapping[str, str]) -> Section:
    """The definition of the score, its limits, and the versions of what computed it."""
    named = sorted({d for d in definitions if d})
    lines = [
        f"{d}: {DEFINITIONS[d].formula}. {_sentence(DEFINITIONS[d].source)}" if d in DEFINITIONS else d
        for d in named
    ]
    lines.append(
        "A_v are output positions of operator v, C its channels, g its groups, and n_eff the effective taps "
        "n·det(R)^(1/n) of the patch it reads, whose correlation matrix is R."
    )
    parts: list[Part] = [Notes(tuple(lines), "Definition"), Notes(LIMITS, "Limits")]
    if versions:
        parts.append(Notes((", ".join(f"{k} {v}" for k, v in versions.items()),), "Versions"))
    return Section("about", "What SED is", tuple(parts))
