"""Shared by the tests: the ``--update-goldens`` flag."""

from __future__ import annotations

import pytest


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
