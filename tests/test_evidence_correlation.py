"""Rank statistics: values derived by hand, laws, and the count form against resampling row by row."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from sed_torch.errors import DataError, MissingDependencyError
from sed_torch.evidence import correlation as c, resampling

NAN = math.nan
columns = st.lists(st.integers(0, 6), min_size=3, max_size=25)


def test_by_hand() -> None:
    # ranks 1 2 3 4 against 2 1 4 3: d² = 4, ρ = 1 − 6·4/(4·15) = 0.6; of 6 pairs 2 are discordant, τ = 1/3
    found = c.correlate([1, 2, 3, 4], [20, 10, 40, 30], k=1, n_bootstrap=0, top_fraction=None)
    assert found.spearman == pytest.approx(0.6)
    assert found.kendall == pytest.approx(1 / 3)
    # the best score has accuracy 30 of 40; relevance (30 − 10)/30 = 2/3 against an ideal of 1
    assert found.regret == pytest.approx(10)
    assert found.ndcg == pytest.approx(2 / 3)
    assert (found.n, found.dropped, found.top, dict(found.intervals)) == (4, 0, None, {})


def test_weighted_tau_by_hand() -> None:
    # Only the pair (best, second) of 3 is discordant. Hyperbolic weights w(r) = 1/(r+1), pairs add theirs:
    # by either ranking (0,1): 1 + 1/2, (0,2): 1 + 1/3, (1,2): 1/2 + 1/3; total 11/3, τ_w = (11/3 − 2·3/2)/(11/3)
    assert c.weighted_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(2 / 11)


def test_ties_by_hand() -> None:
    # τ-b: x = 1 1 2, y = 1 2 3: two concordant pairs, one tied in x: 2/√((3−1)·3)
    assert c.kendall([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / math.sqrt(6))
    # ranks 1.5 1.5 3 against 1 2 3: 1.5/√(1.5·2)
    assert c.spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(math.sqrt(3) / 2)
    # tied best scores with relevance 0 and 1: expected 1/2 at position 1; regret counts the worst of the two
    assert c.ndcg([2, 2, 1], [0, 10, 5], k=1) == pytest.approx(0.5)
    assert c.regret([2, 2, 1], [0, 10, 5], k=1) == pytest.approx(10)


def test_ndcg_discount_by_hand() -> None:
    # relevance in score order 0, 1, 0.5: (0 + 1/log2 3 + 0.5/2)/(1 + 0.5/log2 3 + 0)
    expected = (1 / math.log2(3) + 0.25) / (1 + 0.5 / math.log2(3))
    assert c.ndcg([3, 2, 1], [0, 10, 5], k=3) == pytest.approx(expected)


def test_missing_rows_are_dropped_and_infinite_scores_are_ranked() -> None:
    scores = [-math.inf, 2, NAN, 3, 4]
    accuracy = [1, 2, 9, NAN, 3]
    found = c.correlate(scores, accuracy, n_bootstrap=0)
    assert (found.n, found.dropped, found.spearman) == (3, 2, pytest.approx(1))
    assert "2 dropped" in str(found)


@pytest.mark.parametrize(
    ("scores", "accuracy", "reason"),
    [
        ([1, 2], [1, 2], "2 complete rows"),
        ([1, 2, NAN], [1, 2, 3], "2 complete rows"),
        ([1, 1, 1], [1, 2, 3], "score is the same"),
        ([-math.inf] * 3, [1, 2, 3], "score is the same"),
        ([1, 2, 3], [1, 1, 1], "accuracy is the same"),
        ([], [], "0 complete rows"),
    ],
)
def test_undefined_is_none_with_a_reason(scores: list[float], accuracy: list[float], reason: str) -> None:
    found = c.correlate(scores, accuracy)
    assert (found.spearman, found.kendall, found.weighted_tau, found.ndcg, found.regret) == (None,) * 5
    assert found.reason is not None
    assert reason in found.reason
    assert c.undefined_reason(scores, accuracy) == found.reason
    assert c.spearman(scores, accuracy) is None
    difference = c.paired_difference(scores, scores, accuracy)
    assert difference.value is None
    assert difference.reason
    partial = c.partial_spearman(scores, accuracy, {"params": scores})
    assert partial.value is None
    assert partial.reason
    json.dumps([found.to_dict(), difference.to_dict(), partial.to_dict()], allow_nan=False)


def test_bad_arguments() -> None:
    with pytest.raises(DataError, match="2 scores for 3 accuracies"):
        c.correlate([1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="one-dimensional"):
        c.correlate([[1, 2, 3]], [1, 2, 3])
    with pytest.raises(DataError, match="array of numbers"):
        c.correlate(["a", "b", "c"], [1, 2, 3])
    with pytest.raises(DataError, match="at least one covariate"):
        c.partial_spearman([1, 2, 3], [1, 2, 3], {})
    with pytest.raises(ValueError, match="k must be 1"):
        c.ndcg([1, 2, 3], [1, 2, 3], k=0)
    with pytest.raises(ValueError, match="n_bootstrap must be"):
        c.correlate([1, 2, 3], [1, 2, 3], n_bootstrap=-1)
    with pytest.raises(ValueError, match="unknown statistic 'pearson'"):
        c.paired_difference([1, 2, 3], [1, 2, 3], [1, 2, 3], statistic="pearson")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fraction must be in"):
        c.top_rows([1, 2, 3], 0)


def test_top_rows_by_hand() -> None:
    accuracy = np.arange(30.0)
    assert np.flatnonzero(c.top_rows(accuracy)).tolist() == [27, 28, 29]
    assert np.flatnonzero(c.top_rows([5, 5, 5, 1, NAN], 0.25)).tolist() == [0, 1, 2]  # tied with the last one
    assert not c.top_rows([NAN, NAN]).any()


def test_top_is_the_statistic_of_the_best_rows() -> None:
    rng = np.random.default_rng(0)
    y = rng.permutation(100).astype(float)
    x = np.where(y >= 90, -y, y)  # right order below, reversed among the best ten
    found = c.correlate(x, y, n_bootstrap=50)
    assert found.top is not None
    assert (found.top.n, found.top.spearman) == (10, pytest.approx(-1))
    assert found.top.intervals["spearman"].high == pytest.approx(-1)


@given(columns, st.randoms())
def test_laws(values: list[int], random: object) -> None:
    y = np.arange(len(values), dtype=float)
    x = np.asarray(values, dtype=float)
    if c.undefined_reason(x, y) is not None:
        return
    assert c.spearman(x, y) == pytest.approx(-c.spearman(-x, y))  # type: ignore[operator]
    assert c.kendall(x, y) == pytest.approx(c.kendall(np.exp(x), y**3))  # monotone maps change nothing
    assert c.spearman(x, y) == pytest.approx(c.spearman(y, x))
    assert 0 <= c.ndcg(x, y, 3) <= 1 + 1e-12  # type: ignore[operator]
    assert c.ndcg(y, y, 3) == pytest.approx(1)
    assert c.regret(y, y, 1) == 0
    assert c.regret(x, y, len(values)) == 0
    assert c.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)


@settings(max_examples=30, deadline=None)
@given(columns, st.integers(0, 99))
def test_counts_give_what_resampled_rows_give(values: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.asarray(values, dtype=float)
    y = rng.integers(0, 5, x.size).astype(float)
    if c.undefined_reason(x, y) is not None:
        return
    counts = next(iter(resampling._count_draws(x.size, 6, seed)))
    assert (counts.sum(axis=1) == x.size).all()
    for draw, single in (
        (resampling._SpearmanDraws(x, y), c.spearman),
        (resampling._KendallDraws(x, y), c.kendall),
    ):
        fast = draw(counts)
        slow = [single(np.repeat(x, w), np.repeat(y, w)) for w in counts]
        assert fast == pytest.approx([NAN if s is None else s for s in slow], nan_ok=True, abs=1e-6)


def test_interval_is_the_bootstrap_s_and_seeded() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=300)
    x = y + rng.normal(size=300)
    found = c.correlate(x, y, n_bootstrap=400, seed=3)
    again = c.correlate(x, y, n_bootstrap=400, seed=3)
    other = c.correlate(x, y, n_bootstrap=400, seed=4)
    assert found == again
    assert found.intervals["spearman"] != other.intervals["spearman"]
    for name in ("spearman", "kendall", "weighted_tau", "ndcg", "regret"):
        interval = found.intervals[name]
        assert interval.low <= getattr(found, name) <= interval.high or name in ("ndcg", "regret")
        assert interval.resamples == 400
    # the asymptotic standard error of ρ at ρ ≈ 0.68 and n = 300 is about 0.03: a width of 0.1 to 0.15
    width = found.intervals["spearman"].high - found.intervals["spearman"].low
    assert 0.08 < width < 0.18
    reference = stats.bootstrap(
        (x, y), lambda a, b: stats.spearmanr(a, b).statistic, paired=True, vectorized=False,
        n_resamples=400, method="percentile", random_state=0,
    ).confidence_interval  # fmt: skip
    assert found.intervals["spearman"].low == pytest.approx(reference.low, abs=0.02)
    assert found.intervals["spearman"].high == pytest.approx(reference.high, abs=0.02)


def test_below_ten_rows_there_is_no_interval() -> None:
    x = np.arange(9.0)
    for columns in (x, x + 2.5 * (x == 4)):
        assert c.correlate(columns, x, n_bootstrap=50).intervals == {}
        assert c.paired_difference(columns, -x, x, n_bootstrap=50).interval is None
    given = {"params": [3.0, 1, 4, 1, 5, 9, 2, 6, 5]}
    assert c.partial_spearman(x, x + np.sin(x), given, n_bootstrap=50).interval is None
    x = np.arange(10.0)
    assert c.correlate(x, x, n_bootstrap=50).intervals["spearman"].resamples == 50
    assert c.partial_spearman(x, x + np.sin(x), {"params": np.cos(x)}, n_bootstrap=50).interval is not None


@pytest.mark.parametrize(
    ("defined", "has"), [(5, True), (4, False), (2, False), (10, True)], ids=lambda v: str(v)
)
def test_an_interval_needs_half_of_its_resamples(defined: int, has: bool) -> None:
    """What is undefined in most resamples has no interval; the others count."""
    draws = np.full(10, NAN)
    draws[:defined] = np.linspace(0, 1, defined)
    found = resampling.percentiles(draws)
    assert (found is not None) == has
    if found is not None:
        assert found.resamples == defined
        assert 0 <= found.low < found.high <= 1


def test_mostly_undefined_resamples_leave_no_interval() -> None:
    # one row of thirty differs: it is drawn in 64 % of the resamples; of its copies' score in far fewer
    y = np.arange(30.0)
    rare = np.zeros(30)
    rare[0] = 1.0
    found = c.correlate(rare, y, n_bootstrap=200)
    assert 0.5 * 200 < found.intervals["spearman"].resamples < 0.8 * 200
    assert resampling.percentiles(np.array([0.5, NAN, NAN, 0.7, NAN])) is None


def test_paired_difference_is_paired() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=200)
    noise = rng.normal(size=200)
    first, second = y + noise, y + noise * 1.05
    found = c.paired_difference(first, second, y, n_bootstrap=300)
    assert found.value == pytest.approx(c.spearman(first, y) - c.spearman(second, y))  # type: ignore[operator]
    assert found.interval is not None
    assert found.first_interval is not None
    # two nearly equal predictors: the difference varies far less than either figure
    assert found.interval.high - found.interval.low < 0.3 * (
        found.first_interval.high - found.first_interval.low
    )
    assert found.interval.low <= found.value <= found.interval.high
    assert c.paired_difference(first, first, y, n_bootstrap=50).significant is False
    assert c.paired_difference(y, noise, y, statistic="kendall", n_bootstrap=50).significant is True
    assert c.paired_difference(y, noise, y, n_bootstrap=0).significant is None


def test_paired_difference_uses_the_common_rows() -> None:
    found = c.paired_difference(
        [1, 2, 3, 4, NAN], [4, 3, 2, 1, 0], [1, 2, 3, 4, 5], n_bootstrap=0, statistic="regret", k=1
    )
    assert (found.n, found.dropped, found.first, found.second, found.value) == (4, 1, 0, 3, -3)
    reason = c.paired_difference([1, 2, 3], [1, 1, 1], [1, 2, 3]).reason
    assert reason == "the second predictor is the same on every row"


def test_partial_spearman_equals_the_textbook_formula() -> None:
    rng = np.random.default_rng(3)
    z = rng.normal(size=150)
    x, y = z + rng.normal(size=150), z + rng.normal(size=150)
    found = c.partial_spearman(x, y, {"params": z}, n_bootstrap=100)
    xy, xz, yz = (stats.spearmanr(a, b).statistic for a, b in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert found.value == pytest.approx(expected)
    assert found.interval is not None
    assert found.interval.low < found.value < found.interval.high
    logs = c.partial_spearman(x, y, {"log-params": np.exp(z)}, n_bootstrap=0)
    assert logs.value == pytest.approx(expected)


def test_partial_spearman_undefined_where_the_covariate_determines_the_score() -> None:
    found = c.partial_spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], {"params": [1, 2, 3, 4, 5]})
    assert found.value is None
    assert found.reason == "params determine the ranks of the score or of the accuracy"
    few = c.partial_spearman([1, 2, 3, 4], [2, 1, 4, 3], {"a": [1, 3, 2, 4], "b": [1, 2, 4, 3]})
    assert few.reason == "4 rows for 2 covariates: at least 5 are needed"


def test_large_n_uses_fewer_resamples_for_the_slow_ones_and_says_so() -> None:
    rng = np.random.default_rng(4)
    y = rng.normal(size=2500)
    found = c.correlate(y + rng.normal(size=2500), y, n_bootstrap=500, top_fraction=None)
    assert found.intervals["spearman"].resamples == 500
    assert found.intervals["weighted_tau"].resamples == 100
    assert found.intervals["kendall"].resamples == 400  # 1,000,000 // 2,500


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(
        MissingDependencyError, match=r"rank correlation needs the package 'scipy'.*\[stats\]"
    ):
        c.spearman([1, 2, 3], [1, 2, 3])
    assert c.regret([1, 2, 3], [1, 2, 3], k=1) == 0  # needs numpy alone
