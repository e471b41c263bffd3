"""Size and shape told apart: the law over a population, what it says of a score, and where it says nothing."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sed_torch
from sed_torch.ranking import Ranking, RankRow, read_ranking
from sed_torch.scoring.shape import Sized, SizeLaw, image_positions
from sed_torch.scoring.standing import INPUT, SIDES, ReferenceSet, read_reference


def planted(n: int = 40) -> tuple[Sized, ...]:
    """Networks that follow a law to the digit: SED = 2 - 0.1 ln params + 0.5 ln MACs - 0.2 ln A."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(n):
        params, macs, side = rng.uniform(1e6, 1e8), rng.uniform(1e8, 1e11), int(rng.choice([128, 224, 448]))
        sed = 2.0 - 0.1 * math.log(params) + 0.5 * math.log(macs) - 0.2 * math.log(side**2)
        found.append(Sized(f"net{i}", sed, params, macs, side**2))
    return tuple(found)


def test_a_planted_law_is_found() -> None:
    law = SizeLaw(planted())
    assert law.coefficients == pytest.approx((2.0, -0.1, 0.5, -0.2), abs=1e-9)
    for r in law.rows:
        assert law.nats(r.sed + 0.3, r.params, r.macs, r.positions) == pytest.approx(0.3)
        assert law.leverage(r.params, r.macs, r.positions) <= 1.0 + 1e-9
    assert law.leverage(1e13, 1e8, 224**2) > 1.0
    assert law.positions == (128**2, 448**2)


def test_a_network_weighs_the_same_at_one_input_and_at_many() -> None:
    noisy = tuple(r._replace(sed=r.sed + 0.1 * (-1) ** i) for i, r in enumerate(planted()))
    law = SizeLaw(noisy)
    assert SizeLaw((*noisy, *noisy[:5])).coefficients == pytest.approx(law.coefficients)
    other = tuple(r._replace(name=f"again {r.name}") for r in noisy[:5])
    assert SizeLaw((*noisy, *other)).coefficients != pytest.approx(law.coefficients)


def test_the_table_holds_its_networks_at_many_inputs() -> None:
    table = read_reference()
    assert set(table.elsewhere) == set(SIDES)
    params = {r.name: r.params for r in table.rows}
    assert all(params[r.name] == r.params for rows in table.elsewhere.values() for r in rows)
    assert all(len(rows) > 60 for rows in table.elsewhere.values())
    # least squares: what is left has mean 0 over networks, and is free of size
    weights = np.array([1.0 / sum(o.name == r.name for o in table.law.rows) for r in table.law.rows])
    left = np.array([table.law.nats(*r[1:]) for r in table.law.rows])
    assert abs(weights @ left) < 1e-6
    for values in ([math.log(r.params) for r in table.law.rows], [math.log(r.macs) for r in table.law.rows]):
        assert abs(weights @ (left * np.array(values))) < 1e-5
    assert ReferenceSet.from_dict(table.to_dict()) == table


def small_resnet(width: int = 48) -> nn.Module:
    def stage(c: int, out: int) -> list[nn.Module]:
        conv = nn.Conv2d(c, out, 3, 2, 1)
        return [conv, nn.BatchNorm2d(out), nn.ReLU(), nn.Conv2d(out, out, 3, 1, 1), nn.ReLU()]

    widths = (3, width, 2 * width, 4 * width, 8 * width)
    layers = [m for c, out in itertools.pairwise(widths) for m in stage(c, out)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, 100))


def test_a_shape_hardly_moves_with_the_input_where_the_score_does() -> None:
    at = {s: sed_torch.score(small_resnet(), (1, 3, s, s)) for s in (96, 128, 224, 320)}
    totals = [float(v) for v in at.values()]
    shapes = [v.shape for v in at.values() if v.shape is not None]
    assert len(shapes) == len(at)
    assert max(totals) - min(totals) > 0.5
    assert max(shapes) - min(shapes) < 0.15


def test_a_network_of_the_table_has_its_residual() -> None:
    row = next(r for r in read_reference().rows if r.name == "resnet18")
    found = sed_torch.score(_resnet18(), INPUT)
    assert found.shape == pytest.approx(
        read_reference().law.nats(row.sed, row.params, row.macs, 224**2), abs=1e-5
    )
    assert "of 79 torchvision networks" in found.shape_note  # itself left out
    text = str(found)
    assert f"shape: {found.shape:+.3f} nats beyond what its params, MACs and input size predict" in text
    read = sed_torch.Score.from_json(found.to_json())
    assert (read.shape, read.shape_note) == (found.shape, found.shape_note)


def _resnet18() -> nn.Module:
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    with torch.device("meta"):
        return torchvision.models.resnet18()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"inputs": ((1, 3, 32, 32),)}, r"scored at inputs of 96×96 to 640×640"),
        ({"inputs": ((1, 3, 224, 224), (1, 5))}, r"read one batch of images"),
        ({"inputs": ((1, 128),)}, r"read one batch of images"),
        ({"params": 314}, r"no reference network is of such a size \(314 params"),
        ({"definition": "sed/1"}, r"scored as sed/2, this one as sed/1"),
        ({"total": -math.inf}, r"no finite score"),
        ({"total": None}, r"no finite score"),
        ({"coverage": 0.9}, r"operators have no rule"),
    ],
)
def test_where_nothing_is_said(change: dict[str, object], why: str) -> None:
    whole = sed_torch.score(small_resnet(), (1, 3, 224, 224))
    assert whole.shape is not None
    found = replace(whole, **change)  # type: ignore[arg-type]
    assert found.shape is None
    assert found.shape_note.startswith("not known: ")
    assert re.search(why, found.shape_note)
    assert found.to_dict()["shape"] is None


def test_positions_of_images_only() -> None:
    assert image_positions(((2, 3, 96, 128),)) == 96 * 128
    assert image_positions(((2, 3, 96),)) is None
    assert image_positions(((2, 3, 0, 5),)) is None


def test_a_ranking_shows_it_and_sorts_by_it(tmp_path: Path) -> None:
    models = {"narrow": small_resnet(24), "wide": small_resnet(96), "odd": nn.Sequential(nn.Conv2d(3, 4, 3))}
    found = sed_torch.rank(models, input_size=(1, 3, 128, 128), progress=False)
    assert found["wide"].shape == sed_torch.score(models["wide"], (1, 3, 128, 128)).shape
    assert found["odd"].shape is None
    ordered = found.in_order("shape")
    assert ordered.rows[-1].name == "odd"
    assert (ordered.rows[0].shape or 0) >= (ordered.rows[1].shape or 0)
    text = str(found)
    assert "hardly moves with the input" in text
    path = tmp_path / "rank.csv"
    path.write_text(found.to_csv())
    assert [r.shape for r in read_ranking(path)] == [r.shape for r in found]


def test_rankings_of_several_inputs_point_to_the_shape() -> None:
    rows = [RankRow(f"m{s}", sed=1.0, input=f"1x3x{s}x{s}", definition="sed/2") for s in (128, 224)]
    (warning,) = Ranking.of(rows).warnings
    assert "shape, which compares networks of like size, hardly moves" in warning
