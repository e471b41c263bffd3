"""``examples/tour.ipynb`` is the tour as a notebook: the same cells, which run wherever the file is copied."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NOTEBOOK = EXAMPLES / "tour.ipynb"


def cells_of(script: str) -> list[dict[str, Any]]:
    """The cells of a script in percent format; what a cell printed, which the script shows below it, is its output."""
    found: list[dict[str, Any]] = []
    for k, part in enumerate(script.split("# %%")[1:]):
        if part.startswith(" [markdown]"):
            lines = [line.removeprefix("#").removeprefix(" ") for line in part.strip("\n").splitlines()[1:]]
            if lines[:1] == ["```text"]:
                text = "\n".join(lines[1 : lines.index("```")]) + "\n"
                found[-1]["outputs"] = [
                    {"name": "stdout", "output_type": "stream", "text": text.splitlines(True)}
                ]
                continue
            found.append({"cell_type": "markdown", "id": f"c{k}", "metadata": {}, "source": _source(lines)})
        else:
            lines = part.strip("\n").splitlines()
            found.append(
                {"cell_type": "code", "execution_count": None, "id": f"c{k}", "metadata": {}, "outputs": [],
                 "source": _source(lines)}
            )  # fmt: skip
    return found


def _source(lines: list[str]) -> list[str]:
    return "\n".join(lines).strip("\n").splitlines(True)


def notebook() -> str:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    data = {
        "cells": cells_of((EXAMPLES / "tour.py").read_text(encoding="utf-8")),
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def test_the_notebook_is_the_tour(update_goldens: bool) -> None:
    if update_goldens:
        NOTEBOOK.write_text(notebook(), encoding="utf-8")
    assert NOTEBOOK.read_text(encoding="utf-8") == notebook()


@pytest.mark.slow
def test_it_runs_when_copied_elsewhere(tmp_path: Path) -> None:
    """In a Jupyter kernel where there is one, else cell by cell in a fresh process."""
    copy = Path(shutil.copy(NOTEBOOK, tmp_path))
    env = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    if all(importlib.util.find_spec(n) for n in ("nbclient", "nbformat", "ipykernel")):
        run = (
            "import nbformat, nbclient, sys; nbclient.NotebookClient(nbformat.read(sys.argv[1], 4)).execute()"
        )
    else:
        run = (
            "import json, sys\nnames = {'__name__': '__main__'}\n"
            "for cell in json.load(open(sys.argv[1], encoding='utf-8'))['cells']:\n"
            "    if cell['cell_type'] == 'code': exec(''.join(cell['source']), names)"
        )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", run, copy.name], cwd=tmp_path, env=env, capture_output=True,
        text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
