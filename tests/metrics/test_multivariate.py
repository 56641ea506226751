"""Scores of states as a whole: their values, that they are proper, and that they stream."""

import tracemalloc

import numpy as np
import pytest
import xarray as xr

from posterity.metrics import crps, energy_score, variogram_score
from posterity.metrics.multivariate import PAIRS, _pairs


def one(draws: list, truth: list) -> tuple[xr.DataArray, xr.DataArray]:
    """One case and time of a field, from its draws and its truth."""
    state = xr.DataArray(
        np.array(draws, dtype=float)[None, :, None, None], dims=("case", "sample", "time", "channel", "x")
    )
    return state, xr.DataArray(np.array(truth, dtype=float)[None, None, None], dims=("case", "time", "channel", "x"))


def test_two_draws_have_the_energy_score_of_three_distances() -> None:
    # |x₁ − x| = 5, |x₂ − x| = 0, |x₁ − x₂| = 5: the mean 5 / 2 less half of 5.
    assert energy_score(*one([[3, 4], [0, 0]], [0, 0])).item() == pytest.approx(0.0)
    assert energy_score(*one([[3, 4], [3, 4]], [0, 0])).item() == pytest.approx(5.0)
    assert np.isnan(energy_score(*one([[3, 4]], [0, 0])))


def test_of_one_entry_the_energy_score_is_the_crps(ensemble) -> None:
    state, truth = (part.isel(channel=[0]) for part in ensemble(samples=30, cases=5, grid=(1, 1)))
    np.testing.assert_allclose(energy_score(state, truth), crps(state, truth), rtol=1e-9)


def test_two_draws_have_the_variogram_score_of_their_difference() -> None:
    # √|0 − 4| = 2 is true; the draws have √1 and √9, whose mean is 2, and √0 and √4, whose mean is 1. The variance of
    # both means is one.
    assert variogram_score(*one([[1, 2], [0, 9]], [0, 4])).item() == pytest.approx(-1.0)
    assert variogram_score(*one([[7, 7], [0, 4]], [0, 4])).item() == pytest.approx(0.0)
    assert variogram_score(*one([[0, 1], [0, 1]], [0, 4])).item() == pytest.approx(1.0)
    assert np.isnan(variogram_score(*one([[3], [4]], [0])))
    assert np.isnan(variogram_score(*one([[1, 2]], [0, 4])))


def variograms(draws: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The fair score over all ordered pairs of entries, by its definition.

    Args:
        draws: Draws with shape ``(case, time, sample, entry)``.
        true: The truth, with shape ``(case, time, entry)``.
    """
    apart, truly = (np.abs(x[..., :, None] - x[..., None, :]) ** 0.5 for x in (draws, true))
    errors = (truly - apart.mean(axis=2)) ** 2 - apart.var(axis=2, ddof=1) / draws.shape[2]
    entries = true.shape[-1]
    return errors.sum(axis=(-1, -2)) / (entries * (entries - 1))


@pytest.mark.parametrize("grid", [(1, 4), (3, 5)])
def test_both_are_what_they_are_by_definition(ensemble, grid) -> None:
    state, truth = ensemble(samples=20, cases=3, grid=grid)
    # Fields are channel, y, x behind time: flattened alike.
    draws = state.transpose("case", "time", "sample", ...).values.reshape(3, 2, 20, -1)
    true = truth.values.reshape(3, 2, -1)
    errors = np.linalg.norm(draws - true[:, :, None], axis=-1).mean(axis=-1)
    pairs = np.linalg.norm(draws[:, :, :, None] - draws[:, :, None], axis=-1).sum(axis=(-1, -2)) / (20 * 19)
    np.testing.assert_allclose(energy_score(state, truth), errors - pairs / 2, rtol=1e-9)
    np.testing.assert_allclose(variogram_score(state, truth), variograms(draws, true), rtol=1e-9)


@pytest.mark.parametrize("score", [energy_score, variogram_score])
def test_nothing_scores_better_than_the_posterior(ensemble, score) -> None:
    """Whose draws are too narrow or too wide scores worse, by many standard errors of the difference."""
    scores = {std: score(*ensemble(samples=50, cases=60, grid=(2, 4), std=std)) for std in (0.4, 1.0, 2.0)}
    for std in (0.4, 2.0):
        worse = (scores[std] - scores[1.0]).values.ravel()
        assert worse.mean() > 4 * worse.std() / len(worse) ** 0.5


def test_the_variogram_score_sees_correlations() -> None:
    """Draws of the right marginals, whose entries are independent while those of the truth agree."""
    rng = np.random.default_rng(0)
    dims = ("case", "sample", "time", "channel", "x")
    alike = rng.standard_normal((60, 51, 1, 1, 1)) + 0.2 * rng.standard_normal((60, 51, 1, 1, 8))
    apart = 1.04**0.5 * rng.standard_normal((60, 50, 1, 1, 8))
    truth = xr.DataArray(alike[:, 0], dims=("case", *dims[2:]))
    right, wrong = (variogram_score(xr.DataArray(draws, dims=dims), truth) for draws in (alike[:, 1:], apart))
    worse = (wrong - right).values.ravel()
    assert worse.mean() > 4 * worse.std() / len(worse) ** 0.5


def test_some_pairs_stand_for_all(ensemble) -> None:
    first, second = _pairs(65)
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == PAIRS
    assert (first < second).all()
    assert (first >= 0).all()
    assert second.max() == 64
    assert len(_pairs(64)[0]) == PAIRS == 64 * 63 // 2
    # The mean over chosen pairs is near the one over all.
    state, truth = ensemble(samples=20, cases=4, grid=(6, 10))
    draws = state.transpose("case", "time", "sample", ...).values.reshape(4, 2, 20, -1)
    every = variograms(draws, truth.values.reshape(4, 2, -1))
    assert float(variogram_score(state, truth).mean()) == pytest.approx(every.mean(), rel=0.05)


def test_pairs_of_a_large_state_are_drawn_without_a_list_of_all() -> None:
    """Of a quarter of a million entries, all pairs would take a quarter of a terabyte."""
    tracemalloc.start()
    first, second = _pairs(250_000)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert (first < second).all()
    assert second.max() < 250_000


def test_rounding_is_relative_to_the_spread() -> None:
    """Draws far from zero in single precision, among them equal ones."""
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((40, 6)).repeat(2, axis=0)
    near = energy_score(*one(draws, draws[0] + 1))
    np.testing.assert_allclose(energy_score(*one(draws + 1e6, draws[0] + 1 + 1e6)), near, rtol=1e-6)


@pytest.mark.parametrize("score", [energy_score, variogram_score])
def test_they_stream_and_a_missing_member_spoils_its_case_and_time_alone(ensemble, score) -> None:
    state, truth = ensemble(samples=5, cases=4, times=3, grid=(2, 3))
    state[1, 3, 2, 0, 0, 0] = np.nan
    found = score(state, truth)
    assert found.dims == ("case", "time")
    assert int(found.isnull().sum()) == 1
    assert np.isnan(found[1, 2])
    lazy = score(state.chunk(case=2, x=1), truth.chunk(case=2))
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), found)
