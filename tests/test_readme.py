"""What the README shows is what comes out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sed_torch.cli import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


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
    assert (
        max(len(line) for line in README.splitlines() if not line.startswith(("|", "standing", "coverage")))
        <= 150
    )


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


def test_the_picture_is_the_command_s(tmp_path: Path) -> None:
    (shown,) = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    with pytest.raises(SystemExit) as stopped:
        main(["graph", "timm:resnet50", "-o", str(tmp_path / "drawn.svg")])
    assert stopped.value.code == 0
    assert (ROOT / shown).read_text(encoding="utf-8") == (tmp_path / "drawn.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("said", "page", "found"),
    [
        (
            r"(\d+) of (\d+) public repositories",
            "public-code",
            r"in {1} repositories were checked.*\*\*{0} repositories",
        ),
        (r"best ([\d.]+) % of the space", "top-ten", r"best {0}% of the space in the median"),
        (r"in the median of (\d+) tasks", "top-ten", r"in the median of {0} tasks"),
        (r"at random hold one of the best ([\d.]+) %", "top-ten", r"at random hold one of the best {0} %"),
        (r"by MACs ([\d.]+) %", "top-ten", r"by MACs one of the best {0}%"),
        (r"by params ([\d.]+) %", "top-ten", r"by parameters hold one of the best {0}%"),
        (r"down to (\d+) %", "top-ten", r"one of the best {0}\.\d% in the worst"),
        (r"networks add ([\d.]+) to ρ", "calibration", r"\+{0} with 20"),
    ],
)
def test_numbers_are_those_of_the_result_pages(said: str, page: str, found: str) -> None:
    numbers = re.search(said, re.sub(r"\s+", " ", README))
    assert numbers is not None, said
    text = (ROOT / "examples" / "results" / f"{page}.md").read_text(encoding="utf-8")
    assert re.search(found.format(*map(re.escape, numbers.groups())), text), numbers.group(0)


def test_sets_where_size_says_as_much_are_counted() -> None:
    above, sets = map(int, re.search(r"apart on (\d+) of (\d+) sets", re.sub(r"\s+", " ", README)).groups())  # type: ignore[union-attr]
    text = (ROOT / "examples" / "results" / "size-and-shape.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \|(?: [^|]+ \|){5} (above 0|below 0|unclear) \|", text, re.MULTILINE)
    assert (rows.count("above 0"), len(rows)) == (above, sets)
