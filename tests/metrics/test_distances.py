"""Distances to a reference against closed forms, SciPy, and sums over pairs."""

from itertools import permutations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import energy_distance, wasserstein_distance

from posterity.metrics import (
    covariance_error,
    kernel_distances,
    mean,
    mean_error,
    sliced_wasserstein,
    std_error,
    trajectory_wasserstein,
    wasserstein,
)
from posterity.metrics import variance as var


def draws(values: np.ndarray, sample: str = "sample") -> xr.DataArray:
    """Draws of one case at one time, given with shape ``(sample, x)``."""
    return xr.DataArray(values[None, :, None, None], dims=("case", sample, "time", "channel", "x"))


def vector(values: np.ndarray, sample: str = "sample") -> xr.DataArray:
    """Joint vectors of one case, given with shape ``(sample, entry)``."""
    return xr.DataArray(values[None], dims=("case", sample, "entry"))


def standardised(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return (values - reference.mean(0)) / reference.std(0, ddof=1)


def test_errors_of_means_are_in_standard_deviations_of_the_reference() -> None:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((50, 2)) * [1.0, 5.0]
    moved = reference + reference.std(0, ddof=1) * [3.0, -4.0]
    own = draws(reference)
    np.testing.assert_allclose(mean_error(mean(draws(moved)), mean(own), var(own)), [[12.5**0.5]])
    np.testing.assert_allclose(std_error(var(draws(moved)), mean(own), var(own)), [[0]], atol=1e-12)


def test_errors_of_standard_deviations_are_relative() -> None:
    reference = np.random.default_rng(0).standard_normal((50, 2)) * [1.0, 5.0]
    own = draws(reference)
    np.testing.assert_allclose(std_error(var(draws(reference * [2, 0.5])), mean(own), var(own)), [[0.625**0.5]])
    np.testing.assert_allclose(std_error(var(draws(reference * 0)), mean(own), var(own)), [[1]])


@pytest.mark.parametrize("samples", [50, 400])
def test_independent_draws_of_the_reference_have_the_errors_that_are_said(samples) -> None:
    rng = np.random.default_rng(samples)
    own, own_var = xr.zeros_like(draws(np.zeros((1, 4000)))).isel(sample=0), 1 + 0 * draws(np.zeros((1, 4000)))
    found = draws(rng.standard_normal((samples, 4000)))
    # A mean of 4000 squares of Gaussians has the relative error √(2 / 4000), and its root half of that.
    rtol = 4 * 0.5 * (2 / 4000) ** 0.5
    np.testing.assert_allclose(mean_error(mean(found), own, own_var.isel(sample=0)), samples**-0.5, rtol=rtol)
    np.testing.assert_allclose(
        std_error(var(found), own, own_var.isel(sample=0)), (2 * samples) ** -0.5, rtol=rtol + 1 / 50
    )


def test_covariance_error_is_that_of_the_matrices() -> None:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((60, 4)) @ rng.standard_normal((4, 4))
    other = rng.standard_normal((30, 4))
    covariances = [np.cov(standardised(part, reference).T) for part in (other, reference)]
    expected = np.linalg.norm(covariances[0] - covariances[1]) / np.linalg.norm(np.corrcoef(reference.T))
    np.testing.assert_allclose(covariance_error(draws(other), draws(reference, "draw")), [[expected]])


def test_covariance_error_of_more_entries_than_draws_is_the_same() -> None:
    rng = np.random.default_rng(0)
    reference, other = rng.standard_normal((6, 40)), 2 * rng.standard_normal((5, 40))
    covariances = [np.cov(standardised(part, reference).T) for part in (other, reference)]
    expected = np.linalg.norm(covariances[0] - covariances[1]) / np.linalg.norm(covariances[1])
    np.testing.assert_allclose(covariance_error(draws(other), draws(reference, "draw")), [[expected]])


@pytest.mark.parametrize("samples", [30, 45, 7, 1])
def test_sliced_wasserstein_of_one_entry_is_the_wasserstein_distance(samples) -> None:
    rng = np.random.default_rng(samples)
    reference, other = rng.normal(3, 2, (30, 1)), rng.exponential(2, (samples, 1))
    expected = wasserstein_distance(standardised(other, reference)[:, 0], standardised(reference, reference)[:, 0])
    np.testing.assert_allclose(sliced_wasserstein(draws(other), draws(reference, "draw")), [[expected]])


def test_sliced_wasserstein_of_a_shift_is_its_mean_projection() -> None:
    reference = np.random.default_rng(0).standard_normal((200, 50))
    shift = reference.std(0, ddof=1)
    found = sliced_wasserstein(draws(reference + shift), draws(reference, "draw"))
    # |u·1| for u uniform on the sphere is half-Gaussian to O(1/n): mean √(2/π), std √(1 − 2/π) over 64 directions.
    assert abs(float(found[0, 0]) - (2 / np.pi) ** 0.5) < 4 * (1 - 2 / np.pi) ** 0.5 / 8


def test_energy_distance_of_one_entry_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    reference, other = rng.normal(3, 2, 40), rng.exponential(2, 30)
    energy, _ = kernel_distances(vector(other[:, None]), vector(reference[:, None], "draw"))
    x, y = (part / reference.std(ddof=1) for part in (other, reference))
    # SciPy counts pairs of a draw with itself: means of pairs are smaller by (S − 1) / S.
    own = [np.abs(part[:, None] - part).mean() for part in (x, y)]
    expected = energy_distance(x, y) ** 2 + sum(
        value - value * n / (n - 1) for value, n in zip(own, (30, 40), strict=True)
    )
    np.testing.assert_allclose(energy, [expected])


def test_mmd_is_the_sum_over_pairs() -> None:
    rng = np.random.default_rng(0)
    reference, other = rng.standard_normal((12, 3)), 1 + rng.standard_normal((9, 3))
    x, y = (standardised(part, reference) for part in (other, reference))

    def squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((a[:, None] - b) ** 2).sum(-1)

    width = np.median([squares(y, y)[i, j] ** 0.5 for i in range(12) for j in range(i)])
    within, own, across = (np.exp(-squares(a, b) / (2 * width**2)) for a, b in ((x, x), (y, y), (x, y)))
    expected = (within.sum() - 9) / 72 + (own.sum() - 12) / 132 - 2 * across.mean()
    np.testing.assert_allclose(kernel_distances(vector(other), vector(reference, "draw"))[1], [expected])


@pytest.mark.parametrize("index", [0, 1])
def test_kernel_distances_of_equal_distributions_are_zero_on_average(index) -> None:
    rng = np.random.default_rng(0)
    cases = [rng.standard_normal((300, size, 3)) for size in (20, 30)]
    found = kernel_distances(
        xr.DataArray(cases[0], dims=("case", "sample", "entry")), xr.DataArray(cases[1], dims=("case", "draw", "entry"))
    )[index]
    assert abs(float(found.mean())) < 4 * float(found.std()) / 300**0.5


def test_a_missing_draw_makes_its_case_missing_alone() -> None:
    rng = np.random.default_rng(0)
    state = xr.DataArray(rng.standard_normal((3, 12, 2, 1, 4)), dims=("case", "sample", "time", "channel", "x"))
    reference = state.rename(sample="draw") + 1
    state[1, 3, 0, 0, 2] = np.nan
    for distance in (covariance_error, sliced_wasserstein):
        np.testing.assert_array_equal(distance(state, reference).isnull(), [[False] * 2, [True, False], [False] * 2])
    parts = [part.isel(time=0, channel=0).rename(x="entry") for part in (state, reference)]
    for found in kernel_distances(*parts):
        np.testing.assert_array_equal(found.isnull(), [False, True, False])


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4 / 3])
def test_entries_without_spread_in_the_reference_are_in_units_of_the_state(value) -> None:
    """Where draws agree with it they have no distance; else theirs is that of the state. Also if they were rounded."""
    rng = np.random.default_rng(1)
    one, two = rng.standard_normal((60, 3)), rng.standard_normal((90, 3))
    fixed, own, moved = (
        np.concatenate([part, np.full((len(part), 1), np.float32(value + off))], axis=1)
        for part, off in ((one, 0), (two, 0), (one, 2))
    )
    two_alone, alike = draws(two), draws(own)

    def found(values: np.ndarray, reference: xr.DataArray) -> list[float]:
        """Squared errors of means and of standard deviations, times the number of entries, and of covariances."""
        state, target = draws(values), (mean(reference), var(reference))
        errors = mean_error(mean(state), *target), std_error(var(state), *target)
        covariance = covariance_error(state, reference.rename(sample="draw"))
        return [float(values.shape[1] * error.item() ** 2) for error in errors] + [covariance.item()]

    np.testing.assert_allclose(found(fixed, alike), found(one, two_alone), rtol=1e-6)
    np.testing.assert_allclose(found(moved, alike), np.add(found(one, two_alone), [4, 0, 0]), rtol=1e-3)
    distance = sliced_wasserstein(draws(fixed), alike.rename(sample="draw"))
    assert 0 < distance.item() < sliced_wasserstein(draws(moved), alike.rename(sample="draw")).item()
    alone, both = (kernel_distances(vector(a), vector(b, "draw")) for a, b in ((one, two), (fixed, own)))
    np.testing.assert_allclose(both, alone, rtol=1e-6)


def test_a_reference_without_any_spread_has_distances() -> None:
    own, other = np.full((30, 2), 3.0), np.tile([3.0, 7.0], (30, 1))
    state, target = draws(other), draws(own, "draw")
    assert covariance_error(state, target).item() == 0
    assert sliced_wasserstein(state, target).item() > 0
    energy, kernel = kernel_distances(vector(other), vector(own, "draw"))
    assert energy.item() == 8
    assert kernel.item() == pytest.approx(2 - 2 * np.exp(-8))
    assert [each.item() for each in kernel_distances(vector(own), vector(own, "draw"))] == [0, 0]


def test_wasserstein_of_one_entry_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    reference, other = rng.normal(3, 2, (30, 1)), rng.exponential(2, (30, 1))
    expected = wasserstein_distance(standardised(other, reference)[:, 0], standardised(reference, reference)[:, 0])
    np.testing.assert_allclose(wasserstein(vector(other), vector(reference, "draw")), [expected])


def test_wasserstein_of_a_shift_is_its_length() -> None:
    reference = np.random.default_rng(0).standard_normal((40, 2)) * [1, 5]
    moved = reference[::-1] + reference.std(0, ddof=1) * [3, -4]
    np.testing.assert_allclose(wasserstein(vector(moved), vector(reference, "draw")), [5])


def test_wasserstein_is_the_least_over_all_assignments() -> None:
    rng = np.random.default_rng(0)
    reference, other = rng.standard_normal((5, 3)), rng.standard_normal((9, 3))[:5]
    x, y = standardised(other, reference), standardised(reference, reference)
    expected = min(np.linalg.norm(x - y[list(order)], axis=1).mean() for order in permutations(range(5)))
    np.testing.assert_allclose(wasserstein(vector(other), vector(reference, "draw")), [expected])


def test_wasserstein_of_failed_draws_is_missing() -> None:
    reference = np.random.default_rng(0).standard_normal((5, 3))
    assert np.isnan(wasserstein(vector(np.full((5, 3), np.nan)), vector(reference, "draw"))).all()


def test_wasserstein_of_trajectories_is_the_least_over_all_assignments_of_whole_ones() -> None:
    """In units of the state; chunks of cases and times, of two sizes, change nothing."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 4, 5, 3)), 3 + 2 * rng.standard_normal((2, 4, 5, 3))
    dims = ("case", "time", "channel")
    state, own = xr.DataArray(x, dims=("sample", *dims)), xr.DataArray(y, dims=("draw", *dims))
    state, own = (
        xr.concat([part, part + 1], name) if name == "draw" else xr.concat([part, part], name)
        for part, name in ((state, "sample"), (own, "draw"))
    )
    found = trajectory_wasserstein(state, own)
    a, b = (part.transpose("case", ...).values.reshape(4, 4, -1) for part in (state, own))
    for case in range(4):
        expected = min(
            np.linalg.norm(a[case] - b[case][list(order)], axis=1).mean() for order in permutations(range(4))
        )
        np.testing.assert_allclose(found[case], expected)
    lazy = trajectory_wasserstein(state.chunk(case=3, time=2), own.chunk(case=2, time=3))
    np.testing.assert_allclose(lazy.compute(), found)
    state[0, 1] = np.nan
    np.testing.assert_array_equal(np.isnan(trajectory_wasserstein(state, own)), [False, True, False, False])
