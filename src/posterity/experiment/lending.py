"""Experiments that lend weights to others: methods that draw with the training of another file. Imports no torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import ConfigError, nearest
from . import catalog
from .experiment import PROBLEM, Experiment
from .methods import borrowed
from .sources.signature import constant

#: What weights that see no observation, and no window as a whole, depend on.
PRIOR = ("system", "model_error", "parameters")

#: What weights depend on, by what they are portable to.
DEPENDS = {"": PROBLEM, "window": (*PRIOR, "observation"), "observation": PRIOR}


def lenders(
    content: dict[str, Any], path: Path, load: Callable[[str], Experiment]
) -> tuple[dict[str, Any], dict[str, tuple[str, Experiment]]]:
    """The experiments beside a file whose weights its methods draw with, and the methods with what those are made of.

    Args:
        content: The tree of the file.
        path: The file.
        load: Loads an experiment.

    Returns:
        The tree, and what each lender is loaded by and the experiment, by their names.

    Raises:
        ConfigError: If there is no such experiment, or no such trained method in it.
        ValueError: If a method has other options that weights depend on.
    """
    methods, found = content.get("methods"), dict[str, tuple[str, Experiment]]()
    if not isinstance(methods, dict):
        return content, found
    complete = dict(methods)
    for name, method in methods.items():
        if isinstance(method, dict) and "/" in str(method.get("weights")):
            source, _, lent = str(method["weights"]).rpartition("/")
            found[source] = found.get(source) or _beside(path, source, name, load)
            lender = found[source][1]
            if lent not in lender.trained():
                hint = nearest(lent, lender.trained())
                raise ConfigError(f"methods.{name}.weights: '{source}' has no trained method '{lent}'{hint}")
            complete[name] = borrowed(name, method, lender.methods[lent].model_dump(mode="json"))
    return {**content, "methods": complete}, found


def _beside(path: Path, source: str, name: str, load: Callable[[str], Experiment]) -> tuple[str, Experiment]:
    """Loads the experiment of a file beside another one."""
    stem, _, variant = source.partition("/")
    file = path.parent / f"{stem}.yaml"
    if not file.is_file():
        known = [other.stem for other in path.parent.glob("*.yaml")]
        raise ConfigError(f"methods.{name}.weights: there is no file {file}{nearest(stem, known)}")
    loaded = f"{file}/{variant}" if variant else str(file)
    return loaded, load(loaded)


def check_lent(experiment: Experiment) -> None:
    """Checks that an experiment's problem is that of the weights its methods draw with, as far as those depend on it.

    Raises:
        ConfigError: If it is not.
    """
    for name, method in experiment.methods.items():
        if method.weights is None or "/" not in method.weights:
            continue
        lender, _ = experiment.owner(method.weights)
        keys = DEPENDS[str(constant(catalog.target("method", method.kind), "portable") or "")]
        own, lent = (each.slice(*keys) for each in (experiment, lender))
        for key in keys:
            if own[key] != lent[key]:
                raise ConfigError(
                    f"methods.{name}.weights: '{method.weights}' was trained with another '{key}', which its weights "
                    "depend on: make the two equal, or train the method here"
                )
