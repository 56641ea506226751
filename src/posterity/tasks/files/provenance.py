"""The configuration and the code that a file depends on, as the file says them. Imports no torch."""

import json
from collections.abc import Mapping

from ... import __version__
from ...experiment import Experiment
from ...experiment.dependencies import dependencies

#: The conventions that names and attributes of files follow.
CONVENTIONS = "CF-1.11"

#: What the datasets of each stage are. Not the title of the experiment, which may change without a rerun.
TITLES: Mapping[str, str] = {
    "climatology": "Library of climatological states",
    "simulate": "States and observations, {name} split",
    "sample": "Draws of the posterior by {name}",
    "assimilate": "Draws of the posterior by {name}",
    "reference": "Draws of the reference posterior",
    "evaluate": "Scores of {name}",
    "classify": "Classifier tests of {name}",
    "aggregate": "Scores of all methods",
}


def dependency_attributes(stage: str, experiment: Experiment, name: str = "") -> dict[str, str]:
    """The attributes ``configuration`` and ``code`` of a dataset, each as JSON.

    Args:
        stage: The stage that makes it.
        experiment: The experiment.
        name: What the stage makes, see :func:`posterity.experiment.dependencies.dependencies`.

    Returns:
        The attributes.
    """
    depends = dependencies(stage, experiment, name)
    return {"configuration": json.dumps(depends.configuration), "code": json.dumps(depends.modules)}


def origin(stage: str, experiment: Experiment, name: str = "") -> dict[str, str]:
    """The attributes that say what a dataset is, and what it depends on.

    Args:
        stage: The stage that makes it.
        experiment: The experiment.
        name: What the stage makes, see :func:`posterity.experiment.dependencies.dependencies`.

    Returns:
        The attributes ``Conventions``, ``title``, ``history``, ``configuration`` and ``code``. There is no date among
        them: the same results are the same bytes.
    """
    made = f"posterity {__version__}: {stage} {name}".rstrip()
    return {
        "Conventions": CONVENTIONS,
        "title": f"{TITLES[stage].format(name=name)} of {experiment.name}",
        "history": f"{made} of {experiment.name}",
        **dependency_attributes(stage, experiment, name),
    }


def dependency_text(stage: str, experiment: Experiment, name: str = "") -> str:
    """The same as one text, for formats that hold a single description: a JSON object with both keys.

    Args:
        stage: The stage that makes the file.
        experiment: The experiment.
        name: What the stage makes, see :func:`posterity.experiment.dependencies.dependencies`.

    Returns:
        The text.
    """
    depends = dependencies(stage, experiment, name)
    return json.dumps({"configuration": depends.configuration, "code": depends.modules})
