"""The task ``climatology``: a library of states, and who draws from which part of it."""

from pathlib import Path

import numpy as np
import pytest

from posterity import data
from posterity.errors import ConfigError
from posterity.tasks.assimilate import assimilate
from posterity.tasks.climatology import climatology
from posterity.tasks.simulate import simulate

CHOSEN = {"climatology": {"states": 7, "held_out": 3}, "prior": {"joint": "climatology", "std": None}}


@pytest.fixture
def library(experiment, tmp_path) -> Path:
    """The library of an experiment."""
    path = tmp_path / "climatology.nc"
    climatology(experiment(**CHOSEN), path)
    return path


def _first(path: Path, kind: str) -> set[bytes]:
    with data.read(path, kind) as dataset:
        state = dataset["state"].values
    return {x.tobytes() for x in (state if kind == "climatology" else state[:, 0])}


def test_twins_are_drawn_from_their_part_of_the_library(experiment, library, tmp_path) -> None:
    study = experiment(**CHOSEN)
    simulate(study, "train", 0, tmp_path / "train.nc", climatology=library)
    simulate(study, "test", 0, tmp_path / "test.nc", climatology=library)
    simulate(study, "valid", 0, tmp_path / "valid.nc", climatology=library)
    states = _first(library, "climatology")
    assert len(states) == 10
    trained, tested = _first(tmp_path / "train.nc", "states"), _first(tmp_path / "test.nc", "twin")
    assert len(trained) == 7
    assert trained <= states
    assert tested <= states - trained
    assert _first(tmp_path / "valid.nc", "twin") == states - trained


def test_methods_draw_from_what_trainings_see(experiment, library, tmp_path) -> None:
    study = experiment(**CHOSEN, methods={"draws": {"kind": "climatology"}}, samples=20)
    simulate(study, "test", 0, tmp_path / "test.nc", climatology=library)
    assimilate(study, "draws", tmp_path / "test.nc", tmp_path / "posterior.nc", climatology=library)
    with data.read(tmp_path / "posterior.nc", "posterior") as posterior:
        drawn = {x.tobytes() for x in posterior["state"].values[:, :, 0].reshape(-1, 1, 6)}
    with data.read(library, "climatology") as dataset:
        seen = {x.tobytes() for x in dataset["state"].values[dataset["held_out"].values == 0]}
    assert drawn == seen


def test_the_same_library_twice(experiment, library, tmp_path) -> None:
    climatology(experiment(**CHOSEN), tmp_path / "again.nc")
    with data.read(library, "climatology") as one, data.read(tmp_path / "again.nc", "climatology") as other:
        np.testing.assert_array_equal(one["state"], other["state"])


def test_a_library_is_asked_for_and_must_be_that_of_the_experiment(experiment, library, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"--climatology: 'study' has a library .* `posterity climatology study"):
        simulate(experiment(**CHOSEN), "test", 0, tmp_path / "test.nc")
    with pytest.raises(ConfigError, match=r"--climatology: 'study' has no library"):
        simulate(experiment(), "test", 0, tmp_path / "test.nc", climatology=library)
    other = experiment(**CHOSEN | {"system": {"kind": "linear", "options": {"size": 6, "speed": 2.0}}})
    with pytest.raises(ConfigError, match="was made for another experiment"):
        simulate(other, "test", 0, tmp_path / "test.nc", climatology=library)
    with pytest.raises(ConfigError, match="has no library of states: say how large"):
        climatology(experiment(), tmp_path / "none.nc")
