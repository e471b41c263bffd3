"""The numbers behind the plots, recorded in ``tests/goldens/plots.json``; no pixels.

``pytest tests/test_goldens_plots.py --update-goldens`` writes the file anew.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sed_torch
from sed_torch import Score
from sed_torch._files import write_text
from sed_torch.evidence import validate
from sed_torch.ranking import Ranking, RankRow
from sed_torch.report import draw
from sed_torch.report.series import bars_of, cloud_of, profile_of, trace_of, waterfall_of
from sed_torch.zoo import load

pytest.importorskip("timm")

FILE = Path(__file__).parent / "goldens" / "plots.json"
SCHEMA = "sed_torch.plot-goldens/1"
MODELS = {"resnet50": "timm:resnet50", "vit_base": "timm:vit_base_patch16_224"}


def along_depth(score: Score) -> dict[str, Any]:
    profile, fall = profile_of(score), waterfall_of(score)
    return {
        "points": [[p.path, p.block, p.taps, p.effective_taps, p.entropy, p.share] for p in profile.points],
        "marks": [[m.place, m.kind] for m in profile.marks],
        "bands": [[b.block, b.first, b.last] for b in profile.bands],
        "waterfall": [[r.block, r.start, r.share, r.before, r.after] for r in fall.rows],
        "boxes": [[n.label, n.count, n.share, n.suppression, n.live] for n in draw(score, depth=2).nodes],
    }


def cells() -> Ranking:
    """A ranking of cells of NAS-Bench-201: those a random search keeps."""
    found = sed_torch.search(
        "nasbench201", strategy="random", max_looks=300, budget_s=None, objectives=("sed", "params", "depth")
    )
    return Ranking.of([RankRow(c.arch, sed=c.sed, params=c.params, macs=c.macs) for c in found.front])


def many() -> dict[str, Any]:
    ranking = cells()
    cloud = cloud_of(ranking, "params")
    rng = np.random.default_rng(0)
    scores = np.array([r.sed for r in ranking.rows], dtype=float)
    truth = scores + rng.normal(size=scores.size)
    report = validate(scores, truth, rivals={"noise": rng.normal(size=scores.size)}, n_bootstrap=50)
    return {
        "cloud": [[p.name, p.x, p.y, p.front, p.surprise, p.rank] for p in cloud.points],
        "outliers": [p.name for p in cloud.outliers(5)],
        "bars": [[b.name, b.n, b.rho, b.low, b.high, b.same_rows] for b in bars_of(report)],
    }


def darts() -> dict[str, Any]:
    limits = {"params": "4M"}
    trace = trace_of(sed_torch.search("darts", constraints=limits, max_looks=200, budget_s=None))
    return {
        "looks": list(trace.looks),
        "values": list(trace.values),
        "front": [list(p) for p in trace.front],
        "best": list(trace.best),
    }


def computed(kind: str) -> dict[str, Any]:
    if kind in MODELS:
        return along_depth(sed_torch.score(load(MODELS[kind]).model, name=MODELS[kind]))
    return {"nasbench201": many, "darts": darts}[kind]()


def same(found: Any, recorded: Any) -> bool:
    """Equal, numbers to eight digits: they depend on a determinant's rounding."""
    if isinstance(found, dict):
        return found.keys() == recorded.keys() and all(same(v, recorded[k]) for k, v in found.items())
    if isinstance(found, list):
        return len(found) == len(recorded) and all(map(same, found, recorded))
    if isinstance(found, float) and isinstance(recorded, (int, float)):
        return math.isclose(found, recorded, rel_tol=1e-8, abs_tol=1e-8)
    return bool(found == recorded)


@pytest.mark.parametrize("kind", [*MODELS, "nasbench201", "darts"])
def test_numbers_behind_the_plots(kind: str, update_goldens: bool) -> None:
    found = json.loads(json.dumps(computed(kind)))
    data = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"schema": SCHEMA}
    assert data["schema"] == SCHEMA
    if update_goldens:
        data[kind] = found
        text = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in data.items())
        write_text(FILE, f"{{\n{text}\n}}\n")
    recorded = json.loads(FILE.read_text(encoding="utf-8"))[kind]
    for part in found:
        assert same(found[part], recorded[part]), part
    assert found.keys() == recorded.keys()
