from __future__ import annotations

import math

import pytest
from support.spaces import check_scores, published

from sed_torch.errors import SpaceError
from sed_torch.spaces import get_space
from sed_torch.spaces.transnas import TASK_CLASSES, MacroArch, MicroArch

MICRO, MACRO = get_space("transnas_micro"), get_space("transnas_macro")


def test_plain_blocks_by_hand() -> None:
    # white maps throughout: Σ A · C_out · √(C_in · n); stem of stride 4, then one strided and doubled layer
    stem = 128**2 * 32 * math.sqrt(27) + 64**2 * 64 * math.sqrt(9 * 32)
    strided = 32**2 * 128 * (math.sqrt(9 * 64) + math.sqrt(9 * 128) + math.sqrt(64))
    plain = 32**2 * 128 * 2 * math.sqrt(9 * 128)
    head = 47 * math.sqrt(128)
    expected = math.log(stem + strided + plain + 3 * 2 * plain + head)
    assert MACRO.score_many(["64-4111-basic"], definition="sed/1")[0] == pytest.approx(expected, abs=1e-12)


def test_skip_cells_by_hand() -> None:
    # one skip from input to output: only where the map or the width changes it is made of convolutions
    stem = 128**2 * 32 * math.sqrt(27) + 64**2 * 64 * math.sqrt(9 * 32)
    halves = sum(a**2 * c * math.sqrt(c / 2) for a, c in ((32, 128), (16, 256), (8, 512)))
    expected = math.log(stem + halves + 10 * math.sqrt(512))
    assert MICRO.score_many(["64-41414-0_00_100"], num_classes=10, definition="sed/1")[0] == pytest.approx(
        expected, abs=1e-12
    )


def test_dead_cells() -> None:
    assert MICRO.score_many(["64-41414-3_33_000", "64-41414-0_30_030"]).tolist() == [-math.inf, -math.inf]
    assert MICRO.params("64-41414-3_33_000") > MICRO.params("64-41414-0_30_030")


@pytest.mark.parametrize(
    "text", ["64-41414-4_00_000", "64-41414-00_0_000", "64-4111-0_00_000", "32-41414-0_00_000"]
)
def test_alien_cells(text: str) -> None:
    with pytest.raises(SpaceError, match="expected 64-41414-a_bc_def"):
        MICRO.parse(text)


def test_alien_operations() -> None:
    with pytest.raises(SpaceError, match="expected six digits of 0 to 3, found '33333'"):
        MICRO.topology(MicroArch("33333"))


@pytest.mark.parametrize(
    "layers", ["411", "4111111", "1111", "3311", "2211", "4444", "33333", "222241", "4115"]
)
def test_alien_layers(layers: str) -> None:
    with pytest.raises(SpaceError, match="expected four to six digits of 1 to 4"):
        MACRO.parse(f"64-{layers}-basic")
    with pytest.raises(SpaceError, match="expected four to six digits of 1 to 4"):
        MACRO.topology(MacroArch(layers))


def test_every_published_network_is_there() -> None:
    texts = {"micro": [], "macro": []}
    for text, space in published("tnb101.csv.gz", "arch", "space"):
        texts[space].append(text)
    for space, name in ((MICRO, "micro"), (MACRO, "macro")):
        assert sorted(texts[name]) == sorted(map(space.format, space))


@pytest.mark.parametrize("task", TASK_CLASSES)
def test_published_parameters(task: str) -> None:
    rows = published("tnb101.csv.gz", "arch", "space", f"{task}_params")
    assert len(rows) > 1300
    for text, name, params in rows[::5]:
        space = MICRO if name == "micro" else MACRO
        found = space.params(text, num_classes=TASK_CLASSES[task]) / 1e6
        assert float(f"{found:.7g}") == float(params), text


def test_odd_images() -> None:
    check_scores(MACRO, ["64-4341-basic", "64-1234-basic"], image_size=100)
    check_scores(MICRO, ["64-41414-1_23_312"], image_size=50)
