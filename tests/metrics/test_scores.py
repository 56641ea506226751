"""Scores against their closed forms."""

import numpy as np
import pytest
import xarray as xr

from posterity.metrics import crps, mean, rmse, spread, variance


def gaussian_crps(z: np.ndarray, std: float) -> np.ndarray:
    """The CRPS of N(0, std²) at z·std (Gneiting et al., 2005)."""
    from scipy.stats import norm

    return std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


def test_rmse_is_that_of_the_mean() -> None:
    truth = xr.DataArray(np.zeros((1, 1, 2, 2)), dims=("case", "time", "channel", "x"))
    average = truth + xr.DataArray([[3.0, 4.0], [0.0, 0.0]], dims=("channel", "x"))
    np.testing.assert_allclose(rmse(average, truth), [[2.5]])


def test_spread_is_the_root_of_the_mean_unbiased_variance() -> None:
    draws = xr.DataArray([[[[0.0, 0.0]], [[2.0, 4.0]]]], dims=("case", "sample", "time", "channel"))
    np.testing.assert_allclose(variance(draws), [[[2.0, 8.0]]])
    np.testing.assert_allclose(spread(variance(draws)), [[np.sqrt(5.0)]])


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_spread_of_a_gaussian(ensemble, std) -> None:
    state, _ = ensemble(samples=20, std=std)
    found = spread(variance(state)) ** 2
    # The mean of n variances of S draws has the standard error σ² √(2 / (S − 1) / n).
    error = std**2 * np.sqrt(2 / 19 / found.size / 500)
    assert abs(float(found.mean()) - std**2) < 4 * error


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("samples", [2, 5, 50])
def test_fair_crps_of_a_gaussian_is_unbiased_at_any_size(ensemble, samples, std) -> None:
    state, truth = ensemble(samples=samples, std=std)
    # E CRPS(N(0, σ²), z) over z ~ N(0, 1): E|σX − z| − σ E|X − X'| / 2.
    expected = np.sqrt(2 * (1 + std**2) / np.pi) - std / np.sqrt(np.pi)
    score = crps(state, truth)
    error = float(score.std() / np.sqrt(score.size))
    assert abs(float(score.mean()) - expected) < 4 * error


def test_crps_at_a_point_tends_to_the_closed_form() -> None:
    z = np.linspace(-3, 3, 7)
    draws = np.random.default_rng(0).standard_normal(200_000)
    state = xr.DataArray(np.broadcast_to(draws[:, None], (draws.size, 7)), dims=("sample", "case"))
    found = crps(state, xr.DataArray(z, dims="case"))
    # The error of a mean of |x − z| is at most √(1 + z²) / √S.
    np.testing.assert_allclose(found, gaussian_crps(z, 1.0), atol=4 * np.sqrt(10 / draws.size), rtol=0)


def test_crps_is_the_sum_over_all_pairs(ensemble) -> None:
    state, truth = ensemble(samples=7, cases=2, grid=(2, 3))
    pairs = abs(state - state.rename(sample="other")).sum(["sample", "other"]) / (2 * 7 * 6)
    expected = (abs(state - truth).mean("sample") - pairs).mean(["channel", "y", "x"])
    xr.testing.assert_allclose(crps(state, truth), expected)


def test_crps_prefers_the_calibrated_ensemble(ensemble) -> None:
    scores = {std: float(crps(*ensemble(samples=20, std=std)).mean()) for std in (0.5, 1.0, 2.0)}
    assert min(scores, key=scores.get) == 1.0


def test_a_single_draw_has_an_error_and_no_spread(ensemble) -> None:
    state, truth = ensemble(samples=1, cases=2)
    assert rmse(mean(state), truth).notnull().all()
    assert spread(variance(state)).isnull().all()
    assert crps(state, truth).isnull().all()


@pytest.mark.parametrize("extra", ["method", "chain"])
def test_only_named_dimensions_are_reduced(ensemble, extra) -> None:
    state, truth = ensemble(samples=5, cases=3, grid=(2, 2))
    several = xr.concat([state, state + 1], dim=extra)
    for score in (
        lambda s: rmse(mean(s), truth),
        lambda s: spread(variance(s)),
        lambda s: crps(s, truth),
    ):
        found = score(several)
        assert set(found.dims) == {extra, "case", "time"}
        xr.testing.assert_allclose(found.isel({extra: 0}, drop=True), score(state))


def test_scores_move_with_translation_and_scale(ensemble) -> None:
    state, truth = ensemble(samples=6, cases=2)
    xr.testing.assert_allclose(crps(2 * state + 7, 2 * truth + 7), 2 * crps(state, truth))
    xr.testing.assert_allclose(rmse(mean(2 * state + 7), 2 * truth + 7), 2 * rmse(mean(state), truth))
    xr.testing.assert_allclose(spread(variance(2 * state + 7)), 2 * spread(variance(state)))


def test_single_precision_averages_in_double(ensemble) -> None:
    state, _ = ensemble(samples=2000, cases=1, grid=(2, 2))
    shifted = (state + 1000).astype(np.float32)
    np.testing.assert_allclose(mean(shifted), shifted.astype(np.float64).mean("sample"), rtol=1e-12)
    np.testing.assert_allclose(variance(shifted), shifted.astype(np.float64).var("sample", ddof=1), rtol=1e-9)
