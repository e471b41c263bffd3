"""``graph``, ``report`` and ``-o page.html`` on the command line."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from support.commands import run

NETS = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width=8):
        super().__init__(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3))

def nothing():
    return nn.ReLU()
"""
SIZE = ("--input-size", "1,3,32,32")


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return path


def test_graph_in_every_form(nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "graph", f"{nets}:Net", *SIZE)
    assert (status, err) == (0, "")
    assert out.startswith(f"{nets}:Net: 4 boxes, 3 edges\n"), "an activation has no box"
    heads = {"svg": "<svg", "dot": "digraph", "mermaid": "flowchart LR", "json": "{"}
    for form, head in heads.items():
        _, out, _ = run(capsys, "graph", f"{nets}:Net", *SIZE, "--format", form)
        assert out.startswith(head)
    for suffix, head in ((".svg", "<svg"), (".dot", "digraph"), (".mmd", "flowchart"), (".json", "{")):
        path = tmp_path / f"x{suffix}"
        status, out, err = run(capsys, "graph", f"{nets}:Net", *SIZE, "--depth", 1, "-o", path)
        assert (status, out) == (0, "")
        assert path.read_text(encoding="utf-8").startswith(head)
    options = ("--color", "suppression", "--theme", "dark", "--format", "svg")
    _, dark, _ = run(capsys, "graph", f"{nets}:Net", *SIZE, *options)
    assert "local entropy lost" in dark
    assert ET.fromstring(dark) is not None


def test_a_report_of_one_model_and_of_two(
    nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one.html", tmp_path / "two.html"
    status, out, err = run(capsys, "report", f"{nets}:Net", *SIZE, "-o", one, "--title", "<mine>")
    assert (status, out, err) == (0, "", f"wrote {one}\n")
    assert "<title>&lt;mine&gt;</title>" in one.read_text(encoding="utf-8")
    run(capsys, "report", f"{nets}:Net", f"{nets}:Net(width=16)", *SIZE, "-o", two)
    assert "2 models compared" in two.read_text(encoding="utf-8")
    status, _, _ = run(capsys, "report", f"{nets}:nothing", *SIZE, "-o", one)
    assert status == 1, "no score"


def test_a_report_of_a_ranking_and_its_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranking, accuracy, page = (tmp_path / n for n in ("rank.csv", "acc.csv", "page.html"))
    lines = ["name,sed,params,macs,family,status"]
    lines += [f"m{i},{10 + i * i % 7},{i + 1},{i + 2},f,ok" for i in range(20)]
    ranking.write_text("\n".join(lines) + "\n")
    accuracy.write_text("name,accuracy\n" + "".join(f"m{i},{i}\n" for i in range(20)))
    status, _, _ = run(capsys, "report", ranking, "-o", page)
    assert status == 0
    assert "Ranking of 20 models" in page.read_text(encoding="utf-8")
    run(capsys, "report", ranking, "--against", accuracy, "-o", page)
    text = page.read_text(encoding="utf-8")
    assert "Ranking of 20 models" in text
    assert "20 networks with a score and an accuracy" in text


def test_other_commands_write_pages_too(
    nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    made = {
        f"{nets}:Net: SED ": ("score", f"{nets}:Net", *SIZE),
        "Ranking of 1 models": ("rank", f"{nets}:Net", *SIZE, "--no-cache"),
        "Search of nasbench201": ("search", "--space", "nasbench201", "--max-looks", "20", "--budget", "20"),
    }
    for text, command in made.items():
        status, _, _ = run(capsys, *command, "-o", page)
        assert status == 0
        assert f"<h1>{text}" in page.read_text(encoding="utf-8")
        assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    page.unlink()
    for name, form in (("page.pdf", "pdf"), ("page.svg", "svg"), ("page.png", "png")):
        status, _, err = run(capsys, "ops", "-o", tmp_path / name)
        assert status == 2
        assert f"this command has no {form} form; expected one of text, json, csv, md" in err
        assert not (tmp_path / name).exists()


def test_wrong_usage_is_told(nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "report", f"{nets}:Net")
    assert status == 2
    assert "Missing option '-o'" in err
    status, _, err = run(
        capsys, "report", f"{nets}:Net", "--against", "torchvision", "-o", tmp_path / "a.html"
    )
    assert status == 2
    assert "--against goes with a ranking's file only" in err
    status, _, err = run(capsys, "report", tmp_path / "none.csv", "-o", tmp_path / "a.html")
    assert status == 2
    assert "there is no file" in err
    status, _, err = run(capsys, "graph", f"{nets}:Net", "--color", "blue")
    assert status == 2
    assert "'blue' is not one of" in err
    assert list(tmp_path.glob("*.html")) == []
