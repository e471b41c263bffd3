"""Comparisons: counterparts, shares that add up, and variations against the networks really changed."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

import sed_torch
from sed_torch import compare, sensitivity
from sed_torch.cli import main
from sed_torch.errors import InputError

SIZE = (1, 3, 32, 32)


def net(widths: tuple[int, ...] = (8, 16, 16), kernel: int = 3, pool: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for width in widths:
        layers.append(nn.Sequential(nn.Conv2d(before, width, kernel, padding=kernel // 2), nn.ReLU()))
        before = width
    if pool:
        layers.insert(1, nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class TestCompare:
    def test_a_network_and_itself(self) -> None:
        result = compare(net(), net(), input_size=SIZE)
        assert {b.status for b in result.blocks} == {"same"}
        assert result.change == 0
        assert "no block differs" in str(result)

    def test_what_changed_is_named(self) -> None:
        other = net()
        other[2][0] = nn.Conv2d(8, 16, 5, padding=2)
        result = compare(net(), other, input_size=SIZE, depth=1)
        (changed,) = result.changed
        assert (changed.path, changed.status, changed.path_b) == ("2", "changed", None)
        assert changed.what == ("conv 3×3 8→16 → conv 5×5 8→16",)
        assert (changed.params_a, changed.params_b) == (8 * 16 * 9 + 16, 8 * 16 * 25 + 16)
        assert "2: conv 3×3 8→16 → conv 5×5 8→16" in str(result)

    def test_added_and_removed_blocks(self) -> None:
        long = nn.Sequential(*net(), nn.Sequential(nn.Conv2d(16, 4, 1)))
        result = compare(net(), long, input_size=SIZE, depth=1)
        assert [(b.path, b.status) for b in result.changed] == [("4", "added")]
        assert result.changed[0].what == ("with conv 16→4",)
        back = compare(long, net(), input_size=SIZE, depth=1)
        assert [(b.path, b.status) for b in back.changed] == [("4", "removed")]
        assert back.changed[0].change == pytest.approx(-result.changed[0].change)  # type: ignore[operator]

    def test_a_pool_on_another_map_is_another(self) -> None:
        """It has no work of its own that would tell: only the map is of another size."""
        a, b = (
            nn.Sequential(nn.Conv2d(3, 8, 3, 1, p), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)) for p in (1, 3)
        )
        blocks = compare(a, b, input_size=SIZE, depth=1).blocks
        assert [(x.path, x.status) for x in blocks[1:]] == [("0", "changed"), ("1", "changed"), ("2", "same")]
        assert blocks[2].what == ("the same operators on another map",)

    def test_renamed_blocks(self) -> None:
        a = nn.Sequential()
        b = nn.Sequential()
        for model, names in ((a, ("stem", "body")), (b, ("root", "trunk"))):
            model.add_module(names[0], nn.Conv2d(3, 8, 3))
            model.add_module(names[1], nn.Conv2d(8, 8, 3))
        result = compare(a, b, input_size=SIZE, depth=1)
        assert [(x.path, x.path_b, x.status) for x in result.blocks if x.path] == [
            ("stem", "root", "renamed"),
            ("body", "trunk", "renamed"),
        ]
        assert result.change == 0

    def test_a_change_upstream_shows_where_it_is_felt(self) -> None:
        result = compare(net(), net(pool=False), input_size=SIZE, depth=1)
        assert [(b.path, b.path_b, b.status) for b in result.changed] == [
            ("1", None, "removed"),
            ("2", "1", "changed"),
            ("3", "2", "changed"),
        ]
        assert [b.what for b in result.changed] == [
            ("without max_pool 2×2 stride 2×2",),
            ("the same operators on another map",),
            ("the same operators on another map",),
        ]
        assert result.parts["pool"] == pytest.approx(
            -float(sed_torch.score(net(), input_size=SIZE).pool or 0)
        )

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(st.integers(1, 32), min_size=1, max_size=4),
        st.lists(st.integers(1, 32), min_size=1, max_size=4),
        st.sampled_from([1, 3, 5]),
        st.booleans(),
    )
    def test_shares_add_up_to_the_change(self, a: list[int], b: list[int], kernel: int, pool: bool) -> None:
        first, second = net(tuple(a)), net(tuple(b), kernel, pool)
        result = compare(first, second, input_size=SIZE, depth=1)
        assert result.change is not None
        shares = [x.change for x in result.blocks if x.change is not None]
        assert math.fsum(shares) == pytest.approx(result.change, abs=1e-9)
        turned = compare(second, first, input_size=SIZE, depth=1)
        assert turned.change == pytest.approx(-result.change, abs=1e-12)

    def test_scores_are_taken_as_they_are(self) -> None:
        a, b = sed_torch.score(net(), input_size=SIZE), sed_torch.score(net((8, 8)), input_size=SIZE)
        assert compare(a, b).change == pytest.approx(b.total - a.total)  # type: ignore[operator]
        small = sed_torch.score(net(), input_size=(1, 3, 16, 16))
        with pytest.raises(InputError, match="at one input size only"):
            compare(a, small)

    def test_views_agree(self) -> None:
        result = compare(net(), net((8, 16, 17)), input_size=SIZE)
        data = json.loads(result.to_json())
        assert data["change"] == result.change
        assert len(result.to_dataframe()) == len(result.blocks) == len(data["blocks"])
        assert len(result.to_csv().splitlines()) == 1 + len(result.blocks)
        assert result.headline() in result.to_markdown()
        assert "→" in result._repr_html_()

    def test_a_network_without_a_score(self) -> None:
        result = compare(net(), nn.Sequential(nn.MaxPool2d(2)), input_size=SIZE)
        assert result.change is None
        assert "undefined" in result.headline()


class Residual(nn.Module):
    """A pool whose correlation a skip carries past a convolution."""

    def __init__(self, *, kernel: int = 3, skip: bool = True, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.pool: nn.Module = nn.AvgPool2d(3, stride=1, padding=1)
        self.block = nn.Sequential(
            nn.Conv2d(8, width, kernel, padding=kernel // 2),
            nn.ReLU(),
            nn.Conv2d(width, 8, kernel, padding=kernel // 2),
        )
        self.skip = skip
        self.last = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x).relu())
        y = self.block(x)
        return self.last(x + y if self.skip else y)


def effect(path: str, change: str) -> float:
    rows = sensitivity(Residual(), input_size=SIZE, depth=1).rows
    (found,) = [r.effect for r in rows if (r.path, r.change) == (path, change)]
    return found


def real(other: nn.Module) -> float:
    return float(sed_torch.score(other, input_size=SIZE)) - float(
        sed_torch.score(Residual(), input_size=SIZE)
    )


class TestSensitivity:
    """Each variation of the topology against the network really changed."""

    def test_kernels(self) -> None:
        assert effect("block", "kernel +2") == pytest.approx(real(Residual(kernel=5)))
        assert effect("block", "kernel -2") == pytest.approx(real(Residual(kernel=1)))

    def test_a_pool_as_a_convolution(self) -> None:
        model = Residual()
        model.pool = nn.Conv2d(8, 8, 3, padding=1)
        assert effect("pool", "pool as convolution") == pytest.approx(real(model))

    def test_widths(self) -> None:
        # the block's last convolution is a quarter wider as well, and what reads the sum follows
        expected = _by_hand(8, 10, 10) - _by_hand(8, 8, 8)
        assert effect("block", "width +25%") == pytest.approx(expected, abs=1e-9)

    def test_without_its_skip(self) -> None:
        rows = sensitivity(Residual(), input_size=SIZE, depth=0).rows
        (found,) = [r for r in rows if r.change == "without skip"]
        assert found.effect == pytest.approx(real(Residual(skip=False)))
        assert found.effect == pytest.approx(-float(sed_torch.score(Residual(), input_size=SIZE).skip or 0))

    def test_what_touches_nothing_has_no_row(self) -> None:
        rows = sensitivity(
            nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1)), input_size=SIZE
        ).rows
        assert {r.change for r in rows} == {"width +25%", "width -25%"}

    def test_no_kernel_outgrows_its_map(self) -> None:
        rows = sensitivity(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)), input_size=(1, 3, 3, 3)).rows
        assert "kernel +2" not in {r.change for r in rows}

    def test_views(self) -> None:
        result = sensitivity(Residual(), input_size=SIZE, depth=1)
        assert [row["block"] for row in result.table()] == ["(root)", "stem", "pool", "block", "last"]
        assert len(result.to_dataframe()) == len(result.rows) == len(result.to_dict()["rows"])
        assert "kernel +2" in str(result)
        assert "<table>" in result._repr_html_()

    def test_there_must_be_a_score_to_change(self) -> None:
        with pytest.raises(InputError, match="has no finite score that could change"):
            sensitivity(nn.Sequential(nn.MaxPool2d(2)), input_size=SIZE)


def _by_hand(stem: int, inner: int, out: int) -> float:
    """SED of Residual with other widths, from the topology that a builder writes."""
    b = sed_torch.TopologyBuilder()
    x = b.pool(b.conv(b.input(3, (32, 32)), stem, 3, padding=1), 3, stride=1, padding=1)
    y = b.conv(b.conv(x, inner, 3, padding=1), out, 3, padding=1)
    wide = (
        x
        if stem == out
        else b.cat(x, b.pool(b.conv(b.input(3, (32, 32)), out - stem, 1), 3, stride=1, padding=1))
    )
    t = b.finish(b.conv(b.add(wide, y), 8, 3, padding=1))
    from sed_torch.scoring import sed

    # one map size: the mean over scales is the log of the sum of norms, and a quarter of ln A
    extra = math.sqrt((out - stem) * 3) if stem != out else 0.0
    scale = 0.25 * math.log(32 * 32)
    return math.log(math.exp(sed(t) - scale) - extra) + scale


def test_command(
    tmp_path: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    with open("nets.py", "w") as f:
        f.write("from torch import nn\ndef net(width=8):\n    return nn.Sequential(nn.Conv2d(3, width, 3))\n")

    def run(*args: str, command: str = "compare") -> tuple[int, str]:
        with pytest.raises(SystemExit, match=r"^\d$") as exit_:
            main([command, *args])
        return int(exit_.value.code or 0), capsys.readouterr().out

    status, out = run("nets.py:net", "nets.py:net(width=16)", "--input-size", "1,3,32,32", "--format", "json")
    assert status == 0
    assert json.loads(out)["change"] == pytest.approx(0.5 * math.log(2))
    status, out = run("nets.py:net", "nets.py:net(width=16)", "--input-size", "1,3,32,32")
    assert "(+0.3466 nats)" in out
    assert run("nets.py:net", "nets.py:none")[0] == 2

    one = ("nets.py:net", "--input-size", "1,3,32,32", "--depth", "1")
    status, out = run(*one, "--format", "json", command="sensitivity")
    (row, *_) = [r for r in json.loads(out)["rows"] if r["change"] == "kernel -2"]
    assert (status, row["effect"]) == (0, pytest.approx(math.log(1 / 3)))
    assert "kernel -2" in run(*one, command="sensitivity")[1]
    assert run(*one, "--format", "csv", command="sensitivity")[1].startswith("path,change,operators,effect")
    assert "| block | kernel +2 |" in run(*one, "--format", "md", command="sensitivity")[1]


def test_repeated_blocks_are_told_once() -> None:
    def net(blocks: int) -> nn.Module:
        more = [m for _ in range(blocks) for m in (nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))]
        return nn.Sequential(*more)

    (block,) = compare(net(1), net(4), input_size=(1, 8, 32, 32), depth=0).changed
    assert block.what == ("with 3 × (conv 3×3 8→8, batch_norm)",)


def test_a_report_tells_its_sensitivity() -> None:
    report = sed_torch.check(Residual(), input_size=SIZE)
    assert report.sensitivity(depth=1).rows == sensitivity(Residual(), input_size=SIZE, depth=1).rows
    lazy = sed_torch.check(nn.LazyLinear(3), input_size=(1, 4))
    with pytest.raises(InputError, match="could not be traced"):
        lazy.sensitivity()


def test_sums_of_effects_are_of_one_network_on_any_device() -> None:
    with torch.device("meta"):
        model = Residual()
    assert sensitivity(model, input_size=SIZE).rows == sensitivity(Residual(), input_size=SIZE).rows


@pytest.mark.parametrize(
    "tail",
    [
        *([], [nn.ReLU()], [nn.AdaptiveAvgPool2d(1), nn.Flatten()], [nn.Flatten(), nn.Softmax(1)]),
        [nn.Conv2d(10, 10, 3, groups=10)],
    ],
    ids=lambda tail: "+".join(type(m).__name__ for m in tail) or "nothing",
)
def test_the_output_layer_is_never_widened(tail: list[nn.Module]) -> None:
    """Its channels are the task's, whatever comes between it and the output."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 10, 3), *tail)
    found = sensitivity(net, input_size=(1, 3, 12, 12), depth=1)
    widened = {r.path for r in found.rows if r.change.startswith("width")}
    assert widened == {"0"}


# -- what changes cost, against networks that were built so -----------------------------------------------------


def _plain(first: int = 8, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    body = nn.Conv2d(first, 16, kernel, padding=kernel // 2, groups=groups)
    return nn.Sequential(
        *(nn.Conv2d(3, first, 3, padding=1), nn.BatchNorm2d(first), nn.ReLU(), body),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )


class Dense(nn.Module):
    """Channels side by side, a depthwise convolution, learned scales."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.deep = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.scale = nn.Parameter(torch.ones(width, 1, 1))
        self.head = nn.Conv2d(2 * width, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(torch.cat([x, self.deep(x) * self.scale], 1))  # type: ignore[no-any-return]


class Joined(nn.Module):
    def __init__(self, second: int = 4) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, second, 3, padding=1)
        self.norm = nn.BatchNorm2d(4 + second)
        self.head = nn.Conv2d(4 + second, 10, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(torch.cat([self.a(x), self.b(x)], 1)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("before", "after", "path", "change"),
    [
        (_plain(), _plain(10), "0", "width +25%"),
        (_plain(), _plain(6), "0", "width -25%"),
        (_plain(), _plain(kernel=5), "3", "kernel +2"),
        (_plain(), _plain(kernel=1), "3", "kernel -2"),
        (_plain(groups=4), _plain(kernel=5, groups=4), "3", "kernel +2"),
        (Dense(), Dense(10), "stem", "width +25%"),
        (Joined(), Joined(5), "b", "width +25%"),
        (
            nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1)),
            nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 2, stride=2, bias=False), nn.Conv2d(8, 4, 1)
            ),
            *("1", "pool as convolution"),
        ),
    ],
)
def test_a_change_costs_what_the_changed_network_has_more(
    before: nn.Module, after: nn.Module, path: str, change: str
) -> None:
    a, b = (sed_torch.score(m, input_size=(1, 3, 12, 12)) for m in (before, after))
    (row,) = (r for r in sensitivity(a, depth=1).rows if (r.path, r.change) == (path, change))
    assert row.params == b.params - a.params
    assert row.macs == pytest.approx(b.macs - a.macs)
    assert row.effect == pytest.approx(b - a, abs=1e-9)
    assert row.cost == pytest.approx(((b.params - a.params) / a.params + (b.macs - a.macs) / a.macs) / 2)


def test_what_to_change_first() -> None:
    found = sensitivity(_plain(), input_size=(1, 3, 12, 12), depth=1)
    best = found.best()
    gains = [r.gain for r in best]
    assert gains == sorted(gains, key=lambda g: -(g or 0.0))
    assert gains[0] == max(r.gain for r in found.rows if r.gain is not None)
    (saved,) = found.savings(1)
    assert saved.cost is not None
    assert saved.cost < 0 > saved.effect
    assert f"change first: {best[0].path}: {best[0].change}: +" in found.to_text()
    assert "for 1 % of size" in found.advice()[0]
    old = {**found.to_dict(), "rows": [{"path": "0", "change": "kernel +2", "operators": 1, "effect": 0.1}]}
    assert "what each change costs" not in sed_torch.Sensitivity.from_dict(old).to_text()
