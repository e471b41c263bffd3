"""Rankings and searches → sections of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sed_torch import tables
from sed_torch.ranking import Ranking, RankRow
from sed_torch.ranking.showing import RESIDUAL_NOTE, SHAPE_NOTE, described, display
from sed_torch.report import plots
from sed_torch.report.parts import (
    Card,
    Column,
    Facts,
    Figure,
    Notes,
    Part,
    Section,
    TablePart,
    table_of,
)
from sed_torch.report.series import Against
from sed_torch.report.style import inline_svg
from sed_torch.report.words import NATS, number, quantity
from sed_torch.searching.result import Candidate, SearchResult

__all__ = ["ranked", "searched"]

_RANKED = (
    Column("name", "model", number=False),
    Column("rank", "#", "place by SED"),
    Column("family", "family", number=False),
    Column("sed", "SED", f"{NATS}; ~ marks networks beyond what the theory was made for"),
    Column("in_family", "in family", "place by SED within the family"),
    Column("given", "given size", "place by the residual of SED's ranks on those of the baselines"),
    Column("params", "params"),
    Column("macs", "MACs"),
    Column("shape", "shape", SHAPE_NOTE.removeprefix("shape: ")),
    Column("expected", "expected", "accuracy that comparable networks reach, with its 90 % interval"),
    Column(
        "front",
        "front",
        "whether no other model has a score as high with as few params and MACs",
        number=False,
    ),
    Column("memory", "memory", "of a training step with one sample and AdamW"),
    Column("input", "input", "scores compare at one input size only", number=False),
    Column("suppression", "suppression", "effective taps over taps; higher is better"),
    Column("coverage", "coverage", "share of parameters under a known rule"),
    Column("status", "status", number=False),
)


def ranked(ranking: Ranking, key: str) -> Section:
    """A ranking: figures over size, all rows, families, and what failed."""
    parts: list[Part] = [_lead(ranking)] if ranking.scored else []
    if ranking.warnings:
        parts.append(Notes(tuple(f"{w}." for w in ranking.warnings), "Careful", level="warning"))
    parts.append(_ranking_facts(ranking))
    parts += _ranking_figures(ranking, key)
    known = {n for n in ("shape", "expected", "memory") if any(getattr(r, n) is not None for r in ranking)}
    columns = [c for c in _RANKED if c.key in known or c.key not in ("shape", "expected", "memory")]
    parts.append(
        table_of(f"{key}-rows", "Models", columns, map(_ranked_row, ranking.rows), pale="pale", filter=True)
    )
    if ranking.failures:
        parts.append(_failure_table(ranking, key))
    if len(ranking.families) > 1:
        parts.append(_family_table(ranking, key))
    return Section(f"{key}-ranking", f"Ranking of {len(ranking):,} models", tuple(parts))


def _lead(ranking: Ranking) -> Card:
    """The best within the limits that were asked for, else the Pareto front: the largest model is no answer."""
    best = ranking.best
    assert best is not None  # some row is scored
    if ranking.limits or ranking.sort == "expected" or len(ranking.scored) == 1:
        within = f" within {ranking.limits_text}" if ranking.limits else ""
        return Card(f"best{within}", best.name, f"{number(best.sed)} {NATS}", (described(best),))
    front, some = ranking.front, ranking.front_in_short
    among = ("Among them:",) if len(some) < len(front) else ()
    return Card(
        "Pareto front",
        f"{len(front)} of {len(ranking.scored)} models",
        "no other model here has a score as high with as few params and MACs",
        (*among, *map(described, some)),
    )


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
    finite, shown = r.sed is not None and math.isfinite(r.sed), display(r)
    return {
        "name": r.name,
        "rank": r.rank,
        "family": r.family,
        "sed": (None, None)
        if r.sed is None
        else (f"{number(r.sed, 3)}{'~' if r.scope == 'extrapolated' else ''}", r.sed if finite else -1e308),
        "in_family": r.family_rank,
        "given": r.residual_rank,
        "params": quantity(r.params),
        "macs": quantity(r.macs),
        "shape": r.shape,
        "expected": (None, None)
        if r.expected is None and r.unexpected is None
        else (shown["expected"], r.expected),
        "front": shown["front"],
        "memory": (None, None) if r.memory is None else (shown["memory"], r.memory),
        "input": r.input,
        "suppression": r.suppression,
        "coverage": (None, None) if r.coverage is None else (f"{r.coverage:.1%}", r.coverage),
        "status": r.status,
        "pale": r.status != "ok",
    }


def _failure_table(ranking: Ranking, key: str) -> TablePart:
    columns = (
        Column("name", "model", number=False),
        Column("status", "status", number=False),
        Column("reason", "reason", number=False),
    )
    rows = [{"name": r.name, "status": r.status, "reason": r.reason} for r in ranking.failures]
    return table_of(f"{key}-failures", "Not ok", columns, rows)


def _family_table(ranking: Ranking, key: str) -> TablePart:
    columns = (
        Column("family", "family", number=False),
        Column("models", "models", "with a score"),
        Column("failed", "failed"),
        Column("best", "best", number=False),
        Column("best_sed", "its SED", NATS),
        Column("median_sed", "median SED", NATS),
        Column("median_residual", "median given size", "in ranks; above 0 is better than size predicts"),
    )
    rows = [{c.key: getattr(f, c.key) for c in columns} for f in ranking.families]
    return table_of(f"{key}-families", "Families", columns, rows)


# -- a search --------------------------------------------------------------------------------------------


def searched(result: SearchResult, key: str) -> Section:
    """A search: the best, how it was found, and the Pareto front."""
    limits = ", ".join(f"{n} ≤ {tables.quantity(v)}" for n, v in result.constraints.items())
    best = result.best
    figure = inline_svg(
        plots.search_trace(result, theme="css"), f"{key}-trace", "The best so far, and the Pareto front"
    )
    parts: list[Part] = [
        Card("best SED", number(best.sed), NATS, (f"Architecture: {best.arch}",)),
        Facts(
            (
                ("parameters", tables.quantity(best.params), ""),
                ("MACs", tables.quantity(best.macs), "multiply-accumulates a sample"),
                ("depth", str(best.depth), "convolutions and linear layers one after the other"),
                ("limits", limits or "none", ""),
                ("strategy", result.strategy, f"seed {result.seed}"),
            )
        ),
        Notes(result.view().notes),
        Figure(
            figure,
            "How it went",
            "Left: the best so far. Right: what no other network beats in all objectives.",
        ),
        _front_table(result, key),
    ]
    return Section(f"{key}-search", f"Search of {result.space}", tuple(parts))


def _front_table(result: SearchResult, key: str) -> TablePart:
    columns = (
        Column("arch", "architecture", number=False),
        Column("sed", "SED", NATS),
        Column("params", "params"),
        Column("macs", "MACs"),
        Column("depth", "depth"),
    )

    def row(c: Candidate) -> dict[str, Any]:
        return {
            "arch": c.arch,
            "sed": c.sed,
            "params": quantity(c.params),
            "macs": quantity(c.macs),
            "depth": c.depth,
        }

    return table_of(
        f"{key}-front", f"Pareto front of {', '.join(result.objectives)}", columns, map(row, result.front)
    )
