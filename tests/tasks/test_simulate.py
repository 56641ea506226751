"""The task ``simulate``: shards that do not depend on each other, seeds, and what is kept of each split."""

import json

import numpy as np
import pytest
import xarray as xr

from posterity import data
from posterity.errors import ConfigError, DataError
from posterity.tasks.simulate import simulate


@pytest.fixture
def draw(tmp_path):
    """Simulates a shard and loads it."""

    def drawn(experiment, split: str = "test", shard: int = 0) -> xr.Dataset:
        path = tmp_path / "simulations" / f"{split}-{shard}.nc"
        simulate(experiment, split, shard, path)
        with data.read(path, "states" if split == "train" else "twin") as dataset:
            return dataset.load()

    return drawn


def test_a_twin_holds_states_background_and_observations(draw, experiment) -> None:
    twin = draw(experiment())
    assert twin["state"].shape == (2, 6, 1, 6)
    assert twin["observation"].dims == ("case", "time", "obs_channel", "obs_x")
    seen = twin["observation"].to_numpy()
    assert np.isnan(seen[:, 4:]).all()
    assert 0 < np.isnan(seen[:, :4]).mean() < 1
    std = twin["observation_std"].to_numpy()[:, :4]
    assert std.min() >= 0.5
    assert std.max() <= 1.0
    # The observations are of these states, with this noise.
    z = (seen - twin["state"].to_numpy())[:, :4] / std
    assert np.nanstd(z) == pytest.approx(1, abs=4 / np.sqrt(2 * np.isfinite(z).sum()))
    np.testing.assert_allclose(twin["time"], 0.5 * np.arange(6))


def test_the_draws_match_their_background(draw, experiment) -> None:
    twin = draw(experiment(splits={"test": {"cases": 500}}))
    z = ((twin["state"][:, 0] - twin["background"]) / twin["background_std"]).to_numpy()
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)


@pytest.mark.parametrize(("operators", "expected"), [([], 1), (["identity"], 1), (["identity", "quadratic"], 0)])
def test_observations_say_whether_they_are_of_the_state(draw, experiment, operators, expected) -> None:
    twin = draw(experiment(observation={"operator": operators, "std": 1.0}))
    assert twin["observation"].attrs["of_state"] == expected
    assert "of_state" not in twin["observation_std"].attrs


def test_training_shards_hold_no_observations(draw, experiment) -> None:
    states = draw(experiment(), "train", 1)
    assert set(states.data_vars) == {"state", "background", "background_std"}
    assert list(states["case"].to_numpy()) == list(range(20, 40))
    assert "observation" not in json.loads(states.attrs["configuration"])


def test_adding_shards_leaves_those_there_are_alone(draw, experiment) -> None:
    few, many = experiment(), experiment(splits={"test": {"cases": 9, "shard": 2}})
    for shard in (0, 1):
        xr.testing.assert_identical(
            draw(few, shard=shard).drop_attrs(deep=False), draw(many, shard=shard).drop_attrs(deep=False)
        )
    assert draw(few, shard=2).sizes["case"] == 1
    assert list(draw(many, shard=4)["case"].to_numpy()) == [8]


def test_shards_splits_and_seeds_differ(draw, experiment) -> None:
    one = experiment()
    found = [draw(one), draw(one, shard=1), draw(one, "valid"), draw(experiment("other", seed=1))]
    first = [dataset["state"].to_numpy()[0] for dataset in found]
    for i in range(4):
        for j in range(i):
            assert not np.allclose(first[i], first[j])
    assert len({dataset.attrs["seed"] for dataset in found}) == 4


def test_the_same_seed_gives_the_same_file_whatever_the_methods(draw, experiment) -> None:
    one = draw(experiment())
    two = draw(experiment(methods={"prior": {"kind": "prior"}}, samples=3, title="Other"))
    xr.testing.assert_identical(one, two)


def test_a_file_says_where_it_comes_from(draw, experiment) -> None:
    attributes = draw(experiment()).attrs
    assert {"experiment", "seed", "joint", "configuration", "version", "commit", "split", "shard"} <= set(attributes)
    assert (attributes["experiment"], attributes["joint"], attributes["split"]) == ("study", "background", "test")
    assert json.loads(attributes["configuration"])["window"] == 4


def test_a_shard_that_there_is_not_is_refused(experiment, tmp_path) -> None:
    with pytest.raises(ConfigError, match="--shard: the test split of 'study' has shards 0 to 2, no 3"):
        simulate(experiment(), "test", 3, tmp_path / "twin.nc")


@pytest.mark.parametrize("folder", ["/proc/nowhere", "file/below"])
def test_a_folder_that_cannot_be_written_is_refused(experiment, tmp_path, monkeypatch, folder) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file, not a folder")
    with pytest.raises(DataError, match=rf"^{folder}/twin\.nc: cannot be written \(.*\); check the folder's permissio"):
        simulate(experiment(), "test", 0, type(tmp_path)(folder) / "twin.nc")
    assert (tmp_path / "file").read_text() == "a file, not a folder"
