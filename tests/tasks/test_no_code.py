"""Files of others run no code: experiments, weights, states of trainings and NetCDF are data alone."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import netCDF4
import pytest
import torch

from posterity.data import read
from posterity.data.artifacts import DESCRIPTION, WEIGHTS, described, description
from posterity.errors import ConfigError, DataError
from posterity.experiment import load
from posterity.inference.components import build
from posterity.inference.experiments import build_problem
from posterity.tasks.sample import load_estimator
from posterity.tasks.simulate import simulate
from posterity.tasks.train import train


@pytest.fixture
def touched(tmp_path: Path) -> Path:
    """A file that is there if code was run."""
    return tmp_path / "touched"


class Payload:
    """What touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_the_payload_works(touched) -> None:
    pickle.loads(pickle.dumps(Payload(touched)))
    assert touched.exists()


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {}']",
        "!!python/object/new:subprocess.Popen [['touch', '{}']]",
        "!!python/name:os.system",
        "!!python/module:os",
    ],
)
def test_tags_of_yaml_are_refused(study, touched, tag) -> None:
    file = study()
    file.write_text(file.read_text().replace("A ring of 6 sites", tag.format(touched)))
    with pytest.raises(ConfigError, match=r"is not YAML: could not determine a constructor for the tag"):
        load(file)
    assert not touched.exists()


@pytest.mark.parametrize("group", ["system", "network", "optimizer"])
def test_a_kind_that_is_no_component_is_not_called(touched, group) -> None:
    """Of whatever group: `module:name` names classes of components, and not what starts programs."""
    component = SimpleNamespace(kind="subprocess:getoutput", options={"cmd": f"touch {touched}"})
    with pytest.raises(ConfigError, match=f"{group} 'subprocess:getoutput': is not derived from"):
        build(group, component)
    assert not touched.exists()


@pytest.mark.parametrize("name", ["os:abs", "os:system", "posterity.estimators.learning.lr_schedules:cosine"])
def test_learning_rate_schedules_are_names(study, name) -> None:
    """A function of a number could be any: those of the package have names."""
    file = study(methods={"npe": {"kind": "npe", "training": {"lr_schedule": name}}})
    with pytest.raises(ConfigError, match=rf"unknown lr_schedule '{name}'"):
        load(file)


@pytest.mark.slow
def test_pickles_in_the_place_of_weights_and_of_states_are_not_loaded(experiment, tmp_path, touched, caplog) -> None:
    small = experiment(splits={"train": {"cases": 16}, "valid": {"cases": 8}, "test": {"cases": 1}})
    files: dict[str, list[Path]] = {}
    for split in ("train", "valid"):
        files[split] = [tmp_path / f"{split}.nc"]
        simulate(small, split, 0, files[split][0])

    def write() -> None:
        train(small, "npe", files["train"], files["valid"], tmp_path / "npe", keep=True)

    write()
    (state,) = (tmp_path / ".npe.unfinished").glob("[!.]*.pt")
    for content in (pickle.dumps(Payload(touched)), saved(Payload(touched), tmp_path)):
        state.write_bytes(content)
        caplog.clear()
        with caplog.at_level("WARNING", "posterity"):
            write()
        assert "the training starts anew" in caplog.text
    (tmp_path / "npe" / WEIGHTS).write_bytes(pickle.dumps(Payload(touched)))
    for remedy in ("is damaged", "cannot be read"):
        with pytest.raises(DataError, match=rf"{WEIGHTS}: {remedy}"):
            load_estimator(small, "npe", build_problem(small), tmp_path / "npe", torch.device("cpu"))
        # Not even where the description tells of no other bytes.
        told = tmp_path / "npe" / DESCRIPTION
        told.write_bytes(described(json.loads(told.read_text()), {}))
    assert not touched.exists()


def saved(payload: Payload, folder: Path) -> bytes:
    """A file of torch.save with it."""
    torch.save({"estimator": payload}, folder / "payload.pt")
    return (folder / "payload.pt").read_bytes()


def test_a_pickle_in_the_place_of_a_description_is_not_loaded(tmp_path, touched) -> None:
    (tmp_path / DESCRIPTION).write_bytes(pickle.dumps(Payload(touched)))
    with pytest.raises(DataError, match="cannot be read"):
        description(tmp_path, ["seed"])
    assert not touched.exists()


def test_attributes_of_netcdf_are_text(tmp_path, touched) -> None:
    """Whatever they say, in whatever attribute the package or xarray reads."""
    said = f"__import__('pathlib').Path({str(touched)!r}).touch()"
    with netCDF4.Dataset(tmp_path / "twin.nc", "w") as file:
        for name, size in (("case", 1), ("time", 2), ("obs_channel", 1), ("obs_x", 3)):
            file.createDimension(name, size)
        for name in ("observation", "observation_std"):
            variable = file.createVariable(name, "f4", ("case", "time", "obs_channel", "obs_x"))
            variable[:] = 1.0
            variable.setncatts(dict.fromkeys(("units", "long_name", "coordinates", "grid_mapping"), said))
        time = file.createVariable("time", "f8", ("time",))
        time[:] = [0.0, 1.0]
        time.setncatts({"units": said, "calendar": said})
        file.setncatts({"configuration": said, "code": said, "method": said, "experiment": said})
    try:
        found = read(tmp_path / "twin.nc", "twin").load()
    except DataError:
        found = None
    assert found is None or float(found["observation"].sum()) == 6
    assert not touched.exists()
