"""What people see, recorded whole: text at 80 columns, and pages on a phone 390 pixels wide.

``pytest tests/test_goldens_people.py --update-goldens`` writes the files in ``tests/goldens`` anew; read them then, as
a person who has never seen them would. The pages need a browser and are slow.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sed_torch
from sed_torch._files import write_text
from sed_torch.evidence import validate
from sed_torch.report import save_html
from sed_torch.tables import Tabular

torchvision = pytest.importorskip("torchvision")

GOLDENS = Path(__file__).parent / "goldens"
SIZE = (1, 3, 224, 224)
PHONE = {"width": 390, "height": 844}


def scored() -> sed_torch.Score:
    """A score as the command line has it: with what comparable networks reach, and advice."""
    from sed_torch.calibration import with_expected

    score = with_expected(sed_torch.score(torchvision.models.resnet18(), SIZE, name="resnet18"))
    return replace(score, advice=sed_torch.sensitivity(score).advice(1))


def ranked() -> sed_torch.Ranking:
    from sed_torch.calibration import calibrations, expect

    names = ("mobilenet_v2", "resnet18", "shufflenet_v2_x1_0", "squeezenet1_1")
    models = {name: getattr(torchvision.models, name) for name in names}
    ranking = sed_torch.rank(models, input_size=SIZE, max_memory="4G", progress=False)
    return replace(expect(ranking, calibrations(None)), elapsed=0.0)


def checked() -> sed_torch.CheckReport:
    from torch import nn

    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sigmoid(), nn.Conv2d(8, 8, 1, stride=2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1), nn.Softmax(1)),
    )
    return replace(sed_torch.check(model, input_size=(4, 3, 32, 32), name="net.py:Net"), elapsed=0.0)


def validated() -> sed_torch.evidence.ValidationReport:
    accuracy = [70.0 + 0.5 * i for i in range(16)]
    scores = [a + 2.0 * (-1) ** i for i, a in enumerate(accuracy)]
    params = [a + 5.0 * (i % 3) for i, a in enumerate(accuracy)]
    return validate(
        scores, accuracy, params=params, n_bootstrap=200, unit="%", title="SED against accuracies"
    )


def searched() -> sed_torch.searching.SearchResult:
    found = sed_torch.search("nasbench201", max_params="1M", max_looks=200, budget_s=None)
    return replace(found, seconds=1.0)


def _score_of(name: str) -> sed_torch.Score:
    return sed_torch.score(getattr(torchvision.models, name)(), SIZE, name=name)


RESULTS: dict[str, Callable[[], Tabular]] = {
    "score": scored,
    "table": lambda: _score_of("resnet18").table("output, kernel, params, MACs", depth=2, tree=True),
    "rank": ranked,
    "compare": lambda: sed_torch.compare(_score_of("resnet18"), _score_of("resnet34")),
    "sensitivity": lambda: sed_torch.sensitivity(_score_of("resnet18")),
    "check": checked,
    "cost": lambda: sed_torch.cost(
        torchvision.models.resnet18(), input_size=SIZE, gpu="A100 40GB", name="resnet18"
    ),
    "cost by operator": lambda: replace(
        sed_torch.cost(torchvision.models.vit_b_16(), input_size=SIZE, name="vit_b_16"), by="operator"
    ),
    "validate": validated,
    "search": searched,
}


def held(name: str, found: str, update: bool) -> None:
    """The recorded text is the found one."""
    path = GOLDENS / name
    if update:
        write_text(path, found)
    assert found == path.read_text(encoding="utf-8"), f"{name} differs; --update-goldens writes it anew"


@pytest.fixture(scope="module")
def results() -> dict[str, Tabular]:
    return {name: make() for name, make in RESULTS.items()}


def test_text_at_80_columns(results: dict[str, Tabular], update_goldens: bool) -> None:
    shown = {name: result.to_text(width=80) for name, result in results.items()}
    lines = [line for text in shown.values() for line in text.splitlines()]
    assert [line for line in lines if len(line) > 80] == []
    held("people-80.txt", "".join(f"==== {n}\n{t.rstrip()}\n\n" for n, t in shown.items()), update_goldens)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_number_is_cut(results: dict[str, Tabular], width: int) -> None:
    for name, result in results.items():
        for line in result.to_text(width=width).splitlines():
            assert len(line) <= width, (name, line)
            assert not re.search(r"\d…|…\d+\s*$", line) or name in ("search", "table"), (name, line)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install '.[browser]'")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no browser")
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--disable-gpu", *root])
        yield started
        started.close()


WORDS = """() => {
  const shown = e => e.checkVisibility ? e.checkVisibility() : true;
  const lines = [];
  const told = 'h1, h2, h3, .card p, .notes li, .facts div, .findings p, figcaption, .scroll';
  for (const e of document.querySelectorAll(told)) {
    if (!shown(e) || (e.closest('.scroll') && !e.matches('.scroll'))) continue;
    if (e.closest('#about')) continue;
    if (e.matches('.scroll')) {
      const wide = e.scrollWidth > e.clientWidth;
      const cue = getComputedStyle(e, '::before').content;
      const head = [...e.querySelectorAll('th[scope=col]')].map(h => h.innerText.trim()).join(' | ') || 'a drawing';
      lines.push((wide ? 'wider than the screen' : 'fits') + (wide ? ', says ' + cue : '') + ': ' + head);
    } else lines.push(e.tagName.toLowerCase() + ': ' + e.innerText.replace(/\\s+/g, ' ').trim());
  }
  return lines;
}"""


@pytest.mark.slow
def test_pages_on_a_phone(
    browser: Any, results: dict[str, Tabular], tmp_path: Path, update_goldens: bool
) -> None:
    told = []
    for name, result in results.items():
        save_html(tmp_path / f"{name}.html", result)
        page = browser.new_page(viewport=PHONE)
        page.goto((tmp_path / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name
        lines = page.evaluate(WORDS)
        wide = [line for line in lines if line.startswith("wider than the screen")]
        assert all("scroll sideways" in line for line in wide), (name, wide)
        told.append("\n".join([f"==== {name}", *lines]))
        page.close()
    held("people-390.txt", "\n\n".join(told) + "\n", update_goldens)


@pytest.mark.slow
def test_the_first_screen_of_a_score_answers(
    browser: Any, results: dict[str, Tabular], tmp_path: Path
) -> None:
    save_html(tmp_path / "score.html", results["score"])
    page = browser.new_page(viewport=PHONE)
    page.goto((tmp_path / "score.html").as_uri())
    tops = page.evaluate(
        "[...document.querySelectorAll('.notes li')].map(e => [e.innerText, e.getBoundingClientRect().top])"
    )
    for word in ("size:", "standing:", "change first:", "save first:", "expected:"):
        assert min(top for text, top in tops if text.startswith(word)) < PHONE["height"], word
    page.close()
