"""``posterity why``: what a stage depends on, and what changed since."""

import re
from pathlib import Path

import pytest
import xarray as xr

from posterity.errors import ConfigError
from posterity.experiment import Experiment
from posterity.experiment.sources.digest import reached
from posterity.tasks.assimilate import assimilate
from posterity.tasks.simulate import simulate
from posterity.tasks.why import why


@pytest.fixture
def results(experiment, tmp_path: Path) -> Path:
    """The folder of results in which one shard was simulated and assimilated."""
    study, folder = experiment(), tmp_path / "results" / "study"
    simulate(study, "test", 0, folder / "simulations" / "test" / "0.nc")
    assimilate(study, "4dvar", folder / "simulations" / "test" / "0.nc", folder / "posteriors" / "4dvar" / "0.nc")
    return tmp_path / "results"


def told(study: Experiment, results: Path, stage: str = "assimilate", name: str = "4dvar") -> list[str]:
    option = {"simulate": "--split", "plot": "--figure"}.get(stage, "--method")
    return list(why(study, stage, {option: name} if name else {}, results))


def test_it_lists_the_configuration_and_the_code(experiment, results) -> None:
    lines = told(experiment(), results)
    assert lines[0] == "assimilate 4dvar of study depends on"
    assert '    system: {"kind": "linear", "options": {"size": 6}}' in lines
    assert "    posterity.baselines.variational.fourdvar" in lines
    assert "    posterity.baselines.variational.vi" not in lines
    assert "  the results of simulate test" in lines
    posterior = results / "study" / "posteriors" / "4dvar" / "0.nc"
    assert lines[-1] == f"{posterior}: as it would be made now"


def test_it_says_which_options_changed_and_in_what_results(experiment, results) -> None:
    methods = {"4dvar": {"kind": "4dvar", "options": {"iterations": 7}}}
    lines = told(experiment(methods=methods, window=3), results)
    end = lines[lines.index("") + 1 :]
    assert end[0].endswith("posteriors/4dvar/0.nc: will be made anew, since")
    assert "  window: 4 -> 3" in end
    assert "  methods.4dvar.options.iterations: null -> 7" in end
    # The simulations depend on the window too, and on no method.
    (simulated,) = [n for n, line in enumerate(end) if line.endswith("simulations/test/0.nc: will be made anew, since")]
    assert end[simulated + 1 :] == ["  window: 4 -> 3"]


def test_it_says_which_modules_were_edited(experiment, results, monkeypatch) -> None:
    def edited(targets):
        modules = reached(targets)
        if "posterity.baselines.variational.fourdvar" in modules:
            modules["posterity.baselines.variational.fourdvar"] = "0123456789ab"
            modules["posterity.new"] = "0"
            del modules["posterity.problems.control"]
        return modules

    monkeypatch.setattr("posterity.experiment.dependencies.reached", edited)
    assert told(experiment(), results)[-4:] == [
        f"{results}/study/posteriors/4dvar/0.nc: will be made anew, since",
        "  posterity.baselines.variational.fourdvar: was edited",
        "  posterity.new: is reached now",
        "  posterity.problems.control: is no longer reached",
    ]


def test_results_that_say_nothing_and_results_that_are_not_there(experiment, results) -> None:
    path = results / "study" / "posteriors" / "4dvar" / "0.nc"
    with xr.open_dataset(path, decode_times=False) as dataset:
        bare = dataset.load()
    del bare.attrs["code"]
    bare.to_netcdf(path)
    assert told(experiment(), results)[-1] == f"{path}: does not say what it was made from; the workflow knows"
    path.unlink()
    assert told(experiment(), results)[-1] == f"assimilate 4dvar: there are no results yet in {path.with_name('*.nc')}"


@pytest.mark.parametrize(
    ("stage", "name", "message"),
    [
        ("asimilate", "4dvar", "there is no stage 'asimilate' of one experiment; did you mean 'assimilate'?"),
        ("assimilate", "4dva", "--method: assimilate of 'study': there is no '4dva'; did you mean '4dvar'?"),
        ("assimilate", "npe", "--method: assimilate of 'study': there is no 'npe'; known: 4dvar, prior"),
        ("simulate", "", "--split: simulate of 'study': name one; known: test, train, valid"),
    ],
)
def test_what_is_not_there_is_refused(experiment, tmp_path, stage, name, message) -> None:
    with pytest.raises(ConfigError) as raised:
        told(experiment(), tmp_path, stage, name)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("stage", "named", "message"),
    [
        ("assimilate", {"--figure": "4dvar"}, "--figure: assimilate takes --method; leave it out"),
        ("aggregate", {"--method": "a"}, "--method: aggregate takes no option that names a part of it; leave it out"),
        ("reference", {}, "'study' has no reference: say which method makes it, under 'reference'"),
    ],
)
def test_options_of_other_stages_are_refused(experiment, tmp_path, stage, named, message) -> None:
    with pytest.raises(ConfigError) as raised:
        list(why(experiment(), stage, named, tmp_path))
    assert str(raised.value) == message


def test_it_says_how_many_draws_and_cases_there_should_be(experiment, results) -> None:
    """They are arguments of the tasks, which the workflow tracks beside the configuration."""
    lines = told(experiment(samples=7, splits={"test": {"cases": 3}}), results)
    assert "  number of 'sample': 20 -> 7" in lines
    assert "  number of 'case': 2 -> 3" in lines


def test_damaged_results_are_named(experiment, results) -> None:
    path = results / "study" / "posteriors" / "4dvar" / "0.nc"
    path.write_bytes(path.read_bytes()[:100])
    said = told(experiment(), results)[-1]
    assert re.fullmatch(rf"{path}: cannot be read \(.*\); delete it and make it again", said)
    trained = results / "study" / "models" / "npe" / "estimator.json"
    trained.parent.mkdir(parents=True)
    trained.write_text("[1]")
    said = f"{trained}: does not say what it was made from; the workflow knows"
    assert said in told(experiment(), results, "train", "npe")
