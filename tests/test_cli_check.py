"""``sed-torch check`` as a linter: several references, settings, comments, hooks and CI in a scratch repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sed_torch.cli import main as run
from sed_torch.diagnostics import check

ROOT = Path(__file__).resolve().parent.parent

NETS = """
import torch
from torch import nn

class Good(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.a = nn.Linear(4, width)
    def forward(self, x):
        return self.a(x)

class Bad(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.extra = nn.Linear(4, 4)
    def forward(self, x):
        return self.a(x)

class Needs(nn.Module):
    def __init__(self, width):
        super().__init__()
"""


def main(words: list[str]) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as stopped:
        run(words)
    return int(stopped.value.code or 0)


QUIET = "self.extra = nn.Linear(4, 4)  "


def quiet(comment: str) -> str:
    return NETS.replace("self.extra = nn.Linear(4, 4)", QUIET + comment)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(f"[tool.sed-torch]\n{text}\n")


def test_globs_and_several_references(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nets.py:*"]) == 1
    out = capsys.readouterr().out
    assert "nets.py:Good: ok" in out
    assert "nets.py:Bad: FAILED" in out
    assert "2 models: 1 failed" in out
    assert main(["check", "nets.py:Good", "nets.py:G*", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "nets.py:Good"
    assert main(["check", "nets.py:*", "--format", "sarif"]) == 1
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2
    assert main(["check", "nets.py:None*"]) == 2


def test_a_model_that_cannot_be_read_stops_no_other(
    scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refs = ["nets.py:Good", "nets.py:Missing", "nets.py:Bad", "--input-size", "3,4"]
    assert main(["check", *refs]) == 2
    told = capsys.readouterr()
    assert "nets.py:Good: ok" in told.out
    assert "SED001" in told.out
    assert "error: nets.py:Missing: " in told.err
    assert "1 of 3 could not be checked" in told.err
    assert main(["check", *refs, "--baseline", "new.json", "--update-baseline"]) == 2
    assert "no baseline was written" in capsys.readouterr().err
    assert not (scratch / "new.json").exists()


def test_a_file_alone_lists_its_modules(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nets.py"]) == 0
    assert capsys.readouterr().out.split() == ["nets.py:Good", "nets.py:Bad"]


def test_the_line_and_the_name_are_told(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "nets.py:Bad", "--format", "github"])
    line = NETS.splitlines().index("        self.extra = nn.Linear(4, 4)") + 1
    assert capsys.readouterr().out.startswith(f"::error file=nets.py,line={line},title=SED001")
    main(["check", "nets.py:Bad"])
    assert "20 entries: weight, bias" in capsys.readouterr().out


@pytest.mark.parametrize("comment", ["# sed: ignore[SED001]", "# sed: ignore", "# sed: ignore[SED105, SED0]"])
def test_a_comment_leaves_a_finding_out(
    scratch: Path, capsys: pytest.CaptureFixture[str], comment: str
) -> None:
    (scratch / "quiet.py").write_text(
        NETS.replace("self.extra = nn.Linear(4, 4)", f"self.extra = nn.Linear(4, 4)  {comment}")
    )
    assert main(["check", "quiet.py:Bad"]) == 0
    assert "1 ignored by a comment or a setting" in capsys.readouterr().out


def test_a_comment_with_another_code_does_not(scratch: Path) -> None:
    (scratch / "loud.py").write_text(quiet("# sed: ignore[SED105]"))
    assert main(["check", "loud.py:Bad"]) == 1


def test_settings(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings(scratch, 'ignore = ["SED001"]\n[tool.sed-torch.input-sizes]\n"nets.py:*" = [3, 4]')
    assert main(["check", "nets.py:Bad", "--format", "json"]) == 0
    assert not json.loads(capsys.readouterr().out)["assumed"]
    settings(scratch, '[tool.sed-torch.per-path]\n"extra" = ["SED0"]')
    assert main(["check", "nets.py:Bad"]) == 0
    settings(scratch, 'select = ["SED2"]')
    assert main(["check", "nets.py:Bad"]) == 0
    assert main(["check", "nets.py:Bad", "--select", "SED001"]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1", "has colour: expected select"),
        ('ignore = "SED001"', "ignore must be a list of codes"),
        ('fail-on = "always"', "fail-on must be info"),
        ("[tool.sed-torch.input-sizes]\na = [0]", "must be positive integers"),
        ('memory = "24 gigs"', "memory: '24 gigs' is no amount of memory"),
        ("memory = 0", "memory: 0 is no amount of memory"),
        ("x = [", "cannot be read"),
    ],
)
def test_settings_that_mean_nothing(
    scratch: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    settings(scratch, text)
    assert main(["check", "nets.py:Good"]) == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)


def test_memory(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "nets.py:Good", "--input-size", "3,4"]
    assert main([*command, "--memory", "1MB"]) == 0
    assert main([*command, "--memory", "100", "--optimizer", "sgd"]) == 1
    assert "SED322" in capsys.readouterr().out
    settings(scratch, "memory = 100")
    assert main(command) == 1
    assert main([*command, "--memory", "1MB"]) == 0
    (scratch / "pyproject.toml").unlink()
    assert main([*command, "--memory", "24 gigs"]) == 2
    assert main([*command, "--optimizer", "sgd"]) == 2
    err = capsys.readouterr().err
    assert "'24 gigs' is no amount of memory" in err
    assert "--optimizer goes with --memory" in err


def test_statistics(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nets.py:*", "--statistics", "--output-file", "counts.txt"]) == 1
    text = (scratch / "counts.txt").read_text()
    assert "SED001  error    unused-parameters" in text
    assert text.rstrip().endswith("findings in 2 models")


def test_an_update_of_the_baseline_is_no_failure(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nets.py:*", "--baseline", "sed.json", "--update-baseline"]) == 0
    assert "FAILED" not in capsys.readouterr().out
    assert main(["check", "nets.py:*", "--baseline", "sed.json"]) == 0


def _shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_hook_runs_what_it_says(scratch: Path) -> None:
    """The entry of .pre-commit-hooks.yaml with the arguments a project gives it, as pre-commit would call it."""
    hook = (ROOT / ".pre-commit-hooks.yaml").read_text()
    entry = re.search(r"entry: sed-torch (.+)", hook)
    assert entry is not None
    assert "pass_filenames: false" in hook
    done = _shell(f"{sys.executable} -m sed_torch {entry[1]} nets.py:*", scratch)
    assert done.returncode == 1, done.stderr
    assert "nets.py:Bad: FAILED" in done.stdout


def test_the_line_for_ci_in_the_readme_does_what_it_says(scratch: Path) -> None:
    """Copied from the README into a repository: it fails there, and marks the line in the review."""
    found = re.search(r"In CI: `sed-torch (check [^`]+)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    line = found[1].replace("net.py", "nets.py")
    assert "nets.py:*" in line
    (scratch / "pyproject.toml").write_text('[tool.sed-torch.input-sizes]\n"nets.py:*" = [2, 4]\n')
    _shell("git init -q .", scratch)
    done = _shell(f"{sys.executable} -m sed_torch {line}", scratch)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"::error file=nets.py,line=\d+.*SED001", done.stdout), done.stdout
    (scratch / "nets.py").write_text(NETS.replace("        self.extra = nn.Linear(4, 4)\n", ""))
    assert _shell(f"{sys.executable} -m sed_torch {line}", scratch).returncode == 0


def test_the_fixture_comes_with_the_package(scratch: Path) -> None:
    """pytest finds ``sed_check`` by the entry point of an installed package, with nothing in conftest."""
    name = "sed_torch.integrations.pytest_plugin"
    assert f'"{name}" = "{name}"' in (ROOT / "pyproject.toml").read_text()
    info = scratch / "site" / "sed_torch_entry-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sed-torch-entry\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[pytest11]\n{name} = {name}\n")
    (scratch / "test_net.py").write_text(
        "from nets import Bad\ndef test_net(sed_check):\n    sed_check(Bad(), input_size=(2, 4))\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(scratch / "site")])}
    for more in ([], ["-p", name]):  # who asked for it by name before may go on
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *more, "test_net.py"],
            cwd=scratch, env=env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stdout + done.stderr
        assert "SED001 error extra" in done.stdout


def test_comments_hold_for_the_function_too(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (scratch / "quiet2.py").write_text(
        NETS.replace("self.extra = nn.Linear(4, 4)", "self.extra = nn.Linear(4, 4)  # sed: ignore")
    )
    monkeypatch.syspath_prepend(str(scratch))
    import quiet2  # type: ignore[import-not-found]

    report = check(quiet2.Bad(), input_size=(2, 4))
    assert report
    assert [f.code for f in report.ignored] == ["SED001"]
