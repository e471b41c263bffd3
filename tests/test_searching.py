"""Search: limits, fronts, strategies, and results that say what happened."""

from __future__ import annotations

import itertools
import json
import math
import re
import runpy
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import sed_torch
from sed_torch import Topology, TopologyBuilder
from sed_torch.errors import MissingDependencyError, SearchError, SpaceError
from sed_torch.scoring import sed
from sed_torch.searching import (
    CallableSpace,
    SearchProgress,
    SearchResult,
    optuna_objective,
    parse_quantity,
    search,
)
from sed_torch.searching.limits import front
from sed_torch.searching.sources import source_of
from sed_torch.searching.strategies import Evolution, Exhaustive, Random
from sed_torch.spaces import SPACES, NASBench201, count_many, get_space

NB201 = get_space("nasbench201")


def chain(widths: tuple[int, ...]) -> Topology:
    b = TopologyBuilder()
    x = b.input(3, (8, 8))
    for width in widths:
        x = b.conv(x, width, 3, padding=1)
    return b.finish(x)


def draw(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(w) for w in rng.integers(1, 9, size=3))


def change(widths: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
    place = int(rng.integers(len(widths)))
    return (*widths[:place], int(rng.integers(1, 9)), *widths[place + 1 :])


OWN = CallableSpace(draw, chain, change, name="chains")


# --- the whole space ---


def test_exhaustive_finds_what_a_plain_loop_finds() -> None:
    archs = list(NB201)
    score, params = NB201.score_many(archs), count_many(NB201, archs, ["params"])["params"]
    allowed = (params <= 1e6) & np.isfinite(score)
    best = score[allowed].max()
    smallest = params[allowed & (score == best)].min()
    found = search("nasbench201", constraints={"params": "1.0M"}, budget_s=None)
    assert (found.strategy, found.stop, found.looks, found.size) == (
        "exhaustive",
        "exhausted",
        15_625,
        15_625,
    )
    assert (found.best.sed, found.best.params) == (best, smallest)
    assert found.feasible == allowed.sum()
    assert found.best.value == NB201.parse(found.best.arch)
    whole = NB201.topology(found.best.arch, keep_dead=True)
    assert (found.best.params, found.best.macs, found.best.depth) == (whole.params, whole.macs, whole.depth)
    # the front: better score for every parameter more, nothing that beats one of them
    assert found.front[0] == found.best
    for a, b in itertools.pairwise(found.front):
        assert a.sed > b.sed
        assert a.params > b.params
        assert not np.any(allowed & (score > b.sed) & (params < a.params))


def test_auto_sees_the_whole_space_where_time_allows() -> None:
    found = search("nasbench201", budget_s=20, progress=False)
    assert (found.strategy, found.stop) == ("exhaustive", "exhausted")
    assert found.seconds < 20
    assert search("nasbench201", budget_s=20, max_looks=100).strategy == "evolution"
    assert search("darts", max_looks=70, budget_s=None).strategy == "evolution"

    class Slow(NASBench201):
        def score_many(self, archs: Sequence[Any], **options: Any) -> Any:
            time.sleep(0.001 * len(archs))
            return super().score_many(archs, **options)

    assert search(Slow(), budget_s=0.5).strategy == "evolution"


def test_objectives_turn_the_search() -> None:
    lean = search("nasbench201", objectives=("params", "sed"), budget_s=None)
    # 73,306 is the network without convolutions in its cells: of all these, the one with the highest score
    assert lean.best.params == 73_306
    assert lean.best.sed == pytest.approx(max(c.sed for c in lean.front if c.params == 73_306))
    both = search("nasbench201", objectives=("sed", "macs", "depth"), budget_s=None)
    assert {c.depth for c in both.front} > {6, 51}
    assert search("nasbench201", objectives="sed", budget_s=None).front == both.front[:1]


def test_all_limits_hold() -> None:
    found = search("nasbench201", constraints={"params": 5e5, "macs": 6e7, "depth": 40}, budget_s=None)
    for c in (*found.front, *(i.best for i in found.history)):
        assert c.params <= 5e5
        assert c.macs <= 6e7
        assert c.depth <= 40
    assert len(found.front) > 3


# --- what cannot be ---


def test_limits_are_spelled_as_on_the_command_line() -> None:
    by_name = search("nasbench201", max_params="500k", max_macs=6e7, max_depth=40, budget_s=None)
    mapped = search("nasbench201", constraints={"params": 5e5, "macs": "60M", "depth": 40}, budget_s=None)
    assert by_name.constraints == mapped.constraints
    assert by_name.front == mapped.front
    with pytest.raises(SearchError, match="params is limited twice, by max_params and by constraints"):
        search("nasbench201", max_params=1e6, constraints={"params": 1e6})


def test_why_it_stopped_below_the_limit() -> None:
    space = get_space("nats_size")
    found = search("nats_size", max_params="300k", max_macs="20M", budget_s=None)
    assert found.best.params < 0.9 * 3e5
    used = f"{found.best.params / 3e5:.0%} of the limit: no larger one within the limits scores higher"
    assert used in str(found)
    # which is so
    archs = list(space)
    counts = space.count_many(archs, ["params", "macs"])
    larger = (counts["params"] > found.best.params) & (counts["params"] <= 3e5) & (counts["macs"] <= 20e6)
    assert larger.any()
    assert space.score_many(archs)[larger].max() <= found.best.sed
    some = search("nasbench201", max_params="3M", max_looks=30, strategy="random")
    assert "a longer search may find one" in str(some)
    least = search("nasbench201", max_params="1M", objectives=("params",), budget_s=None)
    assert "of the limit: params comes first" in str(least)
    assert "of the limit" not in str(search("nasbench201", max_depth=51, budget_s=None))


def test_what_is_found_can_be_built_and_written_as_code(tmp_path: Path) -> None:
    found = search("nats_size", max_params="100k", budget_s=None)
    file = tmp_path / "net.py"
    for candidate in (None, found.front[-1]):
        chosen = candidate or found.best
        file.write_text(found.to_code(candidate))
        built = runpy.run_path(str(file))["network"](num_classes=7)
        for module in (built, found.build(candidate, num_classes=7)):
            assert module.classifier.out_features == 7
        whole = found.build(candidate)
        assert sum(p.numel() for p in whole.parameters()) == chosen.params
        size = get_space("nats_size").input_size
        assert sed_torch.score(whole, input_size=size).total == pytest.approx(chosen.sed, abs=1e-9)
        assert chosen.arch in file.read_text()
    again = SearchResult.from_json(found.to_json())
    assert again.to_code() == found.to_code()
    own = search(CallableSpace(get_space("nats_size").sample, get_space("nats_size").topology), max_looks=2)
    for use in (own.build, own.to_code):
        with pytest.raises(
            SearchError, match=r"custom is a space of your own: build its network from best\.value"
        ):
            use()


def test_nothing_within_the_limits_says_what_is_smallest() -> None:
    message = (
        "none of 15,625 architectures of nasbench201 that were looked at, which are all, satisfies params ≤ 1,000: "
        "the smallest seen with a live path has 73,306 params"
    )
    with pytest.raises(SearchError, match=f"^{re.escape(message)}$"):
        search("nasbench201", constraints={"params": 1000}, budget_s=None)
    with pytest.raises(
        SearchError, match=r"has 73,306 params, 7,\d{3},\d{3} macs \(not all in one network\)$"
    ):
        search("nasbench201", constraints={"params": 74_000, "macs": 7e6}, budget_s=None)
    with pytest.raises(SearchError, match="a longer search may find a smaller one"):
        search("darts", constraints={"params": 10}, max_looks=5)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"constraints": {"flops": 1}}, "cannot limit 'flops': expected some of params, macs, depth"),
        ({"constraints": {"params": 0}}, "limit of params must be a positive number, found 0"),
        ({"constraints": {"params": math.nan}}, "must be a positive number, found nan"),
        ({"constraints": {"macs": "many"}}, "'many' is no quantity: expected a number such as"),
        ({"objectives": ()}, r"objectives \(\): expected one or more of sed, expected, params"),
        ({"objectives": ("sed", "sed")}, "each once"),
        ({"objectives": ("accuracy",)}, "expected one or more of sed"),
        ({"strategy": "gradient"}, "no strategy 'gradient': expected one of auto, exhaustive"),
        ({"budget_s": 0}, "budget_s must be a positive number of seconds or None"),
        ({"max_looks": 0}, "max_looks must be 1 or more"),
        ({"budget_s": None, "strategy": "random"}, "would never end: give budget_s or max_looks"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(SearchError, match=match):
        search("nasbench201", **arguments)


def test_wrong_spaces() -> None:
    with pytest.raises(SpaceError, match="unknown search space 'nasbench999'"):
        search("nasbench999")
    with pytest.raises(
        SearchError, match="cannot search int: expected a space, its name, or an object with sample"
    ):
        search(3)
    with pytest.raises(SearchError, match="cannot search the class NASBench201: expected a space, its name"):
        search(NASBench201)
    with pytest.raises(SearchError, match="darts cannot be enumerated: use strategy 'evolution' or 'random'"):
        search("darts", strategy="exhaustive")
    with pytest.raises(SearchError, match=r"chains has no mutate\(arch, rng\)"):
        search(CallableSpace(draw, chain, name="chains"), strategy="evolution")
    with pytest.raises(SearchError, match=r"topology\(\(.*\)\) gave str, expected a Topology"):
        search(CallableSpace(draw, str))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"), [("1.0M", 1e6), ("200k", 2e5), ("1,000", 1000), (" 2G ", 2e9), ("3e6", 3e6), ("7", 7)]
)
def test_quantities(text: str, value: float) -> None:
    assert parse_quantity(text) == value


# --- strategies ---


def test_no_strategy_proposes_twice() -> None:
    for kind in (Exhaustive, Random, Evolution):
        source = source_of("transnas_micro")
        strategy = kind(source, np.random.default_rng(0))
        seen: list[Any] = []
        while len(seen) < 1500:
            archs = strategy.ask(200)
            assert archs
            strategy.tell(archs, source.measure(archs, ("sed",))["sed"].tolist(), [0.0] * len(archs))
            seen.extend(archs)
        assert len(set(seen)) == len(seen)


def test_a_small_space_is_seen_whole_by_chance_too() -> None:
    def two(rng: np.random.Generator) -> tuple[int, ...]:
        return (int(rng.integers(1, 3)), int(rng.integers(1, 3)))

    found = search(CallableSpace(two, chain), budget_s=None, max_looks=1000)
    assert (found.looks, found.stop, found.strategy, found.size) == (4, "exhausted", "random", None)
    assert found.best.arch == "(2, 2)"


def test_evolution_beats_random_at_the_same_number_of_looks() -> None:
    evolved, random = (
        [search("darts", strategy=s, max_looks=320, budget_s=None, seed=i).best.sed for i in range(2)]
        for s in ("evolution", "random")
    )
    assert min(evolved) > max(random)


def test_evolution_finds_its_way_into_the_limits() -> None:
    # none of the first 128 is that small: only the distance to the limit leads there
    limit = {"params": 4.2e5}
    rng = np.random.default_rng(0)
    first = [get_space("darts").sample(rng) for _ in range(128)]
    assert count_many(get_space("darts"), first, ["params"])["params"].min() > limit["params"]
    found = search("darts", constraints=limit, max_looks=1200, budget_s=None)
    assert found.best.params <= limit["params"]


def test_the_seed_repeats_a_search() -> None:
    first, again, other = (
        search("nasbench101", seed=seed, max_looks=150, budget_s=None) for seed in (3, 3, 4)
    )
    assert first.front == again.front
    assert [i.best for i in first.history] == [i.best for i in again.history]
    assert first.front != other.front


def test_history_only_gets_better() -> None:
    found = search(OWN, max_looks=300, budget_s=None)
    looks = [i.looks for i in found.history]
    assert looks == sorted(set(looks))
    scores = [i.best.sed for i in found.history]
    assert scores == sorted(scores)
    assert found.history[-1].best == found.best
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(found.history))


# --- a user's own space ---


def test_callables() -> None:
    found = search(OWN, max_looks=500, budget_s=None, constraints={"params": 800})
    assert found.space == "chains"
    assert found.strategy == "evolution"
    assert found.best.value == tuple(json.loads(found.best.arch.replace("(", "[").replace(")", "]")))
    assert found.best.sed == pytest.approx(sed(chain(found.best.value)))
    assert found.best.params == chain(found.best.value).params <= 800
    # all 512: three convolutions of 3×3
    allowed = [w for w in itertools.product(range(1, 9), repeat=3) if chain(w).params <= 800]
    assert found.best.sed == pytest.approx(max(sed(chain(w)) for w in allowed))


def test_any_object_with_sample_and_topology() -> None:
    class Mine:
        def sample(self, rng: np.random.Generator) -> list[int]:
            return list(draw(rng))

        def topology(self, arch: list[int]) -> Topology:
            return chain(tuple(arch))

    found = search(Mine(), max_looks=20, budget_s=None)
    assert (found.space, found.looks, found.strategy) == ("Mine", 20, "random")


# --- the end ---


def test_the_budget_ends_it() -> None:
    def slow(widths: tuple[int, ...]) -> Topology:
        time.sleep(0.01)
        return chain(widths)

    start = time.perf_counter()
    found = search(CallableSpace(draw, slow, change), budget_s=0.3, strategy="random")
    assert found.stop == "budget"
    assert 5 < found.looks < 40
    assert time.perf_counter() - start < 1.0


def test_ctrl_c_keeps_the_best_so_far() -> None:
    def stop(state: SearchProgress) -> None:
        if state.looks >= 200:
            raise KeyboardInterrupt

    found = search("darts", budget_s=None, max_looks=10_000, progress=stop)
    assert found.stop == "interrupted"
    assert 200 <= found.looks < 1000
    assert "interrupted; this is the best until then" in str(found)

    def at_once(rng: np.random.Generator) -> tuple[int, ...]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        search(CallableSpace(at_once, chain))


def test_progress_is_told() -> None:
    states: list[SearchProgress] = []
    found = search(OWN, max_looks=50, budget_s=None, progress=states.append)
    assert states[-1].looks == found.looks == 50
    assert states[-1].best == found.best.sed


# --- views ---


def test_views() -> None:
    found = search("nasbench201", constraints={"params": 1e6}, budget_s=None)
    data = json.loads(found.to_json())
    assert data["schema"] == "sed_torch.search/1"
    assert data["best"] == found.best.to_dict()
    assert data["constraints"] == {"params": 1e6}
    assert [c["arch"] for c in data["front"]] == [c.arch for c in found.front]
    assert found.to_dataframe()["arch"].tolist() == [c.arch for c in found.front]
    assert found.to_csv().splitlines()[0] == "arch,sed,params,macs,depth"
    for text in (str(found), found.to_markdown(), found._repr_html_()):
        assert "Search of nasbench201 with params ≤ 1.00 M" in text
        assert "15,625 of 15,625 architectures" in text
        assert f"{found.best.sed:.3f}" in text
    assert "\\|nor_conv" in found.to_markdown()
    assert repr(found).startswith("SearchResult(Search of nasbench201 with params ≤ 1.00 M: the best has SED")


# --- fronts ---

POINTS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=30)


@given(POINTS)
@settings(max_examples=100, deadline=None)
def test_a_front_is_what_nothing_beats(rows: Sequence[tuple[int, ...]]) -> None:
    points = np.array(rows, dtype=np.float64)
    found = front(points).tolist()

    def beaten(i: int) -> bool:
        return bool(((points <= points[i]).all(axis=1) & (points < points[i]).any(axis=1)).any())

    assert {rows[i] for i in found} == {rows[i] for i in range(len(rows)) if not beaten(i)}
    assert len({rows[i] for i in found}) == len(found)
    assert [rows[i] for i in found] == sorted(rows[i] for i in found)


# --- Optuna ---


def test_without_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"needs the package 'optuna'.*sed-torch\[search\]"):
        optuna_objective("nasbench201")


@pytest.fixture
def optuna() -> Any:
    found = pytest.importorskip("optuna", reason="Optuna is not installed")
    found.logging.set_verbosity(found.logging.ERROR)
    return found


@pytest.mark.parametrize("space", SPACES)
def test_an_objective_for_optuna(optuna: Any, space: str) -> None:
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.optimize(optuna_objective(space, constraints={"params": 1e6}), n_trials=20)
    done = [t for t in study.trials if t.state.name == "COMPLETE"]
    assert done
    for trial in done:
        arch = trial.user_attrs["arch"]
        assert trial.values[0] == pytest.approx(get_space(space).score_many([arch])[0], abs=1e-9)
        assert trial.values[1] == get_space(space).params(arch)
        assert (trial.user_attrs["violation"] > 0) == (trial.values[1] > 1e6)


def test_a_study_as_the_strategy(optuna: Any) -> None:
    def study(*directions: str) -> Any:
        return optuna.create_study(
            directions=list(directions), sampler=optuna.samplers.NSGAIISampler(seed=0, population_size=10)
        )

    mine = study("maximize", "minimize")
    found = search("nasbench201", strategy=mine, max_looks=40, budget_s=None)
    assert (found.strategy, found.looks) == ("optuna", 40)
    assert {c.arch for c in found.front} <= {t.user_attrs.get("arch") for t in mine.trials}
    with pytest.raises(
        SearchError, match="directions are MINIMIZE, those of sed, params are MAXIMIZE, MINIMIZE"
    ):
        search("nasbench201", strategy=study("minimize"))
    with pytest.raises(SearchError, match="chains does not say how an Optuna trial makes an architecture"):
        search(OWN, strategy=study("maximize", "minimize"))
    own = replace(OWN, suggest=lambda trial: tuple(trial.suggest_int(f"w{i}", 1, 8) for i in range(3)))
    found = search(own, strategy=study("maximize", "minimize"), max_looks=10, budget_s=None)
    assert (found.space, found.strategy, found.looks) == ("chains", "optuna", 10)
    assert found.best.sed == pytest.approx(sed(chain(found.best.value)))
    single = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    single.optimize(
        optuna_objective(
            OWN,
            objectives="sed",
            suggest=lambda t: tuple(t.suggest_int(f"w{i}", 1, 8) for i in range(3)),
        ),
        n_trials=5,
    )
    assert single.best_value <= sed(chain((8, 8, 8)))
