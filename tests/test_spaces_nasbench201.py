from __future__ import annotations

import math
import time

import numpy as np
import pytest
from support.spaces import check_scores, published, to_digits

from sed_torch.entropy import Field, effective_taps
from sed_torch.errors import SpaceError
from sed_torch.scoring import sed
from sed_torch.spaces import get_space, score_many
from sed_torch.spaces.nasbench201 import Cell201, batch
from sed_torch.spaces.patch import PATCH_LAGS, effective_taps_3x3

SPACE = get_space("nasbench201")
ALL_SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
ALL_CONV = ALL_SKIP.replace("skip_connect", "nor_conv_3x3")
DEAD = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|none~0|none~1|none~2|"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("|conv_5x5~0|+|none~0|none~1|+|none~0|none~1|none~2|", "'conv_5x5' is unknown"),
        ("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|", "expected"),
        ("|none~0|+|none~0|none~1|", "expected"),
    ],
)
def test_alien_strings(text: str, why: str) -> None:
    with pytest.raises(SpaceError, match=why):
        SPACE.parse(text)
    with pytest.raises(SpaceError, match="not a cell of nasbench201"):
        SPACE.score_many([text])


def test_alien_operations() -> None:
    with pytest.raises(SpaceError, match="expected 6 operations"):
        SPACE.topology(Cell201(("none",) * 5))


def test_white_cells_by_hand() -> None:
    # without pools every map is white and n_eff = n; identities add no operator
    blocks = sum(
        a * c * (math.sqrt(9 * c / 2) + math.sqrt(9 * c) + math.sqrt(c / 2)) for a, c in ((256, 32), (64, 64))
    )
    skip = 1024 * 16 * math.sqrt(27) + blocks + 10 * math.sqrt(64)
    convs = 5 * 6 * sum(a * c * math.sqrt(9 * c) for a, c in ((1024, 16), (256, 32), (64, 64)))
    expected = [math.log(skip), math.log(skip + convs)]
    assert SPACE.score_many([ALL_SKIP, ALL_CONV], definition="sed/1") == pytest.approx(expected, abs=1e-12)


def test_dead_cell() -> None:
    assert SPACE.score_many([DEAD])[0] == -math.inf
    assert sed(SPACE.topology(DEAD)) == -math.inf
    # its convolutions are in the network all the same
    assert (
        SPACE.params(DEAD)
        == SPACE.params(ALL_CONV) - 3 * (SPACE.params(ALL_CONV) - SPACE.params(ALL_SKIP)) // 6
    )


def test_largest_network() -> None:
    # the most parameters in the published table, 1.531546 M
    assert SPACE.params(ALL_CONV) == 1_531_546


def test_smoothest_maps() -> None:
    # fifteen pools on one path, and merges of pools in every cell
    pools = ALL_SKIP.replace("skip_connect", "avg_pool_3x3")
    chain = "|avg_pool_3x3~0|+|none~0|avg_pool_3x3~1|+|none~0|none~1|{}~2|"
    readers = [
        pools.replace("avg_pool_3x3~0", "nor_conv_3x3~0", 1),
        pools[::-1].replace("2~3x3_loop_gva", "2~3x3_vnoc_ron", 1)[::-1],
    ]
    check_scores(SPACE, [pools, *readers, chain.format("avg_pool_3x3"), chain.format("nor_conv_3x3")])


@pytest.mark.parametrize(("image_size", "num_classes"), [(16, 120), (8, 10), (64, 1)])
def test_batch_at_other_sizes(image_size: int, num_classes: int) -> None:
    rng = np.random.default_rng(image_size)
    check_scores(
        SPACE, [SPACE.sample(rng) for _ in range(12)], image_size=image_size, num_classes=num_classes
    )


def test_batch_is_the_calculus() -> None:
    rng = np.random.default_rng(3)
    check_scores(SPACE, [SPACE.sample(rng) for _ in range(250)])


@pytest.mark.slow
def test_batch_is_the_calculus_everywhere() -> None:
    check_scores(SPACE, list(SPACE))


def test_batch_is_fast() -> None:
    texts = [str(c) for c in SPACE]
    for cached in (batch.all_scores, batch._root_taps, batch._cells):
        cached.cache_clear()
    start = time.process_time()
    score_many("nasbench201", texts)
    assert time.process_time() - start < 1.0


def test_patch_determinant() -> None:
    white, constant, dead = [2.0, 0, 0, 0, 0, 0], [2.0] * 6, [0.0] * 6
    taps = effective_taps_3x3(np.array([white, constant, dead]))
    assert taps[0] == 9.0
    assert taps[1] < 1e-6
    assert taps[2] == 0.0
    # mixtures of exponential correlations, against the 9×9 determinant
    rng = np.random.default_rng(0)
    lag = np.arange(3)
    for _ in range(20):
        lines = rng.uniform(-0.9, 0.95, size=(3, 1)) ** lag
        gamma = np.einsum("k,ki,kj->ij", rng.random(3), lines, lines)
        fast = effective_taps_3x3(np.array([gamma[i, j] for i, j in PATCH_LAGS]))
        assert fast == pytest.approx(effective_taps(Field(gamma), (3, 3), (1, 1)), rel=1e-10)


def test_published_parameters() -> None:
    rows = published("nb201.csv.gz", "arch", "params_M")
    assert len(rows) == 15_625
    for text, params in rows[::5]:
        assert to_digits(SPACE.params(text) / 1e6) == float(params), text


@pytest.mark.parametrize(
    ("dataset", "image_size", "num_classes", "least"),
    [("cifar10", 32, 10, 0.90), ("cifar100", 32, 100, 0.88), ("imagenet16", 16, 120, 0.88)],
)
def test_ranks_accuracy(dataset: str, image_size: int, num_classes: int, least: float) -> None:
    from scipy.stats import spearmanr

    rows = published("nb201.csv.gz", "arch", f"{dataset}_test")
    assert len(rows) == 15_625
    scores = SPACE.score_many([text for text, _ in rows], image_size=image_size, num_classes=num_classes)
    assert spearmanr(scores, [float(accuracy) for _, accuracy in rows])[0] >= least
