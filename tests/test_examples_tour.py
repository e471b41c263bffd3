"""``examples/tour.py`` prints what it says it prints; ``--update-goldens`` writes it anew."""

from __future__ import annotations

import io
import re
import sys
import types
from contextlib import redirect_stdout
from pathlib import Path

import pytest

TOUR = Path(__file__).resolve().parent.parent / "examples" / "tour.py"
SHOWN = re.compile(r"\A \[markdown\]\n# ```text\n(?P<text>.*?)# ```\n", re.DOTALL)


def comment(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def test_the_tour_prints_what_it_shows(update_goldens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOUR.parent.parent)
    head, *cells = TOUR.read_text(encoding="utf-8").split("# %%")
    module = types.ModuleType("tour")
    monkeypatch.setitem(sys.modules, "tour", module)
    printed, shown = "", 0
    for k, cell in enumerate(cells):
        found = SHOWN.match(cell)
        if found is not None:
            assert printed, f"nothing was printed before {cell!r}"
            if update_goldens:
                cells[k] = cell.replace(found[0], f" [markdown]\n# ```text\n{comment(printed)}# ```\n")
            else:
                assert found["text"] == comment(printed)
            printed, shown = "", shown + 1
        elif not cell.startswith(" [markdown]"):
            assert printed == "", f"not shown: {printed!r}"
            out = io.StringIO()
            with redirect_stdout(out):
                exec(compile(cell, str(TOUR), "exec"), module.__dict__)  # the tour is ours
            printed = out.getvalue()
    assert printed == ""
    assert shown >= 9
    if update_goldens:
        TOUR.write_text("# %%".join([head, *cells]), encoding="utf-8")
