"""Calibrations: the process against scikit-learn and against refitting, files, what is outside, and the shipped one."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sed_torch
from sed_torch.calibration import (
    Calibration,
    calibrate,
    expect,
    imagenet,
    read_calibration,
    write_calibration,
)
from sed_torch.calibration.fitting import GRID, _gaussian_process, _kernel, fit, folds, log_likelihood
from sed_torch.calibration.networks import Candidates, measured_of
from sed_torch.calibration.process import Component, Mixture, Points, matrix
from sed_torch.calibration.scales import by_error, by_ranks, linear
from sed_torch.calibration.shipped import calibrations, with_expected
from sed_torch.cli.entry import run
from sed_torch.errors import DataError, InputError
from sed_torch.evidence.correlation import spearman
from sed_torch.ranking import Ranking, RankRow
from sed_torch.scoring import DEFAULT_DEFINITION, wiring
from sed_torch.scoring.features import FEATURES, pack_features
from sed_torch.spaces import get_space

WIDTH = len(FEATURES)
BUCKETS = wiring.BUCKETS
ROOT = Path(__file__).resolve().parent.parent


def drawn(n: int, seed: int = 0) -> tuple[Points, Any, Any, Any]:
    """Random features and wiring, scores and targets on the normal scale."""
    rng = np.random.default_rng(seed)
    x = Points(rng.normal(size=(n, 4)) / 2, rng.normal(size=(n, 3)) / 2)
    s = rng.normal(size=n)
    return x, s, 0.6 * s + 0.7 * np.tanh(x.features[:, 0] * 3) + 0.1 * rng.normal(size=n), np.zeros(n)


def candidates(n: int = 80, useful: float = 1.0, seed: int = 0) -> tuple[Candidates, dict[str, float]]:
    """Networks whose accuracy depends on their score, and with ``useful`` on a feature that the score ignores."""
    rng = np.random.default_rng(seed)
    features = np.hstack([rng.normal(size=(n, WIDTH)), np.log1p(rng.integers(9, size=(n, BUCKETS)))])
    sed = rng.normal(loc=12.0, size=n)
    accuracy = 80 + 4 * (sed - 12) + 6 * useful * features[:, 3] + 0.1 * rng.normal(size=n)
    names = tuple(f"net{i}" for i in range(n))
    families = tuple(f"family{i % 7}" for i in range(n))
    found = Candidates(names, sed, features, DEFAULT_DEFINITION, families)
    return found, dict(zip(names, np.clip(accuracy, 1, 99).tolist(), strict=True))


@pytest.fixture(scope="module")
def small() -> Calibration:
    nets, accuracy = candidates()
    return calibrate(nets, {n: accuracy[n] for n in nets.names[:40]}, title="test accuracy")


# -- the process ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [GRID[0], GRID[4], GRID[-1]], ids=["score", "features", "wiring"])
def test_scikit_learn_says_the_same(setting: Any) -> None:
    x, s, z, noise = drawn(25)
    new, score, *_ = drawn(9, seed=1)
    coefficients = np.linalg.solve(matrix(x, noise, setting), z - setting.weight * s)
    mean, variance = Mixture(x, noise, (Component(setting, 1.0, coefficients),)).predict(new, score)
    judge = _gaussian_process(_kernel(setting), noise, optimizer=None).fit(
        x.mixed(setting.wiring), z - setting.weight * s
    )
    other, deviation = judge.predict(new.mixed(setting.wiring), return_std=True)
    assert log_likelihood(x, s, z, noise, setting) == pytest.approx(
        judge.log_marginal_likelihood_value_, abs=1e-5
    )
    np.testing.assert_allclose(mean, other + setting.weight * score, atol=1e-6)
    np.testing.assert_allclose(variance, deviation**2, atol=1e-6)


@pytest.mark.parametrize("grouped", [False, True])
def test_leaving_out_is_what_refitting_says(grouped: bool) -> None:
    x, s, z, noise = drawn(18)
    groups = [i // 4 for i in range(18)] if grouped else list(range(18))
    mixture = fit(x, s, z, noise + 0.01)
    found = folds(mixture, s, z, groups)
    left = np.array([g == groups[5] for g in groups])
    kept = Mixture(
        x[~left],
        noise[~left] + 0.01,
        tuple(
            Component(
                c.setting,
                1.0,
                np.linalg.solve(
                    matrix(x[~left], noise[~left] + 0.01, c.setting), (z - c.setting.weight * s)[~left]
                ),
            )
            for c in mixture.components
        ),
    )

    # the evidence without the group, from scratch; the prior of a setting is in the mixture's own probability
    def evidence(rows: Any, setting: Any) -> float:
        return log_likelihood(x[rows], s[rows], z[rows], noise[rows] + 0.01, setting)

    everything = np.ones(18, dtype=bool)
    odds = np.array(
        [
            np.log(c.probability) - evidence(everything, c.setting) + evidence(~left, c.setting)
            for c in mixture.components
        ]
    )
    weights = np.exp(odds - odds.max()) / np.exp(odds - odds.max()).sum()
    singles = [Mixture(kept.inputs, kept.noise, (c,)).predict(x[left], s[left])[0] for c in kept.components]
    np.testing.assert_allclose(found.mean[left], weights @ np.array(singles), atol=1e-5)


def test_features_without_use_leave_the_score_alone() -> None:
    nets, accuracy = candidates(300, useful=0.0)
    known = calibrate(nets, {n: accuracy[n] for n in nets.names[:12]})
    found = known.accuracies(nets.sed[12:], nets.features[12:])
    truth = [accuracy[n] for n in nets.names[12:]]
    alone, calibrated = spearman(nets.sed[12:], truth), spearman(found, truth)
    assert alone is not None
    assert calibrated is not None
    assert calibrated > alone - 0.02
    assert known.decided_by["score"] > 0.8


def test_features_of_use_are_used() -> None:
    nets, accuracy = candidates(300)
    known = calibrate(nets, {n: accuracy[n] for n in nets.names[:60]})
    truth = [accuracy[n] for n in nets.names[60:]]
    alone = spearman(nets.sed[60:], truth)
    calibrated = spearman(known.accuracies(nets.sed[60:], nets.features[60:]), truth)
    assert alone is not None
    assert calibrated is not None
    assert calibrated > alone + 0.15
    assert known.decided_by["features"] > 0.2
    assert sum(known.decided_by.values()) == pytest.approx(1.0)


def test_intervals_cover_what_was_not_shown() -> None:
    nets, accuracy = candidates(500)
    known = calibrate(nets, {n: accuracy[n] for n in nets.names[:150]})
    _, low, high = known.intervals(nets.sed[150:], nets.features[150:])
    truth = np.array([accuracy[n] for n in nets.names[150:]])
    assert 0.8 <= np.mean((low <= truth) & (truth <= high)) <= 0.98


def test_several_seeds_tell_the_noise() -> None:
    assert measured_of({"a": [90.0, 92.0], "b": [80.0, 80.0], "c": 70.0}).noise == pytest.approx(1.0)
    nets, accuracy = candidates(40)
    noisy = {n: [accuracy[n] - 1, accuracy[n] + 1] for n in nets.names}
    assert calibrate(nets, noisy).mixture.noise.min() > 0
    assert not calibrate(nets, noisy, noise="learned").mixture.noise.any()


# -- scales --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [linear, lambda v: by_error(v, 100.0), by_ranks, lambda v: by_ranks(v, 100.0)]
)
def test_scales_go_there_and_back(make: Callable[..., Any]) -> None:
    values = np.array([10.0, 60.0, 60.0, 71.0, 74.0, 75.5, 90.0])
    scale = make(values)
    there = scale.to_normal(values)
    assert (np.diff(there) >= 0).all()
    np.testing.assert_allclose(scale.from_normal(there), values, rtol=1e-9)
    if scale.ceiling is not None:
        assert scale.from_normal(np.array([50.0]))[0] <= 100.0


# -- what is read, and what is said --------------------------------------------------------------------------


def row(name: str, sed: float, features: np.ndarray[Any, Any], **more: Any) -> RankRow:
    counts = [round(math.expm1(v)) for v in features[WIDTH:].tolist()]
    text = pack_features(dict(zip(FEATURES, features.tolist(), strict=False)), counts)
    known: dict[str, Any] = {
        "coverage": 1.0,
        "definition": DEFAULT_DEFINITION,
        "params": 100,
        "macs": 1e3,
    } | more
    return RankRow(name=name, sed=sed, features=text, **known)


def test_a_ranking_and_a_csv(tmp_path: Path) -> None:
    nets, accuracy = candidates(30)
    rows = [
        row(n, s, f, family=f"f{i % 3}")
        for i, (n, s, f) in enumerate(zip(nets.names, nets.sed, nets.features, strict=True))
    ]
    ranking = Ranking.of(rows)
    file = tmp_path / "trained.csv"
    lines = [
        f"{n},{seed},{epoch},{accuracy[n] + epoch - 2}"
        for n in nets.names[:20]
        for seed in (0, 1)
        for epoch in (1, 2)
    ]
    file.write_text("name,seed,epoch,accuracy\n" + "\n".join(lines) + "\n")
    (tmp_path / "rank.csv").write_text(ranking.to_csv())
    by_hand = calibrate(ranking, {n: accuracy[n] for n in nets.names[:20]})
    from_files = calibrate(str(tmp_path / "rank.csv"), file, noise="learned")
    assert [h.left_out for h in from_files.held_out] == ["each network", "each group"]
    a, b = by_hand.predict(ranking), from_files.predict(ranking)
    np.testing.assert_allclose([e.accuracy for e in a], [e.accuracy for e in b], rtol=1e-5)
    shown = expect(ranking, by_hand, sort="expected")
    assert shown.rows[0].expected == max(e.accuracy for e in a if e.accuracy is not None)
    assert "expected" in shown.to_text()
    assert "expected" not in ranking.to_text()
    assert "accuracy, %" in shown.to_text()


def test_a_space(small: Calibration) -> None:
    space = get_space("nasbench201")
    rng = np.random.default_rng(0)
    archs = [space.format(space.sample(rng)) for _ in range(10)]
    sed = space.score_many(archs)
    known = calibrate(
        "nasbench201", {a: 70 + float(s) for a, s in zip(archs, sed, strict=True) if np.isfinite(s)}
    )
    model = sed_torch.score(space.build(archs[0]), input_size=space.input_size)
    (estimate,) = known.predict(model)
    assert estimate.inside
    assert estimate.accuracy == pytest.approx(70 + float(sed[0]), abs=1.0)
    larger = sed_torch.score(space.build(archs[0]), input_size=(1, 3, 64, 64))
    assert known.predict(larger)[0].verdict == "outside what it has seen"


def test_a_calibration_is_held_against_others_trained() -> None:
    nets, accuracy = candidates(n=120)
    fitted = dict(list(accuracy.items())[:40])
    made = calibrate(nets, fitted, groups=None)
    others = dict(list(accuracy.items())[40:])
    found = made.validate(nets, others, n_bootstrap=50)
    assert found.score_name == "expected"
    rival = next(r for r in found.rivals if r.rival == "SED")
    assert rival.score_correlation.spearman is not None
    assert rival.rival_correlation.spearman is not None
    assert rival.score_correlation.spearman > rival.rival_correlation.spearman + 0.1
    middle, low, high = made.intervals(nets.sed, nets.features)
    reasons = made.domain.outside(nets.features, made.mixture.inputs, made.features)
    keep = [i for i, n in enumerate(nets.names) if n in others and reasons[i] is None]
    off = np.abs([middle[i] - others[nets.names[i]] for i in keep])
    assert f"mean error {off.mean():.2f} %" in found.notes[0]
    covered = np.mean([low[i] <= others[nets.names[i]] <= high[i] for i in keep])
    assert found.notes[1].startswith(f"{covered:.0%} of the measured")
    with pytest.raises(InputError, match="none of 120 networks has an accuracy"):
        made.validate(nets, {"else": 80.0})


def test_what_is_outside_gets_no_number(small: Calibration) -> None:
    nets, _ = candidates()
    far = nets.features[0] + 9.0
    inside, outside, partial, bare = small.predict(
        [
            row("near", float(nets.sed[0]), nets.features[0]),
            row("far", 12.0, far),
            row("partial", 12.0, nets.features[0], coverage=0.9),
            RankRow("old", sed=1.0, coverage=1.0, definition=DEFAULT_DEFINITION),
        ]
    )
    assert inside.inside
    assert inside.low is not None
    assert inside.high is not None
    assert inside.accuracy is not None
    assert inside.low < inside.accuracy < inside.high
    for estimate, reason in (
        (outside, "seen were"),
        (partial, "10.0% of its parameters"),
        (bare, "no features"),
    ):
        assert estimate.accuracy is None
        assert not estimate.inside
        assert reason in str(estimate)


def test_another_definition_is_refused(small: Calibration) -> None:
    nets, _ = candidates()
    with pytest.raises(InputError, match="its score is sed/0"):
        small.predict([row("x", 12.0, nets.features[0], definition="sed/0")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracies": {"net1": 1.0}}, "1 of 1 trained networks .* expected 5 or more"),
        ({"accuracies": [1.0, 2.0]}, "expected one a candidate"),
        ({"accuracies": {f"net{i}": 50.0 for i in range(9)}}, "the same accuracy"),
        ({"accuracies": {f"net{i}": 50.0 + i for i in range(60)}}, "must lie in 0 to 100"),
        ({"noise": -1.0}, "noise must be 0 or more"),
        ({"scale": "log"}, "scale must be one of"),
        ({"groups": "colour"}, "groups: expected 'family'"),
        ({"groups": ["a"]}, "groups: expected one a candidate"),
        ({"accuracies": None}, "no accuracies"),
        ({"accuracies": {"net1": "high"}}, "accuracy of net1: expected a number"),
    ],
)
def test_wrong_arguments(change: dict[str, Any], message: str) -> None:
    nets, accuracy = candidates()
    arguments: dict[str, Any] = {"accuracies": accuracy} | change
    with pytest.raises((InputError, DataError), match=message):
        calibrate(nets, arguments.pop("accuracies"), **arguments)


# -- files ---------------------------------------------------------------------------------------------------


def test_a_file_says_the_same(small: Calibration, tmp_path: Path) -> None:
    nets, _ = candidates()
    write_calibration(small, tmp_path / "my.json")
    read = read_calibration(tmp_path / "my.json")
    for a, b in zip(
        small.intervals(nets.sed, nets.features), read.intervals(nets.sed, nets.features), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-3)
    assert read.to_text() == small.to_text()
    assert "test accuracy" in read.to_markdown()


def test_few_networks_are_read_by_ranks_and_many_by_size(small: Calibration) -> None:
    """No odd network bends the scale that few are read on; the domain says the same after a file."""
    assert small.domain.curves is not None
    assert imagenet().domain.curves is None
    nets, accuracy = candidates()
    odd = nets.features.copy()
    odd[0, :WIDTH] *= 1e6  # one network unlike all others
    bent = Candidates(nets.names, nets.sed, odd, nets.definition, nets.families)
    made = calibrate(bent, {n: accuracy[n] for n in nets.names[1:41]}, title="test accuracy")
    rest = np.arange(41, 80)
    by_odd, plain = (c.domain.inputs(nets.features)[rest].features for c in (made, small))
    assert np.median(np.abs(by_odd - plain)) < 0.01
    assert np.median(np.abs(plain)) > 0.05
    again = Calibration.from_dict(json.loads(json.dumps(small.to_dict())))
    assert Calibration.from_json(small.to_json()).to_dict() == again.to_dict()
    for kind in ("features", "wiring"):
        read, told = (getattr(c.domain.inputs(nets.features), kind) for c in (again, small))
        np.testing.assert_array_equal(read, told)
    damaged = json.loads(json.dumps(small.to_dict()))
    damaged["domain"]["curves"].pop()
    with pytest.raises(DataError, match=rf"domain.curves: expected {WIDTH}, found {WIDTH - 1}"):
        Calibration.from_dict(damaged)


def test_scores_that_differ_in_the_last_bits_are_one_knot() -> None:
    values = np.array([1.0, 1.0 + 1e-13, 2.0, 2.0 + 1e-12, 3.0])
    scale = by_ranks(values)
    assert scale.knots == (1.0, 2.0, 3.0)
    nets, accuracy = candidates()
    close = Candidates(
        nets.names, np.repeat(nets.sed[::2], 2) + np.tile([0.0, 1e-13], 40), nets.features, "sed/2"
    )
    made = calibrate(close, dict(list(accuracy.items())[:30]), groups=None)
    again = Calibration.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again.accuracies(close.sed, close.features) == pytest.approx(
        made.accuracies(close.sed, close.features), abs=1e-3
    )


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        place: Any = data
        for key in path[:-1]:
            place = place[key]
        if to is KeyError:
            del place[path[-1]]
        else:
            place[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("schema", to="sed_torch.ranking/1"), "expected the schema"),
        (_set("widening", to=KeyError), "widening is missing"),
        (_set("inputs", 0, to=[1.0]), "expected 36 numbers, found 1|expected .* numbers"),
        (_set("components", 0, "coefficients", 0, to="1"), "coefficients: expected a number"),
        (_set("components", to=[]), "do not add up to 1"),
        (_set("components", 0, "radial", to=-1.0), "expected 0 or more"),
        (_set("domain", "reach", to=None), "expected a number"),
        (_set("target_scale", "knots", to=[2.0, 1.0]), "ascending knots"),
        (_set("networks", to=3), "expected features of 3 networks"),
        (_set("wiring", to=KeyError), "wiring is missing"),
        (_set("wiring", 0, to=[1.0]), "wiring: expected 64 numbers, found 1|expected .* numbers"),
        (_set("domain", "wiring", "scale", to=0.0), "domain.wiring.scale: expected"),
        (_set("domain", "wiring", "centre", to=[0.0]), "domain.wiring.centre|expected .* numbers"),
        (_set("components", 0, "wiring", to=2.0), "wiring: expected 0 to 1"),
        (_set("title", to=7), "title: expected text"),
    ],
)
def test_a_damaged_file_is_refused(
    small: Calibration, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    data = json.loads(small.to_json())
    change(data)
    with pytest.raises(DataError, match=message):
        Calibration.from_dict(data, "my.json")


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", '{"schema": "sed_torch.calibration/1"', '{"schema": NaN}', "\0"]
)
def test_no_calibration_at_all(text: str, tmp_path: Path) -> None:
    file = tmp_path / "alien.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"alien\.json is no calibration"):
        read_calibration(file)
    with pytest.raises(DataError, match="cannot read the calibration"):
        read_calibration(tmp_path / "absent.json")


# -- the shipped one -----------------------------------------------------------------------------------------


def resnet18() -> nn.Module:
    import torchvision

    with torch.device("meta"):
        return torchvision.models.resnet18()  # type: ignore[no-any-return]


def test_the_shipped_calibration_is_of_this_version() -> None:
    """Fails where the default definition or the features have changed since: run examples/imagenet_calibration.py."""
    known = imagenet()
    assert known.definition == DEFAULT_DEFINITION
    assert known.features == tuple(FEATURES)
    assert known.networks > 700
    file = Path(sed_torch.__file__).parent / "calibration" / "imagenet.json"
    assert file.stat().st_size <= 300_000
    assert not {"names", "accuracies", "timm:resnet50"} & set(json.loads(file.read_text()))
    groups = known.held_out[-1]
    assert groups.error <= 1.2
    assert groups.spearman is not None
    assert groups.spearman >= 0.92
    assert 0.87 <= groups.covered <= 0.93


def test_the_shipped_calibration_knows_a_resnet() -> None:
    score = sed_torch.score(resnet18(), input_size=(1, 3, 224, 224))
    (estimate,) = imagenet().predict(score)  # timm's best recipe reaches 73.3 %
    assert estimate.inside
    assert estimate.accuracy == pytest.approx(73.3, abs=1.5)
    start = time.process_time()
    for _ in range(20):
        imagenet().predict(score)
    assert (time.process_time() - start) / 20 < 0.05  # 5 ms are held in tests/benchmarks
    told = with_expected(score)
    assert "comparable networks reach 7" in told.to_text()
    assert told.to_dict()["expected"]["inside"] is True
    assert "expected" not in score.to_dict()


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (resnet18, (1, 3, 32, 32)),
        (lambda: nn.TransformerEncoderLayer(64, 4, 256, batch_first=True), (1, 128, 64)),
        (
            lambda: nn.Sequential(
                nn.Conv1d(1, 32, 9, stride=4),
                nn.ReLU(),
                nn.AdaptiveAvgPool1d(1),
                nn.Flatten(),
                nn.Linear(32, 4),
            ),
            (1, 1, 16000),
        ),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 21, 1)),
            (1, 3, 224, 224),
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10)),
            (1, 1, 28, 28),
        ),
    ],
    ids=["tiny input", "text", "sound", "segmentation", "mlp"],
)
def test_the_shipped_calibration_knows_what_it_does_not_know(
    model: Callable[[], nn.Module], size: tuple[int, ...]
) -> None:
    (estimate,) = imagenet().predict(sed_torch.score(model(), input_size=size))
    assert not estimate.inside
    assert estimate.accuracy is None


def test_cells_of_benchmarks_are_outside() -> None:
    space = get_space("nasbench201")
    rng = np.random.default_rng(0)
    from sed_torch.scoring.features import feature_matrix

    x = feature_matrix(space.topology(space.sample(rng)) for _ in range(40))
    reasons = imagenet().domain.outside(x, imagenet().mixture.inputs, tuple(FEATURES))
    assert sum(r is not None for r in reasons) >= 38


def test_predicting_needs_no_scikit_learn() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None; sys.modules['scipy'] = None\n"
        "import sed_torch, torch\n"
        "from sed_torch.calibration import imagenet\n"
        "net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.LazyLinear(9))\n"
        "net(torch.zeros(1, 3, 32, 32))\n"
        "print(imagenet().predict(sed_torch.score(net, input_size=(1, 3, 32, 32)))[0].verdict)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "outside what it has seen"


def test_a_folder_of_ones_own_replaces_it(
    small: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_calibration(small, tmp_path / "mine.json")
    monkeypatch.setenv("SED_TORCH_CALIBRATIONS", str(tmp_path))
    assert [c.title for c in calibrations()] == ["test accuracy"]
    (tmp_path / "mine.json").unlink()
    with pytest.raises(DataError, match="no calibration"):
        calibrations()


# -- rankings and the command line ---------------------------------------------------------------------------


def test_fronts() -> None:
    sizes = {
        "a": (1, 10, 5, 70),
        "b": (2, 20, 9, 69),
        "c": (3, 30, 1, 75),
        "d": (4, 5, 9, None),
        "e": (0, 40, 9, 76),
    }
    ranking = Ranking.of(RankRow(n, sed=s, params=p, macs=m, expected=e) for n, (s, p, m, e) in sizes.items())
    assert [r.name for r in ranking.front_of("params")] == ["a", "c", "e"]
    assert [r.name for r in ranking.front_of("macs")] == ["c", "e"]
    assert [r.name for r in ranking.front_of("params", "sed")] == ["d"]
    assert [r.name for r in ranking.in_order("expected")] == ["e", "c", "a", "b", "d"]
    with pytest.raises(InputError, match="a front is of"):
        ranking.front_of("seconds")


def test_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def net(width=8, depth=1):\n"
        "    body = [l for _ in range(depth) for l in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU())]\n"
        "    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 3), *body, *head)\n"
    )
    refs = [f"nets.py:net(width={w}, depth={d})" for w in (4, 8, 16) for d in (1, 2, 3)]
    size = ["--input-size", "1,3,16,16"]
    assert run(["rank", *refs, *size, "--no-cache", "--no-expected", "-o", "rank.csv"]) == 0
    trained = "\n".join(f'"{r}",{70 + 3 * i}' for i, r in enumerate(refs[:7]))
    (tmp_path / "trained.csv").write_text(f"name,accuracy\n{trained}\n")
    made = ["calibrate", "rank.csv", "--accuracies", "trained.csv", "--title", "my accuracy"]
    assert run([*made, "-o", "my.json"]) == 0
    assert "Calibration of" in capsys.readouterr().out
    by = ["--calibration", "my.json", "--by", "expected"]
    assert run(["rank", *refs, *size, "--no-cache", *by, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    values = [r["expected"] for r in rows]
    assert values == sorted(values, reverse=True)
    assert (
        run(
            [
                "rank",
                *refs,
                *size,
                "--no-cache",
                *by,
                "--max-params",
                "1000",
                "--front",
                "params",
                "--format",
                "json",
            ]
        )
        == 0
    )
    assert all(r["params"] <= 1000 for r in json.loads(capsys.readouterr().out)["rows"])
    assert run(["score", refs[0], *size, "--calibration", "my.json"]) == 0
    assert "comparable networks reach" in capsys.readouterr().out
    assert run(["score", refs[0], *size]) == 0
    assert "expected ImageNet top-1: unknown, outside" in capsys.readouterr().out
    assert run(["score", refs[0], *size, "--no-expected"]) == 0
    assert "ImageNet" not in capsys.readouterr().out
    assert run(["score", refs[0], *size, "--calibration", "rank.csv"]) == 2
    assert "is no calibration" in capsys.readouterr().err


@pytest.mark.slow
def test_the_road_on_digits(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("digits_road", ROOT / "examples" / "digits_road.py")
    assert spec is not None
    assert spec.loader is not None
    road = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(road)
    ranking, calibration = road.main(tmp_path, epochs=2)
    assert calibration.networks == road.TRAINED
    assert len(ranking.scored) >= 20
    values = [r.expected for r in ranking.rows if r.expected is not None]
    assert values == sorted(values, reverse=True)
    assert len(values) >= 20
    # the runs hold their features, and are enough alone
    alone = calibrate(tmp_path / "runs.csv")
    assert alone.networks == road.TRAINED
