"""Shared by the tests: the ``--update-goldens`` flag, and where public tables are looked for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# the public tables of trained accuracies, where they lie beside this repository
_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
if _DATA.exists():
    os.environ.setdefault("SED_TORCH_DATA", str(_DATA))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens",
        action="store_true",
        help="write tests/goldens/*.json anew from what the code computes, instead of comparing",
    )


@pytest.fixture
def update_goldens(request: pytest.FixtureRequest) -> bool:
    """Whether recorded values are to be written anew."""
    return bool(request.config.getoption("--update-goldens"))


@pytest.fixture
def no_child_outlives_its_test() -> Iterator[None]:
    """A process for tasks that is still there after its test is that test's fault, not the next one's."""
    psutil = pytest.importorskip("psutil")
    me = psutil.Process()

    def left() -> list[str]:
        lines = []
        for child in me.children(recursive=True):
            try:
                lines.append(" ".join(child.cmdline()))
            except psutil.Error:
                continue
        return [line for line in lines if "sed_torch" in line]

    before = len(left())
    yield
    deadline = time.monotonic() + 5
    while len(left()) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(left()) <= before, f"left running: {left()}"
