"""Calibration of exact, overconfident and underconfident ensembles."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from posterity.metrics import calibrated_log_likelihood, coverage, expected_log_likelihood, misfit, pit, rank_histogram


def points(draws: list[float], truths: list[float]) -> tuple[xr.DataArray, xr.DataArray]:
    """The same draws for every one of some truths, each truth a case."""
    state = xr.DataArray(np.tile(draws, (len(truths), 1)), dims=("case", "sample"))
    return state, xr.DataArray(truths, dims="case")


def test_pit_is_the_cell_of_the_rank() -> None:
    low, high = pit(*points([1.0, 2.0, 3.0], [0.0, 1.5, 2.5, 9.0]))
    np.testing.assert_allclose(low, [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(high, [0.25, 0.5, 0.75, 1])


def test_ties_widen_the_cell() -> None:
    low, high = pit(*points([1.0, 2.0, 2.0], [1.0, 2.0]))
    np.testing.assert_allclose(low, [0, 0.25])
    np.testing.assert_allclose(high, [0.5, 1])


def test_a_collapsed_ensemble_on_the_truth_is_no_evidence() -> None:
    low, high = pit(*points([2.0] * 9, [2.0]))
    np.testing.assert_allclose(coverage(low, high), [[0.5, 0.8, 0.9, 0.95]])
    np.testing.assert_allclose(rank_histogram(low, high, 9), np.full((1, 10), 0.1))


def test_there_is_a_bin_for_each_rank_up_to_twenty() -> None:
    low, high = pit(*points([1.0, 2.0, 3.0], [0.0, 2.5]))
    np.testing.assert_allclose(rank_histogram(low, high, 3), [[1, 0, 0, 0], [0, 0, 1, 0]], atol=1e-12)
    low, high = pit(*points(list(range(1000)), [-0.5]))
    assert rank_histogram(low, high, 1000).sizes["bin"] == 20


@pytest.mark.parametrize("samples", [1, 7, 19, 26, 100])
def test_every_rank_as_often_makes_a_flat_histogram_and_exact_coverage(samples) -> None:
    low, high = pit(*points(list(range(samples)), [rank - 0.5 for rank in range(samples + 1)]))
    counts = rank_histogram(low, high, samples).sum("case")
    np.testing.assert_allclose(counts, (samples + 1) / counts.size)
    np.testing.assert_allclose(coverage(low, high).mean("case"), [0.5, 0.8, 0.9, 0.95])


@pytest.mark.parametrize("samples", [8, 40])
def test_a_calibrated_ensemble_covers_what_it_says(ensemble, samples) -> None:
    found = coverage(*pit(*ensemble(samples=samples)))
    error = found.std(["case", "time"]) / np.sqrt(80)
    assert (abs(found.mean(["case", "time"]) - found["level"]) < 4 * error).all()


@pytest.mark.parametrize("std", [0.5, 2.0])
def test_coverage_of_a_wrong_spread_is_the_closed_form(ensemble, std) -> None:
    # A central interval of N(0, σ²) holds N(0, 1) with probability 2 Φ(σ q) − 1.
    found = coverage(*pit(*ensemble(samples=400, cases=10, std=std)))
    quantile = norm.ppf((1 + found["level"].to_numpy()) / 2)
    error = found.std(["case", "time"]) / np.sqrt(20)
    # Quantiles of S draws blur the interval by O(1/S).
    assert (abs(found.mean(["case", "time"]) - (2 * norm.cdf(std * quantile) - 1)) < 4 * error + 2 / 400).all()


@pytest.mark.parametrize(("std", "sign"), [(0.5, 1), (2.0, -1)])
def test_histograms_are_cups_if_overconfident_and_caps_if_underconfident(ensemble, std, sign) -> None:
    counts = rank_histogram(*pit(*ensemble(samples=39, std=std)), 39).sum(["case", "time"])
    assert sign * (counts[0] + counts[-1] - counts[9] - counts[10]) > 0.1 * counts.sum()


def test_histograms_of_a_calibrated_ensemble_are_flat(ensemble) -> None:
    counts = rank_histogram(*pit(*ensemble(samples=26)), 26).sum(["case", "time"])
    total = 40 * 2 * 500
    np.testing.assert_allclose(counts.sum(), total)
    expected = total / 20
    assert (abs(counts - expected) < 4.5 * np.sqrt(expected)).all()


def test_counts_add_up_to_the_entries_and_keep_other_dimensions(ensemble) -> None:
    state, truth = ensemble(samples=5, cases=3, grid=(2, 4))
    low, high = pit(xr.concat([state, state], dim="chain"), truth)
    counts = rank_histogram(low, high, 5)
    assert set(counts.dims) == {"chain", "case", "time", "bin"}
    np.testing.assert_allclose(counts.sum("bin"), 2 * 2 * 4)
    assert set(coverage(low, high).dims) == {"chain", "case", "time", "level"}


def test_expected_log_likelihood_of_an_exact_posterior_is_the_calibrated_one() -> None:
    # x ~ N(0, 1), y = x + N(0, σ²): p(x | y) is N(k y, 1 − k), k = 1 / (1 + σ²).
    rng, std, cases, samples = np.random.default_rng(0), 0.7, 20_000, 10
    x = rng.standard_normal(cases)
    y = x + std * rng.standard_normal(cases)
    gain = 1 / (1 + std**2)
    draws = gain * y[:, None] + np.sqrt(1 - gain) * rng.standard_normal((cases, samples))
    found = expected_log_likelihood(xr.DataArray(norm.logpdf(y[:, None], draws, std), dims=("case", "sample")))
    shape = ("case", "time", "obs_channel")
    calibrated = calibrated_log_likelihood(
        xr.DataArray(y[:, None, None], dims=shape), xr.DataArray(np.full((cases, 1, 1), std), dims=shape)
    )
    difference = found - calibrated
    assert abs(float(difference.mean())) < 4 * float(difference.std()) / np.sqrt(cases)


def test_calibrated_log_likelihood_leaves_out_what_is_missing() -> None:
    shape = ("case", "time", "obs_channel")
    y = xr.DataArray([[[1.0], [np.nan]], [[np.nan], [np.nan]]], dims=shape)
    std = xr.DataArray([[[2.0], [5.0]], [[1.0], [np.nan]]], dims=shape)
    np.testing.assert_allclose(calibrated_log_likelihood(y, std), [-0.5 * np.log(2 * np.pi * np.e * 4), 0], atol=1e-15)


def test_the_misfit_is_the_root_mean_square_of_whitened_residuals() -> None:
    rng = np.random.default_rng(0)
    std = xr.DataArray(rng.uniform(0.1, 2, (3, 4, 1)), dims=("case", "time", "obs_channel"))
    y = xr.DataArray(rng.standard_normal((3, 4, 1)), dims=std.dims)
    y[0, 1], y[2] = np.nan, np.nan
    seen = xr.DataArray(rng.standard_normal((3, 5, 4, 1)), dims=("case", "sample", "time", "obs_channel"))
    density = xr.apply_ufunc(norm.logpdf, y, seen, std).fillna(0).sum(["time", "obs_channel"])
    expected = ((((y - seen) / std) ** 2).mean(["sample", "time", "obs_channel"])) ** 0.5
    np.testing.assert_allclose(misfit(density, y, std), expected)
    assert np.isnan(expected[2])
