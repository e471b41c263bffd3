"""Scores of real models, recorded in ``tests/goldens/scores.json``.

``pytest tests/test_goldens.py --update-goldens`` writes the file anew; a changed value belongs in the changelog,
old and new. Values are compared to eight digits: they depend on a determinant's rounding, not on any data.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import sed_torch
from sed_torch import Score
from sed_torch._files import write_text
from sed_torch.scoring import DEFAULT_DEFINITION, evaluate
from sed_torch.zoo import load

pytest.importorskip("timm")
pytest.importorskip("torchvision")

FILE = Path(__file__).parent / "goldens" / "scores.json"
OLD = FILE.with_name("scores_sed1.json")
SCHEMA = "sed_torch.goldens/1"

REFERENCES = [
    "timm:resnet50",
    "timm:vit_base_patch16_224",
    "timm:convnext_tiny",
    "timm:swin_tiny_patch4_window7_224",
    "timm:efficientnet_b0",
    "timm:maxvit_tiny_rw_224",
    "timm:densenet121",
    "timm:regnety_032",
    "timm:mobilevit_s",
    "timm:mixer_b16_224",
    "timm:inception_v3",
    "timm:mobilenetv3_large_100",
    "timm:seresnext26d_32x4d",
    "timm:repvgg_a2",
    "timm:poolformer_s12",
    "torchvision:resnet50",
    "torchvision:vgg16",
    "torchvision:googlenet",
    "torchvision:shufflenet_v2_x1_0",
    "torchvision:deeplabv3_resnet50",
]
VALUES = ("total", "conv", "pool", "skip", "suppression", "params", "macs", "coverage")


@cache
def scored(reference: str) -> Score:
    size = (1, 3, 224, 224) if reference.startswith("torchvision") else None
    return sed_torch.score(load(reference).model, input_size=size, name=reference)


def values(score: Score) -> dict[str, Any]:
    return {name: getattr(score, name) for name in VALUES}


@pytest.mark.parametrize("reference", REFERENCES)
def test_scores_are_as_recorded(reference: str, update_goldens: bool) -> None:
    if update_goldens:
        pytest.skip("written anew by test_goldens_are_complete")
    recorded = json.loads(FILE.read_text(encoding="utf-8"))["scores"][reference]
    assert values(scored(reference)) == pytest.approx(recorded, rel=1e-8, abs=1e-8)


def test_goldens_are_complete(update_goldens: bool) -> None:
    if update_goldens:
        scores = {r: values(scored(r)) for r in REFERENCES}
        data = {"schema": SCHEMA, "definition": scored(REFERENCES[0]).definition, "scores": scores}
        FILE.parent.mkdir(exist_ok=True)
        write_text(FILE, json.dumps(data, indent=1, allow_nan=False) + "\n")
    data = json.loads(FILE.read_text(encoding="utf-8"))
    assert data["schema"] == SCHEMA
    assert data["definition"] == DEFAULT_DEFINITION
    assert list(data["scores"]) == REFERENCES
    assert all(tuple(row) == VALUES for row in data["scores"].values())


READ_ANEW = {"timm:mobilevit_s": "what unbind takes apart is laid out without the dimension that is gone"}
"""Networks that 0.1.0 read wrongly, and what was mended: their values differ a little."""


@pytest.mark.parametrize("reference", REFERENCES)
def test_sed_1_gives_what_0_1_0_gave(reference: str) -> None:
    """Written by 0.1.0, never anew: old rankings and notes are to be understood."""
    recorded = json.loads(OLD.read_text(encoding="utf-8"))
    assert recorded["definition"] == "sed/1"
    parts = {name: v for name, v in recorded["scores"][reference].items() if name in VALUES[:5]}
    found = evaluate(scored(reference).evaluation.topology, definition="sed/1")
    if reference in READ_ANEW:
        assert found.total == pytest.approx(parts["total"], rel=1e-4)
        return
    assert {name: getattr(found, name) for name in parts} == pytest.approx(parts, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize(
    ("reference", "gmacs", "params"),
    [
        # published by torchvision (4.09 GFLOPS, 25 557 032 parameters) and, with attention's products, by timm
        ("torchvision:resnet50", 4.089, 25_557_032),
        ("timm:resnet50", 4.089, 25_557_032),
        ("torchvision:vgg16", 15.47, 138_357_544),
        ("timm:vit_base_patch16_224", 17.56, 86_567_656),
    ],
)
def test_macs_and_parameters_are_the_published_ones(reference: str, gmacs: float, params: int) -> None:
    score = scored(reference)
    assert score.macs / 1e9 == pytest.approx(gmacs, abs=0.005)
    assert score.params == params


@pytest.mark.parametrize("reference", REFERENCES)
def test_every_operator_of_these_models_has_a_rule(reference: str) -> None:
    score = scored(reference)
    assert score.unknown == ()
    assert score.coverage == score.node_coverage == 1.0
    assert score.frontend == "fx"
    assert score.total is not None
    assert score.pool is not None
    assert score.pool <= 1e-12
    assert 0.0 < (score.suppression or 0.0) <= 1.0


def test_the_same_network_scores_the_same_in_both_zoos() -> None:
    """timm's and torchvision's ResNet-50 are one architecture."""
    ours, theirs = scored("timm:resnet50"), scored("torchvision:resnet50")
    assert values(ours) == pytest.approx(values(theirs), rel=1e-12)


def test_only_pools_cost_local_entropy() -> None:
    """ViT and Mixer have no pooling before an operator that reads more than one tap."""
    for reference in ("timm:vit_base_patch16_224", "timm:mixer_b16_224", "timm:convnext_tiny"):
        assert scored(reference).pool == 0.0
        assert scored(reference).suppression == pytest.approx(1.0)
    assert (scored("timm:resnet50").suppression or 1.0) < 1.0


def test_resnet18_counts_what_torchvision_publishes() -> None:
    """11,689,512 parameters and 1.814 GMACs in torchvision's table; the one golden that needs no recording."""
    score = scored("torchvision:resnet18")
    assert score.params == 11_689_512
    assert score.macs == pytest.approx(1.814e9, rel=1e-3)
    assert (score.coverage, score.node_coverage, score.evaluation.topology.independent_macs) == (1.0, 1.0, 0)
