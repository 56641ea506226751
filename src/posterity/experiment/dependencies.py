"""Dependencies of each stage of the workflow: a part of the configuration, and the code that its task reaches.

The one table of it. The rules of the workflow track it, files carry it, checkpoints are keyed by it, and
``posterity why`` prints it.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ..errors import ConfigError, nearest
from . import catalog
from .component import Component, targets
from .digest import digest, reached
from .experiment import Experiment


class Dependencies(NamedTuple):
    """Dependencies of a result, beside the files that it is made from.

    Args:
        configuration: Values of the experiment, by dotted keys.
        modules: Digests of the modules that can run to make it, by their names.
    """

    configuration: dict[str, Any]
    modules: dict[str, str]

    @property
    def code(self) -> str:
        """The digest of all modules."""
        return digest(self.modules)

    @property
    def key(self) -> str:
        """All of it in one line: equal if nothing has changed."""
        return json.dumps([self.configuration, self.code])


def dependencies(stage: str, experiment: Experiment, name: str = "") -> Dependencies:
    """Dependencies of a stage, beside the files that it is made from.

    Args:
        stage: The stage, a verb of the command line.
        experiment: The experiment.
        name: What the stage makes in it: the split of ``simulate``, the figure of ``plot``, else the method.

    Returns:
        The part of the configuration and the code.

    Raises:
        ConfigError: If there is no such stage.
    """
    if stage not in STAGES:
        raise ConfigError(f"there is no stage '{stage}'{nearest(stage, STAGES)}")
    configuration, made_of = STAGES[stage](experiment, name)
    return Dependencies(configuration, reached([f"posterity.tasks.{stage}", *made_of]))


def made_from(stage: str, experiment: Experiment, name: str = "") -> list[tuple[str, str]]:
    """The stages whose results a stage reads, with what each makes; see :func:`dependencies`."""
    simulated, test = [("simulate", "train"), ("simulate", "valid")], [("simulate", "test")]
    references = [("reference", "")] if experiment.reference is not None else []
    drawn = [("sample" if name in experiment.sampled() else "assimilate", name)]
    origins = {
        "train": simulated,
        "sample": [("train", experiment.weights(name)), *test] if stage == "sample" else [],
        "assimilate": test,
        "reference": test,
        "classify": [("train", name), *simulated],
        "evaluate": [*drawn, *test, *references],
        "aggregate": [
            *(("evaluate", method) for method in experiment.methods),
            *(("classify", method) for method in experiment.classified()),
        ],
        "plot": [("aggregate", ""), *test],
    }
    return origins.get(stage, [])


#: The keys of an experiment that its problem is made of.
PROBLEM = ("system", "observation", "prior", "window", "forecast", "model_error", "parameters", "cycles", "start")
#: The lengths of a record, which scores are averaged over.
LENGTHS = ("window", "cycles", "burn_in")

#: A part of the configuration, and the ``module:Class`` targets that are constructed.
Part = tuple[dict[str, Any], list[str]]


def _problem(experiment: Experiment) -> list[str]:
    components = [
        ("system", experiment.system),
        *(("operator", operator) for operator in experiment.observation.operator),
        *(("mask", mask) for mask in experiment.observation.mask),
        *(("prior", prior) for prior in experiment.parameters.values()),
    ]
    return _all(components)


def _all(components: Iterable[tuple[str, Component]]) -> list[str]:
    return [target for group, component in components for target in targets(group, component)]


def _simulate(experiment: Experiment, split: str) -> Part:
    """Training sets hold no observations, and test cases alone come from another truth."""
    keys = [key for key in PROBLEM if split != "train" or key != "observation"]
    if split != "test":
        return experiment.slice(*keys, "seed"), _problem(experiment)
    truth = [] if experiment.truth is None else _all([("system", experiment.truth)])
    return experiment.slice(*keys, "truth", "seed"), [*_problem(experiment), *truth]


def _train(experiment: Experiment, name: str) -> Part:
    training = experiment.methods[name].training
    schedule = [] if training is None else [catalog.target("lr_schedule", training.lr_schedule)]
    keys = (f"methods.{name}.{key}" for key in ("kind", "options", "training"))
    return experiment.slice(*PROBLEM, "seed", *keys), [*_problem(experiment), *_method(experiment, name), *schedule]


def _draw(experiment: Experiment, name: str) -> Part:
    """The number of draws is apart, as an argument of the task."""
    keys = [f"methods.{name}.{key}" for key in ("kind", "options")]
    refinement = experiment.methods[name].refinement
    refined = [] if refinement is None else _all([("refinement", refinement)])
    if refined:
        keys.append(f"methods.{name}.refinement")
    made_of = [*_problem(experiment), *_method(experiment, name), *refined]
    return experiment.slice(*PROBLEM, "seed", *keys), made_of


def _method(experiment: Experiment, name: str) -> list[str]:
    return _all([("method", experiment.methods[name])])


def _reference(experiment: Experiment, _: str) -> Part:
    made_of = [] if experiment.reference is None else _all([("method", experiment.reference)])
    return experiment.slice(*PROBLEM, "seed", "reference"), [*_problem(experiment), *made_of]


def _classify(experiment: Experiment, name: str) -> Part:
    network = None if experiment.classifier is None else experiment.classifier.network
    made_of = [] if network is None else _all([("network", network)])
    keys = (f"methods.{name}.{key}" for key in ("kind", "options"))
    return (
        experiment.slice(*PROBLEM, "seed", "classifier", *keys),
        [*_problem(experiment), *_method(experiment, name), *made_of],
    )


def _evaluate(experiment: Experiment, _: str) -> Part:
    return experiment.slice("window", "cycles"), []


def _aggregate(experiment: Experiment, _: str) -> Part:
    return experiment.slice(*LENGTHS), []


def _plot(experiment: Experiment, figure: str) -> Part:
    """What of the configuration shows in a figure."""
    shown = {
        "labels": {name: method.label for name, method in experiment.methods.items()},
        "groups": experiment.groups(),
    }
    return {**experiment.slice("figures", *LENGTHS), **shown}, [catalog.target("figure", figure)]


def _scaling(experiment: Experiment, _: str) -> Part:
    shown = {
        "groups": experiment.groups(),
        "published": {name: method.published_log_score for name, method in experiment.methods.items()},
    }
    return {**experiment.slice(*LENGTHS), **shown}, []


def _literature(experiment: Experiment, _: str) -> Part:
    return {**experiment.slice(*LENGTHS), "published": experiment.published()}, []


STAGES: Mapping[str, Callable[[Experiment, str], Part]] = {
    "simulate": _simulate,
    "train": _train,
    "sample": _draw,
    "assimilate": _draw,
    "reference": _reference,
    "classify": _classify,
    "evaluate": _evaluate,
    "aggregate": _aggregate,
    "plot": _plot,
    "scaling": _scaling,
    "literature": _literature,
}
