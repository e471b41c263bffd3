"""Ranks derived by hand, failures as rows, limits that hold, a cache that survives, and a real cluster."""

from __future__ import annotations

import csv
import importlib
import importlib.metadata
import importlib.util
import io
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from support.processes import hears_ctrl_c
from torch import nn

from sed_torch import score
from sed_torch.errors import DataError, ModelReferenceError, SedTorchError
from sed_torch.jobs import ChildPool, Limits, Work
from sed_torch.ranking import Ranking, RankRow, RowCache, rank, read_ranking
from sed_torch.ranking.cache import _NO_PART, _version, key_of_graph, key_of_reference
from sed_torch.ranking.rows import average_ranks
from sed_torch.ranking.showing import modality, sample_size, task
from sed_torch.ranking.worker import Options, RankItem, score_item, stopped_row

pytestmark = pytest.mark.usefixtures("no_child_outlives_its_test")

SIZE = (1, 3, 32, 32)

INTERRUPTED = "interrupted: 0 of 1 models were done; nothing is kept, as no cache was asked for"

NETS = """
import os, pathlib, sys, time
from torch import nn

HERE = pathlib.Path(__file__).parent

def net(width=8):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3, stride=2))

def pool():
    return nn.AvgPool2d(2)

def boom():
    raise RuntimeError("no such backbone")

def hang():
    (HERE / "hanging").touch()
    time.sleep(600)

def eat():
    held = []
    while True:
        held.append(bytearray(os.urandom(1)) * 50_000_000)
        time.sleep(0.02)

def die():
    os._exit(3)

def die_once():
    mark = HERE / "died"
    if not mark.exists():
        mark.touch()
        os._exit(3)
    return net(5)

def chatty():
    print("this is no result")
    return net(6)

def slow(width):
    time.sleep(0.3)
    with open(HERE / "built", "a") as f:
        f.write(f"{width} {os.getpid()}\\n")
    return net(width)
"""


@pytest.fixture
def nets(tmp_path: Path) -> str:
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return str(path)


def net(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3, stride=2))


def result(row: RankRow) -> dict[str, Any]:
    """A row without the time it took."""
    return {k: v for k, v in asdict(row).items() if k not in ("seconds", "cpu_seconds")}


def results(ranking: Ranking) -> list[dict[str, Any]]:
    return [result(r) for r in ranking]


class TestRows:
    def test_places_are_shared_by_equal_scores(self) -> None:
        rows = [
            RankRow(n, "f", sed=s)
            for n, s in (("a", 1.0), ("b", 3.0), ("c", 3.0), ("d", -math.inf), ("e", 0.0))
        ]
        got = Ranking.of([*rows, RankRow("x", "g", status="failed", reason="why")])
        assert [(r.name, r.rank) for r in got] == [
            ("b", 1),
            ("c", 1),
            ("a", 3),
            ("e", 4),
            ("d", 5),
            ("x", None),
        ]

    def test_within_and_across_families(self) -> None:
        rows = [
            RankRow("a", "small", sed=1.0),
            RankRow("b", "small", sed=2.0),
            RankRow("c", "large", sed=0.0),
            RankRow("e", "large", sed=-2.0),
            RankRow("d", "large", status="failed", reason="why"),
        ]
        got = Ranking.of(rows)
        assert {r.name: r.family_rank for r in got} == {"a": 2, "b": 1, "c": 1, "e": 2, "d": None}
        assert [r.name for r in got.within("small")] == ["b", "a"]
        small, large = got.families
        assert (small.family, small.models, small.failed, small.best, small.median_sed) == (
            "small",
            2,
            0,
            "b",
            1.5,
        )
        assert (large.best, large.best_sed, large.failed) == ("c", 0.0, 1)
        with pytest.raises(KeyError, match="medium"):
            got.within("medium")

    def test_residual_by_hand(self) -> None:
        # Ranks of params 1 2 3 4, of SED 1 2 4 3: slope 0.8, intercept 0.5, residuals by hand.
        rows = [
            RankRow(n, sed=s, params=p)
            for n, s, p in zip("abcd", (1.0, 2.0, 9.0, 3.0), (10, 20, 30, 99), strict=True)
        ]
        got = Ranking.of(rows, baselines=("params",))
        assert {r.name: r.residual for r in got} == pytest.approx({"a": -0.3, "b": -0.1, "c": 1.1, "d": -0.7})
        assert {r.name: r.residual_rank for r in got} == {"c": 1, "b": 2, "a": 3, "d": 4}
        assert [r.name for r in Ranking.of(rows, sort="given_size", baselines=("params",))] == list("cbad")

    @settings(deadline=None, max_examples=50)
    @given(
        st.lists(
            st.tuples(st.floats(0, 50), st.integers(1, 10**9), st.integers(1, 10**12)),
            min_size=5,
            max_size=30,
        )
    )
    def test_residual_knows_nothing_of_size(self, values: list[tuple[float, int, int]]) -> None:
        rows = [RankRow(str(i), sed=s, params=p, macs=float(m)) for i, (s, p, m) in enumerate(values)]
        got = Ranking.of(rows)
        residual = np.array([got[r.name].residual for r in rows], dtype=float)
        scale = len(rows) ** 3
        assert abs(residual.sum()) < 1e-6 * scale
        for column in ("params", "macs"):
            ranks = average_ranks([float(getattr(r, column)) for r in rows])
            assert abs(residual @ ranks) < 1e-6 * scale
        # Any increasing function of the sizes, such as the logarithm, leaves it as it is.
        logs = Ranking.of([replace(r, macs=math.log(r.macs or 1)) for r in rows])
        assert [logs[r.name].residual for r in rows] == [got[r.name].residual for r in rows]

    def test_too_few_for_a_residual(self) -> None:
        rows = [RankRow(str(i), sed=float(i), params=i, macs=1.0) for i in range(3)]
        assert [r.residual for r in Ranking.of(rows)] == [None] * 3

    @given(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=12))
    def test_average_ranks(self, values: list[float]) -> None:
        slow = [sum(w < v for w in values) + (values.count(v) + 1) / 2 for v in values]
        assert average_ranks(values).tolist() == slow

    def test_unknown_sort_and_baseline(self) -> None:
        with pytest.raises(ValueError, match="cannot sort by 'speed'"):
            Ranking.of([], sort="speed")
        with pytest.raises(ValueError, match="unknown baseline 'synflow'"):
            rank([], baselines=("synflow",))


class TestViews:
    @pytest.fixture
    def ranking(self) -> Ranking:
        rows = [
            RankRow(
                "<b>a|b</b>", "f", sed=2.5, params=10, macs=100.0, scope="convolutional", suppression=0.5
            ),
            RankRow(
                "dead", "f", sed=-math.inf, reason="no live path", params=1, macs=1.0, scope="extrapolated"
            ),
            RankRow("bad", status="failed", reason="<i>why</i>"),
        ]
        return Ranking.of(rows, versions={"torch": "1"})

    @pytest.mark.parametrize("suffix", ["csv", "json"])
    def test_round_trip(self, ranking: Ranking, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"r.{suffix}"
        path.write_text(ranking.to_csv() if suffix == "csv" else ranking.to_json())
        assert read_ranking(path).rows == ranking.rows
        assert json.loads(ranking.to_json())["rows"][1]["sed"] == "-inf"

    def test_html_is_escaped_and_markdown_too(self, ranking: Ranking) -> None:
        page = ranking._repr_html_()
        assert "<b>a" not in page
        assert "<i>why" not in page
        assert "&lt;b&gt;a|b&lt;/b&gt;" in page
        assert r"a\|b" in ranking.to_markdown()

    def test_text_says_what_failed(self, ranking: Ranking) -> None:
        assert "bad: failed: <i>why</i>" in str(ranking)
        assert "3 models, 0 from the cache, 2 scored, 1 not ok" in str(ranking)
        assert len(ranking.top(1)) == 1
        assert "the first 2 of 3 models, 2 scored, 0 not ok" in str(ranking.top(2))
        assert "the first 1 of 3 models" in str(ranking.top(2).top(1))

    @pytest.mark.parametrize("width", [80, 200])
    def test_rich_cuts_no_digits(self, width: int) -> None:
        from rich.console import Console

        rows = [
            RankRow(
                f"timm:[b]some_long_model_name_{i}",
                "a_long_family_name",
                sed=20.125,
                params=12_340_000,
                macs=2.5e9,
            )
            for i in range(12)
        ]
        console = Console(file=io.StringIO(), width=width)
        console.print(Ranking.of(rows))
        out = console.file.getvalue()
        assert max(map(len, out.splitlines())) <= width
        out = out[out.index(" model ") :]  # the table; the headline has sizes too
        assert "[b]some" in out  # no markup is read out of a name
        assert out.count("20.125") == out.count("12.34 M") == out.count("2.50 G") == 12
        assert ("coverage" in out) == (width > 100)

    def test_dataframe(self, ranking: Ranking) -> None:
        pytest.importorskip("pandas")
        frame = ranking.to_dataframe()
        assert list(frame["name"]) == [r.name for r in ranking]
        assert frame["sed"][1] == -math.inf

    def test_parquet(self, ranking: Ranking, tmp_path: Path) -> None:
        pandas = pytest.importorskip("pandas")
        path = tmp_path / "r.parquet"
        if importlib.util.find_spec("pyarrow") is None:
            with pytest.raises(SedTorchError, match="pyarrow"):
                ranking.to_parquet(path)
            assert not path.exists()
            return
        ranking.to_parquet(path)
        assert list(pandas.read_parquet(path)["name"]) == [r.name for r in ranking]

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("r.csv", "a,b\n1,2\n", "expected columns 'name' and 'sed'"),
            ("r.csv", "name,sed\nx,abc\n", "expected a number, found 'abc'"),
            ("r.json", "{}", "expected the schema"),
            ("r.json", "{", "is not a ranking"),
        ],
    )
    def test_alien_files(self, tmp_path: Path, name: str, text: str, message: str) -> None:
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=message):
            read_ranking(tmp_path / name)
        with pytest.raises(DataError, match="there is no file"):
            read_ranking(tmp_path / "none.csv")


class TestRank:
    def test_scores_are_those_of_score(self, nets: str) -> None:
        got = rank([net(4), net(16), f"{nets}:net(12)", lambda: net(8)], input_size=SIZE)
        assert [r.name for r in got] == ["Sequential#2", f"{nets}:net(12)", "<lambda>", "Sequential"]
        expected = score(net(16), input_size=SIZE)
        first = got.rows[0]
        assert (first.sed, first.params, first.macs) == (expected.total, expected.params, expected.macs)
        assert first.fingerprint == expected.fingerprint

    def test_mapping_gives_names(self, nets: str) -> None:
        got = rank({"one": net(4), "two": lambda: net(8), "three": f"{nets}:net(2)"}, input_size=SIZE)
        assert [r.name for r in got] == ["two", "one", "three"]

    def test_failures_are_rows(self, nets: str) -> None:
        got = rank([f"{nets}:{f}" for f in ("boom", "net", "pool", "nothing")], input_size=SIZE)
        status = {r.name.rpartition(":")[2]: (r.status, r.reason) for r in got}
        assert status["net"] == ("ok", None)
        assert status["boom"][0] == "failed"
        assert "RuntimeError: no such backbone" in (status["boom"][1] or "")
        assert status["pool"][0] == "undefined"
        assert "has no 'nothing'" in (status["nothing"][1] or "")

    def test_wrong_input_is_a_row_and_raise_raises(self) -> None:
        got = rank({"a": net(4)}, input_size=(1, 5, 32, 32))
        assert got["a"].status == "failed"
        assert "shapes do not fit" in (got["a"].reason or "")
        with pytest.raises(SedTorchError, match="a: failed: ShapeError"):
            rank({"a": net(4)}, input_size=(1, 5, 32, 32), on_error="raise")

    @pytest.mark.parametrize("limit", [None, 60])
    def test_raise_stops_the_workers(self, nets: str, limit: float | None) -> None:
        refs = [f"{nets}:{f}" for f in ("boom", *(f"slow({w})" for w in range(2, 12)))]
        with pytest.raises(SedTorchError, match="no such backbone"):
            rank(refs, input_size=SIZE, jobs=2, on_error="raise", time_limit=limit)
        built = Path(nets).with_name("built")
        assert not built.exists() or len(built.read_text().splitlines()) < 10

    def test_typos_are_told_at_once(self) -> None:
        pytest.importorskip("timm")
        with pytest.raises(ModelReferenceError, match="did you mean"):
            rank("timm:resnet5o")

    @pytest.mark.parametrize(
        "kwargs",
        [{"jobs": 0}, {"backend": "spark"}, {"on_error": "ignore"}, {"time_limit": 0}, {"memory_limit": -1}],
    )
    def test_bad_arguments(self, kwargs: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(kwargs))):
            rank({"a": net(4)}, **kwargs)
        with pytest.raises(ValueError, match="cannot rank a int"):
            rank([3])  # type: ignore[list-item]

    def test_progress_counts_every_row(self, nets: str) -> None:
        seen: list[tuple[int, int]] = []
        rank([f"{nets}:net", f"{nets}:boom"], input_size=SIZE, progress=lambda d, n, r: seen.append((d, n)))
        assert seen == [(1, 2), (2, 2)]

    def test_quiet_where_there_is_no_terminal(self, nets: str, capsys: pytest.CaptureFixture[str]) -> None:
        rank(f"{nets}:net", input_size=SIZE)
        assert capsys.readouterr() == ("", "")

    def test_what_cannot_be_sent_is_a_row(self) -> None:
        model = net(4)
        model.lock = threading.Lock()  # type: ignore[assignment]
        got = rank({"locked": model, "free": net(5)}, input_size=SIZE, jobs=2, backend="threading")
        assert got["locked"].status == "failed"
        assert "cannot be sent to a worker process" in (got["locked"].reason or "")
        assert got["free"].status == "ok"
        assert rank({"locked": model}, input_size=SIZE)["locked"].status == "ok"

    def test_workers_agree_with_the_caller(self, nets: str, capfd: pytest.CaptureFixture[str]) -> None:
        refs = [f"{nets}:{f}" for f in ("net", "net(16)", "boom", "pool", "chatty")]
        models = {**{r: r for r in refs}, "module": net(3), "lambda": lambda: net(7)}
        alone = rank(models, input_size=SIZE)
        capfd.readouterr()
        assert results(rank(models, input_size=SIZE, jobs=2)) == results(alone)
        assert results(rank(models, input_size=SIZE, jobs=2, time_limit=60)) == results(alone)
        assert capfd.readouterr().out == ""


class TestLimits:
    @pytest.mark.slow
    def test_what_hangs_eats_or_dies_is_a_row(self, nets: str) -> None:
        refs = [f"{nets}:{f}" for f in ("hang", "net", "eat", "die", "net(4)")]
        start = time.monotonic()
        got = rank(refs, input_size=SIZE, jobs=2, time_limit=4, memory_limit=1200 * 2**20)
        assert time.monotonic() - start < 60
        status = {r.name.rpartition(":")[2]: r for r in got}
        assert {k: r.status for k, r in status.items()} == {
            "hang": "timeout",
            "eat": "memory",
            "die": "crashed",
            "net": "ok",
            "net(4)": "ok",
        }
        assert "4 s, the time limit" in (status["hang"].reason or "")
        assert "limit 1.17 GiB" in (status["eat"].reason or "")
        assert "exit status 3" in (status["die"].reason or "")

    def test_stopped_model_keeps_its_family(self) -> None:
        pytest.importorskip("torchvision")
        got = rank("torchvision:squeezenet1_0", memory_limit=2**20).rows[0]
        assert (got.status, got.family) == ("memory", "squeezenet")

    def test_idle_child_leaves_and_is_replaced(self, nets: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SED_TORCH_CHILD_IDLE_S", "0")
        pool, limits = ChildPool(), Limits(seconds=60)
        work = Work(partial(score_item, options=Options(input_size=SIZE)), stopped_row)
        try:
            first = pool.do(work, RankItem("a", f"{nets}:net"), limits)
            child = next(iter(pool._children.values()))
            _wait_for(lambda: not child.alive)
            second = pool.do(work, RankItem("a", f"{nets}:net"), limits)
        finally:
            pool.close()
        assert first.status == "ok"
        assert result(first) == result(second)

    def test_a_dead_worker_costs_no_other_row(self, nets: str) -> None:
        refs = [f"{nets}:{f}" for f in ("net", "die", "net(4)", "net(5)")]
        got = rank(refs, input_size=SIZE, jobs=2)
        assert [r.status for r in got] == ["ok", "ok", "ok", "crashed"]

    @pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
    def test_no_process_is_left_behind(self, nets: str, tmp_path: Path, sign: signal.Signals) -> None:
        psutil = pytest.importorskip("psutil")
        command = [sys.executable, "-m", "sed_torch", "rank", f"{nets}:hang", "--no-cache"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hears_ctrl_c
        )
        _wait_for(lambda: (tmp_path / "hanging").exists())
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 1
        process.send_signal(sign)
        _, err = process.communicate(timeout=30)
        if sign == signal.SIGINT:
            assert (process.returncode, err.strip()) == (130, INTERRUPTED)
        _wait_for(lambda: not any(c.is_running() and c.status() != "zombie" for c in children))


def _wait_for(condition: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def _counted(calls: list[str], name: str, function: Any) -> Any:
    def counted(*args: Any, **options: Any) -> Any:
        calls.append(name)
        return function(*args, **options)

    return counted


def test_a_detector_s_list_of_images_are_images() -> None:
    assert sample_size("3x300x300") == "3x300x300"
    assert sample_size("1x3x224x224") == "3x224x224"
    assert sample_size("1x16000") == "16000"
    assert sample_size("1x80x3000 + 1x10") == "80x3000 + 10"
    assert modality("3x300x300") == "images"
    assert modality("1x80x3000") == "sequences or signals"
    empty = Ranking.of([RankRow("a", params=9000, sed=1.0)], limits={"params": "5k"})
    assert empty.headline() == "No model within params ≤ 5.00 k has a score"
    assert task("?") == "what the data decide (detectors, say)"
    assert task("1x1000") == "one row of numbers (classifiers)"


class TestCache:
    def test_second_run_reads_every_row(self, tmp_path: Path) -> None:
        pytest.importorskip("torchvision")
        refs = ["torchvision:squeezenet1_0", "torchvision:squeezenet1_1"]
        first = rank(refs, cache=tmp_path)
        second = rank(refs, cache=tmp_path)
        assert (first.cached, second.cached) == (0, 2)
        assert second.rows == first.rows
        fresh = rank(refs, cache=tmp_path, resume=False)
        assert fresh.cached == 0
        assert results(fresh) == results(first)
        assert rank(refs, cache=tmp_path, input_size=(1, 3, 128, 128)).cached == 0

    def test_key_depends_on_what_decides_the_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        base = key_of_reference("timm:resnet18", {"input_size": None})
        assert base == key_of_reference("timm:resnet18", {"input_size": None})
        others = {
            key_of_reference("timm:resnet34", {"input_size": None}),
            key_of_reference("torchvision:resnet18", {"input_size": None}),
            key_of_reference("timm:resnet18", {"input_size": [1, 3, 64, 64]}),
        }
        monkeypatch.setattr("sed_torch.scoring.DEFAULT_DEFINITION", "sed/1")
        others.add(key_of_reference("timm:resnet18", {"input_size": None}))
        monkeypatch.setattr("sed_torch._version.__version__", "9.9")
        others.add(key_of_reference("timm:resnet18", {"input_size": None}))
        assert len(others | {base}) == 6
        assert key_of_reference("nets.py:net", {}) is None

    def test_versions_are_looked_up_once_a_run_not_once_a_model(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("torchvision")
        refs = [f"torchvision:squeezenet1_{n}" for n in (0, 1)]
        rank(refs, cache=tmp_path)
        known = importlib.metadata.version
        asked: list[str] = []
        monkeypatch.setattr("importlib.metadata.version", lambda p: asked.append(p) or known(p))
        _version.cache_clear()
        assert rank(refs, cache=tmp_path).cached == 2
        once = sorted(asked)
        asked.clear()
        _version.cache_clear()
        rank(refs[:1], cache=tmp_path)
        assert once == sorted(asked)

    def test_only_what_decides_a_row_is_in_its_key(self) -> None:
        root = Path(importlib.import_module("sed_torch").__file__ or "").parent
        places = {p.name.removesuffix(".py") for p in root.iterdir() if p.name[0] != "_" or p.suffix == ".py"}
        assert set(_NO_PART) <= places, "a place that is not there keeps nothing out"
        needed = {"ops", "entropy", "tracing", "lowering", "scoring", "topology", "graph", "zoo"}
        assert needed <= places - set(_NO_PART)

    def test_rules_of_the_user_are_part_of_the_key(self) -> None:
        from sed_torch import register_rule, unregister_rule

        before = key_of_graph("f", {})
        register_rule("my_own_function", "keep")
        try:
            assert key_of_graph("f", {}) != before
        finally:
            unregister_rule("my_own_function")
        assert key_of_graph("f", {}) == before

    def test_modules_are_kept_by_their_graph(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = rank({"a": net(4)}, input_size=SIZE, cache=tmp_path)
        calls: list[str] = []
        for where, name in (
            ("sed_torch.tracing", "trace"),
            ("sed_torch.scoring.model", "trace"),
            ("sed_torch.scoring.model", "score_graph"),
        ):
            real = getattr(importlib.import_module(where), name)
            monkeypatch.setattr(f"{where}.{name}", _counted(calls, name, real))
        second = rank({"b": net(4)}, input_size=SIZE, cache=tmp_path)
        assert second["b"].sed == first["a"].sed
        assert calls == ["trace"], "the graph is known, its score too"
        calls.clear()
        rank({"c": net(5)}, input_size=SIZE, cache=tmp_path)
        assert calls == ["trace", "score_graph"], "traced once, whether the row is there or not"

    def test_edited_file_is_not_taken_for_the_old_one(self, nets: str, tmp_path: Path) -> None:
        ref = f"{nets}:net"
        first = rank(ref, input_size=SIZE, cache=tmp_path)
        Path(nets).write_text(NETS.replace("width=8", "width=24"))
        assert rank(ref, input_size=SIZE, cache=tmp_path)[ref].params != first[ref].params

    def test_what_a_limit_made_is_not_kept(self, tmp_path: Path) -> None:
        cache = RowCache(tmp_path)
        for status in ("timeout", "memory", "crashed"):
            cache.put("ab" * 32, RankRow("a", status=status, reason="r"))  # type: ignore[arg-type]
            assert cache.get("ab" * 32) is None
        cache.put("ab" * 32, RankRow("a", status="failed", reason="r"))
        assert cache.get("ab" * 32) == RankRow("a", status="failed", reason="r")

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '{"schema": "sed_torch.row/1", "row": {"name": "a", "sed": "x"}}']
    )
    def test_broken_file_counts_as_absent(self, tmp_path: Path, text: str) -> None:
        cache = RowCache(tmp_path)
        cache.put("ab" * 32, RankRow("a", sed=-math.inf))
        assert cache.get("ab" * 32) == RankRow("a", sed=-math.inf)
        next(cache.folder.rglob("*.json")).write_text(text)
        assert cache.get("ab" * 32) is None

    def test_many_processes_at_once(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=_hammer, args=(tmp_path, n)) for n in range(4)]
        for p in processes:
            p.start()
        cache, seen = RowCache(tmp_path), 0
        while any(p.is_alive() for p in processes):
            row = cache.get("cd" * 32)
            assert row is not None or not seen  # once there, a reader never meets a file half written
            if row is not None:
                seen += 1
                assert row.reason == row.name * 2000  # whole, never half of one and half of another
        assert [p.exitcode for p in processes] == [0] * 4
        assert seen
        assert not list(cache.folder.rglob("*.tmp"))

    @pytest.mark.slow
    def test_kill_loses_only_what_was_in_flight(self, nets: str, tmp_path: Path) -> None:
        """Nine rows, told one by one; killed at the fifth; the next run does the rest."""
        pytest.importorskip("torchvision")
        script = tmp_path / "run.py"
        script.write_text(RESUME)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        command = [sys.executable, str(script), str(tmp_path / "cache")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        assert process.stdout is not None
        for _ in range(5):
            assert process.stdout.readline().startswith("row")
        process.kill()
        process.communicate(timeout=30)
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=100, check=True)
        report = json.loads(done.stdout.splitlines()[-1])
        assert report["models"] == 9
        assert report["cached"] >= 4  # the fifth may have been told and not yet kept, no earlier one
        assert report["failed"] == 0


RESUME = """
import sys, time
from sed_torch.ranking import rank

def tell(done, total, row):
    print("row", row.name, flush=True)
    time.sleep(0.2)

if __name__ == "__main__":
    import json
    models = "torchvision:squeezenet*,shufflenet_v2*,mnasnet*,!mnasnet1_3"
    got = rank(models, cache=sys.argv[1], progress=tell)
    print(json.dumps({"models": len(got), "cached": got.cached, "failed": len(got.failures)}))
"""


def _hammer(folder: Path, n: int) -> None:
    cache = RowCache(folder)
    for _ in range(60):
        cache.put("cd" * 32, RankRow(str(n), reason=str(n) * 2000, status="failed"))


class TestCluster:
    @pytest.mark.slow
    @pytest.mark.filterwarnings("default")  # of Dask's own, about the worker that is killed
    def test_worker_killed_mid_run_loses_nothing(self, nets: str, tmp_path: Path) -> None:
        distributed = pytest.importorskip("distributed")
        psutil = pytest.importorskip("psutil")
        models = {f"w{w}": f"{nets}:slow({w})" for w in range(2, 18)}
        local = rank({k: v.replace("slow", "net") for k, v in models.items()}, input_size=SIZE)
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            killed: list[str] = []

            def builders() -> list[str]:
                return [line.split()[1] for line in (tmp_path / "built").read_text().splitlines()]

            def kill_one(done: int, total: int, row: RankRow) -> None:
                if done == 4:
                    killed.append(builders()[-1])  # on a busy machine one worker may have begun alone
                    psutil.Process(int(killed[0])).kill()

            got = rank(
                models,
                input_size=SIZE,
                backend="dask",
                scheduler=client,
                progress=kill_one,
                cache=tmp_path / "c",
            )
            with_limit = rank(
                models, input_size=SIZE, backend="dask", scheduler=cluster.scheduler_address, time_limit=60
            )
        assert len(killed) == 1
        assert results(got) == results(local)  # bit for bit
        assert results(with_limit) == results(local)
        assert set(builders()) > set(killed)

    def test_no_scheduler(self) -> None:
        pytest.importorskip("distributed")
        with pytest.raises(SedTorchError, match="no Dask scheduler answers in this process"):
            rank({"a": net(4)}, input_size=SIZE, backend="dask")

    @pytest.mark.slow
    @pytest.mark.filterwarnings("default")  # of Ray's own
    def test_ray_agrees_and_outlives_a_worker(self, nets: str) -> None:
        ray = pytest.importorskip("ray")
        refs = [f"{nets}:{f}" for f in ("net", "net(4)", "boom")]
        local = rank(refs, input_size=SIZE)
        assert results(rank(refs, input_size=SIZE, backend="ray")) == results(local)
        assert not ray.is_initialized()
        with_death = rank([*refs, f"{nets}:die"], input_size=SIZE, backend="ray")
        assert results(with_death.top(2)) == results(local.top(2))
        assert with_death[f"{nets}:die"].status == "crashed"

    def test_ray_missing(self) -> None:
        if importlib.util.find_spec("ray") is not None:
            pytest.skip("ray is installed")
        with pytest.raises(SedTorchError, match=r"needs the package 'ray'.*sed-torch\[ray\]"):
            rank({"a": net(4)}, input_size=SIZE, backend="ray")


class TestCommand:
    def test_rank_to_file_and_top_to_stdout(
        self, nets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from sed_torch.cli import main

        target = tmp_path / "rank.csv"
        refs = [f"{nets}:{f}" for f in ("net", "net(4)", "boom")]
        args = ["rank", *refs, "--input-size", "1,3,32,32", "--top", "1", "--no-cache", "-o", str(target)]
        with pytest.raises(SystemExit, match="1"):  # a failure is a finding
            main(args)
        out, err = capsys.readouterr()
        assert "nets.py:net " in out
        assert "net(4)" not in out
        assert err.strip() == f"wrote {target}"
        rows = list(csv.DictReader(io.StringIO(target.read_text())))
        assert [r["status"] for r in rows] == ["ok", "ok", "failed"]

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["x.py:a", "--jobs", "0"], "0 workers do nothing"),
            (["x.py:a", "--backend", "dask"], "--backend dask needs --scheduler ADDRESS"),
            (["x.py:a", "--scheduler", "tcp://a:1"], "goes with --backend dask or ray"),
            (["x.py:a", "--memory-limit", "much"], "is no amount of memory"),
            (["timm:resnett*", "--no-cache"], "matches none"),
            ([], "Missing argument"),
        ],
    )
    def test_bad_usage(self, capsys: pytest.CaptureFixture[str], args: list[str], message: str) -> None:
        from sed_torch.cli import main

        with pytest.raises(SystemExit, match="2"):
            main(["rank", *args])
        out, err = capsys.readouterr()
        assert out == ""
        assert message in err
        assert "Traceback" not in err


def test_example_runs_and_the_readme_shows_its_output() -> None:
    pytest.importorskip("timm")
    root = Path(__file__).resolve().parent.parent
    script = root / "examples" / "rank_timm.py"
    assert len(script.read_text().splitlines()) < 40
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *(p for p in sys.path if p)])}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=200, check=True)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "### regnet: 10 models, median SED 11.096",
        "### resnet: 4 models, median SED 10.802",
    ]
    assert "| timm:resnet50 | 11.163 | 25.56 M | 1 |" in lines
    readme = (root / "README.md").read_text(encoding="utf-8").splitlines()
    shown = [line for line in readme if line.startswith("| timm:") or ", median SED " in line]
    assert set(shown) <= set(lines)
