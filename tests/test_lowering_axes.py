"""Layouts: which dimension holds which positions, against real indices carried through the same operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

import sed_torch
from sed_torch.entropy import EQUAL, INDEPENDENT
from sed_torch.lowering.axes import (
    BATCH,
    CHANNEL,
    EQUAL_ATOM,
    Atom,
    Layout,
    axes_in,
    broadcast,
    canonical_layout,
    input_layout,
    is_identity,
    permuted,
    read_axes,
    reshaped,
    resized,
    within,
    without_axes,
)

H, W = Atom(0, 6), Atom(1, 4)
C = Atom(CHANNEL, 5)
MAP: Layout = ((), (C,), (H,), (W,))
"""(1, 5, 6, 4)"""

Indices = NDArray[np.int64]


# -- where layouts come from ---------------------------------------------------------------------------------


def test_inputs_have_an_axis_a_dimension() -> None:
    assert input_layout((2, 3, 8)) == ((Atom(BATCH, 2),), (Atom(0, 3),), (Atom(1, 8),))
    assert input_layout((1, 3, 1)) == ((), (Atom(0, 3),), ())
    assert input_layout((7,)) == ((Atom(BATCH, 7),),)
    assert input_layout((7,), None) == ((Atom(0, 7),),)
    assert input_layout(()) == ()


def test_a_convolution_leaves_batch_channels_positions() -> None:
    assert canonical_layout((1, 5, 6, 4), 2) == MAP
    pair = (Atom(BATCH, 2),)
    assert canonical_layout((2, 5, 6), 1, pair) == (pair, (C,), (Atom(0, 6),))
    assert canonical_layout((5, 6, 4), 2) == MAP[1:]
    # windows stand in the batch dimension: they are a batch to the convolution
    assert canonical_layout((9, 5, 6, 4), 2, (Atom(0, 3, 2), Atom(1, 3, 2)))[0] == (
        Atom(BATCH, 3),
        Atom(BATCH, 3),
    )
    assert canonical_layout((1, 1, 1, 4), 2) == ((), (), (), (Atom(1, 4),))


# -- reshape -------------------------------------------------------------------------------------------------


def test_flattened_positions_become_a_grid_again() -> None:
    tokens = reshaped(MAP, (1, 5, 24))
    assert tokens == ((), (C,), (H, W))
    assert reshaped(tokens, (1, 5, 6, 4)) == MAP


def test_a_split_axis_has_steps() -> None:
    """6 rows as 3 windows of 2: the outer dimension moves two positions a step."""
    windows = reshaped(MAP, (1, 5, 3, 2, 4))
    assert windows[2:4] == ((Atom(0, 3, 2),), (Atom(0, 2, 1),))
    assert reshaped(windows, (1, 5, 6, 4)) == MAP


def test_atoms_that_do_not_continue_each_other_stay_apart() -> None:
    swapped = permuted(reshaped(MAP, (1, 5, 3, 2, 4)), (0, 1, 3, 2, 4))
    assert reshaped(swapped, (1, 5, 6, 4))[2] == (Atom(0, 2, 1), Atom(0, 3, 2))


def test_ragged_reshape_takes_the_kind_it_is_cut_from() -> None:
    (dim,) = reshaped(((Atom(0, 7),),), (5,))
    assert dim == (Atom(0, 5),)


@st.composite
def rearrangements(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    kinds = st.sampled_from(["split", "merge", "swap"])
    return draw(st.lists(st.tuples(kinds, st.integers(0, 20), st.sampled_from([2, 4])), max_size=8))


def _apply(
    step: tuple[str, int, int], layout: Layout, coordinates: list[Indices]
) -> tuple[Layout, list[Indices]]:
    kind, place, factor = step
    shape = list(coordinates[0].shape)
    d = place % len(shape)
    if kind == "swap":
        order = list(range(len(shape)))
        e = (place // 3) % len(shape)
        order[d], order[e] = order[e], order[d]
        return permuted(layout, order), [c.transpose(order) for c in coordinates]
    if kind == "split" and shape[d] % factor == 0:
        shape[d : d + 1] = [shape[d] // factor, factor]
    elif kind == "merge" and d + 1 < len(shape):
        shape[d : d + 2] = [shape[d] * shape[d + 1]]
    return reshaped(layout, shape), [c.reshape(shape) for c in coordinates]


def _predicted(layout: Layout, shape: tuple[int, ...], axis: int) -> Indices:
    """Position along ``axis`` of each entry, as the layout has it."""
    total = np.zeros(shape, dtype=np.int64)
    for d, dim in enumerate(layout):
        index = np.arange(shape[d])
        along = np.zeros(shape[d], dtype=np.int64)
        for atom in reversed(dim):
            if atom.axis == axis:
                along += index % atom.size * atom.step
            index = index // atom.size
        total += along.reshape([-1 if i == d else 1 for i in range(len(shape))])
    return total


@settings(derandomize=True, max_examples=150, deadline=None, database=None)
@given(rearrangements())
def test_layouts_follow_the_indices(steps: list[tuple[str, int, int]]) -> None:
    """Every entry's row and column, carried through split, merge and swap, are what the layout says.

    Sizes are powers of two, so that every cut falls between atoms or halves one.
    """
    layout: Layout = ((Atom(CHANNEL, 8),), (Atom(0, 16),), (Atom(1, 4),))
    coordinates: list[Indices] = list(np.indices((8, 16, 4))[1:])
    for step in steps:
        layout, coordinates = _apply(step, layout, coordinates)
    shape = coordinates[0].shape
    assert tuple(math.prod(a.size for a in dim) for dim in layout) == shape
    for axis in (0, 1):
        np.testing.assert_array_equal(_predicted(layout, shape, axis), coordinates[axis])


# -- cut, pad, repeat ----------------------------------------------------------------------------------------


def test_cutting_keeps_the_axis() -> None:
    assert resized((H,), 3) == (Atom(0, 3),)
    assert resized((H,), 3, step=2) == (Atom(0, 3, 2),)
    assert resized((Atom(0, 6, 2),), 3, step=2) == (Atom(0, 3, 4),)
    assert resized((H,), 1) == ()


def test_a_dimension_of_one_entry_repeats_when_expanded() -> None:
    assert resized((), 7) == (Atom(EQUAL_ATOM, 7),)


def test_tokens_with_a_class_token_remember_their_grid() -> None:
    """24 tokens + 1, cut back to 24: the grid is there again."""
    longer = resized((H, W), 25)
    assert longer == (Atom(1, 25, 1, parts=(H, W)),)
    assert axes_in(longer) == {0, 1}
    assert resized(longer, 24) == (H, W)
    assert resized((H, W), 24) == (H, W)
    assert read_axes((longer,), (0,)) == ((1, 1, 1),)


# -- merges --------------------------------------------------------------------------------------------------


def test_broadcast_takes_positions_from_whoever_has_them() -> None:
    vector: Layout = ((), (C,), (), ())
    assert broadcast([vector, MAP], (1, 5, 6, 4)) == MAP
    assert broadcast([((W,),), MAP], (1, 5, 6, 4))[3] == (W,)
    # dimensions are aligned from the right
    assert broadcast([((C,), ()), ((), (H,), (W,))], (1, 6, 4)) == ((), (H,), (W,))
    assert broadcast([vector, vector], (1, 5, 1, 1)) == vector


def test_averaged_axes_repeat_one_value() -> None:
    assert without_axes(MAP, frozenset({0})) == ((), (C,), (Atom(EQUAL_ATOM, 6),), (W,))
    tokens: Layout = ((Atom(1, 25, 1, parts=(H, W)),),)
    assert without_axes(tokens, frozenset({0})) == ((Atom(EQUAL_ATOM, 25),),)


def test_axes_that_a_field_lacks_are_independent_entries() -> None:
    assert within(MAP, 1) == ((), (C,), (H,), (Atom(CHANNEL, 4),))
    nested: Layout = ((Atom(1, 25, 1, parts=(H, W)),),)
    assert within(nested, 1) == ((Atom(CHANNEL, 25, 1, parts=(H, Atom(CHANNEL, 4))),),)
    assert within(MAP, 2) == MAP


# -- how an operator meets the field -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dim", "read"),
    [
        ((H,), (0, 1, 1)),
        ((Atom(0, 3, 2),), (0, 2, 1)),
        ((H, W), (1, 1, 1)),  # the innermost positions are the neighbours
        ((H, C), (0, 1, 5)),  # five channels between two positions
        ((H, Atom(CHANNEL, 5), Atom(CHANNEL, 2)), (0, 1, 10)),
        ((C, H), (0, 1, 1)),
        ((Atom(CHANNEL, 31, 1, parts=(H, C)),), (0, 1, 5)),  # padded by one entry
        ((), INDEPENDENT),
        ((C,), INDEPENDENT),
        ((Atom(BATCH, 3),), INDEPENDENT),
        ((Atom(EQUAL_ATOM, 4),), EQUAL),
        ((H, Atom(EQUAL_ATOM, 4)), EQUAL),
    ],
)
def test_an_operator_reads_the_innermost_positions(dim: tuple[Atom, ...], read: tuple[int, int, int]) -> None:
    assert read_axes((dim,), (0,)) == (read,)


def test_reading_a_map_along_its_own_axes_is_no_view() -> None:
    assert is_identity(read_axes(MAP, (2, 3)), 2)
    assert not is_identity(read_axes(MAP, (3, 2)), 2)
    assert not is_identity(read_axes(MAP, (2,)), 2)
    assert not is_identity(((0, 2, 1), (1, 1, 1)), 2)


class _TakenApart(nn.Module):
    """Attention whose queries, keys and values are taken out of one map."""

    def __init__(self, apart: Callable[[Tensor], Iterable[Tensor]]) -> None:
        super().__init__()
        self.all, self.apart = nn.Linear(6, 18), apart

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.apart(self.all(x).reshape(b, t, 3, 2, 3).permute(2, 0, 3, 1, 4))
        return ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(b, t, d)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    "apart",
    [
        lambda h: (h[0], h[1], h[2]),
        lambda h: h,
        lambda h: h.unbind(0),
        lambda h: torch.unbind(h),
        lambda h: (part.squeeze(0) for part in h.chunk(3)),
        lambda h: h.movedim(0, -1).unbind(-1),
    ],
)
def test_values_taken_apart_are_averaged_over_their_positions(apart: Any, batch: int) -> None:
    topology = sed_torch.topology(_TakenApart(apart), input_size=(batch, 5, 6))
    (attended,) = [s for s in topology.steps if s.kind == "attend"]
    assert attended.counts == (5,)
