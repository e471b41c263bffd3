"""The calculus, rule by rule, against values derived by hand."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import numpy as np
import pytest

from sed_torch import entropy
from sed_torch.entropy import EQUAL, INDEPENDENT, MAX_LAG, Field, patches

WHITE_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)


def line(*lags: float, const: float = 0.0) -> Field:
    """A field on one axis."""
    return Field(np.array(lags), const)


def lags(field: Field) -> list[float]:
    return [float(v) for v in field.lags.reshape(-1)]


# -- the field -----------------------------------------------------------------------------------------------


def test_field_cannot_be_changed() -> None:
    source = np.array([1.0, 0.5])
    field = Field(source)
    source[0] = 7.0
    assert field.variance == 1.0
    with pytest.raises(AttributeError, match="Field is immutable: cannot set 'const'"):
        field.const = 2.0
    with pytest.raises(ValueError, match="read-only"):
        field.lags[0] = 3.0


def test_equal_fields_are_one_key() -> None:
    a, b = line(1.0, 0.5), line(1.0, 0.5, 0.0, 0.0)
    assert a == b
    assert hash(a) == hash(b)
    assert len({a, b, line(1.0, 0.25), line(1.0, 0.5, const=0.1)}) == 3
    assert a != "Γ"


def test_field_survives_pickle_and_copy() -> None:
    field = line(1.0, 0.5, const=0.25)
    assert pickle.loads(pickle.dumps(field)) == field
    assert copy.deepcopy(field) == field
    assert repr(field) == "Field(variance=1.25, lags=2, const=0.25)"


def test_lags_are_read_with_any_sign_and_end_in_the_constant() -> None:
    field = Field(np.array([[1.0, 0.5], [0.25, 0.125]]), 2.0)
    assert field.at((0, 0)) == 3.0
    assert field.at((-1, 1)) == field.at((1, -1)) == 2.125
    assert field.at((0, 9)) == 2.0
    assert field.variance == 3.0
    assert not field.is_white
    assert entropy.white(2).is_white
    assert entropy.white(3).ndim == 3


def test_lags_beyond_the_limit_count_as_uncorrelated() -> None:
    assert Field(np.ones(100)).lags.shape == (MAX_LAG + 1,)
    assert Field(np.array([[1.0, 0.0], [0.5, 0.0]])).lags.shape == (2, 1)


def test_correlated_input_is_gaussian_in_the_lag() -> None:
    field = entropy.correlated(2, 2.0)
    assert field.at((3, 0)) == pytest.approx(math.exp(-9 / 8))
    assert field.at((1, 2)) == pytest.approx(math.exp(-5 / 8))
    assert entropy.correlated(2, 0.0) == entropy.white(2)


# -- normalise, subsample, pool ------------------------------------------------------------------------------


def test_normalise_divides_by_the_variance() -> None:
    assert entropy.normalise(line(3.0, 2.0, const=1.0)) == line(0.75, 0.5, const=0.25)
    dead = line(0.0)
    assert entropy.normalise(dead) is dead


def test_subsample_keeps_every_sth_lag() -> None:
    assert entropy.subsample(line(1.0, 0.8, 0.6, 0.4, 0.2), (2,)) == line(1.0, 0.6, 0.2)
    both = Field(np.arange(9, 0, -1, dtype=float).reshape(3, 3), 0.5)
    assert entropy.subsample(both, (1, 2)) == Field(np.array([[9.0, 7.0], [6.0, 4.0], [3.0, 1.0]]), 0.5)


def test_mean_of_two_white_values_has_half_the_variance() -> None:
    """y = (x₀ + x₁)/2: Γ(0) = 2/4, Γ(1) = 1/4 for the shared value."""
    assert entropy.pool(entropy.white(1), (2,), (1,), (1,)) == line(1 / 2, 1 / 4)


def test_pool_is_the_triangle_of_its_width() -> None:
    assert lags(entropy.pool(entropy.white(1), (3,), (1,), (1,))) == pytest.approx([3 / 9, 2 / 9, 1 / 9])


def test_pool_in_two_dimensions_is_the_product() -> None:
    field = entropy.pool(entropy.white(2), (2, 3), (1, 1), (1, 1))
    rows, columns = np.array([2, 1]) / 4, np.array([3, 2, 1]) / 9
    np.testing.assert_allclose(field.lags, np.outer(rows, columns), atol=1e-15)


def test_pool_of_a_correlated_map_by_hand() -> None:
    """Γ = (1, r), p = 2: Γ'(0) = (2 + 2r)/4, Γ'(1) = (1 + 2r)/4, Γ'(2) = r/4."""
    r = 0.3
    field = entropy.pool(line(1.0, r, const=0.1), (2,), (1,), (1,))
    assert lags(field) == pytest.approx([(2 + 2 * r) / 4, (1 + 2 * r) / 4, r / 4])
    assert field.const == 0.1


def test_pool_reads_out_at_its_stride() -> None:
    white = entropy.white(1)
    assert entropy.pool(white, (2,), (2,), (1,)) == line(1 / 2)
    assert lags(entropy.pool(white, (3,), (2,), (1,))) == pytest.approx([3 / 9, 1 / 9])


def test_dilated_pool_shares_values_at_multiples_of_the_gap() -> None:
    assert entropy.pool(entropy.white(1), (2,), (1,), (3,)) == line(1 / 2, 0.0, 0.0, 1 / 4)


@pytest.mark.parametrize(("p", "gap", "stride"), [(2, 1, 1), (3, 1, 2), (3, 2, 1), (4, 3, 2), (5, 1, 3)])
def test_pool_equals_the_explicit_sum(p: int, gap: int, stride: int) -> None:
    """Cov of two window means, term by term."""
    field = line(1.0, 0.6, 0.2, 0.1)
    pooled = entropy.pool(field, (p,), (stride,), (gap,))
    for lag in range(12):
        terms = [field.at(((i - j) * gap + lag * stride,)) for i in range(p) for j in range(p)]
        assert pooled.at((lag,)) == pytest.approx(sum(terms) / p**2, abs=1e-14)


def test_pooling_many_times_stays_within_the_lag_limit() -> None:
    field = entropy.white(1)
    for _ in range(40):
        field = entropy.pool(field, (5,), (1,), (1,))
    assert field.lags.shape == (MAX_LAG + 1,)


# -- add, mean, multiply -------------------------------------------------------------------------------------


def test_sum_of_branches() -> None:
    total = entropy.add([line(1.0, 0.5), line(2.0, 0.1, 0.2, const=0.3)])
    assert lags(total) == pytest.approx([3.0, 0.6, 0.2])
    assert total.const == pytest.approx(0.3)
    only = line(1.0, 0.5)
    assert entropy.add([only]) is only


def test_a_broadcast_vector_adds_to_the_constant_part() -> None:
    vector = Field(np.array(0.5), 0.25)
    assert entropy.add([line(1.0, 0.5), vector]) == line(1.0, 0.5, const=0.75)


def test_concatenation_is_the_mean_weighted_by_channels() -> None:
    field = entropy.mean([line(1.0), line(0.5, 0.25)], [3, 1])
    assert lags(field) == pytest.approx([0.875, 0.0625])


def test_product_of_independent_maps() -> None:
    """Γ = Γ₁Γ₂ at every lag, constant parts included."""
    a, b = line(1.0, 0.5, const=0.2), line(2.0, 0.4, 0.1, const=0.3)
    product = entropy.multiply(a, b)
    for lag in range(5):
        assert product.at((lag,)) == pytest.approx(a.at((lag,)) * b.at((lag,)))


def test_product_with_a_vector_scales() -> None:
    vector = Field(np.array(0.5))
    assert entropy.multiply(line(1.0, 0.5, const=0.2), vector) == line(0.5, 0.25, const=0.1)
    assert entropy.multiply(vector, line(1.0, 0.5, const=0.2)) == line(0.5, 0.25, const=0.1)


# -- upsample, dilate, average -------------------------------------------------------------------------------


def test_nearest_upsampling_averages_over_phases() -> None:
    """x₀x₀x₁x₁…: half of the neighbours at lag 1 are the same value, half the next one."""
    assert lags(entropy.upsample(entropy.white(1), (2.0,))) == pytest.approx([1.0, 0.5])
    assert lags(entropy.upsample(line(1.0, 0.4), (2.0,))) == pytest.approx([1.0, 0.7, 0.4, 0.2])


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_nearest_upsampling_equals_the_count_of_phases(factor: int) -> None:
    field = line(1.0, 0.4, -0.2, const=0.1)
    wide = entropy.upsample(field, (float(factor),))
    for lag in range(5 * factor):
        phases = [field.at(((phase + lag) // factor,)) for phase in range(factor)]
        assert wide.at((lag,)) == pytest.approx(sum(phases) / factor, abs=1e-14)


def test_upsampling_in_two_dimensions_is_separable() -> None:
    field = entropy.upsample(entropy.white(2), (2.0, 1.0))
    np.testing.assert_allclose(field.lags, [[1.0], [0.5]])


def test_dilate_leaves_other_phases_uncorrelated() -> None:
    assert entropy.dilate(line(1.0, 0.5, 0.25, const=0.1), (2,)) == line(1.0, 0.0, 0.5, 0.0, 0.25, const=0.1)
    assert entropy.dilate(Field(np.ones((2, 2))), (1, 3)).lags.shape == (2, 4)


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_variance_of_a_mean_is_exact(n: int) -> None:
    """Var of the mean of n positions = (1/n²) ΣΣ Γ(i - j)."""
    field = line(1.0, 0.5, 0.2, const=0.3)
    expected = sum(field.at((i - j,)) for i in range(n) for j in range(n)) / n**2
    mean = entropy.average(field, (n,))
    assert mean.variance == pytest.approx(expected)
    assert mean.const == pytest.approx(expected)
    assert lags(mean) == [0.0]


def test_mean_over_a_white_map_is_one_over_n() -> None:
    assert entropy.average(entropy.white(2), (4, 5)).const == pytest.approx(1 / 20)


def test_mean_over_one_axis_leaves_the_other() -> None:
    field = Field(np.outer([1.0, 0.5], [1.0, 0.25]))
    mean = entropy.average(field, (2, 0))
    np.testing.assert_allclose(mean.lags, [[0.75, 0.75 * 0.25]])  # (2·1 + 2·½)/4
    assert mean.const == 0.0


# -- reindex -------------------------------------------------------------------------------------------------

PLANE = Field(np.outer([1.0, 0.5, 0.25], [1.0, 0.8]), 0.0)


def test_reindex_transposes() -> None:
    np.testing.assert_array_equal(entropy.reindex(PLANE, ((1, 1, 1), (0, 1, 1))).lags, PLANE.lags.T)


def test_reindex_holds_unread_axes_at_lag_zero() -> None:
    assert entropy.reindex(PLANE, ((0, 1, 1),)) == line(1.0, 0.5, 0.25)


def test_reindex_across_windows_steps_over_positions() -> None:
    """A 2×… window partition: the outer axis moves two positions a step, the inner one."""
    field = entropy.reindex(line(1.0, 0.6, 0.3, 0.1), ((0, 2, 1), (0, 1, 1)))
    assert field.at((0, 1)) == 0.6
    assert field.at((1, 0)) == 0.3
    assert field.at((1, 1)) == 0.1


def test_reindex_with_channels_between_positions() -> None:
    """(position, 3 channels) flattened: neighbours are other channels, the third is the same one again."""
    assert entropy.reindex(line(1.0, 0.5), ((0, 1, 3),)) == line(1.0, 0.0, 0.0, 0.5)


def test_constant_part_decorrelates_across_independent_entries() -> None:
    field = entropy.reindex(line(1.0, 0.5, const=2.0), (INDEPENDENT, (0, 1, 1)))
    assert field.at((0, 0)) == 3.0
    assert field.at((0, 1)) == 2.5
    assert field.at((1, 0)) == field.at((1, 1)) == 0.0
    # along the positions of one channel it never ends
    assert field.at((0, 40)) == 2.0


def test_constant_part_returns_with_the_same_channel() -> None:
    field = entropy.reindex(line(1.0, const=2.0), ((0, 1, 2),))
    assert [field.at((d,)) for d in range(5)] == [3.0, 0.0, 2.0, 0.0, 2.0]


def test_repeated_axis_stays_fully_correlated() -> None:
    field = entropy.reindex(PLANE, (EQUAL, (1, 1, 1)))
    assert field.at((0, 1)) == field.at((5, 1)) == 0.8
    assert field.at((5, 0)) == 1.0


def test_repetition_of_a_white_line_keeps_the_line_white() -> None:
    field = entropy.reindex(entropy.white(1), (EQUAL, (0, 1, 1)))
    assert field.at((3, 0)) == 1.0
    assert field.at((0, 1)) == field.at((3, 1)) == 0.0
    assert entropy.effective_taps(field, (1, 3), (1, 1)) == 3.0


def test_repetition_of_independent_entries() -> None:
    for source in (line(1.0, 0.5), Field(np.array(1.0))):
        field = entropy.reindex(source, (EQUAL, INDEPENDENT))
        assert field.at((3, 0)) == 1.0
        assert field.at((0, 1)) == 0.0


def test_everything_repeated_is_constant() -> None:
    assert entropy.reindex(line(1.0, 0.5, const=1.0), (EQUAL, EQUAL)) == Field(np.zeros((1, 1)), 2.0)
    assert entropy.reindex(Field(np.array(2.0)), (EQUAL,)) == line(0.0, const=2.0)
    assert entropy.reindex(Field(np.array(2.0)), (INDEPENDENT,)) == line(2.0)


# -- effective taps and local entropy ------------------------------------------------------------------------


@pytest.mark.parametrize("r", [0.0, 0.1, 0.5, -0.7, 0.99])
def test_two_taps_with_correlation_r(r: float) -> None:
    """n·det^(1/n) = 2·√(1 - r²)."""
    taps = entropy.effective_taps(line(1.0, r), (2,), (1,))
    assert taps == pytest.approx(2 * math.sqrt(1 - r * r), abs=1e-6)


def test_taps_do_not_depend_on_the_variance() -> None:
    small, large = line(0.01, 0.005), line(4.0, 2.0)
    assert entropy.effective_taps(small, (3,), (1,)) == pytest.approx(
        entropy.effective_taps(large, (3,), (1,))
    )


def test_three_taps_by_hand() -> None:
    """det [[1,a,b],[a,1,a],[b,a,1]] = 1 + 2a²b - 2a² - b²."""
    a, b = 2 / 3, 1 / 3
    det = 1 + 2 * a * a * b - 2 * a * a - b * b
    pooled = entropy.pool(entropy.white(1), (3,), (1,), (1,))
    assert entropy.effective_taps(pooled, (3,), (1,)) == pytest.approx(3 * det ** (1 / 3), abs=1e-6)


def test_separable_patch_is_a_product() -> None:
    """det(A⊗B) = det(A)^b·det(B)^a, so entropy powers multiply."""
    field = Field(np.outer([1.0, 0.5], [1.0, 0.25]))
    expected = 4 * math.sqrt(1 - 0.25) * math.sqrt(1 - 0.0625)
    assert entropy.effective_taps(field, (2, 2), (1, 1)) == pytest.approx(expected, abs=1e-6)


def test_dilated_taps_read_past_the_correlation() -> None:
    field = line(1.0, 0.5, 0.3)
    assert entropy.effective_taps(field, (2,), (2,)) == pytest.approx(2 * math.sqrt(1 - 0.09), abs=1e-6)
    assert entropy.effective_taps(field, (3,), (3,)) == 3.0


def test_white_map_gives_every_tap_of_any_kernel_without_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> float:
        raise AssertionError("a determinant was taken of a white patch")

    monkeypatch.setattr(patches, "_log_det", fail)
    for window in [(3, 3), (31, 31), (999, 1001), (70, 70, 70)]:
        n = math.prod(window)
        assert entropy.effective_taps(entropy.white(len(window)), window, (1,) * len(window)) == float(n)


def test_constant_map_is_a_bias() -> None:
    constant = Field(np.zeros((1, 1)), 1.0)
    assert 0.0 < entropy.effective_taps(constant, (3, 3), (1, 1)) < 1e-5
    assert entropy.effective_taps(constant, (1, 1), (1, 1)) == 1.0
    assert entropy.effective_taps(line(0.0), (3,), (1,)) == 0.0


def test_taps_lie_between_zero_and_n() -> None:
    fields = [line(1.0, 0.9, 0.7), line(1.0, const=0.5), line(1.0, -0.5), entropy.correlated(1, 5.0)]
    for field, n in itertools.product(fields, [2, 3, 7, 20]):
        assert 0.0 < entropy.effective_taps(field, (n,), (1,)) <= n


def test_huge_correlated_kernel_tends_to_the_mean_log_spectrum() -> None:
    """For Γ = (1, r), ∫ln(1 + 2r·cos θ)dθ/2π = ln((1 + √(1 - 4r²))/2); r = 0.3 gives ln 0.9."""
    assert entropy.effective_taps(line(1.0, 0.3), (5000,), (1,)) == pytest.approx(5000 * 0.9, rel=1e-6)
    assert entropy.effective_taps(line(1.0, 0.3), (2000,), (1,)) == pytest.approx(2000 * 0.9, rel=1e-3)


def test_local_entropy_of_a_white_map_is_that_of_a_unit_gaussian() -> None:
    assert entropy.local_entropy(entropy.white(2)) == pytest.approx(WHITE_ENTROPY, abs=1e-12)
    assert pytest.approx(1.4189385, abs=1e-7) == WHITE_ENTROPY
    assert entropy.local_entropy(entropy.white(0)) == pytest.approx(WHITE_ENTROPY, abs=1e-12)


def test_local_entropy_falls_with_the_determinant() -> None:
    """½ln(2πe) + ln det(R)/2n for two taps of correlation ½."""
    expected = WHITE_ENTROPY + math.log(1 - 0.25) / 4
    assert entropy.local_entropy(line(1.0, 0.5), window=2) == pytest.approx(expected, abs=1e-8)
    assert entropy.local_entropy(Field(np.zeros((1, 1)), 1.0)) < -5
