"""The example that ranks the whole zoo, on a few models of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TIMM = """model,img_size,top1
resnet18.a1_in1k,224,70
resnet34.a1_in1k,224,76
resnet26.bt_in1k,224,75
resnet50.fb_ssl_yfcc100m_ft_in1k,224,99
"""


@pytest.mark.slow
def test_a_page_about_a_few_models(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    pytest.importorskip("torchvision")
    results, page, rows = tmp_path / "results.csv", tmp_path / "zoo.md", tmp_path / "rank.csv"
    results.write_text(TIMM)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *(p for p in sys.path if p)])}
    command = [
        sys.executable,
        str(ROOT / "examples" / "rank_zoo.py"),
        "timm:resnet??",
    ]
    command += ["torchvision:squeezenet*,alexnet,ssd300*", "--timm-results", str(results), "--bootstrap", "0"]
    done = subprocess.run(
        [*command, "--rows", str(rows), "-o", str(page)],
        capture_output=True,
        text=True,
        env=env,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    # Detectors are left out; what is there is read in full, and the cache gives the same ranking.
    assert "| timm | 4 | 100.00% | 100.00% | 100.000% | 4 × fx |" in text
    assert "| torchvision | 3 | 100.00% | 100.00% | 100.000% | 3 × fx |" in text
    assert "Not read in full" not in text
    assert "0 rows" in text
    assert "the same ranking" in text
    # Trained accuracies 70, 75, 76 of 18, 26, 34 layers, which scores order alike.
    assert (
        "| timm's results, best tag an architecture, at the smallest image size published | 3 | 1.000 |"
        in text
    )
    assert "no accuracy: tag word 'ssl' (more data than ImageNet-1k)" in text
    assert "| torchvision's weights, best of V1 and V2 an architecture | 3 |" in text
    assert len(rows.read_text().splitlines()) == 8
