"""The task ``assimilate``: on users' own observations, and on input that is not what it should be."""

import logging

import numpy as np
import pytest
import torch
import xarray as xr

from posterity import data
from posterity.data.tensors import window_of
from posterity.errors import ConfigError, DataError
from posterity.inference.experiments import build_problem
from posterity.problems import exact_posterior
from posterity.tasks.assimilate import assimilate
from posterity.tasks.evaluate import evaluate

OBSERVED = ("case", "time", "obs_channel", "obs_x")


def own(cases: int = 7, times: int = 4) -> xr.Dataset:
    """A user's own observations: no truth, no names of cases, times or sites, any pattern of what is missing."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal((cases, times, 1, 6))
    y[rng.random(y.shape) < 0.6] = np.nan
    y[1] = np.where(np.arange(6) == 2, y[1], np.nan)
    y[2] = rng.standard_normal(y[2].shape)
    std = rng.uniform(0.3, 2.0, y.shape)
    std[np.isnan(y)] = np.nan
    background = rng.standard_normal((cases, 1, 6))
    return xr.Dataset(
        {
            "observation": (OBSERVED, y),
            "observation_std": (OBSERVED, std),
            "background": (("case", "channel", "x"), background),
            "background_std": (("case", "channel", "x"), rng.uniform(0.5, 1.5, background.shape)),
        }
    )


@pytest.fixture
def draw(experiment, tmp_path):
    """Assimilates a dataset; returns the posterior."""

    def drawn(twin: xr.Dataset, method: str = "4dvar", samples: int = 2000) -> xr.Dataset:
        twin.to_netcdf(tmp_path / "my.nc")
        assimilate(experiment(), method, tmp_path / "my.nc", tmp_path / "posterior.nc", samples)
        with data.read(tmp_path / "posterior.nc", "posterior") as dataset:
            return dataset.load()

    return drawn


@pytest.mark.slow
@pytest.mark.parametrize("times", [4, 6])
def test_own_observations_give_the_exact_posterior(draw, experiment, times) -> None:
    twin = own(times=times)
    posterior = draw(twin)
    assert posterior["state"].dims == ("case", "sample", "time", "channel", "x")
    assert posterior["state"].shape == (7, 2000, 6, 1, 6)
    problem = build_problem(experiment())
    exact = exact_posterior(problem, window_of(twin, problem, "my.nc"))
    std = exact.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    mean = torch.as_tensor(posterior["state"].mean("sample").to_numpy()).squeeze(2).double()
    z = (mean - exact.mean) / std * 2000**0.5
    assert float(z.abs().max()) < 4.5
    assert abs(float(z[:, 0].square().mean()) - 1) < 4 * (2 / 42) ** 0.5


def test_own_names_of_cases_are_kept(draw) -> None:
    names = ["monday", "tuesday", "friday"]
    twin = own(3).assign_coords(case=names)
    assert list(draw(twin, samples=3)["case"].to_numpy()) == names


@pytest.mark.slow
def test_own_observations_are_scored_without_a_truth(draw, experiment, tmp_path) -> None:
    draw(own(), samples=5)
    evaluate(experiment(), tmp_path / "my.nc", tmp_path / "posterior.nc", tmp_path / "metrics.nc")
    with data.read(tmp_path / "metrics.nc", "metrics", data.SCORES) as metrics:
        assert "rmse" not in metrics
        assert np.isfinite(metrics["log_likelihood"]).all()


def test_the_truth_is_not_looked_at(draw) -> None:
    twin = own(times=6)
    truth = (("case", "time", "channel", "x"), np.full((7, 6, 1, 6), np.nan))
    xr.testing.assert_identical(draw(twin, samples=5)["state"], draw(twin.assign(state=truth), samples=5)["state"])


def test_a_posterior_says_what_it_cost_and_where_it_comes_from(draw) -> None:
    posterior = draw(own(), samples=5)
    attributes = posterior.attrs
    assert {"seed", "joint", "configuration", "commit", "peak_memory_mib", "device"} <= set(attributes)
    assert (attributes["experiment"], attributes["method"]) == ("study", "4dvar")
    assert attributes["wall_seconds"] == pytest.approx(float(posterior["info_seconds"].sum()), rel=1e-3)
    for name in ("seconds", "model_steps", "gradients", "failed", "cost", "iterations", "converged"):
        assert posterior[f"info_{name}"].dims == ("case",)


def test_the_log_likelihood_is_that_of_each_draw(draw) -> None:
    twin = own()
    posterior = draw(twin, samples=5)
    y, std = twin["observation"].to_numpy()[:, None], twin["observation_std"].to_numpy()[:, None]
    x = posterior["state"].to_numpy()[:, :, :4]
    terms = -0.5 * ((y - x) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(posterior["log_likelihood"], np.nansum(terms, axis=(2, 3, 4)), rtol=1e-4, atol=1e-3)


def test_without_any_observation_there_is_a_warning_and_the_prior_comes_back(draw, caplog) -> None:
    twin = own()
    twin["observation"][[1, 4]] = np.nan
    with caplog.at_level(logging.WARNING, "posterity"):
        posterior = draw(twin)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "case 1, 4 has no observation at all; its posterior is the prior"
    ]
    blind = {"case": [1, 4]}
    x = posterior["state"].isel(time=0, **blind)
    background, std = twin["background"].isel(blind), twin["background_std"].isel(blind)
    z = ((x.mean("sample") - background) / std * np.sqrt(2000)).to_numpy()
    assert np.abs(z).max() < 4
    ratio = (x.var("sample", ddof=1) / std**2).to_numpy()
    assert np.abs(ratio - 1).max() < 4.5 * np.sqrt(2 / 2000)
    # What is seen does move the others.
    x = posterior["state"].isel(time=0, case=2)
    assert float((x.var("sample") / twin["background_std"].isel(case=2) ** 2).max()) < 0.9


def put(name: str, value: float):
    """Puts a value where there is an observation."""

    def changed(twin: xr.Dataset) -> xr.Dataset:
        case, time, _, site = np.argwhere(twin["observation"].notnull().to_numpy())[0]
        place = {"case": case, "x": site} if name.startswith("background") else None
        place = place or {"case": case, "time": time, "obs_x": site}
        twin[name][{**place, ("channel" if "x" in place else "obs_channel"): 0}] = value
        return twin

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda twin: twin.drop_vars("observation"),
            r"variable 'observation' \(observations, NaN if missing\) is missing; a twin file needs observation, "
            r"observation_std, and this one has observation_std, background, background_std",
        ),
        (
            lambda twin: twin.drop_vars("observation_std"),
            r"variable 'observation_std' \(standard deviation of the observations\) is missing; a twin file needs",
        ),
        (
            lambda twin: twin.rename(obs_x="longitude"),
            r"'observation' has dimensions \(case, time, obs_channel, longitude\); it should have \(case, time, "
            r"obs_channel, \[\[obs_y,\] obs_x\]\); 'longitude' is none of these: rename it, or select along it",
        ),
        (
            lambda twin: twin.isel(obs_channel=0),
            r"'observation' has dimensions \(case, time, obs_x\); .* 'obs_channel' is missing: add it",
        ),
        (
            lambda twin: twin.isel(obs_x=slice(5)),
            "'observation' has obs_x 5; the experiment's problem has obs_x 6",
        ),
        (
            lambda twin: twin.isel(obs_x=0),
            "'observation' has time 6, obs_channel 1; the experiment's problem has 6 × 1 × 6",
        ),
        (lambda twin: twin.isel(x=0), "'background' has channel 1; the experiment's problem has 1 × 6"),
        (
            lambda twin: twin.isel(time=slice(3)),
            r"has 3 times; the experiment assimilates 4 states \(and forecasts 2 more\); cut the file, or change 'win",
        ),
        (lambda twin: twin.isel(case=slice(0)), "is empty along case"),
        (lambda twin: twin.assign(observation=twin["observation"].astype(str)), "'observation' holds .*, not numbers"),
        (put("observation", np.inf), "'observation' has infinite entries; mark missing ones as NaN"),
        (
            put("observation_std", 0.0),
            r"'observation_std' must be positive and finite wherever there is an observation; it is not at 1 entries, "
            r"first at index \(0, ",
        ),
        (put("observation_std", -1.0), "'observation_std' must be positive and finite"),
        (put("observation_std", np.nan), "'observation_std' must be positive and finite"),
        (put("observation_std", np.inf), "'observation_std' must be positive and finite"),
        (
            lambda twin: twin.drop_vars(["background", "background_std"]),
            "variable 'background' is missing; the experiment's prior is a background",
        ),
        (lambda twin: twin.drop_vars("background_std"), "has 'background' without 'background_std'"),
        (lambda twin: twin.isel(x=slice(5)), "'background' has x 5; the experiment's problem has x 6"),
        (put("background", np.nan), r"'background' is not finite at index \(0, 0, \d\)"),
        (put("background_std", 0.0), r"'background_std' must be positive and finite; it is not at index \(0, 0, \d\)"),
    ],
)
def test_a_twin_that_is_not_one_is_refused(draw, tmp_path, change, message) -> None:
    with pytest.raises(DataError, match=message) as raised:
        draw(change(own()))
    assert str(raised.value).startswith(f"{tmp_path / 'my.nc'}: ")
    assert not (tmp_path / "posterior.nc").exists()


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_truncated_twin_is_refused(experiment, tmp_path, kept) -> None:
    twin = tmp_path / "my.nc"
    own(500).to_netcdf(twin)
    content = twin.read_bytes()
    twin.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=r"my\.nc: cannot be read as NetCDF \(.*\); it may be truncated, or"):
        assimilate(experiment(), "prior", twin, tmp_path / "posterior.nc", 2)


def test_a_twin_that_there_is_not_is_refused(experiment, tmp_path) -> None:
    with pytest.raises(DataError, match=r"my\.nc: there is no such file"):
        assimilate(experiment(), "prior", tmp_path / "my.nc", tmp_path / "posterior.nc", 2)


@pytest.mark.parametrize("folder", ["/proc/nowhere", "file/below"])
def test_an_output_that_cannot_be_written_is_refused(experiment, tmp_path, monkeypatch, folder) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file, not a folder")
    own().to_netcdf("my.nc")
    output = type(tmp_path)(folder) / "posterior.nc"
    with pytest.raises(DataError, match=rf"^{output}: cannot be written \(.*\); check the folder's permissions and"):
        assimilate(experiment(), "prior", type(tmp_path)("my.nc"), output, 2)


def test_no_samples_are_refused(draw) -> None:
    with pytest.raises(ConfigError, match="--samples: at least one is needed, not 0"):
        draw(own(), samples=0)


def test_a_method_that_refuses_is_named(experiment, tmp_path) -> None:
    own().to_netcdf(tmp_path / "my.nc")
    study = experiment(methods={"rejection": {"kind": "abc", "options": {"trials": 100, "fraction": 0.1}}})
    with pytest.raises(ConfigError, match=r"methods\.rejection: samples: 20 asked of the 10 that ABC keeps"):
        assimilate(study, "rejection", tmp_path / "my.nc", tmp_path / "posterior.nc")
