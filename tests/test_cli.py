"""Commands print results on stdout and the rest on stderr, exit as they say, and never show a traceback."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.commands import run
from support.processes import hears_ctrl_c

from sed_torch import __version__

NETS = """
import torch, time
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
    def forward(self, x):
        return self.conv(x)

class Wrong(Net):
    def forward(self, x):
        while x.sum() > 0:
            x = self.conv(x)
        return x

class Pool(nn.Module):
    def forward(self, x):
        return nn.functional.avg_pool2d(x, 2)

def slow():
    print("building", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return path


SIZE = ("--input-size", "1,3,32,32")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_keeps_to_the_width_in_whole_sentences(width: int) -> None:
    from click import Context
    from click.testing import CliRunner

    from sed_torch.cli import cli

    for name in ("", *cli.list_commands(Context(cli))):
        said = CliRunner().invoke(cli, [*name.split(), "--help"], terminal_width=width, prog_name="sed-torch")
        assert said.exit_code == 0
        assert [line for line in said.output.splitlines() if len(line) > width] == []
        cut = [w for w in said.output.split() if w.endswith("...") and w[:-3].islower()]
        assert cut == []


@pytest.mark.parametrize(
    "command", ["score A", "rank A", "check A", "compare A B", "graph A", "search --space darts"]
)
def test_an_unknown_suffix_is_refused_before_the_work(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, *command.split(), "-o", "page.pdf")
    assert (status, out) == (2, "")
    assert "this command has no pdf form; expected one of text, " in err


class TestScore:
    def test_formats_agree(self, nets: Path, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, err = run(capsys, "score", f"{nets}:Net", *SIZE, "--format", "json")
        data = json.loads(out)
        assert (status, err) == (0, "")
        # One 3×3 convolution of white noise on a 30×30 map: ln √(8·3·9) + ¼ ln 900.
        assert data["total"] == pytest.approx(math.log(math.sqrt(8 * 3 * 9)) + 0.25 * math.log(900))
        status, text, _ = run(capsys, "score", f"{nets}:Net", *SIZE)
        assert f"{data['total']:.4f} nats" in text
        assert "\x1b" not in text
        _, md, _ = run(capsys, "score", f"{nets}:Net", *SIZE, "--format", "md")
        assert "| conv |" in md
        _, table, _ = run(capsys, "score", f"{nets}:Net", *SIZE, "--format", "csv", "--depth", "1")
        assert [r["path"] for r in csv.DictReader(io.StringIO(table))] == ["", "conv"]

    def test_arguments_of_the_reference(self, nets: Path, capsys: pytest.CaptureFixture[str]) -> None:
        _, out, _ = run(
            capsys, "score", f"{nets}:Net(width=16)", "--input-size", "1x3x32x32", "--format", "json"
        )
        assert json.loads(out)["params"] == 16 * 28

    def test_file_takes_the_format_of_its_suffix(
        self, nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "out.json"
        status, out, err = run(capsys, "score", f"{nets}:Net", *SIZE, "-o", target)
        assert (status, out) == (0, "")
        assert "wrote" in err
        assert json.loads(target.read_text())["name"] == f"{nets}:Net"
        assert {p.name for p in tmp_path.iterdir()} - {"__pycache__"} == {"nets.py", "out.json"}

    def test_undefined_score_is_a_finding(self, nets: Path, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, _ = run(capsys, "score", f"{nets}:Pool", *SIZE)
        assert status == 1
        assert "SED undefined" in out

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (("{nets}:None_", *SIZE), "error: .*has no 'None_'"),
            (("nothing",), "error: cannot read the model reference"),
            (("{nets}:Net", "--input-size", "1,5,32,32"), "error: shapes do not fit"),
            (("{nets}:Wrong", *SIZE), "error: "),
            (("{nets}:Net", "--input-size", "1,x"), "is no size"),
            (("{nets}:Net", "--input-size", "1,0,2,2"), "is no size"),
            (("{nets}:Net", *SIZE, "-o", "/no/such/folder/x.json"), "is not a folder"),
            (("{nets}:Net", "--format", "xml"), "xml"),
            ((), "Missing argument"),
        ],
    )
    def test_bad_input(
        self, nets: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], message: str
    ) -> None:
        import re

        status, out, err = run(capsys, "score", *(a.format(nets=nets) for a in args))
        assert (status, out) == (2, "")
        assert re.search(message, err)


class TestOthers:
    def test_ops(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, _ = run(capsys, "ops", "--format", "json")
        rows = {r["op"]: r for r in json.loads(out)}
        assert status == 0
        assert rows["relu"]["rule"] == "keep"
        assert "conv2d" in rows["conv"]["spellings"]
        _, text, _ = run(capsys, "ops")
        assert max(map(len, text.splitlines())) < 130

    def test_doctor_tells_nothing_sensitive(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        status, out, _ = run(capsys, "doctor", "--format", "json")
        rows = {r["item"]: r for r in json.loads(out)}
        assert status == 0
        assert rows["sed-torch"]["found"] == __version__
        assert rows["torch"]["found"]
        for secret in ("hf_secret", os.path.expanduser("~"), os.getcwd()):
            assert secret not in out

    def test_help_and_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, _ = run(capsys, "--help")
        assert (status, "score" in out) == (0, True)
        status, out, _ = run(capsys, "--version")
        assert (status, out) == (0, f"sed-torch {__version__}\n")
        status, out, err = run(capsys)
        assert (status, out) == (2, "")
        assert "Usage" in err
        assert run(capsys, "scor")[0] == 2


class TestProcess:
    """What only a process of its own can show."""

    def test_interrupt_exits_130_with_a_word(self, nets: Path) -> None:
        command = [sys.executable, "-m", "sed_torch", "score", f"{nets}:slow"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hears_ctrl_c
        )
        assert process.stderr is not None
        assert process.stderr.readline() == "building\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert err.strip() == "interrupted"

    def test_reader_that_leaves(self) -> None:
        command = f"{sys.executable} -m sed_torch ops --format json | head -c 10; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_a_size_may_name_its_dtype(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.py"
    file.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.head, self.table = nn.Linear(4, 4), nn.Embedding(10, 4)\n"
        "    def forward(self, x):\n"
        "        return self.head(self.table(x))\n"
    )
    status, out, _ = run(capsys, "score", f"{file}:Net", "--input-size", "1,20:int64")
    assert (status, "320 MACs" in out) == (0, True)
    status, _, err = run(capsys, "score", f"{file}:Net", "--input-size", "1,20:int65")
    assert (status, "is no dtype of torch" in err) == (2, True)
