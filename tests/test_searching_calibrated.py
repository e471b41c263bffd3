"""Searches by the accuracy that a calibration foretells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sed_torch
from sed_torch.calibration import Calibration, calibrate, imagenet, write_calibration
from sed_torch.cli.entry import run
from sed_torch.errors import SearchError
from sed_torch.searching import SearchResult
from sed_torch.spaces import get_space


def truth(arch: str) -> float:
    """Planted: every pooled edge is worth a point, whatever the score says."""
    return 60.0 + 4.0 * arch.count("avg_pool")


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    pytest.importorskip("sklearn", reason="calibrate() fits with scikit-learn")
    space, rng = get_space("nasbench201"), np.random.default_rng(3)
    cells = {space.format(space.sample(rng)) for _ in range(60)}
    return calibrate("nasbench201", {c: truth(c) for c in sorted(cells)}, title="planted accuracy")


def test_a_search_follows_what_training_showed(calibration: Calibration) -> None:
    found = sed_torch.search(
        "nasbench201", calibration=calibration, budget_s=None, max_looks=150, strategy="evolution"
    )
    plain = sed_torch.search("nasbench201", budget_s=None, max_looks=150, strategy="evolution")
    assert found.objectives == ("expected", "params")
    assert truth(found.best.arch) > truth(plain.best.arch) + 4
    (estimate,) = calibration.predict(
        [sed_torch.score(get_space("nasbench201").build(found.best.arch), (1, 3, 32, 32))]
    )
    assert estimate.inside
    assert found.best.expected == pytest.approx(estimate.accuracy, abs=1e-3)
    assert all(c.expected is not None and np.isfinite(c.expected) for c in found.front)
    text = str(found)
    assert "expected: planted accuracy, %" in text
    again = SearchResult.from_json(found.to_json())
    assert again.best.expected == found.best.expected
    assert again.expects == found.expects
    assert "expected" not in plain.to_json()


def test_what_is_refused(calibration: Calibration) -> None:
    with pytest.raises(SearchError, match=r"needs a calibration"):
        sed_torch.search("nasbench201", objectives=("expected",), max_looks=2)
    with pytest.raises(SearchError, match=r"no objective reads it: add 'expected'"):
        sed_torch.search("nasbench201", objectives=("sed",), calibration=calibration, max_looks=2)
    with pytest.raises(SearchError, match=r"is like the networks that the calibration has seen"):
        sed_torch.search("nasbench201", calibration=imagenet(), max_looks=4, budget_s=None, strategy="random")


def test_on_the_command_line(
    calibration: Calibration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.json"
    write_calibration(calibration, file)
    command = ["search", "--space", "nasbench201", "--calibration", str(file), "--max-looks", "20"]
    assert run([*command, "--strategy", "random", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["objectives"] == ["expected", "params"]
    assert data["best"]["expected"] > 50
