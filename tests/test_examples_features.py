"""Every fact of the feature table can be had here, and equals the peers' where they are installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


features = _loaded("features")


@pytest.mark.parametrize("feature", features.FEATURES, ids=lambda f: f.name)
def test_what_peers_show_is_had_here(feature: Any) -> None:
    assert feature.ours() not in (None, "")
    for peer in feature.theirs:
        assert features.difference(feature, peer) is None


def test_the_page_is_of_these_features(update_goldens: bool) -> None:
    path = ROOT / "examples" / "results" / "features.md"
    if update_goldens:
        path.write_text(features.page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == features.page()


def test_the_best_of_ten_by_hand() -> None:
    import numpy as np

    top = _loaded("top_ten")
    accuracy = np.arange(100.0)
    assert top.standing(accuracy, accuracy) == 0.01
    assert top.standing(-accuracy, accuracy) == 0.91  # the ten worst: ninety are better than the best of them
    values = np.where(np.arange(100) % 2 == 0, accuracy, np.nan)
    assert top.standing(values, accuracy) == 0.02  # 98 is the best of the fifty that have a value
    assert top.standing(np.full(100, np.nan), accuracy) is None
    draws = np.random.default_rng(0)
    seen = np.mean([top.standing(draws.normal(size=100), accuracy) for _ in range(4000)])
    assert abs(seen - top.at_random(100)) < 0.005
