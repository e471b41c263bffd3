from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from support.spaces import check_scores, check_traced, published, samples, to_digits

from sed_torch.errors import SpaceError
from sed_torch.spaces import get_space
from sed_torch.spaces.nasbench101 import Cell101, vertex_channels
from sed_torch.spaces.nasbench101.sampling import live_codes

SPACE = get_space("nasbench101")
CONV, POINT, POOL = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"


def test_both_spellings() -> None:
    matrix = [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    cell = Cell101.from_matrix(np.array(matrix), ["input", CONV, POOL, "output"])
    assert str(cell) == "110011:3p"
    assert SPACE.parse(f"{matrix}, {['input', CONV, POOL, 'output']}") == cell
    assert SPACE.parse(f"({matrix}, {[CONV, POOL]})") == cell
    assert SPACE.format(SPACE.parse("1:")) == "1:"


def test_pruning() -> None:
    # vertex 2 is read by nobody, vertex 3 reads nothing
    matrix = np.zeros((5, 5), dtype=int)
    matrix[0, 1] = matrix[0, 2] = matrix[1, 4] = matrix[3, 4] = 1
    cell = Cell101.from_matrix(matrix, [CONV, POINT, POOL])
    assert (cell.matrix, cell.ops) == (((0, 1, 0), (0, 0, 1), (0, 0, 0)), (CONV,))
    wide = Cell101(tuple(map(tuple, matrix.tolist())), (CONV, POINT, POOL))
    assert SPACE.resolve(wide) == cell


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("11:3", "expected bits:ops"),
        ("121:3", "expected bits:ops"),
        ("111", "expected bits:ops"),
        ("111:x", "expected 1 operations"),
        ("111:33", "expected 1 operations"),
        ("100:3", "no path leads"),
        ("1" * 21 + ":33333", "at most 7 vertices and 9 edges, found 7 and 21"),
        ("[[0, 1], [1, 0]], []", "upper-triangular"),
        ("[[0, 2], [0, 0]], []", "upper-triangular"),
        ("[[0, 1, 1], [0, 0, 1]], ['3']", "square matrix"),
        ("[[0, 'a'], [0, 0]], []", "matrix of zeros and ones"),
        ("[[0, 1], [0, 0]]", "matrix of zeros and ones"),
        ("[__import__('os')], []", "expected a matrix and a list"),
    ],
)
def test_alien_cells(text: str, why: str) -> None:
    with pytest.raises(SpaceError, match=why):
        SPACE.parse(text)


def test_channels() -> None:
    # three vertices share 128 channels, the first two take what is left over
    fan = Cell101.from_matrix([[0, 1, 1, 1, 0], *[[0, 0, 0, 0, 1]] * 3, [0] * 5], [CONV] * 3)
    assert vertex_channels(fan.matrix, 64, 128) == (64, 43, 43, 42, 128)
    # vertex 1 does not feed the output and is as wide as its widest reader
    fork = SPACE.parse("1000110011:3p1")
    assert vertex_channels(fork.matrix, 64, 129) == (64, 65, 65, 64, 129)


def test_projection_by_hand() -> None:
    # the cell without a vertex between is one 1×1 projection; max pools between stacks leave white maps white
    stem = 1024 * 128 * math.sqrt(27)
    cells = sum(
        a * c * (math.sqrt(before) + 2 * math.sqrt(c))
        for a, before, c in ((1024, 128, 128), (256, 128, 256), (64, 256, 512))
    )
    expected = math.log(stem + cells + 10 * math.sqrt(512))
    assert SPACE.score_many(["1:"], definition="sed/1")[0] == pytest.approx(expected, abs=1e-12)
    assert SPACE.params("1:") == 882_570


def test_batch_is_the_calculus() -> None:
    check_scores(SPACE, samples(SPACE, 11, 60))
    # fifteen pools in a row, then a reader of them
    check_scores(SPACE, ["100000100001000100101:ppppp", "100000100001000100101:pppp3"])


@pytest.mark.parametrize(("image_size", "num_classes"), [(16, 100), (8, 10), (24, 1)])
def test_batch_at_other_sizes(image_size: int, num_classes: int) -> None:
    check_scores(SPACE, samples(SPACE, 12, 8), image_size=image_size, num_classes=num_classes)


def test_mutation_grows_and_shrinks() -> None:
    rng = np.random.default_rng(0)
    cell, sizes = SPACE.parse("1:"), []
    for _ in range(200):
        cell = SPACE.mutate(cell, rng)
        sizes.append(len(cell.matrix))
    assert min(sizes) <= 3
    assert max(sizes) == 7
    assert np.mean(sizes) > 4


def test_samples_are_spread_over_the_space() -> None:
    # of the published 423,624 cells 85 % have seven vertices
    sizes = [len(cell.matrix) for cell in samples(SPACE, 0, 300)]
    assert np.mean([n == 7 for n in sizes]) > 0.8
    assert min(sizes) < 7


def test_pruned_matrices_by_hand() -> None:
    # two vertices: the edge; three: the path, with and without the edge past it
    assert live_codes(2).tolist() == [1]
    assert live_codes(3).tolist() == [0b101, 0b111]


def reordered(cell: Cell101) -> Iterator[Cell101]:
    """The same graph with its vertices in every other order."""
    n = len(cell.matrix)
    for inner in itertools.permutations(range(1, n - 1)):
        order = [0, *inner, n - 1]
        matrix = np.array(cell.matrix)[np.ix_(order, order)]
        if not np.tril(matrix).any():
            yield Cell101.from_matrix(matrix, [cell.ops[i - 1] for i in inner])


def test_published_parameters() -> None:
    rows = published("nb101.csv.gz", "adj_upper", "params", "n_vertices", "ops")
    same = 0
    for bits, params, _, ops in rows[::60]:
        cell = SPACE.parse(f"{bits}:{ops}")
        assert str(cell) == f"{bits}:{ops}"
        equal = to_digits(SPACE.params(cell)) == float(params)
        same += equal
        # the left-over channels go to the first vertices, and a few published counts are those of an isomorphic
        # cell with its vertices in another order
        assert equal or any(to_digits(SPACE.params(c)) == float(params) for c in reordered(cell)), cell
    assert same / len(rows[::60]) > 0.97


def test_truncated_inputs_traced() -> None:
    # vertices 2, 3 and 4 share 128 channels; vertex 1 feeds all of them and 4 reads 42 of its 43
    cell = SPACE.parse("100001110001011:3p31")
    assert vertex_channels(cell.matrix, 128, 128) == (128, 43, 43, 43, 42, 128)
    check_traced(SPACE, [cell])
