"""The parts of the benchmark report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sed_torch import tables
from sed_torch.benchmarking.picks import BEST, LARGEST, MOST_MACS, RANDOM_NETWORK, Pick, SearchRow
from sed_torch.benchmarking.result import DatasetResult, grouped
from sed_torch.benchmarking.timing import NetworkTimes, SearchTime, SpaceTimes
from sed_torch.evidence.correlation import Interval
from sed_torch.evidence.validation import Rival

__all__ = [
    "grid_of",
    "other_statistics",
    "picks_of",
    "picks_summary",
    "quality",
    "rivals",
    "searches_of",
    "size_held_fixed",
    "summary",
    "times",
]

Rows = list[dict[str, Any]]


def grid_of(rows: Rows, caption: str = "") -> tables.Grid:
    """A table with the columns that the rows have."""
    columns = tables.columns_of(rows)
    return tables.Grid(columns, tuple(rows), caption, spared=columns[:1:-1])


def quality(results: Sequence[DatasetResult]) -> tables.Chapter:
    """Scores against trained accuracy, on every dataset."""
    text = (
        "Score against trained accuracy; params and MACs (this project's count) on the same networks. "
        f"*Best public rival*: of those with at least {_ENOUGH} rows the one with the highest ρ; its ρ, SED's on the "
        "same rows, and how many these are. *Ceiling*: ρ between two training runs of the same networks, which no "
        "score can be expected to exceed by much."
    )
    notes = tuple(f"{name}: {_notes(rows)}" for name, rows in grouped(results))
    return tables.Chapter("Quality", (text,), (grid_of(summary(results)),), _balance(results), notes)


_ENOUGH = 100
"""Rows that a rival needs to be named the best: some public scores cover a few dozen networks."""


def size_held_fixed(results: Sequence[DatasetResult]) -> tables.Chapter | None:
    """What is left of the correlation where size is held fixed."""
    rows = []
    for r in results:
        row = {"benchmark": r.benchmark, "dataset": r.dataset}
        for p in r.validation.partial:
            row[f"{' and '.join(p.covariates)} held fixed"] = p.reason or _value(p.value, p.interval)
        rows.append(row)
    if all(len(row) == 2 for row in rows):
        return None
    text = "Partial Spearman's ρ of SED and accuracy (rank residuals)."
    return tables.Chapter("With size held fixed", (text,), (grid_of(rows),), level=3)


def other_statistics(results: Sequence[DatasetResult]) -> tables.Chapter:
    """Weighted τ, nDCG and regret."""
    rows = []
    for r in results:
        row = {"benchmark": r.benchmark, "dataset": r.dataset}
        for suffix, c in (("", r.validation.overall), (", top 10 %", r.validation.overall.top)):
            for label, name in (("weighted τ", "weighted_tau"), ("nDCG@10", "ndcg"), ("regret@10", "regret")):
                value = None if c is None else getattr(c, name)
                row[label + suffix] = _value(value, c.intervals.get(name) if c else None)
        rows.append(row)
    text = (
        "*Regret@10*: the best accuracy less the best among the ten best scores, in the unit of the accuracy; 0 is "
        "best."
    )
    return tables.Chapter("Other statistics of SED", (text,), (grid_of(rows),), level=3)


def _notes(results: Sequence[DatasetResult]) -> str:
    """What holds for all datasets first, then what holds for one."""
    notes = [r.validation.notes for r in results]
    common = [n for n in notes[0] if all(n in other for other in notes)]
    own = [f"{r.dataset}: {n}" for r in results for n in r.validation.notes if n not in common]
    return "; ".join([*common, *own])


def _balance(results: Sequence[DatasetResult]) -> tuple[str, ...]:
    signs = [c.difference for r in results for c in r.validation.rivals]
    better = sum(d.significant is True and (d.value or 0) > 0 for d in signs)
    worse = sum(d.significant is True and (d.value or 0) < 0 for d in signs)
    if not any(d.significant is not None for d in signs):
        return ()
    return (
        f"Of {len(signs)} comparisons with a rival on the same rows (params and MACs among them) SED is better in "
        f"{better}, the rival in {worse}; in {len(signs) - better - worse} the interval of the difference has 0 in it.",
    )


def summary(results: Sequence[DatasetResult]) -> Rows:
    """The figures of quality, one row a dataset."""
    return [_summary_row(r) for r in results]


def _summary_row(result: DatasetResult) -> dict[str, Any]:
    c = result.validation.overall
    by_name = {r.rival: r for r in result.validation.rivals}
    ceiling = [x.spearman for x in result.validation.ceiling.values() if x.spearman is not None]
    tops = [
        x.top.spearman for x in result.validation.ceiling.values() if x.top and x.top.spearman is not None
    ]
    return {
        "benchmark": result.benchmark,
        "dataset": result.dataset,
        "n": f"{c.n:,}",
        "SED ρ": _value(c.spearman, c.intervals.get("spearman")),
        "SED τ": _value(c.kendall, c.intervals.get("kendall")),
        "SED ρ, top 10 %": _value(c.top.spearman, c.top.intervals.get("spearman")) if c.top else "–",
        "params ρ": _rival_value(by_name.get("params")),
        "MACs ρ": _rival_value(by_name.get("macs")),
        "best public rival ρ": _best_rival(result.validation.rivals),
        "ceiling ρ": _range(ceiling),
        "ceiling ρ, top 10 %": _range(tops),
    }


def _value(value: float | None, interval: Interval | None = None) -> str:
    return "–" if value is None else f"{value:.3f}" + (f" {interval}" if interval else "")


def _rival_value(c: Rival | None) -> str:
    return "–" if c is None else _value(c.rival_correlation.spearman, c.difference.second_interval)


def _best_rival(rivals: Sequence[Rival]) -> str:
    """Of the public scores that cover enough rows; they are sorted, best first."""
    for c in rivals:
        if c.rival not in ("params", "macs") and c.n >= _ENOUGH and c.rival_correlation.spearman is not None:
            return f"{c.rival} {_comparison(c)}"
    return "–"


def _range(values: Sequence[float]) -> str:
    if not values:
        return "–"
    low, high = min(values), max(values)
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"


def rivals(name: str, results: Sequence[DatasetResult]) -> tables.Chapter | None:
    """Every public rival of a benchmark on the rows that both have."""
    rivals = list(dict.fromkeys(c.rival for r in results for c in r.validation.rivals))
    if not rivals:
        return None
    rows = []
    for rival in rivals:
        row: dict[str, Any] = {"rival": rival}
        for r in results:
            found = next((c for c in r.validation.rivals if c.rival == rival), None)
            row[r.dataset] = "–" if found is None else _comparison(found)
        rows.append(row)
    text = (
        "ρ of the rival / ρ of SED / rows; **+** SED is better, **−** the rival is, **=** the paired 95 % interval of "
        "the difference has 0 in it."
    )
    heading = f"{name}: each rival and SED on the same rows"
    return tables.Chapter(heading, (text,), (grid_of(rows),), level=3)


def _comparison(c: Rival) -> str:
    rival, own = c.rival_correlation.spearman, c.score_correlation.spearman
    sign = {True: "**+**" if (c.difference.value or 0) > 0 else "**−**", False: "**=**", None: ""}
    return f"{_value(rival)} / {_value(own)} / {c.n:,} {sign[c.difference.significant]}".rstrip()


def searches_of(searches: Sequence[SearchRow], found: Sequence[SearchTime]) -> Iterator[tables.Chapter]:
    """What searches by the score find."""
    if found:
        text = (
            "`sed_torch.search(space, budget_s=1.0)`, each in a process of its own on one core, no network built. Its "
            "clock counts CPU seconds. Accuracy is looked up where a table has the network."
        )
        yield tables.Chapter("Search", (text,), (grid_of([_found_row(f) for f in found]),))
    for space in dict.fromkeys(s.space for s in searches):
        rows = [s for s in searches if s.space == space]
        what = (
            "Test accuracy of the pick is looked up."
            if any(s.accuracy for s in rows)
            else "No table has more than a few of its networks, so that only scores can be compared."
        )
        text = (
            "Evolution and random search look equally often; mean [least, most] over the searches, seconds of the "
            f"median one. The limit is half the parameters of the largest network in the table. {what}"
        )
        grid = grid_of([_search_row(s) for s in rows])
        yield tables.Chapter(f"Searches on {space}", (text,), (grid,), level=3)


def _found_row(f: SearchTime) -> dict[str, Any]:
    accuracy = "; ".join(f"{name.split(',')[0]} {value:.2f}" for name, value in f.accuracy.items())
    return {
        "space": f.space,
        "networks": f"{f.size:.2e}" if f.size >= 1e6 else f"{f.size:,}",
        "strategy": f.strategy,
        "looks": f"{f.looks:,}",
        "seconds": f"{f.seconds:.2f}",
        "SED of the best": f"{f.sed:.3f}",
        "its params": tables.quantity(f.params),
        "Pareto front": f.front,
        "accuracy of the best": accuracy or "–",
    }


def _search_row(s: SearchRow) -> dict[str, Any]:
    return {
        "strategy": s.strategy,
        "params at most": "–" if s.limit is None else tables.quantity(s.limit),
        "looks": f"{s.looks:,}",
        "searches": s.runs,
        "seconds": f"{s.seconds:.2f}",
        "SED": _spread(s.sed, s.runs, 3),
        "params": tables.quantity(s.params),
        **{f"{name}, %": _spread(values, s.runs, 2) for name, values in s.accuracy.items()},
    }


def _spread(values: tuple[float, float, float], runs: int, digits: int) -> str:
    mean, low, high = (f"{v:.{digits}f}" for v in values)
    return f"{mean} [{low}, {high}]" if runs > 1 else mean


def picks_summary(results: Sequence[DatasetResult]) -> tables.Chapter:
    """SED's pick between chance and the best, of all networks and within half the parameters."""
    rows = []
    for r in results:
        for limit, found in ((None, r.picks), (r.limit, r.limited)):
            if found:
                rows.append(_picks_row(r, limit, {p.by: p for p in found}))
    text = (
        "Of all networks in the table, and of those with at most half the parameters of the largest. Accuracy (params; "
        "share of the networks allowed that are less accurate). *Rivals*: how many public rivals pick a network that "
        "is no better."
    )
    return tables.Chapter("The network that SED likes best", (text,), (grid_of(rows),), level=3)


def _picks_row(result: DatasetResult, limit: float | None, found: Mapping[str, Pick]) -> dict[str, Any]:
    own = found.get("SED")
    rivals = [p for by, p in found.items() if by not in ("SED", BEST, RANDOM_NETWORK, LARGEST, MOST_MACS)]
    no_better = sum(own is not None and p.accuracy <= own.accuracy for p in rivals)
    cells = {
        by: _pick_cell(found[by]) if by in found else "–" for by in ("SED", LARGEST, RANDOM_NETWORK, BEST)
    }
    return {
        "benchmark": result.benchmark,
        "dataset, unit": f"{result.dataset}, {result.unit}",
        "params at most": "–" if limit is None else tables.quantity(limit),
        **cells,
        "rivals": f"{no_better} of {len(rivals)}",
    }


def picks_of(name: str, results: Sequence[DatasetResult]) -> tables.Chapter:
    """Accuracy of the network that each predictor likes best, without and with the limit."""
    choices: list[tuple[str, Callable[[DatasetResult], tuple[Pick, ...]]]] = [
        ("Of all networks:", lambda r: r.picks),
        ("Of those with at most half the parameters of the largest:", lambda r: r.limited),
    ]
    grids = []
    for caption, of in choices:
        shown = [r for r in results if of(r)]
        if shown:
            grids.append(grid_of(_pick_rows(shown, of), caption))
    text = (
        "Accuracy (params; share of the networks allowed that are less accurate). A mean where several are liked "
        "equally well. Rivals choose among the networks that they have a score for. "
        f"*{RANDOM_NETWORK}*: the mean of all."
    )
    heading = f"{name}: the network that each rival likes best"
    return tables.Chapter(heading, (), tuple(grids), (text,), folded=True)


def _pick_rows(results: Sequence[DatasetResult], of: Callable[[DatasetResult], tuple[Pick, ...]]) -> Rows:
    names = list(dict.fromkeys(p.by for r in results for p in of(r)))
    first = [n for n in ("SED", BEST, RANDOM_NETWORK, LARGEST) if n in names]
    rows = []
    for name in [*first, *(n for n in names if n not in first)]:
        row: dict[str, Any] = {"by": name}
        for r in results:
            found = next((p for p in of(r) if p.by == name), None)
            row[f"{r.dataset}, {r.unit}"] = "–" if found is None else _pick_cell(found)
        rows.append(row)
    return rows


def _pick_cell(p: Pick) -> str:
    size = "" if p.params is None else f"{tables.quantity(p.params)}; "
    return f"{p.accuracy:.4g} ({size}{p.percentile:.1%})"


def times(space: SpaceTimes | None, networks: NetworkTimes | None) -> tables.Chapter | None:
    """What scoring costs, beside rivals."""
    if space is None or networks is None:
        return None
    each = space.first / space.networks
    ways = {
        f"from strings, all {space.networks:,} together (first time)": each,
        "from one string, through its topology": networks.string,
        "from the built module: trace and score": networks.traced,
        "build, trace and score": networks.build + networks.traced,
    }
    rows = [
        {
            "SED": way,
            "seconds a network": f"{seconds:.3g}",
            **{f"{r} takes × as long": f"{s / seconds:,.0f}" for r, s in networks.rivals.items()},
        }
        for way, seconds in ways.items()
    ]
    rivals = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in networks.rivals.items())
    load = "" if networks.load is None else f" The machine's load average was {networks.load:.1f}."
    of_space = (
        f"All {space.networks:,} cells of {space.space} from their strings, one core: "
        f"{space.first:.3f} s the first time ({each * 1e6:.1f} µs a cell), {space.again:.3f} s again. CPU seconds of "
        f"one thread, which are those of the clock on a core that nobody else uses.{load}"
    )
    of_networks = (
        f"Medians over {len(networks.archs)} built networks of {networks.space}, one core, one run: {rivals} a "
        f"network (batch of {networks.batch}, random input, building the module not counted), building it "
        f"{networks.build:.3g} s. Score from the string and from the module differ by at most "
        f"{networks.largest_difference:.1e} nats. The first row is what a search in a space of this package costs; a "
        "network that comes as a module costs the third, or the fourth with its making."
    )
    return tables.Chapter("Time", (of_space, of_networks), (grid_of(rows),))
