"""Figures: the numbers behind them derived by hand, and that what is drawn is what they say."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torchvision
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from sed_torch import Score, cost, report, score
from sed_torch.errors import MissingDependencyError
from sed_torch.evidence import Joined, ValidationReport, validate
from sed_torch.ranking import Ranking, RankRow
from sed_torch.report import series, style
from sed_torch.searching import Candidate, Improvement, SearchResult
from sed_torch.tables import mebibytes

SCRIPT = "<script>alert(1)</script>"
WHITE = 0.5 * math.log(2 * math.pi * math.e)
POOLED = 2 ** (-2 / 3)
"""Entropy power of a 3×3 patch after a 2×2 mean at stride 1: per axis det[[1, ½, 0], [½, 1, ½], [0, ½, 1]] is ½,
so det R = ½³·½³ and its ninth root is 2^(-2/3)."""


class Small(nn.Module):
    """Conv, pool, a residual conv, global pool, linear: one of each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.AvgPool2d(2, 1)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        x = x + self.body(x)
        return cast("Tensor", self.head(x.mean((2, 3))))


class Dead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.conv(x) * 0)


@pytest.fixture(scope="module")
def small() -> Score:
    return score(Small(), input_size=(1, 3, 8, 8), depth=1, name="small")


STEM, BODY, BODY_FULL, HEAD = (
    math.sqrt(4 * 27),
    math.sqrt(4 * 36 * POOLED),
    math.sqrt(4 * 36),
    math.sqrt(5 * 4),
)
"""Norms, on maps of 64, 49 and 1 positions."""


def by_hand(body: float) -> float:
    """SED of the network with such a norm in its body."""
    scales = [(math.log(64 / 49), STEM), (math.log(49), STEM + body), (math.log(2), STEM + body + HEAD)]
    return sum(d * math.log(s) for d, s in scales) / math.log(128) + 0.25 * math.log(64)


def test_the_profile_is_what_the_calculus_says(small: Score) -> None:
    profile = series.profile_of(small)
    assert [(p.place, p.block, p.taps) for p in profile.points] == [
        (1, "stem", 9),
        (2, "body", 9),
        (3, "head", 1),
    ]
    stem, body, head = profile.points
    assert (stem.suppression, stem.entropy) == (pytest.approx(1.0), pytest.approx(WHITE))
    assert body.effective_taps == pytest.approx(9 * POOLED)
    assert body.entropy == pytest.approx(WHITE + 0.5 * math.log(POOLED))
    assert head.entropy is not None
    assert head.entropy < 0
    assert head.share == pytest.approx(math.log(2) * HEAD / (STEM + BODY + HEAD) / math.log(128))
    assert sum(p.share for p in profile.points) == pytest.approx(1.0)


def test_pools_skips_and_averages_lie_between_the_operators(small: Score) -> None:
    marks = series.profile_of(small).marks
    assert [(m.kind, m.path) for m in marks] == [("pool", "pool"), ("skip", "add"), ("average", "mean")]
    assert [m.place for m in marks] == pytest.approx([1.5, 2 + 1 / 3, 2 + 2 / 3])


def test_bands_are_runs_of_a_block() -> None:
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)), nn.Sequential(nn.Conv2d(4, 4, 1))
    )
    found = series.profile_of(score(net, input_size=(1, 3, 16, 16)), depth=1).bands
    assert found == (series.Band("0", 1, 2), series.Band("1", 3, 3))


def test_the_waterfall_falls_from_the_conv_part_to_the_score(small: Score) -> None:
    found = series.waterfall_of(small)
    assert [r.block for r in found.rows] == ["stem", "body", "head"]
    full, total = by_hand(BODY_FULL), by_hand(BODY)
    assert (found.conv, found.total) == (pytest.approx(full), pytest.approx(total))
    assert [r.before for r in found.rows] == pytest.approx([full, full, total])
    assert [r.nats for r in found.rows] == pytest.approx([0, total - full, 0])
    assert found.rows[-1].start + found.rows[-1].share == pytest.approx(1.0)


@pytest.fixture(scope="module")
def resnet50() -> Score:
    return score(torchvision.models.resnet50(), input_size=(1, 3, 224, 224), depth=1)


def test_the_profile_of_resnet50(resnet50: Score) -> None:
    """53 convolutions and a linear layer; 16 residual blocks of which 4 project, so 12 identity skips."""
    profile = series.profile_of(resnet50)
    assert [b.block for b in profile.bands] == ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert [b.last - b.first + 1 for b in profile.bands] == [1, 10, 13, 19, 10, 1]
    kinds = [m.kind for m in profile.marks]
    assert [kinds.count(k) for k in ("pool", "skip", "average")] == [1, 12, 1]
    spared = [p for p in profile.points if p.suppression > 0.9999]
    assert len(spared) == 54 - 4, "the four 3×3 convolutions at 56×56 read what the max pool left"


def rows(*values: tuple[str, str | None, float | None, int, float | None]) -> list[RankRow]:
    return [RankRow(n, family=f, sed=s, params=p, residual=r) for n, f, s, p, r in values]


def ranking() -> Ranking:
    found = rows(
        ("a", "x", 1.0, 10, 0.0),
        ("b", "x", 3.0, 20, 5.0),
        ("c", "y", 2.0, 30, -7.0),
        ("d", None, 4.0, 30, 1.0),
        ("e", "y", None, 30, None),
        ("f", "y", -math.inf, 30, None),
    )
    return Ranking(tuple(found))


def test_the_front_has_no_model_at_least_as_small_that_scores_as_high() -> None:
    cloud = series.cloud_of(ranking(), "params")
    assert [p.name for p in cloud.points if p.front] == ["a", "b", "d"]
    assert cloud.left_out == 2, "without a score, or with one that cannot be drawn"
    assert [p.name for p in cloud.outliers(2)] == ["c", "b"]
    assert cloud.groups(1) == ("x",)


def test_the_front_is_what_brute_force_finds() -> None:
    rng = np.random.default_rng(0)
    data = [(str(i), None, float(s), int(p), None) for i, (s, p) in enumerate(rng.integers(1, 9, (60, 2)))]
    points = series.cloud_of(Ranking(tuple(rows(*data))), "params").points
    for p in points:
        as_good = [q for q in points if q.x <= p.x and q.y >= p.y and (q.x, q.y) != (p.x, p.y)]
        twins = [q for q in points if (q.x, q.y) == (p.x, p.y)]
        assert any(q.front for q in twins) == (not as_good)


def test_accuracies_match_with_or_without_the_zoo_before_the_name() -> None:
    found = [RankRow("timm:a", sed=1.0), RankRow("b", sed=2.0), RankRow("c", sed=3.0), RankRow("d")]
    cloud = series.cloud_of(Ranking(tuple(found)), "accuracy", {"a": 80.0, "b": 70.0, "c": 90.0})
    assert [(p.name, p.x, p.y) for p in cloud.points] == [
        ("timm:a", 1.0, 80.0),
        ("b", 2.0, 70.0),
        ("c", 3.0, 90.0),
    ]
    assert [p.surprise for p in cloud.points] == [-1.0, 1.0, 0.0], "rank by SED minus rank by accuracy"
    assert cloud.left_out == 1


def joined(**changes: Any) -> Joined:
    values: dict[str, Any] = {
        "names": ("a", "b", "c"), "scores": np.array([1.0, 2.0, 3.0]), "accuracy": np.array([3.0, 2.0, 4.0]),
        "params": np.array([1.0, math.nan, 2.0]), "macs": None, "groups": ("x", "x", None), "left_out": (),
        "unit": "%", "source": "s", "metric": "top-1", "reduction": "",
    }  # fmt: skip
    return Joined(**{**values, **changes})


def test_a_joined_ranking_is_a_cloud_too() -> None:
    cloud = series.cloud_of(joined(), "accuracy")
    assert [(p.group, p.x, p.y) for p in cloud.points] == [("x", 1.0, 3.0), ("x", 2.0, 2.0), (None, 3.0, 4.0)]
    assert cloud.y_label == "top-1, %"
    assert [p.name for p in series.cloud_of(joined(), "params").points] == ["a", "c"]
    with pytest.raises(ValueError, match="against='macs': the joined ranking has no such column"):
        series.cloud_of(joined(), "macs")


def test_what_cannot_be_drawn_is_told() -> None:
    with pytest.raises(ValueError, match=r"needs accuracy=\{name: value\} for a ranking"):
        report.scatter(ranking(), against="accuracy")
    with pytest.raises(ValueError, match="against='flops': expected 'macs', 'params' or 'accuracy'"):
        report.scatter(ranking(), against=cast("Any", "flops"))
    with pytest.raises(ValueError, match="unknown theme 'neon': expected one of light, dark"):
        report.scatter(ranking(), theme=cast("Any", "neon"))


def validation() -> ValidationReport:
    rng = np.random.default_rng(0)
    y = rng.normal(size=60)
    noisy, rival = y + 0.2 * rng.normal(size=60), y + rng.normal(size=60)
    rival[:20] = math.nan
    seeds = {"seed0": y, "seed1": noisy}
    return validate(noisy, y, rivals={"zen": rival, "flat": np.ones(60)}, seeds=seeds, n_bootstrap=50)


def test_bars_are_the_reports_correlations() -> None:
    found = validation()
    bars = {b.name: b for b in series.bars_of(found)}
    assert list(bars) == ["SED", "zen", "flat"], "best first, undefined last"
    assert (bars["SED"].rho, bars["SED"].low) == (
        found.overall.spearman,
        found.overall.intervals["spearman"].low,
    )
    zen = next(c for c in found.rivals if c.rival == "zen")
    assert bars["zen"].n == 40
    assert bars["zen"].same_rows == zen.score_correlation.spearman
    assert zen.difference.second_interval is not None
    assert bars["zen"].high == zen.difference.second_interval.high
    assert bars["flat"].rho is None


def found() -> SearchResult:
    a, b, c = (
        Candidate(n, sed, params, 10.0, 2)
        for n, sed, params in (("a", 1.0, 5), ("b", 2.0, 9), ("c", 3.0, 20))
    )
    return SearchResult(
        space=SCRIPT, best=c, front=(c, b, a), history=(Improvement(1, 0.1, a), Improvement(7, 0.3, c)),
        looks=40, feasible=30, size=None, seconds=1.0, stop="budget", constraints={"params": 25.0},
        objectives=("sed", "params"), strategy="evolution", seed=0, definition="sed/1",
    )  # fmt: skip


def test_a_trace_goes_from_the_first_improvement_to_the_end() -> None:
    trace = series.trace_of(found())
    assert (trace.looks, trace.values) == ((1, 7, 40), (1.0, 3.0, 3.0))
    assert trace.seconds == (0.1, 0.3, 1.0)
    assert trace.front == ((5.0, 1.0), (9.0, 2.0), (20.0, 3.0))
    assert (trace.other, trace.best) == ("params", (20.0, 3.0))
    smallest = series.trace_of(replace(found(), objectives=("params", "sed")))
    assert (smallest.objective, smallest.values[-1], smallest.other) == ("params", 20.0, "params")


def texts(figure: Any) -> str:
    from matplotlib.text import Text

    return "\n".join(t.get_text() for t in figure.findobj(Text))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_is_drawn_in_both_themes(small: Score, theme: style.ThemeName, tmp_path: Path) -> None:
    figures = {
        "profile": report.profile(small, theme=theme),
        "waterfall": report.waterfall(small, theme=theme),
        "scatter": report.scatter(ranking(), against="params", theme=theme),
        "search": report.search_trace(found(), theme=theme),
        "correlations": report.correlations(validation(), theme=theme),
    }
    assert "stem" in texts(figures["profile"])
    assert "-0." in texts(figures["waterfall"])
    assert "Pareto front" in texts(figures["scatter"])
    assert "best of 40 in 1.00 s" in texts(figures["search"])
    assert "zen  (n 40)" in texts(figures["correlations"])
    for name, figure in figures.items() if theme == "dark" else ():
        path = tmp_path / f"{name}.png"
        report.save_figure(figure, path)
        assert path.read_bytes().startswith(b"\x89PNG")


def test_what_is_drawn_is_what_was_computed(small: Score) -> None:
    figure = report.profile(small)
    heights = [
        bar.get_height() for bar in figure.axes[1].patches if bar.get_fill() and isinstance(bar, Rectangle)
    ]
    assert sorted(heights)[-2:] == pytest.approx([9 * POOLED, 9.0])
    drops = [bar.get_width() for bar in report.waterfall(small).axes[1].patches]  # type: ignore[attr-defined]
    assert sum(drops) == pytest.approx(by_hand(BODY) - by_hand(BODY_FULL))


def test_a_model_without_a_score_says_why() -> None:
    dead = score(Dead(), input_size=(1, 3, 8, 8))
    for figure in (report.profile(dead), report.waterfall(dead)):
        assert "SED = -inf" in texts(figure)
    nothing = score(nn.ReLU(), input_size=(1, 3))
    assert "SED undefined" in texts(report.profile(nothing))
    assert "none of 1 models has both values" in texts(report.scatter(Ranking((RankRow("a"),))))
    none = validate([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], n_bootstrap=0)
    assert "the same on every row" in texts(report.correlations(none))


def test_files_are_the_same_bytes_each_time(small: Score, tmp_path: Path) -> None:
    for suffix, head in ((".svg", b"<?xml"), (".pdf", b"%PDF")):
        a, b = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
        for path in (a, b):
            report.save_figure(report.waterfall(small), path)
        assert a.read_bytes() == b.read_bytes()
        assert a.read_bytes().startswith(head)
    with pytest.raises(ValueError, match=r"expected a name that ends in \.svg, \.png, \.pdf"):
        report.save_figure(report.waterfall(small), tmp_path / "a.bmp")
    assert [p.name for p in tmp_path.glob("*.bmp")] == []


def test_names_are_text_in_every_figure() -> None:
    net = nn.Sequential()
    net.add_module(SCRIPT, nn.Conv2d(3, 4, 3))
    net.add_module("$x_1^2$ & _y", nn.Conv2d(4, 4, 3))
    hostile = score(net, input_size=(1, 3, 8, 8), name=SCRIPT, depth=1)
    models = Ranking.of(
        RankRow(f"{SCRIPT}{i}", family=SCRIPT, sed=i * i, macs=i, params=i) for i in range(1, 9)
    )
    for figure in (
        report.profile(hostile, theme="css"),
        report.waterfall(hostile, theme="css"),
        report.scatter(models, theme="css"),
        report.search_trace(found(), theme="css"),
    ):
        svg = report.inline_svg(figure, "p", f'a "{SCRIPT}"')
        assert "<script" not in svg
        assert "&lt;script&gt;" in svg
    assert "$x_1^2$" in texts(report.profile(hostile)), "no formula"


def test_inline_figures_take_the_pages_colours_and_share_no_ids(small: Score) -> None:
    import re

    a, b = (report.inline_svg(report.profile(small, theme="css"), name, "profile") for name in ("a", "b"))
    assert a.startswith("<svg")
    assert a.endswith("</svg>")
    for variable in ("--ink", "--muted", "--faint"):
        assert f"var({variable})" in a
    assert "#010203" not in a
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (a, b)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r"url\(#([^)]+)\)", a)) <= ids[0]
    assert "<metadata>" not in a
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", a)


def test_without_matplotlib_the_error_says_what_to_install(
    small: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'sed-torch\[plot\]'"):
        report.profile(small)


def test_hues_are_seen_on_light_and_on_dark_paper() -> None:
    """Contrast of 3:1 at least (WCAG 1.4.11) with both papers."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for name in ("light", "dark"):
        theme = style.theme_of(name)  # type: ignore[arg-type]
        for colour in (*theme.hues, theme.ink, theme.muted):
            low, high = sorted([luminance(colour), luminance(theme.paper)])
            assert (high + 0.05) / (low + 0.05) >= 3.0, (name, colour)


def test_a_name_too_long_for_a_figure_is_its_place() -> None:
    long = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|avg_pool_3x3~0"
    rows = [RankRow(f"{long}{i}", sed=float(i * i % 11), params=10 * i + 1, macs=1.0) for i in range(12)]
    ranking = Ranking.of([*rows, RankRow("short", sed=3.5, params=60, macs=1.0)])
    figure = report.scatter(ranking, against="params", names=13)
    texts = {t.get_text() for t in figure.axes[0].texts}
    places = {f"#{r.rank}" for r in ranking if r.name != "short"}
    assert texts <= {"short", *places}
    assert len(texts & places) > 3
    assert not any(long[:10] in t for t in texts)


def test_points_of_many_models_are_one_element_a_group() -> None:
    rows = [RankRow(f"m{i}", family="f", sed=float(i % 7), params=i + 1, macs=1.0) for i in range(50)]
    svg = style.inline_svg(report.scatter(Ranking.of(rows), against="params", theme="css"), "x", "many")
    uses = re.findall(r"<use [^>]*>", svg)
    plain = [u for u in uses if "style=" not in u]
    assert len(plain) == 50, "their style is said once"
    assert len({re.search(r'href="(#[^"]*)"', u)[1] for u in plain}) == 1  # type: ignore[index]


# -- memory of a step ------------------------------------------------------------------------------------


def test_the_time_line_of_a_step_is_its_moments() -> None:
    """Two linear layers, batch 2: in backward the gradients of the last come first."""
    found = cost(
        nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), input_size=(2, 4), optimizer="sgd", gpu="T4"
    )
    line = series.timeline_of(found)
    assert [p[0] for p in line.phases] == ["forward", "backward", "optimizer"]
    assert line.resident == 4 * (4 * 3 + 3 + 3 * 2 + 2)
    backward = line.phases[1][1]
    assert line.gradients[:backward] == (0,) * backward
    assert line.gradients[backward] == 4 * (3 * 2 + 2)
    assert line.gradients[-1] == line.resident
    # the input and the first result are kept; the second result is there as well
    assert line.activations[backward - 1] == 4 * 2 * (4 + 3 + 2)
    assert line.total(line.peak) == found.peak == max(map(line.total, range(len(line.activations))))
    assert line.limit == 16 * 2**30


def test_a_time_line_is_drawn_in_layers_and_its_peak_is_named() -> None:
    found = cost(nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 2)), input_size=(8, 40))
    figure = report.memory_timeline(found)
    ax = figure.axes[0]
    layers = [p for p in ax.patches if hasattr(p, "get_data")]
    assert len(layers) == 3
    top = layers[-1].get_data().values
    assert max(top) == found.peak
    assert any(t.get_text() == f"{mebibytes(found.peak)}, {found.place_of_peak}" for t in ax.texts)
    ticks = ax.get_yticks()
    assert len(ticks) > 2
    assert (ticks % 1024 == 0).all()
