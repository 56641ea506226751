"""Experiment files: what they may leave out, how they extend each other, and what is said of each mistake."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from posterity.errors import ConfigError
from posterity.experiment import Experiment, catalog, every, files, load
from posterity.experiment import sections as parts
from posterity.experiment.component import Component, targets
from posterity.experiment.dependencies import dependencies
from posterity.experiment.sections import MethodConfig, PriorConfig

SMALLEST = {
    "title": "The smallest experiment",
    "system": "lorenz96",
    "observation": {"std": 0.5},
    "prior": {"std": [0.5, 1.5]},
    "window": 4,
    "splits": {"test": {"cases": 10, "shard": 4}},
    "methods": {"laplace": {"kind": "4dvar", "options": {"iterations": 5}}},
}

#: A network of no width.
MISTAKEN = {"kind": "mlp", "options": {"hidden": [8, "a"]}}

SHIPPED = sorted(Path("config/experiments").resolve().glob("*.yaml"))


def depends(stage: str, experiment: Experiment, name: str = "") -> dict:
    """The part of the configuration that a stage depends on."""
    return dependencies(stage, experiment, name).configuration


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The smallest experiment with some values put in, by dotted keys."""
    tree = deepcopy(SMALLEST)
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        branch = tree
        for parent in parents:
            branch = branch[parent]
        branch[last] = value
    return tree


@pytest.fixture
def write(tmp_path):
    """Writes an experiment file from a tree or from text, and returns its path."""

    def written(content: dict | str, name: str = "study") -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return path

    return written


@pytest.fixture
def refusal(write):
    """What is said of an experiment with some values put in, without the file's name."""

    def said(content: dict | str) -> str:
        path = write(content)
        with pytest.raises(ConfigError) as raised:
            load(path)
        assert str(raised.value).startswith(f"{path}: ")
        return str(raised.value).replace(f"{path}: ", "")

    return said


# ---------------------------------------------------------------------------------------------------------------------
# What a file may say.


def test_the_smallest_experiment_takes_the_defaults(write) -> None:
    experiment = load(write(SMALLEST))
    assert experiment.name == "study"
    assert experiment.system == Component(kind="lorenz96", options={})
    assert experiment.observation.operator == experiment.observation.mask == ()
    assert experiment.observation.std == (0.5, 0.5)
    assert experiment.prior == PriorConfig(joint="background", std=(0.5, 1.5))
    assert (experiment.seed, experiment.forecast, experiment.samples) == (0, 0, 1000)
    assert experiment.splits.test.shards() == [4, 4, 2]
    assert experiment.splits.valid.shards() == [1024]
    assert experiment.trained() == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_experiments_are_sound(path) -> None:
    for _, experiment in every(path):
        assert experiment.name.partition("/")[0] == path.stem
        assert experiment.methods


def test_an_experiment_is_found_by_name_and_by_path(write, monkeypatch) -> None:
    path = write(SMALLEST)
    monkeypatch.setattr(files, "EXPERIMENTS", path.parent)
    assert files.locate("study") == files.locate(path) == files.locate(str(path)) == (path, None)


def test_a_method_may_have_its_own_number_of_draws(write) -> None:
    experiment = load(write(changed({"samples": 30, "methods.few": {"kind": "prior", "samples": 3}})))
    assert (experiment.draws("laplace"), experiment.draws("few")) == (30, 3)


def test_the_climatology_goes_without_a_background(write) -> None:
    assert load(write(changed({"prior": {"joint": "climatology", "std": None}}))).prior.std is None


def test_exponents_need_no_decimal_point(write) -> None:
    text = yaml.safe_dump(changed({"methods.laplace.options": {"tolerance": "HERE"}})).replace("HERE", "1e-3")
    assert load(write(text)).methods["laplace"].options == {"tolerance": 1e-3}


def test_whole_numbers_stand_for_fractions_and_lists_for_tuples(write) -> None:
    system = {"kind": "lorenz96", "options": {"forcing": 8}}
    flow = {"kind": "maf", "options": {"hidden": [8, 8]}}
    learned = {"kind": "npe", "options": {"flow": flow}, "training": {}}
    experiment = load(write(changed({"system": system, "methods.learned": learned})))
    assert experiment.trained() == ["learned"]
    assert experiment.methods["learned"].training == parts.TrainingConfig()


def test_options_are_checked_inside_components_of_components(write) -> None:
    options = {"family": "mean-field", "optimizer": {"kind": "adam", "options": {"iterations": 3}}}
    experiment = load(write(changed({"methods.vi": {"kind": "vi", "options": options}})))
    assert list(targets("method", experiment.methods["vi"])) == [
        "posterity.baselines.variational.vi:VariationalInference",
        "posterity.baselines.variational.families:MeanField",
        "posterity.baselines.variational.optimizers:Adam",
    ]


def test_a_class_may_stand_for_a_kind(write) -> None:
    experiment = load(write(changed({"system": {"kind": "posterity.systems:Lorenz96", "options": {"size": 6}}})))
    assert "posterity.systems.lorenz96" in dependencies("simulate", experiment, "train").modules


# ---------------------------------------------------------------------------------------------------------------------
# What results depend on.


def test_training_sets_do_not_depend_on_the_observations_but_tests_do(write) -> None:
    one = load(write(SMALLEST, "one"))
    two = load(write(changed({"observation.std": 0.7, "methods.laplace.label": "Laplace"}), "two"))
    assert depends("simulate", one, "train") == depends("simulate", two, "train")
    assert depends("simulate", one, "test") != depends("simulate", two, "test")


def test_what_a_kind_stands_for_counts(write, monkeypatch) -> None:
    """Another class under the same kind, in the same module, makes other results."""
    experiment = load(write(changed({"methods.vi": {"kind": "vi", "options": {"family": "mean-field"}}})))
    before = dependencies("assimilate", experiment, "vi")
    assert "posterity.baselines.variational.families:MeanField" in before.configuration["classes"]
    families = {**catalog.CATALOG["family"], "mean-field": catalog.CATALOG["family"]["full"]}
    monkeypatch.setattr(catalog, "CATALOG", {**catalog.CATALOG, "family": families})
    after = dependencies("assimilate", experiment, "vi")
    assert after.modules == before.modules
    assert after.key != before.key


def test_labels_and_numbers_of_cases_and_draws_change_no_draw(write) -> None:
    one = load(write(SMALLEST, "one"))
    changes = {"methods.laplace.label": "Laplace", "splits.test.cases": 20, "samples": 3, "title": "Other"}
    two = load(write(changed(changes), "two"))
    assert depends("assimilate", one, "laplace") == depends("assimilate", two, "laplace")
    three = load(write(changed({"methods.laplace.options": {"iterations": 6}}), "three"))
    assert depends("assimilate", one, "laplace") != depends("assimilate", three, "laplace")


def test_weights_depend_on_how_they_were_trained(write) -> None:
    learned = {"kind": "npe", "training": {}}
    one = load(write(changed({"methods.npe": learned}), "one"))
    two = load(write(changed({"methods.npe": learned | {"training": {"epochs": 3}}}), "two"))
    assert depends("train", one, "npe") != depends("train", two, "npe")
    assert depends("assimilate", one, "npe") == depends("assimilate", two, "npe")


# ---------------------------------------------------------------------------------------------------------------------
# Files that extend others.


def extended(write, changes: dict[str, Any]) -> Experiment:
    """The smallest experiment, extended by a file."""
    write(SMALLEST, "parent")
    return load(write({"extends": "parent", **changes}, "child"))


def test_what_is_not_said_is_as_in_the_parent(write) -> None:
    child = extended(write, {"window": 7, "splits": {"test": {"shard": 5}}})
    assert (child.name, child.extends, child.title) == ("child", "parent", SMALLEST["title"])
    assert child.window == 7
    assert child.splits.test.shards() == [5, 5]


def test_a_method_is_added_changed_and_removed(write) -> None:
    child = extended(write, {"methods": {"laplace": {"samples": 5}, "prior": {"kind": "prior"}}})
    assert list(child.methods) == ["laplace", "prior"]
    assert child.methods["laplace"] == MethodConfig(kind="4dvar", options={"iterations": 5}, samples=5)
    removed = extended(write, {"methods": {"laplace": None, "prior": {"kind": "prior"}}})
    assert list(removed.methods) == ["prior"]


def test_another_kind_brings_none_of_the_old_options(write) -> None:
    child = extended(write, {"methods": {"laplace": {"kind": "abc"}}})
    assert child.methods["laplace"] == MethodConfig(kind="abc")


def test_files_extend_files_that_extend_files_elsewhere(write, tmp_path) -> None:
    (tmp_path / "deeper").mkdir()
    write(SMALLEST, "parent")
    write("extends: ../parent.yaml\nwindow: 5\nforecast: 1\n", "deeper/child")
    grandchild = load(write("extends: deeper/child\nwindow: 6\n", "grandchild"))
    assert (grandchild.window, grandchild.forecast, grandchild.extends) == (6, 1, "deeper/child")


def test_a_circle_is_refused(write) -> None:
    write("extends: b\n", "a")
    path = write("extends: a\n", "b")
    with pytest.raises(ConfigError, match=r"b\.yaml: extends itself, by way of .*b\.yaml, .*a\.yaml"):
        load(path)


def test_a_missing_parent_is_named_with_the_nearest(write) -> None:
    write(SMALLEST, "parent")
    path = write("extends: parnt\n", "child")
    with pytest.raises(ConfigError, match=r"child\.yaml: extends: there is no file .*parnt\.yaml; did you mean 'par"):
        load(path)


# ---------------------------------------------------------------------------------------------------------------------
# Mistakes.


@pytest.mark.parametrize("name", ["studi", "elsewhere/studi.yaml"])
def test_a_missing_experiment_is_named_with_the_nearest(write, monkeypatch, name, tmp_path) -> None:
    monkeypatch.setattr(files, "EXPERIMENTS", write(SMALLEST).parent)
    (tmp_path / "elsewhere").mkdir()
    write(SMALLEST, "elsewhere/study")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no experiment '.*studi.*' \(.* does not exist\); did you mean 'study'\?"):
        load(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: [", "is not YAML: while parsing"),
        ("- a\n- b\n", "must be a mapping of keys such as 'system' and 'methods'"),
        ("", "must be a mapping"),
        ("title: a\nwindow: 3\ntitle: b\n", "is not YAML: key 'title' stands twice"),
        ("methods:\n  vi: {kind: vi}\n  vi: {kind: vi}\n", "key 'vi' stands twice"),
        ("name: other\n", "name: an experiment is named by its file; remove the key"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused(refusal, text, message) -> None:
    assert message in refusal(text)


def test_a_file_that_is_no_text_is_refused(tmp_path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"title: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"study\.yaml: is not YAML: 'utf-8' codec"):
        load(path)


def test_an_experiment_must_have_a_name_that_folders_and_shells_take(write) -> None:
    with pytest.raises(ConfigError, match="rename it: names of experiments are made of letters, digits, '-' and '_'"):
        load(write(SMALLEST, "my study"))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("windw", "unknown key 'windw'; did you mean 'window'?"),
        ("observation.sdt", "observation: unknown key 'sdt'; did you mean 'std'?"),
        ("prior.jiont", "prior: unknown key 'jiont'; did you mean 'joint'?"),
        ("splits.tset", "splits: unknown key 'tset'; did you mean 'test'?"),
        ("splits.test.case", "splits.test: unknown key 'case'; did you mean 'cases'?"),
        ("methods.laplace.option", "methods.laplace: unknown key 'option'; did you mean 'options'?"),
        (
            "methods.laplace.options.increments",
            "methods.laplace.options: unknown option 'increments' of 4dvar; did you mean 'increment'?",
        ),
    ],
)
def test_a_misspelt_key_suggests_the_nearest(refusal, where, message) -> None:
    assert refusal(changed({where: 1})) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # Keys of mappings that the smallest experiment does not have.
        ({"system": {"knd": "lorenz96"}}, "system: unknown key 'knd'; did you mean 'kind'?"),
        ({"figures": {"without": ["tabel"]}}, "figures.without: there is no figure 'tabel'; did you mean 'table'?"),
        ({"figures": {"only": ["roc"]}}, "figures.only: 'roc' shows nothing of this experiment; remove it"),
        (
            {"figures": {"only": ["table"], "without": ["data"]}},
            "figures.without: 'only' names all figures that are drawn: remove one of the two",
        ),
        ({"figures": {"csae": 1}}, "figures: unknown key 'csae'; did you mean 'case'?"),
        (
            {"methods.npe": {"kind": "npe", "training": {"epoch": 1}}},
            "methods.npe.training: unknown key 'epoch'; did you mean 'epochs'?",
        ),
        # Names of the catalogue.
        ({"system": "lorenz69"}, "system: unknown system 'lorenz69'; did you mean 'lorenz96'?"),
        (
            {"observation.operator": ["identity", "quadratik"]},
            "observation.operator.1: unknown operator 'quadratik'; did you mean 'quadratic'?",
        ),
        ({"observation.mask": ["tims"]}, "observation.mask.0: unknown mask 'tims'; did you mean 'times'?"),
        ({"methods.laplace.kind": "4dva"}, "methods.laplace: unknown method '4dva'; did you mean '4dvar'?"),
        (
            {"methods.vi": {"kind": "vi", "options": {"family": "ful"}}},
            "methods.vi.options.family: unknown family 'ful'; did you mean 'full'?",
        ),
        (
            {"methods.vi": {"kind": "vi", "options": {"optimizer": {"kind": "adm"}}}},
            "methods.vi.options.optimizer: unknown optimizer 'adm'; did you mean 'adam'?",
        ),
        (
            {"system": "posterity.systems:Lorenz95"},
            "system: posterity.systems:Lorenz95: there is no 'Lorenz95' in ",
        ),
        ({"system": "posterity.sytems:Lorenz96"}, "system: there is no module 'posterity.sytems' in "),
        (
            {"system": "nowhere.at_all:System"},
            "system: there is no module 'nowhere.at_all'; is the package 'nowhere' installed?",
        ),
        # Options.
        (
            {"system": {"kind": "lorenz96", "options": {"sise": 8}}},
            "system.options: unknown option 'sise' of lorenz96; did you mean 'size'?",
        ),
        (
            {"observation.operator": [{"kind": "identity", "options": {"scale": 2}}]},
            "observation.operator.0.options: unknown option 'scale' of identity; there are none",
        ),
        (
            {"observation.operator": ["pointwise"]},
            "observation.operator.0.options: pointwise needs the option 'function'",
        ),
        (
            {"methods.laplace.options": {"iterations": 2.5}},
            "methods.laplace.options.iterations: Input should be a valid integer (int), not 2.5",
        ),
        (
            {"methods.laplace.options": {"iterations": "5"}},
            "methods.laplace.options.iterations: Input should be a valid integer (int), not '5'",
        ),
        (
            {"methods.laplace.options": {"iterations": True}},
            "methods.laplace.options.iterations: Input should be a valid integer (int), not True",
        ),
        (
            {"observation.mask": [{"kind": "random", "options": {"fraction": "half"}}]},
            "observation.mask.0.options.fraction: Input should be a valid number (float), not 'half'",
        ),
        (
            {"methods.npe": {"kind": "npe", "training": {}, "options": {"network": MISTAKEN}}},
            "methods.npe.options.network.options.hidden: Input should be a valid integer",
        ),
        (
            {"methods.vi": {"kind": "vi", "options": {"optimizer": {"kind": "adam", "options": {"iteration": 9}}}}},
            "methods.vi.options.optimizer.options: unknown option 'iteration' of adam; did you mean 'iterations'?",
        ),
        (
            {"methods.vi": {"kind": "vi", "options": {"optimizer": {"knd": "adam"}}}},
            "methods.vi.options.optimizer: unknown key 'knd'; did you mean 'kind'?",
        ),
        ({"methods.laplace.options": None}, "methods.laplace.options: Input should be a valid dictionary (not None)"),
        # Values.
        ({"window": 0}, "window: Input should be greater than 0 (not 0)"),
        ({"window": 2.5}, "window: Input should be a valid integer"),
        ({"forecast": -1}, "forecast: Input should be greater than or equal to 0 (not -1)"),
        ({"samples": 0}, "samples: Input should be greater than 0 (not 0)"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0 (not -1)"),
        ({"splits.test.cases": 0}, "splits.test.cases: Input should be greater than 0 (not 0)"),
        ({"splits.test": {}}, "splits.test.cases: is missing: add it"),
        ({"observation.std": 0}, "observation.std: needs 0 < low <= high, both finite, not [0, 0] (not 0)"),
        ({"observation.std": [-1, 1]}, "observation.std: needs 0 < low <= high, both finite, not [-1, 1]"),
        ({"observation.std": [2, 1]}, "observation.std: needs 0 < low <= high, both finite, not [2, 1]"),
        ({"observation.std": float("inf")}, "observation.std: needs 0 < low <= high, both finite, not [inf, inf]"),
        ({"observation.std": float("nan")}, "observation.std: needs 0 < low <= high, both finite, not [nan, nan]"),
        ({"observation.std": [1, 2, 3]}, "observation.std: Tuple should have at most 2 items"),
        ({"observation": {}}, "observation.std: is missing: add it"),
        ({"prior.std": [1.5, 0.5]}, "prior.std: needs 0 < low <= high, both finite, not [1.5, 0.5]"),
        (
            {"prior.std": None},
            "prior.std: the background joint needs one; only the climatology joint goes without",
        ),
        ({"prior": {"joint": "climatology"}}, "prior.std: is missing: add it"),
        ({"prior.joint": "climate"}, "prior.joint: Input should be 'background' or 'climatology' (not 'climate')"),
        ({"methods": {}}, "methods: name at least one"),
        ({"methods.my method": {"kind": "prior"}}, "methods.my method: names are made of letters, digits, '-' and '_'"),
        (
            {"methods.npe": {"kind": "npe", "training": {"learning_rate": 0}}},
            "methods.npe.training.learning_rate: Input should be greater than 0 (not 0)",
        ),
        (
            {"methods.npe": {"kind": "npe", "training": {"nodes": 3, "gpus": 2}}},
            "methods.npe.training: batch: 256 cases have no 6 equal shares (nodes x gpus, or 'shares'); make it",
        ),
        (
            {"methods.npe": {"kind": "npe", "training": {"nodes": 2, "gpus": 4, "shares": 4}}},
            "methods.npe.training: shares: 4 of a batch cannot be divided equally among 2 x 4 processes (nodes x",
        ),
    ],
)
def test_a_mistake_is_named_with_its_key(refusal, changes, message) -> None:
    assert refusal(changed(changes)).startswith(message)


def test_all_mistakes_are_named_at_once(refusal) -> None:
    said = refusal(changed({"window": 0, "samples": 0, "prior.std": -1}))
    assert [line.partition(":")[0] for line in said.splitlines()] == ["prior.std", "window", "samples"]


# ---------------------------------------------------------------------------------------------------------------------
# References, unknown parameters, cycles.


def test_the_reference_depends_on_the_problem_and_on_itself(write) -> None:
    reference = {"kind": "4dvar", "options": {"iterations": 3}, "samples": 10}
    experiment = load(write(changed({"reference": reference})))
    assert experiment.reference is not None
    assert experiment.reference.runs == 2
    assert {"system", "model_error", "parameters", "reference"} <= set(depends("reference", experiment))
    assert "posterity.baselines.variational.fourdvar" in dependencies("reference", experiment).modules
    assert "reference" not in depends("assimilate", experiment, "laplace")


def test_the_truth_concerns_test_cases_alone(write) -> None:
    experiment = load(write(changed({"truth": {"kind": "lorenz96-two-scale"}})))
    assert "truth" in depends("simulate", experiment, "test")
    assert "truth" not in depends("simulate", experiment, "train")
    assert "truth" not in depends("assimilate", experiment, "laplace")
    assert "posterity.systems.lorenz96_two_scale" in dependencies("simulate", experiment, "test").modules


def test_priors_of_parameters_are_components(write) -> None:
    prior = {"kind": "log-normal", "options": {"median": 8.0, "sigma": 0.1}}
    experiment = load(write(changed({"parameters": {"forcing": prior}})))
    assert "posterity.problems.priors" in dependencies("simulate", experiment, "train").modules


@pytest.mark.parametrize(("changes", "said"), [
    ({"parameters": {"forcing": {"kind": "unifrom"}}}, "uniform"),
    ({"parameters": {"forcing": {"kind": "uniform", "options": {"hihg": 1.0}}}}, "high"),
    ({"reference": {"kind": "4dvra"}}, "4dvar"),
    ({"reference": {"kind": "4dvar", "options": {"iteration": 3}}}, "iterations"),
    ({"truth": {"kind": "lorenz69"}}, "lorenz96"),
    ({"model_error": -1.0}, "model_error"),
    ({"cycles": 3, "forecast": 2}, "forecast"),
    ({"time_unit": "5 dys"}, "time_unit: needs a duration such as '5 days'"),
    ({"time_unit": "0 days"}, "time_unit: needs a duration"),
    ({"time_unit": -1}, "time_unit: needs a duration"),
    ({"time_tolerance": 0.6}, "time_tolerance"),
    ({"cycles": 3, "burn_in": 3}, "burn_in"),
    ({"burn_in": 1}, "burn_in"),
    ({"cycles": 3, "reference": {"kind": "4dvar"}}, "reference"),
    ({"cycles": 3, "methods.laplace": {"kind": "npe", "training": {}}}, "estimators see one window"),
])  # fmt: skip
def test_what_makes_no_sense_of_them_is_refused(refusal, changes, said) -> None:
    assert said in refusal(changed(changes))


def test_figures_are_drawn_where_they_show_something(write) -> None:
    always = {"covariance", "coverage", "ranks", "scores", "table"}
    plain = set(load(write(SMALLEST)).figures_drawn())
    assert always <= plain
    assert not {"corner", "cycle", "parameters", "reference"} & plain
    prior = {"kind": "normal", "options": {"mean": 8.0, "std": 1.0}}
    more = load(write(changed({"reference": {"kind": "prior"}, "parameters": {"forcing": prior}})))
    assert set(more.figures_drawn()) == plain | {"corner", "parameters", "reference"}
    cycling = load(write(changed({"cycles": 5})))
    assert set(cycling.figures_drawn()) == plain | {"cycle"}
    learned = changed({"methods.npe": {"kind": "npe", "training": {}}})
    assert set(load(write(learned)).figures_drawn()) == plain | {"training"}
    assert set(load(write(learned | {"classifier": {}})).figures_drawn()) == plain | {"roc", "training"}
    weighed = load(
        write(changed({"methods.weights": {"kind": "prior-importance"}, "figures": {"standard": "weights"}}))
    )
    assert set(weighed.figures_drawn()) == plain | {"corner"}


@pytest.mark.parametrize(
    ("kind", "options", "axes", "lacking"),
    [
        ("lorenz63", {}, 0, {"animation", "error_spectrum", "maps", "spectra"}),
        ("lorenz96", {}, 1, {"animation", "maps"}),
        ("lorenz96-two-scale", {}, 1, {"animation", "maps"}),
        ("linear", {}, 1, {"animation", "maps"}),
        ("linear", {"size": 8}, 1, {"animation", "maps"}),
        # What a system does not say, figures must find out.
        ("posterity.systems:BlackBox", {}, None, set()),
        ("kolmogorov", {}, 2, set()),
        ("linear", {"size": [4, 6]}, 2, set()),
    ],
)
def test_figures_of_a_grid_are_drawn_where_there_is_one(write, kind, options, axes, lacking) -> None:
    system = Component.model_construct(kind=kind, options=options)
    experiment = load(write(SMALLEST)).model_copy(update={"system": system})
    assert parts.axes_of(system) == axes
    drawn = {"animation", "error_spectrum", "maps", "spectra"} - lacking
    assert drawn == set(experiment.figures_drawn()) & (drawn | lacking)


def test_figures_are_chosen(write) -> None:
    plain = load(write(SMALLEST)).figures_drawn()
    assert load(write(changed({"figures": {"only": ["table", "scores"]}}))).figures_drawn() == ["scores", "table"]
    assert load(write(changed({"figures": {"without": ["table"]}}))).figures_drawn() == [
        name for name in plain if name != "table"
    ]


def test_figures_show_the_first_method_of_each_group(write) -> None:
    learned = {"kind": "npe", "training": {}, "seeds": 2}
    study = load(
        write(
            changed(
                {
                    "methods.npe": learned,
                    "methods.nse": learned | {"label": "NSE"},
                    "methods.one": {"kind": "prior", "group": "two"},
                    "methods.two": {"kind": "prior"},
                }
            )
        )
    )
    own = {"npe-1": "npe", "npe-2": "npe", "nse-1": "NSE", "nse-2": "NSE", "one": "two", "two": "two"}
    assert {name: group for name, group in study.groups().items() if name in own} == own
    assert [name for name in study.shown() if name in own] == ["npe-1", "nse-1", "one"]


def test_a_file_with_variants_stands_for_all_of_them(write) -> None:
    path = write(changed({"variants": {"short": {"window": 2}, "wide": {"system": {"options": {"size": 80}}}}}))
    found = list(every(path))
    assert [(source, study.name) for source, study in found] == [
        (f"{path}/short", "study/short"),
        (f"{path}/wide", "study/wide"),
    ]
    assert [study.window for _, study in found] == [2, 4]
    assert found[1][1].system.kind == "lorenz96"
    assert [source for source, _ in every(f"{path}/wide")] == [f"{path}/wide"]
    assert load(f"{path}/short").window == 2
    plain = write(SMALLEST, "plain")
    assert [(source, study.name) for source, study in every(plain)] == [(str(plain), "plain")]


def test_variants_are_inherited_changed_and_removed(write) -> None:
    write(changed({"variants": {"a": {"window": 2}, "b": {"window": 3}}}), "parent")
    child = write(
        {"extends": "parent", "samples": 7, "variants": {"a": None, "b": {"seed": 1}, "c": {"window": 5}}}, "child"
    )
    studies = [study for _, study in every(child)]
    assert [(study.name, study.window, study.samples, study.seed) for study in studies] == [
        ("child/b", 3, 7, 1),
        ("child/c", 5, 7, 0),
    ]


@pytest.mark.parametrize(
    ("variants", "named", "message"),
    [
        ({"short": {"window": 2}}, "", "has variants: name one, such as study/short"),
        ({"short": {"window": 2}}, "/shrt", "variants: there is no 'shrt'; did you mean 'short'?"),
        ({"short": 3}, "/short", "variants: must be a mapping from names to what each changes"),
        ({"a b": {"window": 2}}, "/a b", "rename it: names of experiments are made of letters"),
        ({"short": {"windw": 2}}, "/short", "unknown key 'windw'"),
    ],
)
def test_mistakes_in_variants_are_named(write, variants, named, message) -> None:
    path = write(changed({"variants": variants}))
    with pytest.raises(ConfigError) as raised:
        load(f"{path}{named}")
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)


def test_what_is_trained_several_times_is_several_methods(write) -> None:
    """One extra training leaves the others as they are."""
    learned = {"kind": "npe", "training": {"epochs": 3}, "label": "NPE"}
    study = load(write(changed({"methods.npe": learned | {"seeds": 3}})))
    assert list(study.methods) == ["laplace", "npe-1", "npe-2", "npe-3"]
    assert {study.methods[f"npe-{n}"].group for n in (1, 2, 3)} == {"NPE"}
    assert study.methods["npe-2"].label == "NPE (2)"
    fewer = load(write(changed({"methods.npe": learned | {"seeds": 2}}), "fewer"))
    assert depends("train", fewer, "npe-2") == depends("train", study, "npe-2")


def test_weights_depend_on_the_shares_of_a_batch_and_not_on_who_takes_them(write) -> None:
    def key(**training: int) -> dict:
        study = load(
            write(changed({"methods.npe": {"kind": "npe", "training": training}}), "of" + str(sum(training.values())))
        )
        assert study.shared() == ([] if training.keys() <= {"shares"} else ["npe"])
        return depends("train", study, "npe")

    over_nodes = key(nodes=2, gpus=4)
    assert over_nodes == key(gpus=8) == key(nodes=4, shares=8) == key(shares=8)
    assert over_nodes != key(shares=4)
    assert over_nodes != key()


def test_a_refinement_draws_with_the_weights_of_another_method(write) -> None:
    learned = {"kind": "npe", "options": {"context": 4}, "training": {"epochs": 3}}
    refined = {"refines": "npe", "refinement": "importance"}
    study = load(write(changed({"methods.npe": learned, "methods.npe-importance": refined})))
    assert study.methods["npe-importance"].options == {"context": 4}
    assert study.trained() == ["npe"]
    assert study.sampled() == ["npe", "npe-importance"]
    assert [study.weights(name) for name in study.sampled()] == ["npe", "npe"]
    assert "methods.npe-importance.refinement" in depends("assimilate", study, "npe-importance")
    plain, refined = (set(dependencies("sample", study, name).modules) for name in ("npe", "npe-importance"))
    assert plain <= refined
    assert "posterity.estimators.refinement" in refined


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"refines": "nep", "refinement": "importance"}, "there is no method 'nep'; did you mean 'npe'?"),
        ({"refines": "laplace", "refinement": "importance"}, "there is no trained method 'laplace'"),
        ({"refines": "npe"}, "refinement: goes with 'refines'"),
        ({"refines": "npe", "refinement": "imprtance"}, "unknown refinement 'imprtance'; did you mean 'importance'?"),
        ({"refines": "npe", "refinement": "importance", "kind": "nse"}, "kind: is that of 'npe', which it refines"),
        ({"refines": "npe", "refinement": "importance", "training": {}}, "training: a method that refines another"),
        ({"kind": "4dvar", "seeds": 2}, "seeds: only what is trained can be trained several times"),
        ({"kind": "npe", "training": {"lr_schedule": "cosin"}}, "unknown lr_schedule 'cosin'; did you mean 'cosine'?"),
    ],
)
def test_mistakes_in_refinements_and_seeds_are_named(refusal, method, message) -> None:
    learned = {"kind": "npe", "training": {"epochs": 3}}
    said = refusal(changed({"methods.npe": learned, "methods.other": method}))
    assert "methods" in said
    assert message in said


BASE = {
    "title": "Base",
    "system": {"kind": "linear", "options": {"size": 4}},
    "observation": {"std": 1},
    "prior": {"std": 1},
    "window": 2,
    "splits": {"test": {"cases": 2}},
    "methods": {
        "prior": {"kind": "prior"},
        "4dvar": {"kind": "4dvar"},
        "npe": {"kind": "npe", "training": {}},
        "npe-hmc": {"refines": "npe", "refinement": "hmc"},
    },
}


def test_methods_that_are_inherited_can_be_chosen(write) -> None:
    write(BASE, "base")
    child = {"extends": "base", "methods": {"only": ["npe", "prior"], "mine": {"kind": "vi"}, "prior": {"samples": 7}}}
    found = load(write(child))
    assert list(found.methods) == ["npe", "prior", "mine"]
    assert found.methods["prior"].samples == 7
    # A variant chooses among those of its file.
    path = write({**child, "variants": {"few": {"methods": {"only": ["mine"]}}, "all": {}}})
    assert list(load(f"{path}/few").methods) == ["mine"]
    assert list(load(f"{path}/all").methods) == list(found.methods)


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (["npf"], "methods.only: there is no method 'npf'; did you mean 'npe'?"),
        (["npe-hmc"], "npe-hmc.refines: there is no method 'npe'"),
    ],
)
def test_methods_that_cannot_be_chosen_are_named(write, refusal, only, message) -> None:
    write(BASE, "base")
    assert message in refusal({"extends": "base", "methods": {"only": only}})


def test_a_file_that_extends_none_chooses_none(refusal) -> None:
    said = refusal(BASE | {"methods": {"only": ["prior"], "prior": {"kind": "prior"}}})
    assert said == "methods.only: chooses among methods of another file, and this one extends none"


def test_experiments_of_the_project_are_extended_and_named_from_any_folder(write, tmp_path, monkeypatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    found = load(write({"extends": "demo", "title": "Mine", "methods": {"only": ["4dvar"]}}))
    assert (found.system.kind, list(found.methods), found.window) == ("lorenz96", ["4dvar"], 12)
    assert load("demo").title == load(files.SHIPPED / "demo.yaml").title
    # Those of the folder come first.
    (elsewhere / "config" / "experiments").mkdir(parents=True)
    (elsewhere / "config" / "experiments" / "demo.yaml").write_text(yaml.safe_dump(BASE))
    assert load("demo").title == "Base"
    assert load(write({"extends": "demo", "title": "Mine"})).system.kind == "linear"
    with pytest.raises(ConfigError, match=r"extends: there is no file .*/dmeo\.yaml; did you mean 'demo'"):
        load(write({"extends": "dmeo", "title": "Mine"}))
