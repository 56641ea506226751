"""All scores together: what is there, laziness, missing members."""

import numpy as np
import pytest
import xarray as xr

from posterity.data import SCORES, check
from posterity.metrics import evaluate, tarp_rank


def datasets(ensemble, samples: int = 6, cases: int = 5) -> tuple[xr.Dataset, xr.Dataset]:
    """A twin, observed at its first time alone, and its posterior."""
    state, truth = ensemble(samples=samples, cases=cases, times=3, grid=(2, 4))
    state.attrs["units"] = "m/s"
    observation = truth.rename(channel="obs_channel", y="obs_y", x="obs_x")
    observation = observation.where(observation["time"] == 0)
    twin = xr.Dataset({"state": truth, "observation": observation, "observation_std": xr.full_like(observation, 0.5)})
    likelihood = xr.DataArray(np.arange(cases * samples).reshape(cases, samples) * 1.0, dims=("case", "sample"))
    info = {
        "info_seconds": ("case", np.arange(cases) * 1.0),
        "info_objective": (("case", "iteration"), np.ones((cases, 4))),
    }
    return twin, xr.Dataset({"state": state, "log_likelihood": likelihood, **info})


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [{"case": 2}, {"case": 1, "time": 1}, {"case": 3, "y": 1, "sample": 2}])
def test_lazy_is_in_memory(ensemble, chunks) -> None:
    twin, posterior = datasets(ensemble)
    lazy = evaluate(twin.chunk(case=2), posterior.chunk(chunks), time=1)
    assert all(lazy[name].chunks is not None for name in lazy.data_vars if name != "samples")
    xr.testing.assert_allclose(lazy.compute(), evaluate(twin, posterior, time=1), rtol=1e-12)


def test_each_chunk_is_read_once(ensemble) -> None:
    twin, posterior = datasets(ensemble)
    reads = []

    def count(block: np.ndarray) -> np.ndarray:
        reads.append(block.shape)
        return block

    chunks = posterior["state"].chunk(case=1).data
    posterior["state"] = (posterior["state"].dims, chunks.map_blocks(count, meta=chunks._meta))
    evaluate(twin, posterior, time=1).compute()
    assert len(reads) == 5


def test_it_is_a_metrics_file_with_units_and_diagnostics(ensemble) -> None:
    scored = check(evaluate(*datasets(ensemble)), "metrics", "scored", SCORES)
    assert scored["rmse"].attrs["units"] == scored["crps"].attrs["units"] == "m/s"
    assert scored["log_likelihood"].attrs["units"] == "nat"
    assert (scored["samples"] == 6).all()
    np.testing.assert_allclose(scored["info_seconds"], range(5))
    assert scored["info_objective"].sizes == {"case": 5, "iteration": 4}
    np.testing.assert_allclose(scored["log_likelihood"], 2.5 + 6 * np.arange(5))
    entries = 2 * 2 * 4
    np.testing.assert_allclose(
        scored["calibrated_log_likelihood"], -0.5 * entries * np.log(2 * np.pi * np.e * 0.25), rtol=1e-12
    )


def test_without_a_truth_what_needs_none_is_left(ensemble) -> None:
    twin, posterior = datasets(ensemble)
    full, scored = evaluate(twin, posterior), evaluate(twin.drop_vars("state"), posterior)
    needing = {"rmse", "crps", "energy_score", "variogram_score", "rank_histogram", "coverage", "rank"}
    needing |= {"truth_spectrum", "error_spectrum"}
    assert set(full.data_vars) - set(scored.data_vars) == needing
    xr.testing.assert_identical(scored, full[list(scored.data_vars)].drop_vars(["bin", "level"], errors="ignore"))


def test_a_posterior_without_log_likelihood_has_none(ensemble) -> None:
    twin, posterior = datasets(ensemble)
    assert "log_likelihood" not in evaluate(twin, posterior.drop_vars("log_likelihood"))


def test_a_case_that_failed_is_missing_and_spoils_no_other(ensemble) -> None:
    twin, posterior = datasets(ensemble)
    failed = posterior.copy(deep=True)
    failed["state"][2] = np.nan
    failed["log_likelihood"][2] = np.nan
    scored, whole = evaluate(twin, failed), evaluate(twin, posterior)
    for name in (
        "mean",
        "std",
        "rmse",
        "spread",
        "crps",
        "energy_score",
        "rank_histogram",
        "coverage",
        "log_likelihood",
    ):
        assert scored[name].sel(case=2).isnull().all(), name
        xr.testing.assert_allclose(scored[name].drop_sel(case=2), whole[name].drop_sel(case=2))
        assert scored[name].drop_sel(case=2).notnull().all(), name


def test_one_missing_member_makes_its_case_and_time_missing(ensemble) -> None:
    twin, posterior = datasets(ensemble)
    posterior["state"][1, 3, 2, 0, 0, 0] = np.nan
    scored = evaluate(twin, posterior)
    for name in ("rmse", "spread", "crps", "rank_histogram", "coverage"):
        missing = scored[name].isnull()
        assert missing.sel(case=1).isel(time=2).all()
        assert int(missing.sum()) == missing.sel(case=1).isel(time=2).size


def test_what_needs_densities_is_scored_where_there_are_some(ensemble) -> None:
    twin, posterior = datasets(ensemble)
    rng = np.random.default_rng(0)
    own = {
        "truth_log_q": ("case", rng.standard_normal(5)),
        "predictive_pit": (twin["observation"].dims, rng.uniform(size=twin["observation"].shape)),
    }
    scored = check(evaluate(twin, posterior.assign(own)), "metrics", "scored", SCORES)
    np.testing.assert_allclose(scored["log_score"], -own["truth_log_q"][1])
    assert scored["log_score"].attrs["units"] == "nat"
    assert scored["predictive_coverage"].dims == ("case", "level")
    assert "hpd_rank" not in scored
    drawn = posterior.assign({**own, "log_q": (("case", "sample"), rng.standard_normal((5, 6)))})
    assert check(evaluate(twin, drawn), "metrics", "scored", SCORES)["hpd_rank"].notnull().all()


def test_the_state_is_tested_as_a_whole_at_the_windows_end(ensemble) -> None:
    twin, posterior = datasets(ensemble)
    assert "tarp_rank" not in evaluate(twin, posterior)
    scored = evaluate(twin, posterior, time=1)["tarp_rank"]
    xr.testing.assert_allclose(scored, tarp_rank(posterior["state"].isel(time=1), twin["state"].isel(time=1)))


def test_other_cases_are_refused(ensemble) -> None:
    twin, posterior = datasets(ensemble)
    with pytest.raises(ValueError, match="case"):
        evaluate(twin.assign_coords(case=np.arange(5) + 1), posterior)
