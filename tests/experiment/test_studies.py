"""The experiments that the configuration of a workflow names."""

import pytest

from posterity.errors import ConfigError
from posterity.experiment import check_keys, files, studies

TEXT = """
title: t
system: {kind: linear}
observation: {std: 1.0}
prior: {std: 1.0}
window: 3
splits: {test: {cases: 2}}
methods: {prior: {kind: prior}, 4dvar: {kind: 4dvar}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working directory, and a project beside it."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = tmp_path / "project" / files.EXPERIMENTS
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(TEXT)
    return tmp_path / "project"


@pytest.mark.parametrize("named", ["one,two", "one, two,", ["one", "two"]])
def test_experiments_are_found_beside_the_workflow(project, named):
    found = studies({"experiments": named}, project)
    assert [[experiment.name for _, experiment in study] for study in found] == [["one"], ["two"]]
    (file, _), _ = found[0][0], found[1]
    assert file == str(project / files.EXPERIMENTS / "one.yaml")


def test_the_working_directory_comes_first(project):
    files.EXPERIMENTS.mkdir(parents=True)
    (files.EXPERIMENTS / "one.yaml").write_text(TEXT)
    assert studies({"experiments": "one"}, project)[0][0][0] == str(files.EXPERIMENTS / "one.yaml")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "experiments: is empty; name experiments"),
        ("", "experiments: is empty"),
        ([], "experiments: is empty"),
        (3, "experiments: 3 is no name of an experiment"),
        ({"one": 1}, "experiments: {'one': 1} is no name"),
        (["one", 3], "is no name of an experiment; name experiments or paths"),
        ("oen", "there is no experiment 'oen' .*; did you mean 'one'?"),
    ],
)
def test_values_that_name_nothing_are_refused_in_a_sentence(project, value, message):
    with pytest.raises(ConfigError, match=message):
        studies({"experiments": value}, project)


def test_a_key_that_means_nothing_is_refused_with_the_nearest():
    check_keys(["experiments"])
    with pytest.raises(ConfigError, match="unknown key 'experiment'; did you mean 'experiments'"):
        check_keys(["experiment", "experiments"])


def test_two_files_of_one_name_are_refused_and_one_file_named_twice_is_not(project):
    for folder in ("a", "b"):
        (project / folder).mkdir()
        (project / folder / "study.yaml").write_text(TEXT)
    twice = [project / "a" / "study.yaml", project / "b" / ".." / "a" / "study.yaml"]
    assert len(studies({"experiments": twice})) == 2
    with pytest.raises(ConfigError, match=r"a/study.yaml and .*b/study.yaml are both named study, .*: rename one"):
        studies({"experiments": [project / "a" / "study.yaml", project / "b" / "study.yaml"]})


def test_what_is_left_of_an_experiment_has_no_trace_of_what_failed(project):
    text = TEXT.replace("prior: {kind: prior}", "prior: {kind: prior}, npe: {kind: npe, training: {}}")
    (project / "three.yaml").write_text(text + "figures: {standard: prior}\nreference: {kind: exact}\n")
    ((_, experiment),) = studies({"experiments": project / "three.yaml"})[0]
    left = experiment.without(["prior", "npe"], reference=False)
    assert (list(left.methods), left.trained(), left.reference, left.figures.standard) == (["4dvar"], [], None, None)
    assert {"training", "corner", "reference"} <= set(experiment.figures_drawn()) - set(left.figures_drawn())
    assert experiment.without([], reference=True) == experiment
