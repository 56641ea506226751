"""The task ``evaluate``: files in, files out, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from posterity import data, metrics
from posterity.errors import DataError
from posterity.experiment import Experiment
from posterity.experiment.dependencies import dependencies
from posterity.tasks.evaluate import evaluate

CASES, SAMPLES, TIMES, SITES, WINDOW = 6, 5, 4, 8, 2
PROVENANCE = {"experiment": "lorenz", "method": "fourdvar", "seed": 3, "device": "CPU", "peak_memory": 1.5e9}
EXPERIMENT = Experiment.model_validate(
    {
        "title": "A ring that is observed at the first half of its times",
        "system": {"kind": "linear", "options": {"size": SITES}},
        "observation": {"std": 0.5},
        "prior": {"std": 1.0},
        "window": WINDOW,
        "forecast": TIMES - WINDOW,
        "splits": {"test": {"cases": CASES}},
        "methods": {"fourdvar": {"kind": "4dvar"}},
    }
)


@pytest.fixture
def twin() -> xr.Dataset:
    """Six cases, observed at the first half of their times."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((CASES, TIMES, 1, SITES)).astype(np.float32)
    seen = ("case", "time", "obs_channel", "obs_x")
    y = np.where(np.arange(TIMES)[:, None, None] < 2, truth + 1, np.nan)
    return xr.Dataset(
        {
            "state": (("case", "time", "channel", "x"), truth, {"units": "m/s"}),
            "observation": (seen, y),
            "observation_std": (seen, np.full_like(y, 0.5)),
        },
        {
            "case": 10 + np.arange(CASES),
            "time": ("time", 0.05 * np.arange(TIMES), {"units": "model time units"}),
            "channel": ["u"],
        },
    )


@pytest.fixture
def posterior(twin) -> xr.Dataset:
    """Five draws around the truth of each case."""
    noise = np.random.default_rng(1).standard_normal((CASES, SAMPLES, TIMES, 1, SITES)).astype(np.float32)
    state = (twin["state"] + xr.DataArray(noise, dims=("case", "sample", "time", "channel", "x"))).transpose(
        "case", "sample", ...
    )
    variables = {
        "state": state.assign_attrs(units="m/s"),
        "log_likelihood": (("case", "sample"), noise[:, :, 0, 0, 0]),
        "info_seconds": ("case", np.arange(CASES) * 1.0),
        "info_objective": (("case", "iteration"), np.ones((CASES, 3))),
    }
    return xr.Dataset(variables, attrs=PROVENANCE)


@pytest.fixture
def run(tmp_path):
    """Writes both datasets, scores them and reads the scores."""

    def scored(twin: xr.Dataset, posterior: xr.Dataset, reference: xr.Dataset | None = None) -> xr.Dataset:
        paths = tmp_path / "twin.nc", tmp_path / "posterior.nc", tmp_path / "metrics.nc"
        data.write(twin, paths[0], "twin")
        data.write(posterior, paths[1], "posterior")
        held = None if reference is None else tmp_path / "reference.nc"
        if held is not None:
            data.write(reference, held, "posterior")
        evaluate(EXPERIMENT, *paths, reference=held)
        return data.read(paths[2], "metrics", data.SCORES).load()

    return scored


@pytest.mark.slow
def test_the_file_holds_the_scores_and_the_provenance(twin, posterior, run) -> None:
    found, expected = run(twin, posterior), metrics.evaluate(twin, posterior, time=WINDOW - 1)
    xr.testing.assert_allclose(found, expected, rtol=1e-5)
    assert {name: found.attrs[name] for name in PROVENANCE} == PROVENANCE
    assert found["rmse"].attrs["units"] == "m/s"
    assert found["time"].attrs["units"] == "model time units"


def test_the_file_says_what_it_depends_on_itself(twin, posterior, run) -> None:
    found = run(twin, posterior.assign_attrs(configuration="of the draws", code="of the draws"))
    depends = dependencies("evaluate", EXPERIMENT)
    assert json.loads(found.attrs["configuration"]) == depends.configuration == {"window": WINDOW, "cycles": 1}
    assert json.loads(found.attrs["code"]) == depends.modules


@pytest.mark.slow
def test_small_pieces_give_the_same(twin, posterior, run, monkeypatch) -> None:
    whole = run(twin, posterior)
    monkeypatch.setattr("posterity.data.files.DISK_CHUNK", SAMPLES * SITES)
    monkeypatch.setattr("posterity.data.files.MEMORY_CHUNK", 3 * SAMPLES * SITES)
    xr.testing.assert_allclose(run(twin, posterior), whole, rtol=1e-6)


@pytest.mark.slow
def test_cases_are_matched_by_their_numbers(twin, posterior, run) -> None:
    chosen = [4, 1, 3]
    found, whole = run(twin, posterior.isel(case=chosen)), run(twin, posterior)
    xr.testing.assert_allclose(found, whole.isel(case=chosen), rtol=1e-6)


@pytest.mark.slow
def test_times_that_a_posterior_leaves_out_are_missing(twin, posterior, run) -> None:
    found, whole = run(twin, posterior.isel(time=[1, 2])), run(twin, posterior)
    np.testing.assert_allclose(found["time"], twin["time"])
    assert found["rmse"].isel(time=[0, 3]).isnull().all()
    assert found["tarp_rank"].notnull().all()
    assert "tarp_rank" not in run(twin, posterior.isel(time=[2, 3]))
    xr.testing.assert_allclose(found.isel(time=[1, 2]), whole.isel(time=[1, 2]), rtol=1e-6)
    assert found["calibrated_log_likelihood"].notnull().all()


@pytest.mark.slow
def test_times_in_single_precision_are_the_same_times(twin, posterior, run) -> None:
    rounded = posterior.assign_coords(time=posterior["time"].astype(np.float32))
    xr.testing.assert_allclose(run(twin, rounded), run(twin, posterior))


@pytest.mark.slow
def test_observations_of_the_users_own_have_no_truth(twin, posterior, run) -> None:
    own = twin.drop_vars(["state", "time", "channel"]).isel(time=slice(2))
    found, whole = run(own, posterior), run(twin, posterior)
    assert "rmse" not in found
    xr.testing.assert_allclose(found["std"], whole["std"])
    xr.testing.assert_allclose(found["calibrated_log_likelihood"], whole["calibrated_log_likelihood"])


@pytest.mark.slow
def test_names_of_channels_need_not_agree(twin, posterior, run) -> None:
    xr.testing.assert_allclose(run(twin.assign_coords(channel=["v"]), posterior), run(twin, posterior))


def test_a_failed_case_is_missing_alone(twin, posterior, run) -> None:
    posterior["state"][2] = np.nan
    found = run(twin, posterior)
    assert found["crps"].sel(case=12).isnull().all()
    assert found["crps"].drop_sel(case=12).notnull().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda p: p.assign_coords(case=p["case"] + 4),
            r"posterior\.nc and .*twin\.nc: do not belong together: 'case' 16, 17, 18, 19 of the former are",
        ),
        (lambda p: p.assign_coords(time=p["time"] + 0.01), "'time' 0.01, .* of the former are not in the latter"),
        (lambda p: p.isel(x=slice(5)), r"posterior\.nc and .*twin\.nc: differ along 'x': 5 and 8 entries"),
        (lambda p: p.isel(case=[0, 0, 1]), r"posterior\.nc: 'case' holds labels more than once: 10, 10, 11"),
    ],
)
def test_what_does_not_belong_together_is_refused(twin, posterior, run, change, words, tmp_path) -> None:
    with pytest.raises(DataError, match=words) as raised:
        run(twin, change(posterior))
    assert str(tmp_path / "posterior.nc") in str(raised.value)
    assert not (tmp_path / "metrics.nc").exists()


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(DataError, match=r"twin\.nc: there is no such file"):
        evaluate(EXPERIMENT, tmp_path / "twin.nc", tmp_path / "posterior.nc", tmp_path / "metrics.nc")


def test_a_damaged_posterior_is_reported(twin, posterior, tmp_path) -> None:
    paths = tmp_path / "twin.nc", tmp_path / "posterior.nc", tmp_path / "metrics.nc"
    many = xr.concat(
        [posterior.assign_coords(sample=SAMPLES * i + np.arange(SAMPLES)) for i in range(20)],
        "sample",
        data_vars="minimal",
    )
    data.write(twin, paths[0], "twin")
    data.write(many.transpose("case", "sample", ...), paths[1], "posterior")
    content = bytearray(paths[1].read_bytes())
    middle = len(content) // 2
    content[middle - 4000 : middle + 4000] = bytes(8000)
    Path(paths[1]).write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        evaluate(EXPERIMENT, *paths)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["posterior.nc", "twin.nc"]


@pytest.fixture
def reference(posterior) -> xr.Dataset:
    """Two runs of twenty draws each, good in all cases but three: two that are poor, and one of unknown quality."""
    rng = np.random.default_rng(2)
    centre = posterior["state"].mean("sample")
    noise = rng.standard_normal((CASES, 40, TIMES, 1, SITES)).astype(np.float32)
    state = (centre + xr.DataArray(noise, dims=("case", "sample", "time", "channel", "x"))).transpose(
        "case", "sample", ...
    )
    variables = {
        "state": state,
        "run": ("sample", np.arange(40) // 20),
        "info_gap": ("case", np.array([0.1, 0.4, 0.2, 0.1, 0.0, 0.3])),
        "info_rhat": ("case", np.array([1.0, 1.2, 1.01, 1.06, 1.0, np.nan])),
    }
    return xr.Dataset(variables)


@pytest.mark.slow
def test_distances_to_a_reference_are_in_the_file(twin, posterior, reference, run) -> None:
    found = run(twin, posterior, reference)
    expected = metrics.evaluate(twin, posterior, reference, time=WINDOW - 1)
    assert {"mean_error", "c2st", "mmd_floor", "reference_gap"} <= set(found.data_vars)
    xr.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.slow
def test_a_reference_may_have_more_cases_and_times(twin, posterior, reference, run) -> None:
    part = posterior.isel(case=[4, 1], time=[1, 2, 3])
    found, whole = run(twin, part, reference), run(twin, posterior, reference)
    assert found["mean_error"].isel(time=0).isnull().all()
    assert found["energy_distance"].notnull().all()
    # Without their first state draws are no whole trajectories.
    trajectories = ["trajectory_wasserstein", "trajectory_wasserstein_floor"]
    assert not set(trajectories) & set(found)
    whole = whole.drop_vars(trajectories).isel(case=[4, 1], time=slice(1, None))
    xr.testing.assert_allclose(found.isel(time=slice(1, None)), whole, rtol=1e-4)


@pytest.mark.slow
def test_without_the_end_of_the_window_there_are_no_joint_distances(twin, posterior, reference, run) -> None:
    found = run(twin, posterior.isel(time=[0, 3]), reference)
    assert "energy_distance" not in found
    assert found["mean_error"].isel(time=[0, 3]).notnull().all()


@pytest.mark.slow
def test_a_poor_reference_is_reported(twin, posterior, reference, run, caplog) -> None:
    run(twin, posterior, reference)
    assert "reference.nc: is too poor to judge methods by in 3 of 6 cases" in caplog.text
    caplog.clear()
    run(twin, posterior.isel(case=[0, 2, 4]), reference)
    assert not caplog.text
    # A gap that is not known is not small.
    run(twin, posterior.isel(case=[0, 2, 4]), reference.assign(info_gap=reference["info_gap"] * np.nan))
    assert "in 3 of 3 cases" in caplog.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.isel(case=slice(3)), "'case' 13, 14, 15 of the former are not in the latter"),
        (lambda r: r.isel(time=slice(3)), "'time' 0.15 of the former is not in the latter"),
        (lambda r: r.isel(x=slice(5)), "differ along 'x': 8 and 5 entries"),
        (
            lambda r: r.assign(theta=(("case", "sample", "parameter"), np.ones((CASES, 40, 1))), parameter=["b"]),
            "differ in their parameters, F and b",
        ),
    ],
)
def test_a_reference_of_something_else_is_refused(twin, posterior, reference, run, change, words, tmp_path) -> None:
    theta = np.ones((CASES, SAMPLES, 1))
    posterior = posterior.assign(theta=(("case", "sample", "parameter"), theta)).assign_coords(parameter=["F"])
    with pytest.raises(DataError, match=words) as raised:
        run(twin, posterior, change(reference))
    assert f"{tmp_path / 'posterior.nc'} and {tmp_path / 'reference.nc'}" in str(raised.value)


@pytest.mark.slow
def test_parameters_are_scored(twin, posterior, run) -> None:
    rng = np.random.default_rng(3)
    names = {"parameter": ["F", "b"]}
    truth = twin.assign(theta=(("case", "parameter"), rng.standard_normal((CASES, 2)))).assign_coords(names)
    draws = posterior.assign(theta=(("case", "sample", "parameter"), rng.standard_normal((CASES, SAMPLES, 2))))
    found = run(truth, draws.assign_coords(names))
    assert list(found["parameter"].values) == ["F", "b"]
    np.testing.assert_allclose(found["parameter_error"], abs(draws["theta"].mean("sample") - truth["theta"]), rtol=1e-5)
    assert found["parameter_coverage"].dims == ("case", "parameter", "level")


def test_own_observations_scored_by_a_filter_keep_the_times_of_the_twin(twin, posterior, run) -> None:
    own = twin.drop_vars(["state", "channel"])
    found = run(own, posterior.isel(time=[2, 3]))
    np.testing.assert_allclose(found["time"], twin["time"])
    assert found["spread"].isel(time=[0, 1]).isnull().all()
    assert found["spread"].isel(time=[2, 3]).notnull().all()
