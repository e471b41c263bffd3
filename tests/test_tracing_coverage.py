"""How much of timm and torchvision is read: a draw in every run, everything in the slow one.

``pytest -m slow tests/test_tracing_coverage.py`` builds all of timm on ``meta`` (about 25 minutes on one core) and
prints what could not be read, and why. ``SED_TORCH_COVERAGE=file.json`` keeps the rows.
"""

from __future__ import annotations

import json
import os
import random
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch

import sed_torch
from sed_torch.errors import SedTorchError
from sed_torch.evidence import timm_results, validate
from sed_torch.zoo import family_of, load

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")

DATA = Path(os.environ.get("SED_TORCH_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
TIMM = DATA / "timm_imagenet.csv.gz"
SEED = 20261124
DRAWN = 15


@dataclass
class Row:
    """What came of one model."""

    name: str
    frontend: str = ""
    params: int = 0
    covered: float = 0.0
    nodes: float = 0.0
    unknown: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    total: float | None = None
    error: str = ""

    def __str__(self) -> str:
        why = self.error or f"{self.frontend}, unknown: {', '.join(self.unknown) or 'nothing'}"
        return f"{self.name}: {why}"


def row(reference: str) -> Row:
    """Build on meta, score, and let nothing but a bug of ours through."""
    try:
        model = load(reference).model
        s = sed_torch.score(model)
    except SedTorchError as error:
        return Row(reference, error=f"{type(error).__name__}: {str(error).splitlines()[0]}")
    return Row(
        reference,
        s.frontend,
        s.params,
        s.coverage,
        s.node_coverage,
        tuple(u.target for u in s.unknown),
        s.assumed,
        s.total,
    )


def fully_read(r: Row) -> bool:
    return r.frontend == "fx" and r.covered == r.nodes == 1.0 and r.total is not None


def summary(rows: list[Row]) -> dict[str, float]:
    """Shares: traced, without opaque leaf or export, parameters under a known rule."""
    read = [r for r in rows if not r.error]
    params = sum(r.params for r in read)
    return {
        "traced": len(read) / len(rows),
        "fx": sum(r.frontend == "fx" for r in read) / len(rows),
        "params": sum(r.params * r.covered for r in read) / max(params, 1),
    }


def report(title: str, rows: list[Row]) -> str:
    """One line of figures, then every model that is not fully read."""
    figures = ", ".join(f"{name} {share:.2%}" for name, share in summary(rows).items())
    frontends = dict(Counter(r.frontend or "none" for r in rows))
    lines = [f"{title}: {len(rows)} models, {figures}, front-ends {frontends}"]
    return "\n  ".join(lines + [str(r) for r in rows if not fully_read(r)])


def keep(name: str, rows: list[Row]) -> None:
    """Write the rows to the file that SED_TORCH_COVERAGE names."""
    target = os.environ.get("SED_TORCH_COVERAGE")
    if target:
        path = Path(target)
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        known[name] = {"summary": summary(rows), "rows": [asdict(r) for r in rows]}
        path.write_text(json.dumps(known, indent=1), encoding="utf-8")


# -- a draw -----------------------------------------------------------------------------------------------------


def drawn() -> list[str]:
    """The same names in every run with one version of timm."""
    names = timm.list_models()
    # what is too large for every run is known by name, without building it
    large = (
        "giant",
        "huge",
        "gigantic",
        "_7b",
        "_xxl",
        "so400m",
        "enormous",
        "128gf",
        "_1b",
        "3b_",
        "nfnet_f",
    )
    return sorted(random.Random(SEED).sample([n for n in names if not any(w in n for w in large)], DRAWN))


@pytest.mark.parametrize("name", drawn())
def test_drawn_models_of_timm_are_fully_read(name: str) -> None:
    r = row(f"timm:{name}")
    assert fully_read(r), str(r)
    assert r.assumed[0].startswith("input ")


SIZES = {
    # what torchvision publishes with the weights of each
    "resnet18": "1×3×224×224",
    "inception_v3": "1×3×299×299",
    "efficientnet_b3": "1×3×300×300",
    "swin_v2_t": "1×3×256×256",
    "vit_b_32": "1×3×224×224",
    "mobilenet_v3_small": "1×3×224×224",
    "regnet_y_400mf": "1×3×224×224",
    "lraspp_mobilenet_v3_large": "1×3×520×520",
    "r3d_18": "1×3×16×112×112",
    "s3d": "1×3×16×224×224",
    "mvit_v2_s": "1×3×16×224×224",
}
GMACS = {
    # as torchvision publishes them (`_ops` of the weights), at those sizes
    "resnet18": 1.814,
    "efficientnet_b3": 1.827,
    "mobilenet_v3_small": 0.057,
    "regnet_y_400mf": 0.402,
    "s3d": 17.979,
    "mvit_v2_s": 64.224,
}


@pytest.mark.parametrize("name", SIZES)
def test_torchvision_is_fully_read_at_its_own_sizes(name: str) -> None:
    s = sed_torch.score(load(f"torchvision:{name}").model)
    assert (s.frontend, s.coverage, s.node_coverage, s.unknown) == ("fx", 1.0, 1.0, ())
    assert s.assumed[0].startswith(f"input {SIZES[name]}, from the transforms of torchvision's ")
    assert s.assumed[0].endswith("_Weights")
    if name in GMACS:
        assert s.macs / 1e9 == pytest.approx(GMACS[name], abs=6e-4)


def test_the_size_of_a_model_made_for_another_one_is_the_models() -> None:
    with torch.device("meta"):
        model = torchvision.models.vit_b_16(image_size=96, weights=None)
        other = torchvision.models.resnet18(weights=None)
        other.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3)
        other.fc = torch.nn.Linear(512, 3)
    assert sed_torch.score(model).inputs == ((1, 3, 96, 96),)
    assert sed_torch.score(other).inputs == ((1, 1, 224, 224),)


def test_optical_flow_takes_two_images() -> None:
    with torch.device("meta"):
        model = torchvision.models.optical_flow.raft_small(weights=None)
    s = sed_torch.score(model)
    assert s.inputs == ((1, 3, 128, 128),) * 2
    assert s.assumed == ("inputs 1×3×128×128 twice, from the transforms of torchvision's Raft_Small_Weights",)


@pytest.mark.parametrize(("name", "side"), [("ssd300_vgg16", 300), ("fasterrcnn_resnet50_fpn", 800)])
def test_detectors_are_called_as_they_are_meant_to_and_say_why_they_stop(name: str, side: int) -> None:
    """Boxes are chosen by their scores: that is data-dependent, and no fault of the input."""
    with torch.device("meta"):
        model = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None)
    with pytest.raises(
        sed_torch.errors.DataDependentError, match=r"data-dependent code: .* has no shape without data"
    ) as e:
        sed_torch.score(model, frontend="fx")
    assert f"1×3×{side}×{side}" in e.value.table
    # the part before is a network like any other
    s = sed_torch.score(model.backbone, input_size=(1, 3, side, side))
    assert s.coverage == 1.0
    assert s.frontend == "fx"


# -- everything ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_of_timm(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a model warns of is not at stake here
        rows = [row(f"timm:{name}") for name in timm.list_models()]
    text = report(f"timm {timm.__version__}", rows)
    with capsys.disabled():
        print(f"\n{text}")
    keep("timm", rows)
    shares = summary(rows)
    assert shares["traced"] >= 0.995, text
    assert shares["fx"] >= 0.98, text
    assert shares["params"] >= 0.999, text
    if TIMM.exists():  # in SED_TORCH_DATA or ../shared/data
        agrees_with_training(rows)


def agrees_with_training(rows: list[Row]) -> None:
    """timm's published ImageNet results, no extra data, no teacher: over all, and within families."""
    known = timm_results(TIMM)
    trained = dict(zip(known.names, known.values.tolist(), strict=True))
    both = [r for r in rows if r.total is not None and r.name.removeprefix("timm:") in trained]
    found = validate(
        [r.total for r in both],  # type: ignore[misc]
        [trained[r.name.removeprefix("timm:")] for r in both],
        params=[r.params for r in both],
        groups=[family_of(r.name) for r in both],
        n_bootstrap=0,
    )
    params = found.rivals[0].rival_correlation.spearman
    assert found.n > 650
    assert found.within is not None
    within = found.within.mean
    assert found.overall.spearman is not None
    assert params is not None
    assert found.overall.spearman >= max(0.83, params), str(found)
    assert within["SED"] is not None
    assert within["SED"] >= max(0.875, within["params"] or 0.0), str(found)


@pytest.mark.slow
def test_all_of_torchvisions_classification_and_segmentation(capsys: pytest.CaptureFixture[str]) -> None:
    models = torchvision.models
    names = [
        *models.list_models(module=models),
        *models.list_models(module=models.segmentation),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [row(f"torchvision:{name}") for name in names]
    text = report(f"torchvision {torchvision.__version__}", rows)
    with capsys.disabled():
        print(f"\n{text}")
    keep("torchvision", rows)
    assert len(rows) >= 80
    assert all(fully_read(r) for r in rows), text
