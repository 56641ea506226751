"""Methods that draw with the weights of others, of one experiment or of another: what depends on what."""

from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from posterity.errors import ConfigError
from posterity.experiment import Experiment, catalog, lent, load, studies
from posterity.experiment.dependencies import dependencies, lineage, origins
from posterity.experiment.methods import drawing_options

LENDER: dict[str, Any] = {
    "title": "What is learned",
    "system": "lorenz96",
    "observation": {"std": 0.5},
    "prior": {"joint": "climatology", "std": None},
    "window": 9,
    "splits": {"test": {"cases": 4}},
    "methods": {"sda": {"kind": "sda", "options": {"order": 2, "network": "mlp"}, "training": {"epochs": 3}}},
}
#: Other observations, of another window, drawn by other means.
BORROWER: dict[str, Any] = {
    **LENDER,
    "observation": {"std": 0.1, "mask": [{"kind": "random", "options": {"fraction": 0.5}}]},
    "window": 40,
    "methods": {"far": {"weights": "lender/sda", "options": {"guidance": "sda", "composition": "fold"}}},
}


def with_(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A tree with some values put in, by dotted keys."""
    tree = deepcopy(tree)
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        branch = tree
        for parent in parents:
            branch = branch[parent]
        branch[last] = value
    return tree


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Experiment]:
    """Writes both experiments with some changes, and loads the one that borrows."""

    def written(borrower: dict | None = None, lender: dict | None = None) -> Experiment:
        for name, tree, changes in (("lender", LENDER, lender), ("borrower", BORROWER, borrower)):
            path = tmp_path / f"{name}.yaml"
            path.write_text(yaml.safe_dump(with_(tree, changes or {}), sort_keys=False), encoding="utf-8")
        return load(path)

    return written


def test_a_method_takes_what_weights_depend_on_and_has_its_own_way_of_drawing(write) -> None:
    study = write()
    method = study.methods["far"]
    assert method.kind == "sda"
    assert method.options["order"] == 2
    assert {name: method.options[name].kind for name in ("network", "guidance", "composition")} == {
        "network": "mlp",
        "guidance": "sda",
        "composition": "fold",
    }
    assert (study.trained(), study.sampled(), study.assimilated()) == ([], ["far"], [])
    owner, name = study.owner(study.weights("far"))
    assert (owner.name, name) == ("lender", "sda")
    assert origins("sample", study, "far") == [("train", "lender/sda"), ("simulate", "test")]
    assert origins("train", study, "lender/sda") == [("simulate", "lender/train"), ("simulate", "lender/valid")]


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ({"observation.std": 0.2}, ["simulate test", "sample far"]),
        ({"observation.mask": []}, ["simulate test", "sample far"]),
        ({"window": 20}, ["simulate test", "sample far"]),
        ({"methods.far.options.guidance": "moment-matching"}, ["sample far"]),
        ({"methods.far.options.sampler": "ancestral"}, ["sample far"]),
        ({"methods.far.options.composition": {"kind": "blankets", "options": {"length": 5}}}, ["sample far"]),
        ({"methods.far.options.per_window": True}, ["sample far"]),
        ({"methods.far.options.precision": "bfloat16"}, ["sample far"]),
        ({"observation.operator": ["quadratic"]}, ["simulate test", "sample far"]),
        ({"methods.far.options.network": {"kind": "mlp"}}, []),
    ],
    ids=str,
)
def test_what_draws_depend_on_trains_nothing(write, change, redone) -> None:
    jobs = [("train", "lender/sda"), ("simulate", "test"), ("sample", "far")]
    before, after = ([lineage(*job[:1], study, job[1]) for job in jobs] for study in (write(), write(change)))
    assert [" ".join(job) for job, old, new in zip(jobs, before, after, strict=True) if old != new] == redone


def test_another_training_redoes_the_draws(write) -> None:
    before, after = (lineage("sample", study, "far") for study in (write(), write({}, {"methods.sda.training": {}})))
    assert before != after


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("sampler", "ancestral"),
        ("guidance", {"kind": "sda", "options": {"gamma": 0.1}}),
        ("composition", {"kind": "blankets", "options": {"length": 5}}),
        ("per_window", True),
        ("precision", "float32"),
    ],
)
def test_options_of_drawing_train_nothing_where_they_stand(write, option, value) -> None:
    """The estimator that is trained may change how it draws itself."""
    keys = []
    for change in ({}, {f"methods.sda.options.{option}": value}):
        lender = write({}, change).owner("lender/sda")[0]
        keys.append({stage: dependencies(stage, lender, "sda").key for stage in ("train", "sample")})
    assert keys[0]["train"] == keys[1]["train"]
    assert keys[0]["sample"] != keys[1]["sample"]


def test_methods_of_one_experiment_share_weights(write) -> None:
    study = write({}, {"methods.dps": {"weights": "sda", "options": {"guidance": "dps"}}}).owner("lender/sda")[0]
    assert study.trained() == ["sda"]
    assert study.sampled() == ["sda", "dps"]
    assert origins("sample", study, "dps") == [("train", "sda"), ("simulate", "test")]
    assert study.methods["dps"].options["order"] == 2


def test_a_workflow_knows_the_lender_and_asks_nothing_of_it(write, tmp_path) -> None:
    write()
    asked = studies({"experiments": [str(tmp_path / "borrower.yaml")]})
    assert [experiment.name for study in asked for _, experiment in study] == ["borrower"]
    assert [(Path(file).name, experiment.name) for file, experiment in lent(asked)] == [("lender.yaml", "lender")]
    both = studies({"experiments": [str(tmp_path / f"{name}.yaml") for name in ("borrower", "lender")]})
    assert lent(both) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods.far.weights": "lender/sd"}, "methods.far.weights: 'lender' has no trained method 'sd'; did you"),
        ({"methods.far.weights": "lendr/sda"}, "did you mean 'lender'?"),
        ({"methods.far.weights": "sda"}, "far.weights: there is no method 'sda'"),
        ({"methods.far.options": {"order": 3}}, "far.options.order: the weights of 'lender/sda' depend on it: remove"),
        ({"methods.far.kind": "sosda"}, "far.kind: is that of 'lender/sda', whose weights it draws with: remove it"),
        ({"methods.far.training": {}}, "weights: a method that draws with those of another has none of its own"),
        ({"methods.far.options.guidance": "sdaa"}, "unknown guidance 'sdaa'; did you mean 'sda'?"),
        ({"system": "lorenz63"}, "methods.far.weights: 'lender/sda' was trained with another 'system', which its"),
        ({"model_error": 0.1}, "'lender/sda' was trained with another 'model_error'"),
    ],
    ids=str,
)
def test_mistakes_are_named(write, change, message) -> None:
    with pytest.raises(ConfigError) as raised:
        write(change)
    assert message in str(raised.value)
    assert "borrower.yaml" in str(raised.value)


def test_weights_that_see_observations_serve_no_others(write) -> None:
    guided = {"kind": "guided-score", "training": {}}
    with pytest.raises(ConfigError, match="was trained with another 'observation'"):
        write({"methods.far.options": {"guidance": "sda"}}, {"methods.sda": guided})


def test_weights_that_see_observations_but_no_window_serve_others(write) -> None:
    known = {"parameters": {"forcing": {"kind": "normal", "options": {"mean": 8.0, "std": 1.0}}}}
    steps = {**known, "methods": {"sda": {"kind": "fnse", "training": {}}}}
    borrower = {**known, "observation": LENDER["observation"], "methods.far.options": {"gauss": False}}
    assert write(borrower, steps).window == 40
    with pytest.raises(ConfigError, match="was trained with another 'observation'"):
        write({**borrower, "observation": {"std": 0.1}}, steps)


def test_experiments_that_lend_each_other_are_refused(write) -> None:
    with pytest.raises(ConfigError, match="draws with weights of its own"):
        write({}, {"methods.back": {"weights": "borrower/far"}})


@pytest.mark.parametrize("kind", sorted(catalog.CATALOG["method"]))
def test_options_of_drawing_are_read_as_their_class_says(kind: str) -> None:
    """From sources, before anything is imported: an option that is missed there trains anew for nothing."""
    module, _, name = catalog.target("method", kind).partition(":")
    said = getattr(getattr(import_module(module), name), "drawing", "")
    assert drawing_options(kind) == {option for option in said.split(", ") if option}
