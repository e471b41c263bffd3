"""Whatever a command line or a file says: an answer in words, an exit status, no traceback, no part of a file."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import pytest

from sed_torch.cli import run

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
    def forward(self, x):
        return self.conv(x)

class Asks(Net):
    def forward(self, x):
        while x.sum() > 0:
            x = self.conv(x)
        return x

class Breaks(nn.Module):
    def __init__(self):
        raise OSError("no such luck")

class Fails(Net):
    def forward(self, x):
        raise KeyError("a key")

number = 3
def nothing(): return None
def exits(): raise SystemExit(7)
def text(): return "a model"
"""
FILES: dict[str, bytes] = {
    "nets.py": NETS.encode(),
    "syntax.py": b"class Net(:\n",
    "raises.py": b"raise RuntimeError('at import')\n",
    "exits.py": b"import sys; sys.exit(0)\n",
    "nul.py": b"class Net: pass\n\x00\n",
    "latin.py": b"# \xff\xfe\nclass Net: pass\n",
    "empty.py": b"",
    "deep.py": b"x = " + b"(" * 300 + b")" * 300,
    "notes.txt": b"Net",
}

BAD_REFS = [
    "",
    " ",
    ":",
    "::",
    "Net",
    "timm:",
    "timm:no_such_model",
    "timm:../resnet50",
    "torchvision:",
    "torchvision:no_such_model",
    "hub:resnet50",
    "no.such.module:fn",
    "json:loads",
    "json:no_such_name",
    "os:sep",
    "missing.py:Net",
    "nets.py:",
    "nets.py:Missing",
    "nets.py:Net(",
    "nets.py:Net)",
    "nets.py:Net(width=)",
    "nets.py:Net(width='x')",
    "nets.py:Net(width=-1)",
    "nets.py:Net(width=1e308)",
    "nets.py:Net(width=10**30)",
    "nets.py:Net(__import__('os').getcwd())",
    "nets.py:Net(depth=3)",
    "nets.py:Net;Net",
    "nets.py:Net.forward",
    "nets.py:number",
    "nets.py:nothing",
    "nets.py:text",
    "nets.py:exits",
    "nets.py:Breaks",
    "nets.py:Asks",
    "nets.py:Fails",
    "syntax.py:Net",
    "raises.py:Net",
    "exits.py:Net",
    "nul.py:Net",
    "latin.py:Net",
    "empty.py:Net",
    "deep.py:Net",
    "notes.txt:Net",
    ".:Net",
    "/dev/null:Net",
    "../../../../etc/passwd:Net",
    "nets.py\n:Net",
]
NET = "nets.py:Net"
OUT = ["-o", "out.txt"]
SIZES = [
    "",
    "a",
    "3",
    "1,3",
    "1,3,0,8",
    "-1,3,8,8",
    "1,3,8",
    "1e3,3,8,8",
    "nan,3,8,8",
    "1,3,8,8.5",
    "1;3;8;8",
    "1,,3,8",
]
SIZES += [
    "1,3,8,8,8,8,8,8",
    "1,4,8,8",
    "1,3,2,2",
    "1,3,99999999999999999999999,8",
    ",".join(["9"] * 500),
    "١,3,8",
]
BAD_OPTIONS: list[list[str]] = [
    *[["score", NET, "--input-size", s, *OUT] for s in SIZES],
    [],
    ["nonsense"],
    ["score"],
    ["score", NET, NET],
    ["score", NET, "--depth", "-1", *OUT],
    ["score", NET, "--depth", "two", *OUT],
    ["score", NET, "--depth", "1e400", *OUT],
    ["score", NET, "--frontend", "jit", *OUT],
    ["score", NET, "--format", "xml", *OUT],
    ["score", NET, "--nonsense", *OUT],
    ["score", NET, "--input-size", "1,3,8,8", "-o", "missing/out.txt"],
    ["score", NET, "--input-size", "1,3,8,8", "-o", "."],
    ["score", NET, "--input-size", "1,3,8,8", "-o", "nets.py/out.txt"],
    ["score", NET, "--input-size", "1,3,8,8", "-o", "x" * 300],
    ["score", NET, "--input-size", "1,3,8,8", "-o"],
    ["ops", "--format", "yaml"],
    ["ops", "extra"],
    ["explain", "SED999"],
    ["explain", ""],
    ["check", NET, "--select", "SED999", *OUT],
    ["check", NET, "--fail-on", "sometimes", *OUT],
    ["check", NET, "--max-drop", "much", *OUT],
    ["check", NET, "--max-drop", "nan", "--baseline", "missing.json", *OUT],
    ["check", NET, "--baseline", "missing.json", *OUT],
    ["check", NET, "--update-baseline", *OUT],
    ["compare", NET, *OUT],
    ["compare", NET, "nets.py:Missing", *OUT],
    ["compare", NET, NET, "--input-size", "1,4,8,8", *OUT],
    ["graph", NET, "--color", "green", *OUT],
    ["graph", NET, "--engine", "dotty", *OUT],
    ["graph", NET, "--format", "png", *OUT],
    ["rank", "--top", "0", NET, *OUT],
    ["rank", *OUT],
    ["rank", "timm:no_such_*", *OUT],
    ["rank", "!timm:resnet50", *OUT],
    ["rank", NET, "--sort", "beauty", *OUT],
    ["rank", NET, "--jobs", "-2", *OUT],
    ["rank", NET, "--memory-limit", "much", *OUT],
    ["rank", NET, "--memory-limit", "-4G", *OUT],
    ["rank", NET, "--time-limit", "0", *OUT],
    ["rank", NET, "--backend", "threads", *OUT],
    ["search"],
    ["search", "--space", "no_such_space", *OUT],
    ["search", "--space", "../nasbench201", *OUT],
    ["search", "--space", "nasbench201", "--max-params", "-1", *OUT],
    ["search", "--space", "nasbench201", "--max-params", "1.0X", *OUT],
    ["search", "--space", "nasbench201", "--max-params", "nan", *OUT],
    ["search", "--space", "nasbench201", "--max-macs", "", *OUT],
    ["search", "--space", "nasbench201", "--max-depth", "many", *OUT],
    ["search", "--space", "nasbench201", "--budget", "0", *OUT],
    ["search", "--space", "nasbench201", "--budget", "-1", *OUT],
    ["search", "--space", "nasbench201", "--budget", "nan", "--max-looks", "0", *OUT],
    ["search", "--space", "nasbench201", "--max-looks", "0", *OUT],
    ["search", "--space", "nasbench201", "--strategy", "prayer", *OUT],
    ["search", "--space", "nasbench201", "--objective", "beauty", *OUT],
    ["search", "--space", "nasbench201", "--seed", "-1", *OUT],
    ["search", "--space", "nasbench201", "--max-params", "1", "--max-looks", "20", *OUT],
    ["benchmark", "--data", "missing", *OUT],
    ["benchmark", "--data", "notes.txt", *OUT],
    ["benchmark", "--data", ".", *OUT],
    ["benchmark", "--data", ".", "--only", "no_such_benchmark", *OUT],
    ["benchmark", "--data", ".", "--bootstrap", "-5", *OUT],
    ["validate", *OUT],
    ["validate", "--benchmark", "no_such_benchmark", "--data", ".", *OUT],
    ["validate", "--benchmark", "nasbench201", "--data", "missing", *OUT],
    ["validate", "--benchmark", "nasbench201", "--data", ".", "--sample", "1", *OUT],
    ["validate", "--benchmark", "nasbench201", "--data", ".", "--dataset", "mnist", *OUT],
    ["train-counterparts"],
    ["train-counterparts", "no_such_space", "-o", "out.csv"],
    ["train-counterparts", "nets.py:Missing", "-o", "out.csv"],
    ["report", NET],
    ["report", "-o", "out.html"],
    ["report", "missing.csv", "-o", "out.html"],
    ["report", "notes.txt", "-o", "out.html"],
    ["report", ".", "-o", "out.html"],
]

GOOD = b"name,sed,params,macs,status\na,10.5,100,1000,ok\nb,11.5,200,2000,ok\nc,12.5,300,3000,ok\nd,13,400,9000,ok\n"
BAD_FILES: dict[str, bytes] = {
    "empty": b"",
    "blank lines": b"\n\n\n",
    "header only": GOOD.split(b"\n")[0] + b"\n",
    "cut in a line": GOOD[:70],
    "cut in a quote": GOOD + b'"e,1,',
    "nan": GOOD.replace(b"10.5", b"nan"),
    "infinite": GOOD.replace(b"10.5", b"inf"),
    "huge": GOOD.replace(b"10.5", b"1e308").replace(b"11.5", b"-1e308"),
    "too huge": GOOD.replace(b"10.5", b"1e999"),
    "a word for a number": GOOD.replace(b"10.5", b"ten"),
    "a word for a count": GOOD.replace(b",100,", b",many,"),
    "a negative count": GOOD.replace(b",100,", b",-100,"),
    "other columns": b"x,y\n1,2\n",
    "a column twice": GOOD.replace(b"params", b"sed"),
    "a name twice": GOOD.replace(b"b,11", b"a,11"),
    "too many cells": GOOD.replace(b"10.5", b"10.5,1,2,3,4"),
    "too few cells": GOOD.replace(b"a,10.5,100,1000,ok", b"a"),
    "nul": GOOD.replace(b"10.5", b"\x00"),
    "not utf-8": GOOD.replace(b"a,", b"\xff\xfe,"),
    "utf-16": GOOD.decode().encode("utf-16"),
    "one cell of a megabyte": GOOD.replace(b"a,10", b"a" * (1 << 20) + b",10"),
    "a pickle": pickle.dumps({"a": 1}),
    "a zip": b"PK\x03\x04" + bytes(60),
    "a bzip2": b"BZh9" + bytes(60),
    "half a gzip": gzip.compress(GOOD)[:40],
    "a broken gzip": gzip.compress(GOOD)[:-6] + b"abcdef",
    "noise": bytes(range(256)) * 8,
    "json": b'{"a": [1, 2]}',
    "half a json": b'{"schema": "sed_torch',
    "a deep json": b"[" * 100_000,
    "json of another schema": b'{"schema": "other/9", "rows": []}',
    "a number": b"3",
    "html": b"<html><body>404</body></html>",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the files that command lines name, and nothing else."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SED_TORCH_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def told(
    args: list[str], folder: Path, capfd: pytest.CaptureFixture[str], *others: str, fine: bool = False
) -> int:
    """The exit status, after checking that there are words, no traceback, and no file that was not there before."""
    status = run(args)
    out, err = capfd.readouterr()
    assert status in ((0, 1, 2) if fine else (1, 2)), (status, out, err)
    assert "Traceback" not in out + err
    assert err.strip() or status == 1, "no word on stderr"
    left = {p.name for p in folder.iterdir() if p.name != "__pycache__"} - {*FILES, *others}
    # findings (1) are a result, which is written whole; a failure (2) writes nothing
    assert left == set() if status == 2 else left <= {"out.txt", "out.html", "out.csv"}
    return status


@pytest.mark.parametrize(
    "command",
    ["score", "check", *(pytest.param(c, marks=pytest.mark.slow) for c in ("graph", "compare", "report"))],
)
@pytest.mark.parametrize("ref", BAD_REFS)
def test_a_reference_that_leads_nowhere(
    ref: str, command: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = ["-o", "out.html"] if command == "report" else OUT
    references = [ref, NET] if command == "compare" else [ref]
    assert told([command, *references, *output], folder, capfd) == 2


@pytest.mark.parametrize("args", BAD_OPTIONS, ids=lambda a: " ".join(a)[:60] or "nothing")
def test_options_that_make_no_sense(args: list[str], folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told(args, folder, capfd)


READERS = {
    "a ranking": ["validate", "bad.csv", "--against", "torchvision", *OUT],
    "accuracies": ["validate", "good.csv", "--against", "bad.csv", *OUT],
    "timm's results": ["validate", "good.csv", "--against", "timm", "--timm-results", "bad.csv", *OUT],
    "a report's ranking": ["report", "bad.csv", "-o", "out.html"],
    "a baseline": ["check", NET, "--input-size", "1,3,8,8", "--baseline", "bad.csv", *OUT],
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", BAD_FILES)
def test_files_that_are_not_what_they_should_be(
    kind: str, reader: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.csv").write_bytes(BAD_FILES[kind])
    (folder / "good.csv").write_bytes(GOOD)
    # no rows, or two of one name, are a ranking still: a report may be made of it
    fine = kind in ("header only", "a name twice") and reader == "a report's ranking"
    told(READERS[reader], folder, capfd, "bad.csv", "good.csv", fine=fine)
    assert (folder / "bad.csv").read_bytes() == BAD_FILES[kind]


def test_there_are_more_than_two_hundred_cases() -> None:
    assert 5 * len(BAD_REFS) + len(BAD_OPTIONS) + len(READERS) * len(BAD_FILES) >= 400


def test_torchs_own_words_are_shown_when_asked_for(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for place in (0, 4):
        words = ["score", "nets.py:Asks", "--input-size", "1,3,8,8"]
        assert run(words) == 2
        assert "GuardOnDataDependent" not in capfd.readouterr().err
        words.insert(place, "--verbose")
        assert run(words) == 2
        assert "GuardOnDataDependent" in capfd.readouterr().err
