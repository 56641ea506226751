"""Ranks of one entry of each case, and the test of their uniformity."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import chi2

from posterity.metrics import entry_rank, parameter_rank, parameter_scores, pit, uniformity


@pytest.mark.parametrize("samples", [3, 100])
def test_ranks_of_calibrated_draws_are_uniform_and_of_overconfident_ones_not(ensemble, samples) -> None:
    p = {
        std: float(uniformity(entry_rank(*pit(*ensemble(samples, cases=400, times=1, grid=(2, 3), std=std))))[0])
        for std in (1.0, 0.3)
    }
    assert p[1.0] > 0.001
    assert p[0.3] < 1e-6


def test_p_values_are_uniform_themselves() -> None:
    rank = xr.DataArray(np.random.default_rng(0).uniform(size=(1000, 100)), dims=("method", "case"))
    p = uniformity(rank)
    assert p.dims == ("method",)
    for level in (0.05, 0.5):
        assert abs(float((p < level).mean()) - level) < 4 * (level * (1 - level) / 1000) ** 0.5 + 0.01


def test_the_statistic_is_pearsons() -> None:
    # Ten cases make two bins of five: seven and three are (2² + 2²) / 5 from that.
    rank = xr.DataArray([0.1] * 7 + [0.9] * 3 + [np.nan], dims="case")
    np.testing.assert_allclose(uniformity(rank), chi2.sf(1.6, 1))
    assert np.isnan(uniformity(rank[1:]))


def test_the_entry_is_one_of_the_state_and_the_same_at_all_times(ensemble) -> None:
    state, truth = ensemble(samples=4, cases=30, times=3, grid=(2, 5))
    low, _ = pit(state, truth)
    # Cells that hold the number of their entry, which the rank then shows.
    number = xr.zeros_like(low) + xr.DataArray(np.arange(20).reshape(2, 2, 5), dims=("channel", "y", "x"))
    found = entry_rank(number, number)
    assert (found == found.isel(time=0)).all()
    assert set(found.values.ravel()) <= set(range(20))
    assert len(set(found.values.ravel())) > 5
    assert found.dims == ("case", "time")


def test_ranks_depend_on_the_number_of_a_case_alone(ensemble) -> None:
    low, high = pit(*ensemble(samples=4, cases=6))
    xr.testing.assert_identical(entry_rank(low, high)[[4, 1]], entry_rank(low[[4, 1]], high[[4, 1]]))
    lazy = entry_rank(low.chunk(case=2, time=1), high.chunk(case=2, time=1))
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), entry_rank(low, high))


def test_another_missing_entry_does_not_count(ensemble) -> None:
    low, high = pit(*ensemble(samples=4, cases=200, times=1, grid=(1, 1)))
    low, high = low.where(low["channel"] != 0), high.where(low["channel"] != 0)
    missing = float(entry_rank(low, high).isnull().mean())
    assert abs(missing - 0.5) < 4 * (0.25 / 200) ** 0.5


def test_parameters_are_scored_one_by_one() -> None:
    rng = np.random.default_rng(0)
    cases, samples = 2000, 9
    centre = 3 * rng.standard_normal((cases, 2))
    truth = xr.DataArray(
        centre + rng.standard_normal((cases, 2)), dims=("case", "parameter"), coords={"parameter": ["F", "b"]}
    )
    std = np.array([1.0, 0.3])
    draws = xr.DataArray(
        centre[:, None] + std * rng.standard_normal((cases, samples, 2)), dims=("case", "sample", "parameter")
    ).assign_coords(parameter=["F", "b"])
    found = xr.Dataset(parameter_scores(draws, truth))
    assert found["parameter_coverage"].dims == ("case", "parameter", "level")
    np.testing.assert_allclose(found["parameter_mean"], draws.mean("sample"))
    np.testing.assert_allclose(found["parameter_std"], draws.std("sample", ddof=1))
    np.testing.assert_allclose(found["parameter_error"], abs(draws.mean("sample") - truth))
    covered = found["parameter_coverage"].mean("case")
    assert (abs(covered - covered["level"]).sel(parameter="F") < 4 * 0.5 / cases**0.5).all()
    assert (covered.sel(parameter="b") < covered["level"] - 0.1).all()
    p = uniformity(found["parameter_rank"])
    assert float(p.sel(parameter="F")) > 0.001
    assert float(p.sel(parameter="b")) < 1e-6
    # E CRPS of N(c, σ²) at a draw of N(c, 1): √(2 (1 + σ²) / π) − σ / √π.
    expected = (2 * (1 + std**2) / np.pi) ** 0.5 - std / np.pi**0.5
    error = found["parameter_crps"].std("case") / cases**0.5
    assert (abs(found["parameter_crps"].mean("case") - expected) < 4 * error).all()


def test_without_true_parameters_what_needs_none_is_left() -> None:
    draws = xr.DataArray(np.zeros((2, 3, 1)), dims=("case", "sample", "parameter"))
    assert set(parameter_scores(draws, None)) == {"parameter_mean", "parameter_std"}


def test_ranks_of_parameters_fill_their_cells() -> None:
    low = xr.DataArray(np.full((500, 1), 0.25), dims=("case", "parameter"))
    found = parameter_rank(low, low + 0.25)
    assert float(found.min()) >= 0.25
    assert float(found.max()) <= 0.5
    assert abs(float(found.mean()) - 0.375) < 4 * 0.25 / (12 * 500) ** 0.5
