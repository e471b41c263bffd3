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


def test_python_example_runs() -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    names: dict[str, object] = {}
    exec(code.group(1), names)  # the README is ours
    assert float(names["s"]) > 5  # type: ignore[arg-type]


def test_commands_are_those_of_ci() -> None:
    ci = (Path(__file__).resolve().parent.parent / ".ci" / "run").read_text(encoding="utf-8")
    assert 'pytest -n 2 -m "not slow"' in README
    assert 'pytest -n 2 -m "not slow"' in ci
    assert "pip install '.[test]'" in README
