"""Reports: the same rows for score and rival, who was left out, and what is shown of it."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sed_torch import evidence as v
from sed_torch.errors import DataError, MissingDependencyError
from sed_torch.evidence import Accuracies, AccuracyRow
from sed_torch.evidence.correlation import spearman
from sed_torch.ranking import Ranking, RankRow

DATA = Path(os.environ.get("SED_TORCH_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
needs_data = pytest.mark.skipif(
    not (DATA / "nb201.csv.gz").exists(), reason="no benchmark data in SED_TORCH_DATA or ../shared/data"
)
NAN = math.nan


def example(n: int = 120) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    size, skill = rng.normal(size=n), rng.normal(size=n)
    y = size + skill
    rival = size + rng.normal(size=n)
    rival[: n // 2] = NAN
    return {"x": y + 0.3 * rng.normal(size=n), "y": y, "rival": rival, "params": np.exp(size)}


def report(**changes: object) -> v.ValidationReport:
    e = example()
    options: dict[str, object] = {
        "rivals": {"synflow": e["rival"]}, "params": e["params"], "macs": e["params"] ** 2,
        "groups": ["a"] * 60 + ["b"] * 52 + ["small"] * 7 + [None], "n_bootstrap": 100,
        "seeds": {"seed0": e["y"], "seed1": e["y"] + 0.1 * e["x"]}, "unit": "%",
    }  # fmt: skip
    return v.validate(e["x"], e["y"], **{**options, **changes})  # type: ignore[arg-type]


def test_rivals_are_compared_on_the_same_rows() -> None:
    e, found = example(), report()
    rival = next(c for c in found.rivals if c.rival == "synflow")
    half = slice(60, None)
    assert (found.n, rival.n) == (120, 60)
    assert found.overall.spearman == pytest.approx(spearman(e["x"], e["y"]))
    assert rival.score_correlation.spearman == pytest.approx(spearman(e["x"][half], e["y"][half]))
    assert rival.rival_correlation.spearman == pytest.approx(spearman(e["rival"][half], e["y"][half]))
    assert rival.difference.value == pytest.approx(
        spearman(e["x"][half], e["y"][half]) - spearman(e["rival"][half], e["y"][half])  # type: ignore[operator]
    )
    assert rival.difference.significant
    assert rival.top_difference.n == 6
    assert {c.rival for c in found.rivals} == {"synflow", "params", "macs"}
    values = [c.rival_correlation.spearman for c in found.rivals]
    assert values == sorted(values, reverse=True)  # type: ignore[type-var]


def test_partial_given_size() -> None:
    found = report()
    assert [p.covariates for p in found.partial] == [
        ("log-params",), ("log-MACs",), ("log-params", "log-MACs"),
    ]  # fmt: skip
    # params and MACs have the same ranks here, so both together hold fixed what one does
    first, second, both = (p.value for p in found.partial)
    assert first == pytest.approx(second)
    assert both == pytest.approx(first)
    assert first is not None
    assert first > 0.5
    by_size = v.validate(example()["params"], example()["y"], params=example()["params"], n_bootstrap=0)
    assert by_size.partial[0].value is None
    assert by_size.partial[0].reason is not None
    assert "determine" in by_size.partial[0].reason
    assert by_size.rivals[0].difference.value == 0


def test_within_groups() -> None:
    e, found = example(), report().within
    assert found is not None
    assert [(r.group, r.n) for r in found.rows] == [("a", 60), ("b", 52)]
    assert (found.groups, found.small) == (2, 1)
    by_hand = [spearman(e["x"][s], e["y"][s]) for s in (slice(0, 60), slice(60, 112))]
    assert found.mean["SED"] == pytest.approx(sum(by_hand) / 2)  # type: ignore[arg-type]
    assert set(found.mean) == {"SED", "params", "macs"}
    constant = v.validate([1.0] * 8 + [2.0], range(9), groups=["a"] * 8 + ["b"], n_bootstrap=0).within
    assert constant is not None
    assert constant.mean["SED"] is None
    assert constant.rows[0].reason == "the score is the same on every row"


def test_ceiling_is_between_the_runs_on_the_score_s_rows() -> None:
    e = example()
    x = e["x"].copy()
    x[:20] = NAN
    ceiling = v.validate(
        x, e["y"], seeds={"a": e["y"], "b": -e["y"], "c": e["y"] ** 3}, n_bootstrap=0
    ).ceiling
    assert {k: c.spearman for k, c in ceiling.items()} == pytest.approx({"a/b": -1, "a/c": 1, "b/c": -1})
    assert ceiling["a/b"].n == 100


def test_left_out_and_minus_infinity() -> None:
    found = v.validate(
        [-math.inf, 1, 2, NAN, 4, NAN], [0, 1, 2, 3, NAN, NAN], names=list("abcdef"), n_bootstrap=0
    )
    assert (found.n, found.overall.dropped, found.overall.spearman) == (3, 3, pytest.approx(1))
    assert found.left_out == (("d", "no score"), ("e", "no accuracy"), ("f", "no score and no accuracy"))
    assert "3 left out: 1 × no score" in str(found)
    assert v.validate([NAN, 1, 2, 3], [1, 2, 3, 4], n_bootstrap=0).left_out == (("row 0", "no score"),)


def test_undefined_says_why() -> None:
    found = v.validate([1, 1, 1, 1], [1, 2, 3, 4], rivals={"r": [NAN] * 4}, params=[NAN] * 4)
    assert found.overall.spearman is None
    assert found.rivals[0].difference.value is None
    assert "all rows: undefined, the score is the same on every row" in str(found)
    assert "r: undefined, 0 complete rows" in str(found)
    assert found.partial[0].reason is not None
    json.loads(found.to_json())


def test_views() -> None:
    found = report(
        title="<b>SED|x</b>", notes=["val_accuracy is a surrogate's prediction"], source="here <file>"
    )
    text, markdown, page = str(found), found.to_markdown(), found._repr_html_()
    for view in (text, markdown, page.replace("&#x27;", "'")):
        assert "val_accuracy is a surrogate's prediction" in view
        assert "synflow" in view
        assert "log-params and log-MACs" in view
        assert "seed0/seed1" in view
    assert "<b>SED|x" not in page
    assert "<file>" not in page
    assert "<b>" not in markdown
    assert "SED\\|x" in markdown
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(tables) > 12
    data = json.loads(found.to_json())
    assert data["schema"] == v.SCHEMA
    assert data["rivals"][0]["difference"]["interval"]["low"] is not None
    frame = found.to_dataframe()
    assert frame["predictor"].tolist()[0] == "SED"
    assert len(frame) == 4
    assert frame["difference_low"].notna().sum() == 3
    assert report().to_json() == report().to_json()


def test_lengths_are_checked() -> None:
    x = [1.0, 2.0, 3.0]
    for wrong, match in (
        ({"rivals": {"r": [1, 2]}}, "rival 'r': 2 values for 3 accuracies"),
        ({"params": [1]}, "params: 1 values for 3"),
        ({"names": ["a"]}, "names: 1 for 3"),
        ({"groups": ["a"]}, "groups: 1 for 3"),
        ({"seeds": {"s": [1]}}, "seed 's': 1 values"),
        ({"macs": ["x", "y", "z"]}, "macs: expected an array of numbers"),
        ({"macs": [[1, 2, 3]]}, "macs: expected a one-dimensional array"),
    ):
        with pytest.raises(DataError, match=match):
            v.validate(x, x, **wrong, n_bootstrap=0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="scores: 2 values for 3 accuracies"):
        v.validate([1, 2], x)


# --- joining ---

RANKING = """name,family,status,reason,sed,params,macs
timm:a,f1,ok,,3,30,300
torchvision:b,f1,ok,,2,20,
c,,undefined,no mixing operator,,10,100
d,f2,ok,,-inf,5,50
nowhere,f2,ok,,1,5,50
"""


def test_join_by_hand(tmp_path: Path) -> None:
    ranking, trained = tmp_path / "r.csv", tmp_path / "t.csv"
    ranking.write_text(RANKING)
    trained.write_text("model,top1\na,80\nb,70\nc,60\nd,10\nother,50\n")
    found = v.join(ranking, trained)
    assert found.names == ("a", "b", "d")
    assert found.scores.tolist() == [3, 2, -math.inf]
    assert found.accuracy.tolist() == [80, 70, 10]
    assert found.groups == ("f1", "f1", "f2")
    assert found.params is not None
    assert found.params.tolist() == [30, 20, 5]
    assert found.macs is not None
    assert math.isnan(found.macs[1])
    assert found.left_out == (
        ("c", "no score: no mixing operator"),
        ("nowhere", "no accuracy"),
        ("other", "not in the ranking"),
    )
    checked = found.validate(n_bootstrap=0)
    assert (checked.n, checked.overall.spearman, len(checked.left_out)) == (3, pytest.approx(1), 3)
    assert checked.title == "SED against top1"
    row = {"name": "b", "score": 2.0, "accuracy": 70.0, "params": 20.0, "macs": None, "group": "f1"}
    assert found.rows()[1] == row
    plain = found.to_dict()["networks"]
    assert plain[:2] == found.rows()[:2]
    assert plain[2] == {**found.rows()[2], "score": "-inf"}
    assert list(found.to_dataframe()["name"]) == ["a", "b", "d"]
    assert str(found).startswith("3 networks with a score and top1 of ")
    assert ">70.000</td>" in found._repr_html_()


def test_a_ranking_in_hand_joins_as_its_csv_does(tmp_path: Path) -> None:
    rows = [
        RankRow("timm:a", "f1", sed=1 / 3, params=30, macs=300.5),
        RankRow("b", "f1", sed=-math.inf, params=20),
        RankRow("c", None, "undefined", "no mixing operator", params=10),
        RankRow("d", "f2", sed=2.0),
    ]
    ranking = Ranking.of(rows)
    (tmp_path / "r.csv").write_text(ranking.to_csv())
    trained = Accuracies(
        tuple(AccuracyRow(n, a) for n, a in (("a", 80), ("b", 70), ("d", 10))), "top1", "%", "here", "one"
    )
    found, same = v.join(ranking, trained), v.join(tmp_path / "r.csv", trained)
    assert found.rows() == same.rows()
    assert found.left_out == same.left_out == (("c", "no score: no mixing operator"),)
    assert found.scores.tolist() == [2.0, 1 / 3, -math.inf]
    with pytest.raises(DataError, match="ranking, line 1: expected the column zen; found name, family"):
        v.join(ranking, trained, score_column="zen")
    with pytest.raises(DataError, match="ranking: none of its 4 networks has both a score and one of the 1"):
        v.join(ranking, Accuracies((AccuracyRow("z", 1.0),), "top1", "%", "here", "one"))


def test_scores_of_two_definitions_are_never_held_against_accuracies_together(tmp_path: Path) -> None:
    trained = Accuracies(
        tuple(AccuracyRow(n, float(i)) for i, n in enumerate("abc")), "top-1", "%", "here", "none"
    )
    lines = ["name,sed,definition,input", "a,1,sed/1,1x3x8x8", "b,2,sed/2,1x3x8x8", "c,3,sed/2,1x3x16x16"]
    path = tmp_path / "r.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(
        DataError, match=r"scores of sed/1 and sed/2, which do not compare: rank all models anew"
    ):
        v.join(path, trained)
    path.write_text("\n".join([lines[0], *lines[2:]]) + "\n")  # of one definition, but of two input sizes
    (caution,) = v.join(path, trained).cautions
    assert "scored at 2 inputs" in caution
    assert caution in v.join(path, trained).validate(n_bootstrap=0).notes
    path.write_text("\n".join([lines[0], lines[1].replace("sed/1", "sed/2"), lines[2]]) + "\n")
    assert v.join(path, trained).cautions == ()


def test_join_takes_the_reference_of_the_accuracies_own_zoo(tmp_path: Path) -> None:
    """One ranking of both zoos, which share names, serves both sources."""
    ranking = tmp_path / "r.csv"
    ranking.write_text("name,sed\ntimm:a,1\ntorchvision:a,2\ntorchvision:b,3\ntimm:b,4\ntimm:c,5\n")
    rows = tuple(AccuracyRow(n, 1.0) for n in "abc")
    for zoo, scores, others in (
        ("timm", [1, 4, 5], ["torchvision:a", "torchvision:b"]),
        ("torchvision", [2, 3, 5], ["timm:a", "timm:b"]),
    ):
        found = v.join(ranking, Accuracies(rows, "top-1", "%", "here", "none", zoo=zoo))  # type: ignore[arg-type]
        assert dict(zip(found.names, found.scores.tolist(), strict=True)) == dict(
            zip("abc", scores, strict=True)
        )
        assert found.left_out == tuple((o, f"ranked from {zoo} too") for o in others)
    # Without a zoo it is ambiguous, unless the accuracies spell it out or do not have it.
    with pytest.raises(DataError, match="'a' is ranked on line 2 already; rank one of them only, or name"):
        v.join(ranking, Accuracies(rows, "top-1", "%", "here", "none"))
    full = (AccuracyRow("timm:a", 1.0), AccuracyRow("torchvision:b", 1.0), AccuracyRow("c", 1.0))
    assert v.join(ranking, Accuracies(full, "top-1", "%", "here", "none")).scores.tolist() == [1, 3, 5]


def test_join_says_why_there_is_no_accuracy(tmp_path: Path) -> None:
    ranking = tmp_path / "r.csv"
    ranking.write_text("name,sed\ntimm:a,1\ntimm:b,2\ntimm:c,3\ntimm:d,4\n")
    left_out = (("a.x", "more data"), ("b.x", "a teacher"), ("b.y", "more data"), ("b.z", "more data"))
    known = Accuracies((AccuracyRow("a", 1.0), AccuracyRow("c", 2.0)), "top-1", "%", "here", "none", left_out)
    assert v.join(ranking, known).left_out == (
        ("timm:b", "no accuracy: more data; a teacher"),
        ("timm:d", "no accuracy"),
    )


def test_join_refuses_what_is_ambiguous_or_alien(tmp_path: Path) -> None:
    trained = Accuracies((AccuracyRow("a", 1.0),), "top-1", "%", "here", "none")
    ranking = tmp_path / "r.csv"
    ranking.write_text("name,sed\ntimm:a,1\na,2\n")
    with pytest.raises(DataError, match=r"r\.csv, line 3: 'a' is ranked on line 2 already"):
        v.join(ranking, trained)
    ranking.write_text("name,sed\nx,1\ny,2\n")
    with pytest.raises(DataError, match=r"none of its 2 networks .* the ranking has x, y, the accuracies a"):
        v.join(ranking, trained)
    ranking.write_text("name,score\nx,1\n")
    with pytest.raises(DataError, match="expected the column sed; found name, score"):
        v.join(ranking, trained)
    ranking.write_text("name,sed\na,high\n")
    with pytest.raises(DataError, match="line 2, column 'sed': expected a number, found 'high'"):
        v.join(ranking, trained)


# --- benchmarks ---


def test_validate_benchmark_on_a_small_file(tmp_path: Path) -> None:
    rows = "".join(f"a{i},{i},{-i},{i % 3},1,2\n" for i in range(20))
    header = "arch,cifar10_test,cifar10_snip,cifar10_zen,params_M,cifar10_flops_M\n"
    (tmp_path / "nb201.csv").write_text(header + rows)
    seen: list[Sequence[str]] = []

    def score(archs: Sequence[str]) -> list[float | None]:
        seen.append(archs)
        return [None if a == "a0" else float(a[1:]) for a in archs]

    found = v.validate_benchmark("nb201", data=tmp_path, score_fn=score, n_bootstrap=0)
    assert len(seen[0]) == 20
    assert (found.n, found.overall.spearman, found.left_out) == (19, pytest.approx(1), (("a0", "no score"),))
    assert {c.rival: c.difference.value for c in found.rivals}["snip"] == pytest.approx(2)
    assert found.title == "SED on nasbench201 cifar10"
    part = v.validate_benchmark("nb201", data=tmp_path, score_fn=score, sample=5, n_bootstrap=0)
    again = v.validate_benchmark("nb201", data=tmp_path, score_fn=score, sample=5, n_bootstrap=0)
    assert part.to_json() == again.to_json()
    assert len(seen[1]) == 5
    assert "a random sample of 5 of 20 architectures, seed 0" in part.notes
    with pytest.raises(DataError, match="score_fn gave 1 scores for 20 architectures"):
        v.validate_benchmark("nb201", data=tmp_path, score_fn=lambda archs: [1.0])
    with pytest.raises(ValueError, match="sample must be 1 or more"):
        v.validate_benchmark("nb201", data=tmp_path, score_fn=score, sample=0)


@needs_data
def test_validate_benchmark_on_published_accuracies() -> None:
    # the number of 3×3 convolutions, a crude score that needs no network
    def count(archs: Sequence[str]) -> list[float]:
        return [float(a.count("nor_conv_3x3")) for a in archs]

    found = v.validate_benchmark("nasbench201", data=DATA, score_fn=count, n_bootstrap=0)
    assert found.n == 15_625
    rows = {c.rival: c for c in found.rivals}
    assert rows["synflow"].n == rows["synflow"].score_correlation.n == 9_445
    assert rows["params"].rival_correlation.spearman == pytest.approx(0.753, abs=5e-4)
    assert rows["macs"].rival_correlation.spearman == pytest.approx(0.732, abs=5e-4)
    assert rows["zen"].n == 15_625 - 341  # where it failed it is missing, not the worst
    assert rows["zen"].rival_correlation.spearman == pytest.approx(0.344, abs=5e-4)
    assert found.ceiling["seed0/seed1"].spearman == pytest.approx(0.987, abs=2e-3)
    surrogate = v.validate_benchmark(
        "darts", data=DATA, score_fn=lambda a: [len(x) for x in a], n_bootstrap=0
    )
    assert "surrogate's prediction" in str(surrogate)
    assert {c.rival for c in surrogate.rivals} >= {"nwot", "params", "macs"}
    assert "flops" not in {c.rival for c in surrogate.rivals}


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    found = report(n_bootstrap=0)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match=r"to_dataframe\(\) needs the package 'pandas'"):
        found.to_dataframe()
    assert str(found)


def _noisy(strength: float, n: int = 60) -> tuple[list[float], list[float], list[float]]:
    """Scores that follow the accuracy by so much, accuracies, and MACs that follow it by a half."""
    draw = np.random.default_rng(0)
    accuracy = draw.normal(size=n)
    scores = strength * accuracy + (1 - strength) * draw.normal(size=n)
    return list(scores), list(accuracy), list(np.exp(0.5 * accuracy + 0.5 * draw.normal(size=n)))


@pytest.mark.parametrize(
    ("strength", "verdict"),
    [(0.95, "better than MACs"), (0.5, "no better than MACs"), (0.0, "worse than MACs")],
)
def test_the_verdict_is_one_sentence_and_comes_first(strength: float, verdict: str) -> None:
    scores, accuracy, macs = _noisy(strength)
    found = v.validate(scores, accuracy, macs=macs, n_bootstrap=200)
    assert found.verdict().startswith(f"SED orders these 60 networks {verdict} (Spearman's ρ ")
    assert "given MACs" in found.verdict()
    assert str(found).startswith(found.verdict())
    assert found.to_markdown().startswith(f"**{found.verdict()}**")


def test_a_verdict_claims_no_more_than_it_has() -> None:
    scores, accuracy, macs = _noisy(0.9, n=6)
    assert (
        "too few for an interval, so this shows nothing" in v.validate(scores, accuracy, macs=macs).verdict()
    )
    alone = v.validate(*_noisy(0.9)[:2], n_bootstrap=50).verdict()
    assert "nothing is known of their size" in alone
    flat = v.validate([1.0] * 20, list(range(20)), n_bootstrap=50).verdict()
    assert flat.startswith("SED says nothing of the order of these 20 networks: ")


def test_the_old_name_of_a_rival() -> None:
    with pytest.warns(DeprecationWarning, match="is now Rival"):
        assert v.Comparison is v.Rival  # type: ignore[attr-defined]
