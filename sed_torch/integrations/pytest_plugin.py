"""pytest: a fixture with which a project's own tests check its architectures.

It is opted into, for it imports torch: in the root ``conftest.py``

>>> pytest_plugins = ["sed_torch.integrations.pytest_plugin"]

(or ``-p sed_torch.integrations.pytest_plugin``), and then

>>> def test_net(sed_check):                                                  # doctest: +SKIP
...     sed_check(Net(), input_size=(1, 3, 32, 32), fail_on="warning")

With ``--sed-baseline FILE`` (or ``sed_baseline`` in the settings) findings listed there are forgiven and a lower
score fails; ``--sed-update-baseline`` writes the file anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

__all__ = ["sed_check"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the command line and of the settings file."""
    group = parser.getgroup("sed-torch")
    group.addoption("--sed-baseline", metavar="FILE", help="baseline of sed_check")
    group.addoption("--sed-update-baseline", action="store_true", help="write the baseline of sed_check anew")
    parser.addini("sed_baseline", "baseline of sed_check, relative to the root folder", default="")


def _baseline(config: pytest.Config) -> str | None:
    given = config.getoption("--sed-baseline")
    if given:
        return str(given)
    name = str(config.getini("sed_baseline"))
    return os.path.join(config.rootpath, name) if name else None


@pytest.fixture
def sed_check(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A function that checks a model and fails the test on findings; it returns the report.

    Arguments are those of :func:`sed_torch.check`; ``fail_on`` says what fails the test.
    """
    from sed_torch.diagnostics import Baseline, CheckReport, check

    path = _baseline(request.config)
    update = bool(request.config.getoption("--sed-update-baseline"))
    if update and path is None:
        raise pytest.UsageError(
            "--sed-update-baseline needs --sed-baseline FILE or sed_baseline in the settings"
        )

    def run(model: Any, **options: Any) -> CheckReport:
        __tracebackhide__ = True
        if path is not None and not update and os.path.exists(path):
            options.setdefault("baseline", path)
        report = check(model, **options)
        if update and path is not None:
            known = Baseline.read(path) if os.path.exists(path) else Baseline({})
            known.with_report(report).write(path)
        elif report.failed:
            pytest.fail(str(report), pytrace=False)
        return report

    return run
