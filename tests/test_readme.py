"""What the README shows is what comes out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sed_torch.cli import main

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


def test_shown_output_is_the_command_s(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.search(r"```text\n(timm:resnet50.*?)```", README, re.DOTALL)
    assert shown is not None
    with pytest.raises(SystemExit) as stopped:
        main(["score", "timm:resnet50"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.strip() == shown.group(1).strip()


STORIES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", STORIES, ids=["check", "score", "rank"])
def test_stories_run(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "timm:" in code:
        pytest.importorskip("timm")
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 10
    names: dict[str, object] = {}
    exec(code, names)  # the README is ours
    out = capsys.readouterr().out
    if "s" in names:
        assert float(names["s"]) > 5  # type: ignore[arg-type]
        assert "change first: " in out
    if "ranking" in names:
        assert "best: timm:" in out


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 160


def test_what_it_names_is_there() -> None:
    root = Path(__file__).resolve().parent.parent
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", README)
    assert links
    assert [link for link in links if not (root / link).exists()] == []


def test_commands_are_those_of_ci() -> None:
    ci = (Path(__file__).resolve().parent.parent / ".ci" / "run").read_text(encoding="utf-8")
    assert 'pytest -n 2 -m "not slow"' in README
    assert 'pytest -n 2 -m "not slow"' in ci
    assert "pip install '.[test]'" in README
