"""Credible regions by density and about random points, and the posterior predictive."""

from functools import cache

import numpy as np
import pytest
import xarray as xr
from scipy.stats import chi2, norm

from posterity.metrics import expected_coverage, hpd_rank, log_score, predictive_coverage, tarp_rank, uniformity

CASES, SAMPLES, ENTRIES = 2000, 60, 4


@cache
def gaussians(std: float, shift: float = 0.0) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray, xr.DataArray]:
    """Draws of N(shift, std²) beside truths from N(0, 1), and the log-densities of both under the former."""
    rng = np.random.default_rng(0)
    truth = xr.DataArray(rng.standard_normal((CASES, 1, ENTRIES)), dims=("case", "channel", "x"))
    draws = shift + std * rng.standard_normal((CASES, SAMPLES, 1, ENTRIES))
    state = xr.DataArray(draws, dims=("case", "sample", "channel", "x"), coords={"case": np.arange(CASES)})
    densities = [
        xr.DataArray(norm.logpdf(part, shift, std).sum(axis=(-2, -1)), dims=part.dims[:-2]) for part in (state, truth)
    ]
    log_q = densities[0].assign_coords(case=state["case"])
    return state, truth, log_q, densities[1]


@cache
def ranks(std: float, shift: float = 0.0) -> dict[str, xr.DataArray]:
    """Both fractions."""
    state, truth, log_q, truth_log_q = gaussians(std, shift)
    return {"hpd": hpd_rank(log_q, truth_log_q), "tarp": tarp_rank(state, truth)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hpd", "tarp"])
def test_calibrated_draws_are_uniform_and_others_move_the_right_way(kind) -> None:
    found = {std: ranks(std)[kind] for std in (0.7, 1.0, 1.4)}
    assert float(uniformity(found[1.0])) > 0.001
    error = (1 / 12 / CASES) ** 0.5
    assert abs(float(found[1.0].mean()) - 0.5) < 4 * error
    # Overconfident: the truth lies outside of regions more often than they say.
    assert float(found[0.7].mean()) > 0.5 + 10 * error
    assert float(found[1.4].mean()) < 0.5 - 10 * error
    for std in (0.7, 1.4):
        assert float(uniformity(found[std])) < 1e-10
    # And so is one that is in the wrong place.
    assert float(ranks(1.0, shift=1.0)[kind].mean()) > 0.5 + 10 * error


@pytest.mark.parametrize("kind", ["hpd", "tarp"])
def test_coverage_is_the_level_if_calibrated(kind) -> None:
    found = {std: expected_coverage(ranks(std)[kind]) for std in (0.7, 1.0, 1.4)}
    level = found[1.0]["level"].values
    np.testing.assert_array_less(abs(found[1.0] - level), 4 * (level * (1 - level) / CASES) ** 0.5)
    assert (found[0.7] < level - 0.1).all()
    assert (found[1.4] > level + 0.02).all()


def test_coverage_by_density_is_that_of_the_ball() -> None:
    """For a Gaussian whose standard deviation is half of the right one, by the distribution of chi squared."""
    level = expected_coverage(ranks(0.5)["hpd"])["level"].values
    exact = chi2.cdf(0.25 * chi2.ppf(level, ENTRIES), ENTRIES)
    # The edge of the region is known as well as so many draws tell it.
    error = (exact * (1 - exact) / CASES) ** 0.5 + 1 / SAMPLES
    np.testing.assert_array_less(abs(expected_coverage(ranks(0.5)["hpd"]) - exact), 4 * error)


def test_fractions_count_draws() -> None:
    log_q = xr.DataArray([[1.0, 2.0, 3.0, 4.0]], dims=("case", "sample"), coords={"case": [7]})
    for truth, above, ties in ((2.5, 2, 0), (9.0, 0, 0), (-1.0, 4, 0), (3.0, 1, 1)):
        rank = hpd_rank(log_q, xr.DataArray([truth], dims="case")).item()
        assert above / 5 <= rank <= (above + ties + 1) / 5, truth
    assert hpd_rank(log_q, xr.DataArray([np.nan], dims="case")).isnull().all()
    assert hpd_rank(log_q.where(log_q != 2), xr.DataArray([2.5], dims="case")).isnull().all()


def test_balls_count_draws() -> None:
    """Draws on a line at 0, 1, 2, 3, one of which is the point: the truth at 100 is farther than all."""
    state = xr.DataArray(np.arange(4.0)[None, :, None], dims=("case", "sample", "channel"), coords={"case": [0]})
    far = tarp_rank(state, xr.DataArray([[100.0]], dims=("case", "channel"))).item()
    assert 3 / 4 <= far <= 1
    # A truth that equals the point is nearer than all; which one it is, the number of the case says.
    least = min(tarp_rank(state, xr.DataArray([[x]], dims=("case", "channel"))).item() for x in range(4))
    assert 0 <= least <= 1 / 4
    assert np.isnan(tarp_rank(state[:, :1], xr.DataArray([[0.0]], dims=("case", "channel"))))
    assert np.isnan(tarp_rank(state.where(state != 2), xr.DataArray([[0.0]], dims=("case", "channel"))))


def test_equal_draws_leave_the_truth_outside() -> None:
    state = xr.DataArray(np.ones((3, 9, 1)), dims=("case", "sample", "channel"), coords={"case": range(3)})
    found = tarp_rank(state, xr.DataArray(np.zeros((3, 1)), dims=("case", "channel")))
    assert (found >= 8 / 9).all()


def test_they_stream_and_depend_on_the_number_of_a_case_alone() -> None:
    state, truth, log_q, truth_log_q = (part.isel(case=slice(12)) for part in gaussians(1.0))
    for lazy, whole, some in (
        (
            tarp_rank(state.chunk(case=5, sample=7), truth.chunk(case=5)),
            tarp_rank(state, truth),
            tarp_rank(state[[3, 8]], truth[[3, 8]]),
        ),
        (
            hpd_rank(log_q.chunk(case=5), truth_log_q.chunk(case=5)),
            hpd_rank(log_q, truth_log_q),
            hpd_rank(log_q[[3, 8]], truth_log_q[[3, 8]]),
        ),
    ):
        assert lazy.chunks is not None
        xr.testing.assert_allclose(lazy.compute(), whole)
        xr.testing.assert_allclose(some, whole[[3, 8]])


def test_the_log_score_is_lowest_for_the_right_density() -> None:
    scores = {std: log_score(gaussians(std)[3]) for std in (0.7, 1.0, 1.4)}
    for std in (0.7, 1.4):
        worse = scores[std] - scores[1.0]
        divergence = ENTRIES * (np.log(std) + (1 / std**2 - 1) / 2)
        assert abs(float(worse.mean()) - divergence) < 4 * float(worse.std()) / CASES**0.5
    assert log_score(xr.DataArray([-3.0], dims="case")).item() == 3.0


def predictive(std: float) -> xr.DataArray:
    """The transforms of new observations of noise 0.5, of draws N(0, std²) beside truths N(0, 1); half are missing."""
    rng = np.random.default_rng(1)
    size = (500, 2, 1, 6)
    y = rng.standard_normal(size) + 0.5 * rng.standard_normal(size)
    draws = std * rng.standard_normal((300, *size))
    u = norm.cdf((y - draws) / 0.5).mean(axis=0)
    return xr.DataArray(u, dims=("case", "time", "obs_channel", "obs_x")).where(rng.uniform(size=size) < 0.5)


@pytest.mark.slow
def test_new_observations_are_covered_if_calibrated() -> None:
    found = {std: predictive_coverage(predictive(std)).mean("case") for std in (0.3, 1.0, 2.0)}
    level = found[1.0]["level"].values
    # Three thousand entries, and 300 draws.
    np.testing.assert_array_less(abs(found[1.0] - level), 4 * (level * (1 - level) / 3000) ** 0.5 + 1 / 300)
    assert (found[0.3] < level - 0.1).all()
    assert (found[2.0] > level + 0.02).all()


def test_missing_observations_do_not_count() -> None:
    u = xr.DataArray([[[0.5, np.nan, 0.04]], [[np.nan] * 3]], dims=("case", "time", "obs_channel"))
    found = predictive_coverage(u)
    assert found.dims == ("case", "level")
    np.testing.assert_allclose(found.isel(case=0), [0.5, 0.5, 0.5, 1.0])
    assert found.isel(case=1).isnull().all()
