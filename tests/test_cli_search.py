"""``sed-torch search``: limits in words, the best on stdout, Ctrl-C keeps what there is."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import run
from support.processes import hears_ctrl_c

from sed_torch.searching import running


def test_formats_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("search", "--space", "nasbench201", "--max-params", "1.0M", "--budget", 30, "--seed", 0)
    status, out, err = run(capsys, *command, "--format", "json")
    data = json.loads(out)
    assert (status, err) == (0, "")
    assert data["constraints"] == {"params": 1e6}
    assert data["best"]["params"] <= 1e6
    assert (data["looks"], data["stop"]) == (15_625, "exhausted")
    status, text, _ = run(capsys, *command)
    assert f"{data['best']['sed']:.3f}" in text
    assert "Search of nasbench201 with params ≤ 1.00 M" in text
    rows = list(csv.DictReader(io.StringIO(run(capsys, *command, "--format", "csv")[1])))
    assert [r["arch"] for r in rows] == [c["arch"] for c in data["front"]]
    target = tmp_path / "found.md"
    assert run(capsys, *command, "-o", target)[:2] == (0, "")
    assert target.read_text().startswith("**Search of nasbench201")


def test_options_reach_the_search(capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--max-macs",
        "150M",
        "--max-depth",
        "70",
        "--strategy",
        "random",
        "--max-looks",
        "40",
        "--seed",
        "5",
    )
    command = ("search", "--space", "darts", *options, "--objective", "macs", "--objective", "sed")
    data = json.loads(run(capsys, *command, "--budget", 60, "--format", "json")[1])
    assert data["constraints"] == {"macs": 150e6, "depth": 70}
    assert data["objectives"] == ["macs", "sed"]
    assert (data["strategy"], data["looks"], data["seed"], data["stop"]) == ("random", 40, 5, "max_looks")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "Missing option '--space'"),
        (("--space", "what"), "error: unknown search space 'what'"),
        (("--space", "nasbench201", "--max-params", "few"), "'few' is no quantity"),
        (("--space", "nasbench201", "--max-params", "1k"), "the smallest seen with a live path has"),
        (("--space", "nasbench201", "--max-params", "0"), "must be a positive number"),
        (("--space", "nasbench201", "--budget", "0"), "--budget"),
        (("--space", "darts", "--strategy", "exhaustive"), "darts cannot be enumerated"),
    ],
)
def test_what_is_refused(capsys: pytest.CaptureFixture[str], args: tuple[str, ...], message: str) -> None:
    status, out, err = run(capsys, "search", *args)
    assert (status, out) == (2, "")
    assert message in " ".join(err.split())


def test_ctrl_c_keeps_the_best(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    def interrupt(state: running.SearchProgress) -> None:
        told.append(state.looks)
        if state.looks > 100:
            raise KeyboardInterrupt

    monkeypatch.setattr(running, "_reporting", lambda *_: contextlib.nullcontext(interrupt))
    status, out, _ = run(capsys, "search", "--space", "darts", "--budget", 60, "--format", "json")
    assert status == 130
    assert json.loads(out)["stop"] == "interrupted"
    assert json.loads(out)["looks"] == told[-1]


LOOKING = """
import contextlib, sys
from sed_torch.cli import main
from sed_torch.searching import running

told = []

def tell(state):
    if state.looks and not told:
        told.append(print("looking", file=sys.stderr, flush=True))

running._reporting = lambda *_: contextlib.nullcontext(tell)
main(["search", "--space", "darts", "--budget", "120", "--format", "json"])
"""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_real_signal() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LOOKING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hears_ctrl_c,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "looking\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    data = json.loads(out)
    assert process.returncode == 130, err
    assert data["stop"] == "interrupted"
    assert data["looks"] > 0
    assert "Traceback" not in err


def test_export_writes_the_best_as_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.py"
    status, _, err = run(capsys, "search", "--space", "nats_size", "--max-params", "100k", "--export", file)
    assert status == 0
    command = f"score {file}:network --input-size 1,3,32,32"
    assert f"wrote {file}; to score it: sed-torch {command}" in err
    status, out, _ = run(capsys, *command.split(), "--format", "json")
    assert status == 0
    assert json.loads(out)["params"] < 100_000
