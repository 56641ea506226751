"""Observations of others through all tasks: draws, scores and figures with times and places as they came."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from posterity import data
from posterity.data.times import Clock
from posterity.errors import ConfigError, DataError, PosterityError
from posterity.experiment import Experiment
from posterity.tasks.aggregate import aggregate
from posterity.tasks.assimilate import assimilate
from posterity.tasks.evaluate import evaluate
from posterity.tasks.plot import plot
from posterity.tasks.reference import reference
from posterity.tasks.simulate import simulate

SEEN = ("case", "time", "obs_channel", "obs_x")
START = ("case", "channel", "x")
DATES = pd.date_range("2021-03-05", periods=4, freq="6h")
METHODS = {"exact": {"kind": "exact"}, "etkf": {"kind": "etkf", "options": {"members": 20}}}


def own(times: int = 4, **coords: object) -> xr.Dataset:
    """Three cases of a ring of six sites, in double precision, with variables and attributes of the user's own."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal((3, times, 1, 6))
    y[rng.random(y.shape) < 0.3] = np.nan
    background = rng.standard_normal((3, 1, 6))
    return xr.Dataset(
        {
            "observation": (SEEN, y, {"units": "m/s"}),
            "observation_std": (SEEN, np.full(y.shape, 0.5)),
            "background": (START, background),
            "background_std": (START, np.full(background.shape, 0.8)),
            "quality": ("time", np.arange(times)),
            "instrument": ((), "buoy"),
        },
        coords,
        {"configuration": "ocean model, version 2", "institution": "ours"},
    )


PLACES = {
    "lon": ("obs_x", 60.0 * np.arange(6), {"units": "degrees_east"}),
    "station": ("obs_x", [f"ST{n}" for n in range(6)]),
    "x": ("x", 60.0 * np.arange(6), {"units": "degrees_east", "long_name": "longitude"}),
}


@pytest.fixture
def settings(experiment) -> Callable[..., Experiment]:
    """The experiment with an exact posterior and a filter."""

    def loaded(**changes: object) -> Experiment:
        return experiment(**{"methods": METHODS, "samples": 20, **changes})

    return loaded


@pytest.fixture
def chain(tmp_path) -> Callable[..., xr.Dataset]:
    """Draws, scores and joins the methods of an experiment; returns the joined scores."""

    def run(settings: Experiment, twin: xr.Dataset | Path) -> xr.Dataset:
        path = twin if isinstance(twin, Path) else tmp_path / "my.nc"
        if isinstance(twin, xr.Dataset):
            twin.to_netcdf(path)
        for method in settings.methods:
            assimilate(settings, method, path, tmp_path / f"p-{method}.nc")
            evaluate(settings, path, tmp_path / f"p-{method}.nc", tmp_path / f"m-{method}.nc")
        scores = [tmp_path / f"m-{method}.nc" for method in settings.methods]
        aggregate(settings, scores, tmp_path / "all.nc", tmp_path / "table.csv")
        return data.read(tmp_path / "all.nc", "comparison", data.SCORES).load()

    return run


def draw(settings: Experiment, folder: Path, figure: str, monkeypatch: pytest.MonkeyPatch):
    """Draws a figure of own observations; returns it as matplotlib has it."""
    drawn = []
    monkeypatch.setattr("posterity.tasks.plot.save", lambda made, *_: drawn.append(made))
    posteriors = [folder / f"p-{method}.nc" for method in settings.methods]
    plot(settings, figure, folder / "my.nc", folder / "all.nc", posteriors, folder / "figure.svg")
    return drawn[0]


@pytest.mark.slow
def test_times_and_places_go_through_draws_scores_and_figures(settings, chain, tmp_path, monkeypatch) -> None:
    plain, joined = chain(settings(), own()), chain(settings(), own(time=DATES, **PLACES))
    # The same scores, whatever the times are called: 20 draws are those of the seed.
    for name in ("mean", "std", "log_likelihood", "calibrated_log_likelihood"):
        np.testing.assert_array_equal(joined[name], plain[name])
    dates = xr.decode_cf(joined)["time"].values
    assert list(pd.DatetimeIndex(dates).round("s")) == list(pd.date_range(DATES[0], periods=6, freq="6h"))
    for file in ("p-exact.nc", "p-etkf.nc", "all.nc"):
        with xr.open_dataset(tmp_path / file) as found:
            for name, (dims, values, *attributes) in PLACES.items():
                assert found[name].dims == (dims,)
                assert list(found[name].values) == list(values)
                assert {**found[name].attrs, **(attributes[0] if attributes else {})} == found[name].attrs
            assert set(found["time"].values) <= set(dates)
    figure = draw(settings(), tmp_path, "trajectories", monkeypatch)
    axes = figure.axes[0]
    assert figure.axes[-1].get_xlabel() == "time (hours since 2021-03-05)"
    lines = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 6]
    assert lines
    assert all(list(times) == [0, 6, 12, 18, 24, 30] for times in lines)
    # The window ends at the fourth state; observations are of the state, and so no row of their own.
    assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"] == [18]
    assert len(figure.axes) == 2 * 3


@pytest.mark.slow
def test_every_figure_over_time_takes_seconds_since_an_epoch(settings, chain, tmp_path, monkeypatch) -> None:
    late = ("time", 1.6e9 + 0.5 * np.arange(4), {"units": "seconds since 1970-01-01"})
    chain(settings(), own(time=late))
    for figure in ("trajectories", "hovmoller", "scores", "data", "covariance"):
        made = draw(settings(), tmp_path, figure, monkeypatch)
        made.canvas.draw()
        labels = {axes.get_xlabel() for axes in made.axes}
        assert figure == "covariance" or "time (seconds since 2020-09-13 12:26:40)" in labels


@pytest.mark.slow
def test_order_gaps_and_several_reports_leave_the_posterior_that_of_the_steps(settings, chain, tmp_path) -> None:
    """A report split into two of twice the variance, in any order, with a missing time: the same posterior."""
    twin = own(time=DATES)
    twin["observation"][:, 2] = np.nan
    half = twin.assign(observation_std=twin["observation_std"] * 2**0.5)
    early, late = (half.assign_coords(time=half["time"] + pd.Timedelta(minutes=m)) for m in (0, 30))
    late["observation"] = late["observation"] + 0.2
    early["observation"] = early["observation"] - 0.2
    parts = [part.isel(time=[3, 0, 1]) for part in (late, early)]
    several = xr.concat(parts, dim="time", data_vars="minimal")
    study = settings(time_unit="12 hours")  # dt is 0.5
    whole, split = chain(study, twin), chain(study, several)
    for name in ("mean", "std"):
        np.testing.assert_allclose(split[name], whole[name], atol=1e-5)
    assert list(xr.decode_cf(split)["time"].values) == list(xr.decode_cf(whole)["time"].values)


def test_a_truth_that_ends_with_the_window_scores_the_window(settings, tmp_path) -> None:
    study = settings(methods={"prior": {"kind": "prior"}})
    simulate(study, "test", 0, tmp_path / "twin.nc")
    whole = xr.open_dataset(tmp_path / "twin.nc").load()
    whole.isel(time=slice(4)).to_netcdf(tmp_path / "short.nc")
    scores = []
    for name in ("twin.nc", "short.nc"):
        assimilate(study, "prior", tmp_path / name, tmp_path / "p.nc")
        evaluate(study, tmp_path / name, tmp_path / "p.nc", tmp_path / f"m-{name}")
        scores.append(data.read(tmp_path / f"m-{name}", "metrics", data.SCORES).load())
    known, behind = {"time": slice(4)}, {"time": slice(4, None)}
    for name in ("rmse", "crps", "coverage", "rank_histogram", "tarp_rank"):
        one, two = (found[name].isel(known, missing_dims="ignore") for found in scores)
        np.testing.assert_allclose(two, one, rtol=1e-6)
    for name in ("rmse", "crps", "coverage"):
        assert scores[1][name].isel(behind).isnull().all()


@pytest.mark.slow
@pytest.mark.parametrize("times", [8, 12])
def test_a_record_is_as_long_as_its_file(settings, chain, times) -> None:
    study = settings(forecast=0, methods={"etkf": METHODS["etkf"]})
    joined = chain(study, own(times))
    assert joined.sizes["time"] == times
    told = chain(settings(forecast=0, methods={"etkf": METHODS["etkf"]}, cycles=times // 4), own(times))
    np.testing.assert_array_equal(joined["mean"], told["mean"])


def test_what_sees_one_window_refuses_a_record(settings, tmp_path) -> None:
    own(8).to_netcdf(tmp_path / "my.nc")
    study = settings(forecast=0, reference={"kind": "exact"})
    with pytest.raises(DataError, match=r"my\.nc: has 8 times, and reference sees one window of 4 states; cut"):
        reference(study, tmp_path / "my.nc", tmp_path / "r.nc")
    cycling = settings(forecast=0, cycles=5, burn_in=3)
    with pytest.raises(ConfigError, match="burn_in: leaves nothing of a record of 2 windows; make it smaller than 2"):
        assimilate(cycling, "etkf", tmp_path / "my.nc", tmp_path / "p.nc")


def test_marks_of_missing_values_are_warned_of(settings, tmp_path, caplog) -> None:
    twin = own()
    missing = int(twin["observation"].isnull().sum())
    twin.fillna({"observation": -999.0}).to_netcdf(tmp_path / "my.nc")
    with caplog.at_level(logging.WARNING, "posterity"):
        assimilate(settings(), "etkf", tmp_path / "my.nc", tmp_path / "p.nc")
    assert f"'observation' is -999 at {missing} places, where the prior gives" in caplog.text
    caplog.clear()
    own().to_netcdf(tmp_path / "my.nc")
    assimilate(settings(), "etkf", tmp_path / "my.nc", tmp_path / "p.nc")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_bad_files_are_refused_by_name(settings, tmp_path) -> None:
    def message(twin: xr.Dataset, **changes: object) -> str:
        """The message of the refusal."""
        twin.to_netcdf(tmp_path / "my.nc")
        with pytest.raises(DataError) as raised:
            assimilate(settings(**changes), "etkf", tmp_path / "my.nc", tmp_path / "p.nc")
        assert not (tmp_path / "p.nc").exists()
        return str(raised.value)

    nothing = own()
    nothing["observation"][:] = np.nan
    assert "'observation' holds no value, NaN alone" in message(nothing)
    assert "'case' holds labels more than once" in message(own(case=["a", "b", "a"]))
    damped = {"damping": {"kind": "uniform", "options": {"low": 0.0, "high": 0.2}}}
    other = own(6).assign(
        state=(("case", "time", "channel", "x"), np.zeros((3, 6, 1, 6))),
        theta=(("case", "parameter"), np.zeros((3, 1))),
    )
    said = message(other.assign_coords(parameter=["forcing"]), parameters=damped)
    assert "'theta' holds the parameters forcing; those of the experiment are damping" in said


def test_a_case_without_a_draw_is_named(settings, tmp_path, caplog) -> None:
    wild = {"damping": {"kind": "uniform", "options": {"low": -1e300, "high": -1e299}}}
    study = settings(parameters=wild, methods={"prior": {"kind": "prior"}})
    own().to_netcdf(tmp_path / "my.nc")
    with caplog.at_level(logging.WARNING, "posterity"):
        assimilate(study, "prior", tmp_path / "my.nc", tmp_path / "p.nc")
    assert "methods.prior: all draws of 3 of 3 cases failed: these are NaN" in caplog.text
    assert "replaced" not in caplog.text


def test_a_case_without_a_background_costs_that_case_only(settings, chain, tmp_path, caplog) -> None:
    """The other cases have what they have alone, and filters give it its own prior."""
    study, whole = settings(methods=METHODS | {"4dvar": {"kind": "4dvar"}}), own()
    chain(study, whole)
    alone = {m: data.read(tmp_path / f"p-{m}.nc", "posterior")["state"].load() for m in study.methods}
    for name in ("background", "background_std"):
        whole[name][1] = np.nan
    scores = chain(study, whole)
    for method, before in alone.items():
        found = data.read(tmp_path / f"p-{method}.nc", "posterior")["state"].load()
        np.testing.assert_allclose(found[::2], before[::2], rtol=1e-5, atol=1e-5)
        assert bool(found[1].isnull().all()) == (method != "etkf")
    assert "methods.4dvar: 1 of 3 cases have no background" in caplog.text
    known = scores["spread"].sel({"method": "4dvar"}).notnull()
    assert known.all("time").values.tolist() == [True, False, True]
    whole["background"][2, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"'background' is not finite at index \(2, 0, 0\); fill it in, or give"):
        chain(study, whole)


def test_a_method_of_one_draw_has_its_cases(settings, chain, tmp_path) -> None:
    chain(settings(samples=1, methods={"prior": {"kind": "prior"}}), own())
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table["cases"]) == [3]


@pytest.mark.slow
def test_figures_are_written_in_the_format_asked_for(settings, chain, tmp_path, caplog) -> None:
    study = settings(methods={"etkf": METHODS["etkf"]})
    chain(study, own())

    def drawn(name: str) -> set[str]:
        """The files that a figure leaves."""
        plot(study, "scores", tmp_path / "my.nc", tmp_path / "all.nc", [], tmp_path / name)
        return {path.name for path in tmp_path.glob(f"{Path(name).stem}.*")}

    with caplog.at_level(logging.INFO, "posterity"):
        assert drawn("a.pdf") == {"a.pdf"}
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert drawn("b.svg") == drawn("b.png") == drawn("b") == {"b.svg", "b.png"}
    assert "a.pdf: written" in caplog.text
    with pytest.raises(PosterityError, match=r"c\.docx: figures are written as \.svg, \.png, \.pdf; give a path"):
        drawn("c.docx")


@pytest.mark.slow
def test_every_variable_of_every_file_is_described(settings, chain, tmp_path) -> None:
    study = settings(reference={"kind": "exact", "samples": 20}, splits={"train": {"cases": 2}, "test": {"cases": 3}})
    simulate(study, "train", 0, tmp_path / "train.nc")
    simulate(study, "test", 0, tmp_path / "twin.nc")
    reference(study, tmp_path / "twin.nc", tmp_path / "reference.nc")
    chain(study, tmp_path / "twin.nc")
    held = [tmp_path / name for name in ("twin.nc", "p-exact.nc", "held.nc", "reference.nc")]
    evaluate(study, *held)
    files = sorted(tmp_path.glob("*.nc"))
    assert len(files) == 9
    for path in files:
        with xr.open_dataset(path, decode_times=False) as found:
            assert {"Conventions", "title", "history", "configuration", "code"} <= set(found.attrs), path.name
            assert "{" not in found.attrs["title"]
            for name, variable in found.variables.items():
                assert variable.attrs.get("long_name"), f"{path.name}: {name}"
                assert variable.dtype.kind in "OSU" or variable.attrs.get("units"), f"{path.name}: {name}"
            clock = Clock.of(found)
            assert clock is not None
            assert clock.states == 6
    with xr.open_dataset(tmp_path / "all.nc", decode_times=False) as joined:
        assert '"kind": "linear"' in joined.attrs["experiment_configuration"]
