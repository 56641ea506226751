"""A posterior against a reference: what is there, laziness, floors."""

import numpy as np
import pytest
import xarray as xr

from posterity.data import SCORES, check
from posterity.metrics import evaluate

TIMED = {"mean_error", "std_error", "covariance_error", "sliced_wasserstein"}
TOTAL = {"energy_distance", "mmd", "c2st"}


def posterior(
    seed: int, samples: int, cases: int = 4, runs: int = 0, shift: float = 0.0, theta: bool = False
) -> xr.Dataset:
    """Gaussian draws on a grid of two dimensions; those of all runs but the first are moved."""
    rng = np.random.default_rng(seed)
    found = xr.Dataset(
        {"state": (("case", "sample", "time", "channel", "y", "x"), rng.standard_normal((cases, samples, 3, 1, 2, 3)))},
        {"case": np.arange(cases), "time": 0.1 * np.arange(3)},
    )
    if theta:
        found["theta"] = (("case", "sample", "parameter"), rng.standard_normal((cases, samples, 2)))
        found = found.assign_coords(parameter=["F", "b"])
    if runs:
        found["run"] = ("sample", np.arange(samples) * runs // samples)
        found["info_gap"] = ("case", 0.1 * np.arange(cases))
        found["state"] = found["state"] + shift * (found["run"] > 0)
        found["state"] = found["state"].transpose("case", "sample", ...)
    return found


@pytest.fixture
def twin() -> xr.Dataset:
    seen = ("case", "time", "obs_channel", "obs_y", "obs_x")
    y = np.zeros((4, 3, 1, 2, 3))
    return xr.Dataset({"observation": (seen, y), "observation_std": (seen, y + 1)}, {"case": np.arange(4)})


def test_distances_stand_beside_the_scores(twin) -> None:
    found = check(evaluate(twin, posterior(0, 40), posterior(1, 60, runs=2), time=1), "metrics", "scored", SCORES)
    assert {*TIMED, *TOTAL, "c2st_std", "reference_gap"} <= set(found.data_vars)
    assert {f"{name}_floor" for name in TIMED | TOTAL} <= set(found.data_vars)
    np.testing.assert_allclose(found["reference_gap"], 0.1 * np.arange(4))
    assert found["mean_error"].attrs["units"] == found["mean_error_floor"].attrs["units"]
    assert found["sliced_wasserstein"].dims == ("case", "time")
    assert abs(float(found["c2st"].mean()) - 0.5) < 4 * float(found["c2st_std"].mean()) / 2


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [{"case": 1}, {"case": 3, "time": 1}, {"case": 2, "sample": 7, "x": 2}])
def test_lazy_is_in_memory(twin, chunks) -> None:
    parts = posterior(0, 40, theta=True), posterior(1, 60, runs=2, theta=True)
    lazy = evaluate(twin.chunk(case=2), parts[0].chunk(chunks), parts[1].chunk(case=2), time=2)
    assert all(lazy[name].chunks is not None for name in lazy if name not in ("samples", "reference_gap"))
    xr.testing.assert_allclose(lazy.compute(), evaluate(twin, *parts, time=2), rtol=1e-10)


def test_each_chunk_of_both_is_read_once(twin) -> None:
    reads = []

    def count(block: np.ndarray) -> np.ndarray:
        reads.append(block.shape)
        return block

    parts = [posterior(0, 40), posterior(1, 60, runs=2)]
    for part in parts:
        chunks = part["state"].chunk(case=1, time=1).data
        part["state"] = (part["state"].dims, chunks.map_blocks(count, meta=chunks._meta))
    evaluate(twin, *parts, time=2).compute()
    assert sorted(reads) == [(1, 40, 1, 1, 2, 3)] * 12 + [(1, 60, 1, 1, 2, 3)] * 12


def test_joint_vectors_are_those_of_one_time_with_the_parameters(twin) -> None:
    one, other = posterior(0, 100, theta=True), posterior(1, 100, theta=True)
    one["state"][:, :, 0] += 5
    at = [evaluate(twin, one, other, time=time)["c2st"].mean() for time in (0, 1)]
    assert at[0] > 0.95
    assert at[1] < 0.6
    one["theta"] = one["theta"] + 5
    assert float(evaluate(twin, one, other, time=1)["c2st"].mean()) > 0.95
    # A method without parameters is compared by its states alone.
    assert float(evaluate(twin, one.drop_vars("theta"), other, time=1)["c2st"].mean()) < 0.6


def test_parameters_have_distances_of_their_own(twin) -> None:
    """Two sets of the same draws, of which one is moved by three standard deviations and the other twice as wide."""
    other = posterior(0, 400, theta=True, runs=4)
    theta = np.random.default_rng(2).standard_normal((4, 400, 1)).repeat(2, axis=-1)
    theta = (theta - theta.mean(axis=1, keepdims=True)) / theta.std(axis=1, ddof=1, keepdims=True)
    other["theta"] = (other["theta"].dims, theta * [1.0, 5.0] + 7)
    one = posterior(0, 400, theta=True).assign(theta=other["theta"] * [1.0, 2.0] + [3.0, -7.0])
    found = check(evaluate(twin, one, other), "metrics", "scored", SCORES)
    np.testing.assert_allclose(found["parameter_mean_gap"], [[3.0, 0.0]] * 4, atol=1e-12)
    np.testing.assert_allclose(found["parameter_std_gap"], [[0.0, 1.0]] * 4, atol=1e-12)
    # Of a set of draws and its double it is the mean size of a draw.
    size = abs(theta[..., 0]).mean(axis=1)
    np.testing.assert_allclose(found["parameter_wasserstein"], np.stack((np.full(4, 3.0), size), axis=1))
    assert (found["parameter_mean_gap_floor"] < 0.5).all()
    assert not any("parameter" in str(name) for name in evaluate(twin, one.drop_vars("theta"), other))


def test_without_the_time_there_are_no_joint_distances(twin) -> None:
    found = evaluate(twin, posterior(0, 40), posterior(1, 60, runs=2))
    assert set(found.data_vars) >= TIMED
    assert not TOTAL & set(found.data_vars)


def test_trajectories_are_compared_if_draws_have_all_times(twin) -> None:
    own, reference = posterior(0, 40), posterior(1, 60, runs=2)
    names = {"trajectory_wasserstein", "trajectory_wasserstein_floor"}
    assert names <= set(evaluate(twin, own, reference, time=2))
    last = evaluate(twin, own.isel(time=[2]), reference.isel(time=[2]), time=0)
    assert not names & set(last)


def test_runs_that_disagree_raise_the_floor(twin) -> None:
    agree, differ = (
        evaluate(twin, posterior(0, 100), posterior(1, 400, runs=4, shift=shift), time=2).mean() for shift in (0.0, 1.0)
    )
    # Of as many independent draws as the method has, and the other half of the reference: √(1/100 + 1/200).
    np.testing.assert_allclose(agree["mean_error_floor"], 0.015**0.5, rtol=0.15)
    for name in ("mean_error_floor", "sliced_wasserstein_floor", "energy_distance_floor", "mmd_floor"):
        assert float(differ[name]) > 2 * abs(float(agree[name])), name
    assert float(differ["c2st_floor"]) > 0.6 > float(agree["c2st_floor"])


@pytest.mark.parametrize("runs", [0, 1])
def test_one_run_has_no_floor(twin, runs) -> None:
    found = evaluate(twin, posterior(0, 40), posterior(1, 60, runs=runs), time=1)
    assert "c2st" in found
    assert not any(str(name).endswith("_floor") for name in found)


def test_a_single_draw_has_a_mean_and_no_covariance(twin) -> None:
    found = evaluate(twin, posterior(0, 1), posterior(1, 60), time=1)
    for name in ("mean_error", "sliced_wasserstein"):
        assert found[name].notnull().all(), name
    for name in ("std_error", "covariance_error", *TOTAL):
        assert found[name].isnull().all(), name
