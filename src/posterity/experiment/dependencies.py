"""Dependencies of each stage of the workflow: a part of the configuration, and the code that its task reaches.

:data:`STAGES` is the one table of stages. The rules of the workflow track what it says, files carry it, checkpoints are
keyed by it, and ``posterity why`` prints it.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ..errors import ConfigError, nearest
from . import catalog
from .component import Component, targets
from .experiment import PROBLEM, Experiment
from .methods import drawing_options
from .sources.digest import digest, reached


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
        name: What the stage makes in it: the split of ``simulate``, the figure of ``plot``, else the method; of an
            experiment that lends weights, ``EXPERIMENT/NAME``.

    Returns:
        The part of the configuration and the code. Classes that are constructed are part of the configuration, by
        the ``module:Class`` that kinds stand for.

    Raises:
        ConfigError: If there is no such stage.
    """
    if stage not in STAGES:
        raise ConfigError(f"there is no stage '{stage}'{nearest(stage, STAGES)}")
    experiment, name = experiment.owner(name)
    configuration, classes = STAGES[stage].part(experiment, name)
    named = {"classes": classes} if classes else {}
    return Dependencies(configuration | named, reached([f"posterity.tasks.{stage}", *classes]))


#: A stage, and what it makes.
Job = tuple[str, str]


def lineage(stage: str, experiment: Experiment, name: str = "", known: dict[Job, str] | None = None) -> str:
    """A digest of all that a result depends on, by way of the stages it is made from too.

    The workflow tracks it, and not the dependencies of a stage alone: else draws of old weights would pass as up to
    date once a new training has failed, and has taken the old weights with it.

    Args:
        stage: The stage.
        experiment: The experiment.
        name: What the stage makes in it, see :func:`dependencies`.
        known: The digests of this experiment that are known already, to which those found are added.

    Returns:
        Sixteen hexadecimal digits.
    """
    known = {} if known is None else known
    if (stage, name) not in known:
        made_of = origins(stage, experiment, name)
        keys = [dependencies(stage, experiment, name).key, *(lineage(s, experiment, n, known) for s, n in made_of)]
        known[stage, name] = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
    return known[stage, name]


def origins(stage: str, experiment: Experiment, name: str = "") -> list[Job]:
    """The stages whose results a stage reads; those of an experiment that lends weights under ``EXPERIMENT/NAME``."""
    owner, own = experiment.owner(name)
    found = STAGES[stage].origins(owner, own)
    return found if owner is experiment else [(s, f"{owner.name}/{n}") for s, n in found]


#: The lengths of a record, which scores are averaged over.
LENGTHS = ("window", "cycles", "burn_in")

#: A part of the configuration, and the classes that are constructed, as ``module:Class``.
Part = tuple[dict[str, Any], list[str]]


def _no_jobs(*_: object) -> list[Job]:
    return []


def _no_names(_: Experiment) -> list[str]:
    return []


def _no_sizes(*_: object) -> dict[str, int]:
    return {}


def _draws(experiment: Experiment, name: str, _: int) -> dict[str, int]:
    return {"sample": experiment.draws(name)}


def _cases(experiment: Experiment, split: str, shard: int) -> dict[str, int]:
    sizes = getattr(experiment.splits, split).shards()
    return {"case": sizes[shard]} if shard < len(sizes) else {}


class Stage(NamedTuple):
    """A stage of the workflow.

    Args:
        part: The part of the configuration that it reads, and the classes that it constructs.
        results: Where its results stand in the folder of an experiment; empty if they do not say what they depend on.
        origins: The stages whose results it reads.
        names: All that it makes of an experiment, told apart by name; nothing if it makes one thing.
        option: The option of the command line that gives the name.
        sizes: The sizes of the results of a shard, which are arguments of the task, and no part of the configuration.
    """

    part: Callable[[Experiment, str], Part]
    results: str = ""
    origins: Callable[[Experiment, str], list[Job]] = _no_jobs
    names: Callable[[Experiment], list[str]] = _no_names
    option: str = ""
    sizes: Callable[[Experiment, str, int], dict[str, int]] = _no_sizes


def _problem(experiment: Experiment) -> list[str]:
    components = [
        ("system", experiment.system),
        *(("operator", operator) for operator in experiment.observation.operator),
        *(("mask", mask) for mask in experiment.observation.mask),
        *(("prior", prior) for prior in experiment.parameters.values()),
        *(("correlation", correlation) for correlation in experiment.correlations().values()),
    ]
    return _all(components)


def _all(components: Iterable[tuple[str, Component]]) -> list[str]:
    return [target for group, component in components for target in targets(group, component)]


def _climatology(experiment: Experiment, _: str) -> Part:
    return experiment.slice("system", "climatology", "seed"), _all([("system", experiment.system)])


def _simulate(experiment: Experiment, split: str) -> Part:
    """Training sets hold no observations, and test cases alone come from another truth."""
    keys = [key for key in PROBLEM if split != "train" or key != "observation"]
    if split != "test":
        return experiment.slice(*keys, "seed"), _problem(experiment)
    truth = [] if experiment.truth is None else _all([("system", experiment.truth)])
    return experiment.slice(*keys, "truth", "seed"), [*_problem(experiment), *truth]


def _train(experiment: Experiment, name: str) -> Part:
    """Options of drawing alone train nothing."""
    method, kept = experiment.methods[name], drawing_options(experiment.methods[name].kind)
    schedule = [] if method.training is None else [catalog.target("lr_schedule", method.training.lr_schedule)]
    found = experiment.slice(*PROBLEM, "seed", *(f"methods.{name}.{key}" for key in ("kind", "options", "training")))
    found[f"methods.{name}.options"] = _without(found[f"methods.{name}.options"], kept)
    learns = method.model_copy(update={"options": _without(method.options, kept)})
    return found, [*_problem(experiment), *_all([("method", learns)]), *schedule]


def _without(options: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


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
    if experiment.reference is None:
        raise ConfigError(f"'{experiment.name}' has no reference: say which method makes it, under 'reference'")
    made_of = _all([("method", experiment.reference)])
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
    return {**experiment.slice(*LENGTHS), "methods": list(experiment.methods)}, []


def _plot(experiment: Experiment, figure: str) -> Part:
    """The figure shows labels and groups of methods, too."""
    shown = {
        "labels": {name: method.label for name, method in experiment.methods.items()},
        "groups": experiment.groups(),
    }
    shown_of = [f"figures.{key}" for key in ("case", "sites", "times", "quantity", "frames", "standard")]
    return {**experiment.slice(*shown_of, *LENGTHS), **shown}, [catalog.target("figure", figure)]


def _report(experiment: Experiment, _: str) -> Part:
    """The page shows the whole configuration."""
    return experiment.slice(*(key for key in type(experiment).model_fields if key not in ("name", "extends"))), []


def _scaling(experiment: Experiment, _: str) -> Part:
    shown = {
        "groups": experiment.groups(),
        "published": {name: method.published_log_score for name, method in experiment.methods.items()},
    }
    return {**experiment.slice(*LENGTHS), **shown}, []


def _literature(experiment: Experiment, _: str) -> Part:
    labels = {name: experiment.methods[name].label for name in experiment.published()}
    return {**experiment.slice(*LENGTHS), "published": experiment.published(), "labels": labels}, []


def _of_simulate(experiment: Experiment, _: str) -> list[Job]:
    return [] if experiment.climatology is None else [("climatology", "")]


def _test_cases(*_: object) -> list[Job]:
    return [("simulate", "test")]


def _training_cases(*_: object) -> list[Job]:
    return [("simulate", "train"), ("simulate", "valid")]


def _of_sample(experiment: Experiment, name: str) -> list[Job]:
    return [("train", experiment.weights(name)), *_test_cases()]


def _of_classify(experiment: Experiment, name: str) -> list[Job]:
    return [("train", name)]


def _of_evaluate(experiment: Experiment, name: str) -> list[Job]:
    drawn = ("sample" if name in experiment.sampled() else "assimilate", name)
    references = [] if experiment.reference is None else [("reference", "")]
    return [drawn, *_test_cases(), *references]


def _of_aggregate(experiment: Experiment, _: str) -> list[Job]:
    scored = [("evaluate", method) for method in experiment.methods]
    return scored + [("classify", method) for method in experiment.classified()]


def _of_table(*_: object) -> list[Job]:
    return [("aggregate", "")]


def _of_plot(*_: object) -> list[Job]:
    return [("aggregate", ""), *_test_cases()]


def _of_report(experiment: Experiment, _: str) -> list[Job]:
    return [("aggregate", ""), *(("plot", figure) for figure in experiment.figures_drawn())]


def _splits(experiment: Experiment) -> list[str]:
    return list(type(experiment.splits).model_fields)


METHOD = "--method"

STAGES: Mapping[str, Stage] = {
    "climatology": Stage(_climatology, "climatology.nc"),
    "simulate": Stage(_simulate, "simulations/{name}/*.nc", _of_simulate, _splits, "--split", _cases),
    "train": Stage(_train, "models/{name}/estimator.json", _training_cases, Experiment.trained, METHOD),
    "sample": Stage(_draw, "posteriors/{name}/*.nc", _of_sample, Experiment.sampled, METHOD, _draws),
    "assimilate": Stage(_draw, "posteriors/{name}/*.nc", _test_cases, Experiment.assimilated, METHOD, _draws),
    "reference": Stage(_reference, "references/*.nc", _test_cases),
    "classify": Stage(_classify, "classifiers/{name}.nc", _of_classify, Experiment.classified, METHOD),
    "evaluate": Stage(_evaluate, "metrics/{name}/*.nc", _of_evaluate, lambda experiment: [*experiment.methods], METHOD),
    "aggregate": Stage(_aggregate, "metrics.nc", _of_aggregate),
    "plot": Stage(_plot, "figures/{name}.svg", _of_plot, Experiment.figures_drawn, "--figure"),
    "report": Stage(_report, origins=_of_report),
    "scaling": Stage(_scaling, origins=_of_table),
    "literature": Stage(_literature, origins=_of_table),
}
