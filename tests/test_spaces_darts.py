from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support.spaces import check_scores, check_traced, published, samples

from sed_torch.entropy import Field, effective_taps
from sed_torch.errors import GraphError, SpaceError
from sed_torch.spaces import get_space
from sed_torch.spaces.darts import OPS, Genotype
from sed_torch.spaces.patch import effective_taps_square, patch_lags

SPACE = get_space("darts")

DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),"
    " ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)],"
    " normal_concat=[2, 3, 4, 5],"
    " reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),"
    " ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)],"
    " reduce_concat=range(2, 6))"
)
COMPACT = (
    "(((0, 3), (1, 3), (0, 3), (1, 3), (1, 3), (0, 2), (0, 2), (2, 5)),"
    " ((0, 0), (1, 0), (2, 2), (1, 0), (0, 0), (2, 2), (2, 2), (1, 0)))"
)


def test_both_spellings() -> None:
    genotype = SPACE.parse(DARTS_V2)
    assert str(genotype) == COMPACT
    assert SPACE.parse(COMPACT) == genotype
    assert SPACE.parse(genotype.to_darts()) == genotype
    fields = {
        "normal": [[op, i] for i, op in genotype.normal],
        "reduce": [[op, i] for i, op in genotype.reduce],
    }
    concats = {"normal_concat": [2, 3, 4, 5], "reduce_concat": [2, 3, 4, 5]}
    assert SPACE.parse(json.dumps(fields | concats)) == SPACE.parse(str(fields)) == genotype
    assert SPACE.parse(repr((genotype.normal, genotype.reduce))) == genotype
    for wrong in ({"reduce_concat": [3, 4, 5, 6]}, {"reduce": 3}, {"other": 1}):
        with pytest.raises(SpaceError, match="not a genotype of darts"):
            SPACE.parse(json.dumps(fields | wrong))
    assert genotype.to_darts() == DARTS_V2.replace("[2, 3, 4, 5]", "range(2, 6)")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("(2, 5)),", "(2, 8)),", "not a genotype of darts"),
        ("(2, 5)),", "(2, -1)),", "not a genotype of darts"),
        (
            "(2, 5)),",
            "(5, 5)),",
            "node 5 of the normal cell reads 0 and 5: expected two nodes below 5",
        ),
        (", (2, 5)),", "),", "expected 8 edges in the normal cell, found 7"),
        ("(0, 3)", "print(1)", "not a genotype of darts"),
    ],
)
def test_alien_compact(old: str, new: str, why: str) -> None:
    with pytest.raises(SpaceError, match=why):
        SPACE.parse(COMPACT.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("dil_conv_3x3", "conv_3x3", "expected operations of max_pool_3x3"),
        ("range(2, 6)", "range(2, 5)", "not a genotype of darts"),
        ("range(2, 6)", "open('x')", "not a genotype of darts"),
        ("('max_pool_3x3', 0)", "__import__('os')", "not a genotype of darts"),
        ("Genotype(", "Genotype.x(", "not a genotype of darts"),
        ("reduce_concat", "reduce_other", "not a genotype of darts"),
        ("Genotype(", "Genotype[", "not a genotype of darts"),
    ],
)
def test_alien_darts(old: str, new: str, why: str) -> None:
    with pytest.raises(SpaceError, match=why):
        SPACE.parse(DARTS_V2.replace(old, new, 1))


def test_skip_cells_by_hand() -> None:
    # every map stays white: only the stem, the 1×1 convolutions before each cell and the strided skips remain
    def mix(a: int, c_in: int, c_out: int) -> float:
        return a**2 * c_out * math.sqrt(c_in)

    ones = tuple((i % 2, "skip_connect") for i in range(8))
    total = mix(32, 27, 96)
    total += mix(32, 96, 32) * 2 + mix(32, 96, 32) + mix(32, 128, 32)
    for a, c in ((16, 64), (8, 128)):
        # a reduction cell reads both inputs at twice the size, and so does the older input of the cell after it
        total += 2 * mix(2 * a, 2 * c, c) + 8 * mix(a, c, c)
        total += mix(a, 2 * c, c) + mix(a, 4 * c, c)
        total += 2 * mix(a, 4 * c, c)
    total += 10 * math.sqrt(512)
    assert SPACE.score_many([Genotype(ones, ones)], definition="sed/1")[0] == pytest.approx(
        math.log(total), abs=1e-12
    )


def foreign(rng: np.random.Generator, none: float) -> Genotype:
    """As other samplers draw them: any two nodes, the same one too, and "none" with that probability."""

    def cell() -> tuple[tuple[int, str], ...]:
        return tuple(
            (int(rng.integers(node + 2)), "none" if rng.random() < none else OPS[rng.integers(len(OPS))])
            for node in range(4)
            for _ in (0, 1)
        )

    return Genotype(cell(), cell())


# the newer input is never read, so that every other cell is dead; nothing is read but zeros; a dead reduction cell
UNREAD = tuple((0, "sep_conv_3x3") for _ in range(8))
ZEROS = tuple((0, "none") for _ in range(8))
PLAIN = SPACE.parse(COMPACT).normal
FOREIGN = [
    Genotype(UNREAD, UNREAD),
    Genotype(ZEROS, PLAIN),
    Genotype(PLAIN, ZEROS),
    Genotype(UNREAD, ZEROS),
    Genotype(((0, "none"), (1, "max_pool_3x3"), (2, "sep_conv_5x5"), (2, "sep_conv_5x5"), *PLAIN[4:]), PLAIN),
]


def test_genotypes_of_other_samplers() -> None:
    rng = np.random.default_rng(0)
    archs = [*FOREIGN, *(foreign(rng, none) for none in (0.0, 0.15, 0.5) for _ in range(8))]
    assert [np.isfinite(s) for s in SPACE.score_many(FOREIGN)] == [True, False, True, False, True]
    with np.errstate(invalid="ignore"):
        check_scores(SPACE, archs)
    for arch in archs:
        assert SPACE.parse(SPACE.format(arch)) == arch == SPACE.parse(arch.to_darts())
        assert SPACE.mutate(arch, rng) != arch
    found = SPACE.count_many(archs)
    whole = [SPACE.topology(a, keep_dead=True) for a in archs]
    assert found["params"].tolist() == [t.params for t in whole]
    assert found["macs"].tolist() == [t.macs for t in whole]
    assert found["depth"].tolist() == [SPACE.topology(a).depth for a in archs]


@pytest.mark.parametrize(
    "arch", [FOREIGN[0], FOREIGN[2], FOREIGN[4], foreign(np.random.default_rng(5), 0.2)], ids=str
)
def test_traced_genotypes_of_other_samplers(arch: Genotype) -> None:
    check_traced(SPACE, [arch])


def test_batch_is_the_calculus() -> None:
    check_scores(SPACE, samples(SPACE, 21, 25))
    # pools wherever they can be, behind each other, in both cells
    chain = "((0, 0), (1, 0), (2, 1), (0, 0), (3, 1), (2, 0), (4, 1), (3, {}))"
    check_scores(SPACE, [f"({chain}, {chain})".format(a, b) for a, b in ((0, 0), (6, 4), (4, 6), (5, 3))])


@pytest.mark.parametrize(("image_size", "num_classes"), [(16, 100), (8, 10), (40, 1)])
def test_batch_at_other_sizes(image_size: int, num_classes: int) -> None:
    check_scores(SPACE, samples(SPACE, 22, 6), image_size=image_size, num_classes=num_classes)


def test_odd_maps_do_not_fit() -> None:
    # the two halves of a strided skip differ in size on a map of 15 positions, as they do in the network
    with pytest.raises(GraphError, match="sizes differ"):
        SPACE.topology(DARTS_V2, image_size=30)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_patch_determinants(k: int) -> None:
    rng = np.random.default_rng(k)
    fields = []
    for _ in range(8):
        lines = rng.uniform(-0.9, 0.95, size=(3, 1)) ** np.arange(5)
        fields.append(np.einsum("k,ki,kj->ij", rng.random(3), lines, lines))
    lags = np.array([[g[i, j] for i, j in patch_lags(k)] for g in fields])
    expected = [effective_taps(Field(g), (k, k), (1, 1)) for g in fields]
    np.testing.assert_allclose(effective_taps_square(lags, k), expected, rtol=1e-10)
    edge = np.zeros((3, lags.shape[1]))
    edge[0, 0], edge[1] = 1.0, 1.0
    white, constant, dead = effective_taps_square(edge, k)
    assert (white, dead) == (k * k, 0.0)
    assert constant == pytest.approx(
        1.0 if k == 1 else effective_taps(Field(np.ones((5, 5))), (k, k), (1, 1)), abs=1e-6
    )


def test_published_parameters() -> None:
    rows = published("nb301_naslib.csv.gz", "arch", "params")
    assert len(rows) == 1218
    for text, params in rows[::5]:
        assert SPACE.params(text) == round(float(params) * 1e6), text
