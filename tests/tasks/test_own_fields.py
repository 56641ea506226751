"""Fields of others through all tasks: a grid that is not square, of odd size, masked, without a truth."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from posterity import data
from posterity.errors import DataError, PosterityError
from posterity.tasks.aggregate import aggregate
from posterity.tasks.assimilate import assimilate
from posterity.tasks.evaluate import evaluate
from posterity.tasks.plot import plot

GRID = (6, 5)
SEEN, START = ("case", "time", "obs_channel", "obs_y", "obs_x"), ("case", "channel", "y", "x")
METHODS = {
    "exact": {"kind": "exact"},
    "4dvar": {"kind": "4dvar"},
    "letkf": {"kind": "letkf", "options": {"members": 100, "radius": 2.0}},
    "climatology": {"kind": "climatology"},
}


@pytest.fixture
def settings(experiment):
    """Advection of a scalar on that grid, in two axes at different speeds."""
    system = {"kind": "linear", "options": {"size": GRID, "speed": [1.0, 0.5]}}
    return experiment(system=system, observation={"std": 0.5}, methods=METHODS, samples=100)


def own(seed: int = 0) -> xr.Dataset:
    """Two cases of a field that is seen where a mask lets it be, with places of the user's own."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((2, 4, 1, *GRID))
    y[rng.random(y.shape) < 0.5] = np.nan
    y[:, 1] = np.nan
    background = rng.standard_normal((2, 1, *GRID))
    return xr.Dataset(
        {
            "observation": (SEEN, y),
            "observation_std": (SEEN, np.full(y.shape, 0.5)),
            "background": (START, background),
            "background_std": (START, np.full(background.shape, 0.8)),
        },
        {"y": ("y", np.linspace(40, 45, 6), {"units": "degrees_north"}), "x": ("x", np.linspace(0, 8, 5))},
    )


def saved(dataset: xr.Dataset, path: Path) -> Path:
    """A file of the dataset."""
    dataset.to_netcdf(path)
    return path


def test_a_masked_field_without_a_truth_is_assimilated_scored_and_drawn(settings, tmp_path) -> None:
    twin = saved(own(), tmp_path / "own.nc")
    draws = {name: tmp_path / f"{name}.nc" for name in METHODS}
    for name, path in draws.items():
        assimilate(settings, name, twin, path)
    with data.read(draws["exact"], "posterior") as exact, data.read(draws["4dvar"], "posterior") as other:
        assert exact["state"].dims == ("case", "sample", "time", "channel", "y", "x")
        np.testing.assert_allclose(exact["y"], own()["y"])
        # Both are exact for a linear problem: their means differ by the errors of 100 draws each, in sixty directions.
        error = (exact["state"].mean("sample") - other["state"].mean("sample")) / exact["state"].std("sample")
        assert abs(float((error**2).mean()) / (2 / 100) - 1) < 4 * (2 / 60) ** 0.5
    scores = []
    for name, path in draws.items():
        scores.append(tmp_path / f"m-{name}.nc")
        evaluate(settings, twin, path, scores[-1])
    aggregate(settings, scores, tmp_path / "all.nc", tmp_path / "all.csv")
    for figure in ("data", "table"):
        plot(settings, figure, twin, tmp_path / "all.nc", list(draws.values()), tmp_path / f"{figure}.svg")
        assert (tmp_path / f"{figure}.svg").stat().st_size > 1000
    # Figures of draws need no scores, and the others say that they do.
    plot(settings, "trajectories", twin, None, list(draws.values()), tmp_path / "trajectories.svg")
    assert (tmp_path / "trajectories.svg").stat().st_size > 1000
    with pytest.raises(PosterityError, match="figure 'table': draws scores; give --metrics FILE"):
        plot(settings, "table", twin, None, list(draws.values()), tmp_path / "none.svg")


def test_dimensions_may_be_turned(settings, tmp_path) -> None:
    straight, turned = tmp_path / "a.nc", tmp_path / "b.nc"
    assimilate(settings, "letkf", saved(own(), tmp_path / "own.nc"), straight)
    changed = own().transpose("case", "x", "channel", "y", "time", "obs_channel", "obs_x", "obs_y")
    assimilate(settings, "letkf", saved(changed, tmp_path / "turned.nc"), turned)
    with data.read(straight, "posterior") as one, data.read(turned, "posterior") as other:
        np.testing.assert_array_equal(one["state"], other["state"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.isel(obs_x=slice(4)), r"own.nc: 'observation' has obs_x 4; .* has obs_x 5; make them equal"),
        (lambda d: d.isel(y=slice(5)), r"own.nc: 'background' has y 5; .* has y 6; make them equal"),
        (lambda d: d.isel(obs_y=0), r"own.nc: 'observation' has"),
        (
            lambda d: d.rename(obs_y="lat", obs_x="lon"),
            r"'lat', 'lon' are none of these: rename it, or select along it",
        ),
        (lambda d: d.assign(observation=np.nan * d["observation"]), r"own.nc: .*observation"),
        (lambda d: d.assign(observation_std=-d["observation_std"]), r"'observation_std' must be positive"),
        (
            lambda d: d.assign_coords(y=d["y"].values[::-1]),
            r"own.nc: 'y' decreases, and the model's grid increases along it; turn states and observations round",
        ),
        (
            lambda d: d.assign_coords(obs_x=("obs_x", [0.0, 1.0, 2.0, 3.0, 5.0])),
            r"own.nc: 'obs_x' has gaps of 1 to 2, and the model's grid is even; interpolate to an even grid, or drop",
        ),
    ],
)
def test_a_grid_that_does_not_fit_is_told(settings, tmp_path, change, message) -> None:
    twin = saved(change(own()), tmp_path / "own.nc")
    with pytest.raises(DataError, match=message):
        assimilate(settings, "letkf", twin, tmp_path / "out.nc")
    assert not (tmp_path / "out.nc").exists()


@pytest.mark.parametrize("dim", ["channel", "obs_channel"])
def test_channels_in_another_order_are_told(experiment, tmp_path, dim) -> None:
    """Else what the file calls u would be v."""
    system = {"kind": "linear", "options": {"size": GRID, "names": ["u", "v"]}}
    settings = experiment(system=system, observation={"std": 0.5}, methods={"letkf": {"kind": "letkf"}})
    both = xr.concat([own().isel(channel=0, obs_channel=0)] * 2, "channel")
    both["observation"] = both["observation"].rename(channel="obs_channel").transpose(*SEEN)
    both["observation_std"] = both["observation_std"].rename(channel="obs_channel").transpose(*SEEN)
    fine = saved(both.assign_coords({dim: ["u", "v"]}), tmp_path / "fine.nc")
    assimilate(settings, "letkf", fine, tmp_path / "out.nc", 2)
    with pytest.raises(DataError, match=rf"own.nc: '{dim}' is v, u, and the model takes them as u, v; put them in"):
        assimilate(
            settings, "letkf", saved(both.assign_coords({dim: ["v", "u"]}), tmp_path / "own.nc"), tmp_path / "o.nc"
        )
